"""Hostile input: fuzzed lines and hostile files, judged by what knows nothing of the door's code."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.settings import Settings
from tests.events import event, line, load, query
from tests.faults import files, fuzz


def test_fuzzed_lines(duckdb_settings: Settings, tmp_path: Path) -> None:
    verdict = fuzz.judged(fuzz.fuzzed(fuzz.LINES, seed=7), duckdb_settings, tmp_path / "in")
    assert not verdict.wrong
    assert verdict.accepted > 1000 and len(set(verdict.reasons.values())) > 10
    assert not fuzz.replayed(duckdb_settings)


def test_engines_agree_on_fuzzed_lines(
    duckdb_settings: Settings, postgres_settings: Settings, tmp_path: Path
) -> None:
    lines = fuzz.fuzzed(fuzz.LINES // 10, seed=11)
    one = fuzz.judged(lines, duckdb_settings, tmp_path / "in")
    postgres = replace(postgres_settings, home=tmp_path / "pg")
    other = fuzz.judged(lines, postgres, tmp_path / "in-pg")
    assert not one.wrong + other.wrong + fuzz.replayed(postgres)
    assert (one.reasons, one.accepted) == (other.reasons, other.accepted)


def test_the_law_can_be_broken(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door that does not look for keys that are there twice is found out."""
    monkeypatch.setattr("ingest.shape.repeats_a_key", lambda line, document: False)
    lines = [pair for pair in fuzz.fuzzed(2000, seed=7) if pair[0] == "a key twice"]
    verdict = fuzz.judged(lines, duckdb_settings, tmp_path / "in")
    assert any("a key twice" in text for text in verdict.wrong)


def test_hostile_files(duckdb_settings: Settings, tmp_path: Path) -> None:
    """Every file has its outcome, and the process that loaded all of them stayed small."""
    rows, wrong = files.judged(duckdb_settings, files.cases(), tmp_path / "in")
    assert not wrong
    assert len(rows) > 180


def test_what_is_no_file(duckdb_settings: Settings, tmp_path: Path) -> None:
    """A pipe is not waited for, a folder may be called like a file, links may go round."""
    os.mkfifo(tmp_path / "pipe.ndjson")
    with pytest.raises(UserError, match="no file or folder"):
        ingest_paths([tmp_path / "pipe.ndjson"], settings=duckdb_settings)
    folder = tmp_path / "x.ndjson"
    folder.mkdir()
    (folder / "round.ndjson").symlink_to(folder / "round.ndjson")
    os.mkfifo(folder / "pipe.ndjson")
    (folder / "a.ndjson").write_bytes(line())
    results = ingest_paths([folder], settings=duckdb_settings)
    assert [(r.file_name, r.accepted) for r in results] == [("a.ndjson", 1)]
    with pytest.raises(UserError, match="does not exist"):
        ingest_paths([folder / "round.ndjson"], settings=duckdb_settings)


def test_a_group_that_gets_deeper_harms_no_neighbour(settings: Settings, tmp_path: Path) -> None:
    """What is moved into ``extra`` is a level deeper than it came; the limit is for what came."""
    deep = json.dumps(event())[:-1] + ', "x": ' + "[" * 15 + "]" * 15 + "}"
    result = load(settings, tmp_path / "f.ndjson", deep.encode() + b"\n" + line())
    assert (result.accepted, result.rejected) == (2, 0)


def test_a_key_twice_is_no_json_on_either_engine(settings: Settings, tmp_path: Path) -> None:
    """Parsers differ on which value counts, so that none does."""
    text = json.dumps(event())[:-1] + ', "amount_cents": 9}'
    result = load(settings, tmp_path / "f.ndjson", text.encode() + b"\n" + line(provider='a":'))
    assert (result.accepted, result.rejected) == (1, 1)
    (row,) = query(settings, "select reason_code, detail from ops.rejected_events")
    assert row == {"reason_code": "malformed_json", "detail": "an object has one key twice"}

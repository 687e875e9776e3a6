"""Hostile values come in by every way there is, and are data: nothing is run, written or changed.

The values stand in hostile, texts of reference data are planted in test_personal_data. That personal data are found is the matter of test_personal_data; which
words a mistake is answered with, that of the commands' own tests.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
import typer

from ingest.door import find_files, ingest_paths
from ingest.errors import UserError
from ingest.settings import VARIABLES, Settings
from ingest.warehouse import open_warehouse
from orchestration import runs
from orchestration.cli import main
from orchestration.reference_data import judge
from tests.events import event, load, query
from tests.hostile import FEW, HOSTILE, SHELL, SQL, TEMPLATES
from tests.test_orchestration import load as load_days
from tests.test_orchestration import project, short_suite, tiny

__all__ = ["project", "short_suite", "tiny"]

#: What a command needs besides the value that is tried, so that it gets as far as it can.
REST: dict[str, tuple[str, ...]] = {
    "export": ("daily_users", "--out", "out.csv"),
    "generate": ("--out", "made", "--days", "1", "--size", "5"),
    "identity revoke": ("--reason", "why"),
    "keys retire": ("--out", "key"),
    "erase": ("--dry-run",),
    "retention": ("--dry-run",),
    "backtest advisors": ("--days", "1"),
    "backtest customers": ("--days", "1"),
}
#: Values that are the business of these commands, or that write where the project itself lies.
LEFT_OUT = {
    ("contracts sync", "--retire"), ("backtest advisors", "--out"), ("backtest advisors", "--keep"),
    ("backtest customers", "--out"), ("backtest customers", "--keep"),
    ("backtest customers", "--events"),
}  # fmt: skip

#: Values that become a part of a question to the warehouse.
ASKED = {("identity explain", "")}  # fmt: skip


def test_there_are_a_hundred_different_values() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 100


# -- the command line ------------------------------------------------------------------------------


def slots() -> Iterator[tuple[str, click.Parameter]]:
    """Every option and argument of every command that takes a value."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, click.Parameter]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*path, name))
        for parameter in () if hasattr(command, "commands") else command.params:
            if not getattr(parameter, "is_flag", False) and parameter.name != "help":
                yield " ".join(path), parameter

    return walk(typer.main.get_command(main.app), ())


def name_of(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len) if parameter.param_type_name == "option" else ""


def arguments(command: str, parameter: click.Parameter, value: str) -> list[str]:
    """A command line with the value in its place and good ones in the others."""
    option, rest = name_of(parameter), list(REST.get(command, ()))
    if option in rest:
        place = rest.index(option)
        del rest[place : place + 2]
    if not option and command == "export":
        rest = rest[1:]
    if option and command in ("identity revoke", "keys retire", "quarantine show"):
        rest.insert(0, "1")
    tried = [f"{option}={value}"] if option else ["--", value]
    return [*command.split(), *rest, *tried]


def values_for(command: str, parameter: click.Parameter, place: int) -> Sequence[str]:
    """All values where a command asks the warehouse by them, else a share, another in each place."""
    kind = type(parameter.type).__name__.lower()
    if "path" in kind:
        # Written or read where they say, as it should be; so only names inside this folder.
        inside = [v for v in HOSTILE if not v.startswith(("..", "/", "x/.."))]
        return inside[place % 24 :: 24]
    if "int" in kind or "float" in kind:
        return FEW[place % 4 :: 4]
    if command == "erase":
        return HOSTILE[place % 60 :: 60]
    return HOSTILE if (command, name_of(parameter)) in ASKED else HOSTILE[place % 16 :: 16]


@pytest.fixture
def world(
    duckdb_settings: Settings, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A warehouse that was run and published, with a canary in it, and a folder with another."""
    load_days(duckdb_settings, 3, 4)
    load(duckdb_settings, tmp_path / "bad.ndjson", b'{"event_name": "nobody"}')
    assert runs.run(duckdb_settings).status == "succeeded"
    warehouse = open_warehouse(duckdb_settings)
    for statement in (
        "create table canary as select 1 as x",
        "create table marts.identity_map as select 'user_id' as identifier_type, 'u3' as identifier, "
        "'p' as person_id, date '2026-03-03' as first_seen_date, date '2026-03-03' as person_since",
        "create table marts.identity_conflicts (identifier_type varchar, identifier varchar, "
        "reason varchar, partners bigint, since date)",
        "create table marts.timeline_events (user_key_type varchar, user_key varchar)",
        "create table marts.sessions (user_key_type varchar, user_key varchar)",
        "create table intermediate.int_identity_links (event_id varchar, event_date date, "
        "identifier_type varchar, identifier varchar)",
    ):
        warehouse.execute(statement)
    warehouse.close()
    here = tmp_path / "inner" / "here"
    here.mkdir(parents=True)
    for folder in (here, here.parent):
        (folder / "canary.txt").write_text("sing", encoding="utf-8")
    monkeypatch.chdir(here)
    monkeypatch.setenv("TIDEMARK_HOME", str(duckdb_settings.home))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    return duckdb_settings


def state(settings: Settings) -> dict[str, Any]:
    """Every table with its rows, but for notes on what was loaded and exported."""
    warehouse = open_warehouse(settings)
    try:
        names = warehouse.execute(
            "select table_schema, table_name from information_schema.tables "
            "where table_schema not in ('pg_catalog', 'information_schema') "
            "and table_type = 'BASE TABLE' order by 1, 2"
        )
        counts = {
            f"{schema}.{name}": warehouse.value(f'select count(*) from {schema}."{name}"')
            for schema, name in names
        }
        for name in ("ops.loads", "ops.rejected_events", "ops.load_dates"):
            counts.pop(name)
        return counts | {"canary": warehouse.execute("select * from canary")}
    finally:
        warehouse.close()


def files(folder: Path) -> set[str]:
    return {os.fsencode(path).decode("utf-8", "replace") for path in folder.rglob("*")}


def run_main(words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> tuple[int, str]:
    """The exit code of a command line in this process, and what it complains of."""
    monkeypatch.setattr(sys, "argv", ["tidemark", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    complaint = capsys.readouterr().err
    code = ended.value.code
    return (code if isinstance(code, int) else int(code is not None)), complaint


def test_command_lines(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Each value in each place of each command."""
    before, outside = state(world), files(tmp_path / "inner")
    seen = set()
    for place, (command, parameter) in enumerate(slots()):
        if (command, name_of(parameter)) in LEFT_OUT:
            continue
        seen.add(command)
        is_path = "path" in type(parameter.type).__name__.lower()
        for value in values_for(command, parameter, place):
            words = arguments(command, parameter, value)
            code, complaint = run_main(words, monkeypatch, capsys)
            assert "Traceback" not in complaint
            assert (code == 0) or complaint.count("\n") <= 1, (words, complaint)
            assert code in (0, 1, 2), words
            if code:
                assert complaint.startswith("tidemark: ") or not complaint, (words, complaint)
            made = files(tmp_path / "inner") - outside
            named = str(Path.cwd() / value)
            for path in made:
                own = (named.encode("utf-8", "replace").decode(), str(Path.cwd() / "made"),
                       str(Path.cwd() / "out.csv"), str(Path.cwd() / "key"))  # fmt: skip
                allowed = own if is_path else own[1:]
                assert path.startswith(allowed) or allowed[0].startswith(path), (words, path)
            for path in sorted(made, reverse=True):
                _remove(Path(path))
    assert {"export", "identity explain", "explain advisor", "quarantine discard", "restatements",
            "contracts show", "run", "ingest", "keys retire"} <= seen  # fmt: skip
    assert state(world) == before
    assert files(tmp_path / "inner") == outside
    assert (Path.cwd() / "canary.txt").read_text(encoding="utf-8") == "sing"
    warehouse = open_warehouse(world)
    warehouse.execute("insert into canary values (9)")
    warehouse.close()
    assert state(world) != before, "a change would have been found"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in VARIABLES if n != "TIDEMARK_HOME"])
def test_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A value is refused in one line, or is one that can be used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path / "home"))
    if name == "TIDEMARK_POSTGRES_URL":
        monkeypatch.setenv("TIDEMARK_TARGET", "postgres")
    refused = 0
    some = HOSTILE[len(name) % 4 :: 4]
    values = (*some, "\udcff")
    if name == "TIDEMARK_POSTGRES_URL":
        values += tuple(f"postgresql://127.0.0.1:1/{value}" for value in FEW)
        values += tuple(f"postgresql://{value}@127.0.0.1:1/x" for value in FEW)
    for value in values:
        monkeypatch.setenv(name, value)
        code, complaint = run_main(["status"], monkeypatch, capsys)
        assert code == 1 and complaint.count("\n") == 1, (value, complaint)
        assert complaint.startswith("tidemark: ") and "Traceback" not in complaint
        refused += name in complaint or "Postgres" in complaint
    assert refused >= len(values) - 3
    assert [path.name for path in tmp_path.iterdir()] in ([], ["home"])


def test_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A folder may have any name: it is made as it is called, and nothing beside it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = tmp_path / "f.ndjson"
    path.write_text(json.dumps(event()), encoding="utf-8")
    for value in (*SQL[4:40:9], *TEMPLATES[:4:3], *SHELL[:11:5], "--x", "%s"):
        if "/" in value:
            continue
        monkeypatch.setenv("TIDEMARK_HOME", value)
        code, complaint = run_main(["ingest", str(path), "--quiet"], monkeypatch, capsys)
        assert (code, complaint) == (0, ""), value
        assert {p.name for p in here.iterdir()} == {value}
        with duckdb.connect(str(here / value / "warehouse.duckdb")) as connection:
            assert connection.execute("select count(*) from raw.events").fetchall() == [(1,)]
        for made in sorted(here.rglob("*"), reverse=True):
            _remove(made)


# -- Dagster ---------------------------------------------------------------------------------------


def test_partition_keys_and_tags(world: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and tags of a run are whatever a browser sent: a date, or nothing is run."""
    from orchestration import ledger
    from orchestration.definitions import build_definitions
    from orchestration.instance import open_instance
    from orchestration.run_resource import FULL_REFRESH_TAG

    before = state(world)
    definitions = build_definitions(world)
    with open_instance(world) as instance:
        for value in ("2026-03-03'; drop table canary; --", "{{ run_query('drop table canary') }}"):
            try:
                result = definitions.resolve_job_def(ledger.JOB).execute_in_process(
                    instance=instance,
                    tags={"dagster/asset_partition_range_start": value,
                          "dagster/asset_partition_range_end": "2026-03-04",
                          FULL_REFRESH_TAG: value},
                    raise_on_error=False,
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )  # fmt: skip
            except ValueError as refused:
                assert "does not match format" in str(refused) or "unconverted" in str(refused)
            else:
                assert not result.success
    after = state(world)
    for name in ("ops.etl_job_runs", "ops.check_results"):
        before.pop(name), after.pop(name)
    assert after == before


def test_only_dates_are_partitions() -> None:
    from orchestration.partitions import _date_of

    for value in (*HOSTILE, "20260301", "2026-W01-1", "2026-3-1x", "", "\0"):
        with pytest.raises(UserError, match="is no date"):
            _date_of(value)
    assert str(_date_of("2026-03-01")) == "2026-03-01"


# -- files and payloads ----------------------------------------------------------------------------


def test_payloads_and_names_of_files(settings: Settings, tmp_path: Path) -> None:
    """Values, names of properties and of files are stored as they are, and nothing else happens."""
    folder = tmp_path / "in"
    folder.mkdir()
    values = [value for value in HOSTILE if "\udcff" not in value and value.strip()]
    for number, value in enumerate(values):
        name = value.replace("/", "_")[:60].strip(". ") or "x"
        row = event(user_id=value, entity_id=value, provider=value, request_id=value,
                    properties={"order_id": value, value: value, "note": {value: [value]}},
                    context={"utm_source": value, "page_url": value, "user_agent": value})  # fmt: skip
        bad = {**row, "amount_cents": value, "event_id": value}
        with (folder / f"{number} {name}.ndjson").open("w", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n" + json.dumps(bad) + "\n")
    warehouse = open_warehouse(settings)
    warehouse.execute("create table canary as select 1 as x")
    tables = "select count(*) from information_schema.tables"
    before = warehouse.value(tables)
    warehouse.close()
    outside = files(tmp_path)
    results = ingest_paths([folder], settings=settings)
    assert [(r.accepted, r.rejected) for r in results] == [(1, 1)] * len(values)
    stored = {row["user_id"] for row in query(settings, "select user_id from raw.events")}
    hidden = {value for value in values if value.startswith("postgresql://")}
    assert stored >= set(values) - hidden
    assert len(query(settings, "select * from ops.rejected_events")) == len(values)
    assert query(settings, "select * from canary") == [{"x": 1}]
    assert query(settings, tables)[0].popitem()[1] in (before, before + 1)  # a month's partition
    made = {path for path in files(tmp_path) - outside if not path.startswith(str(settings.home))}
    assert not made
    noted = {row["file_name"] for row in query(settings, "select file_name from ops.loads")}
    assert len(noted) == len(values)


def test_csv_columns_and_maps(duckdb_settings: Settings, tmp_path: Path) -> None:
    """Names of columns, and what a map makes of them, are names."""
    base = event()
    for number, value in enumerate(FEW[::2]):
        if "\n" in value or "\udcff" in value:
            continue
        path = tmp_path / f"{number}.csv"
        cells = {k: v for k, v in base.items() if k != "properties"} | {value: value}
        cells["event_id"] = f"{number:08d}-0000-4000-8000-000000000000"

        def quote(texts: Sequence[Any]) -> str:
            return ",".join('"' + str(text).replace('"', '""') + '"' for text in texts)

        path.write_text(f"{quote(list(cells))}\n{quote(list(cells.values()))}\n", encoding="utf-8")
        mapping = {value: f"properties.{value}"}
        assert load(duckdb_settings, path, mapping=mapping).accepted == 1, value


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "deep", outside):
        folder.mkdir(parents=True)
        (folder / "a.ndjson").write_text("{}", encoding="utf-8")
    (inside / "file.ndjson").symlink_to(outside / "a.ndjson")
    (inside / "folder").symlink_to(outside)
    (inside / "up.ndjson").symlink_to("../outside/a.ndjson")
    (inside / "around").symlink_to(inside)
    (inside / "own.ndjson").symlink_to(inside / "deep" / "a.ndjson")
    (inside / "none.ndjson").symlink_to(tmp_path / "nowhere")
    os.mkfifo(inside / "pipe.ndjson")
    found = find_files([inside])
    assert {path.relative_to(inside).as_posix() for path in found} == {
        "deep/a.ndjson",
        "own.ndjson",
    }


def test_what_is_decompressed_is_bounded(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.source_files.BOMB_BYTES", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    path = tmp_path / "bomb.ndjson.gz"
    path.write_bytes(packer.compress(b"\n" * (8 << 20)) + packer.flush())
    result = load(duckdb_settings, path)
    assert result.status == "failed" and "500 times its size" in str(result.error)


def test_a_map_that_grows_without_end_is_refused(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("TIDEMARK_HOME", str(duckdb_settings.home))
    lines = ["a0: &a0 [x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)
    ]
    (tmp_path / "map.yml").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "code.yml").write_text("a: !!python/object/apply:os.system ['touch stolen']",
                                       encoding="utf-8")  # fmt: skip
    (tmp_path / "deep.yml").write_text("[" * 100_000, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("map.yml", "code.yml", "deep.yml"):
        code, complaint = run_main(["ingest", "x.csv", "--map", name], monkeypatch, capsys)
        assert code == 1 and complaint.count("\n") == 1
    assert not (tmp_path / "stolen").exists()


def test_the_session_that_types_events_reaches_nothing_else(
    settings: Settings, tmp_path: Path
) -> None:
    """No file, database, extension or setting, by SQL that would have got in; loading goes on."""
    from ingest.loader import Loader

    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n", encoding="utf-8")
    warehouse = open_warehouse(settings)
    try:
        engine = Loader(warehouse, settings, mapping={}).engine.connection
        for statement in (
            f"select * from read_csv('{secret}')", f"select * from read_text('{secret}')",
            f"from '{secret}'", f"select * from glob('{tmp_path}/*')",
            f"copy (select 1) to '{tmp_path}/stolen.csv'", f"attach '{tmp_path}/stolen.db' as s",
            f"export database '{tmp_path}/stolen'", "install httpfs", "load httpfs",
            "set enable_external_access = true", f"set allowed_directories = ['{tmp_path}']",
            f"copy (select 1) to '{settings.home}/spool/../stolen.csv'",
            "select * from 'https://127.0.0.1:9/x.csv'",
        ):  # fmt: skip
            with pytest.raises(duckdb.Error):
                engine.execute(statement)
        assert engine.execute("select 1").fetchall() == [(1,)]
    finally:
        warehouse.close()
    assert load(settings, tmp_path / "f.ndjson", json.dumps(event()).encode()).accepted == 1
    assert not list(tmp_path.glob("**/stolen*"))


# -- reference data --------------------------------------------------------------------------------


def test_names_in_seeds() -> None:
    """What names a mart or its column is refused when there is none of that name."""
    from orchestration.dbt_project import PROJECT_DIR, _rows

    seeds = {path.stem: _rows(path) for path in (PROJECT_DIR / "seeds").rglob("*.csv")}
    for column, value in (("relation", "alerts'; drop table canary; --"),
                          ("metric", "{{ run_query('drop table canary') }}")):  # fmt: skip
        first, *others = seeds["alert_rules"]
        with pytest.raises(UserError, match=column):
            judge(PROJECT_DIR, {**seeds, "alert_rules": [{**first, column: value}, *others]})


def test_sql_of_seeds_is_theirs_alone() -> None:
    """No model or macro puts a value of a seed into SQL: none asks for one while it is compiled."""
    from orchestration.dbt_project import PROJECT_DIR

    asked = re.compile(r"(?:run_query|single_value|run_query_rows)\s*\(")
    seeds = {path.stem for path in (PROJECT_DIR / "seeds").rglob("*.csv")}
    for path in [
        *(PROJECT_DIR / "macros").rglob("*.sql"),
        *(PROJECT_DIR / "models").rglob("*.sql"),
    ]:
        text = path.read_text(encoding="utf-8")
        for found in asked.finditer(text):
            part = text[found.start() : found.start() + 400]
            assert not [seed for seed in seeds if re.search(rf"\b{seed}\b", part)], path.name

"""The command line: one line for a mistake, results for people and programs, and no waiting."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import duckdb
import pytest

from ingest.door import find_files
from ingest.errors import UserError
from ingest.settings import Settings, load_settings
from ingest.warehouse import Warehouse, duckdb_connection, open_warehouse
from ingest.yaml_files import read_yaml
from orchestration import runs
from orchestration.dbt_project import PROJECT_DIR
from orchestration.summary import _advisors, _figures, run_lines, sparkline, summary_lines
from tests.command_line import MAIN, assert_one_line_error, environment, tidemark
from tests.events import line
from tests.faults.files import cut
from tests.test_orchestration import load, project, short_suite, tiny
from tests.waiting import PATIENCE_SECONDS, wait_until

__all__ = ["project", "short_suite", "tiny"]

# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--start", "yesterday"), ("--start", "2026-03-31")),
        (("run", "--start", "2026-02-30"), ("--start",)),
        (("status",), ("there is no warehouse", "tidemark ingest PATH")),
        (("summary",), ("nothing was published yet", "tidemark run")),
        (("export", "x", "--out", "x.csv"), ("nothing was published yet",)),
        (("export", "x", "--out", "x.csv", "--format", "xls"), ("csv, parquet, json",)),
        (("export", "x", "--out", "no/where/x.csv"), ("is no folder",)),
        (("ingest", "nowhere.ndjson"), ("nowhere.ndjson does not exist",)),
        (("generate", "--size", "huge", "--out", "x"), ("small, medium, large",)),
        (("generate", "--size", "0", "--out", "x"), ("--size is '0'; use a number from 1",)),
        (("generate", "--end", "0001-01-01", "--out", "x"), ("cannot end on 0001-01-01",)),
        (
            ("generate", "--late", "0.7", "--out", "x"),
            ("--late is 0.7; give a share from 0 to 0.5",),
        ),
        (("generate", "--out", str(PROJECT_DIR)), ("is not empty", "choose another folder")),
        (("contracts", "show", "nothing"), ("nothing",)),
    ],
)
def test_mistake_is_one_line(
    duckdb_settings: Settings, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_line_error(tidemark(duckdb_settings, *arguments), *words)


def test_unusable_settings_are_one_line(duckdb_settings: Settings) -> None:
    result = tidemark(duckdb_settings, "status", TIDEMARK_TIMEZONE="Mars/Olympus")
    assert_one_line_error(result, "TIDEMARK_TIMEZONE", "IANA")
    for name in ("TIDEMARK_TRAGET", "TIDEMARK_PGFOO", "TIDEMARK_TEST_X", "TIDEMARK_DBT_X"):
        assert_one_line_error(tidemark(duckdb_settings, "status", **{name: "x"}), name)
    url = "postgresql://nobody:secretword@127.0.0.1:1/none"
    result = tidemark(duckdb_settings, "run", TIDEMARK_TARGET="postgres", TIDEMARK_POSTGRES_URL=url)
    assert_one_line_error(result, "Postgres cannot be reached")
    assert "secretword" not in result.stderr


def test_time_zones_are_those_of_every_engine(duckdb_settings: Settings) -> None:
    for name in ("localtime", "posixrules", "posix/Asia/Kolkata", "right/UTC"):
        result = tidemark(duckdb_settings, "status", TIDEMARK_TIMEZONE=name)
        assert_one_line_error(result, f"TIDEMARK_TIMEZONE is {name!r}", "such as Asia/Kolkata")
    known = {row[0] for row in duckdb.sql("select name from pg_timezone_names()").fetchall()}
    for name in sorted(available_timezones() - {"localtime"}):
        assert load_settings({"TIDEMARK_TIMEZONE": name}).timezone == name
        # A machine may know a city before DuckDB does, but no other kind of name.
        assert "/" in name or name in known


def test_a_home_is_a_folder(duckdb_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for home in ("file", "file/home", "link"):
        for command in ("status", "doctor"):
            result = tidemark(duckdb_settings, command, TIDEMARK_HOME=str(tmp_path / home))
            assert_one_line_error(
                result, f"TIDEMARK_HOME is {tmp_path / home}; it must be a folder"
            )


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql://us:hid@den@127.0.0.1:1/x", False),
        ("postgresql://us:hid@den@127.0.0.1:99999/x", False),
        ("postgresql://us:hid/den@127.0.0.1:1/x", False),
        ("postgresql://us:12/den@127.0.0.1:1/x", False),
        ("postgresql://us:hid?de@den@127.0.0.1:1/x", False),
        ("postgresql://us:hid/de?den@127.0.0.1:1/x", False),
        ("postgresql://us:hid@[den@127.0.0.1:1/x", False),
        ("postgresql://us:hid[den@127.0.0.1:1/x", True),
        ("postgresql://us:hid%40%2F%3Aden@127.0.0.1:1/x", True),
        ("postgresql://us:hid:d#en@[::1]:1,127.0.0.1,b:2/x?user=a@b", True),
        ("postgres:///x?host=/tmp&user=a@b", True),
        ("postgresql://%2Ftmp", True),
    ],
)
def test_an_address_whose_password_ends_early_is_refused_unseen(
    duckdb_settings: Settings, url: str, kept: bool
) -> None:
    if kept:
        assert load_settings({"TIDEMARK_POSTGRES_URL": url}).postgres_url == url
        return
    settings = replace(duckdb_settings, target="postgres", postgres_url=url)
    result = tidemark(settings, "status")
    assert_one_line_error(result, "TIDEMARK_POSTGRES_URL", "@ as %40, / as %2F and : as %3A")
    assert "hid" not in result.stderr and "den" not in result.stderr


def test_unknown_option_says_how_it_is_used(duckdb_settings: Settings) -> None:
    result = tidemark(duckdb_settings, "run", "--form", "2026-03-01")
    assert result.returncode == 2
    assert "No such option" in result.stderr
    assert "Traceback" not in result.stderr


def test_every_command_explains_itself(duckdb_settings: Settings) -> None:
    result = tidemark(duckdb_settings, "--help")
    assert result.returncode == 0
    for name in ("ingest", "run", "status", "quarantine", "contracts", "generate", "publish",
                 "export", "ui", "serve", "doctor", "dbt", "summary"):  # fmt: skip
        assert f"\n  {name} " in result.stdout
    for name in ("run", "export", "quarantine", "contracts"):
        shown = tidemark(duckdb_settings, name, "--help").stdout
        assert "Usage: tidemark" in shown
        assert "\\[" not in shown


def test_what_could_not_be_read_is_said_and_the_rest_loaded(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    """Quiet or not, the first time and the next; an empty folder is no failure."""
    (tmp_path / "good.ndjson").write_bytes(line() + b"\n")
    (tmp_path / "cut.ndjson.gz").write_bytes(cut(line() + b"\n"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty").mkdir()
    names = ("cut.ndjson.gz", "nowhere", "bad.parquet", "empty", "good.ndjson")
    words = [str(tmp_path / name) for name in names]
    first = tidemark(duckdb_settings, "ingest", *words)
    quiet = tidemark(duckdb_settings, "ingest", "--quiet", *words)
    assert (first.returncode, quiet.returncode, quiet.stdout) == (1, 1, "")
    assert [text.rpartition(" ")[2] for text in first.stdout.splitlines()] == [
        "(partial)", "(failed)", "(loaded)",
    ]  # fmt: skip
    said = first.stderr.splitlines()
    assert all(text.startswith("tidemark: ") and len(text) < 300 for text in said)
    assert [text for text in said if "no event files in" not in text] == quiet.stderr.splitlines()
    (missing, empty, partial, failed) = said
    assert f"{tmp_path / 'nowhere'} does not exist" in missing
    assert f"{tmp_path / 'empty'} (names that end in .ndjson, .jsonl, .json, .csv or" in empty
    assert partial == "tidemark: cut.ndjson.gz: the file is cut short"
    assert failed.startswith("tidemark: bad.parquet: it is no sound Parquet file")
    nothing = tidemark(duckdb_settings, "ingest", str(tmp_path / "empty"))
    assert (nothing.returncode, nothing.stderr) == (0, empty + "\n")


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Take away the right to read a file or folder, from root too."""
    closed: set[Path] = set()

    def guard(module: Any, name: str, answer: Any = None) -> None:
        real = getattr(module, name)

        def guarded(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            given = Path() if isinstance(path, int) else Path(path)
            if closed & {*given.parents} or (name != "stat" and given in closed):
                if answer is not None:
                    return answer
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(module, name, guarded)

    guard(os, "access", answer=False)
    guard(os, "scandir")
    guard(Path, "stat")
    guard(Path, "open")
    yield closed.add
    closed.clear()


def test_what_may_not_be_read_is_said_and_the_rest_loaded(
    duckdb_settings: Settings, tmp_path: Path, unreadable: Callable[[Path], None]
) -> None:
    for name in ("closed.ndjson", "open.ndjson"):
        (tmp_path / name).write_bytes(line() + b"\n")
    unreadable(tmp_path / "closed.ndjson")
    words = [str(tmp_path / name) for name in ("closed.ndjson", "open.ndjson")]
    result = tidemark(duckdb_settings, "ingest", *words)
    assert result.stderr == "tidemark: closed.ndjson cannot be read: Permission denied\n"
    assert result.returncode == 1
    assert "open.ndjson: read 1, accepted 1" in result.stdout
    unreadable(tmp_path / "map.yml")
    (tmp_path / "map.yml").touch()
    result = tidemark(duckdb_settings, "ingest", words[1], "--map", str(tmp_path / "map.yml"))
    assert_one_line_error(result, "map.yml", "Permission denied")


def test_folders_that_may_not_be_read_are_said_and_the_rest_loaded(
    duckdb_settings: Settings, tmp_path: Path, unreadable: Callable[[Path], None]
) -> None:
    """In a folder or by name; a folder of which nothing could be seen is not called empty."""
    folder = tmp_path / "in"
    for name in ("closed", "open"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.ndjson").write_bytes(line() + b"\n")
    unreadable(folder / "closed")
    result = tidemark(duckdb_settings, "ingest", str(folder))
    said = f"tidemark: {folder / 'closed'} cannot be read: Permission denied\n"
    assert (result.returncode, result.stderr) == (1, said)
    assert "open.ndjson: read 1, accepted 1" in result.stdout
    within = folder / "closed" / "closed.ndjson"
    result = tidemark(
        duckdb_settings, "ingest", str(folder / "closed"), str(within), str(folder / "open")
    )
    said += f"tidemark: {within} cannot be read: Permission denied\n"
    assert (result.returncode, result.stderr) == (1, said)
    assert "open.ndjson: read 1" in result.stdout
    with pytest.raises(UserError, match="closed cannot be read: Permission denied"):
        find_files([folder])


def test_an_empty_path_is_not_the_folder_one_is_in(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.ndjson").write_bytes(line() + b"\n")
    monkeypatch.chdir(tmp_path)
    for words in (("",), ("here.ndjson", "")):
        assert_one_line_error(tidemark(duckdb_settings, "ingest", *words), "a path is empty")
    assert "here.ndjson: read 1, accepted 1" in tidemark(duckdb_settings, "ingest", ".").stdout


def test_a_map_with_a_column_twice_is_refused(duckdb_settings: Settings, tmp_path: Path) -> None:
    for text in ("a: user_id\nb: currency\na: entity_id\n", '{"a": "user_id", "a": "entity_id"}'):
        (tmp_path / "map.yml").write_text(text)
        result = tidemark(duckdb_settings, "ingest", "x.csv", "--map", str(tmp_path / "map.yml"))
        assert_one_line_error(result, "map.yml names column 'a' twice")


def test_strict_says_each_time_that_lines_were_rejected(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "bad.ndjson").write_bytes(line() + b"\n{\n[]\n")
    for status in ("(loaded)", "(already_loaded)"):
        result = tidemark(duckdb_settings, "ingest", "--strict", str(tmp_path / "bad.ndjson"))
        assert (result.returncode, status in result.stdout) == (2, True)
        assert result.stderr == (
            "tidemark: 2 lines were rejected; see 'tidemark quarantine list'\n"
        )
    assert "read 3, accepted 0, duplicates 1, rejected 2" in result.stdout


def test_quarantine_and_drift_say_how_much_is_not_shown(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    properties = {f"unheard_of_{number}": number for number in range(26)}
    (tmp_path / "bad.ndjson").write_bytes(line(properties=properties) + b"\n{" * 60)
    assert tidemark(duckdb_settings, "ingest", str(tmp_path / "bad.ndjson")).returncode == 0

    def said(*words: str) -> str:
        result = tidemark(duckdb_settings, *words)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    for limit, shown in (((), 50), (("--limit", "7"), 7)):
        lines = said("quarantine", "list", *limit).splitlines()
        assert (len(lines), lines[-1]) == (shown + 2, f"{shown} of 60; --limit shows more")
    assert " of 60" not in said("quarantine", "list", "--limit", str(2**63 - 1))
    assert len(json.loads(said("quarantine", "list", "--json"))) == 60
    assert len(json.loads(said("quarantine", "list", "--json", "--limit", "7"))) == 7
    assert said("quarantine", "list", "--load", "99") == (
        "no open rejected input fits; 60 are open in all\n"
    )
    assert len(json.loads(said("status", "--json"))["drift"]) == 26
    assert "and 21 more; 'tidemark status --json' shows all" in said("status")
    for command in ("list", "replay", "discard"):
        for option in ("--limit", "--load") if command == "list" else ("--load",):
            result = tidemark(duckdb_settings, "quarantine", command, option, "9" * 20)
            assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    for command in ("replay", "discard"):
        result = tidemark(duckdb_settings, "quarantine", command, "1", "77")
        assert_one_line_error(result, "there is no open rejected input 77")
    assert said("quarantine", "discard", "1", "2") == "2 discarded\n"
    assert said("quarantine", "discard", "--load", "1") == "58 discarded\n"
    assert said("quarantine", "list", "--load", "1") == "the quarantine is empty\n"


def test_names_with_odd_signs_do_not_break_a_table(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    names = ("a\tb", "c\nd", "e\x1b[31mf", "größe✓")
    (tmp_path / "f.ndjson").write_bytes(line(properties=dict.fromkeys(names, 1)))
    assert tidemark(duckdb_settings, "ingest", str(tmp_path / "f.ndjson")).returncode == 0
    shown = tidemark(duckdb_settings, "status").stdout.partition("kept in extra)\n")[2]
    assert [text.split()[1:] for text in shown.splitlines()[1:]] == [
        [r"a\tb", "1"], [r"c\nd", "1"], [r"e\x1b[31mf", "1"], ["größe✓", "1"],
    ]  # fmt: skip


# -- what it costs -------------------------------------------------------------------------------

#: pandas is not among them: DuckDB imports it by itself for its first bound value.
HEAVY = ("dagster", "dbt", "great_expectations", "sqlalchemy", "pyspark")


def test_loading_a_file_does_not_wait_for_heavy_libraries(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "a.ndjson"
    file.write_bytes(line())
    code = MAIN.replace(
        "main()\n",
        "\ntry:\n    main()\nfinally:\n"
        f"    print([n for n in {HEAVY} if n in sys.modules], file=sys.stderr)\n",
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "ingest", str(file)],
        env=environment(duckdb_settings), capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("contracts list", 0),
        ("contracts list --json", 0),
        ("quarantine list --json", 0),
        ("--help", 0),
        ("contracts export --help", 0),
        ("contracts show nothing", 1),
    ],
)
def test_who_reads_no_further_has_seen_enough(
    duckdb_settings: Settings, arguments: str, code: int
) -> None:
    open_warehouse(duckdb_settings).close()
    gone, pipe = os.pipe()
    os.close(gone)
    for errors in (subprocess.PIPE, subprocess.STDOUT):
        result = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments.split()], env=environment(duckdb_settings),
            stdout=pipe, stderr=errors, text=True,
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        assert (result.stderr or "").count("\n") == (code and errors == subprocess.PIPE)
    os.close(pipe)


@pytest.mark.parametrize("arguments", ["contracts list", "status --json"])
def test_output_that_has_no_room_is_one_line(
    duckdb_settings: Settings, tmp_path: Path, arguments: str
) -> None:
    open_warehouse(duckdb_settings).close()
    with (tmp_path / "out").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments.split()],
            env=environment(duckdb_settings), stdout=full, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )  # fmt: skip
    assert_one_line_error(result, "the disk is full", "make room")


# -- the way through -----------------------------------------------------------------------------


def test_from_file_to_figures(duckdb_settings: Settings, project: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(line(user_id="u1") + b"\n{broken\n")
    result = tidemark(duckdb_settings, "ingest", str(file))
    assert result.returncode == 0, result.stderr
    assert "accepted 1" in result.stdout
    assert "rejected 1" in result.stdout

    result = tidemark(duckdb_settings, "run")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "succeeded: 1 dates, 2026-03-01 .. 2026-03-01" in result.stdout
    assert "metrics_hourly_activity 1" in result.stdout
    assert "publication 1, data through 2026-03-01" in result.stdout

    state = json.loads(tidemark(duckdb_settings, "status", "--json").stdout)
    assert state["loads"]["accepted"] == 1
    assert state["partitions"]["stale"] == 0
    assert state["published"]["data_through"] == "2026-03-01"
    assert state["quarantine"]["by_reason"] == {"malformed_json": 1}
    assert state["runs"][0]["status"] == "succeeded"
    assert state["checks"]["failed"] == 0
    text = tidemark(duckdb_settings, "status").stdout
    assert "none stale" in text
    assert "quarantine: 1 open (malformed_json 1)" in text
    assert "malformed_json" in tidemark(duckdb_settings, "quarantine", "list").stdout

    out = tmp_path / "users.csv"
    result = tidemark(duckdb_settings, "export", "daily_users", "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert out.read_text().splitlines()[0] == "metric_date,users"
    assert tidemark(duckdb_settings, "run").stdout.startswith("nothing to run: nothing is stale")


def test_failed_check_is_one_line_and_shown_first(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, 3, amount_cents=666)
    load(duckdb_settings, 4, amount_cents=333)
    result = tidemark(duckdb_settings, "run", "--quiet")
    assert_one_line_error(result, "no_devilish_amount", "blocked")
    assert result.stdout == ""
    assert_one_line_error(tidemark(duckdb_settings, "publish"), "not published")
    state = json.loads(tidemark(duckdb_settings, "status", "--json").stdout)
    names = [check["check"] for check in state["checks"]["not_passed"]]
    assert names[0] == "no_devilish_amount"
    assert "no_odd_amount" in names
    assert state["runs"][0]["status"] == "blocked"


def test_progress_is_for_terminals(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, 3)
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN, "run"], env=environment(duckdb_settings),
        stdout=subprocess.PIPE, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 4096):
            shown += part
    except OSError:
        pass
    assert child.wait(timeout=PATIENCE_SECONDS) == 0
    assert "█".encode() in shown
    assert b"daily_users" in shown


def test_duckdb_draws_nothing_between_what_a_command_prints(duckdb_settings: Settings) -> None:
    shown = "select current_setting('enable_progress_bar')"
    with open_warehouse(duckdb_settings) as warehouse:
        assert warehouse.value(shown) is False
        assert warehouse.connection.cursor().execute(shown).fetchone() == (False,)
    assert duckdb_connection().execute(shown).fetchone() == (False,)
    # Of dbt's connections its profile says so.
    profiles = read_yaml(PROJECT_DIR / "profiles.yml")
    settings = profiles["tidemark"]["outputs"]["duckdb"]["settings"]
    assert settings == {"enable_progress_bar": False}
    # Nobody connects by another way.
    for folder in ("ingest", "orchestration", "expectations"):
        for path in (PROJECT_DIR.parent / folder).rglob("*.py"):
            calls = path.read_text(encoding="utf-8").count("duckdb.connect(")
            assert calls == (path.name == "warehouse.py"), path


def parsed(settings: Settings) -> bool:
    return (settings.dbt_target_path / "fingerprint").exists()


def building(settings: Settings) -> bool:
    log = settings.home / "logs" / "dbt" / "dbt.log"
    return log.exists() and "START" in log.read_text(encoding="utf-8")


def checking(settings: Settings) -> bool:
    log = settings.home / "logs" / "dbt" / "dbt.log"
    return log.exists() and "PASS" in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("moment", [parsed, building, checking])
def test_interrupt_of_a_run_ends_with_130_and_one_line(
    duckdb_settings: Settings, project: Path, moment: Callable[[Settings], bool]
) -> None:
    load(duckdb_settings, 3)
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN, "run"], env=environment(duckdb_settings),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    wait_until(lambda: moment(duckdb_settings), "the run does not get there")
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 130, errors
    assert errors.strip().splitlines()[-1].startswith("tidemark: stopped")
    assert "Traceback" not in errors
    assert not (duckdb_settings.home / "published" / "tidemark.duckdb").exists()
    assert runs.run(duckdb_settings).status == "succeeded"


#: The program as pyproject.toml names it, stopped for a while where it looks for a module.
START = """
import importlib, sys, time, tomllib
from pathlib import Path
project, place, ignored, *words = sys.argv[1:]
if ignored == "ignored":
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
script = tomllib.loads(Path(project).read_text())["project"]["scripts"]["tidemark"]
module, name = script.split(":")

class Looked:
    def find_spec(self, name, *_):
        if name == place:
            print("here", flush=True)
            time.sleep(2 if ignored == "ignored" else 30)

sys.meta_path.insert(0, Looked())
sys.argv = ["tidemark", *words]
getattr(importlib.import_module(module), name)()
"""


@pytest.mark.parametrize(
    ("place", "ignored", "code", "said"),
    [
        ("orchestration.cli.main", "", 130, "tidemark: stopped; nothing half-done was kept\n"),
        ("typer", "", 130, "tidemark: stopped; nothing half-done was kept\n"),
        ("ingest.settings", "", 130, "tidemark: stopped; nothing half-done was kept\n"),
        ("orchestration.outages", "", 130, "tidemark: stopped; nothing half-done was kept\n"),
        ("orchestration.cli.main", "ignored", 0, ""),
    ],
)
def test_interrupt_while_the_command_line_is_imported(
    duckdb_settings: Settings, place: str, ignored: str, code: int, said: str
) -> None:
    project = str(PROJECT_DIR.parent / "pyproject.toml")
    child = subprocess.Popen(
        [sys.executable, "-c", START, project, place, ignored, "--help"],
        env=environment(duckdb_settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=PATIENCE_SECONDS)
    assert (child.returncode, errors) == (code, said)


def test_dbt_passes_through_with_the_environment(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, 3)
    result = tidemark(duckdb_settings, "dbt", "ls", "--resource-type", "model", "--quiet")
    assert result.returncode == 0, result.stderr
    assert "tidemark.marts.daily_users" in result.stdout
    assert tidemark(duckdb_settings, "dbt", "run", "--select", "nothing_else+").returncode == 0


def test_doctor_finds_what_is_there_and_what_is_not(
    duckdb_settings: Settings, project: Path
) -> None:
    load(duckdb_settings, 3)
    found = {f["name"]: f for f in json.loads(tidemark(duckdb_settings, "doctor", "--json").stdout)}
    assert found["warehouse"]["ok"]
    assert found["dbt project"]["ok"]
    assert "development key" in found["hash keys"]["text"]
    assert "nothing yet" in found["published"]["text"]


def answer(port: int) -> str:
    """What the web server says of itself; nothing while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info") as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def test_web_page_comes_up_and_goes_down_with_its_children(
    duckdb_settings: Settings, project: Path
) -> None:
    import socket

    load(duckdb_settings, 3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN, "ui", "--port", str(port)], env=environment(duckdb_settings),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: "dagster_webserver_version" in answer(port), "the page does not come up")
        assert_one_line_error(tidemark(duckdb_settings, "ui", "--port", str(port)), "in use")
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 0
    import psutil

    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if str(duckdb_settings.home) in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []


# -- words ---------------------------------------------------------------------------------------


def test_sparklines() -> None:
    assert sparkline([0, 7]) == "▁█"
    assert sparkline([1, None, 1]) == "▁ ▁"
    assert sparkline([None]) == ""


def test_figures_over_days_weigh_a_day_by_its_numbers() -> None:
    last = date(2026, 3, 31)
    warehouse = Warehouse("duckdb", duckdb.connect())
    for sql in (
        "create schema marts",
        "create table marts.metrics_daily_payments as select date '2026-03-31' - cast(n as integer)"
        " as metric_date, 'USD' as currency, 0 as gross_amount_cents, s as payments_succeeded, "
        "a as payments_attempted from (values (0, 0, 1), (1, 999, 999), (2, 0, 0)) as made (n, s, a)",
        "create table marts.advisor_health_scores as select date '2026-03-31' as as_of_date, "
        "score as health_score, category from (values (95, 'star'), (60, 'fair'), (97, 'star'), "
        "(10, 'lost')) as made (score, category)",
    ):
        warehouse.execute(sql)
    rates = {line[:22].strip(): line[22:].split()[:2] for line in _figures(warehouse, last)}
    assert rates["payment success"] == ["99.9", "%"]
    # Categories are reference data: those that were published, the best one first.
    told = [line.split()[:2] for line in _advisors(warehouse, last)]
    assert told == [[], ["advisors", "by"], ["star", "2"], ["fair", "1"], ["lost", "1"]]


def test_summary_is_one_screen(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, *range(1, 29))
    summary = runs.run(duckdb_settings)
    lines = run_lines(summary) + summary_lines(duckdb_settings)
    assert len(lines) <= 50
    assert all(len(text) <= 120 for text in lines)
    assert any("tidemark ui" in text for text in lines)


def test_summary_of_postgres_reads_the_database(postgres_settings: Settings, project: Path) -> None:
    load(postgres_settings, 3)
    runs.run(postgres_settings)
    assert any("publication 1" in text for text in summary_lines(postgres_settings))


def test_status_on_postgres(postgres_settings: Settings, project: Path) -> None:
    from orchestration import status

    load(postgres_settings, 3)
    runs.run(postgres_settings)
    state: dict[str, Any] = status.status(postgres_settings)
    assert state["partitions"]["stale"] == 0
    assert state["target"] == "postgres"
    assert any("none stale" in text for text in status.render(state))

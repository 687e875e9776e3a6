"""Everything is gone: from an empty machine, a backup and the source files to published marts.

Belongs here: the drill that ``docs/operations.md`` describes, step by step with its times, by the
command a user types. The end has to be the marts of the home that was lost.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from ingest.settings import Settings, load_settings
from ingest.simulator import simulate
from tests.command_line import MAIN, environment
from tests.faults import tables
from tests.postgres import new_database, program, running_server

#: Events and days of the made-up company; a backup is as old as the last tenth of them.
SHORT, LONG = (3_000, 20), (200_000, 90)


def _typed(settings: Settings, *arguments: str) -> float:
    """Run a command in a process of its own; return its seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], env=environment(settings), check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{' '.join(arguments[:1])}: {done.stderr.strip()}")
    return time.monotonic() - began


@contextmanager
def _home(folder: Path, name: str, target: str) -> Iterator[Settings]:
    """A home that has nothing; on Postgres with a server of its own, as on another machine."""
    home = {"TIDEMARK_HOME": str(folder / name), "TIDEMARK_TARGET": target}
    if target == "duckdb":
        yield load_settings(home)
        return
    with running_server() as server, new_database(server) as url:
        yield load_settings(home | {"TIDEMARK_POSTGRES_URL": url})


def _back_up(settings: Settings, path: Path) -> None:
    """Put the warehouse aside, as the documentation says it is done."""
    if settings.postgres_url is None:
        shutil.copy(settings.warehouse_path, path)
    else:
        _done(program("pg_dump"), "--format=custom", f"--file={path}", settings.postgres_url)


def _put_back(settings: Settings, path: Path) -> float:
    """Put a backup where there is nothing; return the seconds it took."""
    began = time.monotonic()
    if settings.postgres_url is None:
        settings.home.mkdir()
        shutil.copy(path, settings.warehouse_path)
    else:
        # A dump of a database has no roles.
        _typed(settings, "migrate")
        _done(
            program("pg_restore"), "--clean", "--if-exists", "--exit-on-error",
            f"--dbname={settings.postgres_url}", str(path),
        )  # fmt: skip
    return time.monotonic() - began


def _done(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{Path(command[0]).name}: {done.stderr.strip()}")


def _published(settings: Settings) -> dict[str, list[Any]]:
    """Return every published row, as text, in order."""
    opened: Any
    if settings.postgres_url is None:
        opened = duckdb.connect(str(settings.published_path), read_only=True)
    else:
        opened = psycopg.connect(settings.postgres_url)
    with opened as connection:
        names = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'marts' "
            "and table_type = 'BASE TABLE' order by table_name"
        ).fetchall()
        return {
            name: sorted(
                [_text(value) for value in row]
                for row in connection.execute(f'select * from marts."{name}"').fetchall()
            )
            for (name,) in names
        }


def _text(value: Any) -> str:
    """Return a cell as text; a sum of floats depends on its order in the last digits."""
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


def drill(folder: Path, target: str, events: int, days: int) -> tuple[list[list[str]], list[str]]:
    """Lose a home and get it back in two ways; return a row for each, and what was not equal."""
    made = simulate(days=days, size=events, seed=9, out=folder / "made", end=date(2026, 3, 31))
    files = sorted(made.files)
    early, late = files[: -len(files) // 10], files[-len(files) // 10 :]
    backup = folder / "backup"
    with _home(folder, "lost", target) as lost:
        _typed(lost, "ingest", *map(str, early))
        _typed(lost, "run")
        _back_up(lost, backup)
        _typed(lost, "ingest", *map(str, late))
        _typed(lost, "run")
        wanted = _published(lost)
        shutil.rmtree(lost.home)
    assert wanted, "the home that was lost had no marts"
    rows, wrong = [], []
    for way in ("backup and files", "files alone"):
        with _home(folder, way.replace(" ", "-"), target) as home:
            put_back = _put_back(home, backup) if way.startswith("backup") else 0.0
            seconds = [put_back, _typed(home, "ingest", str(folder / "made" / "events"))]
            seconds.append(_typed(home, "run"))
            found = _published(home)
        unequal = [name for name in wanted if found.get(name) != wanted[name]]
        wrong += [f"{target}, {way}: {name} is not what was lost" for name in unequal]
        rows.append(
            [target, way, f"{made.events:,}", str(days), *(f"{each:.1f}" for each in seconds),
             f"{sum(seconds):.1f}", f"{len(wanted) - len(unequal)} of {len(wanted)}"]
        )  # fmt: skip
    return rows, wrong


HEAD = (
    "target", "from", "events", "days", "put back, s", "ingest, s", "run, s", "whole, s",
    "marts equal",
)  # fmt: skip


def run(*, long: bool) -> list[str]:
    """Do the drill, print and keep its table; return what was not equal."""
    events, days = LONG if long else SHORT
    rows: list[list[str]] = [list(HEAD)]
    wrong: list[str] = []
    for target in ("duckdb", "postgres"):
        with tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder:
            found, unequal = drill(Path(folder), target, events, days)
        rows += found
        wrong += unequal
    tables.write(
        "drill",
        "From an empty machine to published marts",
        rows,
        "The lost home had a backup from before the last tenth of its files; on Postgres the empty "
        "machine has a server of its own, without our roles. Whatever the backup, all source files "
        "are given again: those it knows are passed over.",
        wrong,
    )
    return wrong

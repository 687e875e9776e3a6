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
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from ingest.settings import Settings, load_settings
from ingest.simulator import simulate
from tests.command_line import MAIN, environment
from tests.faults import tables

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


def _published(settings: Settings) -> dict[str, list[Any]]:
    """Return every published row, as text, in order."""
    with duckdb.connect(str(settings.published_path), read_only=True) as connection:
        names = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'marts' "
            "and table_type = 'BASE TABLE' order by all"
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


def _home(folder: Path, name: str) -> Settings:
    return load_settings({"TIDEMARK_HOME": str(folder / name)})


def drill(folder: Path, events: int, days: int) -> tuple[list[list[str]], list[str]]:
    """Lose a home and get it back in two ways; return a row for each, and what was not equal."""
    made = simulate(days=days, size=events, seed=9, out=folder / "made", end=date(2026, 3, 31))
    files = sorted(made.files)
    early, late = files[: -len(files) // 10], files[-len(files) // 10 :]
    lost = _home(folder, "lost")
    _typed(lost, "ingest", *map(str, early))
    _typed(lost, "run")
    backup = folder / "backup"
    backup.mkdir()
    shutil.copy(lost.warehouse_path, backup)
    _typed(lost, "ingest", *map(str, late))
    _typed(lost, "run")
    wanted = _published(lost)
    shutil.rmtree(lost.home)
    rows, wrong = [], []
    for way in ("backup and files", "files alone"):
        home = _home(folder, way.replace(" ", "-"))
        began = time.monotonic()
        if way.startswith("backup"):
            home.home.mkdir()
            shutil.copy(backup / lost.warehouse_path.name, home.warehouse_path)
        put_back = time.monotonic() - began
        seconds = [put_back, _typed(home, "ingest", str(folder / "made" / "events"))]
        seconds.append(_typed(home, "run"))
        found = _published(home)
        unequal = [name for name in wanted if found.get(name) != wanted[name]]
        wrong += [f"{way}: {name} is not what was lost" for name in unequal]
        rows.append(
            [way, f"{made.events:,}", str(days), *(f"{each:.1f}" for each in seconds),
             f"{sum(seconds):.1f}", f"{len(wanted) - len(unequal)} of {len(wanted)}"]
        )  # fmt: skip
    return rows, wrong


def run(*, long: bool) -> list[str]:
    """Do the drill, print and keep its table; return what was not equal."""
    events, days = LONG if long else SHORT
    with tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder:
        rows, wrong = drill(Path(folder), events, days)
    head = [
        "from",
        "events",
        "days",
        "put back, s",
        "ingest, s",
        "run, s",
        "whole, s",
        "marts equal",
    ]
    tables.write(
        "drill",
        "From an empty machine to published marts, DuckDB",
        [head, *rows],
        "The lost home had a backup from before the last tenth of its files. Whatever the backup, "
        "all source files are given again: those it knows are passed over.",
        wrong,
    )
    return wrong

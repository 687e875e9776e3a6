"""What was measured, kept as it comes: one JSON file per part, from which its tables are written.

Belongs here: records, and pages of tables, be they of records or of one measurement.

A part puts down what it measured of one size, target and so on; measuring that again replaces it,
anything else stays. So a part can be cut off, and sizes can be measured on different days.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import machine

RESULTS = Path(__file__).parent / "results"

Record = dict[str, Any]


class Results:
    """The records of one part in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        """Read what was kept before."""
        self.folder, self.name = folder, name
        self.path = folder / f"{name}.json"
        self.records: list[Record] = (
            json.loads(self.path.read_bytes()) if self.path.exists() else []
        )

    def keep(self, key: Record, numbers: Record) -> None:
        """Put down what was measured under a key, in place of what was known of it."""
        self.records = [r for r in self.records if not key.items() <= r.items()]
        day = datetime.now(UTC).date().isoformat()
        self.records.append({**key, **numbers, "measured_on": day, "machine": machine()})
        self.records.sort(key=lambda r: [str(r.get(k)).rjust(12) for k in key])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.records, indent=1) + "\n", encoding="utf-8")

    def of(self, **key: Any) -> list[Record]:
        """Return the records that agree with a key."""
        return [r for r in self.records if key.items() <= r.items()]

    def one(self, **key: Any) -> Record | None:
        """Return the record of a whole key, if it was measured."""
        return next(iter(self.of(**key)), None)

    def write(self, title: str, tables: Sequence[tuple[str, list[list[str]]]], notes: str) -> None:
        """Write the tables, each under its heading."""
        parts = [part for head, rows in tables for part in (f"## {head}", markdown(rows))]
        machines = sorted({r["machine"] for r in self.records})
        days = sorted({r["measured_on"] for r in self.records})
        measured = f"Measured {' and '.join(dict.fromkeys((days[0], days[-1])))}. "
        _write(self.folder / f"{self.name}.md", title, *parts, notes,
               f"{measured}Machine: {' | '.join(machines)}")  # fmt: skip


def write_results(
    name: str, title: str, rows: Sequence[Sequence[str]], notes: str, folder: Path = RESULTS
) -> None:
    """Print a table and keep it in ``results``; the first row is the header."""
    page = folder / f"{name}.md"
    print(_write(page, title, markdown(rows), notes, f"Machine: {machine()}"))


def _write(page: Path, title: str, *parts: str) -> str:
    text = "\n\n".join([f"# {title}", *parts]) + "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return text


def markdown(rows: Sequence[Sequence[Any]]) -> str:
    """Return a table; the first row is the header."""
    lines = ["| " + " | ".join(map(str, rows[0])) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows[1:])])


def millions(events: int) -> str:
    """Write a number of events as people say it: 1 M, 100,000."""
    return f"{events / 1e6:g} M" if events >= 1_000_000 else f"{events:,}"

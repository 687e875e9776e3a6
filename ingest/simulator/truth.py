"""What is known about a run, written beside its events so that tests can compare."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.registry import registry
from ingest.simulator import faults
from ingest.simulator.rhythm import Calendar
from ingest.simulator.values import Array

NAMES = tuple(registry().events)


class Truth:
    """Counts what is written; see the module ``arrival`` for the numbers of kinds."""

    def __init__(self, calendar: Calendar) -> None:
        """Begin with nothing."""
        self.calendar = calendar
        self.counts = np.zeros((calendar.days, len(NAMES)), np.int64)
        self.files: list[dict[str, Any]] = []
        self.invalid: dict[str, list[Any]] = {
            "file": [], "line_number": [], "reason_code": [], "made_from": []
        }  # fmt: skip

    def add_file(
        self, file: str, arrival: int, name: Array, day: Array, kind: Array, shuffled: Array
    ) -> None:
        """Note the lines of a file in their order."""
        unique, broken = kind == 0, np.flatnonzero(kind >= 2)
        cells = day[unique].astype(np.int64) * len(NAMES) + name[unique]
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)
        self.files.append(
            {
                "file": file,
                "arrival_date": self.calendar.dates[arrival],
                "lines": len(kind),
                "unique": int(unique.sum()),
                "duplicates": int((kind == 1).sum()),
                "invalid": len(broken),
                "late": int((unique & (day < arrival)).sum()),
                "out_of_order": int((shuffled & (kind < 2)).sum()),
            }
        )
        self.invalid["file"] += [file] * len(broken)
        self.invalid["line_number"] += (broken + 1).tolist()
        self.invalid["reason_code"] += [faults.CODES[code - 2] for code in kind[broken]]
        self.invalid["made_from"] += [NAMES[number] for number in name[broken]]

    def total(self, column: str) -> int:
        """Sum of a column over all files."""
        return sum(file[column] for file in self.files)

    def daily_counts(self) -> pa.Table:
        """Unique valid events by event date and name, where there are any."""
        day, name = np.nonzero(self.counts)
        return pa.table(
            {
                "event_date": pa.array(
                    [self.calendar.start + timedelta(days=int(d)) for d in day], pa.date32()
                ),
                "event_name": [NAMES[i] for i in name],
                "events": self.counts[day, name],
            }
        )

    def write(self, folder: Path, tables: dict[str, pa.Table], manifest: dict[str, Any]) -> None:
        """Write all tables as Parquet, and the manifest as JSON."""
        tables = {
            **tables,
            "daily_counts": self.daily_counts(),
            "files": pa.Table.from_pylist(self.files),
            "invalid": pa.table(self.invalid, pa.schema(_INVALID)),
        }
        for name, table in tables.items():
            # By a stream: Arrow would take a folder with a colon in its name for an address.
            with (folder / f"{name}.parquet").open("wb") as stream:
                pq.write_table(table, stream, compression="zstd")
        manifest = {**manifest, "tables": {name: table.num_rows for name, table in tables.items()}}
        text = json.dumps(manifest, indent=2, default=str) + "\n"
        (folder / "manifest.json").write_text(text, encoding="utf-8")


_INVALID = [
    ("file", pa.string()), ("line_number", pa.int64()), ("reason_code", pa.string()),
    ("made_from", pa.string()),
]  # fmt: skip

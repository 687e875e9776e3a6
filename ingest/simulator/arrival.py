"""How events reach files: one file per day of arrival; latency, late ones, duplicates, disorder.

What has not arrived when a span of days is written waits for the next one, so that memory holds a
span and what is under way, never the whole run.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ingest.errors import UserError
from ingest.simulator import faults
from ingest.simulator.draws import SECOND, chance
from ingest.simulator.truth import Truth
from ingest.simulator.values import DAY_MS, Array
from ingest.simulator.world import World

MOST_DAYS_LATE = 7
UNIQUE, DUPLICATE, INVALID = 0, 1, 2


@dataclass(frozen=True)
class Rates:
    """Shares of the valid events sent again, out of order or late; invalid lines per event."""

    duplicate: float
    disorder: float
    late: float
    invalid: float

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for name, value in vars(self).items():
            if not 0 <= value <= 0.5:
                raise UserError(f"{name}_rate is {value}; use a share from 0 to 0.5")


@dataclass(frozen=True)
class Rows:
    """Lines under way.

    ``arrives`` is wall-clock time, ``day`` that of the event, ``kind`` one of UNIQUE, DUPLICATE and
    INVALID + number of the reason code.
    """

    lines: pa.Array
    arrives: Array
    name: Array
    day: Array
    kind: Array
    shuffled: Array

    def take(self, index: Array) -> Rows:
        """Some of the rows, in that order."""
        others = (self.arrives, self.name, self.day, self.kind, self.shuffled)
        return Rows(self.lines.take(pa.array(index)), *(values[index] for values in others))

    @classmethod
    def concat(cls, parts: list[Rows]) -> Rows:
        """All rows of the parts, in order."""
        names = ("arrives", "name", "day", "kind", "shuffled")
        arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        return cls(pa.concat_arrays([part.lines for part in parts]), *arrays)


class Arrivals:
    """Takes events span by span and writes the files of the days that are over."""

    def __init__(
        self, world: World, rates: Rates, *, folder: Path, compress: bool, truth: Truth
    ) -> None:
        """Write into a folder that exists; what is written is told to the truth."""
        self.world, self.rates, self.folder, self.truth = world, rates, folder, truth
        self.compress = compress
        self.waiting: list[Rows] = []
        self.end = world.midnight + world.calendar.days * DAY_MS
        self.paths: list[Path] = []

    def add(self, lines: pa.Array, local: Array, name: Array, span: int) -> None:
        """Send valid events on their way.

        Args:
            lines: The events as text.
            local: Wall-clock times, all inside the period.
            name: Number of the event name.
            span: First day of the span; nothing arrives before it, as those files are written.

        """
        rng, size = self.world.rng("arrival", span), len(local)
        midnight, calendar = self.world.midnight, self.world.calendar
        day = calendar.day_of(local)
        arrives = local + (rng.exponential(1.2, size) * SECOND).astype(np.int64)
        latest = np.minimum(calendar.days - 1 - day, MOST_DAYS_LATE)
        late = np.flatnonzero(chance(rng, self.rates.late, size) & (latest > 0))
        by = 1 + (rng.random(len(late)) * latest[late]).astype(np.int64)
        clock = rng.integers(0, DAY_MS, len(late))
        arrives[late] = midnight + (day[late] + by) * DAY_MS + clock
        arrives = np.clip(arrives, midnight + span * DAY_MS, self.end - 1)
        shuffled = chance(rng, self.rates.disorder, size)
        kind = np.zeros(size, np.uint8)
        fresh = Rows(lines, arrives, name.astype(np.int16), day.astype(np.int32), kind, shuffled)
        self.waiting += [fresh, *self._again(rng, fresh), *self._broken(rng, fresh)]

    def _again(self, rng: np.random.Generator, rows: Rows) -> list[Rows]:
        """The same events once more: most after a moment, some days later."""
        which = np.flatnonzero(chance(rng, self.rates.duplicate, len(rows.day)))
        copies = rows.take(which)
        days = np.where(chance(rng, 0.2, len(which)), rng.integers(1, 4, len(which)), 0)
        after = (rng.exponential(45, len(which)) * SECOND).astype(np.int64) + days * DAY_MS
        arrives = np.minimum(copies.arrives + after, self.end - 1)
        kind = np.full(len(which), DUPLICATE, np.uint8)
        return [Rows(copies.lines, arrives, copies.name, copies.day, kind, copies.shuffled)]

    def _broken(self, rng: np.random.Generator, rows: Rows) -> list[Rows]:
        """Invalid lines, between the valid ones."""
        which = np.flatnonzero(chance(rng, self.rates.invalid, len(rows.day)))
        if not len(which):
            return []
        models = rows.take(which)
        lines, code = faults.spoil([line.as_py() for line in models.lines], rng)
        kind = (INVALID + code).astype(np.uint8)
        texts, unmoved = pa.array(lines, pa.binary()), np.zeros(len(which), bool)
        return [Rows(texts, models.arrives, models.name, models.day, kind, unmoved)]

    def write(self, until: int) -> None:
        """Write the files of all days before day ``until`` that are not written yet."""
        rows = Rows.concat(self.waiting)
        written = self.world.calendar.day_of(rows.arrives)
        ready = np.flatnonzero(written < until)
        self.waiting = [rows.take(np.flatnonzero(written >= until))]
        day = written[ready]
        rng = self.world.rng("order", until)
        place = rows.arrives[ready] - self.world.midnight - day * DAY_MS
        place = np.where(rows.shuffled[ready], rng.integers(0, DAY_MS, len(ready)), place)
        order = np.argsort(day * DAY_MS + place, kind="stable")
        sorted_rows, day = rows.take(ready[order]), day[order]
        _, offsets, data = sorted_rows.lines.buffers()
        ends = np.frombuffer(offsets, np.int32)[sorted_rows.lines.offset :]
        view = memoryview(data) if data is not None else memoryview(b"")
        first = until if not len(day) else int(day[0])
        for value in range(min(first, until), until):
            start, stop = np.searchsorted(day, [value, value + 1])
            if start < stop:
                path = self._write_file(value, view[ends[start] : ends[stop]])
                rows_of_day = slice(int(start), int(stop))
                self.truth.add_file(
                    path.name, value, sorted_rows.name[rows_of_day], sorted_rows.day[rows_of_day],
                    sorted_rows.kind[rows_of_day], sorted_rows.shuffled[rows_of_day],
                )  # fmt: skip

    def _write_file(self, day: int, data: memoryview) -> Path:
        date = self.world.calendar.dates[day]
        path = self.folder / f"events_{date.isoformat()}.ndjson{'.gz' if self.compress else ''}"
        if self.compress:
            # no time and no name in the header: same arguments, same bytes
            with path.open("wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as file:
                file.write(data)
        else:
            path.write_bytes(data)
        self.paths.append(path)
        return path

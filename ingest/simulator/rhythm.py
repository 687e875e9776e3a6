"""When things happen: days of the period, growth, seasons, weekdays and hours.

Everything here is business wall-clock time as milliseconds since 1970 without a zone; the
calendar turns it into UTC. Who does something belongs in ``people``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from ingest.simulator.values import DAY_MS, Array

HOUR_MS = 3_600_000

#: Relative activity Monday..Sunday.
WEEKDAYS: dict[str, tuple[float, ...]] = {
    "consumer": (0.94, 0.92, 0.95, 1.0, 1.08, 1.15, 1.12),
    "web": (1.02, 1.05, 1.04, 1.02, 0.97, 0.92, 1.04),
    "business": (1.22, 1.25, 1.22, 1.18, 1.08, 0.62, 0.43),
    "calls": (1.08, 1.04, 1.02, 1.02, 1.05, 0.95, 0.84),
    "morning": (1.02, 1.0, 1.0, 1.0, 1.0, 1.0, 1.05),
    "flat": (1.0,) * 7,
}

#: Relative activity of the 24 hours of a day.
HOURS: dict[str, tuple[float, ...]] = {
    "consumer": (14, 8, 5, 4, 4, 7, 16, 30, 42, 48, 50, 52, 60, 56, 50, 50, 54, 62, 74, 88, 96, 88,
                 58, 30),
    "web": (10, 6, 4, 3, 3, 5, 12, 26, 48, 66, 74, 76, 70, 72, 76, 74, 70, 62, 54, 56, 62, 56, 38,
            20),
    "business": (1, 1, 1, 1, 1, 2, 8, 24, 60, 92, 98, 94, 66, 72, 90, 92, 84, 60, 28, 14, 9, 6, 3,
                 2),
    "calls": (2, 1, 1, 1, 1, 2, 6, 18, 48, 80, 92, 86, 62, 66, 80, 84, 82, 76, 64, 52, 40, 24, 12,
              5),
    "morning": (6, 4, 3, 4, 8, 24, 70, 98, 88, 54, 34, 28, 30, 26, 22, 20, 22, 26, 28, 30, 34, 32,
                22, 12),
    "flat": (1,) * 24,
}  # fmt: skip


class Calendar:
    """The days of a run and their weights."""

    def __init__(self, start: date, days: int, timezone: str) -> None:
        """Read the offsets of the time zone for the period and some days around it."""
        self.start = start
        self.days = days
        self.first = (start - date(1970, 1, 1)).days
        zone = ZoneInfo(timezone)
        origin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=self.first - 3)
        quarters = (days + 6) * 96
        utc = [origin + timedelta(minutes=15 * i) for i in range(quarters)]
        self._origin = (self.first - 3) * DAY_MS
        offsets = [instant.astimezone(zone).utcoffset() or timedelta() for instant in utc]
        self._offsets = np.array([offset // timedelta(milliseconds=1) for offset in offsets])
        self._plain = not self._offsets.any()

    @property
    def dates(self) -> list[date]:
        """The dates of the period."""
        return [self.start + timedelta(days=i) for i in range(self.days)]

    def midnight(self, day: Array | int) -> Array | int:
        """Wall-clock start of a day of the period, counted from 0."""
        return (day + self.first) * DAY_MS

    def day_of(self, local: Array) -> Array:
        """Day of the period of a wall-clock time."""
        return local // DAY_MS - self.first

    def _offset(self, instants: Array) -> Array | int:
        if self._plain:
            return 0
        index = (instants - self._origin) // (15 * 60_000)
        return self._offsets[np.clip(index, 0, len(self._offsets) - 1)]

    def to_utc(self, local: Array) -> Array:
        """Instant of a wall-clock time; inside a gap or an overlap of clocks, one near it."""
        return local - self._offset(local - self._offset(local))

    def to_local(self, utc: Array) -> Array:
        """Wall-clock time of an instant."""
        return utc + self._offset(utc)

    def weights(self, profile: str) -> Array:
        """Share of each day in the period: growth, yearly season and weekday."""
        day = np.arange(self.days)
        weekday = (day + self.first + 3) % 7  # 1970-01-01 was a Thursday
        growth = np.exp(0.0035 * day)
        season = 1 + 0.10 * np.cos(2 * np.pi * ((day + self.first) % 365.25 - 350) / 365.25)
        weight = growth * season * np.array(WEEKDAYS[profile])[weekday]
        return weight / weight.sum()

    def spread(self, total: float, profile: str, rng: np.random.Generator) -> Array:
        """Whole numbers per day that add up to ``total``, with a few per cent of noise."""
        weight = self.weights(profile) * rng.lognormal(0, 0.05, self.days)
        ends = np.floor(np.cumsum(weight / weight.sum()) * total + 0.5).astype(np.int64)
        return np.diff(ends, prepend=0)

    def moments(self, rng: np.random.Generator, day: Array, profile: str) -> Array:
        """Wall-clock times on the given days, by the hours of the profile."""
        ends = np.cumsum(np.array((0, *HOURS[profile]), float))
        hour = np.interp(rng.random(len(day)) * ends[-1], ends, np.arange(25))
        within = np.minimum((hour * HOUR_MS).astype(np.int64), DAY_MS - 1)
        return (day + self.first) * DAY_MS + within

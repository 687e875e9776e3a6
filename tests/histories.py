"""Loads and runs of a lab in any order, with the dates that are stale, as the ledger would know.

Belongs here: what tests of models need of the ledger whose marts look back or show a state. The
ledger itself is proven in test_orchestration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from tests.facts import Row, dates, read
from tests.lab import Lab, span


@dataclass
class History:
    """A warehouse whose last date is known, and the models that its runs build."""

    lab: Lab
    last: date
    select: Sequence[str]
    stale: set[date] = field(default_factory=set)
    unprepared: set[date] = field(default_factory=set)
    ran: set[date] = field(default_factory=set)

    def touched(self, day: date) -> None:
        """Events of a date came or went: it is stale, and all dates after it."""
        self.stale.update(dates(day, self.last))
        self.unprepared.update(dates(day, self.last))

    def load(self, load_id: int, events: Sequence[Row]) -> None:
        """Store events."""
        self.lab.load(load_id, events)
        self.touched(span(events, self.lab.timezone)[0])

    def lose(self, load_id: int, event_ids: Sequence[str]) -> None:
        """Remove events of a load, as an erasure does."""
        for fact in read(self.lab.events[load_id], self.lab.timezone):
            if fact.event_id in event_ids:
                self.lab.sql(f"delete from raw.events where event_id = '{fact.event_id}'")
                self.touched(fact.day)

    def run(self, start: date, end: date, select: Sequence[str] | None = None) -> None:
        """Build a range of dates, both ends included, of its models or of others."""
        prepare_start = min(self.unprepared | {start})
        next_stale = min((day for day in self.stale if day > end), default=None)
        self.lab.build(
            start,
            end,
            self.select if select is None else select,
            prepare_start=prepare_start,
            known_through=next_stale - timedelta(days=1) if next_stale else max(self.ran | {end}),
        )
        self.ran.update(dates(start, end))
        self.unprepared.difference_update(dates(prepare_start, end))
        self.stale.difference_update(dates(start, end))

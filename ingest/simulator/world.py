"""What all domains of a run share: calendar, people, incidents, random sources, spans of days.

A domain is a class with a name, a rhythm and a method that makes the events of a span of days.
What a domain does stands in its own module; how events reach files stands in ``arrival``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ingest.simulator.lines import Batch
from ingest.simulator.people import People
from ingest.simulator.rhythm import Calendar
from ingest.simulator.values import Array, Column


@dataclass(frozen=True)
class Incidents:
    """Days on which something goes wrong, counted from 0; -1 = not in this run."""

    provider_day: int
    provider: str
    delivery_day: int
    content_day: int

    @classmethod
    def of(cls, days: int) -> Incidents:
        """Spread the incidents over a period of a week or more."""
        if days < 7:
            return cls(-1, "stripe", -1, -1)
        return cls(int(days * 0.62), "stripe", int(days * 0.78), int(days * 0.41))


@dataclass(frozen=True)
class Span:
    """Days of the period that are made together: ``first <= day < last``."""

    first: int
    last: int
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def days(self) -> Array:
        """The days."""
        return np.arange(self.first, self.last)


@dataclass(frozen=True)
class World:
    """The setting of a run."""

    seed: int
    size: int
    calendar: Calendar
    people: People
    incidents: Incidents
    personal_data_rate: float = 0.0

    def rng(self, *key: int | str) -> np.random.Generator:
        """A random source of its own for every key, whatever else is drawn."""
        words = [int.from_bytes(k.encode(), "little") if isinstance(k, str) else k for k in key]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *words])))

    @property
    def midnight(self) -> int:
        """Wall-clock start of the period in milliseconds."""
        return int(self.calendar.midnight(0))


class Domain(ABC):
    """One part of the business; ``units`` is how many of its things happen in the period."""

    name: ClassVar[str]
    #: Rhythm of weekdays and hours.
    profile: ClassVar[str] = "consumer"
    #: Share of all events, and events per unit as a first guess (corrected by a pilot run).
    share: ClassVar[float]
    events_per_unit: ClassVar[float]
    #: Whether events grow in proportion to units; if not, the plan takes a second look.
    linear: ClassVar[bool] = True
    #: Producing system, as in ``source``.
    source: ClassVar[str]

    def __init__(self, world: World, units: float) -> None:
        """Plan the units of each day."""
        self.world = world
        self.counts = world.calendar.spread(units, self.profile, world.rng(self.name))
        self.made = 0

    def starts(self, rng: np.random.Generator, span: Span) -> tuple[Array, Array]:
        """Days (sorted) and times of the units that begin in a span."""
        day = np.repeat(span.days, self.counts[span.first : span.last])
        return day, self.world.calendar.moments(rng, day, self.profile)

    def numbers(self, count: int) -> Array:
        """Numbers for new things, never given out before."""
        self.made += count
        return np.arange(self.made - count, self.made)

    def batch(
        self, name: str, at: Array, person: Array | None = None, /, **columns: Column | None
    ) -> Batch:
        """Events of this domain's producer; a column that is None is left out."""
        kept = {key: value for key, value in columns.items() if value is not None}
        return Batch(name, at, {"source": self.source, **kept}, person)

    @abstractmethod
    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Everything that begins in a span, to its end, even where that is after the span."""

    def truth(self) -> dict[str, Any]:
        """Tables of known truth by name."""
        return {}

"""Random steps: what is done to a warehouse, as plain data.

Belongs here: kinds of steps, how often they are drawn, and what events and persons there are. What
a step does belongs in ``tests.faults.machine``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from tests.faults import model

#: A kind of step and what it needs, such as ("ingest", [[Draft, ...], ...]).
Step = tuple[Any, ...]

STEPS = 50

#: How often each kind is drawn.
WEIGHTS = {
    "ingest": 42,
    "again": 4,
    "erase": 5,
    "later": 2,
    "redeliver": 5,
    "retain": 6,
    "run": 9,
    "range": 3,
    "refresh": 1,
    "publish": 2,
    "job": 0.15,
    "backup": 3,
    "restore": 2,
    "rotate": 0.7,
    "crash": 9,
    "read": 3,
}

#: Dates of events are so many days before the first of this month: they cross a month.
DAYS_BACK = 36

PERSONS = 5

CHANNELS = ("system", "web", "whatsapp")


@dataclass(frozen=True)
class Draft:
    """A line before it has a date: ``number`` stands for its event_id, ``back`` for its day.

    ``back`` of None: it happens after all erasures up to now.
    """

    number: int
    back: int | None
    hour: int
    user: int | None
    device: int | None
    phone: int | None
    channel: str | None
    amount: int | None
    links: bool
    bad: str | None = None


class Drawing:
    """Draws the steps of a machine; knows what it has drawn, and nothing of what became of it."""

    def __init__(self, seed: int) -> None:
        """Bind the seed."""
        self.random = random.Random(seed)
        self.drafts: list[Draft] = []
        self.erased: list[tuple[str, int]] = []

    def steps(self, count: int) -> list[Step]:
        """Draw steps; the first ones bring events."""
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        drawn = [self.step("ingest"), self.step("ingest")]
        while len(drawn) < count:
            drawn.append(self.step(self.random.choices(names, weights)[0]))
        return drawn

    def step(self, kind: str) -> Step:
        """Draw one step of a kind."""
        draw = self.random
        if kind == "ingest":
            files = draw.choices((1, 2), (4, 1))[0]
            return kind, [[self.draft() for _ in range(draw.randint(1, 5))] for _ in range(files)]
        if kind == "redeliver":
            return kind, [[*self.of_erased(), self.draft()]]
        if kind in ("erase", "later"):
            who = (draw.choice(("user", "device", "phone", "number")), draw.randrange(PERSONS))
            self.erased.append(who)
            return kind, *who
        if kind == "range":
            ends = sorted(draw.sample(range(1, DAYS_BACK + 3), 2), reverse=True)
            open_end = draw.randrange(5)
            return kind, ends[0] if open_end != 1 else None, ends[1] if open_end != 2 else None
        if kind == "retain":
            return kind, draw.randrange(DAYS_BACK)
        if kind in ("again", "restore"):
            return kind, draw.randrange(1000)
        if kind == "crash":
            kinds = ("ingest", "ingest", "run", "run", "run", "erase", "erase", "publish", "retain",
                     "later")  # fmt: skip
            way = draw.choice(("kill", "kill", "raise"))
            return kind, way, round(draw.random(), 3), self.step(draw.choice(kinds))
        return (kind,)

    def draft(self) -> Draft:
        """Draw a line: new, one that was there with its content, or its id with another one."""
        draw = self.random
        old = draw.choice(self.drafts) if self.drafts else None
        way = draw.random()
        if old and way < 0.12:
            return old
        number = old.number if old and way < 0.22 else len(self.drafts)
        person = draw.randrange(PERSONS)
        links = draw.random() < 0.25
        named = [draw.random() < (0.7 if links else 0.45) for _ in range(3)]
        if links and sum(named) < 2:
            named = [True, True, False]
        bad = draw.choices((None, "malformed_json", "bad_uuid"), (30, 1, 1))[0]
        made = Draft(
            number=number,
            back=draw.randint(1, DAYS_BACK) if draw.random() > 0.04 else None,
            hour=draw.choice((0, 9, 23)),
            user=self.near(person) if named[0] else None,
            device=self.near(person) if named[1] else None,
            # Only this event has a field for it.
            phone=self.near(person) if named[2] and links else None,
            channel=draw.choice(CHANNELS),
            amount=model.DEVILISH if draw.random() < 0.004 else 100,
            links=links,
            bad=bad,
        )
        if not bad:
            self.drafts.append(made)
        return made

    def near(self, person: int) -> int:
        """The person itself, or now and then somebody else: devices are shared."""
        return person if self.random.random() < 0.9 else self.random.randrange(PERSONS)

    def of_erased(self) -> list[Draft]:
        """What somebody who was erased did: as it was, under new ids, and after the erasure."""
        if not self.erased:
            return []
        _, who = self.random.choice(self.erased)
        theirs = [d for d in self.drafts if who in (d.user, d.device, d.phone)]
        found = []
        for old in self.random.sample(theirs, min(3, len(theirs))):
            way = self.random.randrange(3)
            if way:
                back = None if way == 2 else old.back
                old = replace(old, number=len(self.drafts), back=back)
                self.drafts.append(old)
            found.append(old)
        return found


def user_of(person: int) -> str:
    """The user_id of a person: two of them are known by their telephone numbers."""
    return f"+4915112345{person:02d}" if person % 3 == 2 else f"person-{person}"

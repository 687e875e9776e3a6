"""The whole product beside a plain model: steps are done to both, and after each all is compared.

Belongs here: what a kind of step is on either side, comparing what both say and what is to be seen,
and the worlds that a crash may have left. How a step is done belongs in ``tests.faults.product``
and ``tests.faults.model``. Steps are plain data (``tests.faults.drawing``) and do not depend on
what became of those before them, so that a machine is its seed, and a failing one is shortened by
leaving steps out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from ingest.errors import UserError
from tests.faults import model
from tests.faults.cutting import Failed, killed_at, raised_at
from tests.faults.deliveries import Deliveries
from tests.faults.drawing import Step, user_of
from tests.faults.looking import everything_seen, expect
from tests.faults.model import Refused, World
from tests.faults.product import Product

#: About how many places of a step there are where a crash can cut it off, see ``cutting``.
PLACES = {"ingest": 26, "run": 80, "erase": 310, "publish": 50, "retain": 33, "later": 225}

#: What a step does to a world.
Modelled = Callable[[World], model.Step]


class Divergence(AssertionError):
    """The product and the model do not agree; the words say where."""


@dataclass
class Machine:
    """A warehouse, and the worlds that it can be: one, but for what a crash may have left."""

    product: Product
    deliveries: Deliveries
    worlds: list[World]
    #: The worlds at each backup.
    backups: list[list[World]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def new(cls, folder: Path, url: str | None) -> Machine:
        """An empty warehouse in a folder; with the URL of an empty database, on Postgres."""
        product = Product.new(folder, url)
        keys = [(key.version, key.secret) for key in product.settings.hash_keys]
        first_of_month = datetime.now(UTC).date().replace(day=1)
        world = World(product.settings.target, keys)
        return cls(product, Deliveries(first_of_month), [world])

    def run(self, steps: Sequence[Step]) -> None:
        """Carry out steps and look at everything after each.

        Raises:
            Divergence: the product is not in any of the states that the model allows.

        """
        for step in steps:
            self.counts[step[0]] += 1
            self.log.append(repr(step))
            self.carry_out(step)
            self.look(tables=step[0] != "ingest")

    def carry_out(self, step: Step) -> None:
        """Do a step on both sides and compare what they say."""
        kind, *given = step
        if kind == "crash":
            self.crash(*given)
        elif kind == "backup":
            self.back_up()
        elif kind == "restore":
            self.restore(*given)
        elif kind != "read":
            product, modelled = self.sides(step)
            self.compare(kind, product, modelled)

    def sides(self, step: Step) -> tuple[Callable[[], object], Modelled]:
        """Return what a step does to the product, and to a world."""
        kind, *given = step
        product, deliveries = self.product, self.deliveries
        if kind in ("ingest", "redeliver", "again"):
            files = deliveries.again(*given) if kind == "again" else deliveries.written(*given)
            contents = [content for content, _ in files]
            return lambda: product.ingest(contents), lambda world: world.ingest(files)
        if kind in ("erase", "later"):
            names, theirs, later = names_of(*given), self.identifiers(*given), kind == "later"
            return (
                lambda: product.erase(names, later=later),
                lambda world: world.ask(theirs) if later else world.erase(theirs),
            )
        if kind == "retain":
            as_of = min(deliveries.day(given[0] - 3), datetime.now(UTC).date())
            return lambda: product.retain(as_of), lambda world: world.retain(as_of)
        if kind == "publish":
            return product.publish, lambda world: world.publish()
        if kind == "rotate":
            return product.rotate, lambda world: world.rotate()
        start, end = (
            back and deliveries.day(back) for back in (given if kind == "range" else (None, None))
        )
        full = kind == "refresh"
        return (
            lambda: product.run(start, end, full=full, job=kind == "job"),
            lambda world: world.run(start, end, full=full),
        )

    def identifiers(self, how: str, who: int) -> list[model.Identifier]:
        """Return how the model names a person."""
        ((way, value),) = names_of(how, who).items()
        if way == "phone":
            return [("phone_hash", model.keyed_hash(key, value)) for key in self.worlds[0].keys]
        return [(way, value)]

    def compare(self, kind: str, product: Callable[[], object], modelled: Modelled) -> None:
        """Keep the worlds in which a step says what the product says."""
        said: object
        try:
            said = product()
        except UserError as error:
            said = Refused(str(error))
        except Exception as error:
            self.diverge(f"{kind}: the product failed: {type(error).__name__}: {error}")
        outcomes = []
        for world in self.worlds:
            result = to_the_end(modelled(world))
            outcomes.append(result)
            if isinstance(result, Refused) != isinstance(said, Refused) or (
                not isinstance(said, Refused) and result != said
            ):
                world.engine = ""
        self.worlds = [world for world in self.worlds if world.engine]
        if not self.worlds:
            self.diverge(f"{kind}: the product said {said!r}, the model {outcomes[0]!r}")

    def diverge(self, words: str) -> NoReturn:
        """Give up, with the steps that led here."""
        raise Divergence("\n".join([words, "after:", *(f"  {line}," for line in self.log)]))

    def back_up(self) -> None:
        """Put the warehouse aside, and what it can be."""
        self.product.back_up()
        self.backups.append(deepcopy(self.worlds))

    def restore(self, number: int) -> None:
        """Put a backup back."""
        if not self.backups:
            return
        number %= len(self.backups)
        self.product.restore(number)
        # On Postgres readers' tables are in the same database, on DuckDB they are other files.
        with_readers = self.product.settings.target == "postgres"
        self.worlds = [
            replace(
                deepcopy(world),
                warehouse=deepcopy(then.warehouse),
                published=deepcopy(then.published if with_readers else world.published),
            )
            for world in self.worlds
            for then in self.backups[number]
        ]

    def crash(self, way: str, share: float, step: Step) -> None:
        """Cut a step off when about a share of it is done."""
        product, modelled = self.sides(step)
        point = 1 + int(share * PLACES[step[0]])
        try:
            said = killed_at(point, product) if way == "kill" else raised_at(point, product)
        except Failed as failed:
            self.diverge(f"crash of {step[0]}: {failed}")
        self.crashes[f"{step[0]} {way if said is None else 'not reached'}"] += 1
        if said is not None:
            # The child keeps what it was told; whether it was refused is known.
            if said == "refused":
                self.compare(step[0], _refuse, modelled)
            else:
                for world in self.worlds:
                    to_the_end(modelled(world))
            return
        found: list[World] = []
        for world in self.worlds:
            for state in states(world, modelled):
                if state not in found:
                    found.append(state)
        self.worlds = found

    def look(self, *, tables: bool = True) -> None:
        """Compare everything that can be seen; worlds that do not fit are no longer possible."""
        seen = everything_seen(self.product.settings, tables=tables)
        expected = [expect(world, seen) for world in self.worlds]
        fitting = [w for w, e in zip(self.worlds, expected, strict=True) if e == seen]
        if not fitting:
            different = [
                f"{name}\n  only the product: {_less(seen[name], expected[0].get(name))}"
                f"\n  only the model: {_less(expected[0].get(name), seen[name])}"
                for name in seen
                if all(e.get(name) != seen[name] for e in expected)
            ]
            some = f"none of {len(expected)} worlds fits"
            self.diverge("\n".join(different or [some]))
        self.worlds = fitting


def names_of(how: str, who: int) -> dict[str, str]:
    """Return how the command names a person."""
    number = f"+4915112345{who:02d}"
    return {
        "user": {"phone": number} if user_of(who) == number else {"user_id": user_of(who)},
        "device": {"anonymous_id": f"device-{who}"},
        "phone": {"phone_hash": f"hash-{who}"},
        "number": {"phone": number},
    }[how]


def _less(one: Any, other: Any) -> str:
    if isinstance(one, set) and isinstance(other, set):
        return str(sorted(map(str, one - other)))[:600]
    return str(one)[:600]


def _refuse() -> object:
    raise UserError("refused in a process of its own")


def to_the_end(step: model.Step) -> object:
    """Carry out a step of the model and return what it says, a ``Refused`` if it is refused."""
    while True:
        try:
            next(step)
        except StopIteration as end:
            return end.value
        except Refused as refused:
            return refused


def states(world: World, modelled: Modelled) -> Iterator[World]:
    """Yield the states that a step passes through, the last one too."""
    yield deepcopy(world)
    step = modelled(world)
    with suppress(StopIteration, Refused):
        while True:
            next(step)
            yield deepcopy(world)
    yield world

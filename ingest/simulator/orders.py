"""Orders and their moderation: created, paid, assigned, handed in, decided, done.

A reader has latent speed and care; careless ones run into rejection loops. Payments of an order
are made by ``payments``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ingest.simulator import payments, web
from ingest.simulator.draws import DAY, HOUR, MINUTE, chance, choose, delay, rank_weights
from ingest.simulator.lines import Batch
from ingest.simulator.people import CHANNEL_WORDS
from ingest.simulator.values import Array, Code, Vocabulary, Words, flag, mix
from ingest.simulator.world import Domain, Span, World

SERVICES = Vocabulary(("tarot", "astrology", "numerology", "palmistry", "dream_reading"))
SERVICE_WEIGHTS = (34, 30, 16, 12, 8)
SERVICE_HOURS = np.array([4.0, 7.0, 5.0, 9.0, 3.0])
SERVICE_CENTS = np.array([2500.0, 4900.0, 1900.0, 3200.0, 1500.0])
CANCEL_REASONS = Vocabulary(("changed_mind", "payment_failed", "too_slow", "quality"))
REJECT_REASONS = Vocabulary(
    ("too short", "does not answer the question", "language not suitable", "copied passages",
     "missing the closing summary")
)  # fmt: skip
ROUNDS = 4


class Orders(Domain):
    """Orders of readings; one unit is one order."""

    name = "orders"
    profile = "consumer"
    share = 0.235
    events_per_unit = 7.6
    source = "orders-service"
    reorder: ClassVar[float] = 0.04

    def __init__(self, world: World, units: float) -> None:
        """Hire readers."""
        super().__init__(world, units)
        rng = world.rng(self.name, "readers")
        self.readers = int(np.clip(8 + world.size // 20_000, 8, 500))
        self.speed = rng.lognormal(0, 0.3, self.readers)
        self.care = rng.beta(6, 1.6, self.readers)
        self.load = rank_weights(self.readers, 0.4)

    def reader_ids(self, reader: Array) -> Code:
        """Column reader_id."""
        return Code(reader, prefix="reader_", digits=3)

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Orders created in the span with everything that follows from them."""
        day, created = self.starts(rng, span)
        people, size = self.world.people, len(day)
        person = people.draw(rng, day)
        number = self.numbers(size)
        service = choose(rng, SERVICE_WEIGHTS, size)
        gold = chance(rng, 0.15, size)
        elsewhere = choose(rng, (4, 4, 2), size)
        channel = np.where(chance(rng, 0.75, size), people.home[person], elsewhere)
        online = (channel == 1) | (channel == 2)
        visit = web.visits(rng, mix(person))
        batches = [
            self.batch(
                "order_created", created, person,
                channel=Words(CHANNEL_WORDS, channel), user_id=people.ids(person),
                entity_id=self._ids(number), country_code=people.countries(person),
                service_code=Words(SERVICES, service), actor_type="user",
                context=web.objects(np.where(online, visit, -1)), is_gold=flag(gold),
            )
        ]  # fmt: skip
        price = SERVICE_CENTS[service] * np.where(gold, 1.6, 1.0) * people.cents[person]
        sale = payments.Sale(created, day, person, number, price, channel, visit)
        paid, money = payments.sell(self.world, rng, sale)
        batches += money
        cancelled = [(created[~paid] + delay(rng, 40 * MINUTE, 0.3, int((~paid).sum())), ~paid, 1)]
        early = paid & chance(rng, 0.03, size)
        cancelled.append((created[early] + delay(rng, 9 * MINUTE, 0.8, int(early.sum())), early, 0))
        work = np.flatnonzero(paid & ~early)
        batches += self._work(rng, created, number, service, gold, work, cancelled)
        for at, which, reason in cancelled:
            ids = number[which]
            batches.append(
                self.batch("order_cancelled", at, entity_id=self._ids(ids),
                           reason=Words(CANCEL_REASONS, np.full(len(ids), reason)))
            )  # fmt: skip
        return [batch for batch in batches if len(batch)]

    def _ids(self, number: Array) -> Code:
        return Code(number, prefix="ord_")

    def _work(
        self, rng: np.random.Generator, created: Array, number: Array, service: Array, gold: Array,
        work: Array, cancelled: list[tuple[Array, Array, int]],
    ) -> list[Batch]:  # fmt: skip
        """Assignment, and up to four rounds of handing in and decision."""
        size = len(work)
        reader = choose(rng, self.load, size)
        hour = created[work] // HOUR % 24
        wait = np.where((hour < 7) | (hour > 21), 75.0, 18.0) * np.where(gold[work], 0.5, 1.0)
        assigned = created[work] + delay(rng, wait * MINUTE, 0.9, size, 5_000)
        batches = [self._assigned(assigned, number[work], reader)]
        again = chance(rng, self.reorder, size)
        moved = assigned + delay(rng, 2 * HOUR, 0.6, size)
        reader = np.where(again, choose(rng, self.load, size), reader)
        batches.append(self._assigned(moved[again], number[work][again], reader[again]))
        weekend = ((created[work] // DAY + 3) % 7) >= 5
        hours = SERVICE_HOURS[service[work]] * self.speed[reader] * np.where(weekend, 1.35, 1.0)
        handed = np.where(again, moved, assigned) + delay(rng, hours * HOUR, 0.55, size, 2 * MINUTE)
        live = np.arange(size)
        for turn in range(ROUNDS):
            batches.append(
                self.batch("order_submitted", handed, entity_id=self._ids(number[work[live]]),
                           actor_type="reader", actor_id=self.reader_ids(reader[live]),
                           reader_id=self.reader_ids(reader[live]))
            )  # fmt: skip
            decided = handed + delay(rng, 55 * MINUTE, 0.8, len(live), 20_000)
            refuse = (1 - self.care[reader[live]]) * (0.75 if turn == 0 else 1.3)
            rejected = chance(rng, np.minimum(refuse, 0.6), len(live))
            batches += self._decisions(rng, decided, number[work[live]], rejected)
            done = decided[~rejected] + delay(rng, 2 * MINUTE, 0.7, int((~rejected).sum()))
            batches.append(
                self.batch("order_completed", done,
                           entity_id=self._ids(number[work[live[~rejected]]]))
            )  # fmt: skip
            if turn == ROUNDS - 1:
                which = np.zeros(len(number), bool)
                which[work[live[rejected]]] = True
                cancelled.append((decided[rejected] + HOUR, which, 3))
            handed = decided[rejected] + delay(rng, 2 * HOUR, 0.7, int(rejected.sum()), MINUTE)
            live = live[rejected]
        return batches

    def _assigned(self, at: Array, number: Array, reader: Array) -> Batch:
        return self.batch("order_assigned", at, entity_id=self._ids(number),
                          actor_type="system", reader_id=self.reader_ids(reader))  # fmt: skip

    def _decisions(
        self, rng: np.random.Generator, at: Array, number: Array, rejected: Array
    ) -> list[Batch]:
        reason = np.where(rejected, choose(rng, (5, 3, 2, 1, 2), len(at)), -1)
        batches = [
            self.batch(
                "moderation_decision", at, source="moderation-desk", entity_type="order",
                entity_id=self._ids(number), status=Words(DECISIONS, rejected.astype(np.int32)),
                actor_type="admin", reason=Words(REJECT_REASONS, reason),
            )
        ]  # fmt: skip
        appeal = rejected & chance(rng, 0.08, len(at))
        appealed = at[appeal] + delay(rng, 25 * MINUTE, 0.6, int(appeal.sum()))
        batches.append(
            self.batch("appeal_submitted", appealed,
                       source="moderation-desk", entity_type="order",
                       entity_id=self._ids(number[appeal]), actor_type="reader")
        )  # fmt: skip
        return batches

    def truth(self) -> dict[str, Any]:
        """Readers with their latent speed and care."""
        return {
            "readers": pa.table(
                {
                    "reader_id": [f"reader_{i:03d}" for i in range(self.readers)],
                    "slowness": self.speed,
                    "care": self.care,
                }
            )
        }


DECISIONS = Vocabulary(("approved", "rejected"))

"""Payments: attempts, a second provider after a failure, refunds; of orders and of top-ups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.simulator import web
from ingest.simulator.draws import DAY, MINUTE, SECOND, cents, chance, choose, choose_by, delay
from ingest.simulator.lines import Batch
from ingest.simulator.people import CHANNEL_WORDS
from ingest.simulator.values import Array, Code, Column, Hash, Number, Vocabulary, Words, flag, mix
from ingest.simulator.world import Domain, Span, World

PROVIDERS = Vocabulary(("stripe", "razorpay", "paypal", "adyen"))
#: Weights of the providers per country of ``people.COUNTRIES``.
BY_COUNTRY = np.array(
    [
        (10, 80, 5, 5), (70, 0, 22, 8), (45, 0, 35, 20), (35, 0, 20, 45), (65, 0, 25, 10),
        (50, 0, 25, 25), (45, 0, 25, 30), (45, 0, 25, 30), (60, 0, 10, 30), (50, 0, 20, 30),
    ],
    float,
)  # fmt: skip
FAILURE = np.array([0.045, 0.075, 0.035, 0.05])
BAD_DAY_FAILURE = 0.46
FAILURE_CODES = Vocabulary(
    ("card_declined", "insufficient_funds", "expired_card", "provider_timeout", "3ds_failed")
)
REFUND_REASONS = Vocabulary(("requested_by_customer", "quality", "duplicate", "cancelled"))


@dataclass(frozen=True)
class Sale:
    """Things to be paid, in rows; ``order`` is -1 where there is none."""

    at: Array
    day: Array
    person: Array
    order: Array
    price: Array
    channel: Array
    visit: Array


@dataclass(frozen=True)
class _Try:
    """Attempts at paying, in rows of a sale."""

    row: Array
    at: Array
    provider: Array
    amount: Array
    fallback_from: Array
    salt: int


def sell(world: World, rng: np.random.Generator, sale: Sale) -> tuple[Array, list[Batch]]:
    """Payments of a sale: which rows were paid in the end, and the events."""
    size = len(sale.at)
    amount = cents(rng, sale.price, 0.25, size)
    country = world.people.country[sale.person]
    first = _Try(
        np.arange(size), sale.at + delay(rng, 50 * SECOND, 0.6, size),
        choose_by(rng, BY_COUNTRY, country), amount, np.full(size, -1), 1,
    )  # fmt: skip
    paid, failed_at, batches = _attempt(world, rng, sale, first)
    row = np.flatnonzero(failed_at >= 0)
    row = row[chance(rng, 0.68, len(row))]
    used = first.provider[row]
    other = choose_by(rng, BY_COUNTRY, country[row])
    other = np.where(other == used, np.where(used == 2, 0, 2), other)  # else paypal, else stripe
    second = _Try(
        row, failed_at[row] + delay(rng, 70 * SECOND, 0.7, len(row)), other, amount[row], used, 2
    )
    paid_later, _, more = _attempt(world, rng, sale, second)
    return paid | paid_later, batches + more


def _attempt(
    world: World, rng: np.random.Generator, sale: Sale, tries: _Try
) -> tuple[Array, Array, list[Batch]]:
    """One attempt per row: paid and time of failure (-1: none) per row of the sale, events."""
    size, row = len(tries.row), tries.row
    people, person = world.people, sale.person[row]
    weekend = (world.calendar.first + sale.day[row] + 3) % 7 >= 5
    risk = FAILURE[tries.provider] * np.where(weekend, 1.2, 1.0)
    bad = (sale.day[row] == world.incidents.provider_day) & (
        tries.provider == PROVIDERS.values.index(world.incidents.provider)
    )
    failed = chance(rng, np.where(bad, BAD_DAY_FAILURE, risk), size)
    open_end = ~failed & chance(rng, 0.006, size)
    ended = tries.at + delay(rng, np.where(bad, 11.0, 2.4) * SECOND, 0.7, size, 150)
    number = mix(np.where(sale.order[row] >= 0, sale.order[row], sale.at[row] + person), tries.salt)

    def event(name: str, which: Array, at: Array, amount: Array, **columns: Column) -> Batch:
        sold = row[which]
        order = sale.order[sold]
        values: dict[str, Column] = {
            "source": "payments-gateway",
            "channel": Words(CHANNEL_WORDS, sale.channel[sold]),
            "user_id": people.ids(person[which]),
            "entity_id": Hash(number[which], prefix="pay_"),
            "country_code": people.countries(person[which]),
            "provider": Words(PROVIDERS, tries.provider[which]),
            "amount_cents": Number(amount),
            "currency": people.currencies(person[which]),
            "order_id": Code(np.maximum(order, 0), order >= 0, prefix="ord_"),
            **columns,
        }
        return Batch(name, at, values, person[which])

    everyone = np.arange(size)
    online = (sale.channel[row] == 1) | (sale.channel[row] == 2)
    batches = [
        event("payment_attempted", everyone, tries.at, tries.amount,
              context=web.objects(np.where(online, sale.visit[row], -1)),
              is_fallback=flag(np.ones(size, bool), tries.fallback_from >= 0),
              fallback_from=Words(PROVIDERS, tries.fallback_from)),
    ]  # fmt: skip
    good = np.flatnonzero(~failed & ~open_end)
    batches.append(event("payment_succeeded", good, ended[good], tries.amount[good]))
    poor = np.flatnonzero(failed)
    codes = np.where(bad[poor], 3, choose(rng, (5, 4, 2, 1, 2), len(poor)))
    batches.append(
        event("payment_failed", poor, ended[poor], tries.amount[poor],
              failure_code=Words(FAILURE_CODES, codes))
    )  # fmt: skip
    back = good[chance(rng, 0.035, len(good))]
    full = chance(rng, 0.75, len(back))
    amount = np.where(full, tries.amount[back], np.maximum(tries.amount[back] // 2, 1))
    later = ended[back] + delay(rng, 3 * DAY, 0.8, len(back), 5 * MINUTE)
    batches.append(
        event("refund_issued", back, later, amount,
              reason=Words(REFUND_REASONS, choose(rng, (5, 3, 1, 2), len(back))))
    )  # fmt: skip
    paid = np.zeros(len(sale.at), bool)
    paid[row[good]] = True
    failed_at = np.full(len(sale.at), -1, np.int64)
    failed_at[row[poor]] = ended[poor]
    return paid, failed_at, [batch for batch in batches if len(batch)]


class TopUps(Domain):
    """Payments without an order (credit bought in advance); one unit is one top-up."""

    name = "payments"
    profile = "consumer"
    share = 0.025
    events_per_unit = 2.15
    source = "payments-gateway"

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Top-ups of the span."""
        day, at = self.starts(rng, span)
        people, size = self.world.people, len(day)
        person = people.draw(rng, day)
        price = np.array([1000.0, 2000.0, 5000.0])[choose(rng, (5, 3, 1), size)]
        sale = Sale(
            at, day, person, np.full(size, -1), price * people.cents[person], people.home[person],
            web.visits(rng, mix(person)),
        )  # fmt: skip
        return sell(self.world, rng, sale)[1]

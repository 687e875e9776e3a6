"""What messages cost again, in plain Python: a loop per sentence, without regard to speed.

Prices are read from the project's seed, as in a run. Which sessions conversions are due to does not
belong here.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from tests.facts import Fact, Row

#: Relation -> the columns that name one of its rows.
MESSAGE_COST_GRAINS: dict[str, tuple[str, ...]] = {
    "message_costs": (
        "metric_date", "country_code", "pricing_type", "category", "template_id",
    ),
    "chat_message_costs": ("metric_date", "chat_id"),
    "message_rate_gaps": ("metric_date", "pricing_type", "category", "country_code"),
}  # fmt: skip

SAYS = ("message_sent", "message_delivered", "message_read")


@dataclass(frozen=True)
class Rate:
    """A row of message_rates."""

    pricing_type: str
    category: str
    country_code: str
    valid_from: date
    price_micros: int
    currency: str


@dataclass(frozen=True)
class Charge:
    """A message on the date of its first delivery."""

    day: date
    country_code: str
    pricing_type: str
    category: str
    template_id: str
    chat_id: str
    rate: Rate | None


@cache
def seeded_rates() -> tuple[Rate, ...]:
    """The prices of the project's seed."""
    path = Path(__file__).parent.parent / "dbt_project" / "seeds" / "message_rates.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Rate(
                line["pricing_type"], line["category"], line["country_code"],
                date.fromisoformat(line["valid_from"]), int(line["price_micros"]), line["currency"],
            )
            for line in csv.DictReader(file)
        )  # fmt: skip


def rate_of(day: date, kind: str, category: str, country: str) -> Rate | None:
    """The price on a date: of the country, else of any."""
    for place in (country, "*"):
        valid = [
            rate
            for rate in seeded_rates()
            if (rate.pricing_type, rate.category, rate.country_code) == (kind, category, place)
            and rate.valid_from <= day
        ]
        if valid:
            return max(valid, key=lambda rate: rate.valid_from)
    return None


def charges(facts: Sequence[Fact]) -> list[Charge]:
    """Every message that is charged for."""
    said: dict[str, list[Fact]] = defaultdict(list)
    delivered: set[str] = set()
    found = []
    for fact in facts:
        if fact.name not in SAYS or fact.entity is None or fact.entity in delivered:
            continue
        said[fact.entity].append(fact)
        if fact.name == "message_sent":
            continue
        delivered.add(fact.entity)
        history = said[fact.entity]

        def first(name: str, history: list[Fact] = history) -> Any:
            values = [{**f.fields, **f.p}.get(name) for f in history]
            return next((value for value in values if value is not None), "unknown")

        kind, category = first("pricing_type"), first("pricing_category")
        country = first("country_code")
        if kind == "unknown" and all(f.fields["channel"] != "whatsapp" for f in history):
            continue
        found.append(
            Charge(
                fact.day, country, kind, category, first("template_id"), first("chat_id"),
                rate_of(fact.day, kind, category, country),
            )
        )  # fmt: skip
    return found


def expected_message_costs(facts: Sequence[Fact], currency: str = "USD") -> dict[str, list[Row]]:
    """What the tables of message costs hold after all dates were run, rows in any order.

    Args:
        facts: accepted events in order, none later than the last date.
        currency: the reporting currency.

    """
    charged = charges(facts)
    costs: Counter[tuple[Any, ...]] = Counter()
    gaps: Counter[tuple[Any, ...]] = Counter()
    chats: dict[tuple[date, str], list[Charge]] = defaultdict(list)
    for one in charged:
        key = (one.day, one.country_code, one.pricing_type, one.category, one.template_id)
        costs[*key, one.rate] += 1
        if one.rate is None:
            gaps[one.day, one.pricing_type, one.category, one.country_code] += 1
        chats[one.day, one.chat_id].append(one)
    rows = [
        {
            **dict(zip(MESSAGE_COST_GRAINS["message_costs"], key, strict=True)),
            "messages": count,
            "price_micros": rate and rate.price_micros,
            "currency": rate and rate.currency,
            "cost_cents": None if rate is None else count * rate.price_micros / 10_000,
        }
        for (*key, rate), count in costs.items()
    ]
    by_chat = []
    for (day, chat), group in chats.items():
        rates = [c.rate for c in group if c.rate is not None and c.rate.currency == currency]
        by_chat.append(
            {
                "metric_date": day,
                "chat_id": chat,
                "messages": len(group),
                "messages_without_cost": len(group) - len(rates),
                "cost_cents": sum(rate.price_micros for rate in rates) / 10_000
                if len(rates) == len(group)
                else None,
            }
        )
    return {
        "message_costs": rows,
        "chat_message_costs": by_chat,
        "message_rate_gaps": [
            {
                **dict(zip(MESSAGE_COST_GRAINS["message_rate_gaps"], key, strict=True)),
                "messages": count,
            }
            for key, count in gaps.items()
        ],
    }

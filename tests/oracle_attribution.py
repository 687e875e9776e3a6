"""Which sessions conversions are due to, and what campaigns bring in, again in plain Python.

Written from the definitions and not from the models, a loop per sentence and without regard to
speed: for each date, sessions and persons are made anew from the facts up to its end. Sessions and
persons themselves are those of ``tests.oracle_journeys``; what messages cost does not belong here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from tests.facts import Fact, Row, ratio
from tests.oracle_journeys import (
    CONVERSION_EVENTS,
    ORIGIN,
    SESSION_TIMEOUT,
    Key,
    Session,
    person_id,
    persons,
    user_key,
    visits,
)

#: Relation -> the columns that name one of its rows.
ATTRIBUTION_GRAINS: dict[str, tuple[str, ...]] = {
    "conversion_attribution": ("conversion_event_id", "model", "touch_session_id"),
    "metrics_daily_campaigns": (
        "metric_date", "utm_source", "utm_medium", "utm_campaign", "model",
    ),
    "metrics_daily_campaign_returns": (
        "metric_date", "utm_source", "utm_medium", "utm_campaign", "model",
    ),
}  # fmt: skip

MODELS = (
    "first_touch", "last_touch", "last_non_direct", "linear", "position_based", "time_decay",
)  # fmt: skip
UTM = ("utm_source", "utm_medium", "utm_campaign")
WINDOW = timedelta(hours=30 * 24)
HALF_LIFE = timedelta(days=7)

#: utm_source, utm_medium, utm_campaign; `unknown` where there is none.
Campaign = tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What is known at the end of a date."""

    facts: list[Fact]

    @cached_property
    def sessions(self) -> list[Session]:
        """Every session so far."""
        return visits(self.facts, SESSION_TIMEOUT)

    @cached_property
    def persons(self) -> dict[Key, Key]:
        """Identifier -> the smallest of its person."""
        return persons(self.facts)


def origin(session: Session) -> Row:
    """Where a session came from: the first event that carries any of the five."""
    for fact in session.facts:
        if any(fact.fields.get(name) is not None for name in ORIGIN):
            return {name: fact.fields.get(name) for name in ORIGIN}
    return dict.fromkeys(ORIGIN)


def campaign(row: Row) -> Campaign:
    """The campaign of an origin, of an attributed row or of a cost."""
    return tuple(row[name] or "unknown" for name in UTM)


def value_cents(fact: Fact, currency: str) -> int:
    """What a conversion is worth in the reporting currency."""
    if (fact.fields.get("currency") or currency).upper() != currency:
        return 0
    amount = fact.fields.get("amount_cents")
    return int(fact.p.get("revenue_cents") or 0 if amount is None else amount)


def touched(conversion: Fact, known: Known) -> list[Session]:
    """The sessions of the converting person in the window, in order."""
    key = user_key(conversion)
    if key is None:
        return []
    found = [
        session
        for session in known.sessions
        if known.persons[session.key] == known.persons[key]
        and conversion.at - WINDOW <= session.start <= conversion.at
    ]
    return sorted(
        found,
        key=lambda s: (s.start, s.key[0].encode(), s.key[1].encode(), s.channel.encode()),
    )


def credits(direct: Sequence[bool], ages: Sequence[timedelta]) -> dict[str, list[float]]:
    """Model -> the credit of each touch; of which are direct, and how old they are.

    Raises:
        ValueError: there is no touch.

    """
    if not direct:
        raise ValueError("a conversion without a touch has a row of its own")
    count = len(direct)
    deliberate = [place for place, is_direct in enumerate(direct) if not is_direct]
    weights = [2 ** -(age / HALF_LIFE) for age in ages]

    def all_to(winner: int) -> list[float]:
        return [float(place == winner) for place in range(count)]

    if count == 1:
        positions = [1.0]
    elif count == 2:
        positions = [0.5, 0.5]
    else:
        positions = [0.4, *[0.2 / (count - 2)] * (count - 2), 0.4]
    return {
        "first_touch": all_to(0),
        "last_touch": all_to(count - 1),
        "last_non_direct": all_to(deliberate[-1] if deliberate else count - 1),
        "linear": [1 / count] * count,
        "position_based": positions,
        "time_decay": [weight / sum(weights) for weight in weights],
    }


def conversion_attribution(
    facts: Sequence[Fact], known: dict[date, Known], currency: str
) -> list[Row]:
    """conversion_attribution."""
    rows = []
    for fact in facts:
        if fact.name not in CONVERSION_EVENTS:
            continue
        now, key = known[fact.day], user_key(fact)
        sessions = touched(fact, now)
        origins = [origin(session) for session in sessions] or [dict.fromkeys(ORIGIN)]
        direct = [all(o[name] is None for name in (*UTM, "referrer")) for o in origins]
        ages = [fact.at - session.start for session in sessions] or [timedelta(0)]
        for model, shares in credits(direct, ages).items():
            for place, share in enumerate(shares):
                if share == 0:
                    continue
                session = sessions[place] if sessions else None
                rows.append(
                    {
                        "metric_date": fact.day,
                        "conversion_event_id": fact.event_id,
                        "model": model,
                        "touch_session_id": session.id if session else "direct",
                        "credit": share,
                        "conversion_name": fact.name,
                        "converted_at": fact.at,
                        "person_id": person_id(now.persons[key]) if key else None,
                        "value_cents": value_cents(fact, currency),
                        **{name: origins[place][name] for name in UTM},
                        "touch_position": place + 1,
                        "touch_count": len(direct),
                        "session_start_at": session.start if session else None,
                        "is_direct": direct[place],
                    }
                )
    return rows


def daily_campaigns(attributed: Sequence[Row], known: dict[date, Known]) -> list[Row]:
    """metrics_daily_campaigns, from the rows of conversion_attribution."""
    table: dict[tuple[date, Campaign, str], list[float]] = defaultdict(lambda: [0, 0, 0])
    for day, now in known.items():
        for session in now.sessions:
            if session.facts[0].day == day:
                for model in MODELS:
                    table[day, campaign(origin(session)), model][0] += 1
    for row in attributed:
        cells = table[row["metric_date"], campaign(row), row["model"]]
        cells[1] += row["credit"]
        cells[2] += row["credit"] * row["value_cents"]
    return [
        {
            "metric_date": day,
            **dict(zip(UTM, key, strict=True)),
            "model": model,
            "sessions": int(sessions),
            "conversions": conversions,
            "revenue_cents": revenue,
        }
        for (day, key, model), (sessions, conversions, revenue) in table.items()
    ]


def refunded(facts: Sequence[Fact], currency: str) -> list[tuple[date, str, int]]:
    """Date, conversion and cents of each refund of a conversion."""
    conversions: list[Fact] = []
    left: dict[str, int] = {}
    found = []
    for fact in facts:
        if fact.name in CONVERSION_EVENTS:
            conversions.append(fact)
            left[fact.event_id] = value_cents(fact, currency)
        if fact.name != "refund_issued":
            continue
        order = fact.p.get("order_id")
        payments = [c for c in conversions if c.name == "payment_succeeded"]
        fitting = (
            *(c for c in payments if c.entity == fact.entity),
            *(c for c in payments if order is not None and c.p.get("order_id") == order),
            *(c for c in conversions if c.name == "order_created" and c.entity == order),
        )
        if fitting:
            conversion = fitting[0].event_id
            taken = min(left[conversion], value_cents(fact, currency))
            left[conversion] -= taken
            found.append((fact.day, conversion, taken))
    return found


def campaign_returns(
    facts: Sequence[Fact],
    attributed: Sequence[Row],
    dates: Sequence[date],
    spend: Iterable[Row],
    currency: str,
) -> list[Row]:
    """metrics_daily_campaign_returns; ``spend`` are rows of the seed campaign_spend."""
    table: dict[tuple[date, Campaign, str], list[float]] = defaultdict(lambda: [0, 0, 0])
    for row in attributed:
        cells = table[row["metric_date"], campaign(row), row["model"]]
        cells[0] += row["credit"] * row["value_cents"]
    for day, conversion, cents in refunded(facts, currency):
        for row in attributed:
            if row["conversion_event_id"] == conversion:
                table[day, campaign(row), row["model"]][1] += row["credit"] * cents
    for cost in spend:
        if cost["spend_date"] in dates and (cost["currency"] or currency) == currency:
            for model in MODELS:
                table[cost["spend_date"], campaign(cost), model][2] += cost["amount_cents"]
    return [
        {
            "metric_date": day,
            **dict(zip(UTM, key, strict=True)),
            "model": model,
            "revenue_cents": revenue,
            "refunded_cents": back,
            "net_revenue_cents": revenue - back,
            "cost_cents": int(cents),
            "return_on_spend": ratio(revenue - back - cents, cents),
        }
        for (day, key, model), (revenue, back, cents) in table.items()
        if revenue or back or cents
    ]


def expected_attribution(
    facts: Sequence[Fact],
    dates: Sequence[date],
    currency: str = "USD",
    spend: Iterable[Row] = (),
) -> dict[str, list[Row]]:
    """What the tables of attribution hold after all dates were run, rows in any order.

    Args:
        facts: accepted events in order, none later than the last date.
        dates: every date from the earliest event date to the last date run.
        currency: the reporting currency.
        spend: rows of the seed campaign_spend; as it ships it has none.

    """
    known = {day: Known([fact for fact in facts if fact.day <= day]) for day in dates}
    attributed = conversion_attribution(facts, known, currency)
    return {
        "conversion_attribution": attributed,
        "metrics_daily_campaigns": daily_campaigns(attributed, known),
        "metrics_daily_campaign_returns": campaign_returns(
            facts, attributed, dates, spend, currency
        ),
    }

"""Customers again, in plain Python: what they did, how likely they stay away, what they are.

Written from the definitions (the table's, and docs/customers.md of the churn model) and not from
the models. Reading events stands in ``tests.facts``, comparing computed doubles in
``tests.oracle_advisors``. How well the model foretells anything does not belong here.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tests.facts import Fact, Row, quantile, ratio
from tests.oracle_advisors import CLOSE, at_least

CUSTOMER_GRAINS: dict[str, tuple[str, ...]] = {"customer_insights": ("user_id",)}

#: They show the state at the end of the last date run.
CUSTOMER_STATES = frozenset(CUSTOMER_GRAINS)

SUNDAY = 7
BINS = (10, 6, 4, 3, 2, 1)


@dataclass(frozen=True)
class ChurnModel:
    """The settings of the churn model and of segments."""

    horizon: int = 30
    weeks: int = 26
    shape: float = 1
    scale_days: float = 30
    dropout_alpha: float = 0.5
    dropout_beta: float = 2.5
    prior_weight: int = 20
    recent_days: int = 30
    at_risk: float = 0.7
    high_value_percentile: float = 0.8
    reporting_currency: str = "USD"


def is_interaction(fact: Fact) -> bool:
    """Conversation recorded, payment or appointment event."""
    return (
        fact.domain == "payments"
        or fact.name == "conversation_recorded"
        or fact.name.startswith("appointment_")
    )


def interactions_of(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """User -> interactions, in order."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if is_interaction(fact) and fact.fields.get("user_id") is not None:
            found[fact.fields["user_id"]].append(fact)
    return found


def opted_out(facts: Iterable[Fact], user: str, through: date) -> bool:
    """Whether a user opted out of notifications on a date or before."""
    return any(
        fact.name == "notification_opted_out"
        and fact.fields.get("user_id") == user
        and fact.day <= through
        for fact in facts
    )


# -- the churn model -------------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """Frequency, recency and tenure of a customer on a date, in dates."""

    contacts: int
    recency: int
    tenure: int


def history(days: Iterable[date], on: date) -> History | None:
    """What the dates of contact up to a date say; None when there is none yet."""
    known = sorted({day for day in days if day <= on})
    if not known:
        return None
    return History(len(known), (on - known[-1]).days, (on - known[0]).days)


def prior_risk(past: History, model: ChurnModel) -> float:
    """1 - P(still a customer) x P(a contact within the horizon | still a customer), by MBG/NBD."""
    repeats = past.contacts - 1
    events = model.shape + repeats
    start = model.scale_days + past.tenure
    odds = (
        model.dropout_alpha
        / (model.dropout_beta + repeats)
        * math.exp(min(50.0, events * math.log(start / (start - past.recency))))
    )
    comes = 1 - (start / (start + model.horizon)) ** events
    return 1 - comes / (1 + odds)


def cell(past: History, model: ChurnModel) -> tuple[int, int]:
    """Risk band and frequency bin."""
    band = min(9, math.floor(10 * prior_risk(past, model) + CLOSE))
    return band, next(least for least in BINS if past.contacts >= least)


def fit(
    contacts: dict[str, list[date]], objections: dict[str, date], sunday: date, model: ChurnModel
) -> dict[tuple[int, int], tuple[int, int]]:
    """Cell -> customers seen and those who stayed away, over the outcomes known on a Sunday."""
    seen: Counter[tuple[int, int]] = Counter()
    away: Counter[tuple[int, int]] = Counter()
    for week in range(model.weeks):
        outcome = sunday - timedelta(days=7 * week)
        snapshot = outcome - timedelta(days=model.horizon)
        for user, days in contacts.items():
            past = history(days, snapshot)
            if past is None or objections.get(user, date.max) <= outcome:
                continue
            place = cell(past, model)
            seen[place] += 1
            away[place] += not any(snapshot < day <= outcome for day in days)
    return {place: (count, away[place]) for place, count in seen.items()}


def churn_risk(
    past: History, fitted: dict[tuple[int, int], tuple[int, int]], model: ChurnModel
) -> float:
    """The prior, drawn to the rate of its band, and this to the rate of its cell."""
    band, frequency = cell(past, model)
    risk = prior_risk(past, model)
    in_band = [counts for (b, _), counts in fitted.items() if b == band]
    for seen, away in (
        (sum(s for s, _ in in_band), sum(a for _, a in in_band)),
        fitted.get((band, frequency), (0, 0)),
    ):
        risk = (away + model.prior_weight * risk) / (seen + model.prior_weight)
    return risk


# -- the table -------------------------------------------------------------------------------------


def preferred_channel(done: Sequence[Fact]) -> str:
    """The channel of most interactions; of equal ones that of the latest."""
    counts = Counter(fact.fields["channel"] for fact in done)
    most = max(counts.values())
    return str(
        next(f.fields["channel"] for f in reversed(done) if counts[f.fields["channel"]] == most)
    )


def _money(done: Iterable[Fact], name: str, model: ChurnModel) -> list[int]:
    return [
        fact.fields["amount_cents"]
        for fact in done
        if fact.name == name
        and fact.fields.get("currency", model.reporting_currency).upper()
        == model.reporting_currency
    ]


def _segment(row: Row, recent: int, high_value: float | None, model: ChurnModel) -> str:
    if row["days_since_first_contact"] <= model.recent_days and row["purchases"] < 2:
        return "new"
    if row["churn_risk"] is not None and at_least(row["churn_risk"], model.at_risk):
        return "at_risk"
    enough = high_value is not None and at_least(row["lifetime_value_cents"], high_value)
    if row["purchases"] >= 2 and enough:
        return "high_value"
    return "regular" if recent >= 2 else "occasional"


def customer_insights(
    facts: Sequence[Fact], through: date, first: date, model: ChurnModel
) -> list[Row]:
    """customer_insights at the end of a date; ``first`` is the first date of the calendar."""
    facts = [fact for fact in facts if fact.day <= through]
    done = interactions_of(facts)
    contacts = {user: [fact.day for fact in of_user] for user, of_user in done.items()}
    objections = {
        fact.fields["user_id"]: fact.day
        for fact in reversed(facts)
        if fact.name == "notification_opted_out" and fact.fields.get("user_id") is not None
    }
    sunday = through - timedelta(days=through.isoweekday() % SUNDAY)
    fitted = fit(contacts, objections, sunday, model) if sunday >= first else {}
    rows = []
    for user, of_user in done.items():
        past = history(contacts[user], through)
        assert past is not None
        objects = opted_out(facts, user, through)
        purchases = _money(of_user, "payment_succeeded", model)
        value = sum(purchases) - sum(_money(of_user, "refund_issued", model))
        stages = [f.p["journey_stage"] for f in of_user if f.p.get("journey_stage") is not None]
        rows.append(
            {
                "user_id": user,
                "as_of_date": through,
                "interactions": len(of_user),
                "purchases": len(purchases),
                "lifetime_value_cents": value,
                "average_order_value_cents": ratio(value, len(purchases)),
                "appointments_booked": sum(f.name == "appointment_booked" for f in of_user),
                "appointments_completed": sum(f.name == "appointment_completed" for f in of_user),
                "preferred_channel": preferred_channel(of_user),
                "days_since_first_contact": past.tenure,
                "days_since_last_contact": past.recency,
                "journey_stage": stages[-1] if stages else None,
                "churn_risk": None if objects else churn_risk(past, fitted, model),
                "contact_days": past.contacts,
                "model_fitted_on": sunday if fitted and not objects else None,
            }
        )
    high_value = quantile(
        [row["lifetime_value_cents"] for row in rows if row["purchases"] >= 1],
        model.high_value_percentile,
    )
    for row in rows:
        since = through - timedelta(days=model.recent_days)
        recent = sum(fact.day > since for fact in done[row["user_id"]])
        row["segment"] = _segment(row, recent, high_value, model)
        row["upsell_potential"] = _upsell(row, rows)
    return rows


def _bin(row: Row) -> int:
    return next(least for least in BINS if row["contact_days"] >= least)


def _upsell(row: Row, rows: Sequence[Row]) -> float | None:
    """(1 - churn risk) x share of peers worth more, equal ones counting one half."""
    if row["churn_risk"] is None:
        return None
    peers = [
        other["lifetime_value_cents"]
        for other in rows
        if other["churn_risk"] is not None and _bin(other) == _bin(row)
    ]
    own = row["lifetime_value_cents"]
    room = sum(1.0 if value > own else 0.5 if value == own else 0.0 for value in peers)
    return float((1 - row["churn_risk"]) * room / len(peers))


def expected_customers(facts: Sequence[Fact], through: date) -> dict[str, Any]:
    """All tables of customers, when all dates up to ``through`` were run."""
    first = min((fact.day for fact in facts), default=through)
    return {"customer_insights": customer_insights(facts, through, first, ChurnModel())}

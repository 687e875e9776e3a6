"""Conversations, agents, the daily platform and alerts again, in plain Python.

Written from the definitions and not from the models, a loop per sentence. What belongs to every
table (reading events, rates, averages) stands in ``tests.facts``, comparing computed doubles in
``tests.oracle_advisors``. Customers do not belong here, nor how an alert reaches anybody.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from tests.facts import Fact, Row, mean, ratio
from tests.oracle_advisors import above, at_least

#: Relation -> the columns that name one of its rows; alerts are made of all other tables.
AGENT_GRAINS: dict[str, tuple[str, ...]] = {
    "conversations": ("conversation_id",),
    "agent_performance": ("as_of_date", "agent_id"),
    "metrics_daily_platform": ("metric_date", "channel"),
    "alerts": ("metric_date", "rule", "subject_type", "subject_id"),
}

#: What a record says of a conversation, besides who spoke with whom and where.
PROPERTIES = (
    "start_time", "end_time", "message_count", "customer_messages", "agent_responses",
    "response_time_avg_ms", "customer_satisfaction_score", "completed", "conversion_type",
    "conversion_value_cents", "sentiment", "sentiment_confidence", "emotions", "intents",
    "escalation_required", "escalation_reason", "follow_up_required", "follow_up_actions", "tags",
    "journey_stage",
)  # fmt: skip

GRADES = (("A+", 95), ("A", 90), ("B+", 85), ("B", 80), ("C+", 75), ("C", 70))
COMPARISONS = ("above", "below", "below_share_of_previous_date", "below_share_of_mean_of_7_dates")


@dataclass(frozen=True)
class Rates:
    """The settings of the scores of agents and of sums of money."""

    revenue_target_cents_per_conversation: float = 100_000
    reporting_currency: str = "USD"


@dataclass(frozen=True)
class Rule:
    """A line of the seed ``alert_rules``."""

    rule: str
    type: str
    severity: str
    relation: str
    metric: str
    comparison: str
    threshold: float
    message: str


@cache
def alert_rules() -> tuple[Rule, ...]:
    """The rules of the seed."""
    seeds = Path(__file__).parent.parent / "dbt_project" / "seeds"
    with (seeds / "alert_rules.csv").open(encoding="utf-8", newline="") as lines:
        return tuple(
            Rule(**{**row, "threshold": float(row["threshold"])}) for row in csv.DictReader(lines)
        )


# -- conversations ---------------------------------------------------------------------------------


def records_of(facts: Iterable[Fact]) -> list[Fact]:
    """The events that record a conversation."""
    return [fact for fact in facts if fact.name == "conversation_recorded"]


def latest_by_conversation(records: Iterable[Fact]) -> list[Fact]:
    """The latest record of each conversation, of records in order."""
    latest: dict[str, Fact] = {}
    for record in records:
        latest[record.entity] = record
    return list(latest.values())


def duration_seconds(record: Fact) -> float | None:
    """End - start, null while there is no end."""
    start, end = record.p.get("start_time"), record.p.get("end_time")
    if start is None or end is None:
        return None
    return (end - start) / timedelta(milliseconds=1) / 1000


def conversations(facts: Sequence[Fact]) -> list[Row]:
    """conversations."""
    return [
        {
            "conversation_id": record.entity,
            "agent_id": record.fields["agent_id"],
            "user_id": record.fields.get("user_id"),
            "channel": record.fields["channel"],
            "recorded_at": record.at,
            "record_date": record.day,
            "event_id": record.event_id,
            "currency": record.fields.get("currency"),
            **{name: record.p.get(name) for name in PROPERTIES},
            "duration_seconds": duration_seconds(record),
        }
        for record in latest_by_conversation(records_of(facts))
    ]


def known(records: Iterable[Fact], name: str) -> list[Any]:
    """The values of a property that are not null."""
    return [record.p[name] for record in records if record.p.get(name) is not None]


def share(records: Sequence[Fact], holds: Callable[[Fact], bool]) -> float | None:
    """The share of conversations of which something is true."""
    return ratio(sum(1 for record in records if holds(record)), len(records))


def revenue(records: Iterable[Fact], currency: str) -> int:
    """What conversations brought in, without amounts in other currencies."""
    amounts = [r for r in records if r.fields.get("currency", currency).upper() == currency]
    return sum(known(amounts, "conversion_value_cents"))


# -- agents ----------------------------------------------------------------------------------------


def grade_of(score: float | None) -> str | None:
    """The grade of a performance score."""
    if score is None:
        return None
    return next((grade for grade, least in GRADES if at_least(score, least)), "D")


def codes(
    satisfaction: float | None,
    response_ms: float | None,
    conversion: float | None,
    escalation: float | None,
) -> tuple[str, str]:
    """Strengths and improvement areas; what is not known is neither."""
    good, bad = [], []
    if satisfaction is not None:
        good += ["satisfaction"] if at_least(satisfaction, 4.5) else []
        bad += ["satisfaction"] if above(3.5, satisfaction) else []
    if response_ms is not None:
        good += ["response_time"] if at_least(60, response_ms / 1000) else []
        bad += ["response_time"] if above(response_ms / 1000, 120) else []
    if conversion is not None:
        good += ["conversion"] if at_least(conversion, 0.5) else []
        bad += ["conversion"] if above(0.1, conversion) else []
    if escalation is not None:
        good += ["escalation"] if at_least(0.05, escalation) else []
        bad += ["escalation"] if above(escalation, 0.2) else []
    return ",".join(good), ",".join(bad)


def mean_of_known(*values: float | None) -> float | None:
    """The mean of those that are not null."""
    return mean([value for value in values if value is not None])


def performance(records: Sequence[Fact], appointments: Sequence[Fact], rates: Rates) -> Row:
    """What an agent's row says, of the conversations and appointments of its window."""

    def count(name: str) -> int:
        return sum(1 for fact in appointments if fact.name == name)

    satisfaction = mean(known(records, "customer_satisfaction_score"))
    response_ms = mean(known(records, "response_time_avg_ms"))
    completion = share(records, lambda record: record.p["completed"])
    escalation = share(records, lambda record: record.p["escalation_required"])
    conversions = len(known(records, "conversion_type"))
    conversion = ratio(conversions, len(records))
    cents = revenue(records, rates.reporting_currency)
    cents_each = ratio(cents, len(records))
    booked = count("appointment_booked")
    quality = mean_of_known(
        None if satisfaction is None else satisfaction / 5 * 100,
        None if completion is None else completion * 100,
    )
    converting = (
        None
        if conversion is None or cents_each is None
        else mean(
            [
                conversion * 100,
                min(100, 100 * cents_each / rates.revenue_target_cents_per_conversation),
            ]
        )
    )
    efficiency = mean_of_known(
        None if response_ms is None else max(0, 100 * (1 - response_ms / 60_000)),
        None if escalation is None else 100 * (1 - escalation),
    )
    parts = [
        (weight, score)
        for weight, score in ((0.40, quality), (0.35, converting), (0.25, efficiency))
        if score is not None
    ]
    score = ratio(sum(w * s for w, s in parts), sum(w for w, _ in parts))
    strengths, improvement_areas = codes(satisfaction, response_ms, conversion, escalation)
    return {
        "total_conversations": len(records),
        "average_duration_seconds": mean(
            [s for s in map(duration_seconds, records) if s is not None]
        ),
        "average_response_time_ms": response_ms,
        "completion_rate": completion,
        "customer_satisfaction_avg": satisfaction,
        "escalation_rate": escalation,
        "total_revenue_cents": cents,
        "conversions": conversions,
        "conversion_rate": conversion,
        "average_order_value_cents": ratio(cents, conversions),
        "appointments_booked": booked,
        "appointment_completion_rate": ratio(count("appointment_completed"), booked),
        "no_show_rate": ratio(count("appointment_no_show"), booked),
        "quality_score": quality,
        "conversion_score": converting,
        "efficiency_score": efficiency,
        "performance_score": score,
        "grade": grade_of(score),
        "strengths": strengths,
        "improvement_areas": improvement_areas,
    }


def agent_performance(facts: Sequence[Fact], dates: Sequence[date], rates: Rates) -> list[Row]:
    """agent_performance."""
    records = records_of(facts)
    appointments = [fact for fact in facts if fact.name.startswith("appointment_")]
    rows = []
    for day in dates:
        window = {day - timedelta(days=n) for n in range(30)}
        of_agent: dict[str, list[Fact]] = defaultdict(list)
        for record in latest_by_conversation(r for r in records if r.day <= day):
            if record.day in window:
                of_agent[record.fields["agent_id"]].append(record)
        met: dict[str, list[Fact]] = defaultdict(list)
        for fact in appointments:
            if fact.day in window:
                met[fact.fields["agent_id"]].append(fact)
        booking = {a for a, seen in met.items() if any(f.name.endswith("_booked") for f in seen)}
        for agent in of_agent.keys() | booking:
            of_day = performance(of_agent.get(agent, []), met.get(agent, []), rates)
            rows.append({"as_of_date": day, "agent_id": agent, **of_day})
    return rows


# -- the platform ----------------------------------------------------------------------------------


def daily_platform(facts: Sequence[Fact], rates: Rates) -> list[Row]:
    """metrics_daily_platform."""
    by_day: dict[date, list[Fact]] = defaultdict(list)
    for record in records_of(facts):
        by_day[record.day].append(record)
    rows = []
    for day, todays in by_day.items():
        by_channel: dict[str, list[Fact]] = defaultdict(list)
        for record in latest_by_conversation(todays):
            by_channel[record.fields["channel"]].append(record)
        for channel, records in by_channel.items():
            users = {record.fields.get("user_id") for record in records} - {None}
            rows.append(
                {
                    "metric_date": day,
                    "channel": channel,
                    "active_agents": len({record.fields["agent_id"] for record in records}),
                    "customers": len(users),
                    "conversations": len(records),
                    "revenue_cents": revenue(records, rates.reporting_currency),
                    "conversion_rate": share(records, lambda r: "conversion_type" in r.p),
                    "response_time_ms_avg": mean(known(records, "response_time_avg_ms")),
                    "satisfaction_avg": mean(known(records, "customer_satisfaction_score")),
                    "escalation_rate": share(records, lambda r: r.p["escalation_required"]),
                }
            )
    return rows


# -- alerts ----------------------------------------------------------------------------------------


def compared_to(rule: Rule, values: Mapping[date, float | None], day: date) -> float | None:
    """What a rule compares a date with: the mean of the values there are on the dates before it.

    Null for a rule that compares with its threshold alone, and where there is no value.
    """
    back = {"below_share_of_previous_date": 1, "below_share_of_mean_of_7_dates": 7}
    dates = [day - timedelta(days=n + 1) for n in range(back.get(rule.comparison, 0))]
    return mean_of_known(*(values.get(earlier) for earlier in dates))


def raises(rule: Rule, values: Mapping[date, float | None], day: date) -> bool:
    """Whether a rule holds of one subject on a date; what is not there raises nothing.

    Args:
        rule: the rule.
        values: the metric of the subject by date, dates without a row left out.
        day: the date.

    """
    value = values.get(day)
    if value is None:
        return False
    if rule.comparison == "above":
        return above(value, rule.threshold)
    if rule.comparison == "below":
        return above(rule.threshold, value)
    base = compared_to(rule, values, day)
    return base is not None and above(rule.threshold * base, value)


def alerts(
    marts: Mapping[str, Sequence[Row]],
    grains: Mapping[str, Sequence[str]],
    date_column: Callable[[str], str],
    rules: Iterable[Rule],
) -> list[Row]:
    """alerts, of the rows of the other tables.

    Args:
        marts: relation -> its rows, of all dates.
        grains: relation -> the columns that name one of its rows.
        date_column: the column that says to which date a row of a relation belongs.
        rules: the rules; each names a relation of ``marts`` and one of its columns.

    """
    rows = []
    for rule in rules:
        assert rule.comparison in COMPARISONS, rule
        dated = date_column(rule.relation)
        names = [name for name in grains[rule.relation] if name != dated]
        subjects: dict[tuple[str, ...], dict[date, float | None]] = defaultdict(dict)
        for row in marts[rule.relation]:
            subjects[tuple(str(row[name]) for name in names)][row[dated]] = row[rule.metric]
        rows += [
            {
                "metric_date": day,
                "rule": rule.rule,
                "subject_type": "|".join(names) or "platform",
                "subject_id": "|".join(subject),
                "value": values[day],
                "threshold": rule.threshold,
                "compared_to": compared_to(rule, values, day),
                "severity": rule.severity,
                "message": rule.message,
                "type": rule.type,
                "relation": rule.relation,
                "metric": rule.metric,
                "comparison": rule.comparison,
            }
            for subject, values in subjects.items()
            for day in values
            if raises(rule, values, day)
        ]
    return rows


def expected_agent_marts(
    facts: Sequence[Fact], dates: Sequence[date], rates: Rates
) -> dict[str, list[Row]]:
    """What the tables of conversations hold after all dates were run, alerts left out.

    Args:
        facts: accepted events in order, none later than the last date.
        dates: every date from the earliest event date to the last date run.
        rates: settings.

    """
    return {
        "conversations": conversations(facts),
        "agent_performance": agent_performance(facts, dates, rates),
        "metrics_daily_platform": daily_platform(facts, rates),
    }

"""The marts again, in plain Python: lists and dicts over accepted events, no SQL.

Written from the definitions and not from the models, one loop per sentence and without regard to
speed, so that a fault of one is not a fault of the other. Events are canonical events (envelope
fields and ``properties``), each accepted once. Here stand the daily KPIs and what joins the parts;
advisors have a module of their own. How tables are stored, loaded or compared does not belong here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from tests.facts import Fact, Row, mean, quantile, ratio, read
from tests.oracle_advisors import (
    ADVISOR_GRAINS,
    Recipe,
    expected_advisor_marts,
    platform_features,
)
from tests.oracle_agents import (
    AGENT_GRAINS,
    Rates,
    alert_rules,
    alerts,
    expected_agent_marts,
)
from tests.oracle_alerts import ALERT_GRAINS, ALERT_STATES, expected_alert_marts
from tests.oracle_attribution import ATTRIBUTION_GRAINS, expected_attribution
from tests.oracle_customers import CUSTOMER_GRAINS, CUSTOMER_STATES, expected_customers
from tests.oracle_journeys import JOURNEY_GRAINS, JOURNEY_STATES, expected_journeys
from tests.oracle_market import MARKET_GRAINS, expected_market_marts
from tests.oracle_message_costs import MESSAGE_COST_GRAINS, expected_message_costs
from tests.oracle_regions import REGION_GRAINS, heatmap, regions

RETENTION_DAYS = (1, 7, 14, 30, 60, 90)

#: Relation -> the columns that name one of its rows.
GRAINS: dict[str, tuple[str, ...]] = {
    "metrics_daily_fulfillment": ("metric_date", "service_code", "reader_id"),
    "metrics_daily_payments": ("metric_date", "country_code", "provider", "currency"),
    "metrics_daily_calls": ("metric_date", "service_code", "provider"),
    "metrics_daily_engagement": ("metric_date",),
    "metrics_daily_content": ("metric_date",),
    "metrics_cohort_retention": ("cohort_date", "retention_day"),
    "metrics_hourly_activity": ("metric_date", "hour", "channel"),
    **ADVISOR_GRAINS,
    **REGION_GRAINS,
    **JOURNEY_GRAINS,
    **AGENT_GRAINS,
    **MARKET_GRAINS,
    **ATTRIBUTION_GRAINS,
    **MESSAGE_COST_GRAINS,
    **CUSTOMER_GRAINS,
    **ALERT_GRAINS,
}

#: Relations that hold once nothing is stale: they show the state at the end of the last date run,
#: or compare rows of other marts with those of earlier dates.
STATE_RELATIONS = frozenset(
    {"conversations", "alerts", *JOURNEY_STATES, *CUSTOMER_STATES, *ALERT_STATES}
)


def date_column(relation: str) -> str:
    """The column of a mart that says to which partition a row belongs."""
    dated = {"as_of_date", "date"} & set(GRAINS[relation])
    return dated.pop() if dated else "metric_date"


def seconds(earlier: Fact, later: Fact) -> float:
    """Seconds from one event to another."""
    return (later.at - earlier.at) / timedelta(milliseconds=1) / 1000


def first(facts: Iterable[Fact], name: str) -> Fact | None:
    """The first event of a name, of facts in order."""
    return next((fact for fact in facts if fact.name == name), None)


def by_entity(facts: Iterable[Fact]) -> dict[Any, list[Fact]]:
    """Facts by what they are about, each list in order."""
    groups: dict[Any, list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.entity].append(fact)
    return groups


class Table:
    """Rows by key; a column that nobody touched is 0 or an empty list."""

    def __init__(self, counts: Sequence[str], lists: Sequence[str] = (), sets: Sequence[str] = ()):
        self.make: Callable[[], Row] = lambda: (
            dict.fromkeys(counts, 0) | {n: [] for n in lists} | {n: set() for n in sets}
        )
        self.rows: dict[tuple[Any, ...], Row] = {}

    def at(self, *key: Any) -> Row:
        """The row of a key, made when it is not there."""
        return self.rows.setdefault(key, self.make())


def fulfillment(facts: list[Fact]) -> list[Row]:
    """metrics_daily_fulfillment."""
    counts = (
        "orders_created", "orders_assigned", "orders_submitted", "orders_completed",
        "orders_cancelled", "decisions_approved", "decisions_rejected",
    )  # fmt: skip
    table = Table(counts, lists=("response", "delivery", "approval"), sets=("decided", "loop"))
    orders = by_entity(
        f
        for f in facts
        if f.domain == "orders"
        or (f.domain == "moderation" and f.fields.get("entity_type") == "order")
    )
    for order_id, history in orders.items():
        creation = first(history, "order_created")
        seen: set[str] = set()
        rejections = 0
        for fact in history:
            earlier = [f for f in history if f.order <= fact.order]
            created = creation if creation in earlier else None
            assignments = [f for f in earlier if f.name == "order_assigned"]
            submissions = [f for f in earlier if f.name == "order_submitted"]
            row_key = (
                fact.day,
                created.fields["service_code"] if created else "unknown",
                assignments[-1].p["reader_id"] if assignments else "unassigned",
            )
            is_first = fact.name not in seen
            seen.add(fact.name)
            once = {
                "order_created": "orders_created",
                "order_assigned": "orders_assigned",
                "order_completed": "orders_completed",
                "order_cancelled": "orders_cancelled",
            }
            if fact.name in once and is_first:
                row = table.at(*row_key)
                row[once[fact.name]] += 1
                if created and fact.name == "order_assigned":
                    row["response"].append(seconds(created, fact))
                if created and fact.name == "order_completed":
                    row["delivery"].append(seconds(created, fact))
            elif fact.name == "order_submitted":
                table.at(*row_key)["orders_submitted"] += 1
            elif fact.name == "moderation_decision":
                row = table.at(*row_key)
                row[f"decisions_{fact.fields['status']}"] += 1
                row["decided"].add(order_id)
                if fact.fields["status"] == "rejected":
                    rejections += 1
                    if rejections >= 2:
                        row["loop"].add(order_id)
                if submissions:
                    row["approval"].append(seconds(submissions[-1], fact))
    rows = []
    for key, row in table.rows.items():
        decided, loop = len(row["decided"]), len(row["loop"])
        decisions = row["decisions_approved"] + row["decisions_rejected"]
        out = {
            **dict(zip(GRAINS["metrics_daily_fulfillment"], key, strict=True)),
            **{name: row[name] for name in counts},
            "orders_decided": decided,
            "orders_in_rejection_loop": loop,
            "approval_rate": ratio(row["decisions_approved"], decisions),
            "rejection_loop_rate": ratio(loop, decided),
        }
        for what in ("response", "delivery", "approval"):
            out[f"ttf_{what}_count"] = len(row[what])
            out[f"ttf_{what}_seconds_avg"] = mean(row[what])
            out[f"ttf_{what}_seconds_p50"] = quantile(row[what], 0.5)
            out[f"ttf_{what}_seconds_p95"] = quantile(row[what], 0.95)
        rows.append(out)
    return rows


def payments(facts: list[Fact]) -> list[Row]:
    """metrics_daily_payments."""
    counts = (
        "payments_attempted", "payments_succeeded", "payments_failed", "fallback_attempts",
        "refunds_issued", "gross_amount_cents", "refunded_amount_cents",
    )  # fmt: skip
    table = Table(counts)
    for fact in facts:
        if fact.domain != "payments":
            continue
        row = table.at(
            fact.day,
            fact.fields.get("country_code", "unknown").upper()
            if fact.fields.get("country_code")
            else "unknown",
            fact.fields["provider"],
            fact.fields["currency"].upper(),
        )
        amount = fact.fields["amount_cents"]
        if fact.name == "payment_attempted":
            row["payments_attempted"] += 1
            row["fallback_attempts"] += int(fact.p["is_fallback"])
        elif fact.name == "payment_succeeded":
            row["payments_succeeded"] += 1
            row["gross_amount_cents"] += amount
        elif fact.name == "payment_failed":
            row["payments_failed"] += 1
        elif fact.name == "refund_issued":
            row["refunds_issued"] += 1
            row["refunded_amount_cents"] += amount
    return [
        {
            **dict(zip(GRAINS["metrics_daily_payments"], key, strict=True)),
            **row,
            "net_amount_cents": row["gross_amount_cents"] - row["refunded_amount_cents"],
            "success_rate": ratio(row["payments_succeeded"], row["payments_attempted"]),
            "fallback_rate": ratio(row["fallback_attempts"], row["payments_attempted"]),
            "refund_rate": ratio(row["refunds_issued"], row["payments_succeeded"]),
            "average_transaction_cents": ratio(
                row["gross_amount_cents"], row["payments_succeeded"]
            ),
        }
        for key, row in table.rows.items()
    ]


def calls(facts: list[Fact]) -> list[Row]:
    """metrics_daily_calls."""
    counts = (
        "calls_attempted", "calls_answered", "calls_completed", "calls_dropped", "calls_recorded",
    )  # fmt: skip
    table = Table(counts, lists=("talk", "ring"))
    for history in by_entity(f for f in facts if f.domain == "calls").values():
        for fact in history:
            earlier = [f for f in history if f.order <= fact.order]

            def known(field: str, earlier: list[Fact] = earlier) -> str:
                values = [f.fields[field] for f in earlier if f.fields.get(field) is not None]
                return values[0] if values else "unknown"

            key = (fact.day, known("service_code"), known("provider"))
            if fact.name == "call_started":
                table.at(*key)["calls_attempted"] += 1
            elif fact.name == "call_answered":
                row = table.at(*key)
                row["calls_answered"] += 1
                started = first(earlier, "call_started")
                if started:
                    row["ring"].append(seconds(started, fact))
            elif fact.name == "call_dropped" or fact.fields["status"] == "completed":
                row = table.at(*key)
                dropped = fact.name == "call_dropped"
                row["calls_dropped" if dropped else "calls_completed"] += 1
                row["calls_recorded"] += int(fact.p["recorded"])
                row["talk"].append(fact.fields["duration_seconds"])
    return [
        {
            **dict(zip(GRAINS["metrics_daily_calls"], key, strict=True)),
            **{name: row[name] for name in counts},
            "answer_rate": ratio(row["calls_answered"], row["calls_attempted"]),
            "completion_rate": ratio(row["calls_completed"], row["calls_answered"]),
            "drop_rate": ratio(row["calls_dropped"], row["calls_answered"]),
            "recording_rate": ratio(row["calls_recorded"], row["calls_answered"]),
            "talk_seconds_total": math.fsum(row["talk"]),
            "talk_seconds_avg": mean(row["talk"]),
            "talk_seconds_p50": quantile(row["talk"], 0.5),
            "talk_seconds_p95": quantile(row["talk"], 0.95),
            "ring_seconds_avg": mean(row["ring"]),
        }
        for key, row in table.rows.items()
    ]


def active_days(facts: list[Fact]) -> dict[Any, set[date]]:
    """User -> the dates on which the user was active."""
    found: dict[Any, set[date]] = defaultdict(set)
    for fact in facts:
        if fact.active_user is not None:
            found[fact.active_user].add(fact.day)
    return found


def engagement(facts: list[Fact], dates: list[date]) -> list[Row]:
    """metrics_daily_engagement."""
    users = active_days(facts)
    rows = []
    for day in dates:
        todays = [f for f in facts if f.day == day]

        def active_within(days: int, day: date = day) -> int:
            wanted = {day - timedelta(days=n) for n in range(days)}
            return sum(1 for dates_of_user in users.values() if dates_of_user & wanted)

        kinds = {"new": 0, "returning": 0, "resurrected": 0}
        for dates_of_user in users.values():
            if day not in dates_of_user:
                continue
            month_before = {day - timedelta(days=n) for n in range(1, 31)}
            if min(dates_of_user) == day:
                kinds["new"] += 1
            elif dates_of_user & month_before:
                kinds["returning"] += 1
            else:
                kinds["resurrected"] += 1
        n = {
            what: sum(1 for f in todays if f.name == f"notification_{what}")
            for what in ("sent", "delivered", "opened", "clicked", "opted_out")
        }
        listens = [f for f in todays if f.name == "horoscope_listened"]
        rows.append(
            {
                "metric_date": day,
                "daily_active_users": active_within(1),
                "weekly_active_users": active_within(7),
                "monthly_active_users": active_within(30),
                "stickiness": ratio(active_within(1), active_within(30)),
                "new_users": kinds["new"],
                "returning_users": kinds["returning"],
                "resurrected_users": kinds["resurrected"],
                **{f"notifications_{what}": count for what, count in n.items()},
                "notification_open_rate": ratio(n["opened"], n["delivered"]),
                "notification_ctr": ratio(n["clicked"], n["delivered"]),
                "opt_out_rate": ratio(n["opted_out"], n["sent"]),
                "listens": len(listens),
                "listen_through_rate": mean(
                    [min(1, f.p["listened_seconds"] / f.p["audio_seconds"]) for f in listens]
                ),
            }
        )
    return rows


def content(facts: list[Fact], dates: list[date]) -> list[Row]:
    """metrics_daily_content."""
    latencies: dict[date, list[float]] = defaultdict(list)
    for history in by_entity(f for f in facts if f.domain == "content").values():
        approval = first(history, "horoscope_approved")
        upload = first(history, "horoscope_uploaded")
        if approval and upload and upload.order <= approval.order:
            latencies[approval.day].append(seconds(upload, approval))
    rows = []
    for day in dates:
        todays = [f for f in facts if f.day == day]

        def count(name: str, todays: list[Fact] = todays) -> int:
            return sum(1 for f in todays if f.name == name)

        rejected = sum(
            1
            for f in todays
            if f.name == "moderation_decision"
            and f.fields["entity_type"] == "horoscope"
            and f.fields["status"] == "rejected"
        )
        signs = {f.p["zodiac_sign"] for f in todays if f.name == "horoscope_published"}
        approved = count("horoscope_approved")
        rows.append(
            {
                "metric_date": day,
                "horoscopes_uploaded": count("horoscope_uploaded"),
                "horoscopes_approved": approved,
                "horoscopes_published": count("horoscope_published"),
                "horoscopes_rejected": rejected,
                "signs_published": len(signs),
                "coverage_rate": len(signs) / 12,
                "approval_rate": ratio(approved, approved + rejected),
                "approval_latency_seconds_avg": mean(latencies[day]),
                "approval_latency_seconds_p95": quantile(latencies[day], 0.95),
                "items_flagged": count("content_flagged"),
                "moderation_decisions": count("moderation_decision"),
                "appeals_submitted": count("appeal_submitted"),
            }
        )
    return rows


def cohort_retention(
    facts: list[Fact], dates: list[date], retention_days: Sequence[int]
) -> list[Row]:
    """metrics_cohort_retention."""
    users = active_days(facts)
    rows = []
    for cohort_date in dates:
        cohort = [days for days in users.values() if min(days) == cohort_date]
        for number in retention_days:
            day = cohort_date + timedelta(days=number)
            if not cohort or day > dates[-1]:
                continue
            week = {cohort_date + timedelta(days=n) for n in range(max(1, number - 6), number + 1)}
            retained = sum(1 for days in cohort if day in days)
            in_window = sum(1 for days in cohort if days & week)
            rows.append(
                {
                    "metric_date": day,
                    "cohort_date": cohort_date,
                    "retention_day": number,
                    "cohort_size": len(cohort),
                    "retained_users": retained,
                    "retention_rate": retained / len(cohort),
                    "retained_in_window_users": in_window,
                    "window_retention_rate": in_window / len(cohort),
                }
            )
    return rows


def hourly_activity(facts: list[Fact]) -> list[Row]:
    """metrics_hourly_activity."""
    table = Table(("events",), sets=("users",))
    for fact in facts:
        row = table.at(fact.day, fact.hour, fact.fields["channel"])
        row["events"] += 1
        row["users"] |= {fact.active_user} - {None}
    return [
        {
            **dict(zip(GRAINS["metrics_hourly_activity"], key, strict=True)),
            "events": row["events"],
            "active_users": len(row["users"]),
        }
        for key, row in table.rows.items()
    ]


def expected_marts(
    events: Iterable[Row],
    through: date,
    *,
    timezone: str = "UTC",
    retention_days: Sequence[int] = RETENTION_DAYS,
) -> dict[str, list[Row]]:
    """What every mart holds after all dates up to ``through`` were run, rows in any order.

    Args:
        events: accepted events as producers send them, each id once.
        through: the last date run, itself included; later events are not looked at.
        timezone: the business time zone.
        retention_days: the setting of the same name.

    """
    facts = [fact for fact in read(events, timezone) if fact.day <= through]
    start = min((fact.day for fact in facts), default=None)
    dates = [start + timedelta(days=n) for n in range((through - start).days + 1)] if start else []
    marts = {
        "metrics_daily_fulfillment": fulfillment(facts),
        "metrics_daily_payments": payments(facts),
        "metrics_daily_calls": calls(facts),
        "metrics_daily_engagement": engagement(facts, dates),
        "metrics_daily_content": content(facts, dates),
        "metrics_cohort_retention": cohort_retention(facts, dates, retention_days),
        "metrics_hourly_activity": hourly_activity(facts),
        **expected_advisor_marts(facts, dates, timezone, Recipe(platform_features())),
        "metrics_hourly_heatmap": heatmap(facts, dates),
        "metrics_daily_regions": regions(facts),
        **expected_journeys(facts, through),
        **expected_agent_marts(facts, dates, Rates()),
        **expected_market_marts(facts, dates),
        **expected_attribution(facts, dates),
        **expected_message_costs(facts),
        **expected_customers(facts, through),
    }
    marts |= expected_alert_marts(marts, facts, dates, GRAINS, date_column, alert_rules())
    return marts | {"alerts": alerts(marts, GRAINS, date_column, alert_rules())}

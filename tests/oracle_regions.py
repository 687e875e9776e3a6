"""Regions and the usual week again, in plain Python, from the descriptions of their columns.

A loop per sentence, over facts in order. The tables that the definitions name stand in the other
oracles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

from tests.facts import Fact, Row, ratio

#: Relation -> the columns that name one of its rows.
REGION_GRAINS: dict[str, tuple[str, ...]] = {
    "metrics_hourly_heatmap": ("metric_date", "channel", "weekday", "hour"),
    "metrics_daily_regions": ("metric_date", "country_code"),
}

REPORTING_CURRENCY = "USD"


def heatmap(facts: Sequence[Fact], dates: Sequence[date]) -> list[Row]:
    """metrics_hourly_heatmap."""
    rows = []
    for day in dates:
        four_weeks = {past for past in dates if 0 <= (day - past).days < 28}
        cells: dict[tuple[str, int, int], list[Fact]] = defaultdict(list)
        of_channel: dict[str, int] = defaultdict(int)
        for fact in facts:
            if fact.day in four_weeks:
                channel = fact.fields["channel"]
                cells[channel, fact.day.isoweekday(), fact.hour].append(fact)
                of_channel[channel] += 1
        for (channel, weekday, hour), seen in cells.items():
            same_weekday = sum(1 for past in four_weeks if past.isoweekday() == weekday)
            users = {(f.day, f.active_user) for f in seen if f.active_user is not None}
            rows.append(
                {
                    "metric_date": day,
                    "channel": channel,
                    "weekday": weekday,
                    "hour": hour,
                    "dates": same_weekday,
                    "events": len(seen),
                    "events_avg": ratio(len(seen), same_weekday),
                    "active_users_avg": ratio(len(users), same_weekday),
                    "events_share": ratio(len(seen), of_channel[channel]),
                }
            )
    return rows


def regions(facts: Sequence[Fact]) -> list[Row]:
    """metrics_daily_regions."""
    groups: dict[tuple[date, str], list[Fact]] = defaultdict(list)
    first_creations: dict[Any, str] = {}
    of_date: dict[date, int] = defaultdict(int)
    for fact in facts:
        country = fact.fields.get("country_code")
        groups[fact.day, country.upper() if country else "unknown"].append(fact)
        of_date[fact.day] += 1
        if fact.name == "order_created":
            first_creations.setdefault(fact.entity, fact.event_id)
    rows = []
    for (day, country), seen in groups.items():

        def count(name: str, seen: list[Fact] = seen) -> int:
            return sum(1 for f in seen if f.name == name)

        def cents(name: str, seen: list[Fact] = seen) -> int:
            return sum(
                f.fields["amount_cents"]
                for f in seen
                if f.name == name and f.fields["currency"].upper() == REPORTING_CURRENCY
            )

        rows.append(
            {
                "metric_date": day,
                "country_code": country,
                "events": len(seen),
                "active_users": len({f.active_user for f in seen} - {None}),
                "orders_created": sum(f.event_id in first_creations.values() for f in seen),
                "calls_attempted": count("call_started"),
                "messages_received": count("message_received"),
                "payments_attempted": count("payment_attempted"),
                "payments_succeeded": count("payment_succeeded"),
                "gross_amount_cents": cents("payment_succeeded"),
                "net_amount_cents": cents("payment_succeeded") - cents("refund_issued"),
                "payment_success_rate": ratio(
                    count("payment_succeeded"), count("payment_attempted")
                ),
                "events_share": ratio(len(seen), of_date[day]),
            }
        )
    return rows

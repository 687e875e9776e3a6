"""Attribution of events and the marketplace again, in plain Python.

Written from the definitions and not from the models, a loop per sentence. What belongs to every
table (reading events, rates) stands in ``tests.facts``. Which session a conversion is due to does
not belong here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from ingest.registry import registry
from tests.facts import Fact, Row, ratio

#: Relation -> the columns that name one of its rows.
MARKET_GRAINS: dict[str, tuple[str, ...]] = {
    "attribution": ("event_id",),
    "daily_metrics": ("date", "scope", "project_id", "ip_asset_id", "license_id"),
    "creator_performance": ("metric_date", "creator_id"),
    "brand_campaign_performance": ("metric_date", "project_id"),
}

UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
DEVICE = ("device_type", "browser", "os")
REFS = ("project_id", "ip_asset_id", "license_id")


# -- attribution -----------------------------------------------------------------------------------


def referrer_host(referrer: str | None) -> str | None:
    """The host of a URL in lower case, without port and user."""
    return urlsplit(referrer).hostname or None if referrer else None


def attribution(facts: Iterable[Fact]) -> list[Row]:
    """attribution."""
    rows = []
    for fact in facts:
        came_with = {name: fact.fields.get(name) for name in (*UTM, "referrer", *DEVICE)}
        if all(came_with[name] is None for name in (*UTM, "referrer", "device_type")):
            continue
        rows.append(
            {
                "event_id": fact.event_id,
                "metric_date": fact.day,
                **came_with,
                "referrer_host": referrer_host(came_with["referrer"]),
                "landing_page": fact.fields.get("landing_page"),
            }
        )
    return rows


# -- the marketplace -------------------------------------------------------------------------------


def marketplace(facts: Iterable[Fact]) -> list[Fact]:
    """The events of the marketplace."""
    return [fact for fact in facts if fact.domain == "marketplace"]


def count(facts: Iterable[Fact], *names: str) -> int:
    """How many events have one of these names."""
    return sum(1 for fact in facts if fact.name in names)


def cents(facts: Iterable[Fact], field: str, names: Sequence[str], currency: str) -> int:
    """The sum of an amount over events of some names, other currencies left out."""
    return sum(
        fact.p.get(field, 0)
        for fact in facts
        if fact.name in names and fact.fields.get("currency", currency).upper() == currency
    )


def revenue(facts: Iterable[Fact], currency: str) -> int:
    """What licences brought in, new ones and renewed ones."""
    return cents(facts, "revenue_cents", ("license_created", "license_renewed"), currency)


def visitors(facts: Iterable[Fact]) -> set[tuple[str, str]]:
    """The user keys of what end users did: a user_id, else an anonymous_id."""
    keys = set()
    for fact in facts:
        if not registry().events[fact.name].activity:
            continue
        for kind in ("user_id", "anonymous_id"):
            if fact.fields.get(kind) is not None:
                keys.add((kind, fact.fields[kind]))
                break
    return keys


def clicks(facts: Iterable[Fact]) -> int:
    """Downloads of assets and clicks on licences."""
    return count(facts, "asset_downloaded", "license_clicked")


def grouped(facts: Iterable[Fact], *properties: str) -> dict[tuple[Any, ...], list[Fact]]:
    """Facts by date and some properties; a missing one is ``unknown``."""
    groups: dict[tuple[Any, ...], list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.day, *(fact.p.get(name, "unknown") for name in properties)].append(fact)
    return groups


def market_counts(facts: Sequence[Fact], currency: str) -> Row:
    """The columns of daily_metrics that are no keys."""
    return {
        "views": count(facts, "asset_viewed"),
        "clicks": clicks(facts),
        "conversions": count(facts, "license_created"),
        "revenue_cents": revenue(facts, currency),
        "unique_visitors": len(visitors(facts)),
        "engagement_seconds": float(sum(fact.p.get("engagement_seconds", 0) for fact in facts)),
    }


def daily_metrics(facts: Iterable[Fact], dates: Sequence[date], currency: str) -> list[Row]:
    """daily_metrics."""
    events = marketplace(facts)
    rows = []
    for (day, *refs), group in grouped(events, *REFS).items():
        counts = market_counts(group, currency)
        if any(counts.values()):
            of = dict(zip(REFS, refs, strict=True))
            rows.append({"date": day, "scope": "entity", **of, **counts})
    for day in dates:
        counts = market_counts([fact for fact in events if fact.day == day], currency)
        rows.append({"date": day, "scope": "platform", **dict.fromkeys(REFS, "all"), **counts})
    return rows


def creator_performance(facts: Iterable[Fact], currency: str) -> list[Row]:
    """creator_performance."""
    events = marketplace(facts)
    rows = []
    for (day, creator), group in grouped(events, "creator_id").items():
        counts = {
            "views": count(group, "asset_viewed"),
            "clicks": clicks(group),
            "conversions": count(group, "license_created"),
            "revenue_cents": revenue(group, currency),
            "royalty_cents": cents(group, "royalty_cents", ("royalty_calculated",), currency),
        }
        assets = {
            fact.p["ip_asset_id"]
            for fact in events
            if fact.name == "asset_uploaded"
            and fact.day <= day
            and fact.p.get("creator_id", "unknown") == creator
            and "ip_asset_id" in fact.p
        }
        if any(counts.values()):
            rows.append(
                {"metric_date": day, "creator_id": creator, "assets": len(assets), **counts}
            )
    return rows


def brand_campaign_performance(facts: Iterable[Fact], currency: str) -> list[Row]:
    """brand_campaign_performance."""
    events = marketplace(facts)
    rows = []
    for (day, project), group in grouped(events, "project_id").items():
        counts = {
            "impressions": count(group, "asset_viewed"),
            "clicks": clicks(group),
            "conversions": count(group, "license_created"),
            "revenue_cents": revenue(group, currency),
        }
        if not any(counts.values()):
            continue
        so_far = [f for f in events if f.day <= day and f.p.get("project_id", "unknown") == project]
        created = [fact for fact in so_far if fact.name == "project_created"]
        budget = created[-1].p.get("budget_cents") if created else None
        cumulative = revenue(so_far, currency)
        rows.append(
            {
                "metric_date": day,
                "project_id": project,
                **counts,
                "budget_cents": budget,
                "click_through_rate": ratio(counts["clicks"], counts["impressions"]),
                "conversion_rate": ratio(counts["conversions"], counts["clicks"]),
                "cumulative_revenue_cents": cumulative,
                "roi": (cumulative - budget) / budget if budget else None,
            }
        )
    return rows


def expected_market_marts(
    facts: Sequence[Fact], dates: Sequence[date], currency: str = "USD"
) -> dict[str, list[Row]]:
    """What the tables of the marketplace hold after all dates were run, rows in any order.

    Args:
        facts: accepted events in order, none later than the last date.
        dates: every date from the earliest event date to the last date run.
        currency: the reporting currency.

    """
    return {
        "attribution": attribution(facts),
        "daily_metrics": daily_metrics(facts, dates, currency),
        "creator_performance": creator_performance(facts, currency),
        "brand_campaign_performance": brand_campaign_performance(facts, currency),
    }

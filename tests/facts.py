"""Accepted events as the oracles read them, and the arithmetic they share.

Belongs here: an event's place in time and its fields after the defaults of the contracts, ranges
of dates, rates, averages, percentiles. What a table holds does not; that stands in the oracles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ingest.registry import registry
from ingest.user_agents import parse_device

Row = dict[str, Any]

#: What `dnt: true` takes out of the envelope.
NO_TRACKING = ("user_id", "anonymous_id", "session_id", "actor_id")


@dataclass(frozen=True)
class Fact:
    """One accepted event with its place in time; envelope fields by name, properties in ``p``."""

    at: datetime
    event_id: str
    name: str
    domain: str
    day: date
    hour: int
    fields: Row
    p: Row

    @property
    def order(self) -> tuple[datetime, str]:
        """What first, latest, before and after mean."""
        return (self.at, self.event_id)

    @property
    def entity(self) -> Any:
        """The id of what the event is about."""
        return self.fields.get("entity_id")

    @property
    def active_user(self) -> Any:
        """The user, when the event counts as activity."""
        return self.fields.get("user_id") if registry().events[self.name].activity else None


def instant(value: str | datetime) -> datetime:
    """A time in UTC without its zone, in whole milliseconds; further digits are cut off."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=None)


def local(at: datetime, timezone: str) -> datetime:
    """An instant on the clocks of a time zone."""
    return at.replace(tzinfo=UTC).astimezone(ZoneInfo(timezone))


def read(events: Iterable[Row], timezone: str) -> list[Fact]:
    """Canonical events as facts, in order; the defaults of the contracts are applied."""
    facts = []
    for event in events:
        name = event["event_name"].replace(".", "_")
        spec = registry().events[name]
        at = instant(event["occurred_at"])
        clock = local(at, timezone)
        fields = {k: v for k, v in event.items() if k not in ("properties", "context")}
        fields = {"channel": "system", "entity_type": spec.entity_type} | {
            k: v for k, v in fields.items() if v is not None
        }
        fields |= _context(event.get("context") or {})
        if fields.get("dnt"):
            fields = {k: v for k, v in fields.items() if k not in NO_TRACKING}
        properties = {
            name: field.default
            for name, field in spec.properties.items()
            if field.default is not None
        } | {k: v for k, v in (event.get("properties") or {}).items() if v is not None}
        if fields.get("dnt"):
            properties = {k: v for k, v in properties.items() if not _names_a_client(k)}
        for key in properties.keys() & spec.properties.keys():
            if spec.properties[key].type == "timestamp":
                properties[key] = instant(properties[key])
            if spec.properties[key].type == "array" and not isinstance(properties[key], str):
                properties[key] = _json(properties[key])
        facts.append(
            Fact(
                at=at,
                event_id=event["event_id"].lower(),
                name=name,
                domain=spec.domain,
                day=clock.date(),
                hour=clock.hour,
                fields=fields,
                p=properties,
            )
        )
    return sorted(facts, key=lambda fact: fact.order)


def _context(sent: Row) -> Row:
    """The fields of a context that are kept: none but the wish itself where `dnt` is true."""
    if sent.get("dnt"):
        return {"dnt": True}
    kept = {k: v for k, v in sent.items() if v is not None and k not in ("user_agent", "ip")}
    if sent.get("user_agent"):
        device = zip(
            ("device_type", "browser", "os"), parse_device(sent["user_agent"]), strict=True
        )
        kept |= {k: v for k, v in device if v is not None}
    return kept


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _names_a_client(name: str) -> bool:
    return name == "client_anonymized_id" or (
        name.endswith("_hash") and not name.startswith(("advisor_", "reviewer_"))
    )


def dates(first: date, last: date) -> list[date]:
    """Every date of a range, both ends included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def ratio(numerator: float, denominator: float) -> float | None:
    """A rate: null when there is nothing to divide by."""
    return numerator / denominator if denominator else None


def mean(values: Sequence[float]) -> float | None:
    """The average, null of nothing."""
    return math.fsum(values) / len(values) if values else None


def quantile(values: Sequence[float], fraction: float) -> float | None:
    """A continuous percentile by linear interpolation, null of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * fraction
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

"""Random worlds of events of every domain: tangled histories, visits, chats, links and funnels.

Belongs here: how such events of tests are drawn. What tables should make of them stands in
``tests.oracle``; advisors, agents and the marketplace have worlds of their own.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.registry import registry
from tests.advisor_worlds import START, advisory_events
from tests.agent_worlds import conversation_events, marketplace_events
from tests.facts import Row
from tests.oracle_journeys import seeded_funnels


def random_events(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Tangled histories of few entities: ties, repeats, gaps and everything out of order."""
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    # Few distinct instants, many of them near midnight, so that ids have to break ties.
    # Dates lie a week, a month or a retention day apart more often than by chance.
    dates = [n for n in (0, 1, 6, 7, 8, 29, 30, 31, 36, 37, 59, 60, 61, 90) if n < days]
    instants = [
        begin
        + timedelta(days=rng.choice((rng.choice(dates), rng.randrange(days))))
        + timedelta(seconds=rng.choice((0, 5, 86399, 43200, 4000)))
        + timedelta(milliseconds=rng.choice((0, 0, 250, 999)))
        for _ in range(max(4, count // 2))
    ]
    names = [
        name
        for name, event in registry().events.items()
        if event.domain in ("orders", "payments", "calls", "notifications", "moderation", "content")
        for _ in range(3)
    ] + ["page_viewed", "user_logged_in", "filter_applied", "message_received", "agent_created"]

    def user() -> str:
        # A few that are always there, and many that are seen once or twice.
        return rng.choice((f"u{rng.randrange(6)}", f"v{rng.randrange(count // 2)}"))

    def maybe(value: Any, share: float = 0.5) -> Any:
        return value if rng.random() < share else None

    events = []
    for _ in range(count):
        name = rng.choice(names)
        entity = f"e{rng.randrange(6)}"
        events.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "event_name": name,
                "occurred_at": rng.choice(instants).isoformat(),
                "channel": maybe(rng.choice(("web", "app"))),
                "user_id": user()
                if "user_id" in registry().events[name].required
                else maybe(user()),
                "entity_id": entity,
                "entity_type": rng.choice(("order", "horoscope", "comment"))
                if registry().events[name].domain == "moderation"
                else None,
                "status": rng.choice(registry().events[name].status or (None,)),
                "provider": rng.choice(("stripe", "paypal"))
                if registry().events[name].domain == "payments"
                else maybe(rng.choice(("twilio", "other"))),
                "country_code": maybe(rng.choice(("DE", "US"))),
                "service_code": rng.choice(("tarot", "palm"))
                if name == "order_created"
                else maybe(rng.choice(("tarot", "palm")), 0.3),
                "amount_cents": rng.randrange(1000),
                "currency": rng.choice(("USD", "EUR")),
                "duration_seconds": rng.choice((0, 1.5, 33.3, 600)),
                "agent_id": "a1",
                "properties": _properties(rng, name),
            }
        )
    # Users on the edges of weeks, months and cohorts, which chance seldom meets.
    for a, b in ((0, 1), (0, 6), (0, 7), (0, 24), (0, 29), (0, 30), (0, 31), (3, 33)):
        for day in (n for n in (a, b) if n < days):
            at = begin + timedelta(days=day, hours=12)
            events.append(
                {
                    "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                    "event_name": "page_viewed",
                    "occurred_at": at.isoformat(),
                    "user_id": f"edge-{a}-{b}",
                }
            )
    # Calls of one length, of which DuckDB interpolates a 95th percentile just below the median.
    events += [
        {
            "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
            "event_name": "call_ended",
            "occurred_at": (begin + timedelta(hours=6)).isoformat(),
            "entity_id": f"equal-{number}",
            "service_code": "equal",
            "status": "completed",
            "duration_seconds": 28.77,
        }
        for number in range(13)
    ]
    # One to fourteen advisors, so that tiers have too few peers, just enough, and more.
    advisors = rng.choice((1, 2, 5, 6, 14))
    events += advisory_events(rng, days=days, count=count, advisors=advisors)
    events += random_journeys(rng, days=days, count=1 + count // 8)
    events += conversation_events(rng, days=days, count=count // 2)
    events += marketplace_events(rng, days=days, count=count // 2)
    rng.shuffle(events)
    return events


#: Between two events of one history: ties, and both sides of a session's end.
STEPS = (0, 0.001, 5, 60, 900, 1799.999, 1800, 1800.001)
LONG_STEPS = (1801, 7200, 86399.5, 86400, 172800)

USER_AGENTS = ("Mozilla/5.0 (Windows NT 10.0)", "Mozilla/5.0 (iPhone) Mobile", "curl/8.0")


def random_journeys(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Visits around midnights and the timeout, chats, links of identifiers, and funnels."""
    visits = ("page_viewed",) * 4 + ("asset_viewed",) * 4 + ("license_clicked",) * 2 + (
        "message_read", "license_created", "appointment_booked", "email_sent",
    )  # fmt: skip
    chats = ("message_received",) * 8 + ("message_sent",) * 6 + (
        "chat_resolved", "chat_resolved", "chat_assigned", "message_delivered", "message_failed",
        "message_read", "campaign_sent", "contact_created",
    )  # fmt: skip
    funnels = (
        *((name, *(steps * 2)) for name, _, steps in seeded_funnels()),
        ("", "order_created", "payment_attempted", "payment_succeeded", "payment_succeeded"),
    )
    events = []
    for _ in range(3 + count):
        names = rng.choice((visits, visits, visits, chats, chats, *(f[1:] for f in funnels)))
        at = _begin_of_history(rng, days)
        keys = _keys(rng)
        chat, channel = f"c{rng.randrange(5)}", rng.choice(("web", "web", "app", None))
        for place in range(rng.randrange(1, 13)):
            in_order = names is not visits and names is not chats and rng.random() < 0.8
            name = names[place % len(names)] if in_order else rng.choice(names)
            if rng.random() < 0.1:
                keys, channel = _keys(rng), rng.choice(("web", "app"))
            events.append(_journey_event(rng, name, at, keys, chat) | {"channel": channel})
            at += timedelta(seconds=rng.choice(STEPS if rng.random() < 0.85 else LONG_STEPS))
    for _ in range(count):
        # Enough to make chains and merges, too few to make one person of all.
        ids = {kind: f"{kind[0]}{rng.randrange(count)}" for kind in ("phone_hash", "email_hash")}
        kinds = rng.sample(
            ("user_id", "anonymous_id", "phone_hash", "email_hash"), rng.choice((2, 2, 3))
        )
        keys = {
            "user_id": rng.choice((f"u{rng.randrange(6)}", f"w{rng.randrange(count)}")),
            "anonymous_id": rng.choice((f"d{rng.randrange(count)}", f"D{rng.randrange(9)}", "é|")),
        }
        event = _journey_event(
            rng,
            "user_identified",
            _begin_of_history(rng, days),
            {kind: value for kind, value in keys.items() if kind in kinds},
            "",
        )
        event["properties"] = {kind: value for kind, value in ids.items() if kind in kinds}
        events.append(event)
    # What chance seldom meets: visits and waits over a midnight of each zone, one over two of them.
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    for hours in (0, 5, 18.5):
        at = begin + timedelta(days=min(2, days - 1), hours=hours, minutes=-20)
        for place, name in enumerate(("page_viewed", "message_received", "message_sent") * 2):
            shift = timedelta(minutes=8 * place)
            keys = {"user_id": f"night-{hours}"}
            events.append(_journey_event(rng, name, at + shift, keys, f"night-{hours}"))
    if count > 20:
        for place in range(60):
            at = begin + timedelta(days=1, hours=2, minutes=30 * place)
            events.append(_journey_event(rng, "page_viewed", at, {"anonymous_id": "awake"}, ""))
    # Midnights and steps may lead out of the dates that were asked for.
    last = begin + timedelta(days=days)
    return [e for e in events if datetime.fromisoformat(e["occurred_at"]) < last]


def _begin_of_history(rng: random.Random, days: int) -> datetime:
    """Near a midnight of one of the zones; the clocks of New York change on day 66."""
    day = rng.choice((rng.randrange(days), min(65, days - 1), min(3, days - 1)))
    hours = rng.choice((0, 5, 4, 18.5, 12))
    offset = rng.choice((-1800, -1799.999, -60, -0.001, 0, 0, 1, 600))
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    return max(begin, begin + timedelta(days=day, hours=hours, seconds=offset))


def _keys(rng: random.Random) -> Row:
    """A known user, a device, both, or nobody; some ids are used for either."""
    # Ids in which cases, signs and scripts differ: text compares by its bytes on both engines.
    odd = rng.choice(("x0", "X0", "x|web", "x:0", "é'0", "x0 0"))
    user = rng.choice((f"u{rng.randrange(6)}", odd, f"w{rng.randrange(5)}"))
    device = rng.choice((f"d{rng.randrange(5)}", odd))
    return rng.choice(
        ({"user_id": user},) * 4
        + ({"anonymous_id": device},) * 2
        + ({"user_id": user, "anonymous_id": device}, {})
    )  # fmt: skip


def _journey_event(rng: random.Random, name: str, at: datetime, keys: Row, chat: str) -> Row:
    spec = registry().events[name]
    fields: Row = {
        "entity_id": "j1", "agent_id": rng.choice(("a1", "a2")), "user_id": f"u{rng.randrange(6)}",
        "advisor_id_hash": "adv", "service_code": "tarot", "provider": "stripe", "currency": "USD",
        "amount_cents": 700, "duration_seconds": 3, "status": rng.choice(spec.status or (None,)),
    }  # fmt: skip
    properties: Row = {
        "chat_id": chat, "campaign_id": "k1", "recipient_count": rng.choice((0, 3)),
        "listened_seconds": 3, "audio_seconds": 30, "zodiac_sign": "leo", "reader_id": "r1",
        "start_time": "2026-01-01T00:00:00+00:00", "project_id": "p1",
        "original_whatsapp_message_id": "m1", "whatsapp_message_id": "m1", "content_type": "edu",
        "resolution_time_seconds": 77.5, "feature": "f1",
    }  # fmt: skip
    context: Row = {
        "utm_source": "mail", "utm_medium": "cpc", "utm_campaign": "spring", "referrer": "https://r.example/",
        "landing_page": f"/{rng.randrange(3)}", "user_agent": rng.choice(USER_AGENTS),
    }  # fmt: skip
    shown = rng.random() < 0.4
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event_name": name,
        "occurred_at": at.isoformat(),
        **{k: v for k, v in fields.items() if k in spec.required},
        **keys,
        "entity_type": "page",
        "properties": {
            k: v
            for k, v in properties.items()
            if k in spec.properties and (spec.properties[k].required or rng.random() < 0.5)
        },
        "context": {k: v for k, v in context.items() if shown and rng.random() < 0.3}
        | ({"dnt": True} if rng.random() < 0.03 else {}),
    }


def _properties(rng: random.Random, name: str) -> Row:
    chosen: Row = {
        "reader_id": rng.choice(("r1", "r2")),
        "is_fallback": rng.random() < 0.5,
        "recorded": rng.random() < 0.5,
        "zodiac_sign": rng.choice(("aries", "leo", "virgo")),
        "listened_seconds": rng.choice((0, 10, 61.5)),
        "audio_seconds": rng.choice((0.001, 30, 60)),
        "chat_id": "c1",
    }
    spec = registry().events[name].properties
    return {
        key: value
        for key, value in chosen.items()
        if key in spec and (spec[key].required or rng.random() < 0.6)
    }

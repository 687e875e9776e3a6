"""Random worlds of conversations and of the marketplace: tangled events of few of each.

Belongs here: how such events of tests are drawn. What tables should make of them stands in
``tests.oracle_agents`` and ``tests.oracle_market``.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ingest.registry import registry
from tests.advisor_worlds import EDGES, MOMENTS, midnight
from tests.facts import Row

APPOINTMENTS = ("booked", "booked", "completed", "cancelled", "no_show")

#: On both sides of what makes a strength or an improvement area of one conversation.
SATISFACTION = (None, 1, 2.9, 3, 3.4, 3.5, 4, 4.5, 4.5, 5)
RESPONSE_MS = (None, 0, 29_999.5, 30_000, 35_000, 60_000, 60_000.5, 120_000, 120_001)

MARKET = (
    *(("asset_viewed", "asset_downloaded", "license_clicked", "license_created") * 4),
    *(("license_renewed", "asset_uploaded", "project_created", "royalty_calculated") * 3),
    "page_viewed", "page_viewed", "user_logged_in", "royalty_paid", "license_signed",
    "project_completed", "search_performed", "job_failed", "webhook_received", "email_sent",
)  # fmt: skip

CURRENCIES = (None, None, None, "USD", "EUR")

REFERRERS = (
    None, None, "https://www.example.com/a?b=c#d", "http://INTRANET:8080/x",
    "https://EXAMPLE.com", "https://example.com?q=https://other.example/", "android-app://com.mail",
    "https://sub.example.com:443", "http://127.0.0.1:3000/", "https://example.com#/route@here",
)  # fmt: skip

USER_AGENTS = (
    None, None, "curl/8.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "something else",
)  # fmt: skip


def instants(rng: random.Random, *, days: int, count: int) -> list[datetime]:
    """Few moments, so that ids break ties, many of them near midnights and borders of windows."""
    edges = [n for n in EDGES if n < days]
    # Some dates in a row are always busy: alerts compare a date with those before it.
    busy = range(min(days, 12))
    return [
        midnight(rng.choice((rng.choice(edges), rng.choice(busy), rng.randrange(days))))
        + timedelta(seconds=rng.choice(MOMENTS), milliseconds=rng.choice((0, 0, 250, 999)))
        for _ in range(max(6, count // 2))
    ]


def event(rng: random.Random, name: str, at: datetime, **fields: Any) -> Row:
    """An event; what is a property of it goes there, the rest to the envelope, None nowhere."""
    spec = registry().events[name].properties
    given = {k: v for k, v in fields.items() if v is not None}
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event_name": name,
        "occurred_at": at.isoformat(timespec="milliseconds"),
        **{k: v for k, v in given.items() if k not in spec},
        "properties": {k: v for k, v in given.items() if k in spec},
    }


def context(rng: random.Random) -> Row:
    """Where an event came from: nothing, a part of what there is, or the wish not to be tracked."""
    shown = {
        "utm_source": rng.choice((None, "mail", "Mail")),
        "utm_medium": rng.choice((None, None, "cpc")),
        "utm_campaign": rng.choice((None, None, "spring")),
        "utm_term": rng.choice((None, None, None, "tarot")),
        "utm_content": rng.choice((None, None, None, "b")),
        "referrer": rng.choice(REFERRERS),
        "landing_page": rng.choice((None, "https://example.com/start")),
        "page_url": rng.choice((None, "https://example.com/page")),
        "user_agent": rng.choice(USER_AGENTS),
        "ip": rng.choice((None, "192.0.2.1")),
    }
    # Mostly one or two of them, so that each alone is seen.
    kept = rng.sample(sorted(shown), rng.choice((0, 0, 1, 1, 2, len(shown))))
    wish = {"dnt": True} if rng.random() < 0.05 else {}
    return {name: shown[name] for name in kept if shown[name] is not None} | wish


def conversation_events(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Records of few conversations, again and again, and appointments of the same agents.

    A conversation is recorded anew with other values, a month later, at the same instant, by
    another agent, in another channel; some agents have appointments and no conversation.
    """
    pool = instants(rng, days=days, count=count)
    numbers = max(2, count // 3)
    agents, lonely = [f"agent{n}" for n in range(max(1, count // 20))], ["booker", "closer"]
    made = []
    for _ in range(count):
        at = rng.choice(pool)
        if rng.random() < 0.25:
            word = rng.choice(APPOINTMENTS)
            name = f"appointment_{word}"
            agent = rng.choice((*agents, *lonely))
            if agent == "closer" and word == "booked":
                name = "appointment_completed"
            made.append(event(rng, name, at, entity_id=f"ap{rng.randrange(numbers)}",
                              agent_id=agent, user_id=f"u{rng.randrange(6)}"))  # fmt: skip
        else:
            # A conversation mostly stays with its agent.
            number = rng.randrange(numbers)
            agent = agents[number % len(agents)] if rng.random() < 0.7 else rng.choice(agents)
            made.append(_record(rng, at, f"conv{number}", agent))
        if rng.random() < 0.2:
            made[-1]["context"] = context(rng)
    return [*made, *_agent_events(pool, [*agents, *lonely, "costly"], count=count // 4)]


def _agent_events(pool: Sequence[datetime], agents: Sequence[str], *, count: int) -> list[Row]:
    """Agents who are set up, paused and billed, in two currencies; one of them does nothing else."""
    # A source of their own: what is drawn before and after them stays as it was.
    rng = random.Random(f"{min(pool)} {count}")
    made = []
    for _ in range(count):
        at, agent = rng.choice(pool), rng.choice(agents)
        name = rng.choice(("agent_created", "agent_status_changed", "usage_billed", "usage_billed"))
        if name == "usage_billed":
            made.append(event(rng, name, at, agent_id=agent, units=rng.choice((None, 2.5)),
                              amount_cents=rng.choice((0, 1, 777)),
                              currency=rng.choice(("USD", "USD", "EUR"))))  # fmt: skip
        elif name == "agent_status_changed":
            status = rng.choice(("active", "paused", "archived"))
            made.append(event(rng, name, at, agent_id=agent, status=status))
        else:
            made.append(event(rng, name, at, agent_id=agent))
    return made


def _record(rng: random.Random, at: datetime, conversation: str, agent: str) -> Row:
    start = at - timedelta(seconds=rng.choice((0, 61.5, 4000, 90_000)))
    lasted = rng.choice((None, 0, 0.001, 33.25, 600, -5))
    end = None if lasted is None else start + timedelta(seconds=lasted)
    return event(
        rng, "conversation_recorded", at,
        entity_id=conversation, agent_id=agent, user_id=f"u{rng.randrange(6)}",
        channel=rng.choice(("whatsapp", "web", "web", "voice")),
        currency=rng.choice(CURRENCIES),
        start_time=start.isoformat(timespec="milliseconds"),
        end_time=None if end is None else end.isoformat(timespec="milliseconds"),
        message_count=rng.choice((None, 0, 7)),
        customer_messages=rng.choice((None, 4)),
        agent_responses=rng.choice((None, 3)),
        response_time_avg_ms=rng.choice(RESPONSE_MS),
        customer_satisfaction_score=rng.choice(SATISFACTION),
        completed=rng.choice((None, True, False)),
        conversion_type=rng.choice((None, None, "appointment", "purchase", "lead", "referral")),
        conversion_value_cents=rng.choice((None, None, 0, 999, 120_000, 250_000)),
        sentiment=rng.choice((None, "positive", "negative")),
        sentiment_confidence=rng.choice((None, 0.75)),
        emotions=rng.choice((None, [], ["joy", "calm"])),
        intents=rng.choice((None, ["book \"now\""], [{"name": "buy", "share": 0.5}])),
        escalation_required=rng.choice((None, None, None, False, True)),
        escalation_reason=rng.choice((None, "price")),
        follow_up_required=rng.choice((None, True)),
        follow_up_actions=rng.choice((None, ["call"])),
        tags=rng.choice((None, ["vip"])),
        journey_stage=rng.choice((None, "awareness", "decision", "advocacy")),
    )  # fmt: skip


def marketplace_events(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Creators, projects and licences that are few and often missing, and where visitors came from.

    Projects are created twice, with another budget, none or 0; licences are renewed; royalties are
    calculated and paid; visitors have an account, a device, both, or neither.
    """
    pool = instants(rng, days=days, count=count)
    return [_market_event(rng, rng.choice(MARKET), pool) for _ in range(count)]


def _market_event(rng: random.Random, name: str, pool: Sequence[datetime]) -> Row:
    spec = registry().events[name]
    # The same text as a user and as a device is two visitors.
    user, device = (rng.choice((None, f"u{rng.randrange(4)}")) for _ in range(2))
    if "user_id" in spec.required:
        user = user or "u0"
    fields: Row = {
        "ip_asset_id": f"a{rng.randrange(4)}",
        "project_id": rng.choice(("p0", "p1", "p1", "p2")),
        "license_id": f"l{rng.randrange(3)}",
        "creator_id": f"c{rng.randrange(3)}",
        "brand_id": f"b{rng.randrange(2)}",
        "engagement_seconds": rng.choice((0, 0.5, 33.25, 600)),
        "revenue_cents": rng.choice((0, 1, 5000, 99_999)),
        "budget_cents": rng.choice((0, 1000, 100_000)),
        "royalty_cents": rng.choice((0, 250, 700)),
    }
    kept = {
        key: value
        for key, value in fields.items()
        if key in spec.properties and (spec.properties[key].required or rng.random() < 0.65)
    }
    made = event(rng, name, rng.choice(pool), user_id=user, anonymous_id=device,
                 channel=rng.choice((None, "web", "app")), currency=rng.choice(CURRENCIES),
                 **kept)  # fmt: skip
    if rng.random() < 0.5:
        made["context"] = context(rng)
    return made

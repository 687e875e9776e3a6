"""Random worlds of advisors: tangled ones of few events, and dense ones with peers and trends.

Belongs here: how advisory events of tests are drawn. What tables should make of them stands in
``tests.oracle_advisors``.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.facts import Row
from tests.oracle_advisors import platform_features

START = date(2026, 1, 1)
TYPES = ("edu", "mkt", "sip", "tax", "ins", "ret")
TIERS = ("basic", "standard", "pro")
STATUSES = ("sent", "delivered", "read", "failed")
RATINGS = ("high", "medium", "low")

#: Days a week, a month or several weeks apart, on both sides of each border.
EDGES = (0, 1, 6, 7, 8, 13, 14, 20, 21, 22, 28, 29, 30, 31, 36, 37, 43, 50, 59, 60, 61, 90)
#: Seconds of a day: midnight and the moments beside it in UTC, New York and Kolkata.
MOMENTS = (0, 5, 4000, 17_999, 18_000, 43_200, 66_599, 66_600, 86_399)


def midnight(day: int) -> datetime:
    """The start of the n-th day of a world, in UTC."""
    return datetime(START.year, START.month, START.day, tzinfo=UTC) + timedelta(days=day)


def event(rng: random.Random, name: str, at: datetime, advisor: str, **fields: Any) -> Row:
    """An advisory event; what is no envelope field is a property, None is left out."""
    envelope = {k: fields.pop(k, None) for k in ("entity_id", "status", "user_id", "channel")}
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event_name": name,
        "occurred_at": at.isoformat(timespec="milliseconds"),
        "advisor_id_hash": advisor,
        **{k: v for k, v in envelope.items() if v is not None},
        "properties": {k: v for k, v in fields.items() if v is not None},
    }


def advisory_events(rng: random.Random, *, days: int, count: int, advisors: int) -> list[Row]:
    """Tangled histories of few contents and messages, shared by advisors and out of order.

    Ties in time, repeated results and schedules, read before delivered, statuses without a send,
    one message under several advisors and contents, tiers that come and go, advisors that fall
    silent for longer than a window.
    """
    edges = [n for n in EDGES if n < days]
    pool = [
        midnight(rng.choice((rng.choice(edges), rng.randrange(days))))
        + timedelta(seconds=rng.choice(MOMENTS), milliseconds=rng.choice((0, 0, 250, 999)))
        for _ in range(max(6, count // 2))
    ]
    names = (
        "content_created", "content_created", "content_approval_result", "content_approval_result",
        "content_scheduled", "content_scheduled", "whatsapp_message_sent", "whatsapp_message_sent",
        "whatsapp_delivery_status", "whatsapp_delivery_status", "whatsapp_delivery_status",
        "whatsapp_message_read", "content_forwarded", "client_response_received",
        "advisor_feature_used", "advisor_feature_used", "advisor_dashboard_viewed",
        "support_ticket_opened",
    )  # fmt: skip
    contents, messages = max(2, count // 14), max(3, count // 7)
    # Who is there when: always, once, or with a silence of forty days in between.
    silent = {n: rng.randrange(days) for n in range(advisors) if rng.random() < 0.4}
    made: list[Row] = []
    while len(made) < count:
        number, at = rng.randrange(advisors), rng.choice(pool)
        if number in silent and 0 < (at - midnight(silent[number])).days <= 40:
            continue
        name = rng.choice(names)
        if name.startswith("whatsapp"):
            message = rng.randrange(messages)
            # A message mostly stays with its advisor and content.
            advisor = f"adv{message % advisors if rng.random() < 0.7 else number}"
            content = f"c{message % contents if rng.random() < 0.8 else rng.randrange(contents)}"
        else:
            advisor, content = f"adv{number}", f"c{rng.randrange(contents)}"
        fields = _tangled(rng, name, pool=pool, messages=messages)
        if name.startswith("whatsapp"):
            fields["whatsapp_message_id"] = f"m{message}"
        if not name.startswith(("advisor_", "support_")) or rng.random() < 0.3:
            fields["entity_id"] = content
        made.append(event(rng, name, at, advisor, **fields))
    # Advisors stand in events of other domains too, which are not theirs.
    for _ in range(count // 20):
        other = rng.choice(("page_viewed", "user_logged_in"))
        made.append(event(rng, other, rng.choice(pool), f"adv{rng.randrange(advisors)}",
                          user_id="u1", channel="web"))  # fmt: skip
    return made


def _tangled(rng: random.Random, name: str, *, pool: list[datetime], messages: int) -> Row:
    """Fields of an event that need nothing of other events."""
    if name == "content_created":
        return {
            "content_type": rng.choice(TYPES),
            "advisor_tier": rng.choice((None, None, *TIERS)),
        }
    if name == "content_approval_result":
        choices = ("approved", "approved", "rejected", "requires_revision")
        return {"approval_status": rng.choice(choices)}
    if name == "content_scheduled":
        jitter = rng.choice((None, 0, 1, 300, 3600))
        # Often exactly as long before something happens as is still on time, or a bit longer.
        due = (
            rng.choice(pool)
            - timedelta(seconds=(jitter or 0) + rng.choice((0, 299, 300, 301, 4000)))
            - timedelta(milliseconds=rng.choice((0, 0, 1)))
            + timedelta(days=rng.choice((0, 0, 0, 0, -400, 2, 31, 1500)))
        )
        zone = rng.choice(("Z", "+05:30", "-04:00"))
        offset = datetime.fromisoformat(f"2026-01-01T00:00:00{zone}").tzinfo
        text = due.astimezone(offset).isoformat(timespec="milliseconds")
        return {"scheduled_delivery_time": text, "jitter_offset_seconds": jitter}
    if name == "whatsapp_message_sent":
        # A status of the envelope is not a delivery status.
        return {
            "quality_rating_before": rng.choice((None, *RATINGS)),
            "status": rng.choice((None, None, "delivered", "failed")),
        }
    if name == "whatsapp_delivery_status":
        return {"status": rng.choice(STATUSES)}
    if name == "content_forwarded":
        return {
            "original_whatsapp_message_id": f"m{rng.randrange(messages + 2)}",
            "content_type": rng.choice(TYPES),
            "user_id": rng.choice((None, "u1")),
        }
    if name == "advisor_feature_used":
        known = sorted(platform_features())
        return {"feature": rng.choice((*known, "unknown_feature", known[0].upper()))}
    return {}


def advisor_world(rng: random.Random, *, advisors: int, days: int) -> list[Row]:
    """Advisors who work nearly every day, so that there are peers, trends and forecasts.

    By number, in turn: steady and good, weak, getting worse, getting better, silent from the fifth
    day for forty days, starting late, only looking at dashboards.
    """
    return [
        made
        for number in range(advisors)
        for day in range(days)
        for made in _working_day(rng, number, day, days)
    ]


def _quality(kind: int, share: float) -> float:
    """How well an advisor of a kind works, by the share of the world that has passed."""
    return (0.97, 0.06, 1 - share, share, 0.7, 0.5, 0.0)[kind]


def _working_day(rng: random.Random, number: int, day: int, days: int) -> list[Row]:
    kind = number % 7
    quality = _quality(kind, day / max(1, days - 1))
    if (kind == 4 and 5 <= day < 45) or (kind == 5 and day < days // 3):
        return []
    advisor, start = f"adv{number:02d}", midnight(day) + timedelta(hours=rng.randrange(20))
    made: list[Row] = []

    def add(name: str, after_minutes: float, **fields: Any) -> None:
        at = start + timedelta(seconds=int(after_minutes * 60))
        made.append(event(rng, name, at, advisor, **fields))

    if rng.random() < 0.1 + 0.9 * quality:
        add("advisor_dashboard_viewed", 1)
    if kind == 6:
        return made
    if rng.random() < 0.3 + 0.7 * quality:
        known = sorted(platform_features())
        add("advisor_feature_used", 2, feature=known[int(rng.random() * quality * len(known))])
    if rng.random() < 0.15 * (1 - quality):
        add("support_ticket_opened", 3)
    if rng.random() > 0.15 + 0.83 * quality:
        return made
    content = f"{advisor}-{day}"
    # Some never say their tier; the others change it half way through.
    tier = TIERS[(number + (day > days // 2)) % 3] if number % 5 else None
    add("content_created", 5, entity_id=content, advisor_tier=tier,
        content_type=TYPES[int(rng.random() * (1 + 5 * quality))])  # fmt: skip
    if rng.random() < 0.1:
        add("content_approval_result", 10, entity_id=content, approval_status="requires_revision")
    good = rng.random() < 0.2 + 0.8 * quality
    add("content_approval_result", 20, entity_id=content,
        approval_status="approved" if good else "rejected")  # fmt: skip
    add("content_scheduled", 25, entity_id=content, jitter_offset_seconds=rng.choice((None, 60)),
        scheduled_delivery_time=(start + timedelta(minutes=60)).isoformat())  # fmt: skip
    late = rng.choice((0, 4, 6, 1500)) * (1 - quality)
    for n in range(rng.randrange(1, 4)):
        of = {"entity_id": content, "whatsapp_message_id": f"{content}-{n}"}
        rating = rng.choice((None, RATINGS[int(rng.random() * 3 * (1 - quality))]))
        add("whatsapp_message_sent", 60 + late, **of, quality_rating_before=rating)
        if rng.random() > 0.5 + 0.49 * quality:
            add("whatsapp_delivery_status", 62 + late, **of, status="failed")
            continue
        add("whatsapp_delivery_status", 63 + late, **of, status="delivered")
        if rng.random() < 0.1 + 0.8 * quality:
            add("whatsapp_message_read", 70 + rng.choice((0, 300, 4000)), **of)
        if rng.random() < 0.4 * quality:
            add("client_response_received", 200, entity_id=content)
        if rng.random() < 0.3 * quality:
            add("content_forwarded", rng.choice((90, 3000)), entity_id=content,
                original_whatsapp_message_id=f"{content}-{n}")  # fmt: skip
    return made

"""Waits, answers, business hours and funnels: runs in any pieces, and seeds of the user's own.

What the tables of the definitions hold is compared with ``tests.oracle_journeys``; what goes beyond
them (business time, open waits) is computed here, minute by minute and chat by chat.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ingest.errors import UserError
from ingest.settings import Settings, load_settings
from orchestration.dbt_project import DbtProject
from tests.facts import Fact, Row, read
from tests.lab import Lab, assert_same, span
from tests.oracle_journeys import closed_waits, funnel, messaging, response_times
from tests.postgres import new_database

MARTS = ("response_times", "open_waits", "metrics_daily_messaging", "metrics_daily_funnel")
DATES = {"open_waits": "as_of_date"}
OPEN_WAIT_DAYS = 30
MINUTE = timedelta(minutes=1)

#: Steps with the same event, funnels that share events, windows of parts of days and of several.
FUNNELS = (
    ("twice", 30.0, ("message_received", "message_received", "message_received")),
    ("mixed", 24.0, ("page_viewed", "message_received", "page_viewed", "order_created")),
    ("short", 0.5, ("page_viewed", "message_sent")),
    ("long", 49.0, ("message_sent", "message_read", "message_received")),
)

#: Breaks, half of Saturday, a Sunday that holds every change of clocks, a closed Wednesday.
HOURS = (
    (1, "09:00", "12:30"), (1, "13:15", "18:00"), (2, "09:00", "18:00"), (4, "00:00", "24:00"),
    (5, "09:00", "23:59"), (6, "10:00", "14:00"), (7, "00:30", "12:00"), (7, "12:00", "24:00"),
)  # fmt: skip

#: Zone and first date of a world; its fourth date is the Sunday of a change of clocks: forward by
#: an hour, back by half of one.
WORLDS = {
    "spring": ("America/New_York", date(2026, 3, 5)),
    "autumn": ("Australia/Lord_Howe", date(2026, 4, 2)),
}
DAYS = 9


# -- a world ---------------------------------------------------------------------------------------


def chatter(rng: random.Random, first: date, zone: str, *, count: int) -> list[Row]:
    """Few chats and users, many ties, much of it around midnight and the change of clocks."""
    midnight = datetime.combine(first, time(), ZoneInfo(zone)).astimezone(UTC)
    instants = [
        midnight
        + timedelta(days=rng.choice((3, rng.randrange(DAYS))))
        + rng.choice((0, 1, 1, 2)) * timedelta(minutes=rng.randrange(720))
        + timedelta(milliseconds=rng.choice((0, 0, 1, 999, -1)))
        for _ in range(count // 2)
    ]
    names = ["message_received"] * 6 + ["message_sent"] * 4 + [
        "chat_resolved", "chat_assigned", "message_delivered", "message_read", "message_read",
        "message_failed", "campaign_sent", "contact_created", "user_identified",
        *["page_viewed"] * 4, *["order_created"] * 3,
    ]  # fmt: skip
    events = []
    for _ in range(count):
        name = rng.choice(names)
        chat = rng.randrange(5)
        properties: Row = {"chat_id": f"c{chat}"} if "chat" in name or name in names[:10] else {}
        if name == "chat_resolved" and rng.random() < 0.7:
            properties["resolution_time_seconds"] = rng.choice((0, 12.5, 900))
        if name == "campaign_sent":
            properties |= {"campaign_id": "k", "recipient_count": rng.randrange(3)}
        if name == "user_identified":
            properties["phone_hash"] = "h"
        events.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "event_name": name,
                "occurred_at": rng.choice(instants).isoformat(),
                "channel": rng.choice(("whatsapp", "sms", None)),
                "user_id": f"u{rng.randrange(6)}",
                "agent_id": rng.choice(("x", "y", None)) if name != "chat_assigned" else "z",
                "entity_id": f"m{rng.randrange(99)}",
                "service_code": "tarot",
                "properties": properties,
            }
        )
    return events


def holiday_of(first: date) -> date:
    """The date on which a world is closed."""
    return first + timedelta(days=5)


def write_seeds(folder: Path) -> None:
    """The seeds of all worlds: columns in another order than ours, with a mark of byte order."""
    folder.mkdir()
    steps = [
        f"{hours:g},{name},{step},{event}"
        for event_number in range(4)
        for name, hours, events in FUNNELS
        for step, event in enumerate(events, start=1)
        if step == event_number + 1
    ]
    rows = "\n".join(["window_hours,funnel,step,event_name", *steps])
    (folder / "funnels.csv").write_text(f"\ufeff{rows}\n\n", encoding="utf-8")
    hours = [f"{opens},{closes},{weekday}" for weekday, opens, closes in HOURS]
    (folder / "business_hours.csv").write_text(
        "\n".join(["opens_at,closes_at,weekday", *hours]), encoding="utf-8"
    )
    dates = "".join(f"{holiday_of(first)}\n" for _, first in WORLDS.values())
    (folder / "holidays.csv").write_text(f"date\n{dates}", encoding="utf-8")


# -- what has to come out --------------------------------------------------------------------------


def is_open(local: datetime, holiday: date) -> bool:
    """Whether the business is open at a wall-clock time."""
    clock = f"{local:%H:%M}"
    return local.date() != holiday and any(
        weekday == local.isoweekday() and opens <= clock < closes
        for weekday, opens, closes in HOURS
    )


def business_seconds(since: datetime, until: datetime, zone: ZoneInfo, holiday: date) -> float:
    """Count minute by minute; hours begin and end with a minute, and so do changes of clocks."""
    total, minute = timedelta(), since.replace(second=0, microsecond=0)
    while minute < until:
        if is_open(minute.replace(tzinfo=UTC).astimezone(zone), holiday):
            total += min(until, minute + MINUTE) - max(since, minute)
        minute += MINUTE
    return total / timedelta(milliseconds=1) / 1000


def open_waits(facts: Sequence[Fact], zone: ZoneInfo, first: date, through: date) -> list[Row]:
    """Every chat at the end of every date, from all that happened until then."""
    rows = []
    for number in range((through - first).days + 1):
        day = first + timedelta(days=number)
        waiting: dict[str, Fact] = {}
        agents: dict[str, str] = {}
        resolved: dict[str, bool] = {}
        for fact in (f for f in facts if f.day <= day and f.p.get("chat_id")):
            chat = fact.p["chat_id"]
            if fact.name == "message_received":
                waiting.setdefault(chat, fact)
                resolved[chat] = False
            elif fact.name == "message_sent":
                waiting.pop(chat, None)
            elif fact.name == "chat_resolved":
                resolved[chat] = True
            if fact.name in ("message_sent", "chat_assigned") and fact.fields.get("agent_id"):
                agents[chat] = fact.fields["agent_id"]
        end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
        rows += [
            {
                "as_of_date": day,
                "chat_id": chat,
                "channel": fact.fields["channel"],
                "waiting_since": fact.at,
                "waiting_seconds": (end.replace(tzinfo=None) - fact.at).total_seconds(),
                "agent_id": agents.get(chat),
                "is_resolved": resolved[chat],
            }
            for chat, fact in waiting.items()
            if (day - fact.day).days <= OPEN_WAIT_DAYS
        ]
    return rows


def expected(events: Sequence[Row], zone: str, first: date, through: date) -> dict[str, list[Row]]:
    """The rows of all four marts."""
    facts = [fact for fact in read(events, zone) if fact.day <= through]
    waits = closed_waits(facts)
    answers = {wait.closed.event_id: wait for wait in waits}
    responses = []
    for row in response_times(waits):
        wait = answers[row["response_event_id"]]
        seconds = business_seconds(
            wait.opened.at, wait.closed.at, ZoneInfo(zone), holiday_of(first)
        )
        more = {"metric_date": wait.closed.day, "user_id": wait.closed.fields.get("user_id")}
        responses.append(row | more | {"business_response_seconds": seconds})
    starts = min(fact.day for fact in facts)
    return {
        "response_times": responses,
        "open_waits": open_waits(facts, ZoneInfo(zone), starts, through),
        "metrics_daily_messaging": messaging(facts, waits),
        "metrics_daily_funnel": funnel(facts, through, FUNNELS),  # type: ignore[arg-type]
    }


GRAINS = {
    "response_times": ("response_event_id",),
    "open_waits": ("as_of_date", "chat_id"),
    "metrics_daily_messaging": ("metric_date", "channel"),
    "metrics_daily_funnel": ("metric_date", "funnel", "step"),
}


# -- a warehouse -----------------------------------------------------------------------------------


class ChatLab(Lab):
    """A warehouse in which only the models of this module are built."""

    def run_models(self, start: date, end: date, *, prepare_start: date | None = None) -> None:
        """Build a range of dates, both ends included."""
        self.build(start, end, [f"+{mart}" for mart in MARTS], prepare_start=prepare_start)

    def compare(self, wanted: dict[str, list[Row]], start: date, end: date) -> None:
        """Compare the rows of a range of dates with the ones wanted."""
        built = self.tables(GRAINS)
        for mart, grain in GRAINS.items():
            column = DATES.get(mart, "metric_date")
            assert_same(
                f"{mart}, all columns",
                [row for row in built[mart] if start <= row[column] <= end],
                [row for row in wanted[mart] if start <= row[column] <= end],
                grain,
            )


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a warehouse with seeds of its own."""
    home = tmp_path_factory.mktemp("messaging")
    write_seeds(home / "seeds")
    return {"TIDEMARK_HOME": str(home / "home"), "TIDEMARK_SEEDS": str(home / "seeds")}


@pytest.fixture(scope="module")
def duckdb_chats(homes: dict[str, str]) -> ChatLab:
    return ChatLab(load_settings(homes))


@pytest.fixture(scope="module")
def postgres_chats(homes: dict[str, str], postgres_server: str) -> Iterator[ChatLab]:
    with new_database(postgres_server) as url:
        yield ChatLab(
            load_settings(homes | {"TIDEMARK_TARGET": "postgres", "TIDEMARK_POSTGRES_URL": url})
        )


@pytest.mark.parametrize(
    ("target", "world"), list(zip(("duckdb", "postgres"), WORLDS, strict=True))
)
def test_runs_in_any_pieces_give_the_rows_of_the_definitions(
    request: pytest.FixtureRequest, target: str, world: str
) -> None:
    """Pieces of any length, an interior window after late events, then what is stale, in pieces."""
    lab: ChatLab = request.getfixturevalue(f"{target}_chats")
    zone, first = WORLDS[world]
    rng = random.Random(world)
    lab.reset(zone)
    events = chatter(rng, first, zone, count=260)
    late = [event for event in events if rng.random() < 0.2]
    early = [event for event in events if event not in late]
    begin, _ = span(early, zone)
    last = span(events, zone)[1] + timedelta(days=1)
    lab.load(1, early)
    in_pieces(lab, rng, begin, last)
    lab.compare(expected(early, zone, first, last), begin, last)

    lab.load(2, late)
    stale, _ = span(late, zone)
    wanted = expected(events, zone, first, last)
    inner = stale + timedelta(days=3)
    lab.run_models(inner, inner + timedelta(days=1), prepare_start=stale)
    lab.compare(wanted, inner, inner + timedelta(days=1))
    in_pieces(lab, rng, stale, last)
    lab.compare(wanted, min(begin, stale), last)
    assert {row["step"] for row in wanted["metrics_daily_funnel"]} == {1, 2, 3, 4}
    assert any(row["business_response_seconds"] for row in wanted["response_times"])


def in_pieces(lab: ChatLab, rng: random.Random, first: date, last: date) -> None:
    """Run from one date to another in ranges of random length."""
    day = first
    while day <= last:
        end = min(last, day + timedelta(days=rng.choice((0, 4, 5))))
        lab.run_models(day, end)
        day = end + timedelta(days=1)


# -- seeds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"funnel,step,event_name,window_hours\nf,1,page_viewed\n", "line 2 has 3 values"),
        (b"funnel,step,event_name,window_hours\nf,1,page_viewed,\xff\n", "not UTF-8"),
    ],
)
def test_a_seed_that_is_no_table_is_refused(
    duckdb_settings: Settings, tmp_path: Path, text: bytes, words: str
) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "funnels.csv").write_bytes(text)
    settings = replace(duckdb_settings, seeds=tmp_path / "seeds")
    with pytest.raises(UserError, match=words):
        DbtProject(settings).ensure_manifest()

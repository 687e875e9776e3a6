"""Sessions, messaging, identity, journeys and funnels again, in plain Python.

Written from the definitions and not from the models, a loop per sentence and without regard to
speed. Facts are those of the dates that were run, in order. How tables are stored, loaded or
compared does not belong here; what belongs to every table stands in ``tests.facts``.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ingest.registry import registry
from tests.facts import Fact, Row, mean, quantile, ratio

#: Relation -> the columns that name one of its rows.
JOURNEY_GRAINS: dict[str, tuple[str, ...]] = {
    "sessions": ("session_id",),
    "metrics_daily_sessions": ("metric_date", "channel"),
    "response_times": ("response_event_id",),
    "metrics_daily_messaging": ("metric_date", "channel"),
    "identity_map": ("identifier_type", "identifier"),
    "user_timeline": ("person_id", "occurred_at", "event_id"),
    "metrics_daily_funnel": ("metric_date", "funnel", "step"),
}

#: They show the state at the end of the last date run: right once nothing is stale.
JOURNEY_STATES = ("sessions", "metrics_daily_sessions", "identity_map", "user_timeline")

#: Columns that go beyond the definitions and are not computed here: tests of their own have them.
EXTRA_COLUMNS: dict[str, set[str]] = {
    "response_times": {"business_response_seconds"},
    "identity_map": {"first_seen_date", "person_since"},
}

SESSION_TIMEOUT = timedelta(minutes=30)
CONVERSION_EVENTS = (
    "payment_succeeded",
    "license_created",
    "order_created",
    "appointment_booked",
)
ORIGIN = ("landing_page", "referrer", "utm_source", "utm_medium", "utm_campaign")

Key = tuple[str, str]
#: A funnel: its name, the window in hours, and the names of its events step by step.
Funnel = tuple[str, int, tuple[str, ...]]


@dataclass
class Session:
    """One visit: the events of a user key in a channel without a long gap."""

    key: Key
    channel: str
    number: int
    facts: list[Fact] = field(default_factory=list)

    @property
    def start(self) -> datetime:
        """When the first event happened."""
        return self.facts[0].at

    @property
    def end(self) -> datetime:
        """When the last event happened."""
        return self.facts[-1].at

    @property
    def id(self) -> str:
        """The documented hash: the start in milliseconds since 1970, the key in the last place."""
        kind, value = self.key
        started = (self.start - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
        return _md5(f"{kind}|{self.channel}|{started}|{value}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def elapsed(earlier: datetime, later: datetime) -> float:
    """Seconds from one instant to another."""
    return (later - earlier) / timedelta(milliseconds=1) / 1000


def user_key(fact: Fact) -> Key | None:
    """Who did it: the user, else the device; and which of the two that is."""
    for kind in ("user_id", "anonymous_id"):
        if fact.fields.get(kind) is not None:
            return (kind, fact.fields[kind])
    return None


def first_of(values: Iterable[Any]) -> Any:
    """The first that is not null, else null."""
    return next((value for value in values if value is not None), None)


# -- sessions --------------------------------------------------------------------------------------


def visits(facts: Sequence[Fact], timeout: timedelta) -> list[Session]:
    """Every session, as known after the last of the facts."""
    found: dict[tuple[Key, str], list[Session]] = defaultdict(list)
    for fact in facts:
        spec, key = registry().events[fact.name], user_key(fact)
        if not spec.activity or not spec.session or key is None:
            continue
        channel = fact.fields["channel"]
        own = found[key, channel]
        if not own or fact.at - own[-1].end > timeout:
            own.append(Session(key, channel, len(own) + 1))
        own[-1].facts.append(fact)
    return [session for own in found.values() for session in own]


def sessions(facts: Sequence[Fact], visited: Sequence[Session]) -> list[Row]:
    """sessions."""
    conversions: dict[str, list[datetime]] = defaultdict(list)
    for fact in facts:
        if fact.name in CONVERSION_EVENTS and fact.fields.get("user_id") is not None:
            conversions[fact.fields["user_id"]].append(fact.at)
    rows = []
    for session in visited:
        first, last = session.facts[0], session.facts[-1]
        carrying = [f for f in session.facts if any(f.fields.get(n) is not None for n in ORIGIN)]
        known = session.key[0] == "user_id"
        rows.append(
            {
                "session_id": session.id,
                "user_key_type": session.key[0],
                "user_key": session.key[1],
                "channel": session.channel,
                "session_date": first.day,
                "session_start_at": session.start,
                "session_end_at": session.end,
                "session_end_date": last.day,
                "duration_seconds": elapsed(session.start, session.end),
                "event_count": len(session.facts),
                "session_number": session.number,
                "first_event_name": first.name,
                "last_event_name": last.name,
                **{name: carrying[0].fields.get(name) if carrying else None for name in ORIGIN},
                "device_type": first_of(f.fields.get("device_type") for f in session.facts),
                "is_bounce": len(session.facts) == 1,
                "has_conversion": known
                and any(session.start <= at <= session.end for at in conversions[session.key[1]]),
            }
        )
    return rows


def daily_sessions(rows: Sequence[Row]) -> list[Row]:
    """metrics_daily_sessions, from the rows of sessions."""
    groups: dict[tuple[date, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["session_date"], row["channel"]].append(row)
    return [
        {
            "metric_date": day,
            "channel": channel,
            "sessions": len(group),
            "users": len({(row["user_key_type"], row["user_key"]) for row in group}),
            "events_per_session_avg": mean([row["event_count"] for row in group]),
            "duration_seconds_avg": mean([row["duration_seconds"] for row in group]),
            "duration_seconds_p50": quantile([row["duration_seconds"] for row in group], 0.5),
            "bounce_rate": ratio(sum(row["is_bounce"] for row in group), len(group)),
            "conversion_rate": ratio(sum(row["has_conversion"] for row in group), len(group)),
            "events": sum(row["event_count"] for row in group),
            "bounced_sessions": sum(row["is_bounce"] for row in group),
            "converted_sessions": sum(row["has_conversion"] for row in group),
        }
        for (day, channel), group in groups.items()
    ]


# -- messaging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wait:
    """A closed wait: the message that opened it and the one that answered."""

    opened: Fact
    closed: Fact
    is_first: bool

    @property
    def seconds(self) -> float:
        """How long the person waited."""
        return elapsed(self.opened.at, self.closed.at)


def closed_waits(facts: Sequence[Fact]) -> list[Wait]:
    """Every answer, chat by chat."""
    found = []
    opened: dict[str, Fact] = {}
    answered: set[str] = set()
    for fact in facts:
        chat = fact.p.get("chat_id")
        if fact.name == "message_received":
            opened.setdefault(chat, fact)
        elif fact.name == "message_sent" and chat in opened:
            found.append(Wait(opened.pop(chat), fact, chat not in answered))
            answered.add(chat)
    return found


def response_times(waits: Sequence[Wait]) -> list[Row]:
    """response_times."""
    return [
        {
            "metric_date": wait.closed.day,
            "response_event_id": wait.closed.event_id,
            "chat_id": wait.closed.p["chat_id"],
            "channel": wait.closed.fields["channel"],
            "waiting_since": wait.opened.at,
            "responded_at": wait.closed.at,
            "response_seconds": wait.seconds,
            "agent_id": wait.closed.fields.get("agent_id"),
            "user_id": wait.closed.fields.get("user_id"),
            "is_first_response": wait.is_first,
        }
        for wait in waits
    ]


def resolution_seconds(facts: Sequence[Fact]) -> list[tuple[Fact, float]]:
    """Each chat_resolved and how long it took, where that is known."""
    since: dict[str, Fact] = {}
    found = []
    for fact in facts:
        chat = fact.p.get("chat_id")
        if fact.name == "message_received":
            since.setdefault(chat, fact)
        elif fact.name == "chat_resolved":
            received = since.pop(chat, None)
            taken = (
                elapsed(received.at, fact.at) if received else fact.p.get("resolution_time_seconds")
            )
            if taken is not None:
                found.append((fact, taken))
    return found


COUNTED = {
    "message_received": "messages_received",
    "message_sent": "messages_sent",
    "message_delivered": "messages_delivered",
    "message_read": "messages_read",
    "message_failed": "messages_failed",
    "campaign_sent": "campaigns_sent",
    "contact_created": "contacts_created",
    "chat_assigned": "chats_assigned",
    "chat_resolved": "chats_resolved",
}


def messaging(facts: Sequence[Fact], waits: Sequence[Wait]) -> list[Row]:
    """metrics_daily_messaging."""
    counts: dict[tuple[date, str], Counter[str]] = defaultdict(Counter)
    for fact in facts:
        if fact.name in COUNTED:
            row = counts[fact.day, fact.fields["channel"]]
            row[COUNTED[fact.name]] += 1
            if fact.name == "campaign_sent":
                row["campaign_recipients"] += fact.p["recipient_count"]
    responses: dict[tuple[date, str], list[Wait]] = defaultdict(list)
    for wait in waits:
        responses[wait.closed.day, wait.closed.fields["channel"]].append(wait)
    resolutions: dict[tuple[date, str], list[float]] = defaultdict(list)
    for fact, taken in resolution_seconds(facts):
        resolutions[fact.day, fact.fields["channel"]].append(taken)
    rows = []
    for key, row in counts.items():
        every = [wait.seconds for wait in responses[key]]
        firsts = [wait.seconds for wait in responses[key] if wait.is_first]
        rows.append(
            {
                "metric_date": key[0],
                "channel": key[1],
                **{name: row[name] for name in (*COUNTED.values(), "campaign_recipients")},
                "delivery_rate": ratio(row["messages_delivered"], row["messages_sent"]),
                "read_rate": ratio(row["messages_read"], row["messages_delivered"]),
                "responses": len(every),
                "response_seconds_avg": mean(every),
                "response_seconds_p50": quantile(every, 0.5),
                "response_seconds_p95": quantile(every, 0.95),
                "first_response_seconds_avg": mean(firsts),
                "first_response_seconds_p50": quantile(firsts, 0.5),
                "resolution_seconds_avg": mean(resolutions[key]),
            }
        )
    return rows


# -- identity --------------------------------------------------------------------------------------


def identifiers(fact: Fact) -> list[Key]:
    """Every identifier that an event shows."""
    shown = [("user_id", fact.fields), ("anonymous_id", fact.fields)]
    if fact.name == "user_identified":
        shown += [("phone_hash", fact.p), ("email_hash", fact.p)]
    return [(kind, values[kind]) for kind, values in shown if values.get(kind) is not None]


def persons(facts: Sequence[Fact]) -> dict[Key, Key]:
    """Identifier -> the smallest identifier of its person."""
    person: dict[Key, set[Key]] = {}
    for fact in facts:
        known = identifiers(fact)
        for identifier in known:
            person.setdefault(identifier, {identifier})
        if fact.name == "user_identified" and known:
            together = set().union(*(person[identifier] for identifier in known))
            for identifier in together:
                person[identifier] = together
    # Text compares by its bytes, as everywhere.
    return {
        identifier: min(members, key=lambda m: (m[0].encode(), m[1].encode()))
        for identifier, members in person.items()
    }


def person_id(smallest: Key) -> str:
    """The documented hash of the smallest identifier of a person."""
    return _md5(f"{smallest[0]}:{smallest[1]}")


def identity_map(facts: Sequence[Fact], person: dict[Key, Key]) -> list[Row]:
    """identity_map."""
    first_seen: dict[Key, date] = {}
    for fact in facts:
        for identifier in identifiers(fact):
            first_seen.setdefault(identifier, fact.day)
    return [
        {
            "identifier_type": kind,
            "identifier": value,
            "person_id": person_id(smallest),
            "first_seen_date": first_seen[kind, value],
        }
        for (kind, value), smallest in person.items()
    ]


def user_timeline(
    facts: Sequence[Fact], visited: Sequence[Session], person: dict[Key, Key]
) -> list[Row]:
    """user_timeline."""
    session_of = {fact.event_id: session.id for session in visited for fact in session.facts}
    latest: dict[Key, Fact] = {}
    steps: Counter[Key] = Counter()
    rows = []
    for fact in facts:
        key = user_key(fact)
        if key is None:
            continue
        who = person[key]
        steps[who] += 1
        rows.append(
            {
                "person_id": person_id(who),
                "occurred_at": fact.at,
                "event_id": fact.event_id,
                "channel": fact.fields["channel"],
                "event_name": fact.name,
                "session_id": session_of.get(fact.event_id),
                "step": steps[who],
                "seconds_since_previous": elapsed(latest[who].at, fact.at)
                if who in latest
                else None,
            }
        )
        latest[who] = fact
    return rows


# -- funnels ---------------------------------------------------------------------------------------


@cache
def seeded_funnels() -> tuple[Funnel, ...]:
    """The funnels of the project's seed."""
    path = Path(__file__).parent.parent / "dbt_project" / "seeds" / "funnels.csv"
    steps: dict[str, dict[int, str]] = defaultdict(dict)
    hours: dict[str, int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            steps[line["funnel"]][int(line["step"])] = line["event_name"]
            hours[line["funnel"]] = int(line["window_hours"])
    return tuple(
        (name, hours[name], tuple(event for _, event in sorted(steps[name].items())))
        for name in steps
    )


def funnel(facts: Sequence[Fact], through: date, funnels: Iterable[Funnel]) -> list[Row]:
    """metrics_daily_funnel."""
    rows = []
    for name, window_hours, names in funnels:
        for entry_date in sorted({fact.day for fact in facts}):
            metric_date = entry_date + timedelta(days=math.ceil(window_hours / 24))
            if metric_date > through:
                continue
            # A row of a date knows nothing of later dates, however the clocks were changed.
            histories: dict[str, list[Fact]] = defaultdict(list)
            for fact in facts:
                if fact.day <= metric_date and fact.fields.get("user_id") is not None:
                    histories[fact.fields["user_id"]].append(fact)
            reached: list[list[float]] = [[] for _ in names]
            for history in histories.values():
                entry = next(
                    (f for f in history if f.day == entry_date and f.name == names[0]), None
                )
                if entry is None:
                    continue
                last, deadline = entry, entry.at + timedelta(hours=window_hours)
                reached[0].append(0.0)
                for position, step_name in enumerate(names[1:], start=1):
                    following = next(
                        (
                            f
                            for f in history
                            if f.name == step_name and f.order > last.order and f.at <= deadline
                        ),
                        None,
                    )
                    if following is None:
                        break
                    reached[position].append(elapsed(last.at, following.at))
                    last = following
            for position, durations in enumerate(reached):
                if not durations:
                    continue
                users = len(durations)
                rows.append(
                    {
                        "metric_date": metric_date,
                        "entry_date": entry_date,
                        "funnel": name,
                        "step": position + 1,
                        "users": users,
                        "conversion_from_previous": ratio(users, len(reached[position - 1]))
                        if position
                        else None,
                        "conversion_from_first": ratio(users, len(reached[0])),
                        "median_seconds_from_previous": quantile(durations, 0.5)
                        if position
                        else None,
                    }
                )
    return rows


def expected_journeys(
    facts: Sequence[Fact],
    through: date,
    *,
    funnels: Iterable[Funnel] | None = None,
    timeout: timedelta = SESSION_TIMEOUT,
) -> dict[str, list[Row]]:
    """What the tables of sessions, messaging, identity and funnels hold, rows in any order.

    Args:
        facts: accepted events up to ``through``, in order.
        through: the last date run.
        funnels: those of the seed when it is left out.
        timeout: the longest gap within a session.

    """
    visited = visits(facts, timeout)
    waits = closed_waits(facts)
    person = persons(facts)
    rows = sessions(facts, visited)
    return {
        "sessions": rows,
        "metrics_daily_sessions": daily_sessions(rows),
        "response_times": response_times(waits),
        "metrics_daily_messaging": messaging(facts, waits),
        "identity_map": identity_map(facts, person),
        "user_timeline": user_timeline(facts, visited, person),
        "metrics_daily_funnel": funnel(
            facts, through, seeded_funnels() if funnels is None else funnels
        ),
    }

"""One person's journey: every event once, in order, over devices, with its session; both engines.

Persons themselves are the matter of test_identity; single definitions, row by row, that of
test_marts_oracle.
"""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import timedelta

from tests.facts import Row, read
from tests.lab import Lab
from tests.test_identity import START, link, persons_of, random_links

SELECT = tuple(
    f"{model},resource_type:{kind}"
    for model, kind in (
        ("identity_placeholders", "seed"), ("+user_timeline", "model"), ("+sessions", "model"),
        ("metrics_daily_paths", "model"),
    )
)  # fmt: skip


def visits(rng: random.Random, days: int, count: int) -> list[Row]:
    """Events of sessions and others, many at the same instant, on several channels."""
    events = []
    for _ in range(count):
        event = link(rng, rng.randrange(days))
        hour, minute = rng.choice((0, 9, 23)), rng.choice((0, 10, 45, 59))
        event["occurred_at"] = f"{event['occurred_at'][:10]}T{hour:02d}:{minute:02d}:00+00:00"
        event["event_name"] = rng.choice(("page_viewed", "cta_clicked", "message_read"))
        event["channel"] = rng.choice(("web", "app"))
        for name in rng.sample(("user_id", "anonymous_id"), rng.choice((0, 1, 1, 2))):
            event[name] = f"{name[0]}{rng.randrange(12)}"
        event["entity_id"] = "m1"
        event["properties"] = {"chat_id": "c1"} if event["event_name"] == "message_read" else {}
        events.append(event)
    return events


def test_a_journey_has_every_event_once_in_order(lab: Lab) -> None:
    rng = random.Random(8)
    days = 6
    events = random_links(rng, days=days, count=40) + visits(rng, days, 250)
    lab.load(1, events)
    last = START + timedelta(days=days - 1)
    for start, end in ((START, START + timedelta(days=2)), (START + timedelta(days=3), last)):
        lab.build(start, end, SELECT)
    person = persons_of(events)
    journeys = defaultdict(list)
    keys = {}
    for fact in read(events, "UTC"):
        for kind in ("user_id", "anonymous_id"):
            if fact.event_id not in keys and fact.fields.get(kind) is not None:
                keys[fact.event_id] = (kind, fact.fields[kind])
        if fact.event_id in keys:
            journeys[person[keys[fact.event_id]]].append(fact)
    built = lab.rows("user_timeline")
    assert len(built) == sum(map(len, journeys.values())) == len(keys)
    sessions = {row["session_id"]: row for row in lab.rows("sessions")}
    of_session: dict[str, int] = defaultdict(int)
    for row in built:
        journey = journeys[row["person_id"]]
        fact = journey[row["step"] - 1]
        assert (row["event_id"], row["occurred_at"]) == (fact.event_id, fact.at)
        assert (row["channel"], row["event_name"]) == (fact.fields["channel"], fact.name)
        before = journey[row["step"] - 2].at if row["step"] > 1 else None
        gap = None if before is None else (fact.at - before).total_seconds()
        assert row["seconds_since_previous"] == gap
        assert (row["session_id"] is not None) == (fact.name in ("page_viewed", "cta_clicked"))
        if row["session_id"] is not None:
            session = sessions[row["session_id"]]
            of_session[row["session_id"]] += 1
            assert (session["user_key_type"], session["user_key"]) == keys[fact.event_id]
            assert session["session_start_at"] <= fact.at <= session["session_end_at"]
    assert dict(of_session) == {name: row["event_count"] for name, row in sessions.items()}
    # Everybody who has a path enters it once.
    entries: dict[object, int] = defaultdict(int)
    for path in lab.rows("metrics_daily_paths"):
        if path["from_event"] == "entry":
            entries[path["metric_date"]] += path["people"]
    assert sum(entries.values()) > 20 and entries.keys() <= {
        START + timedelta(days=n) for n in range(days)
    }


def test_a_column_that_an_older_table_lacks_is_added(lab: Lab) -> None:
    lab.load(1, visits(random.Random(9), 2, 60))
    found = []
    for wanted in (SELECT, ("metrics_daily_paths",)):
        lab.build(START, START + timedelta(days=1), wanted)
        rows = lab.rows("metrics_daily_paths")
        found.append(sorted(tuple(sorted((k, str(v)) for k, v in row.items())) for row in rows))
        lab.sql(f"alter table {lab.marts}.metrics_daily_paths drop column people")
    assert found[0] == found[1] != []

"""Sessions as laws: whatever order dates are loaded and run in, the table is that of the oracle.

Gaps lie around the timeout and around midnight, in several time zones; events come late, are
removed again, and interior dates are run again. Single formulas are the matter of the unit tests.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ingest.warehouse import open_warehouse
from orchestration.dbt_project import DbtProject
from orchestration.publication import changes, readers_tables
from orchestration.publication.postgres_tables import _copy
from orchestration.relations import marts
from tests.facts import Row, read
from tests.lab import assert_same
from tests.oracle_journeys import JOURNEY_GRAINS, expected_journeys
from tests.test_laws import World, worlds_of

RELATIONS = ("sessions", "metrics_daily_sessions")

MODELS = (
    "stg_events", "int_conversions", "int_session_days", "int_session_conversions", *RELATIONS,
)  # fmt: skip

#: Milliseconds between two events of a key: beside the timeout, within it, and far beyond.
GAPS = (0, 1, 600_000, 1_799_999, 1_800_000, 1_800_001, 3_600_000, 40_000_000, 90_000_000)

#: The clocks of New York go forward on 8 March, those of Beirut on 29 March, at midnight.
ZONES = {
    "UTC": date(2026, 3, 1),
    "America/New_York": date(2026, 3, 6),
    "Asia/Kolkata": date(2026, 3, 1),
    "Asia/Beirut": date(2026, 3, 27),
}


@dataclass
class SessionWorld(World):
    """A warehouse of which only the models of sessions are built."""

    def selection(self) -> tuple[str, ...]:
        """The models of sessions."""
        return MODELS

    def table(self, relation: str) -> list[Row]:
        """What dbt built."""
        schema = "build" if self.settings.target == "postgres" else "marts"
        warehouse = open_warehouse(self.settings)
        try:
            return warehouse.records(f"select * from {schema}.{relation}")
        finally:
            warehouse.close()

    def check(self, events: Sequence[Row]) -> None:
        """Compare both tables with the oracle of these events."""
        facts = read(events, self.settings.timezone)
        expected = expected_journeys(facts, max(f.day for f in facts))
        for relation in RELATIONS:
            grain = JOURNEY_GRAINS[relation]
            assert_same(relation, self.table(relation), expected[relation], grain)

    def remove(self, events: Sequence[Row]) -> None:
        """Take events out of the raw table, as an erasure does."""
        ids = ", ".join(f"'{event['event_id']}'" for event in events)
        warehouse = open_warehouse(self.settings)
        warehouse.execute(f"delete from raw.events where event_id in ({ids})")
        warehouse.close()


def random_visits(rng: random.Random, first: date, zone: str, count: int) -> list[Row]:
    """Visits of few keys, most of them over a midnight of the zone, with conversions between."""
    events: list[Row] = []
    keys = [{"user_id": "ann"}, {"user_id": "bob", "anonymous_id": "x"}, {"anonymous_id": "ann"}]
    while len(events) < count:
        key, channel = rng.choice(keys), rng.choice(("web", "web", "app"))
        midnight = datetime.combine(
            first + timedelta(days=rng.randrange(1, 5)), time(), ZoneInfo(zone)
        ).astimezone(UTC)
        at = midnight + timedelta(
            milliseconds=rng.choice((-1, 0, -600_000, -1_800_000, 30_000_000))
        )
        for _ in range(rng.choice((1, 2, 2, 5, 12))):
            name = rng.choice(("page_viewed", "cta_clicked", "filter_applied", "message_read"))
            context = {
                column: rng.choice(("a", "b"))
                for column in ("landing_page", "referrer", "utm_source", "utm_medium")
                if rng.random() < 0.1
            }
            if rng.random() < 0.3:
                context["user_agent"] = rng.choice(("Mozilla/5.0 (X11; Linux)", "Mobile Safari"))
            events.append(_event(rng, name, at, channel, key, context=context))
            if "user_id" in key and rng.random() < 0.2:
                moment = at + timedelta(milliseconds=rng.choice((0, 0, 1, 300_000, -1)))
                events.append(_event(rng, "payment_succeeded", moment, "system", key))
            at += timedelta(milliseconds=rng.choice(GAPS))
    return events


def _event(rng: random.Random, name: str, at: datetime, channel: str, key: Row, **more: Any) -> Row:
    payment = {"provider": "stripe", "amount_cents": 100, "currency": "USD"}
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event_name": name,
        "occurred_at": at.isoformat(timespec="milliseconds"),
        "channel": channel,
        "source": "test",
        **key,
        **({"entity_id": "e1"} if name in ("message_read", "payment_succeeded") else {}),
        **(payment if name == "payment_succeeded" else {}),
        **more,
    }


@pytest.fixture(scope="module")
def worlds(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str
) -> Iterator[dict[str, SessionWorld]]:
    with worlds_of(SessionWorld, tmp_path_factory.mktemp("sessions"), postgres_server) as found:
        yield found


@pytest.fixture(params=["duckdb", "postgres"])
def world(request: pytest.FixtureRequest, worlds: dict[str, SessionWorld]) -> SessionWorld:
    """A warehouse of either target, empty."""
    found = worlds[request.param]
    found.reset()
    return found


@pytest.mark.parametrize(
    ("target", "zone", "days"), [("duckdb", "Asia/Beirut", 2), ("postgres", "America/New_York", 9)]
)
def test_any_order_of_loads_and_runs(
    worlds: dict[str, SessionWorld], target: str, zone: str, days: int
) -> None:
    """Late events and runs of any dates between: once nothing is stale, the table is right.

    Then an interior date is run again, which changes nothing, and events are removed, after which
    so many days are run at once.
    """
    world = worlds[target]
    rng = random.Random(zone)
    world.reset(zone)
    first = ZONES[zone]
    events = random_visits(rng, first, zone, 60)
    rng.shuffle(events)
    for part in (events[:40], events[40:52], events[52:]):
        world.ingest(part)
        if rng.random() < 0.7:
            day = first + timedelta(days=rng.randrange(5))
            world.run(day, day + timedelta(days=rng.randrange(3)))
    while world.run():
        world.check(events)
    facts = read(events, zone)
    last = max(fact.day for fact in facts)
    # Nothing is stale: a session that goes on after an interior date is not cut off.
    day = rng.choice(sorted({fact.day for fact in facts} - {last}))
    world.run(day, day)
    world.check(events)
    # What was removed is gone once its date and all after it were run again.
    gone = rng.sample(facts, 12)
    kept = [e for e in events if e["event_id"] not in {fact.event_id for fact in gone}]
    world.remove([{"event_id": fact.event_id} for fact in gone])
    day = min(fact.day for fact in gone)
    while day <= last:
        world.run(day, min(last, day + timedelta(days=days - 1)))
        day += timedelta(days=days)
    world.check(kept)


def _view(key: str, at: str, event_id: int) -> Row:
    return {
        "event_id": str(uuid.UUID(int=event_id)),
        "event_name": "page_viewed",
        "occurred_at": at,
        "source": "test",
        "channel": "web",
        "user_id": key,
    }


def test_a_late_event_joins_and_its_removal_splits(world: SessionWorld) -> None:
    """Two sessions on two dates become one and two again; the numbers after them follow."""
    before = [
        _view("ann", "2026-03-01T23:50:00Z", 1),
        _view("ann", "2026-03-02T00:30:00Z", 2),
        _view("ann", "2026-03-03T12:00:00Z", 3),
    ]
    bridge = _view("ann", "2026-03-02T00:10:00Z", 4)
    world.ingest(before)
    world.run()
    assert [row["session_number"] for row in _by_start(world)] == [1, 2, 3]
    world.ingest([bridge])
    world.run(date(2026, 3, 2), date(2026, 3, 2))
    # The last date is stale: it still shows what was known of it.
    assert [(row["session_number"], row["event_count"]) for row in _by_start(world)] == [
        (1, 3),
        (3, 1),
    ]
    world.run()
    world.check([*before, bridge])
    assert [row["session_number"] for row in _by_start(world)] == [1, 2]
    world.remove([bridge])
    world.run(date(2026, 3, 2), date(2026, 3, 3))
    world.check(before)


def test_a_stale_date_is_not_read(world: SessionWorld) -> None:
    """A session that goes on into a date that is stale ends, until that date is run."""
    events = [
        _view("ann", "2026-03-01T23:50:00Z", 1),
        _view("ann", "2026-03-02T00:10:00Z", 2),
        _view("ann", "2026-03-03T00:10:00Z", 3),
    ]
    world.ingest(events)
    world.run()
    late = _view("ann", "2026-03-01T23:55:00Z", 4)
    world.ingest([late])
    world.run(date(2026, 3, 1), date(2026, 3, 1))
    (session,) = [row for row in world.table("sessions") if row["session_date"].day == 1]
    assert (session["event_count"], session["session_end_date"]) == (2, date(2026, 3, 1))
    world.run()
    world.check([*events, late])


def _by_start(world: SessionWorld) -> list[Row]:
    return sorted(world.table("sessions"), key=lambda row: row["session_start_at"])


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("session_timeout_minutes", 0, "whole number from 1 to 1440, got '0'"),
        ("session_timeout_minutes", 1441, "whole number from 1 to 1440, got '1441'"),
        ("session_timeout_minutes", 1.5, "whole number from 1 to 1440, got '1.5'"),
        ("session_timeout_minutes", True, "whole number from 1 to 1440, got 'True'"),
        ("conversion_events", [], "must be a list of event names"),
        ("conversion_events", "order_created", "must be a list of event names"),
        ("conversion_events", ["x') or ('1'='1"], "which is not an event name"),
    ],
)
def test_vars_are_checked(variable: str, value: object, words: str) -> None:
    """A var that makes no sense is refused in words, before any SQL is made of it."""
    import jinja2

    text = (Path(__file__).parent.parent / "dbt_project/macros/sessions.sql").read_text()

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.globals |= {
        "var": lambda name: value,
        "exceptions": {"raise_compiler_error": refuse},
        "modules": {"re": re},
        "sql_texts": lambda names: ", ".join(map(repr, names)),
        "return": lambda found: found,
    }
    module = environment.from_string(text).module
    with pytest.raises(ValueError, match=re.escape(words)):
        if variable == "conversion_events":
            module.is_conversion("event_name")
        else:
            module.session_timeout()


def test_publication_replaces_sessions_that_changed_their_dates(postgres_settings: Any) -> None:
    """Longer, shorter, renamed and gone: after copying the dates that were run, both tables agree."""
    sessions = next(
        mart for mart in marts(DbtProject(postgres_settings).manifest) if mart.name == "sessions"
    )
    warehouse = open_warehouse(postgres_settings)
    sessions = replace(sessions, columns=())
    try:
        for schema in ("build", "marts"):
            warehouse.execute(f"create schema if not exists {schema}")
        warehouse.execute(
            "create table build.sessions (session_id text, session_date date, "
            "session_end_date date, event_count bigint)"
        )

        def write(*rows: tuple[str, int, int, int]) -> None:
            warehouse.execute("delete from build.sessions")
            warehouse.insert_many(
                "build.sessions",
                ("session_id", "session_date", "session_end_date", "event_count"),
                [[name, date(2026, 3, a), date(2026, 3, b), n] for name, a, b, n in rows],
            )

        def publish(published_run: str) -> None:
            """Publish; of the dates only the tenth is one that may have been run since."""
            warehouse.execute("delete from ops.partitions")
            for day in range(1, 13):
                warehouse.execute(
                    "insert into ops.partitions (partition_date, last_run_id, run_loads_through, "
                    "checked, published_run_id) values (?, ?, 1, true, 'published')",
                    [date(2026, 3, day), published_run if day == 10 else "published"],
                )
            catalog = warehouse.value("select current_database()")
            _copy(warehouse, sessions, changes.find(warehouse, [sessions], catalog)["sessions"])

        assert readers_tables.make(warehouse, [sessions]) == ["table marts.sessions"]
        write(
            ("untouched", 1, 1, 1), ("longer", 9, 9, 1), ("shorter", 9, 10, 2), ("gone", 10, 10, 1),
            ("cut", 10, 11, 2), ("old name", 10, 12, 3), ("after", 12, 12, 1),
        )  # fmt: skip
        _copy(warehouse, sessions, None)
        write(
            ("untouched", 1, 1, 1), ("longer", 9, 10, 2), ("shorter", 9, 9, 1),
            ("cut", 10, 10, 1), ("new name", 10, 10, 2), ("after", 12, 12, 1),
        )  # fmt: skip
        publish("run")
        rows = "select * from {}.sessions order by session_id"
        assert warehouse.records(rows.format("marts")) == warehouse.records(rows.format("build"))
        # Nothing was run: nothing is copied.
        write(("unpublished", 10, 10, 1))
        publish("published")
        assert "unpublished" not in {
            row["session_id"] for row in warehouse.records(rows.format("marts"))
        }
    finally:
        warehouse.close()

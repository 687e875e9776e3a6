"""Attribution and the marketplace: any way to the same rows, what the door leaves of an event, and
whether the tests of these tables find faults.

What the tables hold is compared with the oracle elsewhere.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ingest.registry import registry
from ingest.settings import Settings
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build
from tests.events import line, load, query
from tests.facts import Row
from tests.lab import IN_TURN, Lab, assert_same, span

START = date(2026, 3, 1)
DAYS = 8
KEYS = {
    "attribution": ("event_id",),
    "daily_metrics": ("date", "scope", "project_id", "ip_asset_id", "license_id"),
    "creator_performance": ("metric_date", "creator_id"),
    "brand_campaign_performance": ("metric_date", "project_id"),
}
SELECT = [f"+{relation}" for relation in KEYS]
NAMES = (
    *["asset_uploaded", "asset_viewed", "asset_downloaded", "license_clicked"] * 3,
    *["license_created", "license_renewed", "royalty_calculated", "project_created"] * 3,
    *["project_started", "royalty_paid", "page_viewed", "user_logged_in", "order_created"],
)


# -- any way to the same rows ----------------------------------------------------------------------


def random_history(rng: random.Random, count: int) -> list[Row]:
    """Events of few creators, projects and assets; many at one instant, so that ids decide."""
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    instants = [
        begin + timedelta(days=rng.randrange(DAYS), seconds=rng.choice((0, 43200, 86399)))
        for _ in range(count // 3)
    ]

    def maybe(*values: Any) -> Any:
        return rng.choice((*values, None))

    events = []
    for _ in range(count):
        name = rng.choice(NAMES)
        values = {
            "creator_id": maybe("c1", "c2", "unknown"),
            "project_id": maybe("p1", "p2"),
            "ip_asset_id": maybe(f"a{rng.randrange(9)}", f"a{rng.randrange(9)}"),
            "license_id": maybe("l1"),
            "revenue_cents": maybe(0, 5, 700),
            "royalty_cents": maybe(0, 30),
            "budget_cents": maybe(0, 100, 2500),
            "engagement_seconds": maybe(0, 0.5, 12.25),
        }
        known = registry().events[name].properties
        if name == "project_created":
            values["project_id"] = rng.choice(("p1", "p2"))
        events.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "event_name": name,
                "occurred_at": rng.choice(instants).isoformat(),
                "user_id": maybe("u1", "u2"),
                "anonymous_id": maybe("u1", "x1"),
                "entity_id": "o1" if name == "order_created" else None,
                "currency": maybe("USD", "EUR"),
                "context": {
                    "utm_source": maybe("google", None),
                    "referrer": maybe("https://A.example/x", None, None),
                    "user_agent": maybe("Twitterbot/1.0", None, None),
                },
                "properties": {k: v for k, v in values.items() if k in known},
            }
        )
    return events


def assert_same_tables(actual: dict[str, list[Row]], expected: dict[str, list[Row]]) -> None:
    """Row for row, cell for cell."""
    for relation, key in KEYS.items():
        assert expected[relation]
        assert_same(relation, actual[relation], expected[relation], key)


def of_date(tables: dict[str, list[Row]], day: date) -> dict[str, list[Row]]:
    """The rows of one date."""
    return {
        relation: [row for row in rows if row.get("metric_date", row.get("date")) == day]
        for relation, rows in tables.items()
    }


@IN_TURN
def test_pieces_late_events_and_any_order_give_the_rows_of_one_range(lab: Lab, seed: int) -> None:
    """Random pieces of a random history, loaded out of order, against one full refresh."""
    rng = random.Random(seed)
    events = random_history(rng, 160)
    parts = [events[0::2], events[1::4], events[3::4]]
    _, last = span(events, lab.timezone)
    for number, part in enumerate(parts, start=1):
        lab.load(number, part)
        day, _ = span(part, lab.timezone)
        if number == 2:
            # One date between stale ones, prepared from the oldest of them on.
            interior = day + timedelta(days=4)
            lab.build(interior, interior, SELECT, prepare_start=day)
            known = lab.tables(KEYS)
        while day <= last:
            end = min(last, day + timedelta(days=rng.choice((1, 3, 6))))
            lab.build(day, end, SELECT)
            day = end + timedelta(days=1)
        if number == 2:
            assert_same_tables(of_date(known, interior), of_date(lab.tables(KEYS), interior))
    built = lab.tables(KEYS)
    lab.build(START, last, SELECT, full_refresh=True, tested=True)
    assert_same_tables(built, lab.tables(KEYS))
    platform = [row for row in built["daily_metrics"] if row["scope"] == "platform"]
    assert len(platform) == (last - span(events, lab.timezone)[0]).days + 1


def test_assets_revenue_and_budgets_outlive_the_raw_events(lab: Lab) -> None:
    """What retention takes from raw.events is still known of creators and projects."""
    events = random_history(random.Random(5), 160)
    lab.load(1, events)
    first, last = span(events, lab.timezone)
    lab.build(first, last, SELECT)
    expected = lab.tables(KEYS)
    split = last - timedelta(days=2)
    lab.sql(f"delete from raw.events where event_date < date '{split}'")
    lab.build(split, last, SELECT)
    assert_same_tables(lab.tables(KEYS), expected)


# -- faults ----------------------------------------------------------------------------------------

#: Rounds of faults, one for a table at a time -> the tests that must find them.
FAULTS = (
    {
        "insert into marts.attribution from marts.attribution": "unique_grain_attribution",
        "insert into marts.daily_metrics from marts.daily_metrics": "unique_grain_daily_metrics",
        "insert into marts.creator_performance from marts.creator_performance": (
            "unique_grain_creator_performance"
        ),
        "update marts.brand_campaign_performance set roi = null": "holds_brand_campaign",
        "update intermediate.int_project_days set cumulative_revenue_cents = -1": (
            "holds_int_project_days"
        ),
        "insert into intermediate.int_creator_assets from intermediate.int_creator_assets": (
            "unique_grain_int_creator_assets"
        ),
    },
    {
        "delete from marts.attribution": "same_daily_total_attribution",
        "delete from marts.daily_metrics where scope = 'entity'": "same_daily_total_daily_metrics",
        "delete from marts.creator_performance": "same_daily_total_creator_performance",
        "delete from marts.brand_campaign_performance": "same_daily_total_brand_campaign",
    },
    {
        "update marts.attribution set device_type = 'phone'": "holds_attribution",
        "delete from marts.daily_metrics where scope = 'platform' and views = 0": (
            "same_daily_total_daily_metrics"
        ),
        "update marts.creator_performance set assets = -1": "holds_creator_performance",
        "insert into marts.brand_campaign_performance from marts.brand_campaign_performance": (
            "unique_grain_brand_campaign"
        ),
    },
    {
        "update marts.daily_metrics set scope = 'whole', engagement_seconds = -1"
        " where scope = 'entity'": "holds_daily_metrics",
    },
)


def test_the_data_tests_find_planted_faults(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    lab.reset()
    # A quiet date in the middle, which only the calendar remembers.
    events = [
        event
        for event in random_history(random.Random(6), 160)
        if not event["occurred_at"].startswith("2026-03-05")
    ]
    lab.load(1, events)
    first, last = span(events, lab.timezone)
    names = (*KEYS, "int_project_days", "int_creator_assets")
    lab.build(first, last, SELECT)
    lab.assert_faults_are_found(FAULTS, names, Window(first, last, first, 99))


# -- through the door ------------------------------------------------------------------------------


def test_what_the_door_leaves_of_where_an_event_came_from(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    """No user in an address, no user agent, nothing of those who object; blanks are nothing."""
    secret = "https://ann:hunter2@Shop.Example.com:8443/a?b=ann%40mail.example#c"
    contexts = {
        "user": {"referrer": secret, "landing_page": "//ann@shop.example.com/start"},
        "mail": {"referrer": "https://ann%40mail.example/x"},
        "plain": {"referrer": "https://shop.example.com/@ann?x=y"},
        "robot": {"user_agent": "WhatsApp/2.23.20.0 A"},
        "nobody": {"user_agent": "something"},
        "blank": {"user_agent": "  ", "referrer": " ", "utm_source": ""},
        "objects": {"dnt": True, "user_agent": "curl/8", "referrer": "https://x.example"},
    }
    data = b"\n".join(line(entity_id=name, context=sent) for name, sent in contexts.items())
    assert load(duckdb_settings, tmp_path / "f.ndjson", data).accepted == len(contexts)
    project = DbtProject(duckdb_settings)
    result = build(project, Window(START, START, START, 99), select=["+attribution"])
    assert result.succeeded, [n.message for n in result.nodes if not n.ok]
    rows = query(
        duckdb_settings,
        "select entity_id, attribution.* from marts.attribution inner join raw.events"
        " on cast(raw.events.event_id as varchar) = attribution.event_id",
    )
    found = {row["entity_id"]: row for row in rows}
    assert found.keys() == {"user", "mail", "plain", "robot", "nobody"}
    assert found["user"]["referrer"] == "https://Shop.Example.com:8443/a?b=[email]#c"
    assert found["user"]["referrer_host"] == "shop.example.com"
    assert found["user"]["landing_page"] == "//shop.example.com/start"
    assert found["mail"]["referrer"] == "https://[email]/x"
    assert found["mail"]["referrer_host"] is None
    assert found["plain"]["referrer"] == contexts["plain"]["referrer"]
    assert found["robot"]["device_type"] == "bot"
    assert (found["nobody"]["device_type"], found["nobody"]["browser"]) == ("other", None)

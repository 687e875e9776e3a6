"""Conversations, agents and alerts: the order of runs, late records and lost ones.

Belongs here: that pieces in any order give one range, for tables that look back (agent_performance,
alerts) or show the state at the end (conversations), and that what their reference data may name is
what the marts have. Values are the matter of the oracle and of the unit tests of the models.
"""

from __future__ import annotations

import random
import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.dbt_project import PROJECT_DIR, DbtProject, seed_rows
from orchestration.reference_data import NUMBERS, _columns
from orchestration.relations import marts
from tests.agent_worlds import conversation_events
from tests.facts import Row
from tests.histories import History
from tests.lab import IN_TURN, Lab, assert_same, span

GRAINS = {
    "conversations": ("conversation_id",),
    "agent_performance": ("as_of_date", "agent_id"),
    "metrics_daily_platform": ("metric_date", "channel"),
}
ALERTS = ("metric_date", "rule", "subject_type", "subject_id")
BASE = ("+conversations", "+agent_performance", "+metrics_daily_platform")
DAY = timedelta(days=1)
FIRST = date(2026, 1, 1)


def assert_equal(actual: dict[str, list[Row]], expected: dict[str, list[Row]]) -> None:
    """Same rows in every table; the conversations of the end, however their times are typed."""
    for relation, grain in GRAINS.items():
        plain = [
            [
                {k: str(v) if isinstance(v, datetime | bool) else v for k, v in row.items()}
                for row in side[relation]
            ]
            for side in (actual, expected)
        ]
        assert_same(relation, plain[0], plain[1], grain)


@IN_TURN
def test_pieces_in_any_order_give_one_range(lab: Lab, seed: int) -> None:
    """Late records, lost ones, interior ranges and repeats end where one range does."""
    rng = random.Random(seed)
    lab.reset(("America/New_York", "Asia/Kolkata")[seed])
    events = conversation_events(rng, days=45, count=90)
    first, last = span(events, lab.timezone)
    history = History(lab, last + DAY, BASE)
    parts: list[list[Row]] = [[], []]
    for event in events:
        parts[rng.random() < 0.3].append(event)
    for load_id, part in enumerate(parts, start=1):
        history.load(load_id, part)
        start = first + timedelta(days=rng.randrange((last - first).days))
        history.run(start, min(history.last, start + timedelta(days=rng.randrange(20))))
    lost = [event["event_id"] for event in parts[0] if rng.random() < 0.2]
    history.lose(1, lost)
    while history.stale:
        # Any stale stretch, the latest ones too.
        start = rng.choice(sorted(history.stale))
        history.run(start, min(history.last, start + timedelta(days=rng.choice((9, 45)))))
        if len(history.stale) > 12:
            history.run(min(history.stale), min(history.stale) + timedelta(days=8))
    built = lab.tables(GRAINS)
    # An interior range that is not stale changes nothing.
    history.run(first + 10 * DAY, first + 14 * DAY)
    assert_equal(lab.tables(GRAINS), built)

    lab.events[1] = [event for event in parts[0] if event["event_id"] not in lost]
    kept = [*lab.events[1], *parts[1]]
    lab.reset(lab.timezone)
    again = History(lab, last + DAY, BASE)
    again.load(1, kept)
    again.run(first, again.last)
    assert_equal(built, lab.tables(GRAINS))
    assert all(built[name] for name in GRAINS)


def record(number: int, day: int, *, conversation: str = "c", agent: str = "a") -> Row:
    """A record of a conversation at noon, which says only when and by whom."""
    at = datetime(2026, 1, day, 12)
    return {
        "event_id": f"00000000-0000-0000-0000-{number:012d}",
        "event_name": "conversation_recorded",
        "occurred_at": f"{at.isoformat()}+00:00",
        "entity_id": conversation,
        "agent_id": agent,
        "user_id": "u",
        "channel": "web",
        "properties": {"start_time": f"{at.isoformat()}+00:00"},
    }


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_a_conversation_is_its_latest_record_whatever_is_run(lab: Lab) -> None:
    """Later records stay, lost ones give way to those before, and the last one takes its row."""
    events = [record(1, 1), record(5, 5), record(9, 9), record(3, 3, conversation="d")]
    history = History(lab, date(2026, 1, 10), ("+conversations",))
    history.load(1, events)

    def shown() -> dict[str, int]:
        """Conversation -> day of January of the record that is shown."""
        return {r["conversation_id"]: r["record_date"].day for r in lab.rows("conversations")}

    for (start, end), expected in {
        (9, 10): {"c": 9},
        (4, 6): {"c": 9},
        (1, 8): {"c": 9, "d": 3},
        (5, 5): {"c": 9, "d": 3},
    }.items():
        history.run(date(2026, 1, start), date(2026, 1, end))
        assert shown() == expected, (start, end)
    for lost, expected in ((9, {"c": 5, "d": 3}), (5, {"c": 1, "d": 3}), (1, {"d": 3})):
        history.lose(1, [f"00000000-0000-0000-0000-{lost:012d}"])
        history.run(date(2026, 1, lost), date(2026, 1, lost))
        assert shown() == expected, lost


@pytest.mark.parametrize("lab", ["duckdb"], indirect=True)
def test_alerts_do_not_depend_on_the_order_of_runs(lab: Lab) -> None:
    """What an alert looks back on may be run after it."""
    rng = random.Random(3)
    events = [
        event
        for event in conversation_events(rng, days=20, count=160)
        if event["event_name"] == "conversation_recorded"
    ]
    first, last = span(events, lab.timezone)
    history = History(lab, last, (*BASE, "alerts"))
    history.load(1, events)
    middle = first + timedelta(days=6)
    # The whole project once, then what conversations go into.
    history.run(middle, last, ())
    history.run(first, middle - DAY)
    built = lab.rows("alerts")
    history.run(first, last)
    assert_same("alerts", built, lab.rows("alerts"), ALERTS)
    looking_back = [row for row in built if row["compared_to"] is not None]
    assert {row["rule"] for row in looking_back} == {"conversion_drop", "revenue_drop"}
    assert any(middle <= row["metric_date"] < middle + 7 * DAY for row in looking_back)


# -- reference data --------------------------------------------------------------------------------


def _document(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_alert_relations_are_all_marts_that_alerts_can_read(duckdb_lab: Lab) -> None:
    """Every mart of numbers by date, but those whose past is rewritten and those of persons."""
    # Functions of the metric_date of the row, and of the retention day.
    derived = {"week_start", "cohort_date"}
    expected = {}
    for node in DbtProject(duckdb_lab.settings).manifest["nodes"].values():
        if node["resource_type"] != "model" or node["fqn"][1] != "marts":
            continue
        meta = node["config"]["meta"]
        dated, grain = meta.get("window_column"), meta["grain"]
        numbers = {
            name
            for name, column in node["columns"].items()
            if column["data_type"] in NUMBERS and name not in grain
        }
        left_out = ("rewrites_history", "since_column", "person_columns")
        if dated and numbers and not any(meta.get(reason) for reason in left_out):
            keys = [name for name in grain if name not in derived | {dated}]
            expected[node["name"]] = {"date_column": dated, "keys": keys}
    relations = _document(PROJECT_DIR / "dbt_project.yml")["vars"]["alert_relations"]
    assert relations == expected
    # What ``alerts`` reads is what it may read.
    built = DbtProject(duckdb_lab.settings).manifest["nodes"]["model.tidemark.alerts"]
    read_marts = {name.rsplit(".", 1)[1] for name in built["depends_on"]["nodes"]}
    assert read_marts == expected.keys() | {"alert_rules"}


def test_areas_may_name_what_the_macro_knows() -> None:
    """The judge of agent_areas and the SQL agree on the columns there are."""
    text = (PROJECT_DIR / "macros" / "agents.sql").read_text(encoding="utf-8")
    listed = text.split("macro agent_area_metrics()")[1].split("endmacro")[0]
    columns = _columns(PROJECT_DIR, "agent_performance", ["double precision"])
    assert re.findall(r"'(\w+)'", listed) == [n for n in columns if not n.endswith("_score")]


def test_the_rules_that_ship(duckdb_lab: Lab) -> None:
    """At least these eight."""
    rules = {
        (row["metric"], row["comparison"], float(row["threshold"]))
        for row in seed_rows(duckdb_lab.settings, "alert_rules")
    }
    assert rules >= {
        ("average_response_time_ms", "above", 30_000),
        ("satisfaction_avg", "below", 3),
        ("conversion_rate", "below_share_of_previous_date", 0.7),
        ("revenue_cents", "below_share_of_mean_of_7_dates", 0.7),
        ("delivery_success_rate", "below", 0.95),
        ("answer_rate", "below", 0.8),
        ("success_rate", "below", 0.9),
        ("coverage_rate", "below", 1),
    }


def test_what_is_rewritten_is_published_whole(duckdb_lab: Lab) -> None:
    """Readers on Postgres get conversations without their old rows, and alerts of later dates."""
    found = {mart.name: mart for mart in marts(DbtProject(duckdb_lab.settings).manifest)}
    assert found["conversations"].date_column is None
    assert (found["alerts"].date_column, found["alerts"].whole) == ("metric_date", True)

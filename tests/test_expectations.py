"""Every expectation at the two borders holds for good data, and can fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from expectations import mart_border, raw_border
from expectations.runner import Outcome, run_expectations
from expectations.suites import Expectation, Suite, SuiteError, make_suite, read_suite
from ingest import staging
from ingest.raw_suite import raw_suite
from ingest.registry import registry
from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration.dbt_project import PROJECT_DIR

RAW = read_suite(raw_border.PATH)
MARTS = read_suite(mart_border.PATH)

LAST = date(2026, 3, 31)


def good_value(expectation: Expectation) -> float:
    low = expectation.kwargs.get("min_value")
    high = expectation.kwargs.get("max_value")
    if low is not None and high is not None:
        return (float(low) + float(high)) / 2
    return float(low if low is not None else high)  # type: ignore[arg-type]


def bad_value(expectation: Expectation) -> float:
    if "max_value" in expectation.kwargs:
        return float(expectation.kwargs["max_value"]) * 1.5 + 1
    return float(expectation.kwargs["min_value"]) / 2 - 1


def frames_of(suite: Suite, *, bad: bool) -> dict[str, pd.DataFrame]:
    """Return frames whose second row is good or bad for every expectation."""
    frames: dict[str, dict[str, list[Any]]] = {}
    for expectation in suite.expectations:
        frame = frames.setdefault(expectation.frame, {"day": ["2026-03-30", "2026-03-31"]})
        value = bad_value(expectation) if bad else good_value(expectation)
        frame[expectation.column] = [good_value(expectation), value]
    return {name: pd.DataFrame(columns) for name, columns in frames.items()}


@cache
def outcomes(name: str, bad: bool) -> dict[str, Outcome]:
    suite = {"raw": RAW, "marts": MARTS}[name]
    found = run_expectations(suite.expectations, frames_of(suite, bad=bad))
    return {outcome.expectation.name: outcome for outcome in found}


ALL = [("raw", e.name) for e in RAW.expectations] + [("marts", e.name) for e in MARTS.expectations]


@pytest.mark.parametrize(("suite", "name"), ALL)
def test_expectation_passes_and_can_fail(suite: str, name: str) -> None:
    assert outcomes(suite, False)[name].passed
    failed = outcomes(suite, True)[name]
    assert failed.status == "failed"
    assert "2026-03-31" in failed.observed
    assert "2026-03-30" not in failed.observed


@pytest.mark.parametrize("suite", [RAW, MARTS], ids=["raw", "marts"])
def test_nothing_to_judge_is_an_error_not_a_pass(suite: Suite) -> None:
    empty = {e.frame: pd.DataFrame({"day": [], e.column: []}) for e in suite.expectations}
    found = run_expectations(suite.expectations, empty)
    assert len(found) == len(suite.expectations)
    assert all(outcome.status == "error" and not outcome.passed for outcome in found)
    assert all(o.status == "error" for o in run_expectations(suite.expectations, {}))


def test_missing_column_is_an_error() -> None:
    (outcome,) = run_expectations(
        MARTS.expectations[:1], {"days": pd.DataFrame({"day": ["2026-03-31"]})}
    )
    assert (outcome.status, outcome.observed) == ("error", "there is no column events_missing")


def test_expectation_that_cannot_be_judged_is_an_error() -> None:
    frame = pd.DataFrame({"day": ["2026-03-31"], MARTS.expectations[0].column: [object()]})
    (outcome,) = run_expectations(MARTS.expectations[:1], {"days": frame})
    assert outcome.status in ("error", "failed")
    assert not outcome.passed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"severity": "fatal"}, "severity is one of"),
        ({"reason": " "}, "has no reason"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_suite_that_cannot_be_used_is_refused(change: dict[str, str], words: str) -> None:
    spec = {
        "name": "a", "relation": "r", "type": "expect_column_values_to_be_between", "column": "c",
        "severity": "warn", "reason": "because", **change,
    }  # fmt: skip
    with pytest.raises(SuiteError, match=words):
        make_suite({"suite": "s", "expectations": [spec]}, "s.yml")


def test_name_that_stands_twice_is_refused() -> None:
    spec = {
        "name": "a", "relation": "r", "type": "expect_column_values_to_be_between", "column": "c",
        "severity": "warn", "reason": "because",
    }  # fmt: skip
    with pytest.raises(SuiteError, match="stands twice"):
        make_suite({"suite": "s", "expectations": [spec, spec]}, "s.yml")


# -- the raw border ------------------------------------------------------------------------------


def test_raw_suite_is_what_the_contracts_say() -> None:
    assert yaml.safe_load(raw_border.PATH.read_text()) == raw_suite(registry())


def test_severities_are_meant() -> None:
    for name in ("every_line_accounted_for", "nothing_lost", "nothing_invented"):
        assert next(e for e in RAW.expectations if e.name == name).severity == "block"
    assert all(e.severity == "block" for e in RAW.expectations if e.name.startswith("required_"))


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    opened = open_warehouse(settings)
    yield opened
    opened.close()


def store(warehouse: Warehouse, load_id: int, rows: list[dict[str, Any]], **counts: int) -> None:
    """Put rows into raw.events as a load would, whether or not the door would take them."""
    from ingest.loader import touch_partitions
    from ingest.schema import ensure_month_partitions

    at = datetime.now(UTC).replace(tzinfo=None)
    days = sorted({row["event_date"] for row in rows})
    if warehouse.target == "postgres":
        ensure_month_partitions(warehouse, sorted({f"{day:%Y-%m}" for day in days}))
    names = list(dict.fromkeys(name for row in rows for name in row))
    warehouse.insert_many("raw.events", names, [[row.get(name) for name in names] for row in rows])
    numbers = {"read": len(rows), "accepted": len(rows), "duplicates": 0, "rejected": 0, **counts}
    warehouse.insert_many(
        "ops.loads",
        ("load_id", "source", "file_name", "started_at", "finished_at", "status", *numbers),
        [[load_id, "test", "f", at, at, "loaded", *numbers.values()]],
    )
    warehouse.insert_many(
        "ops.load_dates",
        ("load_id", "event_date", "accepted"),
        [[load_id, day, sum(1 for row in rows if row["event_date"] == day)] for day in days],
    )
    touch_partitions(warehouse, load_id, at)


def row(day: date = LAST, **changes: Any) -> dict[str, Any]:
    import uuid

    return {
        "load_id": 1, "domain": "payments", "event_date": day, "event_hour": 10,
        "event_id": str(uuid.uuid4()), "event_name": "payment_succeeded",
        "occurred_at": f"{day} 10:00:00", "source": "t",
        "channel": "system", "entity_id": "p1", "provider": "stripe", "amount_cents": 100,
        "currency": "USD", **changes,
    }  # fmt: skip


def judge_raw(warehouse: Warehouse, start: date = LAST, end: date = LAST) -> dict[str, Outcome]:
    frames = raw_border.raw_frames(
        warehouse, RAW.columns, start=start, end=end, loads_through=10**9
    )
    return {o.expectation.name: o for o in run_expectations(RAW.expectations, frames)}


def not_passed(found: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in found.items() if not outcome.passed}


def test_good_events_pass_every_raw_expectation(warehouse: Warehouse) -> None:
    store(warehouse, 1, [row(), row(LAST - timedelta(days=1))])
    assert not_passed(judge_raw(warehouse, start=LAST - timedelta(days=1))) == set()


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"entity_id": None}, "required_entity_id"),
        ({"event_id": None}, "required_event_id"),
        ({"amount_cents": -5}, "range_amount_cents"),
        ({"channel": "pigeon"}, "enum_channel"),
        ({"event_name": "call_ended", "status": "asleep"}, "enum_status"),
    ],
)
def test_raw_event_against_its_contract_is_found(
    warehouse: Warehouse, changes: dict[str, Any], broken: str
) -> None:
    store(warehouse, 1, [row(), row(**changes)])
    found = judge_raw(warehouse)
    assert broken in not_passed(found)
    assert found[broken].expectation.severity == "block"


def test_identifier_that_a_person_did_not_want_stored_may_be_missing(warehouse: Warehouse) -> None:
    order = {"event_name": "order_created", "domain": "orders", "service_code": "s"}
    created = {"event_name": "content_created", "domain": "advisory", "content_type": "edu"}
    store(warehouse, 1, [row(**order, user_id=None, dnt=True), row(**created, dnt=True)])
    # The advisor is no client: nothing takes it out.
    assert not_passed(judge_raw(warehouse)) == {"required_advisor_id_hash"}


def test_hash_of_staff_that_an_event_requires_stays() -> None:
    demanded = {"reviewer_id_hash": {"required": True}, "phone_hash": {"required": True}}
    version = {"required": ["advisor_id_hash"], "status": [], "properties": demanded}
    assert staging._event_rule([version]) == {"required": ["advisor_id_hash", "reviewer_id_hash"]}


def test_loads_that_do_not_add_up_are_found(warehouse: Warehouse) -> None:
    store(warehouse, 1, [row()], read=5)
    assert "every_line_accounted_for" in not_passed(judge_raw(warehouse))


def test_lost_and_invented_events_are_found(warehouse: Warehouse) -> None:
    before = LAST - timedelta(days=1)
    store(warehouse, 1, [row(), row(), row(before), row(before)])
    warehouse.execute("update ops.load_dates set accepted = 3")
    # Of a person who was erased no day before the first event is short.
    warehouse.execute(
        "insert into ops.erasures (request_id, identifier_hash, requested_at, first_event_date) "
        "values ('r', 'h', timestamp '2026-04-01', ?), ('nobody', 'h', "
        "timestamp '2026-04-01', null)",
        [LAST],
    )
    found = judge_raw(warehouse, start=before)
    assert not_passed(found) == {"nothing_lost"}
    assert "2026-03-30" in found["nothing_lost"].observed
    assert "2026-03-31" not in found["nothing_lost"].observed
    warehouse.execute("update ops.load_dates set accepted = 1")
    assert not_passed(judge_raw(warehouse)) == {"nothing_invented"}


def test_events_that_retention_removed_are_not_lost(warehouse: Warehouse) -> None:
    store(warehouse, 1, [row()])
    warehouse.execute("delete from raw.events")
    assert not_passed(judge_raw(warehouse)) == set()


def test_shares_of_rejects_and_duplicates_are_judged(warehouse: Warehouse) -> None:
    store(warehouse, 1, [row()], read=10, rejected=3, duplicates=6)
    assert not_passed(judge_raw(warehouse)) == {"few_rejected", "few_duplicates"}


def test_empty_and_implausible_days_are_told(warehouse: Warehouse) -> None:
    days = [LAST - timedelta(days=n) for n in range(2, 12)]
    store(warehouse, 1, [row(day) for day in days for _ in range(3)] + [row() for _ in range(40)])
    found = judge_raw(warehouse, start=LAST - timedelta(days=1))
    assert not_passed(found) == {"a_day_has_events", "volume_as_usual"}
    assert "2026-03-30" in found["a_day_has_events"].observed
    assert "2026-03-31" in found["volume_as_usual"].observed


def test_day_between_events_is_judged_by_the_newest_load(warehouse: Warehouse) -> None:
    store(warehouse, 1, [row(LAST - timedelta(days=2)), row()], read=2)
    gap = LAST - timedelta(days=1)
    found = judge_raw(warehouse, start=gap, end=gap)
    # There is something to judge: the load has both neighbours, and the day itself is empty.
    assert "a_day_has_events" in not_passed(found)


# -- the mart border -----------------------------------------------------------------------------


def test_every_relation_of_the_mart_suite_exists() -> None:
    models = {path.stem for path in (PROJECT_DIR / "models" / "marts").rglob("*.sql")}
    wanted = {e.relation for e in MARTS.expectations} | {
        spec["relation"] for spec in MARTS.columns.values()
    }
    assert wanted <= models


def test_every_metric_is_judged_or_used() -> None:
    judged = {e.column.removesuffix("_vs_usual") for e in MARTS.expectations}
    used = {spec.get("counted_by") for spec in MARTS.columns.values()}
    assert set(MARTS.columns) <= judged | used | {"events", "monthly_users", "active_users"}


METRICS = {
    "events": {"relation": "activity", "value": "sum(events)"},
    "cents": {"relation": "activity", "value": "sum(cents)", "counted_by": "events"},
    "rate": {"relation": "activity", "value": "max(rate)"},
}


@pytest.fixture
def activity(warehouse: Warehouse) -> Warehouse:
    warehouse.execute("create schema if not exists marts")
    warehouse.execute(
        "create table marts.activity (metric_date date, events bigint, cents bigint, "
        "rate double precision)"
    )
    days = [LAST - timedelta(days=n) for n in range(1, 29)]
    # Mondays to Fridays 100 events, weekends 10.
    warehouse.insert_many(
        "marts.activity",
        ("metric_date", "events", "cents", "rate"),
        [[d, 100 if d.weekday() < 5 else 10, 5000, 0.5] for d in days],
    )
    return warehouse


def day_of(warehouse: Warehouse, day: date = LAST) -> dict[str, Any]:
    frames = mart_border.mart_frames(
        warehouse, METRICS, "marts", start=day, end=day, loads_through=10**9
    )
    (found,) = frames["days"].to_dict("records")
    return {str(name): value for name, value in found.items()}


def test_a_day_is_compared_with_the_same_weekdays(activity: Warehouse) -> None:
    activity.insert_many(
        "marts.activity", ("metric_date", "events", "cents", "rate"), [[LAST, 50, 500, 0.4]]
    )
    found = day_of(activity)
    assert found["events_vs_usual"] == pytest.approx(0.5)
    assert found["cents_vs_usual"] == pytest.approx(0.1)
    assert found["rate"] == pytest.approx(0.4)


def test_a_day_without_rows_counts_nothing_and_is_judged(activity: Warehouse) -> None:
    found = day_of(activity)
    assert found["events"] == 0
    assert found["events_vs_usual"] == 0
    assert pd.isna(found["rate"])


def test_small_numbers_are_not_compared(activity: Warehouse) -> None:
    sunday = LAST - timedelta(days=2)
    assert sunday.weekday() == 6
    found = day_of(activity, sunday)
    assert pd.isna(found["events_vs_usual"])
    assert pd.isna(found["cents_vs_usual"])


def test_without_history_nothing_is_usual(activity: Warehouse) -> None:
    found = day_of(activity, LAST - timedelta(days=27))
    assert pd.isna(found["events_vs_usual"])


def test_events_between_the_door_and_the_marts_are_missed(activity: Warehouse) -> None:
    store(activity, 1, [row(), row()])
    assert day_of(activity)["events_missing"] == 2


def test_suites_are_read_from_the_package() -> None:
    assert {path.name for path in Path(raw_border.PATH).parent.glob("*.yml")} == {
        "raw_events.yml",
        "mart_border.yml",
    }

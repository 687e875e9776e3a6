"""Retention: raw events go after 90 days, rows after two years, and no figure notices."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.settings import Settings
from ingest.simulator import simulate
from ingest.warehouse import RUN_LOCK, Warehouse, WarehouseBusy, open_warehouse
from orchestration import ledger, removal_jobs, retention, retention_shown, runs
from orchestration.cli import retention as cli_retention
from orchestration.cli.dbt import pass_through
from orchestration.dbt_project import DbtProject
from orchestration.definitions import build_definitions
from orchestration.identity import revoke
from orchestration.relations import Relation, relations
from orchestration.retention import Retention, retain
from orchestration.status import render, status
from tests.command_line import assert_one_line_error, tidemark
from tests.events import deliver, event, query
from tests.test_laws import World, assert_equal_marts, worlds
from tests.test_orchestration import project, short_suite
from tests.test_publication import readers_view
from tests.test_schedules import book, other_job
from tests.tiny_project import write_project

__all__ = ["project", "short_suite", "worlds"]

#: Twice 90 days are what the longest trend looks at, and some more.
DAYS = 200
LAST = date(2026, 3, 31)

KEPT = """what,kept_days
raw_events,90
quarantine,90
loads,365
runs,365
check_results,365
metrics_hourly_*,730
int_user_days,730
daily_users,
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project, with what retention needs to know."""
    folder = write_project(tmp_path_factory.mktemp("kept"))
    (folder / "seeds" / "retention.csv").write_text(KEPT, encoding="utf-8")
    # A mart that may rewrite any date is compared whole: what went must not look restated.
    marts = folder / "models" / "marts" / "marts.yml"
    plain = "grain: [metric_date, hour, channel]"
    assert plain in marts.read_text(encoding="utf-8")
    text = marts.read_text(encoding="utf-8").replace(plain, f"{plain}, rewrites_history: true")
    marts.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _of_the_tiny_project(request: pytest.FixtureRequest) -> None:
    """Only worlds are of the real project."""
    if "worlds" not in request.fixturenames:
        request.getfixturevalue("project")


def load(settings: Settings, *days: str, **changes: Any) -> list[dict[str, Any]]:
    """Load one file with one event on each of some dates, and return the events."""
    events = [
        event(occurred_at=f"{day}T10:00:00Z", user_id=f"u{day[-2:]}", **changes) for day in days
    ]
    deliver(settings, events, accepted=len(events))
    return events


def execute(settings: Settings, *statements: str) -> None:
    with open_warehouse(settings) as warehouse:
        for statement in statements:
            warehouse.execute(statement)


def value(settings: Settings, sql: str) -> Any:
    with open_warehouse(settings) as warehouse:
        return warehouse.value(sql)


def stale(settings: Settings) -> list[str]:
    sql = "select partition_date from ops.partition_state where stale order by 1"
    return [str(row["partition_date"]) for row in query(settings, sql)]


def removed(done: Retention) -> dict[str, int]:
    return {removal.relation: removal.rows for removal in done.removals if removal.rows}


def less(done: Retention, relation: str) -> str | None:
    (found,) = (removal.less for removal in done.removals if removal.relation == relation)
    return found


def published(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Return what readers see: columns by name, so that loads in another order do not matter."""
    return {
        name: readers_view(settings, f"select * from marts.{name} order by 1, 2")
        for name in ("metrics_hourly_activity", "daily_users", "first_seen")
    }


def whole(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return every mart and intermediate table of the private warehouse."""
    marts = "marts" if settings.target == "duckdb" else "build"
    tables = [f"{marts}.{name}" for name in ("metrics_hourly_activity", "daily_users")]
    found = {t: query(settings, f"select * from {t} order by 1, 2") for t in tables}
    days = "select * from intermediate.int_user_days order by 1, 2"
    return {**found, "int_user_days": query(settings, days)}


def run(settings: Settings, **options: Any) -> runs.RunSummary:
    summary = runs.run(settings, **options)
    assert summary.status == "succeeded", summary.error
    return summary


#: 90 days after 2026-02-19: whole months on Postgres.
AS_OF = date(2026, 5, 20)
HORIZON = {"duckdb": date(2026, 2, 19), "postgres": date(2026, 2, 1)}


# -- raw events and closed dates -----------------------------------------------------------------


def test_raw_events_go_and_nothing_that_was_published_changes(
    settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    events = load(settings, "2026-01-05", "2026-02-10", "2026-02-27", "2026-03-20", "2026-03-31")
    run(settings)
    before, tables = published(settings), whole(settings)
    horizon = HORIZON[settings.target]
    gone = sum(date.fromisoformat(e["occurred_at"][:10]) < horizon for e in events)
    assert gone == {"duckdb": 2, "postgres": 1}[settings.target]

    dry = retain(settings, dry_run=True, as_of=AS_OF)
    assert removed(dry) == {"raw.events": gone}
    assert dry.closed_before is None
    assert value(settings, "select count(*) from raw.events") == len(events)
    assert value(settings, "select count(*) from ops.retentions") == 0

    done = retain(settings, dry_run=False, as_of=AS_OF)
    assert done.removals == dry.removals
    assert done.closed_before == horizon
    assert value(settings, "select min(event_date) from raw.events") >= horizon
    if settings.target == "postgres":
        months = "select relname from pg_class where relname like 'events_2026_%' and relkind = 'r'"
        names = {row["relname"] for row in query(settings, months)}
        assert names == {"events_2026_02", "events_2026_03"}
    assert (published(settings), whole(settings)) == (before, tables)
    assert stale(settings) == []
    assert runs.run(settings).status == "nothing"
    receipt = query(
        settings, "select relation, kept_days, removed_before, rows from ops.retentions"
    )
    assert receipt == [
        {"relation": "raw.events", "kept_days": 90, "removed_before": horizon, "rows": gone}
    ]

    # A second call finds nothing and leaves no receipt.
    assert removed(retain(settings, dry_run=False, as_of=AS_OF)) == {}
    assert value(settings, "select count(*) from ops.retentions") == 1

    # The event of a removed date is known, a new one is too late and changes nothing.
    deliver(settings, events[:1], accepted=0)
    load(settings, "2026-01-05", "2025-12-24")
    assert stale(settings) == []
    assert runs.run(settings).status == "nothing"
    shown = "\n".join(render(status(settings)))
    assert f"dates before {horizon} are closed, too late: 2 events for closed dates" in shown
    assert status(settings)["retention"]["too_late"] == 2

    # What comes for open dates is run, and equals a warehouse that never forgot.
    later = load(settings, "2026-02-25", "2026-04-02")
    summary = run(settings)
    assert summary.plan is not None
    assert (str(summary.plan.window.start), summary.plan.full_refresh) == ("2026-02-25", False)
    assert str(summary.plan.window.prepare_start) == "2026-02-25"
    # The date that was published before tells why it changed; what came too late is no reason.
    causes = query(settings, "select distinct cause from ops.restatements")
    assert {row["cause"] for row in causes} == {"load 4"}
    assert removed(retain(settings, dry_run=False, as_of=AS_OF)) == {"raw.events": 2}
    assert stale(settings) == []
    twin = _twin(request, settings, tmp_path)
    deliver(twin, [*events, *later], accepted=7)
    run(twin)
    assert whole(settings) == whole(twin)
    assert published(settings) == published(twin)


def _twin(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    changes: dict[str, Any] = {"home": tmp_path / "twin"}
    if settings.target == "postgres":
        changes["postgres_url"] = request.getfixturevalue("new_postgres")()
    return replace(settings, **changes)


def test_closed_dates_cannot_be_run_again(
    settings: Settings, in_zone: Callable[[Settings, str], Settings]
) -> None:
    link = load(settings, "2026-01-05", event_name="user_identified", anonymous_id="a1",
                entity_id=None, provider=None, amount_cents=None, currency=None,
                properties={})[0]  # fmt: skip
    load(settings, "2026-01-06", "2026-02-27", "2026-03-31")
    book(settings)
    retain_quietly(settings)
    first = HORIZON[settings.target]
    ledger_before = query(settings, "select * from ops.partitions order by 1")

    def refused(words: str, act: Callable[[], Any]) -> None:
        with pytest.raises(UserError, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)

    def plan(**options: Any) -> ledger.RunPlan | None:
        warehouse = open_warehouse(settings)
        try:
            return ledger.plan_run(warehouse, **options)
        finally:
            warehouse.close()

    last_closed = first - timedelta(days=1)
    refused(f"--start {last_closed} .* first date that can be run is {first}",
            lambda: plan(start=last_closed))  # fmt: skip
    refused(f"--end {last_closed}", lambda: plan(end=last_closed))
    refused(f"up to {last_closed}: their raw events were removed on .*; run --start {first}",
            lambda: runs.run(settings, full_refresh=True))  # fmt: skip
    refused(f"time zone cannot become Asia/Tokyo: raw events of dates before {first}",
            lambda: retain_quietly(in_zone(settings, "Asia/Tokyo")))  # fmt: skip
    refused("could empty dates up to",
            lambda: pass_through(settings, ["build"], notify=print))  # fmt: skip

    def mark() -> None:
        warehouse = open_warehouse(settings)
        try:
            ledger.mark_stale(warehouse, last_closed)
        finally:
            warehouse.close()

    refused(f"{last_closed} cannot be run again", mark)
    refused("there is no user_identified event|raw events of",
            lambda: revoke(settings, link["event_id"], reason="wrong"))  # fmt: skip
    # One that came too late has its raw event, and is of no use either.
    late = {**link, "event_id": "5a8f0c9e-3d1b-4c57-9a52-0d6f1f0e7b11"}
    deliver(settings, [late], accepted=1)
    refused("of 2026-01-05 cannot be taken back",
            lambda: revoke(settings, late["event_id"], reason="wrong"))  # fmt: skip
    assert value(settings, "select business_timezone from ops.warehouse") == "UTC"
    execute(settings, "update ops.partitions set last_event_load_id = 1, last_event_load_at = "
            "(select finished_at from ops.loads where load_id = 1) "
            "where partition_date = '2026-01-05'")  # fmt: skip
    assert query(settings, "select * from ops.partitions order by 1") == ledger_before

    # Without dates, or with an end alone, a range begins where it can.
    made = plan(end=date(2026, 4, 2))
    assert made is not None
    assert (made.window.start, made.window.prepare_start) == (first, first)
    assert not made.full_refresh


def retain_quietly(settings: Settings, as_of: date = AS_OF) -> Retention:
    """Retain with the real project's reference data, parsed once."""
    return retain(settings, dry_run=False, as_of=as_of)


def test_dates_without_events_after_closed_ones_are_stale_when_they_lie_between_events(
    duckdb_settings: Settings,
) -> None:
    load(duckdb_settings, "2026-01-05", "2026-01-07")
    book(duckdb_settings)
    done = retain_quietly(duckdb_settings)
    # Not the dates that were never run: only what has a row in the ledger.
    assert done.closed_before == date(2026, 1, 8)
    load(duckdb_settings, "2026-01-11")
    days = ["2026-01-08", "2026-01-09", "2026-01-10", "2026-01-11"]
    assert stale(duckdb_settings) == days
    warehouse = open_warehouse(duckdb_settings)
    plan = ledger.plan_run(warehouse)
    warehouse.close()
    assert plan is not None
    assert (str(plan.window.start), str(plan.window.prepare_start)) == (days[0], days[0])
    assert not plan.full_refresh


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("run_loads_through = 0", "2026-02-03 is stale"),
        ("prepared_loads_through = 0", "2026-02-03 waits for the next run, which leaves out who"),
        ("checked = false", "2026-02-03 was not checked"),
        ("published_run_id = 'another'", "2026-02-03 was not published"),
    ],
)
def test_raw_events_wait_for_every_date_that_needs_them(
    settings: Settings, change: str, words: str
) -> None:
    load(settings, "2026-01-05", "2026-02-03", "2026-03-31")
    book(settings)
    execute(settings, f"update ops.partitions set {change} where partition_date = '2026-02-03'")
    done = retain_quietly(settings, date(2026, 6, 1))
    assert removed(done) == {"raw.events": 1}
    held = less(done, "raw.events")
    assert held is not None and words in held
    assert done.closed_before == date(2026, 2, 1 if settings.target == "postgres" else 3)
    kept = query(settings, "select event_date from raw.events order by 1")
    assert [str(row["event_date"]) for row in kept] == ["2026-02-03", "2026-03-31"]
    # As soon as nothing needs them they go.
    execute(settings, "update ops.partitions set run_loads_through = 9, checked = true, "
            "prepared_loads_through = 9, published_run_id = last_run_id")  # fmt: skip
    assert removed(retain_quietly(settings, date(2026, 6, 1))) == {"raw.events": 1}


def test_dates_that_were_never_run_keep_everything(duckdb_settings: Settings) -> None:
    load(duckdb_settings, "2026-01-05", "2026-01-06")
    done = retain_quietly(duckdb_settings)
    assert done.rows == 0
    assert less(done, "raw.events") == "held back: 2026-01-05 is stale; run 'tidemark run'"
    assert done.closed_before is None


# -- rows of marts and of what they are made of --------------------------------------------------

OLD = ("2023-01-10", "2024-03-30")


def test_old_rows_go_from_everywhere_and_come_back_nowhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(settings, *OLD, "2024-03-31", "2026-03-31")
    run(settings)
    first_seen, users = published(settings)["first_seen"], published(settings)["daily_users"]
    dry = retain(settings, dry_run=True, as_of=AS_OF)
    expected = {
        "raw.events": 3,
        "marts.metrics_hourly_activity": 2,
        "intermediate.int_user_days": 2,
    }
    assert removed(dry) == expected

    if settings.target == "duckdb":
        # Killed between the removal and what readers see of it.
        with monkeypatch.context() as patch:
            patch.setattr(runs, "publish_now", _killed)
            with pytest.raises(KeyboardInterrupt):
                retain(settings, dry_run=False, as_of=AS_OF)
        assert len(published(settings)["metrics_hourly_activity"]) == 4
        done = retain(settings, dry_run=False, as_of=AS_OF)
        assert removed(done) == {}
        assert done.publication == 2
        assert retain(settings, dry_run=False, as_of=AS_OF).publication is None
    else:
        assert removed(retain(settings, dry_run=False, as_of=AS_OF)) == expected
    kept = [date(2024, 3, 31), date(2026, 3, 31)]
    for rows in (published(settings)["metrics_hourly_activity"],):
        assert [row[0] for row in rows] == kept
    tables = whole(settings)
    assert [row["activity_date"] for row in tables["int_user_days"]] == kept
    # What is kept for good, or has no date, is as it was.
    assert published(settings)["first_seen"] == first_seen
    assert published(settings)["daily_users"] == users
    assert value(settings, "select count(*) from ops.restatements") == 0

    # A run of everything that can be run, and a publication of it, bring nothing back.
    load(settings, "2026-04-01")
    run(settings)
    rows = published(settings)["metrics_hourly_activity"]
    assert [row[0] for row in rows] == [*kept, date(2026, 4, 1)]
    assert value(settings, "select count(*) from ops.restatements "
                 "where relation = 'metrics_hourly_activity'") == 0  # fmt: skip


def _killed(_: Any) -> None:
    raise KeyboardInterrupt


def test_a_gate_that_is_closed_leaves_readers_the_old_file_and_says_so(
    duckdb_settings: Settings,
) -> None:
    settings = duckdb_settings
    load(settings, OLD[0], "2026-03-30", "2026-03-31")
    run(settings)
    # Restatements of what goes tell of it, and go too.
    execute(settings, "insert into ops.restatements (publication_id, relation, metric_date, key, "
            '"column") select 1, relation, cast(day as date), \'k\', \'*\' from (values '
            "('metrics_hourly_activity', '2023-01-10'), ('metrics_hourly_activity', '2026-03-30'),"
            " ('daily_users', '2023-01-10')) as made (relation, day)")  # fmt: skip
    load(settings, "2026-03-31")
    done = retain(settings, dry_run=False, as_of=date(2026, 11, 1))
    assert less(done, "raw.events") == "held back: 2026-03-31 is stale; run 'tidemark run'"
    assert removed(done) == {
        "raw.events": 2, "marts.metrics_hourly_activity": 1, "intermediate.int_user_days": 1,
        "ops.restatements": 1,
    }  # fmt: skip
    assert done.not_published is not None and "1 dates" in done.not_published
    assert len(published(settings)["metrics_hourly_activity"]) == 3
    # The mart is compared whole with what readers had: what retention took is no restatement.
    run(settings)
    assert [row[0].year for row in published(settings)["metrics_hourly_activity"]] == [2026, 2026]
    found = query(settings, "select relation, metric_date from ops.restatements "
                  "where metric_date < '2026-01-01'")  # fmt: skip
    assert [row["relation"] for row in found] == ["daily_users"]


def test_rows_that_an_open_date_may_need_stay(duckdb_settings: Settings) -> None:
    execute(duckdb_settings, "create schema marts", "create table marts.sessions (day date)")
    table = Relation("", "sessions", "marts", "marts", "incremental", "day", (), False, "", ())
    warehouse = open_warehouse(duckdb_settings)
    newest, opened = date(2026, 3, 31), date(2024, 2, 1)
    held = retention._table_part(warehouse, table, 730, newest, opened)
    assert held is not None
    assert held.removal.less == f"held back: {opened} can be run again and looks back on it"
    assert held.removal.removed_before == opened - retention.LOOK_BACK
    free = retention._table_part(warehouse, table, 730, newest, date(2026, 1, 1))
    assert free is not None
    assert (free.removal.less, free.removal.removed_before) == (None, date(2024, 3, 31))
    warehouse.close()


def test_of_keys_and_chats_the_latest_row_before_the_open_dates_stays(settings: Settings) -> None:
    old, closed, opened = "2023-01-01", "2026-01-01", "2026-03-01"
    execute(
        settings,
        "create schema if not exists intermediate",
        "create table intermediate.int_session_days (row_name varchar, user_key varchar, "
        "channel varchar, user_key_type varchar, session_id varchar, event_date date)",
        "insert into intermediate.int_session_days values "
        f"('followed', 'u1', 'web', 'user_id', 's1', '{old}'),"
        f"('follows', 'u1', 'web', 'user_id', 's2', '{closed}'),"
        f"('other channel', 'u1', 'app', 'user_id', 's3', '{old}'),"
        f"('other type', 'u1', 'web', 'anonymous_id', 's4', '{old}'),"
        # A run of the open date writes it anew, and goes on from the one before.
        f"('followed by open', 'u2', 'web', 'user_id', 's5', '{old}'),"
        f"('open', 'u2', 'web', 'user_id', 's6', '{opened}'),"
        f"('goes on', 'u3', 'web', 'user_id', 's7', '{old}'),"
        f"('gone on', 'u3', 'web', 'user_id', 's7', '{closed}')",
        "create table intermediate.int_session_conversions as select row_name, session_id, "
        "event_date from intermediate.int_session_days",
        "create table intermediate.int_chat_events (row_name varchar, chat_id varchar, "
        "is_last_of_date boolean, event_date date)",
        "insert into intermediate.int_chat_events values "
        f"('answered', 'c1', false, '{old}'), ('left', 'c1', true, '{old}'),"
        f"('open', 'c1', true, '{opened}'), ('followed', 'c2', true, '{old}'),"
        f"('no state', 'c3', false, '{closed}'), ('last', 'c3', true, '{old}'),"
        f"('follows', 'c2', true, '{closed}')",
    )
    found = {}
    warehouse = open_warehouse(settings)
    for name in retention.ONLY_IF:
        table = Relation("", name, "intermediate", "intermediate", "incremental", "event_date",
                         (), False, "", ())  # fmt: skip
        part = retention._table_part(warehouse, table, 730, date(2026, 4, 1), date(2026, 2, 1))
        assert part is not None
        retention._delete(warehouse, part)
        rows = warehouse.execute(f"select row_name from intermediate.{name}")
        found[name] = {row[0] for row in rows}
    warehouse.close()
    assert found["int_session_days"] == {
        "follows", "other channel", "other type", "followed by open", "open", "goes on", "gone on",
    }  # fmt: skip
    assert found["int_session_conversions"] == {"follows", "open", "goes on", "gone on"}
    assert found["int_chat_events"] == {"left", "open", "no state", "last", "follows"}


# -- the books -----------------------------------------------------------------------------------


def test_books_go_by_the_calendar_and_numbers_go_on(settings: Settings) -> None:
    load(settings, "2024-01-05", properties={"order_id": "o1", "novelty": 1})
    load(settings, "2024-01-06", "2024-01-08")
    load(settings, "2024-01-07")
    for _ in range(2):
        run_id = book(settings, date(2024, 1, 5), date(2024, 1, 8))
        warehouse = open_warehouse(settings)
        record = ledger.CheckRecord("r", "c", "passed", "block", "fine")
        ledger.record_checks(warehouse, run_id, [record])
        warehouse.close()
    reject = ("insert into ops.rejected_events (rejection_id, load_id, reason_code, rejected_at) "
              "values ({0}, 1, 'bad_json', timestamp '{1}')")  # fmt: skip
    long_ago = "timestamp '2024-02-01 00:00:00'"
    execute(
        settings,
        f"update ops.loads set finished_at = {long_ago}",
        f"update ops.etl_job_runs set started_at = {long_ago}",
        "update ops.etl_job_runs set started_at = started_at + interval '1 hour' "
        f"where run_id = '{run_id}'",
        f"update ops.check_results set checked_at = {long_ago}",
        f"update ops.check_results set checked_at = {long_ago} + interval '1 hour' "
        f"where run_id = '{run_id}'",
        reject.format(1, "2026-02-18 23:59:59"),
        reject.format(2, "2026-02-19 00:00:00"),
    )
    done = retain_quietly(settings)
    assert removed(done) == {
        "raw.events": 4, "ops.rejected_events": 1, "ops.unknown_properties": 1,
        "ops.load_dates": 3, "ops.loads": 2, "ops.etl_job_runs": 1, "ops.check_results": 1,
    }  # fmt: skip
    assert [row["load_id"] for row in query(settings, "select load_id from ops.loads")] == [3]
    assert query(settings, "select run_id from ops.etl_job_runs") == [{"run_id": run_id}]
    assert query(settings, "select run_id from ops.check_results") == [{"run_id": run_id}]
    (left,) = query(settings, "select rejection_id from ops.rejected_events")
    assert left == {"rejection_id": 2}
    load(settings, "2026-04-01")
    assert value(settings, "select max(load_id) from ops.loads") == 4
    # A file whose load is forgotten brings nothing new: its events are not.
    (first,) = sorted((settings.home / "in").iterdir(), key=lambda path: path.stat().st_mtime_ns)[
        :1
    ]
    (again,) = ingest_paths([first], settings=settings)
    assert (again.status, again.accepted, again.duplicates) == ("loaded", 0, 1)


def test_a_load_stays_while_its_events_do(duckdb_settings: Settings) -> None:
    load(duckdb_settings, "2024-01-05")
    load(duckdb_settings, "2024-01-06")
    execute(duckdb_settings, "update ops.loads set finished_at = timestamp '2024-02-01 00:00:00'")
    done = retain_quietly(duckdb_settings)
    assert done.rows == 0
    assert less(done, "ops.loads") == "loads with events of 2024-01-05 or later stay"


# -- all or nothing, one at a time ---------------------------------------------------------------


def test_cut_off_in_the_middle_it_removed_nothing_and_a_repeat_removes_everything(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(settings, OLD[0], "2026-03-31")
    book(settings)
    marts = "marts" if settings.target == "duckdb" else "build"
    execute(
        settings,
        *(f"create schema if not exists {schema}" for schema in {marts, "marts", "intermediate"}),
        f"create table {marts}.metrics_hourly_activity as select date '{OLD[0]}' as metric_date",
        "create table if not exists marts.metrics_hourly_activity as "
        f"select * from {marts}.metrics_hourly_activity",
        f"create table intermediate.int_user_days as select date '{OLD[0]}' as activity_date",
    )
    tables = ["raw.events", "ops.partition_state", "intermediate.int_user_days",
              "marts.metrics_hourly_activity", f"{marts}.metrics_hourly_activity"]  # fmt: skip

    def state() -> list[int]:
        books = ["ops.retentions", "ops.closed_dates"]
        return [value(settings, f"select count(*) from {name}") for name in (*tables, *books)]

    before = state()
    deleted: list[str] = []
    delete = retention._delete

    def killed_at_the_last(warehouse: Warehouse, part: retention.Part) -> None:
        delete(warehouse, part)
        deleted.append(part.removal.relation)
        if part.removal.relation == "raw.events":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(retention, "_delete", killed_at_the_last)
        retain(settings, dry_run=False, as_of=AS_OF)
    # What locks readers out comes last.
    assert deleted[-1] == "raw.events" and len(deleted) == 3
    assert state() == before
    assert set(removed(retain(settings, dry_run=False, as_of=AS_OF))) == set(deleted)
    assert state() == [1, before[1], 0, 0, 0, 3, 1]


def test_it_waits_for_runs_and_for_readers_of_raw_events(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(postgres_settings, "2026-01-05", "2026-03-31")
    book(postgres_settings)
    assert postgres_settings.postgres_url is not None
    with psycopg.connect(postgres_settings.postgres_url) as other:
        other.execute("select pg_advisory_lock(%s)", [RUN_LOCK])
        for dry_run in (True, False):
            with pytest.raises(WarehouseBusy, match="another run"):
                retain(postgres_settings, dry_run=dry_run, as_of=AS_OF, wait_seconds=0.1)
    monkeypatch.setattr(retention, "LOCK_SECONDS", "0.2")
    with psycopg.connect(postgres_settings.postgres_url) as reader:
        reader.execute("select count(*) from raw.events")
        with pytest.raises(WarehouseBusy, match="nothing was removed"):
            retain_quietly(postgres_settings)
    assert value(postgres_settings, "select count(*) from ops.retentions") == 0
    assert removed(retain_quietly(postgres_settings)) == {"raw.events": 1}


# -- as a person, and as the daemon, calls it ----------------------------------------------------


def test_the_command_says_what_goes_and_what_does_not(duckdb_settings: Settings) -> None:
    settings = duckdb_settings
    tomorrow = datetime.now(UTC).date() + timedelta(days=2)
    assert_one_line_error(tidemark(settings, "retention", "--as-of", str(tomorrow)), "the future")
    with pytest.raises(UserError, match=r"--as-of '31.3.2026' is no date; write it as 2026-03-31"):
        cli_retention.retention(as_of="31.3.2026")
    load(settings, "2026-01-05", "2026-03-31")
    book(settings)
    dry = tidemark(settings, "retention", "--dry-run", "--as-of", str(AS_OF))
    assert dry.returncode == 0, dry.stderr
    (row,) = (line.split() for line in dry.stdout.splitlines() if line.startswith("raw.events"))
    assert row == ["raw.events", "90", "2026-02-19", "1"]
    assert "1 rows would go; nothing was removed" in dry.stdout
    made = tidemark(settings, "retention", "--quiet", "--json", "--as-of", str(AS_OF))
    found = json.loads(made.stdout)
    assert (found["rows"], found["dry_run"], found["closed_before"]) == (1, False, "2026-02-19")
    assert found["removals"][0]["relation"] == "raw.events"
    refused = tidemark(settings, "run", "--full-refresh")
    assert_one_line_error(refused, "up to 2026-02-18", "run --start 2026-02-19")


def test_what_is_said_of_a_removal() -> None:
    late = "held back: 2026-02-01 is stale; run 'tidemark run'"
    removals = (
        retention.Removal("raw.events", 90, date(2026, 2, 1), 1200, late),
        retention.Removal("ops.loads", 365, date(2025, 5, 20), 0),
    )
    done = Retention(AS_OF, False, removals, date(2026, 2, 1), 7)
    assert retention_shown.lines(done) == [
        "relation    days kept  before       rows",
        f"raw.events         90  2026-02-01  1,200  {late}",
        "1,200 rows removed",
        "dates before 2026-02-01 are closed: they stay as they are",
        "publication 7 shows readers what is left",
    ]
    nothing = Retention(AS_OF, False, removals[1:], None, not_published="not published: stale")
    assert retention_shown.lines(nothing) == [
        "nothing is too old on 2026-05-20",
        "readers keep the old file until the next publication: not published: stale",
    ]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def test_the_daemon_removes_once_a_day_and_says_why_when_it_does_not(
    duckdb_settings: Settings, instance: dg.DagsterInstance
) -> None:
    settings = duckdb_settings
    definitions = build_definitions(settings)
    schedule = definitions.resolve_schedule_def("retention_daily")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "retention"
    at = datetime(2026, 5, 20, 4, 20, tzinfo=UTC)

    def tick() -> Any:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        (found,) = schedule(context)  # type: ignore[misc]
        return found

    assert "no warehouse" in tick().skip_message
    load(settings, "2026-01-05", "2026-01-06")
    book(settings)
    assert tick().run_key == "retention 2026-05-20"
    held = open_warehouse(settings)
    try:
        # DuckDB lets one process hold the file, and one connection of another kind in a process.
        busy = _tick_of_another_process(settings)
    finally:
        held.close()
    assert "the warehouse is in use" in busy
    job = definitions.resolve_job_def(removal_jobs.RETENTION)
    dry = {"ops": {"remove_what_is_too_old": {"config": {"dry_run": True}}}}
    assert job.execute_in_process(instance=instance, run_config=dry).success
    assert value(settings, "select count(*) from raw.events") > 0
    result = job.execute_in_process(instance=instance)
    assert result.success
    assert value(settings, "select count(*) from raw.events") == 0
    instance.create_run_for_job(other_job, status=dg.DagsterRunStatus.STARTED)
    assert "a run is going on" in tick().skip_message


def _tick_of_another_process(settings: Settings) -> str:
    import subprocess
    import sys

    from tests.command_line import environment

    code = (
        "import dagster as dg; from datetime import datetime, UTC;"
        "from ingest.settings import load_settings; from orchestration import removal_jobs as r;"
        "s = load_settings(); schedule = r.schedule(s, r.retention(s));"
        "context = dg.build_schedule_context(instance=dg.DagsterInstance.local_temp(),"
        "scheduled_execution_time=datetime(2026, 5, 20, tzinfo=UTC));"
        "print(next(iter(schedule(context))).skip_message)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(settings), check=True,
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout


# -- the real project ----------------------------------------------------------------------------


def changes_of_90_days(marts: dict[str, list[dict[str, Any]]], day: date) -> list[float | None]:
    """Return those of a date, one an advisor."""
    rows = [row for row in marts["advisor_health_trends"] if row["as_of_date"] == day]
    return [row["change_90d"] for row in rows]


def files_of(folder: Path, through: date) -> tuple[list[Path], list[Path]]:
    """Return the files that came in up to a date, and later ones."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    later = [path for path in files if str(through) < path.name.split(".")[0][-10:]]
    return [path for path in files if path not in later], later


def new_ids(folder: Path) -> None:
    """Give the events of a folder other ids, so that another history may hold them too."""
    for path in folder.rglob("*.ndjson"):
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for one in events:
            one["event_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, one["event_id"]))
        path.write_text("\n".join(map(json.dumps, events)), encoding="utf-8")


@pytest.mark.parametrize("target", ["duckdb"])
def test_dates_after_retention_equal_those_of_a_twin_that_forgets_nothing(
    worlds: dict[str, World], target: str, tmp_path: Path
) -> None:
    world = worlds[target]
    world.reset()
    # The same people come back after two years: their sessions are counted on, their chats go on.
    early = LAST - timedelta(days=760)
    made = simulate(days=8, size=900, seed=5, out=tmp_path / "early", end=early)
    new_ids(made.events_folder)
    ingest_paths([made.events_folder], settings=world.settings)
    assert world.run()
    made = simulate(days=DAYS, size=8_000, seed=5, out=tmp_path / "made", end=LAST)
    split = LAST - timedelta(days=2)
    files, later = files_of(made.events_folder, split)
    assert later
    ingest_paths(files, settings=world.settings)
    assert world.run(LAST - timedelta(days=DAYS), split)
    before = world.marts()
    # The dates between, on which nothing happened, would only take time.
    through = world.state("select max(load_id) from ops.loads")
    execute(world.settings, f"update ops.partitions set run_loads_through = {through}, "
            f"prepared_loads_through = {through}, last_run_id = 'run', checked = true, "
            f"published_run_id = 'run', published_loads_through = {through}")  # fmt: skip
    twin = World(replace(world.settings, home=tmp_path / "twin"), tmp_path, seeded=True)
    twin.settings.home.mkdir()
    shutil.copy(world.settings.warehouse_path, twin.settings.warehouse_path)

    done = retain_quietly(world.settings, split + timedelta(days=1))
    assert done.closed_before == split - timedelta(days=89)
    assert not [removal for removal in done.removals if removal.less]
    gone = removed(done)
    assert gone["raw.events"] > 3_000
    # Of all that reference data names something went; some may be empty in so small a world.
    assert len([name for name in gone if name.startswith(("marts.", "intermediate."))]) > 15, gone
    left = "select count(*) from intermediate.{} where event_date < date '2024-04-01'"
    for name in ("int_session_days", "int_chat_events"):
        assert gone[f"intermediate.{name}"] > 0 < world.state(left.format(name))
    dates = {r.name: r.date_column for r in relations(DbtProject(world.settings).manifest)}

    def kept(marts: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        cut = split - timedelta(days=730)
        return {
            name: [row for row in rows if f"marts.{name}" not in gone or row[dates[name]] >= cut]
            for name, rows in marts.items()
        }

    assert_equal_marts(world.marts(), kept(before))
    # All that can be run again is, from what is left, and two dates more.
    for one in (world, twin):
        ingest_paths(later, settings=one.settings)
        assert one.run(done.closed_before, LAST)
    after = twin.marts()
    # Long trends are what raw events are missed for: there have to be some.
    assert sum(change is not None for change in changes_of_90_days(after, LAST)) > 5
    people: dict[bool, set[str]] = {True: set(), False: set()}
    for row in after["sessions"]:
        people[row["session_date"] > early].add(row["user_key"])
    assert people[True] & people[False]
    assert_equal_marts(world.marts(), kept(after))
    # The proof can fail: of what is left of the raw events alone, no trend is that long.
    execute(world.settings, "delete from ops.closed_dates")
    assert world.run(split - timedelta(days=89), LAST, full_refresh=True)
    rebuilt = changes_of_90_days(world.marts(), split)
    assert len(rebuilt) == len(changes_of_90_days(after, split))
    assert set(rebuilt) == {None} != set(changes_of_90_days(after, split))

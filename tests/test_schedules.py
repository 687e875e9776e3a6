"""Needs by the clock: what a tick asks for, what it says when it asks for nothing, and when it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from ingest.clock import utc_now
from ingest.door import ingest_paths
from ingest.settings import Settings
from ingest.simulator import simulate
from ingest.warehouse import RUN_LOCK, open_warehouse
from orchestration import jobs, ledger
from orchestration.dbt_project import PROJECT_DIR
from orchestration.dead_runs import LOCKED_TAG, is_going_on
from orchestration.jobs import NEEDS, Need
from tests.command_line import held
from tests.test_laws import World
from tests.test_orchestration import load

NEED = {need.name: need for need in NEEDS}
KOLKATA = ZoneInfo("Asia/Kolkata")

#: The Sunday of the week of 23 March 2026.
SUNDAY = datetime(2026, 3, 29, 20, tzinfo=KOLKATA)


def book(settings: Settings, start: date | None = None, end: date | None = None) -> str:
    """Write into the ledger what a run of published dates would have written; return its id."""
    with open_warehouse(settings) as warehouse:
        plan = ledger.plan_run(warehouse, start, end)
        assert plan is not None
        run_id = ledger.start_run(warehouse, plan, None)
        ledger.mark_started(warehouse, plan, run_id)
        ledger.mark_run(warehouse, plan, run_id)
        ledger.mark_checked(warehouse, run_id)
        ledger.finish_run(warehouse, run_id, "succeeded")
        warehouse.execute(
            "update ops.partitions set published_run_id = last_run_id, "
            "published_loads_through = run_loads_through"
        )
    return run_id


def serve(settings: Settings, start: date | None = None, end: date | None = None) -> None:
    """Write into the ledger what such a run would have written, and its publication."""
    run_id = book(settings, start, end)
    with open_warehouse(settings) as warehouse:
        warehouse.execute(
            "insert into ops.publications (publication_id, published_at, data_through, run_id, "
            "relations) select (select coalesce(max(publication_id), 0) + 1 from "
            "ops.publications), ?, range_end, run_id, 1 from ops.etl_job_runs where run_id = ?",
            [utc_now(), run_id],
        )


def tick(settings: Settings, name: str, at: datetime, *, running: bool = False) -> Any:
    """Return what a schedule says at the time it was scheduled for."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        if running:
            instance.create_run_for_job(other_job, status=dg.DagsterRunStatus.STARTED)
        schedule = jobs.schedule(settings, NEED[name], jobs.daily_metrics())
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        (found,) = schedule(context)  # type: ignore[misc]
        return found


@dg.op
def something() -> None:
    """Do nothing; a job needs a step."""


@dg.job
def other_job() -> None:
    """Stand for a run that is going on."""
    something()


def asked(found: Any) -> tuple[int, int]:
    """Return the first and last day of the range that was asked for."""
    tags = found.tags
    start, end = (tags[f"dagster/asset_partition_range_{side}"] for side in ("start", "end"))
    return date.fromisoformat(start).day, date.fromisoformat(end).day


def morning(day: int) -> datetime:
    return datetime(2026, 3, day, 7, tzinfo=KOLKATA)


def night(day: int) -> datetime:
    return datetime(2026, 3, day, 2, tzinfo=UTC)


# -- what a tick asks for ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "at"), [("nightly", night(25)), ("advisor_scores", morning(25))])
def test_tick_runs_what_is_stale_and_says_why_when_nothing_is(
    settings: Settings, name: str, at: datetime
) -> None:
    assert isinstance(tick(settings, name, at), dg.SkipReason)
    load(settings, 22, 24)
    found = tick(settings, name, at)
    assert asked(found) == (22, 24)
    assert found.tags["tidemark/need"] == name
    assert found.tags["tidemark/reason"] == "stale"
    serve(settings)
    served = tick(settings, name, at).skip_message
    assert served == "served already: publication 1, data through 2026-03-24"
    load(settings, 23)
    assert asked(tick(settings, name, at)) == (23, 24)


def test_tick_without_events_of_the_day_before_says_so(settings: Settings) -> None:
    load(settings, 22, 23)
    # However little is stale, it is run.
    assert asked(tick(settings, "advisor_scores", morning(25))) == (22, 23)
    serve(settings)
    assert tick(settings, "advisor_scores", morning(25)).skip_message == (
        "no events of 2026-03-24 yet; the late_events sensor runs them when they come"
    )
    # 07:00 in Kolkata is still the day before in Los Angeles: its day before is the 23rd.
    west = replace(settings, timezone="America/Los_Angeles")
    assert "served already" in tick(west, "advisor_scores", morning(25)).skip_message


def test_unchecked_dates_are_run_again(settings: Settings) -> None:
    load(settings, 23, 24)
    serve(settings)
    warehouse = open_warehouse(settings)
    warehouse.execute("update ops.partitions set checked = false where partition_date = ?",
                      [date(2026, 3, 24)])  # fmt: skip
    warehouse.close()
    found = tick(settings, "nightly", night(25))
    assert asked(found) == (24, 24)
    assert found.tags["tidemark/reason"] == "unchecked"


def test_late_tick_runs_what_is_stale_now(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 23, 24)
    serve(duckdb_settings)
    load(duckdb_settings, 25, 26)
    # The tick of the 25th, evaluated after the daemon was away for days.
    assert asked(tick(duckdb_settings, "advisor_scores", morning(25))) == (25, 26)
    serve(duckdb_settings)
    assert (
        "data through 2026-03-26"
        in tick(duckdb_settings, "advisor_scores", morning(25)).skip_message
    )


@pytest.mark.parametrize("name", list(NEED))
def test_tick_during_a_run_asks_for_nothing(duckdb_settings: Settings, name: str) -> None:
    load(duckdb_settings, 23, 24)
    assert "a run is going on" in tick(duckdb_settings, name, SUNDAY, running=True).skip_message
    assert isinstance(tick(duckdb_settings, name, SUNDAY), dg.RunRequest)


@contextmanager
def lock_of_runs_held(settings: Settings) -> Iterator[None]:
    """Have somebody else hold what a run holds."""
    if settings.target == "duckdb":
        with held(settings):
            yield
        return
    with open_warehouse(settings) as other:
        other.value("select pg_advisory_lock(?)", [RUN_LOCK])
        yield


def begun(settings: Settings, instance: dg.DagsterInstance) -> str:
    """Begin a run in Dagster and in the ledger; return its id in Dagster."""
    run = instance.create_run_for_job(other_job, status=dg.DagsterRunStatus.STARTED)
    with open_warehouse(settings) as warehouse:
        plan = ledger.plan_run(warehouse)
        assert plan is not None
        ledger.start_run(warehouse, plan, run.run_id)
    return run.run_id


def test_a_run_whose_process_is_gone_is_closed_and_delays_nothing(settings: Settings) -> None:
    load(settings, 23, 24)
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = begun(settings, instance)
        with lock_of_runs_held(settings):
            assert is_going_on(instance, settings)
        assert not instance.get_run_by_id(run_id).is_finished
        assert not is_going_on(instance, settings)
        assert instance.get_run_by_id(run_id).is_failure
        # Its own words are in the log that the web page shows.
        events = instance.all_logs(run_id)
        assert any("ended without a word" in event.message for event in events)


def test_a_run_of_the_command_line_is_closed_though_it_never_began(settings: Settings) -> None:
    load(settings, 23, 24)
    with dg.DagsterInstance.ephemeral() as instance:
        status = dg.DagsterRunStatus.NOT_STARTED
        run = instance.create_run_for_job(other_job, status=status, tags={LOCKED_TAG: "true"})
        of_daemon = instance.create_run_for_job(
            other_job, status=dg.DagsterRunStatus.STARTED, tags={LOCKED_TAG: "true"},
            parent_run_id=run.run_id, root_run_id=run.run_id,
        )  # fmt: skip
        with lock_of_runs_held(settings):
            assert is_going_on(instance, settings)
        assert not instance.get_run_by_id(run.run_id).is_finished
        # The daemon's may be about to take the lock.
        assert is_going_on(instance, settings)
        assert instance.get_run_by_id(run.run_id).is_failure
        assert not instance.get_run_by_id(of_daemon.run_id).is_finished


def test_a_run_that_the_ledger_buried_is_closed_when_it_had_time_for_its_last_word(
    duckdb_settings: Settings,
) -> None:
    load(duckdb_settings, 23, 24)
    with dg.DagsterInstance.ephemeral() as instance:
        begun(duckdb_settings, instance)
        with open_warehouse(duckdb_settings) as warehouse:
            ledger.bury_runs(warehouse)
        assert is_going_on(instance, duckdb_settings)
        with open_warehouse(duckdb_settings) as warehouse:
            warehouse.execute(
                "update ops.etl_job_runs set finished_at = finished_at - interval 3 minute"
            )
        assert not is_going_on(instance, duckdb_settings)


def test_tick_leaves_a_warehouse_in_use_alone(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 23)
    with held(duckdb_settings):
        assert "in use" in tick(duckdb_settings, "nightly", night(25)).skip_message


# -- the week ------------------------------------------------------------------------------------


def test_week_is_run_through_its_sunday_before_sunday_has_events(settings: Settings) -> None:
    load(settings, 23, 24, 25, 26, 27, 28)
    found = tick(settings, "weekly_insights", SUNDAY)
    assert asked(found) == (23, 29)
    serve(settings)
    found = tick(settings, "weekly_insights", SUNDAY)
    assert asked(found) == (29, 29)
    assert found.tags["tidemark/reason"] == "week"
    serve(settings, date(2026, 3, 29), date(2026, 3, 29))
    second = SUNDAY + timedelta(minutes=20)
    assert tick(settings, "weekly_insights", second).skip_message == (
        "served already: publication 2, data through 2026-03-29"
    )
    # An event that still comes on Sunday makes it stale: by itself, without this tick.
    load(settings, 29)
    assert asked(jobs.due_run(settings, after_failure=False)) == (29, 29)


def test_week_with_late_events_runs_from_them_through_sunday(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 16, 23, 28)
    serve(duckdb_settings)
    load(duckdb_settings, 17)
    assert asked(tick(duckdb_settings, "weekly_insights", SUNDAY)) == (17, 29)


def test_week_that_lacks_a_day_is_not_told(settings: Settings) -> None:
    load(settings, 23, 24, 25, 26, 27)
    # Saturday did not come: what is stale is run, Sunday is not.
    assert asked(tick(settings, "weekly_insights", SUNDAY)) == (23, 27)
    serve(settings)
    assert tick(settings, "weekly_insights", SUNDAY).skip_message == (
        "no events of 2026-03-28 yet; the late_events sensor runs them when they come"
    )
    # A day without events that was asked for all the same is a day that was run.
    serve(settings, date(2026, 3, 28), date(2026, 3, 28))
    assert asked(tick(settings, "weekly_insights", SUNDAY)) == (29, 29)


def test_first_week_may_begin_in_its_middle(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 26, 28)
    assert asked(tick(duckdb_settings, "weekly_insights", SUNDAY)) == (26, 29)


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Honolulu", "Europe/Berlin"])
def test_sunday_is_that_of_the_business_time_zone(duckdb_settings: Settings, zone: str) -> None:
    # In Auckland it is Monday already, in Honolulu Sunday morning.
    settings = replace(duckdb_settings, timezone=zone)
    load(settings, 23, 28)
    assert asked(tick(settings, "weekly_insights", SUNDAY)) == (23, 29)
    late = SUNDAY + timedelta(minutes=40)
    assert asked(tick(settings, "weekly_insights", late)) == (23, 29)


class WeekWorld(World):
    """A warehouse of which only the weeks of advisors are built."""

    def selection(self) -> tuple[str, ...]:
        return ("+weekly_advisor_insights",)


def test_week_is_told_though_its_sunday_has_no_event(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    world = WeekWorld(duckdb_settings, tmp_path)
    made = simulate(days=13, size=4_000, seed=2, out=tmp_path / "made", end=date(2026, 3, 28))
    ingest_paths([made.events_folder], settings=duckdb_settings)
    world.run()
    told = "select count(*) from marts.weekly_advisor_insights where week_start = '2026-03-23'"
    assert world.state(told) == 0
    start, end = asked(tick(duckdb_settings, "weekly_insights", SUNDAY))
    assert end == 29
    world.run(date(2026, 3, start), date(2026, 3, end))
    assert world.state(told) > 5
    assert world.state("select max(event_date) from raw.events") == date(2026, 3, 28)


# -- when ----------------------------------------------------------------------------------------


def ticks(settings: Settings, name: str, start: datetime, days: int) -> Iterator[datetime]:
    schedule = jobs.schedule(settings, NEED[name], jobs.daily_metrics())
    times = schedule_execution_time_iterator(
        start.timestamp(), schedule.cron_schedule, schedule.execution_timezone, ascending=True
    )
    end = start + timedelta(days=days)
    return takewhile(lambda at: at < end, times)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles"])
def test_scores_are_due_at_seven_in_kolkata_which_is_before_two_utc(
    duckdb_settings: Settings, zone: str
) -> None:
    settings = replace(duckdb_settings, timezone=zone)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [at.astimezone(UTC) for at in ticks(settings, "advisor_scores", start, 365)]
    assert len(times) == 365
    assert {(at.hour, at.minute) for at in times} == {(1, 30)}
    assert {(at.astimezone(KOLKATA).hour, at.astimezone(KOLKATA).minute) for at in times} == {
        (7, 0)
    }
    utc = replace(duckdb_settings, timezone="UTC")
    nights = [at.astimezone(UTC) for at in ticks(utc, "nightly", start, 365)]
    for seven, two in zip(times, nights, strict=True):
        assert seven.date() == two.date()
        assert seven < two


def test_a_change_of_clocks_neither_loses_nor_doubles_a_night(duckdb_settings: Settings) -> None:
    settings = replace(duckdb_settings, timezone="Europe/Berlin")
    berlin = ZoneInfo("Europe/Berlin")
    for month, change in ((3, 29), (10, 25)):
        start = datetime(2026, month, change - 3, tzinfo=berlin)
        times = [at.astimezone(berlin) for at in ticks(settings, "nightly", start, 6)]
        days = [at.date() for at in times]
        assert all(b - a == timedelta(days=1) for a, b in pairwise(days)), times
        assert date(2026, month, change) in days
        # 02:00 does not exist in March: the tick is at 03:00.
        assert {at.hour for at in times} == ({2, 3} if month == 3 else {2})
    # The day before such a tick is the calendar's.
    load(settings, 27)
    serve(settings)
    at = datetime(2026, 3, 29, 3, tzinfo=berlin)
    assert "no events of 2026-03-28 yet" in tick(settings, "nightly", at).skip_message


def test_the_week_is_told_on_sundays_only(duckdb_settings: Settings) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = list(ticks(duckdb_settings, "weekly_insights", start, 364))
    assert len(times) == 52 * 3
    assert {at.astimezone(KOLKATA).weekday() for at in times} == {6}


def test_needs_name_what_exists() -> None:
    marts = {path.stem for path in (PROJECT_DIR / "models" / "marts").rglob("*.sql")}
    for need in NEEDS:
        assert set(need.relations) <= marts, need.name
        assert need.words.endswith(".")
        assert need.timezone is None or ZoneInfo(need.timezone)
    assert len(NEED) == len(NEEDS)


def test_every_need_has_a_schedule_that_is_on(duckdb_settings: Settings) -> None:
    made = jobs.schedules(duckdb_settings, jobs.daily_metrics())
    assert [schedule.name for schedule in made] == [need.name for need in NEEDS]
    for schedule, need in zip(made, NEEDS, strict=True):
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == (need.timezone or "UTC")
    own = Need("hourly", "0 * * * *", None, (), "Every hour.")
    zone = replace(duckdb_settings, timezone="Asia/Tokyo")
    assert jobs.schedule(zone, own, jobs.daily_metrics()).execution_timezone == "Asia/Tokyo"

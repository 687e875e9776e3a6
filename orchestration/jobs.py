"""The job that does everything, and what starts it: needs by the clock, and events that came late.

Data decide, not the clock: a tick asks for what is stale and for nothing else, so that ticks may be
late, doubled or lost. Needs are data; what is true of one and not of others stands in its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingest.settings import Settings
from ingest.warehouse import Warehouse, WarehouseBusy, WarehouseError
from orchestration import ledger
from orchestration.dead_runs import is_going_on
from orchestration.partitions import last_partition, look, range_tags
from orchestration.publication import gate

#: A failed step is tried again by its own policy; only a run whose process died is started anew.
JOB_TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}

NEED_TAG = "tidemark/need"


@dataclass(frozen=True)
class Need:
    """Who needs which marts by when.

    ``timezone`` is an IANA name, None the business time zone. ``relations`` are the marts that are
    looked at then, none for all of them; a run makes everything anyway. With ``through_sunday`` a
    run goes through the Sunday that ends the week, whether it has events yet or not.
    """

    name: str
    cron: str
    timezone: str | None
    relations: tuple[str, ...]
    words: str
    through_sunday: bool = False


NEEDS = (
    Need(
        "nightly",
        cron="0 2 * * *",
        timezone=None,
        relations=(),
        words="Every mart, in the night after the day it is about.",
    ),
    Need(
        "advisor_scores",
        cron="0 7 * * *",
        timezone="Asia/Kolkata",
        relations=(
            "advisor_daily",
            "advisor_health_scores",
            "advisor_health_submetrics",
            "advisor_health_trends",
            "advisor_interventions",
        ),
        words=(
            "Advisors' scores at the start of their day, whatever the business time zone. In UTC "
            "that is 01:30, before the nightly run."
        ),
    ),
    Need(
        "weekly_insights",
        cron="0,20,40 20 * * 0",
        timezone="Asia/Kolkata",
        relations=("weekly_advisor_insights",),
        words=(
            "The week of each advisor, on its Sunday: at 20:00 the working day is over and nearly "
            "every message of the week delivered and read, and the insights are there before "
            "Monday. What still comes on Sunday makes Sunday stale and is run again by itself. A "
            "tick that finds a run going on is lost; two more follow, and do nothing when the "
            "first one was not."
        ),
        through_sunday=True,
    ),
)


def daily_metrics() -> UnresolvedAssetJobDefinition:
    """Return the job: every asset, every check, then publication."""
    return dg.define_asset_job(
        ledger.JOB,
        selection=dg.AssetSelection.all(),
        description="Everything for a range of days: models, checks, publication.",
        tags=JOB_TAGS,
    )


def due_run(settings: Settings, *, after_failure: bool) -> dg.RunRequest | dg.SkipReason:
    """Return a run over everything stale, or why there is none.

    ``after_failure`` also repeats what failed; without it only new events are a reason to.
    """
    try:
        warehouse = look(settings)
    except WarehouseBusy:
        return dg.SkipReason("the warehouse is in use; next time")
    except WarehouseError as error:
        return dg.SkipReason(str(error))
    try:
        if not warehouse.relation_exists("ops", "partitions"):
            return dg.SkipReason("there are no events yet")
        plan = ledger.plan_run(warehouse, again=after_failure, settled=False)
        failed_on = ledger.failed_load_mark(warehouse)
    finally:
        warehouse.close()
    if plan is None:
        return dg.SkipReason("nothing is stale")
    window = plan.window
    if not after_failure and window.loads_through <= failed_on:
        return dg.SkipReason("the last run failed on the same events; see 'tidemark status'")
    return _request(settings, window.start, window.end, plan.reason)


def _request(
    settings: Settings, start: date, end: date, reason: str, need: Need | None = None
) -> dg.RunRequest:
    tags = {
        **range_tags(start, min(end, last_partition(settings))),
        "tidemark/reason": reason,
        **({NEED_TAG: need.name} if need else {}),
    }
    return dg.RunRequest(run_key=None, tags=tags, partition_key=None)


# -- needs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Situation:
    """What a tick finds: stale dates (None: none), the newest event, gaps before a Sunday."""

    stale: tuple[date, date] | None
    reason: str
    last_event: date | None
    missing: date | None
    sunday_done: bool
    publication: str


def needed_run(settings: Settings, need: Need, at: datetime) -> dg.RunRequest | dg.SkipReason:
    """Return the run that a need asks for at the time it was scheduled for, or why there is none.

    What is stale is run, however little of it; else there is a reason why not.
    """
    today = at.astimezone(ZoneInfo(settings.timezone)).date()
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)
    try:
        warehouse = look(settings)
    except WarehouseBusy:
        return dg.SkipReason("the warehouse is in use; the late_events sensor sees to what is left")
    except WarehouseError as error:
        return dg.SkipReason(str(error))
    try:
        if not warehouse.relation_exists("ops", "partitions"):
            return dg.SkipReason("there are no events yet")
        found = _situation(warehouse, sunday)
    finally:
        warehouse.close()
    if found.last_event is None:
        return dg.SkipReason("there are no events yet")
    wanted = today - timedelta(days=1)
    if need.through_sunday:
        if found.missing is None and not found.sunday_done:
            start, end = found.stale or (sunday, sunday)
            return _request(
                settings, min(start, sunday), max(end, sunday), found.reason or "week", need
            )
        wanted = sunday if found.missing is None else found.missing
    if found.stale is not None:
        return _request(settings, *found.stale, found.reason, need)
    if found.last_event < wanted and not (need.through_sunday and found.sunday_done):
        return dg.SkipReason(
            f"no events of {wanted} yet; the late_events sensor runs them when they come"
        )
    return dg.SkipReason(f"served already: {found.publication}")


def _situation(warehouse: Warehouse, sunday: date) -> Situation:
    plan = ledger.plan_run(warehouse, settled=False)
    first, last = ledger.event_span(warehouse)
    done = {
        row[0]
        for row in warehouse.execute(
            "select partition_date from ops.partition_state where last_run_at is not null "
            "and not stale and partition_date between ? and ?",
            [sunday - timedelta(days=6), sunday],
        )
    }
    stale = (plan.window.start, plan.window.end) if plan else None
    week = [sunday - timedelta(days=days) for days in range(6, 0, -1)]
    missing = [
        day
        for day in week
        if day not in done
        and not (stale and stale[0] <= day <= stale[1])
        # Before the first event there is nothing to run.
        and not (first and day < first)
    ]
    newest = gate.newest_publication(warehouse)
    return Situation(
        stale=stale,
        reason=plan.reason if plan else "",
        last_event=last,
        missing=min(missing, default=None),
        sunday_done=sunday in done and not (stale and stale[0] <= sunday),
        publication=f"publication {newest.publication_id}, data through {newest.data_through}"
        if newest
        else "nothing is stale, but nothing was published; see 'tidemark publish'",
    )


def schedule(
    settings: Settings, need: Need, job: UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """Return the schedule of a need."""

    @dg.schedule(
        name=need.name,
        job=job,
        cron_schedule=need.cron,
        execution_timezone=need.timezone or settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=need.words,
    )
    def tick(
        context: dg.ScheduleEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if is_going_on(context.instance, settings):
            yield dg.SkipReason(
                "a run is going on; the late_events sensor sees to what it leaves stale"
            )
            return
        found = needed_run(settings, need, context.scheduled_execution_time)
        yield found

    return tick


def schedules(settings: Settings, job: UnresolvedAssetJobDefinition) -> list[dg.ScheduleDefinition]:
    """Return the schedules of all needs."""
    return [schedule(settings, need, job) for need in NEEDS]


def sensor(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Return the sensor that runs what new events made stale."""

    @dg.sensor(
        name="late_events",
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs dates that events arrived for, within a minute or so.",
    )
    def late_events(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if is_going_on(context.instance, settings):
            yield dg.SkipReason("a run is going on")
            return
        yield due_run(settings, after_failure=False)

    return late_events

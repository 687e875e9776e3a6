"""The job that does everything, and what starts it: the clock, and events that came late."""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingest.settings import Settings
from ingest.warehouse import Warehouse, WarehouseBusy, WarehouseError, open_warehouse
from orchestration import ledger
from orchestration.partitions import GLANCE_SECONDS, last_partition, range_tags

#: A failed step is tried again by its own policy; only a run whose process died is started anew.
JOB_TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def daily_metrics() -> UnresolvedAssetJobDefinition:
    """Return the job: every asset, every check, then publication."""
    return dg.define_asset_job(
        ledger.JOB,
        selection=dg.AssetSelection.all(),
        description="Everything for a range of days: models, checks, publication.",
        tags=JOB_TAGS,
    )


def look(settings: Settings) -> Warehouse:
    """Open the warehouse to look at it for a moment, without waiting for others.

    Raises:
        WarehouseBusy: someone is at work; what they do will be seen later.
        WarehouseError: there is nothing to look at.

    """
    return open_warehouse(settings, wait_seconds=GLANCE_SECONDS, read_only=True)


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
    start, end = window.start, min(window.end, last_partition(settings))
    return dg.RunRequest(
        run_key=None,
        tags={**range_tags(start, end), "tidemark/reason": plan.reason},
        partition_key=None,
    )


def schedule(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Return the nightly run at 02:00 in the business time zone."""

    @dg.schedule(
        name="nightly",
        job=job,
        cron_schedule="0 2 * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs what is stale, every night.",
    )
    def nightly(_: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield due_run(settings, after_failure=True)

    return nightly


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
        active = context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1)
        if active:
            yield dg.SkipReason("a run is going on")
            return
        yield due_run(settings, after_failure=False)

    return late_events

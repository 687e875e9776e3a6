"""What goes, in Dagster: the jobs of retention and of erasure, and retention's daily schedule.

They are no part of the job that makes figures: nothing waits for them, a day without them does no
harm. Whom an erasure is about never stands in a run's configuration, which Dagster keeps: a person
is named to `tidemark erase`, and the job works from the journal's hashes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import WarehouseBusy, WarehouseError
from orchestration.dead_runs import is_going_on
from orchestration.partitions import look
from orchestration.run_resource import WAIT_SECONDS

RETENTION = "retention"
ERASURE = "erasure"

#: After the nightly run; a tick that finds a run going on is lost, and two more follow. The first
#: one that asks for a run asks for that of the day.
CRON = "0,20,40 4 * * *"

DRY_RUN = {
    "dry_run": dg.Field(
        bool, default_value=False, description="Remove nothing; list what would go in the log."
    )
}


@contextmanager
def _as_dagster_says() -> Iterator[None]:
    """Who must wait is tried again; what the user must mend is not."""
    try:
        yield
    except WarehouseBusy as error:
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=60) from error
    except UserError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def retention(settings: Settings) -> dg.JobDefinition:
    """Return the job: one step that does what `tidemark retention` does."""

    @dg.op(name="remove_what_is_too_old", config_schema=DRY_RUN)
    def remove(context: dg.OpExecutionContext) -> None:
        """Remove what is older than reference data `retention` keeps it."""
        from orchestration.retention import retain
        from orchestration.retention_shown import lines

        with _as_dagster_says():
            done = retain(
                settings,
                dry_run=context.op_config["dry_run"],
                wait_seconds=WAIT_SECONDS,
                notify=context.log.info,
                on_step=context.log.info,
            )
        for line in lines(done):
            context.log.info(line)
        removed = {removal.relation: removal.rows for removal in done.removals if removal.rows}
        context.add_output_metadata({"rows": done.rows, **removed})

    @dg.job(name=RETENTION, description="Removes what is too old to be kept; no figure changes.")
    def job() -> None:
        remove()

    return job


def erasure(settings: Settings) -> dg.JobDefinition:
    """Return the job: one step that carries out the erasures that wait in the journal."""

    @dg.op(name="erase_who_waits", config_schema=DRY_RUN)
    def erase(context: dg.OpExecutionContext) -> None:
        """Carry out what `tidemark erase --later` noted, and what a crash or a backup left."""
        from orchestration.erasure.requests import finish, waiting
        from orchestration.erasure.shown import lines

        with _as_dagster_says():
            if context.op_config["dry_run"]:
                reports = waiting(settings)
            else:
                reports = finish(
                    settings,
                    wait_seconds=WAIT_SECONDS,
                    notify=context.log.info,
                    on_step=context.log.info,
                )
        for report in reports:
            for line in lines(report):
                context.log.info(line)
        rows = sum(sum(report.rows.values()) for report in reports)
        context.add_output_metadata({"erasures": len(reports), "rows": rows})

    @dg.job(name=ERASURE, description="Carries out erasures that wait; no figure changes.")
    def job() -> None:
        erase()

    return job


def schedule(settings: Settings, of: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return retention's schedule, once a day in the business time zone."""

    @dg.schedule(
        name=f"{RETENTION}_daily",
        job=of,
        cron_schedule=CRON,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes what is too old, after the nightly run.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if is_going_on(context.instance, settings):
            yield dg.SkipReason("a run is going on; what is too old goes another time")
            return
        try:
            look(settings).close()
        except WarehouseBusy:
            yield dg.SkipReason("the warehouse is in use; what is too old goes another time")
            return
        except WarehouseError as error:
            yield dg.SkipReason(str(error))
            return
        yield dg.RunRequest(run_key=f"{RETENTION} {context.scheduled_execution_time:%Y-%m-%d}")

    return tick

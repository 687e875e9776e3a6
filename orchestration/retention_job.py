"""Retention in Dagster: a job that removes what is too old, and its daily schedule.

It is no part of the job that makes figures: nothing waits for it, a day without it does no harm.
"""

from collections.abc import Iterator

import dagster as dg

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import WarehouseBusy, WarehouseError
from orchestration.jobs import UNFINISHED, look
from orchestration.run_resource import WAIT_SECONDS

NAME = "retention"

#: After the nightly run; a tick that finds a run going on is lost, and two more follow. The first
#: one that asks for a run asks for that of the day.
CRON = "0,20,40 4 * * *"


def job(settings: Settings) -> dg.JobDefinition:
    """Return the job: one step that does what `tidemark retention` does."""

    @dg.op(name="remove_what_is_too_old")
    def remove(context: dg.OpExecutionContext) -> None:
        """Remove what is older than reference data `retention` keeps it."""
        from orchestration.cli_retention import lines
        from orchestration.retention import retain

        try:
            done = retain(
                settings, dry_run=False, wait_seconds=WAIT_SECONDS, notify=context.log.info
            )
        except WarehouseBusy as error:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=60) from error
        except UserError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for line in lines(done):
            context.log.info(line)
        removed = {removal.relation: removal.rows for removal in done.removals if removal.rows}
        context.add_output_metadata({"rows": done.rows, **removed})

    @dg.job(name=NAME, description="Removes what is too old to be kept; no figure changes.")
    def retention() -> None:
        remove()

    return retention


def schedule(settings: Settings, of: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule, once a day in the business time zone."""

    @dg.schedule(
        name=f"{NAME}_daily",
        job=of,
        cron_schedule=CRON,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes what is too old, after the nightly run.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1):
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
        yield dg.RunRequest(run_key=f"{NAME} {context.scheduled_execution_time:%Y-%m-%d}")

    return tick

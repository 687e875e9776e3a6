"""The run session as a Dagster resource: the steps of one run share it, its end closes the run.

A run that the command line started brings its session along; one that the daemon started opens
it with its first step, so that a busy warehouse is a step to retry and not a lost run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import WarehouseBusy
from orchestration import ledger
from orchestration.dbt_runner import one_line
from orchestration.partitions import range_of
from orchestration.session import RunSession, current_session, open_session

FULL_REFRESH_TAG = "tidemark/full_refresh"

#: How long a run of the daemon waits for the warehouse before the step is tried again.
WAIT_SECONDS = 300.0

STOPPED = "the run was stopped"

RETRY = dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL)


class RunHandle:
    """Gives the steps of a run its session."""

    def __init__(self, settings: Settings) -> None:
        """Bind the settings; the session is opened by the first step."""
        self.settings = settings

    @contextmanager
    def step(self, context: Any) -> Iterator[RunSession]:
        """Enter a step: the session, begun; what goes wrong is remembered for the ledger."""
        try:
            teller = _teller(context)
            session = current_session() or open_session(
                self.settings, wait_seconds=WAIT_SECONDS, notify=teller, on_step=teller
            )
        except WarehouseBusy as error:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=60) from error
        if context.retry_number:
            # What went wrong the first time is in Dagster's log; the run goes by how it ends.
            session.error = None
        try:
            if session.plan is None:
                start, end = range_of(context)
                full = context.run.tags.get(FULL_REFRESH_TAG) == "true"
                session.plan = ledger.plan_run(session.warehouse, start, end, full_refresh=full)
                if session.plan is None:
                    raise UserError("there are no events yet; run 'tidemark ingest PATH' first")
            session.begin(session.plan, context.run.run_id)
            yield session
        except dg.Failure as error:
            session.error = session.error or one_line(error.description)
            raise
        except UserError as error:
            session.error = session.error or str(error)
            raise dg.Failure(str(error), allow_retries=False) from error
        except (KeyboardInterrupt, DagsterExecutionInterruptedError) as error:
            # Left alone, Dagster would wait and try the step again.
            session.error = session.error or STOPPED
            raise dg.Failure(STOPPED, allow_retries=False) from error
        except GeneratorExit:
            # What is not taken to its end was stopped from outside.
            session.error = session.error or STOPPED
            raise
        except BaseException as error:
            session.error = session.error or f"{type(error).__name__}: {one_line(error)}"
            raise


def _teller(context: Any) -> Callable[[str], None]:
    return lambda text: context.log.info(text)


def run_handle(settings: Settings) -> dg.ResourceDefinition:
    """Return the resource ``run`` of the definitions."""

    @dg.resource(description="The warehouse, locked for one run, and the run's ledger entry.")
    def handle(_: dg.InitResourceContext) -> Iterator[RunHandle]:
        brought_along = current_session()
        try:
            yield RunHandle(settings)
        finally:
            session = current_session()
            if session is not None:
                session.finish()
                if session is not brought_along:
                    session.close()

    return handle

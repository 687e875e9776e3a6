"""One run from the command line: lock, plan, the Dagster job in this process, a summary.

The job is the one that the schedule and the web page start, on the same instance.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import WAIT_SECONDS
from orchestration import ledger
from orchestration.dbt_project import DbtProject
from orchestration.ledger import CheckRecord, RunPlan
from orchestration.publication import gate
from orchestration.publication.gate import Publication
from orchestration.publication.restatements_shown import in_words
from orchestration.relations import marts
from orchestration.session import RunSession, open_session

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult

Notify = Callable[[str], None]
Progress = Callable[[int, int, str], None]

T = TypeVar("T")


@dataclass(frozen=True)
class RunSummary:
    """What a run did, for a person.

    ``status`` is that of the ledger; ``nothing``, or ``published`` when only that was due.
    ``restated`` says what its publication changed of what readers had seen, None for nothing.
    """

    status: str
    seconds: float
    run_id: str | None = None
    plan: RunPlan | None = None
    rows: dict[str, int] = field(default_factory=dict)
    checks: tuple[CheckRecord, ...] = ()
    publication: Publication | None = None
    restated: str | None = None
    error: str | None = None


def run(
    settings: Settings,
    *,
    start: date | None = None,
    end: date | None = None,
    full_refresh: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    notify: Notify | None = None,
    on_step: Notify | None = None,
    on_progress: Progress | None = None,
) -> RunSummary:
    """Run what is stale, or a range; publish it when every blocking check passed.

    On KeyboardInterrupt its thread goes on until this process ends, which should be at once: the
    run is then as one that was killed.

    Raises:
        UserError: the range makes no sense, or the dbt project cannot be parsed.
        WarehouseBusy: another run did not end in time.

    """
    began = time.monotonic()
    with open_session(
        settings, wait_seconds=wait_seconds, notify=notify, on_step=on_step
    ) as session:
        session.on_progress = on_progress
        plan = ledger.plan_run(session.warehouse, start, end, full_refresh=full_refresh)
        if plan is None:
            return _nothing_to_run(session, began)
        _check_end(settings, plan)
        session.plan = plan
        try:
            result = _in_a_thread(lambda: _execute(session, full_refresh=plan.full_refresh))
        except KeyboardInterrupt:
            session.leave()
            raise
        if not result.success:
            session.error = session.error or _first_failure(result)
        session.finish()
        return RunSummary(
            status=session.finished or "failed",
            seconds=time.monotonic() - began,
            run_id=session.run_id,
            plan=plan,
            rows=session.rows,
            checks=tuple(session.checks),
            publication=gate.newest_publication(session.warehouse),
            restated=_restated(session, session.publication),
            error=session.error,
        )


def _check_end(settings: Settings, plan: RunPlan) -> None:
    from orchestration.partitions import last_partition

    last = last_partition(settings)
    if plan.window.end > last:
        raise UserError(f"--end {plan.window.end} lies in the future; the last date is {last}")


def _nothing_to_run(session: RunSession, began: float) -> RunSummary:
    # What is wrong with reference data is said now, not on the day that new events come.
    DbtProject(session.settings).ensure_manifest()
    if not gate.unpublished(session.warehouse):
        newest = gate.newest_publication(session.warehouse)
        return RunSummary("nothing", time.monotonic() - began, publication=newest)
    publication = publish_now(session)
    return RunSummary(
        "published",
        time.monotonic() - began,
        publication=publication,
        restated=_restated(session, publication.publication_id),
    )


def _restated(session: RunSession, publication: int | None) -> str | None:
    return in_words(session.warehouse, publication) if publication is not None else None


def publish_now(session: RunSession) -> Publication:
    """Publish what was run, without running anything.

    Raises:
        UserError: the gate refuses.

    """
    return gate.publish(session, marts(DbtProject(session.settings).manifest))


def _in_a_thread(act: Callable[[], T]) -> T:
    """Do something in a thread and wait for it; what is raised there is raised here.

    On the main thread Dagster would make Ctrl-C an exception of its own, which dbt takes for the
    end of what it was doing. Here Ctrl-C only ends the waiting.
    """
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="run", daemon=True).start()
    return done.result()


def _execute(session: RunSession, *, full_refresh: bool) -> ExecuteInProcessResult:
    session.say("starting")
    from orchestration.dead_runs import LOCKED_TAG
    from orchestration.definitions import build_definitions
    from orchestration.instance import open_instance
    from orchestration.partitions import range_tags
    from orchestration.run_resource import FULL_REFRESH_TAG

    assert session.plan is not None
    window = session.plan.window
    tags = {
        **range_tags(window.start, window.end),
        "tidemark/reason": session.plan.reason,
        LOCKED_TAG: "true",
    }
    if full_refresh:
        tags[FULL_REFRESH_TAG] = "true"
    with open_instance(session.settings) as instance:
        job = build_definitions(session.settings).resolve_job_def(ledger.JOB)
        return job.execute_in_process(
            instance=instance,
            tags=tags,
            raise_on_error=False,
            # The web page shows the log; the console is for the summary.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )


def _first_failure(result: ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            lines = event.step_failure_data.error.message.strip().splitlines()
            return lines[-1] if lines else "a step failed"
    return "the run failed; see the log"

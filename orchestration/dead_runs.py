"""Runs that Dagster believes to be going on although their process is gone.

Belongs here: telling them from living ones by the lock of runs and the ledger, and closing them in
Dagster. The ledger closes its own when the next session is opened.

A killed process tells nobody. Dagster would let such a run stand for hours, and whatever waits for
runs to end would wait as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from ingest.clock import utc_now
from ingest.settings import Settings
from ingest.warehouse import RUN_LOCK, Warehouse, WarehouseBusy, WarehouseError
from orchestration.partitions import look

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

#: A run of the command line: it holds the lock of runs before Dagster knows of it, and after.
LOCKED_TAG = "tidemark/locked"

#: What a living run may take from its last word to the ledger to its last word to Dagster.
LAST_WORD = timedelta(minutes=2)


def is_going_on(instance: dg.DagsterInstance, settings: Settings) -> bool:
    """Return whether a run is going on; those whose process is gone are closed as failed."""
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
    if not runs:
        return False
    dead = _dead(settings, list(runs.values()))
    for run_id in dead:
        instance.report_run_failed(
            runs[run_id], "the process of this run ended without a word (stopped, killed, crashed)"
        )
    return len(dead) < len(runs)


def _dead(settings: Settings, runs: Sequence[dg.DagsterRun]) -> set[str]:
    """Return the ids of those that must hold the lock of runs, and do not."""
    try:
        warehouse = look(settings)
    except (WarehouseBusy, WarehouseError):
        return set()
    try:
        if not warehouse.relation_exists("ops", "etl_job_runs") or not _lock_is_free(warehouse):
            return set()
        begun = warehouse.execute(
            "select dagster_run_id from ops.etl_job_runs "
            "where status = 'running' or finished_at < ?",
            [utc_now() - LAST_WORD],
        )
    finally:
        warehouse.close()
    known = {run_id for (run_id,) in begun}
    # Who starts a run again from the web page hands its tags on to one of the daemon.
    locked = {run.run_id for run in runs if LOCKED_TAG in run.tags and not run.parent_run_id}
    return {run.run_id for run in runs if run.run_id in known | locked}


def _lock_is_free(warehouse: Warehouse) -> bool:
    # On DuckDB nobody else could have opened the file.
    return warehouse.target != "postgres" or bool(
        warehouse.value(
            "select case when pg_try_advisory_lock(?) then pg_advisory_unlock(?) else false end",
            [RUN_LOCK, RUN_LOCK],
        )
    )

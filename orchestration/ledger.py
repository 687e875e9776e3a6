"""The run ledger: which dates are stale, what a run covers, and what became of it.

Belongs here: reading and writing ``ops.partitions``, ``ops.etl_job_runs`` and
``ops.check_results``. Holding the lock that makes the answers true for a whole run belongs in
``orchestration.session``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.warehouse import LOAD_LOCK, Warehouse
from orchestration.dbt_runner import Window, one_line

JOB = "daily_metrics"


@dataclass(frozen=True)
class RunPlan:
    """What one run covers: a window of marts, the window of their inputs, and the loads seen."""

    window: Window
    full_refresh: bool
    reason: str

    @property
    def days(self) -> int:
        """Number of dates whose marts are written."""
        return (self.window.end - self.window.start).days + 1


@dataclass(frozen=True)
class ClosedDates:
    """Dates whose raw events were removed: all before a date, since when."""

    before: date
    at: datetime

    def __str__(self) -> str:
        """Say it to a person whose command they are in the way of."""
        last = self.before - timedelta(days=1)
        return f"dates up to {last}: their raw events were removed on {self.at:%Y-%m-%d}"


@dataclass(frozen=True)
class CheckRecord:
    """One row of ops.check_results before it has a run."""

    relation: str
    check: str
    status: str
    severity: str
    observed: str

    @property
    def blocks(self) -> bool:
        """Whether this result keeps the run from being published."""
        return self.status != "passed" and self.severity == "block"


def new_run_id() -> str:
    """Return an id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _dates(warehouse: Warehouse, sql: str) -> tuple[date | None, date | None]:
    first, last = warehouse.execute(sql)[0]
    return first, last


def event_span(warehouse: Warehouse) -> tuple[date | None, date | None]:
    """Return the first and the last date that ever had an event."""
    return _dates(
        warehouse,
        "select min(partition_date), max(partition_date) from ops.partitions "
        "where last_event_load_id is not null",
    )


def stale_span(warehouse: Warehouse) -> tuple[date | None, date | None]:
    """Return the oldest and the newest stale date (rule R4)."""
    return _dates(
        warehouse,
        "select min(partition_date), max(partition_date) from ops.partition_state where stale",
    )


def pending_span(warehouse: Warehouse) -> tuple[date | None, date | None]:
    """Return the span of dates that were run but did not pass their checks (yet)."""
    return _dates(
        warehouse,
        "select min(partition_date), max(partition_date) from ops.partition_state "
        "where last_run_id is not null and not checked",
    )


def closed_dates(warehouse: Warehouse) -> ClosedDates | None:
    """Return the dates that cannot be run again; None when retention removed no raw events."""
    if not warehouse.relation_exists("ops", "closed_dates"):
        return None
    rows = warehouse.execute(
        "select closed_before, closed_at from ops.closed_dates order by closed_before desc limit 1"
    )
    return ClosedDates(*rows[0]) if rows else None


def mark_stale(warehouse: Warehouse, since: date) -> int:
    """Make a date that was run and all later ones stale; return how many there are.

    Raises:
        UserError: the date is closed.

    """
    closed = closed_dates(warehouse)
    if closed and since < closed.before:
        raise UserError(f"{since} cannot be run again, as all {closed}")
    dates = "partition_date >= ? and run_loads_through is not null"
    found = warehouse.value(f"select count(*) from ops.partitions where {dates}", [since])
    # 0 is older than any load and yet says that the date was run before.
    warehouse.execute(f"update ops.partitions set run_loads_through = 0 where {dates}", [since])
    mark_unprepared(warehouse, since)
    return int(found)


def mark_unprepared(warehouse: Warehouse, since: date) -> None:
    """Have the next run compute anew what its dates look back on, from a date on.

    No date becomes stale by it, and closed dates stay as they are.
    """
    warehouse.execute(
        "update ops.partitions set prepared_loads_through = 0 where partition_date >= ? "
        "and prepared_loads_through is not null",
        [since],
    )


def newest_load(warehouse: Warehouse, *, settled: bool = True) -> int:
    """Return the newest load; on Postgres after the one in flight, so that none is skipped."""
    sql = "select coalesce(max(load_id), 0) from ops.loads"
    if warehouse.target != "postgres" or not settled:
        return int(warehouse.value(sql))
    with warehouse.transaction():
        warehouse.execute("select pg_advisory_xact_lock(?)", [LOAD_LOCK])
        return int(warehouse.value(sql))


def plan_run(
    warehouse: Warehouse,
    start: date | None = None,
    end: date | None = None,
    *,
    full_refresh: bool = False,
    again: bool = True,
    settled: bool = True,
) -> RunPlan | None:
    """Decide what to run; None when there is nothing to do.

    Without dates that is everything from the oldest stale date on; with ``again`` also dates that
    were run but not found good. A full refresh always covers every date. ``settled`` waits for a
    load in flight; only a plan that will not be run can do without.

    Raises:
        UserError: the range is empty or lies in the future.

    """
    first_event, last_event = event_span(warehouse)
    if start and end and end < start:
        raise UserError(f"--end {end} lies before --start {start}")
    if first_event is None or last_event is None:
        return None
    closed = closed_dates(warehouse)
    if closed:
        _refuse_closed(closed, start, end, full_refresh=full_refresh)
        first_event = max(first_event, closed.before)
    ran = warehouse.value(
        "select max(partition_date) from ops.partitions where run_loads_through is not null"
    )
    stale = stale_span(warehouse)
    pending = pending_span(warehouse) if again else (None, None)
    todo = [day for day in (*stale, *pending) if day is not None]
    if full_refresh:
        reason = "full refresh"
        span = (first_event, max(filter(None, (last_event, ran, end))))
    elif start or end:
        reason = "range"
        span = (max(start or first_event, first_event), end or last_event)
        if span[1] < span[0]:
            raise UserError(f"there is nothing to run up to {span[1]}: events begin {first_event}")
        # The dates between the last known one and the range are run too: dense tables have no hole.
        known = max(filter(None, (last_event, ran)))
        span = (min(span[0], known + timedelta(days=1)), span[1])
    elif stale[0]:
        reason = "stale"
        span = (min(todo), max(last_event, *todo))
    elif todo:
        reason = "unchecked"
        span = (min(todo), max(todo))
    else:
        return None
    loads_through = newest_load(warehouse, settled=settled)
    prepare = warehouse.value(
        "select min(partition_date) from ops.partition_state where prepared_stale"
    )
    prepare_start = min(filter(None, (span[0], prepare)))
    next_stale = warehouse.value(
        "select min(partition_date) from ops.partition_state where stale and partition_date > ?",
        [span[1]],
    )
    known_through = (
        next_stale - timedelta(days=1) if next_stale else max(filter(None, (span[1], ran)))
    )
    window = Window(span[0], span[1], prepare_start, loads_through, known_through)
    # Nothing was run yet, or the business time zone changed: tables that are there are worthless.
    return RunPlan(window, full_refresh or (ran is None and closed is None), reason)


def _refuse_closed(
    closed: ClosedDates, start: date | None, end: date | None, *, full_refresh: bool
) -> None:
    if full_refresh:
        raise UserError(
            f"--full-refresh cannot rebuild {closed}; run --start {closed.before} to rebuild what "
            "can be"
        )
    for option, day in (("--start", start), ("--end", end)):
        if day and day < closed.before:
            raise UserError(
                f"{option} {day} cannot be run, as all {closed}; the first date that can be run "
                f"is {closed.before}"
            )


def bury_runs(warehouse: Warehouse) -> None:
    """End the runs that seem to go on; whoever holds the lock of runs knows that they do not.

    One that was published had done everything but saying so.
    """
    published = "run_id in (select run_id from ops.publications)"
    warehouse.execute(
        f"update ops.etl_job_runs set status = case when {published} then 'succeeded' "
        f"else 'failed' end, finished_at = ?, error = case when {published} then null "
        "else 'the process of this run ended without a word (killed or crashed)' end "
        "where status = 'running'",
        [utc_now()],
    )


def start_run(warehouse: Warehouse, plan: RunPlan, dagster_run_id: str | None) -> str:
    """Write that a run began; the caller holds the lock of runs."""
    run_id = new_run_id()
    window = plan.window
    warehouse.execute(
        "insert into ops.etl_job_runs (run_id, job, range_start, range_end, started_at, status, "
        "loads_through, dagster_run_id) values (?, ?, ?, ?, ?, 'running', ?, ?)",
        [run_id, JOB, window.start, window.end, utc_now(), window.loads_through, dagster_run_id],
    )
    return run_id


def finish_run(
    warehouse: Warehouse,
    run_id: str,
    status: str,
    *,
    rows: Mapping[str, int] | None = None,
    error: str | None = None,
) -> None:
    """Write how a run ended: succeeded, failed, or blocked by a check."""
    warehouse.execute(
        "update ops.etl_job_runs set status = ?, finished_at = ?, rows_by_relation = ?, error = ? "
        "where run_id = ?",
        [status, utc_now(), json.dumps(rows or {}), one_line(error) if error else None, run_id],
    )


def mark_started(warehouse: Warehouse, plan: RunPlan, run_id: str) -> None:
    """Write that a run lays hands on its dates: until it is through, nothing of them is checked.

    They stay as stale as they were, so that a run that was killed is done again.
    """
    window = plan.window
    days = [window.start + timedelta(days=n) for n in range(plan.days)]
    with warehouse.transaction():
        known = {day for (day,) in warehouse.execute("select partition_date from ops.partitions")}
        warehouse.insert_many(
            "ops.partitions", ("partition_date",), [[day] for day in days if day not in known]
        )
        warehouse.execute(
            "update ops.partitions set last_run_id = ?, checked = false "
            "where partition_date between ? and ?",
            [run_id, window.start, window.end],
        )


def mark_run(warehouse: Warehouse, plan: RunPlan, run_id: str) -> None:
    """Write that the tables hold the window of a plan; its checks are still to come."""
    window = plan.window
    with warehouse.transaction():
        warehouse.execute(
            "update ops.partitions set prepared_loads_through = ? "
            "where partition_date between ? and ?",
            [window.loads_through, window.prepare_start, window.end],
        )
        warehouse.execute(
            "update ops.partitions set last_run_at = ?, run_loads_through = ? "
            "where last_run_id = ? and partition_date between ? and ?",
            [utc_now(), window.loads_through, run_id, window.start, window.end],
        )


def mark_checked(warehouse: Warehouse, run_id: str) -> None:
    """Write that a run passed every blocking check: its dates may be published."""
    warehouse.execute("update ops.partitions set checked = true where last_run_id = ?", [run_id])


def record_checks(warehouse: Warehouse, run_id: str, checks: Sequence[CheckRecord]) -> None:
    """Write results of checks, failed ones too, in place of those of a first try of the step."""
    at = utc_now()
    for relation in sorted({c.relation for c in checks}):
        these = [c.check for c in checks if c.relation == relation]
        warehouse.execute(
            "delete from ops.check_results where run_id = ? and relation = ? "
            f'and "check" in ({", ".join("?" * len(these))})',
            [run_id, relation, *these],
        )
    names = ("run_id", "relation", "check", "status", "severity", "observed", "checked_at")
    warehouse.insert_many(
        "ops.check_results",
        names,
        [[run_id, c.relation, c.check, c.status, c.severity, c.observed, at] for c in checks],
    )


def failed_load_mark(warehouse: Warehouse) -> int:
    """Return the newest load that a run has failed on; repeating it unasked would fail again."""
    return int(
        warehouse.value(
            "select coalesce(max(loads_through), 0) from ops.etl_job_runs as runs "
            "where status in ('failed', 'blocked') and not exists ("
            "select 1 from ops.etl_job_runs as later where later.status = 'succeeded' "
            "and later.started_at > runs.started_at)"
        )
    )

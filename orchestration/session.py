"""One run at a time: the warehouse held open and locked from the plan to the last word.

DuckDB: the connection's file lock. Postgres: a session-level advisory lock on a connection that
lives as long as the run. A killed process loses both, and the next holder buries its run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.redate import ensure_timezone
from ingest.settings import Settings
from ingest.tombstones import take_over
from ingest.warehouse import RUN_LOCK, WAIT_SECONDS, Warehouse, WarehouseBusy, open_warehouse
from orchestration import ledger
from orchestration.dbt_runner import Window
from orchestration.ledger import CheckRecord, RunPlan

if TYPE_CHECKING:
    from orchestration.erasure.requests import Report


@dataclass
class RunSession:
    """The warehouse of a run, its plan, and what is known of it so far."""

    settings: Settings
    warehouse: Warehouse
    notify: Callable[[str], None] | None = None
    on_step: Callable[[str], None] | None = None
    on_progress: Callable[[int, int, str], None] | None = None
    plan: RunPlan | None = None
    run_id: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    checks: list[CheckRecord] = field(default_factory=list)
    error: str | None = None
    broken: bool = False
    finished: str | None = None
    left: bool = False
    publication: int | None = None
    #: What the erasures did that were carried out when the session was opened.
    erasures: list[Report] = field(default_factory=list)

    @property
    def window(self) -> Window:
        """The window of the plan."""
        assert self.plan is not None
        return self.plan.window

    @property
    def blocked_by(self) -> list[CheckRecord]:
        """The blocking checks that did not pass."""
        return [check for check in self.checks if check.blocks]

    def begin(self, plan: RunPlan, dagster_run_id: str | None = None) -> str:
        """Start the run in the ledger, once."""
        if self.run_id is None:
            self.plan = plan
            self.run_id = ledger.start_run(self.warehouse, plan, dagster_run_id)
        return self.run_id

    def record(self, checks: list[CheckRecord]) -> None:
        """Keep results of checks, here and in the ledger."""
        assert self.run_id is not None
        # A step that is tried again checks again.
        again = {(check.relation, check.check) for check in checks}
        self.checks = [c for c in self.checks if (c.relation, c.check) not in again] + checks
        ledger.record_checks(self.warehouse, self.run_id, checks)

    def note(self, text: str) -> None:
        """Tell what was changed, or could not be done: a person should know it."""
        if self.notify:
            self.notify(text)

    def say(self, text: str) -> None:
        """Tell the person who is waiting what is being done."""
        if self.on_step:
            self.on_step(text)

    def progress(self, done: int, total: int, name: str) -> None:
        """Tell how many nodes of dbt are done."""
        if self.on_progress:
            self.on_progress(done, total, name)

    def finish(self, error: str | None = None) -> None:
        """Write how the run ended; a second call changes nothing."""
        if self.run_id is None or self.finished:
            return
        self.error = self.error or error
        if self.blocked_by and not self.broken and self.publication is None:
            status = "blocked"
            self.error = self.error or refusal(self.blocked_by)
        else:
            status = "failed" if self.error else "succeeded"
        ledger.finish_run(self.warehouse, self.run_id, status, rows=self.rows, error=self.error)
        # Only now: what could not be written is written by the next call.
        self.finished = status

    def leave(self) -> None:
        """Touch nothing any more: a thread may be at work, and this process is about to end."""
        self.left = True

    def __enter__(self) -> RunSession:
        """Be closed at the end of a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Finish what was not finished and let the next run have the warehouse."""
        global _current
        if self.left:
            return
        if _current is self:
            _current = None
        try:
            self.finish()
        finally:
            self.warehouse.close()


def refusal(checks: list[CheckRecord]) -> str:
    """Return the words for checks that stopped a run."""
    names = [f"{check.relation}: {check.check} ({check.observed})" for check in checks[:3]]
    more = f" and {len(checks) - 3} more" if len(checks) > 3 else ""
    return f"stopped by {'; '.join(names)}{more}"


#: The session of this process. A process runs one run at a time: dbt cannot do more either.
_current: RunSession | None = None


def current_session() -> RunSession | None:
    """Return the session that this process holds, if it does."""
    return _current


def open_session(
    settings: Settings,
    *,
    wait_seconds: float = WAIT_SECONDS,
    notify: Callable[[str], None] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> RunSession:
    """Take the lock of runs, end what was killed, bring event dates to the business time zone.

    Erasures that wait, were cut off, or were undone by an older backup are carried out first.
    ``notify`` gets what a person should know, ``on_step`` what is being done.

    Raises:
        WarehouseBusy: another run did not end within ``wait_seconds``.

    """
    global _current
    if _current is not None:
        return _current
    warehouse = open_warehouse(settings, wait_seconds=wait_seconds, notify=notify)
    try:
        if settings.target == "postgres":
            _lock_postgres(warehouse, wait_seconds, notify)
        ledger.bury_runs(warehouse)
        ensure_timezone(warehouse, settings.timezone, notify=notify)
    except BaseException:
        warehouse.close()
        raise
    _current = session = RunSession(settings, warehouse, notify, on_step)
    try:
        if take_over(warehouse, settings):
            from orchestration.erasure.requests import catch_up

            session.erasures = catch_up(session)
    except BaseException:
        session.close()
        raise
    return session


def _lock_postgres(
    warehouse: Warehouse, wait_seconds: float, notify: Callable[[str], None] | None
) -> None:
    deadline = time.monotonic() + wait_seconds
    told = False
    while not warehouse.value("select pg_try_advisory_lock(?)", [RUN_LOCK]):
        if time.monotonic() >= deadline:
            raise WarehouseBusy("another run is going on; try again when it has finished")
        if notify and not told:
            notify("waiting for another run to finish")
            told = True
        time.sleep(0.1)

"""Publication: readers see what passed, all of it at once, or what they saw before.

Belongs here: the gate and the ledger of publications. What a publication changes of the one before
belongs in ``restatements`` of this package, how a copy is handed out on each engine in
``duckdb_file`` and ``postgres_tables``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.warehouse import Warehouse
from orchestration.publication import restatements
from orchestration.relations import Relation
from orchestration.session import RunSession, refusal


@dataclass(frozen=True)
class Publication:
    """One row of ops.publications."""

    publication_id: int
    published_at: datetime
    data_through: date | None
    run_id: str | None
    relations: int
    location: str


def newest_publication(warehouse: Warehouse) -> Publication | None:
    """Return what readers see now."""
    rows = warehouse.execute(
        "select publication_id, published_at, data_through, run_id, relations, location "
        "from ops.publications order by publication_id desc limit 1"
    )
    return Publication(*rows[0]) if rows else None


def unpublished(warehouse: Warehouse) -> bool:
    """Tell whether there are dates that were run and not published since."""
    return bool(
        warehouse.value(
            "select count(*) from ops.partition_state where last_run_id is not null "
            "and not published"
        )
    )


def publish(session: RunSession, marts: Sequence[Relation]) -> Publication:
    """Hand out all marts.

    Raises:
        UserError: a check failed, a date is stale or was never checked; nothing was changed.

    """
    warehouse = session.warehouse
    check_gate(session)
    last = newest_publication(warehouse)
    publication = Publication(
        publication_id=(last.publication_id if last else 0) + 1,
        published_at=utc_now(),
        data_through=warehouse.value(
            "select max(partition_date) from ops.partition_state "
            "where last_run_id is not null and checked and not stale"
        ),
        run_id=session.run_id or _last_run(warehouse),
        relations=len(marts),
        location="",
    )
    if warehouse.target == "duckdb":
        from orchestration.publication.duckdb_file import hand_out

        return hand_out(session, marts, publication, last)
    from orchestration.publication.postgres_tables import copy_marts

    return copy_marts(session, marts, publication, last)


def note(warehouse: Warehouse, publication: Publication, schema: str) -> None:
    """Write a publication, and what it restates, to the ledger or to a copy of it."""
    warehouse.execute(
        f"insert into {schema}.publications (publication_id, published_at, data_through, run_id, "
        "relations, location) values (?, ?, ?, ?, ?, ?)",
        [
            publication.publication_id, publication.published_at, publication.data_through,
            publication.run_id, publication.relations, publication.location,
        ],
    )  # fmt: skip
    columns = 'relation, metric_date, key, "column", before, after, cause'
    warehouse.execute(
        f"insert into {schema}.restatements (publication_id, {columns}) "
        f"select {publication.publication_id}, {columns} from {restatements.FOUND}"
    )


def record(warehouse: Warehouse, publication: Publication) -> None:
    """Write to the ledger what is published now; the caller holds the transaction."""
    note(warehouse, publication, "ops")
    warehouse.execute(
        "update ops.partitions set published_run_id = last_run_id, "
        "published_loads_through = run_loads_through "
        "where last_run_id is not null and checked"
    )


def check_gate(session: RunSession) -> None:
    """Refuse to publish what is stale, unchecked or found bad.

    Raises:
        UserError: names the reason, and the publication that stays.

    """
    warehouse = session.warehouse
    reason = refusal(session.blocked_by) if session.blocked_by else None
    first, last = warehouse.execute(
        "select min(partition_date), max(partition_date) from ops.partitions "
        "where run_loads_through is not null"
    )[0]
    if session.plan is not None:
        first, last = session.window.start, session.window.end
    if reason is None and first is None:
        reason = "nothing was run yet; run 'tidemark run' first"
    if reason is None:
        stale = warehouse.value(
            "select count(*) from ops.partition_state where stale "
            "and partition_date between ? and ?",
            [first, last],
        )
        if stale:
            reason = f"{stale} dates of {first} .. {last} are stale; run 'tidemark run' first"
    if reason is None:
        pending, since = warehouse.execute(
            "select count(*), min(partition_date) from ops.partition_state "
            "where last_run_id is not null and not checked"
        )[0]
        if pending:
            failed = _last_refusal(warehouse)
            reason = failed or (
                f"{pending} dates from {since} on did not pass their checks; "
                "run 'tidemark run' again"
            )
    if reason:
        raise UserError(f"not published: {reason}; {_what_stays(warehouse)}")


def _last_refusal(warehouse: Warehouse) -> str | None:
    rows = warehouse.execute(
        "select status, error from ops.etl_job_runs where finished_at is not null "
        "order by started_at desc limit 1"
    )
    return rows[0][1] if rows and rows[0][0] == "blocked" else None


def _what_stays(warehouse: Warehouse) -> str:
    last = newest_publication(warehouse)
    if last is None:
        return "nothing was published before"
    return f"publication {last.publication_id} (data through {last.data_through}) stays"


def _last_run(warehouse: Warehouse) -> str | None:
    run_id = warehouse.value(
        "select last_run_id from ops.partitions where last_run_id is not null "
        "order by last_run_at desc limit 1"
    )
    return str(run_id) if run_id else None

"""Retention: what is older than reference data `retention` lets it be goes, for good.

Belongs here: what goes, what stays because something needs it, and removing it in one transaction.
How it is shown belongs in ``orchestration.retention_shown``, when it is done in
``orchestration.removal_jobs``; what closed dates mean for runs in ``orchestration.ledger``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.settings import Settings
from ingest.sql_text import literal
from ingest.warehouse import LOAD_LOCK, WAIT_SECONDS, Warehouse, WarehouseBusy
from orchestration import ledger
from orchestration.dbt_project import DbtProject, seed_rows
from orchestration.relations import Relation, relations
from orchestration.session import RunSession, open_session

if TYPE_CHECKING:
    from orchestration.publication.gate import Publication

#: Farther than any date looks back on a table that retention may shorten: conversions are credited
#: to sessions of up to 366 days before them.
LOOK_BACK = timedelta(days=400)

#: How long a removal on Postgres waits for loads and for readers of raw.events.
LOCK_SECONDS = 60

RAW = "raw.events"

MONTH = re.compile(r"^events_(\d{4})_(\d{2})$")

LONG_AGO = date(1, 1, 1)

#: Old rows that stay: intermediate table -> what else must be true of one that may go. ``old`` is
#: the row, ``{table}`` its table, ``{before}`` the first date that is kept, ``{first_open}`` the
#: first that can be run again: a run writes later rows anew, so that they stand for none.
ONLY_IF = {
    # The next session of a key goes on from its latest one; a session is added up from its dates.
    "int_session_days": (
        "exists (select 1 from {table} as later where later.user_key = old.user_key "
        "and later.channel = old.channel and later.user_key_type = old.user_key_type "
        "and later.event_date > old.event_date and later.event_date < {first_open}) "
        "and not exists (select 1 from {table} as later where later.session_id = old.session_id "
        "and later.event_date >= {before})"
    ),
    "int_session_conversions": (
        "not exists (select 1 from intermediate.int_session_days as later "
        "where later.session_id = old.session_id and later.event_date >= {before})"
    ),
    # A chat goes on from how it was left.
    "int_chat_events": (
        "(not old.is_last_of_date or exists (select 1 from {table} as later "
        "where later.chat_id = old.chat_id and later.is_last_of_date "
        "and later.event_date > old.event_date and later.event_date < {first_open}))"
    ),
}


@dataclass(frozen=True)
class Removal:
    """What goes of one relation: rows before a date. ``less`` says why that is less than is due."""

    relation: str
    kept_days: int
    removed_before: date
    rows: int
    less: str | None = None


@dataclass(frozen=True)
class Retention:
    """What was removed, or in a dry run what would be.

    ``closed_before``: dates before it cannot be run again. ``publication`` is the number of the one
    that showed readers of DuckDB the removal; ``not_published`` says why there is none yet.
    """

    as_of: date
    dry_run: bool
    removals: tuple[Removal, ...]
    closed_before: date | None
    publication: int | None = None
    not_published: str | None = None

    @property
    def rows(self) -> int:
        """Rows of all relations together."""
        return sum(removal.rows for removal in self.removals)


@dataclass(frozen=True)
class Part:
    """Rows of some tables under a condition on a row ``old``; the first table is counted."""

    removal: Removal
    tables: tuple[str, ...]
    condition: str


@dataclass(frozen=True)
class Horizon:
    """Raw events before a date may go; ``first_open`` is the oldest date that can be run again."""

    before: date
    less: str | None
    first_open: date


def retain(
    settings: Settings,
    *,
    dry_run: bool,
    as_of: date | None = None,
    wait_seconds: float = WAIT_SECONDS,
    notify: Callable[[str], None] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Retention:
    """Remove what is too old as of a date (today), or tell what would be removed.

    All in one transaction. A second call finds nothing left, and makes up for a publication that
    did not come about.

    Raises:
        UserError: the date lies in the future, or reference data does not hold.
        WarehouseBusy: a run, a load or a reader did not end in time; nothing was removed.

    """
    today = datetime.now(ZoneInfo(settings.timezone)).date()
    if as_of and as_of > today:
        raise UserError(f"--as-of {as_of} lies in the future; today is {today}")
    kept = kept_days(settings)
    tables = [
        relation
        for relation in relations(DbtProject(settings).manifest)
        if relation.layer in ("intermediate", "marts") and not relation.is_view
    ]
    with open_session(
        settings, wait_seconds=wait_seconds, notify=notify, on_step=on_step
    ) as session:
        on = as_of or today
        if dry_run:
            parts = _parts(session.warehouse, kept, tables, on)
            found = [_counted(session.warehouse, part) for part in parts]
            return _report(session.warehouse, found, on, dry_run=True)
        session.say("removing what is too old")
        removals = _remove(session.warehouse, kept, tables, on)
        return _publish(session, _report(session.warehouse, removals, on, dry_run=False))


def kept_days(settings: Settings) -> dict[str, int | None]:
    """Return what reference data names -> days, None for good.

    Raises:
        UserError: reference data does not hold.

    """
    DbtProject(settings).ensure_manifest()
    rows = seed_rows(settings, "retention")
    return {row["what"]: int(row["kept_days"]) if row["kept_days"] else None for row in rows}


def _report(
    warehouse: Warehouse, removals: Sequence[Removal], on: date, *, dry_run: bool
) -> Retention:
    closed = ledger.closed_dates(warehouse)
    return Retention(on, dry_run, tuple(removals), closed.before if closed else None)


# -- what goes -----------------------------------------------------------------------------------


def _parts(
    warehouse: Warehouse, kept: Mapping[str, int | None], tables: Sequence[Relation], on: date
) -> Iterator[Part]:
    """Yield what is to go, in the order in which it is removed; but raw events go last."""
    first = warehouse.value("select min(partition_date) from ops.partitions")
    closed = ledger.closed_dates(warehouse)
    first_open = closed.before if closed else (first or on)
    raw_days = kept["raw_events"]
    if raw_days is not None:
        horizon = _horizon(warehouse, on - timedelta(days=raw_days), closed)
        first_open = horizon.first_open
        removal = Removal(RAW, raw_days, horizon.before, 0, horizon.less)
        yield Part(removal, (RAW,), f"old.event_date < {_day(horizon.before)}")
    yield from _operations(warehouse, kept, on, first_open)
    newest = warehouse.value(
        "select max(partition_date) from ops.partitions where run_loads_through is not null"
    )
    if newest is None:
        return
    restated = []
    for table in tables:
        days = _days_of(kept, table.name)
        if days is None or table.date_column is None:
            continue
        part = _table_part(warehouse, table, days, min(newest, on), first_open)
        if part is None:
            continue
        yield part
        if table.layer == "marts":
            restated.append(
                f"(old.relation = {literal(table.name)} "
                f"and old.metric_date < {_day(part.removal.removed_before)})"
            )
            last = part.removal
    if restated:
        # What a row was before tells as much of a person as the row.
        yield Part(
            replace(last, relation="ops.restatements", less=None),
            ("ops.restatements",),
            " or ".join(restated),
        )


def _horizon(warehouse: Warehouse, cut: date, closed: ledger.ClosedDates | None) -> Horizon:
    """Find how far raw events may go: never what a date needs that was not run and published."""
    since = closed.before if closed else LONG_AGO
    waiting = warehouse.execute(
        "select partition_date, stale, checked, published from ops.partition_state "
        "where partition_date >= ? and partition_date < ? "
        "and (stale or prepared_stale or not checked or not published) "
        "order by partition_date limit 1",
        [since, cut],
    )
    last = warehouse.value("select max(partition_date) from ops.partitions")
    before, less = min(cut, last + timedelta(days=1) if last else LONG_AGO), None
    if waiting:
        before, stale, checked, published = waiting[0]
        if stale or not checked or not published:
            state = "is stale" if stale else "was not published" if checked else "was not checked"
            less = f"held back: {before} {state}; run 'tidemark run'"
        else:
            less = f"held back: {before} waits for the next run, which leaves out who was erased"
    if warehouse.target == "postgres" and _splits_a_month(warehouse, before):
        less = less or f"{before.replace(day=1)} on goes with the rest of its month"
        before = before.replace(day=1)
    before = max(before, since)
    loses = warehouse.value(f"select 1 from raw.events where event_date < {_day(before)} limit 1")
    first = warehouse.value("select min(partition_date) from ops.partitions")
    return Horizon(before, less, before if loses else max(since, first or LONG_AGO))


def _splits_a_month(warehouse: Warehouse, before: date) -> bool:
    following = (before.replace(day=1) + timedelta(days=32)).replace(day=1)
    rest = f"event_date >= {_day(before)} and event_date < {_day(following)}"
    return before.day > 1 and bool(
        warehouse.value(f"select 1 from raw.events where {rest} limit 1")
    )


def _operations(
    warehouse: Warehouse, kept: Mapping[str, int | None], on: date, first_open: date
) -> Iterator[Part]:
    def part(what: str, table: str, condition: str, less: str | None = None) -> Iterator[Part]:
        days = kept[what]
        if days is not None:
            before = on - timedelta(days=days)
            at = f"timestamp '{before.isoformat()} 00:00:00'"
            removal = Removal(table, days, before, 0, less)
            yield Part(removal, (table,), condition.replace("{at}", at))

    yield from part("quarantine", "ops.rejected_events", "old.rejected_at < {at}")
    # Load numbers go on from the newest load. What is in raw.events names its load.
    needed = (
        "exists (select 1 from ops.load_dates as dates where dates.load_id = old.load_id "
        f"and dates.event_date >= {_day(first_open)})"
    )
    all_old = "old.finished_at < {at} and old.load_id < (select max(load_id) from ops.loads)"
    old_load = f"{all_old} and not {needed}"
    less = f"loads with events of {first_open} or later stay"
    of_old_loads = f"old.load_id in (select old.load_id from ops.loads as old where {old_load})"
    for table in ("ops.unknown_properties", "ops.load_dates"):
        yield from part("loads", table, of_old_loads)
    for found in part("loads", "ops.loads", f"{all_old} and {needed}"):
        held = warehouse.value(f"select 1 from ops.loads as old where {found.condition} limit 1")
        yield from part("loads", "ops.loads", old_load, less if held else None)
    # `status` and the gate of publication look at the newest of both.
    yield from part(
        "runs",
        "ops.etl_job_runs",
        "old.started_at < {at} and old.status <> 'running' and old.run_id <> "
        "(select run_id from ops.etl_job_runs order by started_at desc limit 1)",
    )
    yield from part(
        "check_results",
        "ops.check_results",
        "old.checked_at < {at} and old.run_id <> "
        "(select run_id from ops.check_results order by checked_at desc, run_id desc limit 1)",
    )


def _days_of(kept: Mapping[str, int | None], name: str) -> int | None:
    if name in kept:
        return kept[name]
    return next((days for what, days in kept.items() if fnmatchcase(name, what)), None)


def _table_part(
    warehouse: Warehouse, table: Relation, days: int, newest: date, first_open: date
) -> Part | None:
    """Return what goes of a table, counted back from the newest date run."""
    if not warehouse.relation_exists(table.schema, table.name):
        return None
    before, less = newest - timedelta(days=days), None
    # A date that can be run again would write its row again, and looks back on the dates before it.
    if before > (needed := _earlier(first_open, LOOK_BACK)):
        before, less = needed, f"held back: {first_open} can be run again and looks back on it"
    names = [table.full_name]
    readers = f'marts."{table.name}"'
    if table.layer == "marts" and table.full_name != readers:
        names += [readers] if warehouse.relation_exists("marts", table.name) else []
    condition = f'old."{table.date_column}" < {_day(before)}'
    if table.name in ONLY_IF:
        also = ONLY_IF[table.name].format(
            table=table.full_name, before=_day(before), first_open=_day(first_open)
        )
        condition = f"{condition} and {also}"
    removal = Removal(f"{table.layer}.{table.name}", days, before, 0, less)
    return Part(removal, tuple(names), condition)


def _earlier(day: date, by: timedelta) -> date:
    return day - by if day - LONG_AGO > by else LONG_AGO


def _day(day: date) -> str:
    return f"date '{day.isoformat()}'"


# -- removing it ---------------------------------------------------------------------------------


def _counted(warehouse: Warehouse, part: Part) -> Removal:
    rows = int(
        warehouse.value(f"select count(*) from {part.tables[0]} as old where {part.condition}")
    )
    return replace(part.removal, rows=rows)


def _remove(
    warehouse: Warehouse, kept: Mapping[str, int | None], tables: Sequence[Relation], on: date
) -> list[Removal]:
    if warehouse.target == "postgres":
        import psycopg

        try:
            return _remove_at_once(warehouse, kept, tables, on)
        except psycopg.errors.LockNotAvailable:
            raise WarehouseBusy(
                "a load or a reader of raw.events did not end in time; nothing was removed, try "
                "again when it has finished"
            ) from None
    removals = _remove_at_once(warehouse, kept, tables, on)
    # Only what is written down is free for what comes next.
    warehouse.execute("checkpoint")
    return removals


def _remove_at_once(
    warehouse: Warehouse, kept: Mapping[str, int | None], tables: Sequence[Relation], on: date
) -> list[Removal]:
    with warehouse.transaction():
        if warehouse.target == "postgres":
            from orchestration.publication.postgres_tables import PUBLISH_LOCK

            warehouse.execute(f"set local lock_timeout to '{LOCK_SECONDS}s'")
            # No load is in flight, so that none slips in behind the horizon.
            for lock in (LOAD_LOCK, PUBLISH_LOCK):
                warehouse.execute("select pg_advisory_xact_lock(?)", [lock])
        parts = list(_parts(warehouse, kept, tables, on))
        removals = [_counted(warehouse, part) for part in parts]
        _note(warehouse, removals)
        due = [part for part, removal in zip(parts, removals, strict=True) if removal.rows]
        # Postgres locks all of raw.events while it drops a month: that comes last.
        for part in sorted(due, key=lambda part: part.removal.relation == RAW):
            _delete(warehouse, part)
        return removals


def _delete(warehouse: Warehouse, part: Part) -> None:
    if part.removal.relation == RAW and warehouse.target == "postgres":
        _drop_months(warehouse, part.removal.removed_before)
        return
    for table in part.tables:
        warehouse.execute(f"delete from {table} as old where {part.condition}")


def _drop_months(warehouse: Warehouse, before: date) -> None:
    for (name,) in warehouse.execute(
        "select child.relname from pg_inherits "
        "inner join pg_class as child on child.oid = pg_inherits.inhrelid "
        "where pg_inherits.inhparent = to_regclass('raw.events') order by child.relname"
    ):
        found = MONTH.match(name)
        if not found or date(int(found.group(1)), int(found.group(2)), 1) >= before:
            continue
        condition = f"event_date >= {_day(before)}"
        if warehouse.value(f'select 1 from raw."{name}" where {condition} limit 1'):
            # Dates of a month were closed before others of it had events.
            warehouse.execute(f'delete from raw."{name}" where not ({condition})')
        else:
            warehouse.execute(f'drop table raw."{name}"')


def _note(warehouse: Warehouse, removals: Sequence[Removal]) -> None:
    """Write the receipt, and which dates are closed now."""
    at = utc_now()
    number = int(warehouse.value("select coalesce(max(retention_id), 0) + 1 from ops.retentions"))
    warehouse.insert_many(
        "ops.retentions",
        ("retention_id", "applied_at", "relation", "kept_days", "removed_before", "rows"),
        [[number, at, r.relation, r.kept_days, r.removed_before, r.rows]
         for r in removals if r.rows],
    )  # fmt: skip
    closed = ledger.closed_dates(warehouse)
    for removal in removals:
        lost = removal.relation == RAW and removal.rows > 0
        if lost and (closed is None or closed.before < removal.removed_before):
            warehouse.execute("delete from ops.closed_dates")
            warehouse.execute(
                "insert into ops.closed_dates (closed_before, closed_at) values (?, ?)",
                [removal.removed_before, at],
            )


# -- showing readers of DuckDB -------------------------------------------------------------------


def _publish(session: RunSession, done: Retention) -> Retention:
    """Publish again when readers still see what was removed, if the gate lets it."""
    if not _readers_see_more(session.warehouse):
        return done
    from orchestration.runs import publish_now

    try:
        publication: Publication = publish_now(session)
    except UserError as error:
        return replace(done, not_published=str(error))
    return replace(done, publication=publication.publication_id)


def _readers_see_more(warehouse: Warehouse) -> bool:
    return warehouse.target == "duckdb" and bool(
        warehouse.value(
            "select 1 from ops.retentions where relation like 'marts.%' "
            "and applied_at > (select max(published_at) from ops.publications) limit 1"
        )
    )

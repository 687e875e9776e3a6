"""Publication on Postgres: what was run is copied from ``build`` to ``marts`` in one transaction.

Tables of ``marts`` are made once and never dropped, so that policies and grants hold at every
moment; readers see the state before or the state after.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from ingest.warehouse import RUN_LOCK, Warehouse
from orchestration import restatements
from orchestration.publish import Publication, record
from orchestration.relations import Relation
from orchestration.session import RunSession

PUBLISH_LOCK = RUN_LOCK + 1

SCHEMA = "marts"

#: How far before a run a row can end that reached into it: what a session's longest gap spans.
SPAN_REACH = timedelta(days=2)

#: Rows of the owner, for whoever publishes; other roles get policies of their own.
OWNER_POLICY = "owner"


def copy_marts(
    session: RunSession,
    marts: Sequence[Relation],
    publication: Publication,
    last: Publication | None,
) -> Publication:
    """Copy the dates that were run since they were published, and tables that know no dates."""
    warehouse = session.warehouse
    database = warehouse.value("select current_database()")
    publication = replace(publication, location=f"database {database}, schema {SCHEMA}")
    with warehouse.transaction():
        warehouse.execute("select pg_advisory_xact_lock(?)", [PUBLISH_LOCK])
        warehouse.execute(f"create schema if not exists {SCHEMA}")
        restatements.find(
            warehouse,
            marts,
            published_through=last.data_through if last else None,
            publishing_through=publication.data_through,
            catalog=database,
        )
        dates = _dates_to_copy(warehouse)
        tables = [mart for mart in marts if not mart.is_view]
        views = [mart for mart in marts if mart.is_view]
        if any(_changed_types(warehouse, mart) for mart in tables):
            # Postgres changes no type under a view; they come back in the same transaction.
            for view in views:
                warehouse.execute(f'drop view if exists {SCHEMA}."{view.name}"')
        for mart in tables:
            made = ensure_table(warehouse, mart)
            _copy(warehouse, mart, None if made else dates)
        for view in views:
            ensure_view(warehouse, view)
        record(warehouse, publication)
    for mart in tables:
        warehouse.execute(f'analyze {SCHEMA}."{mart.name}"')
    return publication


def _dates_to_copy(warehouse: Warehouse) -> list[date] | None:
    """Return the dates that were run since their publication; None means everything."""
    rows = warehouse.execute(
        "select partition_date, published from ops.partition_state where last_run_id is not null"
    )
    if not any(published for _, published in rows):
        return None
    return sorted(day for day, published in rows if not published)


def _columns(warehouse: Warehouse, schema: str, name: str) -> dict[str, str]:
    rows = warehouse.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = to_regclass(?) and attnum > 0 and not attisdropped order by attnum",
        [f'{schema}."{name}"'],
    )
    return {str(column): str(kind) for column, kind in rows}


def _changed_types(warehouse: Warehouse, mart: Relation) -> dict[str, str]:
    """Return the columns of readers that have another type now, with that type."""
    present = _columns(warehouse, SCHEMA, mart.name)
    return {
        column: kind
        for column, kind in _columns(warehouse, mart.schema, mart.name).items()
        if column in present and present[column] != kind
    }


def ensure_table(warehouse: Warehouse, mart: Relation) -> bool:
    """Create the readers' table, or its newest columns; return whether it was made anew."""
    wanted = _columns(warehouse, mart.schema, mart.name)
    present = _columns(warehouse, SCHEMA, mart.name)
    table = f'{SCHEMA}."{mart.name}"'
    changed = not present
    if not present:
        columns = ", ".join(f'"{column}" {kind}' for column, kind in wanted.items())
        warehouse.execute(f"create table {table} ({columns})")
        warehouse.execute(f"alter table {table} enable row level security")
        warehouse.execute(f"alter table {table} force row level security")
        warehouse.execute(
            f"create policy {OWNER_POLICY} on {table} to current_user "
            "using (true) with check (true)"
        )
        if mart.date_column:
            warehouse.execute(f'create index on {table} ("{mart.date_column}")')
        for column in mart.lookup_columns:
            warehouse.execute(f'create index on {table} ("{column}")')
    for column, kind in wanted.items() if present else ():
        if column not in present:
            warehouse.execute(f'alter table {table} add column "{column}" {kind}')
            changed = True
    for column, kind in _changed_types(warehouse, mart).items():
        warehouse.execute(
            f'alter table {table} alter column "{column}" type {kind} using "{column}"::{kind}'
        )
        changed = True
    if changed:
        _describe(warehouse, mart)
    return changed


def ensure_view(warehouse: Warehouse, mart: Relation) -> None:
    """Create or replace a view of readers, over their tables and with their rights."""
    query = warehouse.value("select pg_get_viewdef(to_regclass(?))", [mart.full_name])
    query = re.sub(rf'\b"?{mart.schema}"?\.', f"{SCHEMA}.", query)
    made = _columns(warehouse, SCHEMA, mart.name)
    if made and made != _columns(warehouse, mart.schema, mart.name):
        # A view cannot be replaced by one of other columns.
        warehouse.execute(f'drop view {SCHEMA}."{mart.name}"')
        made = {}
    warehouse.execute(
        f'create or replace view {SCHEMA}."{mart.name}" with (security_invoker = true) as {query}'
    )
    if not made:
        _describe(warehouse, mart)


def _describe(warehouse: Warehouse, mart: Relation) -> None:
    kind = "view" if mart.is_view else "table"
    texts = [(f'{kind} {SCHEMA}."{mart.name}"', mart.description)]
    texts += [
        (f'column {SCHEMA}."{mart.name}"."{c}"', text) for c, text in mart.column_descriptions
    ]
    for what, text in texts:
        if text:
            words = " ".join(text.split()).replace("'", "''")
            warehouse.execute(f"comment on {what} is '{words}'")


def _copy(warehouse: Warehouse, mart: Relation, dates: list[date] | None) -> None:
    columns = ", ".join(f'"{name}"' for name in _columns(warehouse, mart.schema, mart.name))
    key = ", ".join(f'"{name}"' for name in mart.grain)
    table = f'{SCHEMA}."{mart.name}"'
    ours = f"select {columns} from {mart.full_name}"
    if dates is None or not key:
        warehouse.execute(f"delete from {table}")
        warehouse.execute(f"insert into {table} ({columns}) {ours}")
        return
    if not mart.date_column or mart.whole:
        # Rows that are as they were stay: nothing to write, and nothing to clean up after.
        theirs = f"select {columns} from {table}"
        gone = f"select {key} from ({theirs} except {ours}) as gone"
        warehouse.execute(f"delete from {table} where ({key}) in ({gone})")
        warehouse.execute(f"insert into {table} ({columns}) {ours} except {theirs}")
        return
    if not dates:
        return
    where = f' where "{mart.date_column}" = any(?)'
    values: list[Any] = [dates]
    if mart.since_column:
        where = f' where "{mart.since_column}" <= ? and "{mart.date_column}" >= ?'
        values = [dates[-1], dates[0] - SPAN_REACH]
        # A row that got longer, or shorter, may have been published under other dates.
        changed = f"select {key} from {mart.full_name}{where}"
        warehouse.execute(f"delete from {table} where ({key}) in ({changed})", values)
    warehouse.execute(f"delete from {table}{where}", values)
    warehouse.execute(f"insert into {table} ({columns}) {ours}{where}", values)

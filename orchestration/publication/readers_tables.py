"""Readers' tables on Postgres: schema ``marts``, made from the contracts of the models.

Belongs here: making a table or view, adding a column, changing a type. They are never dropped, so
that policies and grants hold at every moment. Who may read them is the matter of
``orchestration.access``, what is in them that of ``orchestration.publication.postgres_tables``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ingest.sql_text import literal
from ingest.warehouse import Warehouse
from orchestration.relations import READERS_SCHEMA as SCHEMA
from orchestration.relations import Relation


def columns(warehouse: Warehouse, schema: str, name: str) -> dict[str, str]:
    """Return the types of a relation's columns in their order; empty when it is not there."""
    rows = warehouse.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = to_regclass(?) and attnum > 0 and not attisdropped order by attnum",
        [f'{schema}."{name}"'],
    )
    return {str(column): str(kind) for column, kind in rows}


def _spelled(warehouse: Warehouse, marts: Sequence[Relation]) -> dict[str, str]:
    """Return the types of contracts as Postgres spells them: timestamp without time zone."""
    kinds = sorted({kind for mart in marts for kind in mart.contract.values()})
    if not kinds:
        return {}
    types = ", ".join(f"format_type(pg_typeof(cast(null as {kind}))::oid, -1)" for kind in kinds)
    return dict(zip(kinds, warehouse.execute(f"select {types}")[0], strict=True))


def make(warehouse: Warehouse, marts: Sequence[Relation]) -> list[str]:
    """Bring tables and views of readers to the contracts, and return what was done.

    The caller holds the transaction. Tables that are new or have a new column are noted in
    ops.unfilled_relations: the next publication copies all of their rows.
    """
    done: list[str] = []
    views = [mart for mart in marts if mart.is_view]
    spelled = _spelled(warehouse, marts)
    tables = []
    for mart in marts:
        wanted = {column: spelled[kind] for column, kind in mart.contract.items()}
        # Of a model without a contract: what dbt has made.
        wanted = wanted or columns(warehouse, mart.schema, mart.name)
        if wanted and not mart.is_view:
            tables.append((mart, wanted, columns(warehouse, SCHEMA, mart.name)))
    if any(_changed_types(wanted, present) for _, wanted, present in tables):
        # Postgres changes no type under a view; they come back in the same transaction.
        for view in views:
            warehouse.execute(f'drop view if exists {SCHEMA}."{view.name}"')
    for mart, wanted, present in tables:
        found = _make_table(warehouse, mart, wanted, present)
        if found:
            done += found
            warehouse.execute(
                "insert into ops.unfilled_relations (relation) values (?) on conflict do nothing",
                [mart.name],
            )
    for view in views:
        if columns(warehouse, view.schema, view.name):
            done += _make_view(warehouse, view)
    return done


def _changed_types(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    return {
        column: kind
        for column, kind in wanted.items()
        if column in present and present[column] != kind
    }


def _make_table(
    warehouse: Warehouse, mart: Relation, wanted: Mapping[str, str], present: Mapping[str, str]
) -> list[str]:
    table = f'{SCHEMA}."{mart.name}"'
    done = []
    if not present:
        spelled = ", ".join(f'"{column}" {kind}' for column, kind in wanted.items())
        warehouse.execute(f"create table {table} ({spelled})")
        warehouse.execute(
            f"alter table {table} enable row level security, force row level security"
        )
        for column in filter(None, (mart.date_column, *mart.lookup_columns)):
            warehouse.execute(f'create index on {table} ("{column}")')
        done.append(f"table {SCHEMA}.{mart.name}")
    for column, kind in wanted.items() if present else ():
        if column not in present:
            warehouse.execute(f'alter table {table} add column "{column}" {kind}')
            done.append(f"column {SCHEMA}.{mart.name}.{column}")
    for column, kind in _changed_types(wanted, present).items():
        warehouse.execute(
            f'alter table {table} alter column "{column}" type {kind} using "{column}"::{kind}'
        )
        done.append(f"type of {SCHEMA}.{mart.name}.{column}: {kind}")
    if done:
        _describe(warehouse, mart)
    return done


def _make_view(warehouse: Warehouse, mart: Relation) -> list[str]:
    """Create or replace a view of readers, over their tables and with their rights."""
    query = warehouse.value("select pg_get_viewdef(to_regclass(?))", [mart.full_name])
    query = re.sub(rf'\b"?{mart.schema}"?\.', f"{SCHEMA}.", query)
    made = columns(warehouse, SCHEMA, mart.name)
    if made and made != columns(warehouse, mart.schema, mart.name):
        # A view cannot be replaced by one of other columns.
        warehouse.execute(f'drop view {SCHEMA}."{mart.name}"')
        made = {}
    warehouse.execute(
        f'create or replace view {SCHEMA}."{mart.name}" with (security_invoker = true) as {query}'
    )
    if made:
        return []
    _describe(warehouse, mart)
    return [f"view {SCHEMA}.{mart.name}"]


def _describe(warehouse: Warehouse, mart: Relation) -> None:
    kind = "view" if mart.is_view else "table"
    texts: Iterable[tuple[str, str]] = [
        (f'{kind} {SCHEMA}."{mart.name}"', mart.description),
        *((f'column {SCHEMA}."{mart.name}"."{c.name}"', c.description) for c in mart.columns),
    ]
    for what, text in texts:
        if text:
            warehouse.execute(f"comment on {what} is {literal(' '.join(text.split()))}")

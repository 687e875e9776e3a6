"""What a publication has to write: the dates of each mart that are not as readers have them.

Belongs here: which dates those are, and bringing one published table up to date with its mart, the
same on both engines. Which tables are written whole is decided by ``duckdb_file`` and
``postgres_tables`` of this package, which hand the result out; which cells differ, and why, is
found by ``restatements``.

Two tables are compared by date: how many rows there are, and the sum of a 64-bit hash of each.
Hashes cost a quarter of what joining the rows does, and a run that computes a year again mostly
finds what it was. Both engines hash the values of rows, not bytes: what is equal to SQL stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ingest.sql_text import identifiers, literal
from ingest.warehouse import Warehouse
from orchestration.relations import READERS_SCHEMA, Relation

#: How far before a run a row can end that reached into it: what a session's longest gap spans.
SPAN_REACH = timedelta(days=2)

#: Temporary table of the session: relation, metric_date and row_count of what ``find`` found.
CHANGED = "changed_dates"

#: Stands for no date where dates are compared.
UNDATED = date.min


@dataclass(frozen=True)
class Column:
    """A column of a table: its type as the engine names it, and whether it may be null."""

    kind: str
    nullable: bool


@dataclass(frozen=True)
class Change:
    """What of a mart is not as readers have it.

    ``dates`` are those on which rows differ, in order, none when nothing does; None when rows
    without a date differ. ``row_count`` is how many rows the mart has of them.
    """

    dates: tuple[date, ...] | None
    row_count: int


def columns_by_table(
    warehouse: Warehouse, catalog: str, schema: str
) -> dict[str, dict[str, Column]]:
    """Return the columns of every relation of a schema, in their order."""
    found: dict[str, dict[str, Column]] = {}
    for table, column, kind, nullable in warehouse.execute(
        "select table_name, column_name, data_type, is_nullable from information_schema.columns "
        "where table_catalog = ? and table_schema = ? order by table_name, ordinal_position",
        [catalog, schema],
    ):
        found.setdefault(table, {})[column] = Column(str(kind).lower(), nullable == "YES")
    return found


def columns_beside(
    warehouse: Warehouse, marts: Sequence[Relation], catalog: str
) -> dict[str, tuple[dict[str, Column], dict[str, Column]]]:
    """Return by name the columns of each mart that is a table: as readers have it, and as it is.

    Without any where there is no such table; ``catalog`` is the database of readers.
    """
    here = str(warehouse.value("select current_database()"))
    before = columns_by_table(warehouse, catalog, READERS_SCHEMA)
    after = {
        schema: columns_by_table(warehouse, here, schema)
        for schema in {mart.schema for mart in marts}
    }
    return {
        mart.name: (before.get(mart.name, {}), after[mart.schema].get(mart.name, {}))
        for mart in marts
        if not mart.is_view
    }


def dates_to_publish(warehouse: Warehouse) -> list[date] | None:
    """Return the dates that were run since their publication, in order; None means everything."""
    rows = warehouse.execute(
        "select partition_date, published from ops.partition_state where last_run_id is not null"
    )
    if not any(published for _, published in rows):
        return None
    return sorted(day for day, published in rows if not published)


def find(warehouse: Warehouse, marts: Sequence[Relation], catalog: str | None) -> dict[str, Change]:
    """Return by name what differs of each mart whose table readers have with the same columns.

    ``catalog`` is the database whose schema ``marts`` readers see now; None when there is nothing
    to compare with. Only dates that were run since their publication are looked at, in marts that
    a run rewrites all of them.
    """
    warehouse.execute(f"drop table if exists {CHANGED}")
    warehouse.execute(
        f"create temporary table {CHANGED} (relation varchar, metric_date date, row_count bigint)"
    )
    if catalog is None:
        return {}
    dates = dates_to_publish(warehouse)
    columns = columns_beside(warehouse, marts, catalog)
    compared = []
    for mart in marts:
        had, kinds = (
            {name: column.kind for name, column in side.items()}
            for side in columns.get(mart.name, ({}, {}))
        )
        if not kinds or kinds != had:
            continue
        compared.append(mart.name)
        where, values = "", list[Any]()
        if mart.date_column and not mart.whole and dates is not None:
            if not dates:
                continue
            where, values = _run_rows(mart, dates)
        old, new = (
            _digests(warehouse, mart, table, list(kinds), where)
            for table in (f'"{catalog}".{READERS_SCHEMA}."{mart.name}"', mart.full_name)
        )
        warehouse.execute(
            f"""
            insert into {CHANGED} (relation, metric_date, row_count)
            select
                {literal(mart.name)},
                coalesce(old.metric_date, new.metric_date),
                coalesce(new.row_count, 0)
            from ({old}) as old
            full join ({new}) as new on old.metric_date = new.metric_date
            where
                old.row_count is distinct from new.row_count
                or old.digest is distinct from new.digest
            """,
            [*values, *values],
        )
    found: dict[str, list[tuple[date, int]]] = {name: [] for name in compared}
    for name, day, count in warehouse.execute(
        f"select relation, metric_date, row_count from {CHANGED} order by metric_date"
    ):
        found[name].append((day, count))
    return {name: _change(differing) for name, differing in found.items()}


def _change(differing: Sequence[tuple[date, int]]) -> Change:
    dates = tuple(day for day, _ in differing)
    return Change(None if UNDATED in dates else dates, sum(count for _, count in differing))


def _digests(
    warehouse: Warehouse, mart: Relation, table: str, names: Sequence[str], where: str
) -> str:
    undated = f"cast('{UNDATED}' as date)"
    day = f'coalesce("{mart.date_column}", {undated})' if mart.date_column else undated
    row = identifiers(names)
    # Hashed once more: of hashes of columns both make a row's with little more than a sum, and
    # values that change places between rows would not change a sum of sums.
    value = f"hash(hash({row}))"
    if warehouse.target == "postgres":
        value = f"hashint8extended(hash_record_extended(row({row}), 0), 0)"
    return (
        f"select {day} as metric_date, count(*) as row_count, sum({value}) as digest "
        f"from {table} {where} group by {day}"
    )


def _run_rows(mart: Relation, dates: Sequence[date]) -> tuple[str, list[Any]]:
    """Return the condition, and its values, of the rows that a run of some dates may change."""
    if mart.since_column:
        where = f'where "{mart.since_column}" <= ? and "{mart.date_column}" >= ?'
        return where, [dates[-1], dates[0] - SPAN_REACH]
    return f'where "{mart.date_column}" = any(?)', [list(dates)]


def copy_dates(
    warehouse: Warehouse, mart: Relation, table: str, columns: str, dates: Sequence[date]
) -> None:
    """Put the rows of some dates of a mart in the place of those that ``table`` has of them.

    ``table`` and ``columns`` are as SQL names them; the mart has a date column and a grain.
    """
    if not dates:
        return
    where, values = f'where "{mart.date_column}" = any(?)', [list(dates)]
    if mart.since_column:
        # A row that got longer, or shorter, may have been published under other dates.
        key = identifiers(mart.grain)
        changed = f"select {key} from {mart.full_name} {where}"
        warehouse.execute(f"delete from {table} where ({key}) in ({changed})", values)
    order = f' order by "{mart.ordered_by}"' if mart.ordered_by else ""
    warehouse.execute(f"delete from {table} {where}", values)
    warehouse.execute(
        f"insert into {table} ({columns}) select {columns} from {mart.full_name} {where}{order}",
        values,
    )

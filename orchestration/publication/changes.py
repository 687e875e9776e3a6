"""What a publication has to write: the dates that were run since they were published.

Belongs here: which dates those are, and bringing one published table up to date with its mart, the
same on both engines. Which tables are written whole is decided by ``duckdb_file`` and
``postgres_tables`` of this package, which hand the result out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from ingest.sql_text import identifiers
from ingest.warehouse import Warehouse
from orchestration.relations import Relation

#: How far before a run a row can end that reached into it: what a session's longest gap spans.
SPAN_REACH = timedelta(days=2)


def dates_to_publish(warehouse: Warehouse) -> list[date] | None:
    """Return the dates that were run since their publication, in order; None means everything."""
    rows = warehouse.execute(
        "select partition_date, published from ops.partition_state where last_run_id is not null"
    )
    if not any(published for _, published in rows):
        return None
    return sorted(day for day, published in rows if not published)


def copy_dates(
    warehouse: Warehouse, mart: Relation, table: str, columns: str, dates: Sequence[date]
) -> None:
    """Put the rows of some dates of a mart in the place of those that ``table`` has of them.

    ``table`` and ``columns`` are as SQL names them; the mart has a date column and a grain.
    """
    if not dates:
        return
    where = f' where "{mart.date_column}" = any(?)'
    values: list[Any] = [list(dates)]
    if mart.since_column:
        where = f' where "{mart.since_column}" <= ? and "{mart.date_column}" >= ?'
        values = [dates[-1], dates[0] - SPAN_REACH]
        # A row that got longer, or shorter, may have been published under other dates.
        key = identifiers(mart.grain)
        changed = f"select {key} from {mart.full_name}{where}"
        warehouse.execute(f"delete from {table} where ({key}) in ({changed})", values)
    order = f' order by "{mart.ordered_by}"' if mart.ordered_by else ""
    warehouse.execute(f"delete from {table}{where}", values)
    warehouse.execute(
        f"insert into {table} ({columns}) select {columns} from {mart.full_name}{where}{order}",
        values,
    )

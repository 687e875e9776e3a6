"""Publication on Postgres: what a run changed is copied from ``build`` to ``marts``, at once.

Tables of ``marts`` are made once and never dropped, so that policies and grants hold at every
moment; readers see the state before or the state after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingest.sql_text import identifier, identifiers
from ingest.warehouse import RUN_LOCK, Warehouse
from orchestration.access.migrate import settle_within
from orchestration.access.roles import PUBLISHER
from orchestration.publication import changes, restatements
from orchestration.publication.changes import Change, copy_dates
from orchestration.publication.gate import Publication, record
from orchestration.publication.readers_tables import columns as columns_of
from orchestration.relations import READERS_SCHEMA as SCHEMA
from orchestration.relations import Relation
from orchestration.session import RunSession

PUBLISH_LOCK = RUN_LOCK + 1

#: A table is analysed again when more than this share of its rows is new.
ANALYZE_SHARE = 0.1


def copy_marts(
    session: RunSession,
    marts: Sequence[Relation],
    publication: Publication,
    last: Publication | None,
) -> Publication:
    """Copy what is not as readers have it: dates of tables, rows of those that know no dates."""
    warehouse = session.warehouse
    database = warehouse.value("select current_database()")
    publication = replace(publication, location=f"database {database}, schema {SCHEMA}")
    with warehouse.transaction():
        warehouse.execute("select pg_advisory_xact_lock(?)", [PUBLISH_LOCK])
        catalog = database if last else None
        changed = changes.find(warehouse, marts, catalog)
        restatements.find(
            warehouse,
            marts,
            published_through=last.data_through if last else None,
            publishing_through=publication.data_through,
            catalog=catalog,
            changes=changed,
        )
        settle_within(session.settings, warehouse, marts)
        unfilled = {
            name for (name,) in warehouse.execute("select relation from ops.unfilled_relations")
        }
        tables = [mart for mart in marts if not mart.is_view]
        warehouse.execute(f"set local role {PUBLISHER}")
        for mart in tables:
            _copy(warehouse, mart, None if mart.name in unfilled else changed.get(mart.name))
        warehouse.execute("reset role")
        warehouse.execute("delete from ops.unfilled_relations")
        record(warehouse, publication)
    _analyze(warehouse)
    return publication


def _analyze(warehouse: Warehouse) -> None:
    """Have the planner know new tables, and those of which much is new; others it knows."""
    # The numbers of this session, which may not have been told yet.
    warehouse.execute("select pg_stat_force_next_flush()")
    changed = warehouse.execute(
        f"""
        select t.relname
        from pg_stat_user_tables as t
        inner join pg_class as c on c.oid = t.relid
        where
            t.schemaname = '{SCHEMA}'
            and (c.reltuples < 0 or t.n_mod_since_analyze > {ANALYZE_SHARE} * c.reltuples)
        """
    )
    for (name,) in changed:
        warehouse.execute(f"analyze {SCHEMA}.{identifier(name)}")


def _copy(warehouse: Warehouse, mart: Relation, change: Change | None) -> None:
    """Bring a table of readers up to date: what is known to differ, or all of it."""
    if change is not None and change.dates == ():
        return
    columns = identifiers(columns_of(warehouse, mart.schema, mart.name))
    table = f'{SCHEMA}."{mart.name}"'
    ours = f"select {columns} from {mart.full_name}"
    if change is not None and mart.grain and (mart.whole or not mart.date_column):
        # Rows that are as they were stay: nothing to write, and nothing to clean up after.
        key = identifiers(mart.grain)
        theirs = f"select {columns} from {table}"
        days = []
        if mart.date_column and change.dates:
            on_them = f' where "{mart.date_column}" = any(?)'
            ours, theirs, days = ours + on_them, theirs + on_them, [list(change.dates)] * 2
        gone = f"select {key} from ({theirs} except {ours}) as gone"
        warehouse.execute(f"delete from {table} where ({key}) in ({gone})", days)
        warehouse.execute(f"insert into {table} ({columns}) {ours} except {theirs}", days)
    elif change is not None and mart.grain and change.dates:
        copy_dates(warehouse, mart, table, columns, change.dates)
    else:
        warehouse.execute(f"delete from {table}")
        warehouse.execute(f"insert into {table} ({columns}) {ours}")

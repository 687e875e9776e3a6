"""The schema a warehouse starts with: ordered SQL files, raw.events from the contracts.

Belongs here: what is created before the first event comes in, and the record of it in
ops.migrations. Readers' tables and who may read them belong in ``orchestration.access``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.clock import utc_now
from ingest.registry import SQL_TYPES, registry

if TYPE_CHECKING:
    from ingest.warehouse import Warehouse

#: ``NNN_subject.sql`` is for both engines, ``NNN_subject.postgres.sql`` for Postgres alone.
MIGRATIONS = Path(__file__).parent / "migrations"

MIGRATE_LOCK = 0x7469646500000011

RECORD = """
create table if not exists ops.migrations (
    name varchar primary key,
    applied_at timestamp not null
)
"""


def migrate(warehouse: Warehouse) -> list[str]:
    """Apply the migrations that the warehouse has not seen, in order, and return their names.

    All of them or none; a warehouse that has them all is only read. On Postgres several
    processes may try at once.
    """
    if not _missing(warehouse):
        return []
    with warehouse.transaction():
        if warehouse.target == "postgres":
            warehouse.execute("select pg_advisory_xact_lock(?)", [MIGRATE_LOCK])
        missing = _missing(warehouse)
        warehouse.execute("create schema if not exists raw")
        warehouse.execute("create schema if not exists ops")
        warehouse.execute(RECORD)
        for name, script in missing:
            # One file is one script: functions have semicolons of their own.
            warehouse.connection.execute(script)
            if name.startswith("raw.events"):
                _add_new_columns(warehouse)
            warehouse.execute(
                "insert into ops.migrations (name, applied_at) values (?, ?)",
                [name, utc_now()],
            )
    return [name for name, _ in missing]


def _missing(warehouse: Warehouse) -> list[tuple[str, str]]:
    applied: set[str] = set()
    if warehouse.relation_exists("ops", "migrations"):
        applied = {name for (name,) in warehouse.execute("select name from ops.migrations")}
    return [(name, script) for name, script in _scripts(warehouse.target) if name not in applied]


def _scripts(target: str) -> Iterator[tuple[str, str]]:
    """Yield name and SQL of each migration; raw.events has one for each state of the contracts."""
    ddl = raw_events_ddl(target)
    yield f"raw.events {hashlib.sha256(ddl.encode()).hexdigest()[:12]}", ddl
    for path in sorted(MIGRATIONS.glob("*.sql")):
        if path.name.count(".") == 1 or path.name.endswith(f".{target}.sql"):
            yield path.name.removesuffix(".sql"), path.read_text(encoding="utf-8")


def raw_events_ddl(target: str) -> str:
    """Return the statement that creates raw.events, from the contracts."""
    partitioned = " partition by range (event_date)" if target == "postgres" else ""
    return f"create table if not exists raw.events (\n    {raw_columns_ddl(target)}\n){partitioned}"


def raw_columns_ddl(target: str) -> str:
    """Return names and types of the columns of raw.events, as a table is created with."""
    types = SQL_TYPES[target]
    return ",\n    ".join(f'"{n}" {types[t]}' for n, t in registry().raw_columns().items())


def _add_new_columns(warehouse: Warehouse) -> None:
    present = {
        row[0]
        for row in warehouse.execute(
            "select column_name from information_schema.columns "
            "where table_schema = 'raw' and table_name = 'events'"
        )
    }
    types = SQL_TYPES[warehouse.target]
    for name, kind in registry().raw_columns().items():
        if name not in present:
            warehouse.execute(f'alter table raw.events add column "{name}" {types[kind]}')


def ensure_month_partitions(warehouse: Warehouse, months: Sequence[str]) -> None:
    """Create the Postgres partitions of raw.events for months written ``YYYY-MM``.

    By a function of the owner: who loads may add a month and nothing else.
    """
    for month in months:
        warehouse.execute("select raw.add_month(?)", [date.fromisoformat(f"{month}-01")])

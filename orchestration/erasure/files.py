"""Databases written anew, so that no file of theirs holds what was deleted.

Belongs here: published DuckDB files, the warehouse's own file, Postgres's tables, statistics and
write-ahead log. Which rows are a person's is found in ``orchestration.erasure.rows``; what lies
beside the databases is the matter of ``orchestration.erasure.traces``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.settings import Settings
from ingest.sql_text import identifier, literal
from ingest.warehouse import Warehouse, open_warehouse
from orchestration.erasure.rows import SCHEMAS, PersonRows
from orchestration.publication.duckdb_file import ROW_GROUP_SIZE, VERSION
from orchestration.session import RunSession

#: The published file as it is, and the one that is written in its place.
PUBLISHED, CLEAN = "tide_published", "tide_clean"

#: The warehouse's file as it will be.
FRESH = "tide_fresh"

#: Who waits for the warehouse tries its lock this often; longer than that and no waiter is left
#: that holds on to the file that was there before.
HANDOVER_SECONDS = 0.3

#: Write-ahead log segments that are filled anew at most, 16 MB each.
SEGMENTS = 256


def require_space(settings: Settings) -> None:
    """Refuse when the databases cannot be written anew beside themselves.

    Raises:
        UserError: says how much is missing.

    """
    if settings.target != "duckdb" or not settings.warehouse_path.exists():
        return
    needed = sum(
        path.stat().st_size
        for path in (settings.warehouse_path, settings.published_path)
        if path.exists()
    )
    needed += needed // 10 + (64 << 20)
    free = shutil.disk_usage(settings.home).free
    if free < needed:
        raise UserError(
            f"an erasure writes the databases anew and needs {needed >> 20:,} MB in "
            f"{settings.home}, where {free >> 20:,} MB are free; make room and try again"
        )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    for leftover in (path, path.with_name(path.name + ".wal")):
        leftover.unlink(missing_ok=True)


# -- what readers open (DuckDB) --------------------------------------------------------------------


@contextmanager
def published_attached(settings: Settings, warehouse: Warehouse) -> Iterator[tuple[str, ...]]:
    """Attach the file that readers open now, to be read; nothing without one."""
    if warehouse.target != "duckdb" or not settings.published_path.exists():
        yield ()
        return
    path = settings.published_path.resolve()
    warehouse.execute(f"attach {literal(str(path))} as {PUBLISHED} (read_only)")
    try:
        yield (PUBLISHED,)
    finally:
        warehouse.execute(f"detach {PUBLISHED}")


def write_published(settings: Settings, rows: PersonRows) -> None:
    """Write the file that readers open without the person, under its name, all at once.

    From the file itself: the warehouse may hold what has not passed its checks.
    """
    path = settings.published_path.resolve()
    waiting = path.with_name(f".{path.name}.new")
    _remove(waiting)
    run = rows.warehouse.execute
    here = rows.warehouse.value("select current_database()")
    run(f"attach {literal(str(waiting))} as {CLEAN} (row_group_size {ROW_GROUP_SIZE})")
    try:
        for table in rows.tables():
            if table.catalog == PUBLISHED:
                run(f"create schema if not exists {CLEAN}.{table.schema}")
                run(
                    f'create table {CLEAN}.{table.schema}."{table.name}" as {rows.remaining(table)}'
                )
        run(f"use {CLEAN}")
        for (sql,) in run(
            "select sql from duckdb_views() where database_name = ? and not internal",
            [PUBLISHED],
        ):
            run(sql)
        _copy_comments(rows.warehouse)
    finally:
        run(f"use {identifier(here)}")
        run(f"detach {CLEAN}")
    waiting.chmod(0o444)
    _sync(waiting)
    waiting.replace(path)
    _sync(path)


def _copy_comments(warehouse: Warehouse) -> None:
    comments = warehouse.execute(
        "select 'table', schema_name, table_name, null, comment from duckdb_tables() "
        "where database_name = ? and comment is not null "
        "union all select 'view', schema_name, view_name, null, comment from duckdb_views() "
        "where database_name = ? and comment is not null "
        "union all select 'column', schema_name, table_name, column_name, comment "
        "from duckdb_columns() where database_name = ? and comment is not null",
        [PUBLISHED] * 3,
    )
    for kind, schema, name, column, comment in comments:
        what = f'{CLEAN}.{schema}."{name}"' + (f'."{column}"' if column else "")
        warehouse.execute(f"comment on {kind} {what} is {literal(comment)}")


def remove_old_versions(settings: Settings) -> None:
    """Remove published files that are not the one that readers open now."""
    folder = settings.published_path.parent
    if not folder.is_dir():
        return
    newest = settings.published_path.resolve().name if settings.published_path.exists() else None
    for path in folder.iterdir():
        is_old = VERSION.match(path.name) and path.name != newest
        if is_old or path.name.startswith(".tidemark-"):
            path.unlink()


# -- the warehouse (DuckDB) ------------------------------------------------------------------------


def rewrite_warehouse(session: RunSession, request_id: str) -> None:
    """Write the warehouse's file anew, with the receipt finished in it, and put it in its place.

    Freed blocks of the old file hold what was deleted. The file is swapped while its lock is held
    and the new one's too, so that nobody who waits can write to the old one.

    Raises:
        UserError: the copy is not like the original; nothing was changed.

    """
    settings, warehouse = session.settings, session.warehouse
    run = warehouse.execute
    path = settings.warehouse_path
    fresh = path.with_name(f".{path.name}.erasing")
    _remove(fresh)
    here = warehouse.value("select current_database()")
    run("checkpoint")
    run(f"attach {literal(str(fresh))} as {FRESH}")
    run(f"copy from database {identifier(here)} to {FRESH}")
    if _counts(warehouse, str(here)) != _counts(warehouse, FRESH):
        run(f"detach {FRESH}")
        _remove(fresh)
        raise UserError(
            "the warehouse could not be written anew: the copy differs; nothing was swapped, "
            "run 'tidemark doctor', then repeat the erasure"
        )
    run(
        f"update {FRESH}.ops.erasures set finished_at = ? where request_id = ?",
        [utc_now(), request_id],
    )
    run(f"checkpoint {FRESH}")
    run(f"detach {FRESH}")
    _sync(fresh)
    run(f"attach {literal(str(fresh))} as {FRESH}")
    log = path.with_name(path.name + ".wal")
    if log.exists() and log.stat().st_size:
        raise UserError(f"{log} is in use; end what works on the warehouse and repeat the erasure")
    log.unlink(missing_ok=True)
    fresh.replace(path)
    time.sleep(HANDOVER_SECONDS)
    warehouse.close()
    shutil.rmtree(path.with_name(path.name + ".tmp"), ignore_errors=True)
    session.warehouse = open_warehouse(settings, notify=session.notify)
    if not session.warehouse.value(
        "select finished_at from ops.erasures where request_id = ?", [request_id]
    ):
        raise UserError(
            "this process still works on the warehouse's old file; start it again, and the erasure "
            "will be finished"
        )


def _counts(warehouse: Warehouse, catalog: str) -> dict[str, int]:
    tables = warehouse.execute(
        "select schema_name, table_name from duckdb_tables() "
        "where database_name = ? and not temporary",
        [catalog],
    )
    return {
        f"{schema}.{name}": warehouse.value(f'select count(*) from "{catalog}".{schema}."{name}"')
        for schema, name in tables
    }


# -- Postgres --------------------------------------------------------------------------------------


def rewrite_postgres(warehouse: Warehouse) -> list[str]:
    """Write the tables anew that can hold persons, their statistics, and the write-ahead log.

    Returns what this login may not do, in words.
    """
    left = []
    for schema, name in _tables_of_persons(warehouse):
        warehouse.execute(f'vacuum (full, analyze) {schema}."{name}"')
    superuser = bool(warehouse.value("select rolsuper from pg_roles where rolname = current_user"))
    if not superuser:
        return [
            "old statistics and write-ahead log: as a superuser, run 'vacuum full pg_statistic; "
            "checkpoint; select pg_switch_wal(); checkpoint'"
        ]
    warehouse.execute("vacuum full pg_catalog.pg_statistic")
    warehouse.execute("alter system set wal_recycle = off")
    warehouse.execute("select pg_reload_conf()")
    try:
        # The checkpointer reads its settings a moment after it was told to.
        time.sleep(0.2)
        warehouse.execute("checkpoint")
        for _ in range(min(_segments_ahead(warehouse) + 1, SEGMENTS)):
            # Segments that were kept for use again hold what was logged in them before.
            warehouse.execute("select pg_logical_emit_message(false, 'tidemark', 'erasure')")
            warehouse.execute("select pg_switch_wal()")
        warehouse.execute("checkpoint")
    finally:
        warehouse.execute("alter system reset wal_recycle")
        warehouse.execute("select pg_reload_conf()")
    if warehouse.value("show archive_mode") != "off":
        left.append("the archive of the write-ahead log keeps what it has until it expires")
    slots = warehouse.value("select count(*) from pg_replication_slots")
    if slots:
        left.append(f"{slots} replication slots keep write-ahead log until it was read")
    return left


def _tables_of_persons(warehouse: Warehouse) -> list[tuple[str, str]]:
    """Tables that can hold a person's rows now, or dead ones of runs before."""
    rows = PersonRows(warehouse, "", frozenset())
    return [
        (table.schema, table.name)
        for table in rows.tables()
        if table.schema in SCHEMAS
        and (table.rule.deletes or table.rule.clears or table.schema == "ops")
    ]


def _segments_ahead(warehouse: Warehouse) -> int:
    return int(
        warehouse.value(
            "select count(*) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$' "
            "and name > pg_walfile_name(pg_current_wal_lsn())"
        )
    )

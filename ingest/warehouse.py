"""The warehouse: one connection to DuckDB or Postgres, its lock, and the schema it starts with.

Belongs here: how to connect, wait and speak SQL to either engine. The schema that a warehouse
starts with belongs in ``ingest.schema``; what is loaded or computed belongs elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest.errors import UserError
from ingest.schema import migrate
from ingest.settings import Settings
from ingest.sql_text import identifiers

#: Advisory lock numbers on Postgres ("tide" in ASCII, then a counter).
LOAD_LOCK = 0x7469646500000001
RUN_LOCK = 0x7469646500000002

WAIT_SECONDS = 600.0


class WarehouseBusy(UserError):
    """Another process holds the warehouse and did not let go in time."""


class WarehouseError(UserError):
    """The warehouse cannot be opened; the message says why and what to do."""


class Warehouse:
    """A connection to one of the two engines, with ``?`` as the place of a bound value.

    ``target`` is ``duckdb`` or ``postgres``; ``connection`` is the driver's own connection.
    """

    def __init__(self, target: str, connection: Any) -> None:
        """Wrap a driver's connection."""
        self.target = target
        self.connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement with bound values and return its rows (none for a command)."""
        if self.target == "duckdb":
            result = self.connection.execute(sql, list(parameters))
            return result.fetchall() if result.description else []
        if parameters:
            sql = sql.replace("%", "%%").replace("?", "%s")
        cursor = self.connection.execute(sql, list(parameters) or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        rows = self.execute(sql, parameters)
        return rows[0][0] if rows else None

    def records(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        if self.target == "duckdb":
            result = self.connection.execute(sql, list(parameters))
        else:
            if parameters:
                sql = sql.replace("%", "%%").replace("?", "%s")
            result = self.connection.execute(sql, list(parameters) or None)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert rows with bound values; no rows is no statement."""
        if not rows:
            return
        names = identifiers(columns)
        mark = "?" if self.target == "duckdb" else "%s"
        sql = f"insert into {table} ({names}) values ({', '.join([mark] * len(columns))})"
        cursor = self.connection if self.target == "duckdb" else self.connection.cursor()
        cursor.executemany(sql, [list(row) for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commit at the end, roll back on any exception."""
        self.connection.execute("begin")
        try:
            yield
        except BaseException:
            self.connection.execute("rollback")
            raise
        self.connection.execute("commit")

    def relation_exists(self, schema: str, name: str) -> bool:
        """Tell whether a table or view exists; files that are attached do not count."""
        sql = (
            "select 1 from information_schema.tables where table_catalog = current_database() "
            "and table_schema = ? and table_name = ?"
        )
        return bool(self.execute(sql, [schema, name]))

    def __enter__(self) -> Warehouse:
        """Be closed at the end of a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of the connection and, on DuckDB, of the file's lock."""
        self.connection.close()


def _lock_holder(message: str) -> str:
    marker = "PID "
    if marker not in message:
        return ""
    return " by process " + message.split(marker, 1)[1].split(")", 1)[0]


def duckdb_connection(path: Path | None = None, *, read_only: bool = False) -> Any:
    """Connect to a DuckDB file, or to an instance in memory, that prints nothing of its own.

    By default DuckDB draws a bar of progress between what a command prints, into pipes too.
    """
    import duckdb

    connection = duckdb.connect(str(path or ":memory:"), read_only=read_only)
    connection.execute("set enable_progress_bar = false")
    return connection


def _connect_duckdb(
    path: Path, wait_seconds: float, notify: Callable[[str], None] | None, read_only: bool
) -> Any:
    import duckdb

    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            return duckdb_connection(path, read_only=read_only)
        except duckdb.IOException as error:
            message = str(error)
            if "lock" not in message:
                raise WarehouseError(
                    f"{path} cannot be opened: {message.splitlines()[0]}"
                ) from error
            if time.monotonic() >= deadline:
                raise WarehouseBusy(
                    f"the warehouse is in use{_lock_holder(message)}; try again when it has "
                    "finished, or set TIDEMARK_HOME to another folder"
                ) from None
            if notify and not told:
                notify(f"waiting for the warehouse, in use{_lock_holder(message)}")
                told = True
            time.sleep(0.1)


def _connect_postgres(url: str) -> Any:
    import psycopg

    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise WarehouseError(
            f"Postgres cannot be reached: {reason}; check TIDEMARK_POSTGRES_URL"
        ) from None
    except (psycopg.ProgrammingError, UnicodeError):
        # What is wrong is not quoted: it may be a part of the password.
        raise WarehouseError(
            "TIDEMARK_POSTGRES_URL is no address of Postgres; write it as "
            "postgresql://user:password@host:port/database"
        ) from None
    connection.execute("set timezone to 'UTC'")
    # A killed client must not leave its statement running against the next run.
    connection.execute("set client_connection_check_interval to '1s'")
    connection.execute("set client_min_messages to warning")
    return connection


def open_warehouse(
    settings: Settings,
    *,
    wait_seconds: float = WAIT_SECONDS,
    notify: Callable[[str], None] | None = None,
    read_only: bool = False,
) -> Warehouse:
    """Connect to the target and bring its schema up to date.

    On DuckDB the connection holds the file's lock until it is closed, so that one process writes
    at a time. ``notify`` gets one line when there is something to wait for. With ``read_only``
    nothing is created.

    Raises:
        WarehouseBusy: another process held the lock for ``wait_seconds``.
        WarehouseError: there is no server, or no warehouse to read.

    """
    if settings.target == "postgres":
        assert settings.postgres_url is not None
        warehouse = Warehouse("postgres", _connect_postgres(settings.postgres_url))
    else:
        if read_only and not settings.warehouse_path.exists():
            raise WarehouseError(
                f"there is no warehouse in {settings.home} yet; run 'tidemark ingest PATH' first"
            )
        settings.home.mkdir(parents=True, exist_ok=True)
        warehouse = Warehouse(
            "duckdb",
            _connect_duckdb(settings.warehouse_path, wait_seconds, notify, read_only),
        )
        if not read_only:
            # Rewriting the newest rows at every 16 MB of a long load costs more than the load.
            warehouse.execute("set checkpoint_threshold = '1GB'")
    if not read_only:
        try:
            migrate(warehouse)
        except BaseException:
            warehouse.close()
            raise
    return warehouse

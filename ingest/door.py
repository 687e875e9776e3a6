"""The door: files of events into raw.events, each file whole or not at all.

A load reads a file in blocks, reshapes what is not canonical, validates set-wise, drops what is
known already and appends the rest; rejected lines go to ops.rejected_events with their reason.
Everything a file changes, its bookkeeping included, is one transaction.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ingest.contract_commands import register_versions
from ingest.errors import UserError
from ingest.privacy import Pseudonyms
from ingest.redacted_payload import quarantined_payload
from ingest.redate import ensure_timezone
from ingest.registry import registry
from ingest.settings import Settings
from ingest.shape import Fault
from ingest.source_files import (
    BadLine,
    Block,
    UnreadableFile,
    file_format,
    file_sha256,
    read_blocks,
)
from ingest.typing_engine import Batch, TypingEngine
from ingest.warehouse import LOAD_LOCK, Warehouse, ensure_month_partitions, open_warehouse

SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True)
class LoadResult:
    """What became of one file.

    ``status`` is ``loaded``, ``already_loaded``, ``partial`` (the whole lines before a cut) or
    ``failed``; read = accepted + duplicates + rejected.
    """

    load_id: int
    source: str
    file_name: str
    read: int
    accepted: int
    duplicates: int
    rejected: int
    status: str
    error: str | None = None


@dataclass
class Tally:
    """What a load has counted so far; read = accepted + duplicates + rejected."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    dates: Counter[date] = field(default_factory=Counter)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and those of folders in the order of their paths.

    Folders are searched for names that end like event files (``.gz`` too); links that lead out
    of a folder are not followed.

    Raises:
        UserError: a path does not exist.

    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            root = path.resolve()
            found.extend(
                entry
                for entry in sorted(path.rglob("*"))
                if entry.is_file()
                and not entry.name.startswith(".")
                and entry.name.lower().removesuffix(".gz").endswith(SUFFIXES)
                and entry.resolve().is_relative_to(root)
            )
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist; give files, folders, or - for standard input")
    return found


def ingest_paths(
    paths: Sequence[Path],
    *,
    settings: Settings,
    mapping: dict[str, str] | None = None,
    adapter: str | None = None,
    notify: Callable[[str], None] | None = None,
    on_result: Callable[[LoadResult], None] | None = None,
) -> list[LoadResult]:
    """Load files into the warehouse of the settings, one transaction per file.

    ``mapping`` renames CSV columns; ``notify`` gets a line when there is something to wait for;
    ``on_result`` is called after each file.

    Raises:
        UserError: a path does not exist.
        WarehouseBusy: another process did not let go of the warehouse.

    """
    if adapter is not None:
        raise UserError(f"there is no adapter {adapter!r}; leave --as out for canonical events")
    files = find_files(paths)
    results = []
    warehouse = open_warehouse(settings, notify=notify)
    try:
        ensure_timezone(warehouse, settings.timezone, notify=notify)
        register_versions(warehouse)
        loader = Loader(warehouse, settings)
        for path in files:
            result = loader.load_file(path, mapping or {})
            results.append(result)
            if on_result:
                on_result(result)
    finally:
        warehouse.close()
    return results


class Loader:
    """Loads files through one open warehouse."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        """Bind the warehouse; the caller closes it."""
        self.warehouse = warehouse
        self.settings = settings
        self.registry = registry()
        self.pseudonyms = Pseudonyms(settings.write_key)
        connection = warehouse.connection if warehouse.target == "duckdb" else None
        self.engine = TypingEngine(
            self.registry, self.pseudonyms, timezone=settings.timezone, connection=connection
        )

    @contextmanager
    def load_transaction(self) -> Iterator[None]:
        """All or nothing, one load at a time: load numbers come in the order they are seen in."""
        with self.warehouse.transaction():
            if self.warehouse.target == "postgres":
                self.warehouse.execute("select pg_advisory_xact_lock(?)", [LOAD_LOCK])
            yield

    def load_file(self, path: Path, mapping: dict[str, str]) -> LoadResult:
        """Load one file, or say that it is known already or cannot be read."""
        try:
            digest = file_sha256(path)
            blocks = read_blocks(path, self.registry, mapping)
            return self.load_blocks(blocks, file_name=path.name, digest=digest,
                                    source=file_format(path))  # fmt: skip
        except OSError as error:
            reason = f"{path.name} cannot be read: {error.strerror or error}"
            return self._record_failure(path.name, None, reason)
        except UnreadableFile as error:
            return self._record_failure(path.name, digest, f"{path.name}: {error}")

    def load_blocks(
        self, blocks: Iterator[Block], *, file_name: str, digest: str | None, source: str
    ) -> LoadResult:
        """Load blocks of lines as one load.

        Raises:
            UnreadableFile: the source turned out not to be trustworthy; nothing was loaded.

        """
        warehouse = self.warehouse
        with self.load_transaction():
            known = digest and warehouse.value(
                "select min(load_id) from ops.loads where file_sha256 = ? "
                "and status in ('loaded', 'partial')",
                [digest],
            )
            if known:
                return LoadResult(known, source, file_name, 0, 0, 0, 0, "already_loaded")
            load_id = self.next_id("ops.loads", "load_id")
            started = utc_now()
            tally = Tally()
            error = self._load_all(blocks, load_id, started, tally)
            status = "partial" if error else "loaded"
            self.record(load_id, source, file_name, digest, started, tally, status, error)
        return LoadResult(
            load_id, source, file_name, tally.read, tally.accepted, tally.duplicates,
            tally.rejected, status, error,
        )  # fmt: skip

    def _load_all(
        self, blocks: Iterator[Block], load_id: int, received_at: datetime, tally: Tally
    ) -> str | None:
        """Load every block; return why the source ended early, if it did."""
        last_line = 0
        while True:
            try:
                block = next(blocks)
            except StopIteration:
                return None
            except EOFError as error:
                fault = Fault("unreadable_file", None, str(error))
                tally.read += 1
                self._reject([BadLine(last_line + 1, fault, b"")], load_id, received_at, tally)
                return str(error)
            tally.read += block.line_count
            if block.lines.num_rows:
                last_line = block.lines.column(0)[-1].as_py()
            batch = self.engine.type_block(block, load_id=load_id, received_at=received_at)
            self.append(batch, load_id, tally)
            tally.unknown.update(batch.unknown_properties)
            self._reject(batch.rejected, load_id, received_at, tally)

    def append(self, batch: Batch, load_id: int, tally: Tally) -> None:
        """Append what is new in a typed batch to raw.events and count it."""
        if not batch.domains:
            return
        if self.warehouse.target == "duckdb":
            accepted = self._append_duckdb(batch, load_id)
        else:
            accepted = self._append_postgres(batch, load_id)
        tally.dates.update(accepted)
        count = sum(accepted.values())
        tally.accepted += count
        tally.duplicates += batch.valid_count - count

    def _append_duckdb(self, batch: Batch, load_id: int) -> dict[date, int]:
        execute = self.warehouse.connection.execute
        execute(
            "create or replace temp table tide_new as select line_number, event_id, event_date "
            "from tide_first anti join raw.event_ids using (event_id)"
        )
        dates = dict(
            execute("select event_date, count(*) from tide_new group by event_date").fetchall()
        )
        if not dates:
            return {}
        lines = self._lines_of(sum(dates.values()), "tide_new")
        rows = " union all by name ".join(
            f"({self.engine.typed_rows(domain, lines, load_id=load_id)})"
            for domain in batch.domains
        )
        execute(f"insert into raw.events by name {rows}")
        execute("insert into raw.event_ids select event_id from tide_new")
        return dates

    def _lines_of(self, count: int, chosen: str) -> str:
        """Return the relation of the chosen lines: without a join where all are chosen."""
        total = self.engine.connection.execute("select count(*) from tide_canonical").fetchone()
        if total[0] == count:
            return "tide_canonical"
        return f"(select * from tide_canonical semi join {chosen} using (line_number))"

    def _append_postgres(self, batch: Batch, load_id: int) -> dict[date, int]:
        warehouse = self.warehouse
        execute = self.engine.connection.execute
        months = execute("select distinct strftime(event_date, '%Y-%m') from tide_first").fetchall()
        ensure_month_partitions(warehouse, sorted(month for (month,) in months))
        warehouse.execute(
            "create temp table if not exists tide_stage (like raw.events) on commit drop"
        )
        warehouse.execute("truncate tide_stage")
        count = execute("select count(*) from tide_first").fetchone()[0]
        lines = self._lines_of(count, "tide_first")
        for domain in batch.domains:
            self._copy_to_postgres(domain, self.engine.typed_rows(domain, lines, load_id=load_id))
        columns = ", ".join(f'"{name}"' for name in self.registry.raw_columns())
        staged = ", ".join(f'tide_stage."{name}"' for name in self.registry.raw_columns())
        return dict(
            warehouse.execute(
                f"""
                with winners as (
                    insert into raw.event_ids (event_id)
                    select cast(event_id as uuid) from tide_stage
                    on conflict do nothing
                    returning event_id
                ),
                appended as (
                    insert into raw.events ({columns})
                    select {staged}
                    from tide_stage
                    inner join winners on winners.event_id = cast(tide_stage.event_id as uuid)
                    order by tide_stage.occurred_at
                    returning event_date
                )
                select event_date, count(*) from appended group by event_date
                """
            )
        )

    def _copy_to_postgres(self, domain: str, rows: str) -> None:
        spool = self.settings.home / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        path = spool / f"load-{os.getpid()}-{domain}.csv"
        quoted_path = str(path).replace("'", "''")
        names = ", ".join(f'"{name}"' for name in self.engine.columns(domain))
        try:
            self.engine.connection.execute(
                f"copy ({rows}) to '{quoted_path}' (format csv, header false)"
            )
            cursor = self.warehouse.connection.cursor()
            with (
                cursor.copy(f"copy tide_stage ({names}) from stdin (format csv)") as copy,
                path.open("rb") as stream,
            ):
                while chunk := stream.read(1 << 20):
                    copy.write(chunk)
        finally:
            path.unlink(missing_ok=True)

    def _reject(
        self, bad_lines: Sequence[BadLine], load_id: int, at: datetime, tally: Tally
    ) -> None:
        if not bad_lines:
            return
        tally.rejected += len(bad_lines)
        first = self.next_id("ops.rejected_events", "rejection_id")
        rows = []
        for offset, bad in enumerate(sorted(bad_lines, key=lambda bad: bad.line_number)):
            payload, event_name = quarantined_payload(bad.payload, self.registry, self.pseudonyms)
            rows.append(
                [first + offset, load_id, bad.line_number, bad.fault.code, bad.fault.field,
                 bad.fault.detail, event_name, payload, at]
            )  # fmt: skip
        names = ("rejection_id", "load_id", "line_number", "reason_code", "field", "detail",
                 "event_name", "payload", "rejected_at")  # fmt: skip
        self.warehouse.insert_many("ops.rejected_events", names, rows)

    def record(
        self,
        load_id: int,
        source: str,
        file_name: str,
        digest: str | None,
        started: datetime,
        tally: Tally,
        status: str,
        error: str | None,
    ) -> None:
        """Write the bookkeeping of a finished load: ops.loads, its dates, unknown properties."""
        warehouse = self.warehouse
        finished = utc_now()
        dates = sorted(tally.dates)
        warehouse.insert_many(
            "ops.loads",
            ("load_id", "source", "file_name", "file_sha256", "started_at", "finished_at", "read",
             "accepted", "duplicates", "rejected", "min_event_date", "max_event_date", "status",
             "error"),
            [[load_id, source, file_name, digest, started, finished, tally.read, tally.accepted,
              tally.duplicates, tally.rejected, dates[0] if dates else None,
              dates[-1] if dates else None, status, error]],
        )  # fmt: skip
        warehouse.insert_many(
            "ops.unknown_properties",
            ("load_id", "event_name", "property", "events"),
            [[load_id, *key, count] for key, count in sorted(tally.unknown.items())],
        )
        if dates:
            warehouse.insert_many(
                "ops.load_dates",
                ("load_id", "event_date", "accepted"),
                [[load_id, day, tally.dates[day]] for day in dates],
            )
            touch_partitions(warehouse, load_id, finished)

    def _record_failure(self, file_name: str, digest: str | None, reason: str) -> LoadResult:
        with self.load_transaction():
            load_id = self.next_id("ops.loads", "load_id")
            tally = Tally(read=1)
            now = utc_now()
            fault = Fault("unreadable_file", None, reason)
            self._reject([BadLine(0, fault, b"")], load_id, now, tally)
            self.record(load_id, "file", file_name, digest, now, tally, "failed", reason)
        return LoadResult(load_id, "file", file_name, 1, 0, 0, 1, "failed", reason)

    def next_id(self, table: str, column: str) -> int:
        """Return the next number of a table; the caller holds the load lock."""
        return int(self.warehouse.value(f"select coalesce(max({column}), 0) + 1 from {table}"))


def touch_partitions(warehouse: Warehouse, load_id: int, at: datetime) -> None:
    """Note in ops.partitions which dates a load touched, and every date in between."""
    first, last = warehouse.execute("select min(event_date), max(event_date) from ops.load_dates")[
        0
    ]
    known = {row[0] for row in warehouse.execute("select partition_date from ops.partitions")}
    span = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
    warehouse.insert_many(
        "ops.partitions", ("partition_date",), [[day] for day in span if day not in known]
    )
    warehouse.execute(
        "update ops.partitions set last_event_load_id = ?, last_event_load_at = ? "
        "where partition_date in (select event_date from ops.load_dates where load_id = ?)",
        [load_id, at, load_id],
    )


def utc_now() -> datetime:
    """Return the time as the warehouse stores it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)

"""The loader: lines of files into raw.events with all their bookkeeping, in one transaction.

A load reads a file in blocks, has them typed and judged, drops what is known already and appends
the rest; rejected lines go to ops.rejected_events with their reason. Which files are loaded is
decided in ``ingest.door``.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.adapters import Adapter
from ingest.adapters.translation import translated
from ingest.blocks import (
    NO_LINES,
    ORDINAL_BITS,
    PART_BITS,
    BadLine,
    Block,
    UnreadableFile,
    gathered,
    merge_blocks,
)
from ingest.clock import utc_now
from ingest.earlier_loads import (
    answering,
    digest_of,
    earlier_loads,
    failed_alike,
    supersede,
)
from ingest.hash_links import HashMemory
from ingest.privacy import Pseudonyms
from ingest.redacted_payload import quarantined_payload
from ingest.redaction import readable_name, redact
from ingest.registry import registry
from ingest.schema import ensure_month_partitions, raw_columns_ddl
from ingest.settings import Settings
from ingest.shape import Fault
from ingest.source_files import file_format, file_sha256, read_blocks, read_documents
from ingest.sql_text import identifiers, literal
from ingest.tombstones import ErasedPersons, happened_at
from ingest.typing_engine import Batch, Feed, TypingEngine
from ingest.warehouse import LOAD_LOCK, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa


#: Bytes of lines that are typed together: more needs more memory, less needs more statements.
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class LoadResult:
    """What became of one file.

    ``status`` is ``loaded``, ``already_loaded``, ``partial`` (the whole lines before a cut) or
    ``failed``; read = accepted + duplicates + rejected. Of a file that was loaded already, the
    numbers are those of that load, what was accepted then being duplicates now. ``error`` says
    why a file was not read, or not to its end, this time or then.
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
    #: Of the duplicates, events that were refused because they are of erased persons.
    erased: int = 0


@dataclass
class Tally:
    """What a load has counted so far; read = accepted + duplicates + rejected."""

    read: int = 0
    accepted: int = 0
    rejected: int = 0
    erased: int = 0
    dates: Counter[date] = field(default_factory=Counter)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def duplicates(self) -> int:
        """Valid events whose id was known already, and those of erased persons."""
        return self.read - self.accepted - self.rejected


@dataclass
class Source:
    """A file that is being loaded; ``error`` says why it ended early, if it did.

    ``digest`` says what was read and how; ``part_bits``: so many bits of a line number count the
    events of one document.
    """

    load_id: int
    file_name: str
    kind: str
    digest: str
    blocks: Iterator[Block]
    tally: Tally = field(default_factory=Tally)
    error: str | None = None
    part_bits: int = 0

    def read(self) -> Iterator[Block]:
        """Yield the blocks; a cut becomes a rejected rest of the file."""
        last_line = 0
        try:
            for block in self.blocks:
                if block.lines.num_rows:
                    last_line = block.lines.column(0)[-1].as_py()
                yield block
        except EOFError as error:
            self.error = str(error)
            fault = Fault("unreadable_file", None, self.error)
            yield Block(NO_LINES(), [BadLine(last_line + (1 << self.part_bits), fault, b"")])


class Loader:
    """Loads files through one open warehouse."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        *,
        mapping: dict[str, str],
        adapter: Adapter | None = None,
    ) -> None:
        """Bind the warehouse, which the caller closes; ``mapping`` renames CSV columns.

        With an ``adapter`` files hold documents of its format instead of canonical events.
        """
        self.mapping = mapping
        self.adapter = adapter
        self._last_load_id: int | None = None
        self._feeds: dict[str, Feed] = {}
        self.warehouse = warehouse
        self.settings = settings
        self.registry = registry()
        self.pseudonyms = Pseudonyms.of_settings(settings)
        self.hashes = HashMemory.of(
            warehouse, settings, pseudonyms=self.pseudonyms, registry=self.registry
        )
        self.erased = ErasedPersons(warehouse, settings)
        connection = warehouse.connection if warehouse.target == "duckdb" else None
        self.engine = TypingEngine(
            self.registry,
            self.pseudonyms,
            timezone=settings.timezone,
            connection=connection,
            erased=self.erased,
            spool=None if connection else settings.home / "spool",
        )

    def close(self) -> None:
        """Let go of what was opened beside the warehouse's connection."""
        self.engine.close()

    @contextmanager
    def load_transaction(self) -> Iterator[None]:
        """All or nothing, one load at a time: load numbers come in the order they are seen in."""
        with self.warehouse.transaction():
            if self.warehouse.target == "postgres":
                self.warehouse.execute("select pg_advisory_xact_lock(?)", [LOAD_LOCK])
            self._last_load_id = None
            self.hashes.begin()
            self.erased.begin()
            yield

    def load_files(self, paths: Sequence[Path]) -> list[LoadResult]:
        """Load some files in one transaction; of a single one only a block is in memory."""
        if len(paths) > 1:
            return self._load(paths, streaming=False)
        try:
            return self._load(paths, streaming=True)
        except UnreadableFile as error:
            # Found out midway: what was loaded of it is rolled back, and that is noted.
            digest = ""
            with suppress(OSError):
                digest = file_sha256(paths[0])
            with self.load_transaction():
                name = readable_name(paths[0])
                return [self._failed(name, f"{name}: {redact(str(error))}", digest)]

    def _load(self, paths: Sequence[Path], *, streaming: bool) -> list[LoadResult]:
        started = utc_now()
        results: dict[int, LoadResult] = {}
        sources: dict[int, Source] = {}
        known: dict[int, int] = {}
        with self.load_transaction():
            for place, path in enumerate(paths):
                opened = self._open(path, streaming=streaming, among=sources.values())
                if isinstance(opened, Source):
                    sources[place] = opened
                elif isinstance(opened, LoadResult):
                    results[place] = opened
                else:
                    known[place] = opened
            if streaming:
                for source in sources.values():
                    for block in gathered(source.read(), BLOCK_BYTES):
                        self._load_block(block, [source], started)
                        # Not kept while the next one is read.
                        del block
            elif sources:
                together = list(sources.values())
                self._load_block(
                    merge_blocks([list(s.read()) for s in together]), together, started
                )
            for place, source in sources.items():
                results[place] = self._finish(source, started)
            for place, load_id in known.items():
                results[place] = self._already_loaded(load_id, paths[place])
        return [results[place] for place in sorted(results)]

    def _open(
        self, path: Path, *, streaming: bool, among: Iterable[Source]
    ) -> Source | LoadResult | int:
        """Return the file ready to be read, the load it came in before, or why it cannot be."""
        name, content = readable_name(path), ""
        try:
            content = file_sha256(path)
            kind = self.adapter.name if self.adapter else file_format(path)
            same = next((s.load_id for s in among if s.digest.startswith(content)), None)
            if same is not None:
                return same
            digest = digest_of(content, kind, self.mapping)
            earlier = earlier_loads(
                self.warehouse, content, self.adapter.name if self.adapter else None
            )
            if (load_id := answering(earlier, kind, digest)) is not None:
                return load_id
            if self.adapter:
                blocks = translated(read_documents(path), self.adapter, received_at=utc_now())
            else:
                blocks = read_blocks(path, self.registry, self.mapping)
            bits = PART_BITS if self.adapter else 0
            source = Source(0, name, kind, digest, blocks, part_bits=bits)
            if not streaming:
                # Read before anything is written: a file that cannot be trusted harms no other.
                source.blocks = iter(list(source.read()))
            supersede(self.warehouse, earlier, utc_now())
            source.load_id = self.next_load_id()
            return source
        except OSError as error:
            reason = f"{name} cannot be read: {error.strerror or error}"
            return self._failed(name, reason, content)
        except UnreadableFile as error:
            if streaming:
                raise
            return self._failed(name, f"{name}: {redact(str(error))}", content)

    def _already_loaded(self, load_id: int, path: Path) -> LoadResult:
        """Return what is to be said of a file that was loaded before: nothing of it is new."""
        ((kind, read, accepted, duplicates, rejected, error),) = self.warehouse.execute(
            "select source, read, accepted, duplicates, rejected, error from ops.loads "
            "where load_id = ?",
            [load_id],
        )
        return LoadResult(
            load_id, kind, readable_name(path), read, 0, accepted + duplicates, rejected,
            "already_loaded", error,
        )  # fmt: skip

    def _load_block(self, block: Block, sources: Sequence[Source], at: datetime) -> None:
        """Load a block whose positions say which of the sources a line belongs to."""
        base = sources[0].load_id
        batch = self.engine.type_block(block, load_id=base, received_at=at)
        for ordinal, count in block.line_counts().items():
            sources[ordinal].tally.read += count
        for (ordinal, day), count in self.append(batch, base).items():
            sources[ordinal].tally.accepted += count
            sources[ordinal].tally.dates[day] += count
        for (ordinal, event_name, name), count in batch.unknown_properties.items():
            sources[ordinal].tally.unknown[event_name, name] += count
        for ordinal, count in batch.erased.items():
            sources[ordinal].tally.erased += count
        by_source: dict[int, list[BadLine]] = defaultdict(list)
        for bad in batch.rejected:
            by_source[bad.ordinal].append(bad)
        for ordinal, bad_lines in sorted(by_source.items()):
            sources[ordinal].tally.rejected += len(bad_lines)
            self._reject(bad_lines, sources[ordinal].load_id, at,
                         part_bits=sources[ordinal].part_bits)  # fmt: skip

    def _finish(self, source: Source, started: datetime) -> LoadResult:
        status = "partial" if source.error else "loaded"
        self.record(source, started, status)
        tally = source.tally
        return LoadResult(
            source.load_id, source.kind, source.file_name, tally.read, tally.accepted,
            tally.duplicates, tally.rejected, status, source.error, tally.erased,
        )  # fmt: skip

    def _failed(self, file_name: str, reason: str, digest: str) -> LoadResult:
        """Note that a file cannot be read, once: until it can, or the rejection is resolved."""
        load_id = failed_alike(self.warehouse, digest, file_name, reason)
        if load_id is None:
            load_id = self.next_load_id()
            source = Source(load_id, file_name, "file", digest, iter(()), error=reason)
            source.tally.read = source.tally.rejected = 1
            started = utc_now()
            fault = Fault("unreadable_file", None, reason)
            self._reject([BadLine(0, fault, b"")], load_id, started)
            self.record(source, started, "failed")
        return LoadResult(load_id, "file", file_name, 1, 0, 0, 1, "failed", reason)

    def next_load_id(self) -> int:
        """Return the number of the next load; the caller holds the load lock."""
        if self._last_load_id is None:
            self._last_load_id = self.next_id("ops.loads", "load_id") - 1
        self._last_load_id += 1
        return self._last_load_id

    def append(self, batch: Batch, load_id: int) -> dict[tuple[int, date], int]:
        """Append what is new in a typed batch to raw.events.

        Returns how many events were new, by ordinal (the place of their load after ``load_id``)
        and event date.
        """
        if not batch.first.num_rows:
            return {}
        append = self._append_duckdb if self.warehouse.target == "duckdb" else self._append_postgres
        counts = append(batch, load_id)
        self.hashes.note(load_id, [day for _, day in counts])
        return counts

    def _append_duckdb(self, batch: Batch, load_id: int) -> dict[tuple[int, date], int]:
        import pyarrow as pa

        execute = self.warehouse.connection.execute
        with self._shown("tide_first", batch.first):
            new = execute(
                "select line_number from tide_first "
                "anti join raw.event_ids on event_ids.event_id = cast(tide_first.event_id as uuid)"
            ).fetchnumpy()["line_number"]
        numbers = batch.first.column("line_number").to_numpy()
        fresh = batch.first.filter(pa.array(np.isin(numbers, new)))
        if not fresh.num_rows:
            return {}
        for domain in batch.rows:
            rows = batch.chosen(domain, new)
            if rows.num_rows:
                with self._shown(f"tide_{domain}", rows):
                    execute(f"insert into raw.events by name select * from tide_{domain}")
        with self._shown("tide_first", fresh):
            execute("insert into raw.event_ids select cast(event_id as uuid) from tide_first")
        ordinals = pa.array(fresh.column("line_number").to_numpy() >> ORDINAL_BITS)
        days = pa.table({"ordinal": ordinals, "day": fresh.column("event_date")})
        # Threads of Arrow's own outlive this, and a process that is forked may wait for them.
        groups = days.group_by(["ordinal", "day"], use_threads=False)
        counted = groups.aggregate([([], "count_all")]).to_pylist()
        return {(row["ordinal"], row["day"]): row["count_all"] for row in counted}

    @contextmanager
    def _shown(self, name: str, table: pa.Table) -> Iterator[None]:
        """Let the warehouse's connection see a table under a name for a while."""
        if name not in self._feeds:
            self._feeds[name] = Feed(table)
            self.warehouse.connection.register(name, self._feeds[name])
        self._feeds[name].table = table
        try:
            yield
        finally:
            self._feeds[name].table = table.slice(0, 0)

    def _append_postgres(self, batch: Batch, load_id: int) -> dict[tuple[int, date], int]:
        warehouse = self.warehouse
        days = batch.first.column("event_date").unique().to_pylist()
        ensure_month_partitions(warehouse, sorted({f"{day:%Y-%m}" for day in days}))
        warehouse.execute(
            f"create temp table if not exists tide_stage ({raw_columns_ddl('postgres')}) "
            "on commit drop"
        )
        warehouse.execute("truncate tide_stage")
        chosen = batch.first.column("line_number").to_numpy()
        for domain in batch.rows:
            rows = batch.chosen(domain, chosen)
            self._copy_to_postgres(domain, rows)
        columns = identifiers(self.registry.raw_columns())
        staged = ", ".join(f'tide_stage."{name}"' for name in self.registry.raw_columns())
        rows = warehouse.execute(
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
                returning load_id, event_date
            )
            select load_id, event_date, count(*) from appended group by load_id, event_date
            """
        )
        return {(number - load_id, day): count for number, day, count in rows}

    def _copy_to_postgres(self, domain: str, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        spool = self.settings.home / "spool" / str(os.getpid())
        spool.mkdir(parents=True, exist_ok=True)
        path = spool / f"{domain}.csv"
        names = identifiers(rows.column_names)
        try:
            self.engine.connection.register("tide_typed", rows)
            self.engine.connection.execute(
                f"copy (from tide_typed) to {literal(str(path))} (format csv, header false)"
            )
            cursor = self.warehouse.connection.cursor()
            with (
                cursor.copy(f"copy tide_stage ({names}) from stdin (format csv)") as copy,
                path.open("rb") as stream,
            ):
                while chunk := stream.read(1 << 20):
                    copy.write(chunk)
        finally:
            self.engine.connection.unregister("tide_typed")
            path.unlink(missing_ok=True)

    def _reject(
        self, bad_lines: Sequence[BadLine], load_id: int, at: datetime, *, part_bits: int = 0
    ) -> None:
        first = self.next_id("ops.rejected_events", "rejection_id")
        rows = []
        for offset, bad in enumerate(sorted(bad_lines, key=lambda bad: bad.line_number)):
            payload: str | None
            detail: str | None = bad.fault.detail
            payload, event_name = quarantined_payload(
                bad.payload, self.registry, self.pseudonyms, bad.fault.code
            )
            if self.erased and self.erased.hides(bad.payload, happened_at(bad.payload)):
                payload = event_name = detail = None
            rows.append(
                [first + offset, load_id, bad.line_in_file >> part_bits, bad.fault.code,
                 bad.fault.field, detail, event_name, payload, at]
            )  # fmt: skip
        names = ("rejection_id", "load_id", "line_number", "reason_code", "field", "detail",
                 "event_name", "payload", "rejected_at")  # fmt: skip
        self.warehouse.insert_many("ops.rejected_events", names, rows)

    def record(self, source: Source, started: datetime, status: str) -> None:
        """Write the bookkeeping of a finished load: ops.loads, its dates, unknown properties."""
        warehouse, load_id, tally = self.warehouse, source.load_id, source.tally
        finished = utc_now()
        dates = sorted(tally.dates)
        warehouse.insert_many(
            "ops.loads",
            ("load_id", "source", "file_name", "file_sha256", "started_at", "finished_at", "read",
             "accepted", "duplicates", "rejected", "min_event_date", "max_event_date", "status",
             "error", "erased"),
            [[load_id, source.kind, source.file_name, source.digest or None, started, finished,
              tally.read, tally.accepted, tally.duplicates, tally.rejected,
              dates[0] if dates else None, dates[-1] if dates else None, status, source.error,
              tally.erased]],
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

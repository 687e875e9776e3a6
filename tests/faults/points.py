"""Where a process dies: named points of the commands, and how a child is made to fail there.

Belongs here: the table, and the patches that a child puts around functions of the product by their
names. The product knows nothing of it: a function that is gone, or was renamed, is an error here.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

EXCEPTION, KILLED, DISK_FULL = "exception", "SIGKILL", "disk full"

KINDS = (EXCEPTION, KILLED, DISK_FULL)

FULL = "No space left on device"

BOTH = ("duckdb", "postgres")
DUCKDB, POSTGRES = ("duckdb",), ("postgres",)


@dataclass(frozen=True)
class Point:
    """A point: ``happened`` by then; before or after which function of the product it lies.

    ``function`` is ``module:name`` or ``module:Class.name``; ``matching`` is a part of the text of
    its arguments, ``call`` counts the calls that match. ``scene`` names what is done, in
    ``tests.faults.fail_points``.
    """

    name: str
    happened: str
    scene: str
    when: str
    function: str
    targets: tuple[str, ...] = BOTH
    call: int = 1
    matching: str = ""


@dataclass(frozen=True)
class Fault:
    """What goes wrong at a point: an exception, death, or no room on the disk."""

    point: str
    kind: str


SQL = "ingest.warehouse:Warehouse.execute"

POINTS = {
    point.name: point
    for point in (
        Point("file opened", "hashed and known to be new, nothing read", "ingest", "after",
              "ingest.loader:Loader._open"),
        Point("lines typed", "typed and judged, nothing written", "ingest", "after",
              "ingest.typing_engine:TypingEngine.type_block"),
        Point("copied to staging", "COPY into the temporary table is done", "ingest", "after",
              "ingest.loader:Loader._copy_to_postgres", POSTGRES),
        Point("events written", "rows in raw.events, not committed", "ingest", "after",
              "ingest.loader:Loader.append"),
        Point("rejects quarantined", "rejected lines written, not committed", "ingest", "after",
              "ingest.loader:Loader._reject"),
        Point("dates touched", "the last book of a load written, not committed", "ingest", "after",
              "ingest.loader:touch_partitions"),
        Point("group finished", "all files of a group recorded, not committed", "ingest", "after",
              "ingest.loader:Loader._finish", call=4),
        Point("group committed", "committed, not acknowledged", "ingest", "after",
              "ingest.loader:Loader.load_files"),
        Point("file acknowledged", "one file of a group is acknowledged", "ingest", "after",
              "orchestration.cli.console:Console.line"),
        Point("between groups", "a group acknowledged, the next not begun", "ingest", "before",
              "ingest.loader:Loader.load_files", call=2),
        Point("last acknowledged", "everything acknowledged", "ingest", "before",
              "orchestration.cli.ingest:_finish_erasures"),
        Point("input spooled", "standard input lies in the spool", "pipe", "after",
              "ingest.door:spool_standard_input"),
        Point("dates computed anew", "event dates in the new zone, not committed", "redate",
              "after", "ingest.redate:_redate"),
        Point("dates anew committed", "event dates in the new zone, nothing loaded", "redate",
              "after", "ingest.door:ensure_timezone"),
        Point("replay resolved", "replayed lines resolved, load not recorded", "replay", "after",
              "ingest.quarantine:_resolve"),
        Point("first migration", "the script of raw.events applied, not committed", "migrate",
              "after", "ingest.schema:_add_new_columns"),
        Point("between migrations", "four of the scripts applied, not committed", "migrate",
              "after", SQL, call=4, matching="insert into ops.migrations"),
        Point("schema committed", "all scripts committed, nothing else", "migrate", "after",
              "ingest.warehouse:migrate"),
        Point("access put right", "readers' tables made, not committed", "migrate", "after",
              "orchestration.access.migrate:settle_within", POSTGRES),
        Point("run locked", "the lock of runs is held, nothing planned", "run", "after",
              "orchestration.runs:open_session"),
        Point("ledger started", "the run stands in the ledger", "run", "after",
              "orchestration.ledger:start_run"),
        Point("arrivals checked", "the raw border is judged, not written down", "run", "before",
              "orchestration.session:RunSession.record"),
        Point("dates marked", "dates are marked as not checked", "run", "after",
              "orchestration.ledger:mark_started"),
        Point("seed loaded", "dbt has loaded the first seed", "run", "after",
              "orchestration.session:RunSession.progress"),
        Point("half built", "dbt has built three of five nodes", "run", "after",
              "orchestration.session:RunSession.progress", call=3),
        Point("built", "dbt is through, nothing noted", "run", "after",
              "orchestration.dbt_runner:build"),
        Point("build noted", "the tables hold the window, checks are to come", "run", "after",
              "orchestration.ledger:mark_run"),
        Point("checked", "every check passed, not published", "run", "after",
              "orchestration.ledger:mark_checked"),
        Point("published", "published and in the ledger; the run is not finished", "run", "after",
              "orchestration.assets:publish"),
        Point("run not finished", "Dagster is through, the ledger says running", "run", "before",
              "orchestration.ledger:finish_run"),
        Point("run finished", "everything done, nothing said", "run", "after",
              "orchestration.ledger:finish_run"),
        Point("restatements found", "compared with what was published", "publish", "after",
              "orchestration.publication.restatements:find"),
        Point("copy begun", "one table of the new file written", "publish", "after",
              "orchestration.publication.duckdb_file:_write_table", DUCKDB),
        Point("copy not in place", "the new file whole, under its waiting name", "publish",
              "before", "pathlib:Path.replace", DUCKDB, matching=".new"),
        Point("copy whole", "the new file in its place, the link not swapped", "publish", "before",
              "orchestration.publication.duckdb_file:_swap", DUCKDB),
        Point("link swapped", "readers see the new file, the ledger does not", "publish", "after",
              "orchestration.publication.duckdb_file:_swap", DUCKDB),
        Point("old files there", "in the ledger, old files not removed", "publish", "before",
              "orchestration.publication.duckdb_file:_forget_old", DUCKDB),
        Point("one mart copied", "within the transaction of the copy", "publish", "after",
              "orchestration.publication.postgres_tables:_copy", POSTGRES),
        Point("copy recorded", "copied and in the ledger, not committed", "publish", "after",
              "orchestration.publication.postgres_tables:record", POSTGRES),
        Point("copy committed", "committed, not analyzed", "publish", "before", SQL, POSTGRES,
              matching="analyze marts."),
        Point("receipt written", "retention has its receipt, nothing removed", "retention",
              "after", "orchestration.retention:_note"),
        Point("rows removed", "rows of one relation removed, not committed", "retention", "after",
              "orchestration.retention:_delete"),
        Point("removal committed", "committed, not checkpointed", "retention", "before", SQL,
              DUCKDB, matching="checkpoint"),
        Point("retention done", "everything removed, nothing said", "retention", "after",
              "orchestration.retention:_remove"),
        Point("journal written", "the journal knows, the warehouse does not", "erase", "after",
              "orchestration.erasure.requests:write_journal"),
        Point("rows erased", "rows gone within the transaction", "erase", "after",
              "orchestration.erasure.requests:_note"),
        Point("rows gone", "rows gone, published files not", "erase", "before",
              "orchestration.erasure.files:write_published", DUCKDB),
        Point("published anew", "the published file is clean, old ones are there", "erase",
              "before", "orchestration.erasure.files:remove_old_versions"),
        Point("logs scrubbed", "files clean, the database not written anew", "erase", "after",
              "orchestration.erasure.requests:scrub_home"),
        Point("being rewritten", "the copy of the warehouse is compared", "erase", "before",
              "orchestration.erasure.files:_counts", DUCKDB, call=2),
        Point("rewritten", "the copy is on the disk, not in its place", "erase", "after",
              "orchestration.erasure.files:_sync", DUCKDB, matching=".erasing"),
        Point("renamed", "the copy is in its place, the old one still open", "erase", "after",
              "pathlib:Path.replace", DUCKDB, matching=".erasing"),
        Point("vacuum begun", "one table written anew", "erase", "after", SQL, POSTGRES,
              matching="vacuum (full"),
        Point("log cut", "the write-ahead log is set not to be used again", "erase", "after", SQL,
              POSTGRES, matching="alter system set wal_recycle"),
        Point("keys written", "the file of keys is written, not on the disk", "keys", "before",
              "os:fsync"),
    )
}  # fmt: skip


def install(marks: Sequence[str], fault: Fault | None, told: Callable[[str], object]) -> None:
    """Put patches into this process: it tells when it passes a point, and fails at one."""
    names = dict.fromkeys([*marks, *([fault.point] if fault else [])])
    for name in names:
        _wrap(POINTS[name], fault if fault and fault.point == name else None, told)


def _wrap(point: Point, fault: Fault | None, told: Callable[[str], object]) -> None:
    module, _, path = point.function.partition(":")
    *owners, attribute = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    inner = getattr(owner, attribute)
    calls = 0

    @functools.wraps(inner)
    def outer(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if point.matching and point.matching not in _text(arguments):
            return inner(*arguments, **options)
        calls += 1
        here = calls == point.call
        if point.when == "before" and here:
            _pass(point, fault, told)
        result = inner(*arguments, **options)
        if point.when == "after" and here:
            _pass(point, fault, told)
        return result

    setattr(owner, attribute, outer)


def _text(arguments: Sequence[Any]) -> str:
    return " ".join(str(each) for each in arguments if isinstance(each, str | os.PathLike))


def _pass(point: Point, fault: Fault | None, told: Callable[[str], object]) -> None:
    told(point.name)
    if fault is None:
        return
    if fault.kind == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == DISK_FULL:
        raise OSError(errno.ENOSPC, FULL)
    raise RuntimeError("planted")

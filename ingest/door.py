"""The door: which files come in, and in which order.

Belongs here: finding files, standard input, the one call that loads them. How a file becomes rows
of raw.events is the matter of ``ingest.loader``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ingest.adapters import Adapter, adapter_named
from ingest.contract_commands import register_versions
from ingest.errors import UserError
from ingest.loader import Loader, LoadResult
from ingest.redate import ensure_timezone
from ingest.settings import Settings
from ingest.tombstones import take_over
from ingest.warehouse import open_warehouse

#: Small files are loaded together up to this many bytes (at a guess, decompressed) or files.
GROUP_BYTES = 16 << 20
GROUP_FILES = 500

STANDARD_INPUT = Path("-")

SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv", ".parquet")


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
        elif path.exists():
            raise UserError(f"{path} is no file or folder; to read a pipe, give - and redirect it")
        else:
            raise UserError(f"{path} does not exist; give files, folders, or - for standard input")
    return found


def spool_standard_input(spool: Path, mapping: dict[str, str] | None) -> Path:
    """Copy standard input to a file that is gone when it has been loaded.

    A load needs all of its input before it can tell whether it has seen it before. Input that
    starts with column names is CSV; gzip and Parquet are told by their first bytes.
    """
    folder = spool / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "standard-input"
    with path.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
    with path.open("rb") as stream:
        head = stream.readline(4096).removeprefix(b"\xef\xbb\xbf").strip()
    is_text = not head.startswith((b"{", b"[", b"\x1f\x8b", b"PAR1"))
    is_csv = is_text and b"," in head and (mapping is not None or b"event_" in head)
    return path.rename(path.with_suffix(".csv" if is_csv else ".ndjson"))


def clean_spool(spool: Path) -> None:
    """Remove what processes that were killed have left in the spool: a folder per process."""
    if not spool.is_dir():
        return
    for folder in spool.iterdir():
        if folder.name.isdigit() and not _is_running(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def group_files(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Put small files together, in order: a transaction and its statements cost more than they."""
    group: list[Path] = []
    weight = 0
    for path in files:
        try:
            size = path.stat().st_size
        except OSError:
            size = 0
        size *= 1 if path.suffix.lower() in (".ndjson", ".jsonl", ".json", ".csv") else 12
        if group and (weight + size > GROUP_BYTES or len(group) >= GROUP_FILES):
            yield group
            group, weight = [], 0
        group.append(path)
        weight += size
    if group:
        yield group


def ingest_paths(
    paths: Sequence[Path],
    *,
    settings: Settings,
    mapping: dict[str, str] | None = None,
    adapter: str | None = None,
    notify: Callable[[str], None] | None = None,
    on_result: Callable[[LoadResult], None] | None = None,
) -> list[LoadResult]:
    """Load files into the warehouse of the settings, each whole or not at all.

    ``mapping`` renames CSV columns; ``adapter`` names the foreign format that the files are of;
    ``notify`` gets a line when there is something to wait for; ``on_result`` is called after
    each file.

    Raises:
        UserError: a path does not exist, or there is no such format.
        WarehouseBusy: another process did not let go of the warehouse.

    """
    foreign = None if adapter is None else adapter_named(adapter)
    spool = settings.home / "spool"
    clean_spool(spool)
    piped = [spool_standard_input(spool, mapping) for path in paths if path == STANDARD_INPUT]
    try:
        files = find_files([path for path in paths if path != STANDARD_INPUT])
        return _load_all([*piped, *files], settings, mapping or {}, foreign, notify, on_result)
    finally:
        shutil.rmtree(spool / str(os.getpid()), ignore_errors=True)


def _load_all(
    files: Sequence[Path],
    settings: Settings,
    mapping: dict[str, str],
    foreign: Adapter | None,
    notify: Callable[[str], None] | None,
    on_result: Callable[[LoadResult], None] | None,
) -> list[LoadResult]:
    results = []
    warehouse = open_warehouse(settings, notify=notify)
    try:
        ensure_timezone(warehouse, settings.timezone, notify=notify)
        take_over(warehouse, settings)
        register_versions(warehouse)
        with closing(Loader(warehouse, settings, mapping=mapping, adapter=foreign)) as loader:
            for group in group_files(files):
                for result in loader.load_files(group):
                    results.append(result)
                    if on_result:
                        on_result(result)
    finally:
        warehouse.close()
    return results

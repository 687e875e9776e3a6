"""The door: which files come in, and in which order.

Belongs here: finding files, standard input, the one call that loads them. How a file becomes rows
of raw.events is the matter of ``ingest.loader``.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ingest.adapters import Adapter, adapter_named
from ingest.columns import check_mapping
from ingest.contract_versions import register_versions
from ingest.errors import UserError
from ingest.loader import Loader, LoadResult
from ingest.redate import ensure_timezone
from ingest.registry import registry
from ingest.settings import Settings
from ingest.shape import snake_case
from ingest.source_files import file_format
from ingest.tombstones import take_over
from ingest.warehouse import open_warehouse

#: Small files are loaded together up to this many bytes (at a guess, decompressed) or files.
GROUP_BYTES = 16 << 20
GROUP_FILES = 500

STANDARD_INPUT = Path("-")

#: Bytes that are looked at to tell what standard input is.
HEAD_BYTES = 4096

SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv", ".parquet")


def find_files(
    paths: Sequence[Path],
    *,
    notify: Callable[[str], None] | None = None,
    on_missing: Callable[[str], None] | None = None,
) -> list[Path]:
    """Return the files named, and those of folders in the order of their paths.

    Folders are searched for names that end like event files (``.gz`` too); links that lead out
    of a folder are not followed. ``notify`` gets a line for each folder without event files,
    ``on_missing`` one for each path that is no file or folder, and for each folder that may not be
    read, if that is no reason to stop.

    Raises:
        UserError: a path does not exist or may not be read, and there is no ``on_missing``.

    """
    found: list[Path] = []
    for path in paths:
        try:
            if path.is_dir():
                entries, unread = _event_files(path)
                for error in unread:
                    _say_missing(_unreadable(error.filename, error), on_missing)
                if not entries and not unread and notify:
                    names = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
                    notify(f"no event files in {path} (names that end in {names}, .gz too)")
                found.extend(entries)
                continue
            if path.is_file():
                found.append(path)
                continue
            if path.exists():
                missing = f"{path} is no file or folder; to read a pipe, give - and redirect it"
            else:
                missing = f"{path} does not exist; give files, folders, or - for standard input"
        except OSError as error:
            # It stands in a folder that may not be looked into.
            missing = _unreadable(path, error)
        _say_missing(missing, on_missing)
    return found


def _say_missing(text: str, on_missing: Callable[[str], None] | None) -> None:
    if on_missing is None:
        raise UserError(text)
    on_missing(text)


def _unreadable(path: Path | str, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror or error}"


def _event_files(folder: Path) -> tuple[list[Path], list[OSError]]:
    """Return the event files of a folder, and why folders in it may not be read."""
    root = folder.resolve()
    unread: list[OSError] = []
    # Unlike Path.rglob it says which folders it had to leave out.
    walked = os.walk(folder, onerror=unread.append)
    entries = sorted(Path(parent, name) for parent, _, names in walked for name in names)
    found = [
        entry
        for entry in entries
        if not entry.name.startswith(".")
        and entry.name.lower().removesuffix(".gz").endswith(SUFFIXES)
        and _is_file(entry)
        and entry.resolve().is_relative_to(root)
    ]
    return found, sorted(unread, key=lambda error: str(error.filename))


def _is_file(entry: Path) -> bool:
    try:
        return entry.is_file()
    except OSError:
        # In a folder whose names may be listed and no more: opening it says so.
        return True


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
        head = stream.read(HEAD_BYTES)
    is_csv = _starts_like_csv(head, any_names=mapping is not None)
    return path.rename(path.with_suffix(".csv" if is_csv else ".ndjson"))


def _starts_like_csv(head: bytes, *, any_names: bool) -> bool:
    """Tell whether a file starts with names of columns, one of them an event's, or any names."""
    if head.startswith(b"\x1f\x8b"):
        # What is damaged is found out when it is read.
        with suppress(zlib.error):
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    line = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].strip()
    if b"," not in line or line.startswith((b"{", b"[", b"\x1f\x8b", b"PAR1")):
        return False
    names = line.decode("utf-8", "replace").split(",")
    return any_names or any("event_" in snake_case(name.strip(' "')) for name in names)


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
    on_missing: Callable[[str], None] | None = None,
) -> list[LoadResult]:
    """Load files into the warehouse of the settings, each whole or not at all.

    ``mapping`` renames CSV columns; ``adapter`` names the foreign format that the files are of;
    ``notify`` gets a line when there is something to wait for, and for a folder without event
    files; ``on_result`` is called after each file; ``on_missing`` gets a line for each path that
    is no file or folder or may not be read, and the others are loaded.

    Raises:
        UserError: a path does not exist or may not be read and there is no ``on_missing``,
            there is no such format, or the mapping cannot be meant for these files.
        WarehouseBusy: another process did not let go of the warehouse.

    """
    foreign = None if adapter is None else adapter_named(adapter)
    if mapping:
        if foreign is not None:
            raise UserError("--map names columns of CSV, and --as reads JSON; give one of them")
        check_mapping(mapping, registry())
    spool = settings.home / "spool"
    clean_spool(spool)
    named = [path for path in paths if path != STANDARD_INPUT]
    piped = []
    # Once, however often it is named: the second time nothing would be left of it.
    if len(named) < len(paths):
        if sys.stdin is None:
            _say_missing("standard input is closed; pipe or redirect events into it", on_missing)
        else:
            piped.append(spool_standard_input(spool, mapping))
    try:
        files = [*piped, *find_files(named, notify=notify, on_missing=on_missing)]
        if not files:
            return []
        if mapping and not any(map(_may_be_csv, files)):
            raise UserError(
                f"--map names columns of CSV, and {files[0].name} is none"
                f"{', nor any other file' if len(files) > 1 else ''}; leave out --map"
            )
        return _load_all(files, settings, mapping or {}, foreign, notify, on_result)
    finally:
        shutil.rmtree(spool / str(os.getpid()), ignore_errors=True)


def _may_be_csv(path: Path) -> bool:
    try:
        return file_format(path) == "csv"
    except OSError:
        # That it cannot be read is said when it is loaded.
        return True


def _load_all(
    files: Sequence[Path],
    settings: Settings,
    mapping: dict[str, str],
    foreign: Adapter | None,
    notify: Callable[[str], None] | None,
    on_result: Callable[[LoadResult], None] | None,
) -> list[LoadResult]:
    results = []
    with open_warehouse(settings, notify=notify) as warehouse:
        ensure_timezone(warehouse, settings.timezone, notify=notify)
        take_over(warehouse, settings)
        register_versions(warehouse)
        with closing(Loader(warehouse, settings, mapping=mapping, adapter=foreign)) as loader:
            for group in group_files(files):
                for result in loader.load_files(group):
                    results.append(result)
                    if on_result:
                        on_result(result)
    return results

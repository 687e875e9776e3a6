"""The files that events come in: read strictly, byte by byte, as blocks of clean lines.

Belongs here: formats (NDJSON, gzip, CSV, Parquet), and what can be wrong with bytes before JSON
is parsed: encoding, NUL, length, depth, cut or damaged files. What the JSON says is validated
elsewhere.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import re
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import orjson

from ingest.registry import Registry
from ingest.shape import Fault, is_absent

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LINE_BYTES = 262_144
MAX_DEPTH = 16
BLOCK_BYTES = 48 << 20
ROWS_PER_BLOCK = 50_000

#: Decompressed size at which a file of suspicious ratio is refused.
BOMB_BYTES = 1 << 30
BOMB_RATIO = 500

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?')
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


class UnreadableFile(Exception):
    """The file cannot be trusted as a whole; nothing of it is loaded."""


#: Where several files are loaded together, a line number carries the file's place among them
#: (its ordinal) above this many bits.
ORDINAL_BITS = 52

#: Where a document may give several events, a line number is that of the document and, in this
#: many bits, the place among its events.
PART_BITS = 17


@dataclass(frozen=True)
class BadLine:
    """A line that is rejected, and why."""

    line_number: int
    fault: Fault
    payload: bytes

    @property
    def ordinal(self) -> int:
        """Place of the line's file among those that are loaded together."""
        return self.line_number >> ORDINAL_BITS

    @property
    def line_in_file(self) -> int:
        """Number of the line in its file, from 1."""
        return self.line_number & ((1 << ORDINAL_BITS) - 1)


@dataclass(frozen=True)
class Block:
    """Some lines of a file.

    ``lines`` has the columns ``line_number`` and ``line`` (text). ``doubtful`` names lines that
    a lenient parser would take although they may not be valid JSON.
    """

    lines: pa.Table
    bad_lines: list[BadLine] = field(default_factory=list)
    doubtful: frozenset[int] = frozenset()

    def line_counts(self) -> dict[int, int]:
        """Lines read by the ordinal of their file, blank ones left out."""
        ordinals = self.lines.column(0).to_numpy() >> ORDINAL_BITS
        found, counts = np.unique(ordinals, return_counts=True)
        lines = Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        lines.update(bad.ordinal for bad in self.bad_lines)
        return dict(lines)


def merge_blocks(files: list[list[Block]]) -> Block:
    """Put the blocks of several files together; line numbers get the ordinal of their file."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    bad_lines: list[BadLine] = []
    doubtful: set[int] = set()
    for ordinal, blocks in enumerate(files):
        shift = ordinal << ORDINAL_BITS
        for block in blocks:
            numbers = pa.array(block.lines.column(0).to_numpy() + shift)
            tables.append(block.lines.set_column(0, "line_number", numbers))
            bad_lines.extend(replace(b, line_number=b.line_number + shift) for b in block.bad_lines)
            doubtful.update(number + shift for number in block.doubtful)
    return Block(pa.concat_tables(tables or [NO_LINES()]), bad_lines, frozenset(doubtful))


def NO_LINES() -> pa.Table:
    """Return a table of no lines."""
    return _table([], [])


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_format(path: Path) -> str:
    """Return ndjson, csv or parquet, by the file's first bytes and then its name."""
    with path.open("rb") as stream:
        head = stream.read(4)
    if head == b"PAR1" or path.suffix.lower() == ".parquet":
        return "parquet"
    name = path.name.lower().removesuffix(".gz")
    return "csv" if name.endswith(".csv") else "ndjson"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":
            stream.seek(0)
            yield from _gzip_chunks(stream, path)
            return
        stream.seek(0)
        while chunk := stream.read(BLOCK_BYTES):
            yield chunk


def _gzip_chunks(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """Decompress every member, checking CRC and length; a cut file yields what is whole.

    Raises:
        UnreadableFile: the data is damaged (then nothing of it can be trusted) or a bomb.
        EOFError: the file is cut short; all chunks before the cut have been yielded.

    """
    size = max(path.stat().st_size, 1)
    inflater = zlib.decompressobj(wbits=31)
    produced = 0
    pending = b""
    while True:
        pending = pending or stream.read(1 << 20)
        if not pending:
            raise EOFError("the file is cut short")
        try:
            data = inflater.decompress(pending, BLOCK_BYTES)
        except zlib.error as error:
            raise UnreadableFile(f"the gzip data is damaged: {error}") from None
        produced += len(data)
        if produced > BOMB_BYTES and produced > BOMB_RATIO * size:
            raise UnreadableFile(f"it grows to more than {BOMB_RATIO} times its size")
        if data:
            yield data
        pending = inflater.unconsumed_tail
        if inflater.eof:
            pending = inflater.unused_data or stream.read(1 << 20)
            if not pending.strip(b"\0"):
                return
            inflater = zlib.decompressobj(wbits=31)


def read_blocks(path: Path, registry: Registry, mapping: dict[str, str]) -> Iterator[Block]:
    """Yield a file's lines in blocks of bounded size.

    ``mapping`` renames CSV columns to envelope fields or ``properties.x``.

    Raises:
        UnreadableFile: the file cannot be read or trusted.
        EOFError: the file is cut short; the whole lines before the cut have been yielded.

    """
    kind = file_format(path)
    if kind == "parquet":
        yield from _parquet_blocks(path)
    elif kind == "csv":
        yield from _csv_blocks(path, registry, mapping)
    else:
        yield from _line_blocks(_chunks(path))


def read_documents(path: Path) -> Iterator[Block]:
    """Yield the JSON documents of a file that holds no canonical events, one per line.

    A file holds a document per line, or is one document, or one array of documents; then the
    line number of a document is its place in the array.

    Raises:
        UnreadableFile: the file cannot be read or trusted.
        EOFError: the file is cut short; the whole lines before the cut have been yielded.

    """
    if file_format(path) == "parquet":
        raise UnreadableFile("foreign formats are read as JSON, this is Parquet")
    chunks = _chunks(path)
    head: list[bytes] = []
    cut: EOFError | None = None
    try:
        # Usually the first line tells; else all of it is needed to tell (if it is not too much).
        while not _starts_with_a_document(head) and sum(map(len, head)) <= BLOCK_BYTES:
            head.append(next(chunks))
    except StopIteration:
        whole = _whole_documents(b"".join(head))
        if whole is not None:
            yield whole
            return
    except EOFError as error:
        cut = error
    yield from _line_blocks(_resumed(head, chunks, cut))


def _resumed(head: list[bytes], rest: Iterator[bytes], cut: EOFError | None) -> Iterator[bytes]:
    yield from head
    if cut is not None:
        raise cut
    yield from rest


def _starts_with_a_document(head: list[bytes]) -> bool:
    start = b"".join(head).removeprefix(b"\xef\xbb\xbf").lstrip()
    end = start.find(b"\n")
    if end < 0:
        return False
    try:
        return isinstance(orjson.loads(start[:end]), dict)
    except orjson.JSONDecodeError:
        return False


def _whole_documents(data: bytes) -> Block | None:
    """Return the documents of a file that is one JSON value, None if it is something else."""
    data = data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if data[:1] not in (b"{", b"[") or (data[:1] == b"{" and b"\n" not in data):
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    documents = value if isinstance(value, list) else [value]
    return lines_as_block(
        list(range(1, len(documents) + 1)), [orjson.dumps(item) for item in documents], []
    )


def _line_blocks(chunks: Iterator[bytes]) -> Iterator[Block]:
    carry = b""
    number = 1
    skipping = False
    first = True
    cut: EOFError | None = None
    while True:
        try:
            chunk = next(chunks)
        except StopIteration:
            break
        except EOFError as error:
            cut = error
            break
        if first:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            first = False
        if skipping:
            end = chunk.find(b"\n")
            if end < 0:
                continue
            chunk = chunk[end + 1 :]
            number += 1
            skipping = False
        data = carry + chunk if carry else chunk
        end = data.rfind(b"\n") + 1
        carry = data[end:]
        if end:
            block = split_lines(data[:end] if carry else data, number)
            number += data.count(b"\n", 0, end)
            yield block
        if len(carry) > MAX_LINE_BYTES + 1:
            yield Block(_table([], []), [_too_large(number, carry)])
            carry = b""
            skipping = True
    if cut is None:
        if carry:
            yield split_lines(carry + b"\n", number)
        return
    raise cut


def _too_large(number: int, line: bytes) -> BadLine:
    return BadLine(number, Fault("too_large", None, f"over {MAX_LINE_BYTES} bytes"), line[:2048])


def _table(numbers: Any, lines: list[bytes]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "line_number": pa.array(numbers, pa.int64()),
            "line": pa.array(lines, pa.binary()).cast(pa.string()),
        }
    )


def split_lines(data: bytes, first_number: int) -> Block:
    """Split bytes that end with a line feed into checked lines.

    The common case touches no line by itself: offsets come from one pass over the bytes and the
    text is handed on without a copy.
    """
    import pyarrow as pa

    codes = np.frombuffer(data, dtype=np.uint8)
    feeds = np.flatnonzero(codes == 10)
    count = len(feeds)
    offsets = np.zeros(count + 1, dtype=np.int32)
    offsets[1:] = feeds + 1
    faults: dict[int, Fault] = {}
    lengths = np.diff(offsets) - 1
    for index in np.flatnonzero(lengths > MAX_LINE_BYTES).tolist():
        if lengths[index] > MAX_LINE_BYTES + 1 or codes[feeds[index] - 1] != 13:
            faults[index] = _too_large(0, b"").fault
    suspects: set[int] = set()
    if b"\0" in data or b"\\u0000" in data:
        for index in range(count):
            line = data[offsets[index] : offsets[index + 1]]
            if b"\0" in line or _escaped_nul(line):
                faults.setdefault(index, Fault("nul_byte", None, "the line holds a NUL"))
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            for index in range(count):
                try:
                    data[offsets[index] : offsets[index + 1]].decode("utf-8")
                except UnicodeDecodeError as error:
                    detail = f"byte {error.start + 1} is not valid UTF-8"
                    faults.setdefault(index, Fault("invalid_utf8", None, detail))
    folded = codes | 0x20
    openers = np.flatnonzero(folded == 0x7B)
    nesting = np.diff(np.searchsorted(openers, offsets))
    for index in np.flatnonzero(nesting > MAX_DEPTH).tolist():
        if _depth(data[offsets[index] : offsets[index + 1]]) > MAX_DEPTH:
            detail = f"more than {MAX_DEPTH} levels"
            faults.setdefault(index, Fault("too_deep", None, detail))
    for index in np.unique(np.searchsorted(feeds, _trailing_commas(codes, folded))):
        suspects.add(int(index) + first_number)
    blank = [
        int(index)
        for index in np.flatnonzero(codes[offsets[:-1]] <= 32)
        if not data[offsets[index] : offsets[index + 1]].strip(b" \t\r\n\x0b\x0c")
    ]
    bad_lines = [
        BadLine(
            index + first_number, fault, data[offsets[index] : offsets[index + 1]][:MAX_LINE_BYTES]
        )
        for index, fault in sorted(faults.items())
    ]
    keep = np.ones(count, dtype=bool)
    keep[list(faults)] = False
    keep[blank] = False
    kind = pa.binary()
    texts = pa.Array.from_buffers(kind, count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    numbers = np.arange(first_number, first_number + count, dtype=np.int64)
    table = pa.table({"line_number": numbers, "line": texts})
    if not keep.all():
        table = table.filter(pa.array(keep))
    # Checked above: what is left is valid UTF-8, so the view needs no second look.
    table = table.set_column(1, "line", _as_text(table.column(1)))
    return Block(table, bad_lines, frozenset(suspects))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([chunk.view(pa.string()) for chunk in column.chunks], pa.string())


def _escaped_nul(line: bytes) -> bool:
    return re.search(rb"(?<!\\)(?:\\\\)*\\u0000", line) is not None


def _depth(line: bytes) -> int:
    deepest = depth = 0
    for code in _STRINGS.sub(b"", line):
        if code in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif code in b"}]":
            depth -= 1
    return deepest


def _trailing_commas(codes: np.ndarray, folded: np.ndarray) -> np.ndarray:
    """Return the places of closing brackets that follow a comma; strings are not told apart."""
    places = np.flatnonzero(folded == 0x7D)
    before = places - 1
    while True:
        before = np.maximum(before, 0)
        white = (codes[before] <= 32) & (before > 0)
        if not white.any():
            return places[codes[before] == 44]
        before = before - white


# --- CSV -------------------------------------------------------------------------------------


class _PhysicalLines:
    """Feeds physical lines to a CSV reader and takes back those of a row that went wrong."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> _PhysicalLines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._stream)
        self.taken.append(line)
        self.number += 1
        return line

    def start_row(self) -> None:
        self.taken = []

    def give_back_all_but_first(self) -> None:
        self._again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        self.taken = self.taken[:1]


class _ChunkReader(io.RawIOBase):
    """The decompressed bytes of a file as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self.cut = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
            except EOFError:
                self.cut = True
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _csv_blocks(path: Path, registry: Registry, mapping: dict[str, str]) -> Iterator[Block]:
    csv.field_size_limit(MAX_LINE_BYTES)
    raw = _ChunkReader(_chunks(path))
    text = io.TextIOWrapper(
        io.BufferedReader(raw, 1 << 20), "utf-8-sig", errors="surrogateescape", newline=""
    )
    feed = _PhysicalLines(text)
    reader = csv.reader(feed, strict=True)
    try:
        header = next(reader)
    except StopIteration:
        return
    except csv.Error as error:
        raise UnreadableFile(f"its header is no CSV: {error}") from None
    columns = [mapping.get(name.strip(), name.strip()) for name in header]
    numbers: list[int] = []
    lines: list[bytes] = []
    bad: list[BadLine] = []
    while True:
        feed.start_row()
        row, problem = _next_row(reader)
        if row is None and problem is None:
            break
        number = feed.number - len(feed.taken) + 1
        if row is not None and not row:
            continue
        if row is not None and len(row) != len(columns):
            problem = f"the row has {len(row)} fields, the header has {len(columns)}"
        if problem is not None or row is None:
            feed.give_back_all_but_first()
            payload = feed.taken[0].encode("utf-8", "surrogateescape")
            code = "too_large" if len(payload) > MAX_LINE_BYTES else "malformed_json"
            bad.append(BadLine(number, Fault(code, None, problem), payload[:MAX_LINE_BYTES]))
        else:
            fault = _row_fault(row)
            if fault:
                payload = "".join(feed.taken).encode("utf-8", "surrogateescape")
                bad.append(BadLine(number, fault, payload[:MAX_LINE_BYTES]))
            else:
                numbers.append(number)
                lines.append(orjson.dumps(_csv_event(columns, row, registry)))
        if len(lines) + len(bad) >= ROWS_PER_BLOCK:
            yield lines_as_block(numbers, lines, bad)
            numbers, lines, bad = [], [], []
    if lines or bad:
        yield lines_as_block(numbers, lines, bad)
    if raw.cut:
        raise EOFError("the file is cut short")


def _next_row(reader: Any) -> tuple[list[str] | None, str | None]:
    try:
        return next(reader), None
    except StopIteration:
        return None, None
    except csv.Error as error:
        return None, f"not valid CSV: {error}"


def _row_fault(row: list[str]) -> Fault | None:
    whole = "".join(row)
    if "\0" in whole:
        return Fault("nul_byte", None, "the row holds a NUL")
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        return Fault("invalid_utf8", None, "the row is not valid UTF-8")
    return None


def lines_as_block(numbers: list[int], lines: list[bytes], bad: list[BadLine]) -> Block:
    """Put lines made of something else through the same checks as lines that came as JSON.

    ``numbers`` are the line numbers of ``lines``; ``bad`` are lines rejected before.
    """
    if not lines:
        return Block(_table([], []), bad)
    import pyarrow as pa

    block = split_lines(b"\n".join(lines) + b"\n", 0)
    order = block.lines.column(0).to_numpy()
    renumbered = pa.array(np.asarray(numbers, dtype=np.int64)[order])
    moved = [BadLine(numbers[b.line_number], b.fault, b.payload) for b in block.bad_lines]
    doubtful = frozenset(numbers[index] for index in block.doubtful)
    return Block(block.lines.set_column(0, "line_number", renumbered), bad + moved, doubtful)


def _csv_event(columns: list[str], row: list[str], registry: Registry) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=True):
        if is_absent(cell) or not column:
            continue
        group, _, name = column.partition(".")
        if group in ("properties", "context", "metadata") and name:
            kind = (
                registry.context[name].type
                if group == "context" and name in registry.context
                else registry.property_types().get(name, "string")
            )
            event.setdefault(group, {})[name] = _cell(cell, kind)
        else:
            field_ = registry.envelope.get(column)
            event[column] = _cell(cell, field_.type if field_ else "string")
    return event


def _cell(cell: str, kind: str) -> Any:
    """Return a cell as its contract's type where it reads as one, else as it stands."""
    text = cell.strip()
    if kind == "integer" and _INTEGER.fullmatch(text) and len(text) < 20:
        value = int(text)
        return value if -(2**63) <= value < 2**63 else float(text)
    if kind in ("number", "integer") and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in ("array", "object"):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return cell
    return cell


# --- Parquet ---------------------------------------------------------------------------------


def _parquet_blocks(path: Path) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as source:
            groups = source.metadata.num_row_groups
            claimed = sum(source.metadata.row_group(g).total_byte_size for g in range(groups))
            size = path.stat().st_size
            if claimed > BOMB_BYTES and claimed > BOMB_RATIO * size:
                raise UnreadableFile(f"it claims {claimed} bytes in a file of {size}")
            for batch in source.iter_batches(batch_size=ROWS_PER_BLOCK // 5):
                lines, numbers, bad = [], [], []
                for row in batch.to_pylist():
                    number += 1
                    try:
                        lines.append(orjson.dumps(_parquet_event(row)))
                        numbers.append(number)
                    except (orjson.JSONEncodeError, UnicodeError, RecursionError) as error:
                        fault = Fault("malformed_json", None, f"no JSON value: {error}")
                        bad.append(BadLine(number, fault, repr(row).encode()[:MAX_LINE_BYTES]))
                yield lines_as_block(numbers, lines, bad)
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"it is no sound Parquet file: {str(error).splitlines()[0]}") from None


def _parquet_event(row: dict[str, Any]) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for name, value in row.items():
        plain = _plain_value(value)
        if plain is None:
            continue
        group, _, key = name.partition(".")
        if group in ("properties", "context") and key:
            event.setdefault(group, {})[key] = plain
            continue
        if name in ("properties", "context", "metadata") and isinstance(plain, str):
            with contextlib.suppress(ValueError):
                plain = json.loads(plain)
        event[name] = plain
    return event


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in ((str(k), _plain_value(v)) for k, v in value.items())
                if v is not None}  # fmt: skip
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return _plain_value(dict(value))
        return [_plain_value(item) for item in value]
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="milliseconds")
        text = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value

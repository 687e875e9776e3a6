"""CSV files: rows into events, one bad row at a time.

A column is an envelope field, ``properties.x`` or ``context.x``; cells become the types of their
contracts where they read as such. What the values mean is validated like that of any event.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import orjson

from ingest.blocks import (
    BYTES_PER_BLOCK,
    MAX_LINE_BYTES,
    ROWS_PER_BLOCK,
    BadLine,
    Block,
    UnreadableFile,
    lines_as_block,
    whole_words,
)
from ingest.columns import group_and_field, put_together
from ingest.redaction import MESSAGE_KEYS, PERSONAL_KEYS, is_named, is_phone_key
from ingest.registry import Registry
from ingest.shape import GROUPS, Fault, is_absent, snake_case

_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")

_CUT_SHORT = "the file is cut short"

#: Characters that are looked at of a line; more are too many for a row.
_LINE_CHARACTERS = MAX_LINE_BYTES + 3


class _PhysicalLines:
    """Feeds physical lines to a CSV reader and takes back those of a row that went wrong."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self._size = 0
        self.number = 0
        #: The input ended where another line was wanted, or before the end of the last line.
        self.ran_out = False

    def __iter__(self) -> _PhysicalLines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._stream.readline(_LINE_CHARACTERS)
        if not line:
            self.ran_out = True
            raise StopIteration
        if self.taken and self._size + len(line) > MAX_LINE_BYTES:
            self._again.appendleft(line)
            raise csv.Error(f"a row has more than {MAX_LINE_BYTES:,} bytes")
        self._size += len(line)
        end = line
        # The rest of a line that is too long to be looked at is skipped: no reader could take it.
        while len(end) == _LINE_CHARACTERS and end[-1] not in "\r\n":
            end = self._stream.readline(_LINE_CHARACTERS)
        self.ran_out = end[-1:] not in ("\r", "\n")
        self.taken.append(line)
        self.number += 1
        return line

    def start_row(self) -> None:
        self.taken = []
        self._size = 0

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


def csv_blocks(
    chunks: Iterator[bytes], registry: Registry, mapping: dict[str, str]
) -> Iterator[Block]:
    """Yield the rows of a CSV file as lines of JSON; ``mapping`` renames its columns.

    Raises:
        UnreadableFile: the header is no CSV, or has no column of a name that is to be replaced.
        EOFError: the bytes end early; the rows before the cut have been yielded.

    """
    csv.field_size_limit(MAX_LINE_BYTES)
    raw = _ChunkReader(chunks)
    text = io.TextIOWrapper(
        io.BufferedReader(raw, 1 << 20), "utf-8-sig", errors="surrogateescape", newline=""
    )
    feed = _PhysicalLines(text)
    reader = csv.reader(feed, strict=True)
    header, problem = _next_row(reader)
    if raw.cut and feed.ran_out:
        raise EOFError(_CUT_SHORT)
    if header is None:
        return
    if problem is not None:
        raise UnreadableFile(f"its header is {problem}")
    if len(feed.taken[0]) > MAX_LINE_BYTES:
        raise UnreadableFile(f"its header has more than {MAX_LINE_BYTES} characters")
    given = [name.strip() for name in header]
    renamed = {name.strip(): target for name, target in mapping.items()}
    if lacking := sorted(renamed.keys() - set(given)):
        raise UnreadableFile(f"its header has no column {lacking[0][:100]!r}, which --map names")
    names = [renamed.get(name, name) for name in given]
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise UnreadableFile(f"its header names {twice[0][:100]!r} twice")
    columns = [_column(name, registry) for name in names]
    # A row that does not fit the header is kept as it stands, so not where one cell is a message,
    # or a number that only the name of its column tells.
    kept = MAX_LINE_BYTES
    keys = [name.rpartition(".")[2] for name in names]
    if any(is_named(key, MESSAGE_KEYS | PERSONAL_KEYS) or is_phone_key(key) for key in keys):
        kept = 0
    numbers: list[int] = []
    lines: list[bytes] = []
    bad: list[BadLine] = []
    weight = 0
    while True:
        feed.start_row()
        row, problem = _next_row(reader)
        if row is None:
            break
        if raw.cut and feed.ran_out:
            fits = problem is None and len(row) == len(columns)
            if fits or not _holds_a_row(feed.taken[1:], len(columns)):
                break
            problem = "a quote is left open"
        number = feed.number - len(feed.taken) + 1
        if len(feed.taken[0]) > MAX_LINE_BYTES:
            problem = f"over {MAX_LINE_BYTES} characters"
        elif problem is None and all(map(is_absent, row)):
            continue
        elif problem is None and len(row) != len(columns):
            problem = f"the row has {len(row)} fields, the header has {len(columns)}"
        if problem is not None:
            feed.give_back_all_but_first()
            payload = feed.taken[0].encode("utf-8", "surrogateescape")
            code = "too_large" if len(payload) > MAX_LINE_BYTES else "malformed_json"
            if code == "too_large":
                payload = whole_words(payload, 2048)
            bad.append(BadLine(number, Fault(code, None, problem), payload[:kept]))
            weight += len(bad[-1].payload)
        else:
            line, fault = _row_as_line(columns, row)
            if fault is not None:
                payload = "".join(feed.taken).encode("utf-8", "surrogateescape")
                bad.append(BadLine(number, fault, payload[:kept]))
                weight += len(bad[-1].payload)
            else:
                numbers.append(number)
                lines.append(line)
                weight += len(line)
        if weight >= BYTES_PER_BLOCK or len(lines) + len(bad) >= ROWS_PER_BLOCK:
            yield lines_as_block(numbers, lines, bad)
            numbers, lines, bad, weight = [], [], [], 0
    if lines or bad:
        yield lines_as_block(numbers, lines, bad)
    if raw.cut:
        raise EOFError(_CUT_SHORT)


def _next_row(reader: Any) -> tuple[list[str] | None, str | None]:
    """Return the next row and what is wrong with it; no row at the end."""
    try:
        return next(reader), None
    except StopIteration:
        return None, None
    except csv.Error as error:
        return [], f"not valid CSV: {error}"


def _holds_a_row(lines: Sequence[str], width: int) -> bool:
    """Tell whether lines that a quote has swallowed are rows of their own: it was left open.

    Else they are the text of one cell, in which the file was cut.
    """
    return any(len(row) == width for row in csv.reader(lines))


def _row_as_line(columns: Sequence[_Column], row: list[str]) -> tuple[bytes, Fault | None]:
    """Return a row as a line of JSON, or why it cannot be one."""
    whole = "".join(row)
    if "\0" in whole:
        return b"", Fault("nul_byte", None, "the row holds a NUL")
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        return b"", Fault("invalid_utf8", None, "the row is not valid UTF-8")
    event: dict[str, Any] = {}
    dotted: dict[str, dict[str, Any]] = {}
    for column, cell in zip(columns, row, strict=True):
        if is_absent(cell) or not column.name:
            continue
        place = dotted.setdefault(column.group, {}) if column.group else event
        place[column.name] = _cell(cell, column.kind)
    try:
        return orjson.dumps(put_together(event, dotted)), None
    except orjson.JSONEncodeError:
        return b"", Fault("too_deep", None, "a cell holds JSON that is nested too deep")


@dataclass(frozen=True)
class _Column:
    """Where the cells of a column go, and the type of contracts that they are read as."""

    group: str
    name: str
    kind: str


def _column(name: str, registry: Registry) -> _Column:
    if (found := group_and_field(name)) is None:
        known = registry.envelope.get(snake_case(name))
        kind = known.type if known else "object" if snake_case(name) in GROUPS else "string"
        return _Column("", name, kind)
    group, field = found
    spelled = snake_case(field)
    if group == "context" and spelled in registry.context:
        return _Column(group, field, registry.context[spelled].type)
    return _Column(group, field, registry.property_types().get(spelled, "string"))


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

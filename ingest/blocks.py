"""Blocks of lines: what is checked of bytes before their JSON is looked at.

Belongs here: encoding, NUL, length, depth, and the form in which checked lines are handed on.
Reading files into bytes belongs in ``ingest.source_files``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.shape import Fault

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LINE_BYTES = 262_144
MAX_DEPTH = 16

#: Rows of other formats that are turned into lines at a time.
ROWS_PER_BLOCK = 5_000

#: ... and their bytes.
BYTES_PER_BLOCK = 4 << 20

#: Where several files are loaded together, a line number carries the file's place among them
#: (its ordinal) above this many bits.
ORDINAL_BITS = 52

#: Where a document may give several events, a line number is that of the document and, in this
#: many bits, the place among its events.
PART_BITS = 17

#: What may be half of something at the end of a text that was cut.
_LONGEST_WORD = 600
_CUT = re.compile(rb"""[^\s",;{}\[\]]{0,500}[\d\s+().\-]{0,60}$""")

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?')


class UnreadableFile(Exception):
    """The file cannot be trusted as a whole; nothing of it is loaded."""


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
    return _together(
        [
            _shifted(block, ordinal << ORDINAL_BITS)
            for ordinal, blocks in enumerate(files)
            for block in blocks
        ]
    )


def _shifted(block: Block, shift: int) -> Block:
    """Return a block whose line numbers are higher."""
    import pyarrow as pa

    numbers = pa.array(block.lines.column(0).to_numpy() + shift)
    return Block(
        block.lines.set_column(0, "line_number", numbers),
        [replace(bad, line_number=bad.line_number + shift) for bad in block.bad_lines],
        frozenset(number + shift for number in block.doubtful),
    )


def gathered(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    """Put blocks of one file together until they have ``size`` bytes."""
    waiting: list[Block] = []
    weight = 0
    for block in blocks:
        waiting.append(block)
        # A rejected line costs more than its bytes: a row and its objects.
        weight += block.lines.nbytes + sum(len(bad.payload) + 500 for bad in block.bad_lines)
        if weight < size:
            continue
        del block
        whole, waiting, weight = _together(waiting), [], 0
        yield whole
        del whole
    if waiting:
        yield _together(waiting)


def _together(blocks: list[Block]) -> Block:
    import pyarrow as pa

    return Block(
        pa.concat_tables([block.lines for block in blocks] or [NO_LINES()]),
        [bad for block in blocks for bad in block.bad_lines],
        frozenset().union(*(block.doubtful for block in blocks)),
    )


def NO_LINES() -> pa.Table:
    """Return a table of no lines."""
    return as_table([], [])


def whole_words(data: bytes, limit: int) -> bytes:
    """Cut a text without leaving half of an address or of a number at its end."""
    if len(data) <= limit:
        return data
    tail = max(limit - _LONGEST_WORD, 0)
    return data[:tail] + _CUT.sub(b"", data[tail:limit])


def too_large(number: int, line: bytes) -> BadLine:
    """Return the rejection of a line that is too long to be looked at."""
    fault = Fault("too_large", None, f"over {MAX_LINE_BYTES} bytes")
    return BadLine(number, fault, whole_words(line, 2048))


def as_table(numbers: Any, lines: list[bytes]) -> pa.Table:
    """Return lines that need no check, with their numbers."""
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
            faults[index] = too_large(0, b"").fault
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
    blank = np.flatnonzero(lengths <= 0).tolist()
    blank += [
        int(index)
        for index in np.flatnonzero((codes[offsets[:-1]] <= 32) & (lengths > 0))
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


def lines_as_block(numbers: list[int], lines: list[bytes], bad: list[BadLine]) -> Block:
    """Put lines made of something else through the same checks as lines that came as JSON.

    ``numbers`` are the line numbers of ``lines``; ``bad`` are lines rejected before.
    """
    if not lines:
        return Block(as_table([], []), bad)
    import pyarrow as pa

    block = split_lines(b"\n".join(lines) + b"\n", 0)
    order = block.lines.column(0).to_numpy()
    renumbered = pa.array(np.asarray(numbers, dtype=np.int64)[order])
    moved = [BadLine(numbers[b.line_number], b.fault, b.payload) for b in block.bad_lines]
    doubtful = frozenset(numbers[index] for index in block.doubtful)
    return Block(block.lines.set_column(0, "line_number", renumbered), bad + moved, doubtful)

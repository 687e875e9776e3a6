"""The outline of a line: its JSON without what its strings say and how large its numbers are.

Lines of one outline have one structure: asking DuckDB for that of each line costs three times as
much as finding the outlines of all and asking for one line of each. Belongs here: outlines of many
lines at once, and counting keys. What a structure has to be belongs in ``ingest.shape``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

#: With so many digits a number may be one that no integer of 64 bits holds.
_LONG_NUMBER = 19

#: Larger arrays are given back to the system after each step, and cost a third of the time.
_LINES_AT_A_TIME = 1_000

_QUOTE, _COLON, _SPACE, _NEWLINE = b'": \n'
_ZERO = ord("0")


def outlines(lines: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Return the outline of each line, and whether it can be trusted.

    ``lines`` are valid JSON without a backslash. A line whose outline does not tell its structure
    from others (blanks after a string, numbers of many digits) is not trusted.
    """
    import pyarrow as pa

    found, trusted = [], [np.zeros(0, dtype=bool)]
    for chunk in lines.chunks:
        for start in range(0, len(chunk), _LINES_AT_A_TIME):
            outline, doubtful = _outlines(*_bytes_of(chunk.slice(start, _LINES_AT_A_TIME)))
            found.append(outline)
            trusted.append(~doubtful)
    return pa.chunked_array(found, pa.binary()), np.concatenate(trusted)


def _bytes_of(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of some texts, and where each begins, the end after the last one."""
    _, places, data = chunk.buffers()
    offsets = np.frombuffer(places, dtype=np.int32)[chunk.offset :][: len(chunk) + 1]
    codes = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
    return codes, offsets - offsets[0]


def _outlines(codes: np.ndarray, offsets: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    import pyarrow as pa

    quotes = np.flatnonzero(codes == _QUOTE)
    opening, closing = quotes[::2], quotes[1::2]
    after = codes[np.minimum(closing + 1, len(codes) - 1)]
    values = after != _COLON
    # What a blank after a string stands before is not looked for.
    blanks = closing[(after <= _SPACE) & (after != _NEWLINE)]
    doubtful = np.zeros(len(offsets) - 1, dtype=bool)
    doubtful[np.searchsorted(offsets, blanks, side="right") - 1] = True

    # Pieces that are outside the strings that are values, and those strings, in turn.
    cuts = np.empty(2 * np.count_nonzero(values) + 2, dtype=np.int32)
    cuts[0], cuts[-1] = 0, len(codes)
    cuts[1:-1:2] = opening[values] + 1
    cuts[2:-1:2] = closing[values]
    pieces = pa.Array.from_buffers(
        pa.binary(), len(cuts) - 1, [None, pa.py_buffer(cuts), pa.py_buffer(codes)]
    )
    kept = pieces.take(pa.array(np.arange(0, len(cuts), 2, dtype=np.int32)))
    places = np.frombuffer(kept.buffers()[1], dtype=np.int32)[: len(kept) + 1]
    outline = np.frombuffer(kept.buffers()[2], dtype=np.uint8)[: places[-1]].copy()
    piece = np.searchsorted(cuts[:-1:2], offsets[:-1], side="right") - 1
    starts = np.append(places[piece] + offsets[:-1] - cuts[::2][piece], len(outline))

    # Of digits that follow each other the first stays, as a zero; those of keys stay as they are.
    digits = np.flatnonzero((outline - np.uint8(_ZERO)) < 10)
    quotes_before = np.searchsorted(np.flatnonzero(outline == _QUOTE), digits)
    digits = digits[quotes_before % 2 == 0]
    begins = np.flatnonzero(np.diff(digits, prepend=-2) > 1)
    outline[digits[begins]] = _ZERO
    stays = np.ones(len(outline), dtype=bool)
    stays[np.delete(digits, begins)] = False
    lengths = np.diff(begins, append=len(digits))
    long_numbers = digits[begins[lengths >= _LONG_NUMBER]]
    doubtful[np.searchsorted(starts, long_numbers, side="right") - 1] = True
    starts -= np.searchsorted(np.delete(digits, begins), starts)
    buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(outline[stays])]
    return pa.Array.from_buffers(pa.binary(), len(starts) - 1, buffers), doubtful


def key_counts(lines: pa.ChunkedArray) -> np.ndarray:
    """Count the keys in each of some lines of JSON; what merely looks like one counts as well."""
    found = [np.zeros(0, dtype=np.int64)]
    for chunk in lines.chunks:
        if not len(chunk):
            continue
        codes, offsets = _bytes_of(chunk)
        colons = np.flatnonzero(codes == _COLON)
        before = codes[colons - 1]
        colons = colons[(before == _QUOTE) | (before <= _SPACE)]
        found.append(np.diff(np.searchsorted(colons, offsets)))
    return np.concatenate(found)

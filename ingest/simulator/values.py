"""Columns of simulated events, and how each becomes JSON text without a loop over rows.

A column is a numpy array with a meaning (word of a vocabulary, numbered code, hash, number,
timestamp). Fixed-width ones write themselves into a byte matrix; the others become Arrow arrays
of text. What the columns of an event are belongs in the domain modules; how pieces are joined
into lines belongs in ``lines``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Array = NDArray[Any]
DAY_MS = 86_400_000


def binary_array(data: Array, ends: Array) -> pa.Array:
    """Arrow binary array over contiguous bytes, without a copy; ``ends`` is cumulative."""
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    return pa.Array.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def mix(numbers: Array, salt: int = 0) -> Array:
    """Scatter integers over 64 bits (splitmix64): a stable stand-in for a hash."""
    with np.errstate(over="ignore"):
        x = numbers.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15 + 1) % 2**64)
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


@cache
def _digits(width: int) -> Array:
    return np.array([f"{i:0{width}d}" for i in range(10**width)], f"S{width}")


@cache
def _hex() -> Array:
    return np.array([f"{i:04x}" for i in range(65536)], "S4")


@cache
def _clock() -> Array:
    return np.array(
        [f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}." for s in range(86400)], "S10"
    )


@cache
def _millis() -> Array:
    return np.array([f"{i:03d}Z" for i in range(1000)], "S4")


def _slot(out: Array, offset: int, width: int) -> Array:
    """View of some columns of a byte matrix as one fixed-width text column."""
    return np.ndarray(
        shape=out.shape[0],
        dtype=f"S{width}",
        buffer=out.data,
        offset=offset,
        strides=(out.strides[0],),
    )


class Vocabulary:
    """A closed list of texts (or of JSON fragments, ``raw``), encoded once per key."""

    def __init__(self, values: Iterable[str], raw: bool = False) -> None:
        """Keep the values; ``raw`` values are JSON already and are inserted as they stand."""
        self.values = tuple(values)
        self.raw = raw
        self._encoded: dict[tuple[str, bytes], pa.Array] = {}

    def __len__(self) -> int:
        """Count the values."""
        return len(self.values)

    def encoded(self, key: str, lead: bytes) -> pa.Array:
        """Each value as ``lead"key":value``; the last entry, for null, is empty."""
        found = self._encoded.get((key, lead))
        if found is None:
            head = lead + b'"' + key.encode() + b'":' if key else lead
            texts = (v if self.raw else json.dumps(v) for v in self.values)
            found = pa.array([*(head + t.encode() for t in texts), b""], pa.binary())
            self._encoded[(key, lead)] = found
        return found


BOOLEANS = Vocabulary(("false", "true"), raw=True)


@dataclass(frozen=True)
class Words:
    """Words of a vocabulary by number; -1 is null."""

    vocabulary: Vocabulary
    codes: Array

    @property
    def full(self) -> bool:
        """Whether no row is null."""
        return len(self.codes) == 0 or int(self.codes.min()) >= 0

    def pick(self, index: Array) -> Words:
        """Some of the rows."""
        return replace(self, codes=self.codes[index])

    def text(self, key: str, lead: bytes) -> pa.Array:
        """Arrow array of ``lead"key":value`` per row, empty where null."""
        codes = self.codes.astype(np.int32)
        codes[codes < 0] = len(self.vocabulary)
        return self.vocabulary.encoded(key, lead).take(pa.array(codes))


@dataclass(frozen=True)
class Number:
    """Integers or doubles; rows outside ``present`` are null."""

    values: Array
    present: Array | None = None

    @property
    def full(self) -> bool:
        """Whether no row is null."""
        return self.present is None

    def pick(self, index: Array) -> Number:
        """Some of the rows."""
        present = None if self.present is None else self.present[index]
        return Number(self.values[index], present)

    def text(self, key: str, lead: bytes) -> pa.Array:
        """Arrow array of ``lead"key":value`` per row, null where null."""
        mask = None if self.present is None else ~self.present
        texts = pa.array(self.values, mask=mask).cast(pa.string()).cast(pa.binary())
        head = pa.scalar(lead + b'"' + key.encode() + b'":', pa.binary())
        return pc.binary_join_element_wise(head, texts, b"")


@dataclass(frozen=True)
class Fixed:
    """Base of columns whose text has one width; rows outside ``present`` are null."""

    values: Array
    present: Array | None = None

    @property
    def full(self) -> bool:
        """Whether no row is null."""
        return self.present is None

    @property
    def width(self) -> int:
        """Bytes of the text, quotes not included."""
        raise NotImplementedError

    def pick(self, index: Array) -> Fixed:
        """Some of the rows."""
        present = None if self.present is None else self.present[index]
        return replace(self, values=self.values[index], present=present)

    def fill(self, out: Array, offset: int) -> None:
        """Write the text of every row into a byte matrix, from column ``offset`` on."""
        raise NotImplementedError

    def text(self, key: str, lead: bytes) -> pa.Array:
        """Arrow array of ``lead"key":"value"`` per row, empty where null."""
        head = lead + b'"' + key.encode() + b'":"'
        out = np.empty((len(self.values), len(head) + self.width + 1), np.uint8)
        out[:, : len(head)] = np.frombuffer(head, np.uint8)
        self.fill(out, len(head))
        out[:, -1] = ord('"')
        if self.present is None:
            return binary_array(out, np.arange(1, len(out) + 1) * out.shape[1])
        return binary_array(out[self.present], np.cumsum(self.present * out.shape[1]))


@dataclass(frozen=True)
class Code(Fixed):
    """A prefix and a zero-padded number: ``ord_000000123``; ``digits`` is a multiple of 3."""

    prefix: str = ""
    digits: int = 9

    @property
    def width(self) -> int:
        """Bytes of the text."""
        return len(self.prefix) + self.digits

    def fill(self, out: Array, offset: int) -> None:
        """Write prefix and digits, three at a time."""
        start = offset + len(self.prefix)
        if self.prefix:
            out[:, offset:start] = np.frombuffer(self.prefix.encode(), np.uint8)
        rest = self.values.astype(np.int64)
        for place in range(start + self.digits - 3, start - 1, -3):
            rest, part = np.divmod(rest, 1000)
            _slot(out, place, 3)[:] = _digits(3)[part]


@dataclass(frozen=True)
class Hash(Fixed):
    """A prefix and 16 hexadecimal digits of a 64-bit number."""

    prefix: str = ""

    @property
    def width(self) -> int:
        """Bytes of the text."""
        return len(self.prefix) + 16

    def fill(self, out: Array, offset: int) -> None:
        """Write prefix and digits, four at a time."""
        start = offset + len(self.prefix)
        if self.prefix:
            out[:, offset:start] = np.frombuffer(self.prefix.encode(), np.uint8)
        quarters = np.ascontiguousarray(self.values, np.uint64).view(np.uint16).reshape(-1, 4)
        for place in range(4):
            _slot(out, start + 4 * place, 4)[:] = _hex()[quarters[:, 3 - place]]


@dataclass(frozen=True)
class Uuid(Fixed):
    """Random UUIDs (version 4) from two 64-bit numbers a row."""

    @property
    def width(self) -> int:
        """Bytes of the text."""
        return 36

    def fill(self, out: Array, offset: int) -> None:
        """Write 8-4-4-4-12, four digits at a time."""
        parts = np.ascontiguousarray(self.values, np.uint64).view(np.uint16).reshape(-1, 8)
        parts[:, 3] = parts[:, 3] & 0x0FFF | 0x4000
        parts[:, 4] = parts[:, 4] & 0x3FFF | 0x8000
        for place, at in enumerate((0, 4, 9, 14, 19, 24, 28, 32)):
            _slot(out, offset + at, 4)[:] = _hex()[parts[:, place]]
        for at in (8, 13, 18, 23):
            out[:, offset + at] = ord("-")


@dataclass(frozen=True)
class Stamp(Fixed):
    """UTC instants in milliseconds: ``2026-03-31T07:15:02.118Z``."""

    @property
    def width(self) -> int:
        """Bytes of the text."""
        return 24

    def fill(self, out: Array, offset: int) -> None:
        """Write the text from three tables: dates, seconds of a day, milliseconds."""
        if not len(self.values):
            return
        days, rest = np.divmod(self.values, DAY_MS)
        seconds, millis = np.divmod(rest, 1000)
        first = int(days.min())
        dates = np.arange(first, int(days.max()) + 1).astype("datetime64[D]").astype("S10")
        _slot(out, offset, 10)[:] = dates[days - first]
        _slot(out, offset + 10, 10)[:] = _clock()[seconds]
        _slot(out, offset + 20, 4)[:] = _millis()[millis]


Column = Words | Number | Fixed | str | int | float | bool


def flag(values: Array, present: Array | None = None) -> Words:
    """Booleans as a column; rows outside ``present`` are null."""
    codes = values.astype(np.int32)
    return Words(BOOLEANS, codes if present is None else np.where(present, codes, -1))


def where(present: Array, column: Words) -> Words:
    """Null a column of words outside ``present``."""
    return Words(column.vocabulary, np.where(present, column.codes, -1))

"""Batches of events of one name, and their rendering as NDJSON lines.

A batch is columns; a line is `{envelope, "context": {…}, "properties": {…}}`. Neighbouring constant
and fixed-width pieces share one byte matrix, the rest is joined by Arrow, so that the cost of
a row does not depend on Python.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.registry import registry
from ingest.simulator.values import (
    Array,
    Column,
    Fixed,
    Number,
    Stamp,
    Uuid,
    Words,
    binary_array,
)

Piece: TypeAlias = bytes | Fixed | pa.Array


@dataclass(frozen=True)
class Batch:
    """Events of one name.

    ``at`` is business wall-clock time in milliseconds; ``person`` numbers the acting person where
    there is one (-1: none), so that nobody acts after churning. ``columns`` holds envelope
    fields, ``context`` (see ``web``) and properties by name.
    """

    name: str
    at: Array
    columns: dict[str, Column]
    person: Array | None = None

    def __len__(self) -> int:
        """Count the events."""
        return len(self.at)

    def pick(self, index: Array) -> Batch:
        """Some of the events."""
        columns = {
            name: column.pick(index) if isinstance(column, Words | Number | Fixed) else column
            for name, column in self.columns.items()
        }
        person = None if self.person is None else self.person[index]
        return Batch(self.name, self.at[index], columns, person)


@dataclass
class _Line:
    """Pieces of a line in order; neighbouring fixed pieces are merged when flushed."""

    rows: int
    joined: list[pa.Array | pa.Scalar] = field(default_factory=list)
    run: list[bytes | Fixed] = field(default_factory=list)

    def add(self, *pieces: Piece) -> None:
        for piece in pieces:
            if isinstance(piece, bytes | Fixed):
                self.run.append(piece)
            else:
                self._flush()
                self.joined.append(piece)

    def add_column(self, name: str, column: Column, lead: bytes) -> None:
        head = lead + b'"' + name.encode() + b'":'
        if isinstance(column, Fixed) and column.full:
            self.add(head + b'"', column, b'"')
        elif isinstance(column, Words | Number | Fixed):
            self.add(column.text(name, lead))
        else:
            self.add(head + json.dumps(column).encode())

    def _flush(self) -> None:
        constant = [piece for piece in self.run if isinstance(piece, bytes)]
        if len(constant) == len(self.run):
            if constant:
                self.joined.append(pa.scalar(b"".join(constant), pa.binary()))
        else:
            widths = [p.width if isinstance(p, Fixed) else len(p) for p in self.run]
            out = np.empty((self.rows, sum(widths)), np.uint8)
            offset = 0
            for piece, width in zip(self.run, widths, strict=True):
                if isinstance(piece, bytes):
                    out[:, offset : offset + width] = np.frombuffer(piece, np.uint8)
                else:
                    piece.fill(out, offset)
                offset += width
            self.joined.append(binary_array(out, np.arange(1, self.rows + 1) * out.shape[1]))
        self.run = []

    def finish(self) -> pa.Array:
        self._flush()
        return pc.binary_join_element_wise(
            *self.joined, b"", null_handling="replace", null_replacement=b""
        )


def _full(column: Column) -> bool:
    return column.full if isinstance(column, Words | Number | Fixed) else True


def _properties(line: _Line, columns: dict[str, Column]) -> None:
    """Append the properties; one that is always there goes first, as it has no comma."""
    ordered = sorted(columns.items(), key=lambda item: not _full(item[1]))
    if _full(ordered[0][1]):
        line.add(b',"properties":{')
        for place, (name, column) in enumerate(ordered):
            line.add_column(name, column, b"," if place else b"")
        line.add(b"}")
        return
    inner = _Line(line.rows)
    for name, column in ordered:
        inner.add_column(name, column, b",")
    text = inner.finish()
    wrapped = pc.binary_join_element_wise(
        pc.binary_replace_slice(text, 0, 1, b',"properties":{'), b"}", b""
    )
    line.add(pc.if_else(pc.equal(text, pa.scalar(b"", pa.binary())), b"", wrapped))


def render(batch: Batch, utc: Array, rng: np.random.Generator) -> pa.Array:
    """Lines of a batch, each with its line feed.

    Args:
        batch: The events.
        utc: Their instants in UTC milliseconds.
        rng: Source of the event ids.

    """
    envelope = registry().envelope
    rows = len(batch)
    line = _Line(rows)
    ids = rng.integers(0, 2**64, size=(rows, 2), dtype=np.uint64)
    line.add(b'{"event_id":"', Uuid(ids), b'","event_name":"' + batch.name.encode())
    line.add(b'","occurred_at":"', Stamp(utc), b'"')
    # fixed-width columns first: they share one byte matrix with the head of the line
    fields = [(n, c) for n, c in batch.columns.items() if n in envelope and n != "context"]
    fields.sort(key=lambda item: isinstance(item[1], Words | Number) or not _full(item[1]))
    for name, column in fields:
        line.add_column(name, column, b",")
    context, page = batch.columns.get("context"), batch.columns.get("page_url")
    if isinstance(context, Words) and page is not None:
        line.add(b',"context":{')
        line.add_column("page_url", page, b"")
        line.add(context.text("", b","), b"}")
    elif isinstance(context, Words):
        line.add(context.text("", b',"context":'))
    properties = {n: c for n, c in batch.columns.items() if n not in envelope and n != "page_url"}
    if properties:
        _properties(line, properties)
    line.add(b"}\n")
    return line.finish()

"""The files that events come in: read strictly, as blocks of checked lines.

Belongs here: which format a file has, gzip, lines and documents of JSON, cut or damaged files.
CSV and Parquet have modules of their own; what is checked of the bytes stands in
``ingest.blocks``, what the JSON says is validated elsewhere.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from ingest.blocks import (
    MAX_LINE_BYTES,
    NO_LINES,
    Block,
    UnreadableFile,
    lines_as_block,
    split_lines,
    too_large,
)
from ingest.registry import Registry

#: Bytes that are read and looked at together; what is computed of them stays near the processor.
PIECE_BYTES = 2 << 20

#: Lines that are looked at together: there may be a million blank ones in few bytes.
PIECE_LINES = 100_000

#: A file that is one JSON value is read as a whole up to this size.
DOCUMENT_BYTES = 48 << 20

#: Decompressed size at which a file of suspicious ratio is refused.
BOMB_BYTES = 1 << 30
BOMB_RATIO = 500


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
        while chunk := stream.read(PIECE_BYTES):
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
            data = inflater.decompress(pending, PIECE_BYTES)
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
    """Yield a file's lines in blocks of a few megabytes.

    ``mapping`` renames CSV columns to envelope fields or ``properties.x``.

    Raises:
        UnreadableFile: the file cannot be read or trusted.
        EOFError: the file is cut short; the whole lines before the cut have been yielded.

    """
    kind = file_format(path)
    if kind == "parquet":
        from ingest.parquet_files import parquet_blocks

        yield from parquet_blocks(path)
    elif kind == "csv":
        from ingest.csv_files import csv_blocks

        yield from csv_blocks(_chunks(path), registry, mapping)
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
        while not _starts_with_a_document(head) and sum(map(len, head)) <= DOCUMENT_BYTES:
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
        documents = value if isinstance(value, list) else [value]
        lines = [orjson.dumps(item) for item in documents]
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # The latter is nested deeper than can be written again.
        return None
    return lines_as_block(list(range(1, len(lines) + 1)), lines, [])


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
            if carry:
                data = data[:end]
            # Not kept while the lines are loaded.
            del chunk
            for piece in _pieces(data):
                lines = piece.count(b"\n")
                yield split_lines(piece, number)
                number += lines
                del piece
        del data
        if len(carry) > MAX_LINE_BYTES + 1:
            yield Block(NO_LINES(), [too_large(number, carry)])
            carry = b""
            skipping = True
    if cut is None:
        if carry:
            yield split_lines(carry + b"\n", number)
        return
    raise cut


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut whole lines into pieces of not too many lines."""
    if data.count(b"\n") <= PIECE_LINES:
        yield data
        return
    feeds = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10).astype(np.int32)
    ends = [*(feeds[PIECE_LINES - 1 :: PIECE_LINES] + 1).tolist(), len(data)]
    del feeds
    start = 0
    for end in ends:
        if end > start:
            yield data[start:end]
        start = end

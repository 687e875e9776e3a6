"""Parquet files: rows into events, after page checksums and declared sizes were checked.

A column is a field of the envelope; ``properties`` may be a struct or JSON text.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from ingest.blocks import (
    BYTES_PER_BLOCK,
    ROWS_PER_BLOCK,
    BadLine,
    Block,
    UnreadableFile,
    lines_as_block,
)
from ingest.columns import group_and_field, put_together
from ingest.shape import GROUPS, Fault
from ingest.source_files import BOMB_BYTES, BOMB_RATIO


def parquet_blocks(path: Path) -> Iterator[Block]:
    """Yield the rows of a Parquet file as lines of JSON.

    Raises:
        UnreadableFile: it is no sound Parquet file, or claims to be larger than it can be.

    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        # Buffered: a page at a time, where else a whole column of a row group would be read.
        with pq.ParquetFile(path, buffer_size=1 << 20, page_checksum_verification=True) as source:
            names = source.schema_arrow.names
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            if twice:
                raise UnreadableFile(f"it has two columns {twice[0][:100]!r}")
            groups = source.metadata.num_row_groups
            claimed = sum(source.metadata.row_group(g).total_byte_size for g in range(groups))
            size = path.stat().st_size
            if claimed > BOMB_BYTES and claimed > BOMB_RATIO * size:
                raise UnreadableFile(f"it claims {claimed} bytes in a file of {size}")
            row_bytes = claimed // max(source.metadata.num_rows, 1) + 1
            rows = max(1, min(ROWS_PER_BLOCK, BYTES_PER_BLOCK // row_bytes))
            for batch in source.iter_batches(batch_size=rows):
                lines, numbers, bad = [], [], []
                for row in batch.to_pylist():
                    number += 1
                    try:
                        lines.append(orjson.dumps(_parquet_event(row)))
                        numbers.append(number)
                    except (orjson.JSONEncodeError, UnicodeError, RecursionError) as error:
                        fault = Fault("malformed_json", None, f"no JSON value: {error}")
                        bad.append(BadLine(number, fault, _named(row)))
                yield lines_as_block(numbers, lines, bad)
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"it is no sound Parquet file: {str(error).splitlines()[0]}") from None


def _named(row: dict[str, Any]) -> bytes:
    """Return which event a row was that is no JSON: the rest of it cannot be redacted."""
    kept = {n: str(row[n])[:100] for n in ("event_id", "event_name", "occurred_at") if n in row}
    return json.dumps(kept).encode()


def _parquet_event(row: dict[str, Any]) -> dict[str, Any]:
    event: dict[str, Any] = {}
    dotted: dict[str, dict[str, Any]] = {}
    for name, value in row.items():
        plain = _plain_value(value)
        if plain is None:
            continue
        if (found := group_and_field(name)) is not None:
            group, field = found
            dotted.setdefault(group, {})[field] = plain
            continue
        if name in GROUPS and isinstance(plain, str):
            with contextlib.suppress(ValueError):
                plain = json.loads(plain)
        # A map without entries comes as a list of none.
        event[name] = {} if name in GROUPS and plain == [] else plain
    return put_together(event, dotted)


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

"""Events for tests: valid ones to change, and the way through the door."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ingest.door import LoadResult, ingest_paths
from ingest.settings import Settings
from ingest.warehouse import open_warehouse

_files = count(1)


def event(**changes: Any) -> dict[str, Any]:
    """Return a valid payment; a change to None takes the field out."""
    base: dict[str, Any] = {
        "event_id": str(uuid.uuid4()),
        "event_name": "payment_succeeded",
        "occurred_at": "2026-03-01T10:00:00Z",
        "entity_id": "p1",
        "provider": "stripe",
        "amount_cents": 1200,
        "currency": "EUR",
        "properties": {"order_id": "o1"},
    }
    base.update(changes)
    return {k: v for k, v in base.items() if v is not None}


def line(**changes: Any) -> bytes:
    """Return a changed valid payment as a line of JSON without its line feed."""
    return json.dumps(event(**changes)).encode()


def load(settings: Settings, path: Path, data: bytes | None = None, **options: Any) -> LoadResult:
    """Write a file if data is given, load it, and check that its counts add up."""
    if data is not None:
        path.write_bytes(data)
    (result,) = ingest_paths([path], settings=settings, **options)
    assert result.read == result.accepted + result.duplicates + result.rejected
    return result


def deliver(settings: Settings, events: Sequence[dict[str, Any]], *, accepted: int) -> None:
    """Load one more file with some events, of which so many have to be accepted."""
    folder = settings.home / "in"
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(json.dumps, events))
    result = load(settings, folder / f"file{next(_files)}.ndjson", text.encode())
    assert result.accepted == accepted


def query(settings: Settings, sql: str) -> list[dict[str, Any]]:
    """Return the rows of a query on the warehouse."""
    with open_warehouse(settings) as warehouse:
        return warehouse.records(sql)

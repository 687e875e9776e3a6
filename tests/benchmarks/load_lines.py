"""What one would write in an afternoon: read a line, parse it, look at it, insert it in batches.

``python -m tests.benchmarks.load_lines duckdb|postgres WHERE FILE``. It looks for the fields that
the contracts require, keeps properties as JSON, and ignores an event_id that is there already; it
does nothing for types, privacy, quarantine or bookkeeping.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingest.registry import registry

BATCH = 1_000

COLUMNS = {
    "event_id": "{uuid} primary key", "event_name": "text", "occurred_at": "timestamp",
    "source": "text", "channel": "text", "user_id": "text", "anonymous_id": "text",
    "session_id": "text", "entity_type": "text", "entity_id": "text", "actor_type": "text",
    "status": "text", "provider": "text", "country_code": "text", "service_code": "text",
    "amount_cents": "bigint", "currency": "text", "duration_seconds": "double precision",
    "context": "json", "properties": "json",
}  # fmt: skip


def rows_of(path: Path, insert: Callable[[list[list[Any]]], None]) -> None:
    """Hand the rows of the valid lines to ``insert``, a batch at a time."""
    required = {name: ("occurred_at", *e.required) for name, e in registry().events.items()}
    batch: list[list[Any]] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            properties = event.get("properties") or {}
            if any(
                event.get(name) is None and properties.get(name) is None
                for name in required[event["event_name"]]
            ):
                continue
            row = [event.get(name) for name in COLUMNS]
            row[-2:] = [json.dumps(event.get(name)) for name in ("context", "properties")]
            batch.append(row)
            if len(batch) == BATCH:
                insert(batch)
                batch = []
    if batch:
        insert(batch)


def load(target: str, where: str, path: Path) -> None:
    """Load a file into a table ``events`` that has the id as its key."""
    ddl = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items()).format(uuid="uuid")
    if target == "duckdb":
        import duckdb

        with duckdb.connect(where) as connection:
            connection.execute(f"create table events ({ddl})")
            marks = ", ".join(["?"] * len(COLUMNS))
            sql = f"insert or ignore into events values ({marks})"

            def insert(rows: list[list[Any]]) -> None:
                connection.execute("begin")
                connection.executemany(sql, rows)
                connection.execute("commit")

            rows_of(path, insert)
        return
    import psycopg

    with psycopg.connect(where) as server, server.cursor() as cursor:
        cursor.execute(f"create table events ({ddl})")  # type: ignore[call-overload]
        marks = ", ".join(["%s"] * len(COLUMNS))
        statement = f"insert into events values ({marks}) on conflict do nothing"
        insert_all: Any = cursor.executemany
        rows_of(path, lambda rows: insert_all(statement, rows))


if __name__ == "__main__":
    load(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

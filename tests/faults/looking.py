"""What is to be seen in a warehouse and by its readers, and what the model expects there.

Belongs here: the queries, and the same facts taken from ``tests.faults.model``. When they are
compared belongs in ``tests.faults.machine``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import date
from typing import Any

import duckdb

from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import ledger
from tests.faults import model
from tests.faults.drawing import PERSONS
from tests.faults.model import World

MARTS = {
    "hourly": "metrics_hourly_activity",
    "daily_users": "daily_users",
    "first_seen": "first_seen",
    "persons": "identity_map",
}


def everything_seen(settings: Settings, *, tables: bool) -> dict[str, Any]:
    """Return what an auditor sees of a warehouse and, with ``tables``, what its readers see too."""
    found: dict[str, Any] = {}
    with open_warehouse(settings) as warehouse:
        found |= _seen_of_operations(warehouse)
        if tables:
            found |= _seen_of_tables(warehouse)
            if settings.target == "postgres":
                found |= _seen_of_marts(warehouse, "marts", "published")
            found["texts"] = _texts(warehouse)
    if tables and settings.target == "duckdb":
        found |= {f"published {name}": None for name in MARTS}
        if settings.published_path.exists():
            connection = duckdb.connect(str(settings.published_path), read_only=True)
            with Warehouse("duckdb", connection) as reader:
                found |= _seen_of_marts(reader, "marts", "published")
                found["texts"] += _texts(reader)
    return found


def _seen_of_operations(warehouse: Warehouse) -> dict[str, Any]:
    """Return events, loads, quarantine and the state of dates."""
    rows = warehouse.execute
    closed = ledger.closed_dates(warehouse)
    return {
        "events": {
            (str(key), *rest)
            for key, *rest in rows(
                "select event_id, event_date, event_hour, user_id, anonymous_id, phone_hash, "
                "channel, amount_cents, load_id from raw.events"
            )
        },
        "number of events": warehouse.value("select count(*) from raw.events"),
        "known ids": {str(key) for (key,) in rows("select event_id from raw.event_ids")},
        "loads": set(rows("select load_id, read, accepted, duplicates, rejected from ops.loads")),
        "quarantine": {
            (load_id, number, reason, _mentioned(payload), resolution)
            for load_id, number, reason, payload, resolution in rows(
                "select load_id, line_number, reason_code, payload, resolution "
                "from ops.rejected_events"
            )
        },
        "dates": {
            (day, bool(stale), bool(checked), bool(published))
            for day, stale, checked, published in rows(
                "select partition_date, stale, checked, published from ops.partition_state"
            )
        },
        "stale dates": {
            day for (day,) in rows("select partition_date from ops.partition_state where stale")
        },
        "closed": closed.before if closed else date.min,
        "erasures": rows("select count(*), count(finished_at) from ops.erasures")[0],
        "tombstones": warehouse.value("select count(*) from ops.erasure_tombstones"),
        "links of hashes": set(
            rows("select distinct identifier_type, old_hash, new_hash from ops.hash_links")
        ),
    }


def _mentioned(payload: str | None) -> str | None:
    return next((p for p in map("person-{}".format, range(PERSONS)) if p in (payload or "")), None)


def _seen_of_tables(warehouse: Warehouse) -> dict[str, Any]:
    """Return the tables that runs write."""
    found: dict[str, Any] = {"user days": None, "links": None}
    if warehouse.relation_exists("intermediate", "int_user_days"):
        found["user days"] = set(
            warehouse.execute("select activity_date, user_id from intermediate.int_user_days")
        )
    if warehouse.relation_exists("intermediate", "int_identity_links"):
        found["links"] = set(
            warehouse.execute(
                "select event_date, event_id, identifier_type, identifier "
                "from intermediate.int_identity_links"
            )
        )
    schema = "build" if warehouse.target == "postgres" else "marts"
    return found | _seen_of_marts(warehouse, schema, "mart")


def _seen_of_marts(warehouse: Warehouse, schema: str, label: str) -> dict[str, Any]:
    """Return the marts of a schema; None for one that is not there."""
    columns = {
        "hourly": "metric_date, hour, channel, events, devilish",
        "daily_users": "metric_date, users",
        "first_seen": "user_id, first_date",
        "persons": "identifier_type, identifier, person_id",
    }
    found: dict[str, Any] = {}
    for name, table in MARTS.items():
        rows = None
        if warehouse.relation_exists(schema, table):
            rows = Counter(warehouse.execute(f"select {columns[name]} from {schema}.{table}"))
        found[f"{label} {name}"] = rows
    return found


def _texts(warehouse: Warehouse) -> str:
    """Return all texts of all tables, in which nobody who was erased may be named."""
    found = []
    for schema, name in warehouse.execute(
        "select table_schema, table_name from information_schema.tables "
        "where table_type = 'BASE TABLE' and table_schema in ('ops', 'intermediate', 'build', "
        "'marts') and table_name not in ('event_schema_versions', 'migrations') "
        "and table_catalog = current_database()"
    ):
        found += warehouse.execute(f'select * from {schema}."{name}"')
    return repr(found)


def expect(world: World, seen: dict[str, Any]) -> dict[str, Any]:
    """Return what the model expects to be seen; what it cannot know is taken as it is."""
    house = world.warehouse
    stale = set(house.stale())
    known = [world.journal[number] for number in house.requests]
    expected: dict[str, Any] = {
        "events": {
            (e.event_id, e.day, e.hour, e.user, e.device, e.phone_hash, e.channel, e.amount,
             e.load_id)
            for e in house.events.values()
        },
        "number of events": len(house.events),
        "known ids": set(house.known_ids),
        "loads": {(number, *counts) for number, counts in house.loads.items()},
        "quarantine": {
            (r.load_id, r.line_number, r.reason, r.mentions, r.resolution) for r in house.rejected
        },
        "dates": {
            (day, day in stale, known_day.checked, known_day.published)
            for day, known_day in house.days.items()
        },
        "stale dates": stale,
        "closed": house.closed_before,
        "erasures": (len(house.requests), len(house.erased)),
        "tombstones": sum(map(len, known)),
        "links of hashes": set(house.hash_links),
    }  # fmt: skip
    if "links" in seen:
        expected |= _expect_tables(world, seen)
        expected["texts"] = _without_the_erased(world, seen["texts"])
    return expected


def _expect_tables(world: World, seen: dict[str, Any]) -> dict[str, Any]:
    house = world.warehouse
    expected: dict[str, Any] = {
        "user days": {(day, u) for day, users in house.user_days.items() for u in users},
        "links": {(day, *key) for key, day in house.links.items()},
        **_marts_as_rows(house.marts, "mart"),
        **_marts_as_rows(world.published, "published"),
    }
    # A table that no run has made is as good as an empty one.
    for name, rows in seen.items():
        if rows is None and name in expected and not expected[name]:
            expected[name] = None
        # Those of readers are made by the run after one that was blocked.
        elif name.startswith("published ") and world.engine == "postgres":
            expected[name] = expected[name] or Counter()
    for name, unsure in (
        ("user days", house.unsure_inputs),
        ("links", house.unsure_inputs),
        ("mart hourly", house.unsure_marts),
        ("mart daily_users", house.unsure_marts),
    ):
        if unsure:
            theirs = [row for row in seen[name] or () if row[0] in unsure]
            ours = [row for row in expected[name] or () if row[0] not in unsure]
            kind = set if isinstance(expected[name], set) else Counter
            expected[name] = kind([*ours, *theirs])
            if seen[name] is None and not expected[name]:
                expected[name] = None
    return expected


def _marts_as_rows(shown: model.Marts | None, label: str) -> dict[str, Any]:
    """Return marts of the model as rows of tables."""
    if shown is None:
        return {f"{label} {name}": None for name in MARTS}
    return {
        f"{label} hourly": Counter(
            (day, hour, channel, count, odd)
            for day, hours in shown.hourly.items()
            for (hour, channel), (count, odd) in hours.items()
        ),
        f"{label} daily_users": Counter((d, n) for d, n in shown.daily_users.items() if n),
        f"{label} first_seen": Counter(shown.first_seen.items()),
        f"{label} persons": Counter(
            (kind, value, _md5(":".join(smallest)))
            for (kind, value), smallest in shown.persons.items()
        ),
    }


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _without_the_erased(world: World, seen: str) -> str:
    """Return the texts if nobody is named in them who must be gone, else who is."""
    house = world.warehouse
    if house.requests != house.erased or house.unsure_inputs or house.unsure_marts:
        return seen
    here = {value for event in house.events.values() for _, value in event.identifiers()}
    here |= {value for users in house.user_days.values() for value in users}
    here |= {value for _, _, value in house.links}
    here |= {line.mentions for line in house.rejected if line.mentions}
    here |= {value for pair in house.hash_links for value in pair[1:]}
    for shown in (house.marts, world.published):
        if shown:
            here |= set(shown.first_seen) | {value for _, value in shown.persons}
    gone = {value for number in house.erased for _, value in world.journal[number]} - here
    named = sorted(value for value in gone if value in seen)
    return f"nobody of {named}" if named else seen

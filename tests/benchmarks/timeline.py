"""How long one person's journey takes to read, as readers read it, on both targets.

A small company is run and published through the pipeline, for its tables, indexes and views; the
rest are events and persons made in SQL, in the order of time, as loads leave them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from ingest.settings import load_settings
from ingest.simulator import simulate
from ingest.warehouse import open_warehouse
from orchestration import runs
from orchestration.session import open_session
from tests.benchmarks.measure import quantile
from tests.benchmarks.results import write_results
from tests.benchmarks.runs import ingest, timed_run
from tests.benchmarks.worlds import TARGETS

PEOPLE = 50

EVENTS_OF_A_PERSON = 50

JOURNEY = "select * from marts.user_timeline where person_id = '{person}' order by step"

#: Every person is a device before it is a user; three events in ten are of the device.
MORE_PERSONS = """
insert into {schema}.identity_map
    (identifier_type, identifier, person_id, first_seen_date, person_since)
select
    kinds.kind, kinds.kind || md5(cast(numbers.n as text)), md5('user' || cast(numbers.n as text)),
    date '2026-01-01', date '2026-01-01'
from generate_series(1, {people}) as numbers (n)
cross join (values ('user_id'), ('anonymous_id')) as kinds (kind)
"""

MORE_EVENTS = """
insert into {schema}.timeline_events
    (event_date, user_key_type, user_key, occurred_at, event_id, channel, event_name, session_id,
    user_key_hash)
select
    cast(made.occurred_at as date), made.kind, made.kind || md5(cast(made.person as text)),
    made.occurred_at, md5('event' || cast(made.n as text)), made.channel, 'page_viewed',
    md5('session' || cast(made.n / 4 as text)),
    {hash}
from (
    select
        numbers.n,
        case when numbers.n % 10 < 7 then 'user_id' else 'anonymous_id' end as kind,
        1 + (numbers.n * 7919) % {people} as person,
        timestamp '2026-01-01' + interval '1 second' * (numbers.n * 7775999 / {events}) as occurred_at,
        case numbers.n % 3 when 0 then 'web' when 1 then 'app' else 'whatsapp' end as channel
    from generate_series(cast(1 as bigint), {events}) as numbers (n)
) as made
"""


#: As macro key_hash has it.
HASHES = {
    "duckdb": "cast('0x' || left({key}, 15) as bigint)",
    "postgres": "cast(cast('x' || left({key}, 15) as bit(60)) as bigint)",
}

MADE_KEY = "md5(made.kind || ':' || made.kind || md5(cast(made.person as text)))"


def timeline(folder: Path, events: int, server: str, results: Path) -> None:
    """Read the journeys of people drawn at random among so many events."""
    import psycopg

    world = simulate(days=30, size=3000, seed=1, out=folder / "events")
    rows = [["target", "median, ms", "95 %, ms", "slowest, ms", "events of a person"]]
    for target in TARGETS:
        environment = {"TIDEMARK_HOME": str(folder / target), "TIDEMARK_TARGET": target}
        if target == "postgres":
            environment["TIDEMARK_POSTGRES_URL"] = server
        ingest([world.events_folder], environment)
        timed_run(environment)
        settings = load_settings(environment)
        warehouse = open_warehouse(settings)
        parts = {
            "schema": "marts",
            "people": events // EVENTS_OF_A_PERSON,
            "events": events,
            "hash": HASHES[target].format(key=MADE_KEY),
        }
        for statement in (MORE_PERSONS, MORE_EVENTS):
            warehouse.execute(statement.format(**parts))
        if target == "postgres":
            for table in ("identity_map", "timeline_events"):
                warehouse.execute(f"analyze marts.{table}")
        warehouse.close()
        if target == "duckdb":
            session = open_session(settings)
            runs.publish_now(session)
            session.close()
            with duckdb.connect(str(settings.published_path), read_only=True) as connection:
                taken, found = journeys(lambda sql: connection.execute(sql).fetchall())
        else:
            with psycopg.connect(server) as connected:
                taken, found = journeys(lambda sql: connected.execute(sql).fetchall())  # type: ignore[call-overload]
        milliseconds = [median(taken), quantile(taken, 0.95), max(taken)]
        rows.append(
            [target, *(f"{1000 * seconds:.1f}" for seconds in milliseconds), f"{median(found):.0f}"]
        )
    write_results(
        "timeline",
        f"One person's journey (`user_timeline`) among {events:,} events",
        rows,
        f"{PEOPLE} people drawn at random, one after the other on one connection, after one that is "
        "not counted. Target: under 50 ms.",
        results,
    )


def journeys(query: Callable[[str], Sequence[Any]]) -> tuple[list[float], list[int]]:
    """Return seconds and rows of each journey; people are drawn evenly from all of them."""
    people = sorted(row[0] for row in query("select distinct person_id from marts.identity_map"))
    chosen = random.Random(1).sample(people, min(PEOPLE + 1, len(people)))
    taken, found = [], []
    for person in chosen:
        began = time.monotonic()
        rows = query(JOURNEY.format(person=person))
        taken.append(time.monotonic() - began)
        found.append(len(rows))
    return taken[1:], found[1:]

"""How long one person's journey takes to read, as readers read it, on both targets."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from ingest.simulator import simulate
from tests.benchmarks.measure import write_results
from tests.benchmarks.runs import ingest, timed_run

PEOPLE = 50

JOURNEY = "select * from marts.user_timeline where person_id = '{person}' order by step"


def timeline(folder: Path, events: int, postgres_server: str) -> None:
    """Read the journeys of people drawn at random after a whole run and its publication."""
    import psycopg

    world = simulate(days=90, size=events, seed=1, out=folder / "events")
    rows = [["target", "run over all dates, s", "median, ms", "slowest, ms", "events of a person"]]
    for target in ("duckdb", "postgres"):
        environment = {"TIDEMARK_HOME": str(folder / target), "TIDEMARK_TARGET": target}
        if target == "postgres":
            environment["TIDEMARK_POSTGRES_URL"] = postgres_server
        ingest([world.events_folder], environment)
        cost = timed_run(environment)
        if target == "duckdb":
            path = folder / target / "published" / "tidemark.duckdb"
            with duckdb.connect(str(path), read_only=True) as connection:
                taken, found = journeys(lambda sql: connection.execute(sql).fetchall())
        else:
            with psycopg.connect(postgres_server) as server:
                taken, found = journeys(lambda sql: server.execute(sql).fetchall())  # type: ignore[call-overload]
        rows.append(
            [target, f"{cost.total:.0f}", f"{median(taken) * 1000:.1f}", f"{max(taken) * 1000:.1f}",
             f"{median(found):.0f}"]
        )  # fmt: skip
    write_results(
        "timeline",
        f"One person's journey (`user_timeline`) among {world.events:,} events",
        rows,
        f"{PEOPLE} people drawn at random, one after the other on one connection, after one that is "
        "not counted. Target: under 50 ms.",
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

"""The laws of the warehouse, through the door and through dbt, on both engines.

Any split of the events into files, any order and repetition of them, and any sequence of loads and
runs that ends with nothing stale give the marts of one load and one full refresh; DuckDB and
Postgres give equal tables. Single models against the oracle are the matter of test_marts_oracle.

Not Hypothesis: of the few histories that there is time for, its first ones are the simplest. Each
of ours has all that the law speaks of.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ingest.door import ingest_paths
from ingest.registry import registry
from ingest.settings import Settings, load_settings
from ingest.simulator import simulate
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import ledger
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import build
from tests.event_worlds import random_events
from tests.facts import Row, read
from tests.lab import assert_same
from tests.oracle import GRAINS, expected_marts
from tests.postgres import new_database


@dataclass
class World:
    """A warehouse that is emptied between examples; files go through the real door."""

    settings: Settings
    folder: Path
    #: Whether the reference data is there; it stays as it is.
    seeded: bool = False

    def reset(self, timezone: str = "UTC") -> None:
        """Start from nothing, in a business time zone."""
        self.settings = Settings(**{**vars(self.settings), "timezone": timezone})
        self.seeded = False
        if self.settings.target == "duckdb":
            self.settings.warehouse_path.unlink(missing_ok=True)
            return
        warehouse = open_warehouse(self.settings)
        for schema in ("raw", "ops", "staging", "intermediate", "build", "marts"):
            warehouse.execute(f"drop schema if exists {schema} cascade")
        warehouse.close()

    def ingest(self, events: Sequence[dict[str, Any]]) -> None:
        """Write a file and load it."""
        path = self.folder / f"{uuid.uuid4().hex}.ndjson"
        path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events))
        (result,) = ingest_paths([path], settings=self.settings)
        assert result.rejected == 0, self.state(
            "select string_agg(reason_code || ' ' || detail || ' ' || payload, '; ') from ops.rejected_events"
        )
        path.unlink()

    def selection(self) -> tuple[str, ...]:
        """What a run builds, none for everything."""
        return ("path:models",) if self.seeded else ()

    def run(
        self, start: date | None = None, end: date | None = None, *, full_refresh: bool = False
    ) -> bool:
        """Plan and build as a run does, without its checks; False when nothing was stale."""
        warehouse = open_warehouse(self.settings)
        plan = ledger.plan_run(warehouse, start, end, full_refresh=full_refresh, again=False)
        if plan is None:
            warehouse.close()
            return False
        run_id = ledger.start_run(warehouse, plan, None)
        ledger.mark_started(warehouse, plan, run_id)
        warehouse.close()
        project = DbtProject(self.settings)
        result = build(
            project,
            plan.window,
            full_refresh=plan.full_refresh,
            select=self.selection(),
            tested=False,
        )
        assert result.succeeded, (result.error, [n.message for n in result.broken])
        self.seeded = True
        warehouse = open_warehouse(self.settings)
        ledger.mark_run(warehouse, plan, run_id)
        ledger.finish_run(warehouse, run_id, "succeeded")
        warehouse.close()
        return True

    def marts(self) -> dict[str, list[dict[str, Any]]]:
        """Return all marts as they were built."""
        schema = "build" if self.settings.target == "postgres" else "marts"
        warehouse = open_warehouse(self.settings)
        try:
            return {name: warehouse.records(f"select * from {schema}.{name}") for name in GRAINS}
        finally:
            warehouse.close()

    def state(self, sql: str) -> Any:
        """Return one value of the warehouse."""
        warehouse: Warehouse = open_warehouse(self.settings)
        try:
            return warehouse.value(sql)
        finally:
            warehouse.close()


W = TypeVar("W", bound=World)


@contextmanager
def worlds_of(kind: type[W], home: Path, server: str) -> Iterator[dict[str, W]]:
    """Give a world for each target; the Postgres database is gone afterwards."""
    with new_database(server) as url:
        common = {"TIDEMARK_HOME": str(home)}
        postgres = {"TIDEMARK_TARGET": "postgres", "TIDEMARK_POSTGRES_URL": url}
        yield {
            "duckdb": kind(load_settings(common), home),
            "postgres": kind(load_settings(common | postgres), home),
        }


@pytest.fixture(scope="module")
def worlds(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str
) -> Iterator[dict[str, World]]:
    with worlds_of(World, tmp_path_factory.mktemp("laws"), postgres_server) as found:
        yield found


def assert_equal_marts(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    for relation, grain in GRAINS.items():
        assert_same(relation, actual[relation], expected[relation], grain)


@dataclass(frozen=True)
class Told:
    """A history: all events, the files that tell them, and dates of which a run is asked between."""

    events: list[Row]
    files: list[list[Row]]
    interior: tuple[date, date]


def history(rng: random.Random, *, days: int, count: int) -> Told:
    """Draw events and three files of them; an event may stand in several, or twice in one."""
    events = random_events(rng, days=days, count=count)
    for event in events:
        # Where the domain has no entity of its own, the door wants to know what the id is of.
        event["entity_type"] = event.get("entity_type") or "page"
    files: list[list[Row]] = [[], [], []]
    for event in events:
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice(files).append(event)
    for file in files:
        rng.shuffle(file)
    seen = sorted({fact.day for fact in read(events, "UTC")})
    start = rng.randrange(1, len(seen) // 2)
    told = Told(events, files, (seen[start], seen[rng.randrange(start, len(seen) - 1)]))
    _assert_rich(told)
    return told


def _assert_rich(told: Told) -> None:
    """Files that say again what was said before, bring what is late, and need one another."""
    ids: set[str] = set()
    before: list[Row] = []
    for file in told.files:
        own = [event["event_id"] for event in file]
        assert len(set(own)) < len(own) and not set(own) <= ids
        if before:
            assert ids & set(own)
            late = {fact.day for fact in read(file, "UTC") if fact.event_id not in ids}
            assert min(late) < max(fact.day for fact in read(before, "UTC"))
        ids |= set(own)
        before += file
    assert ids == {event["event_id"] for event in told.events}
    days = {fact.day for fact in read(told.events, "UTC")}
    assert min(days) < told.interior[0] <= told.interior[1] < max(days)


@pytest.mark.parametrize(("target", "days", "count"), [("duckdb", 40, 90), ("postgres", 9, 60)])
def test_any_history_that_ends_with_nothing_stale_gives_the_same_marts(
    worlds: dict[str, World], target: str, days: int, count: int
) -> None:
    """Loads with a run and an interior range between, run to the end, then everything anew."""
    told = history(random.Random(days), days=days, count=count)
    world = worlds[target]
    world.reset()
    world.ingest(told.files[0])
    assert world.run()
    world.ingest(told.files[1])
    assert world.run(*told.interior)
    world.ingest(told.files[2])
    while world.run():
        pass
    assert not world.state("select count(*) from ops.partition_state where stale")
    assert world.state("select count(*) from raw.events") == len(told.events)
    through = world.state("select max(partition_date) from ops.partitions")
    built = world.marts()
    assert_equal_marts(built, expected_marts(told.events, through))
    world.run(full_refresh=True)
    assert_equal_marts(world.marts(), built)


def test_duckdb_and_postgres_give_equal_tables(worlds: dict[str, World], tmp_path: Path) -> None:
    """Around the change of clocks of 26 October 2025 in Europe/Berlin, an hour of which comes twice."""
    zone, end = "Europe/Berlin", date(2025, 10, 28)
    world = simulate(days=9, size=6000, seed=7, out=tmp_path / "sim", end=end, timezone=zone,
                     late_rate=0.05, duplicate_rate=0.05)  # fmt: skip
    built = {}
    for target in ("duckdb", "postgres"):
        worlds[target].reset(zone)
        ingest_paths([world.events_folder], settings=worlds[target].settings)
        assert worlds[target].run()
        built[target] = worlds[target].marts()
        assert worlds[target].state("select count(*) from raw.events") == world.events
    assert_equal_marts(built["postgres"], built["duckdb"])
    accepted = accepted_events(worlds["duckdb"])
    through = max(row["metric_date"] for row in built["duckdb"]["metrics_daily_engagement"])
    assert_equal_marts(built["duckdb"], expected_marts(accepted, through, timezone=zone))


def accepted_events(world: World) -> list[dict[str, Any]]:
    """Return raw.events as canonical events."""
    envelope = registry().envelope_columns()
    context = registry().context_columns()
    properties = registry().property_types()
    warehouse = open_warehouse(world.settings)
    rows = warehouse.records("select * from raw.events")
    warehouse.close()
    return [
        {
            **{name: row[name] for name in (*envelope, *context) if row[name] is not None},
            "occurred_at": row["occurred_at"].isoformat() + "+00:00",
            "properties": {name: row[name] for name in properties if row[name] is not None},
        }
        for row in rows
    ]

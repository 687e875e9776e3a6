"""What runs of the pipeline cost beside a script written by hand, and beside their own history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import duckdb

from ingest.registry import registry
from ingest.simulator import Simulation, simulate
from tests.benchmarks.measure import write_results
from tests.oracle import GRAINS, RETENTION_DAYS

_RUN = """
import json, sys, time
began = time.monotonic()
from datetime import date
from ingest.settings import load_settings
from orchestration import dbt_runner, runs
results = []
build = dbt_runner.build
def recording(*arguments, **options):
    results.append(build(*arguments, **options))
    return results[-1]
dbt_runner.build = recording
days = [date.fromisoformat(text) for text in sys.argv[1:]]
dates = dict(start=days[0], end=days[1]) if days else dict(full_refresh=True)
summary = runs.run(load_settings(), **dates)
assert summary.status == "succeeded", (summary.status, summary.error)
print(json.dumps({
    "total": time.monotonic() - began,
    "nodes": {node.unique_id: [node.kind, node.seconds] for node in results[0].nodes},
}))
"""


@dataclass(frozen=True)
class RunCost:
    """Wall seconds of a run: all of it, and of each node of dbt by kind and name."""

    total: float
    nodes: dict[str, tuple[str, float]]

    @property
    def model(self) -> float:
        """Seconds of all models."""
        return self.of("model")

    @property
    def test(self) -> float:
        """Seconds of all data tests."""
        return self.of("test")

    def of(self, kind: str, among: Collection[str] | None = None) -> float:
        """Seconds of the nodes of a kind, all of them or those of some unique ids."""
        return sum(
            seconds
            for name, (of_kind, seconds) in self.nodes.items()
            if of_kind == kind and (among is None or name in among)
        )


def timed_run(environment: dict[str, str], *dates: str) -> RunCost:
    """Run the pipeline in a process of its own: a range, or a full refresh."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *dates], check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return RunCost(found["total"], {name: tuple(node) for name, node in found["nodes"].items()})


def upstream(home: Path, marts: Collection[str]) -> set[str]:
    """Return the unique ids of marts and of every model that they are made from."""
    manifest = json.loads((home / "dbt" / "duckdb" / "manifest.json").read_bytes())
    found: set[str] = set()
    waiting = [f"model.tidemark.{name}" for name in marts]
    while waiting:
        name = waiting.pop()
        if name in manifest["nodes"] and name not in found:
            found.add(name)
            waiting += manifest["nodes"][name]["depends_on"]["nodes"]
    return found


def ingest(paths: Sequence[Path], environment: dict[str, str]) -> None:
    """Load folders or files."""
    tidemark = str(Path(sys.executable).parent / "tidemark")
    command = [tidemark, "ingest", "--quiet", *map(str, paths)]
    subprocess.run(command, check=True, env={**os.environ, **environment})


def hand_written(warehouse: Path) -> tuple[float, set[str]]:
    """Run the yardstick on the same raw events; return its wall seconds and the marts it made.

    Raises:
        AssertionError: its results are not those of the marts, or it has none.

    """
    activity = ", ".join(f"'{e.name}'" for e in registry().events.values() if e.activity)
    text = (Path(__file__).parent / "yardstick.sql").read_text(encoding="utf-8")
    text = text.replace("$activity", activity)
    text = text.replace("$retention_days", ", ".join(f"({n})" for n in RETENTION_DAYS))
    connection = duckdb.connect(str(warehouse))
    began = time.monotonic()
    connection.execute(text)
    seconds = time.monotonic() - began
    by_hand = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'hand'"
    ).fetchall()
    compared = {name: grain for name, grain in GRAINS.items() if (name,) in by_hand}
    assert compared, "the script made no table that is a mart"
    for name, grain in compared.items():
        columns = connection.execute(
            "select column_name, data_type from duckdb_columns() "
            f"where schema_name = 'hand' and table_name = '{name}'"
        ).fetchall()
        # Sums of doubles depend on the order of rows in their last digits.
        differs = " or ".join(
            f"coalesce(abs(mine.{column} - built.{column}), 0) > 1e-6 * (1 + abs(mine.{column})) "
            f"or (mine.{column} is null) <> (built.{column} is null)"
            if kind == "DOUBLE"
            else f"mine.{column} is distinct from built.{column}"
            for column, kind in columns
        )
        different, rows = connection.execute(
            f"select count(*) filter ({differs}), count(*) from hand.{name} as mine "
            f"full join marts.{name} as built using ({', '.join(grain)})"
        ).fetchall()[0]
        assert rows and not different, f"{name}: {different} of {rows} rows differ"
    connection.execute("drop schema hand cascade")
    connection.close()
    return seconds, set(compared)


def backfill(folder: Path, events: int) -> None:
    """Compare a run over 90 days with the script written by hand."""
    world = simulate(days=90, size=events, seed=1, out=folder / "events")
    environment = {"TIDEMARK_HOME": str(folder / "home")}
    ingest([world.events_folder], environment)
    compare_with_hand(folder / "home", world.events)


def compare_with_hand(home: Path, events: int) -> None:
    """Compare full refreshes of a loaded DuckDB warehouse with the script, three times each."""
    environment = {"TIDEMARK_HOME": str(home)}
    timed_run(environment)
    costs, by_hand = [], []
    for _ in range(3):
        costs.append(timed_run(environment))
        seconds, marts = hand_written(home / "warehouse.duckdb")
        by_hand.append(seconds)
    hand = median(by_hand)
    same = upstream(home, marts)
    model = median(c.of("model", same) for c in costs)
    all_models, test = median(c.model for c in costs), median(c.test for c in costs)
    total = median(c.total for c in costs)
    write_results(
        "backfill",
        f"`tidemark run` over 90 days of {events:,} events, DuckDB",
        [
            ["part", "wall s", "ratio"],
            ["script written by hand (`yardstick.sql`)", f"{hand:.1f}", "1.0"],
            [f"SQL of the models behind the same {len(marts)} marts", f"{model:.1f}",
             f"{model / hand:.2f}"],
            ["SQL of all other models", f"{all_models - model:.1f}", ""],
            ["dbt tests of the data", f"{test:.1f}", ""],
            ["dbt, Dagster, Great Expectations, publication, imports",
             f"{total - all_models - test:.1f}", ""],
            ["whole run", f"{total:.1f}", f"{total / hand:.2f}"],
        ],
        "Medians of three, full refreshes in a process of their own. The script gives the same "
        "tables, compared row by row before its time counts. Targets: SQL at most 1.5, everything "
        "that is not the SQL of the models under 25 s.",
    )  # fmt: skip


def one_more_day(folder: Path, events_per_day: int, postgres_server: str) -> None:
    """Compare one day after a year of history with the same day after a month."""
    days = 366
    world = simulate(days=days, size=events_per_day * days, seed=3, out=folder / "events",
                     late_rate=0.0)  # fmt: skip
    rows = [["target", "history", "SQL of the models, s", "ratio", "whole run, s", "ratio"]]
    for target in ("duckdb", "postgres"):
        costs = {}
        for history in (30, 365):
            environment = {
                "TIDEMARK_HOME": str(folder / f"{target}-{history}"),
                "TIDEMARK_TARGET": target,
            }
            if target == "postgres":
                environment["TIDEMARK_POSTGRES_URL"] = _database(postgres_server, history)
            costs[history] = _last_day(world, history, environment)
        for history, cost in costs.items():
            base = costs[30]
            rows.append(
                [target, f"{history} days", f"{cost.model:.2f}", f"{cost.model / base.model:.2f}",
                 f"{cost.total:.1f}", f"{cost.total / base.total:.2f}"]
            )  # fmt: skip
    write_results(
        "one_more_day",
        f"One more day of {events_per_day:,} events, after 30 and after 365 days of history",
        rows,
        "The run of median cost, of five of the same last day. Target: at most 1.2.",
    )


def _last_day(world: Simulation, history: int, environment: dict[str, str]) -> RunCost:
    ingest(world.files[-(history + 1) :], environment)
    last = world.end
    first = last - timedelta(days=history)
    timed_run(environment, first.isoformat(), last.isoformat())
    costs = [timed_run(environment, last.isoformat(), last.isoformat()) for _ in range(5)]
    return sorted(costs, key=lambda cost: cost.model)[len(costs) // 2]


def _database(server: str, history: int) -> str:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database history_{history}")  # type: ignore[arg-type]
    return server.rsplit("/", 1)[0] + f"/history_{history}"

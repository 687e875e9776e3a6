"""What runs of the pipeline cost beside a script written by hand, and beside their own history.

Belongs here: the parts ``run`` and ``one_more_day``. Other ways to fill the same tables day by day
are measured in ``peers.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from ingest.registry import registry
from ingest.warehouse import Warehouse, open_warehouse
from tests.benchmarks.measure import (
    Cost,
    Server,
    cost_of,
    median_of,
    output_and_cost,
    python,
    size_mb,
    tidemark,
)
from tests.benchmarks.results import Results, millions
from tests.benchmarks.worlds import TARGETS, Loaded, days_of, loaded
from tests.oracle import GRAINS, RETENTION_DAYS

_RUN = """
import json, sys, time
began = time.monotonic()
from datetime import date
from expectations import mart_border, raw_border
from ingest.settings import load_settings
from ingest.warehouse import Warehouse
from orchestration import assets, dbt_runner, runs
results, parts = [], {}
def timed(part, function):
    def timing(*arguments, **options):
        since = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            parts.setdefault(part, []).append(time.monotonic() - since)
    return timing
build = dbt_runner.build
def recording(*arguments, **options):
    results.append(build(*arguments, **options))
    return results[-1]
dbt_runner.build = recording
assets.publish = timed("publication", assets.publish)
raw_border.raw_frames = timed("profiles", raw_border.raw_frames)
mart_border.mart_frames = timed("profiles", mart_border.mart_frames)
Warehouse.close = timed("closing", Warehouse.close)
spans, node_result = [], dbt_runner._node_result
def timing(run):
    spans.extend((t.started_at.timestamp(), t.completed_at.timestamp()) for t in run.timing)
    return node_result(run)
dbt_runner._node_result = timing
days = [date.fromisoformat(text) for text in sys.argv[1:]]
dates = dict(start=days[0], end=days[1]) if days else dict(full_refresh=True)
summary = runs.run(load_settings(), **dates)
assert summary.status == "succeeded", (summary.status, summary.error)
assert len(results) == len(parts["publication"]) == 1, (len(results), parts)
print(json.dumps({
    "total": time.monotonic() - began,
    "parts": {part: sum(seconds) for part, seconds in parts.items()},
    "nodes": {node.unique_id: [node.kind, node.seconds] for node in results[0].nodes},
    "spans": sorted(spans),
}))
"""

#: What is left of a run: what should not grow with the data.
CONSTANT = "dbt, Dagster, Great Expectations, imports"

#: Of what is neither SQL of a model or test nor publication: what grows with the data.
PARTS = {
    "profiles": "profiles of dates for Great Expectations",
    "closing": "closing the warehouse, which writes what is in its log",
}


@dataclass(frozen=True)
class RunCost:
    """Wall seconds of a run: all of it, of parts of it, and of each node of dbt.

    Parts are the publication, the profiles of dates that Great Expectations judges, and closing
    the warehouse, which writes to its file what is only in the log. ``spans`` are begin and end of
    each node in order of their begin: on Postgres dbt works on two at a time. ``process`` is what
    the process cost, the server's share included.
    """

    total: float
    parts: dict[str, float]
    nodes: dict[str, tuple[str, float]]
    spans: Sequence[tuple[float, float]]
    process: Cost

    @property
    def model(self) -> float:
        """Seconds of all models."""
        return self.of("model")

    @property
    def test(self) -> float:
        """Seconds of all data tests."""
        return self.of("test")

    @property
    def constant(self) -> float:
        """Seconds in which neither a node of dbt nor one of the parts was at work."""
        busy, until = 0.0, float("-inf")
        for begin, end in self.spans:
            busy += max(0.0, end - max(begin, until))
            until = max(until, end)
        return self.total - sum(self.parts.values()) - busy

    def of(self, kind: str, among: Collection[str] | None = None) -> float:
        """Seconds of the nodes of a kind, all of them or those of some unique ids."""
        return sum(
            seconds
            for name, (of_kind, seconds) in self.nodes.items()
            if of_kind == kind and (among is None or name in among)
        )


def timed_run(environment: dict[str, str], *dates: str, server: Server | None = None) -> RunCost:
    """Run the pipeline in a process of its own: a range, or a full refresh."""
    text, cost = output_and_cost(python(_RUN, *dates), environment, server)
    found = json.loads(text.splitlines()[-1])
    nodes = {name: tuple(node) for name, node in found["nodes"].items()}
    return RunCost(found["total"], found["parts"], nodes, found["spans"], cost)


def upstream(environment: dict[str, str], marts: Collection[str]) -> set[str]:
    """Return the unique ids of marts and of every model that they are made from."""
    target = environment.get("TIDEMARK_TARGET", "duckdb")
    path = Path(environment["TIDEMARK_HOME"]) / "dbt" / target / "manifest.json"
    manifest = json.loads(path.read_bytes())
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
    cost_of(tidemark("ingest", "--quiet", *map(str, paths)), environment)


def script(target: str) -> str:
    """Return the script written by hand, for a target."""
    name = "yardstick.sql" if target == "duckdb" else "yardstick.postgres.sql"
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    activity = ", ".join(f"'{e.name}'" for e in registry().events.values() if e.activity)
    text = text.replace("$activity", activity)
    return text.replace("$retention_days", ", ".join(f"({n})" for n in RETENTION_DAYS))


def run_script(warehouse: Warehouse) -> float:
    """Fill schema hand anew and return the wall seconds of it."""
    warehouse.execute("drop schema if exists hand cascade")
    text = script(warehouse.target)
    began = time.monotonic()
    warehouse.connection.execute(text)
    return time.monotonic() - began


def tables_of(warehouse: Warehouse, schema: str) -> dict[str, dict[str, str]]:
    """Return the tables of a schema with their columns and types."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in warehouse.execute(
        "select table_name, column_name, data_type from information_schema.columns "
        "where table_schema = ?", [schema]
    ):  # fmt: skip
        found.setdefault(table, {})[column] = kind.lower()
    return found


def compare(
    warehouse: Warehouse, mine: str, theirs: str, tables: dict[str, Collection[str]],
    where: str = "true",
) -> None:  # fmt: skip
    """Hold tables of one schema against those of another, on some columns of each.

    Raises:
        AssertionError: a row of one side is not on the other, or there is none at all.

    """
    types = tables_of(warehouse, mine)
    for name, columns in tables.items():
        grain = [column for column in GRAINS[name] if column in types[name]]
        # Sums of doubles depend on the order of rows in their last digits.
        differs = " or ".join(
            f"coalesce(abs(mine.{column} - theirs.{column}), 0) > 1e-6 * (1 + abs(mine.{column})) "
            f"or (mine.{column} is null) <> (theirs.{column} is null)"
            if "double" in types[name][column]
            else f"mine.{column} is distinct from theirs.{column}"
            for column in columns
            if column not in grain
        )
        missing = f"mine.{grain[0]} is null or theirs.{grain[0]} is null"
        sides = [
            f"(select * from {schema}.{name} where {where}) as {alias}"
            for schema, alias in ((mine, "mine"), (theirs, "theirs"))
        ]
        keys = " and ".join(f"mine.{column} = theirs.{column}" for column in grain)
        ((different, rows),) = warehouse.execute(
            f"select count(*) filter (where {missing} or {differs}), count(*) "
            f"from {sides[0]} full join {sides[1]} on {keys}"
        )
        assert rows and not different, f"{mine}.{name}: {different} of {rows} rows differ"


def hand_written(warehouse: Warehouse, *, compared: bool) -> tuple[float, set[str]]:
    """Run the yardstick on the same raw events; return its wall seconds and the marts it made.

    Raises:
        AssertionError: its results are not those of the marts, or it has none.

    """
    seconds = run_script(warehouse)
    made = {name: list(columns) for name, columns in tables_of(warehouse, "hand").items()}
    marts = {name: columns for name, columns in made.items() if name in GRAINS}
    assert marts, "the script made no table that is a mart"
    if compared:
        compare(warehouse, "hand", "marts", marts)
    warehouse.execute("drop schema hand cascade")
    return seconds, set(marts)


def run(
    folder: Path, results: Results, events: int, server: str, *, repeats: int,
    targets: Sequence[str] = TARGETS,
) -> None:  # fmt: skip
    """Compare runs over all dates with the script written by hand, on both targets."""
    for target in targets:
        with loaded(folder, target, events, days_of(events), server) as world:
            found = compare_with_hand(world, repeats)
        results.keep({"events": events, "target": target}, {"days": days_of(events), **found})
        write_runs(results)


def compare_with_hand(world: Loaded, repeats: int) -> dict[str, Any]:
    """Compare full refreshes of a loaded warehouse with the script; medians of wall seconds."""
    server = world.server
    # Parsed once, as a project that was used before is.
    cost_of(tidemark("dbt", "parse"), world.environment)
    rounds = []
    kinds: list[str] = []
    marts: set[str] = set()
    for number in range(repeats):
        cost = timed_run(world.environment, server=server)
        kinds = [kind for kind, _ in cost.nodes.values()]
        warehouse = open_warehouse(world.settings)
        hand, marts = hand_written(warehouse, compared=number == 0)
        warehouse.close()
        same = cost.of("model", upstream(world.environment, marts))
        rounds.append(
            {
                "hand": hand, "same": same, "models": cost.model, "tests": cost.test,
                **cost.parts, "constant": cost.constant, "total": cost.total,
                "cpu": cost.process.cpu, "peak_mb": cost.process.peak_mb,
                # Of one run, so that a slow minute of the machine is on both sides.
                "ratio": same / hand,
            }
        )  # fmt: skip
    return {
        **median_of(rounds),
        "first_publication": rounds[0]["publication"], "first_total": rounds[0]["total"],
        "repeats": repeats, "marts": len(marts), "loaded": world.events,
        "models_count": kinds.count("model"), "tests_count": kinds.count("test"),
        **_sizes(world),
    }  # fmt: skip


def _sizes(world: Loaded) -> dict[str, float]:
    """MB of raw events, of everything, and of what readers open."""
    warehouse = open_warehouse(world.settings)
    try:
        if world.target == "postgres":
            raw, readers, whole = warehouse.execute(
                "select sum(pg_total_relation_size(c.oid)) filter (where nspname = 'raw'), "
                "sum(pg_total_relation_size(c.oid)) filter (where nspname = 'marts'), "
                "pg_database_size(current_database()) from pg_class as c "
                "join pg_namespace as n on n.oid = c.relnamespace where c.relkind = 'r'"
            )[0]
            return {
                "raw_mb": float(raw) / 1e6,
                "readers_mb": float(readers) / 1e6,
                "whole_mb": float(whole) / 1e6,
            }
    finally:
        warehouse.close()
    settings = world.settings
    return {
        "readers_mb": size_mb(settings.published_path.resolve()),
        "whole_mb": size_mb(settings.warehouse_path),
    }


EVERY_MART = "publication that writes every mart"


def _publication(record: dict[str, Any]) -> str:
    """Name what the publication of a record wrote; it began to leave out what is there with this."""
    if record["repeats"] > 1 and "first_publication" in record:
        return "publication of what is not as it was published before"
    return EVERY_MART


def write_runs(results: Results) -> None:
    """Write the tables of what was measured."""
    tables = []
    for r in sorted(results.records, key=lambda r: (r["events"], r["target"])):
        hand = r["hand"]
        rows = [
            ["part", "wall s", "beside the script", "share of the run"],
            ["script written by hand", f"{hand:.1f}", "1.0", ""],
            *(
                [what, f"{seconds:.1f}", ratio, f"{seconds / r['total']:.0%}"]
                for what, seconds, ratio in (
                    (f"SQL of the models behind the same {r['marts']} marts", r["same"],
                     f"{r['ratio']:.2f}"),
                    (f"SQL of the other models ({r['models_count']} in all)",
                     r["models"] - r["same"], ""),
                    (f"{r['tests_count']} dbt tests of the data", r["tests"], ""),
                    (_publication(r), r["publication"], ""),
                    # Records from before these were measured have them in the constant.
                    *((what, r[part], "") for part, what in PARTS.items() if part in r),
                    (f"constant: {CONSTANT}", r["constant"], ""),
                    ("whole run", r["total"], f"{r['total'] / hand:.2f}"),
                )
            ),
            *(
                [[f"{EVERY_MART}: that of the first run", f"{r['first_publication']:.1f}", "",
                  f"{r['first_publication'] / r['first_total']:.0%}"]]
                if _publication(r) != EVERY_MART
                else []
            ),
            ["whole run, CPU s", f"{r['cpu']:.1f}", "", ""],
            ["peak memory, MB", f"{r['peak_mb']:.0f}", "", ""],
            ["warehouse / what readers open, MB",
             f"{r['whole_mb']:.0f} / {r['readers_mb']:.0f}", "", ""],
        ]  # fmt: skip
        times = "median of three" if r["repeats"] == 3 else f"{r['repeats']} measured"
        tables.append(
            (f"{millions(r['events'])} events over {r['days']} days, {r['target']}, {times}", rows)
        )
    results.write(
        "`tidemark run` over all dates beside a script written by hand",
        tables,
        "Full refreshes in a process of their own, the first of an empty warehouse. The script (`yardstick.sql`, "
        "`yardstick.postgres.sql`) gives the same tables, compared row by row before its time "
        "counts; Postgres has the same settings for both (64 MB of work_mem, "
        "256 MB of shared_buffers). More than a million "
        "events are copies of a company of a million. Memory is that of the process and of the "
        "server's own, without shared buffers. On Postgres dbt works on two nodes at a "
        "time, so that their seconds add up to more than the whole. Targets: SQL of "
        "the same marts at most 1.3, constant at most 20 s, publication at most 10 % of the run.",
    )


HISTORIES = (30, 90, 365)


def one_more_day(
    folder: Path, results: Results, events: int, server: str, *, repeats: int,
    targets: Sequence[str] = TARGETS, histories: Sequence[int] = HISTORIES,
) -> None:  # fmt: skip
    """Compare one day after a year of history with the same day after a month."""
    for target in targets:
        for history in histories:
            with loaded(
                folder, target, events, max(histories) + 1, server, seed=3,
                last_days=history + 1, late_rate=0.0,
            ) as world:  # fmt: skip
                cost = _last_day(world, history, repeats)
            key = {"events": events, "target": target, "history": history}
            results.keep(
                key,
                {
                    "models": cost.model, "total": cost.total, "peak_mb": cost.process.peak_mb,
                    "publication": cost.parts["publication"], "repeats": repeats,
                    "per_day": events // (max(histories) + 1),
                },
            )  # fmt: skip
            write_days(results)


def _last_day(world: Loaded, history: int, repeats: int) -> RunCost:
    last = world.last
    first = last - timedelta(days=history)
    timed_run(world.environment, first.isoformat(), last.isoformat())
    server = world.server
    costs = [
        timed_run(world.environment, last.isoformat(), last.isoformat(), server=server)
        for _ in range(repeats)
    ]
    return sorted(costs, key=lambda cost: cost.model)[len(costs) // 2]


def write_days(results: Results) -> None:
    """Write the tables of one more day."""
    tables = []
    for events in sorted({r["events"] for r in results.records}):
        rows = [
            ["target", "history", "SQL of the models, s", "beside the shortest", "publication, s",
             "whole run, s", "beside the shortest", "peak memory, MB"]
        ]  # fmt: skip
        for target in TARGETS:
            found = sorted(results.of(events=events, target=target), key=lambda r: r["history"])
            for r in found:
                base = found[0]
                rows.append(
                    [target, f"{r['history']} days", f"{r['models']:.2f}",
                     f"{r['models'] / base['models']:.2f}", f"{r['publication']:.1f}",
                     f"{r['total']:.1f}", f"{r['total'] / base['total']:.2f}",
                     f"{r['peak_mb']:.0f}"]
                )  # fmt: skip
        per_day = results.of(events=events)[0]["per_day"]
        tables.append((f"One more day of {per_day:,} events ({millions(events)} a year)", rows))
    repeats = median(r["repeats"] for r in results.records)
    results.write(
        "One more day, after a month and after a year of history",
        tables,
        f"The same last day run again ({repeats:.0f} times), the run of median SQL. On DuckDB a "
        "publication copies the last file and writes what changed in it, so that it grows little. "
        "Target: at most 1.1.",
    )

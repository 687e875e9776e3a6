"""How much a load costs beside a bare typed read, a loader of lines and a loading framework."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import Any

import duckdb
import psycopg

from ingest.simulator import simulate
from tests.benchmarks.measure import Cost, Server, cost_of, size_mb, tidemark, typical
from tests.benchmarks.results import Results, millions
from tests.benchmarks.worlds import TARGETS
from tests.postgres import new_database

#: The ways of the framework, which differ in what it is fed.
FRAMEWORK = {"framework": "typed", "framework_json": "json", "framework_lines": "lines"}

WAYS = {
    "duckdb": ("typed", "tidemark", *FRAMEWORK, "lines"),
    "postgres": ("lines_copied", "typed", "tidemark", *FRAMEWORK, "lines"),
}

NAMES = {
    "lines_copied": "COPY of the lines into one json column",
    "typed": "bare typed read of the file into a table",
    "tidemark": "`tidemark ingest`",
    "framework": "dlt, merge, fed Arrow with every field typed",
    "framework_json": "dlt, merge, fed Arrow with properties left as JSON",
    "framework_lines": "dlt, merge, fed parsed lines",
    "lines": "json.loads, required fields, executemany",
}

#: Of the slowest ways only so many events are loaded, and numbers given per million.
MOST = {
    ("duckdb", "lines"): 5_000,
    ("duckdb", "framework_lines"): 100_000,
    ("postgres", "framework_lines"): 100_000,
}
MOST_OF_PEERS = 1_000_000


def run(
    folder: Path, results: Results, events: int, server: str, *, repeats: int,
    targets: Sequence[str] = TARGETS,
) -> None:  # fmt: skip
    """Load one file of simulated events by each way, in turn."""
    path = folder / "all.ndjson"
    lines = _file(folder, path, events)
    for target in targets:
        ways = ways_of(target, events)
        found: dict[str, list[tuple[Cost, float]]] = {way: [] for way in ways}
        loaded: dict[str, int] = {}
        for _ in range(repeats):
            for way in ways:
                most = MOST.get((target, way), lines)
                source = path if most >= lines else _head(path, folder / "head.ndjson", most)
                loaded[way] = min(most, lines)
                found[way].append(_load(folder, target, way, source, server))
        for way in ways:
            cost = typical([cost for cost, _ in found[way]])
            results.keep(
                {"events": events, "target": target, "way": way},
                {
                    "lines": loaded[way], "bytes": path.stat().st_size / lines,
                    "cpu": cost.cpu, "wall": cost.wall, "peak_mb": cost.peak_mb,
                    "disk_mb": found[way][0][1], "repeats": repeats,
                },
            )  # fmt: skip
        write(results)


def ways_of(target: str, events: int) -> list[str]:
    """Return the ways that are measured on a target with so many events."""
    slow = (*FRAMEWORK, "lines") if events > MOST_OF_PEERS else ()
    return [way for way in WAYS[target] if way not in slow]


def _file(folder: Path, path: Path, events: int) -> int:
    """Write the events of a company into one file, as they arrived; return the lines."""
    world = simulate(days=90, size=events, seed=1, out=folder / "events")
    with path.open("wb") as whole:
        for part in world.files:
            whole.write(part.read_bytes())
            part.unlink()
    rmtree(folder / "events")
    return world.lines


def _head(path: Path, head: Path, lines: int) -> Path:
    with path.open("rb") as source, head.open("wb") as target:
        for _, line in zip(range(lines), source, strict=False):
            target.write(line)
    return head


def _load(folder: Path, target: str, way: str, source: Path, server: str) -> tuple[Cost, float]:
    """Load a file into a warehouse of its own; return what it cost, and MB on disk.

    Raises:
        AssertionError: what was loaded is not what the file holds.

    """
    home = folder / "home"
    home.mkdir()
    with ExitStack() as stack:
        stack.callback(rmtree, home)
        if target == "postgres":
            where = stack.enter_context(new_database(server))
            empty = _database_mb(where)
        else:
            where = str(home / "store.duckdb")
        cost = _timed(home, target, way, source, where)
        events, ids = _counts(target, way, source, where, home)
        assert events == ids, f"{way} on {target}: {events} events loaded, {ids} were sent"
        if target == "postgres":
            return cost, _database_mb(where) - empty
        stored = home / "warehouse.duckdb" if way == "tidemark" else Path(where)
        return cost, size_mb(stored)


def _timed(home: Path, target: str, way: str, source: Path, where: str) -> Cost:
    server = Server.at(where) if target == "postgres" else None
    if way == "tidemark":
        environment = {"TIDEMARK_HOME": str(home), "TIDEMARK_TARGET": target}
        if target == "postgres":
            environment["TIDEMARK_POSTGRES_URL"] = where
        return cost_of(tidemark("ingest", str(source), "--quiet"), environment, server)
    module, name = {
        "typed": ("load_typed", target),
        "lines_copied": ("load_typed", "postgres-lines"),
        "lines": ("load_lines", target),
    }.get(way, ("load_framework", target))
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", name, where, str(source)]
    command += [FRAMEWORK[way]] if way in FRAMEWORK else []
    return cost_of(command, {"DLT_DATA_DIR": str(home / "dlt")}, server)


def _counts(target: str, way: str, source: Path, where: str, home: Path) -> tuple[int, int]:
    """Return how many events were loaded, and how many the file holds for such a way."""
    raw = way in ("typed", "lines_copied")
    counted = "count(*)" if raw else "count(distinct event_id)"
    sent = duckdb.execute(
        f"select {counted} from read_json('{source}', format = 'newline_delimited', "
        "columns = {'event_id': 'VARCHAR'})"
    ).fetchall()[0][0]
    table = {"tidemark": "raw.events"}.get(way, "events")
    if way in FRAMEWORK:
        table = "loaded.events"
    query = f"select count(*) from {table}"
    found: Any
    if target == "postgres":
        with psycopg.connect(where) as connection:
            found = connection.execute(query).fetchall()  # type: ignore[call-overload]
    else:
        stored = str(home / "warehouse.duckdb") if way == "tidemark" else where
        with duckdb.connect(stored, read_only=True) as file:
            found = file.execute(query).fetchall()
    return int(found[0][0]), int(sent)


def _database_mb(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("checkpoint")
        ((size,),) = connection.execute("select pg_database_size(current_database())").fetchall()
    return float(size) / 1e6


def write(results: Results) -> None:
    """Write the tables; what was measured of fewer lines is given per million events too."""
    tables = []
    for events in sorted({r["events"] for r in results.records}):
        for target in TARGETS:
            found = {r["way"]: r for r in results.of(events=events, target=target)}
            if "typed" not in found or "tidemark" not in found:
                continue
            base, ours = (_per_million(found[way]) for way in ("typed", "tidemark"))
            rows = [
                ["way", "events", "CPU s per M", "wall s per M", "beside the bare read, CPU",
                 "beside Tidemark, CPU", "peak memory, MB", "on disk, MB per M"]
            ]  # fmt: skip
            for way in WAYS[target]:
                if way not in found:
                    continue
                r, cpu = found[way], _per_million(found[way])
                scale = 1e6 / r["lines"]
                rows.append(
                    [NAMES[way], f"{r['lines']:,}", f"{cpu:.1f}", f"{r['wall'] * scale:.1f}",
                     f"{cpu / base:.2f}", f"{cpu / ours:.2f}", f"{r['peak_mb']:.0f}",
                     f"{r['disk_mb'] * scale:.0f}"]
                )  # fmt: skip
            times = {3: "medians of three"}.get(r["repeats"], f"{r['repeats']} measured")
            tables.append((f"{millions(events)} events into {target}, {times}", rows))
    size = results.records[0]["bytes"]
    results.write(
        "Ingest of one NDJSON file into an empty warehouse",
        tables,
        f"Lines of {size:.0f} bytes, one in a hundred of them twice. CPU is that of the process and "
        "of the server, start of the program included; memory without the server's shared buffers. The "
        "bare read types every field of the contracts (on Postgres: DuckDB writes CSV, COPY loads "
        "it, no index); ingest adds strict bytes, validation, privacy, deduplication and "
        "bookkeeping. dlt merges by event_id; it and the loader of lines validate next to nothing. "
        "Both are measured on at most a million events, dlt fed lines on 100,000, lines into DuckDB on "
        "5,000. What was loaded is counted each time. "
        "Targets: at most 2.5 times the bare read, at most a fifth of the framework.",
    )


def _per_million(record: dict[str, Any]) -> float:
    return record["cpu"] * 1e6 / record["lines"]

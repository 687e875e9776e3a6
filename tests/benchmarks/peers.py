"""What else people do to fill daily tables: dbt once per day, microbatch, a function per day.

Four of the marts stand in ``peer_models`` as one would write them for a day, over raw events; every
way runs the same four queries. Their rows are held against the script written by hand before a
time counts. What Tidemark's own runs cost beside that script is measured in ``runs.py``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from ingest.registry import registry
from ingest.warehouse import Warehouse, open_warehouse
from tests.benchmarks.measure import cost_of, python
from tests.benchmarks.results import Results, millions
from tests.benchmarks.runs import compare, run_script, tables_of, timed_run
from tests.benchmarks.worlds import TARGETS, Loaded, days_of, loaded
from tests.oracle import GRAINS

MODELS = Path(__file__).parent / "peer_models"

#: So many days are measured, spread over the history, and scaled up.
DBT_DAYS = 5
FUNCTION_DAYS = 10
ALL_DAYS_UP_TO = 1_000_000
#: Dates in the middle of the history, for one command of microbatch models.
BATCH_DAYS = 30
ALL_BATCHES_UP_TO = 10_000_000

NAMES = {
    "hand": "script by hand, all its 7 tables",
    "models": "Tidemark, models behind the four",
    "whole": "`tidemark run`, all models and tests",
    "microbatch": "dbt microbatch models",
    "dbt_per_day": "one dbt run per day",
    "function_per_day": "DELETE + INSERT function per day",
}

_BUILD = """
import sys
from datetime import date
from ingest.settings import load_settings
from orchestration.access.migrate import role_of
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build
start, end, *names = sys.argv[1:]
start, end = date.fromisoformat(start), date.fromisoformat(end)
settings = load_settings()
result = build(DbtProject(settings), Window(start, end, start, 10**9), full_refresh=True,
               select=[f"+{name}" for name in names], tested=False, role=role_of(settings))
failed = [(node.unique_id, node.message) for node in result.nodes if not node.ok]
assert result.succeeded, (result.error, failed)
"""


def queries(day: str) -> dict[str, str]:
    """Return the query of each table for a day, which is an expression in SQL."""
    activity = ", ".join(f"'{e.name}'" for e in registry().events.values() if e.activity)
    return {
        path.stem: path.read_text().replace("$activity", activity).replace("$day", day)
        for path in sorted(MODELS.glob("*.sql"))
    }


def spread(first: date, last: date, count: int) -> list[date]:
    """Return so many dates between two, both among them, evenly apart."""
    days = (last - first).days
    return sorted({first + timedelta(days=round(days * n / (count - 1))) for n in range(count)})


def run(
    folder: Path, results: Results, events: int, server: str, *, repeats: int,
    targets: Sequence[str] = TARGETS,
) -> None:  # fmt: skip
    """Fill the four tables for all dates by each way; each way is run once."""
    for target in targets:
        with loaded(folder, target, events, days_of(events), server) as world:
            _measure(world, folder / f"projects-{target}", events, results)
        write(results)


def _measure(world: Loaded, folder: Path, events: int, results: Results) -> None:
    first, last, target = world.first, world.last, world.target
    days = (last - first).days + 1

    def keep(way: str, wall: float, measured: int) -> None:
        numbers = {"wall": wall * days / measured, "days": days, "measured": measured}
        results.keep({"events": events, "target": target, "way": way}, numbers)

    warehouse = open_warehouse(world.settings)
    keep("hand", run_script(warehouse), days)
    warehouse.close()

    whole = timed_run(world.environment)
    keep("whole", whole.total, days)
    _check(world, "marts", (first, last), None)
    arguments = (first.isoformat(), last.isoformat(), *queries(""))
    keep("models", cost_of(python(_BUILD, *arguments), world.environment).wall, days)

    since, until = first, last
    if events > ALL_BATCHES_UP_TO:
        since = first + timedelta(days=(days - BATCH_DAYS) // 2)
        until = since + timedelta(days=BATCH_DAYS - 1)
    project = _dbt_project(folder / "batch", world, "peer_batch", since)
    wall = _dbt(project, "--event-time-start", since.isoformat(),
                "--event-time-end", (until + timedelta(days=1)).isoformat())  # fmt: skip
    _check(world, "peer_batch", (since, until), None)
    keep("microbatch", wall, (until - since).days + 1)

    chosen = spread(first, last, DBT_DAYS)
    project = _dbt_project(folder / "day", world, "peer_day", None)
    wall = sum(_dbt(project, "--vars", json.dumps({"day": day.isoformat()})) for day in chosen)
    _check(world, "peer_day", (first, last), chosen)
    keep("dbt_per_day", wall, len(chosen))

    if target == "postgres":
        chosen = [first + timedelta(days=n) for n in range(days)]
        if events > ALL_DAYS_UP_TO:
            chosen = spread(first, last, FUNCTION_DAYS)
        keep("function_per_day", _function(world, chosen), len(chosen))
        _check(world, "peer_function", (first, last), chosen)


def _check(
    world: Loaded, schema: str, span: tuple[date, date], days: Sequence[date] | None
) -> None:
    """Hold a schema's tables against those of the script, on all dates or on some."""
    warehouse = open_warehouse(world.settings)
    made = tables_of(warehouse, schema)
    columns = tables_of(warehouse, "hand")
    tables = {name: set(made[name]) & set(columns[name]) for name in queries("")}
    where = f"metric_date between date '{span[0]}' and date '{span[1]}'"
    if days is not None:
        where = f"metric_date in ({', '.join(f'''date '{day}' ''' for day in days)})"
    compare(warehouse, schema, "hand", tables, where)
    warehouse.close()


def _dbt_project(folder: Path, world: Loaded, schema: str, begin: date | None) -> Path:
    """Write a dbt project of the four models: microbatch from a date on, or by var ``day``."""
    (folder / "models").mkdir(parents=True)
    day = 'cast(\'{{ var("day", "2000-01-01") }}\' as date)'
    if begin is not None:
        # Not known while the project is parsed.
        start = '(model.batch.event_time_start | string)[:10] if model.batch else "2000-01-01"'
        day = "cast('{{ " + start + " }}' as date)"
    for name, query in queries(day).items():
        if begin is None:
            config = "incremental_strategy='delete+insert', unique_key='metric_date'"
        else:
            grain = list(GRAINS[name])
            # Postgres merges batches and asks for a key; DuckDB deletes the day and refuses none.
            key = f"unique_key={grain}, " if world.target == "postgres" else ""
            config = (
                f"incremental_strategy='microbatch', {key}event_time='metric_date', "
                f"batch_size='day', begin='{begin}', lookback=0"
            )
        text = f"{{{{ config(materialized='incremental', {config}) }}}}\n{query}"
        (folder / "models" / f"{name}.sql").write_text(text)
    (folder / "dbt_project.yml").write_text(
        "name: peer\nversion: '1.0'\nconfig-version: 2\nprofile: peer\n"
        "flags: {send_anonymous_usage_stats: false}\n"
    )
    if world.target == "duckdb":
        output = {"type": "duckdb", "path": str(world.settings.warehouse_path)}
    else:
        parts = urlsplit(world.environment["TIDEMARK_POSTGRES_URL"])
        output = {
            "type": "postgres", "host": parts.hostname, "port": parts.port, "user": parts.username,
            "password": "", "dbname": parts.path.strip("/"),
        }  # fmt: skip
    profile = {
        "peer": {"target": "it", "outputs": {"it": {**output, "schema": schema, "threads": 2}}}
    }
    (folder / "profiles.yml").write_text(json.dumps(profile))
    return folder


def _dbt(project: Path, *arguments: str) -> float:
    dbt = str(Path(sys.executable).parent / "dbt")
    command = [dbt, "run", "--project-dir", str(project), "--profiles-dir", str(project)]
    environment = {
        "DBT_TARGET_PATH": str(project / "target"),
        "DBT_LOG_PATH": str(project / "logs"),
    }
    return cost_of([*command, *arguments], environment).wall


def _function(world: Loaded, days: Sequence[date]) -> float:
    warehouse = open_warehouse(world.settings)
    _create_function(warehouse)
    began = time.monotonic()
    for day in days:
        warehouse.execute("select peer_function.run_day(?)", [day])
    seconds = time.monotonic() - began
    warehouse.close()
    return seconds


def _create_function(warehouse: Warehouse) -> None:
    warehouse.execute("create schema peer_function")
    steps = []
    for name, query in queries("date '2000-01-01'").items():
        table = f"peer_function.{name}"
        warehouse.execute(f"create table {table} as {query} with no data")
        warehouse.execute(f"create index on {table} (metric_date)")
        steps.append(f"delete from {table} where metric_date = p_day;")
    for name, query in queries("p_day").items():
        steps.append(f"insert into peer_function.{name} {query};")
    body = "\n".join(steps)
    warehouse.execute(
        "create function peer_function.run_day(p_day date) returns void language plpgsql as "
        f"$body$ begin {body} end $body$"
    )


def write(results: Results) -> None:
    """Write a table for each size and target."""
    tables = []
    for events in sorted({r["events"] for r in results.records}):
        for target in TARGETS:
            found = {r["way"]: r for r in results.of(events=events, target=target)}
            if "models" not in found:
                continue
            days = found["models"]["days"]
            rows = [
                ["way", "wall s", "per day, s", "beside Tidemark's models",
                 "beside `tidemark run`", "dates measured"]
            ]  # fmt: skip
            for way, name in NAMES.items():
                if way not in found:
                    continue
                r = found[way]
                rows.append(
                    [name, f"{r['wall']:.1f}", f"{r['wall'] / days:.2f}",
                     f"{r['wall'] / found['models']['wall']:.2f}",
                     f"{r['wall'] / found['whole']['wall']:.2f}",
                     "all" if r["measured"] == days else f"{r['measured']}, scaled up"]
                )  # fmt: skip
            tables.append((f"{millions(events)} events over {days} days, {target}", rows))
    results.write(
        "Four daily tables for all dates, by other ways",
        tables,
        "Payments, hourly activity, active users (1, 7, 30 days and new) and orders. The ways by "
        "day run the same four queries over raw events (`peer_models`), each day from scratch; "
        "microbatch and dbt per day know nothing else, without tests or checks. Each way is run "
        "once, as a process, and gives the rows of the script by hand on the dates measured. "
        "Target: one dbt run per day takes at least 10 times as long as Tidemark.",
    )

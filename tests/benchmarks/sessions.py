"""What sessions cost beside one plain query over the same events, and what one more day costs.

Belongs here: made-up visits that are written straight into raw.events, so that ten million of them
take a minute, and the measuring. The plain query is ``sessions.sql``.
"""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import duckdb

from ingest.registry import registry
from ingest.schema import ensure_month_partitions
from ingest.settings import Settings, load_settings
from ingest.warehouse import open_warehouse
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build
from tests.benchmarks.measure import Cost, cost_of, tidemark, typical
from tests.benchmarks.results import write_results
from tests.benchmarks.worlds import TARGETS
from tests.postgres import new_database

FIRST = date(2026, 1, 1)

#: In the order in which they are built; the last one is what the plain query gives.
MODELS = (
    ("intermediate", "int_conversions"),
    ("intermediate", "int_session_days"),
    ("intermediate", "int_session_conversions"),
    ("marts", "sessions"),
)

COLUMNS = (
    "load_id, domain, event_date, event_hour, event_id, event_name, occurred_at, source, "
    "schema_version, channel, user_id, anonymous_id, landing_page, referrer, utm_source, "
    "utm_medium, utm_campaign, device_type"
)

#: Visits of four events; of a tenth the last one is a payment. Most users come again and again.
VISITS = """
with visits as (
    select v, hash(v) as h, hash(v, 1) as g, hash(v, 2) as k from range({events} // 4) as r (v)
),
placed as (
    select
        v, h, g, k, j,
        timestamp '{first}' + to_milliseconds(cast(
            g % ({milliseconds} - 3600000) + j * (h % 600) * 1000 + hash(v, j) % 60000 as bigint
        )) as moment
    from visits, range(4) as s (j)
)
select
    1, 'marketplace', cast(moment as date), hour(moment),
    cast(cast(md5(v || '-' || j) as uuid) as text),
    case
        when j = 3 and h % 10 = 0 then 'payment_succeeded'
        else ['page_viewed', 'cta_clicked', 'search_performed', 'filter_applied'][
            cast(1 + hash(v, j, 3) % 4 as bigint)
        ]
    end,
    moment, 'web', 1, ['web', 'app', 'whatsapp'][cast(1 + k % 3 as bigint)],
    case
        when k % 10 < 7
            then 'user-' || cast(floor({users} * power((g % 1000003) / 1000003.0, 2)) as bigint)
    end,
    'anonymous-' || k % {users},
    case when j = 0 then '/landing/' || h % 50 end,
    case when j = 0 and h % 3 = 0 then 'https://www.example.com/' || h % 100 end,
    case when j = 0 and h % 4 = 0 then 'google' end,
    case when j = 0 and h % 4 = 0 then 'cpc' end,
    case when j = 0 and h % 4 = 0 then 'campaign-' || h % 20 end,
    case when j < 2 then 'mobile' end
from placed
where moment >= timestamp '{since}'
order by moment
"""


def rebuild(folder: Path, results: Path, events: int) -> None:
    """Measure all sessions of a tenth of the events, and of all of them, on DuckDB."""
    rows = [["events", "query", "CPU s", "wall s", "CPU ratio"]]
    for size in (events // 10, events):
        rows += _rebuild(folder / f"rebuild-{size}", size)
    write_results(
        "sessions",
        "Sessions of all events of 90 days, DuckDB",
        rows,
        "Medians of three, in one process and in turn. The models give the same rows as the plain "
        "query, compared before the times count; unlike it they keep what a later day goes on "
        "from. Target: at most 1.5.",
        results,
    )


def one_more_day(folder: Path, results: Path, events_per_day: int, server: str) -> None:
    """Measure the last date after a month and after a year of history, on both engines."""
    rows = [["target", "history", "SQL of the models, s", "ratio"]]
    for target in TARGETS:
        seconds = {
            days: _one_more_day(folder / f"{target}-{days}", days, events_per_day, target, server)
            for days in (30, 365)
        }
        rows += [
            [target, f"{days} days", f"{found:.2f}", f"{found / seconds[30]:.2f}"]
            for days, found in seconds.items()
        ]
    write_results(
        "sessions_one_more_day",
        f"Sessions of one more day of {events_per_day:,} events, after a month and after a year",
        rows,
        "Medians of five runs of the same last day, metrics_daily_sessions included. "
        "Target: at most 1.2.",
        results,
    )


def _sql(events: int, days: int, *, since: date = FIRST) -> str:
    return VISITS.format(
        events=events, first=FIRST, since=since, milliseconds=days * 86_400_000,
        users=max(10, events // 40),
    )  # fmt: skip


def _rebuild(folder: Path, events: int) -> list[list[str]]:
    environment = {"TIDEMARK_HOME": str(folder)}
    settings = load_settings(environment)
    warehouse = open_warehouse(settings)
    warehouse.execute(f"insert into raw.events ({COLUMNS}) {_sql(events, 90)}")
    warehouse.close()
    names = [name for _, name in MODELS]
    cost_of(tidemark("dbt", "run", "--select", "stg_events"), environment)
    cost_of(tidemark("dbt", "compile", "--full-refresh", "--select", *names), environment)
    compiled = settings.dbt_target_path / "compiled" / "tidemark" / "models"
    models = ["create schema if not exists intermediate; create schema if not exists marts"] + [
        f"create or replace table {layer}.{name} as {(compiled / layer / f'{name}.sql').read_text()}"
        for layer, name in MODELS
    ]
    connection = duckdb.connect(str(settings.warehouse_path))
    connection.execute("create schema hand")
    plain, built = [], []
    for _ in range(3):
        plain.append(_cost(connection, [_plain()]))
        built.append(_cost(connection, models))
    _compare(connection)
    connection.close()
    by_hand, ours = typical(plain), typical(built)
    return [
        [f"{events:,}", "plain window-function query", f"{by_hand.cpu:.1f}", f"{by_hand.wall:.1f}", "1.0"],
        [f"{events:,}", "models up to `sessions`", f"{ours.cpu:.1f}", f"{ours.wall:.1f}",
         f"{ours.cpu / by_hand.cpu:.2f}"],
    ]  # fmt: skip


def _plain() -> str:
    names = [e.name for e in registry().events.values() if e.activity and e.session]
    text = (Path(__file__).parent / "sessions.sql").read_text(encoding="utf-8")
    return text.replace("$session_events", ", ".join(f"'{name}'" for name in names))


def _cost(connection: duckdb.DuckDBPyConnection, statements: list[str]) -> Cost:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    for statement in statements:
        connection.execute(statement)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, ended - began)


def _compare(connection: duckdb.DuckDBPyConnection) -> None:
    names = [
        name
        for (name,) in connection.execute(
            "select column_name from duckdb_columns() "
            "where schema_name = 'hand' and table_name = 'sessions'"
        ).fetchall()
    ]
    columns = ", ".join(names)
    for left, right in (("hand", "marts"), ("marts", "hand")):
        rows = connection.execute(
            f"select count(*) from (select {columns} from {left}.sessions "
            f"except all select {columns} from {right}.sessions)"
        ).fetchall()
        assert rows[0][0] == 0, f"{rows[0][0]} sessions of {left} are not in {right}"


def _one_more_day(folder: Path, days: int, events_per_day: int, target: str, server: str) -> float:
    """Return the median seconds of the models in five runs of the last date."""
    # The same last dates in both worlds: the shorter one lacks what came before.
    last = FIRST + timedelta(days=365)
    first = last - timedelta(days=days)
    environment = {"TIDEMARK_HOME": str(folder), "TIDEMARK_TARGET": target}
    with ExitStack() as stack:
        if target == "postgres":
            environment["TIDEMARK_POSTGRES_URL"] = stack.enter_context(new_database(server))
        settings = load_settings(environment)
        _load(settings, folder, _sql(events_per_day * 366, 366, since=first))
        chosen = ["stg_events", *(name for _, name in MODELS), "metrics_daily_sessions"]
        _models_seconds(settings, Window(first, last - timedelta(days=1), first, 1), chosen)
        window = Window(last, last, last, 1)
        return median(_models_seconds(settings, window, chosen) for _ in range(5))


def _models_seconds(settings: Settings, window: Window, models: list[str]) -> float:
    result = build(DbtProject(settings), window, select=models)
    assert result.succeeded, (result.error, [n.message for n in result.nodes if not n.ok])
    return sum(node.seconds for node in result.nodes if node.kind == "model")


def _load(settings: Settings, folder: Path, sql: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "events.csv"
    duckdb.execute(f"copy ({sql}) to '{file}' (header false)")
    warehouse = open_warehouse(settings)
    if settings.target == "duckdb":
        warehouse.execute(
            f"insert into raw.events ({COLUMNS}) select * from read_csv('{file}', header = false, "
            "all_varchar = true)"
        )
    else:
        months = sorted({f"{FIRST + timedelta(days=n):%Y-%m}" for n in range(367)})
        ensure_month_partitions(warehouse, months)
        with warehouse.connection.cursor() as cursor:
            with cursor.copy(f"copy raw.events ({COLUMNS}) from stdin (format csv)") as copy:
                copy.write(file.read_bytes())
            cursor.execute("analyze raw.events")
    warehouse.close()
    file.unlink()

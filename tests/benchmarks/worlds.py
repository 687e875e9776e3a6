"""Warehouses full of events for the benchmarks, on either target, and a server for them.

A company of at most a million events is simulated and comes in through the door; larger ones hold
copies of it, made in SQL, each with people, orders and chats of its own, in the same order of
arrival. So ten million events are ten such companies, and their books say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree

import psycopg

from ingest.registry import registry
from ingest.settings import Settings, load_settings
from ingest.simulator import simulate
from ingest.warehouse import Warehouse, open_warehouse
from tests.benchmarks.measure import Server, cost_of, tidemark
from tests.postgres import new_database, running_server

TARGETS = ("duckdb", "postgres")

BASE_EVENTS = 1_000_000

#: Of every session on the server, whoever's it is; and of the server itself.
SESSION_SETTINGS = {
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "4GB",
}
SERVER_SETTINGS = {"max_wal_size": "8GB"}

#: Columns that name somebody or something; a copy has others. What reference data name stays.
KEPT_IDS = ("load_id", "event_id", "template_id")


def days_of(events: int) -> int:
    """Return the length of the history that a number of events is measured over."""
    return 365 if events >= 30_000_000 else 90


@contextmanager
def tuned_server() -> Iterator[str]:
    """Start a Postgres server with the settings of the benchmarks and give its URL."""
    with running_server() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            # What stands on the server's command line gives way to roles, not to the system.
            for whose, settings in (("role all", SESSION_SETTINGS), ("system", SERVER_SETTINGS)):
                for name, value in settings.items():
                    statement = f"alter {whose} set {name} = '{value}'"
                    connection.execute(statement)  # type: ignore[call-overload]
            connection.execute("select pg_reload_conf()")
        yield url


@dataclass(frozen=True)
class Loaded:
    """A warehouse with raw events that nothing was computed from yet."""

    target: str
    environment: dict[str, str]
    events: int
    first: date
    last: date

    @property
    def settings(self) -> Settings:
        """The settings of the warehouse."""
        return load_settings(self.environment)

    @property
    def server(self) -> Server | None:
        """The server that it is on, if it is on one."""
        url = self.environment.get("TIDEMARK_POSTGRES_URL")
        return Server.at(url) if url else None


@contextmanager
def loaded(
    folder: Path, target: str, events: int, days: int, server: str | None, *, seed: int = 1,
    last_days: int | None = None, late_rate: float = 0.01,
) -> Iterator[Loaded]:  # fmt: skip
    """Fill a warehouse in a folder or, on Postgres, in a database that is gone afterwards.

    With ``last_days`` only the files of the last so many days are loaded, of the same events.
    """
    copies = -(-events // BASE_EVENTS)
    source = folder / f"source-{events}-{days}-{seed}"
    world = simulate(days=days, size=events // copies, seed=seed, out=source, late_rate=late_rate)
    home = folder / f"{target}-{events}-{days}-{last_days or days}"
    environment = {"TIDEMARK_HOME": str(home), "TIDEMARK_TARGET": target}
    with ExitStack() as stack:
        if target == "postgres":
            assert server is not None
            environment["TIDEMARK_POSTGRES_URL"] = stack.enter_context(new_database(server))
        files = world.files[-last_days:] if last_days else world.files
        stack.callback(rmtree, home, ignore_errors=True)
        cost_of(tidemark("ingest", "--quiet", *map(str, files)), environment)
        rmtree(source)
        warehouse = open_warehouse(load_settings(environment))
        multiply(warehouse, copies)
        count = int(warehouse.value("select count(*) from raw.events"))
        warehouse.close()
        first = world.end - timedelta(days=(last_days or days) - 1)
        yield Loaded(target, environment, count, first, world.end)


def multiply(warehouse: Warehouse, copies: int) -> None:
    """Put so many companies in the place of the one in raw.events, load by load."""
    if copies > 1:
        with warehouse.transaction():
            _multiply(warehouse, copies)
    if warehouse.target == "postgres":
        warehouse.execute("vacuum analyze raw.events")
    else:
        warehouse.execute("checkpoint")


def _multiply(warehouse: Warehouse, copies: int) -> None:
    columns = list(registry().raw_columns())
    named = [
        name for name, kind in registry().raw_columns().items()
        if kind == "string" and name.endswith(("_id", "_hash")) and name not in KEPT_IDS
    ]  # fmt: skip
    values = {name: f'base."{name}"' for name in columns}
    values |= {name: f"base.\"{name}\" || '~' || copies.n" for name in named}
    values["event_id"] = "cast(cast(md5(base.event_id || copies.n) as uuid) as varchar)"
    warehouse.execute("create temporary table base as select * from raw.events")
    truncate = "truncate raw.events" if warehouse.target == "postgres" else "delete from raw.events"
    warehouse.execute(truncate)
    names = ", ".join(f'"{name}"' for name in columns)
    for (load_id,) in warehouse.execute("select distinct load_id from base order by load_id"):
        warehouse.execute(
            f"insert into raw.events ({names}) select {', '.join(values.values())} "
            f"from base cross join generate_series(1, {copies}) as copies (n) "
            f"where base.load_id = {load_id} order by base.event_date, base.occurred_at"
        )
    warehouse.execute("drop table base")
    warehouse.execute(f"update ops.load_dates set accepted = accepted * {copies}")
    counts = ", ".join(
        f"{name} = {name} * {copies}" for name in ("read", "accepted", "duplicates", "rejected")
    )
    warehouse.execute(f"update ops.loads set {counts}")

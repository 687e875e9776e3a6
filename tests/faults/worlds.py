"""Small warehouses in known states, put back in a moment, and what is to be seen in them.

Belongs here: making the states, putting one in place for a trial, and the two ways of looking:
``state`` sees every table as an auditor does, ``shown`` the published marts as a reader does. What
is done to them, and what must hold, belongs to the proofs.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ingest.settings import Settings, load_settings
from ingest.warehouse import Warehouse, open_warehouse
from tests.events import event
from tests.faults.points import Fault
from tests.faults.zygote import Child, Ended, Zygote
from tests.tiny_project import write_project, write_short_suite
from tests.waiting import wait_until

#: All trials of a target are in one database: what was parsed names it.
DATABASE = "tidemark_faults"

#: Two files make the first load, the rest a second one that is late in part.
FILES = 10
FIRST = 2

#: Files of one transaction in trials, so that a load has several.
GROUP = 4

NAMESPACE = uuid.UUID("5a8f0c9e-3d1b-4c57-9a52-0d6f1f0e7b11")

KEPT = "what,kept_days\nraw_events,90\nquarantine,90\nloads,365\nruns,365\ncheck_results,365\n"

#: Raw events of February go, those of March stay.
AS_OF = "2025-05-30"

ZONE = "Asia/Kolkata"

#: States that can be put in place: nothing, the first load published, both loaded, both run and
#: checked, both published.
EMPTY, FIRST_PUBLISHED, LOADED, CHECKED, PUBLISHED = (
    "empty", "first published", "loaded", "checked", "published"
)  # fmt: skip

Rows = tuple[Any, ...]


class Wrong(AssertionError):
    """What must hold does not; the words say what."""


@dataclass(frozen=True)
class Sources:
    """The files that are loaded, and which events each of them holds."""

    folder: Path
    events: Mapping[str, frozenset[str]]

    def paths(self, start: int, end: int) -> list[str]:
        """Return names of files, as a user gives them."""
        return [str(self.folder / f"{number:02}.ndjson") for number in range(start, end)]


def write_sources(folder: Path, lines: int) -> Sources:
    """Write the files: days of February and March, some events twice, some lines bad."""
    folder.mkdir(parents=True)
    days = ["02-26", "02-27", "02-28", "03-01", "03-02"]
    events: dict[str, frozenset[str]] = {}
    before: list[str] = []
    for number in range(FILES):
        late = days if number < FIRST else [*days[1:4], "03-03", "03-04"]
        written = []
        for place in range(lines):
            made = event(
                event_id=str(uuid.uuid5(NAMESPACE, f"{number} {place}")),
                occurred_at=f"2025-{late[place % 5]}T{place % 24:02}:10:00Z",
                user_id=f"user-{(number * lines + place) % 37}",
                entity_id=f"p{number}-{place}",
            )
            written.append(json.dumps(made))
        known = before[: lines // 10]
        bad = [json.dumps({**json.loads(written[0]), "event_id": "none"}), "{cut"]
        path = folder / f"{number:02}.ndjson"
        path.write_text("\n".join([*written, *known, *bad]) + "\n", encoding="utf-8")
        before = written
        events[path.name] = frozenset(json.loads(text)["event_id"] for text in [*written, *known])
    return Sources(folder, events)


def write_tiny_project(folder: Path) -> Path:
    """Write the tiny project with what retention needs to know."""
    write_project(folder)
    (folder / "seeds" / "retention.csv").write_text(KEPT, encoding="utf-8")
    return folder


@contextmanager
def stage(folder: Path, *, lines: int) -> Iterator[tuple[Zygote, Sources]]:
    """Give a zygote that works with the tiny project, and files to load."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        "orchestration.dbt_project:PROJECT_DIR": write_tiny_project(folder / "project"),
        "expectations.raw_border:PATH": write_short_suite(folder),
    }
    zygote = Zygote(paths=paths, numbers={"ingest.door:GROUP_FILES": GROUP})
    try:
        yield zygote, write_sources(folder / "in", lines)
    finally:
        zygote.close()


@dataclass
class World:
    """A warehouse of one target at one place, that can be put into any of its states."""

    zygote: Zygote
    sources: Sources
    settings: Settings
    folder: Path
    server: str | None = None
    states: set[str] = field(default_factory=set)
    #: What ``tests.faults.trials`` saw of a scene that nothing disturbed, by its name.
    undisturbed: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """``duckdb`` or ``postgres``."""
        return self.settings.target

    def environment(self) -> dict[str, str]:
        """The environment of a command on this warehouse, and nothing else."""
        found = {
            "PATH": "/usr/bin:/bin", "TIDEMARK_HOME": str(self.settings.home),
            "TIDEMARK_TARGET": self.target, "DAGSTER_DISABLE_TELEMETRY": "yes", "DO_NOT_TRACK": "1",
            "HOME": str(self.folder), "TMPDIR": str(self.temporary),
        }  # fmt: skip
        if self.settings.postgres_url:
            found["TIDEMARK_POSTGRES_URL"] = self.settings.postgres_url
        return found

    @property
    def temporary(self) -> Path:
        """Where commands put what they need for a moment; a killed one leaves it there."""
        return self.folder / "temporary"

    def start(
        self,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Child:
        """Begin a command."""
        return self.zygote.start(arguments, self.environment() | dict(variables or {}), **options)

    def do(self, *arguments: str, fault: Fault | None = None) -> Ended:
        """Do a command to its end."""
        return self.start(arguments, fault=fault).wait()

    def well(
        self, *arguments: str, variables: Mapping[str, str] | None = None, **options: Any
    ) -> Ended:
        """Do a command that must end well."""
        ended = self.start(arguments, variables=variables, **options).wait()
        if ended.code:
            raise Wrong(f"tidemark {' '.join(arguments)} ended {ended.code}: {ended.err[-1500:]}")
        return ended

    # -- states ----------------------------------------------------------------------------------

    def make_states(self) -> None:
        """Go through all states once and keep a copy of each."""
        self._clear()
        self.settings.home.mkdir(parents=True)
        # Parsed once: what is parsed does not depend on the state.
        self.well("dbt", "parse", "--quiet")
        self.keep(EMPTY)
        self.well("ingest", *self.sources.paths(0, FIRST))
        self.well("run")
        self.keep(FIRST_PUBLISHED)
        self.well("ingest", *self.sources.paths(FIRST, FILES))
        self._mend_quarantine()
        self.keep(LOADED)
        stopped = self.do("run", fault=Fault("checked", "exception"))
        assert stopped.code == 1, stopped
        self.keep(CHECKED)
        self.well("run")
        self.keep(PUBLISHED)

    def keep(self, name: str) -> None:
        """Keep the state that the warehouse is in."""
        shutil.copytree(self.settings.home, self._copy(name), symlinks=True)
        if self.server:
            self._quiet()
            self._admin(f'create database "{self._template(name)}" template {DATABASE}')
        self.states.add(name)

    def put(self, name: str) -> None:
        """Put the warehouse into a state."""
        self._clear()
        shutil.copytree(self._copy(name), self.settings.home, symlinks=True)
        if self.server:
            self._admin(f'create database {DATABASE} template "{self._template(name)}"')

    def _mend_quarantine(self) -> None:
        """Put right what was cut, as a fix of the producer would: a replay has something to do."""
        warehouse = open_warehouse(self.settings)
        try:
            for number, name in warehouse.execute(
                "select rejected.rejection_id, loads.file_name from ops.rejected_events as rejected "
                "inner join ops.loads as loads on rejected.load_id = loads.load_id "
                "where rejected.reason_code = 'malformed_json'"
            ):
                mended = event(
                    event_id=str(uuid.uuid5(NAMESPACE, name)), occurred_at="2025-03-03T12:00:00Z"
                )
                warehouse.execute(
                    "update ops.rejected_events set event_name = ?, payload = ? "
                    "where rejection_id = ?",
                    [mended["event_name"], json.dumps(mended), number],
                )
        finally:
            warehouse.close()

    def drop(self) -> None:
        """Remove everything."""
        self._clear(again=False)
        if self.server:
            for name in self.states:
                self._admin(f'drop database if exists "{self._template(name)}" with (force)')

    def _copy(self, name: str) -> Path:
        return self.folder / f"kept {self.target}" / name

    def _template(self, name: str) -> str:
        return f"{DATABASE} {name}"

    def _clear(self, *, again: bool = True) -> None:
        shutil.rmtree(self.settings.home, ignore_errors=True)
        if self.server:
            self._admin(f"drop database if exists {DATABASE} with (force)")
            if again and not self.states:
                self._admin(f"create database {DATABASE}")

    def _admin(self, sql: str) -> None:
        import psycopg

        assert self.server
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[call-overload]

    def _quiet(self) -> None:
        """Wait until the server has noticed that nobody is there any more."""
        import psycopg

        assert self.server
        sql = f"select count(*) from pg_stat_activity where datname = '{DATABASE}'"
        with psycopg.connect(self.server, autocommit=True) as connection:

            def alone() -> bool:
                return not connection.execute(sql).fetchone()[0]  # type: ignore[call-overload,index]

            wait_until(alone, "a server process outlives its client")

    # -- what is to be seen ----------------------------------------------------------------------

    @contextmanager
    def look(self) -> Iterator[Warehouse | None]:
        """Open the warehouse to be read and changed in nothing; None when there is none."""
        if self.server:
            import psycopg

            self._quiet()
            assert self.settings.postgres_url
            with psycopg.connect(self.settings.postgres_url, autocommit=True) as connection:
                connection.execute("begin isolation level repeatable read read only")
                yield Warehouse("postgres", connection)
        elif self.settings.warehouse_path.exists():
            import duckdb

            with duckdb.connect(str(self.settings.warehouse_path), read_only=True) as file:
                yield Warehouse("duckdb", file)
        else:
            yield None

    def state(self) -> dict[str, Rows]:
        """Return every table as far as it must not depend on when, and how often, one tried."""
        with self.look() as warehouse:
            found = _tables(warehouse, SCHEMAS) if warehouse else {}
            if warehouse and "ops.etl_job_runs" in found:
                found["ops.etl_job_runs"] = tuple(
                    warehouse.execute(
                        "select run_id from ops.etl_job_runs where status = 'running'"
                    )
                )
                found["ops.check_results"] = tuple(warehouse.execute(CHECKS))
                found["ops.partition_state"] = tuple(warehouse.execute(PARTITIONS))
        return (
            found
            | {f"readers: {name}": rows for name, rows in self.shown().items()}
            | {"files": tuple(self._files())}
        )

    def shown(self) -> dict[str, Rows]:
        """Return what a reader sees: the marts, and which publication it is; {} for nothing."""
        if self.server:
            with self.look() as warehouse:
                assert warehouse
                if not warehouse.relation_exists("ops", "publications"):
                    return {}
                found = _tables(warehouse, ("marts",))
                found["publication"] = tuple(warehouse.execute(NEWEST))
                return found if found["publication"] != ((None,),) else {}
        if not self.settings.published_path.exists():
            return {}
        import duckdb

        with duckdb.connect(str(self.settings.published_path), read_only=True) as file:
            warehouse = Warehouse("duckdb", file)
            found = _tables(warehouse, ("marts", "ops"))
            found["publication"] = tuple(warehouse.execute(NEWEST))
            return found

    def acknowledged(self, log: str) -> list[str]:
        """Return which files of a log of acknowledgements are not, or not wholly, in raw.events."""
        names = [line.split(":")[0] for line in log.splitlines() if line.endswith("(loaded)")]
        if not names:
            return []
        with self.look() as warehouse:
            stored: set[str] = set()
            if warehouse:
                stored = {str(i) for (i,) in warehouse.execute("select event_id from raw.events")}
        return [name for name in names if not self.sources.events[Path(name).name] <= stored]

    def doubled(self) -> int:
        """Return how many events are in raw.events more than once."""
        with self.look() as warehouse:
            if warehouse is None or not warehouse.relation_exists("raw", "events"):
                return 0
            return int(
                warehouse.value("select count(*) - count(distinct event_id) from raw.events")
            )

    def _files(self) -> Iterator[str]:
        for name in ("published", "spool"):
            folder = self.settings.home / name
            if folder.is_dir():
                yield from sorted(str(path.relative_to(self.settings.home))
                                  for path in folder.rglob("*") if not path.is_dir())  # fmt: skip
        yield from (
            sorted(
                path.name
                for path in self.settings.home.glob("*")
                if path.is_file() and not path.name.endswith(".wal")
            )
            if self.settings.home.is_dir()
            else ()
        )


def world(
    zygote: Zygote, sources: Sources, folder: Path, *, target: str, server: str | None = None
) -> World:
    """Return a world of a target below a folder, its states not made yet."""
    home = folder / f"home {target}"
    (folder / "temporary").mkdir(exist_ok=True)
    environ = {"TIDEMARK_HOME": str(home), "TIDEMARK_TARGET": target}
    if target == "postgres":
        assert server
        environ["TIDEMARK_POSTGRES_URL"] = server.rsplit("/", 1)[0] + f"/{DATABASE}"
    settings = replace(load_settings(environ), home=home)
    return World(zygote, sources, settings, folder, server if target == "postgres" else None)


SCHEMAS = ("raw", "ops", "staging", "intermediate", "build", "marts")

NEWEST = "select max(publication_id) from ops.publications"

#: The checks that stand behind what is published.
CHECKS = (
    'select relation, "check", status, severity, observed from ops.check_results '
    "where run_id in (select run_id from ops.publications) order by 1, 2, 3, 4, 5"
)

PARTITIONS = (
    "select partition_date, stale, prepared_stale, checked, published from ops.partition_state "
    "order by 1"
)

#: What differs between two that did the same: times, ids of runs, what is drawn by lot.
ANYWAY = {"run_id", "last_run_id", "published_run_id", "dagster_run_id", "request_id", "salt",
          "identifier_hash"}  # fmt: skip

#: A table of fewer rows is kept row by row, so that a difference can be shown.
SHOWN_ROWS = 300


def _tables(warehouse: Warehouse, schemas: Sequence[str]) -> dict[str, Rows]:
    """Return all tables by name: their rows in order, or number and digest of many."""
    marks = ", ".join("?" * len(schemas))
    columns: dict[str, list[str]] = {}
    for schema, table, column in warehouse.execute(
        "select c.table_schema, c.table_name, c.column_name from information_schema.columns as c "
        "inner join information_schema.tables as t on c.table_schema = t.table_schema "
        "and c.table_name = t.table_name and c.table_catalog = t.table_catalog "
        "where t.table_type = 'BASE TABLE' and t.table_catalog = current_database() "
        f"and c.table_schema in ({marks}) order by 1, 2, c.ordinal_position",
        schemas,
    ):
        if table.startswith("events_"):
            continue  # a month of raw.events
        names = columns.setdefault(f"{schema}.{table}", [])
        if schema in ("ops", "raw") and column.endswith("_at") and column != "occurred_at":
            names.append(f'"{column}" is not null')
        elif column not in ANYWAY:
            names.append(f'"{column}"')
    found: dict[str, Rows] = {}
    for table, names in columns.items():
        chosen = f"select {', '.join(names) or '1'} from {table}"
        count = int(warehouse.value(f"select count(*) from {table}"))
        if count <= SHOWN_ROWS:
            found[table] = tuple(sorted(map(str, warehouse.execute(chosen))))
        else:
            hashed = {"duckdb": "hash(cast(found as varchar))",
                      "postgres": "hashtextextended(cast(found as text), 0)"}  # fmt: skip
            digest = f"select sum({hashed[warehouse.target]}) from ({chosen}) as found"
            found[table] = (count, str(warehouse.value(digest)))
    return found


def differences(found: Mapping[str, Rows], wanted: Mapping[str, Rows]) -> list[str]:
    """Return what is otherwise than it should be, in a line per table."""
    said = []
    for name in sorted({*found, *wanted}):
        ours, theirs = found.get(name), wanted.get(name)
        if ours != theirs:
            more = [row for row in ours or () if row not in (theirs or ())][:3]
            less = [row for row in theirs or () if row not in (ours or ())][:3]
            said.append(f"{name}: has {more}, lacks {less}")
    return said

"""A warehouse for tests of models: events go straight into it, dbt builds, an oracle compares.

Belongs here: that warehouse on either target, its fixtures (``tests.conftest`` gives them to all
tests), comparing rows, and showing that data tests find faults. Worlds of events and what tables
should make of them belong in modules of their own; what needs the door, the ledger or Dagster does
not come here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest

from ingest.registry import registry
from ingest.schema import ensure_month_partitions
from ingest.settings import Settings, load_settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import dbt_runner
from orchestration.dbt_project import DbtProject, environment_set
from orchestration.dbt_runner import Window, clear_up, load_manifest
from tests.facts import Row, read
from tests.oracle import GRAINS, STATE_RELATIONS, date_column, expected_marts
from tests.oracle_journeys import EXTRA_COLUMNS
from tests.postgres import new_database

#: What a run writes again and again.
TABLES = ("path:models/intermediate", "path:models/marts")

#: All loads there are.
EVERY_LOAD = 99

#: Both engines have the same SQL, and equal tables by another test: worlds are tried in turn.
IN_TURN = pytest.mark.parametrize(
    ("lab", "seed"), [("duckdb", 0), ("postgres", 1)], indirect=["lab"]
)


@dataclass
class Lab:
    """A warehouse of one target that is emptied for every world."""

    settings: Settings
    events: dict[int, list[Row]] = field(default_factory=dict)
    #: Load that the views of the staging layer read through; None until they were made.
    staged: int | None = None
    #: What was selected before: seeds and views of it are there.
    selected: set[str] = field(default_factory=set)
    #: The marts that are built and compared.
    about: tuple[str, ...] = tuple(GRAINS)

    @property
    def marts(self) -> str:
        """The schema dbt writes marts to."""
        return "build" if self.settings.target == "postgres" else "marts"

    @property
    def timezone(self) -> str:
        """The business time zone."""
        return self.settings.timezone

    @property
    def is_built(self) -> bool:
        """Whether every relation of the project is there."""
        return "*" in self.selected

    def opened(self) -> closing[Warehouse]:
        """Open the warehouse for a block."""
        return closing(open_warehouse(self.settings))

    def reset(self, timezone: str = "UTC", *, about: Sequence[str] = tuple(GRAINS)) -> None:
        """Empty every table and start again in a business time zone.

        Relations stay, which is half of a build; views are made anew where they name the zone.
        """
        if timezone != self.timezone:
            self.staged = None
        self.settings, self.events = replace(self.settings, timezone=timezone), {}
        self.about = tuple(about)
        with self.opened() as warehouse:
            tables = warehouse.execute(
                "select table_schema, table_name from information_schema.tables "
                "where table_type = 'BASE TABLE' and table_schema in ('intermediate', ?)",
                [self.marts],
            )
            names = [f"{schema}.{name}" for schema, name in tables]
            for name in (*names, "raw.events", "ops.identity_revocations"):
                warehouse.execute(f"delete from {name}")

    def sql(self, statement: str) -> list[Row]:
        """Run a statement; the rows of a query as dicts."""
        with self.opened() as warehouse:
            if statement.lstrip().startswith("select"):
                return warehouse.records(statement)
            warehouse.execute(statement)
            return []

    def load(self, load_id: int, events: Sequence[Row]) -> None:
        """Store accepted events the way the door does."""
        self.events[load_id] = list(events)
        columns = registry().raw_columns()
        defaults = {n: f.default for n, f in registry().envelope.items() if f.default is not None}
        rows = [
            {
                **{k: v for k, v in (defaults | fact.fields | fact.p).items() if k in columns},
                "load_id": load_id,
                "domain": fact.domain,
                "event_date": fact.day,
                "event_hour": fact.hour,
                "occurred_at": fact.at,
                "event_id": fact.event_id,
                "event_name": fact.name,
            }
            for fact in read(events, self.timezone)
        ]
        # Of nearly two hundred columns a world has fewer than half.
        used = [name for name in columns if any(row.get(name) is not None for row in rows)]
        with self.opened() as warehouse:
            if self.settings.target == "postgres":
                months = {f"{row['event_date']:%Y-%m}" for row in rows}
                ensure_month_partitions(warehouse, sorted(months))
            _insert(warehouse, {name: [row.get(name) for row in rows] for name in used})

    # -- building --------------------------------------------------------------------------------

    def selection(self, wanted: Sequence[str] = (), loads_through: int = EVERY_LOAD) -> list[str]:
        """Return what builds some models, none for all; seeds and views only when they are new."""
        if self.staged != loads_through:
            self.staged = loads_through
            self.selected.clear()
        # All of them know any; nothing else knows all.
        names = set(wanted) or {"*"}
        if "*" in self.selected or names <= self.selected:
            return [f"{name},{table}" for name in wanted for table in TABLES] or list(TABLES)
        self.selected |= names
        return list(wanted)

    def build(
        self,
        start: date,
        end: date,
        wanted: Sequence[str] = (),
        *,
        prepare_start: date | None = None,
        loads_through: int = EVERY_LOAD,
        known_through: date | None = None,
        full_refresh: bool = False,
        tested: bool = False,
    ) -> None:
        """Build some models, none for all, of a range of dates, both ends included.

        Seeds and views are made only when they are new, or with ``tested``, which adds the data
        tests. The build must succeed.
        """
        chosen = self.selection(wanted, loads_through)
        result = dbt_runner.build(
            DbtProject(self.settings),
            Window(start, end, prepare_start or start, loads_through, known_through),
            full_refresh=full_refresh,
            select=wanted if tested else chosen,
            tested=tested,
        )
        assert result.error is None, result.error
        assert result.succeeded, [(n.unique_id, n.message) for n in result.nodes if not n.ok]

    def run(self, start: date, end: date, **options: Any) -> None:
        """Build the marts that the lab is about; options are those of ``build``."""
        wanted = [] if self.about == tuple(GRAINS) else [f"+{name}" for name in self.about]
        self.build(start, end, wanted, **options)

    def dbt(self, *arguments: str, window: Window | None = None) -> dict[str, str]:
        """Run a dbt command; the name of each node -> its status."""
        return {run.node.name: str(run.status) for run in self._invoked(arguments, window)}

    def compiled(self, select: str, window: Window) -> dict[str, str]:
        """Return the SQL of models that are built already, for a window."""
        arguments = ("compile", "--select", select)
        return {run.node.name: run.node.compiled_code for run in self._invoked(arguments, window)}

    def _invoked(self, arguments: Sequence[str], window: Window | None) -> list[Any]:
        from dbt.cli.main import dbtRunner

        project = DbtProject(self.settings)
        variables = ["--vars", json.dumps(window.variables())] if window else []
        with environment_set(project.environment()):
            result = dbtRunner(manifest=load_manifest(project)).invoke(
                [*arguments, *variables, *project.arguments(), "--log-level", "none", "--no-print"]
            )
            clear_up()
        runs = getattr(result.result, "results", None)
        assert runs is not None, result.exception
        return list(runs)

    # -- comparing -------------------------------------------------------------------------------

    def rows(self, relation: str) -> list[Row]:
        """What a mart holds."""
        return self.tables([relation])[relation]

    def tables(self, relations: Iterable[str]) -> dict[str, list[Row]]:
        """What some marts hold."""
        with self.opened() as warehouse:
            return {
                relation: warehouse.records(f"select * from {self.marts}.{relation}")
                for relation in relations
            }

    def check(
        self, through: date, *, since: date = date.min, loads: Sequence[int] | None = None
    ) -> None:
        """Compare every mart, from a date on, with the oracle."""
        events = [e for n, rows in self.events.items() if loads is None or n in loads for e in rows]
        expected = expected_marts(events, through, timezone=self.timezone)
        built = self.tables(self.about)
        for relation in self.about:
            grain = GRAINS[relation]
            if relation in STATE_RELATIONS:
                # The state at the end of a run is defined once nothing is stale.
                if since == date.min:
                    assert_same(relation, built[relation], expected[relation], grain)
                continue
            dated = date_column(relation)
            assert_same(
                relation,
                [r for r in built[relation] if since <= r[dated] <= through],
                [r for r in expected[relation] if r[dated] >= since],
                grain,
            )

    def assert_faults_are_found(
        self,
        rounds: Sequence[Mapping[str, str]],
        names: Sequence[str],
        window: Window,
    ) -> None:
        """Plant the faults of each round in what was built: the data tests that they name must fail.

        A round maps statements to how the name of a test begins; ``names`` are the models whose
        data tests are run. Each round begins with what was built; DuckDB only.
        """
        path = self.settings.warehouse_path
        built = path.with_suffix(".built")
        shutil.copy(path, built)
        select = ("--select", *(f"{name},test_type:data" for name in names))
        for faults in rounds:
            shutil.copy(built, path)
            for fault in faults:
                self.sql(fault)
            statuses = self.dbt("test", *select, window=window)
            failed = [name for name, status in statuses.items() if status == "fail"]
            for fault, expected in faults.items():
                assert any(name.startswith(expected) for name in failed), (fault, failed)


def _insert(warehouse: Warehouse, columns: Mapping[str, Sequence[Any]]) -> None:
    """Append columns of values to raw.events."""
    names = ", ".join(f'"{name}"' for name in columns)
    if warehouse.target == "postgres":
        with warehouse.connection.cursor().copy(f"copy raw.events ({names}) from stdin") as copy:
            for row in zip(*columns.values(), strict=True):
                copy.write_row(row)
        return
    import pyarrow

    # Bound row by row, the same takes thirty times as long.
    warehouse.connection.register("loaded", pyarrow.table(dict(columns)))
    warehouse.execute(f"insert into raw.events ({names}) select {names} from loaded")


def assert_same(
    relation: str, actual: list[Row], expected: list[Row], grain: Sequence[str]
) -> None:
    """Same keys, same columns, same values: integers exactly, doubles to 1e-9."""

    def keyed(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
        found = {tuple(row[name] for name in grain): row for row in rows}
        assert len(found) == len(rows), f"{relation}: rows that share a key"
        return found

    left, right = keyed(actual), keyed(expected)
    assert left.keys() == right.keys(), (
        f"{relation}: only built {sorted(left.keys() - right.keys())}, "
        f"only expected {sorted(right.keys() - left.keys())}"
    )
    for key, row in right.items():
        assert row.keys() <= left[key].keys(), relation
        assert left[key].keys() - row.keys() <= EXTRA_COLUMNS.get(relation, set()), relation
        for name, value in row.items():
            built = left[key][name]
            where = f"{relation} {key} {name}: built {built!r}, expected {value!r}"
            if value is None or built is None or isinstance(value, (str, date)):
                assert built == value, where
            elif isinstance(built, float):
                assert built == pytest.approx(value, rel=1e-12, abs=1e-9), where
            else:
                assert isinstance(built, int) and built == value, where


def span(events: Sequence[Row], timezone: str) -> tuple[date, date]:
    """First and last event date."""
    days = [fact.day for fact in read(events, timezone)]
    return min(days), max(days)


@pytest.fixture(scope="session")
def _duckdb_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(load_settings({"TIDEMARK_HOME": str(tmp_path_factory.mktemp("lab-duckdb"))}))


@pytest.fixture(scope="session")
def _postgres_lab(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Lab]:
    with new_database(postgres_server) as url:
        environment = {
            "TIDEMARK_HOME": str(tmp_path_factory.mktemp("lab-postgres")),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": url,
        }
        yield Lab(load_settings(environment))


@pytest.fixture(scope="module")
def duckdb_lab(_duckdb_lab: Lab) -> Lab:
    """A warehouse on DuckDB, empty at first, then as the test before left it."""
    _duckdb_lab.reset()
    return _duckdb_lab


@pytest.fixture(scope="module")
def postgres_lab(_postgres_lab: Lab) -> Lab:
    """A warehouse on Postgres, empty at first, then as the test before left it."""
    _postgres_lab.reset()
    return _postgres_lab


@pytest.fixture(params=["duckdb", "postgres"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """A warehouse of either target, empty."""
    found: Lab = request.getfixturevalue(f"{request.param}_lab")
    found.reset()
    return found

"""Fixtures shared by all tests: a home folder of its own per test, and a real Postgres server.

Belongs here: what several test modules need. What one module needs stays in that module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.settings import Settings, load_settings
from tests.cheap_dbt import cheap_dbt
from tests.lab import _duckdb_lab, _postgres_lab, duckdb_lab, lab, postgres_lab
from tests.postgres import new_database, running_server

# Fixtures of another module have to be names of this one.
__all__ = ["_duckdb_lab", "_postgres_lab", "duckdb_lab", "lab", "postgres_lab"]

#: The files that take minutes, longest first: begun last, they would leave a core without work.
LONG = (
    "marts_oracle", "faults_crashes", "faults_input", "laws", "messaging", "retention", "readme",
    "access", "orchestration", "sessions", "identity", "faults_machine", "erasure", "attribution",
    "personal_data", "publication", "alerts", "agents", "restatements", "marketplace", "cli", "keys",
    "customers", "injection", "message_costs", "backtest", "timeline", "schedules",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files in front."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a Postgres server of this test process (database postgres)."""
    with running_server() as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def _cheap_dbt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have dbt make once for all tests what it would make for each."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with cheap_dbt(shared / "parsed"):
        yield


@pytest.fixture
def new_postgres(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Give a function that creates an empty database and returns its URL."""
    with ExitStack() as databases:
        yield lambda: databases.enter_context(new_database(postgres_server))


@pytest.fixture
def postgres_url(new_postgres: Callable[[], str]) -> str:
    """Give the URL of an empty database."""
    return new_postgres()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith(("TIDEMARK_", "DAGSTER_", "DBT_")):
            monkeypatch.delenv(name)


@pytest.fixture
def duckdb_settings(tmp_path: Path) -> Settings:
    """Settings of a DuckDB warehouse in a folder of its own."""
    return load_settings({"TIDEMARK_HOME": str(tmp_path / "home")})


@pytest.fixture
def postgres_settings(tmp_path: Path, postgres_url: str) -> Settings:
    """Settings of a Postgres warehouse in an empty database."""
    return load_settings(
        {
            "TIDEMARK_HOME": str(tmp_path / "home"),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": postgres_url,
        }
    )


@pytest.fixture(params=["duckdb", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Settings of either target, one after the other."""
    return request.getfixturevalue(f"{request.param}_settings")


@pytest.fixture
def in_zone() -> Callable[[Settings, str], Settings]:
    """Give a function that returns settings with another business time zone."""
    return lambda settings, zone: replace(settings, timezone=zone)

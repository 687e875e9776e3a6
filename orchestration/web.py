"""Dagster's web page and daemon as children of one command, stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ingest.errors import UserError
from ingest.settings import Settings
from orchestration.instance import open_instance

WORKSPACE = Path(__file__).resolve().parent.parent / "workspace.yaml"

HOST = "127.0.0.1"

#: How long children get to stop before they are killed.
GRACE_SECONDS = 15.0


def serve(settings: Settings, *, port: int, read_only: bool, notify: Callable[[str], None]) -> None:
    """Run webserver and daemon until a signal comes; a read-only page starts and changes nothing.

    Raises:
        UserError: the port is taken, or one of them ended by itself.

    """
    from orchestration.dbt_project import DbtProject

    _check_port(port)
    # The children must find the tables of the instance made.
    open_instance(settings).dispose()
    notify("reading the dbt project")
    DbtProject(settings).ensure_manifest()
    web = [sys.executable, "-m", "dagster_webserver", "-h", HOST, "-p", str(port)]
    web += ["--read-only"] if read_only else []
    commands = [
        [*web, "-w", str(WORKSPACE)],
        [sys.executable, "-m", "dagster._daemon", "run", "-w", str(WORKSPACE)],
    ]
    stop = {"asked": False}

    def ask(*_: object) -> None:
        stop["asked"] = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    children = [_start(settings, command) for command in commands]
    notify(f"http://{HOST}:{port} in a moment; Ctrl-C stops it")
    try:
        while not stop["asked"]:
            ended = [child for child in children if child.poll() is not None]
            if ended:
                logs = settings.home / "logs"
                raise UserError(f"a part of Dagster ended by itself; its log is in {logs}")
            time.sleep(0.2)
    finally:
        _stop(children)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is in use; choose another with --port") from None


def _default_signals() -> None:
    # A shell without job control starts background commands with Ctrl-C ignored; children would
    # inherit that and never stop.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _start(settings: Settings, command: list[str]) -> subprocess.Popen[bytes]:
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{command[2].strip('_').replace('.', '-').strip('-')}.log"
    # Python must not find modules in a folder that happens to be current.
    environment = {**os.environ, "TIDEMARK_HOME": str(settings.home), "PYTHONSAFEPATH": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=settings.dagster_home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_default_signals,
            start_new_session=True,
        )


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.1, deadline - time.monotonic()))
        # Each child leads a group of its own: code servers and runs that outlive it end here.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

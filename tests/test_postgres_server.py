"""The server that tests and benchmarks start, and that it is never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.postgres import running_server
from tests.waiting import wait_until

STARTED = """
import time
from tests.postgres import running_server
with running_server() as url:
    print(url, flush=True)
    time.sleep(600)
"""


def folder_of(url: str) -> Path:
    with psycopg.connect(url) as connection:
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    return Path(row[0]).parent


def test_server_is_gone_afterwards() -> None:
    with running_server() as url:
        folder = folder_of(url)
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_server_is_gone_when_whoever_started_it_was_killed(how: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        url = starter.stdout.readline().strip()
        folder = folder_of(url)
        starter.send_signal(how)
    wait_until(lambda: not folder.exists(), "the server was left behind")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)

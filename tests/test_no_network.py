"""Nothing phones home: what runs looks up no host and connects to nothing but this machine.

Belongs here: the watch, that it sees, and what the tour of the README, which is watched too, leaves
out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_WATCH = """
import os, socket

def _note(what):
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(what + "\\n")

_lookup, _connect = socket.getaddrinfo, socket.socket.connect

def getaddrinfo(host, *rest, **options):
    if host not in (None, "", "localhost", "127.0.0.1", "::1"):
        _note(f"lookup {host}")
        raise OSError("no network here")
    return _lookup(host, *rest, **options)

def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        _note(f"connect {address}")
        raise OSError("no network here")
    return _connect(self, address)

socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
"""


def watched(folder: Path) -> tuple[dict[str, str], Path]:
    """Return an environment whose Python notes what it looks up, and the file of the notes."""
    (folder / "sitecustomize.py").write_text(_WATCH)
    log = folder / "network.log"
    log.touch()
    asked = ("DAGSTER_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in asked}
    return {**environment, "PYTHONPATH": str(folder), "NETWORK_LOG": str(log)}, log


def test_the_watch_sees_a_lookup(tmp_path: Path) -> None:
    code = "import socket\ntry:\n    socket.create_connection(('example.invalid', 80))\nexcept OSError:\n    pass"
    environment, log = watched(tmp_path)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert log.read_text() == "lookup example.invalid\n"


def test_versions_of_dbt_are_told_without_asking_anybody(tmp_path: Path) -> None:
    environment, log = watched(tmp_path)
    environment["TIDEMARK_HOME"] = str(tmp_path / "home")
    tidemark = [str(Path(sys.executable).parent / "tidemark"), "dbt", "--version"]
    told = subprocess.run(tidemark, env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.startswith(f"dbt-core {version('dbt-core')}\n")
    assert log.read_text() == ""

"""Nothing phones home: a whole demo looks up no host and connects to nothing but this machine."""

from __future__ import annotations

import os
import subprocess
import sys
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


def _run(tmp_path: Path, *command: str) -> str:
    (tmp_path / "sitecustomize.py").write_text(_WATCH)
    log = tmp_path / "network.log"
    environment = {
        **{
            k: v
            for k, v in os.environ.items()
            if k not in ("DAGSTER_DISABLE_TELEMETRY", "DO_NOT_TRACK")
        },
        "PYTHONPATH": str(tmp_path),
        "NETWORK_LOG": str(log),
        "TIDEMARK_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return log.read_text() if log.exists() else ""


def test_the_watch_sees_a_lookup(tmp_path: Path) -> None:
    code = "import socket\ntry:\n    socket.create_connection(('example.invalid', 80))\nexcept OSError:\n    pass"
    assert _run(tmp_path, sys.executable, "-c", code) == "lookup example.invalid\n"


def test_a_demo_talks_to_nobody(tmp_path: Path) -> None:
    tidemark = str(Path(sys.executable).parent / "tidemark")
    assert _run(tmp_path, tidemark, "demo", "--days", "3", "--size", "3000") == ""
    assert _run(tmp_path, tidemark, "dbt", "docs", "generate") == ""

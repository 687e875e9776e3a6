"""A warm process that forks the command ``tidemark``, so that a trial need not import dbt again.

Belongs here: both ends of it. The zygote has imported what a run imports, and has no thread and no
open database; each child is a process of its own that does the real command and can be killed.
Nothing of a command is replaced but paths and numbers that ``Child`` names.
"""

from __future__ import annotations

import atexit
import copy
import functools
import gc
import importlib
import json
import logging
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from tests.faults.points import Fault, install

ROOT = Path(__file__).resolve().parents[2]

#: What the commands import when they are called.
WARM = (
    "dbt.cli.main", "dbt.adapters.duckdb", "dbt.adapters.postgres", "dbt.task.build",
    "dagster_postgres", "great_expectations", "pandas", "pyarrow.parquet", "psycopg",
    "psycopg2", "sqlite3", "orchestration.cli.main", "orchestration.definitions",
    "orchestration.erasure.requests", "orchestration.instance", "orchestration.publication.duckdb_file",
    "orchestration.publication.postgres_tables", "orchestration.publication.restatements_shown", "orchestration.retention",
    "orchestration.runs", "orchestration.summary", "orchestration.event_storage",
    "orchestration.access.migrate", "orchestration.keys", "ingest.door", "ingest.quarantine",
    "dagster._core.storage.runs", "dagster._core.storage.local_compute_log_manager",
    "dagster._core.execution.api",
)  # fmt: skip

MESSAGE_BYTES = 1 << 16


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, or the negative signal that killed it; what it wrote.

    ``marks`` are the names of the points that it passed; CPU seconds are user and system.
    """

    code: int
    out: str
    err: str
    marks: tuple[str, ...]
    cpu: float
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether it was killed, and had not ended before."""
        return self.code == -signal.SIGKILL


@dataclass
class Child:
    """A command that is going on."""

    pid: int
    began: float
    pipes: dict[str, int]
    ended: Callable[[int], tuple[int, float]]
    texts: dict[str, bytes] = field(default_factory=dict)
    seen: float = 0.0

    def marks(self) -> list[str]:
        """The points that it has passed, as far as it was listened to."""
        return self.texts.get("marks", b"").decode().split("\n")[:-1]

    def listen(self, until: Callable[[], bool], *, deadline: float | None = None) -> None:
        """Read what it writes until something is true, it ended, or a time of the clock came."""
        while self.pipes and not until():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            ready, _, _ = select.select(list(self.pipes.values()), [], [], left)
            for name, pipe in list(self.pipes.items()):
                if pipe in ready:
                    data = os.read(pipe, MESSAGE_BYTES)
                    if data:
                        self.texts[name] = self.texts.get(name, b"") + data
                    else:
                        os.close(self.pipes.pop(name))

    def kill(self) -> None:
        """Kill it; its zygote has not said goodbye, so that the number is still its own."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        """Read to the end and return how it ended."""
        self.listen(lambda: False)
        seconds = time.monotonic() - self.began
        code, cpu = self.ended(self.pid)
        texts = {name: data.decode("utf-8", "replace") for name, data in self.texts.items()}
        return Ended(
            code, texts.get("out", ""), texts.get("err", ""), tuple(self.marks()), cpu, seconds
        )


class Zygote:
    """The end that asks; ``paths`` and ``numbers`` stand in place of values of the modules."""

    def __init__(
        self, *, paths: Mapping[str, Path] | None = None, numbers: Mapping[str, int] | None = None
    ) -> None:
        """Start the process and wait until it is warm."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.paths = {name: str(path) for name, path in (paths or {}).items()}
        self.numbers = dict(numbers or {})
        #: No child may write a file that is larger; 0 for any size.
        self.file_bytes = 0
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote", str(theirs.fileno())],
                cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        self._socket, self._pid = ours, process.pid
        self._wait: Callable[[], object] = process.wait
        said = self._answer()
        assert not said["threads"], f"with threads no process can be forked: {said['threads']}"

    def twin(self) -> Zygote:
        """Return another one, forked from this one and warm at once."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = json.dumps({"twin": True}).encode()
            socket.send_fds(self._socket, [request], [theirs.fileno()])
        made = copy.copy(self)
        made._socket, made._pid = ours, self._answer()["pid"]
        made._wait = functools.partial(self._ended, made._pid)
        return made

    def _answer(self) -> dict[str, Any]:
        data = self._socket.recv(MESSAGE_BYTES)
        assert data, "the zygote is gone"
        return json.loads(data)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        marks: Sequence[str] = (),
        fault: Fault | None = None,
        numbers: Mapping[str, int] | None = None,
        standard_input: str = os.devnull,
    ) -> Child:
        """Fork a child that does a command; it tells when it passes the points ``marks``."""
        pipes = {name: os.pipe() for name in ("out", "err", "marks")}
        request = {
            "arguments": list(arguments), "environment": dict(environment), "paths": self.paths,
            "numbers": self.numbers | dict(numbers or {}), "marks": list(marks),
            "fault": [fault.point, fault.kind] if fault else None, "input": standard_input,
            "file_bytes": self.file_bytes,
        }  # fmt: skip
        began = time.monotonic()
        theirs = [write for _, write in pipes.values()]
        socket.send_fds(self._socket, [json.dumps(request).encode()], theirs)
        for pipe in theirs:
            os.close(pipe)
        pid = self._answer()["pid"]
        return Child(pid, began, {name: read for name, (read, _) in pipes.items()}, self._ended)

    def _ended(self, pid: int) -> tuple[int, float]:
        self._socket.send(json.dumps({"wait": pid}).encode())
        said = self._answer()
        return said["code"], said["cpu"]

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], **options: Any
    ) -> Ended:
        """Do a command to its end."""
        return self.start(arguments, environment, **options).wait()

    def kill(self) -> None:
        """Kill the zygote itself: its children go on without a parent."""
        os.kill(self._pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._wait()


@contextmanager
def warm(**options: Any) -> Iterator[Zygote]:
    """Give a zygote that is ended with the block."""
    zygote = Zygote(**options)
    try:
        yield zygote
    finally:
        zygote.close()


# -- the other end -------------------------------------------------------------------------------


def serve(handle: int) -> None:
    """Fork a child for each request until nobody asks any more."""
    for name in WARM:
        importlib.import_module(name)
    # With the import of duckdb a database in memory is open, and has a thread.
    duckdb.close()
    # What libraries told the console while they were imported together is not what a command tells.
    logging.getLogger().handlers.clear()
    gc.collect()
    gc.freeze()
    asked = socket.socket(fileno=handle)
    tell(asked, threads=threads())
    children: set[int] = set()
    while True:
        data, pipes, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 3)
        if not data:
            break
        request = json.loads(data)
        if "wait" in request:
            children.discard(request["wait"])
            _, status, used = os.wait4(request["wait"], 0)
            tell(asked, code=os.waitstatus_to_exitcode(status), cpu=used.ru_utime + used.ru_stime)
            continue
        pid = os.fork()
        if pid == 0:
            asked.close()
            if "twin" in request:
                asked, children = socket.socket(fileno=pipes[0]), set()
                continue
            os._exit(command(request, *pipes))
        children.add(pid)
        for pipe in pipes:
            os.close(pipe)
        tell(asked, pid=pid)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def threads() -> list[str]:
    """Return the names of threads besides this one; that of jemalloc outlives a fork well."""
    deadline = time.monotonic() + 5
    while True:
        tasks = [
            task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())
        ]
        names = [(task / "comm").read_text(encoding="ascii").strip() for task in tasks]
        names = [name for name in names if name != "jemalloc_bg_thd"]
        if not names or time.monotonic() > deadline:
            return names
        time.sleep(0.01)


def tell(asked: socket.socket, **said: Any) -> None:
    """Answer."""
    asked.send(json.dumps(said).encode())


def command(request: Mapping[str, Any], out: int, err: int, marks: int) -> int:
    """Do the command of a request as ``tidemark`` does; return its exit code."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    with Path(request["input"]).open("rb") as given:
        os.dup2(given.fileno(), 0)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    if request["file_bytes"]:
        # Python ignores the signal, so that a write that is too far out fails.
        bound = (request["file_bytes"], resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, bound)
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    for values, kind in ((request["paths"], Path), (request["numbers"], int)):
        for place, value in values.items():
            module, _, name = place.partition(":")
            found = importlib.import_module(module)
            assert hasattr(found, name), place
            setattr(found, name, kind(value))
    # Dagster tries a step again after half a minute, for which nobody waits here.
    assets = importlib.import_module("orchestration.assets")
    assets.RETRY = assets.RETRY._replace(delay=0.1)
    fault = Fault(*request["fault"]) if request["fault"] else None
    install(request["marks"], fault, lambda name: os.write(marks, f"{name}\n".encode()))
    from orchestration.cli.main import main

    sys.argv = ["tidemark", *request["arguments"]]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    # As at the end of any process: temporary folders and semaphores are let go.
    atexit._run_exitfuncs()
    return code


if __name__ == "__main__":
    serve(int(sys.argv[1]))

"""Measuring: CPU, wall time and memory of a process and of a Postgres server, and the machine.

What is measured belongs in the benchmarks themselves; tables of results in ``results.py``.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

#: Where ``python -m tests.benchmarks...`` finds itself.
ROOT = Path(__file__).parents[2]

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a command cost: seconds of CPU (user and system) and of wall time, peak memory in MB.

    CPU and memory are those of the process and, where a server was watched, of the server too;
    its shared buffers are not counted, since they are the same for all.
    """

    cpu: float
    wall: float
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Server:
    """The processes of a Postgres server on this machine, by the id of the first one."""

    pid: int

    @classmethod
    def at(cls, url: str) -> Server:
        """Find the server behind an address."""
        import psycopg

        with psycopg.connect(url) as connection:
            return cls(_status(connection.info.backend_pid)["PPid"])

    def cpu(self) -> float:
        """CPU seconds so far, of processes that have ended too."""
        own = sum(_times(self.pid))
        return own + sum(sum(_times(child)[:2]) for child in self._children())

    def memory_mb(self) -> float:
        """Memory of its processes that is not shared, in MB."""
        found = [_status(child).get("RssAnon", 0) for child in (self.pid, *self._children())]
        return sum(found) / 1000

    def _children(self) -> list[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(number) for number in text.split()]


def _times(pid: int) -> tuple[float, float, float, float]:
    """User and system seconds of a process, and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0, 0.0, 0.0, 0.0
    return tuple(int(ticks) / TICKS for ticks in fields[11:15])  # type: ignore[return-value]


def _status(pid: int) -> dict[str, int]:
    found = {}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        name, _, value = line.partition(":")
        if name in ("PPid", "RssAnon", "VmHWM"):
            found[name] = int(value.split()[0])
    return found


@contextmanager
def watched(pid: int, server: Server | None) -> Iterator[dict[str, float]]:
    """Look ten times a second at the memory of a process and of a server; give the peaks in MB.

    What the system says of a process that has ended is no less than what its parent held when it
    began, so that a large benchmark would make every command look large.
    """
    peak = {"process": 0.0, "server": 0.0}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            peak["process"] = max(peak["process"], _status(pid).get("VmHWM", 0) / 1000)
            if server is not None:
                peak["server"] = max(peak["server"], server.memory_mb())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def cost_of(
    command: Sequence[str], environment: dict[str, str], server: Server | None = None
) -> Cost:
    """Run a command to its end and return what it cost, start of the interpreter included.

    Raises:
        RuntimeError: it failed; the message is the end of what it wrote.

    """
    return output_and_cost(command, environment, server)[1]


def output_and_cost(
    command: Sequence[str], environment: dict[str, str], server: Server | None = None
) -> tuple[str, Cost]:
    """Run a command to its end; return what it printed, and what it cost.

    Raises:
        RuntimeError: it failed; the message is the end of what it wrote.

    """
    served = server.cpu() if server else 0.0
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=ROOT, stdout=out, stderr=err
        )
        with watched(process.pid, server) as peak:
            try:
                _, status, used = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} failed: {''.join(texts)[-2000:]}")
    cpu = used.ru_utime + used.ru_stime + (server.cpu() - served if server else 0.0)
    return texts[0], Cost(cpu, wall, peak["process"] + peak["server"])


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs some code with arguments."""
    return [sys.executable, "-c", code, *arguments]


def tidemark(*arguments: str) -> list[str]:
    """Return a command line of the project."""
    return [str(Path(sys.executable).parent / "tidemark"), *arguments]


def typical(costs: Sequence[Cost]) -> Cost:
    """Return the medians."""
    return Cost(
        median(c.cpu for c in costs),
        median(c.wall for c in costs),
        median(c.peak_mb for c in costs),
    )


def median_of(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the medians by name, over the names of the first one."""
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not pass."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def size_mb(path: Path) -> float:
    """Size of a file, or of all files in a folder, in MB of a million bytes."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def machine() -> str:
    """Describe what it ran on, in a line."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "dbt-core", "dagster"))
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Python {platform.python_version()}, "
        f"{packages}; a shared machine: read ratios, not seconds"
    )

"""Measuring: CPU of a process, the machine it ran on, tables of results.

What is measured belongs in the benchmarks themselves.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system) and wall seconds."""

    cpu: float
    wall: float


def cost_of(command: Sequence[str], environment: dict[str, str]) -> Cost:
    """Run a command to its end and return what it cost, start of the interpreter included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, ended - began)


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs some code with arguments."""
    return [sys.executable, "-c", code, *arguments]


def typical(costs: Sequence[Cost]) -> Cost:
    """Return the medians."""
    return Cost(median(c.cpu for c in costs), median(c.wall for c in costs))


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


def write_results(name: str, title: str, rows: Sequence[Sequence[str]], notes: str) -> None:
    """Print a table and keep it in ``results``; the first row is the header."""
    lines = [f"# {title}", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(row) + " |" for row in rows[1:]]
    text = "\n".join([*lines, "", notes, "", f"Machine: {machine()}", ""])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)

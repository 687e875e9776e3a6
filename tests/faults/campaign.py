"""Many machines from their seeds, in several processes, and the table of what they found.

Belongs here: sharing out seeds, noting what is done, going on where a run was cut off. What one
machine is belongs in ``tests.faults.bench``.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.results import markdown
from tests.faults import tables
from tests.faults.bench import POSTGRES_EVERY, Outcome, bench
from tests.postgres import running_server

#: Machines of the long form and of the short one.
LONG, SHORT = 1000, 50

ROOT = Path(__file__).resolve().parents[2]

#: Machines that are done, for when the long form is cut off: a line each.
PROGRESS = ROOT / "data" / "faults" / "machine.ndjson"

#: Besides the product: what makes a machine of a seed.
OF_MACHINES = (
    *(f"tests/faults/{name}.py" for name in (
        "bench", "cutting", "deliveries", "drawing", "looking", "machine", "model", "product",
    )),
    "tests/tiny_project.py",
)  # fmt: skip


def fingerprint() -> str:
    """Return twelve hexadecimal digits that tell one state of the source from another."""
    digest = hashlib.sha256()
    folders = ("ingest", "orchestration", "expectations", "dbt_project/macros")
    files = [path for name in folders for path in (ROOT / name).rglob("*") if path.is_file()]
    files += [ROOT / name for name in OF_MACHINES]
    for path in sorted(files):
        if path.suffix in (".py", ".sql", ".yml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _done(mark: str) -> dict[int, Outcome]:
    if not PROGRESS.exists():
        return {}
    # A last line without its end is being written, or was cut off.
    whole = PROGRESS.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    return {
        line["outcome"]["seed"]: Outcome(**line["outcome"])
        for line in lines
        if line["mark"] == mark
    }


def _work(seeds: Sequence[int], mark: str) -> None:
    """Run machines in a process of their own, noting each."""
    memory = Path("/dev/shm")
    within = str(memory) if memory.is_dir() else None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tidemark-", dir=within))
        needs_server = any(seed % POSTGRES_EVERY == 0 for seed in seeds)
        server = stack.enter_context(running_server()) if needs_server else None
        ready = stack.enter_context(bench(Path(folder), server))
        for seed in seeds:
            outcome = ready.seeded(seed)
            with PROGRESS.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"mark": mark, "outcome": vars(outcome)}) + "\n")


def run(*, long: bool, machines: int = 0, workers: int = 0) -> list[str]:
    """Run machines, go on where a run was cut off, write the table; return the divergences.

    The long form runs a thousand, the short one fifty; seeds are numbers from 0 on.
    """
    machines = machines or (LONG if long else SHORT)
    workers = workers or (os.cpu_count() or 1 if long else 1)
    mark = fingerprint()
    PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    known = _done(mark)
    todo = [seed for seed in range(machines) if seed not in known]
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_work, args=(todo[n::workers], mark))
        for n in range(min(workers, len(todo)))
    ]
    began = time.monotonic()
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        time.sleep(10)
        done = len(_done(mark)) - len(known)
        rate = done * 60 / (time.monotonic() - began)
        print(f"machine: {len(known) + done} of {machines}, {rate:.1f} a minute", flush=True)
    outcomes = [outcome for seed, outcome in sorted(_done(mark).items()) if seed < machines]
    failed = [f"seed {o.seed} on {o.engine}: {o.divergence}" for o in outcomes if o.divergence]
    failed += [
        f"a process of machines ended with {p.exitcode}" for p in processes if p.exitcode != 0
    ]
    write_results(outcomes, failed)
    return failed


def write_results(outcomes: Sequence[Outcome], failed: Sequence[str]) -> None:
    """Print the table and keep it."""
    steps: Counter[str] = Counter()
    crashes: Counter[str] = Counter()
    engines = Counter(outcome.engine for outcome in outcomes)
    for outcome in outcomes:
        steps.update(outcome.steps)
        crashes.update(outcome.crashes)
    cpu = sum(outcome.cpu_seconds for outcome in outcomes)
    seeds = [outcome.seed for outcome in outcomes]
    on = ", ".join(f"{n:,} {engine}" for engine, n in engines.items())
    rows = [
        ("", ""),
        ("machines", f"{len(outcomes):,} ({on})"),
        ("seeds", f"{min(seeds)} to {max(seeds)}" if seeds else "none"),
        ("steps", f"{steps.total():,}"),
        ("divergences", str(len(failed))),
        ("CPU seconds a machine", f"{cpu / max(len(outcomes), 1):.1f}"),
    ]
    notes = [
        markdown([("step", "times"), *((k, f"{n:,}") for k, n in steps.most_common())]),
        markdown([("crash of", "times"), *((k, f"{n:,}") for k, n in sorted(crashes.items()))]),
        "After each step everything that is stored is compared with the model, after all but\n"
        "deliveries the tables of runs and what readers see as well. `not reached`: it ended\n"
        "before the place where it was to be cut off.",
    ]
    title = "The product against a plain model"
    tables.write("machine", title, rows, "\n\n".join(notes), failed)

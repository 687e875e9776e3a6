"""Many machines from their seeds, in several processes, and the table of what they found.

Belongs here: sharing out seeds, noting what is done, going on where a run was cut off. What one
machine is belongs in ``tests.faults.bench``.

What was found is kept for each campaign. One goes on where it was cut off as long as the source is
the same; another one begins with other seeds, so that histories add up while the product changes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from tests.benchmarks.results import Results
from tests.faults import tables
from tests.faults.bench import POSTGRES_EVERY, Outcome, bench
from tests.postgres import running_server

#: Machines of the long form and of the short one; the suite takes a part of the latter.
LONG, SHORT, PART = 1000, 50, 5

#: Seeds that diverged once, because the model left something out.
ONCE_WRONG = (260, 270, 358, 918)

ROOT = Path(__file__).resolve().parents[2]

#: Where homes of machines are, if there is such a folder: a machine is mostly small files.
MEMORY = Path("/dev/shm")

#: Machines that are done, for when the long form is cut off: a line each.
PROGRESS = ROOT / "data" / "faults" / "machine.ndjson"

#: Besides the product: what makes a machine of a seed.
OF_MACHINES = (
    *(f"tests/faults/{name}.py" for name in (
        "bench", "cutting", "deliveries", "drawing", "looking", "machine", "model", "product",
    )),
    "tests/tiny_project.py",
)  # fmt: skip


def part(number: int) -> list[int]:
    """Return the seeds of a part that goes round: eleven numbers in a row see all of them."""
    seeds = [*range(SHORT), *ONCE_WRONG]
    return [seeds[(number * PART + place) % len(seeds)] for place in range(PART)]


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


def _work(seeds: Sequence[int], mark: str, folder: Path, server: str | None) -> None:
    """Run machines in a process of their own, noting each."""
    folder.mkdir()
    parent = multiprocessing.parent_process()
    with bench(folder, server) as ready:
        for seed in seeds:
            if parent is not None and not parent.is_alive():
                return
            outcome = ready.seeded(seed)
            with PROGRESS.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"mark": mark, "outcome": vars(outcome)}) + "\n")


@contextmanager
def workers(todo: Sequence[int], mark: str, count: int) -> Iterator[list[SpawnProcess]]:
    """Start processes that share seeds out; at the end none is left, nor anything they made."""
    within = MEMORY if MEMORY.is_dir() else None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tidemark-", dir=within))
        needs_server = any(seed % POSTGRES_EVERY == 0 for seed in todo)
        server = stack.enter_context(running_server()) if needs_server else None
        processes = []
        for n in range(min(count, len(todo))):
            what = (todo[n::count], mark, Path(folder) / f"worker-{n}", server)
            process = multiprocessing.get_context("spawn").Process(target=_work, args=what)
            process.start()
            processes.append(process)
            stack.callback(process.join)
            # A step may take a polite signal for a failure of what it does, and go on.
            stack.callback(process.kill)
        yield processes


def seeds_of(results: Results, known: Collection[int], machines: int) -> range:
    """Return the seeds of a campaign: those that are known and more, or others than any before."""
    after = max((r["first_seed"] + r["machines"] for r in results.records), default=0)
    first = min(known, default=after)
    return range(first, first + max(machines, len(known)))


def run(*, long: bool, machines: int = 0) -> list[str]:
    """Run machines, go on where a run was cut off, write the table; return the divergences.

    The long form runs a thousand, the short one fifty, unless ``machines`` says how many.
    """
    machines = machines or (LONG if long else SHORT)
    # One more than there are cores: a machine waits for disks and for locks as well.
    count = (os.cpu_count() or 1) + 1 if long else 1
    mark = fingerprint()
    results = Results(tables.RESULTS, "machine")
    PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    known = _done(mark)
    seeds = seeds_of(results, known, machines)
    todo = [seed for seed in seeds if seed not in known]
    began = time.monotonic()
    with workers(todo, mark, count) as processes:
        while any(process.is_alive() for process in processes):
            time.sleep(10)
            done = len(_done(mark)) - len(known)
            rate = done * 60 / (time.monotonic() - began)
            print(f"machine: {len(known) + done} of {len(seeds)}, {rate:.1f} a minute", flush=True)
        codes = [process.exitcode for process in processes]
    outcomes = [outcome for seed, outcome in sorted(_done(mark).items()) if seed in seeds]
    failed = [f"seed {o.seed} on {o.engine}: {o.divergence}" for o in outcomes if o.divergence]
    failed += [f"a process of machines ended with {code}" for code in codes if code != 0]
    campaign = {"source": mark, "first_seed": seeds.start}
    results.keep(campaign, {**summed(outcomes), "wrong": failed})
    write(results)
    return failed


def summed(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what machines did in all: numbers, and numbers by kind."""
    steps: Counter[str] = Counter()
    crashes: Counter[str] = Counter()
    for outcome in outcomes:
        steps.update(outcome.steps)
        crashes.update(outcome.crashes)
    return {
        "machines": len(outcomes),
        "engines": dict(Counter(outcome.engine for outcome in outcomes)),
        "steps": dict(steps),
        "crashes": dict(crashes),
        "cpu": sum(outcome.cpu_seconds for outcome in outcomes),
    }


def write(results: Results) -> None:
    """Write the table of all campaigns."""
    campaigns = sorted(results.records, key=lambda record: record["first_seed"])
    steps, crashes, engines = (
        sum((Counter(campaign[of]) for campaign in campaigns), Counter())
        for of in ("steps", "crashes", "engines")
    )
    machines = engines.total()
    rows = [
        ["source", "seeds", "machines", "steps", "divergences", "CPU seconds a machine"],
        *(
            [
                f"{campaign['source']}, {campaign['measured_on']}",
                f"{campaign['first_seed']} to {campaign['first_seed'] + campaign['machines'] - 1}",
                f"{campaign['machines']:,}",
                f"{sum(campaign['steps'].values()):,}",
                str(len(campaign["wrong"])),
                f"{campaign['cpu'] / max(campaign['machines'], 1):.1f}",
            ]
            for campaign in campaigns
        ),
    ]
    on = ", ".join(f"{n:,} on {engine}" for engine, n in engines.most_common())
    wrong = [text for campaign in campaigns for text in campaign["wrong"]]
    results.write(
        "The product against a plain model",
        [
            (f"{machines:,} machines, {on}", rows),
            ("Steps", [["step", "times"], *_times(steps.most_common())]),
            ("Crashes", [["crash of", "times"], *_times(sorted(crashes.items()))]),
        ],
        "\n".join([
            "A source is a state of the product and of what makes a machine. After each step",
            "everything that is stored is compared with the model, after all but deliveries the",
            "tables of runs and what readers see as well. `not reached`: it ended before the place",
            "where it was to be cut off.",
            *(["", *(f"- WRONG: {text}" for text in wrong)] if wrong else []),
            *(f"\n{campaign['remark']}" for campaign in campaigns if "remark" in campaign),
        ]),
    )  # fmt: skip


def _times(counts: Iterable[tuple[str, int]]) -> list[list[str]]:
    return [[name, f"{count:,}"] for name, count in counts]

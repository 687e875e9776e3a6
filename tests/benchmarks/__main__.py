"""``python -m tests.benchmarks [PART ...] [--events 1m 10m]``: measure, keep results, draw.

Says what it will take first. A part keeps what it measured, size by size and target by target;
``--missing`` goes on where an earlier call ended. Everything it makes besides results is gone at
the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.benchmarks.measure import ROOT
from tests.benchmarks.parts import (
    PARTS,
    SUBJECTS,
    done,
    estimate,
    missing_packages,
    repeats_of,
)
from tests.benchmarks.results import RESULTS, Results, millions
from tests.benchmarks.worlds import TARGETS, tuned_server

QUICK = 100_000


def events_of(text: str) -> int:
    """Read a number of events: 100000, 100k, 10m.

    Raises:
        argparse.ArgumentTypeError: it is no such number.

    """
    found = re.fullmatch(r"(\d+)([km]?)", text.lower().replace("_", ""))
    events = int(found[1]) * {"": 1, "k": 1000, "m": 1_000_000}[found[2]] if found else 0
    if events < 10_000:
        raise argparse.ArgumentTypeError(f"{text} is no number of events from 10k on; write 10m")
    return events


def main() -> int:
    """Do what is asked for; 1 when a part failed, with what the others measured kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PART", help=", ".join([*PARTS, *SUBJECTS]))
    parser.add_argument("--events", nargs="+", type=events_of, default=[10**6, 10**7])
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--missing", action="store_true", help="leave out what was measured")
    parser.add_argument("--estimate", action="store_true", help="only say what it would take")
    quick = f"{QUICK:,} events, once each, results into data/benchmarks"
    parser.add_argument("--quick", action="store_true", help=quick)
    chosen = parser.parse_args()
    unknown = set(chosen.names) - {*PARTS, *SUBJECTS}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    # Pictures come last: they are drawn from what the others measured.
    asked = chosen.names or [*PARTS, *SUBJECTS]
    names = sorted(asked, key=lambda name: name == "growth")
    sizes = [QUICK] if chosen.quick else sorted(set(chosen.events))
    results = ROOT / "data" / "benchmarks" if chosen.quick else RESULTS
    refusal = announce(names, sizes, chosen.targets, results)
    if refusal:
        print(f"bench: {refusal}", file=sys.stderr)
        return 1
    if chosen.estimate:
        return 0
    tasks = [
        (name, events, target)
        for events in sizes for name in names if name in PARTS for target in chosen.targets
        if not (chosen.missing and name != "growth" and done(name, results, events, target))
    ]  # fmt: skip
    failed: list[str] = []
    stop = Stop()
    with scratch_folder() as scratch, tuned_server() as server, stop.work():

        def measure(what: str, part: Callable[[Path], None]) -> None:
            print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                try:
                    part(Path(folder))
                except Exception:
                    stop.check()
                    failed.append(what)
                    traceback.print_exc()
            stop.check()

        for name, events, target in tasks:
            part = partial(
                PARTS[name].run, results=Results(results, name), events=events, server=server,
                repeats=1 if chosen.quick else repeats_of(events), targets=[target],
            )  # fmt: skip
            measure(f"{name}, {millions(events)}, {target}", part)
        for name in (name for name in names if name in SUBJECTS):
            run = SUBJECTS[name][0]
            subject = partial(run, events=max(sizes), server=server, results=results)
            measure(name, subject)
    for name in names:
        if (results / f"{name}.md").exists() and name in PARTS:
            print((results / f"{name}.md").read_text(encoding="utf-8"))
    if failed:
        print(f"bench: failed, the rest is kept: {'; '.join(failed)}; mend it and say --missing",
              file=sys.stderr)  # fmt: skip
    return 1 if failed else 0


def announce(names: list[str], sizes: list[int], targets: list[str], results: Path) -> str | None:
    """Print what it will take; return why it cannot be done, if it cannot."""
    where = Path(tempfile.gettempdir())
    free = shutil.disk_usage(where).free / 1e9
    for events in sizes:
        hours, disk = estimate([n for n in names if n in PARTS], [events], targets)
        print(f"{millions(events)} events: about {hours:.1f} h and {disk:.0f} GB at a time")
    hours, disk = estimate(names, sizes, targets)
    print(f"in all about {hours:.1f} h on two free cores, {disk:.0f} GB of the {free:.0f} GB free "
          f"in {where}; results go to {results}", flush=True)  # fmt: skip
    missing = missing_packages(names)
    if missing:
        return (
            f"{' and '.join(missing)} missing; say pip install --constraint constraints.txt "
            "--editable '.[dev,bench]'"
        )
    if disk > free:
        return (
            f"{disk:.0f} GB are needed in {where} and {free:.0f} GB are free; ask for fewer "
            "--events, or set TMPDIR to another folder"
        )
    return None


class Stop:
    """Ctrl-C, or a polite end of the process: the work ends, the tidying up is left in peace."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        """Listen from now on."""
        self.asked = False
        for number in self.SIGNALS:
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Stop, if that was asked for: dbt in this process takes an interrupt for its own."""
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do what may be stopped; from its end on nothing can be."""
        try:
            yield
        finally:
            for number in self.SIGNALS:
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for everything that is not a result; it is gone afterwards, come what may."""
    folder = Path(tempfile.mkdtemp(prefix="tidemark-bench-"))
    # The server runs as somebody else, who has to get to its own folder.
    folder.chmod(0o711)
    before, told = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        os.environ.pop("TMPDIR")
        if told is not None:
            os.environ["TMPDIR"] = told
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("bench: stopped; what was measured is kept, --missing goes on", file=sys.stderr)
        sys.exit(130)

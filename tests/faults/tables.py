"""Results of the harness as Markdown, and progress on the console."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.results import write_results

RESULTS = Path(__file__).parent / "results"


def write(
    name: str, title: str, rows: Sequence[Sequence[str]], notes: str, wrong: Sequence[str]
) -> None:
    """Print a table and keep it in ``results``, what did not hold below it."""
    notes = "\n".join([notes, *(["", *(f"- WRONG: {text}" for text in wrong)] if wrong else [])])
    write_results(name, title, rows, notes, RESULTS)


def progress(done: int, total: int, what: str) -> None:
    """Say how far it is, now and then."""
    if done % 10 == 0 or done == total:
        print(f"{done}/{total} {what}", file=sys.stderr, flush=True)

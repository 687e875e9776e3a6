"""What the command line says: results on standard output, the rest on standard error.

Progress is for a person at a terminal; a pipe gets results only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BAR = 24


class Console:
    """Prints for one command."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Say nothing but results when ``quiet`` (and errors, which others print)."""
        self.quiet = quiet
        self.live = not quiet and sys.stderr.isatty()
        self._width = 0

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        if not self.quiet:
            self._clear()
            # Whoever reads a pipe, or what is left of a process, counts on what was said.
            print(text, flush=True)

    def data(self, document: Any) -> None:
        """Print a result for a program, whatever else is quiet."""
        print(json.dumps(document, indent=2, default=str))

    def note(self, text: str) -> None:
        """Tell something that a person should know now, at a terminal or not."""
        if not self.quiet:
            self._clear()
            print(f"tidemark: {text}", file=sys.stderr)

    def step(self, text: str) -> None:
        """Show what is being done; on a terminal only, on a line that is overwritten."""
        if self.live:
            self._show(text)

    def progress(self, done: int, total: int, name: str) -> None:
        """Show how far it is."""
        if self.live:
            share = min(1.0, done / total) if total else 0.0
            bar = "█" * round(share * BAR)
            self._show(f"{bar:░<{BAR}} {done}/{total} {name}")

    def _show(self, text: str) -> None:
        shown = text[:100]
        print(f"\r{shown:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(shown)

    def _clear(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    @contextmanager
    def working(self) -> Iterator[Callable[[str], None]]:
        """Give ``note`` for the time of a block, and clear the line of ``step`` at the end."""
        try:
            yield self.note
        finally:
            self._clear()

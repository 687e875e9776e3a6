"""Where the program ``tidemark`` begins: Ctrl-C ends it in one line from its first moment.

Belongs here: only what is needed before the command line is imported, which takes a while.
"""

from __future__ import annotations

import os
import signal
import sys

#: Exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130

STOPPED = "stopped; nothing half-done was kept"


def main() -> None:
    """Import the command line and run it."""
    # A process that was told to ignore Ctrl-C goes on ignoring it.
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if heeded:
            signal.signal(signal.SIGINT, _stop)
        from orchestration.cli.main import main as command

        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    except KeyboardInterrupt:
        print(f"tidemark: {STOPPED}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _stop(*_: object) -> None:
    """End at once: an exception within an import may be caught, or printed and forgotten."""
    os.write(2, f"tidemark: {STOPPED}\n".encode())
    os._exit(INTERRUPTED)

"""Where the program ``tidemark`` begins: Ctrl-C ends it in one line from its first moment.

Belongs here: only what is needed before the command line is imported, which takes a while.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

#: Exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130

STOPPED = "stopped; nothing half-done was kept"


#: The process of Python's that puts away what another one left would say so after our last line.
_SILENCE = "ignore::UserWarning:multiprocessing.resource_tracker"


def main() -> None:
    """Import the command line and run it."""
    said = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{said},{_SILENCE}" if said else _SILENCE
    try:
        with ending_at_once():
            from orchestration.cli.main import main as command
        command()
    except KeyboardInterrupt:
        _stop()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # The thread of a run may be at work, which an end in good order would wait for.
            os._exit(INTERRUPTED)
        raise


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process at once, where that is as harmless as a kill.

    For blocks that an exception would not end: within an import, or in a callback of a library, it
    may be caught, or printed and forgotten. A process that was told to ignore Ctrl-C goes on
    ignoring it.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # Tests run the command within their own process, and not always on its main thread.
    if not heeded or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(*_: object) -> NoReturn:
    # On a terminal a line of progress may stand there.
    cleared = "\r\x1b[K" if os.isatty(2) else ""
    os.write(2, f"{cleared}tidemark: {STOPPED}\n".encode())
    os._exit(INTERRUPTED)

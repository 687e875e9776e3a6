"""Waiting for what another process or thread does.

Belongs here: how long, and waiting until something is so. No test passes because time went by.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: What takes seconds may take minutes on a machine that has other things to do.
PATIENCE_SECONDS = 300.0


def wait_until(is_so: Callable[[], object], otherwise: str) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it was not within ``PATIENCE_SECONDS``; ``otherwise`` says what is wrong.

    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < until, otherwise
        time.sleep(0.01)

"""Cutting something off at one of its places: by a death, or by an exception nobody handles.

Belongs here: counting statements, progress of dbt and files, and how what was cut off ended. What
a step may leave behind belongs in ``tests.faults.machine``; named points, each of which has its
place in the code, in ``tests.faults.points``.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn
from unittest.mock import patch

from ingest.errors import UserError
from ingest.warehouse import Warehouse
from orchestration.session import RunSession

#: What takes longer than this has stopped, also where many others want the machine: a step is some
#: seconds of CPU. A little before, it writes down where its threads are.
CHILD_SECONDS, STACKS_SECONDS = 600.0, 590.0


class Failed(Exception):
    """What was to be cut off ended as it never may; the words say how."""


class Cut(BaseException):
    """The exception of a crash: nobody handles it."""


@contextmanager
def counted(point: int, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` before the so-and-so-many-th statement, progress of dbt, or file."""
    passed = 0

    def counting(really: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == point:
                cut()
            return really(*arguments, **options)

        return counted

    places = ((Warehouse, "execute"), (Warehouse, "insert_many"), (Path, "replace"))
    with ExitStack() as patches:
        for owner, name in places:
            patches.enter_context(patch.object(owner, name, counting(getattr(owner, name))))
        if cut is die:
            really = counting(RunSession.progress)
            patches.enter_context(patch.object(RunSession, "progress", really))
        yield


def die() -> None:
    """End this process as no handler can."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(point: int, act: Callable[[], object]) -> str | None:
    """Do something in a child that is killed on its way; None if it was, else how it ended.

    Raises:
        Failed: it ended neither well nor refused, or not at all; then with where it stood.

    """
    with tempfile.TemporaryFile("w+") as stacks:
        child = os.fork()
        if child == 0:
            _end_as_it_may(point, act, stacks)
        status = _waited_for(child)
        stacks.seek(0)
        where = stacks.read()
    if status is None:
        raise Failed(f"a step cut off at {point} did not end in {CHILD_SECONDS:g} s:\n{where}")
    if os.WIFSIGNALED(status):
        return None
    how = {0: "done", 1: "refused"}.get(os.WEXITSTATUS(status))
    if how is None:
        raise Failed(f"a step failed in a process of its own:\n{where}")
    return how


def _end_as_it_may(point: int, act: Callable[[], object], stacks: IO[str]) -> NoReturn:
    code = 2
    try:
        faulthandler.dump_traceback_later(STACKS_SECONDS, file=stacks)
        with counted(point, die):
            act()
        code = 0
    except UserError:
        code = 1
    except BaseException:
        traceback.print_exc(file=stacks)
        stacks.flush()
    finally:
        os._exit(code)


def _waited_for(child: int) -> int | None:
    """Wait for a child and return how it ended, None if it had to be ended."""
    deadline = time.monotonic() + CHILD_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.002)


def raised_at(point: int, act: Callable[[], object]) -> str | None:
    """Do something that an exception cuts off; None if it did, else how it ended.

    Raises:
        Failed: it ended neither well nor refused.

    """

    def cut() -> None:
        raise Cut

    try:
        with counted(point, cut):
            act()
    except Cut:
        return None
    except UserError:
        return "refused"
    except Exception as error:
        raise Failed(f"the product failed: {type(error).__name__}: {error}") from error
    return "done"

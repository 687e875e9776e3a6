"""What no command can help: a full disk, a database server that went away; each in one line.

Belongs here: recognising them in whatever words a library found out, and what a person has to do.
Mistakes of a user are ``UserError``, raised where they are found.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

#: Also a quota that is used up, and a file that may not grow any more.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

#: As libraries write it; SQLite and Postgres among them.
NO_ROOM_WORDS = (
    "no space left on device", "disk is full", "disk quota exceeded", "file too large",
)  # fmt: skip

#: States of Postgres: connection failures, and a server that shuts down, crashed, or comes back.
GONE_STATES = ("08", "57P")

#: SQLite, when what it shares between processes cannot grow.
UNWRITABLE_WORDS = ("disk i/o error",)

GONE_WORDS = (
    "server closed the connection", "server terminated abnormally", "connection is lost",
    "connection is closed", "connection already closed", "in recovery mode",
    "consuming input failed", "could not connect to server", "connection failed",
    "terminating connection",
)  # fmt: skip

#: Longest part of a library's own words that is shown.
SHOWN = 200


def in_a_line(error: BaseException) -> str | None:
    """Return what is out and what to do, when an error, or one behind it, says so; else None."""
    found = list(_behind(error))
    for each in found:
        if isinstance(each, OSError) and each.errno in NO_ROOM:
            return _full(" ".join(filter(None, (each.strerror, _name(each)))))
        if _says(str(each), NO_ROOM_WORDS):
            return _full(_saying(str(each), NO_ROOM_WORDS))
    for each in found:
        if _says(str(each), UNWRITABLE_WORDS):
            return _full(_saying(str(each), UNWRITABLE_WORDS), sure=False)
    for each in found:
        state = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None) or ""
        operational = any(kind.__name__ == "OperationalError" for kind in type(each).__mro__)
        told = _says(str(each), GONE_WORDS)
        if operational and (told or str(state).startswith(GONE_STATES)):
            return _gone(_saying(str(each), GONE_WORDS))
    return None


def explained(text: str) -> str:
    """Return the words of an error, with what to do when they speak of a full disk or a server."""
    if "make room" in text:
        return text
    if _says(text, NO_ROOM_WORDS):
        return _full(text)
    if _says(text, UNWRITABLE_WORDS):
        return _full(text, sure=False)
    if _says(text, GONE_WORDS) and "TIDEMARK_POSTGRES_URL" not in text:
        return _gone(text)
    return text


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from or came up with."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _full(said: str, *, sure: bool = True) -> str:
    doubt = "" if sure else ", or fails"
    return (
        f"the disk is full{doubt} ({said}); make room where TIDEMARK_HOME, or the Postgres server, "
        "keeps its data, then do the same again"
    )


def _gone(said: str) -> str:
    return (
        f"Postgres broke off the connection ({said}); its log says why (a full disk, a restart): "
        "see that it runs, then do the same again"
    )


def _name(error: OSError) -> str | None:
    return str(error.filename)[:SHOWN] if error.filename else None


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text.lower() for word in words)


def _saying(text: str, words: tuple[str, ...]) -> str:
    """Return the first line that has one of the words, or the first one."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()] or [""]
    return next((line for line in lines if _says(line, words)), lines[0])[:SHOWN]

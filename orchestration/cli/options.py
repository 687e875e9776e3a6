"""Options that several commands share, and the reading of what a person gives them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import typer

from ingest.errors import UserError

AsJson = Annotated[bool, typer.Option("--json", help="Print data for a program.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless it fails.")]

#: Digits of the largest number of events that can be asked for.
SIZE_DIGITS = 11


def read_date(text: str | None, option: str) -> date | None:
    """Read a date written as 2026-03-31; None stays None.

    Raises:
        UserError: it is no date; names the option.

    """
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise UserError(f"{option} {text!r} is no date; write it as 2026-03-31") from None


def read_size(text: str) -> int | str:
    """Read a number of simulated events, or the name of a size.

    Raises:
        UserError: it is neither.

    """
    from ingest.simulator import SIZES

    if text in SIZES:
        return text
    if text.isdecimal() and len(text) <= SIZE_DIGITS and int(text) > 0:
        return int(text)
    raise UserError(f"--size is {text!r}; use a number from 1 or one of {', '.join(SIZES)}")

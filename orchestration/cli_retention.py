"""The command on retention; what it does is in ``orchestration.retention``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import UserError
from ingest.settings import load_settings
from orchestration.console import Console, table

if TYPE_CHECKING:
    from orchestration.retention import Retention


def retention(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; show what would go, and what not.")
    ] = False,
    as_of: Annotated[
        str | None, typer.Option(help="What was too old on a date, as 2026-03-31; else today.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data for a program.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing unless it fails.")
    ] = False,
) -> None:
    """Remove what is older than reference data `retention` keeps it; published figures stay."""
    from orchestration.retention import retain

    settings, console, on = load_settings(), Console(quiet=quiet), _date(as_of)
    with console.working() as notify:
        done = retain(settings, dry_run=dry_run, as_of=on, notify=notify, on_step=console.step)
    if as_json:
        console.data({**asdict(done), "rows": done.rows})
        return
    for line in lines(done):
        console.line(line)


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise UserError(f"--as-of {text!r} is no date; write it as 2026-03-31") from None


def lines(done: Retention) -> list[str]:
    """Say what went, or would go, relation by relation, and what is held back."""
    rows = [
        [r.relation, r.kept_days, r.removed_before, r.rows, r.less or ""]
        for r in done.removals
        if r.rows or r.less
    ]
    said = table(rows, ["relation", "days kept", "before", "rows", ""]) if rows else []
    if not done.rows:
        said.append(f"nothing is too old on {done.as_of}")
    elif done.dry_run:
        said.append(f"{done.rows:,} rows would go; nothing was removed")
    else:
        said.append(f"{done.rows:,} rows removed")
    if done.closed_before:
        said.append(f"dates before {done.closed_before} are closed: they stay as they are")
    if done.publication:
        said.append(f"publication {done.publication} shows readers what is left")
    if done.not_published:
        said.append(f"readers keep the old file until the next publication: {done.not_published}")
    return said

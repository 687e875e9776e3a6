"""The command on retention; what it does is in ``orchestration.retention``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console, table
from orchestration.cli.options import AsJson, Quiet, read_date

if TYPE_CHECKING:
    from orchestration.retention import Retention


def retention(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; show what would go, and what not.")
    ] = False,
    as_of: Annotated[
        str | None, typer.Option(help="What was too old on a date, as 2026-03-31; else today.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Remove what is older than reference data `retention` keeps it; published figures stay."""
    from orchestration.retention import retain

    settings, console, on = load_settings(), Console(quiet=quiet), read_date(as_of, "--as-of")
    with console.working() as notify:
        done = retain(settings, dry_run=dry_run, as_of=on, notify=notify, on_step=console.step)
    if as_json:
        console.data({**asdict(done), "rows": done.rows})
        return
    for line in lines(done):
        console.line(line)


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

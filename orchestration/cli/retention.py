"""The command on retention; what it does is in ``orchestration.retention``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson, Quiet, read_date


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
    from orchestration.retention_shown import lines

    settings, console, on = load_settings(), Console(quiet=quiet), read_date(as_of, "--as-of")
    with console.working() as notify:
        done = retain(settings, dry_run=dry_run, as_of=on, notify=notify, on_step=console.step)
    if as_json:
        console.data({**asdict(done), "rows": done.rows})
        return
    for line in lines(done):
        console.line(line)

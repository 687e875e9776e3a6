"""The command on alerts; what it shows is in ``orchestration.alerts.episodes``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson
from orchestration.text_table import table


def alerts(
    as_json: AsJson = False,
    every: Annotated[bool, typer.Option("--all", help="Resolved episodes too.")] = False,
) -> None:
    """List what is broken now: the open episodes of alerts that are published."""
    from orchestration.alerts.episodes import HEAD, published_episodes, rows_shown

    console, found = Console(), published_episodes(load_settings())
    shown = [episode for episode in found.episodes if every or episode.is_open]
    if as_json:
        console.data([asdict(episode) for episode in shown])
        return
    if not shown:
        kind = "no alert was ever raised" if every else "nothing is broken"
        console.line(f"{kind}, data through {found.data_through}")
        return
    for line in table(rows_shown(shown), HEAD):
        console.line(line)

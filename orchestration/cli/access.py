"""Commands about who may read what: arguments in, words out."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import Quiet


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is due.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Bring the warehouse to its schema; on Postgres also roles, readers' tables and policies."""
    from orchestration.access import migrate as access
    from orchestration.dbt_project import DbtProject
    from orchestration.relations import marts
    from orchestration.session import open_session

    settings, console = load_settings(), Console(quiet=quiet)
    with console.working() as notify:
        project = DbtProject(settings)
        manifest = project.manifest
        with open_session(settings, notify=notify) as session:
            if check:
                found = access.check(settings, session.warehouse, marts(manifest))
                texts = [difference.text for difference in found]
            else:
                texts = access.settle(session, manifest)
    for text in texts:
        console.line(text)
    if not texts:
        console.line("everything is as the contracts and the matrix of access say")
    if check and texts:
        raise typer.Exit(1)

"""The command ``tidemark dbt``: any command of dbt, with the project's environment around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

import typer

from ingest.errors import UserError
from ingest.settings import Settings, load_settings
from ingest.warehouse import Warehouse
from orchestration.cli.console import Console

#: What ``--version`` tells; dbt itself would ask the package index for newer ones.
PACKAGES = ("dbt-core", "dbt-duckdb", "dbt-postgres")

#: Commands that do not touch the warehouse.
WITHOUT_WAREHOUSE = ("parse", "ls", "list", "clean", "deps")

#: Commands that write tables, for all time unless their vars say otherwise.
REBUILDING = ("build", "run", "retry", "clone")


def dbt(context: typer.Context) -> None:
    """Run dbt on the project with Tidemark's environment; the run ledger is not written."""
    if set(context.args) & {"--version", "-v", "-V"}:
        for package in PACKAGES:
            Console().line(f"{package} {version(package)}")
        return
    with Console().working() as notify:
        code = pass_through(load_settings(), context.args, notify=notify)
    raise typer.Exit(code)


def pass_through(
    settings: Settings, arguments: Sequence[str], *, notify: Callable[[str], None]
) -> int:
    """Run any dbt command with the project's environment and return its exit code.

    A command that touches the warehouse holds the lock of runs.

    Raises:
        UserError: dbt raised, or the command could empty dates that cannot be computed any more.

    """
    from orchestration.access.migrate import role_of, settle
    from orchestration.dbt_project import DbtProject
    from orchestration.dbt_runner import invoke, one_line
    from orchestration.session import open_session

    project = DbtProject(settings)
    project.ensure_manifest()
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is None or "--help" in arguments:
        return 0 if invoke(project, [*arguments] or ["--help"]).success else 1
    words = [*arguments, *project.arguments()]
    if command in WITHOUT_WAREHOUSE:
        result = invoke(project, words)
    else:
        with open_session(settings, notify=notify) as session:
            if command in REBUILDING:
                _refuse_closed(session.warehouse, command)
            settle(session, project.manifest)
            result = invoke(project, words, role=role_of(settings))
    if result.exception:
        raise UserError(f"dbt: {one_line(result.exception)}")
    return 0 if result.success else 1


def _refuse_closed(warehouse: Warehouse, command: str) -> None:
    from orchestration.ledger import closed_dates

    closed = closed_dates(warehouse)
    if closed:
        raise UserError(
            f"dbt {command} could empty {closed}; use 'tidemark run', which leaves them alone"
        )

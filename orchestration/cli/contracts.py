"""The commands on contracts; what they do is in ``ingest.contract_files`` and its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson
from orchestration.text_table import table

contracts = typer.Typer(help="What producers may send: look it up, check it, keep it in step.")


@contracts.command("list")
def list_(as_json: AsJson = False) -> None:
    """List all events by domain."""
    from ingest.contract_catalogue import list_contracts

    console, found = Console(), list_contracts()
    if as_json:
        console.data(found)
        return
    head = ["domain", "event", "version", "description"]
    for line in table([[str(record[name]) for name in head] for record in found], head):
        console.line(line)


@contracts.command()
def show(event: Annotated[str, typer.Argument(help="Name of an event.")]) -> None:
    """Show one event: fields, rules and an example."""
    from ingest.contract_catalogue import show_contract

    Console().line(show_contract(event))


@contracts.command()
def check() -> None:
    """Find faults, breaking changes, and generated files that are out of step."""
    from ingest.contract_files import check_contracts

    report = check_contracts(settings=load_settings())
    for line in report.lines():
        Console().line(line)
    if not report.ok:
        raise typer.Exit(1)


@contracts.command()
def sync(
    retire: Annotated[
        list[str] | None, typer.Option(help="An event that was taken out for good.")
    ] = None,
) -> None:
    """Write everything that is generated from the contracts."""
    from ingest.contract_files import sync_contracts

    for line in sync_contracts(retire=retire or ()).lines():
        Console().line(line)


@contracts.command()
def export(
    format: Annotated[str, typer.Option(help="json-schema or markdown.")] = "json-schema",
    out: Annotated[Path | None, typer.Option(help="Folder, or a .json or .md file.")] = None,
) -> None:
    """Write the contracts for others."""
    from ingest.contract_catalogue import export_contracts

    for path in export_contracts(format, out):
        Console().line(str(path))

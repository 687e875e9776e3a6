"""The commands on persons; what they do is in ``orchestration.identity``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson
from orchestration.text_table import table

identity = typer.Typer(help="Who is whom: see why, and take a wrong link back.")


@identity.command()
def explain(
    identifier: Annotated[
        str, typer.Argument(help="A user_id, anonymous_id, hash, telephone number or address.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show the person of an identifier, the links that make it one, and what each part counts."""
    from orchestration.identity import explain, words

    console, found = Console(), explain(load_settings(), identifier)
    if as_json:
        console.data([asdict(explanation) for explanation in found])
        return
    for explanation in found:
        members = explanation.members
        console.line(
            f"{words(explanation.key)} is person {explanation.person_id}, "
            f"{len(members)} identifier{'s' if len(members) > 1 else ''}"
        )
        console.line()
        rows = [
            [words(m.key), m.first_seen, m.person_since, m.events, m.sessions, m.user_days]
            for m in members
        ]
        head = ["identifier", "first seen", "joined", "events", "sessions", "daily users"]
        for line in table(rows, head):
            console.line("  " + line)
        if len(members) > 1:
            console.line("  apart, each identifier counts what stands in its line alone")
        for steps in explanation.chains:
            console.line()
            console.line(f"  {words(steps[0].start)} = {words(steps[-1].end)}, because" if steps
                         else "  no link is left that leads on; run 'tidemark run'")  # fmt: skip
            for step in steps:
                console.line(
                    f"    {step.link.event_date}  {step.link.event_id}  "
                    f"{words(step.start)} - {words(step.end)}"
                )
        for conflict in explanation.conflicts:
            console.line()
            console.line(
                f"  {words(conflict.key)} joins nobody since {conflict.since}: {conflict.reason}, "
                f"{conflict.partners:,} partners"
            )
        console.line()


@identity.command()
def revoke(
    event_id: Annotated[str, typer.Argument(help="The user_identified event; see explain.")],
    reason: Annotated[str, typer.Option(help="Why the link is wrong; kept with it.")],
) -> None:
    """Take a link back; the next run takes apart what it had joined."""
    from orchestration.identity import revoke, words

    console = Console()
    with console.working() as notify:
        done = revoke(load_settings(), event_id, reason=reason, notify=notify)
    console.line(
        f"revoked the link of {' and '.join(map(words, done.link.identifiers))}; "
        f"{done.stale_dates} dates from {done.stale_from} on are stale, run 'tidemark run'"
    )


@identity.command("list-conflicts")
def list_conflicts(as_json: AsJson = False) -> None:
    """List identifiers that join nobody: placeholders, and those shared by too many."""
    from orchestration.identity import list_conflicts

    console, found = Console(), list_conflicts(load_settings())
    if as_json:
        console.data([asdict(conflict) for conflict in found])
        return
    if not found:
        console.line("no conflicts: every identifier of every link joins its partners")
        return
    rows = [[c.key[0], c.key[1], c.reason, c.partners, c.since] for c in found]
    for line in table(rows, ["type", "identifier", "reason", "partners", "since"]):
        console.line(line)

"""The command that erases a person; what it does is in ``orchestration.erasure.requests``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import UserError
from ingest.settings import load_settings
from orchestration.cli.console import Console, table
from orchestration.cli.options import AsJson, Quiet

if TYPE_CHECKING:
    from orchestration.erasure.requests import Report

UserId = Annotated[str | None, typer.Option("--user-id", help="A user_id of the person.")]
DeviceId = Annotated[str | None, typer.Option("--anonymous-id", help="An anonymous_id.")]
Phone = Annotated[str | None, typer.Option("--phone", help="A telephone number, as +49 30 901820.")]
Email = Annotated[str | None, typer.Option("--email", help="An e-mail address.")]
PhoneHash = Annotated[str | None, typer.Option("--phone-hash", help="A phone_hash, as stored.")]
EmailHash = Annotated[str | None, typer.Option("--email-hash", help="An email_hash, as stored.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would go; change nothing.")]
Later = Annotated[
    bool,
    typer.Option("--later", help="Note it; the Dagster job 'erasure' or the next run does it."),
]

#: Exports that are listed at most; the newest ones.
LISTED = 20


def erase(
    user_id: UserId = None,
    anonymous_id: DeviceId = None,
    phone: Phone = None,
    email: Email = None,
    phone_hash: PhoneHash = None,
    email_hash: EmailHash = None,
    dry_run: DryRun = False,
    later: Later = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person for good: rows, published files, database files; later deliveries too."""
    from orchestration.erasure import requests

    if dry_run and later:
        raise UserError("--dry-run changes nothing, --later notes a request: give one of them")
    settings, console = load_settings(), Console(quiet=quiet)
    given = requests.named(
        settings, user_id=user_id, anonymous_id=anonymous_id, phone=phone, email=email,
        phone_hash=phone_hash, email_hash=email_hash,
    )  # fmt: skip
    with console.working() as notify:
        if dry_run:
            report = requests.preview(settings, given)
        elif later:
            report = requests.ask(settings, given)
        else:
            report = requests.erase(settings, given, notify=notify, on_step=console.step)
    if as_json:
        console.data(report.as_data())
        return
    for line in lines(report):
        console.line(line)


def lines(report: Report) -> list[str]:
    """Say what went, would go or waits, relation by relation, and what is left to do."""
    rows = sum(report.rows.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.identifiers.items())
    request = f"request {report.request_id}"
    if report.done and rows:
        said = [f"erased {rows:,} rows of {kinds} ({request})"]
    elif report.done:
        said = [
            f"nobody was found under this identifier ({request}); events of it up to now will be "
            "refused"
        ]
    elif report.request_id:
        said = [
            f"noted: {rows:,} rows of {kinds or 'nobody'} go with the Dagster job 'erasure' or the "
            f"next run ({request})"
        ]
    elif rows:
        said = [f"would erase {rows:,} rows of {kinds}; nothing was changed"]
    else:
        said = ["nobody was found under this identifier; nothing was changed"]
    if report.rows:
        cells = [[name, count] for name, count in report.rows.items()]
        said += ["  " + line for line in table(cells, ["", ""])[1:]]
    if report.rows and report.done:
        said.append("daily aggregates stay as published, and nothing became stale")
    if report.stale_since:
        said.append(
            f"dates from {report.stale_since} on are stale: identifiers that only their events "
            "link are not known; run 'tidemark run', then repeat this for those"
        )
    said += [f"left to do: {text}" for text in report.left]
    said += [f"left to do: {name} names the person; delete or mend it" for name in report.files]
    if report.exports:
        said.append("exports that may hold the person; tell their owners:")
        shown = report.exports[-LISTED:]
        cells = [[e.exported_at.isoformat(" ", "seconds"), e.relation, e.path] for e in shown]
        said += ["  " + line for line in table(cells, ["", "", ""])[1:]]
        if len(report.exports) > LISTED:
            said.append(f"  and {len(report.exports) - LISTED} older ones in exports.ndjson")
    return said

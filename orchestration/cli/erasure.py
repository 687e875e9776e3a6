"""The command that erases a person; what it does is in ``orchestration.erasure.requests``."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.errors import UserError
from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson, Quiet

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
    from orchestration.erasure.shown import lines

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

"""The command that erases a person; what it does is in ``orchestration.erasure``."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.console import Console, table

UserId = Annotated[str | None, typer.Option("--user-id", help="A user_id of the person.")]
DeviceId = Annotated[str | None, typer.Option("--anonymous-id", help="An anonymous_id.")]
Phone = Annotated[str | None, typer.Option("--phone", help="A telephone number, as +49 30 901820.")]
Email = Annotated[str | None, typer.Option("--email", help="An e-mail address.")]
PhoneHash = Annotated[str | None, typer.Option("--phone-hash", help="A phone_hash, as stored.")]
EmailHash = Annotated[str | None, typer.Option("--email-hash", help="An email_hash, as stored.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would go; change nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless it fails.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data for a program.")]

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
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person for good: rows, published files, database files; later deliveries too."""
    from orchestration import erasure

    settings, console = load_settings(), Console(quiet=quiet)
    given = erasure.named(
        settings, user_id=user_id, anonymous_id=anonymous_id, phone=phone, email=email,
        phone_hash=phone_hash, email_hash=email_hash,
    )  # fmt: skip
    with console.working() as notify:
        if dry_run:
            report = erasure.preview(settings, given)
        else:
            report = erasure.erase(settings, given, notify=notify)
    if as_json:
        console.data(report.as_data())
        return
    _tell(console, report)


def _tell(console: Console, report: object) -> None:
    from orchestration.erasure import Report

    assert isinstance(report, Report)
    rows = sum(report.rows.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.identifiers.items())
    if report.request_id is None:
        console.line(
            f"would erase {rows:,} rows of {kinds}; nothing was changed"
            if rows
            else "nobody was found under this identifier; nothing was changed"
        )
    elif rows:
        console.line(f"erased {rows:,} rows of {kinds} (request {report.request_id})")
    else:
        console.line(
            f"nobody was found under this identifier (request {report.request_id}); events of it "
            "up to now will be refused"
        )
    if report.rows:
        for line in table([[name, count] for name, count in report.rows.items()], ["", ""])[1:]:
            console.line("  " + line)
    if report.rows and report.request_id:
        console.line("daily aggregates stay as published, and nothing became stale")
    if report.stale_since:
        console.line(
            f"dates from {report.stale_since} on are stale: identifiers that only their events "
            "link are not known; run 'tidemark run', then repeat this for those"
        )
    for text in report.left:
        console.line(f"left to do: {text}")
    for name in report.files:
        console.line(f"left to do: {name} names the person; delete or mend it")
    if report.exports:
        console.line("exports that may hold the person; tell their owners:")
        shown = report.exports[-LISTED:]
        cells = [[e.exported_at.isoformat(" ", "seconds"), e.relation, e.path] for e in shown]
        for line in table(cells, ["", "", ""])[1:]:
            console.line("  " + line)
        if len(report.exports) > LISTED:
            console.line(f"  and {len(report.exports) - LISTED} older ones in exports.ndjson")

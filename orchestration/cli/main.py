"""The command ``tidemark``: arguments in, words out; what is done is done elsewhere.

Heavy libraries are imported inside commands: a person who loads a file must not wait for dbt.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from ingest.errors import UserError
from ingest.registry import ContractError
from ingest.settings import Settings, SettingsError, load_settings
from ingest.warehouse import WarehouseBusy, WarehouseError
from orchestration.cli import access, alerts, backtest, contracts, identity, ingest
from orchestration.cli.console import Console
from orchestration.cli.dbt import dbt
from orchestration.cli.entry import INTERRUPTED, STOPPED, ending_at_once
from orchestration.cli.erasure import erase
from orchestration.cli.keys import keys
from orchestration.cli.options import AsJson, Quiet, read_date, read_size
from orchestration.cli.retention import retention
from orchestration.outages import explained, in_a_line
from orchestration.text_table import table

app = typer.Typer(
    help="Events in, trustworthy daily numbers out. Start with: ingest PATH, run, status.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("ingest")(ingest.ingest)
app.add_typer(ingest.quarantine, name="quarantine")
app.add_typer(contracts.contracts, name="contracts")
app.add_typer(identity.identity, name="identity")
app.add_typer(backtest.backtest, name="backtest")
app.command("alerts")(alerts.alerts)
app.command("retention")(retention)
app.command("erase")(erase)
app.add_typer(keys, name="keys")
app.command("migrate")(access.migrate)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)(dbt)


DEMO_DAYS = 90
MAX_DAYS = 36_600

DEMO_SEED = 7


@app.command()
def run(
    start: Annotated[str | None, typer.Option(help="First date, as 2026-03-01.")] = None,
    end: Annotated[str | None, typer.Option(help="Last date, included.")] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Rebuild every table and every date.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compute what is stale (or a range of dates), check it, publish it."""
    from orchestration import runs
    from orchestration.summary import run_lines

    settings, console = load_settings(), Console(quiet=quiet)
    with ending_at_once(), console.working() as notify:
        summary = runs.run(
            settings,
            start=read_date(start, "--start"),
            end=read_date(end, "--end"),
            full_refresh=full_refresh,
            notify=notify,
            on_step=console.step,
            on_progress=console.progress,
        )
    for line in run_lines(summary):
        console.line(line)
    if summary.status in ("failed", "blocked"):
        raise UserError(f"the run {'was' if summary.status == 'blocked' else 'has'} "
                        f"{summary.status}: {summary.error}")  # fmt: skip


@app.command()
def publish(quiet: Quiet = False) -> None:
    """Publish what was run and found good, without running anything."""
    from orchestration import runs
    from orchestration.publication.restatements_shown import in_words
    from orchestration.session import open_session

    console = Console(quiet=quiet)
    with console.working() as notify, open_session(load_settings(), notify=notify) as session:
        publication = runs.publish_now(session)
        restated = in_words(session.warehouse, publication.publication_id)
    console.line(
        f"publication {publication.publication_id}: {publication.relations} relations, data "
        f"through {publication.data_through}, {publication.location}"
    )
    if restated:
        console.line(restated)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show loads, stale dates, runs, checks (failed first), quarantine and drift."""
    from orchestration import status as state

    console = Console()
    found = state.status(load_settings())
    if as_json:
        console.data(found)
        return
    for line in state.render(found):
        console.line(line)


@app.command()
def summary() -> None:
    """Show the published figures of the last week beside the week before, on one screen."""
    from orchestration.summary import summary_lines

    console = Console()
    for line in summary_lines(load_settings()):
        console.line(line)


@app.command()
def restatements(
    relation: Annotated[str | None, typer.Option(help="Only those of this relation.")] = None,
    date: Annotated[str | None, typer.Option(help="Only those of a date, as 2026-03-31.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows, newest first.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Show which published numbers changed later: from what, to what, because of which load."""
    from orchestration.publication import restatements_shown as shown

    console = Console()
    found = shown.report(
        load_settings(), relation=relation, day=read_date(date, "--date"), limit=limit
    )
    if as_json:
        console.data(shown.as_data(found))
        return
    for line in shown.lines(found):
        console.line(line)


@app.command()
def export(
    relation: Annotated[str, typer.Argument(help="A published relation; see 'tidemark status'.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[str, typer.Option(help="csv, parquet or json.")] = "csv",
    role: Annotated[
        str | None, typer.Option("--as", metavar="ROLE", help="Only what that role would see.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose rows, where a role sees its own.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a published relation to a file."""
    from orchestration.export import export_relation

    rows = export_relation(
        load_settings(), relation, format=format, out=out, role=role, subject=subject
    )
    Console(quiet=quiet).line(f"{relation}: {rows:,} rows to {out}")


explain = typer.Typer(help="Say why a published number is what it is.", no_args_is_help=True)
app.add_typer(explain, name="explain")


@explain.callback()
def _explain() -> None:
    """Say why a published number is what it is."""


@explain.command("advisor")
def explain_advisor(
    advisor: Annotated[
        str, typer.Argument(metavar="ID", help="An advisor_id_hash, or its first characters.")
    ],
    date: Annotated[str | None, typer.Option(help="A date; else the newest with a score.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take an advisor's health score apart, down to counts, and show where points lie."""
    from orchestration import explain as subject

    console = Console()
    found = subject.explain_advisor(load_settings(), advisor, read_date(date, "--date"))
    if as_json:
        console.data(found.as_data())
        return
    for line in subject.render(found):
        console.line(line)


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Folder for events/ and truth/.")],
    days: Annotated[
        int, typer.Option(min=1, max=MAX_DAYS, help="Length of the period.")
    ] = DEMO_DAYS,
    size: Annotated[str, typer.Option(help="Events, or small, medium, large.")] = "small",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same bytes.")
    ] = DEMO_SEED,
    end: Annotated[str | None, typer.Option(help="Last day, as 2026-03-31.")] = None,
    late: Annotated[float, typer.Option(help="Share that arrives days late.")] = 0.01,
    duplicates: Annotated[float, typer.Option(help="Share that is sent twice.")] = 0.01,
    invalid: Annotated[float, typer.Option(help="Invalid lines per valid event.")] = 0.0,
    quiet: Quiet = False,
) -> None:
    """Make events of a made-up company, and the truth about them."""
    console = Console(quiet=quiet)
    made = _simulate(
        console, out=out, days=days, size=size, seed=seed, end=read_date(end, "--end"),
        late=late, duplicates=duplicates, invalid=invalid,
    )  # fmt: skip
    console.line(made)


def _simulate(
    console: Console, *, out: Path, days: int, size: str, seed: int, end: date | None,
    late: float, duplicates: float, invalid: float,
) -> str:  # fmt: skip
    from ingest.simulator.engine import simulate

    events = read_size(size)
    for name, share in (("late", late), ("duplicates", duplicates), ("invalid", invalid)):
        if not 0 <= share <= 0.5:
            raise UserError(f"--{name} is {share}; give a share from 0 to 0.5")
    optional: dict[str, Any] = {"end": end} if end else {}
    with console.working():
        made = simulate(
            days=days,
            size=events,
            seed=seed,
            out=out,
            late_rate=late,
            duplicate_rate=duplicates,
            invalid_rate=invalid,
            timezone=load_settings().timezone,
            progress=lambda done, total: console.progress(done, total, "days made"),
            **optional,
        )
    return (
        f"{made.events:,} events of {made.start} .. {made.end} in {len(made.files)} files: "
        f"{made.events_folder}"
    )


@app.command()
def demo(
    size: Annotated[str, typer.Option(help="Events, or small, medium, large.")] = "60000",
    days: Annotated[
        int, typer.Option(min=1, max=MAX_DAYS, help="Length of the period.")
    ] = DEMO_DAYS,
) -> None:
    """Make 90 days of events, ingest them, run every date, publish, and show the figures."""
    from ingest.door import ingest_paths
    from orchestration import runs
    from orchestration.summary import run_lines, summary_lines

    settings, console = load_settings(), Console()
    out = settings.home / "demo"
    console.line("1  generate")
    console.line("   " + _simulate(console, out=out, days=days, size=size, seed=DEMO_SEED, end=None,
                                   late=0.01, duplicates=0.01, invalid=0.002))  # fmt: skip
    console.line("2  ingest")
    with console.working() as notify:
        results = ingest_paths([out / "events"], settings=settings, notify=notify)
    read, accepted, duplicates, rejected = (
        sum(getattr(r, name) for r in results)
        for name in ("read", "accepted", "duplicates", "rejected")
    )
    console.line(
        f"   {len(results)} files: {read:,} lines read, {accepted:,} accepted, "
        f"{duplicates:,} duplicates, {rejected:,} rejected into quarantine"
    )
    console.line("3  run")
    with ending_at_once(), console.working() as notify:
        summary = runs.run(
            settings, notify=notify, on_step=console.step, on_progress=console.progress
        )
    for line in run_lines(summary):
        console.line("   " + line)
    if summary.status in ("failed", "blocked"):
        raise UserError(f"the run ended {summary.status}: {summary.error}")
    console.line()
    for line in summary_lines(settings):
        console.line(line)


Port = Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")]


@app.command()
def ui(port: Port = 3000) -> None:
    """Serve Dagster's web page and its daemon on 127.0.0.1 until Ctrl-C."""
    from orchestration import web

    web.serve(load_settings(), port=port, read_only=False, notify=Console().note)


@app.command()
def serve(port: Port = 3000) -> None:
    """Do what `ui` does with a page that only shows: for others, behind a proxy with logins."""
    from orchestration import web

    web.serve(load_settings(), port=port, read_only=True, notify=Console().note)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at everything a run needs: Python, settings, warehouse, contracts, dbt, disk."""
    from orchestration.doctor import examine

    console = Console()
    findings = examine(load_settings())
    if as_json:
        console.data([vars(f) for f in findings])
    else:
        rows = [["ok" if f.ok else "FAULT", f.name, f.text] for f in findings]
        for line in table(rows, ["", "", ""])[1:]:
            console.line(line)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1."""
    code = 0
    # Whoever read the output and went away has seen enough.
    with suppress(BrokenPipeError):
        code = _run_command()
    sys.exit(_written_out(code))


def _run_command() -> int:
    """Run a command and return its exit code.

    Raises:
        BrokenPipeError: nobody reads the output any more.

    """
    try:
        _check_signs(sys.argv[1:])
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        _complain(_in_a_line(error))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain(STOPPED)
        code = INTERRUPTED
    except (UserError, SettingsError, ContractError, WarehouseBusy, WarehouseError) as error:
        _complain(explained(" ".join(str(error).split())))
        code = 1
    except UnicodeEncodeError:
        _complain("a setting holds bytes that are no UTF-8; write it in UTF-8")
        code = 1
    except BrokenPipeError:
        raise
    except SystemExit as error:
        # What click makes of a broken pipe.
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        raise
    except Exception as error:
        said = in_a_line(error)
        if said is None and isinstance(error, OSError) and error.filename is not None:
            said = f"{str(error.filename)[:200]}: {error.strerror}"
        if said is None:
            raise
        _complain(said)
        code = 1
    return code if isinstance(code, int) else 0


def _check_signs(words: list[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{word!a} holds bytes that are no UTF-8; write it in UTF-8") from None


def _in_a_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see '{context.command_path} --help'" if context is not None else text


def _complain(text: str) -> None:
    shown = text.encode("utf-8", "backslashreplace").decode()
    with suppress(BrokenPipeError):
        print(f"tidemark: {shown}", file=sys.stderr)


def _written_out(code: int) -> int:
    """Write out what waits for it, and return the exit code.

    At its end the interpreter would do so, complain, and exit with a code of its own.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                _complain(in_a_line(error) or f"the output cannot be written: {error.strerror}")
                code = 1
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return code


__all__ = ["Settings", "app", "main"]

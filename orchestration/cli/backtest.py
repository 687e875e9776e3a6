"""The commands ``tidemark backtest ...``: arguments in, a report out.

Heavy libraries are imported inside commands. What is judged, and how, belongs in
``orchestration.backtest.advisors`` and ``orchestration.backtest.customers``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.errors import UserError
from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson, read_size

if TYPE_CHECKING:
    from orchestration.backtest.shown import Page

backtest = typer.Typer(help="Measure scores by what came after.", no_args_is_help=True)

SEED = 7

Days = Annotated[int, typer.Option(min=1, max=36_600, help="Length of the period.")]
Size = Annotated[str, typer.Option(help="Events, or small, medium, large.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same company.")]
Out = Annotated[Path | None, typer.Option(help="Write the report as Markdown.")]
Keep = Annotated[Path | None, typer.Option(help="Keep the warehouse in this folder.")]


@backtest.callback()
def _backtest() -> None:
    """Measure scores by what came after."""


def _judge(size: str, out: Path | None) -> None:
    read_size(size)
    if out is not None and not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it first")


def _hand_over(
    console: Console, report: Any, page: Page, command: str, out: Path | None, as_json: bool
) -> None:
    """Write and print what was found, and the command that finds it again."""
    from orchestration.backtest import shown

    if out is not None:
        text = shown.markdown(page, f"tidemark backtest {command}")
        out.write_text(text, encoding="utf-8")
    if as_json:
        console.data(report.as_data())
        return
    for line in shown.render(page):
        console.line(line)


@backtest.command("advisors")
def advisors(
    days: Days = 180,
    size: Size = "medium",
    seed: Seed = SEED,
    horizon: Annotated[
        int, typer.Option(min=1, max=36_600, help="Days in which a churn is foretold.")
    ] = 30,
    out: Out = None,
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """Run a made-up company and measure how well health scores foretell who leaves."""
    from orchestration.backtest import shown
    from orchestration.backtest.advisors import backtest_advisors

    _judge(size, out)
    console = Console(quiet=as_json)
    with console.working():
        report = backtest_advisors(
            load_settings(), days=days, size=size, seed=seed, horizon=horizon, keep=keep,
            notify=console.step,
        )  # fmt: skip
    command = f"advisors --days {days} --size {size} --seed {seed} --horizon {horizon}"
    _hand_over(console, report, shown.page_of_advisors(report), command, out, as_json)


@backtest.command("customers")
def customers(
    days: Days = 180,
    size: Size = "medium",
    seed: Seed = SEED,
    events: Annotated[
        Path | None,
        typer.Option(help="Judge these canonical events (a file or folder) and make none up."),
    ] = None,
    out: Out = None,
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well churn risks foretell who stays away, beside BG/NBD."""
    from orchestration.backtest import shown
    from orchestration.backtest.customers import backtest_customers

    _judge(size, out)
    if events is not None and not events.exists():
        raise UserError(f"--events {events} does not exist; name a file or folder of events")
    console = Console(quiet=as_json)
    with console.working():
        report = backtest_customers(
            load_settings(), days=days, size=size, seed=seed, events=events, keep=keep,
            notify=console.step,
        )  # fmt: skip
    made = f"--days {days} --size {size} --seed {seed}"
    command = f"customers {f'--events {events.name}' if events else made}"
    _hand_over(console, report, shown.page_of_customers(report), command, out, as_json)

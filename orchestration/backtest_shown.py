"""What a person sees of a backtest: lines for a terminal, Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.backtest import RESAMPLES, WORDS, Report
from orchestration.console import table


@dataclass(frozen=True)
class _Table:
    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str


def _range(pair: tuple[float, float] | None, scale: float = 1.0, places: int = 3) -> str:
    if pair is None:
        return "-"
    return f"{scale * pair[0]:.{places}f} .. {scale * pair[1]:.{places}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _facts(report: Report) -> list[str]:
    made = report.made
    found = [
        f"{report.advisor_dates:,} advisor-dates of {report.advisors:,} advisors; "
        f"{report.churned_dates:,} of them before a churn, of {report.churners:,} advisors"
    ]
    if made:
        found.insert(
            0,
            f"{made['events']:,} made-up events of {made['start']} .. {made['end']}, "
            f"{made['advisors_made']:,} advisors, seed {made['seed']}",
        )
        found.append(
            f"{made['dates']} dates, {made['first_date']} .. {made['last_date']}, a week apart: "
            f"does the advisor churn within {made['horizon']} days?"
        )
        if made["unscored"]:
            found.append(f"{made['unscored']:,} advisor-dates had no score and are left out")
    return found


def _tables(report: Report) -> list[_Table]:
    ranking = [
        (
            WORDS[signal.name],
            f"{signal.advisor_dates:,}",
            "none: one outcome only" if signal.auc is None else f"{signal.auc:.3f}",
            _range(signal.interval),
            "" if signal.lead is None else f"{signal.lead:+.3f}",
            "" if signal.lead is None else _range(signal.lead_interval),
        )
        for signal in report.signals
    ]
    bands = [
        (
            f"{band.low}-{band.high}",
            band.category.replace("_", " "),
            f"{band.fitted_on:,}",
            _percent(band.expected),
            f"{band.advisor_dates:,}",
            f"{band.churned:,}",
            _percent(band.observed),
            _range(band.interval, 100, 1),
        )
        for band in report.bands
    ]
    return [
        _Table(
            "Ranking",
            ("", "advisor-dates", "AUC", "95 %", "score leads by", "95 %"),
            ranking,
            "AUC: the chance that who churns is ranked as riskier; 0.5 is a coin. Intervals by "
            f"{RESAMPLES:,} resamples of advisors.",
        ),
        _Table(
            "Calibration",
            ("score", "category", "fitted on", "expected", "tested on", "churned", "observed",
             "95 %"),
            bands,
            "Expected: churn rate of one half of the advisors; observed: that of the other half, "
            "with its Wilson interval in %. Dates of one advisor are alike, so that these "
            "intervals are narrower than they should be.",
        ),
    ]  # fmt: skip


def render(report: Report) -> list[str]:
    """Lay a report out for a terminal."""
    lines = _facts(report)
    for part in _tables(report):
        lines += ["", part.title, *table(part.rows, part.head), part.note]
    return [*lines, "", *report.verdict]


def markdown(report: Report, command: str) -> str:
    """Write a report as Markdown; ``command`` is what made it."""
    lines = [
        "# Backtest: does the health score foretell who leaves?",
        "",
        f"Made by `{command}`: events are simulated, loaded and run in a warehouse of their own, "
        "and the scores are judged by the simulator's truth about who left when. In that company "
        "weak advisors leave more often, and who is about to leave slackens over four weeks; the "
        "score knows neither. It is one made-up company, not yours.",
        "",
        *(f"- {line}" for line in _facts(report)),
    ]
    for part in _tables(report):
        lines += ["", f"## {part.title}", "", "| " + " | ".join(part.head) + " |"]
        lines.append("|---|" + "---|" * (len(part.head) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in part.rows]
        lines += ["", part.note]
    return "\n".join([*lines, "", "## Verdict", "", *(f"- {line}" for line in report.verdict), ""])

"""What a person sees of a backtest: lines for a terminal, Markdown for the documentation.

Belongs here: words and tables of both backtests. What they found belongs to their modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.backtest import advisors, customers
from orchestration.backtest.statistics import RESAMPLES
from orchestration.text_table import table


@dataclass(frozen=True)
class Table:
    """A table with a title above it and a note below."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str


@dataclass(frozen=True)
class Page:
    """A report in words: question, what was done, facts, tables, verdict."""

    title: str
    about: str
    facts: Sequence[str]
    tables: Sequence[Table]
    verdict: Sequence[str]


def render(page: Page) -> list[str]:
    """Lay a page out for a terminal."""
    lines = list(page.facts)
    for part in page.tables:
        lines += ["", part.title, *table(part.rows, part.head), part.note]
    return [*lines, "", *page.verdict]


def markdown(page: Page, command: str, *, level: int = 1) -> str:
    """Write a page as Markdown under a heading of a level; ``command`` is what made it."""
    above = "#" * level
    lines = [
        f"{above} {page.title}",
        "",
        f"Made by `{command}`: {page.about}",
        "",
        *(f"- {line}" for line in page.facts),
    ]
    for part in page.tables:
        lines += ["", f"{above}# {part.title}", "", "| " + " | ".join(part.head) + " |"]
        lines.append("|---|" + "---|" * (len(part.head) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in part.rows]
        lines += ["", part.note]
    verdict = (f"- {line}" for line in page.verdict)
    return "\n".join([*lines, "", f"{above}# Verdict", "", *verdict, ""])


# -- numbers in words ------------------------------------------------------------------------------


def _range(pair: tuple[float, float] | None, scale: float = 1.0, places: int = 3) -> str:
    if pair is None:
        return "-"
    return f"{scale * pair[0]:.{places}f} .. {scale * pair[1]:.{places}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _auc(value: float | None) -> str:
    return "none: one outcome only" if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


# -- advisors --------------------------------------------------------------------------------------


def page_of_advisors(report: advisors.Report) -> Page:
    """Put a report about advisors into words."""
    return Page(
        title="Backtest: does the health score foretell who leaves?",
        about=(
            "events are simulated, loaded and run in a warehouse of their own, and the scores are "
            "judged by the simulator's truth about who left when. In that company weak advisors "
            "leave more often, and who is about to leave slackens over four weeks; the score knows "
            "neither. It is one made-up company, not yours."
        ),
        facts=_advisor_facts(report),
        tables=_advisor_tables(report),
        verdict=report.verdict,
    )


def _advisor_facts(report: advisors.Report) -> list[str]:
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


def _advisor_tables(report: advisors.Report) -> list[Table]:
    ranking = [
        (
            advisors.WORDS[signal.name],
            f"{signal.rows:,}",
            _auc(signal.auc),
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
        Table(
            "Ranking",
            ("", "advisor-dates", "AUC", "95 %", "score leads by", "95 %"),
            ranking,
            "AUC: the chance that who churns is ranked as riskier; 0.5 is a coin. Intervals by "
            f"{RESAMPLES:,} resamples of advisors.",
        ),
        Table(
            "Calibration",
            ("score", "category", "fitted on", "expected", "tested on", "churned", "observed",
             "95 %"),
            bands,
            "Expected: churn rate of one half of the advisors; observed: that of the other half, "
            "with its Wilson interval in %. Dates of one advisor are alike, so that these "
            "intervals are narrower than they should be.",
        ),
    ]  # fmt: skip


# -- customers -------------------------------------------------------------------------------------


def page_of_customers(report: customers.Report) -> Page:
    """Put a report about customers into words."""
    simulated = "seed" in report.made
    events = (
        "events are simulated; in that company people come most often while they are new, and "
        "leave without a sign, a third of them within weeks. It is one made-up company, not yours."
        if simulated
        else "these events are loaded as they are."
    )
    return Page(
        title="Backtest: does the churn risk foretell who stays away?",
        about=(
            "the models run in a warehouse of their own, as of each date with nothing later in "
            f"sight, and are judged by who then came; {events}"
        ),
        facts=_customer_facts(report),
        tables=_customer_tables(report),
        verdict=report.verdict,
    )


def _customer_facts(report: customers.Report) -> list[str]:
    made = report.made
    share = _percent(report.stayed_away / report.customer_dates if report.customer_dates else None)
    found = [
        f"{report.customer_dates:,} customer-dates of {report.customers:,} customers; "
        f"{report.stayed_away:,} of them ({share}) stayed away"
    ]
    if made:
        source = f"made-up events, seed {made['seed']}," if "seed" in made else "events"
        found.insert(0, f"{made['events']:,} {source} of {made['start']} .. {made['end']}")
        found.append(
            f"{made['dates']} dates, {made['first_date']} .. {made['last_date']}, "
            f"{customers.STEP} days apart: no contact in the {made['horizon']} days after?"
        )
        if made["unscored"]:
            found.append(f"{made['unscored']:,} customer-dates had opted out and are left out")
    return found


def _customer_tables(report: customers.Report) -> list[Table]:
    def ranked(signals: Sequence[customers.Signal], *, brier: bool) -> list[tuple[str, ...]]:
        return [
            (
                customers.WORDS[signal.name],
                _auc(signal.auc),
                _range(signal.interval),
                "" if signal.lead is None else f"{signal.lead:+.3f}",
                "" if signal.lead is None else _range(signal.lead_interval),
                *([_number(signal.brier)] if brier else []),
            )
            for signal in signals
        ]  # fmt: skip

    head = ("", "AUC", "95 %", "churn risk leads by", "95 %")
    found = [
        Table(
            "Ranking",
            (*head, "Brier score"),
            ranked(report.signals, brier=True),
            "AUC: the chance that who stays away is ranked as riskier; 0.5 is a coin. Intervals by "
            f"{RESAMPLES:,} resamples of customers. Brier score: mean squared error of the "
            f"probability, less is better; who foretells {_percent(_share(report))} for everyone "
            f"has {_number(report.base_brier) or '-'}. Rivals are fitted anew on each date, to all "
            "that was seen until then.",
        ),
        Table(
            "Calibration",
            ("churn risk", "customer-dates", "foretold", "stayed away", "observed", "95 %"),
            [
                (
                    f"{band.low:.1f}-{band.high:.1f}",
                    f"{band.customer_dates:,}",
                    _percent(band.foretold),
                    f"{band.stayed_away:,}",
                    _percent(band.observed),
                    _range(band.interval, 100, 1),
                )
                for band in report.bands
            ],
            "Foretold: mean risk of the band; observed: the share that stayed away, with its "
            "Wilson interval in %. Dates of one customer are alike, so that these intervals are "
            "narrower than they should be.",
        ),
    ]
    if report.leavers:
        found.insert(
            1,
            Table(
                "Ranking by who has left for good",
                head,
                ranked(report.leavers, brier=False),
                "The simulator knows who will never come again, which nobody can see.",
            ),
        )
    return found


def _share(report: customers.Report) -> float | None:
    return report.stayed_away / report.customer_dates if report.customer_dates else None

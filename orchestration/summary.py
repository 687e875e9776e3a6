"""What a person sees after a run: a few lines, and the figures on one screen.

Reads what readers read: only published marts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ingest.settings import Settings
from orchestration.console import table
from orchestration.published import open_published

if TYPE_CHECKING:
    from orchestration.runs import RunSummary

TICKS = "▁▂▃▄▅▆▇█"

DAYS = 7

#: How many days a sparkline shows.
HISTORY = 28


@dataclass(frozen=True)
class Figure:
    """One headline: what it is called, how it is computed over days, and which way is good."""

    label: str
    relation: str
    sql: str
    unit: str = "count"
    over: str = "sum"
    date_column: str = "metric_date"
    good: str = "up"


FIGURES = (
    Figure("active users a day", "metrics_daily_engagement", "max(daily_active_users)", over="avg"),
    Figure("new users", "metrics_daily_engagement", "max(new_users)"),
    Figure("sessions", "metrics_daily_sessions", "sum(sessions)"),
    Figure("orders created", "metrics_daily_fulfillment", "sum(orders_created)"),
    Figure("orders completed", "metrics_daily_fulfillment", "sum(orders_completed)"),
    Figure(
        "approval rate", "metrics_daily_fulfillment",
        "1.0 * sum(decisions_approved) / nullif(sum(decisions_approved + decisions_rejected), 0)",
        unit="rate", over="avg",
    ),
    Figure(
        "gross payments, USD", "metrics_daily_payments",
        "sum(case when currency = 'USD' then gross_amount_cents else 0 end)", unit="cents",
    ),
    Figure(
        "payment success", "metrics_daily_payments",
        "1.0 * sum(payments_succeeded) / nullif(sum(payments_attempted), 0)", unit="rate",
        over="avg",
    ),
    Figure(
        "calls answered", "metrics_daily_calls",
        "1.0 * sum(calls_answered) / nullif(sum(calls_attempted), 0)", unit="rate", over="avg",
    ),
    Figure("messages sent", "metrics_daily_messaging", "sum(messages_sent)"),
    Figure(
        "advisor health score", "advisor_health_scores", "avg(health_score)", unit="number",
        over="avg", date_column="as_of_date",
    ),
    Figure("alerts", "alerts", "count(*)", good="down"),
)  # fmt: skip


def sparkline(values: Sequence[float | None]) -> str:
    """Return one character a value; a blank where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(TICKS) - 1) or 1.0
    return "".join(" " if v is None else TICKS[round((v - low) / step)] for v in values)


def run_lines(summary: RunSummary) -> list[str]:
    """Say what a run did."""
    publication = summary.publication
    shown = (
        f"publication {publication.publication_id}, data through {publication.data_through}"
        if publication
        else "nothing published yet"
    )
    if summary.status == "nothing":
        text = "nothing is stale" if publication else "there are no events yet; ingest some first"
        return [f"nothing to run: {text}; {shown}" if publication else f"nothing to run: {text}"]
    if summary.status == "published":
        lines = [f"nothing was stale; published what was waiting: {shown}"]
        return [*lines, *_restated(summary)]
    assert summary.plan is not None
    window = summary.plan.window
    marts = {
        name.removeprefix("marts."): rows
        for name, rows in summary.rows.items()
        if name.startswith("marts.")
    }
    warned = [c for c in summary.checks if c.status != "passed" and not c.blocks]
    failed = [c for c in summary.checks if c.blocks]
    passed = len(summary.checks) - len(warned) - len(failed)
    lines = [
        f"{summary.status}: {summary.plan.days} dates, {window.start} .. {window.end}, "
        f"in {summary.seconds:.1f} s (run {summary.run_id})",
    ]
    cells = [f"{name} {rows:,}" for name, rows in sorted(marts.items())]
    width = max((len(cell) for cell in cells), default=0) + 2
    for at in range(0, len(cells), 3):
        lines.append("  " + "".join(cell.ljust(width) for cell in cells[at : at + 3]).rstrip())
    lines.append(f"checks: {passed} passed, {len(warned)} warned, {len(failed)} failed")
    for check in [*failed, *warned][:8]:
        word = "FAILED" if check.blocks else "warning"
        lines.append(f"  {word}  {check.relation}: {check.check}: {check.observed[:90]}")
    lines.append(shown if summary.status == "succeeded" else f"readers still see: {shown}")
    return [*lines, *_restated(summary)]


def _restated(summary: RunSummary) -> list[str]:
    if not summary.restated:
        return []
    return [f"{summary.restated}; 'tidemark restatements'"]


def summary_lines(settings: Settings) -> list[str]:
    """Say how the last days went, from what was published.

    Raises:
        UserError: nothing was published yet.

    """
    with open_published(settings) as warehouse:
        ((number, last, relations),) = warehouse.execute(
            "select publication_id, data_through, relations from ops.publications "
            "order by publication_id desc limit 1"
        )
        lines = [
            f"{last - timedelta(days=DAYS - 1)} .. {last}   beside the {DAYS} days before",
            "",
        ]
        lines += _figures(warehouse, last)
        lines += _advisors(warehouse, last)
        lines += _alerts(warehouse, last)
    lines += ["", f"publication {number}: {relations} relations, data through {last}"]
    lines += _where_next(settings)
    return lines


def _series(warehouse: Any, figure: Figure, last: date) -> dict[date, float]:
    since = last - timedelta(days=HISTORY - 1)
    column = figure.date_column
    rows = warehouse.execute(
        f"select {column}, cast({figure.sql} as double precision) "
        f'from marts."{figure.relation}" where {column} between ? and ? group by {column}',
        [since, last],
    )
    return {day: value for day, value in rows if value is not None}


def _total(figure: Figure, series: dict[date, float], last: date) -> float | None:
    days = [last - timedelta(days=n) for n in range(DAYS)]
    values = [series[day] for day in days if day in series]
    if figure.over == "sum":
        return sum(values) if series else None
    return sum(values) / len(values) if values else None


def _figures(warehouse: Any, last: date) -> list[str]:
    rows = []
    for figure in FIGURES:
        if not warehouse.relation_exists("marts", figure.relation):
            continue
        series = _series(warehouse, figure, last)
        now = _total(figure, series, last)
        if now is None:
            continue
        whole = min(series) <= last - timedelta(days=2 * DAYS - 1)
        before = _total(figure, series, last - timedelta(days=DAYS)) if whole else None
        days = [last - timedelta(days=n) for n in reversed(range(HISTORY))]
        gap = 0.0 if figure.over == "sum" else None
        spark = sparkline([series.get(day, gap) for day in days])
        rows.append([figure.label, _shown(figure, now), _change(figure, now, before), spark])
    return table(rows, ["", f"last {DAYS} days", "change", f"last {HISTORY} days"])


def _shown(figure: Figure, value: float) -> str:
    if figure.unit == "rate":
        return f"{100 * value:,.1f} %"
    if figure.unit == "cents":
        return f"{value / 100:,.0f}"
    if figure.unit == "number":
        return f"{value:,.1f}"
    return f"{value:,.0f}"


def _change(figure: Figure, now: float, before: float | None) -> str:
    if before is None:
        return ""
    if figure.unit == "rate":
        change, unit = 100 * (now - before), "pt"
    else:
        if not before:
            return ""
        change, unit = 100 * (now - before) / before, "%"
    if abs(change) < 0.05:
        return "="
    arrow = "▲" if change > 0 else "▼"
    better = (change > 0) == (figure.good == "up")
    return f"{arrow} {abs(change):.1f} {unit}{'' if better or abs(change) < 10 else '  look'}"


def _advisors(warehouse: Any, last: date) -> list[str]:
    if not warehouse.relation_exists("marts", "advisor_health_scores"):
        return []
    rows = warehouse.execute(
        "select category, count(*) from marts.advisor_health_scores where as_of_date = ? "
        "group by category",
        [last],
    )
    counts = dict(rows)
    if not counts:
        return []
    total = sum(counts.values())
    lines = ["", f"advisors by health ({total})"]
    for name in ("exceptional", "excellent", "good", "needs_attention", "critical"):
        number = counts.get(name, 0)
        bar = "█" * round(30 * number / total)
        lines.append(f"  {name.replace('_', ' '):<16} {number:>5,}  {bar}")
    return lines


def _alerts(warehouse: Any, last: date) -> list[str]:
    if not warehouse.relation_exists("marts", "alerts"):
        return []
    rows = warehouse.execute(
        "select severity, rule, count(*) from marts.alerts where metric_date = ? "
        "group by severity, rule order by count(*) desc, rule limit 5",
        [last],
    )
    if not rows:
        return ["", f"no alert on {last}"]
    return ["", f"alerts on {last}", *(f"  {s:<8} {rule} ({n})" for s, rule, n in rows)]


def _where_next(settings: Settings) -> list[str]:
    where = settings.published_path if settings.target == "duckdb" else "schema marts"
    return [
        "",
        f"look further   {where}",
        "               tidemark status          loads, checks, quarantine, what is stale",
        "               tidemark ui              lineage, runs and checks at http://127.0.0.1:3000",
        "               tidemark export metrics_daily_payments --out payments.csv",
    ]

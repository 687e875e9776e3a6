"""What a person sees after a run: a few lines, and the figures on one screen.

Reads what readers read: only published marts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ingest.settings import Settings
from orchestration.publication.opened import open_published
from orchestration.text_table import table

if TYPE_CHECKING:
    from orchestration.runs import RunSummary

TICKS = "▁▂▃▄▅▆▇█"

DAYS = 7

#: How many days a sparkline shows.
HISTORY = 28


@dataclass(frozen=True)
class Figure:
    """One headline: what it is called, what is added up, and which way is good.

    ``sql`` and ``per`` are aggregates of a day. Over days both are added up, then divided, so that
    a day counts by its numbers; without ``per`` the sum is shown.
    """

    label: str
    relation: str
    sql: str
    per: str | None = None
    unit: str = "count"
    date_column: str = "metric_date"
    good: str = "up"


FIGURES = (
    Figure("active users a day", "metrics_daily_engagement", "max(daily_active_users)", per="1"),
    Figure("new users", "metrics_daily_engagement", "max(new_users)"),
    Figure("sessions", "metrics_daily_sessions", "sum(sessions)"),
    Figure("orders created", "metrics_daily_fulfillment", "sum(orders_created)"),
    Figure("orders completed", "metrics_daily_fulfillment", "sum(orders_completed)"),
    Figure(
        "approval rate", "metrics_daily_fulfillment",
        "sum(decisions_approved)", per="sum(decisions_approved + decisions_rejected)", unit="rate",
    ),
    Figure(
        "gross payments, USD", "metrics_daily_payments",
        "sum(case when currency = 'USD' then gross_amount_cents else 0 end)", unit="cents",
    ),
    Figure(
        "payment success", "metrics_daily_payments",
        "sum(payments_succeeded)", per="sum(payments_attempted)", unit="rate",
    ),
    Figure(
        "calls answered", "metrics_daily_calls",
        "sum(calls_answered)", per="sum(calls_attempted)", unit="rate",
    ),
    Figure("messages sent", "metrics_daily_messaging", "sum(messages_sent)"),
    Figure(
        "advisor health score", "advisor_health_scores", "sum(health_score)", per="count(*)",
        unit="number", date_column="as_of_date",
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


#: What a day adds to a figure: to what is shown, and to what that is divided by.
Parts = tuple[float, float]


def _series(warehouse: Any, figure: Figure, last: date) -> dict[date, Parts]:
    since = last - timedelta(days=HISTORY - 1)
    column = figure.date_column
    rows = warehouse.execute(
        f"select {column}, cast({figure.sql} as double precision), "
        f"cast({figure.per or 1} as double precision) "
        f'from marts."{figure.relation}" where {column} between ? and ? group by {column}',
        [since, last],
    )
    return {day: (value, per) for day, value, per in rows if value is not None and per is not None}


def _over(figure: Figure, parts: Sequence[Parts]) -> float | None:
    """Return a figure over some days; None when there is nothing to divide by."""
    value, per = (sum(part[n] for part in parts) for n in range(2))
    if figure.per is None:
        return value
    return value / per if per else None


def _total(figure: Figure, series: Mapping[date, Parts], last: date) -> float | None:
    days = [last - timedelta(days=n) for n in range(DAYS)]
    return _over(figure, [series[day] for day in days if day in series]) if series else None


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
        spark = sparkline([_over(figure, [series[d]] if d in series else []) for d in days])
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
    # Which categories there are, and their order, is reference data: the scores tell it.
    counts = warehouse.execute(
        "select category, sum(case when as_of_date = ? then 1 else 0 end) "
        "from marts.advisor_health_scores where as_of_date between ? and ? "
        "group by category order by max(health_score) desc, category",
        [last, last - timedelta(days=HISTORY - 1), last],
    )
    total = sum(number for _, number in counts)
    if not total:
        return []
    lines = ["", f"advisors by health ({total})"]
    for name, number in counts:
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

"""Episodes of alerts, anomalies and the comparison of agents again, in plain Python.

Written from the definitions and not from the models: date by date, a state at a time. They are made
of rows of other tables, which the other oracles expect; which values are alerts stands in
``tests.oracle_agents``.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from tests.facts import Fact, Row, ratio
from tests.oracle_advisors import CLOSE, above, standing
from tests.oracle_agents import Rates, Rule, compared_to, raises

ALERT_GRAINS: dict[str, tuple[str, ...]] = {
    "alert_episode_days": ("metric_date", "rule", "subject_type", "subject_id"),
    "alert_episodes": ("rule", "subject_type", "subject_id", "opened_on"),
    "metric_anomalies": ("metric_date", "relation", "metric"),
    "agent_comparison": ("as_of_date", "agent_id"),
    "agent_grade_distribution": ("as_of_date", "grade"),
}

#: They go on from date to date and hold once nothing is stale.
ALERT_STATES = ("alert_episode_days", "alert_episodes", "metric_anomalies")

SEEDS = Path(__file__).parent.parent / "dbt_project" / "seeds"
DAY = timedelta(days=1)

#: Settings of dbt_project.yml.
RESOLVE_AFTER_DATES, COOL_DOWN_DATES = 2, 7
WEEKS, LEAST_VALUES, FARTHEST, LEAST_SHARE = 8, 4, 3.5, 0.05
SMALLEST_GROUP = 5


def seed(name: str, folder: Path = SEEDS) -> list[dict[str, str]]:
    """The lines of a seed, text by column."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@dataclass(frozen=True)
class Policy:
    """What makes an episode of the alerts of a rule; the defaults are those of a rule without one."""

    sample_metric: str | None = None
    minimum_sample: float = 0
    clear_threshold: float | None = None
    resolve_after_dates: int = RESOLVE_AFTER_DATES
    cool_down_dates: int = COOL_DOWN_DATES


def policies(folder: Path = SEEDS) -> dict[str, Policy]:
    """Rule -> its policy, of the seed ``alert_policies``."""
    read = {"sample_metric": str, "minimum_sample": float, "clear_threshold": float,
            "resolve_after_dates": int, "cool_down_dates": int}  # fmt: skip
    return {
        row["rule"]: Policy(**{name: as_(row[name]) for name, as_ in read.items() if row[name]})
        for row in seed("alert_policies", folder)
    }


# -- episodes --------------------------------------------------------------------------------------


def is_clear(rule: Rule, value: float, base: float | None, threshold: float) -> bool:
    """Whether a value is back over a threshold; on it is back."""
    if rule.comparison == "above":
        return not above(value, threshold)
    return not above(threshold * (1 if base is None else base), value)


def days_of(
    rule: Rule,
    policy: Policy,
    values: Mapping[date, float | None],
    samples: Mapping[date, float | None],
) -> list[Row]:
    """The dates of all episodes of one subject: what each is, and which episode it belongs to.

    Args:
        rule: the rule.
        policy: its policy.
        values: the metric of the subject by date, dates without a row left out.
        samples: likewise the sample metric; empty when the policy names none.

    """
    rows: list[Row] = []
    opened: date | None = None
    resolved: date | None = None
    good_dates = 0
    clear = rule.threshold if policy.clear_threshold is None else policy.clear_threshold
    for day in sorted(values):
        value, base = values[day], compared_to(rule, values, day)
        sample = samples.get(day)
        if value is None or (base is None and rule.comparison.startswith("below_share")):
            continue
        if sample is not None and sample < policy.minimum_sample:
            continue
        broken = raises(rule, values, day)
        good = not broken and is_clear(rule, value, base, clear)
        if broken and (opened is None or resolved is not None):
            if resolved is None or (day - resolved).days > policy.cool_down_dates:
                opened = day
            resolved, good_dates = None, 0
        if opened is None or resolved is not None:
            continue
        good_dates = good_dates + 1 if good else 0
        if good_dates == policy.resolve_after_dates:
            resolved = day
        rows.append(
            {
                "metric_date": day,
                "opened_on": opened,
                "value": value,
                "compared_to": base,
                "is_raised": broken,
                "is_good": good,
                "good_dates": good_dates,
                "is_resolved": resolved is not None,
                "clear_threshold": clear,
            }
        )
    return rows


def episode_days(
    marts: Mapping[str, Sequence[Row]],
    grains: Mapping[str, Sequence[str]],
    date_column: Callable[[str], str],
    rules: Iterable[Rule],
    known_policies: Mapping[str, Policy],
) -> list[Row]:
    """alert_episode_days, of the rows of the other tables."""
    rows = []
    for rule in rules:
        policy = known_policies.get(rule.rule, Policy())
        dated = date_column(rule.relation)
        names = [name for name in grains[rule.relation] if name != dated]
        values: dict[str, dict[date, float | None]] = defaultdict(dict)
        samples: dict[str, dict[date, float | None]] = defaultdict(dict)
        for row in marts[rule.relation]:
            subject = "|".join(str(row[name]) for name in names)
            values[subject][row[dated]] = row[rule.metric]
            if policy.sample_metric in row:
                samples[subject][row[dated]] = row[policy.sample_metric]
        said = {
            name: getattr(rule, name)
            for name in ("rule", "threshold", "severity", "message", "type", "relation", "metric",
                         "comparison")
        }  # fmt: skip
        rows += [
            {**said, "subject_type": "|".join(names) or "platform", "subject_id": subject, **day}
            for subject in values
            for day in days_of(rule, policy, values[subject], samples[subject])
        ]
    return rows


def episodes(days: Iterable[Row]) -> list[Row]:
    """alert_episodes, of their days."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for day in sorted(days, key=lambda row: row["metric_date"]):
        groups[tuple(day[name] for name in ALERT_GRAINS["alert_episodes"])].append(day)
    kept = (*ALERT_GRAINS["alert_episodes"], "threshold", "clear_threshold", "severity", "message",
            "type", "relation", "metric", "comparison")  # fmt: skip
    rows = []
    for group in groups.values():
        first, last = group[0], group[-1]
        raised = [day for day in group if day["is_raised"]]
        worst = max if last["comparison"] == "above" else min
        closed = last["is_resolved"]
        rows.append(
            {
                **{name: last[name] for name in kept},
                "last_raised_on": raised[-1]["metric_date"],
                "resolved_on": last["metric_date"] if closed else None,
                "status": "resolved" if closed else "open",
                "dates_raised": len(raised),
                "times_reopened": sum(day["is_resolved"] for day in group[:-1]),
                "first_value": first["value"],
                "worst_value": worst(day["value"] for day in raised),
                "last_value": last["value"],
                "last_date": last["metric_date"],
            }
        )
    return rows


# -- anomalies -------------------------------------------------------------------------------------


def number_of(rows: Sequence[Row], line: Mapping[str, str]) -> float | None:
    """One number of the rows of a date: a line of ``monitored_metrics`` says how."""
    known = [row for row in rows if row[line["metric"]] is not None]
    values = [row[line["metric"]] for row in known]
    if line["aggregate"] == "sum":
        return sum(values)
    if line["aggregate"] == "max":
        return max(values, default=None)
    weights = [row[line["weight"]] if line["weight"] else 1 for row in known]
    total = sum(value * weight for value, weight in zip(values, weights, strict=True))
    return ratio(total, sum(weights))


def anomalies_of(values: Mapping[date, float | None], least_spread: float) -> list[Row]:
    """The dates of one metric, each judged by those before it.

    Args:
        values: the metric by date.
        least_spread: the spread that it has at least.

    """
    rows: dict[date, Row] = {}
    for day in sorted(values):
        if (value := values[day]) is None:
            continue
        before = [rows.get(day - 7 * n * DAY) for n in range(1, WEEKS + 1)]
        past = [row["value"] for row in before if row and not row["is_anomaly"]]
        row: Row = {"metric_date": day, "value": value, "values_compared": len(past)}
        row |= dict.fromkeys(("expected", "spread", "lower_bound", "upper_bound", "deviation"))
        row["is_anomaly"] = False
        if len(past) >= LEAST_VALUES:
            expected = median(past)
            mad = median(abs(other - expected) for other in past)
            spread = max(1.4826 * mad, LEAST_SHARE * abs(expected), least_spread)
            row |= {
                "expected": expected,
                "spread": spread,
                "lower_bound": expected - FARTHEST * spread,
                "upper_bound": expected + FARTHEST * spread,
                "deviation": (value - expected) / spread,
                "is_anomaly": above(abs(value - expected) / spread, FARTHEST),
            }
        yesterday = rows.get(day - DAY)
        row["is_new"] = row["is_anomaly"] and not (yesterday and yesterday["is_anomaly"])
        rows[day] = row
    return list(rows.values())


def metric_anomalies(
    marts: Mapping[str, Sequence[Row]],
    date_column: Callable[[str], str],
    monitored: Iterable[Mapping[str, str]],
    dates: Sequence[date],
) -> list[Row]:
    """metric_anomalies, of the rows of the other tables, over every date of the calendar."""
    rows = []
    for line in monitored:
        by_date: dict[date, list[Row]] = defaultdict(list)
        for row in marts[line["relation"]]:
            by_date[row[date_column(line["relation"])]].append(row)
        values = {day: number_of(by_date[day], line) for day in dates}
        named = {name: line[name] for name in ("relation", "metric")}
        rows += [named | row for row in anomalies_of(values, float(line["least_spread"]))]
    return rows


# -- agents ----------------------------------------------------------------------------------------


def agent_comparison(
    facts: Sequence[Fact], performance: Sequence[Row], dates: Sequence[date], rates: Rates
) -> list[Row]:
    """agent_comparison, of the rows of agent_performance, of charges and of statuses."""
    rows = []
    for day in dates:
        measured = {row["agent_id"]: row for row in performance if row["as_of_date"] == day}
        known = (row["performance_score"] for row in measured.values())
        scores = [score for score in known if score is not None]
        charges: dict[str, int] = defaultdict(int)
        statuses: dict[str, str] = {}
        for fact in (fact for fact in facts if fact.day <= day):
            agent = fact.fields.get("agent_id")
            if fact.name == "agent_created":
                statuses[agent] = "created"
            elif fact.name == "agent_status_changed":
                statuses[agent] = fact.fields["status"]
            elif fact.name == "usage_billed" and fact.day > day - 30 * DAY:
                currency = fact.fields["currency"].upper()
                if currency == rates.reporting_currency:
                    charges[agent] += fact.fields["amount_cents"]
        for agent in measured.keys() | charges.keys():
            found = measured.get(agent, {})
            score = found.get("performance_score")
            earned, billed = found.get("total_revenue_cents", 0), charges.get(agent, 0)
            compared = score is not None and len(scores) >= SMALLEST_GROUP
            rows.append(
                {
                    "as_of_date": day,
                    "agent_id": agent,
                    "status": statuses.get(agent),
                    "performance_score": score,
                    "grade": found.get("grade"),
                    "rank": None
                    if score is None
                    else 1 + sum(other > score + CLOSE for other in scores),
                    "percentile": standing(score, scores) if compared else None,
                    "total_conversations": found.get("total_conversations", 0),
                    "conversions": found.get("conversions", 0),
                    "appointments_booked": found.get("appointments_booked", 0),
                    "appointment_completion_rate": found.get("appointment_completion_rate"),
                    "no_show_rate": found.get("no_show_rate"),
                    "revenue_cents": earned,
                    "billed_cents": billed,
                    "net_cents": earned - billed,
                    "revenue_per_billed": ratio(earned, billed) if found else None,
                }
            )
    return rows


def grade_distribution(performance: Iterable[Row]) -> list[Row]:
    """agent_grade_distribution, of the rows of agent_performance."""
    grades: dict[date, list[str]] = defaultdict(list)
    for row in performance:
        if row["grade"] is not None:
            grades[row["as_of_date"]].append(row["grade"])
    return [
        {"as_of_date": day, "grade": grade, "agents": found.count(grade),
         "share": found.count(grade) / len(found)}
        for day, found in grades.items()
        for grade in set(found)
    ]  # fmt: skip


def expected_alert_marts(
    marts: Mapping[str, Sequence[Row]],
    facts: Sequence[Fact],
    dates: Sequence[date],
    grains: Mapping[str, Sequence[str]],
    date_column: Callable[[str], str],
    rules: Iterable[Rule],
    seeds: Path = SEEDS,
) -> dict[str, list[Row]]:
    """What these tables hold after all dates were run.

    Args:
        marts: relation -> its rows, of all dates.
        facts: accepted events in order, none later than the last date.
        dates: every date from the earliest event date to the last date run.
        grains: relation -> the columns that name one of its rows.
        date_column: the column that says to which date a row of a relation belongs.
        rules: the rules of alerts.
        seeds: folder of alert_policies and monitored_metrics.

    """
    performance = marts["agent_performance"]
    made = {
        "agent_comparison": agent_comparison(facts, performance, dates, Rates()),
        "agent_grade_distribution": grade_distribution(performance),
    }
    everything = {**marts, **made}
    days = episode_days(everything, grains, date_column, rules, policies(seeds))
    monitored = seed("monitored_metrics", seeds)
    return made | {
        "alert_episode_days": days,
        "alert_episodes": episodes(days),
        "metric_anomalies": metric_anomalies(everything, date_column, monitored, dates),
    }

"""Why a number is what it is: a health score of an advisor, taken apart.

Belongs here: reading the published rows of one subject and laying them out. The arithmetic is that
of the models; here their columns are only added up, and what does not add up is shown.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import zip_longest
from typing import Any

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse
from orchestration.dbt_project import seed_rows
from orchestration.publication.opened import open_published, require

#: Fewer characters of an id would fit too many advisors.
SHORTEST_PREFIX = 6

#: The window of a score in days; an advisor who came later has a shorter one.
WHOLE_WINDOW = 30

#: How many opportunities are marked.
MARKED = 3

#: Sums of doubles that differ by less are equal.
TOLERANCE = 1e-6

#: How many lines, ids or spans of dates a message names.
NAMED = 3

COMPONENTS = (
    "content_creation_consistency",
    "delivery_performance",
    "client_engagement_effectiveness",
    "platform_utilization",
)

WIDTH, INDENT, LABEL, VALUE = 100, 3, 31, 34


@dataclass(frozen=True)
class SubMetric:
    """One row of advisor_health_submetrics, with its words.

    Shares, values and weights are 0..1, scores and points 0..100; ``opportunity`` is 1, 2 or 3 for
    the sub-metrics with the most points to gain.
    """

    sub_metric: str
    label: str
    value: float | None
    value_words: str
    numerator: float | None
    denominator: float | None
    threshold: float | None
    to_pass: str
    is_excellent: bool | None
    peer_percentile: float | None
    score: float | None
    weight: float
    contribution: float
    points_to_gain: float
    opportunity: int | None


@dataclass(frozen=True)
class Component:
    """One component of the score and its sub-metrics; the sums are theirs."""

    component: str
    score: float | None
    weight: float
    contribution: float
    points_to_gain: float
    sub_metrics: tuple[SubMetric, ...]


@dataclass(frozen=True)
class Part:
    """One line of the sum that gives the health score, in points."""

    what: str
    points: float


@dataclass(frozen=True)
class Explanation:
    """Everything that is published about one advisor's score of one date."""

    advisor_id_hash: str
    as_of_date: date
    tier: str
    health_score: int
    category: str
    period_days: int
    base_score: float
    components: tuple[Component, ...]
    parts: tuple[Part, ...]
    trend: str | None
    changes: Mapping[str, float | None]
    interventions: tuple[Mapping[str, Any], ...]

    def as_data(self) -> dict[str, Any]:
        """Return the same as nested dicts and lists; numbers unrounded."""
        return asdict(self)


def explain_advisor(settings: Settings, advisor: str, day: date | None = None) -> Explanation:
    """Take a published health score apart.

    ``advisor`` is an ``advisor_id_hash`` or its first characters; without ``day`` it is the newest
    date at which the advisor has a score.

    Raises:
        UserError: nothing is published, no such advisor or more than one, no score on the date.

    """
    catalogue = {row["sub_metric"]: row for row in seed_rows(settings, "advisor_sub_metrics")}
    with open_published(settings) as warehouse:
        require(
            warehouse, "advisor_health_scores", "advisor_health_submetrics",
            "advisor_health_trends", "advisor_interventions",
        )  # fmt: skip
        key = _advisor(warehouse, advisor)
        score = _score(warehouse, key, day)
        keys = [key, score["as_of_date"]]
        where = "where advisor_id_hash = ? and as_of_date = ?"
        rows = warehouse.records(f"select * from marts.advisor_health_submetrics {where}", keys)
        trends = warehouse.records(f"select * from marts.advisor_health_trends {where}", keys)
        interventions = warehouse.records(
            f'select "trigger", response, action, is_new from marts.advisor_interventions {where} '
            'order by "trigger"',
            keys,
        )
    components = _components(score, rows, catalogue)
    trend = trends[0] if trends else {}
    return Explanation(
        advisor_id_hash=key,
        as_of_date=score["as_of_date"],
        tier=score["tier"],
        health_score=int(score["health_score"]),
        category=score["category"],
        period_days=int(score["period_days"]),
        base_score=score["base_score"],
        components=components,
        parts=_parts(score, components),
        trend=trend.get("trend"),
        changes={days: trend.get(f"change_{days}") for days in ("7d", "30d", "90d")},
        interventions=tuple(interventions),
    )


# -- which advisor, which date -------------------------------------------------------------------


def _advisor(warehouse: Warehouse, text: str) -> str:
    found = [
        row[0]
        for row in warehouse.execute(
            "select distinct advisor_id_hash from marts.advisor_health_scores "
            "where substr(advisor_id_hash, 1, ?) = ? order by advisor_id_hash",
            [len(text), text],
        )
    ]
    if text in found:
        return text
    if len(text) < SHORTEST_PREFIX:
        raise UserError(f"{text!r} is too short; give at least {SHORTEST_PREFIX} characters of id")
    if not found:
        raise UserError(f"there is no advisor {text!r} with a published health score")
    if len(found) > 1:
        named = ", ".join(found[:NAMED]) + (", …" if len(found) > NAMED else "")
        raise UserError(f"{text!r} fits {len(found)} advisors ({named}); give more characters")
    return str(found[0])


def _score(warehouse: Warehouse, key: str, day: date | None) -> dict[str, Any]:
    dates = [
        row[0]
        for row in warehouse.execute(
            "select as_of_date from marts.advisor_health_scores where advisor_id_hash = ? "
            "order by as_of_date",
            [key],
        )
    ]
    if day is not None and day not in dates:
        raise UserError(f"advisor {key} has no score on {day}; there are scores of {spans(dates)}")
    (row,) = warehouse.records(
        "select * from marts.advisor_health_scores where advisor_id_hash = ? and as_of_date = ?",
        [key, day or dates[-1]],
    )
    return row


def spans(dates: Sequence[date]) -> str:
    """Name sorted dates as spans, the last few of them."""
    found: list[list[date]] = []
    for day in dates:
        if found and found[-1][1] + timedelta(days=1) == day:
            found[-1][1] = day
        else:
            found.append([day, day])
    words = [str(a) if a == b else f"{a} .. {b}" for a, b in found]
    return ("earlier dates, " if len(words) > NAMED else "") + ", ".join(words[-NAMED:])


# -- putting rows and words together -------------------------------------------------------------


def _components(
    score: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    catalogue: Mapping[str, Mapping[str, str]],
) -> tuple[Component, ...]:
    def position(row: Mapping[str, Any]) -> tuple[float, str]:
        known = catalogue.get(row["sub_metric"])
        return (float(known["position"]) if known else float("inf"), row["sub_metric"])

    ordered = sorted(rows, key=position)
    chances = sorted(
        (row for row in ordered if row["points_to_gain"] > TOLERANCE),
        key=lambda row: -row["points_to_gain"],
    )
    rank = {row["sub_metric"]: at for at, row in enumerate(chances[:MARKED], 1)}
    names = list(dict.fromkeys([row["component"] for row in ordered] + list(COMPONENTS)))
    made = []
    for name in names:
        parts = tuple(
            _sub_metric(row, catalogue.get(row["sub_metric"], {}), rank.get(row["sub_metric"]))
            for row in ordered
            if row["component"] == name
        )
        made.append(
            Component(
                component=name,
                score=score[name],
                weight=sum(part.weight for part in parts),
                contribution=sum(part.contribution for part in parts),
                points_to_gain=sum(part.points_to_gain for part in parts),
                sub_metrics=parts,
            )
        )
    return tuple(made)


def _sub_metric(
    row: Mapping[str, Any], known: Mapping[str, str], opportunity: int | None
) -> SubMetric:
    return SubMetric(
        sub_metric=row["sub_metric"],
        label=known.get("label") or row["sub_metric"].replace("_", " "),
        value=row["value"],
        value_words=value_words(row, known),
        numerator=row["numerator"],
        denominator=row["denominator"],
        threshold=row["threshold"],
        to_pass=to_pass(row["threshold"], known),
        is_excellent=row["is_excellent"],
        peer_percentile=row["peer_percentile"],
        score=row["score"],
        weight=row["weight"],
        contribution=row["contribution"],
        points_to_gain=row["points_to_gain"],
        opportunity=opportunity,
    )


def percent(share: float) -> str:
    """Write a share as a percentage with at most one decimal: 95 %, 41.2 %."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def value_words(row: Mapping[str, Any], known: Mapping[str, str]) -> str:
    """Write a value with the counts it comes from: 96.4 % (212 of 220 messages)."""
    if row["value"] is None:
        return "no value"
    above, below = _number(row["numerator"]), _number(row["denominator"])
    unit = known.get("unit", "")
    shape = known.get("shape")
    if shape == "inverted":
        counts = f"{above} {_words(known['numerator'])}, {below} {unit}"
    elif shape == "capped":
        counts = f"{above} {unit}, {below} are enough"
    else:
        counts = f"{above} of {below} {unit}".rstrip()
    return f"{percent(row['value'])} ({counts})"


def to_pass(threshold: float | None, known: Mapping[str, str]) -> str:
    """Say what a value has to pass to be excellent."""
    kind = known.get("threshold_kind")
    if kind == "above_platform_percentile":
        share = float(known["threshold"])
        name = "median" if share == 0.5 else f"{_number(100 * share)}th percentile"
        found = "which nobody has" if threshold is None else percent(threshold)
        return f"over the platform's {name}, {found}"
    if threshold is None:
        return "nothing to pass"
    return f"{'at least' if kind == 'at_least' else 'over'} {percent(threshold)}"


def _parts(score: Mapping[str, Any], components: Sequence[Component]) -> tuple[Part, ...]:
    """Return what adds up to the health score; what is 0 and not always there is left out."""
    points = sum(component.contribution for component in components)
    raw = score["base_score"] + score["trend_adjustment"] + score["tier_bonus"]
    held = min(100.0, max(0.0, raw))
    rounding = score["health_score"] - held
    parts = [
        Part("points of the sub-metrics (base score)", points),
        Part("trend adjustment (base score beside that of 7 days before)",
             score["trend_adjustment"]),
        Part(f"bonus of tier {score['tier']}", score["tier_bonus"]),
    ]  # fmt: skip
    optional = [
        Part("held within 0 .. 100", held - raw),
        Part("rounding to a whole number", rounding),
        Part("base score that the points do not explain", score["base_score"] - points),
    ]
    return (*parts, *(part for part in optional if abs(part.points) > TOLERANCE))


# -- for a person --------------------------------------------------------------------------------


class _Running:
    """Rounds numbers so that those printed add up to what their sum is rounded to."""

    def __init__(self) -> None:
        self.exact, self.printed = 0.0, Decimal(0)

    def round(self, value: float) -> Decimal:
        self.exact += value
        rounded = Decimal(repr(round(self.exact, 9))).quantize(Decimal("0.01"), ROUND_HALF_UP)
        step = rounded - self.printed
        self.printed = rounded
        return step


def render(found: Explanation) -> list[str]:
    """Lay an explanation out in lines of at most 100 columns; printed numbers add up exactly."""
    lines = [
        f"advisor {found.advisor_id_hash}   {found.as_of_date}",
        f"health score {found.health_score}, {_words(found.category)}   tier {found.tier}"
        + (f"   first {found.period_days} days" if found.period_days < WHOLE_WINDOW else ""),
        "",
        _row("", "value", "peers", "score", "weight", "points", "to gain"),
    ]
    points, gains = _Running(), _Running()
    for component in found.components:
        lines += _component_lines(component, points, gains)
    lines += ["", f"peers: percentile among peers; #1 to #{MARKED}: where most is to be gained"]
    lines += ["", *_sum_lines(found), "", *_trend_lines(found)]
    if found.interventions:
        lines.append("")
    for row in found.interventions:
        words = (
            f"{_words(row['trigger'])}{' (new on this date)' if row['is_new'] else ''}: "
            f"{_words(row['response'])}; {_words(row['action'])}"
        )
        lines += textwrap.wrap(words, WIDTH, subsequent_indent="    ")
    return lines


def _component_lines(component: Component, points: _Running, gains: _Running) -> list[str]:
    rows, total, gain = [], Decimal(0), Decimal(0)
    for part in component.sub_metrics:
        point, more = points.round(part.contribution), gains.round(part.points_to_gain)
        total, gain = total + point, gain + more
        mark = f"#{part.opportunity}" if part.opportunity else ""
        label, *labels = textwrap.wrap(part.label, LABEL - INDENT)
        value, *values = textwrap.wrap(part.value_words, VALUE)
        rows.append(
            _row(
                f"{mark:<{INDENT}}{label}",
                value,
                _decimal(part.peer_percentile, 0),
                _decimal(part.score, 1),
                percent(part.weight),
                str(point),
                str(more),
            )
        )
        words = "excellent:" if part.is_excellent else "has to be"
        rows += _beside(labels, " ".join([*values, words, part.to_pass]))
    head = _row(
        _words(component.component), "", "", _decimal(component.score, 1),
        percent(component.weight), str(total), str(gain),
    )  # fmt: skip
    return ["", head, *rows]


def _beside(labels: list[str], text: str) -> list[str]:
    """Continue the labels of a row on the left and its value on the right."""
    texts = textwrap.wrap(text, WIDTH - LABEL - 1)
    return [
        f"{' ' * INDENT + label:<{LABEL}} {words}".rstrip()
        for label, words in zip_longest(labels, texts, fillvalue="")
    ]


def _row(label: str, value: str, *numbers: str) -> str:
    widths = (5, 6, 8, 7, 8)
    cells = "".join(f"{text:>{width}}" for text, width in zip(numbers, widths, strict=True))
    return f"{label:<{LABEL}} {value:<{VALUE}}{cells}".rstrip()


def _decimal(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _sum_lines(found: Explanation) -> list[str]:
    running, lines = _Running(), []
    for part in found.parts:
        lines.append(f"{part.what:<{LABEL + VALUE + 1}}{running.round(part.points):>26}")
    lines.append(f"{'health score':<{LABEL + VALUE + 1}}{running.printed:>26}")
    return lines


def _trend_lines(found: Explanation) -> list[str]:
    if found.trend is None:
        return ["trend: unknown"]
    changes = [
        f"{days.removesuffix('d')} days " + ("unknown" if change is None else f"{change:+.1f}")
        for days, change in found.changes.items()
    ]
    return [f"trend: {found.trend}; mean score beside the time before: {', '.join(changes)}"]

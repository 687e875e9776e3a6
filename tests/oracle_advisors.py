"""The tables of advisors again, in plain Python: messages, days, health scores and their readers.

Written from the definitions and not from the models. Facts are grouped by advisor and date once,
because every score looks at thirty dates; apart from that a loop per sentence. What belongs to
every table (reading events, rates, percentiles) stands in ``tests.facts``.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.facts import Fact, Row, local, mean, quantile, ratio

#: Relation -> the columns that name one of its rows.
ADVISOR_GRAINS: dict[str, tuple[str, ...]] = {
    "metrics_hourly_delivery": ("metric_date", "hour"),
    "advisor_daily": ("metric_date", "advisor_id_hash"),
    "advisor_health_submetrics": ("as_of_date", "advisor_id_hash", "sub_metric"),
    "advisor_health_scores": ("as_of_date", "advisor_id_hash"),
    "advisor_health_trends": ("as_of_date", "advisor_id_hash"),
    "advisor_interventions": ("as_of_date", "advisor_id_hash", "trigger"),
    "weekly_advisor_insights": ("week_start", "advisor_id_hash"),
}

#: Component -> its weight, in the order of the definitions.
COMPONENTS = {
    "content_creation_consistency": 25,
    "delivery_performance": 30,
    "client_engagement_effectiveness": 30,
    "platform_utilization": 15,
}


@dataclass(frozen=True)
class SubMetric:
    """What a sub-metric weighs and what its value has to pass: a number, or a percentile."""

    component: str
    weight: int
    threshold: float | None = None
    percentile: float | None = None
    reaching_is_enough: bool = False


SUB_METRICS = {
    "daily_content_creation_rate": SubMetric("content_creation_consistency", 40, 0.90),
    "approval_success_rate": SubMetric("content_creation_consistency", 35, 0.95),
    "content_variety_score": SubMetric("content_creation_consistency", 25, 0.70),
    "delivery_success_rate": SubMetric("delivery_performance", 50, 0.98),
    "delivery_timing_consistency": SubMetric("delivery_performance", 30, 0.95),
    "template_health_maintenance": SubMetric("delivery_performance", 20, 0.98),
    "read_rate_performance": SubMetric("client_engagement_effectiveness", 40, percentile=0.75),
    "response_generation_rate": SubMetric("client_engagement_effectiveness", 35, percentile=0.75),
    "content_sharing_rate": SubMetric("client_engagement_effectiveness", 25, percentile=0.5),
    "feature_adoption_score": SubMetric("platform_utilization", 40, 0.60),
    "dashboard_engagement": SubMetric("platform_utilization", 30, 1.0, reaching_is_enough=True),
    "support_interaction_health": SubMetric("platform_utilization", 30, 0.95),
}

TIER_BONUS = {"basic": 0.0, "standard": 5.0, "pro": 10.0}
CATEGORIES = (("exceptional", 90), ("excellent", 80), ("good", 70), ("needs_attention", 50))
TRIGGERS = {
    "health_score_below_50": (
        "immediate_advisor_outreach_required", "personalized_success_coaching_session",
    ),
    "declining_trend_3_weeks": (
        "proactive_support_engagement", "identify_blockers_and_optimization_opportunities",
    ),
    "exceptional_performance": (
        "success_story_documentation", "peer_mentorship_program_invitation",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """The settings of the scores and the features that count."""

    features: frozenset[str]
    peer_weight: float = 0.5
    min_peer_group_size: int = 5
    on_time_tolerance: timedelta = timedelta(seconds=300)


@cache
def platform_features() -> frozenset[str]:
    """The features of the seed."""
    seeds = Path(__file__).parent.parent / "dbt_project" / "seeds"
    with (seeds / "platform_features.csv").open(encoding="utf-8", newline="") as lines:
        return frozenset(row["feature"] for row in csv.DictReader(lines))


# -- comparing computed doubles --------------------------------------------------------------------

CLOSE = 1e-9


def above(left: float, right: float) -> bool:
    """Whether a computed double is larger than another."""
    return left > right + CLOSE


def at_least(left: float, right: float) -> bool:
    """Whether a computed double is not smaller than another."""
    return left >= right - CLOSE


def standing(own: float, peers: Sequence[float]) -> float:
    """Percentile 0..100 among peers, oneself included: those below and half of the equal ones."""
    below = sum(1 for value in peers if above(own, value))
    equal = sum(1 for value in peers if abs(own - value) <= CLOSE)
    return 100 * (below + equal / 2) / len(peers)


def first_of(names: Iterable[tuple[str, float]], *, largest: bool) -> str | None:
    """The name of the largest (smallest) number; ties go to the name that sorts first."""
    signed = [(name, value if largest else -value) for name, value in names]
    if not signed:
        return None
    best = max(value for _, value in signed)
    return min(name for name, value in signed if at_least(value, best))


def held_within(low: float, value: float, high: float) -> float:
    """A number, or the border that it passed."""
    return min(high, max(low, value))


# -- what happened ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """A message with the first event of each kind."""

    advisor: str
    content: str
    sent: Fact
    delivered: Fact | None
    read: Fact | None
    failed: Fact | None

    def facts(self) -> dict[str, Fact]:
        """The first events that happened, by kind."""
        kinds = {"sent": self.sent, "delivered": self.delivered, "read": self.read,
                 "failed": self.failed}  # fmt: skip
        return {kind: fact for kind, fact in kinds.items() if fact is not None}


def messages_of(facts: Sequence[Fact]) -> list[Message]:
    """Messages of advisory events in order; a message is one whatsapp_message_id."""
    histories: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.p.get("whatsapp_message_id") is not None:
            histories[fact.p["whatsapp_message_id"]].append(fact)

    def status(fact: Fact) -> str | None:
        if fact.name == "whatsapp_message_read":
            return "read"
        return fact.fields["status"] if fact.name == "whatsapp_delivery_status" else None

    def first(history: list[Fact], *statuses: str) -> Fact | None:
        return next((fact for fact in history if status(fact) in statuses), None)

    return [
        Message(
            advisor=history[0].fields["advisor_id_hash"],
            content=history[0].entity,
            sent=history[0],
            delivered=first(history, "delivered", "read"),
            read=first(history, "read"),
            failed=first(history, "failed"),
        )
        for history in histories.values()
    ]


class Desk:
    """Advisory events up to a date, by advisor and date, and the messages in them."""

    def __init__(self, facts: Iterable[Fact], timezone: str):
        self.facts = [fact for fact in facts if fact.domain == "advisory"]
        self.timezone = timezone
        self.messages = messages_of(self.facts)
        self.days: dict[str, dict[date, list[Fact]]] = defaultdict(lambda: defaultdict(list))
        for fact in self.facts:
            self.days[fact.fields["advisor_id_hash"]][fact.day].append(fact)
        self.messages_by_advisor: dict[str, list[Message]] = defaultdict(list)
        self.content_sent: dict[str, Fact] = {}
        for message in self.messages:
            self.messages_by_advisor[message.advisor].append(message)
            known = self.content_sent.get(message.content)
            if known is None or message.sent.order < known.order:
                self.content_sent[message.content] = message.sent

    def within(self, advisor: str, first: date, last: date) -> list[Fact]:
        """The events of an advisor from a date to a date, in order."""
        days = self.days[advisor]
        return [
            fact
            for n in range((last - first).days + 1)
            for fact in days.get(first + timedelta(days=n), ())
        ]

    def scored(self, day: date) -> list[str]:
        """Advisors with an event in the thirty dates that end on a date."""
        first = day - timedelta(days=29)
        return sorted(
            advisor
            for advisor, days in self.days.items()
            if any(first <= active <= day for active in days)
        )

    def tier(self, advisor: str, day: date) -> str:
        """The tier of the latest created content that says one, up to a date."""
        for active in sorted(self.days[advisor], reverse=True):
            if active > day:
                continue
            for fact in reversed(self.days[advisor][active]):
                if fact.name == "content_created" and fact.p.get("advisor_tier") is not None:
                    return str(fact.p["advisor_tier"])
        return "basic"


def named(facts: Iterable[Fact], name: str) -> list[Fact]:
    """The events of a name."""
    return [fact for fact in facts if fact.name == name]


def latest(facts: Iterable[Fact]) -> dict[Any, Fact]:
    """What an event is about -> the latest of events in order."""
    return {fact.entity: fact for fact in facts}


def rated_sends(facts: Iterable[Fact]) -> list[Fact]:
    """Sends that say how good the number was rated before."""
    return [
        fact
        for fact in named(facts, "whatsapp_message_sent")
        if fact.p.get("quality_rating_before") is not None
    ]


def forwarded(facts: Iterable[Fact]) -> set[str]:
    """Messages that were forwarded."""
    return {fact.p["original_whatsapp_message_id"] for fact in named(facts, "content_forwarded")}


# -- daily and hourly ------------------------------------------------------------------------------

MESSAGE_COUNTS = ("messages_sent", "messages_delivered", "messages_read", "messages_failed")


def hourly_delivery(desk: Desk) -> list[Row]:
    """metrics_hourly_delivery."""
    hours: dict[tuple[date, int], Row] = {}

    def hour(fact: Fact) -> Row:
        empty = {**dict.fromkeys(MESSAGE_COUNTS, 0), "content_created": 0, "advisors": set()}
        return hours.setdefault((fact.day, fact.hour), empty)

    for fact in desk.facts:
        hour(fact)["advisors"].add(fact.fields["advisor_id_hash"])
        hour(fact)["content_created"] += fact.name == "content_created"
    for message in desk.messages:
        for kind, fact in message.facts().items():
            hour(fact)[f"messages_{kind}"] += 1
    return [
        {
            "metric_date": day,
            "hour": number,
            **{name: row[name] for name in MESSAGE_COUNTS},
            "delivery_success_rate": ratio(row["messages_delivered"], row["messages_sent"]),
            "content_created": row["content_created"],
            "active_advisors": len(row["advisors"]),
        }
        for (day, number), row in hours.items()
    ]


def daily(desk: Desk) -> list[Row]:
    """advisor_daily."""
    facts_of_messages: dict[tuple[date, str], dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(MESSAGE_COUNTS, 0)
    )
    for message in desk.messages:
        for kind, fact in message.facts().items():
            facts_of_messages[fact.day, message.advisor][f"messages_{kind}"] += 1
    active = {(day, advisor) for advisor, days in desk.days.items() for day in days}
    rows = []
    for day, advisor in active | facts_of_messages.keys():
        events = desk.within(advisor, day, day)
        created = named(events, "content_created")
        results = latest(named(events, "content_approval_result"))
        rated = rated_sends(events)
        rows.append(
            {
                "metric_date": day,
                "advisor_id_hash": advisor,
                "advisory_events": len(events),
                "contents_created": len(created),
                "content_types": len({fact.p["content_type"] for fact in created}),
                "contents_decided": len(results),
                "contents_approved": sum(
                    1 for fact in results.values() if fact.p["approval_status"] == "approved"
                ),
                **facts_of_messages[day, advisor],
                "responses": len(named(events, "client_response_received")),
                "messages_forwarded": len(forwarded(events)),
                "features_used": len({f.p["feature"] for f in named(events, "advisor_feature_used")}),
                "dashboard_views": len(named(events, "advisor_dashboard_viewed")),
                "tickets": len(named(events, "support_ticket_opened")),
                "last_quality_rating": rated[-1].p["quality_rating_before"] if rated else None,
            }
        )  # fmt: skip
    return rows


# -- the twelve sub-metrics of a date --------------------------------------------------------------


def counts(desk: Desk, advisor: str, day: date, recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Sub-metric -> numerator and denominator of an advisor, as known at the end of a date."""
    first = day - timedelta(days=29)
    events = desk.within(advisor, first, day)

    def happened(fact: Fact | None, since: date = date.min) -> bool:
        return fact is not None and since <= fact.day <= day

    messages = desk.messages_by_advisor[advisor]
    sent = [m for m in messages if happened(m.sent, first)]
    delivered = [m for m in messages if happened(m.delivered, first)]
    created = named(events, "content_created")
    results = latest(named(events, "content_approval_result"))
    schedules = latest(named(events, "content_scheduled"))
    ratings = {fact.day: fact.p["quality_rating_before"] for fact in rated_sends(events)}
    features = {fact.p["feature"] for fact in named(events, "advisor_feature_used")}
    week = desk.within(advisor, day - timedelta(days=6), day)

    due: dict[Any, datetime] = {
        content: fact.p["scheduled_delivery_time"]
        + timedelta(seconds=fact.p["jitter_offset_seconds"])
        for content, fact in schedules.items()
    }
    due = {c: at for c, at in due.items() if local(at, desk.timezone).date() <= day}

    def on_time(content: Any) -> bool:
        fact = desk.content_sent.get(content)
        return (
            fact is not None
            and happened(fact)
            and fact.at <= due[content] + recipe.on_time_tolerance
        )

    return {
        "daily_content_creation_rate": (
            len({fact.day for fact in created}),
            min(30, (day - min(desk.days[advisor])).days + 1),
        ),
        "approval_success_rate": (
            sum(1 for f in results.values() if f.p["approval_status"] == "approved"),
            len(results),
        ),
        "content_variety_score": (len({fact.p["content_type"] for fact in created}), 6),
        "delivery_success_rate": (sum(1 for m in sent if happened(m.delivered)), len(sent)),
        "delivery_timing_consistency": (sum(1 for c in due if on_time(c)), len(due)),
        "template_health_maintenance": (
            sum(1 for rating in ratings.values() if rating == "high"),
            len(ratings),
        ),
        "read_rate_performance": (sum(1 for m in delivered if happened(m.read)), len(delivered)),
        "response_generation_rate": (
            len(named(events, "client_response_received")),
            len(delivered),
        ),
        "content_sharing_rate": (len(forwarded(events)), len(delivered)),
        "feature_adoption_score": (len(features & recipe.features), len(recipe.features)),
        "dashboard_engagement": (len(named(week, "advisor_dashboard_viewed")), 7),
        "support_interaction_health": (
            len(named(events, "support_ticket_opened")),
            len(created),
        ),
    }


def value_of(sub_metric: str, numerator: int, denominator: int) -> float | None:
    """The value of a sub-metric from its counts."""
    share = ratio(numerator, denominator)
    if share is None:
        return None
    if sub_metric == "dashboard_engagement":
        return min(1.0, share)
    if sub_metric == "support_interaction_health":
        return max(0.0, 1 - share)
    return share


def peers_of(
    advisor: str, values: Mapping[str, float], tiers: Mapping[str, str], minimum: int
) -> list[float] | None:
    """The values an advisor is placed among: its tier's, else everyone's, else none."""
    of_tier = [value for peer, value in values.items() if tiers[peer] == tiers[advisor]]
    if len(of_tier) >= minimum:
        return of_tier
    return list(values.values()) if len(values) >= minimum else None


def weighted_mean(weights_and_scores: Sequence[tuple[float, float]]) -> float:
    """A mean by weights that need not add up to 1."""
    total = math.fsum(weight for weight, _ in weights_and_scores)
    return math.fsum(weight * score for weight, score in weights_and_scores) / total


@dataclass(frozen=True)
class Standing:
    """All advisors scored on a date: rows of sub-metrics, tiers, component and base scores."""

    rows: dict[tuple[str, str], Row]
    tiers: dict[str, str]
    components: dict[str, dict[str, float | None]]
    base: dict[str, float]


def standing_on(desk: Desk, day: date, recipe: Recipe) -> Standing:
    """Measure and score everyone who is scored on a date."""
    advisors = desk.scored(day)
    tiers = {advisor: desk.tier(advisor, day) for advisor in advisors}
    counted = {advisor: counts(desk, advisor, day, recipe) for advisor in advisors}
    rows: dict[tuple[str, str], Row] = {}
    for name, spec in SUB_METRICS.items():
        measured = {a: value_of(name, *counted[a][name]) for a in advisors}
        values = {a: value for a, value in measured.items() if value is not None}
        threshold = spec.threshold
        if spec.percentile is not None:
            threshold = quantile(list(values.values()), spec.percentile)
        for advisor in advisors:
            value = values.get(advisor)
            excellent = score = percentile = None
            if value is not None:
                assert threshold is not None
                passes = at_least if spec.reaching_is_enough else above
                excellent = passes(value, threshold)
                if excellent or abs(threshold) <= CLOSE:
                    score = 100.0
                else:
                    score = 100 * min(1.0, value / threshold)
                peers = peers_of(advisor, values, tiers, recipe.min_peer_group_size)
                if peers is not None:
                    percentile = standing(value, peers)
                    score = (1 - recipe.peer_weight) * score + recipe.peer_weight * percentile
            rows[advisor, name] = {
                "as_of_date": day,
                "advisor_id_hash": advisor,
                "sub_metric": name,
                "component": spec.component,
                "value": value,
                "peer_percentile": percentile,
                "is_excellent": excellent,
                "score": score,
                "numerator": counted[advisor][name][0],
                "denominator": counted[advisor][name][1],
                "threshold": threshold,
            }
    components: dict[str, dict[str, float | None]] = {}
    base = {}
    for advisor in advisors:
        present = {
            component: [
                (spec.weight, rows[advisor, name])
                for name, spec in SUB_METRICS.items()
                if spec.component == component and rows[advisor, name]["value"] is not None
            ]
            for component in COMPONENTS
        }
        components[advisor] = {
            component: weighted_mean([(weight, row["score"]) for weight, row in parts])
            if parts
            else None
            for component, parts in present.items()
        }
        base[advisor] = weighted_mean(
            [
                (COMPONENTS[component], score)
                for component, score in components[advisor].items()
                if score is not None
            ]
        )
        of_all = sum(COMPONENTS[component] for component, parts in present.items() if parts)
        for name, spec in SUB_METRICS.items():
            row, weight = rows[advisor, name], 0.0
            if row["value"] is not None:
                of_component = sum(weight for weight, _ in present[spec.component])
                weight = COMPONENTS[spec.component] / of_all * spec.weight / of_component
            row["weight"] = weight
            row["contribution"] = weight * (row["score"] or 0.0)
            row["points_to_gain"] = weight * (100 - row["score"]) if weight else 0.0
    return Standing(rows, tiers, components, base)


# -- scores, trends, interventions, weeks ----------------------------------------------------------


def health_score(points: float) -> int:
    """Rounded half up and held within 0..100."""
    return int(held_within(0, math.floor(points + 0.5 + CLOSE), 100))


def health_scores(desk: Desk, standings: Mapping[date, Standing]) -> list[Row]:
    """advisor_health_scores."""
    rows = []
    for day, now in standings.items():
        week_ago = standings.get(day - timedelta(days=7))
        for advisor, base in now.base.items():
            adjustment = 0.0
            if week_ago is not None and advisor in week_ago.base:
                adjustment = held_within(-5, base - week_ago.base[advisor], 5)
            bonus = TIER_BONUS[now.tiers[advisor]]
            score = health_score(base + adjustment + bonus)
            rows.append(
                {
                    "as_of_date": day,
                    "advisor_id_hash": advisor,
                    "tier": now.tiers[advisor],
                    "period_days": min(30, (day - min(desk.days[advisor])).days + 1),
                    **now.components[advisor],
                    "base_score": base,
                    "trend_adjustment": adjustment,
                    "tier_bonus": bonus,
                    "health_score": score,
                    "category": next((n for n, least in CATEGORIES if score >= least), "critical"),
                }
            )
    return rows


class Scores:
    """Health scores by advisor and date."""

    def __init__(self, rows: Iterable[Row]):
        self.of: dict[str, dict[date, int]] = defaultdict(dict)
        for row in rows:
            self.of[row["advisor_id_hash"]][row["as_of_date"]] = row["health_score"]

    def dates(self, advisor: str, last: date, days: int) -> list[int]:
        """The scores there are on so many calendar dates up to one."""
        of = self.of[advisor]
        wanted = (last - timedelta(days=n) for n in range(days))
        return [of[day] for day in wanted if day in of]

    def change(self, advisor: str, last: date, days: int) -> float | None:
        """The mean over so many dates minus that over as many before."""
        now = mean(self.dates(advisor, last, days))
        before = mean(self.dates(advisor, last - timedelta(days=days), days))
        return None if now is None or before is None else now - before

    def triggers(self, advisor: str, day: date) -> set[str]:
        """The triggers that hold on a date: none without a score."""
        score = self.of[advisor].get(day)
        if score is None:
            return set()
        held = set()
        if score < 50:
            held.add("health_score_below_50")
        if score >= 90:
            held.add("exceptional_performance")
        weeks = [mean(self.dates(advisor, day - timedelta(days=n), 7)) for n in (21, 14, 7, 0)]
        known = [week for week in weeks if week is not None]
        if len(known) == 4 and all(above(earlier, later) for earlier, later in pairwise(known)):
            held.add("declining_trend_3_weeks")
        return held


def trend_of(scores: Sequence[int], changes: Sequence[float]) -> str:
    """The word for the scores of a month and the changes that are known."""
    if max(scores) - min(scores) <= 5:
        return "stable"
    if changes and all(above(change, 0) for change in changes):
        return "improving"
    if changes and all(above(0, change) for change in changes):
        return "declining"
    return "volatile"


def health_trends(scores: Scores) -> list[Row]:
    """advisor_health_trends."""
    rows = []
    for advisor, days in scores.of.items():
        for day in days:
            changes = {f"change_{n}d": scores.change(advisor, day, n) for n in (7, 30, 90)}
            known = [change for change in changes.values() if change is not None]
            rows.append(
                {
                    "as_of_date": day,
                    "advisor_id_hash": advisor,
                    **changes,
                    "trend": trend_of(scores.dates(advisor, day, 30), known),
                }
            )
    return rows


def interventions(scores: Scores) -> list[Row]:
    """advisor_interventions."""
    return [
        {
            "as_of_date": day,
            "advisor_id_hash": advisor,
            "trigger": trigger,
            "response": TRIGGERS[trigger][0],
            "action": TRIGGERS[trigger][1],
            "health_score": score,
            "is_new": trigger not in scores.triggers(advisor, day - timedelta(days=1)),
        }
        for advisor, days in scores.of.items()
        for day, score in days.items()
        for trigger in scores.triggers(advisor, day)
    ]


def forecast(scores: Mapping[date, int], sunday: date) -> float | None:
    """The least-squares line through the last thirty scores, a week after a Sunday."""
    last = sorted(day for day in scores if day <= sunday)[-30:]
    if len(last) < 2:
        return None
    points = [((day - sunday).days, scores[day]) for day in last]
    x_mean = math.fsum(x for x, _ in points) / len(points)
    y_mean = math.fsum(y for _, y in points) / len(points)
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in points) / math.fsum(
        (x - x_mean) ** 2 for x, _ in points
    )
    return held_within(0, y_mean + slope * (7 - x_mean), 100)


def weekly_insights(
    desk: Desk, standings: Mapping[date, Standing], scores: Scores, recipe: Recipe
) -> list[Row]:
    """weekly_advisor_insights."""
    rows = []
    for sunday in (day for day in standings if day.isoweekday() == 7):
        means = {
            advisor: average
            for advisor in scores.of
            if (average := mean(scores.dates(advisor, sunday, 7))) is not None
        }
        tiers = {advisor: desk.tier(advisor, sunday) for advisor in means}
        for advisor, average in means.items():
            last = max(day for day in scores.of[advisor] if day <= sunday)
            then = standings[last]
            before = mean(scores.dates(advisor, sunday - timedelta(days=7), 7))
            peers = peers_of(advisor, means, tiers, recipe.min_peer_group_size)
            own = {n: s for n, s in then.components[advisor].items() if s is not None}
            gaps = []
            for name, spec in SUB_METRICS.items():
                value = then.rows[advisor, name]["value"]
                if value is None:
                    continue
                everyone = [then.rows[peer, name]["value"] for peer in then.base]
                p75 = quantile([v for v in everyone if v is not None], 0.75)
                assert p75 is not None
                gaps.append((name, (p75 - value) * COMPONENTS[spec.component] * spec.weight))
            below = []
            for component, score in own.items():
                of_all = [c[component] for c in then.components.values()]
                platform = mean([s for s in of_all if s is not None])
                if platform is not None and above(platform, score):
                    below.append(component)
            rows.append(
                {
                    "week_start": sunday - timedelta(days=6),
                    "advisor_id_hash": advisor,
                    "metric_date": sunday,
                    "mean_score": average,
                    "score_change": None if before is None else average - before,
                    "peer_percentile": None if peers is None else standing(average, peers),
                    "weakest_component": first_of(own.items(), largest=False),
                    "components_below_mean": ",".join(below),
                    "strongest_opportunity": first_of(gaps, largest=True),
                    "forecast_score_7d": forecast(scores.of[advisor], sunday),
                }
            )
    return rows


def expected_advisor_marts(
    facts: Iterable[Fact], dates: Sequence[date], timezone: str, recipe: Recipe
) -> dict[str, list[Row]]:
    """What the tables of advisors hold after all dates were run, rows in any order.

    Args:
        facts: accepted events in order, none later than the last date.
        dates: every date from the earliest event date to the last date run.
        timezone: the business time zone.
        recipe: settings and reference data of the scores.

    """
    desk = Desk(facts, timezone)
    standings = {day: standing_on(desk, day, recipe) for day in dates}
    rows = health_scores(desk, standings)
    scores = Scores(rows)
    return {
        "metrics_hourly_delivery": hourly_delivery(desk),
        "advisor_daily": daily(desk),
        "advisor_health_submetrics": [row for s in standings.values() for row in s.rows.values()],
        "advisor_health_scores": rows,
        "advisor_health_trends": health_trends(scores),
        "advisor_interventions": interventions(scores),
        "weekly_advisor_insights": weekly_insights(desk, standings, scores, recipe),
    }

"""The oracle of the advisors against numbers worked out by hand, one sentence of the definitions each.

Belongs here: small cases whose expected values stand in the test with how they come about, and
that the random worlds hold the cases they are drawn for. Models stand in test_marts_oracle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from tests.advisor_worlds import START, advisor_world, advisory_events
from tests.facts import Row, dates, read
from tests.oracle_advisors import (
    ADVISOR_GRAINS,
    CATEGORIES,
    COMPONENTS,
    SUB_METRICS,
    TIER_BONUS,
    TRIGGERS,
    Recipe,
    Scores,
    expected_advisor_marts,
    first_of,
    forecast,
    health_score,
    health_trends,
    interventions,
    platform_features,
)

FEATURES = frozenset(f"f{n}" for n in range(8))
SUB_METRIC_ROWS = "advisor_health_submetrics"
_made = iter(range(10**6))


def on(day: int) -> date:
    """The n-th date; the third one, 4 January 2026, is a Sunday."""
    return START + timedelta(days=day)


def event(name: str, day: int, clock: str = "12:00", by: str = "a", **fields: Any) -> Row:
    """An event at a time of day in UTC; later calls have larger ids."""
    envelope = {k: fields.pop(k) for k in ("entity_id", "status") if k in fields}
    return {
        "event_id": f"00000000-0000-0000-0000-{next(_made):012x}",
        "event_name": name,
        "occurred_at": f"{on(day)}T{clock}+00:00",
        "advisor_id_hash": by,
        **envelope,
        "properties": fields,
    }


def sent(message: str, day: int, clock: str = "12:00", by: str = "a", **fields: Any) -> Row:
    fields = {"entity_id": "c", **fields}
    return event("whatsapp_message_sent", day, clock, by, whatsapp_message_id=message, **fields)


def status(message: str, word: str, day: int, clock: str = "12:00", by: str = "a") -> Row:
    return event("whatsapp_delivery_status", day, clock, by, whatsapp_message_id=message,
                 status=word, entity_id="c")  # fmt: skip


def result(content: str, word: str, day: int, clock: str = "12:00", by: str = "a") -> Row:
    return event("content_approval_result", day, clock, by, entity_id=content, approval_status=word)


def created(content: str, day: int, by: str = "a", kind: str = "edu", **fields: Any) -> Row:
    return event("content_created", day, by=by, entity_id=content, content_type=kind, **fields)


def scheduled(content: str, day: int, due: str, by: str = "a", **fields: Any) -> Row:
    return event("content_scheduled", day, "06:00", by, entity_id=content,
                 scheduled_delivery_time=due, **fields)  # fmt: skip


def views(count: int, day: int, by: str = "a") -> list[Row]:
    return [event("advisor_dashboard_viewed", day, by=by) for _ in range(count)]


class Built:
    """The expected tables of some events; rows by their keys, dates as day numbers."""

    def __init__(
        self, events: Sequence[Row], through: int, timezone: str = "UTC", **recipe: Any
    ) -> None:
        facts = [fact for fact in read(events, timezone) if fact.day <= on(through)]
        days = dates(facts[0].day, on(through))
        marts = expected_advisor_marts(facts, days, timezone, Recipe(FEATURES, **recipe))
        self.keyed = {
            relation: {tuple(row[name] for name in grain): row for row in marts[relation]}
            for relation, grain in ADVISOR_GRAINS.items()
        }
        assert {n: len(rows) for n, rows in self.keyed.items()} == {
            n: len(rows) for n, rows in marts.items()
        }

    def row(self, relation: str, day: int, *rest: Any) -> Row:
        return self.keyed[relation][on(day), *rest]

    def part(self, sub_metric: str, day: int, by: str = "a") -> Row:
        return self.row("advisor_health_submetrics", day, by, sub_metric)

    def counts(self, sub_metric: str, day: int, by: str = "a") -> tuple[float, float]:
        row = self.part(sub_metric, day, by)
        return row["numerator"], row["denominator"]


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


# -- messages, hours, days -------------------------------------------------------------------------


def test_a_message_belongs_to_the_advisor_of_its_first_event_of_any_kind() -> None:
    """Read before it was sent, by b; a sends it and hears that it failed."""
    built = Built(
        [status("m", "read", 0, "23:59", by="b"), sent("m", 1), status("m", "delivered", 1),
         status("m", "failed", 2), status("m", "failed", 3)], 3,
    )  # fmt: skip
    daily = built.keyed["advisor_daily"]
    names = ("messages_sent", "messages_delivered", "messages_read", "messages_failed")
    found = {(k[0].day, k[1]): tuple(row[n] for n in names) for k, row in daily.items()}
    assert found == {
        (1, "b"): (1, 1, 1, 0),  # sent, delivered and read at once
        (2, "a"): (0, 0, 0, 0),  # two events, no first fact
        (3, "a"): (0, 0, 0, 0),
        (3, "b"): (0, 0, 0, 1),  # the failure is b's, who did nothing that day
        (4, "a"): (0, 0, 0, 0),  # the second failure is no first one
    }
    assert built.row("advisor_daily", 1, "a")["advisory_events"] == 2
    assert built.row("advisor_daily", 2, "b")["advisory_events"] == 0


def test_a_status_is_that_of_a_delivery_status_event() -> None:
    """A status in the envelope of a send, and a forward of the message, are no facts of it."""
    forward = event("content_forwarded", 0, entity_id="c", original_whatsapp_message_id="other")
    row = Built([sent("m", 0, status="failed"), forward], 0).row("advisor_daily", 0, "a")
    assert (row["messages_sent"], row["messages_delivered"], row["messages_failed"]) == (1, 0, 0)
    assert row["messages_forwarded"] == 1


def test_hours_are_those_of_the_clock_and_a_rate_can_pass_one() -> None:
    """On 1 November 2026 New York has 01:30 twice: 05:30 and 06:30 in UTC."""
    day = (date(2026, 11, 1) - START).days
    built = Built(
        [sent("m", day, "04:30"), sent("n", day, "05:30"), status("n", "delivered", day, "06:29"),
         status("m", "read", day, "06:30", by="b"), created("c", day)], day, "America/New_York",
    )  # fmt: skip
    row = built.row("metrics_hourly_delivery", day, 1)
    assert (row["messages_sent"], row["messages_delivered"], row["messages_read"]) == (1, 2, 1)
    assert row["delivery_success_rate"] == 2.0 and row["active_advisors"] == 2
    first = built.row("metrics_hourly_delivery", day, 0)
    assert (first["messages_sent"], first["delivery_success_rate"]) == (1, 0.0)
    noon = built.row("metrics_hourly_delivery", day, 7)
    assert noon["content_created"] == 1 and noon["delivery_success_rate"] is None
    assert len(built.keyed["metrics_hourly_delivery"]) == 3


def test_the_latest_of_a_date_counts_and_ties_go_by_id() -> None:
    events = [
        result("c1", "approved", 0, "09:00"), result("c1", "rejected", 0, "10:00"),
        result("c2", "requires_revision", 0, "09:00"), result("c2", "approved", 0, "10:00"),
        result("c3", "rejected", 0), result("c3", "approved", 0),  # the same instant
        result("c2", "rejected", 0, "11:00", by="b"),  # b's own decision
        result("c2", "rejected", 1),
        sent("m", 0, "09:00", quality_rating_before="high"),
        sent("n", 0, "10:00", quality_rating_before="low"), sent("o", 0, "11:00"),
        *(event("advisor_feature_used", 0, feature=f) for f in ("f1", "f1", "F1", "unheard_of")),
    ]  # fmt: skip
    row = Built(events, 1).row("advisor_daily", 0, "a")
    assert (row["contents_decided"], row["contents_approved"]) == (3, 2)
    assert (row["last_quality_rating"], row["features_used"]) == ("low", 3)
    assert Built(events, 1).row("advisor_daily", 1, "a")["last_quality_rating"] is None


# -- who is scored, and the counts behind the values -----------------------------------------------


def test_scored_is_who_has_an_event_in_thirty_dates() -> None:
    """Events on 0, 3 (two), 5 and 31; one of another domain does not keep anyone scored."""
    other = event("page_viewed", 70)
    events = [*views(1, 0), created("c", 3), created("d", 3, kind="mkt"), created("e", 5),
              *views(1, 31, by="a"), *views(1, 20, by="b"), other]  # fmt: skip
    built = Built(events, 75)
    days = {by: {k[0] for k in built.keyed["advisor_health_scores"] if k[1] == by} for by in "ab"}
    assert days == {"a": {on(n) for n in range(61)}, "b": {on(n) for n in range(20, 50)}}
    assert built.counts("daily_content_creation_rate", 5) == (2, 6)
    assert built.counts("daily_content_creation_rate", 32) == (2, 30)
    assert built.counts("daily_content_creation_rate", 33) == (1, 30)  # the third is out
    assert built.row("advisor_health_scores", 29, "a")["period_days"] == 30
    assert built.row("advisor_health_scores", 28, "a")["period_days"] == 29
    assert built.part("content_variety_score", 5)["value"] == near(2 / 6)


def test_what_is_known_at_the_end_of_the_date() -> None:
    """Approved on 1, rejected on 4; sent on 0, delivered on 2, read on 3; b approves too."""
    built = Built(
        [result("c", "approved", 1), result("c", "rejected", 4), result("c", "approved", 5, by="b"),
         sent("m", 0), status("m", "delivered", 2), status("m", "read", 3), *views(1, 20)], 34,
    )  # fmt: skip
    assert [built.counts("approval_success_rate", n) for n in (0, 1, 4, 5, 33, 34)] == [
        (0, 0), (1, 1), (0, 1), (0, 1), (0, 1), (0, 0),
    ]  # fmt: skip
    assert built.counts("approval_success_rate", 5, by="b") == (1, 1)
    assert [built.counts("delivery_success_rate", n) for n in (0, 1, 2, 29, 30)] == [
        (0, 1), (0, 1), (1, 1), (1, 1), (0, 0),
    ]  # fmt: skip
    assert [built.counts("read_rate_performance", n) for n in (1, 2, 3, 31, 32)] == [
        (0, 0), (0, 1), (1, 1), (1, 1), (0, 0),
    ]  # fmt: skip
    assert built.part("read_rate_performance", 1)["value"] is None


def test_on_time_is_the_first_send_by_anyone_within_five_minutes_of_the_latest_due_time() -> None:
    """Due at 10:00 and 60 s of jitter: 10:06:00.000 is on time, a millisecond later is not."""
    due = f"{on(2)}T10:00:00Z"
    events = [
        scheduled("c1", 0, due, jitter_offset_seconds=60),
        scheduled("c2", 0, due, jitter_offset_seconds=60),
        scheduled("c3", 0, f"{on(9)}T10:00:00Z"),
        scheduled("c4", 0, f"{on(-300)}T10:00:00Z"),  # due long ago
        sent("m1", 2, "10:06:00.000", by="b", entity_id="c1"),
        sent("m2", 2, "10:06:00.001", entity_id="c2"),
        sent("m3", 3, entity_id="c1"),
        scheduled("c1", 5, f"{on(7)}T10:00:00Z", by="b"),  # b's schedule is not a's
        scheduled("c2", 6, f"{on(20)}T10:00:00Z"),
    ]  # fmt: skip
    built = Built(events, 30)
    assert [built.counts("delivery_timing_consistency", n) for n in (1, 2, 6, 9, 20, 29, 30)] == [
        (0, 1),  # c4
        (1, 3),  # c1 on time, c2 late
        (1, 2),  # c2 is put off
        (1, 3),  # c3 is due and never sent
        (2, 4),  # c2 was sent long before it was due
        (2, 4),
        (1, 1),  # only c2 has a schedule in the window
    ]
    assert built.counts("delivery_timing_consistency", 7, by="b") == (1, 1)
    strict = Built(events, 2, on_time_tolerance=timedelta(seconds=299))
    assert strict.counts("delivery_timing_consistency", 2) == (0, 3)


def test_a_send_after_midnight_is_not_known_on_the_date_that_was_due() -> None:
    """Due at 23:58, sent at 00:02: late on the date, on time from the next one on."""
    built = Built([scheduled("c", 0, f"{on(0)}T23:58:00Z"), sent("m", 1, "00:02")], 1)
    assert built.counts("delivery_timing_consistency", 0) == (0, 1)
    assert built.counts("delivery_timing_consistency", 1) == (1, 1)


def test_a_due_time_has_its_date_where_the_business_is() -> None:
    """20:00 in UTC is half past one on the next day in Kolkata."""
    events = [scheduled("c", 0, f"{on(1)}T20:00:00Z"), sent("m", 1, "20:00", entity_id="d")]
    for timezone, first_due in (("UTC", 1), ("Asia/Kolkata", 2)):
        built = Built(events, 2, timezone)
        assert built.row("advisor_daily", first_due, "a")["messages_sent"] == 1
        assert built.row("advisor_daily", first_due, "a")["advisory_events"] == 1
        assert built.counts("delivery_timing_consistency", first_due) == (0, 1)
        assert built.counts("delivery_timing_consistency", first_due - 1) == (0, 0)


def test_a_content_is_sent_as_the_content_of_the_first_event_of_a_message() -> None:
    """m begins as c1; that a later event of it names c2 sends nothing of c2."""
    due = f"{on(0)}T10:00:00Z"
    events = [scheduled("c1", 0, due), scheduled("c2", 0, due, by="b"),
              sent("m", 0, "09:00", entity_id="c1"), sent("m", 0, "09:30", entity_id="c2")]  # fmt: skip
    built = Built(events, 0)
    assert built.counts("delivery_timing_consistency", 0, by="a") == (1, 1)
    assert built.counts("delivery_timing_consistency", 0, by="b") == (0, 1)


def test_engagement_and_support_counts() -> None:
    """Two deliveries, three responses, a message forwarded on two dates; tickets beside contents."""

    def forward(day: int) -> Row:
        return event("content_forwarded", day, entity_id="c", original_whatsapp_message_id="m")

    built = Built(
        [sent("m", 0), status("m", "delivered", 0), status("n", "read", 0), forward(0), forward(1),
         *(event("client_response_received", n, entity_id="c") for n in (0, 0, 1)),
         created("c", 0), created("c", 1),  # two events of one content
         *(event("support_ticket_opened", 1) for _ in range(5)),
         sent("m", 0, "18:00", quality_rating_before="high"),
         sent("m", 1, "08:00", quality_rating_before="low"),
         sent("m", 1, "09:00", quality_rating_before="high"), sent("m", 2),
         *(event("advisor_feature_used", 1, feature=f) for f in ("f1", "f2", "f2", "no"))], 2,
    )  # fmt: skip
    assert built.part("response_generation_rate", 1)["value"] == 1.5  # nothing caps it
    assert built.counts("content_sharing_rate", 1) == (1, 2)
    assert built.counts("support_interaction_health", 1) == (5, 2)
    assert built.part("support_interaction_health", 1)["value"] == 0.0  # 1 - 5 / 2, not below 0
    assert built.part("support_interaction_health", 0)["value"] == 1.0
    assert built.counts("template_health_maintenance", 2) == (2, 2)
    assert built.counts("feature_adoption_score", 2) == (2, 8)


# -- scores ----------------------------------------------------------------------------------------


def test_the_score_of_a_sub_metric_is_half_attainment_half_standing() -> None:
    """Views 0, 1, 3, 7, 8 of 7: values 0, 1/7, 3/7, 1, 1 and equal ones share their places."""
    events = [event("support_ticket_opened", 0, by="a"), *views(1, 0, "b"), *views(3, 0, "c"),
              *views(7, 0, "d"), *views(8, 0, "e")]  # fmt: skip
    built = Built(events, 7)
    rows = [built.part("dashboard_engagement", 0, by) for by in "abcde"]
    assert [row["peer_percentile"] for row in rows] == [near(n) for n in (10, 30, 50, 80, 80)]
    expected = (5, (100 / 7 + 30) / 2, (300 / 7 + 50) / 2, 90, 90)
    assert [row["score"] for row in rows] == [near(n) for n in expected]
    assert [row["is_excellent"] for row in rows] == [False, False, False, True, True]
    assert [row["numerator"] for row in rows] == [0, 1, 3, 7, 8]
    # A week later the views are out, though not yet out of the thirty dates.
    assert built.counts("dashboard_engagement", 6, "e") == (8, 7)
    assert built.counts("dashboard_engagement", 7, "e") == (0, 7)
    relative = Built(events, 0, peer_weight=1.0).part("dashboard_engagement", 0, "b")
    assert relative["score"] == near(30)
    alone = Built(events[:5], 0)  # a, b and c are too few to compare
    assert alone.part("dashboard_engagement", 0, "b")["peer_percentile"] is None
    assert alone.part("dashboard_engagement", 0, "b")["score"] == near(100 / 7)
    few = Built(events[:5], 0, min_peer_group_size=3).part("dashboard_engagement", 0, "b")
    assert few["peer_percentile"] == near(50)


def test_peers_are_of_the_tier_when_five_of_it_have_a_value() -> None:
    """Five of pro with 1..5 views, one of basic with 4: pro among five, basic among all six."""
    events = [
        row
        for n in range(1, 6)
        for row in [created(f"c{n}", 0, f"p{n}", advisor_tier="pro"), *views(n, 0, f"p{n}")]
    ]
    events += views(4, 0, "b")
    built = Built(events, 0)
    found = {by: built.part("dashboard_engagement", 0, by)["peer_percentile"] for by in ("p4", "b")}
    assert found == {"p4": near(100 * (3 + 1 / 2) / 5), "b": near(100 * (3 + 2 / 2) / 6)}
    # b created nothing: its support has no value, and five of pro are enough for one another.
    support = [built.part("support_interaction_health", 0, by) for by in ("p1", "b")]
    assert [row["peer_percentile"] for row in support] == [near(50), None]
    assert support[1]["value"] is None and support[1]["score"] is None
    assert support[1]["is_excellent"] is None and support[1]["denominator"] == 0
    # Four of pro are too few: all five advisors are peers, and the support of four has none.
    four = Built([e for e in events if e["advisor_id_hash"] != "p5"], 0)
    found = {n: four.part(n, 0, "p4")["peer_percentile"] for n in SUB_METRICS}
    assert found["dashboard_engagement"] == near(100 * (3 + 2 / 2) / 5)
    assert found["support_interaction_health"] is None


def test_the_bar_of_engagement_is_the_platform() -> None:
    """Read rates 0, 0.5, 1, 1: p75 is 1, so that nobody passes it and two attain all."""
    events = []
    for by, reads in (("a", 0), ("b", 1), ("c", 2), ("d", 2)):
        for n in range(2):
            events.append(status(f"{by}{n}", "delivered", 0, by=by))
            events += [status(f"{by}{n}", "read", 0, "13:00", by=by)] if n < reads else []
    built = Built([*events, *views(1, 0, "e")], 0)
    rows = [built.part("read_rate_performance", 0, by) for by in "abcde"]
    assert [row["threshold"] for row in rows] == [near(1)] * 5
    assert [row["score"] for row in rows] == [near(0), near(50), near(100), near(100), None]
    assert [row["is_excellent"] for row in rows] == [False, False, False, False, None]
    # Nobody answered: the bar is 0, which everyone attains and nobody passes.
    answers = built.part("response_generation_rate", 0, "a")
    assert (answers["threshold"], answers["score"], answers["is_excellent"]) == (0, 100, False)
    nothing = Built(views(1, 0), 0).part("read_rate_performance", 0)
    assert nothing["threshold"] is None and nothing["weight"] == 0


def test_weights_are_rescaled_to_what_has_a_value() -> None:
    """One view and nothing else: creation 0 of 1 and 0 of 6, features 0 of 8, dashboard 1 of 7."""
    built = Built(views(1, 0), 0)
    row = built.row("advisor_health_scores", 0, "a")
    utilization = (40 * 0 + 30 * 100 / 7) / 70
    assert row["content_creation_consistency"] == 0.0
    assert row["delivery_performance"] is None and row["client_engagement_effectiveness"] is None
    assert row["platform_utilization"] == near(utilization) == near(6.122448979591837)
    assert row["base_score"] == near((25 * 0 + 15 * utilization) / 40)
    assert (row["health_score"], row["category"], row["tier"]) == (2, "critical", "basic")
    weights = {name: built.part(name, 0)["weight"] for name in SUB_METRICS}
    assert weights["daily_content_creation_rate"] == near(25 / 40 * 40 / 65)
    assert weights["dashboard_engagement"] == near(15 / 40 * 30 / 70)
    assert weights["support_interaction_health"] == 0 and sum(weights.values()) == near(1)
    part = built.part("dashboard_engagement", 0)
    assert part["points_to_gain"] == near(15 / 40 * 30 / 70 * (100 - 100 / 7))
    assert part["contribution"] == near(row["base_score"])
    assert part["threshold"] == 1.0 and built.part("delivery_success_rate", 0)["threshold"] == 0.98


def test_the_trend_is_held_within_five_points() -> None:
    """Four of eight features on 7 lift the base from 2.30 to 20.15; their end on 37 takes it."""
    events = [*views(1, 0), *views(1, 7), *views(1, 37),
              *(event("advisor_feature_used", 7, feature=f"f{n}") for n in range(4))]  # fmt: skip
    built = Built(events, 37)
    rows = {n: built.row("advisor_health_scores", n, "a") for n in (0, 6, 7, 13, 14, 30, 37)}
    low = 15 * (30 * 100 / 7 / 70) / 40
    features = 40 * 100 * 0.5 / 0.6
    high = 15 * ((features + 30 * 100 / 7) / 70) / 40
    without_views = 15 * (features / 70) / 40
    assert [rows[n]["base_score"] for n in (0, 7, 14, 30, 37)] == [
        near(n) for n in (low, high, without_views, without_views, low)
    ]
    assert [rows[n]["trend_adjustment"] for n in (0, 6, 7, 13)] == [0, 0, 5, 5]
    assert rows[14]["trend_adjustment"] == near(without_views - high)  # -2.30
    assert rows[37]["trend_adjustment"] == -5
    assert [rows[n]["health_score"] for n in (0, 7, 14, 30, 37)] == [2, 25, 16, 18, 0]


def test_the_tier_is_the_latest_that_was_said_however_long_ago() -> None:
    events = [created("c", 0, advisor_tier="pro"), created("d", 1), *views(1, 35),
              created("e", 36, advisor_tier="standard"), created("x", 2, "b")]  # fmt: skip
    built = Built(events, 36)
    rows = [built.row("advisor_health_scores", n, "a") for n in (0, 1, 35, 36)]
    assert [row["tier"] for row in rows] == ["pro", "pro", "pro", "standard"]
    assert [row["tier_bonus"] for row in rows] == [10, 10, 10, 5]
    assert built.row("advisor_health_scores", 2, "b")["tier"] == "basic"


def test_the_health_score_is_rounded_half_up_and_held() -> None:
    points = (49.5, 49.4999, 49.5 - 5e-10, 0.49, -3.2, 104.0, 99.5)
    assert [health_score(n) for n in points] == [50, 49, 50, 0, 0, 100, 100]


# -- from scores alone -----------------------------------------------------------------------------


def scores(by_day: dict[int, int], advisor: str = "a") -> Scores:
    return Scores(
        {"as_of_date": on(day), "advisor_id_hash": advisor, "health_score": score}
        for day, score in by_day.items()
    )


def trends(by_day: dict[int, int]) -> dict[int, tuple[Any, ...]]:
    return {
        (row["as_of_date"] - START).days: (
            row["change_7d"], row["change_30d"], row["change_90d"], row["trend"],
        )
        for row in health_trends(scores(by_day))
    }  # fmt: skip


def test_changes_compare_calendar_dates_and_take_the_scores_there_are() -> None:
    """60 for a week, then 70: +10 after another week; on the 7th day 60 x 6 and 70 beside 60."""
    found = trends({n: 60 if n < 7 else 70 for n in range(14)})
    assert found[13] == (near(10), None, None, "improving")
    assert found[7] == (near(10 / 7), None, None, "improving")
    assert found[6] == (None, None, None, "stable")  # no spread
    # A score on 0 and one on 30: only the months can be compared.
    assert trends({0: 60, 30: 50})[30] == (None, near(-10), None, "stable")
    assert trends({0: 60, 90: 70})[90] == (None, None, near(10), "stable")
    assert trends({0: 60, 29: 30})[29] == (None, None, None, "volatile")  # nothing to compare


def test_the_word_for_a_trend() -> None:
    assert trends({0: 60, 7: 65})[7][3] == "stable"  # a spread of 5
    assert trends({0: 60, 7: 66})[7][3] == "improving"
    assert trends({0: 66, 7: 60})[7][3] == "declining"
    # A week up and a month down, and a change of nothing with a spread of 6.
    assert trends({0: 90, 30: 50, 37: 60})[37] == (near(10), near(-35), None, "volatile")
    assert trends({0: 60, 1: 66, 7: 60, 8: 66})[8][3] == "volatile"
    # The spread of the last 30 dates only.
    assert trends({0: 10, 30: 60})[30] == (None, near(50), None, "stable")


def held(by_day: dict[int, int]) -> dict[tuple[int, str], bool]:
    return {
        ((row["as_of_date"] - START).days, row["trigger"]): row["is_new"]
        for row in interventions(scores(by_day))
    }


def test_triggers_hold_at_their_borders_and_are_new_once() -> None:
    low, high = "health_score_below_50", "exceptional_performance"
    found = held({0: 49, 1: 49, 2: 50, 3: 48, 5: 48, 6: 89, 7: 90, 8: 95})
    assert found == {
        (0, low): True, (1, low): False, (3, low): True, (5, low): True,  # 4 has no score
        (7, high): True, (8, high): False,
    }  # fmt: skip
    (row,) = interventions(scores({0: 90}))
    assert row["response"] == "success_story_documentation" and row["health_score"] == 90
    assert row["action"] == "peer_mentorship_program_invitation"


def test_three_weeks_of_decline_need_four_falling_means() -> None:
    name = "declining_trend_3_weeks"
    falling = {0: 80, 7: 75, 14: 70, 21: 65}
    assert held(falling) == {(21, name): True}
    assert held(falling | {22: 65}) == {(21, name): True, (22, name): False}
    assert held(falling | {23: 65}) == {(21, name): True, (23, name): True}  # 22 has no score
    assert held({n: 80 - n for n in range(24)})[21, name] is True
    assert held({n: 80 - n for n in range(24)})[22, name] is False
    assert not held({0: 80, 7: 75, 14: 75, 21: 65})
    assert not held({7: 75, 14: 70, 21: 65})


def test_the_forecast_is_a_line_through_the_last_thirty_scores() -> None:
    def line(by_day: dict[int, int], sunday: int = 45) -> float | None:
        return forecast({on(day): score for day, score in by_day.items()}, on(sunday))

    assert line({39 + n: 50 + 2 * n for n in range(7)}) == near(50 + 2 * 13)
    assert line({45: 50}) is None and line({}) is None
    assert line({44: 90, 45: 95}) == 100 and line({44: 10, 45: 5}) == 0
    # Ten zeros before thirty scores of 80 are not looked at; what comes after Sunday neither.
    assert line({n: 0 if n < 10 else 80 for n in range(40)} | {46: 0}) == near(80)
    # Thirty scores, not thirty dates: 10 on 0 and 55 on 45 rise by 1 a day.
    assert line({0: 10, 45: 55}) == near(62)


# -- weeks -----------------------------------------------------------------------------------------


def test_weeks_are_written_on_sundays_for_who_has_a_score_in_them() -> None:
    """On the first Sunday seven views of a, a ticket of b and of c; nothing ever after."""
    events = [*views(7, 3), *(event("support_ticket_opened", 3, by=by) for by in "bc")]
    built = Built(events, 40)
    assert len(Built(events, 9).keyed["weekly_advisor_insights"]) == 3  # 9 is a Saturday
    weeks = built.keyed["weekly_advisor_insights"]
    assert {k[0] for k in weeks} == {on(-3 + 7 * n) for n in range(6)}  # scored from 3 to 32
    a, b = (weeks[on(-3), by] for by in "ab")
    assert a["metric_date"] == on(3) and a["peer_percentile"] is None
    # a: utilization 30 x 100 / 70 = 42.857, base 15 x 42.857 / 40 = 16.07, so 16; b: all is 0.
    assert (a["mean_score"], b["mean_score"]) == (16.0, 0.0)
    assert a["score_change"] is None
    assert (a["components_below_mean"], b["components_below_mean"]) == ("", "platform_utilization")
    # Both components of b are 0: the first by name. a's creation is 0.
    assert a["weakest_component"] == b["weakest_component"] == "content_creation_consistency"
    # Dashboard 1, 0 and 0 have p75 0.5 (and median 0): b could gain 0.5; for a the rest are gaps
    # of 0, by name.
    assert b["strongest_opportunity"] == "dashboard_engagement"
    assert a["strongest_opportunity"] == "content_variety_score"
    # The week after: views are in the last 7 dates until 9; on 10 the 16 is gone, and -5 is not
    # below 0. Six scores of 16, then 0.
    after = weeks[on(4), "a"]
    assert after["mean_score"] == near(96 / 7) and after["score_change"] == near(96 / 7 - 16)
    # The last week ends on 38; the last score was on 32, and that date speaks for the week.
    assert weeks[on(32), "a"]["forecast_score_7d"] == 0.0


def test_ties_go_to_the_first_name() -> None:
    assert first_of([("b", 1.0), ("a", 1.0 + 5e-10), ("c", 2.0)], largest=False) == "a"
    assert first_of([("b", 1.0), ("a", 1.0 - 5e-10), ("c", 0.5)], largest=True) == "a"
    assert first_of([], largest=True) is None


# -- the random worlds -----------------------------------------------------------------------------


def world(events: Sequence[Row], timezone: str = "Asia/Kolkata") -> dict[str, list[Row]]:
    facts = read(events, timezone)
    dates = [facts[0].day + timedelta(n) for n in range((facts[-1].day - facts[0].day).days + 1)]
    return expected_advisor_marts(facts, dates, timezone, Recipe(platform_features()))


def test_the_dense_worlds_hold_what_few_events_cannot() -> None:
    """Every trend, trigger, category, component and kind of peers, of twelve advisors."""
    marts = world(advisor_world(random.Random(1), advisors=12, days=50))
    scored = marts["advisor_health_scores"]
    assert {row["category"] for row in scored} == {*dict(CATEGORIES), "critical"}
    assert {row["tier"] for row in scored} == set(TIER_BONUS)
    assert {row["trend_adjustment"] for row in scored} >= {-5.0, 0.0, 5.0}
    assert any(row["delivery_performance"] is None for row in scored)
    words = Counter(row["trend"] for row in marts["advisor_health_trends"])
    assert words.keys() == {"stable", "improving", "declining", "volatile"}
    held = {(row["trigger"], row["is_new"]) for row in marts["advisor_interventions"]}
    assert held == {(trigger, new) for trigger in TRIGGERS for new in (True, False)}
    weeks = marts["weekly_advisor_insights"]
    assert {row["weakest_component"] for row in weeks} == set(COMPONENTS)
    assert any("," in row["components_below_mean"] for row in weeks)
    assert any(row["components_below_mean"] == "" for row in weeks)
    assert len({row["strongest_opportunity"] for row in weeks}) >= 5
    assert any(0 < row["forecast_score_7d"] < 100 for row in weeks)
    excellent = {(row["sub_metric"], row["is_excellent"]) for row in marts[SUB_METRIC_ROWS]}
    assert {(name, passed) for name in SUB_METRICS for passed in (True, False)} <= excellent


def test_the_tangled_worlds_hold_the_borders() -> None:
    """No peers and some; nobody with a value; silence longer than a window; every rating."""
    found: Counter[str] = Counter()
    for seed, (advisors, days) in enumerate([(1, 10), (2, 45), (6, 100), (14, 100)]):
        events = advisory_events(random.Random(seed), days=days, count=300, advisors=advisors)
        marts = world(events)
        for row in marts[SUB_METRIC_ROWS]:
            found["without a value"] += row["value"] is None
            found["without peers"] += row["value"] is not None and row["peer_percentile"] is None
            found["with peers"] += row["peer_percentile"] is not None
            found["capped"] += row["sub_metric"] == "dashboard_engagement" and row["numerator"] > 7
            found["more tickets than contents"] += (
                row["sub_metric"] == "support_interaction_health"
                and row["numerator"] > row["denominator"] > 0
            )
            found["on time"] += (
                row["sub_metric"] == "delivery_timing_consistency" and row["numerator"] > 0
            )
        for row in marts["advisor_daily"]:
            found["a fact without an event"] += row["advisory_events"] == 0
            found["decided otherwise"] += 0 < row["contents_approved"] < row["contents_decided"]
            found[f"rated {row['last_quality_rating']}"] += 1
        days_of: dict[str, set[date]] = {}
        for row in marts["advisor_health_scores"]:
            days_of.setdefault(row["advisor_id_hash"], set()).add(row["as_of_date"])
        found["silence"] += sum(len(d) < (max(d) - min(d)).days + 1 for d in days_of.values())
        rates = [row["delivery_success_rate"] for row in marts["metrics_hourly_delivery"]]
        found["rates that pass one"] += sum(rate is not None and rate > 1 for rate in rates)
        weeks = marts["weekly_advisor_insights"]
        found["no forecast"] += sum(row["forecast_score_7d"] is None for row in weeks)
    assert found.keys() >= {"rated high", "rated medium", "rated low", "rated None"}
    assert all(found.values()), found

"""The oracles of agents and of the marketplace against numbers worked out by hand.

Belongs here: small cases whose expected values stand in the test with how they come about, and
that the random worlds hold the cases they are drawn for. Models stand in test_marts_oracle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.advisor_worlds import START
from tests.agent_worlds import conversation_events, marketplace_events
from tests.facts import Row, dates, read
from tests.oracle_agents import (
    GRADES,
    Rates,
    Rule,
    alerts,
    codes,
    compared_to,
    expected_agent_marts,
    grade_of,
    raises,
)
from tests.oracle_market import UTM, expected_market_marts, referrer_host

_made = iter(range(10**6))


def on(day: int) -> date:
    """The n-th date."""
    return START + timedelta(days=day)


def event(name: str, day: int, clock: str = "12:00", **fields: Any) -> Row:
    """An event at a time of day in UTC; later calls have larger ids."""
    envelope = (
        "entity_id",
        "agent_id",
        "user_id",
        "anonymous_id",
        "channel",
        "currency",
        "context",
    )
    return {
        "event_id": f"00000000-0000-0000-0000-{next(_made):012x}",
        "event_name": name,
        "occurred_at": f"{on(day)}T{clock}+00:00",
        **{k: fields.pop(k) for k in envelope if k in fields},
        "properties": fields,
    }


def record(conversation: str, day: int, clock: str = "12:00", by: str = "a", **fields: Any) -> Row:
    """A record of a conversation that began that day at midnight."""
    fields = {"user_id": "u", "channel": "web", **fields}
    return event("conversation_recorded", day, clock, entity_id=conversation, agent_id=by,
                 **{"start_time": f"{on(day)}T00:00:00Z", **fields})  # fmt: skip


def appointment(word: str, day: int, by: str = "a") -> Row:
    return event(f"appointment_{word}", day, entity_id="ap", agent_id=by, user_id="u")


class Built:
    """The expected tables of some events; rows by their keys, dates as day numbers."""

    def __init__(self, events: Sequence[Row], through: int, timezone: str = "UTC", **rates: Any):
        facts = [fact for fact in read(events, timezone) if fact.day <= on(through)]
        days = dates(facts[0].day, on(through))
        self.marts = expected_agent_marts(facts, days, Rates(**rates))
        self.marts |= expected_market_marts(facts, days)

    def agents(self) -> dict[tuple[int, str], Row]:
        rows = self.marts["agent_performance"]
        return {((r["as_of_date"] - START).days, r["agent_id"]): r for r in rows}

    def rows(self, relation: str, *grain: str) -> dict[Any, Row]:
        """Rows of a dated relation by day number and the rest of the key."""
        dated = "date" if relation == "daily_metrics" else "metric_date"
        rows = self.marts[relation]
        found = {((r[dated] - START).days, *(r[name] for name in grain)): r for r in rows}
        assert len(found) == len(rows)
        return found

    def only(self, relation: str) -> Row:
        (row,) = self.marts[relation]
        return row


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def of(row: Row, *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


# -- conversations ---------------------------------------------------------------------------------


def test_a_conversation_is_its_latest_record() -> None:
    """Ties in time go to the larger id; nothing of the earlier record is left."""
    first = record("c", 0, by="a", customer_satisfaction_score=2, tags=["x"])
    second = record("c", 0, by="b", channel="voice", user_id="v",
                    end_time=f"{on(0)}T00:01:01.5Z", emotions=["joy", 1])  # fmt: skip
    for events in ([first, second], [second, first]):
        row = Built(events, 3).only("conversations")
        assert of(row, "conversation_id", "agent_id", "user_id", "channel") == (
            "c",
            "b",
            "v",
            "voice",
        )
        assert row["recorded_at"] == datetime(2026, 1, 1, 12)
        assert row["start_time"] == datetime(2026, 1, 1)
        assert of(row, "customer_satisfaction_score", "tags", "emotions") == (
            None,
            None,
            '["joy",1]',
        )
        assert of(row, "completed", "escalation_required") == (True, False)  # the defaults
        assert row["duration_seconds"] == 61.5


def test_a_conversation_without_an_end_or_a_user() -> None:
    row = Built([record("c", 0, context={"dnt": True})], 0).only("conversations")
    assert of(row, "duration_seconds", "end_time", "user_id") == (None, None, None)


# -- agents ----------------------------------------------------------------------------------------

GOOD: Row = {
    "customer_satisfaction_score": 5, "completed": True, "response_time_avg_ms": 35_000,
    "conversion_type": "purchase", "conversion_value_cents": 120_000,
}  # fmt: skip


def test_the_worked_example_of_grade_a() -> None:
    """Quality (100 + 100) / 2, conversion (100 + 100) / 2, efficiency (41.67 + 100) / 2."""
    row = Built([record("c", 0, **GOOD)], 0).agents()[0, "a"]
    efficiency = (100 * 25 / 60 + 100) / 2
    assert of(row, "quality_score", "conversion_score") == (100, 100)
    assert row["efficiency_score"] == near(efficiency) == near(70 + 5 / 6)
    assert row["performance_score"] == near(40 + 35 + efficiency / 4)
    assert row["grade"] == "A"
    assert row["strengths"] == "satisfaction,response_time,conversion,escalation"
    assert row["improvement_areas"] == ""


def test_the_worked_example_of_grade_b_plus() -> None:
    """Satisfaction 4: quality (80 + 100) / 2; more revenue than the target counts as the target."""
    changed = {**GOOD, "customer_satisfaction_score": 4, "conversion_value_cents": 250_000}
    row = Built([record("c", 0, **changed)], 0).agents()[0, "a"]
    assert of(row, "quality_score", "conversion_score") == (90, 100)
    assert row["performance_score"] == near(36 + 35 + (70 + 5 / 6) / 4)
    assert row["grade"] == "B+"
    assert row["strengths"] == "response_time,conversion,escalation"


def test_the_counts_and_averages_of_an_agent() -> None:
    """Two conversations and appointments; what is null is left out of averages."""
    built = Built(
        [record("c1", 0, conversion_type="lead", conversion_value_cents=300, completed=False,
                end_time=f"{on(0)}T00:00:30Z", response_time_avg_ms=90_000),
         record("c2", 1, conversion_value_cents=100, escalation_required=True,
                customer_satisfaction_score=3),
         record("c3", 1, conversion_type="purchase", conversion_value_cents=50, currency="EUR"),
         appointment("booked", 0), appointment("booked", 1), appointment("completed", 1),
         appointment("no_show", 1), appointment("no_show", 1), appointment("no_show", 1),
         appointment("cancelled", 1)], 1,
        revenue_target_cents_per_conversation=400,
    )  # fmt: skip
    row = built.agents()[1, "a"]
    assert of(row, "total_conversations", "conversions", "appointments_booked") == (3, 2, 2)
    assert row["total_revenue_cents"] == 400  # without the euros
    assert of(row, "average_duration_seconds", "average_response_time_ms") == (30, 90_000)
    assert of(row, "customer_satisfaction_avg", "average_order_value_cents") == (3, 200)
    assert of(row, "appointment_completion_rate", "no_show_rate") == (0.5, 1.5)
    rates = of(row, "completion_rate", "conversion_rate", "escalation_rate")
    assert rates == (near(2 / 3), near(2 / 3), near(1 / 3))
    assert row["quality_score"] == near((60 + 200 / 3) / 2)
    assert row["conversion_score"] == near((200 / 3 + 100 / 3) / 2)  # 133 1/3 of 400 cents
    assert row["efficiency_score"] == near((0 + 200 / 3) / 2)  # 90 s are not less than nothing
    assert row["performance_score"] == near(0.4 * (380 / 6) + 0.35 * 50 + 0.25 * 100 / 3)
    assert of(row, "strengths", "improvement_areas") == ("conversion", "satisfaction,escalation")
    # The day before knew of one conversation and one booking.
    assert of(built.agents()[0, "a"], "total_conversations", "no_show_rate") == (1, 0)


def test_null_parts_are_left_out_and_the_rest_rescaled() -> None:
    """No satisfaction and no response time: completion and escalation alone."""
    row = Built([record("c", 0, completed=False)], 0).agents()[0, "a"]
    assert of(row, "quality_score", "conversion_score", "efficiency_score") == (0, 0, 100)
    assert of(row, "performance_score", "grade") == (25, "D")
    # Appointments alone leave nothing to score; appointments that were never booked, no row.
    agents = Built([appointment("booked", 0), appointment("completed", 0, "b")], 0).agents()
    assert agents.keys() == {(0, "a")}
    scores = of(agents[0, "a"], "quality_score", "conversion_score", "efficiency_score")
    assert scores == (None, None, None)
    assert of(agents[0, "a"], "performance_score", "grade", "completion_rate") == (None, None, None)
    assert of(agents[0, "a"], "strengths", "improvement_areas") == ("", "")
    assert of(agents[0, "a"], "total_conversations", "total_revenue_cents") == (0, 0)


def test_the_window_of_an_agent_is_thirty_dates() -> None:
    agents = Built([record("c", 3), appointment("booked", 0)], 40).agents()
    assert {day for day, _ in agents} == set(range(33))
    assert of(agents[29, "a"], "total_conversations", "appointments_booked") == (1, 1)
    assert of(agents[30, "a"], "total_conversations", "appointments_booked") == (1, 0)
    assert agents[32, "a"]["appointment_completion_rate"] is None


def test_a_record_by_another_agent_takes_the_conversation_along() -> None:
    """Until the second record the conversation is a's; afterwards it is in b's window only."""
    agents = Built([record("c", 0, by="a"), record("c", 5, by="b")], 33).agents()
    assert {day for day, agent in agents if agent == "a"} == set(range(5))
    assert {day for day, agent in agents if agent == "b"} == set(range(5, 34))
    # A record two months later takes it out of the window of neither date before it.
    agents = Built([record("c", 0), record("c", 60)], 60).agents()
    assert {day for day, _ in agents} == {*range(30), 60}


def test_borders_of_grades_and_codes_hold_to_a_billionth() -> None:
    for grade, least in GRADES:
        assert grade_of(least - 5e-10) == grade
        assert grade_of(least - 2e-9) != grade
    assert (grade_of(100), grade_of(0), grade_of(None)) == ("A+", "D", None)
    every = "satisfaction,response_time,conversion,escalation"
    assert codes(4.5, 60_000, 0.5, 0.05) == (every, "")
    assert codes(4.5 - 2e-9, 60_001, 0.5 - 2e-9, 0.05 + 2e-9) == ("", "")
    assert codes(3.5, 120_000, 0.1, 0.2) == ("", "")
    assert codes(3.5 - 2e-9, 120_001, 0.1 - 2e-9, 0.2 + 2e-9) == ("", every)
    assert codes(4.5 - 5e-10, None, None, 0.2 + 5e-10) == ("satisfaction", "")
    assert codes(None, None, None, None) == ("", "")


# -- the platform ----------------------------------------------------------------------------------


def test_the_platform_takes_the_latest_record_of_each_date() -> None:
    """One conversation recorded thrice, in two channels on the second date."""
    built = Built(
        [record("c", 0, conversion_type="lead", conversion_value_cents=7),
         record("c", 1, "08:00", response_time_avg_ms=10),
         record("c", 1, "09:00", channel="voice", by="b", escalation_required=True),
         record("d", 1, channel="voice", by="b", response_time_avg_ms=5, conversion_value_cents=9,
                customer_satisfaction_score=4, conversion_type="lead"),
         record("e", 1, channel="voice", by="c", context={"dnt": True},
                conversion_value_cents=100, currency="EUR")], 2,
    )  # fmt: skip
    rows = built.rows("metrics_daily_platform", "channel")
    names = (
        "active_agents", "customers", "conversations", "revenue_cents", "conversion_rate",
        "response_time_ms_avg", "satisfaction_avg", "escalation_rate",
    )  # fmt: skip
    assert {key: of(row, *names) for key, row in rows.items()} == {
        (0, "web"): (1, 1, 1, 7, 1, None, None, 0),
        (1, "voice"): (2, 1, 3, 9, near(1 / 3), 5, 4, near(1 / 3)),
    }


# -- alerts ----------------------------------------------------------------------------------------


def rule(comparison: str, threshold: float, relation: str = "t", metric: str = "m") -> Rule:
    return Rule("r", "system", "high", relation, metric, comparison, threshold, "said")


@pytest.mark.parametrize(
    ("comparison", "threshold", "value", "held"),
    [
        ("above", 30, 30, False), ("above", 30, 30 + 5e-10, False), ("above", 30, 30 + 2e-9, True),
        ("below", 3, 3, False), ("below", 3, 3 - 5e-10, False), ("below", 3, 3 - 2e-9, True),
        ("below", 3, None, False), ("above", -1, None, False),
    ],
)  # fmt: skip
def test_thresholds(comparison: str, threshold: float, value: float | None, held: bool) -> None:
    assert raises(rule(comparison, threshold), {on(0): value}, on(0)) is held


def test_drops_against_the_date_before() -> None:
    """A drop of exactly 30 % is none; without a value on either date there is nothing to compare."""
    drop = rule("below_share_of_previous_date", 0.7)
    values = {on(0): 10, on(1): 7, on(2): 4.8, on(4): 0, on(5): None, on(6): 1, on(7): 0}
    assert [day for day in range(8) if raises(drop, values, on(day))] == [2, 7]


def test_drops_against_the_mean_of_seven_dates() -> None:
    drop = rule("below_share_of_mean_of_7_dates", 0.7)
    values: dict[date, float | None] = {on(day): 10 + day for day in range(7)}  # their mean is 13
    assert not raises(drop, values | {on(7): 9.1}, on(7))
    assert raises(drop, values | {on(7): 9.09}, on(7))
    # Nothing counts that is not there: neither the eighth date back, nor 0 for a missing one.
    assert not raises(drop, values | {on(-1): 1000, on(7): 9.1}, on(7))
    fewer = {day: value for day, value in values.items() if value != 10} | {on(3): None}
    assert compared_to(drop, fewer, on(7)) == near((11 + 12 + 14 + 15 + 16) / 5)
    assert raises(drop, {on(0): 10, on(7): 6}, on(7))
    assert not raises(drop, {on(0): 10, on(8): 6}, on(8))


def test_subjects_are_the_other_keys() -> None:
    """One rule on a relation with two more keys, one on a relation with none."""
    marts: dict[str, list[Row]] = {
        "t": [{"metric_date": on(n), "hour": n, "channel": "web", "m": n} for n in range(3)],
        "s": [{"as_of_date": on(9), "m": 2.5}],
    }
    grains = {"t": ("metric_date", "hour", "channel"), "s": ("as_of_date",)}
    rows = alerts(
        marts, grains, lambda name: grains[name][0], [rule("above", 1), rule("below", 3, "s")]
    )
    said = {"rule": "r", "severity": "high", "message": "said", "type": "system", "metric": "m",
            "compared_to": None}  # fmt: skip
    assert rows == [
        {"metric_date": on(2), "subject_type": "hour|channel", "subject_id": "2|web", "value": 2,
         "threshold": 1, "relation": "t", "comparison": "above", **said},
        {"metric_date": on(9), "subject_type": "platform", "subject_id": "", "value": 2.5,
         "threshold": 3, "relation": "s", "comparison": "below", **said},
    ]  # fmt: skip


# -- attribution -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://www.Example.com/a?b=c#d", "www.example.com"), ("http://a:80", "a"),
        ("http://User:Secret@HOST:8080/x", "host"), ("https://e.com?u=//o.com:1/@x", "e.com"),
        ("https://e.com#@x", "e.com"), ("android-app://com.mail/x", "com.mail"),
        ("https://a@b@c/", "c"), ("/only/a/path", None), ("https:///x", None), (None, None),
    ],
)  # fmt: skip
def test_the_host_of_a_referrer(referrer: str | None, host: str | None) -> None:
    assert referrer_host(referrer) == host


def test_which_events_have_an_attribution() -> None:
    """Any utm, a referrer or a user agent; a landing page alone is none, nor is `dnt`."""
    shown: list[Row] = [
        *({name: "x"} for name in UTM), {"referrer": "https://E.com:1/"}, {"user_agent": "curl/8.0"},
    ]  # fmt: skip
    hidden: list[Row] = [
        {}, {"landing_page": "/"}, {"page_url": "/"}, {"ip": "192.0.2.1"},
        {"utm_source": "x", "user_agent": "curl/8.0", "dnt": True},
    ]  # fmt: skip
    names = ("page_viewed", "call_answered", "conversation_recorded")
    events = [
        event(names[n % 3], 0, entity_id="e", agent_id="a", user_id="u", channel="web",
              start_time=f"{on(0)}T00:00:00Z", context=context)
        for n, context in enumerate([*shown, *hidden])
    ]  # fmt: skip
    found = {row["event_id"]: row for row in Built(events, 0).marts["attribution"]}
    assert list(found) == [e["event_id"] for e in events[: len(shown)]]
    *utms, referred, curl = found.values()
    assert [row[name] for row, name in zip(utms, UTM, strict=True)] == ["x"] * 5
    assert of(referred, "referrer", "referrer_host") == ("https://E.com:1/", "e.com")
    assert of(referred, "device_type", "utm_source", "landing_page") == (None, None, None)
    assert of(curl, "device_type", "browser", "os", "referrer_host") == ("bot", "curl", None, None)


# -- the marketplace -------------------------------------------------------------------------------


def market(name: str, day: int = 0, clock: str = "12:00", **fields: Any) -> Row:
    return event(name, day, clock, **fields)


COUNTS = (
    "views",
    "clicks",
    "conversions",
    "revenue_cents",
    "unique_visitors",
    "engagement_seconds",
)


def test_the_day_of_entities_and_of_the_platform() -> None:
    """One project with all refs, events without any, and a date on which nothing happened."""
    refs = {"project_id": "p", "ip_asset_id": "a", "license_id": "l"}
    built = Built(
        [market("asset_viewed", **refs, user_id="x", engagement_seconds=1.5),
         market("asset_viewed", **refs, anonymous_id="x", user_id=None),
         market("asset_downloaded", **refs, user_id="x", anonymous_id="y"),
         market("license_clicked", **refs),
         market("license_created", **refs, revenue_cents=100, user_id="seller"),
         market("license_renewed", **refs, revenue_cents=30, currency="USD"),
         market("license_renewed", **refs, revenue_cents=7, currency="EUR"),
         market("license_signed", **refs, revenue_cents=500, engagement_seconds=2),
         market("page_viewed", anonymous_id="z"),
         market("asset_approved", project_id="nothing to count"),
         market("asset_approved", project_id="q", engagement_seconds=0.25),
         event("payment_attempted", 0, user_id="w"), market("asset_viewed", 2, **refs)], 2,
    )  # fmt: skip
    rows = built.rows("daily_metrics", "scope", "project_id", "ip_asset_id", "license_id")
    unknown, everything = ("unknown",) * 3, ("all",) * 3
    assert {key: of(row, *COUNTS) for key, row in rows.items()} == {
        (0, "entity", "p", "a", "l"): (2, 2, 1, 130, 2, 3.5),
        (0, "entity", *unknown): (0, 0, 0, 0, 1, 0),
        (0, "entity", "q", "unknown", "unknown"): (0, 0, 0, 0, 0, 0.25),
        (0, "platform", *everything): (2, 2, 1, 130, 3, 3.75),
        (1, "platform", *everything): (0, 0, 0, 0, 0, 0),
        (2, "entity", "p", "a", "l"): (1, 0, 0, 0, 0, 0),
        (2, "platform", *everything): (1, 0, 0, 0, 0, 0),
    }


def test_creators() -> None:
    """Assets are counted up to the date, an asset of two creators once for each."""
    built = Built(
        [market("asset_uploaded", 0, creator_id="c", ip_asset_id="a1"),
         market("asset_uploaded", 0, creator_id="d", ip_asset_id="a1"),
         market("asset_uploaded", 1, creator_id="c", ip_asset_id="a1"),
         market("asset_uploaded", 1, "13:00", creator_id="c", ip_asset_id="a2"),
         market("asset_viewed", 1, "11:00", creator_id="c", ip_asset_id="never uploaded"),
         market("asset_uploaded", 1, creator_id="c"),
         market("royalty_calculated", 2, creator_id="c", royalty_cents=40),
         market("royalty_calculated", 2, creator_id="c", royalty_cents=2, currency="EUR"),
         market("royalty_paid", 2, creator_id="c", royalty_cents=900),
         market("license_created", 2, revenue_cents=6),
         market("royalty_calculated", 3, creator_id="c", royalty_cents=0),
         market("asset_uploaded", 4, creator_id="c", ip_asset_id="a3")], 4,
    )  # fmt: skip
    names = ("assets", "views", "clicks", "conversions", "revenue_cents", "royalty_cents")
    rows = built.rows("creator_performance", "creator_id")
    assert {key: of(row, *names) for key, row in rows.items()} == {
        (1, "c"): (2, 1, 0, 0, 0, 0),
        (2, "c"): (2, 0, 0, 0, 0, 40),
        (2, "unknown"): (0, 0, 0, 1, 6, 0),
    }


def test_campaigns() -> None:
    """The latest creation tells the budget; revenue adds up; no budget, or 0, has no roi."""
    built = Built(
        [market("project_created", 0, project_id="p", budget_cents=200),
         market("asset_viewed", 1, project_id="p"), market("asset_viewed", 1, project_id="p"),
         market("license_clicked", 1, project_id="p"),
         market("license_created", 2, project_id="p", revenue_cents=50),
         market("project_created", 2, "23:59", project_id="p", budget_cents=100),
         market("license_renewed", 3, project_id="p", revenue_cents=100),
         market("project_created", 4, project_id="p"),
         market("asset_downloaded", 4, project_id="p"),
         market("project_created", 5, project_id="p", budget_cents=0),
         market("asset_downloaded", 5, project_id="p"),
         market("asset_downloaded", 5)], 5,
    )  # fmt: skip
    names = (
        "impressions", "clicks", "conversions", "revenue_cents", "budget_cents",
        "click_through_rate", "conversion_rate", "cumulative_revenue_cents", "roi",
    )  # fmt: skip
    rows = built.rows("brand_campaign_performance", "project_id")
    assert {key: of(row, *names) for key, row in rows.items()} == {
        (1, "p"): (2, 1, 0, 0, 200, 0.5, 0, 0, -1),
        (2, "p"): (0, 0, 1, 50, 100, None, None, 50, -0.5),
        (3, "p"): (0, 0, 0, 100, 100, None, None, 150, 0.5),
        (4, "p"): (0, 1, 0, 0, None, None, 0, 150, None),
        (5, "p"): (0, 1, 0, 0, 0, None, 0, 150, None),
        (5, "unknown"): (0, 1, 0, 0, None, None, 0, 0, None),
    }


# -- what the random worlds hold -------------------------------------------------------------------


def test_random_worlds_hold_what_they_are_drawn_for() -> None:
    """Each case that the models could get wrong happens in a world of a few hundred events."""
    rng = random.Random(4)
    events = [
        *conversation_events(rng, days=100, count=400),
        *marketplace_events(rng, days=100, count=400),
    ]
    facts = read(events, "America/New_York")
    built = Built(events, 103, "America/New_York")
    agents = built.marts["agent_performance"]
    assert {row["grade"] for row in agents} >= {"B", "C", "D", None}
    assert any(row["appointments_booked"] and not row["total_conversations"] for row in agents)
    assert any(row["total_conversations"] and not row["appointments_booked"] for row in agents)
    assert any((row["no_show_rate"] or 0) > 1 for row in agents)
    said = Counter(c for row in agents for n in ("strengths", "improvement_areas")
                   for c in row[n].split(","))  # fmt: skip
    assert said.keys() >= {"satisfaction", "response_time", "conversion", "escalation"}

    histories: dict[str, list[Any]] = {}
    for fact in facts:
        if fact.name == "conversation_recorded":
            histories.setdefault(fact.entity, []).append(fact)
    pairs = [(a, b) for h in histories.values() for a, b in pairwise(h)]
    assert any(a.at == b.at and a.p != b.p for a, b in pairs)
    assert any(a.day == b.day and a.fields["channel"] != b.fields["channel"] for a, b in pairs)
    assert any(a.fields["agent_id"] != b.fields["agent_id"] for a, b in pairs)
    assert any((b.day - a.day).days >= 30 for a, b in pairs)

    budgets = [f.p.get("budget_cents") for f in facts if f.name == "project_created"]
    assert {None, 0} < set(budgets)
    campaigns = built.marts["brand_campaign_performance"]
    assert {row["roi"] is None for row in campaigns} == {True, False}
    assert any(row["project_id"] == "unknown" for row in campaigns)
    assert any(row["creator_id"] == "unknown" for row in built.marts["creator_performance"])
    daily = built.marts["daily_metrics"]
    assert any(row["unique_visitors"] > 1 for row in daily if row["scope"] == "entity")
    seen = built.marts["attribution"]
    assert {row["device_type"] for row in seen} == {
        None,
        "bot",
        "mobile",
        "tablet",
        "desktop",
        "other",
    }
    assert {"intranet", "127.0.0.1", "com.mail"} <= {row["referrer_host"] for row in seen}

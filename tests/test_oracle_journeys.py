"""The oracle of sessions, messaging, identity and funnels, by cases computed by hand."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pytest

from tests.facts import Fact, Row, read
from tests.oracle_journeys import Funnel, expected_journeys, person_id

DAY = date(2026, 3, 2)


def happened(name: str, at: str, **changes: Any) -> Row:
    """An event of 2 March 2026; ``at`` is a time of day, or day and time."""
    base = "2026-03-" if "T" in at else "2026-03-02T"
    fields = {k: v for k, v in changes.items() if k not in ("p", "context", "event_id")}
    return {
        "event_id": changes.get("event_id", str(uuid.uuid4())),
        "event_name": name,
        "occurred_at": f"{base}{at}Z",
        "channel": "web",
        "properties": changes.get("p", {}),
        "context": changes.get("context", {}),
        **fields,
    }


def tables(
    *events: Row, through: date = DAY, timezone: str = "UTC", funnels: Sequence[Funnel] = ()
) -> dict[str, list[Row]]:
    """What the oracle says after a run through a date."""
    facts: list[Fact] = [f for f in read(events, timezone) if f.day <= through]
    return expected_journeys(facts, through, funnels=funnels)


def only(rows: Sequence[Row], *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of rows, sorted."""
    return sorted(tuple(row[name] for name in columns) for row in rows)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-02T{text}")


# -- sessions --------------------------------------------------------------------------------------


def test_a_gap_of_thirty_minutes_belongs_to_the_session_and_a_longer_one_does_not() -> None:
    found = tables(
        happened("page_viewed", "10:00:00", user_id="u"),
        happened("cta_clicked", "10:30:00", user_id="u"),
        happened("asset_viewed", "11:00:00.001", user_id="u"),
    )["sessions"]
    assert only(found, "session_number", "event_count", "duration_seconds", "is_bounce") == [
        (1, 2, 1800.0, False),
        (2, 1, 0.0, True),
    ]
    assert only(found, "first_event_name", "last_event_name") == [
        ("asset_viewed", "asset_viewed"),
        ("page_viewed", "cta_clicked"),
    ]
    assert len({row["session_id"] for row in found}) == 2


def test_what_is_no_activity_or_not_for_sessions_neither_starts_nor_extends_one() -> None:
    found = tables(
        happened("page_viewed", "10:00:00", user_id="u"),
        happened("message_read", "10:20:00", user_id="u", entity_id="m"),
        happened("email_sent", "10:25:00", user_id="u"),
        happened("page_viewed", "10:40:00", user_id="u"),
        happened("page_viewed", "10:41:00"),
        happened("page_viewed", "10:42:00", user_id="v", context={"dnt": True}),
    )["sessions"]
    assert only(found, "session_start_at", "event_count") == [
        (at("10:00"), 1),
        (at("10:40"), 1),
    ]


def test_keys_and_channels_have_sessions_of_their_own() -> None:
    found = tables(
        happened("page_viewed", "10:00:00", user_id="x"),
        happened("page_viewed", "10:01:00", anonymous_id="x"),
        happened("page_viewed", "10:02:00", user_id="x", anonymous_id="y"),
        happened("page_viewed", "10:03:00", user_id="x", channel="app"),
    )
    columns = ("user_key_type", "user_key", "channel", "session_number", "event_count")
    assert only(found["sessions"], *columns) == [
        ("anonymous_id", "x", "web", 1, 1),
        ("user_id", "x", "app", 1, 1),
        ("user_id", "x", "web", 1, 2),
    ]
    assert only(found["metrics_daily_sessions"], "channel", "sessions", "users") == [
        ("app", 1, 1),
        ("web", 2, 2),
    ]


def test_a_session_across_midnight_belongs_to_its_start_in_the_business_zone() -> None:
    events = (
        happened("page_viewed", "03T04:50:00", user_id="u"),
        happened("page_viewed", "03T05:10:00", user_id="u"),
    )
    found = tables(*events, through=date(2026, 3, 3), timezone="America/New_York")
    assert only(found["sessions"], "session_date", "event_count") == [(DAY, 2)]
    # As known at the end of the last date run.
    found = tables(*events, timezone="America/New_York")
    assert only(found["sessions"], "session_date", "event_count") == [(DAY, 1)]


def test_the_origin_is_that_of_one_event_and_the_device_may_be_of_another() -> None:
    (row,) = tables(
        happened("page_viewed", "10:00:00", user_id="u"),
        happened("page_viewed", "10:01:00", user_id="u", context={"utm_term": "no origin"}),
        happened("page_viewed", "10:02:00", user_id="u", context={"referrer": "r"}),
        happened(
            "page_viewed", "10:03:00", user_id="u",
            context={"utm_source": "late", "user_agent": "curl/8"},
        ),
    )["sessions"]  # fmt: skip
    assert (row["referrer"], row["utm_source"], row["landing_page"]) == ("r", None, None)
    assert row["device_type"] == "bot"


@pytest.mark.parametrize(
    ("time", "who", "converted"),
    [
        ("09:59:59.999", "u", False),
        ("10:00:00", "u", True),
        ("10:05:00", "u", True),
        ("10:05:00.001", "u", False),
        ("10:03:00", "v", False),
    ],
)
def test_a_conversion_lies_between_both_ends_in_any_channel(
    time: str, who: str, converted: bool
) -> None:
    paid = happened(
        "payment_succeeded", time, user_id=who, channel="app", entity_id="p", provider="s",
        amount_cents=1, currency="USD",
    )  # fmt: skip
    found = tables(
        happened("page_viewed", "10:00:00", user_id="u"),
        happened("page_viewed", "10:05:00", user_id="u"),
        happened("page_viewed", "10:00:00", anonymous_id="u"),
        happened("page_viewed", "10:05:00", anonymous_id="u"),
        paid,
    )
    assert only(found["sessions"], "user_key_type", "has_conversion") == [
        ("anonymous_id", False),
        ("user_id", converted),
    ]
    (day,) = found["metrics_daily_sessions"]
    assert day["conversion_rate"] == (0.5 if converted else 0.0)


def test_days_of_sessions_are_means_over_sessions() -> None:
    (day,) = tables(
        happened("page_viewed", "10:00:00", user_id="u"),
        happened("page_viewed", "10:10:00", user_id="u"),
        happened("page_viewed", "10:20:00", user_id="u"),
        happened("page_viewed", "12:00:00", user_id="u"),
    )["metrics_daily_sessions"]
    assert day == {
        "metric_date": DAY, "channel": "web", "sessions": 2, "users": 1,
        "events_per_session_avg": 2.0, "duration_seconds_avg": 600.0, "duration_seconds_p50": 600.0,
        "bounce_rate": 0.5, "conversion_rate": 0.0, "events": 4, "bounced_sessions": 1,
        "converted_sessions": 0,
    }  # fmt: skip


# -- messaging -------------------------------------------------------------------------------------


def message(kind: str, time: str, chat: str = "c", **changes: Any) -> Row:
    properties = {"chat_id": chat, **changes.pop("p", {})}
    return happened(kind, time, user_id="u", entity_id="m", p=properties, **changes)


def test_the_first_message_of_a_wait_opens_it_and_one_answer_closes_it() -> None:
    found = tables(
        message("message_sent", "09:00:00"),
        message("message_received", "10:00:00"),
        message("message_received", "10:01:00", channel="app"),
        message("message_sent", "10:02:00", channel="app", agent_id="a"),
        message("message_sent", "10:03:00"),
        message("message_received", "10:04:00"),
        message("message_sent", "10:05:00", chat="other"),
        message("chat_resolved", "10:06:00"),
        message("message_sent", "10:07:00"),
        message("message_received", "10:08:00"),
    )
    columns = ("waiting_since", "response_seconds", "channel", "is_first_response")
    assert only(found["response_times"], *columns) == [
        (at("10:00"), 120.0, "app", True),
        (at("10:04"), 180.0, "web", False),
    ]
    assert {row["agent_id"] for row in found["response_times"]} == {"a", None}
    app, web = sorted(found["metrics_daily_messaging"], key=lambda row: row["channel"])
    assert (app["responses"], app["response_seconds_avg"]) == (1, 120.0)
    assert (app["first_response_seconds_avg"], app["first_response_seconds_p50"]) == (120.0, 120.0)
    assert (web["messages_received"], web["messages_sent"], web["responses"]) == (3, 4, 1)
    assert web["first_response_seconds_avg"] is None
    assert web["resolution_seconds_avg"] == 360.0  # from 10:00, received in either channel


def test_ids_decide_between_messages_of_one_instant() -> None:
    low, high = "00000000-0000-4000-8000-000000000001", "F0000000-0000-4000-8000-000000000001"
    found = tables(
        message("message_sent", "10:00:00", event_id=high),
        message("message_received", "10:00:00", event_id=low),
    )["response_times"]
    assert only(found, "response_event_id", "response_seconds") == [(high.lower(), 0.0)]
    assert not tables(
        message("message_sent", "10:00:00", event_id=low),
        message("message_received", "10:00:00", event_id=high),
    )["response_times"]


def test_a_resolution_counts_from_the_first_message_since_the_one_before() -> None:
    (day,) = tables(
        message("message_received", "10:00:00"),
        message("message_received", "10:10:00"),
        message("chat_resolved", "10:20:00"),  # 1200 s
        message("chat_resolved", "10:30:00", p={"resolution_time_seconds": 60}),  # as sent: 60 s
        message("chat_resolved", "10:40:00"),  # not known
        message("message_received", "10:50:00"),
        message("chat_resolved", "10:50:30", p={"resolution_time_seconds": 7}),  # 30 s
    )["metrics_daily_messaging"]
    assert day["resolution_seconds_avg"] == pytest.approx((1200 + 60 + 30) / 3)
    assert day["chats_resolved"] == 4


def test_messages_are_counted_as_they_came() -> None:
    (day,) = tables(
        *(message("message_sent", f"10:00:0{n}") for n in range(4)),
        *(happened("message_delivered", f"10:00:1{n}", entity_id="m") for n in range(3)),
        happened("message_read", "10:00:20", entity_id="m"),
        happened("message_failed", "10:00:21", entity_id="m"),
        happened("campaign_sent", "10:00:22", p={"campaign_id": "k", "recipient_count": 5}),
        happened("campaign_sent", "10:00:23", p={"campaign_id": "k", "recipient_count": 0}),
        happened("contact_created", "10:00:24", user_id="u"),
        happened("chat_assigned", "10:00:25", agent_id="a", p={"chat_id": "c"}),
        happened("user_identified", "10:00:26", user_id="u", anonymous_id="d", channel="app"),
    )["metrics_daily_messaging"]
    assert (day["delivery_rate"], day["read_rate"]) == (0.75, pytest.approx(1 / 3))
    assert (day["campaigns_sent"], day["campaign_recipients"]) == (2, 5)
    assert (day["contacts_created"], day["chats_assigned"], day["messages_failed"]) == (1, 1, 1)
    assert day["response_seconds_p95"] is None


# -- identity --------------------------------------------------------------------------------------


def identified(time: str, *, dnt: bool = False, **ids: str) -> Row:
    hashes = {name: ids.pop(name) for name in list(ids) if name.endswith("_hash")}
    return happened("user_identified", time, p=hashes, context={"dnt": dnt}, **ids)


def test_a_chain_of_links_makes_one_person_named_by_the_smallest() -> None:
    found = tables(
        identified("10:00:00", user_id="u1", phone_hash="p"),
        identified("10:01:00", phone_hash="p", email_hash="e"),
        identified("10:02:00", email_hash="e", anonymous_id="d1"),
        identified("10:03:00", user_id="u2", anonymous_id="d2"),
        identified("10:04:00", user_id="u1", anonymous_id="d2", dnt=True),
        happened("page_viewed", "10:05:00", user_id="u3", anonymous_id="d3"),
    )["identity_map"]
    assert only(found, "identifier_type", "identifier", "person_id") == sorted(
        [
            *(
                (kind, value, person_id(("anonymous_id", "d1")))
                for kind, value in (
                    ("anonymous_id", "d1"), ("email_hash", "e"), ("phone_hash", "p"),
                    ("user_id", "u1"),
                )
            ),
            ("anonymous_id", "d2", person_id(("anonymous_id", "d2"))),
            ("user_id", "u2", person_id(("anonymous_id", "d2"))),
            # Seen together is not identified.
            ("anonymous_id", "d3", person_id(("anonymous_id", "d3"))),
            ("user_id", "u3", person_id(("user_id", "u3"))),
        ]
    )  # fmt: skip


def test_the_same_text_under_two_names_is_two_identifiers() -> None:
    found = tables(
        identified("10:00:00", user_id="x", phone_hash="p"),
        happened("page_viewed", "10:05:00", anonymous_id="x"),
    )["identity_map"]
    assert len(found) == 3
    assert len({row["person_id"] for row in found}) == 2


def test_a_timeline_is_numbered_per_person_and_knows_sessions() -> None:
    found = tables(
        happened("page_viewed", "10:00:00", anonymous_id="d", channel="app"),
        happened("email_sent", "10:00:30", user_id="u"),
        identified("10:01:00", user_id="u", anonymous_id="d"),
        happened("page_viewed", "10:03:00", user_id="u"),
        happened("page_viewed", "10:03:00"),
        happened("page_viewed", "10:04:00", user_id="v"),
    )
    person = person_id(("anonymous_id", "d"))
    rows = sorted(
        (r for r in found["user_timeline"] if r["person_id"] == person), key=lambda r: r["step"]
    )
    assert [(r["step"], r["event_name"], r["seconds_since_previous"]) for r in rows] == [
        (1, "page_viewed", None),
        (2, "email_sent", 30.0),
        (3, "user_identified", 30.0),
        (4, "page_viewed", 120.0),
    ]
    ids = {r["user_key"]: r["session_id"] for r in found["sessions"]}
    assert [r["session_id"] for r in rows] == [ids["d"], None, None, ids["u"]]
    assert len(found["user_timeline"]) == 5


# -- funnels ---------------------------------------------------------------------------------------

VISIT: Funnel = ("visit", 24, ("page_viewed", "cta_clicked", "page_viewed"))


def test_steps_come_one_after_the_other_within_the_window() -> None:
    found = tables(
        happened("cta_clicked", "09:00:00", user_id="early"),
        happened("page_viewed", "10:00:00", user_id="early"),
        happened("page_viewed", "10:00:00", user_id="full"),
        happened("page_viewed", "10:01:00", user_id="full"),
        happened("cta_clicked", "10:02:00", user_id="full"),
        happened("page_viewed", "03T10:00:00", user_id="full"),
        happened("page_viewed", "10:00:00", user_id="late"),
        happened("cta_clicked", "10:10:00", user_id="late"),
        happened("page_viewed", "03T10:00:00.001", user_id="late"),
        happened("page_viewed", "10:00:00", anonymous_id="nobody"),
        through=date(2026, 3, 3),
        funnels=[VISIT],
    )["metrics_daily_funnel"]
    first, second, third = sorted(found, key=lambda row: row["step"])
    assert {row["metric_date"] for row in found} == {date(2026, 3, 3)}
    assert {row["entry_date"] for row in found} == {DAY}
    assert (first["users"], first["conversion_from_previous"]) == (3, None)
    assert (first["conversion_from_first"], first["median_seconds_from_previous"]) == (1.0, None)
    assert (second["users"], second["conversion_from_previous"]) == (2, pytest.approx(2 / 3))
    assert second["median_seconds_from_previous"] == (120 + 600) / 2
    assert (third["users"], third["conversion_from_previous"]) == (1, 0.5)
    assert third["conversion_from_first"] == pytest.approx(1 / 3)
    assert third["median_seconds_from_previous"] == 86400 - 120


def test_one_event_is_one_step_also_where_two_steps_have_its_name() -> None:
    twice: Funnel = ("twice", 0, ("page_viewed", "page_viewed"))
    once = happened("page_viewed", "10:00:00", user_id="u")
    again = happened("page_viewed", "10:00:00", user_id="u")
    found = tables(once, funnels=[twice])["metrics_daily_funnel"]
    assert only(found, "step", "users") == [(1, 1)]
    found = tables(once, again, funnels=[twice])["metrics_daily_funnel"]
    assert only(found, "step", "users") == [(1, 1), (2, 1)]


def test_entries_are_told_when_their_window_is_over() -> None:
    entry = happened("page_viewed", "10:00:00", user_id="u")
    hours = {24: date(2026, 3, 3), 25: date(2026, 3, 4), 0: DAY, 48: date(2026, 3, 4)}
    for window, written in hours.items():
        funnel: Funnel = ("f", window, ("page_viewed", "cta_clicked"))
        before = tables(entry, through=date(2026, 3, written.day - 1), funnels=[funnel])
        assert not before["metrics_daily_funnel"]
        (row,) = tables(entry, through=written, funnels=[funnel])["metrics_daily_funnel"]
        assert (row["metric_date"], row["step"], row["users"]) == (written, 1, 1)


def test_a_row_of_a_date_knows_nothing_of_the_next_though_the_clocks_changed() -> None:
    # 8 March has 23 hours in New York: 24 hours after 23:30 of the 7th is 00:30 of the 9th.
    events = (
        happened("page_viewed", "08T04:30:00", user_id="u"),
        happened("cta_clicked", "09T04:15:00", user_id="u"),
    )
    funnel: Funnel = ("f", 24, ("page_viewed", "cta_clicked"))
    for through in (date(2026, 3, 8), date(2026, 3, 9)):
        found = tables(*events, through=through, timezone="America/New_York", funnels=[funnel])
        assert only(found["metrics_daily_funnel"], "entry_date", "metric_date", "step") == [
            (date(2026, 3, 7), date(2026, 3, 8), 1)
        ]


def test_a_user_enters_again_on_another_date() -> None:
    found = tables(
        happened("page_viewed", "23:00:00", user_id="u"),
        happened("page_viewed", "03T01:00:00", user_id="u"),
        happened("cta_clicked", "03T02:00:00", user_id="u"),
        through=date(2026, 3, 4),
        funnels=[("f", 24, ("page_viewed", "cta_clicked"))],
    )["metrics_daily_funnel"]
    assert only(found, "entry_date", "step", "median_seconds_from_previous") == [
        (DAY, 1, None),
        (DAY, 2, 10800.0),
        (date(2026, 3, 3), 1, None),
        (date(2026, 3, 3), 2, 3600.0),
    ]

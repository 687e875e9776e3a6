"""What messages cost: the tables against the oracle, what WhatsApp says of prices, and faults."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ingest.settings import Settings
from orchestration.dbt_runner import Window
from tests.events import load, query
from tests.facts import Row, read
from tests.lab import Lab, assert_same
from tests.oracle_message_costs import MESSAGE_COST_GRAINS, expected_message_costs

START = date(2025, 12, 29)
DAYS = 7
SELECT = [f"+{relation}" for relation in MESSAGE_COST_GRAINS]


def random_messages(rng: random.Random, count: int) -> list[Row]:
    """Events of few messages, in any order, that say little or much of their prices."""
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    events = []
    for _ in range(count):
        name = rng.choice(("message_sent", "message_delivered", "message_read", "message_failed"))
        properties: Row = {}
        if name == "message_sent":
            properties = {"chat_id": f"c{rng.randrange(4)}"}
            properties["template_id"] = rng.choice(("t1", "t2", None))
        if name != "message_failed":
            properties["pricing_type"] = rng.choice(
                ("regular", "regular", "free_entry_point", None)
            )
            properties["pricing_category"] = rng.choice(
                ("marketing", "marketing", "service", "referral", None)
            )
        at = begin + timedelta(days=rng.randrange(DAYS), seconds=rng.choice((0, 43200, 86399)))
        events.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "event_name": name,
                "occurred_at": at.isoformat(),
                "entity_id": f"m{rng.randrange(count // 2)}",
                "user_id": "u1",
                "channel": rng.choice(("whatsapp", "whatsapp", "sms", None)),
                "country_code": rng.choice(("IN", "DE", None, None)),
                "properties": properties,
            }
        )
    return events


def test_pieces_and_late_events_cost_what_they_cost(postgres_lab: Lab) -> None:
    """Day by day, then what is late: each message once, with what was known at its delivery."""
    lab = postgres_lab
    lab.reset("America/New_York")
    events = random_messages(random.Random(2), 240)
    parts = [events[0::2], events[1::2]]
    loaded: list[Row] = []
    for number, part in enumerate(parts, start=1):
        lab.load(number, part)
        loaded += part
        facts = read(loaded, lab.timezone)
        day, last = facts[0].day, facts[-1].day
        while day <= last:
            end = min(last, day + timedelta(days=number))
            lab.build(day, end, SELECT)
            day = end + timedelta(days=1)
        expected = expected_message_costs(facts)
        for relation, grain in MESSAGE_COST_GRAINS.items():
            assert expected[relation]
            assert_same(relation, lab.rows(relation), expected[relation], grain)
    costs = lab.rows("message_costs")
    assert {row["price_micros"] for row in costs} == {None, 0, 10000, 11000, 60000}
    # No price is no cost, and not a cost of nothing.
    assert all((row["cost_cents"] is None) == (row["price_micros"] is None) for row in costs)
    assert any(row["cost_cents"] == 0 for row in costs)


#: Rounds of what goes wrong -> the test that must find it.
FAULTS = (
    {
        "insert into marts.message_costs from marts.message_costs": "unique_grain_message_costs",
        "update marts.chat_message_costs set cost_cents = 0": "holds_chat_message_costs",
        "update marts.message_rate_gaps set messages = messages + 1": (
            "same_daily_total_message_rate_gaps"
        ),
        "update intermediate.int_message_charges set currency = null where price_micros = 0": (
            "holds_int_message_charges"
        ),
        "insert into intermediate.int_message_charges from intermediate.int_message_charges": (
            "unique_grain_int_message_charges"
        ),
        "insert into intermediate.int_message_events from intermediate.int_message_events": (
            "unique_grain_int_message_events"
        ),
        "insert into marts.chat_message_costs from marts.chat_message_costs": (
            "unique_grain_chat_message_costs"
        ),
        "insert into marts.message_rate_gaps from marts.message_rate_gaps": (
            "unique_grain_message_rate_gaps"
        ),
        "update marts.message_costs set cost_cents = -1": "holds_message_costs",
    },
    {
        "update marts.message_costs set messages = messages + 1": "same_daily_total_message_costs",
        "delete from marts.chat_message_costs": "same_daily_total_chat_message_costs",
    },
)


def test_the_data_tests_find_planted_faults(duckdb_lab: Lab) -> None:
    """Each test of these tables fails when what it says is not so."""
    lab = duckdb_lab
    lab.reset()
    lab.load(1, random_messages(random.Random(2), 120))
    last = START + timedelta(days=DAYS - 1)
    names = (*MESSAGE_COST_GRAINS, "int_message_events", "int_message_charges")
    lab.build(START, last, SELECT, tested=True)
    lab.assert_faults_are_found(FAULTS, names, Window(START, last, START, 99))


# -- through the door ------------------------------------------------------------------------------


def status(name: str, **more: Any) -> Row:
    """A webhook with one status."""
    item = {
        "id": "wamid.x1",
        "status": name,
        "timestamp": "1772366400",
        "recipient_id": "491234567",
    }
    change = {"field": "messages", "value": {"statuses": [item | more]}}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


#: What a status says of its price -> pricing_type, pricing_category.
PRICES: tuple[tuple[Row, tuple[str | None, str | None]], ...] = (
    (
        {"pricing": {"billable": True, "pricing_model": "PMP", "type": "regular",
                     "category": "marketing"}},
        ("regular", "marketing"),
    ),
    (
        {"pricing": {"billable": False, "pricing_model": "PMP", "type": "free_customer_service",
                     "category": "service"}},
        ("free_customer_service", "service"),
    ),
    (
        {"pricing": {"billable": True, "pricing_model": "CBP", "category": "authentication"},
         "conversation": {"id": "77", "origin": {"type": "utility"}}},
        ("regular", "authentication"),
    ),
    ({"pricing": {"billable": False}, "conversation": {"origin": {"type": "UTILITY"}}},
     ("free", "utility")),
    ({"pricing": {"category": "+49 151 2345678", "type": "a b"}}, (None, None)),
    ({}, (None, None)),
)  # fmt: skip


def test_whatsapp_says_what_its_messages_cost(duckdb_settings: Settings, tmp_path: Path) -> None:
    """Type and category of a price go with sent, delivered and read; what is no code is dropped."""
    documents = [
        status(name, id=f"wamid.{place}", **said)
        for place, (said, _) in enumerate(PRICES)
        for name in ("sent", "delivered", "read", "failed")
    ]
    data = b"\n".join(json.dumps(document).encode() for document in documents)
    result = load(duckdb_settings, tmp_path / "a.ndjson", data, adapter="whatsapp_cloud")
    assert (result.accepted, result.rejected) == (len(documents), 0)
    rows = query(duckdb_settings, "select * from raw.events")
    for row in rows:
        if row["event_name"] == "message_failed":
            assert row["pricing_type"] is None and row["extra"] is None
    found = [
        (row["pricing_type"], row["pricing_category"])
        for row in rows
        if row["event_name"] != "message_failed"
    ]
    expected = [said for _, said in PRICES for _ in range(3)]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_a_price_that_is_no_object_rejects_the_status(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    """A status by itself, and not its neighbours."""
    documents = [status("sent", pricing="cheap"), status("sent", pricing={"billable": "yes"}),
                 status("delivered")]  # fmt: skip
    data = b"\n".join(json.dumps(document).encode() for document in documents)
    result = load(duckdb_settings, tmp_path / "a.ndjson", data, adapter="whatsapp_cloud")
    assert (result.accepted, result.rejected) == (1, 2)
    found = query(duckdb_settings, "select reason_code, field from ops.rejected_events")
    assert sorted(tuple(row.values()) for row in found) == [
        ("bad_type", "billable"), ("bad_type", "pricing"),
    ]  # fmt: skip

"""The door refuses what its contracts forbid, with the right code, and nothing beside it."""

from __future__ import annotations

import gzip
import io
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.settings import Settings
from ingest.validation import REASON_CODES
from tests.events import line, load, query


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return {"deep": value}


def content(**properties: Any) -> bytes:
    return line(
        event_name="content_created", advisor_id_hash="a1", entity_id="c1", amount_cents=None,
        currency=None, properties={"content_type": "edu", **properties},
    )  # fmt: skip


FUTURE = (datetime.now(UTC) + timedelta(hours=25)).isoformat().replace("+00:00", "Z")

REJECTED: dict[str, list[bytes]] = {
    "malformed_json": [
        b"{",
        b'{"event_id": "x",}',
        line()[:-1] + b", }",
        b"not json",
        line().replace(b"1200", b"NaN"),
        line() + b"{}",
        line().replace(b"o1", b"\\ud800"),
        line(amount_cents=None, properties={"x": [1, 2]}).replace(b"2]", b"2 , ]"),
    ],
    "not_an_object": [b"[1, 2]", b"5", b'"text"', b"null", b"[" + line() + b"]"],
    "missing_field": [
        line(event_id=None),
        line(event_name=None),
        line(occurred_at=None),
        line(provider=None),
        line(currency=""),
        line(entity_id="  \t"),
        line(entity_id="\u00a0\u2003"),
        line(event_name="order_assigned"),
        line(event_name="content_flagged", entity_type=None),
        line(event_name="page_viewed", entity_id="e1"),
        line(event_name="user_identified", user_id="u1"),
        line(event_name="user_identified", properties={"phone_hash": "h", "email_hash": " "}),
        line(event_name="conversation_recorded", agent_id="a", user_id="u",
             properties={"start_time": "2026-03-01T10:00:00Z"}),
    ],
    "bad_type": [
        line(amount_cents="12"),
        line(amount_cents=12.5),
        line(amount_cents=2**63),
        line(amount_cents=2**70),
        line(user_id=5),
        line(user_id={"id": 1}),
        line(properties="x"),
        line(context=[1]),
        line(event_name="payment_attempted", properties={"is_fallback": "true"}),
        line(event_name="payment_attempted", properties={"is_fallback": 1}),
        content(risk_factors="x", template_id=4),
        line(schema_version=True),
        line(event_name="content_approval_result", advisor_id_hash="a",
             properties={"approval_status": "approved", "risk_factors_identified": "none"}),
    ],
    "not_in_enum": [
        line(channel="fax"),
        line(channel="WhatsApp"),
        line(actor_type="robot"),
        content(content_type="news"),
        line(event_name="call_ended", status="ok", duration_seconds=3),
        line(event_name="horoscope_uploaded", properties={"zodiac_sign": "Aries"}),
    ],
    "out_of_range": [
        line(amount_cents=-1),
        line(schema_version=0),
        line(duration_seconds=-0.5),
        content(initial_risk_score=101),
        line(event_name="horoscope_listened", user_id="u",
             properties={"listened_seconds": 1, "audio_seconds": 0}),
    ],
    "bad_uuid": [
        line(event_id="1"),
        line(event_id=uuid.uuid4().hex),
        line(event_id="{" + str(uuid.uuid4()) + "}"),
        line(event_id="g0000000-0000-0000-0000-000000000000"),
        line(event_id=str(uuid.uuid4()) + "0"),
    ],
    "bad_timestamp": [
        line(occurred_at="yesterday"),
        line(occurred_at="2026-02-30T10:00:00Z"),
        line(occurred_at="2026-03-01T24:00:00Z"),
        line(occurred_at="2026-03-01T10:00:60Z"),
        line(occurred_at="2026-03-01 10:00:00Z"),
        line(occurred_at="2026-03-01T10:00:00+0530"),
        line(occurred_at="2026-03-01T10:00Z"),
        line(occurred_at="2026-03-01T10:00:00.Z"),
        line(event_name="content_scheduled", advisor_id_hash="a",
             properties={"scheduled_delivery_time": "soon"}),
    ],
    "naive_timestamp": [
        line(occurred_at="2026-03-01T10:00:00"),
        line(occurred_at="2026-03-01T10:00:00.123"),
        line(event_name="content_scheduled", advisor_id_hash="a",
             properties={"scheduled_delivery_time": "2026-03-01T10:00:00"}),
    ],
    "in_the_future": [
        line(occurred_at=FUTURE),
        line(occurred_at="2999-01-01T00:00:00Z"),
        line(occurred_at="9999-12-31T23:59:59.999+00:00"),
    ],
    "too_old": [
        line(occurred_at="1999-12-31T23:59:59.999Z"),
        line(occurred_at="1970-01-01T00:00:00Z"),
        line(occurred_at="2000-01-01T00:00:00+00:01"),
    ],
    "unknown_event": [
        line(event_name="payment_imagined"),
        line(event_name="Payment_Succeeded"),
        line(event_name="payment.succeeded.twice"),
    ],
    "unknown_currency": [line(currency="XYZ"), line(currency="EURO"), line(currency="12")],
    "too_large": [
        line(request_id="x" * 262_144),
        b"x" * 262_145,
        b" " * 400_000 + line(),
    ],
    "too_deep": [
        line(**nested(16)),
        line(properties={"order_id": "o", **nested(20)}),
        b"[" * 40 + b"]" * 40,
    ],
    "invalid_utf8": [
        line(request_id="x").replace(b'"x"', b'"\xff"'),
        line(request_id="x").replace(b'"x"', b'"\xc3"'),
        b"\xed\xa0\x80",
    ],
    "nul_byte": [
        line(request_id="x\0y"),
        line(request_id="x").replace(b'"x"', b'"\0"'),
        b"\0",
    ],
}  # fmt: skip

CASES = [(code, number, raw) for code, raws in REJECTED.items() for number, raw in enumerate(raws)]


def test_every_code_has_at_least_three_inputs() -> None:
    assert set(REJECTED) | {"unreadable_file"} == set(REASON_CODES)
    assert all(len(raws) >= 3 for raws in REJECTED.values())


def test_bad_lines_are_rejected_and_their_neighbours_accepted(
    settings: Settings, tmp_path: Path
) -> None:
    good = [line() for _ in range(len(CASES) + 1)]
    data = (
        good[0]
        + b"\n"
        + b"".join(raw + b"\r\n" + good[i + 1] + b"\n" for i, (_, _, raw) in enumerate(CASES))
    )
    result = load(settings, tmp_path / "f.ndjson", data)
    assert result.status == "loaded"
    assert (result.accepted, result.duplicates, result.rejected) == (len(good), 0, len(CASES))
    rows = query(settings, "select line_number, reason_code from ops.rejected_events")
    found = {row["line_number"]: row["reason_code"] for row in rows}
    wrong = {
        (code, raw[:120]): found.get(2 * i + 2)
        for i, (code, _, raw) in enumerate(CASES)
        if found.get(2 * i + 2) != code
    }
    assert not wrong


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_cents": 5.0},
        {"amount_cents": 0},
        {"amount_cents": 2**63 - 1},
        {"occurred_at": "2026-03-01T10:00:00.123456789Z"},
        {"occurred_at": "2026-03-01T10:00:00.1+05:30"},
        {"occurred_at": "2000-01-01T00:00:00Z"},
        {"occurred_at": (datetime.now(UTC) + timedelta(hours=23)).isoformat()},
        {"currency": "eur"},
        {"country_code": "XX"},
        {"country_code": 5},
        {"country_code": "Germany"},
        {"user_id": ""},
        {"amount_cents": 1, "duration_seconds": ""},
        {"unknown": "x"},
        {"unknown": ["x"]},
        {"event_name": "payment.succeeded"},
        {"request_id": "x" * 261_000},
        {"deep": nested(13)},
        {"request_id": "é, } ] ,]"},
        {"request_id": 'a,}b,]\\"'},
        {"properties": {}},
        {"properties": None},
        {"context": None},
        {"entity_type": "something_else"},
    ],
)
def test_odd_but_allowed_is_accepted(
    duckdb_settings: Settings, tmp_path: Path, changes: dict[str, Any]
) -> None:
    result = load(duckdb_settings, tmp_path / "f.ndjson", line(**changes) + b"\n")
    assert (result.accepted, result.rejected) == (1, 0)


def test_blank_lines_and_a_byte_order_mark_are_ignored(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    data = b"\xef\xbb\xbf" + line() + b"\r\n\n   \n\t\r\n" + line()
    assert load(duckdb_settings, tmp_path / "f.ndjson", data).read == 2


def test_a_line_of_exactly_the_limit_is_taken(duckdb_settings: Settings, tmp_path: Path) -> None:
    short = line(request_id="x")
    fits = line(request_id="x" * (262_144 - len(short) + 1))
    assert len(fits) == 262_144
    result = load(duckdb_settings, tmp_path / "f.ndjson", fits + b"\r\n" + fits[:-2] + b'x"}\n')
    assert (result.accepted, result.rejected) == (1, 1)


GROUPED = {
    "eventId": str(uuid.UUID(int=7)), "eventName": "payment_attempted", "entityId": "p",
    "occurredAt": "2026-03-01T10:00:00Z", "provider": "x", "currency": "EUR", "amountCents": "7",
    "context.dnt": "", "properties.isFallback": "true",
    "properties": '"{""order_id"": ""o1"", ""is_fallback"": false}"', "Context": "",
}  # fmt: skip


@pytest.mark.parametrize("names", [list(GROUPED), list(GROUPED)[::-1]])
@pytest.mark.parametrize("piped", [False, True])
def test_csv_in_camel_case_with_a_group_and_its_fields(
    duckdb_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    piped: bool,
) -> None:
    """In any order of columns a dotted cell wins; gzip on standard input is looked into."""
    data = f"{','.join(names)}\n{','.join(GROUPED[name] for name in names)}\n".encode()
    if piped:
        packed = io.TextIOWrapper(io.BytesIO(gzip.compress(data)))
        monkeypatch.setattr("sys.stdin", packed)
    path = Path("-") if piped else tmp_path / "f.csv"
    result = load(duckdb_settings, path, None if piped else data)
    assert (result.accepted, result.rejected, result.source) == (1, 0, "csv")
    assert query(
        duckdb_settings, "select amount_cents, order_id, is_fallback, extra from raw.events"
    ) == [{"amount_cents": 7, "order_id": "o1", "is_fallback": True, "extra": None}]

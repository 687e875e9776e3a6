"""Foreign formats at the door: what becomes of them, and what never gets in.

All payloads are made up for these tests.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ingest.adapters import ADAPTERS, Invalid, adapter_named
from ingest.adapters.stripe import hundredths
from ingest.adapters.translation import translated
from ingest.blocks import lines_as_block
from ingest.door import LoadResult, ingest_paths
from ingest.errors import UserError
from ingest.registry import registry
from ingest.settings import Settings
from ingest.validation import REASON_CODES
from tests.events import load, query

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
AT_NOON = datetime.fromtimestamp(NOON, UTC).replace(tzinfo=None)
NOON_WRITTEN = "2026-03-01T12:00:00.000Z"
PHONE = "4915550001234"
OTHER_PHONE = "4915550009876"
WAMID = "wamid.HBgNNDkxNTU1MDAwMTIzNBUCABIYFDNBMDEyMzQ1Njc4OQA="
WACID = "wacid.HBgNNDkxNTU1MDAwMTIzNBUCABE"
NAME = "Wilhelmine Quassel"
TEXT = "meet me behind the lighthouse"
MAIL = "wilhelmine@quassel.example"


def whatsapp(field: str, *, entry: dict[str, Any] | None = None, **value: Any) -> dict[str, Any]:
    change = {
        "field": field,
        "value": {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": OTHER_PHONE, "phone_number_id": "70001"},
            "contacts": [{"profile": {"name": NAME}, "wa_id": PHONE}],
            **value,
        },
    }
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "80001", "changes": [change], **(entry or {})}],
    }


def received(**changes: Any) -> dict[str, Any]:
    base = {"from": PHONE, "id": WAMID, "timestamp": str(NOON), "type": "text",
            "text": {"body": TEXT}}  # fmt: skip
    return {**base, **changes}


def status(name: str, **changes: Any) -> dict[str, Any]:
    base = {"id": WAMID, "status": name, "timestamp": str(NOON + 60), "recipient_id": PHONE}
    return {**base, **changes}


def call(event: str, direction: str = "USER_INITIATED", **changes: Any) -> dict[str, Any]:
    sides = (PHONE, OTHER_PHONE) if direction == "USER_INITIATED" else (OTHER_PHONE, PHONE)
    return {"id": WACID, "from": sides[0], "to": sides[1], "event": event,
            "direction": direction, "timestamp": str(NOON), **changes}  # fmt: skip


def stripe(kind: str, data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    previous = changes.pop("previous", None)
    content: dict[str, Any] = {"object": data}
    if previous is not None:
        content["previous_attributes"] = previous
    return {"id": f"evt_{kind}", "object": "event", "type": kind, "created": NOON,
            "livemode": False, "data": content, **changes}  # fmt: skip


def intent(**changes: Any) -> dict[str, Any]:
    return {"id": "pi_1", "object": "payment_intent", "amount": 2500, "amount_received": 0,
            "currency": "eur", "customer": "cus_1", "metadata": {"order_id": "o1"},
            "receipt_email": MAIL, "status": "requires_payment_method", **changes}  # fmt: skip


def charge(**changes: Any) -> dict[str, Any]:
    return {"id": "ch_1", "object": "charge", "amount": 2500, "amount_refunded": 0,
            "captured": True, "currency": "eur", "customer": "cus_1", "payment_intent": "pi_1",
            "billing_details": {"name": NAME, "email": MAIL, "phone": f"+{PHONE}"},
            "payment_method_details": {"card": {"last4": "4242"}}, "metadata": {},
            "status": "succeeded", **changes}  # fmt: skip


def sms(status: str, **changes: Any) -> dict[str, Any]:
    return {"MessageSid": "SM0001", "SmsSid": "SM0001", "AccountSid": "AC1",
            "MessageStatus": status, "From": f"whatsapp:+{OTHER_PHONE}",
            "To": f"whatsapp:+{PHONE}", "Timestamp": "Sun, 01 Mar 2026 12:00:00 +0000",
            **changes}  # fmt: skip


def voice(status: str, **changes: Any) -> dict[str, Any]:
    return {"CallSid": "CA0001", "AccountSid": "AC1", "CallStatus": status, "From": f"+{PHONE}",
            "To": f"+{OTHER_PHONE}", "CallerName": NAME, "Direction": "inbound",
            "Timestamp": "Sun, 01 Mar 2026 12:00:00 +0000", **changes}  # fmt: skip


def crm(event: str, **data: Any) -> dict[str, Any]:
    return {"id": f"d-{event}", "event": event, "timestamp": "2026-03-01T13:00:00+01:00",
            "data": data}  # fmt: skip


CONVERSATION: dict[str, Any] = {
    "conversationId": "cv1", "agentId": "a1", "customerId": "u1", "channel": "webchat",
    "customerName": NAME, "startTime": "2026-03-01T11:55:00Z", "endTime": "2026-03-01T12:00:00Z",
    "messages": {"total": 8, "customer": 5, "agent": 3}, "responseTimeAvgMs": 1200,
    "customerSatisfactionScore": 4.5, "completed": True, "transcript": [{"text": TEXT}],
    "conversion": {"type": "purchase", "value": 0.29, "currency": "eur"},
    "sentiment": {"label": "Positive", "confidence": 0.9, "emotions": [{"name": "joy", "p": 1}]},
    "intents": ["pricing"], "escalation": {"required": False, "reason": None},
    "followUp": {"required": True, "actions": [f"mail {MAIL}"]}, "tags": ["vip"],
    "journeyStage": "decision",
}  # fmt: skip

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "whatsapp_cloud": [
        whatsapp("messages", messages=[received()]),
        whatsapp("messages", statuses=[status("sent"), status("failed", errors=[
            {"code": 131047, "title": "Re-engagement message", "message": TEXT}])]),
        whatsapp("calls", calls=[call("connect"), call("terminate", status="COMPLETED",
                 start_time=str(NOON + 5), end_time=str(NOON + 65), duration=60)]),
        whatsapp("smb_message_echoes", message_echoes=[
            received(**{"from": OTHER_PHONE, "to": PHONE, "id": WAMID + "2"})]),
        whatsapp("user_preferences", user_preferences=[
            {"wa_id": PHONE, "category": "marketing_messages", "value": "stop",
             "timestamp": NOON}]),
        {"object": "whatsapp_business_account", "entry": [{"id": "80001", "time": NOON, "changes": [
            {"field": "account_update", "value": {"event": "ACCOUNT_DELETED"}}]}]},
    ],
    "stripe": [
        stripe("payment_intent.created", intent()),
        stripe("charge.succeeded", charge()),
        stripe("charge.refunded", charge(amount_refunded=700), previous={"amount_refunded": 200}),
        stripe("customer.created", {"id": "cus_1", "object": "customer", "email": MAIL}),
    ],
    "twilio": [
        sms("delivered"),
        sms("received", Body=TEXT, ProfileName=NAME, NumMedia="0", From=f"whatsapp:+{PHONE}"),
        voice("completed", CallDuration="61"),
        {"RecordingSid": "RE1", "CallSid": "CA0001", "RecordingStatus": "completed",
         "RecordingUrl": "https://api.example/RE1"},
    ],
    "crm": [
        crm("message.received", message_id="m1", chat_id="c1", contact_id="u1", type="image",
            media_url="https://cdn.example/1.jpg", text=TEXT, name=NAME),
        crm("message.read", message_id=f"true_{PHONE}@c.us_3EB0", contact_id=f"{PHONE}@c.us"),
        crm("message.failed", message_id="m2", phone=f"+{PHONE}", error={"code": 7}),
        crm("chat.assigned", chat_id="c1", agent_id="a2", previous_agent_id="a1"),
        crm("chat.resolved", chat_id="c1", outcome="solved", resolution_time_seconds=90),
        crm("contact.created", contact={"id": "u1", "name": NAME, "email": MAIL}, source="ad"),
        crm("campaign.sent", campaign_id="k1", recipients=[PHONE, OTHER_PHONE]),
        crm("label.added", id="x1"),
    ],
    "conversation_insight": [CONVERSATION],
}  # fmt: skip


def put(settings: Settings, path: Path, name: str, *documents: Any) -> LoadResult:
    lines = [d if isinstance(d, bytes) else json.dumps(d).encode() for d in documents]
    return load(settings, path, b"\n".join(lines) + b"\n", adapter=name)


def events_of(name: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(ADAPTERS[name].events(deepcopy(document)))
    assert not any(isinstance(event, Invalid) for event in found)
    return found  # type: ignore[return-value]


def rows(settings: Settings, columns: str) -> list[tuple[Any, ...]]:
    found = query(settings, f"select {columns} from raw.events order by {columns}")
    return [tuple(row.values()) for row in found]


# --- for every format ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ADAPTERS)
def test_samples_are_taken_and_taken_once(settings: Settings, tmp_path: Path, name: str) -> None:
    result = put(settings, tmp_path / "a.ndjson", name, *SAMPLES[name])
    assert (result.rejected, result.duplicates, result.status) == (0, 0, "loaded")
    assert result.accepted >= len(SAMPLES[name])
    assert result.source == name
    wrapped = [{"payload_id": "p1", "source": "archive", "file": "a.json", "payload": sample}
               for sample in SAMPLES[name]]  # fmt: skip
    again = [*reversed(SAMPLES[name]), *SAMPLES[name], *wrapped]
    result_again = put(settings, tmp_path / "b.ndjson", name, *again)
    assert (result_again.accepted, result_again.rejected) == (0, 0)
    assert result_again.duplicates == 3 * result.accepted
    assert query(settings, "select event_name, property from ops.unknown_properties") == []


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_is_wrapped_may_be_text_or_several(
    duckdb_settings: Settings, tmp_path: Path, name: str
) -> None:
    """What is bad in it is rejected for itself: nothing is lost, and nothing of it is kept."""
    samples = SAMPLES[name]
    expected = put(duckdb_settings, tmp_path / "a.ndjson", name, *samples).accepted
    wrapped: list[Any] = [samples, json.dumps(samples), *map(json.dumps, samples)]
    result = put(duckdb_settings, tmp_path / "b.ndjson", name, *({"payload": w} for w in wrapped))
    assert (result.accepted, result.duplicates, result.rejected) == (0, 3 * expected, 0)
    good = samples[0]
    bad: list[Any] = [
        json.dumps(good)[:-1], f"call {PHONE}", "7", [], "[]", json.dumps({"payload": good}),
        "[" * 2000,
    ]  # fmt: skip
    mixed: list[Any] = [good, 7, {}, {"payload": good}, good]
    documents = ({"payload": payload} for payload in (*bad, mixed))
    result = put(duckdb_settings, tmp_path / "c.ndjson", name, *documents)
    assert result.duplicates == 2 * len(events_of(name, good))
    assert result.rejected == len(bad) + 3
    rows = query(duckdb_settings, "select reason_code, payload from ops.rejected_events "
                 "where load_id = 3 order by rejection_id")  # fmt: skip
    assert [row["reason_code"] for row in rows[:2]] == ["malformed_json"] * 2
    assert not any(PHONE in str(row["payload"]) for row in rows)


@pytest.mark.parametrize("name", ADAPTERS)
def test_nothing_personal_is_in_the_files(
    duckdb_settings: Settings, tmp_path: Path, name: str
) -> None:
    broken = [{**sample, "object": 7, "data": 7, "MessageSid": [], "CallSid": [],
               "conversationId": {"name": NAME}} for sample in SAMPLES[name]]  # fmt: skip
    cut = json.dumps(SAMPLES[name][0]).encode()[:-1]
    result = put(
        duckdb_settings, tmp_path / "a.ndjson", name, *SAMPLES[name], *broken, cut, b"\xff" + cut
    )
    assert result.accepted > 0
    assert result.rejected >= 3
    stored = b"".join(p.read_bytes() for p in duckdb_settings.home.rglob("*") if p.is_file())
    secrets = [PHONE, OTHER_PHONE, NAME, "Wilhelmine", TEXT, MAIL, WAMID[6:], WACID[6:], "cdn."]
    for secret in secrets:
        assert secret.encode() not in stored, secret


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_bad_document_leaves_its_neighbours_alone(
    duckdb_settings: Settings, tmp_path: Path, name: str
) -> None:
    good = SAMPLES[name][0]
    deep = b'{"a":' * 17 + b"1" + b"}" * 17
    bad: list[Any] = [{}, [], [good], "text", 7, None, b"{", b"\xff{}", b'{"id":"\\u0000"}', deep,
                      b'{"a":"' + b"x" * 262_144 + b'"}', {"entry": None, "id": None},
                      {"payload": [[good]]}, {"payload": {"payload": good}}]  # fmt: skip
    result = put(duckdb_settings, tmp_path / "a.ndjson", name, *bad, good, *bad)
    assert result.accepted == len(events_of(name, good))
    assert result.rejected == 2 * len(bad)
    found = query(duckdb_settings, "select distinct reason_code, line_number, payload "
                  "from ops.rejected_events order by line_number")  # fmt: skip
    assert [row["line_number"] for row in found] == [
        *range(1, len(bad) + 1), *range(len(bad) + 2, 2 * len(bad) + 2)
    ]  # fmt: skip
    codes = [row["reason_code"] for row in found[: len(bad)]]
    assert codes[1:11] == ["not_an_object"] * 5 + [
        "malformed_json", "invalid_utf8", "nul_byte", "too_deep", "too_large",
    ]  # fmt: skip
    assert set(codes) <= set(REASON_CODES)


REPLACEMENTS: list[Any] = [
    None, [], [1], {}, {"id": 1}, "", "x", "12", -1, 2**64 - 1, 1e300, True,
]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value inside a document."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from _places(item, (*path, key))


@pytest.mark.parametrize("name", ADAPTERS)
def test_no_change_of_a_valid_document_ends_in_an_error(
    duckdb_settings: Settings, tmp_path: Path, name: str
) -> None:
    documents = []
    for sample in SAMPLES[name]:
        for path, replacement in product(_places(sample), REPLACEMENTS):
            document = deepcopy(sample)
            place: Any = document
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = replacement
            documents.append(document)
    result = put(duckdb_settings, tmp_path / "a.ndjson", name, *documents)
    assert result.status == "loaded"
    assert result.read >= len(documents)
    assert result.rejected > 0
    codes = query(duckdb_settings, "select distinct reason_code from ops.rejected_events")
    assert {row["reason_code"] for row in codes} <= set(REASON_CODES)


@pytest.mark.parametrize(
    ("name", "own", "fault"),
    [
        ("stripe", {"object": "event", "type": "x"}, ("missing_field", "id")),
        ("crm", {"event": "chat.resolved", "timestamp": -1}, ("bad_timestamp", "timestamp")),
        ("twilio", {"MessageSid": "SM1"}, ("missing_field", "MessageStatus")),
        ("whatsapp_cloud", {"object": "whatsapp_business_account"}, ("missing_field", "entry")),
        ("conversation_insight", {"agentId": "a"}, ("missing_field", "conversation_id")),
    ],
)
def test_the_fault_named_is_that_of_the_format_not_of_what_wraps_it(
    name: str, own: dict[str, Any], fault: tuple[str, str]
) -> None:
    documents = (own, {**own, "payload": {}}, {"source": "archive", "payload": own})
    lines = [json.dumps(document).encode() for document in documents]
    block = lines_as_block([1, 2, 3], lines, [])
    (found,) = translated(iter([block]), ADAPTERS[name], received_at=AT_NOON)
    assert [(bad.fault.code, bad.fault.field) for bad in found.bad_lines] == [fault] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [(NOON, NOON_WRITTEN), (str(NOON), NOON_WRITTEN), (NOON * 1000, NOON_WRITTEN),
     (f"{NOON * 1000}", NOON_WRITTEN), (NOON + 0.25, "2026-03-01T12:00:00.250Z"),
     (f" {NOON}.25", "2026-03-01T12:00:00.250Z"), ("2026-03-01T13:00:00+01:00",) * 2],
)  # fmt: skip
def test_times_in_seconds_milliseconds_and_words(given: Any, expected: str) -> None:
    (event,) = events_of("crm", {**crm("chat.resolved", chat_id="c"), "timestamp": given})
    assert event["occurred_at"] == expected
    if not expected.endswith("+01:00"):
        (event,) = events_of(
            "whatsapp_cloud", whatsapp("messages", messages=[received(timestamp=given)])
        )
        assert event["occurred_at"] == expected


def test_every_event_that_adapters_make_has_a_contract() -> None:
    for name, samples in SAMPLES.items():
        for sample in samples:
            for event in events_of(name, sample):
                contract = registry().events[event["event_name"]]
                known = set(contract.properties)
                if contract.name != "webhook_received":
                    assert set(event.get("properties", {})) <= known
                assert uuid.UUID(event["event_id"]).version == 5


def test_an_unknown_format_is_the_users_mistake(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text("{}")
    with pytest.raises(UserError, match=r"'fax'; use one of .*stripe"):
        ingest_paths([tmp_path / "a.ndjson"], settings=settings, adapter="fax")
    assert adapter_named("stripe").name == "stripe"


# --- files -----------------------------------------------------------------------------------


def test_one_document_or_an_array_per_file(duckdb_settings: Settings, tmp_path: Path) -> None:
    numbered = [stripe("customer.created", {"id": f"cus_{i}", "object": "customer"})
                for i in range(8)]  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(numbered[0], indent=2))
    (folder / "b.json").write_text(json.dumps([*numbered[1:3], 7], indent=2))
    (folder / "c.json").write_text(json.dumps(numbered[3:5]))
    pretty = json.dumps([numbered[5]], indent=1).encode()
    (folder / "d.json.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + pretty))
    (folder / "e.json").write_text(json.dumps(numbered[6]))
    results = ingest_paths([folder], settings=duckdb_settings, adapter="stripe")
    assert [(r.accepted, r.rejected, r.status) for r in results] == [
        (1, 0, "loaded"), (2, 1, "loaded"), (2, 0, "loaded"), (1, 0, "loaded"), (1, 0, "loaded"),
    ]  # fmt: skip
    found = query(duckdb_settings, "select line_number, reason_code from ops.rejected_events")
    assert found == [{"line_number": 3, "reason_code": "not_an_object"}]


def test_a_bad_first_line_does_not_make_a_file_one_document(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    good = SAMPLES["stripe"][0]
    for number, first in enumerate([b"{", b"[", b"[1]", b'{"id":', b"garbage"]):
        document = {**good, "id": f"evt_{number}"}
        result = put(duckdb_settings, tmp_path / f"{number}.ndjson", "stripe", first, document)
        assert (result.accepted, result.rejected) == (1, 1)


def test_a_cut_gzip_keeps_the_whole_documents(duckdb_settings: Settings, tmp_path: Path) -> None:
    documents = [
        stripe("customer.created", {"id": f"cus_{i}", "noise": str(uuid.uuid4())})
        for i in range(2000)
    ]
    whole = gzip.compress(b"".join(json.dumps(d).encode() + b"\n" for d in documents))
    path = tmp_path / "a.ndjson.gz"
    result = load(duckdb_settings, path, whole[: len(whole) // 2], adapter="stripe")
    assert result.status == "partial"
    assert 500 < result.accepted < 2000
    (row,) = query(duckdb_settings, "select line_number, reason_code from ops.rejected_events")
    assert row == {"line_number": result.accepted + 1, "reason_code": "unreadable_file"}


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("[" * 300 + "1" + "]" * 300, {"too_deep"}),
        ('{"a":' * 300 + "1" + "}" * 300, {"too_deep"}),
        ("[\n" + '{"a":' * 300 + "1" + "}" * 300 + "\n]", {"too_deep", "malformed_json"}),
    ],
    ids=["array", "object", "array of one a line"],
)
def test_documents_that_are_nested_too_deep_are_rejected(
    duckdb_settings: Settings, tmp_path: Path, text: str, reasons: set[str]
) -> None:
    result = load(duckdb_settings, tmp_path / "a.json", text.encode(), adapter="stripe")
    assert (result.status, result.accepted) == ("loaded", 0)
    found = query(duckdb_settings, "select distinct reason_code from ops.rejected_events")
    assert {row["reason_code"] for row in found} == reasons


def test_parquet_is_no_foreign_format(duckdb_settings: Settings, tmp_path: Path) -> None:
    result = load(duckdb_settings, tmp_path / "a.parquet", b"PAR1....PAR1", adapter="crm")
    assert (result.status, result.rejected) == ("failed", 1)
    assert "Parquet" in str(result.error)


def test_a_file_taken_for_something_else_can_be_loaded_again(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    data = json.dumps(SAMPLES["stripe"][0]).encode()
    path = tmp_path / "a.ndjson"
    assert load(duckdb_settings, path, data).rejected == 1
    assert load(duckdb_settings, path, data, adapter="twilio").rejected == 1
    assert load(duckdb_settings, path, data, adapter="stripe").accepted == 1
    assert load(duckdb_settings, path, data, adapter="stripe").status == "already_loaded"


def test_a_bad_part_of_a_document_is_rejected_by_itself(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    messages = [received(), received(id=None), 7, received(id="wamid.other"),
                received(timestamp="noon")]  # fmt: skip
    document = whatsapp("messages", messages=messages)
    result = put(duckdb_settings, tmp_path / "a.ndjson", "whatsapp_cloud", {}, document)
    assert (result.read, result.accepted, result.rejected) == (6, 2, 4)
    found = query(duckdb_settings, "select line_number, reason_code, field "
                  "from ops.rejected_events order by rejection_id")  # fmt: skip
    assert [tuple(row.values()) for row in found] == [
        (1, "missing_field", "object"),
        (2, "missing_field", "id"),
        (2, "bad_type", "messages"),
        (2, "bad_timestamp", "timestamp"),
    ]


# --- WhatsApp --------------------------------------------------------------------------------


def test_a_whatsapp_chat_is_one_chat(duckdb_settings: Settings, tmp_path: Path) -> None:
    documents = [
        whatsapp("messages", messages=[received(type="image", image={"caption": TEXT})]),
        whatsapp("messages", statuses=[status("sent", id="wamid.answer")]),
        whatsapp("messages", statuses=[status("delivered", id="wamid.answer")]),
        whatsapp("messages", statuses=[status("read", id="wamid.answer")]),
        whatsapp("messages", statuses=[status("failed", errors=[{"code": 131047, "title": "No"}])]),
    ]
    put(duckdb_settings, tmp_path / "a.ndjson", "whatsapp_cloud", *documents)
    found = query(duckdb_settings, "select * from raw.events order by event_name")
    names = [row["event_name"] for row in found]
    assert names == [
        "message_delivered", "message_failed", "message_read", "message_received", "message_sent",
    ]  # fmt: skip
    delivered, failed, read, incoming, sent = found
    assert len({row["user_id"] for row in found}) == 1
    assert incoming["user_id"].startswith("dev:")
    assert incoming["chat_id"] == sent["chat_id"] == incoming["user_id"]
    assert delivered["entity_id"] == read["entity_id"] == sent["entity_id"]
    assert incoming["entity_id"].startswith("dev:")
    assert (incoming["content_type"], incoming["has_media"]) == ("image", True)
    assert (failed["error_code"], failed["error_message"]) == ("131047", "No")
    assert incoming["occurred_at"] == AT_NOON
    assert {row["channel"] for row in found} == {"whatsapp"}
    assert {row["provider"] for row in found} == {"whatsapp_cloud"}


def test_whatsapp_users_without_a_number_and_groups() -> None:
    hidden = received(from_user_id="DE.81234")
    del hidden["from"]
    document = whatsapp("messages", messages=[hidden], contacts=[{"user_id": "DE.81234"}])
    (event,) = events_of("whatsapp_cloud", document)
    assert event["user_id"] == "DE.81234"
    group = {"recipient_id": "G77", "recipient_type": "group"}
    reads = [status("read", **group, recipient_participant_id=n) for n in (PHONE, OTHER_PHONE)]
    found = events_of("whatsapp_cloud", whatsapp("messages", statuses=reads))
    assert [event["user_id"] for event in found] == [f"+{PHONE}", f"+{OTHER_PHONE}"]
    assert len({event["event_id"] for event in found}) == 2
    sent = status("sent", **group, recipient_participant_id=PHONE)
    (outgoing,) = events_of("whatsapp_cloud", whatsapp("messages", statuses=[sent]))
    (incoming,) = events_of(
        "whatsapp_cloud", whatsapp("messages", messages=[received(group_id="G77")])
    )
    assert outgoing["properties"]["chat_id"] == incoming["properties"]["chat_id"]
    assert "G77" not in outgoing["properties"]["chat_id"]


def test_whatsapp_calls(duckdb_settings: Settings, tmp_path: Path) -> None:
    ended = call("terminate", "BUSINESS_INITIATED", status="COMPLETED", duration=60,
                 start_time=str(NOON + 5), end_time=str(NOON + 65))  # fmt: skip
    missed = call("terminate", id="wacid.2", status="COMPLETED")
    documents = [
        whatsapp("calls", calls=[call("connect", "BUSINESS_INITIATED")]),
        whatsapp("calls", statuses=[status("RINGING", id=WACID, type="call")]),
        whatsapp("calls", statuses=[status("ACCEPTED", id=WACID, type="call")]),
        whatsapp("calls", calls=[ended, missed]),
    ]
    result = put(duckdb_settings, tmp_path / "a.ndjson", "whatsapp_cloud", *documents)
    assert (result.accepted, result.duplicates, result.rejected) == (5, 1, 0)
    found = query(duckdb_settings, "select event_name, status, duration_seconds, direction, "
                  "user_id, occurred_at from raw.events "
                  "order by event_name, duration_seconds desc")  # fmt: skip
    assert [tuple(row.values())[:4] for row in found] == [
        ("call_answered", None, None, None),
        ("call_ended", "completed", 60.0, None),
        ("call_ended", "no_answer", 0.0, None),
        ("call_started", None, None, "outbound"),
        ("webhook_received", None, None, None),
    ]
    assert len({row["user_id"] for row in found[:4]}) == 1
    assert found[1]["occurred_at"] == AT_NOON + timedelta(seconds=65)


def test_other_whatsapp_webhooks_keep_their_kind(duckdb_settings: Settings, tmp_path: Path) -> None:
    put(duckdb_settings, tmp_path / "a.ndjson", "whatsapp_cloud", *SAMPLES["whatsapp_cloud"][4:],
        whatsapp("messages", statuses=[status("played")]))  # fmt: skip
    found = query(duckdb_settings, "select extra, user_id, entity_id from raw.events")
    assert sorted(json.loads(row["extra"])["webhook"] for row in found) == [
        "account_update", "messages.status.played", "user_preferences",
    ]  # fmt: skip
    assert {(row["user_id"], row["entity_id"]) for row in found} == {(None, None)}


# --- Stripe ----------------------------------------------------------------------------------


def test_a_stripe_payment_counts_once(duckdb_settings: Settings, tmp_path: Path) -> None:
    documents = [
        stripe("payment_intent.created", intent()),
        stripe("charge.failed", charge(failure_code="card_declined", status="failed")),
        stripe("payment_intent.payment_failed",
               intent(last_payment_error={"code": "card_declined", "charge": "ch_1"})),
        stripe("charge.succeeded", charge(id="ch_2")),
        stripe("payment_intent.succeeded", intent(amount_received=2400, status="succeeded")),
        stripe("charge.refunded", charge(id="ch_2", amount_refunded=700),
               previous={"amount_refunded": 200}),
        stripe("refund.created", {"id": "re_1", "object": "refund", "amount": 500,
                                  "charge": "ch_2", "currency": "eur"}),
    ]  # fmt: skip
    put(duckdb_settings, tmp_path / "a.ndjson", "stripe", *documents)
    found = rows(duckdb_settings, "event_name, entity_id, amount_cents, currency, user_id, "
                 "order_id, failure_code, provider")  # fmt: skip
    assert [row for row in found if row[0] != "webhook_received"] == [
        ("payment_attempted", "pi_1", 2500, "EUR", "cus_1", "o1", None, "stripe"),
        ("payment_failed", "pi_1", 2500, "EUR", "cus_1", "o1", "card_declined", "stripe"),
        ("payment_succeeded", "pi_1", 2400, "EUR", "cus_1", "o1", None, "stripe"),
        ("refund_issued", "pi_1", 500, "EUR", "cus_1", None, None, "stripe"),
    ]
    assert len(found) == 7


def test_a_charge_without_intent_is_the_payment() -> None:
    alone = charge(payment_intent=None)

    def told(kind: str, **changes: Any) -> list[tuple[Any, ...]]:
        return [(e["event_name"], e["entity_id"], e["amount_cents"])
                for e in events_of("stripe", stripe(kind, {**alone, **changes}))]  # fmt: skip

    attempted = ("payment_attempted", "ch_1", 2500)
    assert told("charge.succeeded") == [attempted, ("payment_succeeded", "ch_1", 2500)]
    assert told("charge.succeeded", captured=False) == [attempted]
    assert told("charge.captured", amount_captured=900) == [("payment_succeeded", "ch_1", 900)]
    assert told("charge.failed") == [attempted, ("payment_failed", "ch_1", 2500)]
    listed = {"data": [{"id": "re_2", "amount": 300, "created": 2},
                       {"id": "re_1", "amount": 100, "created": 1}]}  # fmt: skip
    refunded = {"amount_refunded": 400}
    assert told("charge.refunded", **refunded, refunds=listed) == [("refund_issued", "ch_1", 300)]
    assert told("charge.refunded", **refunded) == [("refund_issued", "ch_1", 400)]


def test_repeated_placeholder_ids_do_not_make_events_one() -> None:
    placeholder = {"id": "evt_0000"}
    documents = [
        stripe("customer.created", {"id": "cus_0000"}, **placeholder),
        stripe("customer.deleted", {"id": "cus_0000"}, **placeholder),
        stripe("customer.deleted", {"id": "cus_0001"}, **placeholder),
        stripe("customer.deleted", {"id": "cus_0001"}, **{**placeholder, "created": NOON + 1}),
        stripe("checkout.session.completed", {"id": "cs_0", "mode": "setup"}, **placeholder),
        stripe("checkout.session.completed", {"id": "cs_0", "mode": "payment"}, **placeholder),
    ]
    ids = [events_of("stripe", document)[0]["event_id"] for document in documents]
    assert len(set(ids)) == len(ids)
    retried = {**documents[0], "pending_webhooks": 3}
    assert events_of("stripe", retried)[0]["event_id"] == ids[0]


@pytest.mark.parametrize(
    ("minor_units", "currency", "expected"),
    [(2500, "EUR", 2500), (500, "JPY", 50_000), (7, "MGA", 700), (5120, "KWD", 512),
     (5125, "KWD", 513), (500, "ISK", 500), (500, "UGX", 500)],
)  # fmt: skip
def test_amounts_are_hundredths(minor_units: int, currency: str, expected: int) -> None:
    assert hundredths(minor_units, currency) == expected


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"amount": "2500"}, "bad_type"), ({"amount": None}, "missing_field"),
     ({"amount": -1}, "out_of_range"), ({"amount": 1.5}, "bad_type"),
     ({"currency": None}, "missing_field"), ({"currency": "zzz"}, "unknown_currency"),
     ({"id": None}, "missing_field"), ({"metadata": []}, "bad_type"),
     ({"customer": 1.5}, "bad_type")],
)  # fmt: skip
def test_bad_payments_are_rejected(
    duckdb_settings: Settings, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    bad = stripe("payment_intent.created", intent(**changes))
    good = stripe("payment_intent.created", intent(id="pi_2"), id="evt_good")
    result = put(duckdb_settings, tmp_path / "a.ndjson", "stripe", bad, good)
    assert (result.accepted, result.rejected) == (1, 1)
    (row,) = query(duckdb_settings, "select reason_code, payload from ops.rejected_events")
    assert row["reason_code"] == code
    assert MAIL not in row["payload"]


# --- Twilio ----------------------------------------------------------------------------------


def test_twilio_messages(duckdb_settings: Settings, tmp_path: Path) -> None:
    documents = [
        sms("queued"), sms("sent"), sms("delivered"), sms("read"), sms("delivered"),
        sms("undelivered", MessageSid="SM2", SmsSid="SM2", ErrorCode="30003",
            To=f"+{OTHER_PHONE}", From="+4915550000000"),
        {"SmsSid": "SM3", "SmsStatus": "received", "From": f"whatsapp:+{PHONE}",
         "To": f"whatsapp:+{OTHER_PHONE}", "Body": TEXT, "NumMedia": "2",
         "Timestamp": "2026-03-01T12:00:00Z"},
    ]  # fmt: skip
    result = put(duckdb_settings, tmp_path / "a.ndjson", "twilio", *documents)
    assert (result.accepted, result.duplicates, result.rejected) == (6, 1, 0)
    found = query(duckdb_settings, "select * from raw.events order by event_name")
    delivered, failed, read, incoming, sent, other = found
    assert (incoming["event_name"], incoming["has_media"]) == ("message_received", True)
    assert incoming["chat_id"] == sent["chat_id"] == sent["user_id"] == incoming["user_id"]
    assert delivered["entity_id"] == read["entity_id"] == sent["entity_id"] == "SM0001"
    assert (failed["error_code"], failed["channel"], sent["channel"]) == (
        "30003", "sms", "whatsapp",
    )  # fmt: skip
    assert json.loads(other["extra"]) == {"webhook": "message.queued"}
    assert {row["occurred_at"] for row in found} == {AT_NOON}


def test_a_number_is_the_same_user_with_every_provider() -> None:
    (one,) = events_of("whatsapp_cloud", whatsapp("messages", messages=[received()]))
    (two,) = events_of("twilio", sms("read"))
    assert one["user_id"] == two["user_id"] == f"+{PHONE}"


def test_twilio_messages_without_a_time_happened_when_received(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    put(duckdb_settings, tmp_path / "a.ndjson", "twilio", sms("read", Timestamp=None))
    (row,) = query(duckdb_settings, "select occurred_at from raw.events")
    assert abs(row["occurred_at"] - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("given", "has_media", "content_type"),
    [({"Body": TEXT}, None, None), ({"Body": "", "NumMedia": "0"}, False, "text"),
     ({"NumMedia": 2}, True, "media"), ({"MediaUrl0": "https://cdn.example/1"}, True, "media"),
     ({"Body": TEXT, "NumMedia": "1", "MessageType": "Image"}, True, "image")],
)  # fmt: skip
def test_twilio_messages_without_a_status_were_received(
    given: dict[str, Any], has_media: bool | None, content_type: str | None
) -> None:
    sender = {"MessageSid": "SM1", "From": f"+{PHONE}", "To": f"+{OTHER_PHONE}"}
    (event,) = events_of("twilio", {**sender, "FromCountry": "DE", "ToCountry": "US", **given})
    assert (event["event_name"], event["user_id"]) == ("message_received", f"+{PHONE}")
    assert event["country_code"] == "DE"
    properties = event["properties"]
    assert properties["chat_id"] == f"+{PHONE}"
    assert properties.get("has_media") is has_media
    assert properties.get("content_type") == content_type
    with pytest.raises(Invalid, match="MessageStatus is required"):
        events_of("twilio", sender)
    assert events_of("twilio", sms("delivered", To=None))[0]["entity_id"] == "SM0001"


def test_twilio_calls(duckdb_settings: Settings, tmp_path: Path) -> None:
    documents = [
        voice("ringing"), voice("in-progress"), voice("completed", CallDuration="61",
                                                      RecordingUrl="https://x.example/1"),
        voice("initiated", CallSid="CA2", Direction="outbound-api"),
        voice("ringing", CallSid="CA2", Direction="outbound-api"),
        voice("no-answer", CallSid="CA2", Direction="outbound-api"),
        voice("completed", CallSid="CA3"), voice("paused", CallSid="CA4"),
        voice("completed", CallSid="CA5", CallDuration="long"), voice("ringing", From=["+49"]),
        voice("ringing", CallSid="CA6", Timestamp="Sun, 99 Mar 2026"),
    ]  # fmt: skip
    result = put(duckdb_settings, tmp_path / "a.ndjson", "twilio", *documents)
    assert (result.accepted, result.duplicates, result.rejected) == (5, 1, 5)
    assert rows(duckdb_settings, "entity_id, event_name, status, duration_seconds, recorded, "
                "direction, channel") == [
        ("CA0001", "call_answered", None, None, None, None, "voice"),
        ("CA0001", "call_ended", "completed", 61.0, True, None, "voice"),
        ("CA0001", "call_started", None, None, None, "inbound", "voice"),
        ("CA2", "call_ended", "no_answer", 0.0, False, None, "voice"),
        ("CA2", "call_started", None, None, None, "outbound", "voice"),
    ]  # fmt: skip
    codes = query(duckdb_settings, "select reason_code from ops.rejected_events "
                  "order by line_number")  # fmt: skip
    assert [row["reason_code"] for row in codes] == [
        "missing_field", "not_in_enum", "bad_type", "bad_type", "bad_timestamp",
    ]  # fmt: skip


# --- CRM and conversations -------------------------------------------------------------------


def test_crm_webhooks(duckdb_settings: Settings, tmp_path: Path) -> None:
    camel = {"eventId": "d-9", "eventName": "message_sent", "createdAt": NOON * 1000,
             "data": {"messageId": "m9", "to": PHONE, "hasMedia": False}}  # fmt: skip
    put(duckdb_settings, tmp_path / "a.ndjson", "crm", *SAMPLES["crm"], camel)
    found = {row["event_name"]: row for row in query(duckdb_settings, "select * from raw.events")}
    assert len(found) == 9
    assert {row["occurred_at"] for row in found.values()} == {AT_NOON}

    def has(event_name: str, **expected: Any) -> None:
        assert {name: found[event_name][name] for name in expected} == expected

    has("message_received", entity_id="m1", user_id="u1", chat_id="c1", content_type="image",
        has_media=True, channel="whatsapp")  # fmt: skip
    has("message_failed", entity_id="m2", error_code="7")
    assert found["message_failed"]["user_id"].startswith("dev:")
    assert found["message_sent"]["user_id"] == found["message_failed"]["user_id"]
    assert found["message_sent"]["chat_id"] == found["message_sent"]["user_id"]
    has("chat_assigned", chat_id="c1", agent_id="a2", previous_agent_id="a1")
    has("chat_resolved", chat_id="c1", outcome="solved", resolution_time_seconds=90.0)
    has("contact_created", user_id="u1", contact_source="ad")
    has("campaign_sent", campaign_id="k1", recipient_count=2)
    has("webhook_received", extra='{"webhook":"label.added"}')


MESSAGE = {"id": "m1", "chatId": "c1", "type": "image", "hasMedia": True, "text": TEXT}
READ_FROM_MESSAGE = {
    "entity_id": "m1", "user_id": "u1", "channel": "whatsapp",
    "properties": {"chat_id": "c1", "content_type": "image", "has_media": True},
}  # fmt: skip
FAILURE = {"message_id": "m1", "contact_id": "u1"}
ENVELOPE = {"event": "message.received", "timestamp": NOON}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (crm("message.received", id="x", message=MESSAGE, contact={"id": "u1"}), READ_FROM_MESSAGE),
        ({**ENVELOPE, "payload": {**MESSAGE, "contact_id": "u1"}}, READ_FROM_MESSAGE),
        ({**ENVELOPE, **MESSAGE, "contact_id": "u1"}, READ_FROM_MESSAGE),
        ({**ENVELOPE, "message": MESSAGE, "contact": {"id": "u1"}}, READ_FROM_MESSAGE),
        ({"type": "message.received", "timestamp": NOON, "id": "m1", "contact_id": "u1"},
         {"entity_id": "m1", "properties": {"chat_id": "u1"}}),
        (crm("message.received", id="m1", contact_id="u1", message=TEXT),
         {"entity_id": "m1", "properties": {"chat_id": "u1"}}),
        ({**crm("message.received", message=MESSAGE, contact_id="u1"), "channel": "Instagram"},
         {**READ_FROM_MESSAGE, "channel": "instagram"}),
        ({**crm("message.read", id="m1", channel="webchat"), "channel": "sms"}, {"channel": "web"}),
        (crm("message.sent", id="m1", to=PHONE, template={"name": "hello"}, has_media="false"),
         {"properties": {"chat_id": f"+{PHONE}", "template_id": "hello", "has_media": False}}),
        ({**crm("message.sent", message={**MESSAGE, "timestamp": NOON}), "timestamp": None},
         {"occurred_at": NOON_WRITTEN}),
        (crm("message.failed", error="timeout", **FAILURE),
         {"properties": {"error_message": "timeout"}}),
        (crm("message.failed", error=131047, **FAILURE), {"properties": {"error_code": "131047"}}),
        (crm("message.failed", error={"title": "No"}, **FAILURE),
         {"properties": {"error_message": "No"}}),
        (crm("message.failed", error=True, **FAILURE), {"entity_id": "m1"}),
        (crm("chat.resolved", chat={"id": "c1", "outcome": "solved"}, resolutionTimeSeconds="12"),
         {"properties": {"chat_id": "c1", "outcome": "solved", "resolution_time_seconds": 12}}),
        (crm("contact.created", id="x", contact={"id": "u1", "source": "ad"}),
         {"user_id": "u1", "properties": {"contact_source": "ad"}}),
        (crm("contact.created", id="x", contact={"phone": f"+{PHONE}"}), {"user_id": f"+{PHONE}"}),
        (crm("contact.created", id="u1", contact={"name": NAME}), {"user_id": "u1"}),
        (crm("campaign.sent", campaign={"id": "k", "recipientCount": "12"}),
         {"properties": {"campaign_id": "k", "recipient_count": 12}}),
    ],
)  # fmt: skip
def test_crm_documents_of_every_shape(document: dict[str, Any], expected: dict[str, Any]) -> None:
    (event,) = events_of("crm", document)
    assert {name: event[name] for name in expected} == expected


def test_a_flat_crm_document_is_named_by_what_it_is_about_and_its_time() -> None:
    flat = {"event": "chat.assigned", "timestamp": NOON, "id": "c1", "agent_id": "a1"}
    events = [events_of("crm", d)[0] for d in (flat, {**flat, "timestamp": NOON + 9}, flat)]
    assert [event["properties"] for event in events] == [{"chat_id": "c1"}] * 3
    first, later, again = (event["event_id"] for event in events)
    assert first == again != later


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (crm("message.received", message_id="m1", chat_id="c1"), "missing_field"),
        (crm("chat.assigned", chat_id="c1"), "missing_field"),
        (crm("campaign.sent", campaign_id="k", recipient_count="many"), "bad_type"),
        ({**crm("chat.resolved", chat_id="c"), "timestamp": "2026-03-01T10:00:00"},
         "naive_timestamp"),
        ({**crm("chat.resolved", chat_id="c"), "timestamp": None}, "missing_field"),
        ({**crm("chat.resolved"), "data": ["c"]}, "bad_type"),
    ],
)  # fmt: skip
def test_bad_crm_webhooks_are_rejected(
    duckdb_settings: Settings, tmp_path: Path, document: dict[str, Any], code: str
) -> None:
    result = put(duckdb_settings, tmp_path / "a.ndjson", "crm", document, SAMPLES["crm"][0])
    assert (result.accepted, result.rejected) == (1, 1)
    (row,) = query(duckdb_settings, "select reason_code from ops.rejected_events")
    assert row["reason_code"] == code


def test_a_conversation_is_recorded(duckdb_settings: Settings, tmp_path: Path) -> None:
    later = {**CONVERSATION, "updatedAt": "2026-03-01T12:30:00Z", "messages": 9}
    again = {**later, "summary": TEXT}
    result = put(duckdb_settings, tmp_path / "a.ndjson", "conversation_insight", CONVERSATION,
                 later, again)  # fmt: skip
    assert (result.accepted, result.duplicates) == (2, 1)
    first, second = query(duckdb_settings, "select * from raw.events order by occurred_at")
    expected = {
        "event_name": "conversation_recorded", "entity_id": "cv1", "agent_id": "a1",
        "user_id": "u1", "channel": "web", "occurred_at": AT_NOON,
        "start_time": AT_NOON - timedelta(minutes=5), "end_time": AT_NOON, "message_count": 8,
        "customer_messages": 5, "agent_responses": 3, "response_time_avg_ms": 1200.0,
        "customer_satisfaction_score": 4.5, "completed": True, "conversion_type": "purchase",
        "conversion_value_cents": 29, "currency": "EUR", "sentiment": "positive",
        "sentiment_confidence": 0.9, "emotions": '["joy"]', "intents": '["pricing"]', "escalation_required": False,
        "escalation_reason": None, "follow_up_required": True,
        "follow_up_actions": '["mail [email]"]', "tags": '["vip"]', "journey_stage": "decision",
        "extra": None,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert (second["message_count"], second["entity_id"]) == (9, "cv1")


def test_a_flat_conversation_is_the_same() -> None:
    flat = {
        "conversation_id": "cv1", "agent": {"id": "a1"}, "customer": {"id": "u1"},
        "channel": "web", "start_time": NOON - 300, "end_time": NOON, "message_count": "8",
        "customer_messages": 5, "agent_responses": 3, "response_time_avg_ms": "1200",
        "customer_satisfaction_score": "4.5", "completed": "true", "conversion": "purchase",
        "conversion_value_cents": "29", "conversion_currency": "eur",
        "sentiment": "positive", "sentiment_confidence": 0.9, "emotions": ["joy"],
        "intents": ["pricing"], "escalation_required": False, "follow_up_required": True,
        "follow_up_actions": [f"mail {MAIL}"], "tags": ["vip"], "journey_stage": "decision",
    }  # fmt: skip
    (nested,) = events_of("conversation_insight", CONVERSATION)
    (event,) = events_of("conversation_insight", flat)
    for found in (nested, event):
        found.pop("event_id")
        found.pop("occurred_at")
        found["properties"] = {
            name: value for name, value in found["properties"].items() if "_time" not in name
        }
    assert event == nested


@pytest.mark.parametrize(
    ("changes", "cents", "currency"),
    [
        ({"conversion": {"type": "purchase", "value": 49.99, "currency": "EUR"}}, 4999, "EUR"),
        ({"conversion": {"value": "49.99"}, "conversionCurrency": "EUR", "currency": "USD"},
         4999, "EUR"),
        ({"conversion": {"value": 500}, "currency": "JPY"}, hundredths(500, "JPY"), "JPY"),
        ({"conversion": {"value": 5.12}, "currency": "KWD"}, hundredths(5120, "KWD"), "KWD"),
        ({"conversion": {"valueCents": 500, "currency": "JPY"}}, 500, "JPY"),
        ({"conversion": {"value": 1}}, 100, None),
    ],
)  # fmt: skip
def test_a_conversion_keeps_its_currency(
    changes: dict[str, Any], cents: int, currency: str | None
) -> None:
    (event,) = events_of("conversation_insight", {**CONVERSATION, **changes})
    assert event["properties"]["conversion_value_cents"] == cents
    assert event.get("currency") == currency


def test_a_customer_may_be_an_object_with_a_phone_number() -> None:
    customer = {"name": NAME, "phone": f"+{PHONE}"}
    document = {**CONVERSATION, "customerId": None, "customer": customer, "escalation": "true"}
    (event,) = events_of("conversation_insight", document)
    assert event["user_id"] == f"+{PHONE}"
    assert event["properties"]["escalation_required"] is True

"""The door takes every spelling that producers may use and stores one and the same event."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.columns import check_mapping
from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.registry import registry
from ingest.settings import Settings
from tests.events import event, line, load, query

CONTENT = {
    "event_id": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    "event_name": "content_created",
    "occurred_at": "2026-03-01T10:00:00.5+05:30",
    "advisor_id_hash": "adv1",
    "entity_id": "c1",
    "properties": {"content_type": "edu", "initial_risk_score": 7, "requires_approval": True},
}

ID = b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


def stored(settings: Settings, *columns: str) -> dict[str, Any]:
    (row,) = query(settings, f"select {', '.join(columns)} from raw.events")
    return row


def variants() -> dict[str, dict[str, Any]]:
    base = {k: v for k, v in CONTENT.items() if k not in ("properties", "entity_id")}
    without_time = {k: v for k, v in base.items() if k != "occurred_at"}
    properties = CONTENT["properties"]
    return {
        "canonical": CONTENT,
        "nested groups": {
            **base,
            "content_metadata": {"content_type": "edu", "entity_id": "c1"},
            "compliance": {"initial_risk_score": 7, "requires_approval": True},
        },
        "camel case": {
            "eventId": base["event_id"], "eventName": "content_created",
            "occurredAt": base["occurred_at"], "advisorIdHash": "adv1", "entityId": "c1",
            "properties": {"contentType": "edu", "initialRiskScore": 7, "requiresApproval": True},
        },
        "timestamp": {**without_time, "timestamp": base["occurred_at"], "entity_id": "c1",
                      "properties": properties},
        "dotted name": {**CONTENT, "event_name": "content.created"},
        "metadata": {**base, "entity_id": "c1", "metadata": properties},
        "content_id at the top": {**base, "content_id": "c1", "properties": properties},
        "original_content_id in a group": {**base, "ids": {"original_content_id": "c1"},
                                           "properties": properties},
        "content_id in properties": {**base, "properties": {**properties, "content_id": "c1"}},
        "canonical wins": {
            **CONTENT, "timestamp": "2020-01-01T00:00:00Z", "content_id": "c9", "entityId": "c8",
            "metadata": {"content_type": "tax"}, "group": {"content_type": "sip", "entity_id": "x"},
        },
        "groups within a group": {
            **base, "payload": {"entity_id": "c1", "properties": properties, "context": {}},
        },
        "a group within a group gives way": {
            **base, "entity_id": "c1", "metadata": {"requires_approval": True},
            "payload": {"properties": {**properties, "requires_approval": False, "content_type": "tax"},
                        "content_type": "edu"},
        },
        "5.0 is 5": {**CONTENT, "properties": {**properties, "initial_risk_score": 7.0}},
        "absent values give way": {
            **CONTENT, "user_id": " ", "properties": {**properties, "language": None, "platform": ""},
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", variants())
def test_every_spelling_gives_the_same_row(
    duckdb_settings: Settings, tmp_path: Path, name: str
) -> None:
    result = load(duckdb_settings, tmp_path / "f.json", json.dumps(variants()[name]).encode())
    assert (result.accepted, result.rejected) == (1, 0)
    assert stored(
        duckdb_settings, "event_id", "event_name", "occurred_at", "event_date", "entity_id",
        "entity_type", "advisor_id_hash", "content_type", "initial_risk_score",
        "requires_approval", "channel", "source", "schema_version", "user_id", "domain",
    ) == {
        "event_id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "event_name": "content_created",
        "occurred_at": datetime(2026, 3, 1, 4, 30, 0, 500_000),
        "event_date": datetime(2026, 3, 1).date(),
        "entity_id": "c1",
        "entity_type": "content",
        "advisor_id_hash": "adv1",
        "content_type": "edu",
        "initial_risk_score": 7,
        "requires_approval": True,
        "channel": "system",
        "source": "unknown",
        "schema_version": 1,
        "user_id": None,
        "domain": "advisory",
    }  # fmt: skip


def test_what_is_passed_on_is_the_original(duckdb_settings: Settings, tmp_path: Path) -> None:
    """Forwards and replies name the content that was sent; other events that of their own."""
    forwarded = {"event_name": "content_forwarded", "entity_id": None, "content_id": "own",
                 "properties": {"original_whatsapp_message_id": "m"}}  # fmt: skip
    replied = {"event_name": "client_response_received", "entity_id": None}
    made = {"event_name": "content_created", "entity_id": None}
    both = {"content_id": "own", "original_content_id": "first"}
    events = [
        {**forwarded, "ids": {"original_content_id": "first"}},
        forwarded,
        {**replied, "properties": both},
        {**replied, **both},
        {**made, **both, "properties": {"content_type": "edu"}},
    ]
    data = b"\n".join(line(**e, advisor_id_hash="a", source=str(n)) for n, e in enumerate(events))
    assert load(duckdb_settings, tmp_path / "f.ndjson", data).rejected == 0
    rows = query(duckdb_settings, "select entity_id from raw.events order by source")
    assert [row["entity_id"] for row in rows] == ["first", "own", "first", "first", "own"]


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {"whatsapp_message_id": "m1", "recipient_phone_hash": "h1"}},
        {"delivery": {"whatsapp_message_id": "m1", "recipient_phone_hash": "h1"}},
        {"recipient_phone_hash": "h1", "properties": {"whatsapp_message_id": "m1"}},
        {"properties": {"whatsapp_message_id": "m1", "responding_client_hash": "h1"}},
        {"user_id": "h1", "properties": {"whatsapp_message_id": "m1", "recipientPhoneHash": "h2"}},
    ],
)
def test_a_clients_hash_is_the_user_where_none_is_given(
    duckdb_settings: Settings, tmp_path: Path, changes: dict[str, Any]
) -> None:
    data = line(event_name="whatsapp_message_read", advisor_id_hash="a", provider=None,
                properties=None, **{k: v for k, v in changes.items() if k != "properties"})  # fmt: skip
    document = {**json.loads(data), **changes}
    load(duckdb_settings, tmp_path / "f.json", json.dumps(document).encode())
    row = stored(duckdb_settings, "user_id", "whatsapp_message_id")
    assert row == {"user_id": "h1", "whatsapp_message_id": "m1"}


def test_unknown_values_are_kept_redacted_and_counted(settings: Settings, tmp_path: Path) -> None:
    data = line(
        store="north", properties={"order_id": "o1", "weight": 3, "contact": "me@example.com"},
        context={"screen": "wide", "utm_source": "ads"},
    )  # fmt: skip
    load(settings, tmp_path / "f.ndjson", data)
    (row,) = query(settings, "select cast(extra as varchar) as extra, utm_source from raw.events")
    extra = json.loads(row["extra"])
    assert extra.pop("contact").startswith("dev:")
    assert extra == {"store": "north", "weight": 3, "context": {"screen": "wide"}}
    assert row["utm_source"] == "ads"
    drift = query(settings, "select property, events from ops.unknown_properties order by property")
    assert [row["property"] for row in drift] == ["contact", "context", "store", "weight"]


def test_what_is_unknown_of_rejected_lines_is_not_counted(
    settings: Settings, tmp_path: Path
) -> None:
    """Nothing of them is kept in extra: neither found by their shape, their name nor a value."""
    unheard = {"unheard_of": 1}
    lines = [
        line(properties={"order_id": "o1", **unheard}),
        line(amount_cents="much", **unheard),
        line(amount_cents=-1, **unheard),
        line(event_name="no_such_event", **unheard),
        json.dumps({"event_id": ID.decode(), **unheard}).encode(),
    ]
    assert load(settings, tmp_path / "f.ndjson", b"\n".join(lines)).rejected == 4
    drift = query(settings, "select event_name, property, events from ops.unknown_properties")
    assert drift == [{"event_name": "payment_succeeded", "property": "unheard_of", "events": 1}]


def test_an_events_property_on_another_event_is_unknown(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    data = line(event_name="order_created", user_id="u", service_code="s",
                properties={"is_gold": True, "reader_id": "r1"})  # fmt: skip
    load(duckdb_settings, tmp_path / "f.ndjson", data)
    assert stored(duckdb_settings, "is_gold", "reader_id", "extra") == {
        "is_gold": True, "reader_id": None, "extra": '{"reader_id":"r1"}',
    }  # fmt: skip


def test_defaults_belong_to_their_events(duckdb_settings: Settings, tmp_path: Path) -> None:
    data = line(event_name="payment_attempted", properties=None) + b"\n" + line(
        event_name="call_dropped", duration_seconds=3) + b"\n" + line(
        event_name="appointment_booked", agent_id="a", user_id="u")  # fmt: skip
    load(duckdb_settings, tmp_path / "f.ndjson", data)
    rows = query(duckdb_settings, "select event_name, is_fallback, recorded, entity_type "
                 "from raw.events order by event_name")  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [
        ("appointment_booked", None, None, "appointment"),
        ("call_dropped", None, False, "call"),
        ("payment_attempted", False, None, "payment"),
    ]


def test_countries_and_currencies_are_upper_case(duckdb_settings: Settings, tmp_path: Path) -> None:
    data = line(country_code="de", currency="inr") + b"\n" + line(country_code="XX")
    load(duckdb_settings, tmp_path / "f.ndjson", data)
    rows = query(duckdb_settings, "select country_code, currency from raw.events order by 2 desc")
    assert [tuple(row.values()) for row in rows] == [("DE", "INR"), (None, "EUR")]


def test_arrays_are_kept_as_text(settings: Settings, tmp_path: Path) -> None:
    data = line(event_name="conversation_recorded", agent_id="a", user_id="u", channel="web",
                properties={"start_time": "2026-03-01T10:00:00+01:00", "tags": ["a", "b c", 1]})  # fmt: skip
    load(settings, tmp_path / "f.ndjson", data)
    (row,) = query(settings, "select tags, start_time, completed from raw.events")
    assert row == {
        "tags": '["a","b c",1]',
        "start_time": datetime(2026, 3, 1, 9),
        "completed": True,
    }


@pytest.mark.parametrize(
    ("zone", "day", "hour"),
    [("Asia/Kolkata", 1, 4), ("America/New_York", 28, 18), ("UTC", 28, 23)],
)
def test_event_dates_are_those_of_the_business(
    settings: Settings, tmp_path: Path, in_zone: Any, zone: str, day: int, hour: int
) -> None:
    settings = in_zone(settings, zone)
    load(settings, tmp_path / "f.ndjson", line(occurred_at="2026-02-28T23:00:00Z"))
    (row,) = query(settings, "select event_date, event_hour from raw.events")
    assert (row["event_date"].day, row["event_hour"]) == (day, hour)


# --- files -----------------------------------------------------------------------------------


def test_gzip_members_and_csv_and_parquet_give_the_same_rows(
    settings: Settings, tmp_path: Path
) -> None:
    events = [event(user_id=f"u{i}", amount_cents=i, context={"dnt": False}) for i in range(4)]
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    halves = [b"\n".join(json.dumps(e).encode() for e in part) + b"\n" for part in (events[:1], [])]
    (folder / "a.ndjson.gz").write_bytes(gzip.compress(halves[0]) + gzip.compress(halves[1]))
    with (folder / "deep" / "b.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        names = ["event_id", "event_name", "occurred_at", "entity_id", "provider", "amount_cents",
                 "currency", "user_id", "properties.order_id", "context.dnt"]  # fmt: skip
        writer.writerow(names)
        e = events[1]
        writer.writerow([e["event_id"], e["event_name"], e["occurred_at"], e["entity_id"],
                         e["provider"], "1", "EUR", "u1", "o1", "False"])  # fmt: skip
    flat = {k: v for k, v in events[2].items() if k not in ("context",)}
    pq.write_table(pa.Table.from_pylist([flat]), folder / "c.parquet")
    as_text = {**events[3], "properties": json.dumps(events[3]["properties"]), "context": None,
               "occurred_at": datetime.fromisoformat("2026-03-01T10:00:00+00:00")}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([as_text]), folder / "d.parquet")
    (folder / "notes.txt").write_text("no events here")
    results = ingest_paths([folder], settings=settings)
    assert [r.file_name for r in results] == ["a.ndjson.gz", "c.parquet", "d.parquet", "b.csv"]
    assert all((r.accepted, r.rejected, r.status) == (1, 0, "loaded") for r in results)
    rows = query(settings, "select event_id, user_id, amount_cents, order_id, occurred_at "
                 "from raw.events order by amount_cents")  # fmt: skip
    assert [row["event_id"] for row in rows] == [e["event_id"] for e in events]
    assert {(row["order_id"], row["occurred_at"]) for row in rows} == {
        ("o1", datetime(2026, 3, 1, 10))
    }


def test_csv_columns_can_be_mapped(duckdb_settings: Settings, tmp_path: Path) -> None:
    e = event()
    text = "id,what,when,entity_id,provider,cents,currency,order\n" + ",".join(
        [e["event_id"], "payment_succeeded", e["occurred_at"], "p", "x", "7", "EUR", '"o,""1"']
    )
    mapping = {"id": "event_id", "what": "event_name", "when": "occurred_at",
               "cents": "amount_cents", "order": "properties.order_id"}  # fmt: skip
    result = load(duckdb_settings, tmp_path / "f.csv", text.encode(), mapping=mapping)
    assert result.accepted == 1
    assert stored(duckdb_settings, "amount_cents", "order_id") == {
        "amount_cents": 7, "order_id": 'o,"1',
    }  # fmt: skip


@pytest.mark.parametrize(
    "target",
    ["props.order_id", "entity_idd", "properties.", "", "order_id", "load_id"],
)
def test_a_map_to_what_is_no_field_is_refused(
    duckdb_settings: Settings, tmp_path: Path, target: str
) -> None:
    """Before anything is loaded."""
    data = b"id,event_name,order\n" + ID + b",page_viewed,o\n"
    mapping = {"id": "eventId", "order": target}
    with pytest.raises(UserError, match=f"'order' to '{target}', which is no field"):
        load(duckdb_settings, tmp_path / "f.csv", data, mapping=mapping)
    assert not (duckdb_settings.home / "warehouse.duckdb").exists()


@pytest.mark.parametrize(
    "target",
    ["timestamp", "occurredAt", "content_id", "properties", "properties.unheard_of", "context.dnt"],
)
def test_a_map_may_name_any_spelling_of_a_field(target: str) -> None:
    check_mapping({"column": target}, registry())


def test_a_map_names_columns_of_the_files(settings: Settings, tmp_path: Path) -> None:
    """A file that lacks one fails alone, and is loaded once the map is right."""
    cells = [b"p", b"x", b"7", b"EUR"]
    row = b",".join([ID, b"payment_succeeded", b"2026-03-01T10:00:00Z", *cells])
    head = b"event_id,event_name,occurred_at,entity_id,provider,amount_cents,"
    (tmp_path / "a.csv").write_bytes(head + b" Curr\n" + row + b"\n")
    (tmp_path / "b.csv").write_bytes(head + b"Currr\n" + row + b"\n")
    (tmp_path / "c.ndjson").write_bytes(line() + b"\n")
    paths = [tmp_path / name for name in ("a.csv", "b.csv", "c.ndjson")]
    wrong, right = ({name: "currency"} for name in ("Currr", "Curr "))
    for given, status in ((paths, "loaded"), (paths[:1], "failed")):
        results = ingest_paths(given, settings=settings, mapping=wrong)
        assert results[0].status == "failed"
        assert results[0].error == ("a.csv: its header has no column 'Currr', which --map names")
        assert results[-1].status == status
    result = load(settings, paths[0], mapping=right)
    assert (result.status, result.duplicates, result.rejected) == ("loaded", 1, 0)
    left = query(
        settings, "select count(*) as n from ops.rejected_events where resolved_at is null"
    )
    assert left == [{"n": 0}]


def test_a_map_without_csv_is_refused(duckdb_settings: Settings, tmp_path: Path) -> None:
    mapping = {"id": "event_id"}
    for name in ("a.ndjson", "b.json"):
        (tmp_path / name).write_bytes(line())
    with pytest.raises(UserError, match=r"columns of CSV, and a\.ndjson is none, nor any other"):
        ingest_paths([tmp_path], settings=duckdb_settings, mapping=mapping)
    with pytest.raises(UserError, match="--as reads JSON"):
        ingest_paths([tmp_path], settings=duckdb_settings, mapping=mapping, adapter="crm")


def test_a_bad_csv_row_leaves_its_neighbours_alone(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    header = "event_id,event_name,occurred_at,entity_id,provider,amount_cents,currency,request_id\n"

    def row(amount: str = "7", request: str = "r") -> str:
        return f"{event()['event_id']},payment_succeeded,2026-03-01T10:00:00Z,p,x,{amount},EUR,{request}\n"

    good = [row() for _ in range(7)]
    rows = [
        good[0], row("seven"), good[1], "too,short\n", good[2], row(request='"open'), good[3],
        row("7.5"), good[4], row(request='"two\nlines"'), good[5], row(request="\udcff"), good[6],
        row(request="x\0y"),
    ]  # fmt: skip
    data = (header + "".join(rows)).encode("utf-8", "surrogateescape")
    result = load(duckdb_settings, tmp_path / "f.csv", data)
    assert (result.accepted, result.rejected) == (8, 6)
    codes = query(duckdb_settings, "select reason_code from ops.rejected_events order by 1")
    assert [c["reason_code"] for c in codes] == [
        "bad_type", "bad_type", "invalid_utf8", "malformed_json", "malformed_json", "nul_byte",
    ]  # fmt: skip


def test_a_cut_gzip_keeps_the_whole_lines_before_the_cut(
    settings: Settings, tmp_path: Path
) -> None:
    lines = [line(request_id="x" * 50) + b"\n" for _ in range(2000)]
    whole = gzip.compress(b"".join(lines))
    result = load(settings, tmp_path / "cut.ndjson.gz", whole[: len(whole) // 2])
    assert result.status == "partial"
    assert 500 < result.accepted < 2000
    assert result.rejected == 1
    again = load(settings, tmp_path / "cut.ndjson.gz")
    assert again.status == "already_loaded"
    rest = load(settings, tmp_path / "whole.ndjson.gz", whole)
    assert (rest.duplicates, rest.accepted) == (result.accepted, 2000 - result.accepted)


def test_a_damaged_file_loads_nothing(duckdb_settings: Settings, tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"\n".join(line() for _ in range(500))))
    data[-6] ^= 0xFF
    pq.write_table(pa.Table.from_pylist([event()]), tmp_path / "p.parquet")
    parquet = (tmp_path / "p.parquet").read_bytes()
    for name, damaged in [
        ("crc.ndjson.gz", bytes(data)),
        ("p.parquet", parquet[: len(parquet) // 2]),
        ("q.parquet", b"PAR1" + b"\0" * 100),
    ]:
        result = load(duckdb_settings, tmp_path / name, damaged)
        assert (result.status, result.accepted, result.rejected) == ("failed", 0, 1)
        assert name in str(result.error)
    assert query(duckdb_settings, "select count(*) as n from raw.events") == [{"n": 0}]
    codes = query(duckdb_settings, "select distinct reason_code from ops.rejected_events")
    assert codes == [{"reason_code": "unreadable_file"}]


def test_an_empty_file_is_loaded_as_nothing(duckdb_settings: Settings, tmp_path: Path) -> None:
    for name in ("a.ndjson", "b.csv"):
        result = load(duckdb_settings, tmp_path / name, b"" if name == "a.ndjson" else b"x\n")
        assert (result.status, result.read) == ("loaded", 0)


def test_links_that_lead_out_of_a_folder_are_not_followed(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    from ingest.door import find_files

    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.ndjson").write_bytes(line())
    (folder / "link.ndjson").symlink_to(tmp_path / "secret.ndjson")
    (folder / "own.ndjson").write_bytes(line())
    assert [path.name for path in find_files([folder])] == ["own.ndjson"]


@pytest.mark.parametrize("kind", ["ndjson", "gzip", "csv"])
def test_standard_input(
    duckdb_settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    e = event()
    data = {
        "ndjson": json.dumps(e).encode(),
        "gzip": gzip.compress(json.dumps(e).encode()),
        "csv": "event_id,event_name,occurred_at,entity_id,provider,amount_cents,currency\n"
        f"{e['event_id']},{e['event_name']},{e['occurred_at']},p,x,7,EUR\n",
    }[kind]
    data = data.encode() if isinstance(data, str) else data
    for status in ("loaded", "already_loaded"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        left = duckdb_settings.home / "spool" / "999999999" / "standard-input.ndjson"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"what a killed process left")
        (result,) = ingest_paths([Path("-")], settings=duckdb_settings)
        assert result.status == status
        assert result.file_name.startswith("standard-input")
        assert not list((duckdb_settings.home / "spool").iterdir())
    assert query(duckdb_settings, "select count(*) as n from raw.events") == [{"n": 1}]


def test_standard_input_is_read_once_and_may_be_closed(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = Path("-")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(line())))
    (result,) = ingest_paths([piped, piped], settings=duckdb_settings)
    assert result.accepted == 1
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        ingest_paths([piped], settings=duckdb_settings)
    (tmp_path / "f.ndjson").write_bytes(line())
    said: list[str] = []
    (result,) = ingest_paths(
        [piped, tmp_path / "f.ndjson"], settings=duckdb_settings, on_missing=said.append
    )
    assert (result.accepted, len(said)) == (1, 1)

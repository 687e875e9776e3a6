"""The simulator: same arguments same bytes, events keep their contracts, the truth is true."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from ingest.errors import UserError
from ingest.registry import Field, registry
from ingest.simulator import Simulation, engine, simulate
from ingest.simulator.faults import CODES

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
RATES = {"duplicate_rate": 0.03, "disorder_rate": 0.10, "late_rate": 0.04, "invalid_rate": 0.01}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Ninety days with every kind of disturbance."""
    out = tmp_path_factory.mktemp("simulated")
    return simulate(days=90, size=50_000, seed=42, out=out, **RATES)


@pytest.fixture(scope="module")
def rows(run: Simulation) -> list[tuple[date, int, dict[str, Any] | None, str]]:
    """Every line: arrival date, line number, event (None where invalid), reason code."""
    broken = {
        (row["file"], row["line_number"]): row["reason_code"] for row in table(run, "invalid")
    }
    found = []
    for path in run.files:
        arrived = date.fromisoformat(path.name.split("_")[1].split(".")[0])
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            code = broken.get((path.name, number), "")
            found.append((arrived, number, None if code else json.loads(line), code))
    return found


def table(run: Simulation, name: str) -> list[dict[str, Any]]:
    return pq.read_table(run.truth_folder / f"{name}.parquet").to_pylist()


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def occurred(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])


# --- an independent reading of the contracts ------------------------------------------------

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "text": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "timestamp": str,
    "date": str,
    "array": list,
    "object": dict,
}


def faults_of(spec: Field, value: Any) -> Iterator[str]:
    """What is wrong with a value."""
    boolean = isinstance(value, bool)
    if not isinstance(value, TYPES[spec.type]) or (boolean and spec.type != "boolean"):
        yield f"{spec.name}: {value!r} is no {spec.type}"
        return
    if isinstance(value, str) and not value.strip():
        yield f"{spec.name} is blank"
    if spec.type == "timestamp" and not INSTANT.fullmatch(value):
        yield f"{spec.name}: {value!r} is no instant"
    if spec.enum and value not in spec.enum:
        yield f"{spec.name}: {value!r} is not one of {spec.enum}"
    if spec.min is not None and value < spec.min:
        yield f"{spec.name}: {value} is under {spec.min}"
    if spec.max is not None and value > spec.max:
        yield f"{spec.name}: {value} is over {spec.max}"


def breaches(event: dict[str, Any]) -> Iterator[str]:
    """Everything in an event that its contract does not allow."""
    contracts = registry()
    contract = contracts.events[event["event_name"]]
    if not UUID.fullmatch(event["event_id"]):
        yield f"event_id {event['event_id']}"
    envelope = {name for name, spec in contracts.envelope.items() if spec.required}
    properties = event.get("properties", {})
    for name in envelope | set(contract.required):
        if event.get(name) is None:
            yield f"{name} is missing"
    for name, spec in contract.properties.items():
        if spec.required and properties.get(name) is None:
            yield f"{name} is missing"
    for place, fields, values in (
        ("envelope", contracts.envelope, event),
        ("context", contracts.context, event.get("context", {})),
        ("properties", contract.properties, properties),
    ):
        for name, value in values.items():
            if name not in fields:
                yield f"{name} does not belong into {place}"
            else:
                yield from faults_of(fields[name], value)
    if contract.status and event["status"] not in contract.status:
        yield f"status {event['status']}"
    own_type = contract.entity_type or event.get("entity_type")
    if "entity_id" in event and own_type is None:
        yield "entity_id without entity_type"
    if event["event_name"] == "user_identified":
        links = {**event, **properties}.keys() & {
            "user_id", "anonymous_id", "phone_hash", "email_hash",
        }  # fmt: skip
        if len(links) < 2:
            yield "links nothing"


def test_the_checker_sees_faults() -> None:
    good = {
        "event_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12,
        "event_name": "order_assigned",
        "occurred_at": "2026-01-01T00:00:00.000Z",
        "entity_id": "ord_1",
        "properties": {"reader_id": "r"},
    }
    assert list(breaches(good)) == []
    for change in (
        {"entity_id": None}, {"properties": {}}, {"properties": {"reader_id": 7}},
        {"channel": "fax"}, {"amount_cents": -1}, {"event_id": "1"}, {"colour": "red"},
        {"occurred_at": "2026-01-01"}, {"duration_seconds": True},
    ):  # fmt: skip
        assert list(breaches({**good, **change})), change


# --- events ---------------------------------------------------------------------------------


def test_every_event_keeps_its_contract(rows: list[Any]) -> None:
    found = {
        f"{event['event_name']}: {fault}"
        for *_, event, _ in rows
        if event is not None
        for fault in breaches(event)
    }
    assert not found, sorted(found)[:20]


def test_every_event_name_and_property_occurs(rows: list[Any]) -> None:
    seen: dict[str, set[str]] = {}
    for *_, event, _ in rows:
        if event is not None:
            seen.setdefault(event["event_name"], set()).update(event.get("properties", {}))
    assert set(seen) == set(registry().events)
    for name, event in registry().events.items():
        required = {prop for prop, spec in event.properties.items() if spec.required}
        assert required <= seen[name], name


def test_no_personal_data_unless_asked(run: Simulation, tmp_path: Path) -> None:
    personal = re.compile(rb"\+\d[\d \-]{7,}|\w@\w")
    assert not any(personal.search(path.read_bytes()) for path in run.files)
    planted = simulate(days=10, size=3_000, seed=1, out=tmp_path / "p", personal_data_rate=0.2)
    users = {row["user_id"] for row in table(planted, "people")}
    assert any(user.startswith("+") for user in users) and any("@" in user for user in users)
    assert any(personal.search(path.read_bytes()) for path in planted.files)


def test_life_of_an_order(rows: list[Any]) -> None:
    orders: dict[str, dict[str, list[datetime]]] = {}
    for *_, event, _ in rows:
        if event is not None and str(event.get("entity_id", "")).startswith("ord_"):
            times = orders.setdefault(event["entity_id"], {})
            times.setdefault(event["event_name"], []).append(occurred(event))
    ends = Counter()
    loops = 0
    for times in orders.values():
        created = min(times["order_created"])
        for name in ("order_assigned", "order_submitted", "order_completed", "order_cancelled"):
            assert all(created <= time for time in times.get(name, ())), name
        assert not ("order_completed" in times and "order_cancelled" in times)
        ends.update(times.keys() & {"order_completed", "order_cancelled"})
        loops += len(set(times.get("moderation_decision", ()))) > 2
    assert ends["order_completed"] > 10 * ends["order_cancelled"] > 0
    assert loops > 0


def test_payments_fail_on_the_bad_day(rows: list[Any], run: Simulation) -> None:
    manifest = json.loads((run.truth_folder / "manifest.json").read_text())
    bad = manifest["incidents"]["provider"]
    tally: Counter[tuple[bool, str]] = Counter()
    for *_, event, _ in rows:
        if event is not None and event.get("provider") == bad["provider"]:
            tally[event["occurred_at"][:10] == bad["date"], event["event_name"]] += 1
    share = {
        day: tally[day, "payment_failed"] / tally[day, "payment_attempted"] for day in (True, False)
    }
    assert share[True] > 0.2 > 0.1 > share[False] > 0


# --- truth ----------------------------------------------------------------------------------


def test_truth_counts_equal_the_files(rows: list[Any], run: Simulation) -> None:
    valid = {event["event_id"]: event for *_, event, _ in rows if event is not None}
    counted = Counter((event["occurred_at"][:10], event["event_name"]) for event in valid.values())
    told = {
        (row["event_date"].isoformat(), row["event_name"]): row["events"]
        for row in table(run, "daily_counts")
    }
    assert told == counted
    assert run.events == len(valid)
    assert run.lines == len(rows)
    assert run.duplicates == sum(event is not None for *_, event, _ in rows) - len(valid)
    assert run.invalid == sum(event is None for *_, event, _ in rows)
    for file in table(run, "files"):
        lines = (run.events_folder / file["file"]).read_bytes().count(b"\n")
        assert file["lines"] == lines == file["unique"] + file["duplicates"] + file["invalid"]


def test_late_events_stand_in_a_later_file(rows: list[Any], run: Simulation) -> None:
    first: dict[str, tuple[date, date]] = {}
    for arrived, _, event, _ in rows:
        if event is not None:
            first.setdefault(event["event_id"], (arrived, occurred(event).date()))
    days = Counter((arrived - day).days for arrived, day in first.values())
    assert set(days) <= set(range(8))
    assert run.late == sum(count for late, count in days.items() if late)


def test_rates_are_as_asked(run: Simulation) -> None:
    assert run.events == pytest.approx(50_000, rel=0.03)
    assert run.duplicates / run.events == pytest.approx(RATES["duplicate_rate"], rel=0.15)
    assert run.late / run.events == pytest.approx(RATES["late_rate"], rel=0.15)
    assert run.invalid / run.events == pytest.approx(RATES["invalid_rate"], rel=0.25)
    expected = RATES["disorder_rate"] * (1 + RATES["duplicate_rate"])
    assert run.out_of_order / run.events == pytest.approx(expected, rel=0.1)


def test_nothing_is_wrong_when_nothing_wrong_is_asked(tmp_path: Path) -> None:
    run = simulate(
        days=5, size=2_000, seed=3, out=tmp_path / "clean",
        duplicate_rate=0, disorder_rate=0, late_rate=0, invalid_rate=0,
    )  # fmt: skip
    assert (run.duplicates, run.out_of_order, run.invalid) == (0, 0, 0)
    assert run.late <= 5  # the last second of a day arrives on the next one
    for path in run.files:
        times = [occurred(json.loads(line)) for line in path.read_text().splitlines()]
        # as they arrive: a second or two of latency, never more than a minute
        assert all(later - earlier > timedelta(minutes=-1) for earlier, later in pairwise(times))


def test_invalid_lines_deserve_their_code(rows: list[Any], run: Simulation) -> None:
    codes = Counter(code for *_, code in rows if code)
    assert set(codes) == set(CODES)
    broken = table(run, "invalid")
    lines = {path.name: path.read_bytes().split(b"\n") for path in run.files}
    by_code = {row["reason_code"]: lines[row["file"]][row["line_number"] - 1] for row in broken}
    assert (
        len(by_code["too_large"])
        > 262_144
        >= max(len(line) for code, line in by_code.items() if code != "too_large")
    )
    with pytest.raises(json.JSONDecodeError):
        json.loads(by_code["malformed_json"])
    with pytest.raises(UnicodeDecodeError):
        by_code["invalid_utf8"].decode()
    assert not isinstance(json.loads(by_code["not_an_object"]), dict)
    for code in ("not_in_enum", "out_of_range", "bad_type", "bad_uuid", "bad_timestamp",
                 "naive_timestamp"):  # fmt: skip
        assert list(breaches(json.loads(by_code[code]))), code


def test_people_join_once_and_leave_for_good(rows: list[Any], run: Simulation) -> None:
    people = {row["user_id"]: row for row in table(run, "people")}
    signed_up, identified = {}, 0
    for *_, event, _ in rows:
        if event is None:
            continue
        person = people.get(event.get("user_id", ""))
        if "user_id" in event:
            assert person is not None, event["user_id"]
        if person is None or not registry().events[event["event_name"]].activity:
            continue
        today = occurred(event).date()
        assert person["churn_date"] is None or today < person["churn_date"], event
        assert today >= person["first_date"]
        if event["event_name"] == "user_signed_up":
            signed_up[event["user_id"]] = today
    for *_, event, _ in rows:
        if event is not None and event["event_name"] == "user_identified":
            person = people[event["user_id"]]
            for name in ("anonymous_id", "phone_hash", "email_hash"):
                value = {**event, **event["properties"]}.get(name)
                assert value in (None, person[name])
            identified += 1
    assert identified > 100
    assert all(people[user]["first_date"] == day for user, day in signed_up.items())
    joined = {user for user, row in people.items() if row["first_date"] >= run.start}
    assert set(signed_up) == joined


def test_advisors_have_three_tiers_and_some_leave(rows: list[Any], run: Simulation) -> None:
    advisors = {row["advisor_id_hash"]: row for row in table(run, "advisors")}
    assert {row["tier"] for row in advisors.values()} == {"basic", "standard", "pro"}
    for *_, event, _ in rows:
        if event is not None and event["event_name"] == "content_created":
            advisor = advisors[event["advisor_id_hash"]]
            assert event["properties"]["advisor_tier"] == advisor["tier"]
            gone = advisor["churn_date"]
            assert gone is None or occurred(event).date() < gone


def test_events_made_in_many_spans_reach_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large run is made some days at a time; what is under way must not get lost between."""
    monkeypatch.setattr(engine, "EVENTS_PER_SPAN", 1_000)
    run = simulate(days=30, size=9_000, seed=11, out=tmp_path / "spans", **RATES)
    broken = {(row["file"], row["line_number"]) for row in table(run, "invalid")}
    counted: Counter[tuple[date, str]] = Counter()
    seen: set[str] = set()
    for path in run.files:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if (path.name, number) not in broken:
                event = json.loads(line)
                if event["event_id"] not in seen:
                    counted[occurred(event).date(), event["event_name"]] += 1
                seen.add(event["event_id"])
    told = {(row["event_date"], row["event_name"]): row["events"]
            for row in table(run, "daily_counts")}  # fmt: skip
    assert counted == told
    assert len(run.files) == 30


# --- arguments ------------------------------------------------------------------------------


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> dict[str, str]:
        simulate(days=9, size=4_000, seed=seed, out=tmp_path / name, **RATES)
        return digest(tmp_path / name)

    first = made("a", 5)
    assert first == made("b", 5)
    assert first == made("a", 5)  # an earlier run is replaced
    assert first != made("c", 6)


def test_compressed_files_hold_the_same(tmp_path: Path) -> None:
    plain = simulate(days=3, size=1_000, seed=2, out=tmp_path / "plain")
    packed = simulate(days=3, size=1_000, seed=2, out=tmp_path / "packed", compress=True)
    assert all(path.name.endswith(".ndjson.gz") for path in packed.files)
    for one, other in zip(plain.files, packed.files, strict=True):
        assert one.read_bytes() == gzip.decompress(other.read_bytes())


def test_dates_are_those_of_the_business_time_zone(tmp_path: Path) -> None:
    zone = "Asia/Kolkata"
    run = simulate(
        days=4, size=2_000, seed=2, out=tmp_path / "in", start=date(2026, 2, 1), timezone=zone,
        duplicate_rate=0,
    )  # fmt: skip
    counted: Counter[str] = Counter()
    for path in run.files:
        for line in path.read_text().splitlines():
            local = occurred(json.loads(line)).astimezone(ZoneInfo(zone))
            counted[local.date().isoformat()] += 1
    told: Counter[str] = Counter()
    for row in table(run, "daily_counts"):
        told[row["event_date"].isoformat()] += row["events"]
    assert counted == told
    assert min(counted) == "2026-02-01" and max(counted) == "2026-02-04"


def test_one_day_and_few_events(tmp_path: Path) -> None:
    run = simulate(days=1, size=100, seed=1, out=tmp_path / "one", end=date(2026, 1, 5))
    assert [path.name for path in run.files] == ["events_2026-01-05.ndjson"]
    assert run.late == 0
    assert run.start == run.end == date(2026, 1, 5)


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    good = {"days": 2, "size": 500, "seed": 1, "out": tmp_path / "x"}
    for change in ({"days": 0}, {"size": 0}, {"size": "huge"}, {"late_rate": 1.5},
                   {"out": tmp_path}, {"end": date(1, 1, 1)}, {"end": date(1900, 1, 1)},
                   {"end": date(9999, 12, 31)}):  # fmt: skip
        with pytest.raises(UserError, match=r"use|must|choose"):
            simulate(**{**good, **change})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_no_clock_decides_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = simulate(days=2, size=500, seed=1, out=tmp_path / "old", end=date(2019, 6, 1))
    latest = max(
        occurred(json.loads(line)) for path in run.files for line in path.read_text().splitlines()
    )
    assert latest <= datetime(2019, 6, 2, tzinfo=UTC)

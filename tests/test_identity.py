"""Who is whom: persons against a union-find in plain Python, on both engines.

Random links of few identifiers, some of them shared by a crowd, in any order of arrival and of
runs, taken back, erased and late; and the commands that explain and revoke. The numbers of other
marts are the matter of test_marts_oracle and test_laws.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.privacy import Pseudonyms
from ingest.settings import Settings
from orchestration import identity
from orchestration.identity import Explanation, Link, chain
from tests.command_line import tidemark
from tests.facts import Row, read
from tests.lab import Lab
from tests.tiny_project import run_below_job

START = date(2026, 1, 1)
TYPES = ("anonymous_id", "email_hash", "phone_hash", "user_id")
MAX_PARTNERS = 20
SELECT = tuple(
    f"{model},resource_type:{kind}"
    for model, kind in (
        ("identity_placeholders", "seed"), ("+identity_map", "model"), ("identity_conflicts", "model"),
    )
)  # fmt: skip

Key = tuple[str, str]


# -- the oracle ------------------------------------------------------------------------------------


def identifiers_of(event: Row) -> set[Key]:
    """The identifiers that count in an event: all four on a link, else the two of any event."""
    properties = event.get("properties") or {}
    linked = event["event_name"] == "user_identified"
    values = {"user_id": event.get("user_id"), "anonymous_id": event.get("anonymous_id")}
    if linked:
        values |= {name: properties.get(name) for name in ("phone_hash", "email_hash")}
    return {(kind, value) for kind, value in values.items() if value is not None}


def persons_of(events: Iterable[Row], *, revoked: Iterable[str] = ()) -> dict[Key, str]:
    """Identifier -> person_id, by union-find over links; crowds join nobody."""
    events = list(events)
    revoked = set(revoked)
    links = [
        identifiers_of(e)
        for e in events
        if e["event_name"] == "user_identified" and e["event_id"] not in revoked
    ]
    partners: dict[tuple[Key, str], set[str]] = defaultdict(set)
    for link in links:
        for key in link:
            for kind, value in link - {key}:
                partners[key, kind].add(value)
    crowds = {key for (key, _), found in partners.items() if len(found) > MAX_PARTNERS}
    parent = {key: key for event in events for key in identifiers_of(event)}

    def find(key: Key) -> Key:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for link in links:
        joined = sorted(link - crowds)
        for key in joined[1:]:
            one, two = sorted((find(joined[0]), find(key)))
            parent[two] = one
    return {key: person_id(find(key)) for key in parent}


def person_id(key: Key) -> str:
    """The name of the person whose smallest identifier this is."""
    return hashlib.md5(":".join(key).encode(), usedforsecurity=False).hexdigest()


# -- worlds ----------------------------------------------------------------------------------------


def link(rng: random.Random, day: int, **identifiers: str) -> Row:
    """One user_identified event."""
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event_name": "user_identified",
        "occurred_at": f"{START + timedelta(days=day)}T{rng.randrange(24):02d}:00:00+00:00",
        **{k: v for k, v in identifiers.items() if k in ("user_id", "anonymous_id")},
        "properties": {k: v for k, v in identifiers.items() if k.endswith("_hash")},
    }


def random_links(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Links of few identifiers, a telephone of a whole shop, and events that link nothing."""
    pools = {
        "user_id": [f"u{n}" for n in range(count // 2)] + ["é", "Z"],
        "anonymous_id": [f"a{n}" for n in range(count // 2)] + ["u1"],
        "phone_hash": [f"p{n}" for n in range(count // 3)],
        "email_hash": [f"m{n}" for n in range(count // 3)],
    }
    events = []
    for _ in range(count):
        kinds = rng.sample(TYPES, rng.choice((2, 2, 3, 4)))
        chosen = {kind: rng.choice(pools[kind]) for kind in kinds}
        events.append(link(rng, rng.randrange(days), **chosen))
    # Three crowds, which reach one partner too many somewhere in the middle.
    for kind, shared, partner in (
        ("phone_hash", "shop", "user_id"),
        ("anonymous_id", "kiosk", "user_id"),
        ("user_id", "admin", "anonymous_id"),
    ):
        for n in range(rng.choice((20, 21, 26))):
            day = rng.randrange(days)
            events.append(link(rng, day, **{kind: shared, partner: f"{shared}-{n % 24}"}))
            if rng.random() < 0.3:
                friend = rng.choice(pools["email_hash"])
                events.append(
                    link(rng, day, **{partner: f"{shared}-{n % 24}", "email_hash": friend})
                )
    for _ in range(count // 4):
        event = link(rng, rng.randrange(days), user_id=rng.choice(pools["user_id"]))
        event |= {"event_name": "page_viewed", "anonymous_id": f"a{rng.randrange(count)}"}
        events.append(event)
    return events


def connect(lab: Lab, start: date, end: date, **options: Any) -> None:
    """Build what identity needs, for dates of which both ends are included."""
    lab.build(start, end, SELECT, **options)


def assert_persons(lab: Lab, events: Sequence[Row], *, revoked: Iterable[str] = ()) -> None:
    """identity_map holds the persons of the union-find, and the dates of the identifiers."""
    expected = persons_of(events, revoked=revoked)
    first_seen: dict[Key, date] = {}
    for event, fact in zip(
        sorted(events, key=lambda e: (e["occurred_at"], e["event_id"])), read(events, "UTC"),
        strict=True,
    ):  # fmt: skip
        for key in identifiers_of(event):
            first_seen.setdefault(key, fact.day)
    rows = lab.rows("identity_map")
    built = {(r["identifier_type"], r["identifier"]): r for r in rows}
    assert len(built) == len(rows)
    assert built.keys() == expected.keys()
    wrong = {
        key: row["person_id"] for key, row in built.items() if row["person_id"] != expected[key]
    }
    assert not wrong, wrong
    assert {key: row["first_seen_date"] for key, row in built.items()} == first_seen


def as_of(lab: Lab, day: date) -> dict[Key, str]:
    """The persons at the end of a date, as later work looks them up."""
    found: dict[Key, str] = {}
    rows = lab.sql("select * from intermediate.int_identity_persons order by event_date")
    for row in rows:
        if row["event_date"] <= day:
            found[row["identifier_type"], row["identifier"]] = row["person_id"]
    return found


def until(events: Sequence[Row], day: date) -> list[Row]:
    return [e for e in events if e["occurred_at"][:10] <= day.isoformat()]


def tables(lab: Lab) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of what identity stores, in an order."""
    names = [f"{lab.marts}.identity_map", f"{lab.marts}.identity_conflicts"]
    names += [
        f"intermediate.{name}"
        for name in ("int_identity_links", "int_identifiers", "int_identity_pairs",
                     "int_identity_conflicts", "int_identity_persons")
    ]  # fmt: skip
    return {
        name: sorted(tuple(map(str, row.values())) for row in lab.sql(f"select * from {name}"))
        for name in names
    }


# -- the laws --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lab", "seed"), [("duckdb", 1)], indirect=["lab"])
def test_persons_are_those_of_a_union_find_on_every_date(lab: Lab, seed: int) -> None:
    rng = random.Random(seed)
    days = 13
    events = random_links(rng, days=days, count=60)
    lab.load(1, events)
    connect(lab, START, START + timedelta(days=days - 1))
    assert_persons(lab, events)
    for n in range(days):
        day = START + timedelta(days=n)
        expected = persons_of(until(events, day))
        known = as_of(lab, day)
        assert {k: known.get(k, person_id(k)) for k in expected} == expected, day
    at_once = tables(lab)
    # Day by day, in ranges, and interior dates again: the same rows.
    day = 0
    lab.sql("drop schema intermediate cascade")
    lab.sql(f"drop schema {lab.marts} cascade")
    while day < days:
        length = rng.choice((1, 1, 2, 5))
        end = min(days, day + length) - 1
        connect(lab, START + timedelta(days=day), START + timedelta(days=end))
        assert_persons(lab, until(events, START + timedelta(days=end)))
        day = end + 1
    assert tables(lab) == at_once
    again = START + timedelta(days=rng.randrange(days - 3))
    connect(lab, again, again + timedelta(days=1))
    assert tables(lab) == at_once


@pytest.mark.parametrize(("lab", "seed"), [("postgres", 3)], indirect=["lab"])
def test_late_erased_and_revoked_links(lab: Lab, seed: int) -> None:
    """Whatever comes and goes: once nothing is stale, the persons are those of what is left."""
    rng = random.Random(seed)
    days = 9
    last = START + timedelta(days=days - 1)
    events = random_links(rng, days=days, count=50)
    late = [e for e in events if rng.random() < 0.2]
    present = [e for e in events if e not in late]
    lab.load(1, present)
    connect(lab, START, last)
    lab.load(2, late)
    oldest = min(date.fromisoformat(e["occurred_at"][:10]) for e in late)
    # The marts of an interior range, for which older dates are prepared; then the rest.
    middle = oldest + timedelta(days=2)
    connect(lab, middle, middle + timedelta(days=1), prepare_start=oldest)
    connect(lab, oldest, last)
    assert_persons(lab, events)
    # Erasure: some events are gone, their dates and all after them are run again.
    gone = {e["event_id"] for e in rng.sample(events, 12)}
    for event_id in gone:
        lab.sql(f"delete from raw.events where event_id = '{event_id}'")
    stale = min(e["occurred_at"][:10] for e in events if e["event_id"] in gone)
    events = [e for e in events if e["event_id"] not in gone]
    connect(lab, date.fromisoformat(stale), last)
    assert_persons(lab, events)
    # Revocation: the links stay events, but link nothing.
    links = [e for e in events if e["event_name"] == "user_identified"]
    revoked = rng.sample(links, 6)
    for event in revoked:
        lab.sql(
            "insert into ops.identity_revocations values "
            f"('{event['event_id']}', date '{event['occurred_at'][:10]}', 'wrong', now())"
        )
    stale = min(e["occurred_at"][:10] for e in revoked)
    connect(lab, date.fromisoformat(stale), last)
    assert_persons(lab, events, revoked=[e["event_id"] for e in revoked])
    incremental = tables(lab)
    connect(lab, START, last, full_refresh=True)
    assert tables(lab) == incremental


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_a_chain_of_ten_thousand_identifiers(lab: Lab) -> None:
    """However long the way from one identifier to another, and in whatever order it came."""
    rng = random.Random(5)
    names = list(range(10_000))
    rng.shuffle(names)
    kinds = ("user_id", "anonymous_id")
    days = 20
    events = [
        link(rng, rng.randrange(days), **{kinds[n % 2]: f"x{names[n]}",
             kinds[(n + 1) % 2]: f"x{names[n + 1]}"})
        for n in range(len(names) - 1)
    ]  # fmt: skip
    lab.load(1, events)
    connect(lab, START, START + timedelta(days=days - 1))
    assert_persons(lab, events)
    assert len({row["person_id"] for row in lab.rows("identity_map")}) == 1
    middle = START + timedelta(days=days // 2)
    known = as_of(lab, middle)
    expected = persons_of(until(events, middle))
    assert {k: known.get(k, person_id(k)) for k in expected} == expected


def test_placeholders_join_nobody(lab: Lab) -> None:
    """What programs write for nothing links nobody, in any spelling, and is listed."""
    rng = random.Random(6)
    real = [
        link(rng, 0, user_id="ann", phone_hash="p1"),
        link(rng, 1, user_id="bob", phone_hash="p2"),
    ]
    fakes = [
        link(rng, 1, user_id=user, anonymous_id=value)
        for value in ("null", " NULL ", "undefined", "[object Object]", "0", "N/A", "unknown")
        for user in ("ann", "bob")
    ]
    lab.load(1, [*real, *fakes])
    connect(lab, START, START + timedelta(days=1))
    rows = {
        (r["identifier_type"], r["identifier"]): r["person_id"] for r in lab.rows("identity_map")
    }
    assert rows["user_id", "ann"] == rows["phone_hash", "p1"] != rows["user_id", "bob"]
    fake = {key: value for key, value in rows.items() if key[0] == "anonymous_id"}
    assert len(fake) == 7 and all(value == person_id(key) for key, value in fake.items())
    conflicts = lab.rows("identity_conflicts")
    assert {("anonymous_id", c["identifier"]) for c in conflicts} == fake.keys()
    assert {(c["reason"], c["partners"], c["since"]) for c in conflicts} == {
        ("placeholder", 2, START + timedelta(days=1))
    }


# -- the commands ----------------------------------------------------------------------------------


def a_link(number: int, *keys: Key) -> Link:
    return Link(f"e{number}", START + timedelta(days=number), keys)


def test_a_chain_is_the_shortest_way_and_avoids_crowds() -> None:
    ann, bob, device, phone = (
        ("user_id", "ann"), ("user_id", "bob"), ("anonymous_id", "a"), ("phone_hash", "p"),
    )  # fmt: skip
    links = [a_link(3, ann, phone), a_link(1, phone, bob), a_link(2, ann, device),
             a_link(4, device, ("email_hash", "m")), a_link(5, ("email_hash", "m"), bob)]  # fmt: skip
    assert [(s.start, s.end, s.link.event_id) for s in chain(links, ann, bob)] == [
        (ann, phone, "e3"),
        (phone, bob, "e1"),
    ]
    around = chain(links, ann, bob, without=[phone])
    assert [s.link.event_id for s in around] == ["e2", "e4", "e5"]
    assert chain(links, ann, ("user_id", "nobody")) == [] == chain(links, ann, ann)


def identified(settings: Settings, folder: Path) -> tuple[list[Row], Explanation]:
    """Load, run and publish a person of three identifiers; the events, and what explains it."""
    page = {"event_name": "page_viewed", "channel": "web"}
    events = [
        {**page, "event_id": str(uuid.uuid4()), "occurred_at": "2026-03-01T10:00:00Z",
         "anonymous_id": "device-1"},
        {**page, "event_id": str(uuid.uuid4()), "occurred_at": "2026-03-02T10:00:00Z",
         "user_id": "ann"},
        {"event_name": "user_identified", "event_id": "AAAAAAAA-0000-4000-8000-000000000001",
         "occurred_at": "2026-03-02T10:00:05Z", "user_id": "ann", "anonymous_id": "device-1",
         "properties": {"phone_hash": Pseudonyms(settings.write_key).of("+49 170 1234567")}},
        {**page, "event_id": str(uuid.uuid4()), "occurred_at": "2026-03-03T10:00:00Z",
         "user_id": "ann"},
    ]  # fmt: skip
    path = folder / "events.ndjson"
    path.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    (result,) = ingest_paths([path], settings=settings)
    assert result.accepted == 4
    assert run_below_job(settings).status == "succeeded"
    (found,) = identity.explain(settings, "+491701234567")
    assert found.key[0] == "phone_hash"
    return events, found


def test_a_person_is_explained(duckdb_settings: Settings, tmp_path: Path) -> None:
    """On the other target too: what readers' files and tables say of one person."""
    _, found = identified(duckdb_settings, tmp_path)
    assert_explained(duckdb_settings, found)


def assert_explained(settings: Settings, found: Explanation) -> None:
    counts = {m.key[1]: (m.events, m.sessions, m.user_days) for m in found.members}
    assert counts["ann"] == (3, 2, 2) and counts["device-1"] == (1, 1, 0)
    assert [step.end for steps in found.chains for step in steps] == [
        ("anonymous_id", "device-1"),
        ("user_id", "ann"),
    ]
    assert timeline(settings, found.person_id) == [
        ("page_viewed", 1), ("page_viewed", 2), ("user_identified", 3), ("page_viewed", 4),
    ]  # fmt: skip


def test_a_link_is_taken_back(postgres_settings: Settings, tmp_path: Path) -> None:
    """Through the door and whole runs: why three identifiers are one, until a link is taken back."""
    settings = postgres_settings
    events, found = identified(settings, tmp_path)
    assert_explained(settings, found)
    with pytest.raises(UserError, match="there is no user_identified event"):
        identity.revoke(settings, events[0]["event_id"], reason="no link")
    words = commands(settings, "explain", "+491701234567").splitlines()
    assert words[0] == f"phone_hash {found.key[1]} is person {found.person_id}, 3 identifiers"
    assert "  phone_hash " + found.key[1] + " = user_id ann, because" in words
    assert sum("aaaaaaaa-0000-4000-8000-000000000001" in line for line in words) == 2
    (shown,) = json.loads(commands(settings, "explain", "ann", "--json"))
    assert shown["person_id"] == found.person_id and len(shown["members"]) == 3
    revoked = commands(
        settings, "revoke", str(events[2]["event_id"]), "--reason", "a shared device"
    )
    assert "2 dates from 2026-03-02 on are stale, run 'tidemark run'" in revoked
    assert commands(settings, "list-conflicts").startswith("no conflicts")
    with pytest.raises(UserError, match="revoked already"):
        identity.revoke(settings, events[2]["event_id"], reason="again")
    summary = run_below_job(settings)
    assert summary.status == "succeeded" and summary.plan is not None
    assert (summary.plan.window.start, summary.plan.window.end) == (
        date(2026, 3, 2),
        date(2026, 3, 3),
    )
    (alone,) = identity.explain(settings, "ann")
    assert [m.key for m in alone.members] == [("user_id", "ann")] and not alone.links
    assert timeline(settings, alone.person_id) == [
        ("page_viewed", 1), ("user_identified", 2), ("page_viewed", 3),
    ]  # fmt: skip
    assert identity.list_conflicts(settings) == []
    with pytest.raises(UserError, match="no identifier"):
        identity.explain(settings, "nobody")


def commands(settings: Settings, *arguments: str) -> str:
    """What a command on persons prints."""
    done = tidemark(settings, "identity", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def timeline(settings: Settings, person: str) -> list[tuple[str, int]]:
    """A person's journey as readers see it: in the published file, or in schema marts."""
    sql = f"select event_name, step from marts.user_timeline where person_id = '{person}' order by step"
    if settings.target == "duckdb":
        with duckdb.connect(str(settings.published_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()
    with psycopg.connect(str(settings.postgres_url)) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]

"""Hash keys: rotation splits no member of staff, links clients only while asked to, leaks nothing.

Worlds of a few telephone numbers go through the door under one key after the other, the values of
which are made by the commands; the models of identity are built on both engines.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.privacy import Pseudonyms
from ingest.quarantine import Selection, replay
from ingest.registry import registry
from ingest.settings import HashKey, Settings, SettingsError, load_settings, parse_hash_keys
from ingest.warehouse import open_warehouse
from orchestration import identity, keys
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build
from tests.command_line import MAIN, assert_one_line_error, environment, tidemark
from tests.events import event, query
from tests.test_identity import SELECT
from tests.test_orchestration import project, short_suite, tiny
from tests.waiting import PATIENCE_SECONDS, wait_until

__all__ = ["project", "short_suite", "tiny"]

STAFF = ("+91 98111 00001", "+91 98111 00002", "lead@example.com")
#: Clients: seen all the time; never in a window; under the first key and in the first window; new.
ALWAYS, APART, ONCE, LATER = (f"+91 98222 0000{n}" for n in range(4))

Row = dict[str, Any]


def with_keys(settings: Settings, value: str) -> Settings:
    """The same warehouse under another value of TIDEMARK_HASH_KEYS."""
    found = load_settings({"TIDEMARK_HASH_KEYS": value})
    return replace(settings, hash_keys=found.hash_keys, written_staff_key=found.written_staff_key)


def next_keys(settings: Settings, folder: Path, *, retire: str | None = None) -> Settings:
    """What the commands make of the keys."""
    out = folder / uuid.uuid4().hex
    made = keys.retire(settings, retire, out=out) if retire else keys.rotate(settings, out)
    assert made.out.stat().st_mode & 0o777 == 0o600
    return with_keys(settings, out.read_text(encoding="ascii").strip())


def day_of(on: str, clients: tuple[str, ...], staff: tuple[str, ...] = STAFF) -> list[Row]:
    """Events of a date: each client views a page, each member of staff does what staff does."""

    def at(**changes: Any) -> Row:
        return {"event_id": str(uuid.uuid4()), "occurred_at": f"{on}T10:00:00Z", **changes}

    pages = [at(event_name="page_viewed", user_id=client) for client in clients]
    work = [
        found
        for member in staff
        for found in (
            at(event_name="order_assigned", entity_id="o", properties={"reader_id": member}),
            at(event_name="chat_assigned", agent_id=member,
               properties={"chat_id": "c", "previous_agent_id": member}),
            at(event_name="asset_uploaded", properties={"creator_id": member, "brand_id": member}),
            at(event_name="filter_applied", actor_type="admin", actor_id=member),
        )
    ]  # fmt: skip
    return [*pages, *work]


def put(settings: Settings, folder: Path, events: list[Row]) -> None:
    """Through the door."""
    path = folder / f"{uuid.uuid4().hex}.ndjson"
    path.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    (result,) = ingest_paths([path], settings=settings)
    assert not result.rejected, result


def staff_values(settings: Settings) -> set[str]:
    names = [name for name in registry().staff_fields() if not name.endswith("_hash")]
    assert names == ["actor_id", "agent_id", "brand_id", "creator_id", "previous_agent_id",
                     "reader_id"]  # fmt: skip
    columns = " union ".join(f"select {name} as name from raw.events" for name in names)
    return {row["name"] for row in query(settings, columns) if row["name"] is not None}


def links(settings: Settings) -> list[Row]:
    return query(settings, "select * from ops.hash_links order by event_date, old_hash, new_hash")


def connect(settings: Settings, start: date, end: date, *, full: bool = False) -> dict[str, str]:
    """Build the models of identity; user_id -> person."""
    result = build(
        DbtProject(settings), Window(start, end, start, 99), full_refresh=full, select=SELECT
    )
    assert result.succeeded, [node for node in result.nodes if not node.ok] or result.error
    schema = "build" if settings.target == "postgres" else "marts"
    rows = query(settings, f"select identifier, person_id from {schema}.identity_map")
    return {row["identifier"]: row["person_id"] for row in rows}


def hashed(settings: Settings, value: str, version: str) -> str:
    (key,) = [key for key in settings.hash_keys if key.version == version]
    return Pseudonyms(key).of(value)


@pytest.mark.parametrize("target", ["duckdb_settings", "postgres_settings"])
def test_three_rotations_in_two_years_split_no_advisor(
    target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Four keys, three windows: staff is one throughout, clients where a window saw them."""
    found: Settings = request.getfixturevalue(target)
    first = with_keys(found, f"v1:{'1a' * 32}")
    put(first, tmp_path, day_of("2025-01-10", (ALWAYS, APART, ONCE)))
    written = staff_values(first)
    assert len(written) == 3 and all(value.startswith("staff:") for value in written)
    at, every = first, [first]
    for number, month in ((2, "07"), (3, "12"), (4, "20")):
        year, month = divmod(int(month) - 1, 12)
        on = f"{2025 + year}-{month + 1:02d}"
        at = next_keys(at, tmp_path)
        every.append(at)
        assert (at.write_key.version, len(at.older_keys)) == (f"v{number}", 1)
        put(at, tmp_path, day_of(f"{on}-05", (ALWAYS, LATER, *([ONCE] if number == 2 else []))))
        at = next_keys(at, tmp_path, retire=f"v{number - 1}")
        assert [key.version for key in at.hash_keys] == [f"v{number}"]
        put(at, tmp_path, day_of(f"{on}-25", (ALWAYS, APART)))
    assert staff_values(at) == written
    linked = [
        (row["old_hash"][:2], row["new_hash"][:2], str(row["event_date"])) for row in links(at)
    ]
    assert linked == [
        ("v1", "v2", "2025-07-05"), ("v1", "v2", "2025-07-05"),  # ALWAYS and ONCE
        ("v2", "v3", "2025-12-05"), ("v2", "v3", "2025-12-05"),  # ALWAYS and LATER
        ("v3", "v4", "2026-08-05"), ("v3", "v4", "2026-08-05"),
    ]  # fmt: skip
    # Nothing that is kept leads from a hash of whom no window has seen to another hash.
    assert not query(at, "select * from ops.hashes_written")
    for number in (1, 2, 3, 4):
        assert hashed(every[number - 1], APART, f"v{number}") not in json.dumps(
            links(at), default=str
        )
    person = connect(at, date(2025, 1, 10), date(2026, 8, 25))
    names = {
        (client, number): hashed(every[number - 1], client, f"v{number}")
        for client in (ALWAYS, APART, ONCE, LATER) for number in (1, 2, 3, 4)
    }  # fmt: skip

    def persons(client: str) -> list[str]:
        return [person[names[client, n]] for n in (1, 2, 3, 4) if names[client, n] in person]

    assert (len(persons(ALWAYS)), len(set(persons(ALWAYS)))) == (4, 1)
    assert (len(persons(APART)), len(set(persons(APART)))) == (4, 4)
    assert (len(persons(ONCE)), len(set(persons(ONCE)))) == (2, 1)
    assert (len(persons(LATER)), len(set(persons(LATER)))) == (3, 1)
    assert len(set(person.values())) == 1 + 4 + 1 + 1
    assert _way(at, names[ALWAYS, 1], names[ALWAYS, 4]) == 3
    assert _way(at, names[APART, 1], names[APART, 2]) == 0


def _way(settings: Settings, one: str, other: str) -> int:
    """How many links `identity explain` shows between two hashes of clients."""
    warehouse = open_warehouse(settings)
    try:
        values = warehouse.execute("select distinct user_id from raw.events")
        links = identity._Tables(warehouse)._links([value for (value,) in values if value])
        return len(identity.chain(links, ("user_id", one), ("user_id", other)))
    finally:
        warehouse.close()


def test_links_belong_to_dates(duckdb_settings: Settings, tmp_path: Path) -> None:
    """Twice is once, a late event moves a link, and days run one by one equal a rebuild."""
    first = with_keys(duckdb_settings, f"v1:{'1a' * 32}")
    put(first, tmp_path, day_of("2026-03-01", (ALWAYS, APART), ()))
    both = next_keys(first, tmp_path)
    events = [*day_of("2026-03-04", (ALWAYS, LATER), ()), *day_of("2026-03-05", (ALWAYS,), ())]
    put(both, tmp_path, events)
    once = links(both)
    assert [str(row["event_date"]) for row in once] == ["2026-03-04"]
    old, new = hashed(first, ALWAYS, "v1"), hashed(both, ALWAYS, "v2")
    person = connect(both, date(2026, 3, 1), date(2026, 3, 3))
    assert new not in person
    person = connect(both, date(2026, 3, 4), date(2026, 3, 5))
    assert person[old] == person[new]
    put(both, tmp_path, events[::-1])
    assert links(both) == once
    dnt = {"context": {"dnt": True}}
    put(both, tmp_path, [
        *day_of("2026-03-03", (ALWAYS,), ()), *day_of("2026-03-06", (ALWAYS,), ()),
        *({**e, **dnt} for e in day_of("2026-03-02", (ALWAYS, APART), ())),
    ])  # fmt: skip
    assert [str(row["event_date"]) for row in links(both)] == ["2026-03-03", "2026-03-04"]
    daily = connect(both, date(2026, 3, 3), date(2026, 3, 6))
    rows = "select * from marts.identity_map order by identifier"
    state = query(both, rows)
    assert daily == connect(both, date(2026, 3, 1), date(2026, 3, 6), full=True)
    assert query(both, rows) == state
    assert {str(row["person_since"]) for row in state if row["identifier"] == new} == {"2026-03-03"}


def test_staff_of_before_keeps_its_hashes(settings: Settings, tmp_path: Path) -> None:
    """Rows from before staff had a key go on under what they say, and hold the old key back."""
    first = with_keys(settings, f"v1:{'1a' * 32}")
    put(first, tmp_path, day_of("2026-03-01", (ALWAYS,), STAFF[:2]))
    _as_before(first)
    before = staff_values(first)
    assert before == {hashed(first, member, "v1") for member in STAFF[:2]}
    put(first, tmp_path, day_of("2026-03-02", (ALWAYS,), STAFF[:1]))
    assert staff_values(first) == before
    both = next_keys(first, tmp_path)
    with pytest.raises(UserError, match="1 members of staff are known by a hash under v1"):
        keys.retire(both, "v1", out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    put(both, tmp_path, day_of("2026-03-03", (), STAFF))
    own = Pseudonyms.of_settings(both).staff(STAFF[2])
    assert staff_values(both) == before | {own}
    alone = next_keys(both, tmp_path, retire="v1")
    put(alone, tmp_path, day_of("2026-03-04", (), STAFF))
    assert staff_values(alone) == before | {own}


def _as_before(settings: Settings) -> None:
    """Make the warehouse one from before staff had a key of its own."""
    own = Pseudonyms.of_settings(settings)
    warehouse = open_warehouse(settings)
    for name in registry().staff_fields():
        for member in STAFF:
            warehouse.execute(
                f"update raw.events set {name} = ? where {name} = ?",
                [hashed(settings, member, "v1"), own.staff(member)],
            )
    warehouse.execute("delete from ops.hash_windows")
    warehouse.close()


def test_a_key_of_staff_that_was_not_written_out_is_followed(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    """Keys set by hand, the first one dropped without `staff:`: a window has seen the staff."""
    values = [f"v{n}:{f'{n}b' * 32}" for n in (1, 2)]
    for day, value in enumerate((values[0], ",".join(values), values[1]), start=1):
        at = with_keys(duckdb_settings, value)
        put(at, tmp_path, day_of(f"2026-03-0{day}", (), STAFF))
        assert len(staff_values(at)) == len(STAFF)


def test_quarantined_staff_joins_after_a_replay(duckdb_settings: Settings, tmp_path: Path) -> None:
    """A rejected line keeps staff under the key of staff, as the door would have written it."""
    settings = duckdb_settings
    rejected = event(agent_id=STAFF[0], user_id=ALWAYS, actor_type="admin", actorId=STAFF[1],
                     amount_cents=-1)  # fmt: skip
    path = tmp_path / "f.ndjson"
    path.write_text(json.dumps(rejected), encoding="utf-8")
    (result,) = ingest_paths([path], settings=settings)
    assert result.rejected == 1
    warehouse = open_warehouse(settings)
    warehouse.execute(
        "update ops.rejected_events set payload = replace(payload, '\"amount_cents\":-1', "
        "'\"amount_cents\":1')"
    )
    warehouse.close()
    assert replay(settings, Selection()).accepted == 1
    (row,) = query(settings, "select agent_id, user_id, actor_id from raw.events")
    own = Pseudonyms.of_settings(settings)
    assert row == {"agent_id": own.staff(STAFF[0]), "user_id": own.of(ALWAYS),
                   "actor_id": own.staff(STAFF[1])}  # fmt: skip


def test_keys_of_clients_and_staff_are_apart() -> None:
    """The same number is another hash as staff, which no key of clients gives."""
    one, two = (HashKey(f"v{n}", bytes([n]) * 32) for n in (1, 2))
    alone, rotated = Pseudonyms(one), Pseudonyms(two, older=(one,))
    number = STAFF[0]
    assert alone.staff(number) == rotated.staff(number) == alone.staff("tel:+919811100001")
    assert alone.of(number) != rotated.of(number)
    assert alone.staff(number)[6:] not in (alone.of(number)[3:], rotated.of(number)[3:])
    assert rotated.under_older_keys == {rotated.of(number): (alone.of(number),)}
    assert alone.under_older_keys == {}
    assert Pseudonyms(two, staff=one.for_staff()).staff(number) == alone.staff(number)
    assert alone.staff("agent-7") == "agent-7"


# -- the commands ----------------------------------------------------------------------------------


def test_keys_as_a_user_types_them(duckdb_settings: Settings, tmp_path: Path) -> None:
    settings, secret = duckdb_settings, "5ec2e7" * 10 + "abcd"
    listed = {"TIDEMARK_HASH_KEYS": f"v1:{secret}"}
    shown = tidemark(settings, "keys", "list", **listed)
    assert shown.stdout.splitlines()[-1] == "no mapping window is open"
    assert [line.split() for line in shown.stdout.splitlines()[1:3]] == [
        ["staff", "staff,", "follows", "from", "v1"],
        ["v1", "clients,", "writes"],
    ]
    out = tmp_path / "new"
    done = tidemark(settings, "keys", "rotate", "--out", str(out), **listed)
    assert done.returncode == 0, done.stderr
    value = out.read_text(encoding="ascii").strip()
    parts = [part.split(":") for part in value.split(",")]
    assert [version for version, _ in parts] == ["staff", "v1", "v2"]
    assert parts[1][1] == secret and len({part[1] for part in parts}) == 3
    for _, key in parts:
        assert key not in done.stdout + done.stderr + shown.stdout
    again = tidemark(settings, "keys", "rotate", "--out", str(out), **listed)
    assert_one_line_error(again, "exists")
    assert out.read_text(encoding="ascii").strip() == value
    listed = {"TIDEMARK_HASH_KEYS": value}
    data = json.loads(tidemark(settings, "keys", "list", "--json", **listed).stdout)
    assert data["mapping_window"] is True and len(data["keys"]) == 3
    last = tmp_path / "last"
    done = tidemark(settings, "keys", "retire", "v1", "--out", str(last), **listed)
    assert done.returncode == 0, done.stderr
    kept = f"staff:{parts[0][1]},v2:{parts[2][1]}"
    assert last.read_text(encoding="ascii").strip() == kept
    assert not list(settings.home.parent.glob("home/*")), "no command made a warehouse"


def test_retiring_what_is_needed_is_refused(duckdb_settings: Settings, tmp_path: Path) -> None:
    both = with_keys(duckdb_settings, f"v1:{'1a' * 16},v2:{'2b' * 16}")
    out = tmp_path / "out"
    for version, words in (
        ("v2", "is the key that writes"), ("staff", "stays"), ("v9", "there is no key 'v9'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            keys.retire(both, version, out=out)
    with pytest.raises(UserError, match="the only key"):
        keys.retire(with_keys(both, f"v1:{'1a' * 16}"), "v1", out=out)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for path, words in ((link, "exists"), (tmp_path / "no" / "file", "cannot be written")):
        with pytest.raises(UserError, match=words):
            keys.rotate(both, path)
    assert not out.exists() and not (tmp_path / "elsewhere").exists()


def test_keys_that_cannot_be_used_are_refused_without_being_shown() -> None:
    key, other = "ab" * 16, "cd" * 16
    for value, words in (
        (f"staff:{key}", "besides staff"),
        (f"v1:{key},v2:{key}", "same key"),
        (f"staff:{key},v1:{key}", "same key"),
        (f"v1:{key},v1:{other}", "each version once"),
        (f"v-1:{key}", "32 hex digits"),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            parse_hash_keys(value)
        assert key not in str(caught.value)
    development = load_settings({})
    for part in (f"v1:{development.write_key.secret.hex()}",
                 f"staff:{development.staff_key.secret.hex()},v1:{key}"):  # fmt: skip
        with pytest.raises(SettingsError, match="development key"):
            load_settings({"TIDEMARK_ENV": "prod", "TIDEMARK_HASH_KEYS": part})
    found = load_settings({"TIDEMARK_ENV": "prod", "TIDEMARK_HASH_KEYS": f"v1:{key},staff:{other}"})
    assert found.staff_key.secret.hex() == other and found.write_key.version == "v1"
    assert key not in repr(found) and other not in repr(found)


# -- a key is nowhere ------------------------------------------------------------------------------


def test_no_key_is_written_or_shown_anywhere(
    duckdb_settings: Settings, project: Path, tmp_path: Path
) -> None:
    """A whole pipeline under marked keys: files, outputs, errors and command lines of processes."""
    settings = duckdb_settings
    secrets = [os.urandom(32) for _ in range(3)]
    listed = ",".join(
        f"{name}:{key.hex()}" for name, key in zip(("staff", "v1", "v2"), secrets, strict=True)
    )
    forms = [form for key in secrets for form in _forms(key)]
    source = tmp_path / "in.ndjson"
    source.write_text(
        "\n".join(json.dumps(e) for e in [
            *day_of("2026-03-01", (ALWAYS,) * 200), event(user_id=ALWAYS, amount_cents="x"),
        ]), encoding="utf-8",
    )  # fmt: skip
    outputs = b""
    for arguments in (
        ["ingest", str(source)], ["run"], ["status", "--json"], ["doctor"], ["keys", "list"],
        ["export", "daily_users", "--out", str(settings.home / "users.csv")],
        ["identity", "explain", ALWAYS], ["quarantine", "show", "1"],
        ["keys", "retire", "v2", "--out", str(tmp_path / "new")],
    ):  # fmt: skip
        output, lines = _watched(settings, arguments, listed)
        outputs += output
        assert lines, "the processes were looked at"
        refused = arguments[0] in ("identity", "keys") and len(arguments) > 2
        assert (b"tidemark: " in output) == refused, output
        assert b"Traceback" not in output, output
        for form in forms:
            assert form not in lines, arguments
    broken = _watched(settings, ["status"], listed.replace("v2:", "v 2:"))
    outputs += broken[0]
    assert b"32 hex digits" in outputs and b"v2 writes" in outputs
    files = [path for path in settings.home.rglob("*") if path.is_file()]
    assert {"warehouse.duckdb", "manifest.json", "users.csv"} <= {path.name for path in files}
    assert any(path.is_relative_to(settings.dagster_home) for path in files)
    for data in (outputs, *(path.read_bytes() for path in files)):
        for form in forms:
            assert form not in data


def test_the_search_for_keys_would_find_them(tmp_path: Path) -> None:
    key = os.urandom(32)
    for text in (
        key,
        key.hex().encode(),
        b"xy" + base64.b64encode(b"ab" + key),
        key.hex().upper().encode(),
    ):
        assert any(form in text for form in _forms(key))
    command = [sys.executable, "-c", "input()", key.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        _until_started(child.pid, "input()")
        lines = _command_lines(os.getpid())
        child.kill()
    assert key.hex().encode() in lines


def _forms(key: bytes) -> Iterator[bytes]:
    """The key as bytes, hexadecimal digits, and base64 at each of its three offsets."""
    yield from (key, key.hex().encode(), key.hex().upper().encode())
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + key)
        yield text[4 if offset else 0 : 40]


def _until_started(pid: int, word: str) -> None:
    line = Path(f"/proc/{pid}/cmdline")
    wait_until(lambda: word.encode() in line.read_bytes(), f"{word} is not started")


def _command_lines(pid: int) -> bytes:
    """The command lines of a process and of all its children."""
    try:
        found = Path(f"/proc/{pid}/cmdline").read_bytes()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = " ".join((task / "children").read_text(encoding="ascii") for task in tasks)
    except OSError:
        return b""
    return found + b"\n" + b"".join(_command_lines(int(child)) for child in children.split())


def _watched(settings: Settings, arguments: list[str], listed: str) -> tuple[bytes, bytes]:
    """Run a command; its output, and the command lines seen of it and of its children."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        env={**environment(settings), "TIDEMARK_HASH_KEYS": listed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            seen.add(_command_lines(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    ended.set()
    watcher.join()
    return output, b"\n".join(seen)

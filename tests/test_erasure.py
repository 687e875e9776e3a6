"""A person who is erased is nowhere: rows, bytes, files, backups put back, and later deliveries."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import psycopg
import pytest

from ingest import tombstones
from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.privacy import Pseudonyms
from ingest.quarantine import Selection, replay
from ingest.schema import ensure_month_partitions
from ingest.settings import HashKey, Settings, load_settings
from ingest.simulator import simulate
from ingest.warehouse import open_warehouse
from orchestration import removal_jobs, runs
from orchestration.cli import main
from orchestration.dbt_project import DbtProject
from orchestration.definitions import build_definitions
from orchestration.erasure import files as erasure_files
from orchestration.erasure import requests as erasure
from orchestration.erasure.rules import OPERATIONS, RELATIONS, TEXTS, VOCABULARY, rule_of
from orchestration.erasure.traces import Names
from orchestration.export import export_relation
from orchestration.export_log import exports_of_persons
from orchestration.instance import open_instance
from orchestration.publication.restatements_shown import Restated, words
from orchestration.relations import relations
from orchestration.session import open_session
from tests.events import event, line, load, query
from tests.postgres import running_server
from tests.test_laws import World
from tests.test_orchestration import project, short_suite, tiny
from tests.test_restatements import Bench, bench, march
from tests.tiny_project import run_below_job
from tests.waiting import PATIENCE_SECONDS

__all__ = ["bench", "project", "short_suite", "tiny"]

Rows = dict[str, Counter[tuple[str | None, ...]]]

SCHEMAS = ("raw", "ops", "intermediate", "build", "marts")
OTHER = "u_nobody_else"
FRIEND = "u_friend"


# -- one world, erased once on each engine ------------------------------------------------------


@dataclass
class Erased:
    """A warehouse from which a person went: what it was before, and what it is now."""

    settings: Settings
    person: dict[str, str]
    keys: set[str]
    chats: set[str]
    before: Rows
    after: Rows
    bytes_before: set[str]
    report: erasure.Report
    previewed: erasure.Report
    backup: Backup
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """What bytes are looked for: identifiers, and the person."""
        return [*self.person.values()]


def contents(settings: Settings) -> Rows:
    """Return every table of the warehouse, and of what was published, as texts."""
    warehouse = open_warehouse(settings)
    found: Rows = {}
    try:
        if settings.published_path.exists() and settings.target == "duckdb":
            warehouse.execute(f"attach '{settings.published_path.resolve()}' as p (read_only)")
        names = warehouse.execute(
            "select table_catalog, table_schema, table_name from information_schema.tables "
            f"where table_type = 'BASE TABLE' and table_schema in {SCHEMAS}"
        )
        for catalog, schema, name in names:
            rows = warehouse.execute(f'select * from "{catalog}".{schema}."{name}"')
            label = f"{'p.' if catalog == 'p' else ''}{schema}.{name}"
            found[label] = Counter(
                tuple(None if value is None else str(value) for value in row) for row in rows
            )
    finally:
        warehouse.close()
    return found


def scan(settings: Settings, names: list[str]) -> set[str]:
    """Return the names that a byte of any file of the project holds."""
    folders = [settings.home]
    if settings.target == "postgres":
        assert settings.postgres_url
        with psycopg.connect(settings.postgres_url, autocommit=True) as connection:
            connection.execute("checkpoint")
            (place,) = connection.execute("show data_directory").fetchone() or ("",)
        folders.append(Path(place))
    found: set[str] = set()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                found |= {name for name in names if name.encode() in content}
    return found


def planted(events: list[dict[str, Any]]) -> tuple[dict[str, str], list[bytes]]:
    """Choose a person of whom most is known, and add what makes it harder."""
    links = [e for e in events if e["event_name"] == "user_identified" and e.get("anonymous_id")]
    counts = Counter(e.get("user_id") for e in events)
    full = [e for e in links if {"phone_hash", "email_hash"} <= set(e.get("properties", {}))]
    link = max(full, key=lambda e: counts[e["user_id"]])
    person = {
        "user_id": link["user_id"],
        "anonymous_id": link["anonymous_id"],
        "phone_hash": link["properties"]["phone_hash"],
        "email_hash": link["properties"]["email_hash"],
    }
    at = link["occurred_at"]
    chat = {"chat_id": "chat_of_two", "content_type": "text"}
    extra = [
        # Another one at the person's device, and in a chat with both.
        event(event_name="asset_viewed", occurred_at=at, user_id=OTHER, provider=None,
              entity_id=None, anonymous_id=person["anonymous_id"], amount_cents=None,
              currency=None, channel="web", properties={"ip_asset_id": "asset_1"}),
        # Another one, whose page and whose unknown property mention the person.
        event(event_name="page_viewed", occurred_at=at, user_id=FRIEND, provider=None,
              entity_id=None, amount_cents=None, currency=None, channel="web",
              context={"landing_page": f"https://example.com/?by={person['user_id']}&a=1",
                       "referrer": f"https://example.com/{person['user_id'][:-1]}"},
              properties={"invited_by": [person["user_id"]]}),
        *(event(event_name="message_received", occurred_at=at, user_id=user, provider=None,
                entity_id=f"msg_{user}", amount_cents=None, currency=None, channel="whatsapp",
                properties=chat) for user in (OTHER, person["user_id"])),
        # A chat of the person's own, with a message that costs and one that nobody answers.
        *(event(event_name=name, occurred_at=f"{at[:-2]}{n}Z", user_id=user, provider=None,
                entity_id=entity, amount_cents=None, currency=None, channel="whatsapp",
                agent_id="agent_1", properties=own)
          for n, (name, user, entity, own) in enumerate([
              ("message_sent", person["user_id"], "msg_own", {"chat_id": "chat_own"}),
              ("message_delivered", None, "msg_own", {}),
              ("message_received", person["user_id"], "msg_asked", {"chat_id": "chat_own"}),
              ("chat_assigned", None, None, {"chat_id": "chat_own"}),
          ])),
        # An advisor's message that names a client by nothing but the hash of the number.
        event(event_name="whatsapp_delivery_status", occurred_at=at, provider=None,
              entity_id="cnt_1", amount_cents=None, currency=None, channel="whatsapp",
              advisor_id_hash="advisor_1", status="delivered",
              properties={"whatsapp_message_id": "wm_1",
                          "recipient_phone_hash": person["phone_hash"]}),
    ]  # fmt: skip
    bad = [
        line(event_id="no-uuid", user_id=person["user_id"]),
        line(event_id="no-uuid", user_id=OTHER),
        b'{"broken": "' + person["anonymous_id"].encode() + b'", ',
    ]
    return person, [*(json.dumps(e).encode() for e in extra), *bad]


def keys_of(rows: Settings, person: dict[str, str]) -> tuple[set[str], set[str]]:
    """Return all keys of a person by plain questions to the tables, and the chats of it alone."""
    schema = "build" if rows.target == "postgres" else "marts"
    ids = tuple(person.values())
    keys = set(ids)
    for sql in (
        f"select person_id as k from {schema}.identity_map where identifier in {ids}",
        f"select session_id as k from {schema}.sessions where user_key in {ids}",
        f"select event_id as k from raw.events where coalesce(user_id, anonymous_id) in {ids}",
    ):
        keys |= {str(row["k"]) for row in query(rows, sql)}
    chats = query(rows, "select chat_id as k from raw.events where chat_id is not null group by 1 "
                        f"having min(user_id) = max(user_id) and min(user_id) in {ids}")  # fmt: skip
    return keys, {row["k"] for row in chats}


def run_and_publish(settings: Settings, folder: Path) -> None:
    """Run everything without its checks, and publish it."""
    assert World(settings, folder).run()
    session = open_session(settings)
    session.warehouse.execute("update ops.partitions set checked = true")
    runs.publish_now(session)
    session.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small company, its events as lines, and one person among them."""
    folder = tmp_path_factory.mktemp("company")
    made = simulate(days=3, size=700, seed=11, out=folder, end=date(2026, 3, 31))
    lines = [x for f in sorted(made.events_folder.iterdir()) for x in f.read_bytes().splitlines()]
    events = [json.loads(x) for x in lines]
    person, extra = planted(events)
    path = folder / "events.ndjson"
    path.write_bytes(b"\n".join([*lines, *extra]) + b"\n")
    return path, person, [*events, *(json.loads(x) for x in extra[:-3])]


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server whose files hold nothing but this module's databases."""
    with running_server() as url:
        yield url


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def erased(request: pytest.FixtureRequest, world: Any, tmp_path_factory: Any) -> Erased:
    path, person, events = world
    home = tmp_path_factory.mktemp(f"home_{request.param}")
    variables = {"TIDEMARK_HOME": str(home)}
    if request.param == "postgres":
        server = request.getfixturevalue("own_server")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("create database tidemark_companycompa")
        variables |= {
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": server.rsplit("/", 1)[0] + "/tidemark_companycompa",
        }
    settings = load_settings(variables)
    ingest_paths([path], settings=settings)
    run_and_publish(settings, home)
    plant_leftovers(settings, person)
    keys, chats = keys_of(settings, person)
    backup = Backup.of(settings, tmp_path_factory.mktemp("backup") / "kept.duckdb")
    before, bytes_before = contents(settings), scan(settings, [*person.values()])
    given = erasure.named(settings, user_id=person["user_id"])
    previewed = erasure.preview(settings, given)
    assert contents(settings) == before
    report = erasure.erase(settings, given)
    return Erased(
        settings, person, keys, chats, before, contents(settings), bytes_before, report, previewed,
        backup, events,
    )  # fmt: skip


def plant_leftovers(settings: Settings, person: dict[str, str]) -> None:
    """Put the person where only accidents would: a log, Dagster's storage, an old version."""
    log = settings.home / "logs" / "dbt" / "dbt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"Key (user_id)=({person['user_id']}) already exists\n")
    storage = settings.home / "dagster" / "history" / "runs.db"
    storage.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(storage) as database:
        database.execute("create table event_logs (event text)")
        database.execute("insert into event_logs values (?)", [json.dumps(person)])
    database.close()
    if settings.target == "duckdb":
        newest = settings.published_path.resolve()
        shutil.copy(newest, newest.with_name("tidemark-0.duckdb"))
    warehouse = open_warehouse(settings)
    if settings.target == "postgres":
        warehouse.execute("create table public.event_logs (event text)")
        warehouse.execute("insert into public.event_logs values (?)", [json.dumps(person)])
    user = person["user_id"]
    warehouse.execute(
        "insert into ops.restatements values (1, 'customer_insights', null, ?, 'segment', 'a', 'b', "
        "'load 1'), (1, 'metrics_daily_calls', date '2026-03-31', 'metric_date=2026-03-31', "
        "'calls_attempted', '1', '2', 'load 1')",
        [f"user_id={user}"],
    )
    warehouse.execute(
        "insert into ops.etl_job_runs (run_id, job, started_at, status, error) "
        "values ('r1', 'j', timestamp '2026-04-01', 'failed', ?)",
        [f"Failing row contains ({user}, 3)."],
    )
    warehouse.close()


@dataclass
class Backup:
    """A copy of a warehouse from before: a file, or the tables of a database as a dump has them."""

    path: Path
    tables: list[tuple[str, str, str, bytes]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, path: Path) -> Backup:
        if settings.target == "duckdb":
            shutil.copy(settings.warehouse_path, path)
            return cls(path)
        backup = cls(path)
        assert settings.postgres_url
        with psycopg.connect(settings.postgres_url) as connection:
            for schema, name, columns in connection.execute(
                "select nspname, relname, string_agg(format('%I %s', attname, "
                "format_type(atttypid, atttypmod)), ', ' order by attnum) from pg_attribute "
                "inner join pg_class on attrelid = pg_class.oid "
                "inner join pg_namespace on relnamespace = pg_namespace.oid "
                "where relkind in ('r', 'p') and not relispartition and attnum > 0 "
                "and not attisdropped and nspname in ('raw', 'ops', 'intermediate', 'build') "
                "group by 1, 2"
            ).fetchall():
                with connection.cursor().copy(
                    f"copy (select * from {schema}.{name}) to stdout"
                ) as copy:
                    backup.tables.append((schema, name, columns, b"".join(map(bytes, copy))))
        return backup

    def put_back(self, settings: Settings) -> None:
        """Fill an empty warehouse with what was kept."""
        if settings.target == "duckdb":
            shutil.copy(self.path, settings.warehouse_path)
            return
        warehouse = open_warehouse(settings)
        ensure_month_partitions(warehouse, ["2026-03", "2026-04"])
        for schema, name, columns, rows in self.tables:
            warehouse.execute(f"create schema if not exists {schema}")
            warehouse.execute(f"create table if not exists {schema}.{name} ({columns})")
            warehouse.execute(f"delete from {schema}.{name}")
            with warehouse.connection.cursor().copy(f"copy {schema}.{name} from stdin") as copy:
                copy.write(rows)
        warehouse.close()


def names_of(row: tuple[str | None, ...], keys: set[str]) -> bool:
    return any(value in keys for value in row)


def test_no_table_holds_any_key_of_the_person(erased: Erased) -> None:
    assert {"user_id", "anonymous_id", "phone_hash", "email_hash"} == set(erased.person)
    assert len(erased.keys) > 20
    left = {
        label: count
        for label, rows in erased.after.items()
        if label != "raw.event_ids"
        and (count := sum(n for row, n in rows.items() if names_of(row, erased.keys)))
    }
    assert left == {}
    texts = " ".join(
        value for label, rows in erased.after.items() if label != "raw.event_ids"
        for row in rows for value in row if value
    )  # fmt: skip
    assert [key for key in erased.keys if key in texts] == []
    schemas = {label.split(".")[0] for label in erased.before}
    assert {"raw", "ops", "intermediate", "marts"} <= schemas


def test_no_byte_of_any_file_holds_the_person(erased: Erased) -> None:
    assert erased.bytes_before >= set(erased.names)
    assert scan(erased.settings, erased.names) == set()
    log = (erased.settings.home / "logs" / "dbt" / "dbt.log").read_text()
    assert "Key (user_id)=([erased]) already exists" in log
    if erased.settings.target == "duckdb":
        published = sorted(p.name for p in erased.settings.published_path.parent.iterdir())
        assert published == ["tidemark-1.duckdb", "tidemark.duckdb"]


def of_friend(erased: Erased, row: tuple[str | None, ...]) -> bool:
    return FRIEND in row or f"https://example.com/{erased.person['user_id'][:-1]}" in row


#: Tables of which an erasure writes or mends rows, by what they say of the person.
MENDED = ("ops.erasures", "ops.erasure_tombstones", "ops.erasure_salt", "ops.rejected_events",
          "ops.etl_job_runs", "ops.restatements", "p.ops.restatements", "ops.partitions",
          "raw.events")  # fmt: skip


def test_rows_of_others_and_aggregates_are_what_they_were(erased: Erased) -> None:
    assert set(erased.before) == set(erased.after)
    keys = erased.keys | erased.chats
    gone = 0
    for label, rows in erased.before.items():
        # The months of raw.events are told together.
        if label in MENDED or label.startswith("raw.event"):
            continue
        # What mentions the person in a text is looked at below.
        rows = Counter({row: n for row, n in rows.items() if not of_friend(erased, row)})
        mine = Counter({row: n for row, n in rows.items() if names_of(row, keys)})
        gone += sum(mine.values())
        left = erased.after[label].items()
        assert Counter({row: n for row, n in left if not of_friend(erased, row)}) == rows - mine, (
            label
        )
    assert gone > 100
    assert "chat_own" in erased.chats
    marts = "build" if erased.settings.target == "postgres" else "marts"
    for name in ("chat_message_costs", "open_waits"):
        assert any("chat_own" in row for row in erased.before[f"{marts}.{name}"]), name
    assert erased.after["raw.event_ids"] == erased.before["raw.event_ids"]
    # Of raw.events others' rows stay; one of them loses the device that was the person's.
    lost = erased.before["raw.events"] - erased.after["raw.events"]
    new = erased.after["raw.events"] - erased.before["raw.events"]
    changed = {next(name for name in (OTHER, FRIEND) if name in row): row for row in new}
    assert (len(new), set(changed)) == (2, {OTHER, FRIEND})
    assert erased.person["anonymous_id"] not in changed[OTHER]
    assert all(names_of(row, erased.keys) or FRIEND in row for row in lost)
    # Two texts of one row are two changes.
    assert sum(lost.values()) == erased.report.rows["raw.events"] - 1
    restated = list(erased.after["ops.restatements"])
    assert [row[1] for row in restated] == ["metrics_daily_calls"]
    assert query(erased.settings, "select * from ops.partition_state where stale") == []
    # What dates look back on is computed anew by the next run, and the dates are not.
    loads = "select min(run_loads_through) as run, min(prepared_loads_through) as looked_back_on"
    assert query(erased.settings, f"{loads} from ops.partitions") == [
        {"run": 1, "looked_back_on": 0}
    ]
    hidden = query(
        erased.settings, "select payload, resolution from ops.rejected_events order by rejection_id"
    )
    assert [row["resolution"] for row in hidden] == ["erased", None, "erased"]
    assert [row["payload"] is None for row in hidden] == [True, False, True]
    assert OTHER in hidden[1]["payload"]


def test_texts_that_mention_the_person_are_emptied(erased: Erased) -> None:
    marts = "build" if erased.settings.target == "postgres" else "marts"
    tables = ("raw.events", "intermediate.int_session_days", f"{marts}.sessions")
    for table, key in zip(tables, ("user_id", "user_key", "user_key"), strict=True):
        (row,) = query(
            erased.settings, f"select landing_page, referrer from {table} where {key} = '{FRIEND}'"
        )
        other = f"https://example.com/{erased.person['user_id'][:-1]}"
        assert row == {"landing_page": None, "referrer": other}
    (row,) = query(erased.settings, f"select extra from raw.events where user_id = '{FRIEND}'")
    assert row == {"extra": None}


def test_readers_file_is_as_it_was_but_for_the_person(erased: Erased) -> None:
    if erased.settings.target == "postgres":
        # Readers read tables, whose policies hold as before.
        assert query(erased.settings, "select 1 from pg_policies where tablename = 'sessions'")
        return
    with duckdb.connect(str(erased.settings.published_path), read_only=True) as reader:
        assert reader.execute("select count(*) from marts.user_timeline").fetchone() != (0,)
        (words_of_table,) = reader.execute(
            "select comment from duckdb_tables() where table_name = 'sessions'"
        ).fetchone() or ("",)
        assert str(words_of_table).startswith("One row per session")
        order = reader.execute("select user_key_hash from marts.timeline_events").fetchall()
    assert order == sorted(order)


def test_receipt_says_what_went_and_not_who(erased: Erased) -> None:
    (receipt,) = query(erased.settings, "select * from ops.erasures")
    rows = json.loads(receipt["rows_by_relation"])
    assert rows == erased.report.rows
    assert {"raw.events", "ops.rejected_events", "intermediate.int_user_days"} <= set(rows)
    assert receipt["finished_at"] >= receipt["requested_at"]
    assert receipt["left_to_do"] is None
    mine = [e for e in erased.events if e.get("user_id") == erased.person["user_id"]]
    assert receipt["first_event_date"].isoformat() == min(e["occurred_at"][:10] for e in mine)
    salt = query(erased.settings, "select salt from ops.erasure_salt")[0]["salt"]
    expected = tombstones.salted(salt, "user_id", erased.person["user_id"])
    assert receipt["identifier_hash"] == expected
    # The number's hash is a user_id too: that of the client of an advisor's message.
    assert erased.report.identifiers == {
        "user_id": 2, "anonymous_id": 1, "phone_hash": 1, "email_hash": 1
    }  # fmt: skip
    assert erased.previewed.identifiers == erased.report.identifiers
    assert erased.previewed.rows == erased.report.rows


def again(erased: Erased, events: list[dict[str, Any]], path: Path) -> Any:
    path.write_bytes(b"".join(json.dumps(e).encode() + b"\n" for e in events))
    (result,) = ingest_paths([path], settings=erased.settings)
    assert result.read == result.accepted + result.duplicates + result.rejected
    return result


def test_what_the_person_did_before_is_refused_and_later_events_are_not(
    erased: Erased, tmp_path: Path
) -> None:
    person = erased.person
    mine = [e for e in erased.events if e.get("user_id", e.get("anonymous_id")) in person.values()]
    assert len(mine) > 20
    delivered = again(erased, mine, tmp_path / "again.ndjson")
    assert (delivered.accepted, delivered.duplicates) == (0, len(mine))
    renamed = [{**e, "event_id": str(uuid.uuid4())} for e in mine]
    delivered = again(erased, renamed, tmp_path / "renamed.ndjson")
    assert (delivered.accepted, delivered.erased) == (0, len(mine))
    (told,) = query(
        erased.settings, "select erased, duplicates from ops.loads order by load_id desc limit 1"
    )
    assert told == {"erased": len(mine), "duplicates": len(mine)}
    # A device that somebody else uses too, and a number that only an advisor's message names.
    shared = [
        {**e, "event_id": str(uuid.uuid4())} for e in erased.events if e.get("user_id") == OTHER
    ]
    client = [{**e, "event_id": str(uuid.uuid4())} for e in erased.events
              if (e.get("properties") or {}).get("recipient_phone_hash") == person["phone_hash"]]  # fmt: skip
    delivered = again(erased, [*shared, *client], tmp_path / "shared.ndjson")
    assert (len(shared), len(client)) == (2, 1)
    assert (delivered.accepted, delivered.erased) == (2, 1)
    rejected = [{**e, "event_id": "no-uuid"} for e in mine[:1]]
    assert again(erased, rejected, tmp_path / "bad.ndjson").rejected == 1
    assert scan(erased.settings, erased.names) == set()
    (kept,) = query(erased.settings, "select payload, detail from ops.rejected_events "
                                     "order by rejection_id desc limit 1")  # fmt: skip
    assert kept == {"payload": None, "detail": None}
    (of_device,) = query(
        erased.settings,
        f"select count(*) as n, count(anonymous_id) as devices from raw.events "
        f"where user_id = '{OTHER}' and event_name = 'asset_viewed'",
    )
    assert of_device == {"n": 2, "devices": 0}
    now = f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    back = [{**renamed[0], "event_id": str(uuid.uuid4()), "occurred_at": now}]
    assert again(erased, back, tmp_path / "back.ndjson").accepted == 1
    assert replay(erased.settings, Selection()).accepted == 0


def test_backup_from_before_is_erased_again_when_it_is_put_back(
    erased: Erased, tmp_path: Path, new_postgres: Any
) -> None:
    settings = replace(erased.settings, home=tmp_path / "home")
    settings.home.mkdir()
    if settings.target == "postgres":
        settings = replace(settings, postgres_url=new_postgres())
    erased.backup.put_back(settings)
    assert query(settings, f"select 1 from raw.events where user_id = '{erased.person['user_id']}'")
    shutil.copy(erased.settings.home / tombstones.JOURNAL, settings.home)
    # A load alone knows already whom to refuse; the next session removes the rows.
    mine = next(e for e in erased.events if e.get("user_id") == erased.person["user_id"])
    delivered = load(settings, tmp_path / "new.ndjson", json.dumps(
        {**mine, "event_id": str(uuid.uuid4())}).encode())  # fmt: skip
    assert delivered.erased == 1
    open_session(settings).close()
    rows = contents(settings)
    for label, found in rows.items():
        if label != "raw.event_ids":
            assert not [row for row in found if names_of(row, erased.keys)], label
    (receipt,) = query(settings, "select finished_at, rows_by_relation from ops.erasures")
    assert receipt["finished_at"]
    assert json.loads(receipt["rows_by_relation"])["raw.events"] == erased.report.rows["raw.events"]
    if settings.target == "duckdb":
        assert scan(settings, erased.names) == set()


# -- who is meant -------------------------------------------------------------------------------


def typed(
    settings: Settings, *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> tuple[int, str, str]:
    """Type a command; return its exit code and what it said."""
    monkeypatch.setenv("TIDEMARK_HOME", str(settings.home))
    monkeypatch.setattr(sys, "argv", ["tidemark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("arguments", "words_of_error"),
    [
        ((), "say who by exactly one of --user-id"),
        (("--user-id", "u1", "--phone", "+49 30 901820"), "exactly one"),
        (("--user-id", "  "), "exactly one"),
        (("--phone", "030 901820"), "--phone is no telephone number; write it as"),
        (("--phone", "ann@example.com"), "--phone is no telephone number"),
        (("--email", "ann"), "--email is no address; write it as"),
        (("--user-id", "u\0"), "NUL"),
        (("--user-id", "u1", "--dry-run"), "there is no warehouse"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(
    arguments: tuple[str, ...], words_of_error: str, duckdb_settings: Settings,
    monkeypatch: pytest.MonkeyPatch, capsys: Any,
) -> None:  # fmt: skip
    code, out, err = typed(
        duckdb_settings, "erase", *arguments, monkeypatch=monkeypatch, capsys=capsys
    )
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert words_of_error in err
    assert not duckdb_settings.warehouse_path.exists()


def test_too_little_room_is_said_before_anything_is_done(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(duckdb_settings, tmp_path / "e.ndjson", line(user_id="u1"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(erasure_files.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(UserError, match="make room and try again"):
        erasure.erase(duckdb_settings, [("user_id", "u1")])
    assert not (duckdb_settings.home / tombstones.JOURNAL).exists()
    assert query(duckdb_settings, "select count(*) as n from raw.events") == [{"n": 1}]


def test_command_tells_counts_and_never_the_person(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    lines = b"\n".join([line(user_id="u_ann"), line(user_id="u_ann"), line(user_id="u_bob")])
    load(duckdb_settings, tmp_path / "e.ndjson", lines)

    def say(*arguments: str) -> str:
        code, out, err = typed(
            duckdb_settings, "erase", *arguments, monkeypatch=monkeypatch, capsys=capsys
        )
        assert (code, err) == (0, "")
        assert "u_ann" not in out
        return out

    told = say("--user-id", "u_ann", "--dry-run")
    assert told.startswith(
        "would erase 2 rows of 1 user_id; nothing was changed\n  raw.events  2\n"
    )
    assert "dates from 2026-03-01 on are stale" in told
    assert query(duckdb_settings, "select count(*) as n from raw.events") == [{"n": 3}]
    source = duckdb_settings.home / "source.csv"
    source.write_text("user_id\nu_ann\n")
    found = json.loads(say("--user-id", "u_ann", "--json"))
    assert found["files"] == [str(source)]
    assert source.read_text() == "user_id\nu_ann\n"
    assert (found["rows"], found["identifiers"]) == ({"raw.events": 2}, {"user_id": 1})
    assert query(duckdb_settings, "select user_id from raw.events") == [{"user_id": "u_bob"}]
    assert "nobody was found under this identifier" in say("--user-id", "u_ann")
    assert say("--user-id", "u_nobody", "--quiet") == ""


def test_number_is_found_and_refused_under_every_key(settings: Settings, tmp_path: Path) -> None:
    keys = tuple(HashKey(f"v{n}", bytes([n]) * 32) for n in (1, 2, 3))
    events = [
        event(event_name="user_identified", provider=None, amount_cents=None, currency=None,
              entity_id=None, user_id=user, anonymous_id=anonymous, properties={})
        for user, anonymous in (("+49 30 901820", "a1"), ("Ann@Example.com", "a2"), ("u3", "a3"))
    ]  # fmt: skip
    first = replace(settings, hash_keys=keys[:1])
    load(first, tmp_path / "v1.ndjson", b"\n".join(json.dumps(e).encode() for e in events))
    both = replace(settings, hash_keys=keys[:2])
    report = erasure.erase(both, erasure.named(both, phone="+4930901820"))
    assert report.identifiers == {"user_id": 1}
    left = query(both, "select user_id from raw.events order by anonymous_id")
    assert [row["user_id"] for row in left] == [Pseudonyms(keys[0]).of("ann@example.com"), "u3"]
    again = [{**e, "event_id": str(uuid.uuid4())} for e in events]
    # The newest key came after the erasure; the older one that is still listed knows the number.
    for number, listed in enumerate((keys[:2], keys[1:])):
        again = [{**e, "event_id": str(uuid.uuid4())} for e in events]
        result = load(
            replace(settings, hash_keys=listed), tmp_path / f"again{number}.ndjson",
            b"\n".join(json.dumps(e).encode() for e in again),
        )  # fmt: skip
        assert (result.accepted, result.erased) == (2, 1)


# -- asked for now, done later -------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_what_was_asked_for_is_done_by_the_job_of_dagster(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings = request.getfixturevalue(f"{engine}_settings")
    both = b"\n".join([line(user_id="u_ann"), line(user_id="u_bob")])
    load(settings, tmp_path / "e.ndjson", both)
    report = erasure.ask(settings, [("user_id", "u_ann")])
    assert (report.done, report.rows) == (False, {"raw.events": 1})
    assert "u_ann" not in (settings.home / tombstones.JOURNAL).read_text(encoding="utf-8")
    assert query(settings, "select count(*) as n from raw.events") == [{"n": 2}]
    assert load(settings, tmp_path / "again.ndjson", line(user_id="u_ann")).erased == 1
    job = build_definitions(settings).resolve_job_def(removal_jobs.ERASURE)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def ran(**config: Any) -> tuple[Any, str]:
            done = job.execute_in_process(
                instance=instance, run_config={"ops": {"erase_who_waits": {"config": config}}}
            )
            (output,) = done.filter_events(lambda event: event.event_type_value == "STEP_OUTPUT")
            counts = output.event_specific_data.metadata
            said = " ".join(entry.user_message for entry in instance.all_logs(done.run_id))
            return {name: value.value for name, value in counts.items()}, said

        counts, said = ran(dry_run=True)
        assert counts == {"erasures": 1, "rows": 1}
        assert f"request {report.request_id}" in said
        assert "raw.events  1" in said
        assert "u_ann" not in said
        assert query(settings, "select count(*) as n from raw.events") == [{"n": 2}]
        assert ran()[0] == {"erasures": 1, "rows": 1}
        assert query(settings, "select user_id from raw.events") == [{"user_id": "u_bob"}]
        (receipt,) = query(settings, "select request_id, finished_at from ops.erasures")
        assert receipt["request_id"] == report.request_id
        assert receipt["finished_at"]
        assert ran()[0] == {"erasures": 0, "rows": 0}


def test_later_is_typed(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    load(duckdb_settings, tmp_path / "e.ndjson", line(user_id="u_ann"))

    def say(*arguments: str) -> tuple[int, str, str]:
        return typed(duckdb_settings, "erase", "--user-id", "u_ann", *arguments,
                     monkeypatch=monkeypatch, capsys=capsys)  # fmt: skip

    code, out, err = say("--later")
    assert (code, err) == (0, "")
    assert out.startswith("noted: 1 rows of 1 user_id go with the Dagster job 'erasure'")
    code, out, err = say("--later", "--dry-run")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "give one of them" in err


# -- in the middle, and again -------------------------------------------------------------------


@pytest.mark.parametrize("step", ["_carry_out", "scrub_home"])
def test_erasure_that_was_cut_off_is_finished_by_the_next_session(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    load(settings, tmp_path / "e.ndjson", b"\n".join([line(user_id="u1"), line(user_id="u2")]))

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(erasure, step, killed)
        with pytest.raises(KeyboardInterrupt):
            erasure.erase(settings, [("user_id", "u1")])
    assert len(tombstones.read_journal(settings)) == 1
    refused = load(settings, tmp_path / "again.ndjson", line(user_id="u1"))
    assert refused.erased == 1
    (receipt,) = query(settings, "select finished_at from ops.erasures")
    assert receipt["finished_at"] is None
    open_session(settings).close()
    (receipt,) = query(settings, "select finished_at, rows_by_relation from ops.erasures")
    assert receipt["finished_at"]
    assert json.loads(receipt["rows_by_relation"]) == {"raw.events": 1}
    assert query(settings, "select user_id from raw.events") == [{"user_id": "u2"}]
    finished = receipt["finished_at"]
    open_session(settings).close()
    assert query(settings, "select finished_at from ops.erasures") == [{"finished_at": finished}]


def test_ingest_finishes_what_was_cut_off_and_says_what_it_refused(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    load(
        duckdb_settings, tmp_path / "e.ndjson", b"\n".join([line(user_id="u1"), line(user_id="u2")])
    )
    erasure.erase(duckdb_settings, [("user_id", "u1")])
    # As a backup from before would be: rows are back, and nothing is known of the erasure.
    for table in ("erasures", "erasure_tombstones", "erasure_salt"):
        query(duckdb_settings, f"delete from ops.{table}")
    query(duckdb_settings, "update raw.events set user_id = 'u1'")
    path = tmp_path / "again.ndjson"
    path.write_bytes(line(user_id="u1"))
    code, out, err = typed(
        duckdb_settings, "ingest", str(path), monkeypatch=monkeypatch, capsys=capsys
    )
    assert (code, err) == (0, "")
    assert "read 1, accepted 0, duplicates 1 (1 of erased persons), rejected 0 (loaded)" in out
    assert query(duckdb_settings, "select count(*) as n from raw.events") == [{"n": 0}]
    assert query(duckdb_settings, "select finished_at is not null as f from ops.erasures") == [
        {"f": True}
    ]


def test_login_without_rights_over_the_server_says_what_is_left(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    assert postgres_settings.postgres_url
    name = postgres_settings.postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_settings.postgres_url, autocommit=True) as connection:
        connection.execute("create role owner_of_all login createrole")
        connection.execute(f"alter database {name} owner to owner_of_all")  # type: ignore[call-overload]
    settings = replace(
        postgres_settings,
        postgres_url=postgres_settings.postgres_url.replace("tidemark@", "owner_of_all@"),
    )
    load(settings, tmp_path / "e.ndjson", b"\n".join([line(user_id="u1"), line(user_id="u2")]))
    report = erasure.erase(settings, [("user_id", "u1")])
    assert report.rows == {"raw.events": 1}
    assert query(settings, "select user_id from raw.events") == [{"user_id": "u2"}]
    (left,) = report.left
    assert left.startswith("old statistics and write-ahead log: as a superuser, run")
    assert query(settings, "select left_to_do from ops.erasures") == [{"left_to_do": left}]


def test_line_of_the_journal_that_was_cut_off_is_none(duckdb_settings: Settings) -> None:
    erasure.erase(duckdb_settings, [("user_id", "u1")])
    path = duckdb_settings.home / tombstones.JOURNAL
    assert path.stat().st_mode & 0o077 == 0
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    erasure.erase(duckdb_settings, [("user_id", "u2")])
    requests = [found.request_id for found in tombstones.read_journal(duckdb_settings)]
    done = query(duckdb_settings, "select request_id from ops.erasures order by requested_at")
    assert requests == [row["request_id"] for row in done]
    assert len(requests) == 2
    (salts,) = query(
        duckdb_settings, "select count(distinct salt) as n from ops.erasure_tombstones"
    )
    assert salts == {"n": 1}


WRITER = """
from ingest.settings import load_settings
from ingest.warehouse import open_warehouse
for number in range(15):
    warehouse = open_warehouse(load_settings(), wait_seconds=60)
    warehouse.execute("insert into ops.unknown_properties values (9, 'e', 'p', ?)", [number])
    warehouse.close()
    if number == 0:
        print("writing", flush=True)
"""


def test_who_waits_for_the_warehouse_writes_to_the_new_file(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(duckdb_settings, tmp_path / "e.ndjson", line(user_id="u1"))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True,
        env={"TIDEMARK_HOME": str(duckdb_settings.home)},
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    tried: list[bytes] = []

    def try_to_open(_: float) -> None:
        time.sleep(0.3)
        path = str(duckdb_settings.warehouse_path)
        opening = [sys.executable, "-c", f"import duckdb; duckdb.connect({path!r})"]
        tried.append(subprocess.run(opening, capture_output=True, check=False).stderr)

    with monkeypatch.context() as during:
        during.setattr(erasure_files, "time", SimpleNamespace(sleep=try_to_open))
        erasure.erase(duckdb_settings, [("user_id", "u1")])
    # While the files change places nobody gets at either.
    assert len(tried) == 1
    assert b"Could not set lock" in tried[0]
    assert writer.wait(timeout=PATIENCE_SECONDS) == 0
    writer.stdout.close()
    rows = query(duckdb_settings, "select events from ops.unknown_properties order by events")
    assert [row["events"] for row in rows] == list(range(15))


def test_events_that_come_later_are_refused_though_nobody_was_found(
    settings: Settings, tmp_path: Path
) -> None:
    report = erasure.erase(settings, erasure.named(settings, anonymous_id="a1"))
    assert (report.rows, report.identifiers) == ({}, {})
    data = b"\n".join(line(anonymous_id=device) for device in ("a1", "a2"))
    result = load(settings, tmp_path / "e.ndjson", data)
    assert (result.accepted, result.duplicates, result.erased) == (1, 1, 1)


# -- what is said later -------------------------------------------------------------------------


def test_cause_is_the_erasure_of_who_had_events_up_to_the_date(bench: Bench) -> None:
    warehouse = bench.warehouse
    for day in (3, 4, 5, 6):
        bench.day(day, seen=1, now=2 if day == 6 else 1)
    bench.loaded(2, 6)
    for run, at in (("old", 10), ("later", 12)):
        warehouse.execute(
            "insert into ops.etl_job_runs (run_id, job, started_at, status) values (?, 'j', ?, 's')",
            [run, datetime(2026, 4, at)],
        )
    warehouse.execute(
        "update ops.partitions set published_run_id = 'later' where partition_date = ?", [march(5)]
    )
    warehouse.execute(
        "insert into ops.erasures (request_id, identifier_hash, requested_at, first_event_date) "
        "values ('r', 'h', ?, ?), ('nobody', 'h', ?, null)",
        [datetime(2026, 4, 11), march(4), datetime(2026, 4, 11)],
    )
    values = "(3, 'k', {0}), (4, 'k', {0}), (5, 'k', {0}), (6, 'k', {0})"
    query_of = (
        "select date '2026-03-01' + (d - 1) as metric_date, k, n from (values {}) as v (d, k, n)"
    )
    bench.tables(query_of.format(values.format(1)), query_of.format(values.format(2)))
    causes = {row[0]: row[-1] for row in bench.find()}
    assert causes == {3: "definition", 4: "erasure", 5: "definition", 6: "load 2, erasure"}


def test_causes_in_words() -> None:
    causes = ("erasure", "load 2, erasure", "loads 3, 4 and 2 more")
    told = Restated(1, datetime(2026, 4, 1), 2, 0, 0, 1, 1, causes)
    assert words(told).endswith("because of loads 2, 3, 4 and more and erasure")


#: What a log and Dagster say of two persons, and what is left of it.
WROTE = "channel of ann since 2026-03-01 10:15:30.101, and of 101"
LEFT = "channel of [erased] since 2026-03-01 10:15:30.101, and of [erased]"


def told_by_dagster(settings: Settings, say: str | None = None) -> list[tuple[Any, ...]]:
    """Return what Dagster has of its first run; let it say something about it before."""
    with open_instance(settings) as instance:
        run = instance.get_runs(ascending=True)[0]
        if say:
            instance.report_engine_event(say, run, step_key="ann")
        return [
            (entry.run_id, entry.step_key, entry.timestamp, entry.dagster_event_type, entry.message)
            for entry in instance.all_logs(run.run_id)
        ]


def test_date_that_is_run_again_counts_who_is_left(
    duckdb_settings: Settings, project: Path, tmp_path: Path
) -> None:
    settings = duckdb_settings
    people = [("101", 3), ("ann", 4), ("ann", 4), ("u5", 5)]
    lines = [line(user_id=user, occurred_at=f"{march(day)}T10:00:00Z") for user, day in people]
    load(settings, tmp_path / "e.ndjson", b"\n".join(lines))
    assert runs.run(settings).status == "succeeded"
    manifest, said = DbtProject(settings).manifest, told_by_dagster(settings, WROTE)
    assert WROTE in [entry[-1] for entry in said]
    log = settings.home / "logs" / "dbt" / "dbt.log"
    log.write_text(f"{WROTE}\n")
    compiled = settings.dbt_target_path / "compiled.sql"
    compiled.write_text("select 'ann'")
    # What a load that waits has in hand is not changed: the door refuses it.
    piped = settings.home / "spool" / str(os.getpid()) / "piped"
    piped.parent.mkdir(parents=True)
    piped.write_bytes(lines[1])
    sums = "select metric_date, sum(events) as n from marts.metrics_hourly_activity group by 1"

    def published(sql: str) -> list[Any]:
        with duckdb.connect(str(settings.published_path), read_only=True) as reader:
            return sorted(reader.execute(sql).fetchall())

    before = published(sums)
    # A row of the person's that no key leads to.
    query(settings, "insert into intermediate.int_user_days values (date '2026-03-04', 'nobody')")
    erasure.erase(settings, [("user_id", "ann")])
    assert published(sums) == before == [(march(3), 1), (march(4), 2), (march(5), 1)]
    assert published("select user_id from marts.first_seen") == [("101",), ("u5",)]
    assert runs.run(settings).status == "nothing"
    # A later date looks back on who is left; what was published of the earlier one stays.
    later = run_below_job(settings, start=march(5), end=march(5))
    assert later.plan is not None
    assert later.plan.window.prepare_start == march(4)
    assert published(sums) == before
    assert published("select user_id from marts.first_seen") == [("101",), ("u5",)]
    assert runs.run(settings, start=march(4), end=march(4)).status == "succeeded"
    assert published(sums) == [(march(3), 1), (march(5), 1)]
    found = query(settings, "select distinct relation, metric_date, cause from ops.restatements "
                            "order by relation")  # fmt: skip
    assert [tuple(row.values()) for row in found] == [
        ("daily_users", march(4), "erasure"),
        ("metrics_hourly_activity", march(4), "erasure"),
    ]
    # Exports from before are their owners' matter.
    out = settings.home / "first.csv"
    export_relation(settings, "first_seen", format="csv", out=out)
    export_relation(settings, "daily_users", format="csv", out=settings.home / "users.csv")
    assert [e.relation for e in exports_of_persons(settings)] == []
    report = erasure.erase(settings, [("user_id", "101")])
    assert report.rows["published marts.first_seen"] == 1
    assert log.read_text().startswith(f"{LEFT}\n")
    assert told_by_dagster(settings) == [(*e[:-1], e[-1].replace(WROTE, LEFT)) for e in said]
    assert (compiled.exists(), piped.read_bytes()) == (False, lines[1])
    assert run_below_job(settings, start=march(5)).status == "succeeded"
    assert DbtProject(settings).manifest == manifest
    noted = settings.home / "exports.ndjson"
    noted.write_text(noted.read_text().replace("first_seen", "sessions") + "cut off")
    (export,) = erasure.erase(settings, [("user_id", "u5")]).exports
    assert (export.relation, export.rows, export.path) == ("sessions", 2, str(out))


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_on_a_server_only_what_people_wrote_in_dagsters_tables_changes(
    postgres_settings: Settings, tmp_path: Path, target: str
) -> None:
    """Dagster keeps its runs there whatever the target is."""
    settings = replace(postgres_settings, target=target)
    told = {
        "user_message": WROTE, "step_key": "ann", "timestamp": 1772360130.101, "attempt": 101,
        "tags": {"dagster/max_runtime": "101", "ann": "x"}, "user_id": ["ann", 101],
        "window": "2026-03-01 .. 2026-03-05", "nested": json.dumps({"text": WROTE, "count": 101}),
    }  # fmt: skip
    with psycopg.connect(str(settings.postgres_url), autocommit=True) as server:
        server.execute("create table event_logs (run_id varchar(255), event text, step_key text)")
        server.execute("create table jobs (payload text, job_body text)")
        server.execute("create table letters (text text)")
        run = ["5b0c1a2d-101e-4c1d-9f00-0123456789ab", json.dumps(told), "ann"]
        server.execute("insert into event_logs values (%s, %s, %s)", run)
        server.execute("insert into jobs values (%s, %s)", [WROTE, "101"])
        server.execute("insert into letters values (%s)", [WROTE])
        names = ("ann", "101", "u3")
        lines = b"\n".join(line(user_id=name) for name in names)
        load(settings, tmp_path / "e.ndjson", lines)
        for name in names[:2]:
            erasure.erase(settings, [("user_id", name)])
        ((run_id, event, step),) = server.execute("select * from event_logs").fetchall()
        assert server.execute("select * from jobs").fetchall() == [(WROTE, "101")]
        assert server.execute("select * from letters").fetchall() == [(WROTE,)]
    assert (run_id, step) == (run[0], run[2])
    assert json.loads(event) == told | {
        "user_message": LEFT, "user_id": ["[erased]", "[erased]"],
        "nested": json.dumps({"text": LEFT, "count": 101}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "left"),
    [
        ("says 'x\\nann' of 101.", "says 'x\\n[erased]' of [erased]."),
        ("andré and o\"x, no andréa", "[erased] and [erased], no andréa"),
        (json.dumps(["andré is", 'o"x is', "2026-03-01 1.101 s"]),
         json.dumps(["[erased] is", "[erased] is", "2026-03-01 1.101 s"])),
        ("path/u_1/customer_0001", "path/u_1/[erased]"),
        ("u_1", "u_1"),
        (json.dumps({"text": "u_1", "step": "ann"}), json.dumps({"text": "[erased]", "step": "ann"})),
    ],
)  # fmt: skip
def test_names_are_whole_words(cell: str, left: str) -> None:
    names = ["ann", "101", "2026", "andré", 'o"x', "u_1", "customer_0001", "no", "s"]
    assert Names(names).taken_out_of_cell(cell) == left


# -- rules for everything -----------------------------------------------------------------------

#: Columns that end like a key and are no client's.
NO_PERSONS = {
    "advisor_id_hash", "agent_id", "actor_id", "reader_id", "creator_id", "project_id", "brand_id",
    "ip_asset_id", "license_id", "entity_id", "order_id", "payment_id", "call_id", "message_id",
    "horoscope_id", "content_id", "conversation_id", "template_id", "chat_agent_id", "campaign_id",
    "user_key_hash",
}  # fmt: skip


def test_every_relation_with_a_key_of_a_person_has_a_rule(
    duckdb_settings: Settings, erased: Erased
) -> None:
    manifest = DbtProject(erased.settings).manifest
    columns = {
        r.name: set(r.column_names)
        for r in relations(manifest)
        if r.layer in ("intermediate", "marts") and not r.is_view
    }
    assert set(columns) >= set(RELATIONS)
    for name, present in columns.items():
        keys = present & set(VOCABULARY)
        rule = RELATIONS.get(name)
        spoken = (
            {k.column for k in (*rule.deletes, *rule.clears)} | set(rule.keeps) if rule else set()
        )
        assert keys <= spoken, f"{name}: say in erasure_rules what becomes of {keys - spoken}"
        assert not rule or spoken - set(rule.keeps) <= present, name
        likely = {c for c in present if c.endswith(("_id", "_hash", "identifier", "user_key"))}
        assert likely <= NO_PERSONS | set(VOCABULARY), f"{name}: are {likely} of persons?"


def test_every_table_of_raw_and_operations_has_a_rule(erased: Erased) -> None:
    found: dict[str, set[str]] = {}
    for row in query(
        erased.settings,
        "select table_schema as s, table_name as t, column_name as c from information_schema.columns "
        "where table_schema in ('raw', 'ops') and table_name not like 'events_%'",
    ):
        found.setdefault(f"{row['s']}.{row['t']}", set()).add(row["c"])
    # Logins and what they may read are there on Postgres only.
    known = {*OPERATIONS, *TEXTS, "raw.events"}
    assert set(found) >= (
        known if erased.settings.target == "postgres" else known - {"ops.identities"}
    )
    for label, present in found.items():
        rule = rule_of(*label.split("."), present)
        spoken = {key.column for key in (*rule.deletes, *rule.clears)} | set(rule.keeps)
        spoken |= {key.type_column for key in rule.deletes}
        keys = present & {*VOCABULARY, "identifier_type"}
        assert keys <= spoken, f"{label}: say in erasure_rules what becomes of {keys - spoken}"
        texts = set(TEXTS.get(label, ((),))[0])
        assert texts <= present, label


def test_table_that_the_project_does_not_know_goes_by_its_columns(
    settings: Settings, tmp_path: Path
) -> None:
    asked = event(event_name="message_received", user_id="u1", entity_id="m1", provider=None,
                  amount_cents=None, currency=None, properties={"chat_id": "chat1"})  # fmt: skip
    load(settings, tmp_path / "e.ndjson", json.dumps(asked).encode())
    warehouse = open_warehouse(settings)
    warehouse.execute("create schema if not exists marts")
    warehouse.execute("create table marts.older as select 'u1' as user_id, 'a1' as anonymous_id "
                      "union all select 'u2', 'a2' union all select 'a1', 'u1'")  # fmt: skip
    warehouse.execute("create table marts.odd as select 'a1' as identifier, 1 as n "
                      "union all select 'u1', 2")  # fmt: skip
    subjects = [("chat_id", "chat1"), ("chat_id", "chat2"), ("response_event_id", asked["event_id"]),
                ("agent_id", "u1"), ("user_id", "u1")]  # fmt: skip
    warehouse.execute("create table marts.alerts (subject_type varchar, subject_id varchar)")
    warehouse.insert_many("marts.alerts", ("subject_type", "subject_id"), subjects)
    for kind, subject in subjects:
        warehouse.execute(
            "insert into ops.alert_deliveries (rule, subject_type, subject_id, opened_on, channel, "
            "number, event, attempts, attempted_at) "
            "values ('r', ?, ?, date '2026-03-01', 'log', 1, 'opened', 1, timestamp '2026-03-01')",
            [kind, subject],
        )
    warehouse.execute(
        "insert into ops.identity_revocations values (?, date '2026-03-01', 'u1 is not u2', "
        "timestamp '2026-03-01'), ('e2', date '2026-03-01', '\"u1\" is not u2', "
        "timestamp '2026-03-01')",
        [asked["event_id"]],
    )
    warehouse.execute(
        "insert into ops.hash_links values ('user_id', 'u1', 'u9', date '2026-03-01', "
        "timestamp '2026-03-01', 'e3', 1), ('user_id', 'u7', 'u8', date '2026-03-01', "
        "timestamp '2026-03-01', 'e4', 1)"
    )
    warehouse.close()
    erasure.erase(settings, [("user_id", "u1")])
    assert query(settings, "select user_id from marts.older order by 1") == [
        {"user_id": "a1"}, {"user_id": "u2"}
    ]  # fmt: skip
    assert query(settings, "select n from marts.odd") == [{"n": 1}]
    for table in ("marts.alerts", "ops.alert_deliveries"):
        left = query(settings, f"select subject_type as k, subject_id as v from {table} order by 1")
        assert [tuple(row.values()) for row in left] == [("agent_id", "u1"), ("chat_id", "chat2")]
    assert query(settings, "select event_id, reason from ops.identity_revocations") == [
        {"event_id": "e2", "reason": "[erased]"}
    ]
    # Hashes of one client under two keys are one person, also before a run has linked them.
    assert query(settings, "select old_hash from ops.hash_links") == [{"old_hash": "u7"}]
    kinds = {kind for kind, _ in tombstones.read_journal(settings)[0].tombstones}
    assert (kinds, len(tombstones.read_journal(settings)[0].tombstones)) == ({"user_id"}, 2)


def test_a_string_that_is_not_closed_is_looked_at_too() -> None:
    assert "ann of b" in set(tombstones.tokens('{"a": "x", "b": "ann of b'))
    assert "ann of b" in set(tombstones.tokens('"ann of b\\'))

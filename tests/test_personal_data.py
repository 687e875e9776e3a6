"""Nothing personal is stored: a corpus of forms, through every way in, to every file that is left.

The forms and where they are planted stand in personal_data; normal forms and single rules in
test_door_privacy. The world is run and published by the real project once on each engine.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.adapters import ADAPTERS
from ingest.door import ingest_paths
from ingest.loader import LoadResult
from ingest.privacy import Pseudonyms, identifying
from ingest.redacted_payload import quarantined_payload
from ingest.redaction import redact, redact_name, redact_tree, redact_url
from ingest.registry import registry
from ingest.settings import HashKey, Settings, load_settings
from ingest.warehouse import open_warehouse
from orchestration import dbt_project, runs
from orchestration.dbt_project import PROJECT_DIR
from orchestration.export import FORMATS, export_relation
from tests import personal_data as corpus
from tests.hostile import HOSTILE
from tests.postgres import running_server
from tests.tiny_project import write_project

#: A name that must be found, so that the search is known to work.
KNOWN = "zqordinaryagent"
EXPORTED = ("sessions", "identity_map", "user_timeline", "attribution", "metrics_daily_engagement")
#: The first part of the corpus comes in under the first key, the rest in a mapping window.
KEYS = f"v1:{'1a' * 32},v2:{'2b' * 32}"
#: Seeds with a text that is only shown -> its column, and what is put there.
SEED_TEXTS = {"alert_rules": "message", "advisor_triggers": "action"}
SEEDED = tuple(v.strip() for v in HOSTILE if v.strip() and "\n" not in v and "\udcff" not in v)
HASHES = Pseudonyms(HashKey("v1", bytes(range(32))))


@dataclass(frozen=True)
class World:
    """A warehouse that the corpus went into, run, published and exported."""

    settings: Settings
    loads: tuple[LoadResult, ...]
    folders: tuple[Path, ...]


def ordinary(number: int) -> Iterator[dict[str, Any]]:
    """Harmless events, enough of them that a run is not held up for its rejected lines."""
    for n in range(number):
        yield {
            "event_id": corpus._id("ordinary", n), "event_name": "page_viewed",
            "occurred_at": f"{corpus.DATES[n % 3]}T{n % 24:02d}:{n % 60:02d}:00Z",
            "anonymous_id": f"device-{n % 50}", "agent_id": KNOWN, "channel": "web",
        }  # fmt: skip


def ndjson(rows: Sequence[dict[str, Any]], *, escaped: bool) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=escaped).encode() + b"\n" for row in rows)


def sources(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The corpus as files of every format -> the adapter that reads them."""
    fields, texts = list(corpus.in_every_field()), list(corpus.in_text())
    escaped = folder / f"{corpus.FILE_NAMES['number']}.ndjson"
    escaped.write_bytes(ndjson([*fields, *texts, *ordinary(9000)], escaped=True))
    packed = folder / "signs.ndjson.gz"
    again = [{**row, "event_id": corpus._id("again", row["event_id"])} for row in texts]
    packed.write_bytes(gzip.compress(ndjson(again, escaped=False)))
    bad = folder / "bad.ndjson"
    bad.write_bytes(b"\n".join(corpus.rejected_lines()) + b"\n")
    columns = ("event_id", "event_name", "occurred_at", "user_id", "channel", "context.page_url")
    table = folder / f"{corpus.FILE_NAMES['address']}.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "note"])
        for number, form in enumerate(corpus.FORMS):
            start = [corpus._id("csv", number), "page_viewed", "2026-03-02T10:00:00Z"]
            user = form.text if form.identifies else "u1"
            page = corpus.PAGES[number % len(corpus.PAGES)][0]
            writer.writerow([*start, user, "web", page, f"see {form.text}"])
            writer.writerow([*start[:2], "no time", user, "web", page, form.text])
            writer.writerow([*start, form.text])
    messages = folder / "messages.csv"
    messages.write_text(
        "event_id,event_name,occurred_at,entity_id,user_id,properties.chat_id,properties.text\n"
        f"1,message_received,2026-03-01T10:00:00Z,m,u,c,{corpus.SAID},one more\n",
        encoding="utf-8",
    )
    rows = [
        {"event_id": corpus._id("parquet", n), "event_name": "page_viewed",
         "occurred_at": "2026-03-03T10:00:00Z", "user_id": form.text if form.identifies else None,
         "amount_cents": None if n % 2 else -1,
         "properties": {"project_id": form.text if form.identifies else "p", "note": form.text},
         "context": {"referrer": corpus.PAGES[n % len(corpus.PAGES)][0]}}
        for n, form in enumerate(corpus.FORMS)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    for path in (escaped, packed, bad, table, messages, folder / "rows.parquet"):
        yield path, None
    yield Path("-"), None
    for name, found in corpus.documents().items():
        path = folder / f"{name}.json"
        path.write_bytes(ndjson(found, escaped=name == "crm"))
        yield path, name


def fill(settings: Settings, folder: Path, exported: Sequence[str] = EXPORTED) -> World:
    """Everything in, run, published, exported."""
    folder.mkdir()
    first = folder / "first.ndjson"
    first.write_bytes(ndjson(list(piped()), escaped=True))
    older = replace(settings, hash_keys=settings.hash_keys[:1])
    loads: list[LoadResult] = ingest_paths([first], settings=older)
    stdin, sys.stdin = (
        sys.stdin,
        io.TextIOWrapper(io.BytesIO(ndjson(list(piped("again")), escaped=False))),
    )
    try:
        for path, adapter in sources(folder):
            loads += ingest_paths([path], settings=settings, adapter=adapter)
    finally:
        sys.stdin = stdin
    summary = runs.run(settings)
    assert summary.status == "succeeded", summary
    out = settings.home / "exports"
    out.mkdir()
    for relation in exported:
        for kind in FORMATS:
            export_relation(settings, relation, format=kind, out=out / f"{relation}.{kind}")
    return World(settings, tuple(loads), (settings.home,))


def hostile_seeds(folder: Path) -> str:
    """Reference data of a user, every free text of which is hostile."""
    ours = {path.stem: path for path in (PROJECT_DIR / "seeds").rglob("*.csv")}
    folder.mkdir()
    for name, column in SEED_TEXTS.items():
        with ours[name].open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            for number, row in enumerate(rows):
                writer.writerow({**row, column: SEEDED[number % len(SEEDED)]})
    return str(folder)


def piped(once: str = "first") -> Iterator[dict[str, Any]]:
    for number, form in enumerate(corpus.IDENTIFYING):
        yield {"event_id": corpus._id("piped", once, number), "event_name": "contact_created",
               "occurred_at": "2026-03-01T16:00:00Z", "user_id": form.text,
               "properties": {"contact_source": form.text}}  # fmt: skip


@pytest.fixture(scope="module")
def duckdb_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("personal-duckdb")
    return fill(
        load_settings(
            {
                "TIDEMARK_HOME": str(folder / "home"),
                "TIDEMARK_HASH_KEYS": KEYS,
                "TIDEMARK_SEEDS": hostile_seeds(folder / "seeds"),
            }
        ),
        folder / "in",
    )


@pytest.fixture(scope="module")
def postgres_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server of its own, so that its whole data directory can be searched.

    A small project: what goes into raw.events is the same, and the real one is run on DuckDB.
    """
    folder = tmp_path_factory.mktemp("personal-postgres")
    with running_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt_project, "PROJECT_DIR", write_project(folder / "tiny"))
        environment = {"TIDEMARK_HOME": str(folder / "home"), "TIDEMARK_TARGET": "postgres",
                       "TIDEMARK_POSTGRES_URL": url, "TIDEMARK_HASH_KEYS": KEYS}  # fmt: skip
        world = fill(load_settings(environment), folder / "in", ("first_seen", "daily_users"))
        warehouse = open_warehouse(world.settings)
        warehouse.execute("checkpoint")
        data = Path(warehouse.value("show data_directory"))
        warehouse.close()
        yield World(world.settings, world.loads, (*world.folders, data.parent))


@pytest.fixture(params=["duckdb", "postgres"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found


def tables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every table of the warehouse, and of what readers open, as text."""
    warehouse = open_warehouse(settings)
    try:
        names = warehouse.execute(
            "select table_schema, table_name from information_schema.tables "
            "where table_type = 'BASE TABLE' "
            "and table_schema not in ('pg_catalog', 'information_schema')"
        )
        for schema, name in names:
            rows = warehouse.execute(f'select * from {schema}."{name}"')
            yield f"{schema}.{name}", repr(rows) + json.dumps(rows, default=str, ensure_ascii=False)
    finally:
        warehouse.close()
    for path in sorted((settings.home / "exports").glob("*.parquet")):
        yield path.name, repr(duckdb.execute(f"from '{path}'").fetchall())
    if settings.target == "duckdb":
        with duckdb.connect(str(settings.published_path), read_only=True) as published:
            names = "select schema_name, table_name from duckdb_tables()"
            for schema, name in published.execute(names).fetchall():
                rows = published.execute(f'from {schema}."{name}"').fetchall()
                yield f"published {name}", repr(rows)


def written(folders: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


def test_no_table_holds_anything_personal(world: World) -> None:
    """Row by row, as text: compression and encodings of files cannot hide what is there."""
    wanted = corpus.traces()
    known, places = 0, 0
    for name, text in tables(world.settings):
        found = {trace: of for trace, of in wanted.items() if trace in text}
        assert not found, (name, found)
        known += KNOWN in text
        places += 1
    assert known and places > 60


def test_no_file_holds_anything_personal(world: World) -> None:
    """Byte by byte: warehouse, log of transactions, snapshots, Dagster's and dbt's files, exports."""
    wanted = {trace.encode(): of for trace, of in corpus.traces().items()}
    # A file of tens of megabytes is searched for few words that all traces have a part in.
    known: set[str] = set()
    names = set()
    for path, data in written(world.folders):
        found = {trace: of for trace, of in wanted.items() if trace in data}
        assert not found, (path, found)
        assert not [trace for trace in wanted if trace in os.fsencode(path.name)]
        names.add(path.name)
        if KNOWN.encode() in data:
            known.add(path.name)
    assert "manifest.json" in names
    if world.settings.target == "duckdb":
        assert {"warehouse.duckdb", *(f"sessions.{kind}" for kind in FORMATS)} <= names
    else:
        assert {f"first_seen.{kind}" for kind in FORMATS} <= names
        assert {name for name in known if len(name) == 24}, "the log of transactions was searched"
    assert any(path.is_relative_to(world.settings.dagster_home)
               for path, _ in written([world.settings.dagster_home]))  # fmt: skip


def test_everything_came_in(world: World) -> None:
    """What was hidden was accepted: every field of the contracts held a form, every way was used."""
    by_kind = {load.source: load for load in world.loads}
    assert set(ADAPTERS) <= set(by_kind) and {"ndjson", "csv", "parquet"} <= set(by_kind)
    fields = list(corpus.in_every_field())
    planted = corpus.planted_fields(fields)
    contracts = registry()
    every = {*contracts.envelope.values(), *contracts.context.values()}
    every |= {f for event in contracts.events.values() for f in event.properties.values()}
    expected = {
        f.name for f in every if corpus._is_free(f) or f.type == "text" or f.format == "url"
    }
    assert expected <= planted
    first = world.loads[1]
    assert first.rejected == 0 and first.accepted == first.read > 9000
    for name in ADAPTERS:
        assert by_kind[name].accepted and by_kind[name].rejected, name
    bad = world.loads[3]
    assert bad.rejected == bad.read > 3 * len(corpus.FORMS)
    assert {load.file_name for load in world.loads} >= {"chat [phone].ndjson", "[email]"}


def test_hidden_values_still_join(world: World) -> None:
    """Every spelling of a number or address is one hash, in whichever field and way it came."""
    warehouse = open_warehouse(world.settings)
    keyed = Pseudonyms.of_settings(world.settings)
    try:
        for form in corpus.IDENTIFYING:
            if identifying(form.text) is None:
                continue
            count = warehouse.value(
                "select count(distinct event_name) from raw.events where user_id = ?",
                [keyed.of(form.text)],
            )
            assert count >= 2, form
    finally:
        warehouse.close()


@pytest.mark.parametrize("world", ["duckdb"], indirect=True)
def test_clients_of_an_older_key_are_the_same_persons(world: World) -> None:
    """Hashes under both keys are one person each; what only looks like a hash is linked to nobody."""
    schema = "build" if world.settings.target == "postgres" else "marts"
    warehouse = open_warehouse(world.settings)
    rows = warehouse.execute(
        f"select identifier, person_id from {schema}.identity_map where identifier_type = 'user_id'"
    )
    warehouse.close()
    person = dict(rows)
    old, new = (Pseudonyms(key) for key in world.settings.hash_keys)
    numbers = {form.text for form in corpus.IDENTIFYING if identifying(form.text) is not None}
    assert len(numbers) > 40
    for number in numbers:
        assert person[old.of(number)] == person[new.of(number)] != person["u1"]
    assert len({person[old.of(number)] for number in numbers}) == len(
        {identifying(number) for number in numbers}
    )


@pytest.mark.parametrize("world", ["duckdb"], indirect=True)
def test_texts_of_reference_data_are_data(world: World) -> None:
    """Quotes, templates and commands in a user's seeds are stored as they stand, and no more."""
    warehouse = open_warehouse(world.settings)
    for name, column in SEED_TEXTS.items():
        stored = {row[0] for row in warehouse.execute(f"select {column} from reference.{name}")}
        rows = list(csv.DictReader((world.settings.seeds / f"{name}.csv").open(encoding="utf-8")))
        assert stored == {row[column] for row in rows}
    warehouse.close()
    assert not [path for path, _ in written(world.folders[:1]) if "stolen" in path.name]


def test_ordinary_ids_are_left_alone(duckdb_settings: Settings, tmp_path: Path) -> None:
    """No false alarm in ten thousand identifiers of many shapes, not even beside personal data."""
    ids = corpus.ordinary_ids()
    assert len(set(ids)) > 9000
    assert [i for i in ids if HASHES.of(i) != i or HASHES.staff(i) != i] == []
    rows = [
        {"event_id": corpus._id("id", n), "event_name": "payment_succeeded", "user_id": value,
         "occurred_at": "2026-03-01T10:00:00Z", "entity_id": value, "provider": "stripe",
         "amount_cents": 1, "currency": "EUR", "request_id": value, "agent_id": value,
         "anonymous_id": "zq@example.com", "properties": {"order_id": value},
         "context": {"utm_campaign": value}}
        for n, value in enumerate(ids)
    ]  # fmt: skip
    path = tmp_path / "ids.ndjson"
    path.write_bytes(ndjson(rows, escaped=False))
    (load,) = ingest_paths([path], settings=duckdb_settings)
    assert load.accepted == len(ids)
    warehouse = open_warehouse(duckdb_settings)
    columns = ("user_id", "entity_id", "request_id", "agent_id", "order_id", "utm_campaign")
    stored = warehouse.execute(f"select {', '.join(columns)} from raw.events")
    warehouse.close()
    assert sorted(row[0] for row in stored) == sorted(ids)
    assert all(len(set(row)) == 1 for row in stored)


def odd_events() -> Iterator[dict[str, Any]]:
    """Events of many shapes, with every kind of value and place that the door tells apart."""
    yield from corpus.in_every_field(1)
    yield from corpus.in_text()
    ids = ("0012345678", "98765-43210", "98765 43210", "4111111111111111", "203.0.113.9",
           "DE89370400440532013000", *corpus.ordinary_ids()[:50])  # fmt: skip
    phone, agent = "+91 98765 43210", "Mozilla/5.0 (X11; Linux x86_64) Firefox/121.0.0.0"
    read = {"event_name": "whatsapp_message_read", "occurred_at": "2026-03-01T10:00:00Z",
            "advisor_id_hash": phone, "content_id": "0012345678"}  # fmt: skip
    paid = {"event_name": "payment_succeeded", "occurred_at": "2026-03-01T10:00:00.123456Z",
            "entity_id": "p", "provider": "x", "amount_cents": 4111111111111111,
            "currency": "EUR"}  # fmt: skip
    known = {"whatsapp_message_id": "m", "recipient_phone_hash": phone}
    for value in ids:
        yield {**paid, "user_id": value, "entity_id": value, "request_id": value,
               "properties": {"order_id": value, "note": value}, "context": {"utm_term": value},
               "store": value}  # fmt: skip
    yield {**read, "properties": known}
    yield {**read, "delivery": {**known, "userId": "98765-43210", "extra": phone}}
    yield {**read, "payload": {"properties": known, "context": {"utmSource": phone, "dnt": False}}}
    yield {**read, "metadata": {**known, "respondingClientHash": phone, "user_id": phone}}
    yield {**read, "properties": {**known, "visitor_hash": phone, "who": phone, "deep": [phone]},
           "context": {"dnt": True, "client": phone, "user_agent": agent}}  # fmt: skip
    yield {**paid, "agentId": phone, "actor_id": phone, "actorType": "admin"}
    yield {**paid, "agent_id": phone, "actor_id": phone, "properties": {"agent_id": phone}}
    for place in ({"userAgent": agent}, {"device": {"user_agent": agent}}, {"Context": {"x": 1}},
                  {"properties": {"deep": [{"User-Agent": agent}]}}, {"user_agent": {"x": agent}},
                  {"context": {"user_agent": agent}, "user_agent": "curl/8.0"}):  # fmt: skip
        yield {**paid, **place}


def test_a_rejected_event_is_kept_as_it_would_have_been_stored(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    """A replay gives the row that was due: ids, hashes, texts, devices and what no contract knows."""
    rows = [
        # The digits of such an id look like a number with a leading 00.
        {**event, "event_id": str(uuid.UUID(int=number + 1))}
        for number, event in enumerate(odd_events())
    ]
    lines = [json.dumps(row).encode() for row in rows]
    keyed = Pseudonyms.of_settings(duckdb_settings)
    kept = [quarantined_payload(line, registry(), keyed, "bad_type") for line in lines]
    assert [name for _, name in kept] == [row["event_name"] for row in rows]
    stored = []
    for home, part in (("first", lines), ("again", [payload.encode() for payload, _ in kept])):
        settings = replace(duckdb_settings, home=tmp_path / home)
        path = tmp_path / f"{home}.ndjson"
        path.write_bytes(b"\n".join(part))
        (load,) = ingest_paths([path], settings=settings)
        assert (load.accepted, load.rejected) == (len(rows), 0)
        warehouse = open_warehouse(settings)
        found = warehouse.records("select * exclude (load_id) from raw.events order by event_id")
        stored.append([{**row, "extra": json.loads(row["extra"] or "{}")} for row in found])
        warehouse.close()
    differing = [
        {name: (value, second[name]) for name, value in first.items() if value != second[name]}
        for first, second in zip(*stored, strict=True)
    ]
    assert [row for row in differing if row] == []


@pytest.mark.parametrize("form", corpus.FORMS, ids=lambda form: form.name)
def test_each_form_is_found(form: corpus.Form) -> None:
    """Where it stands alone, in a sentence, as a name, at depth, and cut off at its end."""
    if form.identifies:
        hashed = HASHES.of(form.text)
        assert not [trace for trace in form.traces if trace in hashed]
        assert HASHES.of(hashed) == hashed
    tree = redact_tree({form.text: [form.text, {"a": f"see {form.text}, then"}]}, HASHES)
    for text in (redact(f"failed for {form.text} at once"), redact(form.text), str(tree)):
        assert not [trace for trace in form.traces if trace in text], text
        assert redact(text) == text


@pytest.mark.parametrize(("page", "trace"), corpus.PAGES)
def test_each_address_of_a_page_is_redacted(page: str, trace: str) -> None:
    found = redact_url(page)
    assert trace not in found
    assert redact_url(found) == found
    host = page.split("//")[-1].split("/")[0].split("@")[-1].split("?")[0]
    assert host in found or page.startswith("mailto:")


@pytest.mark.parametrize(
    "page",
    ["https://shop.example/a%20b?utm_source=x+y&id=1234567890#top", "https://203.0.113.9/admin",
     "https://shop.example/p/98765-43210?v=1.2.3", "/relative/path?x=%E2%82%AC", "about:blank",
     "https://shop.example/img@2x.png", f"https://shop.example/?phone={uuid.UUID(int=7)}", "https://[2001:db8::1]:8080/x?t=10:20:30"],
)  # fmt: skip
def test_other_addresses_of_pages_are_left_alone(page: str) -> None:
    assert redact_url(page) == page


def test_names_of_files_are_redacted() -> None:
    assert redact_name("chat +91 98765 46001.ndjson") == "chat [phone].ndjson"
    assert (
        redact_name("events-2026-03-01T10-00-00.ndjson.gz")
        == "events-2026-03-01T10-00-00.ndjson.gz"
    )
    assert redact_name("part-00000-1234567890123.parquet") == "part-00000-1234567890123.parquet"

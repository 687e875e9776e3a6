"""The contracts, what is generated from them, and the guard against breaking changes."""

from __future__ import annotations

import copy
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import jsonschema
import pytest
import yaml

from ingest.contract_catalogue import (
    export_contracts,
    list_contracts,
    markdown_catalogue,
    render_contracts,
    show_contract,
)
from ingest.contract_changes import BreakingChange
from ingest.contract_files import LAYOUT, CheckReport, Layout, check_contracts, sync_contracts
from ingest.contract_lint import contract_faults
from ingest.contract_lock import canonical_event, fingerprint, read_lock
from ingest.contract_versions import register_versions
from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.json_schema import event_schema, example_event
from ingest.registry import CONTRACTS_DIR, SQL_TYPES, ContractError, load_registry, registry
from ingest.schema import migrate
from ingest.settings import load_settings
from ingest.staging import own_columns, shared_columns, staging_files
from ingest.warehouse import Warehouse, open_warehouse

DBT = LAYOUT.staging.parents[1]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ALL_EVENTS = sorted(registry().events)


class Copy:
    """A folder with contracts and what was generated from them, to be edited."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(
            contracts=folder / "contracts",
            lock=folder / "contracts.lock.json",
            staging=folder / "staging",
            raw_suite=folder / "raw_events.yml",
        )

    def edit(self, stem: str, change: Callable[[dict[str, Any]], Any]) -> None:
        path = self.layout.contracts / f"{stem}.yml"
        # Through JSON (which is YAML too), so that an edit of a shared anchor changes one event.
        document = json.loads(json.dumps(yaml.load(path.read_text(), LOADER)))
        change(document)
        path.write_text(json.dumps(document))

    def event(self, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        self.edit(registry().events[name].domain, lambda d: change(d["events"][name]))

    def check(self, warehouse: Warehouse | None = None) -> CheckReport:
        return check_contracts(warehouse, layout=self.layout)

    def sync(self, warehouse: Warehouse | None = None, **options: Any) -> Any:
        return sync_contracts(warehouse, layout=self.layout, **options)

    def files(self) -> dict[str, str]:
        root = self.layout.lock.parent
        return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Contracts as they are, and everything generated from them."""
    folder = tmp_path_factory.mktemp("pristine")
    shutil.copytree(CONTRACTS_DIR, folder / "contracts")
    Copy(folder).sync()
    return folder


@pytest.fixture
def contracts(pristine: Path, tmp_path: Path) -> Copy:
    return Copy(Path(shutil.copytree(pristine, tmp_path / "copy")))


@pytest.fixture
def warehouse() -> Warehouse:
    opened = Warehouse("duckdb", duckdb.connect())
    migrate(opened)
    return opened


# -- the catalogue itself ----------------------------------------------------------------------


def test_the_catalogue_has_its_events_and_facts() -> None:
    events = registry().events
    assert len(events) == 83
    counted = {domain: len(registry().events_of(domain)) for domain in registry().domains}
    assert counted == {
        "advisory": 11, "calls": 4, "content": 4, "conversations": 9, "marketplace": 28,
        "messaging": 10, "moderation": 3, "notifications": 5, "orders": 5, "payments": 4,
    }  # fmt: skip
    assert sum(event.activity for event in events.values()) == 25
    assert {e.name for e in events.values() if e.activity and not e.session} == {
        "whatsapp_message_read",
        "message_read",
    }
    assert len(registry().envelope) == 25
    assert len(registry().context) == 11
    # Those of the catalogue, and two that webhooks say of what a message costs.
    assert len(registry().property_types()) == 136 + 2
    assert events["appointment_booked"].entity_type == "appointment"
    assert events["order_created"].entity_type == "order"
    assert events["asset_viewed"].entity_type is None
    assert events["call_ended"].status == ("completed", "no_answer", "busy", "failed", "canceled")
    assert events["horoscope_listened"].properties["audio_seconds"].min == 0.001
    assert events["conversation_recorded"].properties["completed"].default is True
    assert events["payment_attempted"].required == (
        "entity_id", "provider", "amount_cents", "currency",
    )  # fmt: skip
    assert registry().domain_aliases["advisory"] == {
        "entity_id": ("content_id", "original_content_id"),
        "user_id": ("recipient_phone_hash", "responding_client_hash", "forwarding_client_hash"),
    }
    assert {event.version for event in events.values()} == {1}


def test_message_texts_are_kept_nowhere() -> None:
    assert not registry().events["message_received"].properties["text"].stored
    assert "text" not in registry().raw_columns()
    assert "events.text" not in (LAYOUT.staging / "stg_messaging.sql").read_text()


def test_contracts_keep_all_rules() -> None:
    assert contract_faults(registry()) == []


def test_contracts_carry_no_comments() -> None:
    for path in CONTRACTS_DIR.glob("*.yml"):
        assert " #" not in path.read_text(), f"{path.name}: say it in a description"


# -- in step with the repository ---------------------------------------------------------------


def test_the_repository_is_in_step() -> None:
    report = check_contracts()
    assert report.ok, "\n".join(report.lines())
    assert report.compatible == ()


def test_generation_is_deterministic(contracts: Copy) -> None:
    before = contracts.files()
    assert contracts.sync().lines() == ["everything is in step"]
    shutil.rmtree(contracts.layout.staging)
    contracts.layout.lock.unlink()
    contracts.sync()
    assert contracts.files() == before
    for path in LAYOUT.staging.glob("*"):
        assert before[f"staging/{path.name}"] == path.read_text()


@pytest.mark.parametrize("name", ["stg_orders.sql", "stg_orders.yml", "_raw.yml"])
def test_drift_is_named_file_by_file(contracts: Copy, name: str) -> None:
    path = contracts.layout.staging / name
    path.write_text(path.read_text() + "\n")
    report = contracts.check()
    assert not report.ok
    assert report.drift == (
        f"{path}: differs from the contracts; run 'tidemark contracts sync'",
    )  # fmt: skip
    path.unlink()
    assert contracts.check().drift == (f"{path}: is missing; run 'tidemark contracts sync'",)
    contracts.sync()
    assert contracts.check().ok


def test_a_generated_file_of_no_contract_goes(contracts: Copy) -> None:
    stale = contracts.layout.staging / "stg_gone.sql"
    stale.write_text((contracts.layout.staging / "stg_orders.sql").read_text())
    own = contracts.layout.staging / "by_hand.sql"
    own.write_text("select 1")
    assert len(contracts.check().drift) == 2
    contracts.sync()
    assert not stale.exists()
    assert contracts.check().drift == (f"{own}: comes from no contract; move it elsewhere",)


# -- the guard ---------------------------------------------------------------------------------


def _property(name: str, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    """Change keys of a property; None takes a key away."""

    def change(event: dict[str, Any]) -> None:
        spec = event["properties"][name]
        spec.update(changes)
        for key in [key for key, value in spec.items() if value is None]:
            del spec[key]

    return change


def _added(name: str, **spec: Any) -> Callable[[dict[str, Any]], Any]:
    described = {"description": "New.", **spec}
    return lambda event: event.setdefault("properties", {}).update({name: described})


def _renamed(event: dict[str, Any]) -> None:
    event["properties"]["handler_id"] = event["properties"].pop("reader_id")


BREAKING: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("order_assigned", lambda e: e.pop("properties"), "property reader_id removed"),
    ("order_assigned", _renamed, "property reader_id renamed to handler_id"),
    (
        "content_created",
        _property("initial_risk_score", type="number"),
        "property initial_risk_score: type changed from integer to number",
    ),
    ("order_completed", _added("rush", type="boolean", required=True),
     "new required property rush"),
    ("order_submitted", _property("reader_id", required=True),
     "property reader_id: is required now"),
    ("order_completed", lambda e: e["required"].append("user_id"),
     "envelope field user_id is required now"),
    ("content_created", _property("platform", enum=["whatsapp", "status"]),
     "property platform: value linkedin removed"),
    ("content_created", _property("ai_model_used", enum=["a", "b"]),
     "property ai_model_used: only certain values are allowed now"),
    ("call_ended", lambda e: e["status"].remove("busy"), "status: value busy removed"),
    ("order_completed", lambda e: e.update(status=["done"]),
     "status: only certain values are allowed now"),
    ("content_created", _property("initial_risk_score", min=10),
     "property initial_risk_score: range narrowed, min 10 (was 0)"),
    ("content_created", _property("initial_risk_score", max=90),
     "property initial_risk_score: range narrowed, max 90 (was 100)"),
    ("campaign_sent", _property("recipient_count", max=5),
     "property recipient_count: range narrowed, max 5 (was none)"),
    ("call_ended", _property("recorded", default=None),
     "property recorded: default false removed"),
    ("call_ended", _property("recorded", default=True),
     "property recorded: default changed from false to true"),
    ("order_created", lambda e: e.update(activity=False), "activity changed from true to false"),
    ("order_created", lambda e: e.update(session=False), "session changed from true to false"),
    ("order_created", lambda e: e.update(entity_type="sale"),
     "entity_type changed from order to sale"),
    ("message_received", _property("text", stored=None), "property text: is stored now"),
    ("payment_failed", _property("failure_code", stored=False),
     "property failure_code: is dropped now"),
    ("payment_failed", _property("failure_code", format="uuid"),
     "property failure_code: format uuid added"),
]  # fmt: skip

COMPATIBLE: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("order_completed", _added("rush", type="boolean"), "new optional property rush"),
    ("content_created", lambda e: e["properties"]["platform"]["enum"].append("x"),
     "property platform: new value x"),
    ("content_created", _property("platform", enum=None),
     "property platform: any value is allowed now"),
    ("content_created", _property("initial_risk_score", max=200),
     "property initial_risk_score: range widened, max 200 (was 100)"),
    ("content_created", _property("initial_risk_score", min=None),
     "property initial_risk_score: range widened, no min any more (was 0)"),
    ("order_assigned", _property("reader_id", required=None),
     "property reader_id: is optional now"),
    ("order_created", lambda e: e["required"].remove("service_code"),
     "envelope field service_code is optional now"),
    ("call_ended", lambda e: e["status"].append("voicemail"), "status: new value voicemail"),
    ("order_created", _property("is_gold", default=False),
     "property is_gold: default false added"),
]  # fmt: skip


def _title(case: tuple[str, Any, str]) -> str:
    return f"{case[0]}: {case[2]}"


@pytest.mark.parametrize("case", BREAKING, ids=_title)
def test_a_breaking_change_is_refused_until_the_version_goes_up(
    contracts: Copy, case: tuple[str, Callable[[dict[str, Any]], Any], str]
) -> None:
    name, change, reason = case
    before = contracts.files()
    contracts.event(name, change)
    report = contracts.check()
    assert not report.ok
    advice = "breaks version 1: undo it, or set version: 2"
    assert report.breaking == (f"{name}: {reason}; {advice}",)
    with pytest.raises(BreakingChange, match=f"^{name}: ") as refused:
        contracts.sync()
    assert reason in str(refused.value)
    untouched = {n: t for n, t in contracts.files().items() if not n.startswith("contracts/")}
    assert untouched.items() <= before.items(), "a refused sync writes nothing"

    contracts.event(name, lambda event: event.update(version=2))
    assert f"{name}: version 2 follows version 1" in contracts.sync().changes
    assert sorted(read_lock(contracts.layout.lock).events[name]) == [1, 2]


@pytest.mark.parametrize("case", COMPATIBLE, ids=_title)
def test_a_compatible_change_asks_for_a_sync_only(
    contracts: Copy, case: tuple[str, Callable[[dict[str, Any]], Any], str]
) -> None:
    name, change, told = case
    contracts.event(name, change)
    report = contracts.check()
    assert report.breaking == ()
    assert f"{name}: {told}" in report.compatible
    assert any("contracts.lock.json" in line for line in report.drift)
    contracts.sync()
    assert contracts.check().lines() == ["83 events: contracts valid, generated files in step"]
    assert sorted(read_lock(contracts.layout.lock).events[name]) == [1]


def test_every_breaking_change_has_its_line(contracts: Copy) -> None:
    contracts.event("content_created", _property("platform", enum=["whatsapp"]))
    contracts.event("order_assigned", _renamed)
    lines = contracts.check().breaking
    assert len(lines) == 3
    assert all("\n" not in line for line in lines)


def test_a_new_event_and_a_new_domain_are_welcome(contracts: Copy) -> None:
    spec = {"description": "New.", "activity": True, "required": ["user_id"]}
    contracts.edit("orders", lambda d: d["events"].update(order_rated=spec))
    (contracts.layout.contracts / "loyalty.yml").write_text(
        "domain: loyalty\ndescription: Points.\nevents:\n  points_earned: {description: Earned.}\n"
    )
    assert contracts.check().breaking == ()
    contracts.sync()
    assert contracts.check().ok
    assert "'order_rated'" in (contracts.layout.staging / "stg_orders.sql").read_text()
    assert (contracts.layout.staging / "stg_loyalty.sql").exists()


def test_a_removed_event_is_refused_until_it_is_retired(contracts: Copy) -> None:
    contracts.edit("orders", lambda d: d["events"].pop("order_submitted"))
    (line,) = contracts.check().breaking
    assert line.startswith("order_submitted: event removed; put it back, or retire it")
    with pytest.raises(BreakingChange):
        contracts.sync()
    contracts.sync(retire=["order_submitted"])
    assert contracts.check().ok
    # Its rows stay, so the check of staging still knows it.
    assert "order_submitted" in (contracts.layout.staging / "stg_orders.yml").read_text()
    for wrong in ("order_created", "never_heard_of"):
        with pytest.raises(UserError, match=wrong):
            contracts.sync(retire=[wrong])


def test_an_event_may_not_move_to_another_domain(contracts: Copy) -> None:
    moved: dict[str, Any] = {}
    contracts.edit("orders", lambda d: moved.update(d["events"].pop("order_completed")))
    contracts.edit("payments", lambda d: d["events"].update(order_completed=moved))
    assert any("domain changed from orders to payments" in b for b in contracts.check().breaking)


def test_versions_only_grow(contracts: Copy) -> None:
    contracts.event("order_created", lambda event: event.update(version=3))
    contracts.sync()
    contracts.event("order_created", lambda event: event.update(version=2))
    (line,) = contracts.check().breaking
    assert line.startswith("order_created: version 2 is older than version 3")


def test_spellings_are_guarded_too(contracts: Copy) -> None:
    contracts.edit("advisory", lambda d: d["aliases"]["entity_id"].append("piece_id"))
    assert contracts.check().breaking == ()
    contracts.edit("advisory", lambda d: d["aliases"]["entity_id"].remove("content_id"))
    lines = contracts.check().breaking
    assert len(lines) == len(registry().events_of("advisory"))
    assert all("entity_id: spelling content_id removed" in line for line in lines)


def test_the_envelope_is_guarded_too(contracts: Copy) -> None:
    contracts.edit("envelope", lambda d: d["channel"]["enum"].append("telegram"))
    assert contracts.check().breaking == ()
    contracts.sync()
    contracts.edit("envelope", lambda d: d["channel"]["enum"].remove("sms"))
    contracts.edit("envelope", lambda d: d["context"]["fields"].pop("utm_term"))
    assert contracts.check().breaking == (
        "envelope: field channel: value sms removed; "
        "breaks every event: undo it, or raise the version of all of them",
        "envelope: context field utm_term removed; "
        "breaks every event: undo it, or raise the version of all of them",
    )
    for domain in registry().domains:
        contracts.edit(
            domain, lambda d: [event.update(version=2) for event in d["events"].values()]
        )
    contracts.sync()
    assert contracts.check().ok


def test_a_lock_edited_by_hand_is_found(contracts: Copy) -> None:
    text = contracts.layout.lock.read_text()
    contracts.layout.lock.write_text(text[:-20])
    assert "contracts.lock.json cannot be read" in contracts.check().invalid[0]
    contracts.layout.lock.write_text(text.replace('"linkedin"', '"paper"'))
    assert "content_created version 1 was edited by hand" in contracts.check().invalid[0]


# -- registered versions -----------------------------------------------------------------------


def _registered(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.execute(
        "select event_name, version, fingerprint, registered_at "
        "from ops.event_schema_versions order by event_name, version"
    )


def test_versions_stand_in_the_lock_and_in_the_warehouse(warehouse: Warehouse) -> None:
    assert register_versions(warehouse) == 83
    lock = read_lock()
    rows = _registered(warehouse)
    assert [(n, v, f) for n, v, f, _ in rows] == [
        (name, number, fingerprint(contract))
        for name, versions in sorted(lock.events.items())
        for number, contract in versions.items()
    ]
    assert register_versions(warehouse) == 0
    assert _registered(warehouse) == rows


def test_registering_nothing_new_is_one_query(warehouse: Warehouse) -> None:
    register_versions(warehouse)
    asked: list[str] = []
    execute = warehouse.execute
    warehouse.execute = lambda sql, parameters=(): asked.append(sql) or execute(sql, parameters)  # type: ignore[method-assign,func-returns-value]
    register_versions(warehouse)
    assert len(asked) == 1


def test_a_warehouse_guards_what_it_has_seen(contracts: Copy, warehouse: Warehouse) -> None:
    assert contracts.sync(warehouse).registered == 83
    contracts.event("order_assigned", _renamed)
    contracts.layout.lock.unlink()
    assert contracts.check().breaking == (), "without a lock nothing is known"
    (line,) = contracts.check(warehouse).breaking
    assert line.startswith("order_assigned: property reader_id renamed")
    with pytest.raises(BreakingChange, match="reader_id renamed"):
        contracts.sync(warehouse)
    with pytest.raises(BreakingChange, match="reader_id renamed"):
        register_versions(warehouse, load_registry(contracts.layout.contracts))
    contracts.event("order_assigned", lambda event: event.update(version=2))
    assert contracts.check(warehouse).breaking == ()
    assert contracts.sync(warehouse).registered == 1
    rows = [row[:2] for row in _registered(warehouse) if row[0] == "order_assigned"]
    assert rows == [("order_assigned", 1), ("order_assigned", 2)]


def test_a_refusal_says_a_thing_once(contracts: Copy, warehouse: Warehouse) -> None:
    contracts.sync(warehouse)
    contracts.event("order_assigned", _renamed)
    assert len(contracts.check(warehouse).breaking) == 1


def test_a_compatible_change_replaces_the_registered_contract(
    contracts: Copy, warehouse: Warehouse
) -> None:
    contracts.sync(warehouse)
    contracts.event("order_completed", _added("rush", type="boolean"))
    assert contracts.sync(warehouse).registered == 1
    stored = warehouse.value(
        "select contract from ops.event_schema_versions where event_name = 'order_completed'"
    )
    changed = load_registry(contracts.layout.contracts).events["order_completed"]
    assert json.loads(stored) == canonical_event(changed, registry())


def test_older_contracts_leave_newer_versions_alone(contracts: Copy, warehouse: Warehouse) -> None:
    contracts.event("order_completed", lambda event: event.update(version=2))
    contracts.sync(warehouse)
    register_versions(warehouse)
    versions = [row[1] for row in _registered(warehouse) if row[0] == "order_completed"]
    assert versions == [1, 2]


def test_a_column_keeps_its_type(contracts: Copy, warehouse: Warehouse) -> None:
    contracts.sync(warehouse)
    contracts.event("order_created", _property("is_gold", type="string"))
    contracts.event("order_created", lambda event: event.update(version=2))
    (line,) = contracts.check(warehouse).breaking
    assert line.startswith("raw.events.is_gold: is boolean in the warehouse, varchar by contract")


def test_a_check_works_from_settings_alone(tmp_path: Path) -> None:
    settings = load_settings({"TIDEMARK_HOME": str(tmp_path / "home")})
    assert check_contracts(settings=settings).ok
    assert not settings.home.exists(), "a check creates nothing"
    opened = open_warehouse(settings)
    register_versions(opened)
    opened.close()
    report = check_contracts(settings=settings)
    assert report.ok
    assert report.notes == ()


def test_versions_on_postgres(postgres_url: str, contracts: Copy, tmp_path: Path) -> None:
    settings = load_settings(
        {
            "TIDEMARK_HOME": str(tmp_path / "home"),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": postgres_url,
        }
    )
    opened = open_warehouse(settings)
    try:
        register_versions(opened)
        assert register_versions(opened) == 0
        assert len(_registered(opened)) >= 83
        assert contracts.check(opened).ok
        contracts.event("order_assigned", _renamed)
        contracts.event("order_completed", _added("rush", type="boolean"))
        (line,) = contracts.check(opened).breaking
        assert line.startswith("order_assigned: property reader_id renamed")
        with pytest.raises(BreakingChange):
            register_versions(opened, load_registry(contracts.layout.contracts))
        types = dict(
            opened.execute(
                "select column_name, lower(data_type) from information_schema.columns "
                "where table_schema = 'raw' and table_name = 'events'"
            )
        )
        assert set(registry().raw_columns()) <= set(types)
        _run_staging(opened)
        for model in MODELS:
            assert opened.execute(_conforms_sql(model)) == []
    finally:
        opened.close()
    assert check_contracts(settings=settings).ok


# -- raw table and staging models --------------------------------------------------------------


def test_raw_events_has_the_columns_of_the_contracts(warehouse: Warehouse) -> None:
    columns = warehouse.execute(
        "select column_name, lower(data_type) from information_schema.columns "
        "where table_schema = 'raw' and table_name = 'events' order by ordinal_position"
    )
    types = SQL_TYPES["duckdb"]
    assert columns == [(name, types[kind]) for name, kind in registry().raw_columns().items()]


def _compiled(text: str) -> str:
    return (
        text.replace("{{ config(materialized='view') }}", "")
        .replace("{{ source('raw', 'events') }}", "raw.events")
        .replace("{{ var('loads_through') }}", "9223372036854775807")
    )


def _run_staging(warehouse: Warehouse) -> dict[str, list[str]]:
    """Run every staging model and return its columns."""
    found = {}
    for path in sorted(LAYOUT.staging.glob("*.sql")):
        result = warehouse.connection.execute(_compiled(path.read_text()))
        found[path.stem] = [column[0] for column in result.description]
    return found


def test_staging_models_run_and_have_their_columns(warehouse: Warehouse) -> None:
    shared = list(shared_columns(registry()))
    expected = {"stg_events": shared}
    for domain in registry().domains:
        expected[f"stg_{domain}"] = [*shared, *own_columns(registry(), domain)]
    assert _run_staging(warehouse) == expected
    for path in LAYOUT.staging.glob("stg_*.yml"):
        (model,) = yaml.safe_load(path.read_text())["models"]
        assert [column["name"] for column in model["columns"]] == expected[path.stem]
        assert all(column["description"].endswith(".") for column in model["columns"])
    (source,) = yaml.safe_load((LAYOUT.staging / "_raw.yml").read_text())["sources"]
    (table,) = source["tables"]
    assert [column["name"] for column in table["columns"]] == list(registry().raw_columns())
    assert all(column["description"] for column in table["columns"])
    assert table["config"]["meta"]["dagster"]["asset_key"] == ["raw", "events"]


def _insert_examples(warehouse: Warehouse) -> None:
    """Fill raw.events with the example of every event, as the door would store it."""
    columns = registry().raw_columns()
    for event in registry().events.values():
        example = copy.deepcopy(example_event(event, registry()))
        row = {k: v for k, v in example.items() if k in columns}
        row |= {k: v for k, v in example.get("properties", {}).items() if k in columns}
        row |= {"load_id": 1, "domain": event.domain, "event_date": "2026-01-15", "event_hour": 9}
        for name, value in row.items():
            if columns[name] == "timestamp":
                row[name] = value.removesuffix("Z").replace("T", " ")
            elif isinstance(value, list | dict):
                row[name] = json.dumps(value)
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join("?" for _ in row)
        sql = f"insert into raw.events ({names}) values ({places})"
        warehouse.execute(sql, list(row.values()))


def test_staging_counts_activity_and_keeps_to_the_snapshot(warehouse: Warehouse) -> None:
    _insert_examples(warehouse)
    sql = _compiled((LAYOUT.staging / "stg_events.sql").read_text())
    rows = warehouse.execute(f"select event_name, is_activity, is_session from ({sql}) as events")
    events = registry().events
    assert {row[0]: row[1:] for row in rows} == {
        name: (event.activity, event.session) for name, event in events.items()
    }
    warehouse.execute("update raw.events set load_id = 7 where event_name = 'order_created'")
    orders = (LAYOUT.staging / "stg_orders.sql").read_text()
    snapshot = _compiled(orders.replace("{{ var('loads_through') }}", "6"))
    names = {row[0] for row in warehouse.execute(f"select event_name from ({snapshot}) as events")}
    assert names == {e.name for e in registry().events_of("orders")} - {"order_created"}


def _conforms_sql(model: str) -> str:
    """Render the generic test as dbt would, for one staging model and its generated arguments."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    body = (DBT / "tests" / "generic" / "conforms.sql").read_text()
    body = body.replace("{% test conforms", "{% macro conforms").replace("endtest", "endmacro")
    macros = (DBT / "macros" / "contracts.sql").read_text()
    template = environment.from_string(macros + body)
    dates = {"prepare_start": "date '2026-01-01'", "window_end": "date '2026-02-01'"}
    module = template.make_module({"date_var": dates.__getitem__})
    (spec,) = yaml.safe_load((LAYOUT.staging / f"{model}.yml").read_text())["models"]
    (test,) = spec["data_tests"]
    sql = _compiled((LAYOUT.staging / f"{model}.sql").read_text())
    return str(module.conforms(f"({sql})", **test["conforms"]["arguments"]))  # type: ignore[attr-defined]


MODELS = ["stg_events", *(f"stg_{domain}" for domain in registry().domains)]


def test_examples_conform(warehouse: Warehouse) -> None:
    _insert_examples(warehouse)
    for model in MODELS:
        assert warehouse.execute(_conforms_sql(model)) == [], model


FAULTS = [
    ("stg_events", "channel = 'smoke'", "order_created"),
    ("stg_events", "source = null", "order_created"),
    ("stg_events", "amount_cents = -1", "order_created"),
    ("stg_orders", "entity_id = null", "order_created"),
    ("stg_orders", "reader_id = null", "order_assigned"),
    ("stg_orders", "event_name = 'order_lost'", "order_created"),
    ("stg_calls", "status = 'shouted'", "call_ended"),
    ("stg_calls", "direction = 'sideways'", "call_started"),
    ("stg_advisory", "initial_risk_score = 101", "content_created"),
    ("stg_content", "audio_seconds = 0", "horoscope_listened"),
]


@pytest.mark.parametrize(("model", "fault", "event"), FAULTS)
def test_conforms_finds_a_planted_fault(
    warehouse: Warehouse, model: str, fault: str, event: str
) -> None:
    _insert_examples(warehouse)
    warehouse.execute(f"update raw.events set {fault} where event_name = '{event}'")
    assert len(warehouse.execute(_conforms_sql(model))) == 1
    warehouse.execute("update raw.events set event_date = date '2025-12-31'")
    assert warehouse.execute(_conforms_sql(model)) == [], "only the dates of the run are checked"


def test_conforms_finds_an_event_that_stands_twice(warehouse: Warehouse) -> None:
    _insert_examples(warehouse)
    warehouse.execute(
        "insert into raw.events select * from raw.events where event_name = 'order_created'"
    )
    assert len(warehouse.execute(_conforms_sql("stg_events"))) == 1


def test_taking_a_person_out_leaves_rows_that_conform(warehouse: Warehouse) -> None:
    _insert_examples(warehouse)
    warehouse.execute(
        "update raw.events set user_id = null, anonymous_id = null, session_id = null, "
        "actor_id = null, phone_hash = null, email_hash = null, client_anonymized_id = null"
    )
    for model in MODELS:
        assert warehouse.execute(_conforms_sql(model)) == [], model


def test_rows_of_earlier_versions_stay_valid(contracts: Copy) -> None:
    contracts.event("content_created", _property("platform", enum=["linkedin", "paper"]))
    contracts.event("content_created", _property("initial_risk_score", max=10))
    contracts.event("content_created", _property("language", required=True))
    contracts.event("content_created", lambda event: event.update(version=2))
    contracts.sync()
    text = (contracts.layout.staging / "stg_advisory.yml").read_text()
    (model,) = yaml.safe_load(text)["models"]
    rule = model["data_tests"][0]["conforms"]["arguments"]["events"]["content_created"]
    assert set(rule["accepted"]["platform"]) == {"linkedin", "paper", "whatsapp", "status"}
    assert rule["ranges"]["initial_risk_score"] == {"min": 0, "max": 100}
    assert "language" not in rule["required"]


def test_staging_texts_are_sound() -> None:
    for path in LAYOUT.staging.glob("*.sql"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("-- Grain: one row per ")
        assert "tidemark contracts sync" in lines[1]
        assert max(map(len, lines)) <= 100
    history = read_lock().history()
    assert staging_files(registry(), history) == staging_files(load_registry(), history)


# -- JSON Schema and Markdown ------------------------------------------------------------------


def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = event_schema(registry().events[name], registry())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


@pytest.mark.parametrize("name", ALL_EVENTS)
def test_the_example_of_each_event_fits_its_schema(name: str) -> None:
    event = registry().events[name]
    validator = _validator(name)
    example = example_event(event, registry())
    validator.validate(example)
    required = [*event.required, "event_id", "event_name", "occurred_at"]
    for field in required:
        without = {k: v for k, v in example.items() if k != field}
        assert not validator.is_valid(without), f"{field} is required"
    for field, spec in event.properties.items():
        if spec.required:
            without = copy.deepcopy(example)
            del without["properties"][field]
            assert not validator.is_valid(without), f"{field} is required"


Case = tuple[str, dict[str, Any]]

REFUSED: list[Case] = [
    ("order_created", {"event_id": "not-a-uuid"}),
    ("order_created", {"occurred_at": "2026-01-15T09:30:00"}),
    ("order_created", {"channel": "smoke"}),
    ("order_created", {"user_id": "  "}),
    ("order_created", {"user_id": None}),
    ("order_created", {"amount_cents": -1}),
    ("order_created", {"amount_cents": 2**63}),
    ("order_created", {"amount_cents": 1.5}),
    ("order_created", {"properties": {"is_gold": "yes"}}),
    ("call_ended", {"status": "shouted"}),
    ("payment_attempted", {"currency": "rupees"}),
    ("content_created", {"properties": {"content_type": "fun"}}),
    ("asset_viewed", {"entity_id": "a-1"}),
    ("user_identified", {"properties": {}}),
]

ACCEPTED: list[Case] = [
    ("order_created", {"amount_cents": 5.0, "currency": "inr", "agent_id": None}),
    ("order_created", {"occurred_at": "2026-01-15T09:30:00.123456+05:30"}),
    ("order_created", {"properties": {"is_gold": None, "unknown": {"a": 1}}, "more": 1}),
    ("asset_viewed", {"entity_id": "a-1", "entity_type": "asset"}),
    ("user_identified", {"properties": {}, "anonymous_id": "b-1"}),
    *((name, {}) for name in ALL_EVENTS),
]


def _varied(case: Case) -> dict[str, Any]:
    name, change = case
    return {**example_event(registry().events[name], registry()), **change}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_schemas_refuse(case: Case) -> None:
    assert not _validator(case[0]).is_valid(_varied(case))


@pytest.mark.parametrize("case", ACCEPTED[:5], ids=str)
def test_schemas_accept(case: Case) -> None:
    _validator(case[0]).validate(_varied(case))


def test_the_door_says_what_the_schemas_say(tmp_path: Path) -> None:
    """Every case above, examples of all events included, goes through the door."""
    lines = []
    for case in (*REFUSED, *ACCEPTED):
        event = {**_varied(case)}
        if "event_id" not in case[1]:
            event["event_id"] = str(uuid.uuid4())
        lines.append(json.dumps(event))
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(lines) + "\n")
    settings = load_settings({"TIDEMARK_HOME": str(tmp_path / "home")})
    (result,) = ingest_paths([path], settings=settings)
    opened = open_warehouse(settings)
    rejected = opened.execute("select line_number, reason_code, field from ops.rejected_events")
    opened.close()
    assert sorted(row[0] for row in rejected) == list(range(1, len(REFUSED) + 1)), rejected
    assert (result.read, result.accepted) == (len(lines), len(ACCEPTED))


def test_export_writes_schemas_and_the_catalogue(tmp_path: Path) -> None:
    files = export_contracts("json-schema", tmp_path / "schemas")
    assert len(files) == 83
    assert json.loads(files[0].read_text())["title"] == files[0].name.split(".")[0]
    (bundle,) = export_contracts("json-schema", tmp_path / "all.json")
    schema = json.loads(bundle.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(example_event(registry().events["order_created"], registry()))
    (catalogue,) = export_contracts("markdown", tmp_path / "docs")
    text = catalogue.read_text()
    assert text == markdown_catalogue() == render_contracts("markdown")
    for name in ALL_EVENTS:
        assert f"\n### {name}\n" in text
    with pytest.raises(UserError, match="json-schema or markdown"):
        export_contracts("avro", tmp_path)


def test_list_and_show() -> None:
    rows = list_contracts()
    assert len(rows) == 83
    assert rows[0]["domain"] == "advisory"
    listened = next(row for row in rows if row["event"] == "horoscope_listened")
    assert listened["required"] == ["entity_id", "user_id", "listened_seconds", "audio_seconds"]
    assert listened["properties"] == 2
    for name in ALL_EVENTS:
        shown = show_contract(name)
        for word in registry().events[name].properties:
            assert word in shown
        assert json.loads(shown[shown.index("Example:\n") + 9 :])["event_name"] == name
    assert show_contract("message.received") == show_contract("message_received")
    assert "not stored" in show_contract("message_received")
    with pytest.raises(UserError, match="did you mean order_created"):
        show_contract("order_creatd")


# -- contracts that cannot be used -------------------------------------------------------------


def _write_orders(text: str) -> Callable[[Copy], Any]:
    return lambda c: (c.layout.contracts / "orders.yml").write_text(text)


def _order_created(change: Callable[[dict[str, Any]], Any]) -> Callable[[Copy], Any]:
    return lambda c: c.event("order_created", change)


INVALID: list[tuple[str, Callable[[Copy], Any]]] = [
    ("mapping values are not allowed", _write_orders("a: b: c")),
    ("has not the form of a contract", _write_orders("- a\n- b\n")),
    ("envelope.yml is missing", lambda c: (c.layout.contracts / "envelope.yml").unlink()),
    ("has not the form of a contract", lambda c: c.edit("envelope", lambda d: d.pop("context"))),
    ("unknown keys ['colour']", _order_created(lambda e: e.update(colour="red"))),
    ("is_gold has unknown keys ['color']", _order_created(_property("is_gold", color=1))),
    ("is_gold has type 'bool'", _order_created(_property("is_gold", type="bool"))),
    ("requires unknown 'customer'", _order_created(lambda e: e["required"].append("customer"))),
    ("has the name of an envelope column", _order_created(_added("user_id", type="string"))),
    ("has the name of an envelope column", _order_created(_added("event_date", type="date"))),
    ("one type everywhere", _order_created(_added("order_id", type="integer"))),
    ("order_created stands in", lambda c: c.edit(
        "payments", lambda d: d["events"].update(order_created={}))),
    ("'Rush' is no name", _order_created(_added("Rush", type="boolean"))),
    ("is the name of a column that staging adds",
     _order_created(_added("is_activity", type="boolean"))),
    ("is_gold has no description", _order_created(_property("is_gold", description=None))),
    ("order_created has no description", _order_created(lambda e: e.pop("description"))),
    ("the domain has no description", lambda c: c.edit("orders", lambda d: d.pop("description"))),
    ("lists values but is of type", _order_created(_property("is_gold", enum=["a"]))),
    ("no text; put it in quotes", _order_created(_added("size", type="string", enum=[True]))),
    ("lists an allowed value twice", _order_created(_added("size", type="string", enum=["a"] * 2))),
    ("a range but is of type", _order_created(_property("is_gold", min=1))),
    ("a min above its max", _order_created(_added("size", type="integer", min=2, max=1))),
    ("a default that its own rules refuse",
     _order_created(_added("size", type="integer", min=2, default=1))),
    ("a default that its own rules refuse", _order_created(_property("is_gold", default="no"))),
    ("is required and has a default",
     _order_created(_property("is_gold", required=True, default=False))),
    ("versions start at 1", _order_created(lambda e: e.update(version=0))),
    ("aliases of 'customer'", lambda c: c.edit(
        "orders", lambda d: d.update(aliases={"customer": ["client"]}))),
    ("cannot be the name of a domain", lambda c: (c.layout.contracts / "events.yml").write_text(
        "description: X.\nevents: {}\n")),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "spoil"), INVALID, ids=[reason for reason, _ in INVALID])
def test_contracts_that_cannot_be_used_are_named(
    contracts: Copy, reason: str, spoil: Callable[[Copy], Any]
) -> None:
    spoil(contracts)
    report = contracts.check()
    assert not report.ok
    assert any(reason in line for line in report.invalid), report.invalid
    with pytest.raises(ContractError):
        contracts.sync()

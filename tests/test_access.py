"""Who sees what on Postgres, and in a file that is exported: every cell of the matrix, logged in."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.settings import Settings, load_settings
from ingest.simulator import simulate
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import runs
from orchestration.access import catalogue
from orchestration.access.matrix import PEOPLE, expand, read_matrix
from orchestration.access.migrate import check, settle
from orchestration.access.roles import GROUPS
from orchestration.cli.console import Console
from orchestration.dbt_project import DbtProject
from orchestration.export import export_relation
from orchestration.export_log import EXPORTS
from orchestration.relations import Relation, marts
from orchestration.session import open_session
from tests.command_line import tidemark
from tests.events import line, load
from tests.postgres import new_database

NEWEST = date(2026, 3, 31)

#: What each role sees, by hand from the written matrix: relation -> the column of its own rows.
SEES: dict[str, dict[str, str | None]] = {
    "monitor": dict.fromkeys(
        ("metrics_daily_calls", "metrics_daily_content", "metrics_hourly_delivery")
    ),
    "reader": {"metrics_daily_fulfillment": "reader_id"},
    "advisor": dict.fromkeys(
        ("advisor_health_scores", "advisor_health_submetrics", "advisor_health_trends",
         "advisor_interventions", "weekly_advisor_insights"), "advisor_id_hash",
    ),
    "creator": {"creator_performance": "creator_id", "daily_metrics": "ip_asset_id"},
    "brand": {"brand_campaign_performance": "project_id"},
    "client": {},
}  # fmt: skip

#: Whose row it is -> the value in the column of own rows.
SUBJECTS = {"reader": "r-1", "advisor": "a-1", "creator": "c-1", "brand": "b-1"}
VALUES = {"ip_asset_id": "asset-1", "project_id": "project-1"}

EVERYTHING = ("admin", "superadmin")

#: That something was published at all.
PUBLISHED = (
    "insert into ops.publications (publication_id, published_at, relations) "
    "values (1, timestamp '2026-04-01', 1)"
)


@pytest.fixture(scope="module")
def access_settings(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A database that was migrated, with rows of one's own, of others, new and old ones."""
    with new_database(postgres_server) as url:
        yield prepared(url, tmp_path_factory.mktemp("access"))


def prepared(url: str, home: Path) -> Settings:
    settings = load_settings(
        {
            "TIDEMARK_HOME": str(home),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": url,
        }
    )
    migrate(settings)
    warehouse = open_warehouse(settings)
    for mart in published(settings):
        if not mart.is_view:
            for values in rows_of(mart):
                names = list(mart.contract)
                warehouse.insert_many(f'marts."{mart.name}"', names, [values])
    for role in PEOPLE:
        warehouse.execute(f"create role login_{role} login in role tidemark_{role}")
        if role in SUBJECTS:
            warehouse.insert_many(
                "ops.identities",
                ("login_role", "kind", "subject_id"),
                [[f"login_{role}", role, SUBJECTS[role]]],
            )
    warehouse.execute(PUBLISHED)
    warehouse.close()
    return settings


def published(settings: Settings) -> list[Relation]:
    return marts(DbtProject(settings).manifest)


def migrate(settings: Settings) -> list[str]:
    session = open_session(settings)
    try:
        return settle(session, DbtProject(settings).manifest)
    finally:
        session.close()


def rows_of(mart: Relation) -> list[list[Any]]:
    """Return a row of one's own and one of somebody else, today and 29 and 30 days before."""
    made = []
    for mine in (True, False):
        for days in (0, 29, 30):
            row = []
            for name, kind in mart.contract.items():
                if kind == "date":
                    row.append(NEWEST - timedelta(days=days))
                elif kind == "timestamp":
                    row.append("2026-03-31 10:00:00")
                elif kind == "text":
                    row.append(text_of(name, mine=mine))
                elif kind == "boolean":
                    row.append(True)
                else:
                    row.append(1)
            made.append(row)
    return made


def text_of(name: str, *, mine: bool) -> str:
    own = {"reader_id": "r-1", "advisor_id_hash": "a-1", "creator_id": "c-1", "brand_id": "b-1"}
    if name not in own and name not in VALUES:
        return "x"
    return (own | VALUES)[name] if mine else f"of another {name}"


@contextmanager
def logged_in(settings: Settings, login: str) -> Iterator[psycopg.Connection[Any]]:
    assert settings.postgres_url is not None
    url = settings.postgres_url.replace("//tidemark@", f"//{login}@")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def outcome(connection: psycopg.Connection[Any], sql: str) -> Any:
    """Return the rows of a query, or ``denied``."""
    try:
        cursor = connection.execute(sql)  # type: ignore[call-overload]
    except psycopg.errors.InsufficientPrivilege:
        return "denied"
    return cursor.fetchall() if cursor.description else cursor.rowcount


def visible(role: str, mart: Relation) -> int | str:
    """Return how many of the six rows a role must see: two owners, three dates."""
    if role in EVERYTHING:
        return 6
    if mart.name not in SEES[role]:
        return "denied"
    own = SEES[role][mart.name]
    return 6 if own is None else 2 if role == "reader" else 3


@pytest.mark.parametrize("role", PEOPLE)
def test_every_cell(access_settings: Settings, role: str) -> None:
    """Relation by relation: own, foreign and old rows, read and write."""
    tables = [mart for mart in published(access_settings) if not mart.is_view]
    assert len(tables) > 45
    with logged_in(access_settings, f"login_{role}") as connection:
        for mart in tables:
            name = f'marts."{mart.name}"'
            expected = visible(role, mart)
            found = outcome(connection, f"select count(*) from {name}")
            assert found == (expected if expected == "denied" else [(expected,)]), mart.name
            own = None if role in EVERYTHING else SEES[role].get(mart.name)
            if own:
                mine = VALUES.get(own, SUBJECTS[role])
                assert outcome(connection, f'select distinct "{own}" from {name}') == [(mine,)]
            for write in (f"delete from {name}", f"truncate {name}", f"drop table {name}",
                          f"insert into {name} select * from {name}",
                          f"alter table {name} disable row level security"):  # fmt: skip
                assert outcome(connection, write) == "denied", (mart.name, write)


def make_later(warehouse: Warehouse) -> None:
    """Make tables as dbt makes them: owned by the transformer, after the migration."""
    with warehouse.transaction():
        warehouse.execute("set local role tidemark_transformer")
        warehouse.execute("drop table if exists intermediate.made_later, build.made_later")
        warehouse.execute("create table intermediate.made_later (n int)")
        warehouse.execute("create table build.made_later (n int)")


@pytest.mark.parametrize("role", PEOPLE)
def test_only_administrators_see_what_lies_behind(access_settings: Settings, role: str) -> None:
    warehouse = open_warehouse(access_settings)
    make_later(warehouse)
    warehouse.close()
    denied = [] if role in EVERYTHING else "denied"
    with logged_in(access_settings, f"login_{role}") as connection:
        for name in ("raw.events", "raw.event_ids", "ops.etl_job_runs", "intermediate.made_later"):
            assert outcome(connection, f"select * from {name}") == denied, name
        for name in ("build.made_later", "staging.anything", "reference.anything"):
            assert outcome(connection, f"select * from {name}") == "denied", name
        changed = outcome(
            connection, "insert into ops.identities values ('login_reader', 'reader', 'r-2')"
        )
        assert changed == (1 if role == "superadmin" else "denied")
        outcome(connection, "delete from ops.identities where subject_id = 'r-2'")
        assert outcome(connection, "create table marts.mine (n int)") == "denied"
        assert outcome(connection, "create schema mine") == "denied"


def test_who_it_is_cannot_be_said_by_the_client(access_settings: Settings) -> None:
    """Neither SET ROLE, nor settings, nor objects of one's own in front change the rows."""
    count = 'select count(*) from marts."metrics_daily_fulfillment"'
    with logged_in(access_settings, "login_reader") as connection:
        for trick in (
            "set role tidemark_reader",
            "set timezone to 'Pacific/Kiritimati'",
            "set search_path to pg_temp, public",
            "create temp table identities as select 'login_reader' as login_role, 'reader' as kind, "
            "'of another reader_id' as subject_id",
            "create temp table metrics_daily_fulfillment (metric_date date)",
            "create function pg_temp.own_subjects(text) returns setof text language sql as "
            "$$ select 'of another reader_id' $$",
        ):
            outcome(connection, trick)
            assert outcome(connection, count) == [(2,)], trick
        assert outcome(connection, "set session authorization login_admin") == "denied"
        assert outcome(connection, "set role tidemark_admin") == "denied"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set row_security = off")
            connection.execute(count)
        connection.execute("set row_security = on")
        # A function of the reader's own that tells what it is shown is shown its own rows only.
        connection.execute(
            "create function pg_temp.tell(t text) returns boolean language plpgsql cost 0.0001 as "
            "$$ begin raise notice '%', t; return true; end $$"
        )
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
        connection.execute(
            "select * from marts.metrics_daily_fulfillment where pg_temp.tell(reader_id)"
        )
        assert set(told) == {"r-1"}


def test_without_an_identity_nothing_is_one_s_own(access_settings: Settings) -> None:
    warehouse = open_warehouse(access_settings)
    try:
        warehouse.execute("create role login_nobody login in role tidemark_reader")
        with logged_in(access_settings, "login_nobody") as connection:
            assert outcome(connection, "select * from marts.metrics_daily_fulfillment") == []
    finally:
        warehouse.execute("drop role login_nobody")
        warehouse.close()


def test_exports_have_the_rows_of_the_role(access_settings: Settings, tmp_path: Path) -> None:
    """Cell by cell: what a login reads on Postgres, and the files of both targets."""
    home = replace(access_settings, target="duckdb", home=tmp_path / "home")
    copy_to_duckdb(access_settings, home)
    tables = {mart.name: mart for mart in published(access_settings)}
    for role in PEOPLE:
        relations = ("sessions", "metrics_daily_payments") if role in EVERYTHING else SEES[role]
        for name in relations:
            own = None if role in EVERYTHING else SEES[role][name]
            subject = SUBJECTS[role] if own else None
            columns = ", ".join(f'"{column}"::text' for column in tables[name].contract)
            with logged_in(access_settings, f"login_{role}") as connection:
                seen = outcome(connection, f'select {columns} from marts."{name}"')
            assert seen
            for settings in (access_settings, home):
                for format in ("csv", "json", "parquet") if role == "reader" else ("csv",):
                    out = tmp_path / f"{role}.{format}"
                    count = export_relation(
                        settings, name, format=format, out=out, role=role, subject=subject
                    )
                    assert count == len(seen), (role, name, settings.target)
                    noted = (settings.home / EXPORTS).read_text(encoding="utf-8").splitlines()
                    assert json.loads(noted[-1])["role"] == role
                assert texts(tmp_path / f"{role}.csv") == sorted(map(list, seen))


def texts(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(
            ["1" if cell == "1.0" else cell for cell in row] for row in list(csv.reader(file))[1:]
        )


def copy_to_duckdb(settings: Settings, home: Settings) -> None:
    """Write what Postgres publishes as the published file of DuckDB."""
    home.published_path.parent.mkdir(parents=True)
    warehouse = open_warehouse(settings, read_only=True)
    with duckdb.connect(str(home.published_path)) as file:
        file.execute("create schema marts")
        file.execute("create schema ops")
        file.execute("create table ops.publications (publication_id bigint)")
        file.execute("insert into ops.publications values (1)")
        for mart in published(settings):
            if not mart.is_view:
                columns = ", ".join(f'"{name}" {kind}' for name, kind in mart.contract.items())
                file.execute(f'create table marts."{mart.name}" ({columns})')
                rows = warehouse.execute(f'select * from marts."{mart.name}"')
                marks = ", ".join("?" * len(mart.contract))
                file.executemany(f'insert into marts."{mart.name}" values ({marks})', rows)
    warehouse.close()


@pytest.mark.parametrize(
    ("role", "relation", "subject", "words"),
    [
        ("nobody", "sessions", None, "use one of admin"),
        ("client", "sessions", None, "client sees nothing of sessions"),
        ("monitor", "sessions", None, "monitor sees nothing of sessions"),
        ("reader", "metrics_daily_fulfillment", None, "say whose with --subject"),
        ("monitor", "metrics_daily_calls", "x", "leave --subject out"),
        (None, "metrics_daily_calls", "x", "name the role with --as"),
        ("reader", "no_such", "x", "there is no relation 'no_such'"),
    ],
)
def test_export_refuses_in_a_line(
    access_settings: Settings, tmp_path: Path, role: str, relation: str, subject: str, words: str
) -> None:
    out = tmp_path / "x.csv"
    with pytest.raises(UserError, match=words):
        export_relation(
            access_settings, relation, format="csv", out=out, role=role, subject=subject
        )
    assert not out.exists()


def test_before_the_first_publication_there_is_nothing_to_export(
    access_settings: Settings, tmp_path: Path
) -> None:
    out, warehouse = tmp_path / "x.csv", open_warehouse(access_settings)
    warehouse.execute("delete from ops.publications")
    try:
        with pytest.raises(UserError, match="nothing was published yet; run 'tidemark run' first"):
            export_relation(access_settings, "metrics_daily_calls", format="csv", out=out)
    finally:
        warehouse.execute(PUBLISHED)
        warehouse.close()
    assert not out.exists()


def test_a_subject_is_a_value_and_no_sql(access_settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    for hostile in ("r-1' or '1'='1", "r-1') or (true", "%s", "?", "r-1; drop schema marts"):
        count = export_relation(
            access_settings, "metrics_daily_fulfillment", format="csv", out=out, role="reader",
            subject=hostile,
        )  # fmt: skip
        assert count == 0


# -- and after everything that fills tables --------------------------------------------------------

#: Relation -> who the rows of a subject are found by, where they do not say it themselves.
THROUGH = {
    "daily_metrics": ("creator_assets", "creator_id"),
    "brand_campaign_performance": ("brand_projects", "brand_id"),
}

Rows = list[dict[str, str | None]]


@pytest.fixture(scope="module")
def run_settings(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """The real project after its first run: five days, and one that is too old for readers."""
    home = tmp_path_factory.mktemp("runs")
    with new_database(postgres_server) as url:
        settings = load_settings(
            {
                "TIDEMARK_HOME": str(home),
                "TIDEMARK_TARGET": "postgres",
                "TIDEMARK_POSTGRES_URL": url,
            }
        )
        for name, end, days in (("old", date(2026, 1, 20), 1), ("new", date(2026, 3, 5), 5)):
            made = simulate(days=days, size=days * 250, seed=5, out=home / name, end=end)
            ingest_paths(made.files, settings=settings)
        plain = dict.fromkeys(("entity_id", "provider", "amount_cents", "currency"))
        events = [
            line(**plain, event_name=name, occurred_at=f"2026-03-02T1{hour}:00:00Z",
                 user_id=f"visitor-{hour}",
                 properties={"creator_id": f"maker-{owner}", "ip_asset_id": f"made-{owner}"})
            for owner in (1, 2)
            for hour, name in enumerate(("asset_uploaded", "asset_viewed", "asset_viewed"))
        ]  # fmt: skip
        load(settings, home / "assets.ndjson", b"\n".join(events))
        assert runs.run(settings).status == "succeeded"
        yield settings


def rows_of_all(connection: psycopg.Connection[Any], tables: list[Relation]) -> dict[str, Any]:
    """Return what a login reads of each relation, as text; ``denied`` where it may not."""
    found = {}
    for mart in tables:
        columns = ", ".join(f'"{name}"::text' for name in mart.contract)
        rows = outcome(connection, f'select {columns} from marts."{mart.name}"')
        if rows != "denied":
            rows = [dict(zip(mart.contract, row, strict=True)) for row in rows]
        found[mart.name] = rows
    return found


def seen_by(role: str, subject: str | None, whole: dict[str, Rows]) -> dict[str, Any]:
    """Return what a role must see of all there is, by hand from the written matrix."""
    if role in EVERYTHING:
        return whole
    seen: dict[str, Any] = dict.fromkeys(whole, "denied")
    for name, own in SEES[role].items():
        mine = {subject}
        if name in THROUGH:
            owners, owner = THROUGH[name]
            mine = {row[str(own)] for row in whole[owners] if row[owner] == subject}
        seen[name] = [row for row in whole[name] if own is None or row[own] in mine]
    if role == "reader":
        name = "metrics_daily_fulfillment"
        newest = max(date.fromisoformat(str(row["metric_date"])) for row in whole[name])
        since = str(newest - timedelta(days=29))
        seen[name] = [row for row in seen[name] if str(row["metric_date"]) >= since]
    return seen


def subjects_of(whole: dict[str, Rows]) -> dict[str, str]:
    """Return somebody of each role who has rows of each relation, and is not alone in it."""
    measured = {row["ip_asset_id"] for row in whole["daily_metrics"]}
    assets = [row for row in whole["creator_assets"] if row["ip_asset_id"] in measured]
    found = {}
    for role, relation, column in (
        ("reader", "metrics_daily_fulfillment", "reader_id"),
        ("advisor", "advisor_interventions", "advisor_id_hash"),
        ("creator", "creator_assets", "creator_id"),
        ("brand", "brand_projects", "brand_id"),
    ):
        rows = assets if role == "creator" else whole[relation]
        counts = Counter(row[column] for row in rows if row[column])
        assert len(counts) > 1, relation
        found[role] = str(max(sorted(counts), key=lambda who: counts[who]))
    return found


def test_every_cell_after_all_that_fills_tables(run_settings: Settings) -> None:
    """A run, a full refresh, a backfill and a publication: each login reads what it should."""
    settings = run_settings
    tables = [mart for mart in published(settings) if not mart.is_view]

    def published_now() -> None:
        session = open_session(settings)
        try:
            runs.publish_now(session)
        finally:
            session.close()

    owner = open_warehouse(settings)
    whole = rows_of_all(owner.connection, tables)
    subjects = subjects_of(whole)
    for role in PEOPLE:
        owner.execute(f"create role runs_{role} login in role tidemark_{role}")
        if role in subjects:
            row = [f"runs_{role}", role, subjects[role]]
            owner.insert_many("ops.identities", ("login_role", "kind", "subject_id"), [row])
    divided = set()
    for what, fill in (
        ("run", None),
        ("full refresh", partial(runs.run, settings, full_refresh=True)),
        ("backfill", partial(runs.run, settings, start=date(2026, 3, 1), end=date(2026, 3, 3))),
        ("publication", published_now),
    ):
        if fill:
            fill()
        whole = rows_of_all(owner.connection, tables)
        for role in PEOPLE:
            expected = seen_by(role, subjects.get(role), whole)
            with logged_in(settings, f"runs_{role}") as connection:
                found = rows_of_all(connection, tables)
                for mart in tables:
                    name = mart.name
                    if expected[name] == "denied":
                        assert found[name] == "denied", (what, role, name)
                    else:
                        assert bag(found[name]) == bag(expected[name]), (what, role, name)
                    seen = 0 if found[name] == "denied" else len(found[name])
                    if role in subjects and 0 < seen < len(whole[name]):
                        divided.add((role, name))
                    written = outcome(connection, f'delete from marts."{name}"')
                    assert written == "denied", (what, role, name)
    # Own rows and rows of others, old ones among them, were there to be told apart.
    assert divided == {(role, name) for role in subjects for name in SEES[role]}
    owner.close()


def bag(rows: Rows) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


# -- the roles of the pipeline -------------------------------------------------------------------


def test_the_loader_can_load_and_nothing_else(access_settings: Settings, tmp_path: Path) -> None:
    warehouse = open_warehouse(access_settings)
    warehouse.execute("create role login_loader login in role tidemark_loader")
    warehouse.close()
    assert access_settings.postgres_url is not None
    loader = replace(
        access_settings,
        home=tmp_path / "home",
        postgres_url=access_settings.postgres_url.replace("//tidemark@", "//login_loader@"),
    )
    path = tmp_path / "events.ndjson"
    path.write_bytes(line(occurred_at="2025-05-01T10:00:00Z") + b"\n" + b"{}\n")
    (result,) = ingest_paths([path], settings=loader)
    assert (result.accepted, result.rejected) == (1, 1)
    (again,) = ingest_paths([path], settings=loader)
    assert again.status == "already_loaded"
    with logged_in(access_settings, "login_loader") as connection:
        for denied in (
            "select event_name from raw.events", "select payload from ops.rejected_events",
            "select * from marts.sessions", "select * from ops.identities",
            "select * from ops.etl_job_runs", "delete from raw.events", "delete from ops.loads",
            "update raw.events set event_name = 'x'", "create table raw.mine (n int)",
            "drop table raw.events_2025_05", "set role tidemark_transformer",
        ):  # fmt: skip
            assert outcome(connection, denied) == "denied", denied
    assert check(access_settings, open_warehouse(access_settings), published(access_settings)) == []


@pytest.mark.parametrize(
    ("role", "denied"),
    [
        ("tidemark_transformer", ["insert into raw.events (event_id) values ('x')",
                                  "select * from marts.sessions", "select * from ops.identities",
                                  "select * from ops.rejected_events",
                                  "create table marts.mine (n int)"]),
        ("tidemark_publisher", ["select * from raw.events", "create table marts.mine (n int)",
                                "select * from intermediate.made_later",
                                "insert into build.made_later values (1)",
                                "alter table marts.sessions disable row level security"]),
    ],
)  # fmt: skip
def test_who_prepares_data_does_its_part_only(
    access_settings: Settings, role: str, denied: list[str]
) -> None:
    with open_warehouse(access_settings) as warehouse:
        make_later(warehouse)
    with logged_in(access_settings, "tidemark") as connection:
        connection.execute(f"set role {role}")  # type: ignore[call-overload]
        for sql in denied:
            assert outcome(connection, sql) == "denied", sql


# -- the check of the catalogue ------------------------------------------------------------------

TABLE = "marts.metrics_daily_fulfillment"

#: What somebody did, and what takes it back where no migration does.
WEAKNESSES = [
    (f"drop policy reader on {TABLE}", None),
    (f"alter policy reader on {TABLE} using (true)", None),
    (f"alter policy reader on {TABLE} to public", None),
    (f"create policy extra on {TABLE} using (true)", None),
    (f"alter policy owner on {TABLE} to tidemark_reader", None),
    (f"alter table {TABLE} no force row level security", None),
    (f"alter table {TABLE} disable row level security", None),
    (f"grant select on {TABLE} to public", None),
    (f"grant select on {TABLE} to tidemark_client", None),
    (f"grant select (reader_id) on {TABLE} to tidemark_monitor", None),
    (f"grant update on {TABLE} to tidemark_reader", None),
    (f"grant select on {TABLE} to tidemark_reader with grant option", None),
    (f"revoke select on {TABLE} from tidemark_reader", None),
    (f"alter table {TABLE} owner to tidemark_reader", None),
    ("alter view marts.peek set (security_invoker = false)", None),
    ("create view marts.stray with (security_invoker = true) as select 1 as n",
     "drop view marts.stray"),
    (f"create view public.leak as select * from {TABLE}", "drop view public.leak"),
    (f"create materialized view public.stale as select * from {TABLE}",
     "drop materialized view public.stale"),
    ("create function public.leak() returns bigint language sql security definer as "
     f"'select count(*) from {TABLE}'", "drop function public.leak()"),
    ("create or replace function ops.own_subjects(asked_kind text) returns setof text "
     "language sql stable security definer set search_path = pg_catalog, pg_temp as "
     "'select subject_id from ops.identities'", None),
    ("alter function ops.own_subjects(text) reset search_path", None),
    ("alter function ops.own_subjects(text) security invoker", None),
    ("grant execute on function ops.own_subjects(text) to public", None),
    ("alter role tidemark_reader bypassrls", None),
    ("alter role tidemark_reader login", None),
    ("alter role tidemark_client createrole", None),
    ("grant tidemark_admin to tidemark_reader", None),
    ("grant pg_read_all_data to tidemark_client", None),
    ("alter role tidemark_reader set row_security = off", None),
    ("create role strong login bypassrls in role tidemark_reader", "drop role strong"),
    ("grant usage on schema raw to tidemark_reader", None),
    ("grant create on schema marts to public", None),
    ("grant all on ops.identities to tidemark_reader", None),
    ("grant insert on raw.events to tidemark_monitor", None),
    ("alter default privileges in schema marts grant select on tables to public", None),
    ("alter default privileges for role tidemark_transformer in schema build "
     "grant select on tables to tidemark_reader", None),
    (f"create table public.child () inherits ({TABLE})", "drop table public.child"),
    (f"create rule spill as on insert to {TABLE} do also select 1", f"drop rule spill on {TABLE}"),
    ("drop event trigger tidemark_guard", None),
    ("alter event trigger tidemark_guard disable", None),
]  # fmt: skip


def test_what_nobody_can_mend_is_refused(access_settings: Settings) -> None:
    warehouse = open_warehouse(access_settings)
    warehouse.execute(f"create view public.leak as select * from {TABLE}")
    try:
        with pytest.raises(UserError, match=r"view public\.leak shows our tables"):
            migrate(access_settings)
    finally:
        warehouse.execute("drop view public.leak")
        warehouse.close()
    assert migrate(access_settings) == []


def test_what_was_put_right_is_told_without_a_terminal_too(
    access_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    with console.working() as notify:
        session = open_session(access_settings, notify=notify, on_step=console.step)
        try:
            session.say("looking")
            session.warehouse.execute(f"revoke select on {TABLE} from tidemark_reader")
            settle(session, DbtProject(access_settings).manifest)
        finally:
            session.close()
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("tidemark: access put right: ")


@pytest.fixture(scope="module")
def checked(access_settings: Settings) -> Iterator[tuple[Warehouse, list[Relation]]]:
    warehouse = open_warehouse(access_settings)
    peek = Relation("peek", "peek", "marts", "build", "view", None, (), False, "", ())
    warehouse.execute("create view marts.peek with (security_invoker = true) as select 1 as n")
    warehouse.execute("grant select on marts.peek to tidemark_admin, tidemark_superadmin")
    yield warehouse, [*published(access_settings), peek]
    warehouse.execute("drop view marts.peek")
    warehouse.close()


@pytest.mark.parametrize(("plant", "undo"), WEAKNESSES, ids=[sql[:60] for sql, _ in WEAKNESSES])
def test_a_planted_weakness_is_found_and_mended(
    access_settings: Settings,
    checked: tuple[Warehouse, list[Relation]],
    plant: str,
    undo: str | None,
) -> None:
    warehouse, relations = checked
    rules = read_matrix(access_settings, relations)
    guarded = "disable row level" in plant or "no force" in plant or "invoker = false" in plant
    if guarded:
        # The guard of new tables would not let it happen at all.
        with pytest.raises(psycopg.errors.RaiseException):
            warehouse.execute(plant)
        warehouse.execute("alter event trigger tidemark_guard disable")
    warehouse.execute(plant)
    found = catalogue.differences(warehouse, rules, relations)
    assert len(found) >= 1 + guarded
    assert (undo is not None) == any(difference.mend is None for difference in found)
    if undo is not None:
        warehouse.execute(undo)
        found = catalogue.differences(warehouse, rules, relations)
    for difference in found:
        assert difference.mend is not None
        warehouse.execute(difference.mend)
    # Also what the next plant starts from.
    assert catalogue.differences(warehouse, rules, relations) == []


def test_new_tables_of_readers_are_closed_from_the_start(access_settings: Settings) -> None:
    warehouse = open_warehouse(access_settings)
    try:
        warehouse.execute("create table marts.fresh as select 1 as n")
        (flags,) = warehouse.execute(
            "select relrowsecurity, relforcerowsecurity from pg_class where relname = 'fresh'"
        )
        assert flags == (True, True)
        for unsafe in ("create view marts.eye as select 1 as n",
                       "create materialized view marts.eye as select 1 as n"):  # fmt: skip
            with pytest.raises(psycopg.errors.RaiseException):
                warehouse.execute(unsafe)
    finally:
        warehouse.execute("drop table if exists marts.fresh")
        warehouse.close()


def test_a_login_that_may_create_roles_is_enough(access_settings: Settings) -> None:
    """No superuser: everything but the event trigger, which Postgres gives to nobody else."""
    assert access_settings.postgres_url is not None
    server = access_settings.postgres_url.rsplit("/", 1)[0]
    with psycopg.connect(server + "/postgres", autocommit=True) as admin:
        admin.execute("create role steward login createrole")
        for group in GROUPS:
            admin.execute(f"grant {group} to steward with admin option")  # type: ignore[call-overload]
        admin.execute("create database tidemark_stewardstewa owner steward")
    theirs = replace(
        access_settings,
        postgres_url=server.replace("//tidemark@", "//steward@") + "/tidemark_stewardstewa",
    )
    try:
        assert migrate(theirs)
        assert migrate(theirs) == []
        warehouse = open_warehouse(theirs)
        warehouse.execute("select * from marts.sessions")
        warehouse.close()
    finally:
        with psycopg.connect(server + "/postgres", autocommit=True) as admin:
            admin.execute("drop database tidemark_stewardstewa with (force)")
            admin.execute("drop owned by steward")
            admin.execute("drop role steward")


def test_a_login_without_that_right_is_told(access_settings: Settings) -> None:
    assert access_settings.postgres_url is not None
    server = access_settings.postgres_url.rsplit("/", 1)[0]
    with psycopg.connect(server + "/postgres", autocommit=True) as admin:
        admin.execute("create role humble login")
        admin.execute("create database tidemark_humblehumble owner humble")
    theirs = replace(
        access_settings,
        postgres_url=server.replace("//tidemark@", "//humble@") + "/tidemark_humblehumble",
    )
    try:
        with pytest.raises(UserError, match="let one that may create roles run 'tidemark migrate'"):
            migrate(theirs)
    finally:
        with psycopg.connect(server + "/postgres", autocommit=True) as admin:
            admin.execute("drop database tidemark_humblehumble with (force)")
            admin.execute("drop role humble")


# -- the matrix ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"role": "reader", "relation": "sessions", "own_column": "nose"}, "sessions has no column"),
        ({"role": "reader", "relation": "daily_metrics", "own_column": "ip_asset_id",
          "owners_relation": "nowhere", "owners_column": "x"}, "nowhere has no column"),
        ({"role": "reader", "relation": "daily_metrics", "own_column": "ip_asset_id",
          "owners_relation": "creator_assets", "owners_column": "x"}, "creator_assets has no"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_hold_is_refused(
    access_settings: Settings, row: dict[str, str], words: str
) -> None:
    empty = dict.fromkeys(("own_column", "owners_relation", "owners_column", "last_days"), "")
    with pytest.raises(UserError, match=words):
        list(expand([{**empty, **row}], published(access_settings)))


# -- what the documents say ----------------------------------------------------------------------

DOCUMENTS = Path(__file__).parent.parent


def blocks(kind: str) -> list[str]:
    """Return the lines of all blocks of a kind in the documents about operations."""
    texts = [(DOCUMENTS / name).read_text("utf-8") for name in ("README.md", "docs/operations.md")]
    found = [
        block
        for text in texts
        for block in re.findall(rf"(?<!-->\n)```{kind}\n(.*?)```", text, re.DOTALL)
    ]
    return [line for block in found for line in block.splitlines() if line.strip()]


def test_statements_of_the_documents(access_settings: Settings) -> None:
    warehouse = open_warehouse(access_settings)
    statements = blocks("sql")
    assert len(statements) >= 6
    made = ("ann", "loads", "dora", "tidemark_owner")
    try:
        for statement in statements:
            # A server has one database of that name; here it is the one we are in.
            if not statement.startswith("create database"):
                warehouse.execute(statement)
        with logged_in(access_settings, "ann") as connection:
            assert outcome(connection, "select * from marts.metrics_daily_fulfillment") == []
    finally:
        warehouse.execute("delete from ops.identities where login_role in ('ann', 'dora')")
        for role in made:
            warehouse.execute(f"drop role if exists {role}")
        warehouse.close()


def test_commands_of_the_documents(
    access_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = replace(access_settings, target="duckdb", home=tmp_path / "home", postgres_url=None)
    copy_to_duckdb(access_settings, home)
    load(home, tmp_path / "events.ndjson", line())
    monkeypatch.chdir(tmp_path)
    commands = [line for line in blocks("console") if line.startswith("tidemark ")]
    assert len(commands) >= 6
    for command in commands:
        arguments = shlex.split(command)[1:]
        if arguments[0] == "serve":
            # It would stay; what it is called with is known.
            told = tidemark(home, "serve", "--help").stdout
            assert all(option in told for option in arguments if option.startswith("--"))
            continue
        done = tidemark(home, *arguments)
        assert done.returncode == 0, (command, done.stderr)

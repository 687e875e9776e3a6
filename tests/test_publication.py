"""Readers see what passed, all of it at once, or what they saw before."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import psycopg
import pytest

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse, duckdb_connection, open_warehouse
from orchestration import dbt_project, runs
from orchestration.publication import duckdb_file, postgres_tables
from orchestration.publication.duckdb_file import KEPT
from orchestration.session import open_session
from tests.events import query
from tests.test_orchestration import load, project, short_suite, tiny
from tests.tiny_project import run_below_job, write_project
from tests.waiting import PATIENCE_SECONDS

__all__ = ["project", "short_suite", "tiny"]

pytestmark = pytest.mark.usefixtures("project")


def readers_view(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Return rows as a reader gets them."""
    if settings.target == "duckdb":
        with duckdb.connect(str(settings.published_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()
    assert settings.postgres_url is not None
    with psycopg.connect(settings.postgres_url) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[call-overload,no-any-return]


def events_by_day(settings: Settings) -> dict[int, int]:
    rows = readers_view(
        settings,
        "select metric_date, sum(events) from marts.metrics_hourly_activity group by metric_date",
    )
    return {day.day: int(n) for day, n in rows}


def publish(settings: Settings) -> Any:
    session = open_session(settings)
    try:
        return runs.publish_now(session)
    finally:
        session.close()


def test_readers_get_all_marts_and_the_ledger_of_publications(settings: Settings) -> None:
    load(settings, 3, 4)
    runs.run(settings)
    assert events_by_day(settings) == {3: 1, 4: 1}
    assert readers_view(settings, "select count(*) from marts.first_seen") == [(2,)]
    rows = readers_view(
        settings, "select publication_id, data_through, relations from ops.publications"
    )
    assert rows == [(1, date(2026, 3, 4), 3)]


def test_failed_check_leaves_readers_what_they_had_and_says_so(settings: Settings) -> None:
    load(settings, 3, 4)
    run_below_job(settings)
    load(settings, 4, amount_cents=666)
    summary = run_below_job(settings)
    assert summary.status == "blocked"
    assert summary.error is not None
    assert "no_devilish_amount" in summary.error
    assert events_by_day(settings) == {3: 1, 4: 1}
    with pytest.raises(UserError) as refused:
        publish(settings)
    message = str(refused.value)
    assert "no_devilish_amount" in message or "stale" in message
    assert "publication 1 (data through 2026-03-04) stays" in message
    (job,) = query(
        settings, "select status, error from ops.etl_job_runs order by started_at desc limit 1"
    )
    assert job["status"] == "blocked"
    assert "no_devilish_amount" in job["error"]


def test_bad_dates_are_not_published_by_a_good_run_of_other_dates(settings: Settings) -> None:
    load(settings, 3, 4, 5, 6)
    run_below_job(settings)
    load(settings, 6, amount_cents=666)
    assert run_below_job(settings).status == "blocked"
    summary = run_below_job(settings, start=date(2026, 3, 3), end=date(2026, 3, 3))
    assert summary.status in ("failed", "blocked")
    assert summary.error is not None
    assert "did not pass" in summary.error or "no_devilish_amount" in summary.error
    assert events_by_day(settings) == {3: 1, 4: 1, 5: 1, 6: 1}


def test_nothing_stale_is_published(settings: Settings) -> None:
    load(settings, 3)
    run_below_job(settings)
    load(settings, 3)
    with pytest.raises(UserError, match="stale"):
        publish(settings)
    assert events_by_day(settings) == {3: 1}


def test_before_the_first_run_publishing_says_what_to_do(settings: Settings) -> None:
    load(settings, 3)
    with pytest.raises(UserError, match="run 'tidemark run' first; nothing was published before"):
        publish(settings)


def test_publishing_again_changes_nothing_for_readers(settings: Settings) -> None:
    load(settings, 3, 4)
    run_below_job(settings)
    before = readers_view(settings, "select * from marts.metrics_hourly_activity order by 1, 2")
    publish(settings)
    after = readers_view(settings, "select * from marts.metrics_hourly_activity order by 1, 2")
    assert after == before


# -- DuckDB: versioned files behind a link -------------------------------------------------------


def test_old_versions_go_and_the_link_is_never_dangling(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)
    for _ in range(KEPT + 1):
        publish(duckdb_settings)
    folder = duckdb_settings.published_path.parent
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["tidemark-3.duckdb", "tidemark-4.duckdb", "tidemark-5.duckdb",
                     "tidemark.duckdb"]  # fmt: skip
    assert duckdb_settings.published_path.resolve().name == "tidemark-5.duckdb"
    assert duckdb_settings.published_path.is_symlink()
    assert duckdb_settings.published_path.resolve().stat().st_mode & 0o222 == 0


def assert_readers_have_what_was_run(settings: Settings) -> None:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        connection.execute(f"attach '{settings.published_path}' as readers (read_only)")
        for mart in ("metrics_hourly_activity", "daily_users", "first_seen"):
            for one, other in (("", "readers."), ("readers.", "")):
                rows = f"from {one}marts.{mart} except all from {other}marts.{mart}"
                assert connection.execute(rows).fetchall() == [], (mart, one)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that a publication begins as a copy of."""
    names: list[str] = []
    copy = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        names.append(source.name)
        copy(source, target)

    monkeypatch.setattr(duckdb_file, "shutil", SimpleNamespace(copyfile=copyfile))
    return names


def test_a_day_is_published_into_a_copy_of_the_last_file(
    duckdb_settings: Settings, copied: list[str]
) -> None:
    settings = duckdb_settings
    load(settings, *range(3, 13))
    run_below_job(settings)
    assert copied == []
    load(settings, 12, 13)
    run_below_job(settings)
    assert copied == ["tidemark-1.duckdb"]
    assert events_by_day(settings)[12] == 2
    assert_readers_have_what_was_run(settings)
    # What is not there any more, by retention, and a date in the middle.
    warehouse = open_warehouse(settings)
    warehouse.execute("delete from marts.daily_users where metric_date < date '2026-03-05'")
    warehouse.close()
    run_below_job(settings, start=date(2026, 3, 8), end=date(2026, 3, 8))
    assert copied[1:] == ["tidemark-2.duckdb"]
    assert_readers_have_what_was_run(settings)
    # A late event of the first date: all dates are run again, few are changed by it.
    load(settings, 3)
    run_below_job(settings)
    assert copied[2:] == ["tidemark-3.duckdb"]
    assert_readers_have_what_was_run(settings)
    # More dates than there were: nothing is won by a copy.
    load(settings, *range(14, 28))
    run_below_job(settings)
    assert len(copied) == 3
    assert_readers_have_what_was_run(settings)


def test_what_a_copy_cannot_go_on_from_is_written_whole(
    duckdb_settings: Settings, copied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = duckdb_settings
    for channel in ("web", "whatsapp", "email"):
        load(settings, *range(3, 9), channel=channel)
    run_below_job(settings)

    def next_day(day: int) -> list[tuple[Any, ...]]:
        load(settings, day)
        run_below_job(settings)
        assert_readers_have_what_was_run(settings)
        return readers_view(settings, "select relation, row_count from ops.ordered_rows")

    # A table of another shape, and a view that is a table now.
    before = settings.published_path.resolve()
    before.chmod(0o644)
    with duckdb.connect(str(before)) as connection:
        connection.execute("alter table marts.daily_users drop column users")
        connection.execute("drop table marts.first_seen")
        connection.execute("create view marts.first_seen as select 1 as n")
        connection.execute("create table marts.gone as select 1 as n")
    # Few rows stand behind those that are in order; then too many.
    monkeypatch.setattr(duckdb_file, "UNORDERED_SHARE", 0.1)
    assert next_day(9) == [("metrics_hourly_activity", 18)]
    tables = readers_view(settings, "select table_name from duckdb_tables() order by 1")
    assert ("gone",) not in tables
    assert next_day(10) == [("metrics_hourly_activity", 20)]
    assert copied == ["tidemark-1.duckdb", "tidemark-2.duckdb"]
    # Blocks that nothing is in any more.
    monkeypatch.setattr(duckdb_file, "FREE_SHARE", -1.0)
    assert next_day(11) == [("metrics_hourly_activity", 21)]
    # A file that is no database.
    broken = settings.published_path.resolve()
    broken.chmod(0o644)
    broken.write_bytes(b"no database" * 1000)
    assert next_day(12) == [("metrics_hourly_activity", 22)]
    assert len(copied) == 3


@pytest.mark.parametrize("begun_as_a_copy", [False, True])
def test_descriptions_travel_with_the_tables(
    duckdb_settings: Settings, *, begun_as_a_copy: bool
) -> None:
    load(duckdb_settings, 3, 4)
    run_below_job(duckdb_settings)
    if begun_as_a_copy:
        # Those of a version before, that had other words.
        before = duckdb_settings.published_path.resolve()
        before.chmod(0o644)
        with duckdb.connect(str(before)) as connection:
            connection.execute("comment on table marts.metrics_hourly_activity is 'Old words.'")
            connection.execute("comment on column marts.metrics_hourly_activity.events is null")
        publish(duckdb_settings)
    rows = readers_view(
        duckdb_settings,
        "select comment from duckdb_tables() where table_name = 'metrics_hourly_activity'",
    )
    assert rows == [("One row per metric_date, hour and channel.",)]
    rows = readers_view(
        duckdb_settings, "select comment from duckdb_columns() where column_name = 'events'"
    )
    assert rows == [("It's the number of events.",)]


def test_reader_keeps_the_file_open_while_runs_and_publications_go_on(
    duckdb_settings: Settings,
) -> None:
    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)
    sql = "select sum(events) from marts.metrics_hourly_activity"
    with duckdb.connect(str(duckdb_settings.published_path), read_only=True) as dashboard:
        for day in (4, 5, 6):
            load(duckdb_settings, day)
            run_below_job(duckdb_settings)
            # The file that is open is the one of the first day; who opens anew sees the newest.
            assert dashboard.execute(sql).fetchall() == [(1,)]
    assert readers_view(duckdb_settings, sql) == [(4,)]


def _read_on(path: str, ready: Any, stop: Any, out: Any) -> None:
    seen = []
    while not stop.is_set():
        with duckdb.connect(path, read_only=True) as connection:
            events = connection.execute(
                "select sum(events) from marts.metrics_hourly_activity"
            ).fetchone()
            users = connection.execute("select sum(users) from marts.daily_users").fetchone()
            seen.append((int(events[0]), int(users[0])))  # type: ignore[index]
        ready.set()
    out.put(seen)


def test_readers_never_meet_a_lock_or_a_mixture(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)
    spawn = multiprocessing.get_context("spawn")
    ready, stop, out = spawn.Event(), spawn.Event(), spawn.Queue()
    path = str(duckdb_settings.published_path)
    reader = spawn.Process(target=_read_on, args=(path, ready, stop, out))
    reader.start()
    assert ready.wait(PATIENCE_SECONDS)
    for day in (4, 5):
        load(duckdb_settings, day)
        run_below_job(duckdb_settings)
    for _ in range(5):
        publish(duckdb_settings)
    stop.set()
    seen = out.get(timeout=PATIENCE_SECONDS)
    reader.join()
    assert reader.exitcode == 0
    assert set(seen) <= {(1, 1), (2, 2), (3, 3)}
    assert len(set(seen)) > 1


# -- Postgres: tables that stay ------------------------------------------------------------------


def test_policies_and_grants_outlive_runs_and_full_refresh(postgres_settings: Settings) -> None:
    settings = postgres_settings
    load(settings, 3)
    run_below_job(settings)
    assert settings.postgres_url is not None
    with psycopg.connect(settings.postgres_url, autocommit=True) as admin:
        before = admin.execute("select 'marts.daily_users'::regclass::oid").fetchone()
        admin.execute("grant select on marts.daily_users to public")
        admin.execute("drop policy monitor on marts.daily_users")
    load(settings, 4)
    run_below_job(settings, full_refresh=True)
    state = readers_view(
        settings,
        "select relname, relrowsecurity, relforcerowsecurity from pg_class "
        "where relnamespace = 'marts'::regnamespace and relkind = 'r'",
    )
    assert len(state) == 3
    assert all(enabled and forced for _, enabled, forced in state)
    after = readers_view(settings, "select 'marts.daily_users'::regclass::oid")
    assert after[0] == before
    (rights,) = readers_view(
        settings,
        "select has_table_privilege('public', 'marts.daily_users', 'select'), "
        "has_table_privilege('tidemark_monitor', 'marts.daily_users', 'select'), "
        "(select count(*) from pg_policies where tablename = 'daily_users')",
    )
    # What the matrix knows is there, what it does not know is gone.
    assert rights == (False, True, 5)
    assert readers_view(settings, "select count(*) from marts.daily_users") == [(2,)]


def test_only_dates_that_were_run_are_copied(postgres_settings: Settings) -> None:
    settings = postgres_settings
    load(settings, 3, 4, 5)
    run_below_job(settings)
    before = dict(
        readers_view(settings, "select metric_date, xmin::text from marts.metrics_hourly_activity")
    )
    load(settings, 5)
    run_below_job(settings)
    after = dict(
        readers_view(settings, "select metric_date, xmin::text from marts.metrics_hourly_activity")
    )
    changed = [day.day for day in after if after[day] != before[day]]
    assert changed == [5]


def test_what_a_run_computes_again_as_it_was_is_not_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise so small a table would be put in order.
    monkeypatch.setattr(duckdb_file, "UNORDERED_SHARE", 1.0)
    load(settings, 3, 4, 5, 6)
    run_below_job(settings)
    place = "ctid" if settings.target == "postgres" else "rowid"
    places = f"select metric_date from marts.metrics_hourly_activity order by {place}"
    before = [day.day for (day,) in readers_view(settings, places)]
    run_below_job(settings, full_refresh=True)
    assert [day.day for (day,) in readers_view(settings, places)] == before
    load(settings, before[1])
    run_below_job(settings, full_refresh=True)
    # What is written stands behind the others.
    assert [day.day for (day,) in readers_view(settings, places)] == [
        before[0], *before[2:], before[1]
    ]  # fmt: skip
    assert events_by_day(settings) == {day: 2 if day == before[1] else 1 for day in before}


def test_rows_that_replaced_others_stand_behind_those_in_order(
    duckdb_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = duckdb_settings
    monkeypatch.setattr(duckdb_file, "UNORDERED_SHARE", 0.15)
    load(settings, *range(3, 13))
    run_below_job(settings)
    in_order = []
    for day in (5, 7):
        load(settings, day)
        run_below_job(settings, start=date(2026, 3, day), end=date(2026, 3, day))
        in_order += readers_view(settings, "select row_count from ops.ordered_rows")
    # One in ten is borne, two in ten are not.
    assert in_order == [(9,), (10,)]
    assert_readers_have_what_was_run(settings)


def test_tables_of_which_much_is_new_are_analysed(postgres_settings: Settings) -> None:
    settings = postgres_settings
    counts = "select relname, analyze_count from pg_stat_user_tables where schemaname = 'marts'"
    load(settings, 3, 4, 5)
    run_below_job(settings)
    first = dict(readers_view(settings, counts))
    assert first and all(first.values())
    publish(settings)
    assert dict(readers_view(settings, counts)) == first
    load(settings, 5)
    run_below_job(settings)
    name = "metrics_hourly_activity"
    assert dict(readers_view(settings, counts))[name] > first[name]


def test_new_columns_reach_readers(postgres_settings: Settings) -> None:
    settings = postgres_settings
    load(settings, 3)
    run_below_job(settings)
    assert settings.postgres_url is not None
    with psycopg.connect(settings.postgres_url, autocommit=True) as admin:
        admin.execute("alter table build.daily_users add column share double precision default 1")
    publish(settings)
    assert readers_view(settings, "select users, share from marts.daily_users") == [(1, 1.0)]


def test_a_table_without_dates_is_copied_where_it_changed(postgres_settings: Settings) -> None:
    settings = postgres_settings
    load(settings, 3, 4, 5)
    run_below_job(settings)
    rows = "select user_id, xmin::text from marts.first_seen"
    before = dict(readers_view(settings, rows))
    assert settings.postgres_url is not None
    with psycopg.connect(settings.postgres_url, autocommit=True) as admin:
        admin.execute("update build.first_seen set first_date = '2026-03-01' where user_id = 'u4'")
        admin.execute("update build.first_seen set user_id = 'u6' where user_id = 'u5'")
    publish(settings)
    after = dict(readers_view(settings, rows))
    assert {user for user in after if after[user] != before.get(user)} == {"u4", "u6"}
    assert readers_view(
        settings, "select user_id, date_part('day', first_date) from marts.first_seen order by 1"
    ) == [("u3", 3), ("u4", 1), ("u6", 5)]


def test_a_type_changes_under_a_view(
    postgres_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = postgres_settings
    viewed = write_project(tmp_path / "viewed")
    monkeypatch.setattr(dbt_project, "PROJECT_DIR", viewed)
    (viewed / "models" / "marts" / "doubled_users.sql").write_text(
        "{{ config(materialized='view') }}\n"
        "select metric_date, users * 2 as doubled from {{ ref('daily_users') }}\n",
        encoding="utf-8",
    )
    load(settings, 3)
    run_below_job(settings)
    assert readers_view(settings, "select doubled from marts.doubled_users") == [(2,)]
    assert settings.postgres_url is not None
    with psycopg.connect(settings.postgres_url, autocommit=True) as admin:
        admin.execute("drop view build.doubled_users")
        admin.execute("alter table build.daily_users alter column users type numeric")
    run_below_job(settings, start=date(2026, 3, 3), end=date(2026, 3, 3))
    found = readers_view(
        settings, "select doubled, pg_typeof(doubled)::text from marts.doubled_users"
    )
    assert found == [(2, "numeric")]


def test_copy_that_fails_leaves_everything_as_it_was(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = postgres_settings
    load(settings, 3)
    run_below_job(settings)
    load(settings, 4)
    copied: list[str] = []
    whole = postgres_tables._copy

    def fail_at_the_second(warehouse: Any, mart: Any, change: Any) -> None:
        copied.append(mart.name)
        if len(copied) == 2:
            raise RuntimeError("cut off")
        whole(warehouse, mart, change)

    with monkeypatch.context() as patch:
        patch.setattr(postgres_tables, "_copy", fail_at_the_second)
        assert runs.run(settings).status == "failed"
    assert readers_view(settings, "select count(*) from marts.daily_users") == [(1,)]
    assert events_by_day(settings) == {3: 1}
    assert readers_view(settings, "select count(*) from ops.publications") == [(1,)]
    assert run_below_job(settings).publication is not None
    assert events_by_day(settings) == {3: 1, 4: 1}


def test_export_reads_what_readers_read(settings: Settings, tmp_path: Path) -> None:
    from orchestration.export import export_relation

    load(settings, 3, 4)
    run_below_job(settings)
    load(settings, 5)
    for kind in ("csv", "parquet", "json"):
        out = tmp_path / f"out.{kind}"
        assert export_relation(settings, "daily_users", format=kind, out=out) == 2
        rows = duckdb.sql(f"select * from '{out}' order by 1").fetchall()
        assert [(str(day), n) for day, n in rows] == [("2026-03-03", 1), ("2026-03-04", 1)]
    with pytest.raises(UserError, match="there is no relation 'raw'; there are daily_users"):
        export_relation(settings, "raw", format="csv", out=tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_export_writes_a_file_and_nothing_else(duckdb_settings: Settings, tmp_path: Path) -> None:
    from orchestration.export import export_relation

    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)

    def export(out: Path) -> int:
        return export_relation(duckdb_settings, "daily_users", format="csv", out=out)

    pipe, link, ring = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "ring"
    os.mkfifo(pipe)
    (tmp_path / "to_pipe").symlink_to(pipe)
    (tmp_path / "to_nowhere").symlink_to(tmp_path / "nowhere" / "x.csv")
    ring.symlink_to(ring)
    for out, words in (
        (pipe, "is no regular file; give --out the path of a file"),
        (tmp_path / "to_pipe", "is no regular file"),
        (tmp_path / "to_nowhere", "nowhere is no folder; make it first"),
        (ring, "leads back to itself"),
        (tmp_path, "is a folder; give --out the path of a file"),
        (Path(), "is a folder"),
        (Path("/"), "is a folder"),
        (Path("-"), "give --out its path instead of -"),
        (tmp_path / ("x" * 252), "cannot be written: File name too long"),
    ):
        with pytest.raises(UserError, match=words):
            export(out)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(list(tmp_path.glob("*"))) == 5
    # A link stays one, whether its file is there already or not.
    link.symlink_to("real.csv")
    for _ in range(2):
        assert export(link) == 1
        assert link.is_symlink()
        assert (tmp_path / "real.csv").read_text().startswith("metric_date,users")
        (tmp_path / "real.csv").write_text("older")


def test_what_cannot_be_noted_is_not_exported(duckdb_settings: Settings, tmp_path: Path) -> None:
    from orchestration.export import export_relation

    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)
    (duckdb_settings.home / "exports.ndjson").mkdir()
    (tmp_path / "old.csv").write_text("older")
    for name in ("new.csv", "old.csv"):
        with pytest.raises(UserError, match=r"nothing was exported.*may write to TIDEMARK_HOME"):
            export_relation(duckdb_settings, "daily_users", format="csv", out=tmp_path / name)
    assert [path.name for path in tmp_path.glob("*.csv*")] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "older"


def test_cells_that_a_spreadsheet_would_run_are_neutralised(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    import csv

    from ingest.door import ingest_paths
    from orchestration.export import export_relation
    from tests.events import line

    folder = duckdb_settings.home / "in"
    folder.mkdir(parents=True)
    names = ["=1+1", "+x", "-y", "@z", "\tt", "plain"]
    (folder / "a.ndjson").write_bytes(b"\n".join(line(user_id=name) for name in names))
    ingest_paths([folder], settings=duckdb_settings)
    run_below_job(duckdb_settings)
    out = tmp_path / "users.csv"
    export_relation(duckdb_settings, "first_seen", format="csv", out=out)
    with out.open(newline="") as file:
        cells = {row["user_id"] for row in csv.DictReader(file)}
    assert cells == {"'=1+1", "'+x", "'-y", "'@z", "'\tt", "plain"}


# -- readers with roles, while everything around them is replaced --------------------------------


def _poll(url: str, ready: Any, until: Any, out: Any) -> None:
    """Read as a reader and as a monitor, each time in one snapshot, and tell what was not right."""
    import psycopg

    faults: list[str] = []
    seen: set[int] = set()
    with (
        psycopg.connect(url.replace("//tidemark@", "//polling_reader@"), autocommit=True) as reader,
        psycopg.connect(
            url.replace("//tidemark@", "//polling_monitor@"), autocommit=True
        ) as monitor,
    ):
        while not until.is_set():
            try:
                rows = reader.execute("select user_id from marts.first_seen").fetchall()
                (users,) = monitor.execute(
                    "select array_agg(distinct users) from marts.daily_users"
                ).fetchall()
            except psycopg.Error as error:
                faults.append(str(error))
                continue
            if rows != [("u3",)]:
                faults.append(f"the reader saw {rows}")
            if len(users[0] or []) != 1:
                faults.append(f"a mixture of publications: {users[0]}")
            else:
                seen.add(int(users[0][0]))
            ready.set()
    out.put((faults, len(seen)))


def test_readers_that_poll_see_their_own_rows_of_one_publication(
    postgres_settings: Settings,
) -> None:
    """60 publications, two full refreshes and a backfill among them."""
    settings = postgres_settings
    assert settings.postgres_url is not None
    load(settings, 3, 4)
    run_below_job(settings)
    warehouse = open_warehouse(settings)
    for role, login in (("reader", "polling_reader"), ("monitor", "polling_monitor")):
        warehouse.execute(f"create role {login} login in role tidemark_{role}")
    warehouse.insert_many(
        "ops.identities", ("login_role", "kind", "subject_id"), [["polling_reader", "reader", "u3"]]
    )
    spawn = multiprocessing.get_context("spawn")
    ready, until, out = spawn.Event(), spawn.Event(), spawn.Queue()
    polls = spawn.Process(target=_poll, args=(settings.postgres_url, ready, until, out))
    polls.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        for number in range(1, 61):
            if number in (20, 40):
                assert run_below_job(settings, full_refresh=True).status == "succeeded"
            elif number == 30:
                span = {"start": date(2026, 3, 3), "end": date(2026, 3, 4)}
                assert run_below_job(settings, **span).status == "succeeded"
            # Every date says the number of its publication, so that a mixture shows.
            warehouse.execute("update build.daily_users set users = ?", [1000 + number])
            warehouse.execute("update ops.partitions set published_run_id = 'an older one'")
            publish(settings)
        until.set()
        faults, publications = out.get(timeout=PATIENCE_SECONDS)
        polls.join(timeout=PATIENCE_SECONDS)
    finally:
        until.set()
        if polls.is_alive():
            polls.terminate()
        for login in ("polling_reader", "polling_monitor"):
            warehouse.execute(f"drop role {login}")
        warehouse.close()
    assert faults == []
    assert publications > 20


def test_a_table_is_put_in_order_again_where_an_erasure_took_the_keys() -> None:
    """An erasure writes the published file anew, and the key of no table comes with it."""
    with duckdb_connection() as connection:
        for sql in (
            "attach ':memory:' as published", "create schema published.ops",
            "create table published.ops.ordered_rows (relation varchar, row_count bigint)",
            "create table built as select 1 as key",
        ):  # fmt: skip
            connection.execute(sql)
        warehouse = Warehouse("duckdb", connection)
        mart: Any = SimpleNamespace(
            name="t", full_name="memory.built", ordered_by="key", date_column=None
        )
        for _ in range(2):
            duckdb_file._write_whole(warehouse, mart, "published.t")
        assert warehouse.execute("from published.ops.ordered_rows") == [("t", 1)]

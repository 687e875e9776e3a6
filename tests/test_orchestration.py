"""What runs when: staleness, windows, the ledger, one run at a time, and what Dagster shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dbt.adapters.base import impl
from dbt.task.build import BuildTask

from expectations import raw_border
from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import open_warehouse
from orchestration import dbt_project, dbt_runner, ledger, runs
from orchestration.dbt_project import DbtProject
from orchestration.run_resource import RunHandle
from orchestration.session import open_session
from tests.command_line import environment, held
from tests.events import deliver, event, query
from tests.tiny_project import run_below_job, write_project, write_short_suite

MARCH = "2026-03-{:02d}"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def short_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short_suite(tmp_path_factory.mktemp("suites"))


@pytest.fixture
def project(tiny: Path, short_suite: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dbt_project, "PROJECT_DIR", tiny)
    monkeypatch.setattr(raw_border, "PATH", short_suite)
    monkeypatch.setenv("TIDEMARK_TEST_PROJECT", str(tiny))
    return tiny


def load(settings: Settings, *days: int, **changes: Any) -> None:
    """Load one file with one event on each of the given days of March."""
    events = [
        event(occurred_at=f"{MARCH.format(d)}T10:00:00Z", user_id=f"u{d}", **changes) for d in days
    ]
    deliver(settings, events, accepted=len(days))


def stale(settings: Settings) -> list[int]:
    rows = query(settings, "select partition_date from ops.partition_state where stale order by 1")
    return [row["partition_date"].day for row in rows]


def mart(settings: Settings, name: str = "metrics_hourly_activity") -> list[dict[str, Any]]:
    schema = "marts" if settings.target == "duckdb" else "build"
    return query(settings, f"select * from {schema}.{name} order by 1, 2")


def plan(settings: Settings, **options: Any) -> ledger.RunPlan | None:
    warehouse = open_warehouse(settings)
    try:
        return ledger.plan_run(warehouse, **options)
    finally:
        warehouse.close()


# -- what is stale, and what a run covers --------------------------------------------------------


def test_without_events_there_is_nothing_to_run(settings: Settings) -> None:
    assert plan(settings) is None


def test_first_run_covers_every_date_from_first_to_last_event(settings: Settings) -> None:
    load(settings, 3, 7)
    made = plan(settings)
    assert made is not None
    assert (made.window.start, made.window.end) == (date(2026, 3, 3), date(2026, 3, 7))
    assert made.window.prepare_start == date(2026, 3, 3)
    assert made.full_refresh
    assert stale(settings) == [3, 4, 5, 6, 7]


def test_late_event_makes_its_date_and_all_later_ones_stale(
    settings: Settings, project: Path
) -> None:
    load(settings, 3, 4, 5, 6)
    assert run_below_job(settings).status == "succeeded"
    assert stale(settings) == []
    load(settings, 5)
    assert stale(settings) == [5, 6]
    made = plan(settings)
    assert made is not None
    assert (made.window.start, made.window.end) == (date(2026, 3, 5), date(2026, 3, 6))
    assert not made.full_refresh


def test_range_in_the_middle_prepares_what_it_builds_on(settings: Settings, project: Path) -> None:
    load(settings, 1, 2, 3, 4, 5)
    made = plan(settings, start=date(2026, 3, 3), end=date(2026, 3, 4))
    assert made is not None
    assert made.window.prepare_start == date(2026, 3, 1)
    summary = run_below_job(settings, start=date(2026, 3, 3), end=date(2026, 3, 4))
    assert summary.status == "succeeded", summary.error
    assert [row["metric_date"].day for row in mart(settings)] == [3, 4]
    assert stale(settings) == [1, 2, 5]
    assert summary.publication is not None
    assert summary.publication.data_through == date(2026, 3, 4)
    # What is left runs from the oldest stale date to the last event.
    rest = run_below_job(settings)
    assert rest.plan is not None
    assert (rest.plan.window.start.day, rest.plan.window.end.day) == (1, 5)
    assert [row["metric_date"].day for row in mart(settings)] == [1, 2, 3, 4, 5]
    assert stale(settings) == []


def test_dates_after_the_last_event_are_run_when_asked_for(
    duckdb_settings: Settings, project: Path
) -> None:
    load(duckdb_settings, 3)
    summary = runs.run(duckdb_settings, end=date(2026, 3, 6))
    assert summary.plan is not None
    assert summary.plan.days == 4
    rows = query(duckdb_settings, "select count(*) as n from ops.partitions where checked")
    assert rows == [{"n": 4}]
    # A range that begins later still takes the dates up to it along: dense tables have no hole.
    made = plan(duckdb_settings, start=date(2026, 3, 9), end=date(2026, 3, 10))
    assert made is not None
    assert (made.window.start, made.window.end) == (date(2026, 3, 7), date(2026, 3, 10))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (date(2026, 3, 5), date(2026, 3, 4), "lies before"),
        (None, date(2026, 3, 1), "events begin 2026-03-03"),
        (None, date(2099, 1, 1), "lies in the future"),
    ],
)
def test_senseless_ranges_are_refused_in_one_line(
    duckdb_settings: Settings, start: date | None, end: date, words: str
) -> None:
    load(duckdb_settings, 3)
    with pytest.raises(UserError, match=words) as caught:
        runs.run(duckdb_settings, start=start, end=end)
    assert "\n" not in str(caught.value)


# -- the ledger ----------------------------------------------------------------------------------


def test_run_leaves_its_trace_in_every_ledger(settings: Settings, project: Path) -> None:
    load(settings, 3, 4)
    summary = runs.run(settings)
    (job,) = query(settings, "select * from ops.etl_job_runs")
    assert job["status"] == "succeeded"
    assert job["error"] is None
    assert (job["range_start"], job["range_end"]) == (date(2026, 3, 3), date(2026, 3, 4))
    rows = json.loads(job["rows_by_relation"])
    assert rows["raw.events"] == 2
    assert rows["marts.metrics_hourly_activity"] == 2
    assert rows["marts.first_seen"] == 2
    assert job["dagster_run_id"]
    checks = query(settings, 'select relation, "check", status, severity from ops.check_results')
    names = {check["check"] for check in checks}
    assert {"no_devilish_amount", "every_line_accounted_for", "every_event_counted"} <= names
    assert all(check["status"] == "passed" for check in checks)
    parts = query(settings, "select * from ops.partition_state order by partition_date")
    assert all(part["last_run_id"] == summary.run_id and part["published"] for part in parts)
    assert runs.run(settings).status == "nothing"


def test_warning_is_recorded_and_does_not_block(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, 3, amount_cents=333)
    summary = runs.run(duckdb_settings)
    assert summary.status == "succeeded"
    (found,) = query(
        duckdb_settings, "select severity, observed from ops.check_results where status = 'failed'"
    )
    assert found == {"severity": "warn", "observed": "1 failing rows"}


def test_orphaned_run_is_buried_by_the_next(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, 3)
    warehouse = open_warehouse(duckdb_settings)
    made = ledger.plan_run(warehouse)
    assert made is not None
    orphan = ledger.start_run(warehouse, made, None)
    warehouse.close()
    run_below_job(duckdb_settings)
    found = {
        row["run_id"]: (row["status"], row["error"])
        for row in query(duckdb_settings, "select run_id, status, error from ops.etl_job_runs")
    }
    assert found.pop(orphan) == (
        "failed",
        "the process of this run ended without a word (killed or crashed)",
    )
    assert [status for status, _ in found.values()] == ["succeeded"]


def test_model_that_cannot_be_built_fails_the_run_and_leaves_it_stale(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = write_project(tmp_path / "broken")
    (broken / "models/marts/daily_users.sql").write_text("select 1 / 'x'::int as metric_date")
    monkeypatch.setattr(dbt_project, "PROJECT_DIR", broken)
    load(duckdb_settings, 3)
    summary = runs.run(duckdb_settings)
    assert summary.status == "failed"
    assert summary.error is not None
    assert "daily_users" in summary.error
    assert stale(duckdb_settings) == [3]
    assert summary.publication is None


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (AssertionError, "dbt: AssertionError"),
        (KeyboardInterrupt, "the run was stopped"),
        (DagsterExecutionInterruptedError, "the run was stopped"),
    ],
)
def test_dbt_that_ends_without_words_fails_the_run_at_once(
    duckdb_settings: Settings,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: type[BaseException],
    words: str,
) -> None:
    def ends(*_: Any, **__: Any) -> NoReturn:
        raise raised

    load(duckdb_settings, 3)
    monkeypatch.setattr(BuildTask, "run", ends)
    summary = runs.run(duckdb_settings)
    assert (summary.status, summary.error) == ("failed", words)
    assert summary.publication is None
    assert stale(duckdb_settings) == [3]


def test_a_step_that_is_left_in_its_middle_fails_the_run(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 3)
    handle = RunHandle(duckdb_settings)
    context = SimpleNamespace(retry_number=0, run=SimpleNamespace(run_id="one", tags={}))
    with open_session(duckdb_settings) as session:
        session.plan = ledger.plan_run(session.warehouse)

        def step() -> Iterator[None]:
            with handle.step(context):
                yield

        left = step()
        next(left)
        left.close()
    (found,) = query(duckdb_settings, "select status, error from ops.etl_job_runs")
    assert found == {"status": "failed", "error": "the run was stopped"}


def test_project_that_cannot_be_parsed_is_the_users_to_mend(
    duckdb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = write_project(tmp_path / "broken")
    (broken / "models/marts/daily_users.sql").write_text("select * from {{ ref('nowhere') }}")
    monkeypatch.setattr(dbt_project, "PROJECT_DIR", broken)
    load(duckdb_settings, 3)
    with pytest.raises(UserError, match="nowhere"):
        runs.run(duckdb_settings)


def test_commands_of_one_process_leave_nothing_that_adds_up(
    postgres_settings: Settings, project: Path
) -> None:
    """The adapter of Postgres adds its flags to a list of dbt's with every command."""
    warehouse = DbtProject(postgres_settings)
    dbt_runner.invoke(warehouse, ["ls", *warehouse.arguments()], quiet=True)
    flags = [flag["name"] for flag in impl.DEFAULT_BASE_BEHAVIOR_FLAGS]
    dbt_runner.invoke(warehouse, ["ls", *warehouse.arguments()], quiet=True)
    assert [flag["name"] for flag in impl.DEFAULT_BASE_BEHAVIOR_FLAGS] == flags
    assert len(flags) == len(set(flags)) > 0


def test_full_refresh_gives_the_same_tables(settings: Settings, project: Path) -> None:
    load(settings, 3, 4, 5)
    run_below_job(settings)
    load(settings, 4)
    run_below_job(settings)
    before = [mart(settings, name) for name in ("metrics_hourly_activity", "daily_users")]
    summary = run_below_job(settings, full_refresh=True)
    assert summary.plan is not None
    assert summary.plan.days == 3
    assert [mart(settings, n) for n in ("metrics_hourly_activity", "daily_users")] == before


def test_other_time_zone_dates_events_anew_and_rebuilds(
    settings: Settings, project: Path, in_zone: Callable[[Settings, str], Settings]
) -> None:
    load(settings, 3, 4)
    run_below_job(settings)
    told: list[str] = []
    moved = in_zone(settings, "Pacific/Kiritimati")  # 14 hours ahead: 10:00 UTC is the next day
    summary = runs.run(moved, notify=told.append)
    assert summary.plan is not None
    assert summary.plan.full_refresh
    assert [row["metric_date"].day for row in mart(moved)] == [4, 5]
    assert any("business time zone is now" in text for text in told)


# -- seeds ---------------------------------------------------------------------------------------


def test_seeds_of_the_user_replace_ours(
    duckdb_settings: Settings, project: Path, tmp_path: Path
) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "tiers.csv").write_text("tier,weight\ngold,9\n")
    settings = replace(duckdb_settings, seeds=seeds)
    load(settings, 3)
    assert run_below_job(settings).status == "succeeded"
    assert query(settings, "select tier, weight from staging.tiers") == [
        {"tier": "gold", "weight": 9}
    ]


def test_seeds_that_do_not_fit_are_refused_when_nothing_is_stale(
    duckdb_settings: Settings, project: Path, tmp_path: Path
) -> None:
    load(duckdb_settings, 3)
    assert run_below_job(duckdb_settings).status == "succeeded"
    (tmp_path / "levels.csv").write_text("tier,weight\n")
    with pytest.raises(UserError, match="there is no seed levels"):
        runs.run(replace(duckdb_settings, seeds=tmp_path))
    assert runs.run(duckdb_settings).status == "nothing"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("levels.csv", "tier,weight\n", "there is no seed levels"),
        ("tiers.csv", "tier,height\n", "must have the columns tier, weight"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(
    duckdb_settings: Settings, project: Path, tmp_path: Path, name: str, text: str, words: str
) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / name).write_text(text)
    settings = replace(duckdb_settings, seeds=seeds)
    load(settings, 3)
    with pytest.raises(UserError, match=words):
        runs.run(settings)


def test_a_view_takes_the_place_of_a_table_of_its_name(settings: Settings, project: Path) -> None:
    """As when a model of another version was a table; a second run replaces the view."""
    load(settings, 3)
    warehouse = open_warehouse(settings)
    warehouse.execute("create schema if not exists staging")
    warehouse.execute("create table staging.stg_events as select 1 as n")
    warehouse.close()
    for _ in range(2):
        assert run_below_job(settings, full_refresh=True).status == "succeeded"
        kinds = "select table_type as kind from information_schema.tables where table_schema = "
        assert query(settings, f"{kinds}'staging' and table_name = 'stg_events'") == [
            {"kind": "VIEW"}
        ]
    assert len(mart(settings)) == 1


# -- one run at a time ---------------------------------------------------------------------------


def test_the_lock_is_held_for_the_whole_run(settings: Settings) -> None:
    from ingest.warehouse import WarehouseBusy

    load(settings, 3)
    session = open_session(settings)
    try:
        code = (
            "from ingest.settings import load_settings; "
            "from orchestration.session import open_session; open_session(load_settings(), "
            "wait_seconds=0.3)"
        )
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment(settings), capture_output=True, text=True
        )
        assert WarehouseBusy.__name__ in child.stderr
    finally:
        session.close()


# -- what Dagster shows --------------------------------------------------------------------------


def test_the_web_page_shows_runs_of_the_command_line(
    duckdb_settings: Settings, project: Path
) -> None:
    import dagster as dg

    from orchestration.instance import open_instance

    load(duckdb_settings, *range(1, 29))
    load(duckdb_settings, 29, 30, 31)
    runs.run(duckdb_settings, end=date(2026, 4, 10))
    with open_instance(duckdb_settings) as instance:
        for key in (["raw", "events"], ["marts", "daily_users"], ["published", "marts"]):
            days = instance.get_materialized_partitions(dg.AssetKey(key))
            assert len(days) == 41, key
            record = instance.get_latest_materialization_event(dg.AssetKey(key))
            assert record is not None
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.tags["dagster/asset_partition_range_start"] == "2026-03-01"
        for name in ("metrics_hourly_activity", "daily_users"):
            found = instance.get_latest_materialization_event(dg.AssetKey(["marts", name]))
            assert found is not None
            assert found.asset_materialization is not None
            assert "window" in found.asset_materialization.metadata
        check = dg.AssetCheckKey(dg.AssetKey(["raw", "events"]), "nothing_lost")
        (execution,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=5)
        assert execution.status.value == "SUCCEEDED"


def test_definitions_hold_what_the_design_says(duckdb_settings: Settings, project: Path) -> None:
    import dagster as dg

    from orchestration.definitions import build_definitions

    load(duckdb_settings, 3)
    definitions = build_definitions(duckdb_settings)
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    groups = {key.to_user_string(): graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups["raw/events"] == "raw"
    assert groups["staging/stg_events"] == "staging"
    assert groups["marts/daily_users"] == "marts"
    published = graph.get(dg.AssetKey(["published", "marts"]))
    assert {key.path[-1] for key in published.parent_keys} == {
        "metrics_hourly_activity",
        "daily_users",
        "first_seen",
    }
    assert all(graph.get(key).owners == ["team:tidemark"] for key in graph.get_all_asset_keys())
    partitions = published.partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    assert partitions.start.date() == date(2025, 1, 1)
    assert partitions.timezone == "UTC"
    schedule = definitions.get_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "UTC")
    assert definitions.get_sensor_def("late_events").default_status.value == "RUNNING"


def evaluate_sensor(settings: Settings) -> Any:
    import dagster as dg

    from orchestration import jobs
    from orchestration.instance import open_instance

    with open_instance(settings) as instance:
        context = dg.build_sensor_context(instance=instance)
        (found,) = jobs.sensor(settings, jobs.daily_metrics())(context)  # type: ignore[misc]
        return found


def test_sensor_asks_for_what_is_stale_once_and_not_after_a_failure(
    settings: Settings, project: Path
) -> None:
    load(settings, 3, 4)
    request = evaluate_sensor(settings)
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-03"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-04"
    runs.run(settings)
    assert "nothing is stale" in evaluate_sensor(settings).skip_message
    load(settings, 4, amount_cents=666)
    assert runs.run(settings).status == "blocked"
    assert "failed on the same events" in evaluate_sensor(settings).skip_message
    load(settings, 4, amount_cents=1)
    assert evaluate_sensor(settings).tags["dagster/asset_partition_range_start"] == "2026-03-04"


def test_sensor_leaves_a_busy_warehouse_alone(duckdb_settings: Settings, project: Path) -> None:
    load(duckdb_settings, 3)
    with held(duckdb_settings):
        assert "in use" in evaluate_sensor(duckdb_settings).skip_message

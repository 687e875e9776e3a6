"""A dbt project of three models: enough to run, check and publish, in two seconds a run.

Belongs here: the project that tests of the orchestration put in place of the real one, a short raw
border, and a run without what costs most. The project shares the real one's window, schemas,
materializations and profiles, so that what is proven holds there too.
"""

from __future__ import annotations

import shutil
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import yaml

from expectations import raw_border
from ingest.errors import UserError
from ingest.settings import Settings
from orchestration import assets, ledger, runs
from orchestration.dbt_project import PROJECT_DIR, DbtProject
from orchestration.publication import gate
from orchestration.publication.restatements_shown import in_words
from orchestration.relations import marts
from orchestration.runs import RunSummary
from orchestration.session import open_session

PROJECT = """
name: tidemark
version: "1.0.0"
config-version: 2
profile: tidemark
model-paths: [models]
macro-paths: [macros]
seed-paths: [seeds]
test-paths: [tests]
flags: {send_anonymous_usage_stats: false}
vars:
  window_start: "0001-01-01"
  window_end: "9999-12-31"
  prepare_start: "0001-01-01"
  loads_through: 9223372036854775807
models:
  tidemark:
    staging: {+schema: staging, +materialized: view}
    intermediate: {+schema: intermediate, +materialized: incremental, +incremental_strategy: append}
    marts: {+schema: marts, +materialized: incremental, +incremental_strategy: append}
seeds:
  tidemark:
    +schema: staging
    access_rules: {+enabled: false}
"""

#: What it has of the real project's macros.
MACROS = (
    "window.sql", "adapters/schemas.sql", "materializations/view.sql",
    "materializations/incremental.sql",
)  # fmt: skip

#: How the names of expectations of single columns begin.
OF_COLUMNS = ("required_", "range_", "enum_")

FILES = {
    "dbt_project.yml": PROJECT,
    "seeds/tiers.csv": "tier,weight\nbasic,1\n",
    "seeds/access_rules.csv": """role,relation,own_column,owners_relation,owners_column,last_days
admin,*,,,,
monitor,daily_users,,,,
reader,first_seen,user_id,,,
advisor,daily_users,,,,2
""",
    "models/sources.yml": """
sources:
  - name: raw
    schema: raw
    tables: [{name: events}]
""",
    "models/staging/stg_events.sql": """
select * from {{ source('raw', 'events') }} where load_id <= {{ var('loads_through') }}
""",
    "models/intermediate/int_user_days.sql": """
{{ config(pre_hook="{{ delete_window('activity_date') }}") }}
select distinct event_date as activity_date, user_id
from {{ ref('stg_events') }} where {{ in_window('event_date') }} and user_id is not null
""",
    "models/marts/metrics_hourly_activity.sql": """
{{ config(pre_hook="{{ delete_window('metric_date') }}") }}
select event_date as metric_date, event_hour as hour, channel, count(*) as events,
    sum(case when amount_cents = 666 then 1 else 0 end) as devilish,
    sum(case when amount_cents = 333 then 1 else 0 end) as odd
from {{ ref('stg_events') }} where {{ in_window('event_date') }}
group by event_date, event_hour, channel
""",
    "models/marts/daily_users.sql": """
{{ config(pre_hook="{{ delete_window('metric_date') }}") }}
select activity_date as metric_date, count(*) as users
from {{ ref('int_user_days') }} where {{ in_window('activity_date') }}
group by activity_date
""",
    "models/marts/first_seen.sql": """
{{ config(materialized='table') }}
select user_id, min(activity_date) as first_date from {{ ref('int_user_days') }} group by user_id
""",
    "models/marts/marts.yml": """
models:
  - name: metrics_hourly_activity
    description: One row per metric_date, hour and channel.
    config: {meta: {grain: [metric_date, hour, channel], ordered_by: channel}}
    columns: [{name: events, description: "It's the number of events."}]
  - name: daily_users
    config: {meta: {grain: [metric_date]}}
  - name: first_seen
    config: {meta: {grain: [user_id]}}
    columns: [{name: user_id}]
""",
    "tests/no_devilish_amount.sql": """
select * from {{ ref('metrics_hourly_activity') }} where devilish > 0
""",
    "tests/no_odd_amount.sql": """
{{ config(severity='warn') }}
select * from {{ ref('metrics_hourly_activity') }} where odd > 0
""",
}


def write_project(folder: Path) -> Path:
    """Write the project into a folder and return it."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copy(PROJECT_DIR / "profiles.yml", folder / "profiles.yml")
    for name in MACROS:
        target = folder / "macros" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_DIR / "macros" / name, target)
    return folder


def write_short_suite(folder: Path) -> Path:
    """Write the raw border without what it says of single columns, which is most of it."""
    suite = yaml.safe_load(raw_border.PATH.read_text(encoding="utf-8"))
    suite["expectations"] = [
        expectation
        for expectation in suite["expectations"]
        if not expectation["name"].startswith(OF_COLUMNS)
    ]
    assert 0 < len(suite["expectations"]) < 10
    path = folder / raw_border.PATH.name
    path.write_text(yaml.safe_dump(suite), encoding="utf-8")
    return path


def run_below_job(
    settings: Settings,
    *,
    start: date | None = None,
    end: date | None = None,
    full_refresh: bool = False,
) -> RunSummary:
    """Run as ``orchestration.runs.run`` does, without Dagster and Great Expectations around it.

    They are nine tenths of what a run of the tiny project costs. What a job turns into a run that
    failed, but a check or the gate, is raised.
    """
    began = time.monotonic()
    session = open_session(settings)
    try:
        plan = ledger.plan_run(session.warehouse, start, end, full_refresh=full_refresh)
        if plan is None:
            if not gate.unpublished(session.warehouse):
                return RunSummary("nothing", time.monotonic() - began)
            publication = runs.publish_now(session)
            return RunSummary("published", time.monotonic() - began, publication=publication)
        session.begin(plan)
        project = DbtProject(settings)
        nothing = SimpleNamespace(
            is_subset=False, selected_asset_keys=(), selected_asset_check_keys=()
        )
        try:
            for _ in assets.build_models(nothing, session, project):  # type: ignore[arg-type]
                pass
            assert session.run_id is not None
            ledger.mark_checked(session.warehouse, session.run_id)
            session.publication = gate.publish(session, marts(project.manifest)).publication_id
        except (dg.Failure, UserError) as error:
            session.error = str(error)
        session.finish()
        assert session.finished
        return RunSummary(
            status=session.finished,
            seconds=time.monotonic() - began,
            run_id=session.run_id,
            plan=plan,
            rows=session.rows,
            checks=tuple(session.checks),
            publication=gate.newest_publication(session.warehouse),
            restated=in_words(session.warehouse, session.publication)
            if session.publication is not None
            else None,
            error=session.error,
        )
    finally:
        session.close()

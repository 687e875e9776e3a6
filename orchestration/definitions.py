"""What Dagster loads: assembled here, made elsewhere."""

from __future__ import annotations

import warnings

import dagster as dg
from dagster_shared.utils.warnings import BetaWarning, PreviewWarning

from ingest.settings import Settings, load_settings
from orchestration import assets, checks, jobs, removal_jobs
from orchestration.alerts import delivery
from orchestration.dbt_project import DbtProject
from orchestration.partitions import daily_partitions
from orchestration.run_resource import run_handle

# Backfill policies and check partitions are marked beta; there is nothing to do about it.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return assets, checks, job, schedules and sensors for one warehouse."""
    project = DbtProject(settings)
    partitions = daily_partitions(settings)
    job = jobs.daily_metrics()
    retention = removal_jobs.retention(settings)
    return dg.Definitions(
        assets=[
            assets.raw_events(partitions, settings.target),
            assets.dbt_models(project, partitions),
            assets.published(project, partitions, settings.target),
        ],
        asset_checks=[checks.raw_border(), checks.mart_border(project.manifest)],
        jobs=[job, retention, removal_jobs.erasure(settings)],
        schedules=[*jobs.schedules(settings, job), removal_jobs.schedule(settings, retention)],
        sensors=[jobs.sensor(settings, job), delivery.sensor(settings)],
        resources={"run": run_handle(settings)},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the definitions of the settings in the environment."""
    return build_definitions(load_settings())

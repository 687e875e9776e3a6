"""The Dagster instance: its folder and its dagster.yaml.

Belongs here: how Dagster stores runs and starts them. What it runs belongs in
``orchestration.definitions``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import yaml

from ingest.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: Events of one batch; every materialization of a run of ten years is written in a few of them.
BATCH = 5000


EVENTS = "orchestration.event_storage"

#: dagster.yaml names the variable, so that no password stands in a file.
URL_VARIABLE = "TIDEMARK_PG_DAGSTER_URL"


def _class(module: str, name: str, config: Mapping[str, object]) -> dict[str, object]:
    return {"module": module, "class": name, "config": config}


def instance_config(settings: Settings) -> dict[str, object]:
    """Return what dagster.yaml says."""
    home = settings.dagster_home
    config: dict[str, object] = {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        # Runs never overlap: they would only wait for the lock of the warehouse.
        "concurrency": {"runs": {"max_concurrent_runs": 1}},
        "run_retries": {"enabled": True, "max_retries": 2},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 300,
            "max_runtime_seconds": 6 * 3600,
        },
        "retention": {
            "schedule": {"purge_after_days": {"skipped": 7, "success": 90}},
            "sensor": {"purge_after_days": {"skipped": 1, "success": 90}},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(home / "logs")},
        },
    }
    url = {"postgres_url": {"env": URL_VARIABLE}}
    folder = {"base_dir": str(home / "history")}
    if settings.postgres_url:
        config["run_storage"] = _class("dagster_postgres", "PostgresRunStorage", url)
        config["event_log_storage"] = _class(EVENTS, "TidemarkPostgresEventLogStorage", url)
        config["schedule_storage"] = _class("dagster_postgres", "PostgresScheduleStorage", url)
    else:
        runs = {"base_dir": str(home / "history" / "runs")}
        schedules = {"base_dir": str(home / "schedules")}
        config["run_storage"] = _class("dagster._core.storage.runs", "SqliteRunStorage", folder)
        config["event_log_storage"] = _class(EVENTS, "TidemarkSqliteEventLogStorage", runs)
        config["schedule_storage"] = _class(
            "dagster._core.storage.schedules", "SqliteScheduleStorage", schedules
        )
    return config


def prepare_instance(settings: Settings) -> None:
    """Make the instance's folder and point this process, and what it starts, to it."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    text = "# Written by tidemark; changes are overwritten.\n" + yaml.safe_dump(
        instance_config(settings), sort_keys=False
    )
    path = home / "dagster.yaml"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        waiting = home / f".dagster.yaml.{os.getpid()}"
        waiting.write_text(text, encoding="utf-8")
        waiting.replace(path)
    os.environ["DAGSTER_HOME"] = str(home)
    if settings.postgres_url:
        os.environ[URL_VARIABLE] = settings.postgres_url
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(BATCH)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"


def open_instance(settings: Settings) -> DagsterInstance:
    """Open the instance that the web page shows, and make its tables when they are missing.

    Dagster's own making of tables fails when two processes do it at once.
    """
    import dagster as dg
    from filelock import FileLock

    prepare_instance(settings)
    with FileLock(settings.dagster_home / ".lock"):
        instance = dg.DagsterInstance.get()
        # Storages open, and make their tables, when they are first used.
        instance.run_storage.get_runs_count()
        instance.event_log_storage.get_maximum_record_id()
        instance.schedule_storage  # noqa: B018
        return instance

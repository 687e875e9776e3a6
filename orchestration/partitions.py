"""The days that Dagster knows: calendar dates in the business time zone.

Belongs here: where they begin and end, the glance at the warehouse that tells it, and how a run's
range is read from Dagster.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse, WarehouseBusy, WarehouseError, open_warehouse
from orchestration.ledger import event_span
from orchestration.session import current_session

#: Today's events may come, and an event may be dated 24 hours ahead (see in_the_future).
DAYS_AHEAD = 2

GLANCE_SECONDS = 0.5


def look(settings: Settings) -> Warehouse:
    """Open the warehouse to look at it for a moment, without waiting for others.

    Raises:
        WarehouseBusy: someone is at work; what they do will be seen later.
        WarehouseError: there is nothing to look at.

    """
    return open_warehouse(settings, wait_seconds=GLANCE_SECONDS, read_only=True)


def today(settings: Settings) -> date:
    """Return the date in the business time zone."""
    return datetime.now(ZoneInfo(settings.timezone)).date()


def last_partition(settings: Settings) -> date:
    """Return the last date that can be run."""
    return today(settings) + timedelta(days=DAYS_AHEAD - 1)


def _memory(settings: Settings) -> Path:
    return settings.dagster_home / "first_event_date"


def remember_first_event(settings: Settings, warehouse: Warehouse) -> date | None:
    """Note the earliest event date beside the instance, for when the warehouse is busy."""
    first, _ = event_span(warehouse)
    if first:
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        _memory(settings).write_text(first.isoformat(), encoding="utf-8")
    return first


def _first_event(settings: Settings) -> date | None:
    session = current_session()
    if session is not None:
        return remember_first_event(settings, session.warehouse)
    try:
        warehouse = look(settings)
    except (WarehouseBusy, WarehouseError):
        warehouse = None
    if warehouse is not None:
        try:
            return remember_first_event(settings, warehouse)
        except Exception:
            # A warehouse without its tables yet: there is nothing to run either.
            return None
        finally:
            warehouse.close()
    if _memory(settings).exists():
        return date.fromisoformat(_memory(settings).read_text(encoding="utf-8").strip())
    return None


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return all days from the 1st of January of the year before the first event."""
    first = _first_event(settings) or today(settings)
    start = date(first.year - 1, 1, 1)
    return dg.DailyPartitionsDefinition(
        start_date=start.isoformat(), timezone=settings.timezone, end_offset=DAYS_AHEAD
    )


def range_tags(start: date, end: date) -> dict[str, str]:
    """Return the tags that make a run one of a range of days."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: start.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: end.isoformat(),
    }


def range_of(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> tuple[date, date]:
    """Return the days that a run was asked for, both included.

    Raises:
        UserError: a partition key is no date; keys and tags are whatever somebody wrote.

    """
    key_range = context.partition_key_range
    return _date_of(key_range.start), _date_of(key_range.end)


def _date_of(key: str) -> date:
    try:
        return datetime.strptime(key, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        shown = key[:40]
        raise UserError(f"partition {shown!r} is no date; write it as 2026-03-31") from None

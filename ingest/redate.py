"""The business time zone of a warehouse, and what happens when the setting changes.

Event dates are stored with the events. When the setting differs from what they were computed
with, they are computed anew and every date becomes one that was never run.
"""

from __future__ import annotations

from collections.abc import Callable

from ingest.errors import UserError
from ingest.schema import ensure_month_partitions
from ingest.sql_text import literal
from ingest.warehouse import Warehouse


def ensure_timezone(
    warehouse: Warehouse, timezone: str, *, notify: Callable[[str], None] | None = None
) -> bool:
    """Bring event dates to the business time zone; return whether they had to be changed.

    After a change a full refresh is due: ops.partitions is rebuilt with no date run.

    Raises:
        UserError: raw events were removed, so that not every date could be run again.

    """
    stored = warehouse.value("select business_timezone from ops.warehouse")
    if stored == timezone:
        return False
    _refuse_closed(warehouse, stored, timezone)
    with warehouse.transaction():
        warehouse.execute("delete from ops.warehouse")
        warehouse.execute("insert into ops.warehouse (business_timezone) values (?)", [timezone])
        changed = stored is not None and bool(warehouse.value("select 1 from ops.load_dates"))
        if changed:
            if notify:
                notify(
                    f"the business time zone is now {timezone} (was {stored}): "
                    "event dates are computed anew, every date will be run again"
                )
            _redate(warehouse, timezone)
    return changed


def _refuse_closed(warehouse: Warehouse, stored: str | None, timezone: str) -> None:
    before = warehouse.value("select max(closed_before) from ops.closed_dates")
    if before is not None:
        raise UserError(
            f"the business time zone cannot become {timezone}: raw events of dates before {before} "
            f"were removed and cannot be dated anew; set TIDEMARK_TIMEZONE={stored}, or begin a "
            "new warehouse"
        )


def _redate(warehouse: Warehouse, timezone: str) -> None:
    local = f"timezone({literal(timezone)}, timezone('UTC', occurred_at))"
    if warehouse.target == "postgres":
        months = warehouse.execute(f"select distinct to_char({local}, 'YYYY-MM') from raw.events")
        ensure_month_partitions(warehouse, sorted(month for (month,) in months))
    warehouse.execute(
        f"update raw.events set event_date = cast({local} as date), "
        f"event_hour = cast(extract(hour from {local}) as smallint)"
    )
    warehouse.execute(f"update ops.hash_links set event_date = cast({local} as date)")
    warehouse.execute("delete from ops.load_dates")
    warehouse.execute(
        "insert into ops.load_dates select load_id, event_date, count(*) from raw.events "
        "group by load_id, event_date"
    )
    warehouse.execute("delete from ops.partitions")
    warehouse.execute(
        "insert into ops.partitions (partition_date, last_event_load_id, last_event_load_at) "
        "select load_dates.event_date, max(load_dates.load_id), max(loads.finished_at) "
        "from ops.load_dates as load_dates "
        "inner join ops.loads as loads on load_dates.load_id = loads.load_id "
        "group by load_dates.event_date"
    )
    first, last = warehouse.execute("select min(event_date), max(event_date) from ops.load_dates")[
        0
    ]
    step = "interval '1 day'"
    warehouse.execute(
        "insert into ops.partitions (partition_date) "
        f"select cast(days.day as date) from generate_series(timestamp '{first}', "
        f"timestamp '{last}', {step}) as days (day) "
        "where not exists (select 1 from ops.partitions as known "
        "where known.partition_date = cast(days.day as date))"
    )

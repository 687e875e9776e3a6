"""The mart border: would a person believe this day, against the last 28?

Belongs here: the frame of the suite ``mart_border``, one row per date. What is expected of it
stands in ``suites/mart_border.yml``, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from expectations.suites import FOLDER, Suite
from ingest.sql_text import literal
from ingest.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

PATH = FOLDER / "mart_border.yml"

#: Same weekdays of the last 28 days, and how many there must be to speak of "usual".
WEEKS = 4
ENOUGH_WEEKS = 2

#: Only what usually comes in such numbers is compared; small numbers double by chance. Amounts and
#: means name the count that decides (``counted_by``).
LEAST_USUAL = 20


def metrics_of(suite: Suite, relations: set[str]) -> dict[str, Mapping[str, Any]]:
    """Return the metrics of relations that the project has."""
    return {name: spec for name, spec in suite.columns.items() if spec["relation"] in relations}


def mart_frames(
    warehouse: Warehouse,
    metrics: Mapping[str, Mapping[str, Any]],
    schema: str,
    *,
    start: date,
    end: date,
    loads_through: int,
) -> dict[str, pd.DataFrame]:
    """Return the frame ``days``: every metric, its ratio to the usual, and what must add up."""
    import pandas as pd

    since = start - timedelta(weeks=WEEKS)
    values = _values(warehouse, metrics, schema, since, end)
    raw = dict(
        warehouse.execute(
            "select event_date, count(*) from raw.events where event_date between ? and ? "
            "and load_id <= ? group by event_date",
            [start, end, loads_through],
        )
    )
    rows = []
    for offset in range((end - start).days + 1):
        day = start + timedelta(days=offset)
        row: dict[str, Any] = {"day": day.isoformat()}
        for name in metrics:
            value = values.get((name, day))
            row[name] = 0.0 if value is None and _is_count(metrics[name]) else value
            counted_by = str(metrics[name].get("counted_by", name))
            row[f"{name}_vs_usual"] = _ratio(row[name], name, counted_by, day, values)
        events = row.get("events")
        # Raw events that retention removed cannot be counted any more.
        row["events_missing"] = raw[day] - (events or 0) if day in raw else 0.0
        active, month = row.get("active_users"), row.get("monthly_users")
        row["active_users_of_month"] = active / month if active and month else None
        rows.append(row)
    frame = pd.DataFrame(rows)
    numbers = [name for name in frame.columns if name != "day"]
    return {"days": frame.astype(dict.fromkeys(numbers, "float64"))}


def _is_count(spec: Mapping[str, Any]) -> bool:
    return str(spec["value"]).startswith(("count", "sum"))


def _values(
    warehouse: Warehouse,
    metrics: Mapping[str, Mapping[str, Any]],
    schema: str,
    since: date,
    end: date,
) -> dict[tuple[str, date], float]:
    parts = []
    for name, spec in metrics.items():
        day = spec.get("date", "metric_date")
        parts.append(
            f"select {literal(name)} as metric, {day} as day, "
            f"cast({spec['value']} as double precision) as value "
            f"from {schema}.{spec['relation']} "
            f"where {day} between date '{since}' and date '{end}' group by {day}"
        )
    if not parts:
        return {}
    rows = warehouse.execute(" union all ".join(parts))
    return {(metric, day): value for metric, day, value in rows if value is not None}


def _ratio(
    value: float | None,
    name: str,
    counted_by: str,
    day: date,
    values: Mapping[tuple[str, date], float],
) -> float | None:
    usual, count = _usual(name, day, values), _usual(counted_by, day, values)
    if value is None or not usual or count is None or count < LEAST_USUAL:
        return None
    return value / usual


def _usual(name: str, day: date, values: Mapping[tuple[str, date], float]) -> float | None:
    past = [values.get((name, day - timedelta(weeks=n))) for n in range(1, WEEKS + 1)]
    known = [number for number in past if number is not None]
    return median(known) if len(known) >= ENOUGH_WEEKS else None

"""The raw border: did plausible days arrive, and is what is stored what the contracts say?

Belongs here: the frames that the suite of raw.events looks at. The suite itself is written from
the contracts, by ``ingest.raw_suite``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

from expectations.suites import FOLDER
from ingest.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

PATH = FOLDER / "raw_events.yml"

#: How far back a day is compared, and how many days of it there must be.
HISTORY_DAYS = 28
ENOUGH_DAYS = 7


def raw_frames(
    warehouse: Warehouse, columns: Mapping[str, str], *, start: date, end: date, loads_through: int
) -> dict[str, pd.DataFrame]:
    """Return the frames ``days`` (one row per date) and ``loads`` (one row per load)."""
    return {
        "days": _days(warehouse, columns, start, end, loads_through),
        "loads": _loads(warehouse, start, end, loads_through),
    }


def _days(
    warehouse: Warehouse, columns: Mapping[str, str], start: date, end: date, loads_through: int
) -> pd.DataFrame:
    import pandas as pd

    # Counts of the past come from the loads: raw events may be gone, their counts are not.
    counted = dict(
        warehouse.execute(
            "select event_date, sum(accepted) from ops.load_dates "
            "where event_date between ? and ? and load_id <= ? group by event_date",
            [start - timedelta(days=HISTORY_DAYS), end, loads_through],
        )
    )
    measures = ", ".join(f'{sql} as "{name}"' for name, sql in columns.items())
    profiled = {
        row["event_date"]: row
        for row in warehouse.records(
            f"select event_date, count(*) as stored{', ' if measures else ''}{measures} "
            "from raw.events where event_date between ? and ? and load_id <= ? "
            "group by event_date",
            [start, end, loads_through],
        )
    }
    erased_from = warehouse.value("select min(first_event_date) from ops.erasures")
    rows = []
    for offset in range((end - start).days + 1):
        day = start + timedelta(days=offset)
        events = int(counted.get(day, 0))
        found = profiled.get(day, {})
        stored = int(found.get("stored", 0))
        history = [
            int(counted[past])
            for past in (day - timedelta(days=n) for n in range(1, HISTORY_DAYS + 1))
            if past in counted
        ]
        is_erased = erased_from is not None and day >= erased_from
        usual = float(pd.Series(history).median()) if len(history) >= ENOUGH_DAYS else None
        rows.append(
            {
                "day": day.isoformat(),
                "events": events,
                "events_vs_usual": events / usual if usual else None,
                # A day of which nothing is stored any more was removed by retention.
                "lost": max(events - stored, 0) if stored and not is_erased else 0,
                "invented": max(stored - events, 0),
                **{name: int(found.get(name) or 0) for name in columns},
            }
        )
    return pd.DataFrame(rows).astype({"events_vs_usual": "float64"})


def _loads(warehouse: Warehouse, start: date, end: date, loads_through: int) -> pd.DataFrame:
    import pandas as pd

    sql = "select load_id, read, accepted, duplicates, rejected from ops.loads where load_id "
    records = warehouse.records(
        sql + "<= ? and load_id in "
        "(select load_id from ops.load_dates where event_date between ? and ?)",
        [loads_through, start, end],
    )
    # Days between events have no load of their own; the newest one still has to add up.
    records = records or warehouse.records(sql + "= ?", [loads_through])
    frame = pd.DataFrame(
        records, columns=["load_id", "read", "accepted", "duplicates", "rejected"]
    ).astype("int64")
    frame["unaccounted"] = (
        frame["read"] - frame["accepted"] - frame["duplicates"] - frame["rejected"]
    )
    read = frame["read"].where(frame["read"] > 0)
    frame["rejected_share"] = frame["rejected"] / read
    frame["duplicate_share"] = frame["duplicates"] / read
    return frame

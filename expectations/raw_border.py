"""The raw border: did plausible days arrive, and is what is stored what the contracts say?

Belongs here: the suite generated from the contracts (``raw_suite``) and the frames it looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from expectations.suites import FOLDER
from ingest.registry import Field, Registry
from ingest.validation import CLIENT_IDENTIFIERS
from ingest.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

PATH = FOLDER / "raw_events.yml"

RELATION = "raw.events"

#: How far back a day is compared, and how many days of it there must be.
HISTORY_DAYS = 28
ENOUGH_DAYS = 7


def raw_suite(registry: Registry) -> dict[str, Any]:
    """Return the suite of raw.events as data, from the contracts."""
    columns: dict[str, str] = {}
    expectations = _volume_expectations()
    for name, condition in sorted(_required(registry).items()):
        column = f"null_{name}"
        columns[column] = f"sum(case when {condition} then 1 else 0 end)"
        expectations.append(
            _expectation(
                f"required_{name}", "days", column, {"max_value": 0}, "block",
                "The door rejects events without it; a null here was lost after the door.",
            )
        )  # fmt: skip
    for name, (least, most) in sorted(_ranges(registry).items()):
        tests = []
        tests += [f'"{name}" < {least:g}'] if least is not None else []
        tests += [f'"{name}" > {most:g}'] if most is not None else []
        column = f"out_of_range_{name}"
        columns[column] = f"sum(case when {' or '.join(tests)} then 1 else 0 end)"
        expectations.append(
            _expectation(
                f"range_{name}", "days", column, {"max_value": 0}, "block",
                "The contract bounds it; every amount and duration downstream relies on that.",
            )
        )  # fmt: skip
    for name, condition in sorted(_enums(registry).items()):
        column = f"not_in_enum_{name}"
        columns[column] = f"sum(case when {condition} then 1 else 0 end)"
        expectations.append(
            _expectation(
                f"enum_{name}", "days", column, {"max_value": 0}, "block",
                "The contract lists its values; models compare with them by name.",
            )
        )  # fmt: skip
    return {"suite": "raw_events", "columns": columns, "expectations": expectations}


def _expectation(
    name: str, frame: str, column: str, bounds: Mapping[str, float], severity: str, reason: str
) -> dict[str, Any]:
    return {
        "name": name,
        "relation": RELATION,
        "frame": frame,
        "type": "expect_column_values_to_be_between",
        "column": column,
        "kwargs": dict(bounds),
        "severity": severity,
        "reason": reason,
    }


def _volume_expectations() -> list[dict[str, Any]]:
    return [
        _expectation(
            "a_day_has_events", "days", "events", {"min_value": 1}, "warn",
            "A day without any event is mostly a producer that was down; it may also be true.",
        ),
        _expectation(
            "volume_as_usual", "days", "events_vs_usual", {"min_value": 0.25, "max_value": 4.0},
            "warn",
            "Against the median of the last 28 days: a launch or a holiday may explain it, so a "
            "person decides.",
        ),
        _expectation(
            "every_line_accounted_for", "loads", "unaccounted", {"min_value": 0, "max_value": 0},
            "block",
            "read = accepted + duplicates + rejected; anything else means that the door lost or "
            "invented events.",
        ),
        _expectation(
            "nothing_lost", "days", "lost", {"max_value": 0}, "block",
            "As many events are stored as the loads accepted (not judged where retention removed "
            "the day, nor from the first event on of a person who was erased).",
        ),
        _expectation(
            "nothing_invented", "days", "invented", {"max_value": 0}, "block",
            "More events stored than accepted were loaded twice: every count would be too high.",
        ),
        _expectation(
            "few_rejected", "loads", "rejected_share", {"max_value": 0.2}, "warn",
            "More than a fifth of a file rejected is a producer that changed, not noise; the "
            "accepted rest is sound.",
        ),
        _expectation(
            "few_duplicates", "loads", "duplicate_share", {"max_value": 0.5}, "warn",
            "Sending twice is allowed; half of a file is a replay that someone should know of.",
        ),
    ]  # fmt: skip


def _quoted(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(values))


def _required(registry: Registry) -> dict[str, str]:
    """Return field -> SQL that is true where it is required and null."""
    always = [n for n, s in registry.envelope_columns().items() if registry.envelope[n].required]
    found = {name: f'"{name}" is null' for name in always}
    events_of: dict[str, set[str]] = {}
    stored = registry.raw_columns()
    for event in registry.events.values():
        own = [n for n, s in event.properties.items() if s.required and s.stored]
        for name in (*event.required, *own):
            if name in stored and name not in always:
                events_of.setdefault(name, set()).add(event.name)
    for name, events in events_of.items():
        unless = ' and "dnt" is not true' if name in CLIENT_IDENTIFIERS else ""
        found[name] = f'"{name}" is null and event_name in ({_quoted(events)}){unless}'
    return found


def _fields(registry: Registry) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {
        name: [registry.envelope[name]] for name in registry.envelope_columns()
    }
    for event in registry.events.values():
        for name, spec in event.properties.items():
            if spec.stored:
                found.setdefault(name, []).append(spec)
    return found


def _ranges(registry: Registry) -> dict[str, tuple[float | None, float | None]]:
    """Return numeric field -> widest bounds that any contract gives it."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for name, specs in _fields(registry).items():
        if specs[0].type not in ("integer", "number"):
            continue
        least = [s.min for s in specs]
        most = [s.max for s in specs]
        low = None if None in least else min(v for v in least if v is not None)
        high = None if None in most else max(v for v in most if v is not None)
        if low is not None or high is not None:
            found[name] = (low, high)
    return found


def _enums(registry: Registry) -> dict[str, str]:
    """Return field -> SQL that is true where its value is not one of those its event allows."""
    found: dict[str, str] = {}
    for name in registry.envelope_columns():
        if registry.envelope[name].enum:
            found[name] = f'"{name}" not in ({_quoted(registry.envelope[name].enum)})'
    groups: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for event in registry.events.values():
        if event.status:
            groups.setdefault("status", {}).setdefault(event.status, set()).add(event.name)
        for name, spec in event.properties.items():
            if spec.stored and spec.enum and spec.type != "array":
                groups.setdefault(name, {}).setdefault(spec.enum, set()).add(event.name)
    for name, by_values in groups.items():
        found[name] = " or ".join(
            f'(event_name in ({_quoted(events)}) and "{name}" not in ({_quoted(values)}))'
            for values, events in by_values.items()
        )
    return found


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

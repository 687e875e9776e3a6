"""The suite of the raw border, written from the contracts.

Belongs here: what is expected of raw.events, and the SQL of the columns that are counted for it.
The frames it looks at and how it is judged are the matter of whoever reads the file; when it is
written and held against the file on disk is the business of ``ingest.contract_files``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ingest.registry import Field, Registry
from ingest.sql_text import literals
from ingest.staging import MARK
from ingest.validation import CLIENT_IDENTIFIERS

RELATION = "raw.events"


def raw_suite(contracts: Registry) -> dict[str, Any]:
    """Return the suite of raw.events as data, from the contracts."""
    columns: dict[str, str] = {}
    expectations = _volume_expectations()
    for kind, counted, conditions, reason in (
        ("required", "null", _required(contracts),
         "The door rejects events without it; a null here was lost after the door."),
        ("range", "out_of_range", _ranges(contracts),
         "The contract bounds it; every amount and duration downstream relies on that."),
        ("enum", "not_in_enum", _enums(contracts),
         "The contract lists its values; models compare with them by name."),
    ):  # fmt: skip
        for name, condition in sorted(conditions.items()):
            column = f"{counted}_{name}"
            columns[column] = f"sum(case when {condition} then 1 else 0 end)"
            expectations.append(
                _expectation(f"{kind}_{name}", "days", column, {"max_value": 0}, "block", reason)
            )
    return {"suite": "raw_events", "columns": columns, "expectations": expectations}


def raw_suite_text(contracts: Registry) -> str:
    """Write the suite as the file that is kept of it."""
    text = yaml.safe_dump(raw_suite(contracts), sort_keys=False, width=96, allow_unicode=True)
    return f"# {MARK}\n{text}"


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


def _required(contracts: Registry) -> dict[str, str]:
    """Return field -> SQL that is true where it is required and null."""
    always = [n for n, s in contracts.envelope_columns().items() if contracts.envelope[n].required]
    found = {name: f'"{name}" is null' for name in always}
    events_of: dict[str, set[str]] = {}
    stored = contracts.raw_columns()
    for event in contracts.events.values():
        own = [n for n, s in event.properties.items() if s.required and s.stored]
        for name in (*event.required, *own):
            if name in stored and name not in always:
                events_of.setdefault(name, set()).add(event.name)
    for name, events in events_of.items():
        unless = ' and "dnt" is not true' if name in CLIENT_IDENTIFIERS else ""
        found[name] = f'"{name}" is null and event_name in ({literals(sorted(events))}){unless}'
    return found


def _fields(contracts: Registry) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {
        name: [contracts.envelope[name]] for name in contracts.envelope_columns()
    }
    for event in contracts.events.values():
        for name, spec in event.properties.items():
            if spec.stored:
                found.setdefault(name, []).append(spec)
    return found


def _ranges(contracts: Registry) -> dict[str, str]:
    """Return numeric field -> SQL that is true beyond the widest bounds any contract gives it."""
    found: dict[str, str] = {}
    for name, specs in _fields(contracts).items():
        if specs[0].type not in ("integer", "number"):
            continue
        least = [s.min for s in specs]
        most = [s.max for s in specs]
        low = None if None in least else min(v for v in least if v is not None)
        high = None if None in most else max(v for v in most if v is not None)
        beyond = [f'"{name}" < {low:g}'] if low is not None else []
        beyond += [f'"{name}" > {high:g}'] if high is not None else []
        if beyond:
            found[name] = " or ".join(beyond)
    return found


def _enums(contracts: Registry) -> dict[str, str]:
    """Return field -> SQL that is true where its value is not one of those its event allows."""
    found: dict[str, str] = {}
    for name in contracts.envelope_columns():
        if contracts.envelope[name].enum:
            found[name] = f'"{name}" not in ({literals(sorted(contracts.envelope[name].enum))})'
    groups: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for event in contracts.events.values():
        if event.status:
            groups.setdefault("status", {}).setdefault(event.status, set()).add(event.name)
        for name, spec in event.properties.items():
            if spec.stored and spec.enum and spec.type != "array":
                groups.setdefault(name, {}).setdefault(spec.enum, set()).add(event.name)
    for name, by_values in groups.items():
        found[name] = " or ".join(
            f"(event_name in ({literals(sorted(events))}) "
            f'and "{name}" not in ({literals(sorted(values))}))'
            for values, events in by_values.items()
        )
    return found

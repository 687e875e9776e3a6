"""Columns of tables as fields of an event: ``properties.x`` is field x of the group properties.

Belongs here: what CSV and Parquet have in common. How cells are read is the matter of each format.
"""

from __future__ import annotations

from typing import Any

from ingest.shape import GROUPS, is_absent, snake_case


def group_and_field(column: str) -> tuple[str, str] | None:
    """Return what a dotted column names, such as ("properties", "x"); None for any other."""
    group, _, name = column.partition(".")
    group = snake_case(group)
    return (group, name) if group in GROUPS and name else None


def put_together(event: dict[str, Any], dotted: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return an event with its dotted cells, by group and field, in their groups.

    They win over the fields of a column that holds the whole group, in whatever spelling. A whole
    group that is no object stays as it is, so that the event is rejected for it.
    """
    merged = dict(event)
    for group in sorted(dotted, reverse=True):
        whole = event.get(group)
        if isinstance(whole, dict):
            given = {snake_case(name) for name in dotted[group]}
            left = {name: v for name, v in whole.items() if snake_case(name) not in given}
            merged[group] = left | dotted[group]
        elif is_absent(whole):
            merged[group] = dotted[group]
        elif group == "metadata":
            # Under its own name it would be kept as unknown, and the dotted cells be lost.
            merged["properties"] = whole
    return merged

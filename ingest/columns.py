"""Columns of tables as fields of an event: ``properties.x`` is field x of the group properties.

Belongs here: what CSV and Parquet have in common. How cells are read is the matter of each format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingest.errors import UserError
from ingest.registry import Registry
from ingest.shape import GROUPS, is_absent, snake_case


def group_and_field(column: str) -> tuple[str, str] | None:
    """Return what a dotted column names, such as ("properties", "x"); None for any other."""
    group, _, name = column.partition(".")
    group = snake_case(group)
    return (group, name) if group in GROUPS and name else None


def envelope_field(column: str, registry: Registry) -> str | None:
    """Return the field of the envelope that a column names, in any of its spellings, or None."""
    name = snake_case(column)
    aliases = {spec.alias: field for field, spec in registry.envelope.items() if spec.alias}
    name = aliases.get(name, name)
    return name if name in registry.envelope else None


def check_mapping(mapping: Mapping[str, str], registry: Registry) -> None:
    """See that whatever a map of columns names is a field of events, or may be one.

    Under any other name the values would be kept as unknown, and a second load with a map that is
    right would find nothing but duplicates. Which properties there are depends on the event.

    Raises:
        UserError: a target is no field; the message names it.

    """
    others = {
        name
        for aliases in registry.domain_aliases.values()
        for spellings in aliases.values()
        for name in spellings
    }
    for column, target in mapping.items():
        name = snake_case(target)
        if (
            group_and_field(target) is not None
            or name in GROUPS
            or name in others
            or envelope_field(target, registry) is not None
        ):
            continue
        raise UserError(
            f"--map sends column {column[:100]!r} to {target[:100]!r}, which is no field of events;"
            " name one of the envelope, properties.NAME or context.NAME"
        )


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

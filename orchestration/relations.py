"""The relations that dbt makes, as the rest of the orchestration needs to know them.

Belongs here: names, layers, date columns, grains and descriptions, read from the manifest. What is
in the relations belongs nowhere but in their SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The schema of what is published, on both targets.
READERS_SCHEMA = "marts"

DELETE_WINDOW = re.compile(r"delete_window\(\s*['\"](\w+)['\"]")


@dataclass(frozen=True)
class Column:
    """A column as its YAML declares it; ``data_type`` is that of the contract, if there is one."""

    name: str
    data_type: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Relation:
    """One model or seed of the dbt project.

    ``grain`` names the columns that make a row unique, empty when nothing says so; ``whole`` is
    true when a run may rewrite rows of any date.
    """

    unique_id: str
    name: str
    layer: str
    schema: str
    kind: str
    date_column: str | None
    grain: tuple[str, ...]
    whole: bool
    description: str
    columns: tuple[Column, ...]
    #: Columns by which readers look rows up.
    lookup_columns: tuple[str, ...] = ()
    #: The one of them whose rows lie together in the published DuckDB table, in place of the date.
    ordered_by: str | None = None
    #: First date of a row whose last date is ``date_column``; a run may change any date between.
    since_column: str | None = None

    @property
    def full_name(self) -> str:
        """The relation as SQL names it in the warehouse."""
        return f'{self.schema}."{self.name}"'

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the declared columns."""
        return tuple(column.name for column in self.columns)

    @property
    def contract(self) -> dict[str, str]:
        """Types by column when every column has one, else nothing."""
        types = {column.name: column.data_type for column in self.columns if column.data_type}
        return types if len(types) == len(self.columns) else {}

    @property
    def is_view(self) -> bool:
        """Whether it holds no rows of its own."""
        return self.kind in ("view", "ephemeral")


def relations(manifest: Mapping[str, Any]) -> list[Relation]:
    """Return models and seeds, sorted by layer and name."""
    found = [
        _relation(node)
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["config"].get("enabled", True)
    ]
    order = {"seeds": 0, "staging": 1, "intermediate": 2, "marts": 3}
    return sorted(found, key=lambda r: (order.get(r.layer, 9), r.name))


def marts(manifest: Mapping[str, Any]) -> list[Relation]:
    """Return the relations that are published, sorted by name."""
    return [relation for relation in relations(manifest) if relation.layer == "marts"]


def _relation(node: Mapping[str, Any]) -> Relation:
    config = node["config"]
    hooks = " ".join(
        hook.get("sql", "") if isinstance(hook, Mapping) else str(hook)
        for hook in config.get("pre-hook") or []
    )
    found = DELETE_WINDOW.search(hooks)
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    layer = "seeds" if node["resource_type"] == "seed" else node["fqn"][1]
    return Relation(
        unique_id=node["unique_id"],
        name=node.get("alias") or node["name"],
        layer=layer,
        schema=node["schema"],
        kind=config.get("materialized", "seed"),
        date_column=meta.get("date_column") or (found.group(1) if found else None),
        grain=tuple(meta.get("grain") or ()),
        whole=bool(meta.get("rewrites_history")),
        description=node.get("description") or "",
        columns=tuple(
            Column(name, column.get("data_type"), column.get("description") or "")
            for name, column in node["columns"].items()
        ),
        lookup_columns=tuple(meta.get("lookup_columns") or ()),
        ordered_by=meta.get("ordered_by"),
        since_column=meta.get("since_column"),
    )

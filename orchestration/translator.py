"""How a dbt node looks in Dagster: key, group, owner, kinds, and the asset a test belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

OWNER = "team:tidemark"

LAYERS = ("staging", "intermediate", "marts")

#: Later layers come first: a test over several models says something of the latest.
_ORDER = {"marts": 0, "intermediate": 1, "staging": 2}


def layer_of(node: Mapping[str, Any]) -> str:
    """Return the layer of a dbt node: its folder, or what kind of thing it is."""
    if node["resource_type"] == "source":
        return "raw"
    if node["resource_type"] == "seed":
        return "seeds"
    return str(node["fqn"][1])


def home_of(manifest: Mapping[str, Any], test_id: str) -> str | None:
    """Return the model that a test is shown with."""
    test = manifest["nodes"][test_id]
    if test.get("attached_node"):
        return str(test["attached_node"])
    parents = [
        manifest["nodes"][name] for name in test["depends_on"]["nodes"] if name in manifest["nodes"]
    ]
    ranked = sorted(parents, key=lambda n: (_ORDER.get(layer_of(n), 9), n["name"]))
    return str(ranked[0]["unique_id"]) if ranked else None


class TidemarkTranslator(DagsterDbtTranslator):
    """Keys are layer and name; groups are layers."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Return layer/name."""
        return dg.AssetKey([layer_of(dbt_resource_props), dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return the layer."""
        return layer_of(dbt_resource_props)

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """Return who answers for it."""
        return [OWNER]

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return the description without the SQL that dagster-dbt would append."""
        return dbt_resource_props.get("description") or ""

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: Any,
    ) -> dg.AssetCheckSpec | None:
        """Return the check of a test, with the one model that it is shown with."""
        home = home_of(manifest, unique_id)
        if home is None or home not in manifest["nodes"]:
            return None
        if self.get_asset_key(manifest["nodes"][home]) != asset_spec.key:
            return None
        test = manifest["nodes"][unique_id]
        severity = str(test["config"].get("severity") or "error").lower()
        return dg.AssetCheckSpec(
            name=test["name"],
            asset=asset_spec.key,
            description=test.get("description") or None,
            blocking=severity == "error",
        )

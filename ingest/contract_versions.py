"""The versions of contracts that a warehouse has seen: ops.event_schema_versions.

Belongs here: entering versions there, and what a warehouse has against the contracts at hand.
Which change breaks whom belongs in ``ingest.contract_changes``; the versions that the lock file
remembers belong in ``ingest.contract_lock``.
"""

from __future__ import annotations

import json
from typing import Any

from ingest import registry as registry_module
from ingest.clock import utc_now
from ingest.contract_changes import Change, changes_since_registered, refuse
from ingest.contract_lock import canonical_event, fingerprint
from ingest.registry import SQL_TYPES, Registry
from ingest.warehouse import Warehouse


def _registered(warehouse: Warehouse) -> dict[tuple[str, int], str]:
    rows = warehouse.execute(
        "select event_name, version, fingerprint from ops.event_schema_versions"
    )
    return {(name, version): mark for name, version, mark in rows}


def _registered_contracts(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Return per event the newest contract that a warehouse has seen."""
    rows = warehouse.execute(
        "select event_name, contract from ops.event_schema_versions order by event_name, version"
    )
    return {name: json.loads(contract) for name, contract in rows}


def register_versions(warehouse: Warehouse, contracts: Registry | None = None) -> int:
    """Enter in ops.event_schema_versions what is not there yet; return how many versions.

    One small query when nothing changed. A version that the warehouse knows is replaced by a
    compatible successor of itself; versions newer than the contracts at hand are left alone.

    Raises:
        BreakingChange: a contract breaks the version of itself that was registered.

    """
    contracts = contracts or registry_module.registry()
    known = _registered(warehouse)
    pending: list[tuple[str, int, str, str]] = []
    replaced = False
    for event in contracts.events.values():
        contract = canonical_event(event, contracts)
        mark = fingerprint(contract)
        standing = known.get((event.name, event.version))
        if standing != mark:
            replaced = replaced or standing is not None
            text = json.dumps(contract, ensure_ascii=False)
            pending.append((event.name, event.version, mark, text))
    if not pending:
        return 0
    if replaced:
        same = {
            name: contract
            for name, contract in _registered_contracts(warehouse).items()
            if name in contracts.events and contracts.events[name].version == contract["version"]
        }
        refuse(changes_since_registered(same, contracts))
    now = utc_now()
    places = ", ".join(["(?, ?, ?, ?, ?)"] * len(pending))
    warehouse.execute(
        "insert into ops.event_schema_versions "
        f"(event_name, version, fingerprint, contract, registered_at) values {places} "
        "on conflict (event_name, version) do update set fingerprint = excluded.fingerprint, "
        "contract = excluded.contract, registered_at = excluded.registered_at",
        [value for row in pending for value in (*row, now)],
    )
    return len(pending)


def _column_faults(warehouse: Warehouse, contracts: Registry) -> list[str]:
    """Name columns of raw.events whose type is no longer that of their contract."""
    rows = warehouse.execute(
        "select column_name, lower(data_type) from information_schema.columns "
        "where table_schema = 'raw' and table_name = 'events'"
    )
    present = dict(rows)
    synonyms = {"character varying": "varchar", "timestamp without time zone": "timestamp"}
    found = []
    for name, kind in contracts.raw_columns().items():
        wanted = SQL_TYPES[warehouse.target][kind].split(" collate")[0]
        stands = synonyms.get(present.get(name, wanted), present.get(name, wanted))
        if stands != wanted:
            found.append(
                f"raw.events.{name}: is {stands} in the warehouse, {wanted} by contract; "
                "a column keeps its type: give the property a new name"
            )
    return found


def warehouse_findings(warehouse: Warehouse, contracts: Registry) -> tuple[list[Change], list[str]]:
    """Return what changed since the warehouse saw the contracts, and columns that do not fit."""
    if not warehouse.relation_exists("ops", "event_schema_versions"):
        return [], []
    changes = changes_since_registered(_registered_contracts(warehouse), contracts)
    return changes, _column_faults(warehouse, contracts)

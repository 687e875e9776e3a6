"""The canonical form of contracts, and the lock file that remembers every version of them.

Belongs here: what a version of an event consists of, its fingerprint, and ``contracts.lock.json``.
Which change between two versions breaks whom belongs in ``ingest.contract_changes``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.registry import CONTRACTS_DIR, ContractError, Event, Field, Registry

LOCK_FILE = CONTRACTS_DIR.parent / "contracts.lock.json"

#: The name under which the envelope is compared and locked; it has no version of its own.
ENVELOPE = "envelope"


def canonical_field(spec: Field) -> dict[str, Any]:
    """Write a field as data: what is not said is left out; descriptions are no part of it."""
    written: dict[str, Any] = {"type": spec.type}
    if spec.required:
        written["required"] = True
    if spec.enum:
        written["enum"] = list(spec.enum)
    for name in ("min", "max", "default", "format", "alias"):
        value = getattr(spec, name)
        if value is not None:
            written[name] = value
    if not spec.stored:
        written["stored"] = False
    return written


def canonical_event(event: Event, contracts: Registry) -> dict[str, Any]:
    """Write an event's contract as data, in the order of its file."""
    aliases = contracts.domain_aliases.get(event.domain, {})
    return {
        "domain": event.domain,
        "version": event.version,
        "activity": event.activity,
        "session": event.session,
        "required": list(event.required),
        "status": list(event.status),
        "entity_type": event.entity_type,
        "aliases": {name: list(spellings) for name, spellings in aliases.items()},
        "properties": {n: canonical_field(s) for n, s in event.properties.items()},
    }


def canonical_envelope(contracts: Registry) -> dict[str, Any]:
    """Write the envelope and the fields of its context as data."""
    return {
        "properties": {n: canonical_field(s) for n, s in contracts.envelope.items()},
        "context": {n: canonical_field(s) for n, s in contracts.context.items()},
    }


def fingerprint(contract: dict[str, Any]) -> str:
    """Name a canonical contract by its content; the order of fields does not count."""
    text = json.dumps(contract, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Lock:
    """What was agreed with producers so far: per event every version, and the envelope."""

    envelope: dict[str, Any] | None = None
    events: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    retired: tuple[str, ...] = ()

    def newest(self, name: str) -> dict[str, Any] | None:
        """Return the newest locked contract of an event, or None when it is new."""
        versions = self.events.get(name)
        return versions[max(versions)] if versions else None

    def with_contracts(self, contracts: Registry, retire: tuple[str, ...] = ()) -> Lock:
        """Return the lock that follows when these contracts come into force."""
        events = {name: dict(versions) for name, versions in self.events.items()}
        for event in contracts.events.values():
            events.setdefault(event.name, {})[event.version] = canonical_event(event, contracts)
        retired = {*self.retired, *retire} - set(contracts.events)
        return Lock(canonical_envelope(contracts), events, tuple(sorted(retired)))

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """Return per event its contracts, oldest version first."""
        return {
            name: [versions[number] for number in sorted(versions)]
            for name, versions in sorted(self.events.items())
        }

    def text(self) -> str:
        """Write the lock as JSON, one line per version so that a review shows what changed."""
        lines = ["{", '  "about": "Written by `tidemark contracts sync`; commit it, do not edit.",']
        envelope = {"fingerprint": fingerprint(self.envelope or {}), "contract": self.envelope}
        lines.append(f'  "{ENVELOPE}": {_json(envelope)},')
        lines.append(f'  "retired": {_json(list(self.retired))},')
        lines.append('  "events": {')
        blocks = []
        for name, versions in sorted(self.events.items()):
            rows = ",\n".join(
                f'      "{number}": '
                + _json({"fingerprint": fingerprint(contract), "contract": contract})
                for number, contract in sorted(versions.items())
            )
            blocks.append(f'    "{name}": {{\n{rows}\n    }}')
        lines.append(",\n".join(blocks))
        lines += ["  }", "}", ""]
        return "\n".join(lines)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_lock(path: Path = LOCK_FILE) -> Lock:
    """Read the lock file; a missing one is empty.

    Raises:
        ContractError: the file is no lock file, or a contract in it does not match its
            fingerprint, which means that it was edited by hand.

    """
    if not path.exists():
        return Lock()
    advice = "restore it from version control"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        envelope = document[ENVELOPE]["contract"]
        entries = {ENVELOPE: {0: document[ENVELOPE]}} | {
            name: {int(number): entry for number, entry in versions.items()}
            for name, versions in document["events"].items()
        }
        retired = tuple(document["retired"])
        for name, versions in entries.items():
            for number, entry in versions.items():
                if fingerprint(entry["contract"]) != entry["fingerprint"]:
                    raise ContractError(
                        f"{path.name}: {name} version {number} was edited by hand; {advice}"
                    )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{path.name} cannot be read ({error}); {advice}") from error
    events = {
        name: {number: entry["contract"] for number, entry in versions.items()}
        for name, versions in entries.items()
        if name != ENVELOPE
    }
    return Lock(envelope, events, retired)

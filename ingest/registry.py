"""The contract registry: what producers may send, read from ``ingest/contracts/*.yml``.

Everything that depends on the shape of events (the columns of raw.events, validation, staging
models, raw checks, JSON Schemas, simulated events) is derived from here. How a value is
validated or stored belongs in ``ingest.validation``; how contracts are shown and exported belongs
in ``ingest.contract_catalogue``, how they are compared in ``ingest.contract_changes``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ingest.errors import UserError
from ingest.yaml_files import read_yaml

CONTRACTS_DIR = Path(__file__).parent / "contracts"

#: When a field names a member of staff, whose hashes no rotation of keys changes.
STAFF_FIELDS = ("always", "unless_user")

TYPES = ("string", "text", "integer", "number", "boolean", "timestamp", "date", "array", "object")

#: Columns of raw.events that the door computes; name -> type.
DOOR_COLUMNS: dict[str, str] = {
    "load_id": "integer",
    "domain": "string",
    "event_date": "date",
    "event_hour": "hour",
}

#: What a user agent is parsed into before it is dropped.
DEVICE_COLUMNS: dict[str, str] = {"device_type": "string", "browser": "string", "os": "string"}

#: Context fields that are used and dropped, never stored.
DROPPED_CONTEXT = ("user_agent", "ip")

SQL_TYPES: dict[str, dict[str, str]] = {
    "duckdb": {
        "string": "varchar",
        "text": "varchar",
        "integer": "bigint",
        "number": "double",
        "boolean": "boolean",
        "timestamp": "timestamp",
        "date": "date",
        "hour": "smallint",
        "array": "varchar",
        "object": "varchar",
        "json": "json",
    },
    "postgres": {
        "string": 'text collate "C"',
        "text": 'text collate "C"',
        "integer": "bigint",
        "number": "double precision",
        "boolean": "boolean",
        "timestamp": "timestamp",
        "date": "date",
        "hour": "smallint",
        "array": "text",
        "object": "text",
        "json": "jsonb",
    },
}


class ContractError(UserError):
    """A contract file that cannot be used; the message names the file and the fault."""


@dataclass(frozen=True)
class Field:
    """One field of the envelope, of the context or of an event's properties."""

    name: str
    type: str
    required: bool = False
    enum: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    default: Any = None
    format: str | None = None
    alias: str | None = None
    stored: bool = True
    #: ``always`` or ``unless_user`` (by actor_type): names a member of staff, not a client.
    staff: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Event:
    """One event: which envelope fields it requires and which properties it may carry."""

    name: str
    domain: str
    version: int
    activity: bool
    session: bool
    required: tuple[str, ...]
    status: tuple[str, ...]
    entity_type: str | None
    properties: dict[str, Field]
    description: str = ""


@dataclass(frozen=True)
class Registry:
    """All contracts: the envelope, the fields of its context, and the events by name."""

    envelope: dict[str, Field]
    context: dict[str, Field]
    events: dict[str, Event]
    domain_entity_types: dict[str, str | None]
    domain_descriptions: dict[str, str] = field(default_factory=dict)
    #: Per domain: envelope field -> other spellings it may come under.
    domain_aliases: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, sorted."""
        return tuple(sorted(self.domain_entity_types))

    def events_of(self, domain: str) -> list[Event]:
        """The events of one domain, in the order of its file."""
        return [event for event in self.events.values() if event.domain == domain]

    def properties_of(self, domain: str) -> dict[str, Field]:
        """Every property of a domain by name; of several definitions the first, or the free text.

        What is free text on one event is handled as free text on all of its domain.
        """
        found: dict[str, Field] = {}
        for event in self.events_of(domain):
            for name, spec in event.properties.items():
                if name not in found or (spec.type == "text" and found[name].type != "text"):
                    found[name] = spec
        return found

    def property_types(self) -> dict[str, str]:
        """Every stored property -> its storage type, sorted by name."""
        found: dict[str, str] = {}
        for event in self.events.values():
            for name, spec in event.properties.items():
                if spec.stored:
                    found.setdefault(name, "string" if spec.type == "text" else spec.type)
        return dict(sorted(found.items()))

    def staff_fields(self) -> dict[str, str]:
        """Fields that name members of staff -> when they do (one of ``STAFF_FIELDS``)."""
        found = {name: spec.staff for name, spec in self.envelope.items() if spec.staff}
        for event in self.events.values():
            found.update((n, spec.staff) for n, spec in event.properties.items() if spec.staff)
        return dict(sorted(found.items()))

    def envelope_columns(self) -> dict[str, str]:
        """Envelope fields that are stored as they are, name -> type."""
        return {
            name: spec.type
            for name, spec in self.envelope.items()
            if name not in ("context", "properties")
        }

    def context_columns(self) -> dict[str, str]:
        """Context fields that are stored, name -> type, device columns included."""
        kept = {n: s.type for n, s in self.context.items() if n not in DROPPED_CONTEXT}
        return {**kept, **DEVICE_COLUMNS}

    def raw_columns(self) -> dict[str, str]:
        """All columns of raw.events in order, name -> type (a key of ``SQL_TYPES``)."""
        return {
            **DOOR_COLUMNS,
            **self.envelope_columns(),
            **self.context_columns(),
            **self.property_types(),
            "extra": "json",
        }


def _field(name: str, spec: dict[str, Any], where: str) -> Field:
    unknown = set(spec) - {
        "type", "required", "enum", "min", "max", "default", "format", "alias", "stored",
        "staff", "description",
    }  # fmt: skip
    if unknown:
        raise ContractError(f"{where}: {name} has unknown keys {sorted(unknown)}")
    if spec.get("type") not in TYPES:
        raise ContractError(f"{where}: {name} has type {spec.get('type')!r}; use one of {TYPES}")
    if spec.get("staff") not in (None, *STAFF_FIELDS):
        raise ContractError(f"{where}: {name} has staff {spec['staff']!r}; use {STAFF_FIELDS}")
    return Field(name=name, **{**spec, "enum": tuple(spec.get("enum", ()))})


def _event(name: str, spec: dict[str, Any], domain: str, entity_type: str | None) -> Event:
    where = f"{domain}.yml: {name}"
    unknown = set(spec) - {
        "version", "activity", "session", "required", "status", "entity_type", "properties",
        "description",
    }  # fmt: skip
    if unknown:
        raise ContractError(f"{where} has unknown keys {sorted(unknown)}")
    properties = {n: _field(n, s, where) for n, s in (spec.get("properties") or {}).items()}
    activity = bool(spec.get("activity", False))
    return Event(
        name=name,
        domain=domain,
        version=int(spec.get("version", 1)),
        activity=activity,
        session=activity and bool(spec.get("session", True)),
        required=tuple(spec.get("required", ())),
        status=tuple(spec.get("status", ())),
        entity_type=spec.get("entity_type", entity_type),
        properties=properties,
        description=str(spec.get("description", "")),
    )


def _check(registry: Registry) -> None:
    reserved = {*DOOR_COLUMNS, *registry.envelope, *registry.context_columns(), "extra"}
    types: dict[str, str] = {}
    staff: dict[str, str | None] = {}
    for event in registry.events.values():
        for name in event.required:
            if name not in registry.envelope:
                raise ContractError(f"{event.domain}.yml: {event.name} requires unknown {name!r}")
        for name, spec in event.properties.items():
            storage = "string" if spec.type == "text" else spec.type
            if name in reserved:
                raise ContractError(
                    f"{event.domain}.yml: property {name!r} has the name of an envelope column"
                )
            if types.setdefault(name, storage) != storage:
                raise ContractError(
                    f"{event.domain}.yml: {event.name}.{name} is {storage}, elsewhere it is "
                    f"{types[name]}; a property has one type everywhere"
                )
            if staff.setdefault(name, spec.staff) != spec.staff:
                raise ContractError(
                    f"{event.domain}.yml: {event.name}.{name} names staff here and not elsewhere; "
                    "say the same everywhere"
                )


def load_registry(directory: Path = CONTRACTS_DIR) -> Registry:
    """Read and check every contract file of a folder.

    Raises:
        ContractError: a file is not valid YAML, a key or type is unknown, an event stands
            twice, or one property name has two types.

    """
    try:
        documents = {path.stem: read_yaml(path) or {} for path in sorted(directory.glob("*.yml"))}
    except yaml.YAMLError as error:
        raise ContractError(f"{directory}: {error}") from error
    if "envelope" not in documents:
        raise ContractError(f"{directory}: envelope.yml is missing")
    envelope_spec = documents.pop("envelope")
    context_spec = envelope_spec["context"].pop("fields")
    context = {
        name: _field(name, spec if isinstance(spec, dict) else {"type": spec}, "envelope.yml")
        for name, spec in context_spec.items()
    }
    envelope = {name: _field(name, spec, "envelope.yml") for name, spec in envelope_spec.items()}
    events: dict[str, Event] = {}
    entity_types: dict[str, str | None] = {}
    descriptions: dict[str, str] = {}
    aliases: dict[str, dict[str, tuple[str, ...]]] = {}
    for domain, document in documents.items():
        entity_types[domain] = document.get("entity_type")
        descriptions[domain] = document.get("description", "")
        aliases[domain] = {k: tuple(v) for k, v in (document.get("aliases") or {}).items()}
        for name, spec in document.get("events", {}).items():
            if name in events:
                raise ContractError(f"{domain}.yml: {name} stands in {events[name].domain}.yml too")
            events[name] = _event(name, spec or {}, domain, entity_types[domain])
    registry = Registry(envelope, context, events, entity_types, descriptions, aliases)
    _check(registry)
    return registry


@cache
def registry() -> Registry:
    """The project's own contracts, read once per process."""
    return load_registry()

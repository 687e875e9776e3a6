"""JSON Schema (2020-12) and example of every event, for producers.

Belongs here: the contracts in the words of JSON Schema. The schema describes canonical input; the
door accepts more spellings of it (camelCase keys, nested groups, aliases) than a producer should
rely on.
"""

from __future__ import annotations

import hashlib
import uuid
from itertools import combinations
from typing import Any

from ingest.registry import Event, Field, Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: ISO 8601 with an offset, as the door reads it.
TIMESTAMP = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"

LONG = 2**63

#: Of these an identification names at least two; the last two are properties.
IDENTIFIERS = (("user_id",), ("anonymous_id",), ("properties", "phone_hash"),
               ("properties", "email_hash"))  # fmt: skip

_TYPES = {
    "string": "string",
    "text": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "timestamp": "string",
    "date": "string",
    "array": "array",
    "object": "object",
}

_FORMATS: dict[str, dict[str, Any]] = {
    "uuid": {
        "format": "uuid",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    },
    "iso-4217": {"pattern": "^[A-Za-z]{3}$"},
}


def field_schema(spec: Field, *, required: bool, accepted: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write one field; an optional one may also be null, which counts as absent."""
    kind = _TYPES[spec.type]
    schema: dict[str, Any] = {"type": kind if required else [kind, "null"]}
    if spec.description:
        schema["description"] = spec.description
    values = accepted or spec.enum
    if values:
        schema["enum"] = [*values] if required else [*values, None]
    elif kind == "string" and required and spec.type in ("string", "text") and not spec.format:
        schema["pattern"] = r"\S"
    schema.update(_FORMATS.get(spec.format or "", {}))
    if spec.type == "timestamp":
        schema.update({"format": "date-time", "pattern": TIMESTAMP})
    elif spec.type == "date":
        schema["format"] = "date"
    if kind in ("integer", "number"):
        low = spec.min if spec.min is not None else -LONG if kind == "integer" else None
        high = spec.max if spec.max is not None else LONG - 1 if kind == "integer" else None
        if low is not None:
            schema["minimum"] = low
        if high is not None:
            schema["maximum"] = high
    if spec.default is not None:
        schema["default"] = spec.default
    if not spec.stored:
        schema["writeOnly"] = True
    return schema


def _requires(path: tuple[str, ...]) -> dict[str, Any]:
    if len(path) == 1:
        return {"required": [path[0]], "properties": {path[0]: {"type": "string"}}}
    return {"required": [path[0]], "properties": {path[0]: _requires(path[1:])}}


def event_schema(event: Event, contracts: Registry) -> dict[str, Any]:
    """Write the schema of one event: the envelope as this event uses it, and its properties."""
    required = [n for n, s in contracts.envelope.items() if s.required or n in event.required]
    fields: dict[str, Any] = {}
    for name, spec in contracts.envelope.items():
        if name == "context":
            fields[name] = {
                **field_schema(spec, required=False),
                "properties": {
                    n: field_schema(s, required=False) for n, s in contracts.context.items()
                },
            }
        elif name != "properties":
            accepted = event.status if name == "status" else ()
            fields[name] = field_schema(spec, required=name in required, accepted=accepted)
    fields["event_name"]["const"] = event.name
    if event.entity_type:
        fields["entity_type"]["default"] = event.entity_type
    own = [name for name, spec in event.properties.items() if spec.required]
    body = field_schema(contracts.envelope["properties"], required=bool(own))
    body["properties"] = {
        name: field_schema(spec, required=spec.required) for name, spec in event.properties.items()
    }
    if own:
        body["required"] = own
        required.append("properties")
    fields["properties"] = body
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": f"urn:tidemark:event:{event.name}:{event.version}",
        "title": event.name,
        "description": event.description,
        "type": "object",
        "properties": fields,
        "required": required,
    }
    if not event.entity_type and "entity_type" not in required:
        schema["if"] = _requires(("entity_id",))
        schema["then"] = _requires(("entity_type",))
    if event.name == "user_identified":
        pairs = combinations(IDENTIFIERS, 2)
        schema["anyOf"] = [{"allOf": [_requires(a), _requires(b)]} for a, b in pairs]
    schema["examples"] = [example_event(event, contracts)]
    return schema


def _example_value(spec: Field, seed: str) -> Any:
    if spec.enum:
        return spec.enum[0]
    if spec.default is not None:
        return spec.default
    low = spec.min if spec.min is not None else 0
    high = spec.max if spec.max is not None else low + 10
    values: dict[str, Any] = {
        "integer": int((low + high) // 2),
        "number": round((low + high) / 2, 2),
        "boolean": True,
        "timestamp": "2026-01-15T10:00:00.000Z",
        "date": "2026-01-15",
        "array": ["example"],
        "object": {"key": "example"},
        "text": "Example text",
    }
    if spec.type in values:
        return values[spec.type]
    if spec.name.endswith("_hash"):
        return hashlib.sha256(f"{seed}.{spec.name}".encode()).hexdigest()
    if spec.name.endswith("_url"):
        return "https://example.com/image.png"
    return f"{spec.name.removesuffix('_id').replace('_', '-')}-1"


def example_event(event: Event, contracts: Registry) -> dict[str, Any]:
    """Make up a valid event: what is required, and every property of its own."""
    special = {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:tidemark:event:{event.name}")),
        "event_name": event.name,
        "occurred_at": "2026-01-15T09:30:00.000Z",
        "schema_version": event.version,
        "country_code": "IN",
        "currency": "INR",
        "entity_type": event.entity_type or "asset",
    }
    if event.status:
        special["status"] = event.status[0]
    wanted = {"source", "schema_version", "channel", *event.required}
    wanted |= {name for name, spec in contracts.envelope.items() if spec.required}
    if event.name == "user_identified":
        wanted.add("user_id")
    made: dict[str, Any] = {}
    for name, spec in contracts.envelope.items():
        if name in wanted:
            made[name] = special[name] if name in special else _example_value(spec, event.name)
    if event.properties:
        made["properties"] = {
            name: _example_value(spec, event.name) for name, spec in event.properties.items()
        }
    return made


def bundle_schema(contracts: Registry) -> dict[str, Any]:
    """Write one schema that accepts any event of the catalogue."""
    definitions = {e.name: event_schema(e, contracts) for e in contracts.events.values()}
    for schema in definitions.values():
        del schema["$schema"], schema["$id"]
    return {
        "$schema": DIALECT,
        "$id": "urn:tidemark:events",
        "title": "Tidemark events",
        "description": "Any event of the catalogue.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in definitions],
        "$defs": definitions,
    }

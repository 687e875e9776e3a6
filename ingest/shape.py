"""The shape of a line: which forms producers may write, brought to the one canonical form.

A canonical line has envelope fields at the top, ``context`` and ``properties`` as objects whose
keys are known, every value of its type, and unknown values in ``extra``. Canonical lines never
come here; they are recognised by their structure. Whether values are allowed is decided later,
by ``ingest.validation``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from ingest.privacy import CLIENT_IDENTIFIERS, Pseudonyms, identifying
from ingest.redaction import (
    PERSONAL_KEYS,
    PERSONAL_OR_MESSAGE_KEYS,
    USER_AGENT_KEYS,
    inner_key,
    is_hash_key,
    is_named,
    redact,
    redact_tree,
    user_agent_in,
)
from ingest.registry import Event, Field, Registry

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

#: What the adapters say of a webhook in ``extra``: kept there on purpose, so it is no drift.
_KIND_OF_WEBHOOK = ("webhook_received", "webhook")

#: What else a key may be is data of somebody, to be recognised as such.
_NAME = re.compile(r"[^\W\d](?:[\w \-]*[\w])?$")

_DIGITS_OF_A_NAME = 6

#: Objects of an event that hold fields of their own -> which one is meant.
GROUPS = {"context": "context", "properties": "properties", "metadata": "properties"}

#: Events about a content that was made before: which spelling of a field says so, where an event
#: has several.
_FIRST_SPELLINGS = {
    "content_forwarded": ("original_content_id",),
    "client_response_received": ("original_content_id",),
}

_UNDIVIDED = PERSONAL_KEYS | USER_AGENT_KEYS
_CLIENT_KEYS = frozenset(CLIENT_IDENTIFIERS)

_MATCHES: dict[str, frozenset[str]] = {
    "string": frozenset({"VARCHAR", "NULL"}),
    "text": frozenset({"VARCHAR", "NULL"}),
    "timestamp": frozenset({"VARCHAR", "NULL"}),
    "date": frozenset({"VARCHAR", "NULL"}),
    "integer": frozenset({"UBIGINT", "BIGINT", "NULL"}),
    "number": frozenset({"UBIGINT", "BIGINT", "DOUBLE", "NULL"}),
    "boolean": frozenset({"BOOLEAN", "NULL"}),
    "array": frozenset({"NULL"}),
    "object": frozenset({"NULL", "JSON"}),
}

#: Types whose values the typing parser reads as strictly as any other.
_CERTAIN = ("VARCHAR", "UBIGINT", "BIGINT", "BOOLEAN", "NULL")

_KEY_LIKE = re.compile(rb'["\x00-\x20]:')

_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Fault:
    """Why an input is rejected: a code of the fixed list, the field and a short explanation."""

    code: str
    field: str | None = None
    detail: str | None = None


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Return ``utmSource`` or ``UTM-Source`` as ``utm_source``; what is no name stays as it is."""
    if not _NAME.match(name) or sum(map(str.isdigit, name)) > _DIGITS_OF_A_NAME:
        return name
    return _HUMP.sub("_", name).replace("-", "_").replace(" ", "_").lower()


def is_absent(value: Any) -> bool:
    """Tell whether a value counts as not sent: null, an empty string, white space only."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_divided(key: str, value: Any) -> bool:
    """Tell whether an unknown value at the top is a group whose fields are fields of the event.

    What is personal as a whole, such as an address, is no group.
    """
    return isinstance(value, dict) and not is_named(key, _UNDIVIDED)


def untracked(value: Any) -> Any:
    """Return an unknown JSON value without what names a client: an objection to tracking.

    Left out are hashes, identifiers of clients, and whatever would become a hash.
    """
    if isinstance(value, dict):
        return {
            key: untracked(item)
            for key, item in value.items()
            if not (is_hash_key(key) or is_named(key, _CLIENT_KEYS) or _identifies(item))
        }
    if isinstance(value, list):
        return [untracked(item) for item in value if not _identifies(item)]
    return value


def _identifies(value: Any) -> bool:
    return isinstance(value, str) and identifying(value) is not None


def _mistyped(field: Field, structure: Any) -> bool:
    if isinstance(structure, list):
        return field.type != "array"
    if isinstance(structure, dict):
        return field.type != "object"
    return structure not in _MATCHES[field.type]


def certain_keys(structure_text: str) -> int:
    """Count the keys that DuckDB's json_structure shows.

    -1 where an array holds what its parser takes although it may be no JSON (NaN, infinity): the
    line has to be looked at by the strict one.
    """
    return _certain_keys(json.loads(structure_text))


def _certain_keys(structure: Any) -> int:
    if isinstance(structure, dict):
        counts = [_certain_keys(kind) for kind in structure.values()]
        return -1 if -1 in counts else len(counts) + sum(counts)
    if isinstance(structure, list):
        return 0 if all(kind in _CERTAIN for kind in structure) else -1
    return 0


def _keys(document: Any) -> int:
    if isinstance(document, dict):
        return len(document) + sum(map(_keys, document.values()))
    return sum(map(_keys, document)) if isinstance(document, list) else 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def repeats_a_key(line: bytes, document: Any) -> bool:
    """Tell whether an object of a line, which reads as ``document``, has one key twice."""
    if len(_KEY_LIKE.findall(line)) <= _keys(document):
        return False
    try:
        json.loads(line, object_pairs_hook=_unique)
    except ValueError:
        return True
    return False


def judge(
    registry: Registry, event_name: str | None, structure_text: str, *, reshaped: bool
) -> Fault | None:
    """Compare the structure of a line with the canonical form of its event.

    ``structure_text`` is what DuckDB's json_structure says of the line; only a reshaped line has
    an ``extra`` of ours, any other one is unknown input. Returns None when the
    line is canonical, else the first fault: of a line as it came it only means that the line
    has to be reshaped, of a reshaped line it is the reason to reject it.
    """
    structure = json.loads(structure_text)
    if not isinstance(structure, dict):
        return Fault("not_an_object", None, "a line must hold one JSON object")
    if structure.get("event_name", "NULL") == "NULL" or is_absent(event_name):
        return Fault("missing_field", "event_name", "event_name is not given")
    if structure["event_name"] != "VARCHAR":
        return Fault("bad_type", "event_name", "event_name must be a string")
    event = registry.events.get(event_name or "")
    if event is None:
        return Fault("unknown_event", "event_name", "no contract has this event")
    for name, kind in structure.items():
        if name == "context":
            fault = _judge_group(name, kind, registry.context)
        elif name == "properties":
            fault = _judge_group(name, kind, event.properties)
        elif name == "extra" and reshaped:
            continue
        elif name not in registry.envelope:
            fault = Fault("bad_type", name, "not a field of the envelope")
        elif _mistyped(registry.envelope[name], kind):
            fault = Fault("bad_type", name, f"must be of type {registry.envelope[name].type}")
        else:
            continue
        if fault:
            return fault
    return None


def _judge_group(group: str, structure: Any, known: dict[str, Field]) -> Fault | None:
    if structure in ("NULL", "JSON"):
        return None
    if not isinstance(structure, dict):
        return Fault("bad_type", group, f"{group} must be an object")
    for name, kind in structure.items():
        if name not in known:
            return Fault("bad_type", f"{group}.{name}", "not a known field")
        if _mistyped(known[name], kind):
            return Fault("bad_type", name, f"must be of type {known[name].type}")
    return None


@dataclass(frozen=True)
class Parts:
    """The values of an event by where they belong, as they came."""

    event: Event | None
    envelope: dict[str, Any]
    context: dict[str, Any]
    properties: dict[str, Any]
    #: What no contract knows.
    extra: dict[str, Any]
    #: Groups that are no objects: the event is rejected for them.
    wrong: dict[str, Any]


class Shaper:
    """Brings the accepted spellings of an event to the canonical form."""

    def __init__(self, registry: Registry, pseudonyms: Pseudonyms) -> None:
        """Bind the contracts and the hashes for what goes into ``extra``."""
        self._registry = registry
        self._pseudonyms = pseudonyms
        self._fields = {name for name in registry.envelope if name not in ("context", "properties")}
        self._aliases = {spec.alias: name for name, spec in registry.envelope.items() if spec.alias}

    def reshape_line(self, line: bytes) -> tuple[bytes, list[str]] | Fault:
        """Return the canonical line and the names of its unknown properties, or the fault."""
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return Fault("malformed_json", None, f"not valid JSON: {str(error)[:120]}")
        if not isinstance(document, dict):
            return Fault("not_an_object", None, "a line must hold one JSON object")
        if repeats_a_key(line, document):
            return Fault("malformed_json", None, "an object has one key twice")
        canonical, unknown = self.reshape(document)
        return orjson.dumps(canonical), unknown

    def reshape(self, document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the canonical form of an event and the names of its unknown properties."""
        parts = self.sort_out(document)
        _settle(parts.envelope, self._registry.envelope)
        _settle(parts.context, self._registry.context)
        removed = PERSONAL_KEYS
        if parts.event is not None:
            _settle(parts.properties, parts.event.properties)
            if parts.event.domain == "messaging":
                removed = PERSONAL_OR_MESSAGE_KEYS
        canonical: dict[str, Any] = {
            **parts.envelope,
            "context": parts.context,
            "properties": parts.properties,
            **parts.wrong,
        }
        extra = parts.extra
        event_name = parts.envelope.get("event_name")
        unknown = {
            redact(name)
            for name in extra
            if (event_name, name) != _KIND_OF_WEBHOOK and not is_named(name, USER_AGENT_KEYS)
        }
        if parts.context.get("dnt") is True:
            extra = untracked({k: v for k, v in extra.items() if k != "context"})
        if extra := redact_tree(extra, self._pseudonyms, removed=removed):
            canonical["extra"] = extra
        return canonical, sorted(unknown)

    def sort_out(self, document: dict[str, Any]) -> Parts:
        """Return the values of an event where they belong; nothing is hashed or redacted yet."""
        top: dict[str, Any] = {}
        camel: dict[str, Any] = {}
        grouped: list[tuple[str, Any]] = []
        groups: dict[str, list[dict[str, Any]]] = {"context": [], "properties": []}
        extra: dict[str, Any] = {}
        wrong: dict[str, Any] = {}
        for key, value in document.items():
            name = snake_case(key)
            if key in self._fields:
                top[key] = value
            elif key in ("context", "properties") and not isinstance(value, dict):
                if not is_absent(value):
                    wrong[key] = value
            elif key in ("context", "properties"):
                groups[key].insert(0, value)
            elif name in GROUPS and isinstance(value, dict):
                groups[GROUPS[name]].append(value)
            elif self._aliases.get(name, name) in self._fields:
                camel.setdefault(self._aliases.get(name, name), value)
            elif is_divided(name, value):
                grouped.extend((inner_key(name, key), item) for key, item in value.items())
            elif not is_absent(value):
                extra.setdefault(name, value)
        envelope = {k: v for k, v in top.items() if not is_absent(v)}
        for name, value in camel.items():
            if not is_absent(value):
                envelope.setdefault(name, value)
        lifted: dict[str, Any] = {}
        within: list[tuple[str, dict[str, Any]]] = []
        for key, value in grouped:
            name = snake_case(key)
            name = self._aliases.get(name, name)
            if name in GROUPS and isinstance(value, dict):
                within.append((GROUPS[name], value))
            elif not is_absent(value):
                (envelope if name in self._fields else lifted).setdefault(name, value)
        # What stands in a group of a group gives way to everything else.
        groups["properties"].append(lifted)
        for name, value in within:
            groups[name].append(value)
        self._name_event(envelope)
        event = self._registry.events.get(str(envelope.get("event_name")))
        context, properties = _merge(groups["context"]), _merge(groups["properties"])
        unknown = [name for name in context if name not in self._registry.context]
        if unknown:
            extra["context"] = {name: context.pop(name) for name in unknown}
        if event is not None:
            self._move_identifiers(event, envelope, properties, extra)
            for name in [name for name in properties if name not in event.properties]:
                extra[name] = properties.pop(name)
        if "user_agent" not in context and (agent := user_agent_in([extra, properties])):
            context["user_agent"] = agent
        return Parts(event, envelope, context, properties, extra, wrong)

    def _name_event(self, envelope: dict[str, Any]) -> None:
        name = envelope.get("event_name")
        if isinstance(name, str):
            envelope["event_name"] = name.strip().replace(".", "_")

    def _move_identifiers(
        self,
        event: Event,
        envelope: dict[str, Any],
        properties: dict[str, Any],
        extra: dict[str, Any],
    ) -> None:
        """Take the domain's other spellings of an envelope field, wherever they stand."""
        first = _FIRST_SPELLINGS.get(event.name, ())
        for field, spellings in self._registry.domain_aliases[event.domain].items():
            for spelling in sorted(spellings, key=lambda spelling: spelling not in first):
                if spelling in event.properties:
                    if spelling in extra:
                        properties.setdefault(spelling, extra.pop(spelling))
                    continue
                for place in (properties, extra):
                    if spelling in place and field not in envelope:
                        envelope[field] = place.pop(spelling)


def _merge(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge objects, earlier ones and canonical spellings first; absent values give way."""
    merged: dict[str, Any] = {}
    for group in groups:
        for key, value in group.items():
            if key == snake_case(key) and not is_absent(value):
                merged.setdefault(key, value)
        for key, value in group.items():
            if not is_absent(value):
                merged.setdefault(snake_case(key), value)
    return merged


def _settle(values: dict[str, Any], known: dict[str, Field]) -> None:
    """Write 5.0 as 5 where an integer is due; what is no country is no country code."""
    for name, value in list(values.items()):
        field = known.get(name)
        if field is None:
            continue
        if field.type == "integer" and isinstance(value, float):
            if value.is_integer() and int(value) in _INT64:
                values[name] = int(value)
        elif field.format == "iso-3166-alpha-2" and not isinstance(value, str):
            del values[name]

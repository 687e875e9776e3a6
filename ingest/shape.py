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

from ingest.privacy import Pseudonyms
from ingest.redaction import MESSAGE_KEYS, PERSONAL_KEYS, redact, redact_tree
from ingest.registry import Event, Field, Registry

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

#: What else a key may be is data of somebody, to be recognised as such.
_NAME = re.compile(r"[^\W\d](?:[\w \-]*[\w])?$")

_DIGITS_OF_A_NAME = 6

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
            elif name in ("context", "properties", "metadata") and isinstance(value, dict):
                groups["properties" if name == "metadata" else name].append(value)
            elif self._aliases.get(name, name) in self._fields:
                camel.setdefault(self._aliases.get(name, name), value)
            elif isinstance(value, dict):
                grouped.extend(value.items())
            elif not is_absent(value):
                extra.setdefault(name, value)
        envelope = {k: v for k, v in top.items() if not is_absent(v)}
        for name, value in camel.items():
            if not is_absent(value):
                envelope.setdefault(name, value)
        properties = _merge(groups["properties"])
        lifted: dict[str, Any] = {}
        for key, value in grouped:
            name = snake_case(key)
            name = self._aliases.get(name, name)
            if not is_absent(value):
                (envelope if name in self._fields else lifted).setdefault(name, value)
        for name, value in lifted.items():
            properties.setdefault(name, value)
        self._name_event(envelope)
        event = self._registry.events.get(str(envelope.get("event_name")))
        context = _merge(groups["context"])
        for name in [name for name in context if name not in self._registry.context]:
            extra.setdefault("context", {})[name] = context.pop(name)
        if event is not None:
            self._move_identifiers(event, envelope, properties, extra)
            for name in [name for name in properties if name not in event.properties]:
                extra[name] = properties.pop(name)
            _settle(properties, event.properties)
        _settle(envelope, self._registry.envelope)
        _settle(context, self._registry.context)
        canonical: dict[str, Any] = {**envelope, "context": context, "properties": properties}
        canonical.update(wrong)
        if extra:
            is_message = event is not None and event.domain == "messaging"
            removed = PERSONAL_KEYS | MESSAGE_KEYS if is_message else PERSONAL_KEYS
            canonical["extra"] = redact_tree(extra, self._pseudonyms, removed=removed)
        return canonical, sorted({redact(name) for name in extra})

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
        for field, spellings in self._registry.domain_aliases[event.domain].items():
            for spelling in spellings:
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

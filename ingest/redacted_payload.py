"""What is kept of a rejected input: its payload without anything personal.

Listing, replaying and discarding rejected inputs belongs in ``ingest.quarantine``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ingest.blocks import whole_words
from ingest.privacy import Pseudonyms
from ingest.redaction import (
    PERSONAL_KEYS,
    PERSONAL_OR_MESSAGE_KEYS,
    inner_key,
    redact,
    redact_escaped,
    redact_name,
    redact_tree,
    redact_url,
)
from ingest.registry import DROPPED_CONTEXT, Field, Registry
from ingest.shape import GROUPS, Parts, Shaper, is_absent, is_divided, snake_case, untracked
from ingest.validation import TIME, UUID, may_identify

#: Characters kept of an input that is no JSON object.
KEPT_TEXT = 16_384

#: Levels of nesting beyond which an input is taken for text.
_DEEPEST = 64

_TIME = re.compile(TIME, re.ASCII)
_UUID = re.compile(UUID)
_NUMBERS = ("integer", "number")


#: Reasons that lie in the bytes of a line. What is kept of it are others: without a NUL, with a
#: sign for bytes that are none, cut, or with one of two values of a key.
OF_BYTES = ("malformed_json", "too_large", "too_deep", "invalid_utf8", "nul_byte")


def quarantined_payload(
    payload: bytes, registry: Registry, pseudonyms: Pseudonyms, reason_code: str
) -> tuple[str, str | None]:
    """Return what is kept of a rejected input, and its event name if it can be told.

    Of an event each field is kept as the door would store it, identifiers as the same keyed hashes,
    so that a replay gives the row that the event would have given at once. What no contract knows
    is redacted as it would be in ``extra``. Of what is no event only redacted text is kept. An
    object of wrong bytes is put into an array: a replay would make an event that nobody sent.
    """
    kept, event_name = _redacted(payload, registry, pseudonyms)
    return f"[{kept}]" if reason_code in OF_BYTES and _is_object(kept) else kept, event_name


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _redacted(payload: bytes, registry: Registry, pseudonyms: Pseudonyms) -> tuple[str, str | None]:
    payload = payload.rstrip(b"\r\n")
    # No warehouse takes a NUL. It goes first: what it would hide is found then.
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        document = None
    if document is None or _is_deep(document):
        text = whole_words(payload, 4 * KEPT_TEXT).decode("utf-8", "replace")
        text = text.replace("\0", "").replace("\\u0000", "")
        return redact_escaped(text)[:KEPT_TEXT], None
    document = _without_nul(document)
    if not isinstance(document, dict):
        kept = redact_tree(document, pseudonyms, removed=PERSONAL_OR_MESSAGE_KEYS)
        return orjson.dumps(kept).decode(), None
    parts = Shaper(registry, pseudonyms).sort_out(document)
    kept = _Redactor(registry, pseudonyms, parts).event(document)
    return orjson.dumps(kept).decode(), parts.event.name if parts.event else _unknown_name(document)


def _unknown_name(document: dict[str, Any]) -> str | None:
    """Return the name of an event that no contract has, redacted: it can be anything."""
    for key, value in document.items():
        if snake_case(key) == "event_name" and isinstance(value, str):
            return redact(value)[:200].replace(".", "_")
    return None


def _known(registry: Registry, parts: Parts) -> tuple[dict[str, Field], dict[str, Field]]:
    """Return the fields of the envelope and of the properties by every name they may come under.

    Of an event without a contract the properties of all contracts, in case it gets one.
    """
    if parts.event is None:
        domains = registry.domains
        names = {name for event in registry.events.values() for name in event.properties}
    else:
        domains = (parts.event.domain,)
        names = set(parts.event.properties)
    properties: dict[str, Field] = {}
    for domain in domains:
        for name, spec in registry.properties_of(domain).items():
            if name in names and (name not in properties or spec.type == "text"):
                properties[name] = spec
    top = {name: spec for name, spec in registry.envelope.items() if name not in GROUPS}
    top |= {spec.alias: spec for spec in top.values() if spec.alias}
    for domain in domains:
        for name, spellings in registry.domain_aliases.get(domain, {}).items():
            for spelling in spellings:
                spec = properties.setdefault(spelling, registry.envelope[name])
                top.setdefault(spelling, spec)
    return top, properties


@dataclass(frozen=True)
class _Place:
    """An object within an event: its known fields, and which objects it may hold in turn."""

    known: Mapping[str, Field]
    groups: Mapping[str, _Place]
    #: How an unknown object in it is read, where its fields are fields of the event.
    divided: _Place | None = None


class _Redactor:
    """Redacts one rejected event as it stands: every key keeps its place and its spelling."""

    def __init__(self, registry: Registry, pseudonyms: Pseudonyms, parts: Parts) -> None:
        self._pseudonyms = pseudonyms
        self._context = parts.context
        top, properties = _known(registry, parts)
        inner = {"context": _Place(registry.context, {}), "properties": _Place(properties, {})}
        groups = {spelling: inner[name] for spelling, name in GROUPS.items()}
        self._event = _Place(top, groups, _Place({**properties, **top}, groups))
        is_message = parts.event is None or parts.event.domain == "messaging"
        self._removed = PERSONAL_OR_MESSAGE_KEYS if is_message else PERSONAL_KEYS
        self._is_tracked = parts.context.get("dnt") is not True
        self._is_of_staff = parts.envelope.get("actor_type") not in (None, "user")

    def event(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return what is kept of the event; the user agent stands in the context, if anywhere."""
        kept = self._object(document, self._event)
        agent, context = self._context.get("user_agent"), kept.get("context")
        context = {} if is_absent(context) else context
        if agent is not None and self._is_tracked and isinstance(context, dict):
            # Its versions look like addresses: what else it may hold is looked for.
            agent = redact_name(agent) if isinstance(agent, str) else self._unknown(agent)
            kept["context"] = {**context, "user_agent": agent}
        return kept

    def _object(self, values: dict[str, Any], place: _Place, within: str = "") -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            name = snake_case(inner_key(within, key))
            if name in place.groups and isinstance(value, dict):
                kept[key] = self._object(value, place.groups[name])
            elif name in place.known:
                spec = place.known[name]
                if spec.stored and spec.name not in DROPPED_CONTEXT:
                    kept[key] = self._known(spec, value)
            elif place.divided is not None and is_divided(name, value):
                kept[redact(key)] = self._object(value, place.divided, name)
            else:
                kept |= self._unknown({key: value}, within)
        return kept

    def _known(self, spec: Field, value: Any) -> Any:
        """Return a value of a known field as the door would store it."""
        if isinstance(value, str):
            if spec.type == "text":
                return redact(value)
            if spec.format == "url":
                return redact_url(value)
            if (spec.type == "timestamp" and _TIME.fullmatch(value)) or (
                spec.format == "uuid" and _UUID.fullmatch(value)
            ):
                return value
            if spec.type == "string" and spec.name.endswith("_hash"):
                return value
            # What has a form of its own, or is one of a list, is right or is never stored.
            if may_identify(spec) and spec.format is None and spec.name != "event_name":
                if spec.staff == "always" or (spec.staff and self._is_of_staff):
                    return self._pseudonyms.staff(value)
                return self._pseudonyms.of(value)
        elif spec.type in _NUMBERS and isinstance(value, int | float):
            return value
        return self._unknown(value)

    def _unknown(self, value: Any, within: str = "") -> Any:
        """Return a value as it would be kept in ``extra``."""
        value = value if self._is_tracked else untracked(value)
        return redact_tree(value, self._pseudonyms, removed=self._removed, key=within)


def _is_deep(value: Any) -> bool:
    """Tell whether a JSON value is nested deeper than any program wants to look at."""
    level = [value]
    for _ in range(_DEEPEST):
        if not level:
            return False
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return True


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value

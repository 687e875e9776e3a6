"""What is kept of a rejected input: its payload without anything personal.

Listing, replaying and discarding rejected inputs belongs in ``ingest.quarantine``.
"""

from __future__ import annotations

from typing import Any

import orjson

from ingest.blocks import whole_words
from ingest.privacy import Pseudonyms
from ingest.redaction import MESSAGE_KEYS, PERSONAL_KEYS, redact, redact_escaped, redact_tree
from ingest.registry import Registry
from ingest.shape import snake_case

#: Characters kept of an input that is no JSON object.
KEPT_TEXT = 16_384


def quarantined_payload(
    payload: bytes, registry: Registry, pseudonyms: Pseudonyms
) -> tuple[str, str | None]:
    """Return what is kept of a rejected input, and its event name if it can be told.

    Identifiers become the same keyed hashes as those of accepted events, so that a replay joins
    with them; everything else is redacted as free text; addresses and message texts are dropped.
    """
    payload = payload.rstrip(b"\r\n")
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        text = whole_words(payload, 4 * KEPT_TEXT).decode("utf-8", "replace")
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
        text = text.replace("\\u0000", "\N{REPLACEMENT CHARACTER}")
        return redact_escaped(text)[:KEPT_TEXT], None
    if not isinstance(document, dict):
        return _dump(redact_tree(document, pseudonyms)), None
    name = document.get("event_name", document.get("eventName"))
    event_name = redact(name)[:200].replace(".", "_") if isinstance(name, str) else None
    domain = registry.events[event_name].domain if event_name in registry.events else None
    drop = PERSONAL_KEYS | (MESSAGE_KEYS if domain in (None, "messaging") else frozenset())
    staff = _staff(document, registry)
    return _dump(_redacted(document, drop, pseudonyms, staff)), event_name


def _staff(document: dict[str, Any], registry: Registry) -> frozenset[str]:
    """Fields of a document that name members of staff, as the door would take them."""
    kinds = [value for key, value in document.items() if snake_case(key) == "actor_type"]
    acting = any(isinstance(kind, str) and kind.strip() not in ("", "user") for kind in kinds)
    return frozenset(
        name for name, when in registry.staff_fields().items() if when == "always" or acting
    )


def _redacted(
    value: Any, drop: frozenset[str], pseudonyms: Pseudonyms, staff: frozenset[str]
) -> Any:
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            name = snake_case(key)
            if name in drop:
                continue
            plain = isinstance(item, str) and (name == "user_agent" or name.endswith("_hash"))
            if name in staff and isinstance(item, str):
                item = pseudonyms.staff(item)
            kept[redact(key)] = item if plain else _redacted(item, drop, pseudonyms, staff)
        return kept
    if isinstance(value, list):
        return [_redacted(item, drop, pseudonyms, staff) for item in value]
    return redact_tree(value, pseudonyms)


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode().replace("\\u0000", "")

"""What is kept of a rejected input: its payload without anything personal.

Listing, replaying and discarding rejected inputs belongs in ``ingest.quarantine``.
"""

from __future__ import annotations

from typing import Any

import orjson

from ingest.privacy import Pseudonyms, redact, redact_tree
from ingest.registry import Registry
from ingest.shape import snake_case

#: Characters kept of an input that is no JSON object.
KEPT_TEXT = 16_384

#: Keys whose values are never kept, wherever they stand.
_DROPPED_KEYS = frozenset({"ip", "ip_address", "client_ip", "remote_addr"})
_MESSAGE_KEYS = frozenset({"text", "body", "message_text"})


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
        text = payload.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        text = text.replace("\\u0000", "\N{REPLACEMENT CHARACTER}")
        return redact(text[:KEPT_TEXT]), None
    if not isinstance(document, dict):
        return _dump(redact_tree(document, pseudonyms)), None
    name = document.get("event_name", document.get("eventName"))
    event_name = redact(name.replace(".", "_")[:200]) if isinstance(name, str) else None
    domain = registry.events[event_name].domain if event_name in registry.events else None
    drop = _DROPPED_KEYS | (_MESSAGE_KEYS if domain in (None, "messaging") else frozenset())
    return _dump(_redacted(document, drop, pseudonyms)), event_name


def _redacted(value: Any, drop: frozenset[str], pseudonyms: Pseudonyms) -> Any:
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            name = snake_case(key)
            if name in drop:
                continue
            plain = isinstance(item, str) and (name == "user_agent" or name.endswith("_hash"))
            kept[redact(key)] = item if plain else _redacted(item, drop, pseudonyms)
        return kept
    if isinstance(value, list):
        return [_redacted(item, drop, pseudonyms) for item in value]
    return redact_tree(value, pseudonyms)


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode().replace("\\u0000", "")

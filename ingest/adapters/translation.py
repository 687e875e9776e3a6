"""Foreign documents into lines of canonical events, document by document.

A document may give several events, so a line number is that of the document and the place among
its events. Archives keep a document inside one of their own, ``{"source": ..., "payload": {...}}``,
or several in an array, or either as text: where a document is none of the format, its payload is
translated. What is quarantined of a bad document is its skeleton: values only of fields that the
adapter says are not personal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from ingest.adapters import Adapter, Invalid
from ingest.adapters.fields import Unrecognised, iso
from ingest.blocks import PART_BITS, BadLine, Block, lines_as_block
from ingest.shape import Fault, is_absent

_KEY = re.compile(r"[A-Za-z_][A-Za-z_.\-]{0,59}")
_REMOVED = "[removed]"
_KEPT_TEXT = 100

#: So many bad parts of one document are noted; the first one with the document's skeleton.
_NOTED_FAULTS = 100


def translated(
    blocks: Iterator[Block], adapter: Adapter, *, received_at: datetime
) -> Iterator[Block]:
    """Yield blocks of canonical events for blocks of foreign documents.

    ``received_at`` (UTC) stands in for a missing time where the format has none.
    """
    receipt = iso(received_at.replace(tzinfo=UTC))
    for block in blocks:
        numbers: list[int] = []
        lines: list[bytes] = []
        bad = [
            replace(
                line,
                line_number=line.line_number << PART_BITS,
                payload=skeleton(line.payload, adapter),
            )
            for line in block.bad_lines
        ]
        for document_line, document in zip(*block.lines.to_pydict().values(), strict=True):
            faults = 0
            for part, found in enumerate(_events_of(document, adapter)):
                number = (document_line << PART_BITS) + part
                if not isinstance(found, Fault):
                    if adapter.receipt_time:
                        found.setdefault("occurred_at", receipt)
                    try:
                        lines.append(orjson.dumps(found))
                        numbers.append(number)
                        continue
                    except orjson.JSONEncodeError:
                        found = Fault("out_of_range", None, "a number has more than 64 bits")
                if faults < _NOTED_FAULTS:
                    faults += 1
                    payload = skeleton(document.encode(), adapter) if faults == 1 else b""
                    bad.append(BadLine(number, found, payload))
        yield lines_as_block(numbers, lines, bad)


def _events_of(text: str, adapter: Adapter) -> Iterator[dict[str, Any] | Fault]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        yield Fault("malformed_json", None, f"not valid JSON: {str(error)[:120]}")
        return
    if not isinstance(document, dict):
        yield Fault("not_an_object", None, "a document must be one JSON object")
        return
    empty = True
    try:
        for found in _translated(document, adapter):
            empty = False
            yield found.fault if isinstance(found, Invalid) else found
    except Invalid as error:
        yield error.fault
        return
    if empty:
        yield Fault("missing_field", None, f"nothing in it that {adapter.name} sends")


def _translated(document: dict[str, Any], adapter: Adapter) -> Iterator[dict[str, Any] | Invalid]:
    try:
        yield from adapter.events(document)
        return
    except Unrecognised:
        wrapped = _unwrapped(document.get("payload"))
        if wrapped is None:
            raise
    for inner in wrapped:
        # One that is bad leaves its neighbours alone, as lines do.
        if not isinstance(inner, dict):
            yield Invalid("not_an_object", "payload", "a document must be one JSON object")
            continue
        empty = True
        try:
            for found in adapter.events(inner):
                empty = False
                yield found
        except Invalid as fault:
            empty = False
            yield fault
        if empty:
            yield Invalid("missing_field", None, f"nothing in it that {adapter.name} sends")


def _unwrapped(payload: Any) -> list[Any] | None:
    """Return the documents that an archive keeps in a payload, None where it is none."""
    if isinstance(payload, str) and not is_absent(payload):
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            reason = f"payload is not valid JSON: {str(error)[:120]}"
            raise Invalid("malformed_json", "payload", reason) from None
    if isinstance(payload, dict):
        return [payload]
    return payload if isinstance(payload, list) else None


def skeleton(payload: bytes, adapter: Adapter) -> bytes:
    """Return what may be kept of a foreign document: nothing of what is no JSON, or too deep."""
    try:
        document = orjson.loads(payload)
        return orjson.dumps(_skeleton(document, adapter.kept, kept=False))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return b""


def _skeleton(value: Any, names: frozenset[str], *, kept: bool) -> Any:
    if isinstance(value, dict):
        return {
            key if _KEY.fullmatch(key) else _REMOVED: _skeleton(item, names, kept=key in names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_skeleton(item, names, kept=kept) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if not kept or (isinstance(value, str) and len(value) > _KEPT_TEXT):
        return _REMOVED
    return value

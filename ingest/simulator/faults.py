"""Lines that the door must reject, each made from a valid one, with the reason code expected.

The codes are those of the documented list; `unreadable_file` is about a file and is not made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from ingest.simulator.values import Array, Uuid

Event = dict[str, Any]
TOO_LARGE = 262_144


def _with(**fields: Any) -> Callable[[Event], bytes]:
    return lambda event: orjson.dumps({**event, **fields})


def _deep(event: Event) -> bytes:
    nested: Any = 1
    for _ in range(20):
        nested = {"deeper": nested}
    return orjson.dumps({**event, "properties": {"tree": nested}})


def _without_name(event: Event) -> bytes:
    return orjson.dumps({key: value for key, value in event.items() if key != "event_name"})


def _nul(event: Event) -> bytes:
    return json.dumps({**event, "source": "broken\x00producer"}).encode()


def _not_utf8(event: Event) -> bytes:
    return orjson.dumps({**event, "source": "caf@"}).replace(b'"caf@"', b'"caf\xe9"')


FAULTS: dict[str, Callable[[Event], bytes]] = {
    "malformed_json": lambda event: orjson.dumps(event)[:-7],
    "not_an_object": lambda event: orjson.dumps([event["event_id"], event["event_name"]]),
    "missing_field": _without_name,
    "bad_type": _with(duration_seconds="a while"),
    "not_in_enum": _with(channel="carrier_pigeon"),
    "out_of_range": _with(amount_cents=-5),
    "bad_uuid": lambda event: orjson.dumps({**event, "event_id": event["event_id"][:-4]}),
    "bad_timestamp": _with(occurred_at="yesterday evening"),
    "naive_timestamp": lambda event: orjson.dumps(
        {**event, "occurred_at": event["occurred_at"].rstrip("Z")}
    ),
    "in_the_future": _with(occurred_at="2999-01-01T00:00:00.000Z"),
    "too_old": _with(occurred_at="1999-12-31T23:59:59.999Z"),
    "unknown_event": _with(event_name="tea_leaves_read"),
    "unknown_currency": _with(currency="XQQ"),
    "too_large": lambda event: orjson.dumps({**event, "note": "x" * TOO_LARGE}),
    "too_deep": _deep,
    "invalid_utf8": _not_utf8,
    "nul_byte": _nul,
}
CODES = tuple(FAULTS)


def spoil(lines: list[bytes], rng: np.random.Generator) -> tuple[list[bytes], Array]:
    """Break copies of valid lines: the new lines and the number of each one's code.

    At most one line of a call is too large, as such a line weighs as much as hundreds of others.
    """
    code = rng.integers(0, len(CODES), len(lines))
    heavy = CODES.index("too_large")
    code[np.flatnonzero(code == heavy)[1:]] = CODES.index("malformed_json")
    ids = Uuid(rng.integers(0, 2**64, size=(len(lines), 2), dtype=np.uint64)).text("", b"")
    broken = []
    for line, number, event_id in zip(lines, code, ids, strict=True):
        event = orjson.loads(line)
        event["event_id"] = event_id.as_py()[4:-1].decode()
        broken.append(FAULTS[CODES[number]](event) + b"\n")
    return broken, code

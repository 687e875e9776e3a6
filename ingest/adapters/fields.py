"""Reading fields of foreign documents, and writing events, with the same strictness everywhere.

Belongs here: what every adapter needs to read a value or to name an event. What a provider's
fields mean belongs in the module of that provider. Values that a fault would have to quote are
never quoted: they may be personal.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ingest.privacy import identifying
from ingest.shape import Fault, is_absent, snake_case

#: Every event id of an adapter is a uuid5 in this namespace.
_NAMESPACE = uuid.UUID("6f7d9a52-6a0b-5c0e-9d0a-0b8f6d1c7e35")

_LAST_SECOND = 253_402_300_799
_DIGITS = re.compile(r"\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
#: What is larger is no time in seconds (that of the year 5138) but in milliseconds.
_LARGEST_SECONDS = 10**11
_CHANNELS = {"webchat": "web", "chat": "web", "widget": "web", "website": "web",
             "phone": "voice", "call": "voice"}  # fmt: skip
_PHONE = re.compile(r"\+?\d(?:[\s\-.()/]*\d){7,14}", re.ASCII)
_SCHEME = re.compile(r"^(?:tel|sms|rcs|whatsapp)\s*:\s*", re.IGNORECASE)


class Invalid(Exception):
    """A document, or a part of one, that is no valid payload of its format."""

    def __init__(self, code: str, field: str | None, detail: str) -> None:
        """Say why, with a code of the fixed list of reasons."""
        super().__init__(detail)
        self.fault = Fault(code, field, detail)


class Unrecognised(Invalid):
    """A document that is none of the adapter's format; what it wraps may be one."""


def require_mark(value: Any, expected: str, name: str) -> None:
    """Check the field by which every document of a format can be told."""
    if is_absent(value):
        raise Unrecognised("missing_field", name, f"{name} is required")
    if value != expected:
        raise Unrecognised("not_in_enum", name, f"{name} must be {expected}")


def obj(value: Any, name: str) -> dict[str, Any]:
    """Return a value that has to be an object."""
    if is_absent(value):
        raise Invalid("missing_field", name, f"{name} is required")
    if not isinstance(value, dict):
        raise Invalid("bad_type", name, f"{name} must be an object")
    return value


def opt_obj(value: Any, name: str) -> dict[str, Any]:
    """Return a value that may be an object; an empty one where it is absent."""
    return {} if is_absent(value) else obj(value, name)


def nested(value: Any) -> dict[str, Any]:
    """Return an object with its keys in snake case; an empty one where the value is no object."""
    return snake_keys(value) if isinstance(value, dict) else {}


def items(value: Any, name: str) -> list[Any]:
    """Return a value that may be an array; an empty one where it is absent."""
    if is_absent(value):
        return []
    if not isinstance(value, list):
        raise Invalid("bad_type", name, f"{name} must be an array")
    return value


def opt_text(value: Any, name: str) -> str | None:
    """Return a string (an integer counts, as ids are written either way), or None."""
    if is_absent(value):
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Invalid("bad_type", name, f"{name} must be a string")


def text(value: Any, name: str) -> str:
    """Return a string that has to be given."""
    found = opt_text(value, name)
    if found is None:
        raise Invalid("missing_field", name, f"{name} is required")
    return found


def opt_integer(value: Any, name: str, *, digits: bool = False) -> int | None:
    """Return an integer or None; ``digits`` takes a string of digits too."""
    if is_absent(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if digits and isinstance(value, str) and len(value) < 19 and _DIGITS.fullmatch(value.strip()):
        return int(value)
    raise Invalid("bad_type", name, f"{name} must be an integer")


def integer(value: Any, name: str) -> int:
    """Return an integer that has to be given."""
    found = opt_integer(value, name)
    if found is None:
        raise Invalid("missing_field", name, f"{name} is required")
    return found


def opt_number(value: Any, name: str) -> float | int | None:
    """Return a number or None; a string that reads as a decimal number is one."""
    if is_absent(value):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value) if "." in value else int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise Invalid("bad_type", name, f"{name} must be a number")


def opt_boolean(value: Any, name: str) -> bool | None:
    """Return true or false (also written as a string), or None."""
    if is_absent(value):
        return None
    if isinstance(value, str):
        value = _BOOLEANS.get(value.strip().lower())
    if isinstance(value, bool):
        return value
    raise Invalid("bad_type", name, f"{name} must be true or false")


def unix_time(value: Any, name: str) -> str:
    """Return unix seconds or milliseconds, a number or a string of one, as a time in UTC."""
    try:
        seconds = opt_number(value, name)
    except Invalid:
        raise Invalid("bad_timestamp", name, f"{name} must be unix seconds") from None
    if seconds is None:
        raise Invalid("missing_field", name, f"{name} is required")
    if abs(seconds) > _LARGEST_SECONDS:
        seconds /= 1000
    if not 0 <= seconds <= _LAST_SECOND:
        raise Invalid("bad_timestamp", name, f"{name} is no time")
    return iso(datetime.fromtimestamp(seconds, UTC))


def any_time(value: Any, name: str) -> str | None:
    """Return unix seconds or milliseconds as a time; a string is left to the door to judge."""
    if is_absent(value):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return value.strip()
    return unix_time(value, name)


def iso(moment: datetime) -> str:
    """Write a time as events carry it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def opt_channel(value: Any) -> str | None:
    """Return a channel under the name that events have for it, or None; any other as it is."""
    given = opt_text(value, "channel")
    return _CHANNELS.get(given.lower(), given.lower()) if given else None


def event_id(provider: str, *parts: Any) -> str:
    """Return the id of an event: the same parts always give the same id."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([provider, *parts], separators=(",", ":"))))


def person(value: Any, name: str) -> str:
    """Return what identifies a person so that the door stores a keyed hash of it.

    A phone number (providers leave out the plus) becomes ``+`` and digits, the same for every
    format; anything else is treated as just as personal.
    """
    given = _SCHEME.sub("", text(value, name))
    if _PHONE.fullmatch(given):
        return "+" + re.sub(r"\D", "", given)
    return given if identifying(given) is not None else secret(given)


def opt_person(value: Any, name: str) -> str | None:
    """Return what identifies a person, or None."""
    return None if is_absent(value) else person(value, name)


def is_phone(value: Any) -> bool:
    """Tell whether a value reads as a phone number, with or without its plus."""
    return isinstance(value, str) and _PHONE.fullmatch(value.strip()) is not None


def secret(identifier: str) -> str:
    """Return an id that hides a phone number so that the door stores a keyed hash of it.

    The door hashes what is written like a WhatsApp message id; ids of calls, and ids of other
    makers, hold the number in the same way under another prefix.
    """
    return identifier if identifier.startswith("wamid.") else f"wamid.{identifier}"


def event(name: str, provider: str, identity: tuple[Any, ...], **values: Any) -> dict[str, Any]:
    """Return a canonical event; absent values are left out.

    ``identity`` are the parts of its id besides the provider; ``properties`` may be among the
    values.
    """
    properties = {k: v for k, v in (values.pop("properties", None) or {}).items()
                  if not is_absent(v)}  # fmt: skip
    found: dict[str, Any] = {
        "event_id": event_id(provider, *identity),
        "event_name": name,
        "source": provider,
        "provider": provider,
    }
    found.update((k, v) for k, v in values.items() if not is_absent(v))
    if properties:
        found["properties"] = properties
    return found


def webhook(kind: str, provider: str, identity: tuple[Any, ...], **values: Any) -> dict[str, Any]:
    """Return the event for what has no event of its own: that a webhook of this kind came."""
    return event(
        "webhook_received", provider, ("webhook", *identity), properties={"webhook": kind}, **values
    )


def snake_keys(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with its keys in snake case; a key that is so already wins."""
    found = {snake_case(str(key)): item for key, item in value.items()}
    found.update((key, item) for key, item in value.items() if snake_case(key) == key)
    return found


def first(value: dict[str, Any], *names: str) -> Any:
    """Return the first of several fields that is given."""
    return next((value[name] for name in names if not is_absent(value.get(name))), None)


def parts(values: list[Any], name: str) -> Iterator[dict[str, Any] | Invalid]:
    """Yield the objects of an array, and the fault in the place of what is none."""
    for value in values:
        try:
            yield obj(value, name)
        except Invalid as fault:
            yield fault

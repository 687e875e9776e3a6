"""WhatsApp Cloud API webhooks: ``{"object": "whatsapp_business_account", "entry": [...]}``.

====================================  ==========================================================
in ``changes[]``                      becomes
====================================  ==========================================================
``value.messages[]``                  message_received, whatever its type (content_type says)
``value.statuses[]``                  message_sent, _delivered, _read, _failed; others (played)
                                      webhook_received
``value.message_echoes[]``            message_sent (sent from the business's phone); deletions
                                      and edits webhook_received
``value.calls[]`` connect             call_started
``value.calls[]`` terminate           call_ended, and call_answered where it was picked up
``value.statuses[]`` of type call     ACCEPTED call_answered; others webhook_received, because
                                      terminate follows them
any other field                       webhook_received with the name of the field
====================================  ==========================================================

What a message costs: the type and the category of ``pricing`` of a status; documents of before 2025
say whether it is billable instead of the type, and may have the category in
``conversation.origin`` only. They go with the status as they came; prices are reference data.

People: a sender or recipient is ``+`` and digits, which the door hashes; so is the chat, because
that is all that a received message and a status have in common (one customer is one chat, also
with several numbers of the business). Where a user hides the phone number the business-scoped
user id stands in. Of a group the chat is the group, under a name made from its id, which holds
a phone number. Names, texts, captions, files and places are dropped.

Event ids: message id, type and time of a message; message id and status of a status (of a group
also the participant); call id and kind of a call (the start also with its time). What has no id
of its own is named by account, time, field, place in the document and its values, of webhooks
about people only those that are not personal.

A bad item of an array is rejected by itself; its neighbours are taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ingest.adapters.fields import (
    Invalid,
    event,
    event_id,
    first,
    is_phone,
    items,
    obj,
    opt_boolean,
    opt_integer,
    opt_obj,
    opt_text,
    parts,
    person,
    require_mark,
    secret,
    text,
    unix_time,
    webhook,
)
from ingest.shape import is_absent

PROVIDER = "whatsapp_cloud"

KEPT = frozenset(
    {"object", "field", "type", "status", "event", "timestamp", "time", "code", "direction",
     "messaging_product", "category", "start_time", "end_time", "duration", "recipient_type"}
)  # fmt: skip

_MEDIA = frozenset({"image", "video", "audio", "voice", "document", "sticker"})
_STATUSES = {
    "sent": "message_sent",
    "delivered": "message_delivered",
    "read": "message_read",
    "failed": "message_failed",
}
_DIRECTIONS = {"USER_INITIATED": "inbound", "BUSINESS_INITIATED": "outbound"}
_ABOUT_THE_BUSINESS = ("account_", "message_template_", "template_")
_PRICED = frozenset({"message_sent", "message_delivered", "message_read"})
_CODE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_SCOPED_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]+")


def events(document: dict[str, Any]) -> Iterator[dict[str, Any] | Invalid]:
    """Yield the events of one webhook."""
    require_mark(document.get("object"), "whatsapp_business_account", "object")
    entries = items(document.get("entry"), "entry")
    if not entries:
        raise Invalid("missing_field", "entry", "entry is required")
    for place, entry in enumerate(parts(entries, "entry")):
        if isinstance(entry, Invalid):
            yield entry
            continue
        try:
            changes = items(entry.get("changes"), "changes")
            if not changes:
                raise Invalid("missing_field", "changes", "changes is required")
        except Invalid as fault:
            yield fault
            continue
        for position, change in enumerate(parts(changes, "changes")):
            if isinstance(change, Invalid):
                yield change
                continue
            try:
                yield from _change(change, entry, (place, position))
            except Invalid as fault:
                yield fault


def _change(
    change: dict[str, Any], entry: dict[str, Any], place: tuple[int, int]
) -> Iterator[dict[str, Any] | Invalid]:
    field = text(change.get("field"), "field")
    value = obj(change.get("value"), "value")
    known = {
        "messages": (("messages", _message), ("statuses", _status)),
        "calls": (("calls", _call), ("statuses", _status)),
        "smb_message_echoes": (("message_echoes", _echo),),
    }
    found = False
    for name, read in known.get(field, ()):
        for item in parts(items(value.get(name), name), name):
            found = True
            if isinstance(item, Invalid):
                yield item
                continue
            try:
                yield from read(item, value)
            except Invalid as fault:
                yield fault
    if not found:
        yield _other(field, value, entry, place)


def _other(
    field: str, value: dict[str, Any], entry: dict[str, Any], place: tuple[int, int]
) -> dict[str, Any]:
    times = [entry.get("time"), value.get("timestamp")]
    for listed in value.values():
        if isinstance(listed, list) and listed and isinstance(listed[0], dict):
            times.append(listed[0].get("timestamp"))
    time = next((time for time in times if not is_absent(time)), None)
    content = value if field.startswith(_ABOUT_THE_BUSINESS) else _impersonal(value)
    identity = (opt_text(entry.get("id"), "id"), time, field, *place, _stable(content))
    return webhook(
        field, PROVIDER, identity, occurred_at=unix_time(time, "time"), channel="whatsapp"
    )


def _impersonal(value: Any) -> Any:
    """Return what may go into an event id, which is no keyed hash."""
    if isinstance(value, dict):
        return {
            key: _impersonal(item)
            for key, item in value.items()
            if key in KEPT or key == "value" or isinstance(item, dict | list)
        }
    return [_impersonal(item) for item in value] if isinstance(value, list) else value


def _stable(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _person(numbers: tuple[Any, ...], scoped: tuple[Any, ...], field: str) -> str:
    """Return the first phone number, else the first business-scoped id, else whatever is given."""
    for number in numbers:
        if is_phone(number):
            return person(number, field)
    for identifier in scoped:
        if isinstance(identifier, str) and _SCOPED_ID.fullmatch(identifier):
            return identifier
    return person(next((n for n in (*numbers, *scoped) if not is_absent(n)), None), field)


def _contact(value: dict[str, Any]) -> dict[str, Any]:
    """Return the one contact of a change; with several it cannot be told whose item it is."""
    contacts = value.get("contacts")
    if isinstance(contacts, list) and len(contacts) == 1 and isinstance(contacts[0], dict):
        return contacts[0]
    return {}


def _chat(item: dict[str, Any], user: str, *names: str) -> str:
    for name in names:
        group = opt_text(item.get(name), name)
        if group is not None:
            return f"group-{event_id(PROVIDER, 'group', group)}"
    return user


def _has_media(item: dict[str, Any], kind: str) -> bool:
    if kind == "edit":
        inner = opt_obj(opt_obj(item.get("edit"), "edit").get("message"), "message")
        kind = str(inner.get("type"))
    return kind in _MEDIA


def _message(item: dict[str, Any], value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    contact = _contact(value)
    identifier = text(item.get("id"), "id")
    kind = text(item.get("type"), "type")
    user = _person(
        (item.get("from"), contact.get("wa_id")),
        (item.get("from_user_id"), contact.get("user_id")),
        "from",
    )
    yield event(
        "message_received", PROVIDER, ("message", identifier, kind, str(item.get("timestamp"))),
        occurred_at=unix_time(item.get("timestamp"), "timestamp"),
        channel="whatsapp", user_id=user, entity_id=secret(identifier),
        properties={"chat_id": _chat(item, user, "group_id"), "content_type": kind,
                    "has_media": _has_media(item, kind)},
    )  # fmt: skip


def _echo(item: dict[str, Any], value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    contact = _contact(value)
    identifier = text(item.get("id"), "id")
    kind = text(item.get("type"), "type")
    time = unix_time(item.get("timestamp"), "timestamp")
    if kind in ("revoke", "edit"):
        yield webhook(f"smb_message_echoes.{kind}", PROVIDER, ("echo", identifier, kind),
                      occurred_at=time, channel="whatsapp")  # fmt: skip
        return
    user = _person(
        (item.get("to"), contact.get("wa_id")),
        (item.get("to_user_id"), contact.get("user_id")),
        "to",
    )
    yield event(
        "message_sent", PROVIDER, ("status", identifier, "sent", None),
        occurred_at=time, channel="whatsapp", user_id=user, entity_id=secret(identifier),
        properties={"chat_id": _chat(item, user, "group_id"), "content_type": kind,
                    "has_media": _has_media(item, kind)},
    )  # fmt: skip


def _status(item: dict[str, Any], value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    identifier = text(item.get("id"), "id")
    status = text(item.get("status"), "status")
    time = unix_time(item.get("timestamp"), "timestamp")
    if opt_text(item.get("type"), "type") == "call":
        yield _call_status(item, identifier, status.upper(), time)
        return
    participant = opt_text(item.get("recipient_participant_id"), "recipient_participant_id")
    group = opt_text(item.get("recipient_type"), "recipient_type") == "group"
    name = _STATUSES.get(status)
    if name is None:
        yield webhook(f"messages.status.{status}" if status.isidentifier() else "messages.status",
                      PROVIDER, ("status", identifier, status, participant),
                      occurred_at=time, channel="whatsapp")  # fmt: skip
        return
    contact = _contact(value)
    if group:
        numbers = (participant, contact.get("wa_id"))
        scoped = (item.get("recipient_participant_user_id"), contact.get("user_id"))
    else:
        numbers = (item.get("recipient_id"), contact.get("wa_id"))
        scoped = (item.get("recipient_user_id"), contact.get("user_id"))
    user = _person(numbers, scoped, "recipient_id")
    properties: dict[str, Any] = {}
    if name == "message_sent":
        chat = _chat(item, user, "recipient_id") if group else user
        properties = {"chat_id": chat}
    elif name == "message_failed":
        errors = [error for error in items(item.get("errors"), "errors") if error]
        if errors:
            error = obj(errors[0], "errors")
            properties = {
                "error_code": opt_text(error.get("code"), "code"),
                "error_message": opt_text(first(error, "title", "message"), "title"),
            }
    if name in _PRICED:
        properties |= _pricing(item)
    yield event(
        name, PROVIDER, ("status", identifier, status, participant),
        occurred_at=time, channel="whatsapp", user_id=user, entity_id=secret(identifier),
        properties=properties,
    )  # fmt: skip


def _pricing(item: dict[str, Any]) -> dict[str, Any]:
    """Return type and category of the price; what is no code is left out."""
    pricing = opt_obj(item.get("pricing"), "pricing")
    origin = opt_obj(opt_obj(item.get("conversation"), "conversation").get("origin"), "origin")
    kind = opt_text(pricing.get("type"), "type")
    if kind is None and "billable" in pricing:
        kind = "regular" if opt_boolean(pricing["billable"], "billable") else "free"
    category = opt_text(pricing.get("category"), "category") or opt_text(origin.get("type"), "type")
    found = {"pricing_type": kind, "pricing_category": category}
    return {
        name: code.lower() for name, code in found.items() if code and _CODE.fullmatch(code.lower())
    }


def _call_status(item: dict[str, Any], identifier: str, status: str, time: str) -> dict[str, Any]:
    if status != "ACCEPTED":
        kind = f"calls.status.{status.lower()}" if status.isidentifier() else "calls.status"
        return webhook(kind, PROVIDER, ("call", identifier, status),
                       occurred_at=time, channel="whatsapp")  # fmt: skip
    return event(
        "call_answered", PROVIDER, ("call", identifier, "answered"), occurred_at=time,
        channel="whatsapp", entity_id=secret(identifier),
        user_id=_person((item.get("recipient_id"),), (item.get("recipient_user_id"),),
                        "recipient_id"),
    )  # fmt: skip


def _call(item: dict[str, Any], value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    identifier = text(item.get("id"), "id")
    kind = text(item.get("event"), "event")
    time = unix_time(item.get("timestamp"), "timestamp")
    direction = _DIRECTIONS.get(text(item.get("direction"), "direction").upper())
    if direction is None:
        raise Invalid("not_in_enum", "direction", "use one of " + ", ".join(_DIRECTIONS))
    side = "from" if direction == "inbound" else "to"
    contact = _contact(value)
    user = _person(
        (item.get(side), contact.get("wa_id")),
        (item.get(f"{side}_user_id"), contact.get("user_id")),
        side,
    )
    common = {"channel": "whatsapp", "user_id": user, "entity_id": secret(identifier)}
    if kind == "connect":
        yield event(
            "call_started", PROVIDER, ("call", identifier, "started", str(item["timestamp"])),
            occurred_at=time, properties={"direction": direction}, **common,
        )  # fmt: skip
        return
    if kind != "terminate":
        yield webhook("calls", PROVIDER, ("call", identifier, kind),
                      occurred_at=time, channel="whatsapp")  # fmt: skip
        return
    status = text(item.get("status"), "status").upper()
    if status not in ("COMPLETED", "FAILED"):
        raise Invalid("not_in_enum", "status", "use one of COMPLETED, FAILED")
    duration = opt_integer(item.get("duration"), "duration", digits=True)
    if not is_absent(item.get("start_time")):
        yield event(
            "call_answered", PROVIDER, ("call", identifier, "answered"),
            occurred_at=unix_time(item["start_time"], "start_time"), **common,
        )  # fmt: skip
    end = item.get("end_time")
    picked_up = duration is not None or not is_absent(item.get("start_time"))
    ending = "completed" if picked_up else "no_answer"
    yield event(
        "call_ended", PROVIDER, ("call", identifier, "ended"),
        occurred_at=time if is_absent(end) else unix_time(end, "end_time"),
        status="failed" if status == "FAILED" else ending, duration_seconds=duration or 0,
        **common,
    )  # fmt: skip

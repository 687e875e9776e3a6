"""Webhooks of a messaging CRM. No public reference exists; this is the shape that is taken.

::

    {"id": "evt_81", "event": "message.received", "timestamp": "2026-03-01T10:00:00Z",
     "data": {"message_id": "m1", "chat_id": "c1", "contact_id": "u1", "type": "text",
              "has_media": false, "channel": "whatsapp"}}

The envelope: ``event`` (also event_name, event_type, type), dotted or with underscores;
``timestamp`` (also occurred_at, created_at; ISO 8601 with an offset, or unix seconds or
milliseconds; else data's timestamp or occurred_at); ``id`` (also event_id, webhook_id) of the
delivery; ``data`` (also payload). Keys may be in camel case, numbers may be strings. A nested
``contact``, ``chat``, ``agent``, ``template`` or ``error`` object may stand for the field with
``_id`` (for an error ``error_code`` and ``error_message``; a plain ``error`` is either). What
the event is about, the ``message``, ``chat``, ``contact`` or ``campaign``, may be an object in data
whose fields then count before data's own. A document without data is flat: its ``id`` is that of
what the event is about.

======================================  =====================================================
message.received, message.sent          message_id or id; contact_id; chat_id (else the
                                        contact); type; has_media, media_url or attachments;
                                        template_id; agent_id
message.delivered, .read, .failed       message_id or id; contact_id; error_code,
                                        error_message
chat.assigned                           chat_id or id; agent_id; previous_agent_id
chat.resolved                           chat_id or id; outcome; resolution_time_seconds;
                                        agent_id; contact_id
contact.created                         contact_id or id; source
campaign.sent                           campaign_id or id; recipient_count (also
                                        total_recipients, or the length of recipients)
any other                               webhook_received with the event's name
======================================  =====================================================

People: ``contact_id`` (also user_id, customer_id) is the user; without one the phone number
(``phone``, ``wa_id``, ``from`` of a received, ``to`` of a sent message), which the door hashes.
Message and chat ids that hold a number (``49...@c.us``) are hashed too. Names, addresses, texts
and media addresses are dropped. The channel is that of data, else of the envelope, else whatsapp.

Event ids: the delivery's id and the event; without one the object's id, the event and the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.adapters.fields import (
    Invalid,
    Unrecognised,
    any_time,
    event,
    first,
    nested,
    obj,
    opt_boolean,
    opt_channel,
    opt_integer,
    opt_number,
    opt_person,
    opt_text,
    secret,
    snake_keys,
    text,
    webhook,
)
from ingest.privacy import identifying
from ingest.shape import is_absent

PROVIDER = "crm"

KEPT = frozenset(
    {"event", "event_name", "event_type", "eventType", "eventName", "type", "timestamp",
     "occurred_at", "created_at", "createdAt", "campaign_id", "campaignId", "recipient_count",
     "recipientCount", "channel", "error_code", "errorCode", "has_media", "hasMedia",
     "template_id", "templateId"}
)  # fmt: skip

_KINDS = ("event", "event_name", "event_type", "type")
_MESSAGES = ("message_received", "message_sent", "message_delivered", "message_read",
             "message_failed")  # fmt: skip


def events(document: dict[str, Any]) -> Iterator[dict[str, Any] | Invalid]:
    """Yield the event of one webhook."""
    envelope = snake_keys(document)
    label = next((field for field in _KINDS if not is_absent(envelope.get(field))), None)
    if label is None:
        raise Unrecognised("missing_field", "event", "event is required")
    kind = text(envelope[label], "event")
    name = kind.replace(".", "_").lower()
    wrapped = _wrapped(envelope)
    # Of a flat document the name of the event is not the type of what it is about.
    data = {k: v for k, v in envelope.items() if k != label} if wrapped is None else wrapped
    data = _with_subject(data, name.partition("_")[0])
    time = first(envelope, "timestamp", "occurred_at", "created_at")
    time = any_time(first(data, "timestamp", "occurred_at") if time is None else time, "timestamp")
    # One chat is assigned several times: its id in a flat document names no delivery.
    ids = ("event_id", "webhook_id") if wrapped is None else ("id", "event_id", "webhook_id")
    own = opt_text(first(envelope, *ids), "id")
    read = _READERS.get(name)
    values = read(name, data) if read else {}
    about = values.get("entity_id")
    about = about or opt_text(first(data, "id", "chat_id", "campaign_id"), "data.id")
    about = about or values.get("user_id")
    if own is None and about is None:
        raise Invalid("missing_field", "id", "id is required")
    identity = (name, own) if own is not None else (name, about, time)
    if read is None:
        readable = kind.replace(".", "").replace("_", "").isalpha() and len(kind) <= 60
        yield webhook(kind if readable else "other", PROVIDER, identity, occurred_at=time)
        return
    channel = opt_channel(first(data, "channel") or first(envelope, "channel")) or "whatsapp"
    yield event(name, PROVIDER, identity, occurred_at=time, channel=channel, **values)


def _wrapped(envelope: dict[str, Any]) -> dict[str, Any] | None:
    """Return the data of a document, None where its fields stand in the document itself."""
    if not is_absent(envelope.get("data")):
        return snake_keys(obj(envelope["data"], "data"))
    payload = envelope.get("payload")
    return snake_keys(payload) if isinstance(payload, dict) else None


def _with_subject(data: dict[str, Any], subject: str) -> dict[str, Any]:
    """Return data with the fields of the object that the event is about."""
    own = nested(data.get(subject))
    return data | {name: value for name, value in own.items() if not is_absent(value)}


def _id(data: dict[str, Any], name: str, *others: str) -> str | None:
    """Return an id: ``name_id``, the id of a nested object, or another field."""
    value = data.get(f"{name}_id")
    if is_absent(value):
        value = data.get(name)
        if isinstance(value, dict):
            value = value.get("id")
    if is_absent(value):
        value = first(data, *others)
    return opt_text(value, f"{name}_id")


def _hidden(identifier: str | None) -> str | None:
    """Have ids hashed that hold a phone number or an address, such as ``true_49...@c.us_3EB0``."""
    if identifier is not None and "@" in identifier and identifying(identifier) is None:
        return secret(identifier)
    return identifier


def _user(data: dict[str, Any], *numbers: str) -> str | None:
    given = _id(data, "contact", "user_id", "customer_id")
    if given is not None:
        return _hidden(given)
    names = ("phone", "wa_id", "phone_number")
    contact = nested(data.get("contact"))
    return opt_person(first(data, *names, *numbers) or first(contact, *names), "contact_id")


def _message(name: str, data: dict[str, Any]) -> dict[str, Any]:
    user = _user(data, "from" if name == "message_received" else "to")
    # A plain ``message`` is what was written, never an id.
    identifier = first(data, "message_id") or nested(data.get("message")).get("id")
    values: dict[str, Any] = {
        "entity_id": _hidden(opt_text(identifier or first(data, "id"), "message_id")),
        "user_id": user,
        "agent_id": _id(data, "agent"),
    }
    if name in ("message_received", "message_sent"):
        media = opt_boolean(data.get("has_media"), "has_media")
        if media is None and any(key in data for key in ("media_url", "media", "attachments")):
            media = bool(first(data, "media_url", "media", "attachments"))
        values["properties"] = {
            "chat_id": _hidden(_id(data, "chat", "conversation_id")) or user,
            "content_type": opt_text(first(data, "content_type", "message_type", "type"), "type"),
            "has_media": media,
            "template_id": _id(data, "template", "template_name")
            or opt_text(nested(data.get("template")).get("name"), "template_name"),
        }
    elif name == "message_failed":
        error = _error(data.get("error"))
        values["properties"] = {
            "error_code": opt_text(first(data, "error_code") or error.get("code"), "error_code"),
            "error_message": opt_text(
                first(data, "error_message") or first(error, "message", "title"), "error_message"
            ),
        }
    return values


def _error(error: Any) -> dict[str, Any]:
    """Return an error as an object: a plain number is its code, other words are its message."""
    if isinstance(error, str | int) and not isinstance(error, bool):
        return {"code" if str(error).strip().isdigit() else "message": error}
    return nested(error)


def _assigned(_: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "agent_id": _id(data, "agent", "assigned_to", "assignee_id"),
        "user_id": _user(data),
        "properties": {
            "chat_id": _hidden(_id(data, "chat", "conversation_id", "id")),
            "previous_agent_id": _id(data, "previous_agent"),
        },
    }


def _resolved(_: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "agent_id": _id(data, "agent", "resolved_by"),
        "user_id": _user(data),
        "properties": {
            "chat_id": _hidden(_id(data, "chat", "conversation_id", "id")),
            "outcome": opt_text(data.get("outcome"), "outcome"),
            "resolution_time_seconds": opt_number(
                first(data, "resolution_time_seconds", "resolution_time"),
                "resolution_time_seconds",
            ),
        },
    }


def _contact(_: str, data: dict[str, Any]) -> dict[str, Any]:
    # Beside a contact in full another id may be that of the delivery.
    user = _user(data) if isinstance(data.get("contact"), dict) else None
    return {
        "user_id": user or _user({**data, "contact_id": first(data, "contact_id", "id")}),
        "properties": {
            "contact_source": opt_text(first(data, "contact_source", "source"), "source")
        },
    }


def _campaign(_: str, data: dict[str, Any]) -> dict[str, Any]:
    count = first(data, "recipient_count", "total_recipients", "recipients_count", "recipients")
    count = len(count) if isinstance(count, list) else count
    return {
        "properties": {
            "campaign_id": _id(data, "campaign", "id"),
            "recipient_count": opt_integer(count, "recipient_count", digits=True),
        }
    }


_READERS = {
    **dict.fromkeys(_MESSAGES, _message),
    "chat_assigned": _assigned,
    "chat_resolved": _resolved,
    "contact_created": _contact,
    "campaign_sent": _campaign,
}

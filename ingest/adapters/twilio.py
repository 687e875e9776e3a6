"""Twilio webhooks of messages and calls: the form fields of a request as one JSON object.

========================================  ====================================================
message: MessageSid (SmsSid), and         received -> message_received; sent -> message_sent;
MessageStatus (SmsStatus)                 delivered -> message_delivered; read -> message_read;
                                          failed, undelivered -> message_failed; others
                                          (queued, sending, ...) webhook_received; without a
                                          status, with Body or media: message_received
call: CallSid, CallStatus                 queued, initiated, ringing -> call_started (one
                                          event: a second of these is a duplicate);
                                          in-progress -> call_answered; completed, busy,
                                          no-answer, failed, canceled -> call_ended
any other with a Sid (recordings, ...)    webhook_received
========================================  ====================================================

Form fields are strings, so numbers may be strings of digits. ``CallDuration`` is in seconds; a
call that was never answered lasted 0.

When it happened: ``Timestamp`` (calls have it, in the form of e-mail headers), else DateUpdated,
DateSent, DateCreated, or ``ReceivedAt``, which a receiver may add; unix seconds and ISO 8601 do
too. Twilio sends none with messages; then the time of receipt by the door stands in, so files
should be handed over soon.

People: the other side of the conversation is the user, ``+`` and digits without ``whatsapp:``,
which the door hashes; so is the chat. The country of that side is kept; bodies, names, cities and
media addresses are dropped. The channel follows the prefix of the address: whatsapp, messenger,
instagram, else sms; calls are voice. Event ids: the Sid and what happened; later deliveries of
the same are duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from ingest.adapters.fields import (
    Invalid,
    Unrecognised,
    any_time,
    event,
    first,
    iso,
    opt_integer,
    opt_person,
    opt_text,
    text,
    webhook,
)
from ingest.shape import is_absent

PROVIDER = "twilio"

KEPT = frozenset(
    {"MessageSid", "SmsSid", "SmsMessageSid", "MessageStatus", "SmsStatus", "CallSid", "CallStatus",
     "CallDuration", "Direction", "ErrorCode", "AccountSid", "ApiVersion", "NumMedia",
     "NumSegments", "Timestamp", "SequenceNumber", "RecordingSid", "RecordingStatus"}
)  # fmt: skip

_MESSAGES = {
    "received": "message_received",
    "sent": "message_sent",
    "delivered": "message_delivered",
    "read": "message_read",
    "failed": "message_failed",
    "undelivered": "message_failed",
}
_CALLS = {
    "queued": "call_started",
    "initiated": "call_started",
    "ringing": "call_started",
    "in-progress": "call_answered",
}
_ENDINGS = {
    "completed": "completed",
    "no-answer": "no_answer",
    "busy": "busy",
    "failed": "failed",
    "canceled": "canceled",
}
_TIMES = ("Timestamp", "DateUpdated", "DateSent", "DateCreated", "ReceivedAt")


def events(document: dict[str, Any]) -> Iterator[dict[str, Any] | Invalid]:
    """Yield the event of one webhook."""
    message = opt_text(first(document, "MessageSid", "SmsSid", "SmsMessageSid"), "MessageSid")
    call = opt_text(document.get("CallSid"), "CallSid")
    time = _time(document)
    if call is not None and not is_absent(document.get("CallStatus")):
        yield _call(document, call, time)
    elif message is not None:
        yield _message(document, message, time)
    else:
        yield _other(document, call, time)


def _time(document: dict[str, Any]) -> str | None:
    name = next((name for name in _TIMES if not is_absent(document.get(name))), None)
    if name is None:
        return None
    value = document[name]
    if isinstance(value, str) and value[:3].isalpha():
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, IndexError):
            raise Invalid("bad_timestamp", name, f"{name} is no time") from None
        if moment.tzinfo is None:
            raise Invalid("naive_timestamp", name, f"{name} needs an offset")
        try:
            return iso(moment)
        except OverflowError:
            raise Invalid("bad_timestamp", name, f"{name} is no time") from None
    return any_time(value, name)


def _message(document: dict[str, Any], identifier: str, time: str | None) -> dict[str, Any]:
    given = first(document, "MessageStatus", "SmsStatus")
    if given is None and first(document, "Body", "NumMedia", "MediaUrl0") is not None:
        # Incoming messages may come without one, what became of a sent message never does.
        given = "received"
    status = text(given, "MessageStatus").lower()
    name = _MESSAGES.get(status)
    if name is None:
        kind = f"message.{status}" if status.replace("_", "").isalpha() else "message"
        return webhook(kind, PROVIDER, (identifier, status), occurred_at=time)
    side = "From" if name == "message_received" else "To"
    address = opt_text(document.get(side), side)
    user = opt_person(address, side)
    properties: dict[str, Any] = {}
    if name in ("message_received", "message_sent"):
        media = opt_integer(document.get("NumMedia"), "NumMedia", digits=True)
        if media is None and not is_absent(document.get("MediaUrl0")):
            media = 1
        content_type = opt_text(document.get("MessageType"), "MessageType")
        properties["chat_id"] = user
        if media is not None:
            properties["has_media"] = media > 0
            content_type = content_type or ("media" if media else "text")
        properties["content_type"] = content_type.lower() if content_type else None
    elif name == "message_failed":
        properties["error_code"] = opt_text(document.get("ErrorCode"), "ErrorCode")
        properties["error_message"] = opt_text(document.get("ErrorMessage"), "ErrorMessage")
    return event(
        name, PROVIDER, (identifier, name), occurred_at=time, channel=_channel(address or ""),
        user_id=user, entity_id=identifier, country_code=_country(document, side),
        properties=properties,
    )  # fmt: skip


def _channel(address: str) -> str:
    prefix = address.partition(":")[0].strip().lower() if ":" in address else ""
    return prefix if prefix in ("whatsapp", "messenger", "instagram") else "sms"


def _country(document: dict[str, Any], side: str) -> str | None:
    return opt_text(document.get(f"{side}Country"), f"{side}Country")


def _call(document: dict[str, Any], identifier: str, time: str | None) -> dict[str, Any]:
    status = text(document.get("CallStatus"), "CallStatus").lower()
    direction = (opt_text(document.get("Direction"), "Direction") or "").lower()
    inbound = direction == "inbound"
    side = "From" if inbound else "To"
    common = {
        "occurred_at": time,
        "channel": "voice",
        "entity_id": identifier,
        "user_id": opt_person(document.get(side), side),
        "country_code": _country(document, side),
    }
    if status in _ENDINGS:
        duration = opt_integer(document.get("CallDuration"), "CallDuration", digits=True)
        if duration is None and status != "completed":
            duration = 0
        recorded = not is_absent(first(document, "RecordingSid", "RecordingUrl"))
        return event(
            "call_ended", PROVIDER, (identifier, "call_ended"), status=_ENDINGS[status],
            duration_seconds=duration, properties={"recorded": recorded}, **common,
        )  # fmt: skip
    name = _CALLS.get(status)
    if name is None:
        raise Invalid("not_in_enum", "CallStatus", "use one of "
                      + ", ".join([*_CALLS, *_ENDINGS]))  # fmt: skip
    properties = {}
    if name == "call_started" and direction:
        properties["direction"] = "inbound" if inbound else "outbound"
    return event(name, PROVIDER, (identifier, name), properties=properties, **common)


def _other(document: dict[str, Any], call: str | None, time: str | None) -> dict[str, Any]:
    sids = sorted(
        (key, value) for key, value in document.items()
        if key.endswith("Sid") and key != "AccountSid" and isinstance(value, str) and value.strip()
    )  # fmt: skip
    if not sids:
        raise Unrecognised("missing_field", "MessageSid", "MessageSid or CallSid is required")
    kind = next((key for key, _ in sids if key != "CallSid"), "CallSid").removesuffix("Sid").lower()
    states = sorted(
        (key, value) for key, value in document.items()
        if key.endswith(("Status", "StatusCallbackEvent")) and isinstance(value, str)
    )  # fmt: skip
    return webhook(kind, PROVIDER, (sids, states), occurred_at=time)

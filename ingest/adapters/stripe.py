"""Stripe events, as webhooks deliver them: ``{"object": "event", "type": ..., "data": {...}}``.

A payment counts once although Stripe tells it twice, as payment_intent.* and as charge.*. The
family that counts is **payment_intent**: it has the beginning (created) and the end, and it stays
one while a declined customer tries further cards, each of which is a charge of its own. A charge
counts only where there is no payment intent behind it.

==================================  ============================================================
payment_intent.created              payment_attempted
payment_intent.succeeded            payment_succeeded, of amount_received
payment_intent.payment_failed       payment_failed, once per failed try
charge.succeeded, .failed           of a charge without intent: payment_attempted, and
                                    payment_succeeded (when captured) or payment_failed
charge.captured                     of a charge without intent: payment_succeeded
charge.refunded                     refund_issued
refund.created                      of a refund without charge: refund_issued
anything else, and charge.* of a    webhook_received with the type
charge with an intent
==================================  ============================================================

The entity is the payment intent, else the charge, so that attempt, outcome and refunds share it.
A refund's amount is that of this refund: amount_refunded is cumulative, so its previous value is
taken off (previous_attributes), else the newest of the refunds listed counts; where neither is
given amount_refunded is taken as it is.

``amount_cents`` means hundredths of the currency whatever its smallest unit: 500 yen (minor units
500) are 50000, and 5.120 dinars (minor units 5120) are 512. Stripe's own exceptions hold: MGA has
no decimals there, ISK and UGX are given with two.

People: the user is ``metadata.user_id``, else the customer's id; the order ``metadata.order_id``,
the country ``metadata.country_code`` (that of a card is only known after the attempt and would
tear one payment apart). Billing details, receipt addresses, names and card numbers are never read.

Event ids: Stripe's id alone would do, were it not that test data use one placeholder for
all; so type, time, and id, mode and status of the object are parts of the name. They are the same
in every delivery of an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.adapters.fields import (
    Invalid,
    event,
    integer,
    items,
    obj,
    opt_boolean,
    opt_integer,
    opt_obj,
    opt_text,
    require_mark,
    text,
    unix_time,
    webhook,
)
from ingest.shape import is_absent

PROVIDER = "stripe"

KEPT = frozenset(
    {"object", "type", "created", "api_version", "id", "status", "amount", "amount_received",
     "amount_refunded", "amount_captured", "currency", "failure_code", "code", "decline_code",
     "livemode", "payment_intent", "charge", "mode", "reason", "refunded", "captured"}
)  # fmt: skip

#: Currencies without decimals at Stripe (which is not the same as in ISO 4217).
_ZERO_DECIMALS = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
     "XOF", "XPF"}
)  # fmt: skip
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def events(document: dict[str, Any]) -> Iterator[dict[str, Any] | Invalid]:
    """Yield the events of one Stripe event."""
    require_mark(document.get("object"), "event", "object")
    kind = text(document.get("type"), "type")
    text(document.get("id"), "id")
    unix_time(document.get("created"), "created")
    content = obj(obj(document.get("data"), "data").get("object"), "data.object")
    found = list(_payment_events(kind, document, content))
    if not found:
        found = [webhook(kind, PROVIDER, _identity(document, content), **_when(document))]
    yield from found


def _payment_events(
    kind: str, document: dict[str, Any], content: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if kind == "payment_intent.created":
        yield _payment("payment_attempted", document, content, "amount")
    elif kind == "payment_intent.succeeded":
        received = "amount" if is_absent(content.get("amount_received")) else "amount_received"
        yield _payment("payment_succeeded", document, content, received)
    elif kind == "payment_intent.payment_failed":
        error = opt_obj(content.get("last_payment_error"), "last_payment_error")
        yield _payment("payment_failed", document, content, "amount",
                       failure_code=opt_text(error.get("code"), "code"))  # fmt: skip
    elif kind == "charge.refunded":
        yield _refund_of_charge(document, content)
    elif kind == "refund.created" and _reference(content.get("charge"), "charge") is None:
        yield _refund(document, content)
    elif kind in ("charge.succeeded", "charge.failed", "charge.captured"):
        if _reference(content.get("payment_intent"), "payment_intent") is not None:
            return
        yield from _charge(kind, document, content)


def _charge(
    kind: str, document: dict[str, Any], content: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if kind != "charge.captured":
        yield _payment("payment_attempted", document, content, "amount")
    if kind == "charge.failed":
        code = opt_text(content.get("failure_code"), "failure_code")
        yield _payment("payment_failed", document, content, "amount", failure_code=code)
    elif kind == "charge.captured" or opt_boolean(content.get("captured"), "captured") is not False:
        captured = opt_integer(content.get("amount_captured"), "amount_captured")
        yield _payment("payment_succeeded", document, content,
                       "amount_captured" if captured else "amount")  # fmt: skip


def _refund_of_charge(document: dict[str, Any], charge: dict[str, Any]) -> dict[str, Any]:
    total = integer(charge.get("amount_refunded"), "amount_refunded")
    listed = items(opt_obj(charge.get("refunds"), "refunds").get("data"), "refunds.data")
    refunds = [obj(refund, "refunds.data") for refund in listed]
    newest = max(refunds, key=lambda refund: integer(refund.get("created"), "created"), default={})
    previous = opt_obj(
        obj(document["data"], "data").get("previous_attributes"), "previous_attributes"
    )
    before = opt_integer(previous.get("amount_refunded"), "amount_refunded")
    if before is not None:
        amount = total - before
    elif newest:
        amount = integer(newest.get("amount"), "amount")
    else:
        amount = total
    return _refund(document, {**charge, "amount": amount, "reason": newest.get("reason")})


def _refund(document: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    return _payment("refund_issued", document, content, "amount",
                    reason=opt_text(content.get("reason"), "reason"))  # fmt: skip


def _payment(
    name: str, document: dict[str, Any], content: dict[str, Any], amount: str, **properties: Any
) -> dict[str, Any]:
    metadata = opt_obj(content.get("metadata"), "metadata")
    currency = text(content.get("currency"), "currency").upper()
    entity = _reference(content.get("payment_intent"), "payment_intent")
    return event(
        name, PROVIDER, (name, *_identity(document, content)), **_when(document),
        user_id=opt_text(metadata.get("user_id"), "metadata.user_id")
        or _reference(content.get("customer"), "customer"),
        entity_id=entity or text(content.get("id"), "id"),
        amount_cents=hundredths(integer(content.get(amount), amount), currency),
        currency=currency,
        country_code=opt_text(metadata.get("country_code"), "metadata.country_code"),
        properties={"order_id": opt_text(metadata.get("order_id"), "metadata.order_id"),
                    **properties},
    )  # fmt: skip


def hundredths(minor_units: int, currency: str) -> int:
    """Return an amount in hundredths of its currency; half a hundredth is rounded up."""
    if currency in _ZERO_DECIMALS:
        return minor_units * 100
    if currency in _THREE_DECIMALS:
        return (minor_units + 5) // 10
    return minor_units


def _when(document: dict[str, Any]) -> dict[str, Any]:
    request = document.get("request")
    number = request.get("id") if isinstance(request, dict) else request
    return {
        "occurred_at": unix_time(document.get("created"), "created"),
        "request_id": number if isinstance(number, str) else None,
    }


def _identity(document: dict[str, Any], content: dict[str, Any]) -> tuple[Any, ...]:
    given = [document.get("id"), document.get("type"), document.get("created")]
    given += [content.get("id"), content.get("mode"), content.get("status")]
    return tuple(value if isinstance(value, str | int) else None for value in given)


def _reference(value: Any, name: str) -> str | None:
    """Return the id of an object that is given by its id or in full."""
    if isinstance(value, dict):
        return text(value.get("id"), f"{name}.id")
    return opt_text(value, name)

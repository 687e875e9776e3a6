"""Adapters: foreign formats brought to canonical events, one module per format.

Belongs here: the list of adapters. How a file of foreign documents is read belongs in
``ingest.source_files``, how its documents become lines in ``ingest.adapters.translation``; what
an event has to look like is said by the contracts and judged by the door, for these events too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ingest.adapters import conversation_insight, crm, stripe, twilio, whatsapp_cloud
from ingest.adapters.fields import Invalid
from ingest.errors import UserError


@dataclass(frozen=True)
class Adapter:
    """One foreign format.

    ``events`` yields the canonical events of a document, and an ``Invalid`` in the place of a
    part that is none; it raises ``Invalid`` for a document that as a whole is no valid payload.
    ``kept`` names the fields whose values a quarantined document keeps: every field that is not
    listed counts as personal. ``receipt_time``: the format may leave out when something
    happened; the time of receipt stands in.
    """

    name: str
    description: str
    kept: frozenset[str]
    events: Callable[[dict[str, Any]], Iterator[dict[str, Any] | Invalid]]
    receipt_time: bool = False


ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        Adapter("conversation_insight", "one analysed conversation of a conversational agent",
                conversation_insight.KEPT, conversation_insight.events),
        Adapter("crm", "webhooks of a messaging CRM: message.received, chat.assigned, ...",
                crm.KEPT, crm.events),
        Adapter("stripe", "Stripe events (webhooks)", stripe.KEPT, stripe.events),
        Adapter("twilio", "Twilio webhooks of messages and calls, form fields as a JSON object",
                twilio.KEPT, twilio.events, receipt_time=True),
        Adapter("whatsapp_cloud", "webhooks of the WhatsApp Cloud API",
                whatsapp_cloud.KEPT, whatsapp_cloud.events),
    )
}  # fmt: skip


def adapter_named(name: str) -> Adapter:
    """Return an adapter by its name.

    Raises:
        UserError: there is none of this name.

    """
    if name not in ADAPTERS:
        raise UserError(f"there is no format {name!r}; use one of {', '.join(ADAPTERS)}")
    return ADAPTERS[name]

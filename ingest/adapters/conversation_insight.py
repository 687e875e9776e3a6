"""Analysed conversations of conversational agents, one document each -> conversation_recorded.

No public reference exists; this is the shape that is taken. Keys may be in snake case.

::

    {"conversationId": "cv1", "agentId": "a1", "customerId": "u1", "channel": "whatsapp",
     "startTime": "2026-03-01T10:00:00Z", "endTime": "2026-03-01T10:05:00Z",
     "messages": {"total": 8, "customer": 4, "agent": 4}, "responseTimeAvgMs": 1200,
     "customerSatisfactionScore": 4.5, "completed": true,
     "conversion": {"type": "lead", "valueCents": 1000, "currency": "EUR"},
     "sentiment": {"label": "positive", "confidence": 0.9, "emotions": ["joy"]},
     "intents": ["pricing"], "escalation": {"required": false, "reason": null},
     "followUp": {"required": true, "actions": ["call_back"]}, "tags": ["vip"],
     "journeyStage": "decision", "updatedAt": "2026-03-01T10:06:00Z"}

- ``messages`` may be a number, or the messages themselves, which are counted and dropped; flat are
  messageCount, customerMessages, agentResponses;
- ``conversion``, ``sentiment``, ``escalation`` and ``followUp`` may be flat too: conversionType (or
  conversion, a string), conversionValueCents, conversionCurrency (else currency), sentiment (a
  string), sentimentConfidence, emotions, escalationRequired, escalationReason, followUpRequired,
  followUpActions. A value without Cents, ``conversion.value`` or conversionValue, is in units of
  the currency: 12.5 is 1250. Cents are hundredths of any currency: 500 yen are 50000;
- ``agent`` and ``customer`` may be objects with their ``id``, that of the customer with ``phone``;
- numbers and true or false may be strings;
- of emotions, intents, actions and tags given as objects the name, label or type is kept;
- channels: webchat, chat, widget are web; phone and call are voice; the others as they are;
- times: ISO 8601 with an offset, or unix seconds or milliseconds.

The event happened when the conversation was last written (updatedAt, recordedAt, timestamp), else
at its end, else at its start. The event id is made of conversation and that time: the same record
again is a duplicate, a later record of the conversation is a new event, and the latest counts.

People: customerId (also userId) is the user; a phone number there or in customerPhone is hashed by
the door. Names, transcripts and summaries are dropped, free text in lists is redacted.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ingest.adapters.fields import (
    Invalid,
    Unrecognised,
    any_time,
    event,
    first,
    items,
    nested,
    obj,
    opt_boolean,
    opt_channel,
    opt_integer,
    opt_number,
    opt_person,
    opt_text,
    snake_keys,
    text,
)
from ingest.redaction import redact
from ingest.shape import is_absent

PROVIDER = "conversation_insight"

KEPT = frozenset(
    {"channel", "startTime", "start_time", "endTime", "end_time", "updatedAt", "updated_at",
     "recordedAt", "recorded_at", "timestamp", "total", "completed", "confidence", "journeyStage",
     "journey_stage", "responseTimeAvgMs", "customerSatisfactionScore", "valueCents",
     "conversionType", "conversion_type", "currency"}
)  # fmt: skip

_LARGEST_VALUE = 10**15


def events(document: dict[str, Any]) -> Iterator[dict[str, Any] | Invalid]:
    """Yield the event of one conversation."""
    given = snake_keys(document)
    agent, customer = nested(given.get("agent")), nested(given.get("customer"))
    agent_id = opt_text(first(given, "agent_id") or agent.get("id"), "agent_id")
    if agent_id is None:
        raise Unrecognised("missing_field", "agent_id", "agent_id is required")
    identifier = text(first(given, "conversation_id", "id"), "conversation_id")
    start = any_time(given.get("start_time"), "start_time")
    end = any_time(given.get("end_time"), "end_time")
    written = any_time(first(given, "updated_at", "recorded_at", "timestamp"), "updated_at")
    time = written or end or start
    if start is None or time is None:
        raise Invalid("missing_field", "start_time", "start_time is required")
    conversion = _group(given, "conversion")
    currency = first(conversion, "currency") or first(given, "conversion_currency", "currency")
    user = first(given, "customer_id", "user_id") or customer.get("id")
    phone = first(given, "customer_phone") or first(customer, "phone", "phone_number")
    yield event(
        "conversation_recorded", PROVIDER, (identifier, time), occurred_at=time,
        entity_id=identifier, agent_id=agent_id,
        user_id=opt_text(user, "customer_id") or opt_person(phone, "customer_phone"),
        channel=text(opt_channel(given.get("channel")), "channel"),
        currency=opt_text(currency, "currency"),
        properties={"start_time": start, "end_time": end, **_properties(given, conversion)},
    )  # fmt: skip


def _properties(given: dict[str, Any], conversion: dict[str, Any]) -> dict[str, Any]:
    sentiment = _group(given, "sentiment")
    escalation = _group(given, "escalation")
    follow_up = _group(given, "follow_up")
    stage = opt_text(given.get("journey_stage"), "journey_stage")
    completed = opt_boolean(given.get("completed"), "completed")
    reason = opt_text(
        first(escalation, "reason") or given.get("escalation_reason"), "escalation_reason"
    )
    return {
        **_counts(given),
        "response_time_avg_ms": opt_number(
            first(given, "response_time_avg_ms", "average_response_time_ms"),
            "response_time_avg_ms",
        ),
        "customer_satisfaction_score": opt_number(
            first(given, "customer_satisfaction_score", "satisfaction_score", "satisfaction"),
            "customer_satisfaction_score",
        ),
        "completed": completed,
        "conversion_type": _word(
            first(conversion, "type")
            or first(given, "conversion_type")
            or _plain(given, "conversion"),
            "conversion_type",
        ),
        "conversion_value_cents": _value(given, conversion),
        "sentiment": _word(
            _plain(given, "sentiment") or first(sentiment, "label", "overall", "type"), "sentiment"
        ),
        "sentiment_confidence": opt_number(
            first(sentiment, "confidence")
            if "confidence" in sentiment
            else given.get("sentiment_confidence"),
            "sentiment_confidence",
        ),
        "emotions": _names(first(given, "emotions") or sentiment.get("emotions"), "emotions"),
        "intents": _names(given.get("intents"), "intents"),
        "escalation_required": _flag(given, escalation, "escalation"),
        "escalation_reason": redact(reason) if reason else None,
        "follow_up_required": _flag(given, follow_up, "follow_up"),
        "follow_up_actions": _names(
            first(follow_up, "actions") or given.get("follow_up_actions"), "follow_up_actions"
        ),
        "tags": _names(given.get("tags"), "tags"),
        "journey_stage": stage.lower() if stage else None,
    }


def _group(given: dict[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name)
    if is_absent(value) or isinstance(value, str | bool):
        return {}
    return snake_keys(obj(value, name))


def _plain(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    return value if isinstance(value, str) else None


def _flag(given: dict[str, Any], group: dict[str, Any], name: str) -> bool | None:
    field = f"{name}_required"
    value = group.get("required") if isinstance(given.get(name), dict) else given.get(name)
    return opt_boolean(given.get(field) if is_absent(value) else value, field)


def _word(value: Any, name: str) -> str | None:
    found = opt_text(value, name)
    return found.lower() if found else None


def _counts(given: dict[str, Any]) -> dict[str, Any]:
    messages = given.get("messages")
    total = given.get("message_count")
    customer, agent = given.get("customer_messages"), given.get("agent_responses")
    if isinstance(messages, list):
        total = len(messages) if is_absent(total) else total
    elif isinstance(messages, dict):
        inner = snake_keys(messages)
        total = first(inner, "total", "count") if is_absent(total) else total
        customer = first(inner, "customer", "user") if is_absent(customer) else customer
        agent = first(inner, "agent", "responses") if is_absent(agent) else agent
    elif not is_absent(messages):
        total = messages
    return {
        "message_count": opt_integer(total, "message_count", digits=True),
        "customer_messages": opt_integer(customer, "customer_messages", digits=True),
        "agent_responses": opt_integer(agent, "agent_responses", digits=True),
    }


def _value(given: dict[str, Any], conversion: dict[str, Any]) -> int | None:
    cents = conversion.get("value_cents")
    cents = given.get("conversion_value_cents") if is_absent(cents) else cents
    if not is_absent(cents):
        return opt_integer(cents, "conversion_value_cents", digits=True)
    value = conversion.get("value")
    value = given.get("conversion_value") if is_absent(value) else value
    number = opt_number(value, "conversion_value")
    if number is None:
        return None
    if abs(number) > _LARGEST_VALUE:
        raise Invalid("out_of_range", "conversion_value", f"must be at most {_LARGEST_VALUE}")
    # Through text, because 0.29 as a binary fraction is less than 29 hundredths.
    return int((Decimal(str(number)) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def _names(value: Any, name: str) -> list[str] | None:
    if is_absent(value):
        return None
    found = []
    for item in items(value, name):
        if isinstance(item, dict):
            item = first(item, "name", "label", "type", "id")
        word = opt_text(item, name)
        if word is not None:
            found.append(redact(word))
    return found

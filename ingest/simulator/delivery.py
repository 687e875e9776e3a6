"""Advisors' messages on WhatsApp: sends, receipts (some days late), reads, forwards, responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.simulator.advisors import Advisors
from ingest.simulator.draws import DAY, HOUR, MINUTE, SECOND, chance, choose, delay
from ingest.simulator.lines import Batch
from ingest.simulator.values import Array, Code, Column, Hash, Number, Vocabulary, Words, flag, mix

if TYPE_CHECKING:
    from ingest.simulator.advisory import Advisory

STATUSES = Vocabulary(("sent", "delivered", "read", "failed"))
QUALITY = Vocabulary(("high", "medium", "low"))
CARRIERS = Vocabulary(("carrier_a", "carrier_b", "carrier_c"))
ERROR_CODES = Vocabulary(("131026", "131049", "130472", "131053"))
ERROR_TEXTS = Vocabulary(
    ("Message undeliverable", "Not delivered to maintain healthy engagement", "Experiment group",
     "Media upload error")
)  # fmt: skip
FAILURES = Vocabulary(("not_on_whatsapp", "frequency_cap", "experiment", "media"))
WEEKDAYS = Vocabulary(
    ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
)
CONTENT_TYPES = Vocabulary(("edu", "mkt", "sip", "tax", "ins", "ret"))
SENTIMENTS = Vocabulary(("positive", "neutral", "negative", "question"))
RELATIONS = Vocabulary(("strong", "medium", "weak"))
LATEST = 7 * DAY - HOUR


@dataclass(frozen=True)
class _Messages:
    """Messages in rows."""

    number: Array
    advisor: Array
    content: Array
    kind: Array
    client: Array
    vigour: Array

    def pick(self, which: Array) -> _Messages:
        return _Messages(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @property
    def ids(self) -> Hash:
        return Hash(mix(self.number, 41), prefix="wm_")


class Delivery:
    """What becomes of content that is due."""

    def __init__(self, desk: Advisory, advisors: Advisors) -> None:
        """Belong to the advisory domain."""
        self.desk, self.advisors, self.made = desk, advisors, 0

    def messages(
        self, rng: np.random.Generator, slot: Array, due: Array, advisor: Array, content: Array,
        kind: Array, vigour: Array, copies: Array,
    ) -> list[Batch]:  # fmt: skip
        """Events of all messages of contents that are due."""
        # a late content is late for all of its clients
        tardy = chance(rng, 0.02 + 0.16 * (1 - vigour), len(due))
        prompt = rng.integers(0, 40 * SECOND, len(due))
        lag = np.where(tardy, delay(rng, 25 * MINUTE, 0.8, len(due)), prompt)
        world = self.desk.world
        incident = world.calendar.day_of(slot) == world.incidents.delivery_day
        lag = np.where(incident, lag + delay(rng, 3 * HOUR, 0.4, len(due)), lag)
        row = np.repeat(np.arange(len(due)), copies)
        first = np.cumsum(copies) - copies
        order = np.arange(len(row)) - first[row]
        number = np.arange(self.made, self.made + len(row))
        self.made += len(row)
        client = self.advisors.client(advisor[row], content[row] * 13 + order)
        messages = _Messages(number, advisor[row], content[row], kind[row], client, vigour[row])
        sent = due[row] + lag[row] + order * 90 + rng.integers(0, 900, len(row))
        batches = [self._sent(rng, sent, messages, order, copies[row], incident[row])]
        return [*batches, *self._receipts(rng, sent, messages, incident[row])]

    def _event(self, name: str, at: Array, rows: _Messages, **columns: Column) -> Batch:
        return self.desk.batch(
            name, at, source="whatsapp-gateway", channel="whatsapp",
            advisor_id_hash=self.desk.who(rows.advisor), entity_id=self.desk.ids(rows.content),
            **columns,
        )  # fmt: skip

    def _sent(
        self, rng: np.random.Generator, at: Array, rows: _Messages, order: Array, copies: Array,
        incident: Array,
    ) -> Batch:  # fmt: skip
        size = len(at)
        # the rating belongs to the advisor's number and changes by the week
        mood = (mix(rows.advisor * 1000 + at // (7 * DAY), 51) % np.uint64(1000)) / 1000.0
        bad = 0.30 * (1 - rows.vigour)
        rating = np.where(mood < bad * 0.3, 2, np.where(mood < bad, 1, 0))
        return self._event(
            "whatsapp_message_sent", at, rows, whatsapp_message_id=rows.ids,
            phone_number_used=Code(rows.advisor % 8, prefix="shard_", digits=3),
            template_name=Code(rows.content % 40, prefix="tpl_", digits=3),
            delivery_attempt_number=1,
            api_response_time_ms=Number(delay(rng, np.where(incident, 4200, 240), 0.5, size, 40)),
            estimated_recipients=Number(copies), batch_sequence=Number(order),
            total_batch_size=Number(copies),
            api_rate_limit_remaining=Number(np.maximum(1000 - order, 0)),
            quality_rating_before=Words(QUALITY, rating), webhook_delivery_expected=True,
        )  # fmt: skip

    def _receipts(
        self, rng: np.random.Generator, sent: Array, rows: _Messages, incident: Array
    ) -> list[Batch]:
        size = len(sent)
        failed = chance(rng, np.where(incident, 0.4, 0.012 + 0.05 * (1 - rows.vigour)), size)
        silent = chance(rng, 0.01, size)  # never heard of again
        offline = chance(rng, 0.03, size)  # phones that are off: receipts up to a week late
        wait = delay(rng, np.where(offline, 1.2 * DAY, 7 * SECOND), 1.0, size, 300)
        arrived = sent + np.minimum(wait, LATEST)
        there = np.flatnonzero(~failed & ~silent)
        echo = np.flatnonzero(chance(rng, 0.5, size))
        lost = np.flatnonzero(failed)
        reads = np.clip(0.34 + 0.5 * rows.vigour[there], 0, 0.97)
        read = there[chance(rng, reads, len(there))]
        read_wait = delay(rng, 55 * MINUTE, 1.4, len(read), 2 * SECOND)
        seen = arrived[read] + np.minimum(read_wait, LATEST)
        acknowledged = chance(rng, 0.35, len(read))
        why = choose(rng, (5, 3, 1, 1), len(lost))

        def status(code: int, at: Array, which: Array, **columns: Column) -> Batch:
            part = rows.pick(which)
            carrier = (part.client % np.uint64(3)).astype(int)
            return self._event(
                "whatsapp_delivery_status", at, part, status=STATUSES.values[code],
                whatsapp_message_id=part.ids, recipient_phone_hash=Hash(part.client),
                network_carrier=Words(CARRIERS, carrier), **columns,
            )  # fmt: skip

        seconds = Number(np.round((arrived - sent)[there] / 1000, 3))
        batches = [
            status(0, sent[echo] + delay(rng, 400, 0.6, len(echo), 20), echo),
            status(1, arrived[there], there, delivery_time_seconds=seconds,
                   delivery_attempts_required=Number(1 + offline[there])),
            status(3, sent[lost] + delay(rng, 20 * SECOND, 1.0, len(lost)), lost,
                   error_code=Words(ERROR_CODES, why), error_message=Words(ERROR_TEXTS, why),
                   failure_reason=Words(FAILURES, why), retry_scheduled=flag(why == 1)),
            status(2, seen[acknowledged], read[acknowledged]),
        ]  # fmt: skip
        return [*batches, *self._engagement(rng, sent, seen, rows.pick(read), read)]

    def _engagement(
        self, rng: np.random.Generator, sent: Array, seen: Array, rows: _Messages, read: Array
    ) -> list[Batch]:
        size = len(seen)
        minutes = (seen - sent[read]) / MINUTE
        hour, weekday = seen // HOUR % 24, (seen // DAY + 3) % 7
        office = (hour >= 9) & (hour < 18) & (weekday < 5)
        typical = np.round(20 + (rows.client % np.uint64(90)).astype(float), 1)
        shared = np.flatnonzero(chance(rng, 0.02 + 0.11 * rows.vigour, size))
        answered = np.flatnonzero(chance(rng, 0.02 + 0.12 * rows.vigour, size))
        passed = seen[shared] + delay(rng, 9 * MINUTE, 1.0, len(shared))
        replied = seen[answered] + delay(rng, 22 * MINUTE, 1.3, len(answered))
        forwards, replies = rows.pick(shared), rows.pick(answered)
        tone = choose(rng, (44, 30, 7, 19), len(answered))
        return [
            self._event(
                "whatsapp_message_read", seen, rows, whatsapp_message_id=rows.ids,
                recipient_phone_hash=Hash(rows.client),
                time_to_read_minutes=Number(np.round(minutes, 2)),
                read_during_business_hours=flag(office), read_day_of_week=Words(WEEKDAYS, weekday),
                read_hour_of_day=Number(hour), client_typical_read_delay_minutes=Number(typical),
            ),
            self._event(
                "content_forwarded", passed, forwards, original_whatsapp_message_id=forwards.ids,
                forwarding_client_hash=Hash(forwards.client),
                forward_count_estimate=Number(rng.geometric(0.5, len(shared))),
                forward_chain_depth=Number(rng.geometric(0.7, len(shared))),
                time_to_forward_minutes=Number(np.round((passed - sent[read[shared]]) / MINUTE, 2)),
                content_type=Words(CONTENT_TYPES, forwards.kind),
                viral_potential_indicator=flag(chance(rng, 0.05, len(shared))),
            ),
            self._event(
                "client_response_received", replied, replies,
                responding_client_hash=Hash(replies.client),
                response_time_hours=Number(np.round((replied - sent[read[answered]]) / HOUR, 3)),
                response_sentiment=Words(SENTIMENTS, tone),
                response_indicates_engagement=flag(tone != 2),
                follow_up_question_detected=flag(tone == 3),
                potential_business_inquiry=flag(chance(rng, 0.12, len(answered))),
                response_quality_score=Number((rng.beta(5, 2.5, len(answered)) * 100).astype(int)),
                relationship_strength_indicator=Words(
                    RELATIONS, (replies.client % np.uint64(3)).astype(int)
                ),
            ),
        ]  # fmt: skip

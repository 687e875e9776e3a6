"""Voice calls: ringing, answer, end or drop, recording."""

from __future__ import annotations

import numpy as np

from ingest.simulator.draws import SECOND, chance, choose, choose_by, delay
from ingest.simulator.lines import Batch
from ingest.simulator.orders import SERVICES
from ingest.simulator.values import Array, Code, Number, Vocabulary, Words, flag
from ingest.simulator.world import Domain, Span

PROVIDERS = Vocabulary(("twilio", "exotel", "vonage"))
DROP = np.array([0.018, 0.045, 0.03])
DIRECTIONS = Vocabulary(("inbound", "outbound"))
STATUSES = Vocabulary(("completed", "no_answer", "busy", "failed", "canceled"))
DROP_REASONS = Vocabulary(("network_lost", "carrier_error", "media_timeout"))
#: Seconds a call rings before it ends unanswered, by status.
UNANSWERED_SECONDS = np.array([0.0, 32.0, 3.0, 2.0, 9.0])


class Calls(Domain):
    """Calls; one unit is one call."""

    name = "calls"
    profile = "calls"
    share = 0.07
    events_per_unit = 2.85
    source = "voice-gateway"

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Calls that begin in the span."""
        day, started = self.starts(rng, span)
        people, size = self.world.people, len(day)
        person = people.draw(rng, day)
        number = self.numbers(size)
        outbound = chance(rng, 0.22, size)
        table = np.array([(2, 7, 1) if c == 0 else (7, 0.5, 2.5) for c in range(10)], float)
        provider = choose_by(rng, table, people.country[person])
        hour = started // (3600 * SECOND) % 24
        busy_hour = ((hour >= 10) & (hour <= 12)) | (hour == 16)
        picked_up = chance(rng, np.where(outbound, 0.72, 0.93) - 0.06 * busy_hour, size)
        dropped = picked_up & chance(rng, DROP[provider], size)
        ring = delay(rng, np.where(outbound, 14, 8) * SECOND, 0.5, size)
        answered = started + ring
        talk = np.round(np.clip(rng.lognormal(5.5, 0.9, size), 3, 7200), 1)
        talk = np.where(dropped, np.round(talk * rng.random(size), 1), talk)
        recorded = chance(rng, 0.72, size)
        service = choose(rng, (40, 35, 12, 8, 5), size)

        def event(name: str, at: Array, which: Array, **columns: object) -> Batch:
            return self.batch(
                name, at[which], person[which], channel="voice",
                user_id=people.ids(person[which]), entity_id=Code(number[which], prefix="call_"),
                country_code=people.countries(person[which]),
                provider=Words(PROVIDERS, provider[which]), **columns,  # type: ignore[arg-type]
            )  # fmt: skip

        all_of = np.arange(size)
        talked = np.flatnonzero(picked_up & ~dropped)
        lost = np.flatnonzero(dropped)
        missed = np.flatnonzero(~picked_up)
        why = 1 + choose(rng, (60, 14, 8, 18), len(missed))
        rang = np.round(UNANSWERED_SECONDS[why] * rng.lognormal(0, 0.3, len(missed)), 1)
        ended = answered + (talk * SECOND).astype(np.int64)
        given_up = started.copy()
        given_up[missed] += (rang * SECOND).astype(np.int64) + 500
        return [
            event("call_started", started, all_of,
                  direction=Words(DIRECTIONS, outbound.astype(np.int32)),
                  service_code=Words(SERVICES, service)),
            event("call_answered", answered, np.flatnonzero(picked_up)),
            event("call_ended", ended, talked, status="completed",
                  duration_seconds=Number(talk[talked]), recorded=flag(recorded[talked])),
            event("call_ended", given_up, missed, status=Words(STATUSES, why),
                  duration_seconds=Number(np.zeros(len(missed)))),
            event("call_dropped", ended, lost, duration_seconds=Number(talk[lost]),
                  recorded=flag(recorded[lost]),
                  drop_reason=Words(DROP_REASONS, choose(rng, (6, 3, 2), len(lost)))),
        ]  # fmt: skip

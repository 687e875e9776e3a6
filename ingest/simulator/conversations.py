"""Conversational agents: conversations, appointments, and the agents' own life and bill."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ingest.simulator.draws import DAY, HOUR, MINUTE, SECOND, chance, choose, delay, rank_weights
from ingest.simulator.lines import Batch
from ingest.simulator.values import (
    DAY_MS,
    Array,
    Code,
    Number,
    Stamp,
    Vocabulary,
    Words,
    flag,
    where,
)
from ingest.simulator.world import Domain, Span, World

CHANNELS = Vocabulary(("whatsapp", "web", "instagram", "voice"))
KINDS = Vocabulary(("sales", "support", "booking", "concierge"))
CONVERSIONS = Vocabulary(("appointment", "purchase", "lead", "referral"))
SENTIMENTS = Vocabulary(("positive", "neutral", "negative"))
STAGES = Vocabulary(("awareness", "consideration", "decision", "retention", "advocacy"))
REASONS = Vocabulary(("asked_for_human", "complaint", "payment_problem", "not_understood"))
STATUSES = Vocabulary(("active", "paused", "archived"))
EMOTIONS = Vocabulary(
    ('["joy"]', '["curiosity","joy"]', "[]", '["frustration"]', '["anger"]'), True
)
INTENTS = Vocabulary(
    ('["price"]', '["book"]', '["book","price"]', '["complaint"]', '["information"]'), True
)
ACTIONS = Vocabulary(('["call_back"]', '["send_offer"]', '["send_invoice","call_back"]'), True)
TAGS = Vocabulary(('["vip"]', '["new"]', '["spring"]', "[]"), True)


class Conversations(Domain):
    """Conversations of agents with people; one unit is one conversation."""

    name = "conversations"
    profile = "web"
    share = 0.05
    events_per_unit = 1.32
    source = "agent-platform"

    def __init__(self, world: World, units: float) -> None:
        """Create agents of different quality."""
        super().__init__(world, units)
        rng = world.rng(self.name, "agents")
        days = world.calendar.days
        self.agents = int(np.clip(6 + world.size // 50_000, 6, 300))
        self.quality = rng.beta(4, 2, self.agents)
        self.kind = rng.integers(0, 4, self.agents).astype(np.int32)
        # most exist from the first day on; the others come during the first half
        late = chance(rng, 0.3, self.agents) & (np.arange(self.agents) > 2)
        self.born = np.where(late, rng.integers(0, max(days // 2, 1), self.agents), 0)

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Conversations that begin in the span, appointments made in them, agents' own events."""
        day, begun = self.starts(rng, span)
        people, size = self.world.people, len(day)
        person, number = people.draw(rng, day), self.numbers(size)
        agent = choose(rng, rank_weights(self.agents, 0.35), size)
        agent = np.where(self.born[agent] > day, agent % 3, agent)  # not yet there: an older one
        quality = self.quality[agent]
        ended = begun + delay(rng, 6 * MINUTE, 0.7, size, 20 * SECOND)
        recorded = ended + delay(rng, 4 * SECOND, 0.5, size)
        theirs = 1 + rng.poisson(4.0, size)
        ours = np.maximum(theirs - chance(rng, 0.3, size), 1)
        stars = np.clip(np.round(2.1 + 2.6 * quality + rng.normal(0, 0.7, size), 1), 1, 5)
        rated, completed = chance(rng, 0.62, size), chance(rng, 0.72 + 0.25 * quality, size)
        converted = completed & chance(rng, 0.05 + 0.34 * quality, size)
        kind = np.where(converted, choose(rng, (40, 28, 24, 8), size), -1)
        worth = np.where(kind == 1, rng.lognormal(9.6, 0.7, size), rng.lognormal(8.6, 0.5, size))
        paying = (kind == 0) | (kind == 1)
        escalated = chance(rng, 0.02 + 0.22 * (1 - quality), size)
        follow = chance(rng, 0.18, size)
        mood = np.where(stars >= 4, 0, np.where(stars >= 2.8, 1, 2)).astype(np.int32)
        channel = choose(rng, (46, 32, 12, 10), size)
        utc = self.world.calendar.to_utc
        record = self.batch(
            "conversation_recorded", recorded, person, channel=Words(CHANNELS, channel),
            user_id=people.ids(person), agent_id=self._agent(agent), entity_id=self._ids(number),
            country_code=people.countries(person),
            start_time=Stamp(utc(begun)), end_time=Stamp(utc(ended)),
            message_count=Number(theirs + ours), customer_messages=Number(theirs),
            agent_responses=Number(ours),
            response_time_avg_ms=Number(delay(rng, 31_000 * (1.6 - quality), 0.5, size, 400)),
            customer_satisfaction_score=Number(stars, rated), completed=flag(completed),
            conversion_type=Words(CONVERSIONS, kind),
            conversion_value_cents=Number(worth.astype(np.int64), paying),
            sentiment=Words(SENTIMENTS, mood),
            sentiment_confidence=Number(np.round(rng.beta(9, 2, size), 3)),
            emotions=Words(EMOTIONS, np.minimum(mood * 2 + rng.integers(0, 2, size), 4)),
            intents=Words(INTENTS, choose(rng, (3, 3, 1, 1, 3), size)),
            tags=Words(TAGS, choose(rng, (1, 3, 1, 4), size)),
            escalation_required=flag(escalated),
            escalation_reason=where(escalated, Words(REASONS, choose(rng, (4, 3, 2, 3), size))),
            follow_up_required=flag(follow),
            follow_up_actions=where(follow, Words(ACTIONS, choose(rng, (3, 3, 1), size))),
            journey_stage=Words(STAGES, choose(rng, (20, 30, 22, 22, 6), size)),
        )  # fmt: skip
        booked = np.flatnonzero(kind == 0)
        return [
            record,
            *self._appointments(rng, ended[booked], person[booked], agent[booked], channel[booked]),
            *self._lives(span, rng),
        ]

    def _ids(self, number: Array) -> Code:
        return Code(number, prefix="conv_")

    def _agent(self, agent: Array) -> Code:
        return Code(agent, prefix="agent_", digits=3)

    def _appointments(
        self, rng: np.random.Generator, at: Array, person: Array, agent: Array, channel: Array
    ) -> list[Batch]:
        """Booked in the conversation; kept, cancelled or missed some days later."""
        size, people = len(at), self.world.people
        number = self.numbers(size)
        day = at // DAY + 1 + rng.integers(0, 6, size)
        due = day * DAY + rng.integers(18, 36, size) * (HOUR // 2)
        fate = choose(rng, (70, 13, 11, 6), size)  # completed, cancelled, no show, open

        def event(name: str, when: Array, which: Array) -> Batch:
            return self.batch(
                name, when, person[which], channel=Words(CHANNELS, channel[which]),
                user_id=people.ids(person[which]), agent_id=self._agent(agent[which]),
                entity_id=Code(number[which], prefix="apt_"),
                country_code=people.countries(person[which]),
            )  # fmt: skip

        kept, called_off, missed = (np.flatnonzero(fate == value) for value in range(3))
        share = rng.random(len(called_off))
        off = at[called_off] + ((due - at)[called_off] * share).astype(np.int64)
        return [
            event("appointment_booked", at - 5 * SECOND, np.arange(size)),
            event("appointment_completed", due[kept] + 45 * MINUTE, kept),
            event("appointment_cancelled", off, called_off),
            event("appointment_no_show", due[missed] + 20 * MINUTE, missed),
        ]

    def _lives(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Creation, deployment, pauses and daily usage of the agents."""
        morning = self.world.midnight
        new = np.flatnonzero((self.born >= span.first) & (self.born < span.last))
        created = morning + self.born[new] * DAY_MS + 30 * SECOND + new * 911
        grid = np.repeat(span.days, self.agents)
        agent = np.tile(np.arange(self.agents), span.last - span.first)
        alive = self.born[agent] <= grid
        grid, agent = grid[alive], agent[alive]
        billed = morning + (grid + 1) * DAY_MS - 5 * MINUTE + agent * 37
        units = np.round(rng.lognormal(4.0, 0.5, len(agent)), 1)
        pause = np.flatnonzero(chance(rng, 0.012, len(agent)) & (grid > self.born[agent]))
        paused = morning + grid[pause] * DAY_MS + rng.integers(6 * HOUR, 20 * HOUR, len(pause))
        back = paused + delay(rng, 3 * HOUR, 0.6, len(pause))
        return [
            self.batch("agent_created", created, agent_id=self._agent(new),
                       agent_kind=Words(KINDS, self.kind[new])),
            self.batch("agent_status_changed", created + 2 * MINUTE, agent_id=self._agent(new),
                       status="active"),
            self.batch("widget_deployed", created + 9 * MINUTE, agent_id=self._agent(new)),
            self.batch("agent_status_changed", paused, agent_id=self._agent(agent[pause]),
                       status="paused"),
            self.batch("agent_status_changed", back, agent_id=self._agent(agent[pause]),
                       status="active"),
            self.batch("usage_billed", billed, agent_id=self._agent(agent), currency="USD",
                       amount_cents=Number((units * 12).astype(np.int64)), units=Number(units)),
        ]  # fmt: skip

    def truth(self) -> dict[str, Any]:
        """Agents with their latent quality."""
        return {
            "agents": pa.table(
                {
                    "agent_id": [f"agent_{i:03d}" for i in range(self.agents)],
                    "agent_kind": [KINDS.values[i] for i in self.kind],
                    "quality": self.quality,
                }
            )
        }

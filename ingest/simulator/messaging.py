"""Chats with customers on WhatsApp and elsewhere: messages, receipts, agents, campaigns."""

from __future__ import annotations

import numpy as np

from ingest.simulator.draws import HOUR, MINUTE, SECOND, chance, choose, delay, rank_weights
from ingest.simulator.lines import Batch
from ingest.simulator.values import Array, Code, Fixed, Hash, Number, Vocabulary, Words, flag, mix
from ingest.simulator.world import Domain, Span, World

CHANNELS = Vocabulary(("whatsapp", "instagram", "messenger", "sms"))
CONTENT_TYPES = Vocabulary(("text", "image", "audio", "document", "template"))
QUESTIONS = (
    "Hello, is the reading of this week ready?", "Thank you so much!", "When does the offer end?",
    "I would like to book an appointment", "How much is the gold plan?", "Could you call me later?",
    "The audio does not play", "Sounds good, go ahead", "I was charged twice, please check",
    "Can I change my date of birth?", "Is there a discount for two readings?", "ok",
    "What does Mercury retrograde mean for me?", "Please send the invoice", "No thanks, stop",
)  # fmt: skip
PERSONAL = (
    "Please call me on +49 151 234 567 89 tonight", "my mail is jane.roe@example.org, thanks",
    "write to +91 98765 43210 instead", "sent from kim.lee+orders@example.com",
)  # fmt: skip
ANSWERS = Vocabulary(
    ("Hello! We look into it right away.", "Your reading is ready in your account.",
     "The offer runs until Sunday.", "I have booked that for you.", "You are welcome!",
     "A colleague will call you back today.", "The refund is on its way.",
     "Could you tell me your order number?", "Here is the link to your invoice.",
     "Please restart the app and try again.")
)  # fmt: skip
ERRORS = ("131026", "131047", "470", "131053")
ERROR_CODES = Vocabulary(ERRORS)
ERROR_TEXTS = Vocabulary(
    ("Message undeliverable", "Re-engagement message", "Outside the allowed window", "Media upload")
)
OUTCOMES = Vocabulary(("solved", "no_reply", "handed_over", "sold", "spam"))
PRICING_TYPES = Vocabulary(("free_customer_service", "regular"))
PRICING_CATEGORIES = Vocabulary(("service", "marketing", "utility"))
CAMPAIGNS = Vocabulary(("weekly_stars", "win_back", "new_moon", "gold_plan", "birthday"))
ROUNDS = 5


class Messaging(Domain):
    """Chats and campaigns; one unit is one conversation of a chat, up to its resolution."""

    name = "messaging"
    profile = "calls"
    share = 0.1
    events_per_unit = 13.0
    source = "crm"

    def __init__(self, world: World, units: float) -> None:
        """Hire agents; some answer faster than others."""
        super().__init__(world, units)
        rng = world.rng(self.name, "agents")
        self.agents = int(np.clip(4 + world.size // 40_000, 4, 200))
        self.pace = rng.lognormal(0, 0.45, self.agents)
        personal = PERSONAL if world.personal_data_rate > 0 else ()
        self.texts = Vocabulary((*QUESTIONS, *personal))
        self.text_weights = [*rank_weights(len(QUESTIONS), 0.5)]
        if personal:
            rate = min(world.personal_data_rate, 0.9)
            total = sum(self.text_weights) * rate / (1 - rate)
            self.text_weights += [total / len(personal)] * len(personal)

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Conversations and campaigns that begin in the span."""
        day, at = self.starts(rng, span)
        people, size = self.world.people, len(day)
        person = people.draw(rng, day)
        channel = choose(rng, (78, 10, 7, 5), size)
        agent = choose(rng, rank_weights(self.agents, 0.3), size)
        moved = chance(rng, 0.12, size)
        other = (agent + 1 + rng.integers(0, max(self.agents - 1, 1), size)) % self.agents
        chat = Hash(mix(person * 4 + channel, 77), prefix="chat_")
        begun, batches = at, []
        assigned = begun + delay(rng, 20 * SECOND, 0.9, size)
        batches.append(self._assigned(assigned, chat, channel, agent))
        handed = assigned + delay(rng, 7 * MINUTE, 0.8, size)
        index = np.flatnonzero(moved)
        batches.append(
            self._assigned(handed[index], chat.pick(index), channel[index], other[index],
                           agent[index])
        )  # fmt: skip
        ended = handed.copy()
        live = np.arange(size)
        for turn in range(ROUNDS):
            hour = at // HOUR % 24
            closed = (hour < 8) | (hour >= 20)
            batches += self._message("message_received", at, live, person, chat, channel, rng)
            extra = np.flatnonzero(chance(rng, 0.22, len(live)))
            batches += self._message("message_received",
                                     at[extra] + delay(rng, 9 * SECOND, 0.6, len(extra)),
                                     live[extra], person, chat, channel, rng)  # fmt: skip
            answering = np.where(moved[live] & (turn > 0), other[live], agent[live])
            wait = self.pace[answering] * np.where(closed, 26.0, 2.6) * (1.5 if turn == 0 else 1.0)
            answered = at + delay(rng, wait * MINUTE, 0.9, len(live), 4 * SECOND)
            kept = chance(rng, 0.95, len(live))  # some are never answered
            batches += self._answer(answered[kept], live[kept], person, chat, channel,
                                    answering[kept], rng)  # fmt: skip
            ended[live] = np.maximum(ended[live], answered)
            going = kept & chance(rng, 0.56, len(live))
            at = answered[going] + delay(rng, 2.2 * MINUTE, 1.0, int(going.sum()))
            live = live[going]
        resolved = np.flatnonzero(chance(rng, 0.9, size))
        done = ended[resolved] + delay(rng, 4 * MINUTE, 0.9, len(resolved))
        batches.append(
            self.batch("chat_resolved", done, channel=Words(CHANNELS, channel[resolved]),
                       agent_id=self._agent(np.where(moved, other, agent)[resolved]),
                       chat_id=chat.pick(resolved),
                       outcome=Words(OUTCOMES, choose(rng, (60, 16, 9, 11, 4), len(resolved))),
                       resolution_time_seconds=Number((done - begun[resolved]) // 1000))
        )  # fmt: skip
        return [*batches, self._campaigns(span, rng)]

    def _agent(self, agent: Array, present: Array | None = None) -> Code:
        return Code(np.maximum(agent, 0), present, prefix="desk_", digits=3)

    def _assigned(
        self, at: Array, chat: Fixed, channel: Array, agent: Array, before: Array | None = None
    ) -> Batch:  # fmt: skip
        previous = None if before is None else self._agent(before)
        return self.batch("chat_assigned", at, channel=Words(CHANNELS, channel),
                          agent_id=self._agent(agent), chat_id=chat,
                          previous_agent_id=previous)  # fmt: skip

    def _message(
        self, name: str, at: Array, which: Array, person: Array, chat: Fixed, channel: Array,
        rng: np.random.Generator,
    ) -> list[Batch]:  # fmt: skip
        people, size = self.world.people, len(which)
        kind = choose(rng, (84, 8, 5, 3), size)
        text = np.where(kind == 0, choose(rng, self.text_weights, size), -1)
        return [
            self.batch(
                name, at, person[which], channel=Words(CHANNELS, channel[which]),
                user_id=people.ids(person[which]), entity_id=self._number(size),
                country_code=people.countries(person[which]), chat_id=chat.pick(which),
                content_type=Words(CONTENT_TYPES, kind), has_media=flag(kind > 0),
                text=Words(self.texts, text),
            )
        ]  # fmt: skip

    def _number(self, size: int) -> Code:
        return Code(self.numbers(size), prefix="msg_")

    def _answer(
        self, at: Array, which: Array, person: Array, chat: Fixed, channel: Array, agent: Array,
        rng: np.random.Generator,
    ) -> list[Batch]:  # fmt: skip
        """A message to the customer and its receipts."""
        people, size = self.world.people, len(which)
        number = self._number(size)
        template = chance(rng, 0.12, size)
        arrived = chance(rng, 0.975, size)
        read = np.flatnonzero(arrived & chance(rng, 0.82, size))
        there = at + delay(rng, 1.6 * SECOND, 0.9, size, 100)
        seen = there[read] + delay(rng, 70 * SECOND, 1.4, len(read))
        lost = np.flatnonzero(~arrived)
        why = choose(rng, (5, 2, 1, 1), len(lost))
        there_only = np.flatnonzero(arrived)
        text = choose(rng, rank_weights(len(ANSWERS), 0.4), size)
        # Only WhatsApp charges for messages; an answer is free, a template is not.
        priced = channel[which] == 0
        category = np.where(template, 1 + number.values % 2, 0)
        return [
            self.batch(
                "message_sent", at, channel=Words(CHANNELS, channel[which]),
                user_id=people.ids(person[which]), agent_id=self._agent(agent), entity_id=number,
                chat_id=chat.pick(which), content_type=Words(CONTENT_TYPES, template * 4),
                template_id=Words(CAMPAIGNS, np.where(template, number.values % 5, -1)),
                text=Words(ANSWERS, text), country_code=people.countries(person[which]),
                pricing_type=Words(PRICING_TYPES, np.where(priced, template * 1, -1)),
                pricing_category=Words(PRICING_CATEGORIES, np.where(priced, category, -1)),
            ),
            self.batch("message_delivered", there[there_only], entity_id=number.pick(there_only),
                       channel=Words(CHANNELS, channel[which[there_only]])),
            self.batch("message_read", seen, person[which[read]], entity_id=number.pick(read),
                       user_id=people.ids(person[which[read]]),
                       channel=Words(CHANNELS, channel[which[read]])),
            self.batch("message_failed", there[lost], entity_id=number.pick(lost),
                       channel=Words(CHANNELS, channel[which[lost]]),
                       error_code=Words(ERROR_CODES, why), error_message=Words(ERROR_TEXTS, why)),
        ]  # fmt: skip

    def _campaigns(self, span: Span, rng: np.random.Generator) -> Batch:
        """One to three campaigns a day."""
        day = np.repeat(span.days, rng.integers(1, 4, span.last - span.first))
        at = self.world.calendar.moments(rng, day, "business")
        reach = rng.lognormal(np.log(self.world.people.count * 0.15 + 20), 0.5, len(day))
        return self.batch(
            "campaign_sent", at, channel="whatsapp",
            campaign_id=Words(CAMPAIGNS, choose(rng, (5, 2, 2, 3, 2), len(day))),
            recipient_count=Number(reach.astype(np.int64) + 1),
        )  # fmt: skip

"""Notifications: sent, delivered, opened, clicked, and people who have had enough."""

from __future__ import annotations

import numpy as np

from ingest.simulator.draws import MINUTE, SECOND, chance, choose, delay
from ingest.simulator.lines import Batch
from ingest.simulator.values import Array, Code, Vocabulary, Words
from ingest.simulator.world import Domain, Span, World

CHANNELS = Vocabulary(("app", "email", "sms", "whatsapp"))
CHANNEL_WEIGHTS = (46, 30, 8, 16)
PROVIDERS = Vocabulary(("push_service", "mail_relay", "sms_gateway", "whatsapp_cloud"))
DELIVERED = np.array([0.955, 0.975, 0.94, 0.985])
OPENED = np.array([0.17, 0.26, 0.36, 0.58])
CLICKED = np.array([0.24, 0.11, 0.09, 0.18])
OPEN_MINUTES = np.array([9.0, 140.0, 6.0, 14.0])


class Notifications(Domain):
    """Notifications; one unit is one notification."""

    name = "notifications"
    profile = "morning"
    share = 0.095
    events_per_unit = 2.25
    source = "notifier"

    def __init__(self, world: World, units: float) -> None:
        """Everybody is subscribed at first."""
        super().__init__(world, units)
        self.opted_out = np.zeros(world.people.count, bool)

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Notifications sent in the span."""
        day, sent = self.starts(rng, span)
        people = self.world.people
        person = people.draw(rng, day)
        kept = ~self.opted_out[person]
        day, sent, person = day[kept], sent[kept], person[kept]
        size = len(day)
        number = self.numbers(size)
        channel = choose(rng, CHANNEL_WEIGHTS, size)
        weekend = (self.world.calendar.first + day + 3) % 7 >= 5
        keen = np.clip(people.weight[person], 0.4, 1.8) ** 0.4

        def event(name: str, at: Array, which: Array) -> Batch:
            return self.batch(
                name, at[which], person[which], channel=Words(CHANNELS, channel[which]),
                user_id=people.ids(person[which]), entity_id=Code(number[which], prefix="ntf_"),
                provider=Words(PROVIDERS, channel[which]),
                country_code=people.countries(person[which]),
            )  # fmt: skip

        arrived = chance(rng, DELIVERED[channel], size)
        delivered = sent + delay(rng, 2.2 * SECOND, 1.1, size, 120)
        opened = arrived & chance(rng, OPENED[channel] * keen * np.where(weekend, 1.12, 1.0), size)
        seen = delivered + delay(rng, OPEN_MINUTES[channel] * MINUTE, 1.2, size)
        clicked = opened & chance(rng, CLICKED[channel], size)
        went = seen + delay(rng, 14 * SECOND, 0.8, size)
        fed_up = arrived & chance(rng, np.where(opened, 0.006, 0.001), size)
        # the first one of a person counts; who is out is not written to in later spans
        out = np.flatnonzero(fed_up)
        out = out[np.unique(person[out], return_index=True)[1]]
        self.opted_out[person[out]] = True
        left = np.where(opened, seen, delivered) + delay(rng, 40 * SECOND, 0.7, size)
        return [
            event("notification_sent", sent, np.arange(size)),
            event("notification_delivered", delivered, np.flatnonzero(arrived)),
            event("notification_opened", seen, np.flatnonzero(opened)),
            event("notification_clicked", went, np.flatnonzero(clicked)),
            event("notification_opted_out", left, out),
        ]

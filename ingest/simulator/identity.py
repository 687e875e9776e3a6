"""Sign-up: the day a person becomes known, and the links between their identifiers."""

from __future__ import annotations

import numpy as np

from ingest.simulator import web
from ingest.simulator.draws import DAY, MINUTE, SECOND, chance, choose, delay
from ingest.simulator.lines import Batch
from ingest.simulator.people import CHANNEL_WORDS
from ingest.simulator.values import Vocabulary, Words, mix
from ingest.simulator.world import Domain, Span

SOURCES = Vocabulary(("website_form", "whatsapp_ad", "referral", "import"))


class Identity(Domain):
    """Sign-ups of the people who join; their number is that of the people, not of the plan."""

    name = "identity"
    profile = "web"
    share = 0.0
    events_per_unit = 1.0
    source = "accounts"

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Sign-up, contact and links of everybody who joins in the span."""
        people = self.world.people
        person = people.joining(max(span.first, 0), span.last)
        size = len(person)
        at = self.world.calendar.moments(rng, people.first_day[person], "web")
        midnight = self.world.calendar.midnight(people.first_day[person])
        at = np.minimum(at, midnight + DAY - 20 * MINUTE)
        channel = people.home[person]
        online = (channel == 1) | (channel == 2)
        context = web.objects(np.where(online, web.visits(rng, mix(person)), -1))
        linked = np.flatnonzero(chance(rng, 0.92, size))
        phone = chance(rng, 0.8, len(linked))
        email = ~phone | chance(rng, 0.5, len(linked))
        known = linked
        contact = np.flatnonzero((channel == 0) | chance(rng, 0.3, size))
        users = people.ids(person)
        anonymous = people.hashes(person, "anonymous", online | chance(rng, 0.3, size))
        seen = at + delay(rng, 40 * SECOND, 0.5, size)

        def ids(index: np.ndarray) -> object:
            return users.pick(index)  # type: ignore[union-attr]

        return [
            self.batch("user_signed_up", at, person, channel=Words(CHANNEL_WORDS, channel),
                       user_id=users, anonymous_id=anonymous,
                       country_code=people.countries(person), context=context),
            self.batch("user_identified", seen[linked], person[linked],
                       channel=Words(CHANNEL_WORDS, channel[linked]), user_id=ids(linked),  # type: ignore[arg-type]
                       anonymous_id=anonymous.pick(linked),
                       phone_hash=people.hashes(person[known], "phone", phone),
                       email_hash=people.hashes(person[known], "email", email)),
            self.batch("contact_created", seen[contact], person[contact], source="crm",
                       channel="whatsapp", user_id=ids(contact),  # type: ignore[arg-type]
                       country_code=people.countries(person[contact]),
                       contact_source=Words(SOURCES, choose(rng, (5, 3, 2, 1), len(contact)))),
        ]  # fmt: skip

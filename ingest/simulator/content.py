"""Daily horoscopes per sign: upload, review, publication, listening.

Now and then a sign is missing: rejected and not replaced in time. On one day many are.
"""

from __future__ import annotations

import numpy as np

from ingest.simulator.draws import DAY, HOUR, MINUTE, chance, choose, delay
from ingest.simulator.lines import Batch
from ingest.simulator.people import SIGNS
from ingest.simulator.values import Array, Number, Vocabulary, Words
from ingest.simulator.world import Domain, Span, World

SIGN_WORDS = Vocabulary(SIGNS)
LANGUAGES = ("en", "hi", "es")
LANGUAGE_WORDS = Vocabulary(LANGUAGES)
REASONS = Vocabulary(("audio too quiet", "wrong sign announced", "too long", "health advice"))
INCIDENT_SIGNS = 4


class Content(Domain):
    """Horoscopes and their listeners; one unit is one listening."""

    name = "content"
    profile = "morning"
    share = 0.05
    events_per_unit = 1.0
    source = "content-studio"

    def __init__(self, world: World, units: float) -> None:
        """Decide what is published on which day; listening makes up the rest of the share."""
        days = world.calendar.days
        self.languages = 1 + (world.size > 200_000) + (world.size > 1_000_000)
        shape = (days, self.languages, 12)
        rng = world.rng(self.name, "plan")
        super().__init__(world, units)
        self.rejected = chance(rng, 0.05, shape)
        self.missing = self.rejected & chance(rng, 0.2, shape)
        self.missing[0] = False
        bad = world.incidents.content_day
        if bad >= 0:
            self.rejected[bad, :, :INCIDENT_SIGNS] = self.missing[bad, :, :INCIDENT_SIGNS] = True
        self.audio = np.round(rng.normal(95, 18, shape).clip(40, 180), 1)
        self.names = Vocabulary(
            f"hor_{date:%Y%m%d}_{sign}_{language}"
            for date in world.calendar.dates
            for language in LANGUAGES[: self.languages]
            for sign in SIGNS
        )

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Horoscopes uploaded in the span, and who listens to those of its days."""
        return [*self._studio(span, rng), *self._listeners(span, rng)]

    def _item(self, name: str, at: Array, item: Array, **columns: object) -> Batch:
        return self.batch(
            name, at, entity_id=Words(self.names, item),
            zodiac_sign=Words(SIGN_WORDS, item % 12),
            language=Words(LANGUAGE_WORDS, item // 12 % self.languages), **columns,  # type: ignore[arg-type]
        )  # fmt: skip

    def _studio(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Uploads of the day before, reviews, publication in the early morning.

        A span makes the items that are uploaded in it, which are those of the days after.
        """
        per_day = 12 * self.languages
        first = span.first + 1 if span.first else 0
        last = min(span.last + 1, self.world.calendar.days)
        item = np.arange(first * per_day, last * per_day)
        size = len(item)
        rejected, missing = self.rejected.ravel()[item], self.missing.ravel()[item]
        morning = self.world.midnight + item // per_day * DAY
        # the first day of a run has no day before it: its items come in the night
        ahead = np.where(item // per_day == 0, 4.6, 11.0) * HOUR
        uploaded = morning + 4 * HOUR - ahead.astype(np.int64) + rng.integers(0, 4 * HOUR, size)
        uploaded = np.maximum(uploaded, self.world.midnight + item % 97)
        decided = uploaded + delay(rng, 42 * MINUTE, 0.5, size)
        again = decided + delay(rng, 35 * MINUTE, 0.4, size)
        approved = np.where(rejected, again + delay(rng, 30 * MINUTE, 0.5, size), decided)
        published = np.maximum(morning + 5 * HOUR, approved) + rng.integers(0, 5 * MINUTE, size)
        replaced = rejected & ~missing
        why = choose(rng, (5, 2, 3, 1), int(rejected.sum()))
        flagged = chance(rng, 0.012, size) & ~missing
        complained = published[flagged] + delay(rng, 3 * HOUR, 0.6, int(flagged.sum()))
        return [
            self._item("horoscope_uploaded", uploaded, item),
            self._item("horoscope_uploaded", again[replaced], item[replaced]),
            self.batch("moderation_decision", decided[rejected], source="moderation-desk",
                       entity_type="horoscope", entity_id=Words(self.names, item[rejected]),
                       status="rejected", actor_type="admin", reason=Words(REASONS, why)),
            self._item("horoscope_approved", approved[~missing], item[~missing]),
            self._item("horoscope_published", published[~missing], item[~missing]),
            self.batch("content_flagged", complained, source="moderation-desk",
                       entity_type="horoscope", entity_id=Words(self.names, item[flagged]),
                       actor_type="user", reason="offensive"),
        ]  # fmt: skip

    def _listeners(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """People hear the horoscope of their sign, if there is one."""
        day, at = self.starts(rng, span)
        people = self.world.people
        person = people.draw(rng, day)
        at = np.maximum(at, self.world.calendar.midnight(day) + 5 * HOUR + 10 * MINUTE)
        language = np.minimum(people.country[person] % 3, self.languages - 1)
        item = (day * self.languages + language) * 12 + people.sign[person]
        there = ~self.missing.ravel()[item]
        at, person, item = at[there], person[there], item[there]
        at = at + rng.integers(0, HOUR, len(at))
        audio = self.audio.ravel()[item]
        share = np.where(chance(rng, 0.55, len(at)), 1.0, rng.beta(1.3, 1.6, len(at)))
        return [
            self.batch(
                "horoscope_listened", at, person, channel="app", user_id=people.ids(person),
                country_code=people.countries(person), entity_id=Words(self.names, item),
                duration_seconds=Number(np.round(audio * share, 1)),
                listened_seconds=Number(np.round(audio * share, 1)), audio_seconds=Number(audio),
            )
        ]  # fmt: skip

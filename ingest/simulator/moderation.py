"""Moderation of what users publish: assets, profiles, messages, reviews.

That of orders and of horoscopes belongs to their own modules.
"""

from __future__ import annotations

import numpy as np

from ingest.simulator.draws import HOUR, MINUTE, chance, choose, delay
from ingest.simulator.lines import Batch
from ingest.simulator.orders import DECISIONS
from ingest.simulator.values import Array, Code, Vocabulary, Words
from ingest.simulator.world import Domain, Span

ENTITY_TYPES = Vocabulary(("asset", "profile", "message", "review"))
FLAGS = Vocabulary(("spam", "offensive", "copyright", "impersonation", "other"))
VERDICTS = Vocabulary(
    ("breaks the house rules", "no violation found", "copyright notice attached", "duplicate flag")
)


class Moderation(Domain):
    """Flags and what becomes of them; one unit is one flagged thing."""

    name = "moderation"
    profile = "web"
    share = 0.015
    events_per_unit = 2.05
    source = "moderation-desk"

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Things flagged in the span."""
        day, flagged = self.starts(rng, span)
        size = len(day)
        number = self.numbers(size)
        kind = choose(rng, (45, 20, 25, 10), size)
        flag = choose(rng, (40, 20, 18, 8, 14), size)
        night = (flagged // HOUR % 24) < 7
        decided = flagged + delay(rng, np.where(night, 5.0, 1.6) * HOUR, 0.8, size, MINUTE)
        settled = np.flatnonzero(chance(rng, 0.96, size))
        rejected = chance(rng, 0.42, size)
        appealed = np.flatnonzero(rejected & chance(rng, 0.16, size))
        appeal = decided[appealed] + delay(rng, 9 * HOUR, 0.8, len(appealed))

        def event(name: str, at: Array, which: Array, **columns: object) -> Batch:
            return self.batch(
                name, at, entity_type=Words(ENTITY_TYPES, kind[which]),
                entity_id=Code(number[which], prefix="itm_"), **columns,  # type: ignore[arg-type]
            )  # fmt: skip

        def decision(at: Array, which: Array, refused: Array) -> Batch:
            return event(
                "moderation_decision", at, which, actor_type="admin",
                status=Words(DECISIONS, refused.astype(np.int32)),
                reason=Words(VERDICTS, choose(rng, (4, 3, 1, 1), len(which))),
            )  # fmt: skip

        second = appeal + delay(rng, 20 * HOUR, 0.6, len(appealed))
        return [
            event("content_flagged", flagged, np.arange(size), actor_type="user",
                  reason=Words(FLAGS, flag)),
            decision(decided[settled], settled, rejected[settled]),
            event("appeal_submitted", appeal, appealed, actor_type="user"),
            decision(second, appealed, chance(rng, 0.6, len(appealed))),
        ]  # fmt: skip

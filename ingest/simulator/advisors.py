"""Advisors: who they are, how good they are, and how it shows before they leave.

Known truth: tier, latent quality, first day, churn day. ``vigour`` of an advisor on a day is what
all behaviour follows: quality, dampened over the weeks before churn. What advisors do stands in
``advisory``, what happens to their messages in ``delivery``.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from ingest.simulator.draws import chance, choose
from ingest.simulator.people import NEVER
from ingest.simulator.values import Array, Vocabulary, mix
from ingest.simulator.world import World

TIERS = Vocabulary(("basic", "standard", "pro"))
DECLINE_DAYS = 28


class Advisors:
    """All advisors of a run, by number."""

    def __init__(self, world: World, count: int) -> None:
        """Draw them."""
        rng = world.rng("advisors")
        days = world.calendar.days
        self.world, self.count = world, count
        # every tier is there however small the run
        self.tier = choose(rng, (50, 32, 18), count)
        self.tier[: min(3, count)] = np.arange(min(3, count))
        self.quality = np.clip(rng.beta(3.2, 1.9, count) + 0.05 * (self.tier - 0.6), 0.05, 0.99)
        joins_later = chance(rng, 0.25, count)
        self.first_day = np.where(joins_later, rng.integers(0, max(days * 2 // 3, 1), count), 0)
        leaves = chance(rng, np.clip(0.38 - 0.34 * self.quality, 0.02, 1), count)
        churn = self.first_day + rng.integers(min(15, days), days + 15, count)
        self.churn_day = np.where(leaves & (churn < days), churn, NEVER)
        self.clients = np.maximum(rng.lognormal(3.4, 0.5, count), 8).astype(np.int64)
        self.ids = Vocabulary(
            f"{int(a):016x}{int(b):016x}"
            for a, b in zip(
                mix(np.arange(count), world.seed + 11), mix(np.arange(count), 12), strict=True
            )
        )

    def active(self, advisor: Array, day: Array) -> Array:
        """Whether an advisor is there on a day."""
        return (self.first_day[advisor] <= day) & (day < self.churn_day[advisor])

    def vigour(self, advisor: Array, day: Array) -> Array:
        """Quality as it shows on a day, 0..1."""
        left = np.clip((self.churn_day[advisor] - day) / DECLINE_DAYS, 0, 1)
        return self.quality[advisor] * (0.2 + 0.8 * left)

    def client(self, advisor: Array, slot: Array) -> Array:
        """Hash number of the n-th client of an advisor."""
        return mix(advisor * 100_000 + slot % self.clients[advisor], 21)

    def truth(self) -> pa.Table:
        """One row per advisor, as written beside the events."""
        start = self.world.calendar.start
        return pa.table(
            {
                "advisor_id_hash": list(self.ids.values),
                "tier": [TIERS.values[i] for i in self.tier],
                "quality": self.quality,
                "clients": self.clients,
                "first_date": [start + timedelta(days=int(d)) for d in self.first_day],
                "churn_date": pa.array(
                    [
                        None if day == NEVER else start + timedelta(days=int(day))
                        for day in self.churn_day
                    ],
                    pa.date32(),
                ),
            }
        )

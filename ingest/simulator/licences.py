"""Licences of assets, from purchase to renewal or expiry, with royalties for their creators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.simulator.draws import DAY, HOUR, MINUTE, cents, chance, delay
from ingest.simulator.lines import Batch
from ingest.simulator.values import Array, Code, Column, Number

if TYPE_CHECKING:
    from ingest.simulator.marketplace import Marketplace

ROYALTY_SHARE = 0.3
TERM = 30 * DAY


class Licences:
    """What follows from a licence that was bought."""

    def __init__(self, shop: Marketplace) -> None:
        """Belong to a marketplace."""
        self.shop = shop
        self.made = 0

    def sold(self, rng: np.random.Generator, at: Array, member: Array, asset: Array) -> list[Batch]:
        """Events of licences bought at these times by these members."""
        size, people = len(at), self.shop.world.people
        number = np.arange(self.made, self.made + size)
        self.made += size
        price = cents(rng, 3900, 0.8, size)

        def event(name: str, when: Array, which: Array, **columns: Column) -> Batch:
            return self.shop.batch(
                name, when, member[which], source="licence-desk", channel="web",
                user_id=people.ids(member[which]), country_code=people.countries(member[which]),
                license_id=Code(number[which], prefix="lic_"),
                ip_asset_id=self.shop.catalogue.asset(asset[which]),
                creator_id=self.shop.catalogue.creator(asset[which]),
                project_id=self.shop.catalogue.project(asset[which]),
                brand_id=self.shop.catalogue.brand(asset[which]), **columns,
            )  # fmt: skip

        everything = np.arange(size)
        signed = np.flatnonzero(chance(rng, 0.86, size))
        signature = at[signed] + delay(rng, 7 * HOUR, 1.0, len(signed), MINUTE)
        renewed = signed[chance(rng, 0.45, len(signed))]
        expired = np.setdiff1d(signed, renewed, assume_unique=True)
        again = at[renewed] + TERM - delay(rng, 20 * HOUR, 0.6, len(renewed))
        paid_at = np.concatenate([at[signed], again])
        paid_for = np.concatenate([signed, renewed])
        return [
            event("license_created", at, everything, revenue_cents=Number(price),
                  amount_cents=Number(price), currency="USD"),
            event("license_signed", signature, signed),
            event("license_renewed", again, renewed, revenue_cents=Number(price[renewed])),
            event("license_expired", at[expired] + TERM, expired),
            *self._royalties(rng, paid_at, number[paid_for], asset[paid_for], price[paid_for]),
        ]  # fmt: skip

    def _royalties(
        self, rng: np.random.Generator, at: Array, number: Array, asset: Array, price: Array
    ) -> list[Batch]:
        """Calculated the next night, stated and paid the Monday after."""
        creator = self.shop.catalogue.creator
        royalty = Number((price * ROYALTY_SHARE).astype(np.int64))
        night = (at // DAY + 1) * DAY + 2 * HOUR + rng.integers(0, HOUR, len(at))
        monday = ((night // DAY + 3) // 7 * 7 + 4) * DAY + 9 * HOUR + rng.integers(0, HOUR, len(at))
        batch = self.shop.batch
        return [
            batch("royalty_calculated", night, source="royalty-engine", creator_id=creator(asset),
                  license_id=Code(number, prefix="lic_"), royalty_cents=royalty),
            batch("royalty_statement_generated", monday, source="royalty-engine",
                  creator_id=creator(asset)),
            batch("royalty_paid", monday + 26 * HOUR, source="royalty-engine",
                  creator_id=creator(asset), royalty_cents=royalty),
        ]  # fmt: skip

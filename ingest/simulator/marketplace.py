"""Web sessions of the marketplace: visitors, pages, assets, searches, clicks on licences.

Visitors are members, people who will sign up within days (known by their anonymous id only) and
strangers. What creators, brands and the platform itself do stands in ``supply``.
"""

from __future__ import annotations

import numpy as np

from ingest.simulator import web
from ingest.simulator.draws import MINUTE, SECOND, chance, choose, delay, rank_weights
from ingest.simulator.licences import Licences
from ingest.simulator.lines import Batch
from ingest.simulator.people import COUNTRY_WEIGHTS, COUNTRY_WORDS
from ingest.simulator.values import Array, Code, Column, Hash, Number, Vocabulary, Words, mix
from ingest.simulator.world import Domain, Span, World

QUERIES = Vocabulary(
    ("moon illustration", "tarot deck", "music for meditation", "zodiac icons", "sun and moon",
     "crystal photos", "logo with stars", "licence for print", "birth chart template", "wallpaper")
)  # fmt: skip
#: What a visitor does after the first page; name -> weight.
ACTIONS: dict[str, float] = {
    "page_viewed": 40, "asset_viewed": 31, "search_performed": 8, "filter_applied": 6,
    "cta_clicked": 5, "asset_downloaded": 3, "license_clicked": 4, "profile_updated": 1.2,
}  # fmt: skip
MEMBERS_ONLY = ("profile_updated", "user_logged_in")
WITH_ASSET = ("asset_viewed", "asset_downloaded", "license_clicked")


class Catalogue:
    """Assets, and the creator, project and brand that each belongs to."""

    def __init__(self, size: int) -> None:
        """Scale the catalogue with the run."""
        self.assets = int(np.clip(60 + size // 1_000, 60, 20_000))
        self.creators = max(self.assets // 6, 10)
        self.projects = int(np.clip(10 + size // 25_000, 10, 400))
        self.brands = max(self.projects // 3, 4)
        self.popularity = rank_weights(self.assets, 0.7)

    def creator(self, asset: Array) -> Code:
        """Column creator_id."""
        return Code(asset % self.creators, prefix="creator_", digits=6)

    def asset(self, asset: Array) -> Code:
        """Column ip_asset_id."""
        return Code(asset, prefix="asset_", digits=6)

    def project(self, asset: Array, present: Array | None = None) -> Code:
        """Column project_id."""
        return Code(asset % self.projects, present, prefix="prj_", digits=3)

    def brand(self, asset: Array, present: Array | None = None) -> Code:
        """Column brand_id."""
        return Code(asset % self.projects % self.brands, present, prefix="brand_", digits=3)


class Marketplace(Domain):
    """Visits; one unit is one session."""

    name = "marketplace"
    profile = "web"
    share = 0.18
    events_per_unit = 5.3
    source = "web"

    def __init__(self, world: World, units: float) -> None:
        """Open with a catalogue."""
        super().__init__(world, units)
        self.catalogue = Catalogue(world.size)
        self.licences = Licences(self)

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Sessions that begin in the span, and the licences that come out of them."""
        day, begun = self.starts(rng, span)
        people, size = self.world.people, len(day)
        kind = choose(rng, (54, 14, 32), size)  # member, about to sign up, stranger
        member = np.where(kind == 0, people.draw(rng, day), -1)
        future = np.where(kind == 1, people.draw_future(rng, day), -1)
        known = np.where(member >= 0, member, future)
        stranger = mix(self.numbers(size), 5)
        device = np.where(known >= 0, mix(known), stranger)
        anonymous = np.where(known >= 0, people.hashes(known, "anonymous").values, stranger)
        dnt = (kind == 2) & chance(rng, 0.03, size)
        visit = web.visits(rng, device, dnt)
        drawn = choose(rng, COUNTRY_WEIGHTS, size)
        country = np.where(known >= 0, people.country[np.maximum(known, 0)], drawn)

        pages = np.where(chance(rng, 0.3, size), 1, 2 + rng.geometric(0.24, size))
        pages = np.minimum(pages, 60)
        session = np.repeat(np.arange(size), pages)
        first = np.zeros(len(session), bool)
        first[np.cumsum(pages) - pages] = True
        gap = delay(rng, 26 * SECOND, 1.0, len(session), 600)
        gap[first] = 0
        total = np.cumsum(gap)
        at = begun[session] + total - np.repeat(total[first], pages)
        names = [*ACTIONS, "user_logged_in"]
        action = choose(rng, list(ACTIONS.values()), len(session))
        action[first] = 0
        second = np.flatnonzero(first[:-1] & ~first[1:]) + 1 if len(first) else first.nonzero()[0]
        enters = second[(member[session[second]] >= 0) & chance(rng, 0.4, len(second))]
        action[enters] = len(names) - 1
        private = np.isin(action, [names.index(name) for name in MEMBERS_ONLY])
        action[private & (member[session] < 0)] = 0
        asset = choose(rng, self.catalogue.popularity, len(session))
        page_weights = rank_weights(len(web.PAGES), 0.6)
        batches = []
        for code, name in enumerate(names):
            which = np.flatnonzero(action == code)
            of = session[which]
            batches.append(
                self.batch(
                    name, at[which], member[of],
                    channel="web", user_id=people.ids(member[of]),
                    anonymous_id=Hash(anonymous[of], prefix="a_"),
                    session_id=Hash(stranger[of], prefix="s_"),
                    country_code=Words(COUNTRY_WORDS, country[of]),
                    page_url=Words(web.PAGES, choose(rng, page_weights, len(of))),
                    context=Words(web.FRAGMENTS, visit[of]),
                    **self._properties(name, asset[which], rng),
                )
            )  # fmt: skip
        wanted = action == names.index("license_clicked")
        clicked = np.flatnonzero(wanted & (member[session] >= 0))
        clicked = clicked[chance(rng, 0.35, len(clicked))]
        bought = at[clicked] + delay(rng, 3 * MINUTE, 0.6, len(clicked))
        batches += self.licences.sold(rng, bought, member[session[clicked]], asset[clicked])
        return batches

    def _properties(self, name: str, asset: Array, rng: np.random.Generator) -> dict[str, Column]:
        size = len(asset)
        if name in WITH_ASSET:
            promoted = chance(rng, 0.5, size)
            seconds = np.round(rng.lognormal(2.6, 0.9, size), 1)
            return {
                "ip_asset_id": self.catalogue.asset(asset),
                "creator_id": self.catalogue.creator(asset),
                "project_id": self.catalogue.project(asset, promoted),
                "brand_id": self.catalogue.brand(asset, promoted),
                **({"engagement_seconds": Number(seconds)} if name == "asset_viewed" else {}),
            }
        if name == "page_viewed":
            return {"engagement_seconds": Number(np.round(rng.lognormal(2.3, 1.0, size), 1))}
        if name == "search_performed":
            return {
                "query": Words(QUERIES, choose(rng, rank_weights(len(QUERIES)), size)),
                "results": Number(rng.geometric(0.03, size) - 1),
            }
        return {}

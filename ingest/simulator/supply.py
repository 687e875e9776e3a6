"""The other side of the marketplace: creators' uploads, brands' projects, the platform's noise.

The noise is mails, webhooks, failed jobs and errors. Visitors are in ``marketplace``.
"""

from __future__ import annotations

import numpy as np

from ingest.simulator.draws import DAY, HOUR, MINUTE, cents, chance, choose, delay, rank_weights
from ingest.simulator.lines import Batch
from ingest.simulator.marketplace import Catalogue
from ingest.simulator.values import Code, Number, Vocabulary, Words
from ingest.simulator.world import Domain, Span, World

HOOKS = Vocabulary(("stripe", "whatsapp_cloud", "mail_relay", "storage"))
JOBS = Vocabulary(("thumbnail", "royalty_run", "search_index", "export"))
ERRORS = ("E_TIMEOUT", "E_UPSTREAM", "E_VALIDATION", "E_QUOTA")
ERROR_CODES = Vocabulary(ERRORS)
ERROR_TEXTS = Vocabulary(
    ("upstream timed out after 30 s", "bad gateway", "field title is too long", "quota exceeded")
)


class Uploads(Domain):
    """Assets and projects; one unit is one uploaded asset."""

    name = "uploads"
    profile = "web"
    share = 0.01
    events_per_unit = 1.95
    source = "web"

    def __init__(self, world: World, units: float) -> None:
        """Plan the projects: a third is there from the first day on, the others come later."""
        super().__init__(world, units)
        self.catalogue = Catalogue(world.size)
        rng = world.rng(self.name, "projects")
        days, count = world.calendar.days, self.catalogue.projects
        self.project_day = np.where(np.arange(count) % 3 == 0, 0, rng.integers(0, days, count))

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Uploads of the span with their review, and projects that begin in it."""
        day, at = self.starts(rng, span)
        people, size = self.world.people, len(day)
        asset = self.numbers(size) % self.catalogue.assets
        # creators are people who were there before the run began
        settled = max(int(np.searchsorted(people.first_day, 0)), 1)
        person = (asset % self.catalogue.creators) * 7919 % settled
        refs = {
            "ip_asset_id": self.catalogue.asset(asset),
            "creator_id": self.catalogue.creator(asset),
        }
        decided = at + delay(rng, 5 * HOUR, 0.8, size, MINUTE)
        fate = choose(rng, (78, 17, 5), size)
        batches = [
            self.batch("asset_uploaded", at, person, channel="web", user_id=people.ids(person),
                       country_code=people.countries(person), **refs),
        ]  # fmt: skip
        for code, name in enumerate(("asset_approved", "asset_rejected")):
            which = np.flatnonzero(fate == code)
            batches.append(
                self.batch(name, decided[which], actor_type="admin",
                           **{key: column.pick(which) for key, column in refs.items()})
            )  # fmt: skip
        return [*batches, *self._projects(span, rng)]

    def _projects(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        number = np.flatnonzero((self.project_day >= span.first) & (self.project_day < span.last))
        size = len(number)
        created = self.world.calendar.moments(rng, self.project_day[number], "business")
        started = created + delay(rng, 2 * DAY, 0.5, size, HOUR)
        completed = started + delay(rng, 24 * DAY, 0.5, size, DAY)
        archived = completed + delay(rng, 6 * DAY, 0.5, size, HOUR)
        ids = {
            "project_id": self.catalogue.project(number),
            "brand_id": self.catalogue.brand(number),
        }
        budget = Number(cents(rng, 900_000, 0.7, size))
        return [
            self.batch("project_created", created, budget_cents=budget, **ids),
            self.batch("project_started", started, **ids),
            self.batch("project_completed", completed, **ids),
            self.batch("project_archived", archived, **ids),
        ]


class Platform(Domain):
    """Mails and technical events; one unit is one of them."""

    name = "platform"
    profile = "flat"
    share = 0.02
    events_per_unit = 1.0
    source = "platform"

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Technical events of the span."""
        day, at = self.starts(rng, span)
        kind = choose(rng, (48, 44, 3, 5), len(day))
        people = self.world.people
        mail, hook, job, error = (np.flatnonzero(kind == code) for code in range(4))
        person = people.draw(rng, day[mail])
        code = choose(rng, rank_weights(len(ERRORS)), len(error))
        # jobs fail in clusters: the same night hour for most of them
        nightly = chance(rng, 0.6, len(job))
        failed = np.where(nightly, at[job] // DAY * DAY + 3 * HOUR + at[job] % HOUR, at[job])
        return [
            self.batch("email_sent", at[mail], channel="email", user_id=people.ids(person),
                       country_code=people.countries(person), provider="mail_relay"),
            self.batch("webhook_received", at[hook],
                       provider=Words(HOOKS, choose(rng, (4, 5, 2, 1), len(hook))),
                       request_id=Code(self.numbers(len(hook)), prefix="req_")),
            self.batch("job_failed", failed,
                       job_name=Words(JOBS, choose(rng, (5, 1, 3, 2), len(job)))),
            self.batch("error_raised", at[error], error_code=Words(ERROR_CODES, code),
                       error_message=Words(ERROR_TEXTS, code)),
        ]  # fmt: skip

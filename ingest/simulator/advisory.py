"""What advisors do: content, its approval and schedule, features, dashboards, tickets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ingest.simulator.advisors import TIERS, Advisors
from ingest.simulator.delivery import Delivery
from ingest.simulator.draws import DAY, HOUR, MINUTE, SECOND, chance, choose, delay, rank_weights
from ingest.simulator.lines import Batch
from ingest.simulator.values import Array, Code, Hash, Number, Stamp, Vocabulary, Words, flag, mix
from ingest.simulator.world import Domain, Span, World

CONTENT_TYPES = Vocabulary(("edu", "mkt", "sip", "tax", "ins", "ret"))
PLATFORMS = Vocabulary(("whatsapp", "status", "linkedin"))
LANGUAGES = Vocabulary(("en", "hi", "mr"))
METHODS = Vocabulary(("ai_generated", "template_based", "manual_upload"))
MODELS = Vocabulary(("writer-small", "writer-large"))
APPROVALS = Vocabulary(("approved", "rejected", "requires_revision"))
STAGES = Vocabulary(("rules", "ai_analysis", "final"))
REVIEWERS = Vocabulary(("automated", "human_reviewer"))
RISKS = Vocabulary(('["guaranteed_returns"]', '["missing_disclaimer"]', "[]"), raw=True)
GROUPS = Vocabulary(("group_1", "group_2", "group_3", "group_4"))
FEATURES = Vocabulary(
    ("content_editor", "ai_generator", "scheduler", "analytics", "client_segments", "templates",
     "compliance_check", "branding", "bulk_send", "referral_link")
)  # fmt: skip
CONTENTS_PER_DAY = 1.2


class Advisory(Domain):
    """Advisors at work; one unit is one message sent to a client."""

    name = "advisory"
    profile = "business"
    share = 0.15
    events_per_unit = 4.3
    linear = False
    source = "advisor-app"

    def __init__(self, world: World, units: float) -> None:
        """Sign up as many advisors as the run can feed."""
        super().__init__(world, units)
        days = world.calendar.days
        self.advisors = Advisors(world, int(np.clip(world.size // (days * 80), 18, 5_000)))
        self.delivery = Delivery(self, self.advisors)
        # in a run too small for that many advisors everyone does little
        self.pace = min(1.0, world.size / (days * 80 * self.advisors.count))
        grid = np.arange(days)[:, None], np.arange(self.advisors.count)[None, :]
        # expected contents, to share the planned messages among them
        self.rate = np.where(
            self.advisors.active(grid[1], grid[0]),
            (0.12 + 0.88 * self.advisors.vigour(grid[1], grid[0])) * CONTENTS_PER_DAY * self.pace,
            0.0,
        )
        weekday = world.calendar.weights("business")
        self.rate *= (weekday / weekday.mean())[:, None]
        # days with nobody at work hand their messages on to the others
        self.per_content = self.counts.sum() / max(float(self.rate.sum()), 1.0)

    def events(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Contents created in the span with all that follows, and use of the platform."""
        days, count = span.last - span.first, self.advisors.count
        made = rng.poisson(self.rate[span.first : span.last]).ravel()
        cell = np.repeat(np.arange(days * count), made)
        day, advisor = span.first + cell // count, cell % count
        vigour = self.advisors.vigour(advisor, day)
        created = self.world.calendar.moments(rng, day, "business")
        number = self.numbers(len(day))
        kind = choose(rng, rank_weights(6, 0.5), len(day))
        # weak advisors keep to what they know
        kind = np.where(chance(rng, 0.75 - 0.6 * vigour, len(day)), advisor % 2, kind)
        batches = [self._created(rng, created, advisor, number, kind)]
        approved_at, approved, more = self._approval(rng, created, advisor, number, vigour)
        # some contents are never approved, and some of the approved ones go to nobody's phone
        copies = rng.poisson(1.2 * self.per_content, len(day)) * approved
        live = np.flatnonzero(copies)
        due, sent_due, scheduled = self._schedule(
            rng, approved_at[live], advisor[live], number[live]
        )
        batches += [*more, scheduled]
        batches += self.delivery.messages(
            rng, due, sent_due, advisor[live], number[live], kind[live], vigour[live], copies[live]
        )
        return [*batches, *self._platform(span, rng)]

    def who(self, advisor: Array) -> Words:
        """Column advisor_id_hash."""
        return Words(self.advisors.ids, advisor)

    def ids(self, number: Array) -> Code:
        """Column entity_id: the content."""
        return Code(number, prefix="cnt_")

    def _created(
        self, rng: np.random.Generator, at: Array, advisor: Array, number: Array, kind: Array
    ) -> Batch:
        size = len(at)
        method = choose(rng, (52, 33, 15), size)
        return self.batch(
            "content_created", at, actor_type="advisor", advisor_id_hash=self.who(advisor),
            entity_id=self.ids(number), channel="app", country_code="IN",
            content_type=Words(CONTENT_TYPES, kind),
            platform=Words(PLATFORMS, choose(rng, (82, 12, 6), size)),
            language=Words(LANGUAGES, choose(rng, (55, 33, 12), size)),
            creation_method=Words(METHODS, method),
            generation_time_seconds=Number(np.round(rng.lognormal(2.1, 0.7, size), 2)),
            ai_model_used=Words(MODELS, np.where(method == 0, number % 2, -1)),
            template_id=Code(number % 40, method == 1, prefix="tpl_", digits=3),
            initial_risk_score=Number(np.minimum((rng.beta(1.5, 6, size) * 100).astype(int), 100)),
            requires_approval=True, compliance_version="2026.1",
            advisor_tier=Words(TIERS, self.advisors.tier[advisor]),
        )  # fmt: skip

    def _approval(
        self, rng: np.random.Generator, created: Array, advisor: Array, number: Array, vigour: Array
    ) -> tuple[Array, Array, list[Batch]]:
        """Result of the review and, after a revision, of the second one."""
        size = len(created)
        good = 0.66 + 0.33 * vigour
        result = np.where(chance(rng, good, size), 0, np.where(chance(rng, 0.45, size), 1, 2))
        first = created + delay(rng, 95 * SECOND, 0.8, size, 8 * SECOND)
        again = np.flatnonzero(result == 2)
        second = first[again] + delay(rng, 3 * HOUR, 0.7, len(again), 10 * MINUTE)
        better = np.where(chance(rng, good[again], len(again)), 0, 1)
        final, done = result.copy(), first.copy()
        final[again], done[again] = better, second

        def event(at: Array, since: Array, which: Array, status: Array) -> Batch:
            count = len(at)
            human = chance(rng, 0.25, count)
            parts = np.round(rng.lognormal((0.2, 1.1, 0.4), 0.5, (count, 3)), 2).T
            bad = status > 0
            return self.batch(
                "content_approval_result", at, source="compliance-engine",
                advisor_id_hash=self.who(advisor[which]), entity_id=self.ids(number[which]),
                approval_status=Words(APPROVALS, status), approval_stage=Words(STAGES, 2 - bad),
                final_risk_score=Number((rng.beta(1.4, 7, count) * 60).astype(int) + 35 * bad),
                reviewer_type=Words(REVIEWERS, human.astype(int)),
                reviewer_id_hash=Hash(mix(number[which] % 9, 31), human),
                total_processing_time_seconds=Number(np.round((at - since) / 1000, 3)),
                stage_1_rule_validation_time=Number(parts[0]),
                stage_2_ai_analysis_time=Number(parts[1]),
                stage_3_final_validation_time=Number(parts[2]),
                queue_wait_time_seconds=Number(np.round(rng.exponential(12, count), 2)),
                sebi_violations_detected=Number(bad * rng.integers(0, 3, count)),
                forbidden_terms_count=Number(bad * rng.integers(0, 4, count)),
                disclaimer_compliance=flag(~bad | chance(rng, 0.6, count)),
                risk_factors_identified=Words(RISKS, np.where(bad, number[which] % 2, 2)),
            )  # fmt: skip

        batches = [
            event(first, created, np.arange(size), result),
            event(second, first[again], again, better),
        ]
        return done, final == 0, batches

    def _schedule(
        self, rng: np.random.Generator, approved: Array, advisor: Array, number: Array
    ) -> tuple[Array, Array, Batch]:
        """Delivery on the next morning: due time, its jittered time, and the events."""
        size = len(approved)
        at = approved + delay(rng, 6 * MINUTE, 0.8, size, 5 * SECOND)
        slot = (at // DAY + 1) * DAY + 6 * HOUR + rng.integers(0, 9, size) * 30 * MINUTE
        jitter = rng.integers(0, 301, size)
        batch = self.batch(
            "content_scheduled", at, source="scheduler", advisor_id_hash=self.who(advisor),
            entity_id=self.ids(number),
            scheduled_delivery_time=Stamp(self.world.calendar.to_utc(slot)),
            delivery_group=Words(GROUPS, number % 4), jitter_offset_seconds=Number(jitter),
            client_count_estimate=Number(self.advisors.clients[advisor]),
            expected_delivery_attempts=1,
            whatsapp_template_name=Code(number % 40, prefix="tpl_", digits=3),
            phone_number_shard=Code(advisor % 8, prefix="shard_", digits=3),
        )  # fmt: skip
        return slot, slot + jitter * SECOND, batch

    def _platform(self, span: Span, rng: np.random.Generator) -> list[Batch]:
        """Features used, dashboards viewed, tickets opened."""
        count = self.advisors.count
        cell = np.arange((span.last - span.first) * count)
        day, advisor = span.first + cell // count, cell % count
        there = self.advisors.active(advisor, day)
        day, advisor = day[there], advisor[there]
        vigour = self.advisors.vigour(advisor, day)
        batches = []
        for name, mean in (
            ("advisor_feature_used", 0.15 + 1.3 * vigour),
            ("advisor_dashboard_viewed", 0.15 + 1.1 * vigour),
            ("support_ticket_opened", 0.05 * (1.25 - vigour)),
        ):
            row = np.repeat(np.arange(len(day)), rng.poisson(mean * self.pace))
            at = self.world.calendar.moments(rng, day[row], "business")
            # who is good knows more of the platform
            known = np.ceil(len(FEATURES) * (0.3 + 0.7 * vigour[row]))
            feature = ((rng.random(len(row)) * known).astype(int) + advisor[row]) % len(FEATURES)
            extra = {"feature": Words(FEATURES, feature)} if name == "advisor_feature_used" else {}
            batches.append(
                self.batch(name, at, channel="app", actor_type="advisor",
                           advisor_id_hash=self.who(advisor[row]), **extra)
            )  # fmt: skip
        return batches

    def truth(self) -> dict[str, Any]:
        """The advisors."""
        return {"advisors": self.advisors.truth()}

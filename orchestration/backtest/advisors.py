"""The backtest of advisors' health scores: a made-up company, run in a home of its own.

Belongs here: making the events, running them, laying scores beside the truth about who left, and
judging them. The statistics belong in ``orchestration.backtest.statistics``; the score itself is
the models'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UserError
from ingest.settings import Settings
from orchestration.backtest.home import Notify, make_company, own_home, settings_of
from orchestration.backtest.statistics import Flags, Floats, Signal, ranking, verdict, wilson
from orchestration.dbt_project import seed_rows

#: Days between two dates that are judged.
STEP = 7

SCORE = "health_score"

#: What is judged, in words; what is not a component or the score is a baseline.
WORDS = {
    SCORE: "health score",
    "days_since_last_event": "baseline: days since the last event",
    "messages_sent_30d": "baseline: messages sent in 30 days",
    "content_creation_consistency": "content creation consistency",
    "delivery_performance": "delivery performance",
    "client_engagement_effectiveness": "client engagement effectiveness",
    "platform_utilization": "platform utilization",
}
BASELINES = ("days_since_last_event", "messages_sent_30d")
COMPONENTS = tuple(WORDS)[3:]


@dataclass(frozen=True)
class Band:
    """A band of health scores: churn rate of one half of the advisors beside that of the other."""

    category: str
    low: int
    high: int
    fitted_on: int
    expected: float | None
    advisor_dates: int
    churned: int
    observed: float | None
    interval: tuple[float, float] | None


def calibration(
    score: NDArray[np.int64],
    churned: Flags,
    fitting: Flags,
    bands: Sequence[tuple[str, int]],
) -> tuple[Band, ...]:
    """Fit the churn rate of each band where ``fitting`` holds and compare it where it does not.

    ``bands`` are (category, lowest score); each ends below the next, the last one at 100.
    """
    ordered = sorted(bands, key=lambda band: band[1])
    ends = [low - 1 for _, low in ordered[1:]] + [100]
    made = []
    for (category, low), high in zip(ordered, ends, strict=True):
        inside = (score >= low) & (score <= high)
        fit, test = inside & fitting, inside & ~fitting
        count, hits = int(test.sum()), int(churned[test].sum())
        made.append(
            Band(
                category=category,
                low=low,
                high=high,
                fitted_on=int(fit.sum()),
                expected=float(churned[fit].mean()) if fit.any() else None,
                advisor_dates=count,
                churned=hits,
                observed=hits / count if count else None,
                interval=wilson(hits, count),
            )
        )
    return tuple(made)


# -- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One row per advisor and date, as arrays of equal length.

    ``advisor`` numbers advisors from 0 in the order of their ids; ``risks`` holds what is judged,
    turned so that more is more likely to churn, nan where it is unknown.
    """

    advisor: NDArray[np.int64]
    churned: Flags
    score: NDArray[np.int64]
    risks: Mapping[str, Floats]


@dataclass(frozen=True)
class Report:
    """What a backtest found, and of what."""

    made: Mapping[str, Any]
    advisor_dates: int
    advisors: int
    churned_dates: int
    churners: int
    signals: tuple[Signal, ...]
    bands: tuple[Band, ...]
    verdict: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Return the same as nested dicts and lists."""
        return asdict(self)


def judge(
    sample: Sample, bands: Sequence[tuple[str, int]], made: Mapping[str, Any] | None = None
) -> Report:
    """Judge a sample: ranking of every signal, calibration of the score, and a verdict in words."""
    signals = ranking(sample.risks, sample.churned, sample.advisor, of=SCORE, rivals=BASELINES)
    return Report(
        made=made or {},
        advisor_dates=len(sample.advisor),
        advisors=len(np.unique(sample.advisor)),
        churned_dates=int(sample.churned.sum()),
        churners=len(np.unique(sample.advisor[sample.churned])),
        signals=signals,
        # Whole advisors to either side: dates of one advisor are no independent evidence.
        bands=calibration(sample.score, sample.churned, sample.advisor % 2 == 1, bands),
        verdict=verdict(
            signals, sample.churned, subject="The health score", words=WORDS, did="churned"
        ),
    )


# -- making ----------------------------------------------------------------------------------------


def backtest_advisors(
    settings: Settings,
    *,
    days: int,
    size: int | str,
    seed: int,
    horizon: int,
    keep: Path | None,
    notify: Notify,
) -> Report:
    """Simulate, ingest, run in a home of its own on DuckDB, and judge the scores by the truth.

    Time zone and seeds are those of ``settings``; its warehouse is not touched. ``keep`` is an
    empty or new folder for that home; without it the home is deleted.

    Raises:
        UserError: the period is too short for the horizon, ``keep`` holds something, or the run
            did not succeed.

    """
    if days < horizon + STEP:
        raise UserError(
            f"--days {days} leaves no date to judge with --horizon {horizon}; "
            f"use at least {horizon + STEP} days"
        )
    with own_home(keep) as home:
        own = settings_of(settings, home)
        made = _make(own, days=days, size=size, seed=seed, notify=notify)
        notify("judging")
        bands = [
            (row["category"], int(row["minimum_score"]))
            for row in seed_rows(own, "advisor_categories")
        ]
        first, last = made["start"], made["end"] - timedelta(days=horizon)
        dates = [last - timedelta(days=n) for n in range(0, (last - first).days - STEP + 2, STEP)]
        sample, unscored = _sample(own, dates=sorted(dates), horizon=horizon)
    facts = {
        **made, "days": days, "seed": seed, "horizon": horizon, "dates": len(dates),
        "first_date": min(dates), "last_date": max(dates), "unscored": unscored,
    }  # fmt: skip
    return judge(sample, bands, facts)


def _make(
    settings: Settings, *, days: int, size: int | str, seed: int, notify: Notify
) -> dict[str, Any]:
    from orchestration import runs

    simulation = make_company(settings, days=days, size=size, seed=seed, notify=notify)
    summary = runs.run(settings, notify=notify, on_step=notify)
    if summary.status != "succeeded":
        raise UserError(f"the run of the backtest ended {summary.status}: {summary.error}")
    return {
        "start": simulation.start, "end": simulation.end, "events": simulation.events,
        "advisors_made": simulation.advisors,
    }  # fmt: skip


#: The truth beside what was known at the end of each date. Lookups of events go backwards only.
SAMPLE = """
with truth as (
    select advisor_id_hash, first_date, churn_date from read_parquet(?)
),

dates as (
    select unnest(?::date[]) as as_of_date
),

there as (
    select
        truth.advisor_id_hash,
        dates.as_of_date,
        coalesce(truth.churn_date <= dates.as_of_date + cast(? as integer), false) as churned
    from truth
    cross join dates
    where
        truth.first_date <= dates.as_of_date
        and (truth.churn_date is null or truth.churn_date > dates.as_of_date)
),

event_days as (
    select distinct advisor_id_hash, event_date
    from raw.events
    where domain = 'advisory'
)

select
    there.advisor_id_hash,
    there.as_of_date,
    there.churned,
    scores.health_score,
    scores.content_creation_consistency,
    scores.delivery_performance,
    scores.client_engagement_effectiveness,
    scores.platform_utilization,
    there.as_of_date - (
        select max(event_days.event_date)
        from event_days
        where
            event_days.advisor_id_hash = there.advisor_id_hash
            and event_days.event_date <= there.as_of_date
    ) as days_since_last_event,
    coalesce((
        select sum(daily.messages_sent)
        from marts.advisor_daily as daily
        where
            daily.advisor_id_hash = there.advisor_id_hash
            and daily.metric_date between there.as_of_date - 29 and there.as_of_date
    ), 0) as messages_sent_30d
from there
left join marts.advisor_health_scores as scores
    on
        there.advisor_id_hash = scores.advisor_id_hash
        and there.as_of_date = scores.as_of_date
order by there.advisor_id_hash, there.as_of_date
"""


def _sample(settings: Settings, *, dates: Sequence[date], horizon: int) -> tuple[Sample, int]:
    from ingest.warehouse import open_warehouse

    truth = str(settings.home / "simulation" / "truth" / "advisors.parquet")
    with open_warehouse(settings, read_only=True) as warehouse:
        rows = warehouse.records(SAMPLE, [truth, [str(day) for day in dates], horizon])
    scored = [row for row in rows if row["health_score"] is not None]

    def column(name: str) -> Floats:
        return np.array([np.nan if row[name] is None else row[name] for row in scored], float)

    ids = sorted({row["advisor_id_hash"] for row in rows})
    number = {advisor: at for at, advisor in enumerate(ids)}
    sample = Sample(
        advisor=np.array([number[row["advisor_id_hash"]] for row in scored], np.int64),
        churned=np.array([row["churned"] for row in scored], bool),
        score=np.array([row["health_score"] for row in scored], np.int64),
        risks={
            SCORE: 100 - column(SCORE),
            "days_since_last_event": column("days_since_last_event"),
            "messages_sent_30d": -column("messages_sent_30d"),
            **{name: 100 - column(name) for name in COMPONENTS},
        },
    )
    return sample, len(rows) - len(scored)

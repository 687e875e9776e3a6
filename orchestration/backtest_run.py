"""The backtest of advisors' health scores: a made-up company, run in a home of its own.

Belongs here: making the events, running them, and laying scores beside the truth. Judging them
belongs in ``orchestration.backtest``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ingest.errors import UserError
from ingest.settings import Settings
from orchestration.backtest import COMPONENTS, SCORE, Floats, Report, Sample, judge
from orchestration.dbt_project import seed_rows

Notify = Callable[[str], None]

#: Days between two dates that are judged.
STEP = 7


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
    with _home(keep) as home:
        own = replace(settings, home=home, target="duckdb", postgres_url=None)
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


@contextmanager
def _home(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tidemark-backtest-") as folder:
            yield Path(folder)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UserError(f"--keep {keep} holds something already; name a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()


def _make(
    settings: Settings, *, days: int, size: int | str, seed: int, notify: Notify
) -> dict[str, Any]:
    from ingest.door import ingest_paths
    from ingest.simulator import simulate
    from orchestration import runs

    notify("making events")
    simulation = simulate(
        days=days, size=size, seed=seed, out=settings.home / "simulation",
        timezone=settings.timezone,
    )  # fmt: skip
    notify("loading events")
    ingest_paths([simulation.events_folder], settings=settings)
    summary = runs.run(settings, notify=notify)
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
    warehouse = open_warehouse(settings, read_only=True)
    try:
        rows = warehouse.records(SAMPLE, [truth, [str(day) for day in dates], horizon])
    finally:
        warehouse.close()
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

"""The backtest of churn_risk: who stays away, foretold on past dates of events made up or given.

Belongs here: running the models as of past dates, laying risks beside what came after, and judging
them. The statistics belong in ``orchestration.backtest.statistics``, the models to compare with in
``orchestration.backtest.rivals``; the risk itself is the dbt project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import duckdb_connection, open_warehouse
from ingest.yaml_files import read_yaml
from orchestration import ledger
from orchestration.backtest.home import Notify, load, make_company, own_home, settings_of
from orchestration.backtest.rivals import stays_away
from orchestration.backtest.statistics import Flags, Floats, Signal, brier, ranking, verdict, wilson
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build

#: Days between two dates that are judged.
STEP = 28

SCORE = "churn_risk"

WORDS = {
    SCORE: "churn risk",
    "days_since_last_contact": "baseline: days since the last contact",
    "contact_days": "baseline: few dates with contact",
    "bg_nbd": "rival: BG/NBD",
    "mbg_nbd": "rival: MBG/NBD",
}
RIVALS = tuple(WORDS)[1:]
PROBABILITIES = (SCORE, "bg_nbd", "mbg_nbd")

MODEL = "customer_insights"


# -- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One row per customer and date, as arrays of equal length.

    ``customer`` numbers customers from 0; ``risks`` holds what is judged, turned so that more is
    more likely to stay away; ``has_left`` is the simulator's truth, None without one.
    """

    customer: NDArray[np.int64]
    stayed_away: Flags
    risks: Mapping[str, Floats]
    has_left: Flags | None = None


@dataclass(frozen=True)
class Band:
    """A tenth of the scale of risk: what was foretold beside what came."""

    low: float
    high: float
    customer_dates: int
    foretold: float | None
    stayed_away: int
    observed: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Report:
    """What a backtest found, and of what; ``leavers`` is empty without a truth about them."""

    made: Mapping[str, Any]
    customer_dates: int
    customers: int
    stayed_away: int
    signals: tuple[Signal, ...]
    leavers: tuple[Signal, ...]
    base_brier: float | None
    bands: tuple[Band, ...]
    verdict: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Return the same as nested dicts and lists."""
        return asdict(self)


def calibration(risk: Floats, stayed_away: Flags) -> tuple[Band, ...]:
    """Lay the mean risk of each tenth of the scale beside the share that stayed away."""
    place = np.minimum((risk * 10).astype(np.int64), 9)
    made = []
    for number in range(10):
        inside = place == number
        count, hits = int(inside.sum()), int(stayed_away[inside].sum())
        made.append(
            Band(
                low=number / 10,
                high=(number + 1) / 10,
                customer_dates=count,
                foretold=float(risk[inside].mean()) if count else None,
                stayed_away=hits,
                observed=hits / count if count else None,
                interval=wilson(hits, count),
            )
        )
    return tuple(made)


def judge(sample: Sample, made: Mapping[str, Any] | None = None) -> Report:
    """Judge a sample: ranking of every signal, calibration of the risk, and a verdict in words."""
    away = sample.stayed_away
    signals = tuple(
        replace(signal, brier=brier(sample.risks[signal.name], away))
        if signal.name in PROBABILITIES
        else signal
        for signal in ranking(sample.risks, away, sample.customer, of=SCORE, rivals=RIVALS)
    )
    leavers: tuple[Signal, ...] = ()
    if sample.has_left is not None:
        leavers = ranking(sample.risks, sample.has_left, sample.customer, of=SCORE, rivals=RIVALS)
    share = np.full(len(away), away.mean() if len(away) else np.nan)
    return Report(
        made=made or {},
        customer_dates=len(away),
        customers=len(np.unique(sample.customer)),
        stayed_away=int(away.sum()),
        signals=signals,
        leavers=leavers,
        base_brier=brier(share, away),
        bands=calibration(sample.risks[SCORE], away),
        verdict=verdict(
            signals, away, subject="The churn risk", words=WORDS, did="stayed away"
        ),
    )  # fmt: skip


# -- making --------------------------------------------------------------------------------------


def backtest_customers(
    settings: Settings,
    *,
    days: int,
    size: int | str,
    seed: int,
    events: Path | None,
    keep: Path | None,
    notify: Notify,
) -> Report:
    """Run the models in a home of its own on DuckDB and judge churn_risk on past dates.

    Events are simulated, or with ``events`` the canonical events of that file or folder. Each date
    is judged by what the models say when they know nothing later, and by who had a contact within
    the horizon after it. Time zone and seeds are those of ``settings``; its warehouse is not
    touched. ``keep`` is an empty or new folder for that home; without it the home is deleted.

    Raises:
        UserError: the period is too short for the horizon, there are no events of customers,
            ``keep`` holds something, or the models could not be built.

    """
    with own_home(keep) as home:
        own = settings_of(settings, home)
        truth: Path | None = None
        facts: dict[str, Any] = {}
        if events is None:
            simulation = make_company(own, days=days, size=size, seed=seed, notify=notify)
            truth, facts["seed"] = simulation.truth_folder / "people.parquet", seed
        else:
            load(own, events, notify=notify)
            facts["source"] = events.name
        with open_warehouse(own, read_only=True) as warehouse:
            first, last = ledger.event_span(warehouse)
            count = int(warehouse.value("select count(*) from raw.events"))
        if first is None or last is None:
            raise UserError(f"{events} holds no event that was accepted; nothing can be judged")
        project = DbtProject(own)
        horizon = _horizon(project)
        dates = judged_dates(first, last, horizon)
        notify("running the models")
        _build(project, Window(first, last, first, MANY_LOADS), f"+{MODEL}")
        sample, unscored = _sample(project, dates, horizon=horizon, truth=truth, notify=notify)
    facts |= {
        "events": count, "start": first, "end": last, "horizon": horizon, "dates": len(dates),
        "first_date": dates[0], "last_date": dates[-1], "unscored": unscored,
    }  # fmt: skip
    return judge(sample, facts)


#: No load is left out of a run of its own.
MANY_LOADS = 2**62


def _horizon(project: DbtProject) -> int:
    settings = read_yaml(project.source_dir / "dbt_project.yml")
    return int(settings["vars"]["churn_horizon_days"])


def judged_dates(first: date, last: date, horizon: int) -> list[date]:
    """Return the dates to judge, ``STEP`` days apart, oldest first.

    The horizon of the last one ends with the events; before the first one lie two horizons: one to
    see customers in, one to know who of them stayed away.

    Raises:
        UserError: there is no such date.

    """
    least, day = first + timedelta(days=2 * horizon), last - timedelta(days=horizon)
    if day < least:
        raise UserError(
            f"events of {first} .. {last} leave no date to judge; "
            f"at least {3 * horizon + 1} dates are needed"
        )
    return sorted(day - timedelta(days=n) for n in range(0, (day - least).days + 1, STEP))


def _build(project: DbtProject, window: Window, select: str) -> None:
    result = build(project, window, select=[f"{select},resource_type:model"])
    if not result.succeeded:
        why = result.error or "; ".join(node.message for node in result.broken)
        raise UserError(f"the models of the backtest could not be built: {why}")


def _sample(
    project: DbtProject, dates: Sequence[date], *, horizon: int, truth: Path | None, notify: Notify
) -> tuple[Sample, int]:
    """Lay risks as of each date beside who came back; also how many rows had no risk."""
    rows: list[dict[str, Any]] = []
    rivals: dict[str, list[Floats]] = {"bg_nbd": [], "mbg_nbd": []}
    for day in dates:
        notify(f"judging {day}")
        # The model reads nothing after the date it is run for: this is what was shown on it.
        _build(project, Window(day, day, day, MANY_LOADS), MODEL)
        with open_warehouse(project.settings, read_only=True) as warehouse:
            found = warehouse.records(CUSTOMERS, [day, day + timedelta(days=horizon)])
        contacts, tenure, recency = (
            np.array([row[name] for row in found], float)
            for name in ("contact_days", "days_since_first_contact", "days_since_last_contact")
        )
        scored = np.array([row[SCORE] is not None for row in found], bool)
        for name, made in rivals.items():
            risk = stays_away(contacts, tenure, recency, horizon, modified=name == "mbg_nbd")
            made.append(risk[scored])
        rows += [row | {"day": day} for row in found]
    kept = [row for row in rows if row[SCORE] is not None]
    number = {user: at for at, user in enumerate(sorted({row["user_id"] for row in kept}))}
    has_left = None
    if truth is not None:
        with duckdb_connection() as connection:
            left = dict(
                connection.execute(
                    "select user_id, churn_date from read_parquet(?)", [str(truth)]
                ).fetchall()
            )
        has_left = np.array(
            [left[r["user_id"]] is not None and left[r["user_id"]] <= r["day"] for r in kept], bool
        )

    def column(name: str) -> Floats:
        return np.array([row[name] for row in kept], float)

    sample = Sample(
        customer=np.array([number[row["user_id"]] for row in kept], np.int64),
        stayed_away=np.array([row["stayed_away"] for row in kept], bool),
        risks={
            SCORE: column(SCORE),
            "days_since_last_contact": column("days_since_last_contact"),
            "contact_days": -column("contact_days"),
            **{name: np.concatenate(made) for name, made in rivals.items()},
        },
        has_left=has_left,
    )
    return sample, len(rows) - len(kept)


#: Customers as of a date, and whether they had no contact after it and up to another.
CUSTOMERS = """
select
    insights.user_id,
    insights.churn_risk,
    insights.contact_days,
    insights.days_since_first_contact,
    insights.days_since_last_contact,
    not exists (
        select days.user_id
        from intermediate.int_customer_days as days
        where
            days.user_id = insights.user_id
            and days.event_date > ?
            and days.event_date <= ?
    ) as stayed_away
from marts.customer_insights as insights
order by insights.user_id
"""

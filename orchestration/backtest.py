"""How well numbers foretell who leaves: ranking, calibration, and a verdict in words.

Belongs here: pure functions of arrays. What makes the arrays belongs in
``orchestration.backtest_run``, what prints the report in ``orchestration.backtest_shown``; the
score itself is the models'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RESAMPLES = 1000
RESAMPLING_SEED = 20260331

#: With fewer resamples that hold both outcomes an interval would say nothing.
FEWEST_RESAMPLES = 100

#: Two-sided 95 %.
Z = 1.959963984540054

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


# -- statistics ----------------------------------------------------------------------------------


def auc(risk: Floats, churned: Flags, weights: Floats | None = None) -> float | None:
    """Return the chance that who churned had the higher risk; ties count one half.

    ``risk`` and ``churned`` are of equal length, ``weights`` counts each pair so many times. None
    when one of the outcomes does not occur.
    """
    weights = np.ones(len(risk)) if weights is None else weights
    _, place = np.unique(risk, return_inverse=True)
    left = np.bincount(place, weights * churned)
    stayed = np.bincount(place, weights * ~churned)
    pairs = left.sum() * stayed.sum()
    if pairs == 0:
        return None
    below = np.cumsum(stayed) - stayed
    return float((left * (below + stayed / 2)).sum() / pairs)


def resampled(advisor: NDArray[np.int64], *, seed: int = RESAMPLING_SEED) -> Iterator[Floats]:
    """Give weights of the rows of resampled advisors: all rows of one or none, repeated alike.

    Rows of one advisor are alike; drawing them one by one would make every interval too narrow.
    """
    rng = np.random.default_rng(seed)
    count = int(advisor.max()) + 1 if len(advisor) else 0
    for _ in range(RESAMPLES if count else 0):
        drawn = np.bincount(rng.integers(0, count, count), minlength=count)
        yield drawn[advisor].astype(float)


def interval(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Return the middle 95 % of resampled values; None when too few of them are known."""
    known = [value for value in values if value is not None]
    if len(known) < FEWEST_RESAMPLES:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def wilson(hits: int, count: int) -> tuple[float, float] | None:
    """Return the 95 % Wilson interval of a share; None of nothing."""
    if count == 0:
        return None
    share, square = hits / count, Z * Z / count
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * np.sqrt(share * (1 - share) / count + square / count / 4)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


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
class Signal:
    """How well one number ranks who will churn; ``lead``: AUC of the health score less this."""

    name: str
    advisor_dates: int
    auc: float | None
    interval: tuple[float, float] | None
    lead: float | None = None
    lead_interval: tuple[float, float] | None = None


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
    score = sample.risks[SCORE]
    draws: dict[str, list[float | None]] = {name: [] for name in sample.risks}
    leads: dict[str, list[float | None]] = {name: [] for name in BASELINES}
    known = {name: ~np.isnan(risk) for name, risk in sample.risks.items()}
    for weights in resampled(sample.advisor):
        found = {
            name: auc(risk[known[name]], sample.churned[known[name]], weights[known[name]])
            for name, risk in sample.risks.items()
        }
        for name, value in found.items():
            draws[name].append(value)
        for name in BASELINES:
            here, there = found[SCORE], found[name]
            leads[name].append(here - there if here is not None and there is not None else None)
    whole = auc(score, sample.churned)
    signals = []
    for name, risk in sample.risks.items():
        own = auc(risk[known[name]], sample.churned[known[name]])
        signal = Signal(name, int(known[name].sum()), own, interval(draws[name]))
        if name in BASELINES and own is not None and whole is not None:
            signal = replace(signal, lead=whole - own, lead_interval=interval(leads[name]))
        signals.append(signal)
    return Report(
        made=made or {},
        advisor_dates=len(sample.advisor),
        advisors=len(np.unique(sample.advisor)),
        churned_dates=int(sample.churned.sum()),
        churners=len(np.unique(sample.advisor[sample.churned])),
        signals=tuple(signals),
        # Whole advisors to either side: dates of one advisor are no independent evidence.
        bands=calibration(sample.score, sample.churned, sample.advisor % 2 == 1, bands),
        verdict=_verdict(signals, sample.churned),
    )


def _verdict(signals: Sequence[Signal], churned: Flags) -> tuple[str, ...]:
    if churned.all() or not churned.any():
        seen = "everyone" if len(churned) and churned.all() else "nobody"
        return (f"No ranking can be judged: {seen} churned. Take more days or a larger size.",)
    words = []
    for signal in signals:
        if signal.lead is None:
            continue
        name = WORDS[signal.name].removeprefix("baseline: ")
        low, high = signal.lead_interval or (-np.inf, np.inf)
        if low > 0:
            words.append(f"The health score beats '{name}' by {signal.lead:.3f} of AUC.")
        elif high < 0:
            words.append(f"The health score is WORSE than '{name}' by {-signal.lead:.3f} of AUC.")
        else:
            words.append(
                f"The health score does NOT beat '{name}' beyond chance: the difference of AUC is "
                f"{signal.lead:+.3f}."
            )
    return tuple(words)

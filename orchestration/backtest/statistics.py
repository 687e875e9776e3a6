"""How well numbers foretell what happens: ranking, calibration, and a verdict in words.

Belongs here: pure functions of arrays, the same whoever is judged. Who that is belongs in
``orchestration.backtest.advisors`` and ``orchestration.backtest.customers``, where their events
come from in ``orchestration.backtest.home``; how a report looks in
``orchestration.backtest.shown``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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


# -- statistics ----------------------------------------------------------------------------------


def auc(risk: NDArray[Any], churned: Flags, weights: Floats | None = None) -> float | None:
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


def resampled(unit: NDArray[np.int64], *, seed: int = RESAMPLING_SEED) -> Iterator[Floats]:
    """Give weights of the rows of resampled units: all rows of one or none, repeated alike.

    Rows of one unit (an advisor, a customer) are alike; drawing them one by one would make every
    interval too narrow.
    """
    rng = np.random.default_rng(seed)
    count = int(unit.max()) + 1 if len(unit) else 0
    for _ in range(RESAMPLES if count else 0):
        drawn = np.bincount(rng.integers(0, count, count), minlength=count)
        yield drawn[unit].astype(float)


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


def brier(probability: Floats, happened: Flags) -> float | None:
    """Return the mean squared error of probabilities (Brier 1950); None of nothing."""
    return float(np.mean((probability - happened) ** 2)) if len(happened) else None


# -- ranking -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signal:
    """How well one number ranks what happens; ``lead``: AUC of what is judged less this."""

    name: str
    rows: int
    auc: float | None
    interval: tuple[float, float] | None
    lead: float | None = None
    lead_interval: tuple[float, float] | None = None
    brier: float | None = None


def ranking(
    risks: Mapping[str, Floats],
    happened: Flags,
    unit: NDArray[np.int64],
    *,
    of: str,
    rivals: Sequence[str],
) -> tuple[Signal, ...]:
    """Judge every signal by AUC, and how far ``of`` leads its ``rivals``.

    ``risks`` are arrays of equal length, more being more likely to happen, nan where unknown;
    ``unit`` numbers from 0 who a row is about: intervals come from resampling whole units.
    """
    draws: dict[str, list[float | None]] = {name: [] for name in risks}
    leads: dict[str, list[float | None]] = {name: [] for name in rivals}
    known = {name: ~np.isnan(risk) for name, risk in risks.items()}
    # Places once, not in every resample: sorting is what costs.
    placed = {name: np.unique(risk, return_inverse=True)[1] for name, risk in risks.items()}
    for weights in resampled(unit):
        found = {
            name: auc(placed[name][known[name]], happened[known[name]], weights[known[name]])
            for name in risks
        }
        for name, value in found.items():
            draws[name].append(value)
        for name in rivals:
            here, there = found[of], found[name]
            leads[name].append(here - there if here is not None and there is not None else None)
    whole = auc(risks[of], happened)
    signals = []
    for name, risk in risks.items():
        own = auc(risk[known[name]], happened[known[name]])
        signal = Signal(name, int(known[name].sum()), own, interval(draws[name]))
        if name in rivals and own is not None and whole is not None:
            signal = replace(signal, lead=whole - own, lead_interval=interval(leads[name]))
        signals.append(signal)
    return tuple(signals)


def verdict(
    signals: Sequence[Signal], happened: Flags, *, subject: str, words: Mapping[str, str], did: str
) -> tuple[str, ...]:
    """Say plainly which rivals are beaten beyond chance.

    ``subject`` is what is judged, ``words`` names signals, ``did`` says what happened.
    """
    if happened.all() or not happened.any():
        seen = "everyone" if len(happened) and happened.all() else "nobody"
        return (f"No ranking can be judged: {seen} {did}. Take more days or a larger size.",)
    said = []
    for signal in signals:
        if signal.lead is None:
            continue
        name = words[signal.name].removeprefix("baseline: ").removeprefix("rival: ")
        low, high = signal.lead_interval or (-np.inf, np.inf)
        if low > 0:
            said.append(f"{subject} beats '{name}' by {signal.lead:.3f} of AUC.")
        elif high < 0:
            said.append(f"{subject} is WORSE than '{name}' by {-signal.lead:.3f} of AUC.")
        else:
            said.append(
                f"{subject} does NOT beat '{name}' beyond chance: the difference of AUC is "
                f"{signal.lead:+.3f}."
            )
    return tuple(said)

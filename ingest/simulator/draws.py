"""Random draws that every domain needs, vectorised. No knowledge of any domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingest.simulator.values import Array

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


def choose(rng: np.random.Generator, weights: Sequence[float] | Array, size: int) -> Array:
    """Index of one of the weighted choices per row."""
    ends = np.cumsum(np.asarray(weights, float))
    return np.searchsorted(ends, rng.random(size) * ends[-1], side="right").astype(np.int32)


def choose_by(rng: np.random.Generator, table: Array, row: Array) -> Array:
    """Index of a choice per row, with the weights of ``table[row]``."""
    ends = np.cumsum(np.asarray(table, float), axis=1)
    ends /= ends[:, -1:]
    found = (rng.random(len(row))[:, None] > ends[row]).sum(axis=1)
    return np.minimum(found, table.shape[1] - 1).astype(np.int32)


def chance(
    rng: np.random.Generator, probability: float | Array, size: int | tuple[int, ...]
) -> Array:
    """True with the given probability (one number, or one per row)."""
    return rng.random(size) < probability


def delay(
    rng: np.random.Generator, median: float | Array, sigma: float, size: int, least: int = SECOND
) -> Array:
    """Lognormal milliseconds around a median, at least ``least``."""
    drawn = rng.lognormal(0.0, sigma, size) * median
    return np.maximum(drawn, least).astype(np.int64)


def cents(rng: np.random.Generator, median: float | Array, sigma: float, size: int) -> Array:
    """Lognormal amounts that end in 00, 50 or 99 as prices do."""
    whole = np.maximum(rng.lognormal(0.0, sigma, size) * median // 100, 1).astype(np.int64) * 100
    return whole + np.array((0, 50, 99, 99))[rng.integers(0, 4, size)]


def rank_weights(count: int, power: float = 0.8) -> Array:
    """Weights of a few popular and many rare things."""
    return np.arange(1, count + 1, dtype=float) ** -power

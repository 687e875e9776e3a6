"""What the churn model of customers has to stand beside: BG/NBD and MBG/NBD, fitted by likelihood.

P. Fader, B. Hardie, K. L. Lee, "Counting Your Customers" the Easy Way: An Alternative to the
Pareto/NBD Model, Marketing Science 24(2), 2005. MBG/NBD, which lets customers leave after their
first contact: E. P. Batislam, M. Denizel, A. Filiztekin, Empirical Validation and Comparison of
Models for Customer Base Analysis, International Journal of Research in Marketing 24(3), 2007.

Belongs here: the two models. Nothing but the backtest uses them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestration.backtest.statistics import Floats

#: Weeks: a time unit in which the parameters of both are of the order of one.
UNIT = 7.0

START = np.log([1.0, 4.0, 0.5, 2.0])


def _odds_of_having_left(
    x: Floats, tenure: Floats, recency: Floats, parameters: Floats, *, modified: bool
) -> Floats:
    """Odds that a customer of ``x`` repeat contacts has left; what divides both likelihoods."""
    r, alpha, a, b = parameters
    growth = ((alpha + tenure) / (alpha + tenure - recency)) ** (r + x)
    if modified:
        return np.asarray(a / (b + x) * growth)
    return np.where(x > 0, a / np.maximum(b + x - 1, 1e-12) * growth, 0.0)


def stays_away(
    contacts: Floats, tenure_days: Floats, recency_days: Floats, horizon: int, *, modified: bool
) -> Floats:
    """Fit a model to customers as of one date and return each one's probability to stay away.

    Arrays are of equal length, one entry a customer: dates with contact, days since the first one
    and since the latest; ``horizon`` in days. ``modified`` is MBG/NBD. The probability is
    1 - P(alive) x (1 - E[exp(-rate x horizon)]), rate and dropout being independent given the data.
    """
    from scipy.optimize import minimize
    from scipy.special import betaln, gammaln

    x, tenure, recency = contacts - 1, tenure_days / UNIT, recency_days / UNIT

    def loss(logs: NDArray[np.float64]) -> float:
        r, alpha, a, b = parameters = np.exp(logs)
        left = _odds_of_having_left(x, tenure, recency, parameters, modified=modified)
        likelihood = (
            gammaln(r + x) - gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + tenure)
            + betaln(a, b + x + modified) - betaln(a, b) + np.log1p(left)
        )  # fmt: skip
        return -float(likelihood.mean())

    with np.errstate(all="ignore"):
        found = minimize(loss, START, method="Nelder-Mead", options={"maxiter": 3000})
        parameters = np.exp(found.x)
        left = _odds_of_having_left(x, tenure, recency, parameters, modified=modified)
    r, alpha = parameters[:2]
    silent = ((alpha + tenure) / (alpha + tenure + horizon / UNIT)) ** (r + x)
    return np.asarray(1 - (1 - silent) / (1 + left))

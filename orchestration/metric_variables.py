"""Judgement of the vars of dbt_project.yml that are numbers, before dbt reads them.

Belongs here: what a number may be. Lists are judged where SQL is made of them; seeds in
``orchestration.reference_data``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.errors import UserError


@dataclass(frozen=True)
class Range:
    """What a number may be; both ends included, but for the least where it is ``above`` it."""

    least: float
    most: float = math.inf
    whole: bool = True
    above: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value of a YAML file is such a number."""
        kind = int if self.whole else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return (value > self.least if self.above else value >= self.least) and value <= self.most

    def __str__(self) -> str:
        """Say it to the person who has to write one."""
        number = "a whole number" if self.whole else "a number"
        if self.above:
            return f"{number} above {self.least:g}"
        if math.isinf(self.most):
            return f"{number} from {self.least:g} on"
        return f"{number} from {self.least:g} to {self.most:g}"


SHARE = Range(0, 1, whole=False)

#: Var -> what it may be; a var that is a mapping holds numbers that all have to be so.
RANGES = {
    "peer_weight": SHARE,
    "min_peer_group_size": Range(1),
    "on_time_tolerance_seconds": Range(0),
    "revenue_target_cents_per_conversation": Range(1),
    "attribution_window_days": Range(1, 366),
    "attribution_half_life_days": Range(1, 366),
    "attribution_end_share": Range(0, 0.5, whole=False),
    "churn_horizon_days": Range(1),
    "churn_fit_weeks": Range(1),
    "churn_prior": Range(0, whole=False, above=True),
    "churn_prior_weight": Range(1),
    "customer_recent_days": Range(1),
    "at_risk_churn_risk": SHARE,
    "high_value_percentile": SHARE,
    "alert_resolve_after_dates": Range(1),
    "alert_cool_down_dates": Range(0),
    "anomaly_weeks": Range(1),
    "anomaly_minimum_values": Range(1),
    "anomaly_threshold": Range(0, whole=False),
    "anomaly_least_spread_share": Range(0, whole=False),
}


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for part, number in value.items():
            yield f"{part} of {name}", number
    else:
        yield name, value


def judge_variables(variables: Mapping[str, Any]) -> None:
    """Judge every var that is a number and is there.

    Raises:
        UserError: names the first var that is wrong, and what it may be.

    """
    for name, allowed in RANGES.items():
        for words, value in _numbers(name, variables[name]) if name in variables else ():
            if not allowed.holds(value):
                raise UserError(f"dbt_project.yml: {words} is {value!r}; use {allowed}")

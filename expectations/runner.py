"""Runs a suite over frames with Great Expectations and says what was observed.

Belongs here: the only import of ``great_expectations``, made when a suite is run, because it
costs seconds.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expectations.suites import Expectation

if TYPE_CHECKING:
    import pandas as pd

#: How many of the rows that broke an expectation are told.
TOLD = 3


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation: passed, failed, or error when it could not be judged."""

    expectation: Expectation
    status: str
    observed: str

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return self.status == "passed"


def run_expectations(
    expectations: Sequence[Expectation], frames: Mapping[str, pd.DataFrame]
) -> list[Outcome]:
    """Judge frames; each frame's first column names its rows.

    Great Expectations passes a frame without rows and one without the column silently or with a
    traceback in a field; here both are errors.
    """
    outcomes: list[Outcome] = []
    for name in dict.fromkeys(e.frame for e in expectations):
        mine = [e for e in expectations if e.frame == name]
        frame = frames.get(name)
        if frame is None or frame.empty:
            outcomes += [Outcome(e, "error", f"there is nothing to judge: no {name}") for e in mine]
            continue
        missing = [e for e in mine if e.column not in frame.columns]
        outcomes += [Outcome(e, "error", f"there is no column {e.column}") for e in missing]
        present = [e for e in mine if e.column in frame.columns]
        outcomes += _validate(present, frame) if present else []
    return outcomes


def _validate(expectations: Sequence[Expectation], frame: pd.DataFrame) -> list[Outcome]:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    os.environ.setdefault("TQDM_DISABLE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
        batch = (
            context.data_sources.add_pandas("border")
            .add_dataframe_asset("frame")
            .add_batch_definition_whole_dataframe("whole")
            .get_batch({"dataframe": frame[_columns(expectations, frame)].copy()})
        )
        configured = [_configured(gx, number, e) for number, e in enumerate(expectations)]
        # Which rows broke an expectation costs three times as much as that they did, and is asked
        # of the few that are broken.
        results = _results(gx, batch, configured, "BOOLEAN_ONLY")
        broken = [c for number, c in enumerate(configured) if not _passed(results.get(number))]
        if broken:
            results |= _results(
                gx, batch, broken, "COMPLETE", unexpected_index_column_names=[frame.columns[0]]
            )
    return [
        _outcome(expectation, results.get(number), frame)
        for number, expectation in enumerate(expectations)
    ]


def _columns(expectations: Sequence[Expectation], frame: pd.DataFrame) -> list[str]:
    """Return the first column and those that are judged: the frame is copied often."""
    return list(dict.fromkeys([frame.columns[0], *(e.column for e in expectations)]))


def _results(
    gx: Any, batch: Any, configured: Sequence[Any], result_format: str, **options: Any
) -> dict[int, Any]:
    suite = gx.ExpectationSuite(name="border", expectations=list(configured))
    found = batch.validate(suite, result_format={"result_format": result_format, **options})
    return {
        result.expectation_config.meta["number"]: result
        for result in found.results
        if result.expectation_config is not None and result.expectation_config.meta
    }


def _passed(result: Any) -> bool:
    return bool(result is not None and result.success)


def _configured(gx: Any, number: int, expectation: Expectation) -> Any:
    name = "".join(part.capitalize() for part in expectation.type.split("_"))
    kind = getattr(gx.expectations, name)
    return kind(column=expectation.column, meta={"number": number}, **expectation.kwargs)


def _outcome(expectation: Expectation, result: Any, frame: pd.DataFrame) -> Outcome:
    label = frame.columns[0]
    if result is None:
        return Outcome(expectation, "error", "no result")
    raised = (result.exception_info or {}).get("raised_exception")
    nested = [info for info in (result.exception_info or {}).values() if isinstance(info, Mapping)]
    if raised or any(info.get("raised_exception") for info in nested):
        message = next((i.get("exception_message") for i in [result.exception_info, *nested]
                        if i and i.get("exception_message")), "it could not be judged")  # fmt: skip
        return Outcome(expectation, "error", " ".join(str(message).split())[:300])
    if result.success:
        return Outcome(expectation, "passed", f"{len(frame)} rows as expected")
    rows = (result.result or {}).get("unexpected_index_list") or []
    told = ", ".join(
        f"{row.get(label)}: {_short(row.get(expectation.column))}" for row in rows[:TOLD]
    )
    more = f" and {len(rows) - TOLD} more" if len(rows) > TOLD else ""
    return Outcome(expectation, "failed", f"{expectation.column} at {told}{more}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The two borders as asset checks: Great Expectations suites and where their results go."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from expectations import mart_border as outgoing
from expectations import raw_border as incoming
from expectations.runner import Outcome, run_expectations
from expectations.suites import Expectation, read_suite
from ingest.raw_suite import RELATION as RAW_RELATION
from orchestration.ledger import CheckRecord
from orchestration.relations import marts
from orchestration.run_resource import RunHandle
from orchestration.session import RunSession, refusal


def asset_of(expectation: Expectation) -> dg.AssetKey:
    """Return the asset that an expectation speaks of."""
    if expectation.relation == RAW_RELATION:
        return dg.AssetKey(RAW_RELATION.split("."))
    return dg.AssetKey(["marts", expectation.relation])


def _spec(expectation: Expectation) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name=expectation.name,
        asset=asset_of(expectation),
        description=expectation.reason,
        blocking=expectation.severity == "block",
    )


def judge(
    session: RunSession, expectations: list[Expectation], frames: Mapping[str, Any]
) -> Iterator[dg.AssetCheckResult]:
    """Judge frames, write the results down, hand them to Dagster; stop at a blocking failure."""
    outcomes = run_expectations(expectations, frames)
    session.record([_record(outcome) for outcome in outcomes])
    for outcome in outcomes:
        severity = dg.AssetCheckSeverity
        yield dg.AssetCheckResult(
            passed=outcome.passed,
            asset_key=asset_of(outcome.expectation),
            check_name=outcome.expectation.name,
            severity=severity.ERROR if outcome.expectation.severity == "block" else severity.WARN,
            metadata={"observed": outcome.observed, "status": outcome.status},
        )
    if session.blocked_by:
        raise dg.Failure(refusal(session.blocked_by), allow_retries=False)


def _record(outcome: Outcome) -> CheckRecord:
    expectation = outcome.expectation
    return CheckRecord(
        expectation.relation,
        expectation.name,
        outcome.status,
        expectation.severity,
        outcome.observed,
    )


def raw_border() -> dg.AssetChecksDefinition:
    """Return the checks of raw.events, before anything is computed from it."""
    suite = read_suite(incoming.PATH)

    @dg.multi_asset_check(
        name="raw_border",
        specs=[_spec(expectation) for expectation in suite.expectations],
        required_resource_keys={"run"},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        handle: RunHandle = context.resources.run
        with handle.step(context) as session:
            session.say("checking what came in")
            window = session.window
            frames = incoming.raw_frames(
                session.warehouse, suite.columns, start=window.start, end=window.end,
                loads_through=window.loads_through,
            )  # fmt: skip
            yield from judge(session, list(suite.expectations), frames)

    return checks


def mart_border(manifest: Mapping[str, Any]) -> dg.AssetChecksDefinition:
    """Return the checks of the marts, before anything is published."""
    suite = read_suite(outgoing.PATH)
    tables = {relation.name: relation for relation in marts(manifest)}
    expectations = [e for e in suite.expectations if e.relation in tables]

    @dg.multi_asset_check(
        name="mart_border",
        specs=[_spec(expectation) for expectation in expectations],
        required_resource_keys={"run"},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        handle: RunHandle = context.resources.run
        with handle.step(context) as session:
            session.say("checking what goes out")
            window = session.window
            frames = outgoing.mart_frames(
                session.warehouse,
                outgoing.metrics_of(suite, set(tables)),
                next(iter(tables.values())).schema,
                start=window.start,
                end=window.end,
                loads_through=window.loads_through,
            )
            yield from judge(session, expectations, frames)

    return checks

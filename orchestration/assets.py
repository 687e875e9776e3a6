"""The assets: events as they came in, every dbt model, and what readers open.

Assets are thin: each asks the run's session and a plain function of another module.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from ingest.sql_text import literal
from orchestration import dbt_runner, ledger
from orchestration.access.migrate import role_of, settle
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import BuildResult, NodeResult
from orchestration.ledger import CheckRecord
from orchestration.publication.gate import publish
from orchestration.relations import Relation, marts, relations
from orchestration.run_resource import RETRY, RunHandle
from orchestration.session import RunSession, refusal
from orchestration.translator import OWNER, TidemarkTranslator, home_of

RAW_EVENTS = dg.AssetKey(["raw", "events"])
PUBLISHED = dg.AssetKey(["published", "marts"])
SINGLE_RUN = dg.BackfillPolicy.single_run()


def raw_events(partitions: dg.PartitionsDefinition, target: str) -> dg.AssetsDefinition:
    """Return the asset of accepted events: it loads nothing, the door did; it reports."""

    @dg.asset(
        key=RAW_EVENTS,
        group_name="raw",
        owners=[OWNER],
        kinds={"python", target},
        description="One row per accepted event; loaded by `tidemark ingest`, reported here.",
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        retry_policy=RETRY,
        required_resource_keys={"run"},
    )
    def events(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        handle: RunHandle = context.resources.run
        with handle.step(context) as session:
            return dg.MaterializeResult(metadata=events_report(session))

    return events


def events_report(session: RunSession) -> dict[str, Any]:
    """Return counts of the loads that brought events of the window."""
    window = session.window
    accepted, read, duplicates, rejected, last_load = session.warehouse.execute(
        "select (select coalesce(sum(accepted), 0) from ops.load_dates "
        "where event_date between ? and ?), coalesce(sum(read), 0), "
        "coalesce(sum(duplicates), 0), coalesce(sum(rejected), 0), max(finished_at) "
        "from ops.loads where load_id in "
        "(select load_id from ops.load_dates where event_date between ? and ?)",
        [window.start, window.end, window.start, window.end],
    )[0]
    session.rows["raw.events"] = int(accepted)
    return {
        "dagster/partition_row_count": int(accepted),
        "window": f"{window.start} .. {window.end}",
        "target": session.settings.target,
        "loads_through": window.loads_through,
        "read": int(read),
        "duplicates": int(duplicates),
        "rejected": int(rejected),
        "last_load_at": str(last_load),
    }


def dbt_models(project: DbtProject, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Return every dbt model, seed and test as one step: one dbt invocation per run."""
    manifest = project.manifest

    @dbt_assets(
        manifest=manifest,
        dagster_dbt_translator=TidemarkTranslator(),
        name="dbt",
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        retry_policy=RETRY,
        required_resource_keys={"run"},
    )
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        handle: RunHandle = context.resources.run
        with handle.step(context) as session:
            yield from build_models(context, session, project)

    return models


def build_models(
    context: dg.AssetExecutionContext, session: RunSession, project: DbtProject
) -> Iterator[Any]:
    """Build the selected models for the window and hand their results to Dagster."""
    assert session.plan is not None
    assert session.run_id is not None
    manifest = project.manifest
    whole = not context.is_subset
    select = [] if whole else sorted(key.path[-1] for key in context.selected_asset_keys)
    # Before a date is touched: what only a person can decide stops the run here.
    settle(session, manifest)
    ledger.mark_started(session.warehouse, session.plan, session.run_id)
    session.say(f"building {session.window.start} .. {session.window.end}")
    result = dbt_runner.build(
        project,
        session.window,
        full_refresh=session.plan.full_refresh,
        select=select,
        role=role_of(session.settings),
        on_event=_progress(session),
    )
    session.rows.update(count_rows(session, built_relations(manifest, result)))
    session.record([_check_record(manifest, node) for node in result.nodes if _is_test(node)])
    if result.succeeded and whole:
        ledger.mark_run(session.warehouse, session.plan, session.run_id)
    yield from _dagster_results(context, session, manifest, result)
    if result.error is not None or result.broken:
        session.broken = True
        broken = [_reason(node) for node in result.broken]
        reasons = broken if result.error is None else [result.error]
        raise dg.Failure(f"dbt: {'; '.join(reasons[:3])}", allow_retries=False)
    if session.blocked_by:
        raise dg.Failure(refusal(session.blocked_by), allow_retries=False)


def _is_test(node: NodeResult) -> bool:
    return node.kind in dbt_runner.TESTS and node.status != "skipped"


def _reason(node: NodeResult) -> str:
    return f"{node.unique_id.split('.')[2]}: {node.message}"


def _progress(session: RunSession) -> Any:
    counts = {"done": 0}

    def on_event(event: Any) -> None:
        if event.info.name in ("LogModelResult", "LogSeedResult", "LogTestResult"):
            counts["done"] += 1
            # Tests name their total otherwise than models do.
            total = getattr(event.data, "total", 0) or getattr(event.data, "num_models", 0)
            session.progress(counts["done"], int(total), event.data.node_info.node_name)

    return on_event


def built_relations(manifest: Mapping[str, Any], result: BuildResult) -> list[Relation]:
    """Return the tables that a build wrote."""
    built = {node.unique_id for node in result.nodes if node.status == "success"}
    return [r for r in relations(manifest) if r.unique_id in built and not r.is_view]


def count_rows(session: RunSession, tables: list[Relation]) -> dict[str, int]:
    """Return how many rows each table holds of the window (of all time, without a date)."""
    if not tables:
        return {}
    window = session.window
    counts = []
    for table in tables:
        where = (
            f" where \"{table.date_column}\" between date '{window.start}' and date '{window.end}'"
            if table.date_column
            else ""
        )
        counts.append(
            f"select {literal(f'{table.layer}.{table.name}')} as name, count(*) as n "
            f"from {table.full_name}{where}"
        )
    return {name: int(n) for name, n in session.warehouse.execute(" union all ".join(counts))}


def _check_record(manifest: Mapping[str, Any], node: NodeResult) -> CheckRecord:
    home = home_of(manifest, node.unique_id)
    relation = manifest["nodes"][home]["name"] if home in manifest["nodes"] else "raw.events"
    status = {"pass": "passed", "fail": "failed", "warn": "failed"}.get(node.status, "error")
    observed = (node.message if status == "error" else "") or f"{node.failures or 0} failing rows"
    return CheckRecord(relation, _test_name(manifest, node), status, node.severity, observed)


def _test_name(manifest: Mapping[str, Any], node: NodeResult) -> str:
    return str(manifest["nodes"][node.unique_id]["name"])


def _dagster_results(
    context: dg.AssetExecutionContext,
    session: RunSession,
    manifest: Mapping[str, Any],
    result: BuildResult,
) -> Iterator[Any]:
    translator = TidemarkTranslator()
    selected = context.selected_asset_keys
    selected_checks = context.selected_asset_check_keys
    for node in result.nodes:
        if node.kind in ("model", "seed") and node.status == "success":
            properties = manifest["nodes"][node.unique_id]
            key = translator.get_asset_key(properties)
            if key in selected:
                rows = session.rows.get("/".join(key.path).replace("/", ".", 1))
                metadata: dict[str, Any] = {
                    "window": f"{session.window.start} .. {session.window.end}",
                    "target": session.settings.target,
                    "seconds": round(node.seconds, 3),
                }
                if rows is not None:
                    metadata["dagster/partition_row_count"] = rows
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        elif _is_test(node):
            home = home_of(manifest, node.unique_id)
            if home not in manifest["nodes"]:
                continue
            key = translator.get_asset_key(manifest["nodes"][home])
            name = _test_name(manifest, node)
            if dg.AssetCheckKey(key, name) in selected_checks:
                severity = dg.AssetCheckSeverity
                yield dg.AssetCheckResult(
                    passed=node.status == "pass",
                    asset_key=key,
                    check_name=name,
                    severity=severity.WARN if node.severity == "warn" else severity.ERROR,
                    metadata={"failing_rows": node.failures or 0, "message": node.message},
                )


def published(
    project: DbtProject, partitions: dg.PartitionsDefinition, target: str
) -> dg.AssetsDefinition:
    """Return the asset of what readers open: a copy of all marts that passed."""
    deps = [dg.AssetKey(["marts", relation.name]) for relation in marts(project.manifest)]

    @dg.asset(
        key=PUBLISHED,
        group_name="published",
        owners=[OWNER],
        kinds={target},
        description="All marts as readers find them, replaced at once after every check passed.",
        deps=deps,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        required_resource_keys={"run"},
    )
    def tables(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        handle: RunHandle = context.resources.run
        with handle.step(context) as session:
            assert session.run_id is not None
            if not session.blocked_by:
                ledger.mark_checked(session.warehouse, session.run_id)
            publication = publish(session, marts(project.manifest))
            session.publication = publication.publication_id
            return dg.MaterializeResult(
                metadata={
                    "publication_id": publication.publication_id,
                    "data_through": str(publication.data_through),
                    "relations": publication.relations,
                    "location": publication.location,
                }
            )

    return tables

"""What `tidemark status` tells: loads, staleness, runs, checks, quarantine, drift, publication."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import ledger
from orchestration.publication.restatements_shown import in_words
from orchestration.text_table import table

SHOWN = 5

#: status waits a little for a writer; it must not hang behind a long run.
WAIT_SECONDS = 5.0


def status(settings: Settings) -> dict[str, Any]:
    """Collect the state of a warehouse, ready for JSON.

    Raises:
        WarehouseBusy: someone is writing (DuckDB only; the published file can be read all along).
        WarehouseError: there is no warehouse yet.

    """
    with open_warehouse(settings, wait_seconds=WAIT_SECONDS, read_only=True) as warehouse:
        if not warehouse.relation_exists("ops", "partition_state"):
            from ingest.warehouse import WarehouseError

            raise WarehouseError("the warehouse is empty; run 'tidemark ingest PATH' first")
        return {
            "target": settings.target,
            "home": str(settings.home),
            "warehouse": _location(settings),
            "published": _published(settings, warehouse),
            "business_timezone": settings.timezone,
            "freshness": _freshness(warehouse),
            "loads": _loads(warehouse),
            "partitions": _partitions(warehouse),
            "runs": _runs(warehouse),
            "checks": _checks(warehouse),
            "quarantine": _quarantine(warehouse),
            "drift": _drift(warehouse),
            "retention": _retention(warehouse),
        }


def _location(settings: Settings) -> str:
    if settings.target == "duckdb":
        return str(settings.warehouse_path)
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(settings.postgres_url or "")
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _published(settings: Settings, warehouse: Warehouse) -> dict[str, Any] | None:
    rows = warehouse.records(
        "select publication_id, published_at, data_through, run_id, relations, location "
        "from ops.publications order by publication_id desc limit 1"
    )
    if not rows:
        return None
    if settings.target == "duckdb":
        rows[0]["link"] = str(settings.published_path)
    rows[0]["restated"] = in_words(warehouse, rows[0]["publication_id"])
    return rows[0]


def _freshness(warehouse: Warehouse) -> dict[str, Any]:
    row = warehouse.records(
        "select (select max(finished_at) from ops.loads) as last_load_at, "
        "(select max(max_event_date) from ops.loads) as last_event_date, "
        "(select max(finished_at) from ops.etl_job_runs where status = 'succeeded') "
        "as last_run_at, "
        "(select max(data_through) from ops.publications) as published_through"
    )[0]
    last, shown = row["last_event_date"], row["published_through"]
    row["days_behind"] = (last - shown).days if last and shown else None
    return row


def _loads(warehouse: Warehouse) -> dict[str, Any]:
    totals = warehouse.records(
        "select count(*) as loads, cast(coalesce(sum(read), 0) as bigint) as read, "
        "cast(coalesce(sum(accepted), 0) as bigint) as accepted, "
        "cast(coalesce(sum(duplicates), 0) as bigint) as duplicates, "
        "cast(coalesce(sum(rejected), 0) as bigint) as rejected from ops.loads"
    )[0]
    totals["latest"] = warehouse.records(
        "select load_id, file_name, status, read, accepted, duplicates, rejected, finished_at, "
        f"error from ops.loads order by load_id desc limit {SHOWN}"
    )
    totals["not_read"] = int(
        warehouse.value("select count(*) from ops.loads where status in ('failed', 'partial')")
    )
    return totals


def _partitions(warehouse: Warehouse) -> dict[str, Any]:
    rows = warehouse.execute(
        "select partition_date, stale, last_run_id is not null and not checked, published "
        "from ops.partition_state order by partition_date"
    )
    return {
        "first": rows[0][0] if rows else None,
        "last": rows[-1][0] if rows else None,
        "dates": len(rows),
        "stale": sum(1 for row in rows if row[1]),
        "stale_ranges": ranges([row[0] for row in rows if row[1]]),
        "unchecked": sum(1 for row in rows if row[2]),
        "published": sum(1 for row in rows if row[3]),
    }


def ranges(days: list[date]) -> list[str]:
    """Return sorted dates as ranges, ``first .. last``."""
    spans: list[list[date]] = []
    for day in days:
        if spans and day - spans[-1][1] == timedelta(days=1):
            spans[-1][1] = day
        else:
            spans.append([day, day])
    return [f"{a}" if a == b else f"{a} .. {b}" for a, b in spans]


def _runs(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.records(
        "select run_id, job, status, range_start, range_end, started_at, finished_at, error "
        f"from ops.etl_job_runs order by started_at desc limit {SHOWN}"
    )


def _checks(warehouse: Warehouse) -> dict[str, Any]:
    run_id = warehouse.value(
        "select run_id from ops.check_results order by checked_at desc, run_id desc limit 1"
    )
    counts = warehouse.execute(
        "select status, severity, count(*) from ops.check_results where run_id = ? "
        "group by status, severity",
        [run_id],
    )
    not_passed = warehouse.records(
        'select relation, "check", status, severity, observed from ops.check_results '
        "where run_id = ? and status <> 'passed' "
        "order by case severity when 'block' then 0 else 1 end, relation, \"check\"",
        [run_id],
    )
    return {
        "run_id": run_id,
        "passed": sum(n for s, _, n in counts if s == "passed"),
        "warned": sum(n for s, v, n in counts if s != "passed" and v == "warn"),
        "failed": sum(n for s, v, n in counts if s != "passed" and v == "block"),
        "not_passed": not_passed,
    }


def _quarantine(warehouse: Warehouse) -> dict[str, Any]:
    rows = warehouse.execute(
        "select reason_code, count(*) from ops.rejected_events where resolved_at is null "
        "group by reason_code order by count(*) desc, reason_code"
    )
    return {"open": sum(n for _, n in rows), "by_reason": dict(rows)}


def _drift(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.records(
        "select event_name, property, cast(sum(events) as bigint) as events "
        "from ops.unknown_properties group by event_name, property "
        "order by sum(events) desc, event_name, property"
    )


def _retention(warehouse: Warehouse) -> dict[str, Any]:
    closed = ledger.closed_dates(warehouse)
    last = []
    if warehouse.relation_exists("ops", "retentions"):
        last = warehouse.records(
            "select retention_id, max(applied_at) as applied_at, count(*) as relations, "
            "cast(sum(rows) as bigint) as rows from ops.retentions "
            "group by retention_id order by retention_id desc limit 1"
        )
    return {
        "closed_before": closed.before if closed else None,
        "too_late": int(
            warehouse.value("select count(*) from raw.events where event_date < ?", [closed.before])
        )
        if closed
        else 0,
        "last": last[0] if last else None,
    }


def render(state: dict[str, Any]) -> list[str]:
    """Say it in lines, what needs attention first in each part."""
    published, fresh, parts = state["published"], state["freshness"], state["partitions"]
    lines = [f"warehouse   {state['warehouse']} ({state['target']}, {state['business_timezone']})"]
    if published:
        where = published.get("link") or published["location"]
        lines.append(f"published   {where}")
        lines.append(
            f"            publication {published['publication_id']}, data through "
            f"{published['data_through']}, {published['relations']} relations, "
            f"{_when(published['published_at'])}"
        )
        if published["restated"]:
            lines.append(f"            {published['restated']}")
    else:
        lines.append("published   nothing yet; run 'tidemark run'")
    behind = fresh["days_behind"]
    behind_text = f", {behind} days behind the events" if behind else ""
    lines.append(
        f"events      through {fresh['last_event_date'] or '-'}, "
        f"last load {_when(fresh['last_load_at'])}{behind_text}"
    )
    stale = f"{parts['stale']} stale" if parts["stale"] else "none stale"
    lines.append(
        f"dates       {parts['first'] or '-'} .. {parts['last'] or '-'}: {parts['dates']} dates, "
        f"{stale}, {parts['unchecked']} not checked, {parts['published']} published"
    )
    if parts["stale"]:
        told = ", ".join(parts["stale_ranges"][:SHOWN])
        lines.append(f"            stale: {told}; run 'tidemark run'")
    return (
        lines
        + _render_retention(state)
        + _render_checks(state)
        + _render_runs(state)
        + _render_loads(state)
    )


def _render_retention(state: dict[str, Any]) -> list[str]:
    found, last = state["retention"], state["retention"]["last"]
    if not last:
        return []
    words = f"{_when(last['applied_at'])}: {last['rows']:,} rows of {last['relations']} relations"
    if found["closed_before"]:
        words += f"; dates before {found['closed_before']} are closed"
    if found["too_late"]:
        words += f", too late: {found['too_late']:,} events for closed dates"
    return [f"retention   {words}"]


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "-"


def _render_checks(state: dict[str, Any]) -> list[str]:
    checks = state["checks"]
    if not checks["run_id"]:
        return []
    lines = [
        "",
        f"checks of the last run: {checks['passed']} passed, {checks['warned']} warned, "
        f"{checks['failed']} failed",
    ]
    rows = [
        ["FAILED" if c["severity"] == "block" else "warning", c["relation"], c["check"],
         (c["observed"] or "")[:70]]
        for c in checks["not_passed"][:12]
    ]  # fmt: skip
    lines += (
        [f"  {line}" for line in table(rows, ["", "relation", "check", "observed"])] if rows else []
    )
    return lines


def _render_runs(state: dict[str, Any]) -> list[str]:
    if not state["runs"]:
        return []
    rows = [
        [r["run_id"], r["status"], f"{r['range_start']} .. {r['range_end']}",
         _when(r["started_at"]), (r["error"] or "")[:60]]
        for r in state["runs"]
    ]  # fmt: skip
    return [
        "",
        "last runs",
        *(f"  {x}" for x in table(rows, ["run", "status", "dates", "started", ""])),
    ]


def _render_loads(state: dict[str, Any]) -> list[str]:
    loads, quarantine = state["loads"], state["quarantine"]
    lines = [
        "",
        f"loads: {loads['loads']:,} files, {loads['read']:,} lines read, {loads['accepted']:,} "
        f"accepted, {loads['duplicates']:,} duplicates, {loads['rejected']:,} rejected",
    ]
    rows = [
        [r["load_id"], r["file_name"], r["status"], r["read"], r["accepted"], r["duplicates"],
         r["rejected"]]
        for r in loads["latest"]
    ]  # fmt: skip
    head = ["load", "file", "status", "read", "accepted", "duplicates", "rejected"]
    lines += [f"  {x}" for x in table(rows, head)]
    if quarantine["open"]:
        told = ", ".join(f"{code} {n:,}" for code, n in quarantine["by_reason"].items())
        lines += [
            "",
            f"quarantine: {quarantine['open']:,} open ({told}); 'tidemark quarantine list'",
        ]
    else:
        lines += ["", "quarantine: empty"]
    if state["drift"]:
        lines += ["", "drift: properties that no contract knows (kept in extra)"]
        rows = [[d["event_name"], d["property"], d["events"]] for d in state["drift"][:SHOWN]]
        lines += [f"  {x}" for x in table(rows, ["event", "property", "events"])]
        if (more := len(state["drift"]) - SHOWN) > 0:
            lines.append(f"  and {more:,} more; 'tidemark status --json' shows all")
    return lines

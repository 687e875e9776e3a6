"""What the advisor health score costs: a year of a thousand advisors at once, and one more day.

Events are made in SQL and written straight into raw.events (the door is measured elsewhere): this
is about the models from stg_advisory to weekly_advisor_insights and nothing else.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from ingest.registry import registry
from ingest.settings import Settings, load_settings
from ingest.warehouse import open_warehouse
from tests.benchmarks.measure import output_and_cost, python
from tests.benchmarks.results import write_results

FIRST = date(2025, 1, 1)
MARTS = (
    "metrics_hourly_delivery", "advisor_daily", "advisor_health_submetrics",
    "advisor_health_scores", "advisor_health_trends", "advisor_interventions",
    "weekly_advisor_insights",
)  # fmt: skip

#: A day of an advisor: a content that is decided, scheduled and sent to five clients, who get it,
#: mostly read it and sometimes answer or forward it; features, dashboards, a ticket at times.
_DAY = """
create or replace temp table advisor_day as
select
    advisor,
    d,
    cast(hash(advisor, d, 1) % 100 as bigint) as luck,
    cast(hash(advisor, 7) % 60 + 40 as bigint) as skill,
    'adv_' || advisor as advisor_id_hash,
    'cnt_' || advisor || '_' || d as content,
    cast(date '{first}' + cast(d as integer) as timestamp) as midnight
from range({advisors}) as a (advisor), range({first_day}, {last_day}) as b (d)
"""

_EVENTS = """
select 'content_created' as event_name, midnight + interval 9 hour as occurred_at,
    content as entity_id, null as message, null as status,
    case d % 6 when 0 then 'edu' when 1 then 'mkt' when 2 then 'sip' else 'tax' end as detail
from_day where luck < skill
union all
select 'content_approval_result', midnight + interval 10 hour, content, null, null,
    case when luck < 90 then 'approved' else 'rejected' end from_day where luck < skill
union all
select 'content_scheduled', midnight + interval 11 hour, content, null, null, null
from_day where luck < skill
union all
select 'whatsapp_message_sent', midnight + interval 15 hour + to_seconds(cast(luck * 4 as bigint)),
    content, content || '_' || n, null, case when luck < 80 then 'high' else 'medium' end
from_day_and_clients where luck < skill
union all
select 'whatsapp_delivery_status', midnight + interval 15 hour + to_minutes(cast(n as bigint) + 1)
    + to_days(cast(case when hash(content, n) % 20 = 0 then 3 else 0 end as integer)),
    content, content || '_' || n, 'delivered', null
from_day_and_clients where luck < skill and hash(content, n, 2) % 50 > 0
union all
select 'whatsapp_message_read', midnight + interval 17 hour
    + to_days(cast(case when hash(content, n) % 20 = 0 then 4 else 0 end as integer)),
    content, content || '_' || n, null, null
from_day_and_clients where luck < skill and hash(content, n, 3) % 100 < skill
union all
select 'client_response_received', midnight + interval 18 hour, content, null, null, null
from_day where luck < skill - 50
union all
select 'content_forwarded', midnight + interval 19 hour, content, content || '_0', null, null
from_day where luck < skill - 40
union all
select 'advisor_feature_used', midnight + interval 12 hour, null, null, null,
    'feature_' || (hash(advisor, d) % (skill // 10)) from_day
union all
select 'advisor_dashboard_viewed', midnight + interval 13 hour, null, null, null, null
from_day where luck < skill
union all
select 'support_ticket_opened', midnight + interval 14 hour, null, null, null, null
from_day where luck = 99
"""

_BUILD = """
import json, sys, time
from datetime import date
from ingest.settings import load_settings
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build
start, end, full, *names = sys.argv[1:]
window = Window(date.fromisoformat(start), date.fromisoformat(end), date.fromisoformat(start), 1)
result = build(DbtProject(load_settings()), window, full_refresh=full == "full",
               select=[f"+{name}" for name in names])
assert result.succeeded, (result.error, [(n.unique_id, n.message) for n in result.nodes if not n.ok])
print(json.dumps({n.unique_id: n.seconds for n in result.nodes if n.kind == "model"}))
"""


def fill(settings: Settings, advisors: int, first_day: int, last_day: int) -> int:
    """Write the events of advisors from one day number to another into raw.events."""
    warehouse = open_warehouse(settings)
    connection = warehouse.connection
    connection.execute(
        _DAY.format(advisors=advisors, first=FIRST, first_day=first_day, last_day=last_day)
    )
    clients = "from advisor_day, range(5) as c (n)"
    text = _EVENTS.replace("from_day_and_clients", clients).replace("from_day", "from advisor_day")
    selects = [
        part.replace("select ", "select advisor_id_hash, ", 1) for part in text.split("union all\n")
    ]
    events = "union all\n".join(selects)
    known = set(registry().raw_columns())
    columns = {
        "load_id": "1",
        "domain": "'advisory'",
        "event_date": "cast(occurred_at as date)",
        "event_hour": "cast(extract(hour from occurred_at) as smallint)",
        "occurred_at": "occurred_at",
        "event_id": "cast(uuid() as varchar)",
        "event_name": "event_name",
        "source": "'benchmark'",
        "schema_version": "1",
        "channel": "'system'",
        "entity_type": "'content'",
        "advisor_id_hash": "advisor_id_hash",
        "entity_id": "entity_id",
        "status": "status",
        "content_type": "case event_name when 'content_created' then detail end",
        "approval_status": "case event_name when 'content_approval_result' then detail end",
        "scheduled_delivery_time": (
            "case event_name when 'content_scheduled' then occurred_at + interval 4 hour end"
        ),
        "jitter_offset_seconds": "case event_name when 'content_scheduled' then 60 end",
        "whatsapp_message_id": "case when event_name like 'whatsapp%' then message end",
        "original_whatsapp_message_id": "case event_name when 'content_forwarded' then message end",
        "quality_rating_before": "case event_name when 'whatsapp_message_sent' then detail end",
        "feature": "case event_name when 'advisor_feature_used' then detail end",
    }
    assert known.issuperset(columns)
    (count,) = connection.execute(
        f"insert into raw.events ({', '.join(columns)}) "
        f"select {', '.join(columns.values())} from ({events}) as e "
        f"where occurred_at < date '{FIRST + timedelta(days=last_day)}' order by occurred_at"
    ).fetchone()
    warehouse.close()
    return int(count)


def timed_build(home: Path, start: date, end: date, *, full_refresh: bool) -> dict[str, float]:
    """Build what the advisors' marts need, for a range; wall seconds by model."""
    how = "full" if full_refresh else "window"
    build = python(_BUILD, start.isoformat(), end.isoformat(), how, *MARTS)
    printed, _ = output_and_cost(build, {"TIDEMARK_HOME": str(home)})
    return {k.split(".")[-1]: v for k, v in json.loads(printed.splitlines()[-1]).items()}


def year_of_advisors(folder: Path, results: Path, *, advisors: int = 1000, days: int = 365) -> None:
    """Backfill a year at once; then its last day again, and the same day after a month only."""
    last = FIRST + timedelta(days=days - 1)
    rows = [["what", "events", "SQL of the models, s", "ratio", "slowest model"]]
    costs: dict[str, float] = {}
    for name, first_day in (("30 dates", days - 30), (f"{days} dates", 0)):
        home = folder / f"advisors-{first_day}"
        events = fill(load_settings({"TIDEMARK_HOME": str(home)}), advisors, first_day, days)
        first = FIRST + timedelta(days=first_day)
        backfill = timed_build(home, first, last, full_refresh=True)
        again = [timed_build(home, last, last, full_refresh=False) for _ in range(5)]
        one_day = sorted(again, key=lambda cost: sum(cost.values()))[2]
        costs[name] = median(sum(cost.values()) for cost in again)
        for what, cost in ((f"backfill of {name}", backfill), (f"last date after {name}", one_day)):
            slowest = max(cost, key=lambda model: cost[model])
            ratio = f"{costs[name] / costs['30 dates']:.2f}" if what.startswith("last") else ""
            rows.append(
                [what, f"{events:,}", f"{sum(cost.values()):.2f}", ratio,
                 f"{slowest} {cost[slowest]:.2f}"]
            )  # fmt: skip
    write_results(
        "advisors",
        f"The health score of {advisors:,} advisors, DuckDB",
        rows,
        "Each backfill is one statement per model for the whole range. A last date is the run of "
        "median cost of five. Target: one more date costs at most 1.2 times as much after a year "
        "as after a month; trends look back on 180 dates, which a month does not have.",
        results,
    )

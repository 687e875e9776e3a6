"""Episodes, anomalies and the comparison of agents against the oracle, whatever is run when.

Belongs here: that pieces in any order, late events and repeats end where the oracle does, in a world
made to break rules, on both engines. How episodes reach anybody is the matter of
``tests.test_notifications``.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.settings import Settings, load_settings
from orchestration.dbt_project import DbtProject
from orchestration.dbt_runner import Window, build
from tests.agent_worlds import event
from tests.facts import Row, dates, read
from tests.histories import History
from tests.lab import Lab, assert_same, span
from tests.oracle import GRAINS, date_column
from tests.oracle_agents import Rates, Rule, alerts, expected_agent_marts
from tests.oracle_alerts import (
    ALERT_GRAINS,
    Policy,
    anomalies_of,
    days_of,
    episodes,
    expected_alert_marts,
    seed,
)

DAY = timedelta(days=1)

SELECT = ("+agent_comparison", "agent_grade_distribution", "+metrics_daily_platform", "alerts",
          "alert_episode_days", "alert_episodes", "metric_anomalies")  # fmt: skip

RULES = """rule,type,severity,relation,metric,comparison,threshold,message
slow,performance,medium,metrics_daily_platform,response_time_ms_avg,above,50000,slow is wrong
unhappy,satisfaction,high,metrics_daily_platform,satisfaction_avg,below,3.5,unhappy is wrong
drop,performance,high,metrics_daily_platform,conversion_rate,below_share_of_previous_date,0.7,drop
revenue,revenue,high,metrics_daily_platform,revenue_cents,below_share_of_mean_of_7_dates,0.7,revenue
agents,system,low,agent_performance,average_response_time_ms,above,45000,an agent is slow
"""
POLICIES = """rule,sample_metric,minimum_sample,clear_threshold,resolve_after_dates,cool_down_dates
slow,conversations,3,40000,2,3
unhappy,conversations,4,3.8,1,0
drop,,,0.9,2,2
revenue,nothing_of_it,99,,1,5
ghost,conversations,1,1,1,1
"""
MONITORED = """relation,metric,aggregate,weight,least_spread
metrics_daily_platform,conversations,sum,,1
metrics_daily_platform,revenue_cents,sum,,1000
metrics_daily_platform,satisfaction_avg,mean,conversations,0.05
metrics_daily_platform,active_agents,max,,0.5
metrics_daily_engagement,listens,sum,,1
agent_grade_distribution,share,mean,,0.05
"""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's rules, policies and monitored metrics, which random days break and heal often."""
    folder = tmp_path_factory.mktemp("seeds")
    (folder / "alert_rules.csv").write_text(RULES)
    # The judge asks for a metric that some mart has; that this one's mart has not is allowed.
    (folder / "alert_policies.csv").write_text(POLICIES.replace("nothing_of_it", "listens"))
    (folder / "monitored_metrics.csv").write_text(MONITORED)
    return folder


@pytest.fixture
def strict_lab(seeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A warehouse with these seeds; that Postgres has the same tables is proven elsewhere."""
    home = str(tmp_path_factory.mktemp("strict"))
    return Lab(load_settings({"TIDEMARK_HOME": home, "TIDEMARK_SEEDS": str(seeds)}))


def world(rng: random.Random, *, days: int) -> list[Row]:
    """Conversations of two channels with good and bad spells, outages and one splendid date."""
    start = datetime(2026, 1, 1, 9)
    made, bad = [], {"web": False, "voice": False}
    for day in range(days):
        for channel in bad:
            if rng.random() < 0.3:
                bad[channel] = not bad[channel]
            count = rng.choice((0, 1, 3, 5, 6)) + (30 if day in (60, 61, 67) else 0)
            for number in range(0 if day in (70, 71) else count):
                at = start + timedelta(days=day, minutes=number)
                made.append(
                    event(
                        rng, "conversation_recorded", at, entity_id=f"{channel}-{day}-{number}",
                        agent_id=f"agent{rng.randrange(7)}", user_id=f"u{rng.randrange(9)}",
                        channel=channel, start_time=at.isoformat(),
                        response_time_avg_ms=rng.choice((20_000, 40_000, 45_000))
                        + 25_000 * bad[channel],
                        customer_satisfaction_score=rng.choice((3.4, 3.6, 4, 5)) - bad[channel],
                        completed=rng.choice((True, False)),
                        conversion_type=rng.choice((None, "purchase")),
                        conversion_value_cents=rng.choice((0, 5000, 90_000)),
                    )
                )  # fmt: skip
        if rng.random() < 0.2:
            at, agent = start + timedelta(days=day), f"agent{rng.randrange(8)}"
            status = rng.choice(("active", "paused"))
            made.append(event(rng, "agent_status_changed", at, agent_id=agent, status=status))
            made.append(
                event(rng, "usage_billed", at, agent_id=agent, amount_cents=70, currency="USD")
            )
    return [{**row, "occurred_at": row["occurred_at"] + "+00:00"} for row in made]


def expected(lab: Lab, through: date) -> dict[str, list[Row]]:
    """What the oracle makes of the events of a warehouse."""
    facts = read([row for rows in lab.events.values() for row in rows], lab.timezone)
    first = min(fact.day for fact in facts)
    days = dates(first, through)
    marts: dict[str, list[Row]] = {
        "metrics_daily_engagement": [],
        **expected_agent_marts(facts, days, Rates()),
    }
    assert lab.settings.seeds is not None
    rules = [
        Rule(**{**row, "threshold": float(row["threshold"])})
        for row in seed("alert_rules", lab.settings.seeds)
    ]
    made = expected_alert_marts(marts, facts, days, GRAINS, date_column, rules, lab.settings.seeds)
    return made | {"alerts": alerts(marts, GRAINS, date_column, rules)}


def assert_expected(lab: Lab, wanted: dict[str, list[Row]]) -> None:
    """Every table is what the oracle says."""
    built = lab.tables(wanted)
    for relation, rows in wanted.items():
        assert_same(relation, built[relation], rows, GRAINS[relation])


def test_pieces_in_any_order_end_where_the_oracle_does(strict_lab: Lab) -> None:
    """Later dates first, then late events, pieces and repeats; and the world has what it takes."""
    rng = random.Random(5)
    events = world(rng, days=100)
    first, last = span(events, "UTC")
    late = [row for row in events if rng.random() < 0.05]
    history = History(strict_lab, last, SELECT)
    history.load(1, [row for row in events if row not in late])
    middle = first + timedelta(days=48)
    # The whole project once, then what conversations go into.
    history.run(middle, last, ())
    history.run(first, middle - DAY)
    assert_expected(strict_lab, expected(strict_lab, last))

    history.load(2, late)
    for start, length in ((20, 30), (95, 4)):
        history.run(first + start * DAY, first + (start + length) * DAY)
    while history.stale:
        start_on = min(history.stale)
        history.run(start_on, min(last, start_on + 39 * DAY))
    wanted = expected(strict_lab, last)
    assert_expected(strict_lab, wanted)
    _assert_rich(wanted)
    # An interior range that is not stale changes nothing.
    history.run(first + 50 * DAY, first + 52 * DAY)
    assert_expected(strict_lab, wanted)
    _assert_warned(strict_lab, wanted["metric_anomalies"])


def _assert_rich(wanted: dict[str, list[Row]]) -> None:
    """A world in which a fault of any rule would show."""
    found = wanted["alert_episodes"]
    assert {row["status"] for row in found} == {"open", "resolved"}
    assert {row["rule"] for row in found} == {"slow", "unhappy", "drop", "revenue", "agents"}
    assert any(row["times_reopened"] for row in found)
    assert any(row["last_value"] < row["clear_threshold"] for row in found)
    raised = {(r["rule"], r["subject_id"], r["metric_date"]) for r in wanted["alerts"]}
    counted = {
        (r["rule"], r["subject_id"], r["metric_date"])
        for r in wanted["alert_episode_days"]
        if r["is_raised"]
    }
    # Some alerts are of too small a sample to open or prolong anything.
    assert counted < raised
    anomalies = [row for row in wanted["metric_anomalies"] if row["is_anomaly"]]
    assert any(row["is_new"] for row in anomalies) and not all(row["is_new"] for row in anomalies)
    assert any(row["deviation"] > 0 for row in anomalies)
    assert any(row["percentile"] is not None for row in wanted["agent_comparison"])
    assert any(row["net_cents"] < 0 for row in wanted["agent_comparison"])


def _assert_warned(lab: Lab, rows: list[Row]) -> None:
    """The data test warns of what began on the last date of a run, of nothing else, and passes."""
    new_on: Counter[date] = Counter()
    for row in rows:
        if row["is_anomaly"]:
            new_on[row["metric_date"]] += row["is_new"]
    # A date of each number: none, one, some; each takes a build.
    dates = {new: day for day, new in sorted(new_on.items())}
    assert len(dates) > 2 and 0 in dates
    for new, day in dates.items():
        window = Window(day - DAY, day, day - DAY, 99)
        test = ("anomalies_of_the_last_date",)
        (node,) = build(DbtProject(lab.settings), window, select=test).nodes
        assert node.ok
        assert (node.status, node.failures) == (("warn", new) if new else ("pass", 0)), day


# -- the oracle itself -----------------------------------------------------------------------------


def on(day: int) -> date:
    """A date of January."""
    return date(2026, 1, 1) + timedelta(days=day)


def above_ten(policy: Policy, values: dict[int, float], **samples: Any) -> list[tuple[int, ...]]:
    """Episodes of a rule above 10, as (opened, last raised, resolved or -1, dates raised)."""
    rule = Rule("r", "system", "high", "t", "m", "above", 10, "said")
    counted = {on(int(day[1:])): number for day, number in samples.items()}
    days = days_of(rule, policy, {on(day): value for day, value in values.items()}, counted)
    said = {"rule": "r", "subject_type": "platform", "subject_id": "", "threshold": 10,
            "severity": "high", "message": "said", "type": "system", "relation": "t",
            "metric": "m", "comparison": "above"}  # fmt: skip
    dates = ("opened_on", "last_raised_on", "resolved_on")
    return [
        (
            *(-1 if row[name] is None else (row[name] - on(0)).days for name in dates),
            row["dates_raised"],
        )
        for row in episodes([said | day for day in days])
    ]


def test_episodes_of_the_oracle() -> None:
    """Hysteresis, dates that say nothing, the cool-down on its last date and after it."""
    policy = Policy("n", 5, 8, 2, 3)
    assert above_ten(policy, {0: 11, 1: 9, 2: 9}) == [(0, 0, -1, 1)]
    assert above_ten(policy, {0: 11, 1: 8, 3: 7}) == [(0, 0, 3, 1)]
    assert above_ten(policy, {0: 11, 1: 8, 2: 9, 3: 8, 4: 8}) == [(0, 0, 4, 1)]
    assert above_ten(policy, {0: 11, 1: 8, 2: 8, 5: 12}) == [(0, 5, -1, 2)]
    assert above_ten(policy, {0: 11, 1: 8, 2: 8, 6: 12}) == [(0, 0, 2, 1), (6, 6, -1, 1)]
    assert above_ten(policy, {0: 11, 1: 8, 2: 8, 3: 12}, d0=4, d3=5) == [(3, 3, -1, 1)]
    assert above_ten(policy, {0: 11, 1: 8, 2: 8}, d1=4) == [(0, 0, -1, 1)]
    assert above_ten(Policy(), {0: 11, 1: 10, 2: 10, 9: 11}) == [(0, 9, -1, 2)]


def test_anomalies_of_the_oracle() -> None:
    """Four weeks are needed, an outlier is no part of what is usual, a new level becomes usual."""
    levels = [10, 12, 10, 12, 100, 11, *[100] * 12]
    rows = anomalies_of({on(7 * n): value for n, value in enumerate(levels)}, 1)
    assert [row["is_anomaly"] for row in rows[:6]] == [False] * 4 + [True, False]
    assert rows[4]["expected"] == 11 and rows[4]["spread"] == pytest.approx(1.4826)
    assert rows[5]["values_compared"] == 4 and rows[5]["expected"] == 11
    usual = [row["is_anomaly"] for row in rows[6:]]
    assert usual[0] and not usual[-1]
    assert [row["expected"] for row in rows[-1:]] == [100]


def test_every_table_of_alerts_has_its_grain(duckdb_settings: Settings) -> None:
    """What the oracle calls a row is what the project calls one."""
    nodes = DbtProject(duckdb_settings).manifest["nodes"]
    for name, grain in ALERT_GRAINS.items():
        assert tuple(nodes[f"model.tidemark.{name}"]["config"]["meta"]["grain"]) == grain

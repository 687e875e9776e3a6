"""Health scores taken apart: every printed figure is published, and they add up."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration.dbt_project import seed_rows
from orchestration.explain import WIDTH, explain_advisor, percent, render, spans
from tests.command_line import assert_one_line_error, tidemark

A = "a1b2c3d4e5f60718"
B = "a1b2c3ffffffffff"
C = "c0ffee0000000000"
DAY = date(2026, 3, 31)

#: component, sub-metric, numerator, denominator, value, threshold, percentile, excellent, score,
#: weight. Template health has no value: delivery's other two carry its weight (50:30 of 30).
ROWS: list[tuple[Any, ...]] = [
    ("content_creation_consistency", "daily_content_creation_rate", 27, 30, 0.9, 0.9, 37.5, False, 68.75, 0.10),
    ("content_creation_consistency", "approval_success_rate", 212, 220, 212 / 220, 0.95, 87.5, True, 93.75, 0.0875),
    ("content_creation_consistency", "content_variety_score", 2, 6, 1 / 3, 0.7, 12.5, False, 30.0595238095238, 0.0625),
    ("delivery_performance", "delivery_success_rate", 990, 1000, 0.99, 0.98, 62.5, True, 81.25, 0.1875),
    ("delivery_performance", "delivery_timing_consistency", 8, 10, 0.8, 0.95, 50.0, False, 67.1052631578947, 0.1125),
    ("delivery_performance", "template_health_maintenance", 0, 0, None, 0.98, None, None, None, 0.0),
    ("client_engagement_effectiveness", "read_rate_performance", 412, 1000, 0.412, 0.5125, 25.0, False, 52.6951219512195, 0.12),
    ("client_engagement_effectiveness", "response_generation_rate", 50, 1000, 0.05, 0.04, 75.0, True, 87.5, 0.105),
    ("client_engagement_effectiveness", "content_sharing_rate", 0, 1000, 0.0, None, None, False, 0.0, 0.075),
    ("platform_utilization", "feature_adoption_score", 7, 10, 0.7, 0.6, 99.0, True, 99.5, 0.06),
    ("platform_utilization", "dashboard_engagement", 9, 7, 1.0, 1.0, 50.0, True, 75.0, 0.045),
    ("platform_utilization", "support_interaction_health", 2, 40, 0.95, 0.95, 50.0, False, 75.0, 0.045),
]  # fmt: skip

SUBMETRIC_COLUMNS = (
    "as_of_date date, advisor_id_hash varchar, sub_metric varchar, component varchar, "
    "value double precision, peer_percentile double precision, is_excellent boolean, "
    "score double precision, numerator double precision, denominator double precision, "
    "threshold double precision, weight double precision, contribution double precision, "
    "points_to_gain double precision"
)
SCORE_COLUMNS = (
    "as_of_date date, advisor_id_hash varchar, tier varchar, period_days bigint, "
    "content_creation_consistency double precision, delivery_performance double precision, "
    "client_engagement_effectiveness double precision, platform_utilization double precision, "
    "base_score double precision, trend_adjustment double precision, "
    "tier_bonus double precision, health_score bigint, category varchar"
)
TREND_COLUMNS = (
    "as_of_date date, advisor_id_hash varchar, change_7d double precision, "
    "change_30d double precision, change_90d double precision, trend varchar"
)
INTERVENTION_COLUMNS = (
    'as_of_date date, advisor_id_hash varchar, "trigger" varchar, response varchar, '
    "action varchar, health_score bigint, is_new boolean"
)


def names(columns: str) -> list[str]:
    return [column.split()[0].strip('"') for column in columns.split(", ")]


def insert(warehouse: Warehouse, table: str, columns: str, *rows: tuple[Any, ...]) -> None:
    warehouse.insert_many(f"marts.{table}", names(columns), rows)


def add_advisor(
    warehouse: Warehouse, advisor: str, day: date, *, trend: float, bonus: float, score: int,
    lift: float = 0.0, period_days: int = 30, category: str = "good",
) -> None:  # fmt: skip
    """Add the rows of one advisor and date; ``lift`` raises every score by as many points."""
    rows, sums = [], dict.fromkeys(dict.fromkeys(row[0] for row in ROWS), (0.0, 0.0))
    for component, name, above, below, value, threshold, rank, excellent, points, weight in ROWS:
        points = None if points is None else min(100.0, points + lift)
        gained = weight * (points or 0.0)
        gain = weight * (100 - points) if points is not None else 0.0
        total, share = sums[component]
        sums[component] = (total + gained, share + weight)
        rows.append((day, advisor, name, component, value, rank, excellent, points, above, below,
                     threshold, weight, gained, gain))  # fmt: skip
    # Rows come in no order: what is printed is sorted by the catalogue.
    insert(warehouse, "advisor_health_submetrics", SUBMETRIC_COLUMNS, *reversed(rows))
    base = math.fsum(total for total, _ in sums.values())
    components = [total / share for total, share in sums.values()]
    insert(warehouse, "advisor_health_scores", SCORE_COLUMNS,
           (day, advisor, "standard", period_days, *components, base, trend, bonus, score,
            category))  # fmt: skip


@pytest.fixture
def published(settings: Settings, tmp_path: Path) -> Settings:
    """Give settings of a warehouse whose readers see three advisors."""
    if settings.target == "duckdb":
        import duckdb

        settings.published_path.parent.mkdir(parents=True)
        warehouse = Warehouse("duckdb", duckdb.connect(str(settings.published_path)))
        warehouse.execute("create schema ops")
        warehouse.execute("create table ops.publications (publication_id bigint)")
        warehouse.execute("insert into ops.publications values (1)")
    else:
        warehouse = open_warehouse(settings)
        warehouse.execute(
            "insert into ops.publications (publication_id, published_at, relations) "
            "values (1, ?, 4)",
            [datetime(2026, 4, 1)],
        )
    warehouse.execute("create schema if not exists marts")
    for table, columns in (
        ("advisor_health_submetrics", SUBMETRIC_COLUMNS),
        ("advisor_health_scores", SCORE_COLUMNS),
        ("advisor_health_trends", TREND_COLUMNS),
        ("advisor_interventions", INTERVENTION_COLUMNS),
    ):
        warehouse.execute(f"create table marts.{table} ({columns})")
    # 67.97 + 1.25 + 5 = 74.22
    add_advisor(warehouse, A, DAY, trend=1.25, bonus=5.0, score=74)
    for days in (1, 2, 5):
        add_advisor(warehouse, A, DAY - timedelta(days=days), trend=0.0, bonus=5.0, score=73)
    add_advisor(warehouse, B, DAY, trend=5.0, bonus=10.0, score=100, lift=60, period_days=12,
                category="exceptional")  # fmt: skip
    add_advisor(warehouse, C, DAY - timedelta(days=3), trend=-5.0, bonus=0.0, score=63)
    insert(warehouse, "advisor_health_trends", TREND_COLUMNS,
           (DAY, A, -2.14, 0.46, None, "volatile"))  # fmt: skip
    insert(warehouse, "advisor_interventions", INTERVENTION_COLUMNS,
           (DAY, A, "declining_trend_3_weeks", "proactive_support_engagement",
            "identify_blockers_and_optimization_opportunities", 74, True),
           (DAY, B, "exceptional_performance", "success_story_documentation",
            "peer_mentorship_program_invitation", 100, False))  # fmt: skip
    warehouse.close()
    return settings


def numbers(line: str) -> list[Decimal]:
    return [Decimal(text) for text in re.findall(r"-?\d+\.\d\d(?!\d)", line)]


def test_points_and_adjustments_add_up_to_the_health_score(published: Settings) -> None:
    for advisor in (A, B, C):
        found = explain_advisor(published, advisor)
        contributions = [s.contribution for c in found.components for s in c.sub_metrics]
        assert len(contributions) == 12
        assert math.isclose(math.fsum(contributions), found.base_score, abs_tol=1e-9)
        assert math.isclose(
            sum(part.points for part in found.parts), found.health_score, abs_tol=1e-9
        )
        weights = [c.weight for c in found.components]
        assert math.isclose(sum(weights), 1.0)
        for c in found.components:
            assert c.score is not None
            assert math.isclose(c.weight * c.score, c.contribution)
            assert math.isclose(c.points_to_gain, c.weight * 100 - c.contribution)


def test_printed_figures_add_up_to_the_last_digit(published: Settings) -> None:
    for advisor in (A, B, C):
        found = explain_advisor(published, advisor)
        lines = render(found)
        end = next(i for i, line in enumerate(lines) if line.startswith("points of the"))
        labels = [c.component.replace("_", " ") for c in found.components]
        heads = [line for line in lines[:end] if line.startswith(tuple(labels))]
        rows = [line for line in lines[:end] if re.search(r"\d %\s+-?\d+\.\d\d", line)]
        rows = [line for line in rows if line not in heads]
        assert len(heads) == 4
        assert len(rows) == 12
        (base, *_), *_ = (numbers(line) for line in lines[end:])
        assert sum(numbers(line)[0] for line in rows) == base
        assert sum(numbers(line)[0] for line in heads) == base
        assert sum(numbers(line)[1] for line in rows) == sum(numbers(line)[1] for line in heads)
        last = next(i for i, line in enumerate(lines) if line.startswith("health score  "))
        parts = [numbers(line)[0] for line in lines[end:last]]
        assert sum(parts) == numbers(lines[last])[0] == found.health_score


def test_bounds_and_rounding_are_lines_of_their_own(published: Settings) -> None:
    def what(advisor: str) -> dict[str, float]:
        found = explain_advisor(published, advisor)
        return {part.what.split(" ")[0]: part.points for part in found.parts}

    assert set(what(A)) == {"points", "trend", "bonus", "rounding"}
    assert what(A)["rounding"] == pytest.approx(74 - what(A)["points"] - 6.25)
    assert set(what(B)) == {"points", "trend", "bonus", "held"}
    assert what(B)["held"] == pytest.approx(100 - what(B)["points"] - 15)
    assert set(what(C)) == {"points", "trend", "bonus", "rounding"}


def test_what_does_not_add_up_is_shown(published: Settings) -> None:
    path = published.published_path
    if published.target == "duckdb":
        import duckdb

        warehouse = Warehouse("duckdb", duckdb.connect(str(path)))
    else:
        warehouse = open_warehouse(published)
    warehouse.execute(
        "update marts.advisor_health_submetrics set contribution = contribution - 0.5 "
        "where sub_metric = 'read_rate_performance'"
    )
    warehouse.close()
    (part,) = [p for p in explain_advisor(published, A).parts if "not explain" in p.what]
    assert part.points == pytest.approx(0.5)


def test_a_page_for_a_success_manager(published: Settings) -> None:
    lines = render(explain_advisor(published, A))
    text = "\n".join(lines)
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0] == f"advisor {A}   2026-03-31"
    assert lines[1] == "health score 74, good   tier standard"
    assert "90 % (27 of 30 days)" in text
    assert "96.4 % (212 of 220" in text
    assert "over 95 %" in text
    assert "over the platform's 75th percentile, 51.2 %" in text
    assert "over the platform's median, which nobody has" in text
    assert "at least 100 %" in text
    assert "no value" in text
    assert "100 % (9 views, 7 are enough)" in text
    assert "95 % (2 tickets, 40 contents)" in text
    assert "7 days -2.1, 30 days +0.5, 90 days unknown" in text
    assert "declining trend 3 weeks (new on this date): proactive support engagement;" in text
    order = [row["label"] for row in seed_rows(published, "advisor_sub_metrics")]
    places = [re.search(f"\n(#[123]|  ) {label[:20]}", text).start() for label in order]  # type: ignore[union-attr]
    assert places == sorted(places)
    newcomer = render(explain_advisor(published, B))
    assert newcomer[1] == "health score 100, exceptional   tier standard   first 12 days"
    assert "exceptional performance: success story documentation" in "\n".join(newcomer)
    assert "trend: unknown" in newcomer


def test_the_three_best_opportunities_are_marked(published: Settings) -> None:
    found = explain_advisor(published, A)
    every = [s for c in found.components for s in c.sub_metrics]
    marked = sorted((s for s in every if s.opportunity), key=lambda s: s.opportunity or 0)
    # 0.075 x 100, 0.12 x 47.3 and 0.0625 x 69.94: the largest three
    assert [s.sub_metric for s in marked] == [
        "content_sharing_rate", "read_rate_performance", "content_variety_score",
    ]  # fmt: skip
    lines = render(found)
    for sub in marked:
        start = f"#{sub.opportunity} {sub.label[:20]}"
        assert sum(line.startswith(start) for line in lines) == 1
    # Where nothing is to be gained nothing is marked.
    best = explain_advisor(published, B)
    gains = [s for c in best.components for s in c.sub_metrics if s.points_to_gain == 0]
    assert gains
    assert all(s.opportunity is None for s in gains)


def test_ids_and_dates_that_do_not_fit_are_one_clear_line(published: Settings) -> None:
    assert explain_advisor(published, "a1b2c3d").advisor_id_hash == A
    assert explain_advisor(published, "c0ffee").as_of_date == DAY - timedelta(days=3)
    assert explain_advisor(published, A, DAY - timedelta(days=5)).health_score == 73
    for text, day, words in (
        ("a1b2c3", None, f"fits 2 advisors ({A}, {B}); give more"),
        ("a1b2", None, "too short; give at least 6"),
        ("nobody", None, "no advisor 'nobody'"),
        ("______", None, "no advisor"),
        ("a1b2c3d", DAY - timedelta(days=3), "scores of 2026-03-26, 2026-03-29 .. 2026-03-31"),
    ):
        with pytest.raises(UserError) as caught:
            explain_advisor(published, text, day)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_long_histories_are_named_by_their_end() -> None:
    dates = [DAY - timedelta(days=n) for n in (20, 10, 5, 2, 1, 0)]
    assert spans(dates) == "earlier dates, 2026-03-21, 2026-03-26, 2026-03-29 .. 2026-03-31"
    assert spans([DAY]) == "2026-03-31"


def test_shares_keep_at_most_one_decimal() -> None:
    assert [percent(x) for x in (0.95, 0.412, 1.0, 0.0, 1 / 3)] == [
        "95 %", "41.2 %", "100 %", "0 %", "33.3 %",
    ]  # fmt: skip


def test_unpublished_warehouse_is_one_line(settings: Settings) -> None:
    with pytest.raises(UserError, match="nothing was published yet"):
        explain_advisor(settings, A)


def test_publication_without_advisors_is_one_line(published: Settings) -> None:
    if published.target == "duckdb":
        import duckdb

        warehouse = Warehouse("duckdb", duckdb.connect(str(published.published_path)))
    else:
        warehouse = open_warehouse(published)
    warehouse.execute("drop table marts.advisor_health_trends")
    warehouse.close()
    with pytest.raises(UserError, match="advisor_health_trends is not published"):
        explain_advisor(published, A)


def test_labels_of_the_user_are_used(published: Settings, tmp_path: Path) -> None:
    rows = seed_rows(published, "advisor_sub_metrics")
    rows[0]["label"] = "Days with something new"
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    lines = [",".join(rows[0]), *(",".join(f'"{v}"' for v in row.values()) for row in rows)]
    (seeds / "advisor_sub_metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    found = explain_advisor(replace(published, seeds=seeds), A)
    assert found.components[0].sub_metrics[0].label == "Days with something new"


def test_the_command_prints_a_page_or_data(published: Settings) -> None:
    page = tidemark(published, "explain", "advisor", "a1b2c3d", "--date", "2026-03-31")
    assert page.returncode == 0, page.stderr
    assert page.stdout.splitlines() == render(explain_advisor(published, A))
    data = json.loads(tidemark(published, "explain", "advisor", A, "--json").stdout)
    assert (data["advisor_id_hash"], data["health_score"]) == (A, 74)
    assert math.isclose(sum(part["points"] for part in data["parts"]), 74)
    subs = [sub for component in data["components"] for sub in component["sub_metrics"]]
    assert {sub["opportunity"] for sub in subs} == {None, 1, 2, 3}
    assert data["changes"] == {"7d": -2.14, "30d": 0.46, "90d": None}
    assert data["interventions"][0]["is_new"] is True
    assert_one_line_error(tidemark(published, "explain", "advisor", "nobody"), "no advisor")
    assert_one_line_error(
        tidemark(published, "explain", "advisor", A, "--date", "March"), "--date", "2026-03-31"
    )

"""The backtest: its statistics on data made by hand, and its figures on a small company."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from ingest.errors import UserError
from ingest.settings import Settings, load_settings
from orchestration.backtest.advisors import (
    BASELINES,
    COMPONENTS,
    SCORE,
    STEP,
    WORDS,
    Report,
    Sample,
    backtest_advisors,
    calibration,
    judge,
)
from orchestration.backtest.home import own_home
from orchestration.backtest.shown import markdown, page_of_advisors, render
from orchestration.backtest.statistics import auc, brier, interval, resampled, wilson
from orchestration.explain import explain_advisor
from tests.command_line import assert_one_line_error, tidemark

BANDS = [("good", 70), ("critical", 0), ("needs_attention", 50)]


def by_pairs(risk: Sequence[float], churned: Sequence[bool]) -> float:
    """Compare every pair, as the definition of AUC says."""
    rows = list(zip(risk, churned, strict=True))
    left, stayed = ([r for r, c in rows if c == side] for side in (True, False))
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(left, stayed)]
    return sum(wins) / len(wins)


# -- statistics ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("risk", "churned", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([5, 5, 5], [1, 0, 0], 0.5),
        ([1, 2, 2, 3], [0, 1, 0, 0], 0.5),
        ([1, 3, 2, 2], [0, 1, 1, 0], 0.875),
    ],
)
def test_auc_counts_pairs_and_ties_half(
    risk: list[float], churned: list[int], expected: float
) -> None:
    assert auc(np.array(risk, float), np.array(churned, bool)) == expected
    assert by_pairs(risk, [bool(c) for c in churned]) == expected


def test_auc_is_that_of_all_pairs_on_random_data_with_weights() -> None:
    rng = random.Random(1)
    for _ in range(50):
        count = rng.randint(2, 40)
        risk = [float(rng.randint(0, 6)) for _ in range(count)]
        churned = [True, False, *(rng.random() < 0.3 for _ in range(count - 2))]
        times = [rng.randint(0, 3) for _ in range(count)]
        times[:2] = [1, 1]
        repeated = [(r, c) for r, c, n in zip(risk, churned, times, strict=True) for _ in range(n)]
        found = auc(np.array(risk), np.array(churned), np.array(times, float))
        assert found == pytest.approx(by_pairs(*zip(*repeated, strict=True)))


@pytest.mark.parametrize("churned", [[True, True], [False, False], []])
def test_auc_of_one_outcome_is_unknown(churned: list[bool]) -> None:
    assert auc(np.arange(len(churned), dtype=float), np.array(churned, bool)) is None


def test_wilson_is_that_of_the_textbook() -> None:
    assert wilson(0, 0) is None
    assert wilson(2, 7) == pytest.approx((0.08221, 0.64107), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(10, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)


def test_resamples_take_whole_advisors_and_are_the_same_each_time() -> None:
    advisor = np.array([0, 0, 1, 2, 2, 2])
    draws = list(resampled(advisor))
    for weights in draws:
        assert weights[0] == weights[1]
        assert weights[3] == weights[4] == weights[5]
        assert weights[[0, 2, 3]].sum() == 3
    assert len({tuple(weights) for weights in draws}) > 5
    again = list(resampled(advisor))
    assert all((a == b).all() for a, b in zip(draws, again, strict=True))
    assert not list(resampled(np.array([], np.int64)))


def test_interval_needs_enough_resamples() -> None:
    assert interval([0.5] * 99 + [None] * 901) is None
    values = [n / 1000 for n in range(1001)]
    assert interval(values) == pytest.approx((0.025, 0.975))


def test_brier_is_the_mean_squared_error() -> None:
    assert brier(np.array([0.5, 1.0, 0.0]), np.array([True, True, True])) == pytest.approx(1.25 / 3)
    assert brier(np.array([]), np.array([], bool)) is None


def test_calibration_fits_on_one_half_and_tests_on_the_other() -> None:
    score = np.array([10, 20, 49, 30, 50, 60, 69, 70, 100, 100])
    churned = np.array([1, 0, 1, 1, 1, 0, 0, 0, 0, 1], bool)
    fitting = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    critical, attention, good = calibration(score, churned, fitting, BANDS)
    assert [(b.category, b.low, b.high) for b in (critical, attention, good)] == [
        ("critical", 0, 49), ("needs_attention", 50, 69), ("good", 70, 100),
    ]  # fmt: skip
    assert (critical.fitted_on, critical.expected) == (2, 0.5)
    assert (critical.advisor_dates, critical.churned, critical.observed) == (2, 2, 1.0)
    assert critical.interval == wilson(2, 2)
    assert (attention.expected, attention.observed, attention.advisor_dates) == (1.0, 0.0, 2)
    assert (good.fitted_on, good.expected) == (0, None)
    assert (good.churned, good.observed) == (1, pytest.approx(1 / 3))
    (empty, *_) = calibration(score[7:], churned[7:], fitting[7:], BANDS)
    assert (empty.observed, empty.interval, empty.advisor_dates) == (None, None, 0)


# -- judging -------------------------------------------------------------------------------------


def made_up(score: np.ndarray, days: np.ndarray, sent: np.ndarray, churned: np.ndarray) -> Sample:
    risks = {SCORE: 100.0 - score, BASELINES[0]: days.astype(float), BASELINES[1]: -1.0 * sent}
    risks |= dict.fromkeys(COMPONENTS, 100.0 - score)
    return Sample(np.arange(len(score)) // 2, churned, score.astype(np.int64), risks)


def judged(better: str) -> Report:
    rng = np.random.default_rng(5)
    churned = rng.random(600) < 0.3
    good = np.clip(50 - 30 * churned + rng.normal(0, 15, 600), 0, 100).round()
    noise = rng.integers(0, 101, 600)
    if better == SCORE:
        return judge(made_up(good, noise, noise, churned), BANDS)
    if better == "baselines":
        return judge(made_up(noise, -good, good, churned), BANDS)
    return judge(made_up(good, -good, good, churned), BANDS)


def test_verdict_says_plainly_what_was_found() -> None:
    beats, worse, alike = (judged(what) for what in (SCORE, "baselines", "neither"))
    assert [text.split(" '")[0] for text in beats.verdict] == ["The health score beats"] * 2
    assert [text.split(" '")[0] for text in worse.verdict] == ["The health score is WORSE than"] * 2
    assert all("does NOT beat" in text and "+0.000" in text for text in alike.verdict)


def test_report_adds_up() -> None:
    report = judged(SCORE)
    signals = {signal.name: signal for signal in report.signals}
    assert list(signals) == list(WORDS)
    for signal in report.signals:
        assert signal.auc is not None
        assert signal.interval is not None
        assert signal.interval[0] < signal.auc < signal.interval[1]
    for name in BASELINES:
        lead = signals[name].lead
        assert lead == pytest.approx(signals[SCORE].auc - signals[name].auc)
    assert sum(b.advisor_dates + b.fitted_on for b in report.bands) == report.advisor_dates == 600
    assert report.advisors == 300
    # Advisors are whole on one side: two rows each, odd ones fit.
    assert sum(band.fitted_on for band in report.bands) == 300


def test_unknown_components_are_left_out_of_their_own_auc_only() -> None:
    sample = made_up(*(np.array(v) for v in ([10, 90, 40, 60], [1, 2, 3, 4], [4, 3, 2, 1])),
                     np.array([True, False, True, False]))  # fmt: skip
    risks = {**sample.risks, COMPONENTS[0]: np.array([np.nan, 10.0, 60.0, 40.0])}
    report = judge(replace(sample, risks=risks), BANDS)
    rows = {signal.name: signal.rows for signal in report.signals}
    assert rows[COMPONENTS[0]] == 3
    assert {rows[name] for name in WORDS if name != COMPONENTS[0]} == {4}


@pytest.mark.parametrize(("churned", "who"), [(True, "everyone"), (False, "nobody")])
def test_one_outcome_only_is_said_in_words(churned: bool, who: str) -> None:
    sample = made_up(*(np.array([1, 2, 3]) for _ in range(3)), np.array([churned] * 3))
    report = judge(sample, BANDS)
    assert all(signal.auc is None and signal.interval is None for signal in report.signals)
    (verdict,) = report.verdict
    assert f"{who} churned" in verdict
    assert "none: one outcome only" in "\n".join(render(page_of_advisors(report)))


def test_nothing_to_judge_is_said_in_words() -> None:
    report = judge(made_up(*(np.array([], float),) * 3, np.array([], bool)), BANDS)
    assert report.advisor_dates == 0
    assert "nobody churned" in report.verdict[0]
    assert render(page_of_advisors(report))


# -- a small company -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Backtest:
    """What the command made of a small company: report, its home, and what it printed and wrote."""

    report: Report
    settings: Settings
    printed: dict[str, Any]
    page: str


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    """Run a small company, with settings whose own warehouse cannot be reached."""
    folder = tmp_path_factory.mktemp("backtest")
    out, kept = folder / "report.md", folder / "kept"
    settings = load_settings(
        {
            "TIDEMARK_HOME": str(folder / "home"),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none",
        }
    )
    reports: list[Report] = []

    def recorded(*arguments: Any, **options: Any) -> Report:
        reports.append(backtest_advisors(*arguments, **options))
        return reports[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("orchestration.backtest.advisors.backtest_advisors", recorded)
        done = tidemark(
            settings, "backtest", "advisors", "--days", "45", "--size", "9000", "--seed", "3",
            "--horizon", "14", "--json", "--out", str(out), "--keep", str(kept),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (folder / "home").exists()
    own = replace(settings, home=kept, target="duckdb", postgres_url=None)
    return Backtest(reports[0], own, json.loads(done.stdout), out.read_text(encoding="utf-8"))


def independent(settings: Settings, report: Report) -> list[dict[str, Any]]:
    """Lay scores beside the truth again, in Python."""
    truth = pq.read_table(settings.home / "simulation/truth/advisors.parquet").to_pylist()
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        scores = {
            (day, advisor): score
            for day, advisor, score in connection.execute(
                "select as_of_date, advisor_id_hash, health_score from marts.advisor_health_scores"
            ).fetchall()
        }
        events: dict[str, list[date]] = {}
        for advisor, day in connection.execute(
            "select advisor_id_hash, event_date from raw.events where domain = 'advisory'"
        ).fetchall():
            events.setdefault(advisor, []).append(day)
        sent = connection.execute(
            "select advisor_id_hash, metric_date, messages_sent from marts.advisor_daily"
        ).fetchall()
    rows = []
    last = report.made["end"] - timedelta(days=14)
    for back in range(0, 45, STEP):
        day = last - timedelta(days=back)
        if day < report.made["start"] + timedelta(days=STEP - 1):
            break
        for one in truth:
            advisor, churn = one["advisor_id_hash"], one["churn_date"]
            if one["first_date"] > day or (churn and churn <= day) or (day, advisor) not in scores:
                continue
            rows.append(
                {
                    "churned": bool(churn and churn <= day + timedelta(days=14)),
                    SCORE: 100 - scores[day, advisor],
                    BASELINES[0]: (day - max(d for d in events[advisor] if d <= day)).days,
                    BASELINES[1]: -sum(
                        n for a, d, n in sent
                        if a == advisor and 0 <= (day - d).days < 30
                    ),
                }
            )  # fmt: skip
    return rows


def test_small_backtest_is_what_python_finds_in_the_same_data(
    small: Backtest,
) -> None:
    report, settings = small.report, small.settings
    rows = independent(settings, report)
    assert report.advisor_dates == len(rows) > 30
    churned = [row["churned"] for row in rows]
    assert report.churned_dates == sum(churned) > 0
    signals = {signal.name: signal for signal in report.signals}
    for name in (SCORE, *BASELINES):
        assert signals[name].auc == pytest.approx(by_pairs([row[name] for row in rows], churned))
        assert signals[name].rows == len(rows)
    assert sum(b.fitted_on + b.advisor_dates for b in report.bands) == len(rows)
    assert {b.category for b in report.bands} == {
        "critical", "needs_attention", "good", "excellent", "exceptional",
    }  # fmt: skip
    assert [(b.low, b.high) for b in report.bands] == [
        (0, 49), (50, 69), (70, 79), (80, 89), (90, 100),
    ]  # fmt: skip


def test_every_score_of_a_run_can_be_explained_to_the_last_point(
    small: Backtest,
) -> None:
    report, settings = small.report, small.settings
    with duckdb.connect(str(settings.published_path), read_only=True) as connection:
        advisors = connection.execute(
            "select advisor_id_hash, health_score from marts.advisor_health_scores "
            "where as_of_date = ?",
            [report.made["end"]],
        ).fetchall()
        ((worst,),) = connection.execute(
            "select max(abs(scores.base_score - parts.points)) from marts.advisor_health_scores as "
            "scores left join (select as_of_date, advisor_id_hash, sum(contribution) as points "
            "from marts.advisor_health_submetrics group by all) as parts "
            "using (as_of_date, advisor_id_hash)"
        ).fetchall()
    assert worst < 1e-9
    assert len(advisors) > 10
    for advisor, score in advisors:
        found = explain_advisor(settings, advisor)
        assert math.isclose(sum(part.points for part in found.parts), score, abs_tol=1e-9)
        assert not any("not explain" in part.what for part in found.parts)
        assert sum(len(c.sub_metrics) for c in found.components) == 12


def test_report_is_printed_and_written(small: Backtest) -> None:
    report = small.report
    text = "\n".join(render(page_of_advisors(report)))
    assert f"{report.advisor_dates:,} advisor-dates of" in text
    assert "does the advisor churn within 14 days?" in text
    for words in (*WORDS.values(), "needs attention", *report.verdict):
        assert words in text
    written = markdown(page_of_advisors(report), "tidemark backtest advisors --days 45")
    assert "`tidemark backtest advisors --days 45`" in written
    tables = re.findall(r"(?:^\|.*\n)+", written, re.MULTILINE)
    assert len(tables) == 2
    for part in tables:
        assert len({line.count("|") for line in part.strip().splitlines()}) == 1
    assert json.dumps(report.as_data(), default=str)


# -- the command ---------------------------------------------------------------------------------


def test_mistakes_are_one_line(duckdb_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(UserError, match="holds something already"):
        backtest_advisors(
            duckdb_settings, days=60, size=1000, seed=1, horizon=30, keep=tmp_path / "full",
            notify=print,
        )  # fmt: skip
    for arguments, words in (
        (("--days", "30"), ("--horizon 30", "at least 37 days")),
        (("--size", "huge"), ("small, medium, large",)),
        (("--out", "no/where.md"), ("is no folder",)),
    ):
        result = tidemark(duckdb_settings, "backtest", "advisors", *arguments)
        assert_one_line_error(result, *words)


def test_the_command_prints_and_writes_the_report(small: Backtest) -> None:
    assert {signal["name"] for signal in small.printed["signals"]} == set(WORDS)
    assert small.printed["made"]["horizon"] == 14
    assert "--days 45 --size 9000 --seed 3 --horizon 14`" in small.page


def test_a_home_that_is_not_kept_is_gone_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with own_home(None) as home:
        (home / "warehouse").write_text("x", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), own_home(None) as home:
        assert home.is_relative_to(tmp_path)
        (home / "warehouse").write_text("x", encoding="utf-8")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())

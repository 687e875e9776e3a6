"""The backtest of customers: its rivals, its words, and its figures on a small company."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from ingest.errors import UserError
from ingest.settings import Settings, load_settings
from orchestration.backtest.customers import (
    RIVALS,
    SCORE,
    STEP,
    WORDS,
    Report,
    Sample,
    backtest_customers,
    calibration,
    judge,
    judged_dates,
)
from orchestration.backtest.rivals import stays_away
from orchestration.backtest.shown import markdown, page_of_customers, render
from tests.command_line import assert_one_line_error, tidemark
from tests.oracle_customers import ChurnModel, churn_risk, fit, history
from tests.test_backtest import by_pairs

# -- rivals --------------------------------------------------------------------------------------


def drawn(
    rng: np.random.Generator, parameters: tuple[float, ...], weeks: int, *, modified: bool
) -> tuple[list[float], list[float], list[float], list[bool]]:
    """Draw customers of a BG/NBD company: contacts, tenure, recency in days, and who stays away.

    With a propensity ~ beta(a, b) a customer leaves after each repeat contact, ``modified`` after
    the first contact too; until then contacts come at a rate ~ gamma(r, alpha) a week.
    """
    r, alpha, a, b = parameters
    found: tuple[list[float], list[float], list[float], list[bool]] = ([], [], [], [])
    for _ in range(1500):
        rate, leaves = rng.gamma(r, 1 / alpha), rng.beta(a, b)
        tenure = rng.uniform(5, weeks)
        at, times = 0.0, [0.0]
        gone = modified and rng.random() < leaves
        while not gone and at < tenure + 30 / 7:
            at += rng.exponential(1 / rate)
            times.append(at)
            gone = rng.random() < leaves
        seen = [time for time in times if time <= tenure]
        later = [time for time in times if tenure < time <= tenure + 30 / 7]
        for column, value in zip(
            found, (len(seen), 7 * tenure, 7 * (tenure - seen[-1]), not later), strict=True
        ):
            column.append(value)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("modified", [False, True])
def test_a_rival_foretells_a_company_of_its_own_kind(modified: bool) -> None:
    rng = np.random.default_rng(4)
    *features, away = drawn(rng, (1.2, 3.0, 1.0, 3.0), 40, modified=modified)
    columns = [np.array(feature, float) for feature in features]
    risk = stays_away(*columns, 30, modified=modified)  # type: ignore[misc]
    assert ((risk >= 0) & (risk <= 1)).all()
    for band in calibration(risk, np.array(away)):
        if band.customer_dates > 60:
            assert band.observed == pytest.approx(band.foretold, abs=0.11)
    assert risk.mean() == pytest.approx(np.mean(away), abs=0.02)


def test_bg_nbd_lets_nobody_leave_before_a_repeat_contact() -> None:
    """Of two who came once, the same days ago, the risk follows from the rate alone."""
    rng = np.random.default_rng(4)
    columns = [np.array(f, float) for f in drawn(rng, (1.2, 3.0, 1.0, 3.0), 40, modified=False)[:3]]
    once = np.flatnonzero(columns[0] == 1)
    plain, modified = (
        stays_away(*columns, 30, modified=kind)[once]  # type: ignore[misc]
        for kind in (False, True)
    )
    # ((alpha + T) / (alpha + T + h))^r, a line in logs of what is left of the horizon.
    tenure = columns[1][once]
    order = np.argsort(tenure)
    assert (np.diff(plain[order]) >= 0).all()
    assert (modified[order][-20:] > plain[order][-20:]).all()


# -- judging -------------------------------------------------------------------------------------


def made_up(better: str) -> Report:
    rng = np.random.default_rng(5)
    away = rng.random(800) < 0.4
    good = np.clip(0.4 + 0.3 * (away - 0.4) + rng.normal(0, 0.15, 800), 0, 0.999)
    noise = rng.random(800)
    risks = {name: good if better in ("alike", name) else noise for name in WORDS}
    if better == "worse":
        risks = {name: noise if name == SCORE else good for name in WORDS}
    return judge(Sample(np.arange(800) // 2, away, risks))


def test_verdict_says_plainly_what_was_found() -> None:
    beats, worse, alike = (made_up(what) for what in (SCORE, "worse", "alike"))
    assert [t.split(" '")[0] for t in beats.verdict] == ["The churn risk beats"] * 4
    assert [t.split(" '")[0] for t in worse.verdict] == ["The churn risk is WORSE than"] * 4
    assert all("does NOT beat" in text and "+0.000" in text for text in alike.verdict)
    assert "'BG/NBD'" in beats.verdict[2]


def test_report_adds_up() -> None:
    report = made_up(SCORE)
    assert sum(band.customer_dates for band in report.bands) == report.customer_dates == 800
    assert sum(band.stayed_away for band in report.bands) == report.stayed_away
    assert report.customers == 400
    signals = {signal.name: signal for signal in report.signals}
    assert list(signals) == list(WORDS)
    for name in RIVALS:
        assert signals[name].lead == pytest.approx(signals[SCORE].auc - signals[name].auc)
    assert {n for n, s in signals.items() if s.brier is not None} == {SCORE, "bg_nbd", "mbg_nbd"}
    share = report.stayed_away / 800
    assert report.base_brier == pytest.approx(share * (1 - share))
    assert report.leavers == ()


def test_calibration_by_tenths() -> None:
    risk = np.array([0.0, 0.05, 0.1, 0.95, 1.0])
    bands = calibration(risk, np.array([False, True, True, True, True]))
    assert [band.customer_dates for band in bands] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (bands[0].foretold, bands[0].observed) == (pytest.approx(0.025), 0.5)
    assert (bands[9].low, bands[9].high, bands[9].stayed_away) == (0.9, 1.0, 2)
    assert (bands[5].foretold, bands[5].observed, bands[5].interval) == (None, None, None)


@pytest.mark.parametrize(("away", "who"), [(True, "everyone"), (False, "nobody")])
def test_one_outcome_only_is_said_in_words(away: bool, who: str) -> None:
    sample = Sample(
        np.arange(3), np.array([away] * 3), dict.fromkeys(WORDS, np.array([0.1, 0.2, 0.3]))
    )
    report = judge(sample)
    (said,) = report.verdict
    assert f"{who} stayed away" in said
    assert "none: one outcome only" in "\n".join(render(page_of_customers(report)))


def test_dates_leave_room_before_and_after() -> None:
    first = date(2026, 1, 1)
    (only,) = judged_dates(first, first + timedelta(days=90), 30)
    assert only == first + timedelta(days=60)
    dates = judged_dates(first, first + timedelta(days=200), 30)
    assert dates[-1] == first + timedelta(days=170)
    assert {b - a for a, b in itertools.pairwise(dates)} == {timedelta(days=STEP)}
    assert dates[0] >= first + timedelta(days=60)
    with pytest.raises(UserError, match="at least 91 dates"):
        judged_dates(first, first + timedelta(days=89), 30)


# -- a small company -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Settings]:
    """Run a small company, with settings whose own warehouse cannot be reached."""
    folder = tmp_path_factory.mktemp("backtest-customers")
    settings = load_settings(
        {
            "TIDEMARK_HOME": str(folder / "home"),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none",
        }
    )
    report = backtest_customers(
        settings, days=120, size=8000, seed=3, events=None, keep=folder / "kept",
        notify=lambda _: None,
    )  # fmt: skip
    assert not (folder / "home").exists()
    return report, replace(settings, home=folder / "kept", target="duckdb", postgres_url=None)


def test_small_backtest_is_what_python_finds_in_the_same_data(
    small: tuple[Report, Settings],
) -> None:
    """Risks of the documented model, outcomes and truth, from contacts in plain Python."""
    report, settings = small
    contacts: dict[str, list[date]] = {}
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        found = connection.execute(
            "select user_id, event_date from raw.events where user_id is not null and "
            "(domain = 'payments' or event_name = 'conversation_recorded' or "
            "event_name like 'appointment_%')"
        ).fetchall()
        objections = dict(
            connection.execute(
                "select user_id, min(event_date) from raw.events where user_id is not null and "
                "event_name = 'notification_opted_out' group by all"
            ).fetchall()
        )
    for user, day in found:
        contacts.setdefault(user, []).append(day)
    left = {
        row["user_id"]: row["churn_date"] or date.max
        for row in pq.read_table(settings.home / "simulation/truth/people.parquet").to_pylist()
    }
    rows, model = [], ChurnModel()
    days = [report.made["last_date"] - timedelta(days=STEP * n) for n in range(2)]
    assert (len(days), days[-1]) == (report.made["dates"], report.made["first_date"])
    for day in days:
        fitted = fit(contacts, objections, day - timedelta(days=day.isoweekday() % 7), model)
        for user, dates in contacts.items():
            past = history(dates, day)
            if past is None or objections.get(user, date.max) <= day:
                continue
            away = not any(day < d <= day + timedelta(days=30) for d in dates)
            rows.append((churn_risk(past, fitted, model), past.recency, away, left[user] <= day))
    risk, recency, away, gone = (list(column) for column in zip(*rows, strict=True))
    assert report.customer_dates == len(rows) > 100
    assert report.stayed_away == sum(away)
    signals = {signal.name: signal for signal in report.signals}
    assert signals[SCORE].auc == pytest.approx(by_pairs(risk, away))
    assert signals["days_since_last_contact"].auc == pytest.approx(by_pairs(recency, away))
    assert signals[SCORE].brier == pytest.approx(np.mean((np.array(risk) - away) ** 2))
    leavers = {signal.name: signal for signal in report.leavers}
    assert leavers[SCORE].auc == pytest.approx(by_pairs(risk, gone))


def test_report_is_printed_and_written(small: tuple[Report, Settings]) -> None:
    report, _ = small
    page = page_of_customers(report)
    text = "\n".join(render(page))
    for words in (*WORDS.values(), *report.verdict, "made-up events, seed 3"):
        assert words in text
    written = markdown(page, "tidemark backtest customers --days 120", level=2)
    assert written.startswith("## Backtest: ")
    tables = re.findall(r"(?:^\|.*\n)+", written, re.MULTILINE)
    assert len(tables) == 3
    for part in tables:
        assert len({line.count("|") for line in part.strip().splitlines()}) == 1
    assert json.dumps(report.as_data(), default=str)


def test_the_command_judges_given_events(
    small: tuple[Report, Settings], duckdb_settings: Settings, tmp_path: Path
) -> None:
    """The events of the small company, given as files: the same risks, without the truth."""
    report, settings = small
    events, out = settings.home / "simulation" / "events", tmp_path / "report.md"
    done = tidemark(
        duckdb_settings, "backtest", "customers", "--events", str(events), "--json", "--out",
        str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["leavers"] == []
    assert {s["name"]: s["auc"] for s in found["signals"]} == {
        s.name: s.auc for s in report.signals
    }
    assert "`tidemark backtest customers --events events`" in out.read_text(encoding="utf-8")
    assert not duckdb_settings.warehouse_path.exists()


def test_mistakes_are_one_line(duckdb_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "few.ndjson").write_text(
        json.dumps(
            {
                "event_id": "00000000-0000-0000-0000-000000000001",
                "event_name": "payment_succeeded",
                "occurred_at": "2026-01-01T00:00:00Z",
                "user_id": "u",
                "entity_id": "p",
                "provider": "stripe",
                "amount_cents": 1,
                "currency": "USD",
            }
        )
    )
    for arguments, words in (
        (("--events", str(tmp_path / "none")), ("does not exist",)),
        (("--events", str(tmp_path / "few.ndjson")), ("leave no date to judge", "91 dates")),
        (("--size", "huge"), ("small, medium, large",)),
        (("--out", "no/where.md"), ("is no folder",)),
    ):
        result = tidemark(duckdb_settings, "backtest", "customers", *arguments)
        assert_one_line_error(result, *words)

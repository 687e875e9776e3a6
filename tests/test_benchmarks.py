"""What the benchmarks rest on: rows are really compared, results are kept, nothing is left behind.

The measuring itself is no test: ``make bench``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from datetime import date
from pathlib import Path

import duckdb
import pytest

from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from tests.benchmarks import parts
from tests.benchmarks.__main__ import announce, events_of
from tests.benchmarks.measure import Cost, quantile
from tests.benchmarks.parts import done
from tests.benchmarks.peers import queries, spread
from tests.benchmarks.queries import questions, same
from tests.benchmarks.results import Results
from tests.benchmarks.runs import RunCost, compare, script
from tests.benchmarks.worlds import multiply
from tests.events import line, load
from tests.waiting import PATIENCE_SECONDS

MART = "metrics_daily_payments"


@pytest.fixture
def two_tables() -> Warehouse:
    warehouse = Warehouse("duckdb", duckdb.connect())
    for schema in ("mine", "theirs"):
        warehouse.execute(f"create schema {schema}")
        warehouse.execute(
            f"create table {schema}.{MART} as select date '2026-03-01' + cast(n as integer) as "
            "metric_date, 'IN' as country_code, 'stripe' as provider, 'USD' as currency, "
            "n as payments_attempted, n / 7 as success_rate from range(3) as r (n)"
        )
    return warehouse


COLUMNS = {MART: ["metric_date", "payments_attempted", "success_rate"]}


def test_same_tables_are_the_same(two_tables: Warehouse) -> None:
    two_tables.execute(f"update theirs.{MART} set success_rate = success_rate + 1e-12")
    compare(two_tables, "mine", "theirs", COLUMNS)


@pytest.mark.parametrize(
    "fault",
    [
        f"update theirs.{MART} set payments_attempted = 9 where payments_attempted = 1",
        f"update theirs.{MART} set success_rate = success_rate + 0.001",
        f"update mine.{MART} set success_rate = null where payments_attempted = 2",
        f"delete from theirs.{MART} where payments_attempted = 1",
        f"delete from mine.{MART} where payments_attempted = 1",
        f"delete from mine.{MART}; delete from theirs.{MART}",
    ],
)
def test_a_difference_of_tables_is_found(two_tables: Warehouse, fault: str) -> None:
    two_tables.connection.execute(fault)
    with pytest.raises(AssertionError, match="rows differ"):
        compare(two_tables, "mine", "theirs", COLUMNS)


def test_answers_are_compared() -> None:
    day = date(2026, 3, 1)
    assert same([(day, 1, 0.5, None)], [(day, 1, 0.5 + 1e-9, None)])
    for other in ([(day, 2, 0.5, None)], [(day, 1, 0.51, None)], [(day, 1, 0.5, 0)], []):
        assert not same([(day, 1, 0.5, None)], other)
    assert not same([(0.5,)], [(None,)])


def test_a_measurement_replaces_its_own_and_keeps_others(tmp_path: Path) -> None:
    for wall in (1.0, 2.0):
        results = Results(tmp_path, "run")
        results.keep({"events": 1_000_000, "target": "duckdb"}, {"wall": wall})
        results.keep({"events": 10_000_000, "target": "duckdb"}, {"wall": 9.0})
    found = Results(tmp_path, "run")
    assert [(r["events"], r["wall"]) for r in found.records] == [
        (1_000_000, 2.0),
        (10_000_000, 9.0),
    ]
    assert done("run", tmp_path, 1_000_000, "duckdb")
    assert not done("run", tmp_path, 1_000_000, "postgres")


def test_queries_are_filled_in() -> None:
    asked = questions("2026-03-31")
    assert len(asked) == 12
    texts = [text for q in asked for text in (q.marts, q.raw)]
    texts += [*queries("p_day").values(), script("duckdb"), script("postgres")]
    assert all(texts) and not [text for text in texts if "$" in text]


def test_too_little_room_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert announce(["run"], [100_000], ["duckdb"], tmp_path) is None
    refusal = announce(["run"], [10**11], ["duckdb", "postgres"], tmp_path)
    assert refusal and "GB are needed" in refusal and "\n" not in refusal
    assert " h and " in capsys.readouterr().out


def test_a_missing_package_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "find_spec", lambda name: None)
    refusal = announce(["ingest"], [100_000], ["duckdb"], tmp_path)
    assert refusal and refusal.startswith("dlt missing") and "\n" not in refusal
    assert announce(["queries"], [100_000], ["duckdb"], tmp_path) is None


def test_numbers() -> None:
    assert [events_of(text) for text in ("100k", "1M", "30m", "1_000_000")] == [
        100_000, 1_000_000, 30_000_000, 1_000_000,
    ]  # fmt: skip
    for wrong in ("ten", "1g", "-5", "5"):
        with pytest.raises(ArgumentTypeError):
            events_of(wrong)
    assert quantile(range(1, 101), 0.95) == 95
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert spread(date(2026, 1, 1), date(2026, 3, 31), 3) == [
        date(2026, 1, 1), date(2026, 2, 14), date(2026, 3, 31),
    ]  # fmt: skip


def test_copies_are_companies_of_their_own(settings: Settings, tmp_path: Path) -> None:
    sent = [line(user_id=f"u{n}", occurred_at=f"2026-03-0{n}T10:00:00Z") for n in (1, 2, 2)]
    load(settings, tmp_path / "events.ndjson", b"\n".join([*sent, sent[0]]))
    warehouse = open_warehouse(settings)
    before = warehouse.records("select * from raw.events order by event_id limit 1")[0]
    multiply(warehouse, 3)
    counted = warehouse.execute(
        "select event_date, count(*), count(distinct event_id), count(distinct entity_id), "
        "count(distinct user_id), count(distinct provider), sum(amount_cents) from raw.events "
        "group by event_date order by event_date"
    )
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    assert counted == [(first, 3, 3, 3, 3, 1, 3600), (second, 6, 6, 3, 3, 1, 7200)]
    booked = warehouse.execute("select event_date, accepted from ops.load_dates order by 1")
    assert booked == [(first, 3), (second, 6)]
    assert warehouse.execute("select read, accepted, duplicates from ops.loads") == [(12, 9, 3)]
    after = warehouse.records("select * from raw.events limit 1")[0]
    assert list(before) == list(after)
    warehouse.close()


STOPPED = """
import sys, time
from tests.benchmarks.__main__ import Stop, scratch_folder
from tests.benchmarks.measure import cost_of
stop = Stop()
with scratch_folder() as folder, stop.work():
    (folder / "file").write_text("x")
    print(folder, flush=True)
    try:
        cost_of([sys.executable, "-c", "import time; time.sleep(60)"], {})
    except KeyboardInterrupt:
        pass  # as dbt does
    stop.check()
    print("went on", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert folder.parent == tmp_path and folder.exists()
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE_SECONDS) != 0
    assert "went on" not in process.stdout.read()
    assert list(tmp_path.iterdir()) == []


def test_what_overlaps_is_counted_once() -> None:
    """Of ten seconds two nodes were at work for 1..4 and 2..5, a third for 6..7; one was closing."""
    parts = {"publication": 0.5, "closing": 0.5}
    cost = RunCost(10.0, parts, {}, [(1.0, 4.0), (2.0, 5.0), (6.0, 7.0)], Cost(0.0, 0.0, 0.0))
    assert cost.constant == 4.0

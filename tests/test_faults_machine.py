"""The product against a plain model, the short form; and faults that it must find."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ingest import loader
from ingest.loader import Loader
from ingest.warehouse import Warehouse
from orchestration import retention
from orchestration.erasure import rules
from orchestration.erasure.rules import Rule
from orchestration.publication import gate
from tests.benchmarks.results import Results
from tests.faults import campaign, cutting
from tests.faults.bench import Bench, Outcome, bench
from tests.faults.drawing import Draft, Drawing

#: Steps in which a planted fault is found.
STEPS = 25


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("machines"), postgres_server) as made:
        yield made


#: Which part is drawn from the state of the source: another state mostly takes another one.
@pytest.mark.parametrize("seed", campaign.part(int(campaign.fingerprint(), 16)))
def test_product_is_what_the_model_says_after_every_step(ready: Bench, seed: int) -> None:
    outcome = ready.seeded(seed)
    assert outcome.divergence is None, outcome.divergence


def test_a_part_goes_round() -> None:
    for number in (0, 7, 54):
        eleven = {seed for n in range(number, number + 11) for seed in campaign.part(n)}
        assert eleven == {*range(campaign.SHORT), *campaign.ONCE_WRONG}


def test_a_step_that_does_not_end_says_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits_for_nothing() -> None:
        threading.Event().wait()

    monkeypatch.setattr(cutting, "STACKS_SECONDS", 0.5)
    monkeypatch.setattr(cutting, "CHILD_SECONDS", 1.5)
    with pytest.raises(cutting.Failed, match=r"did not end in 1\.5 s:(?s:.*)waits_for_nothing"):
        cutting.killed_at(1, waits_for_nothing)


def test_a_step_that_fails_in_a_process_of_its_own_says_why() -> None:
    def fails() -> None:
        raise ValueError("an odd one")

    with pytest.raises(cutting.Failed, match="ValueError: an odd one"):
        cutting.killed_at(1, fails)


def late_dates_stay_fresh() -> AbstractContextManager[Any]:
    """A load that makes a date stale only when no later one was loaded before."""
    really = loader.touch_partitions

    def touch(warehouse: Warehouse, load_id: int, at: datetime) -> None:
        before = dict(
            warehouse.execute("select partition_date, last_event_load_id from ops.partitions")
        )
        really(warehouse, load_id, at)
        for day in sorted(before)[:-1]:
            warehouse.execute(
                "update ops.partitions set last_event_load_id = ? where partition_date = ?",
                [before[day], day],
            )

    return patch.object(loader, "touch_partitions", touch)


def a_table_is_forgotten() -> AbstractContextManager[Any]:
    """An erasure that leaves the days of users."""
    forgotten = Rule(keeps={"user_id": "forgotten"})
    return patch.dict(rules.RELATIONS, {"int_user_days": forgotten})


def ids_are_forgotten() -> AbstractContextManager[Any]:
    """A door that knows no event again."""
    really = Loader.append

    def append(self: Loader, *arguments: Any) -> Any:
        self.warehouse.execute("delete from raw.event_ids")
        return really(self, *arguments)

    return patch.object(Loader, "append", append)


def nothing_is_closed() -> AbstractContextManager[Any]:
    """A retention that removes raw events and lets their dates be run again."""
    really = retention._note

    def note(warehouse: Warehouse, removals: Any) -> None:
        really(warehouse, removals)
        warehouse.execute("delete from ops.closed_dates")

    return patch.object(retention, "_note", note)


def loads_come_in_pieces() -> AbstractContextManager[Any]:
    """Transactions that are none: what a crash leaves of a load stays."""
    return patch.object(Warehouse, "transaction", lambda _: nullcontext())


def stale_dates_are_published() -> AbstractContextManager[Any]:
    """A gate that lets everything through."""
    return patch.object(gate, "check_gate", lambda _: None)


@pytest.mark.parametrize(
    ("fault", "seeds"),
    [
        (late_dates_stay_fresh, (12, 2, 11)),
        (a_table_is_forgotten, (12, 11, 1)),
        (ids_are_forgotten, (11, 12, 1)),
        (nothing_is_closed, (163, 118, 145)),
        (stale_dates_are_published, (268, 107, 158)),
    ],
)
def test_a_few_machines_find_a_planted_fault(
    ready: Bench, fault: Callable[[], AbstractContextManager[Any]], seeds: tuple[int, ...]
) -> None:
    with fault():
        assert any(ready.machine(Drawing(s).steps(STEPS), seed=s).divergence for s in seeds)


def test_a_crash_leaves_a_load_whole_or_not_at_all(ready: Bench) -> None:
    draw = Drawing(1)
    steps = [draw.step("ingest")]
    steps += [("crash", "kill", place / 26, draw.step("ingest")) for place in range(8, 24, 2)]
    outcome = ready.machine(steps, seed=1)
    assert outcome.divergence is None, outcome.divergence
    assert outcome.crashes["ingest kill"] > 3
    with loads_come_in_pieces():
        assert ready.machine(steps, seed=1).divergence


def test_an_event_that_is_refused_does_not_win_over_another_of_its_id(ready: Bench) -> None:
    theirs = Draft(1, 3, 9, 0, None, None, "web", 100, links=False)
    others = Draft(1, 2, 9, 1, None, None, "web", 100, links=False)
    steps = [("erase", "user", 0), ("ingest", [[theirs, theirs, others]])]
    outcome = ready.machine(steps, seed=1)
    assert outcome.divergence is None, outcome.divergence


def test_what_long_campaigns_found_missing_in_the_model(ready: Bench) -> None:
    """A range behind the last event has no hole; blocked runs make readers' tables, empty."""
    one = Draft(0, 23, 0, 2, None, None, "web", 100, False, None)
    devilish = replace(one, number=1, amount=666)
    runs = (("run",), ("run",))
    for postgres, draft, done in ((False, one, [("range", 3, 1)]), (True, devilish, runs)):
        steps = [("ingest", [[draft]]), *done]
        outcome = ready.machine(steps, seed=0, postgres=postgres)
        assert outcome.divergence is None, outcome.divergence


def test_campaigns_add_up(tmp_path: Path) -> None:
    """One goes on with its seeds and never forgets any; the next has others; faults are shown."""
    results = Results(tmp_path, "machine")
    assert campaign.seeds_of(results, (), 3) == range(3)
    for first, words in ((0, None), (3, "seen twice")):
        done = [
            Outcome(seed, "duckdb", {"run": 2}, {"run kill": 1}, 4.0, words)
            for seed in campaign.seeds_of(results, (), 3)
        ]
        assert [one.seed for one in done] == [first, first + 1, first + 2]
        wrong = [f"seed {one.seed}: {words}" for one in done if words]
        key = {"source": f"state {first}", "first_seed": first}
        results.keep(key, {**campaign.summed(done), "wrong": wrong})
    assert campaign.seeds_of(results, (3, 4, 5), 2) == range(3, 6)
    assert campaign.seeds_of(results, (3, 4), 9) == range(3, 12)
    campaign.write(results)
    page = (tmp_path / "machine.md").read_text(encoding="utf-8")
    assert "## 6 machines, 6 on duckdb" in page
    assert "| 3 to 5 | 3 | 6 | 3 | 4.0 |" in page
    assert "| run | 12 |" in page and "| run kill | 6 |" in page
    assert page.count("WRONG: seed") == 3


def stubborn(seeds: Sequence[int], mark: str, folder: Path, server: str | None) -> None:
    """Stand in for a worker within dbt, which takes a polite signal for its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder.mkdir()
    time.sleep(600)


def test_a_campaign_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "MEMORY", tmp_path)
    monkeypatch.setattr(campaign, "_work", stubborn)
    with pytest.raises(KeyboardInterrupt), campaign.workers([1, 2, 3], "mark", 1) as processes:
        (process,) = processes
        while not list(tmp_path.glob("*/worker-0")):
            assert process.is_alive()
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []

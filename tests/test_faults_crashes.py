"""Nothing is lost when a process dies or a disk gets full: the short form of ``tests.faults``."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration import outages
from tests.faults import disk, fail_points, kills, together, trials, worlds
from tests.faults.campaign import fingerprint
from tests.faults.points import DISK_FULL, EXCEPTION, KINDS, POINTS, Fault
from tests.faults.trials import SCENES, Wrong
from tests.faults.worlds import World

#: One state of the source draws one plan; another one draws another.
SEED = int(fingerprint(), 16)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, World]]:
    with fail_points.both(tmp_path_factory.mktemp("worlds")) as made:
        yield made


def test_killed_at_any_moment_and_repeated_it_is_as_if_nothing_had_been(
    both: Mapping[str, World],
) -> None:
    tallies, wrong = kills.kill_often(both, kills.SHORT, SEED)
    assert wrong == []
    assert sum(tally.kills for tally in tallies.values()) == kills.SHORT
    assert len(tallies) == 6
    assert all(tally.good == tally.kills for tally in tallies.values())


def test_failed_at_named_points_and_repeated_it_is_as_if_nothing_had_been(
    both: Mapping[str, World],
) -> None:
    for trial in fail_points.part(SEED):
        fail_points.attempt(both[trial.target], trial)


def test_a_part_goes_round() -> None:
    everything = set(fail_points.trials())
    assert {trial.kind for trial in everything} == set(KINDS)
    nine = {trial for seed in range(9) for trial in fail_points.part(seed)}
    assert {t for t in everything if t.target == "duckdb"} <= nine
    assert {trial for seed in range(18) for trial in fail_points.part(seed)} == everything
    assert len(POINTS) >= 25


def test_eight_at_once_give_the_result_of_one(both: Mapping[str, World]) -> None:
    rows, wrong = together.all_at_once(both)
    assert wrong == []
    assert len(rows) == 4


def test_full_disk_is_said_in_a_line_and_loses_nothing() -> None:
    # The server may be another user's, who cannot look into pytest's folders.
    with tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder:
        Path(folder).chmod(0o755)
        rows, wrong, _ = disk.on_a_small_disk(Path(folder), long=False)
    assert wrong == []
    assert [row[:2] for row in rows] == [
        ["duckdb", "ingest"], ["duckdb", "run"], ["duckdb", "publish"],
        ["postgres", "run"], ["postgres", "ingest, log full"],
    ]  # fmt: skip


# -- the proofs can fail ---------------------------------------------------------------------------


def test_what_is_lost_doubled_or_mixed_is_seen(both: Mapping[str, World]) -> None:
    world, scene = both["duckdb"], SCENES["ingest"]
    wanted = trials.undisturbed(world, scene)
    import duckdb

    def spoilt(sql: str) -> trials.Verdict:
        ended = _done(world)
        with duckdb.connect(str(world.settings.warehouse_path)) as connection:
            connection.execute(sql)
        return trials.judge(world, scene, wanted, ended)

    lost = spoilt("delete from raw.events where load_id = 5")
    # The file after it has some of its events too.
    assert lost.lost == 2 and lost.different
    doubled = spoilt("insert into raw.events select * from raw.events limit 1")
    assert doubled.doubled and doubled.different
    assert spoilt("update ops.partitions set checked = false").different
    assert spoilt("select 1").good
    with pytest.raises(Wrong, match="2 acknowledged files lost"):
        trials.insist(lost, "spoilt")


def test_readers_who_see_a_mixture_are_seen(both: Mapping[str, World]) -> None:
    world, scene = both["duckdb"], SCENES["publish"]
    wanted = trials.undisturbed(world, scene)
    import duckdb

    world.put(scene.before)
    path = world.settings.published_path.resolve()
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("delete from marts.daily_users where users = (select max(users) from "
                           "marts.daily_users)")  # fmt: skip
    assert trials.judge(world, scene, wanted, "").mixtures == 1


def test_a_point_that_is_gone_or_never_reached_fails(
    both: Mapping[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = both["duckdb"]
    known = POINTS["lines typed"]
    # A loader never gets so far; it does not publish either.
    monkeypatch.setitem(SCENES, known.scene, SCENES["publish"])
    with pytest.raises(Wrong, match="was not reached"):
        fail_points.attempt(world, fail_points.Trial(known, "duckdb", EXCEPTION))
    monkeypatch.setitem(POINTS, known.name, replace(known, function="ingest.loader:Loader.gone"))
    with pytest.raises(AttributeError):
        from tests.faults.points import _wrap

        _wrap(POINTS[known.name], Fault(known.name, DISK_FULL), lambda name: None)


def test_an_acknowledgement_is_out_before_the_next_file_is_read(
    both: Mapping[str, World],
) -> None:
    world, scene = both["duckdb"], SCENES["ingest"]
    world.put(scene.before)
    child = world.start(scene.words(world), marks=["between groups"])
    child.listen(lambda: "between groups" in child.marks())
    os.kill(child.pid, signal.SIGSTOP)
    child.listen(lambda: False, deadline=time.monotonic() + 0.2)
    assert child.texts.get("out", b"").count(b"(loaded)") == worlds.GROUP
    child.kill()
    assert child.wait().killed


def _done(world: World) -> str:
    world.put(SCENES["ingest"].before)
    return world.well(*SCENES["ingest"].words(world)).out


# -- what is said ----------------------------------------------------------------------------------


def test_outages_are_recognised_behind_other_errors_and_mistakes_are_not() -> None:
    def behind(error: Exception) -> Exception:
        try:
            try:
                raise error
            except Exception as cause:
                raise RuntimeError("something else") from cause
        except RuntimeError as found:
            return found

    full = outages.in_a_line(behind(OSError(28, "No space left on device")))
    assert full is not None and full.startswith("the disk is full (No space left on device); make")
    import psycopg

    gone = outages.in_a_line(behind(psycopg.OperationalError("server closed the connection")))
    assert gone is not None and gone.startswith("Postgres broke off the connection")
    assert outages.in_a_line(behind(ValueError("no number"))) is None
    assert outages.in_a_line(psycopg.errors.LockNotAvailable("canceling statement")) is None
    assert outages.explained("--end lies before --start") == "--end lies before --start"
    assert "make room" in outages.explained("the run has failed: No space left on device")

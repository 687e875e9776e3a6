"""Every named point, failed at in three ways, and made good by a plain repeat.

Belongs here: going through ``tests.faults.points`` and the table of results.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import tables, worlds
from tests.faults.points import DISK_FULL, KILLED, KINDS, POINTS, Fault, Point
from tests.faults.trials import SCENES, Wrong, insist, judge, undisturbed
from tests.faults.worlds import World
from tests.postgres import running_server

#: What is told beforehand and is no error.
NOTICE = "tidemark: the business time zone is now"

#: Lines of each file.
LINES = 40


@dataclass(frozen=True)
class Trial:
    """A point, a target, a way to fail."""

    point: Point
    target: str
    kind: str


def trials(*, kinds: Sequence[str] = KINDS) -> list[Trial]:
    """Return all of them, those of one scene behind each other."""
    return [
        Trial(point, target, kind)
        for target in ("duckdb", "postgres")
        for point in POINTS.values()
        if target in point.targets
        for kind in kinds
    ]


def part(seed: int) -> list[Trial]:
    """Return a part that goes round: a third of DuckDB's points in one way, a sixth of Postgres's.

    Nine seeds in a row see everything of DuckDB, eighteen everything.
    """
    found = []
    for number, trial in enumerate(trials(kinds=[""])):
        kind = KINDS[(number + seed) % len(KINDS)]
        if (number + seed // 3) % (6 if trial.target == "postgres" else 3):
            continue
        found.append(Trial(trial.point, trial.target, kind))
    return found


def attempt(world: World, trial: Trial) -> float:
    """Do one; return the CPU seconds of the command that failed.

    Raises:
        Wrong: the point was not reached, or the law did not hold.

    """
    scene = SCENES[trial.point.scene]
    wanted = undisturbed(world, scene)
    fault = Fault(trial.point.name, trial.kind)
    what = f"{trial.target}, {fault.kind} at '{fault.point}'"
    world.put(scene.before)
    child = world.start(scene.words(world), fault=fault, **scene.options(world))
    ended = child.wait()
    if fault.point not in ended.marks:
        raise Wrong(f"{what}: the point was not reached: {ended.err[-800:]}")
    if ended.killed != (fault.kind == KILLED):
        raise Wrong(f"{what}: ended {ended.code} {ended.out[-300:]} {ended.err[-800:]}")
    # Dagster tries some steps again: a command that got over it must have done everything.
    if fault.kind == DISK_FULL and ended.code:
        insist_full(what, ended.code, ended.err)
    log = ended.out.rpartition("\n")[0]
    insist(judge(world, scene, wanted, log), what)
    return ended.cpu


def insist_full(what: str, code: int, said: str) -> None:
    """Raise unless a command said in one line that the disk is full, and what to do.

    Raises:
        Wrong: shows what it said.

    """
    lines = [line for line in said.splitlines() if not line.startswith(NOTICE)]
    fine = len(lines) == 1 and lines[0].startswith("tidemark: ") and "disk is full" in lines[0]
    if code != 1 or not fine or "make room" not in lines[0]:
        raise Wrong(f"{what}: ended {code} and said {said[-1500:]}")


@contextmanager
def both(folder: Path) -> Iterator[Mapping[str, World]]:
    """Give a world of each target, with all states made."""
    with worlds.stage(folder, lines=LINES) as (zygote, sources), running_server() as server:
        made = {
            target: worlds.world(zygote, sources, folder, target=target, server=server)
            for target in ("duckdb", "postgres")
        }
        for world in made.values():
            world.make_states()
        yield made


def run(*, long: bool) -> list[str]:
    """Go through all points, or a part; return what did not hold, and write the table."""
    chosen = trials() if long else part(int(time.time()) // 86_400)
    wrong: list[str] = []
    done: dict[tuple[str, str], list[str]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder,
        both(Path(folder)) as all_,
    ):
        for number, trial in enumerate(chosen, 1):
            try:
                attempt(all_[trial.target], trial)
                done.setdefault((trial.point.name, trial.target), []).append(trial.kind)
            except Wrong as error:
                wrong.append(str(error))
            tables.progress(number, len(chosen), f"{trial.target}, {trial.point.name}")
    rows = [["point", "command", "what has happened", "lies", *("DuckDB", "Postgres")]]
    for point in POINTS.values():
        cells = [
            ", ".join(done.get((point.name, target), ["-" if target in point.targets else ""]))
            for target in ("duckdb", "postgres")
        ]
        lies = f"{point.when} `{point.function.partition(':')[2]}`"
        rows.append([point.name, point.scene, point.happened, lies, *cells])
    tables.write(
        "fail_points", "Failed at a point, repeated, equal to the undisturbed", rows,
        f"{len(chosen) - len(wrong)} of {len(chosen)} made good by a plain repeat; readers saw one "
        "publication, nothing acknowledged was lost, nothing doubled.", wrong,
    )  # fmt: skip
    return wrong

"""``kill -9`` at any moment of ingest, run and publish; a plain repeat makes everything good.

Belongs here: drawing the moments, counting which phase each one hit, the table of results. Half of
the moments are uniform over the undisturbed command, half lie within milliseconds after a point of
``tests.faults.points`` was passed: commits, renames and the swap of the link are short.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import tables
from tests.faults.fail_points import both
from tests.faults.points import POINTS
from tests.faults.trials import SCENES, Log, Scene, Undisturbed, Wrong, insist, judge, undisturbed
from tests.faults.worlds import World

#: Of twenty kills of a target, so many are of each command; a run costs what ten others do.
SHARES = {"ingest": 4, "run": 3, "publish": 3}

SHORT, LONG = 20, 500

#: Longest time between a point and the kill, in seconds: some commits and renames take that.
WINDOW = 0.006

#: So many draws are made for one kill that comes in time.
DRAWS = 20


@dataclass
class Tally:
    """What was found for one target and command."""

    kills: int = 0
    late: int = 0
    good: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    mixtures: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0


def plan(kills: int) -> list[tuple[str, str]]:
    """Return target and command of each kill, mixed, each with its share."""
    share = sum(SHARES.values())
    found = []
    for target in ("duckdb", "postgres"):
        half = kills // 2
        for command, part in SHARES.items():
            found += [(target, command)] * round(half * part / share)
    return found


def windows(target: str, command: str) -> list[str]:
    """Return the points of a command on a target: every phase begins with one."""
    return [p.name for p in POINTS.values() if p.scene == command and target in p.targets]


def kill_once(
    world: World, scene: Scene, wanted: Undisturbed, draw: random.Random, tally: Tally
) -> None:
    """Kill a command at a moment drawn by lot, and check the law.

    Raises:
        Wrong: it did not hold.

    """
    points = windows(world.target, scene.name)
    for _ in range(DRAWS):
        world.put(scene.before)
        log = Log(world.folder / "acknowledged.log")
        uniform = draw.random() < 0.5
        moment = draw.uniform(0, wanted.seconds if uniform else WINDOW)
        awaited = None if uniform else draw.choice(points)
        child = world.start(scene.words(world), marks=points, **scene.options(world))
        began = child.began

        def heard(child=child, log=log, awaited=awaited) -> bool:  # type: ignore[no-untyped-def]
            log.hear(child)
            return awaited is not None and awaited in child.marks()

        child.listen(heard, deadline=began + moment if uniform else None)
        if not uniform:
            child.listen(lambda: False, deadline=time.monotonic() + moment)
        child.kill()
        ended = child.wait()
        log.hear(child)
        tally.cpu += ended.cpu
        text = log.text()
        if not ended.killed:
            tally.late += 1
            continue
        phase = ended.marks[-1] if ended.marks else "begun"
        tally.kills += 1
        tally.phases[phase] += 1
        verdict = judge(world, scene, wanted, text)
        tally.acknowledged += verdict.acknowledged
        tally.lost += verdict.lost
        tally.doubled += verdict.doubled
        tally.mixtures += verdict.mixtures
        when = f"{moment * 1000:.1f} ms after {awaited or 'the start'}"
        insist(verdict, f"{world.target}, {scene.name} killed {when}, phase '{phase}'")
        tally.good += 1
        return
    raise Wrong(f"{world.target}, {scene.name}: {DRAWS} kills came too late")


def kill_often(
    all_worlds: Mapping[str, World], kills: int, seed: int
) -> tuple[dict[tuple[str, str], Tally], list[str]]:
    """Kill so often; return what was counted, and what did not hold."""
    draw = random.Random(seed)
    print(f"seed {seed}")
    tallies: dict[tuple[str, str], Tally] = {}
    wrong = []
    chosen = plan(kills)
    for number, (target, command) in enumerate(chosen, 1):
        world, scene, key = all_worlds[target], SCENES[command], (target, command)
        try:
            tally = tallies.setdefault(key, Tally())
            kill_once(world, scene, undisturbed(world, scene), draw, tally)
        except Wrong as error:
            wrong.append(str(error))
            print(f"WRONG: {error}")
        tables.progress(number, len(chosen), f"{target}, {command}")
    return tallies, wrong


def run(*, long: bool, seed: int | None = None, kills: int | None = None) -> list[str]:
    """Kill 20 or 500 times; return what did not hold, and write the table."""
    kills = kills or (LONG if long else SHORT)
    seed = int(time.time()) if seed is None else seed
    with (
        tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder,
        both(Path(folder)) as all_worlds,
    ):
        tallies, wrong = kill_often(all_worlds, kills, seed)
    rows = [["target", "command", "kills", "phases hit", "repeats equal", "files acknowledged",
             "acknowledged lost", "doubled", "mixtures seen", "too late, not counted"]]  # fmt: skip
    for (target, command), tally in tallies.items():
        phases = ", ".join(f"{name} {count}" for name, count in tally.phases.most_common())
        rows.append([target, command, str(tally.kills), phases, str(tally.good),
                     str(tally.acknowledged), str(tally.lost), str(tally.doubled),
                     str(tally.mixtures), str(tally.late)])  # fmt: skip
    tables.write(
        "kills", f"{kills} kills, and a plain repeat after each", rows,
        f"Seed {seed}. A phase is named by the last point that was passed "
        "(tests/faults/points.py). Acknowledged is what the loader had printed by then.", wrong,
    )  # fmt: skip
    return wrong

"""Eight at once on one warehouse, one of them without a parent: the result is that of one.

Belongs here: runs and loads side by side. What kills and full disks do is proven elsewhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.faults import tables
from tests.faults.fail_points import both
from tests.faults.trials import SCENES, Wrong, undisturbed
from tests.faults.worlds import World, differences
from tests.faults.zygote import Ended

AT_ONCE = 8

#: The one line of who does not get the warehouse in time.
BUSY = ("tidemark: another run is going on", "tidemark: the warehouse is in use")


def side_by_side(world: World, command: str, *, orphan: bool) -> list[Ended]:
    """Do a command eight times at once and compare with one; return how each ended.

    With ``orphan`` the parent of the first one is killed as soon as it has begun to write.

    Raises:
        Wrong: the result is another, or somebody neither ended well nor said why.

    """
    scene = SCENES[command]
    wanted = undisturbed(world, scene)
    world.put(scene.before)
    children = []
    if orphan:
        parent = world.zygote.twin()
        begun = ["dates marked"]
        child = parent.start(scene.words(world), world.environment(), marks=begun)
        child.listen(lambda: child.marks() == begun)
        parent.kill()
        children.append(child)
    children += [
        world.start(scene.words(world), **scene.options(world))
        for _ in range(AT_ONCE - len(children))
    ]
    # Nobody is told how an orphan ends; what it says is heard all the same.
    lost = children.pop(0) if orphan else None
    ended = [child.wait() for child in children]
    if lost is not None:
        lost.listen(lambda: False)
        said = lost.texts.get("out", b"").decode()
        if not said.startswith("succeeded"):
            raise Wrong(f"{world.target}, the orphan said {said} {lost.texts.get('err', b'')!r}")
    for each in ended:
        busy = each.code == 1 and each.err.startswith(BUSY) and each.err.count("\n") == 1
        waited = all(line.startswith("tidemark: waiting") for line in each.err.splitlines())
        if not (busy or (each.code == 0 and waited)):
            raise Wrong(f"{world.target}, {command} at once: {each.code} {each.err[-800:]}")
        if lost is not None and each.code == 0 and not each.out.startswith("nothing to run"):
            raise Wrong(f"{world.target}, {command} at once: two did it: {each.out[:200]}")
    different = differences(world.state(), wanted.states[0])
    if different or world.doubled():
        raise Wrong(f"{world.target}, {command} at once: {'; '.join(different)}")
    return ended


def all_at_once(all_worlds: Mapping[str, World]) -> tuple[list[list[str]], list[str]]:
    """Do runs and loads on both targets; return rows of the table, and what did not hold."""
    rows, wrong = [], []
    for target, world in all_worlds.items():
        for command, orphan in (("run", True), ("ingest", False)):
            try:
                ended = side_by_side(world, command, orphan=orphan)
            except Wrong as error:
                wrong.append(str(error))
                continue
            well = sum(each.code == 0 for each in ended) + int(orphan)
            rows.append([target, command, str(AT_ONCE), "1" if orphan else "0", str(well),
                         str(AT_ONCE - well), "yes"])  # fmt: skip
    return rows, wrong


def run(*, long: bool) -> list[str]:
    """Do it once; return what did not hold, and write the table. Long is as short."""
    del long
    with (
        tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder,
        both(Path(folder)) as all_worlds,
    ):
        rows, wrong = all_at_once(all_worlds)
    head = ["target", "command", "at once", "of them orphans", "ended well", "said why not",
            "result of one"]  # fmt: skip
    tables.write("together", "Eight at once", [head, *rows],
                 "An orphan's parent was killed while it was writing; it goes on.", wrong)  # fmt: skip
    return wrong

"""One trial: a command is disturbed, and a plain repeat must make everything as it would have been.

Belongs here: what is done in each scene, how a user finishes it, and the law that is checked after
every disturbance, whatever it was. The disturbances belong to ``kills`` and ``fail_points``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.tombstones import journal_path
from tests.faults import worlds
from tests.faults.worlds import FILES, FIRST, Rows, World, Wrong
from tests.faults.zygote import Child, Ended


@dataclass(frozen=True)
class Scene:
    """A command in a state. ``finisher`` is what finishes it once its journal is written."""

    name: str
    before: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    finisher: tuple[str, ...] = ()

    def options(self, world: World) -> dict[str, Any]:
        """How the command is started."""
        found: dict[str, Any] = {"variables": self.variables}
        if "-" in self.arguments:
            found["standard_input"] = world.sources.paths(FIRST, FILES)[0]
        return found

    def words(self, world: World) -> list[str]:
        """The command with the names of files in it."""
        files = world.sources.paths(FIRST, FILES)
        words: list[str] = []
        for word in self.arguments:
            words += files if word == "FILES" else [word.replace("HOME", str(world.settings.home))]
        return words


SCENES = {
    scene.name: scene
    for scene in (
        Scene("ingest", worlds.FIRST_PUBLISHED, ("ingest", "FILES")),
        Scene("pipe", worlds.FIRST_PUBLISHED, ("ingest", "-")),
        Scene("redate", worlds.FIRST_PUBLISHED, ("ingest", "FILES"),
              {"TIDEMARK_TIMEZONE": worlds.ZONE}),
        Scene("replay", worlds.LOADED, ("quarantine", "replay")),
        Scene("migrate", worlds.EMPTY, ("migrate", "--quiet")),
        Scene("run", worlds.LOADED, ("run",)),
        Scene("publish", worlds.CHECKED, ("publish",)),
        Scene("retention", worlds.PUBLISHED, ("retention", "--as-of", worlds.AS_OF)),
        Scene("erase", worlds.PUBLISHED, ("erase", "--user-id", "user-3"), {}, ("run",)),
        Scene("keys", worlds.EMPTY, ("keys", "rotate", "--out", "HOME/keys.txt")),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Undisturbed:
    """What is to be seen before a scene, after it, and after it was done once more."""

    seconds: float
    shown: tuple[dict[str, Rows], dict[str, Rows]]
    states: tuple[dict[str, Rows], ...]


def undisturbed(world: World, scene: Scene) -> Undisturbed:
    """Do a scene without any disturbance, and look; once for each world."""
    if scene.name not in world.undisturbed:
        world.undisturbed[scene.name] = _seen(world, scene)
    found: Undisturbed = world.undisturbed[scene.name]
    return found


def _seen(world: World, scene: Scene) -> Undisturbed:
    world.put(scene.before)
    before = world.shown()
    ended = world.well(*scene.words(world), **scene.options(world))
    after = world.shown()
    if scene.finisher:
        world.well(*scene.finisher)
    states = [world.state()]
    if scene.name == "publish":
        # A publication that was not heard of is made once more, under the next number.
        world.well(*scene.words(world))
        states.append(world.state())
    return Undisturbed(ended.seconds, (before, after), tuple(states))


class Log:
    """What the loader acknowledged, on the disk before the next word is heard."""

    def __init__(self, path: Path) -> None:
        """Begin an empty log."""
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self._path, self._written = path, 0

    def hear(self, child: Child) -> None:
        """Write down what was said since."""
        said = child.texts.get("out", b"")
        if len(said) > self._written:
            os.write(self._handle, said[self._written :])
            os.fsync(self._handle)
            self._written = len(said)

    def text(self) -> str:
        """Everything that was heard, as far as lines are whole; the log is closed."""
        os.close(self._handle)
        return self._path.read_text(encoding="utf-8").rpartition("\n")[0]


@dataclass(frozen=True)
class Verdict:
    """What was found after a disturbance and its repeat: all 0 and empty is as it must be."""

    mixtures: int
    lost: int
    doubled: int
    different: tuple[str, ...]
    acknowledged: int = 0

    @property
    def good(self) -> bool:
        """Whether the law held."""
        return not (self.mixtures or self.lost or self.doubled or self.different)


def judge(world: World, scene: Scene, wanted: Undisturbed, log: str) -> Verdict:
    """Look at what a disturbance left, repeat the command, and compare with the undisturbed.

    Raises:
        Wrong: the repeat did not end well.

    """
    shown = world.shown()
    mixtures = int(shown not in wanted.shown)
    lost = len(world.acknowledged(log))
    doubled = world.doubled()
    done = _publications(world) if len(wanted.states) > 1 else 0
    repeat(world, scene)
    state = wanted.states[done]
    doubled += world.doubled()
    different = tuple(worlds.differences(world.state(), state))
    return Verdict(mixtures, lost, doubled, different, log.count("(loaded)"))


def repeat(world: World, scene: Scene) -> Ended:
    """Do what a user does who saw a command die: the same again.

    An erasure that stands in the journal is finished by whoever opens a session next.
    """
    if scene.finisher:
        if not journal_path(world.settings).exists():
            world.well(*scene.words(world), **scene.options(world))
        return world.well(*scene.finisher)
    return world.well(*scene.words(world), **scene.options(world))


def _publications(world: World) -> int:
    """How many publications the ledger knows besides the first."""
    with world.look() as warehouse:
        assert warehouse
        return int(warehouse.value("select count(*) - 1 from ops.publications"))


def insist(verdict: Verdict, what: str) -> None:
    """Raise unless the law held.

    Raises:
        Wrong: says what did not.

    """
    if not verdict.good:
        said = [f"{verdict.lost} acknowledged files lost"] if verdict.lost else []
        said += [f"{verdict.doubled} events doubled"] if verdict.doubled else []
        said += ["readers saw a mixture"] if verdict.mixtures else []
        raise Wrong(f"{what}: {'; '.join([*said, *verdict.different])}")

"""The disk is full: nothing acknowledged is lost, one line says so, and with room a repeat is well.

Belongs here: what is done on the small disk of ``tests.faults.room``, which is where this runs:
on DuckDB the home folder lies on it, on Postgres the data of a server of its own.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults import tables, worlds
from tests.faults.fail_points import LINES
from tests.faults.room import Room
from tests.faults.trials import SCENES, Wrong, insist, judge, undisturbed
from tests.faults.worlds import World
from tests.faults.zygote import ROOT, Ended
from tests.postgres import running_server
from tests.waiting import wait_until

KIB = 1 << 10

#: Bytes that are left free; some let a part of the work through.
LEFT = {"ingest": (16 * KIB, 400 * KIB), "run": (16 * KIB, 700 * KIB), "publish": (16 * KIB,)}

#: A command that fitted is tried with this part of what was left.
LESS = 0.5

TRIES = 8

#: What else can be out: the server went away with its disk.
GONE = "Postgres broke off the connection"

#: Of a segment of the write-ahead log, 16 MB, so much is used up before it has to be whole.
ALMOST = (16 << 20) - 64 * KIB


def insist_said(what: str, ended: Ended) -> None:
    """Raise unless a command failed with one line that says what is out and what to do.

    Raises:
        Wrong: shows what it said.

    """
    lines = ended.err.splitlines()
    clear = len(lines) == 1 and lines[0].startswith("tidemark: ")
    full = clear and "disk is full" in lines[0] and "make room" in lines[0]
    gone = clear and (GONE in lines[0] or "cannot be reached" in lines[0])
    if ended.code != 1 or not (full or gone):
        raise Wrong(f"{what}: ended {ended.code} and said {ended.err[-1500:]}")


def fill(
    world: World,
    room: Room,
    command: str,
    left: int,
    *,
    again: Callable[[], None],
    log: bool = False,
) -> list[str]:
    """Do a command on a disk that gets full, make room, repeat; return a row of the table.

    Raises:
        Wrong: it said something else, or the law did not hold.

    """
    scene = SCENES[command]
    wanted = undisturbed(world, scene)
    for _ in range(TRIES):
        what = f"{world.target}, {command} with {left // KIB} KiB left"
        world.put(scene.before)
        if log:
            _use_up_log(world)
        room.shrink(left)
        ended = world.start(scene.words(world), **scene.options(world)).wait()
        if ended.code:
            break
        room.grow()
        left = int(left * LESS)
    else:
        raise Wrong(f"{what}: it never got full")
    text = ended.out.rpartition("\n")[0]
    kept = len(world.acknowledged(text)) if not world.server else 0
    room.grow()
    again()
    insist_said(what, ended)
    verdict = judge(world, scene, wanted, text)
    insist(verdict, what)
    said = ended.err.strip().removeprefix("tidemark: ").split(" (")[0]
    return [world.target, command + (", log full" if log else ""), str(left // KIB), said,
            str(verdict.acknowledged), str(verdict.lost + kept), str(verdict.doubled), "yes"]  # fmt: skip


def _use_up_log(world: World) -> None:
    """Leave little of the segment of the write-ahead log: soon the server needs another one."""
    import psycopg

    assert world.server
    with psycopg.connect(world.server, autocommit=True) as connection:
        connection.execute("checkpoint")
        connection.execute("select pg_switch_wal()")
        connection.execute(
            "select pg_logical_emit_message(false, 'fill', repeat('x', (%s - (("
            "pg_current_wal_lsn() - '0/0'::pg_lsn) %% 16777216))::int))",
            [ALMOST],
        )
        # Segments that are kept for later would be used first.
        connection.execute("alter system set wal_recycle = off")
        connection.execute("select pg_reload_conf()")


@contextmanager
def small_server(room: Room) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the URL of a server with its data on the disk, and what starts it again if it died."""
    before = tempfile.tempdir
    tempfile.tempdir = str(room.folder)
    try:
        with running_server() as url:
            tempfile.tempdir = before
            (data,) = room.folder.glob("tidemark-pg-*/data")
            command = shlex.split((data / "postmaster.opts").read_text(encoding="utf-8"))
            user = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
            control = [str(Path(command[0]).with_name("pg_ctl")), "-D", str(data), "-w"]

            def again() -> None:
                state = subprocess.run([*control, "status"], capture_output=True, cwd=data, **user)  # type: ignore[call-overload]
                if state.returncode:
                    options = shlex.join(
                        [word for word in command[1:] if word not in ("-D", str(data))]
                    )
                    subprocess.run([*control, "-l", str(data.parent / "log"), "-o", options, "start"],
                                   check=True, capture_output=True, cwd=data, **user)  # type: ignore[call-overload]  # fmt: skip
                _wait_until_there(url)

            def limit(size: int) -> None:
                number = int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
                bound = size or resource.RLIM_INFINITY
                resource.prlimit(number, resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))

            room.limited.append(limit)
            yield url, again
            room.limited.remove(limit)
    finally:
        tempfile.tempdir = before


def _wait_until_there(url: str) -> None:
    import psycopg

    def is_there() -> bool:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until(is_there, "the server does not come up")


#: The short form: what is left of the disk for which command, and whether the log gets full.
SHORT = {
    "duckdb": (
        ("ingest", 400 * KIB, False),
        ("run", 16 * KIB, False),
        ("publish", 16 * KIB, False),
    ),
    "postgres": (("run", 16 * KIB, False), ("ingest", 256 * KIB, True)),
}

LONG = {
    "duckdb": tuple((command, left, False) for command, all_ in LEFT.items() for left in all_),
    "postgres": (
        *((command, all_[0], False) for command, all_ in LEFT.items()),
        ("ingest", 256 * KIB, True),
    ),
}


def main(room: Room, folder: Path, *, long: bool) -> None:
    """Do it on the small disk and print it: rows of the table, and what did not hold."""
    chosen = LONG if long else SHORT
    rows: list[list[str]] = []
    wrong: list[str] = []

    def attempt(
        world: World, command: str, left: int, again: Callable[[], None], *, log: bool
    ) -> None:
        try:
            rows.append(fill(world, room, command, left, again=again, log=log))
        except Wrong as error:
            room.grow()
            again()
            wrong.append(str(error))

    with worlds.stage(folder, lines=LINES) as (zygote, sources):

        def limit(size: int) -> None:
            zygote.file_bytes = size

        home = worlds.world(zygote, sources, room.folder, target="duckdb")
        home.make_states()
        room.limited.append(limit)
        for command, left, log in chosen["duckdb"]:
            attempt(home, command, left, lambda: None, log=log)
        room.limited.remove(limit)
        home.drop()
        shutil.rmtree(room.folder / "kept duckdb")
        with small_server(room) as (url, again):
            served = worlds.world(zygote, sources, folder, target="postgres", server=url)
            served.make_states()
            for command, left, log in chosen["postgres"]:
                attempt(served, command, left, again, log=log)
    print(json.dumps({"rows": rows, "wrong": wrong, "mounted": room.mounted}))


def on_a_small_disk(
    folder: Path, *, long: bool, **variables: str
) -> tuple[list[list[str]], list[str], bool]:
    """Do it in a process of its own; return rows, what did not hold, and whether it was mounted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.room", str(folder), *(["long"] if long else [])],
        cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return found["rows"], found["wrong"], found["mounted"]


def run(*, long: bool) -> list[str]:
    """Fill disks up; return what did not hold, and write the table."""
    with tempfile.TemporaryDirectory(prefix="tidemark-faults-") as folder:
        Path(folder).chmod(0o755)
        rows, wrong, mounted = on_a_small_disk(Path(folder), long=long)
    head = ["target", "command", "KiB left", "it said", "files acknowledged", "acknowledged lost",
            "doubled", "repeat equal"]  # fmt: skip
    how = "a small tmpfs" if mounted else "a limit of the size of files"
    tables.write("disk_full", "Full, room made, repeated", [head, *rows], f"On {how}.", wrong)
    return wrong

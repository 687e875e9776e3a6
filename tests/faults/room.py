"""A small disk: a tmpfs in a mount namespace of this process, or a limit of the size of files.

Belongs here: making it, filling it up, making room. Nothing heavy is imported: a process with
threads cannot have a namespace of its own. ``python -m tests.faults.room FOLDER`` is the process
that has one; it does what ``tests.faults.disk`` says.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

NEW_NAMESPACE, NEW_USER = 0x00020000, 0x10000000
REMOUNT, PRIVATE = 32, (1 << 18) | (1 << 14)

PLENTY = 1 << 30

#: Set to try what happens where nothing may be mounted.
NO_MOUNTS = "TIDEMARK_TEST_NO_MOUNTS"


@dataclass
class Room:
    """A folder on a disk that can be made smaller; ``mounted`` or played by a limit.

    Who plays writes files no larger than ``limit`` bytes; ``limited`` are told of it.
    """

    folder: Path
    mounted: bool
    limit: int = 0
    limited: list[Callable[[int], None]] = field(default_factory=list)

    def shrink(self, left: int) -> None:
        """Leave so many bytes free."""
        if self.mounted:
            found = os.statvfs(self.folder)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            _mount(self.folder, used + left, REMOUNT)
            return
        for tell in self.limited:
            tell(left)

    def grow(self) -> None:
        """Make room."""
        if self.mounted:
            _mount(self.folder, PLENTY, REMOUNT)
            return
        for tell in self.limited:
            tell(0)


def make_room(folder: Path) -> Room:
    """Mount a small disk on a folder where that may be done, for this process and its children."""
    folder.mkdir(parents=True)
    try:
        if os.environ.get(NO_MOUNTS):
            raise PermissionError(NO_MOUNTS)
        _enter()
        _mount(folder, PLENTY, 0)
    except OSError:
        return Room(folder, mounted=False)
    folder.chmod(0o755)
    return Room(folder, mounted=True)


def _enter() -> None:
    """Give this process mounts of its own; who is not root becomes lord of a user namespace."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", NEW_NAMESPACE | (NEW_USER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _call("mount", b"none", b"/", None, PRIVATE, None)


def _mount(folder: Path, size: int, flags: int) -> None:
    options = f"size={size},mode=0755".encode()
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options)


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name)
    if name == "mount":
        function.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    made = make_room(Path(sys.argv[1]) / "small")
    from tests.faults.disk import main

    main(made, Path(sys.argv[1]), long="long" in sys.argv[2:])

"""Hash keys: which there are, a new one, an old one gone; never a secret on a screen.

Belongs here: new values of TIDEMARK_HASH_KEYS, written to files. What a key does belongs in
``ingest.privacy``, what the warehouse remembers of other keys in ``ingest.hash_links``.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import UserError
from ingest.settings import STAFF, HashKey, Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration.outages import NO_ROOM

KEY_BYTES = 32


@dataclass(frozen=True)
class KeyShown:
    """What may be known of a key: its version and what it is for."""

    version: str
    role: str


@dataclass(frozen=True)
class NewKeys:
    """A new value of the setting that stands in a file, and what it holds."""

    out: Path
    versions: tuple[str, ...]
    writes: str


def shown(settings: Settings) -> list[KeyShown]:
    """Return the keys in the order of the setting, that of staff first."""
    first = settings.hash_keys[0].version
    staff = "staff, written out" if settings.written_staff_key else f"staff, follows from {first}"
    return [
        KeyShown(STAFF, staff),
        *(KeyShown(key.version, "clients, linked with the next") for key in settings.older_keys),
        KeyShown(settings.write_key.version, "clients, writes"),
    ]


def rotate(settings: Settings, out: Path) -> NewKeys:
    """Write the keys and a new one, which will write, to a file that only its owner can read.

    Raises:
        UserError: the file exists or cannot be written.

    """
    taken = {key.version for key in settings.hash_keys}
    numbers = [int(match[1]) for v in taken if (match := re.fullmatch(r"v([0-9]{1,9})", v))]
    version = f"v{max(numbers, default=0) + 1}"
    new = HashKey(version, secrets.token_bytes(KEY_BYTES))
    return _write(out, settings.staff_key, [*settings.hash_keys, new])


def retire(settings: Settings, version: str, *, out: Path, force: bool = False) -> NewKeys:
    """Write the keys without an older one of clients to a file that only its owner can read.

    What was hashed under it is linked with nothing new from then on. ``force`` gives up members
    of staff that are known by a hash under this key alone.

    Raises:
        UserError: there is no such key, it writes, it is that of staff or still needed for staff;
            or the file exists or cannot be written.

    """
    known = {key.version for key in settings.hash_keys}
    if version == STAFF:
        raise UserError("the key of staff stays: without it every member of staff would be split")
    if version not in known:
        raise UserError(
            f"there is no key {version!r}; the keys of clients are {', '.join(sorted(known))}"
        )
    if len(known) == 1:
        raise UserError(
            f"{version} is the only key of clients; make another with 'tidemark keys rotate'"
        )
    if version == settings.write_key.version:
        raise UserError(
            f"{version} is the key that writes; make another with 'tidemark keys rotate' first"
        )
    unseen = 0 if force else staff_unseen(settings, version)
    if unseen:
        raise UserError(
            f"{unseen:,} members of staff are known by a hash under {version} and were not seen "
            "since; they would be split when they come back: wait, or give --force"
        )
    return _write(out, settings.staff_key, [k for k in settings.hash_keys if k.version != version])


def staff_unseen(settings: Settings, version: str) -> int:
    """Count members of staff that only this key of clients can recognise.

    Raises:
        UserError: nothing was loaded since staff has a key of its own, so that it is not known.

    """
    if settings.target == "duckdb" and not settings.warehouse_path.exists():
        return 0
    with open_warehouse(settings, read_only=True) as warehouse:
        return _unseen(warehouse, version)


def _unseen(warehouse: Warehouse, version: str) -> int:
    looked = warehouse.relation_exists("ops", "hash_windows") and warehouse.value(
        "select count(*) from ops.hash_windows where version = ?", [STAFF]
    )
    if not looked:
        if not warehouse.relation_exists("raw", "events"):
            return 0
        raise UserError(
            f"whether members of staff are known by a hash under {version} is seen by the next "
            "'tidemark ingest'; ingest something first, or give --force"
        )
    return int(
        warehouse.value(
            "select count(*) from ops.staff_written where version = ? "
            "and written not in (select written from ops.staff_aliases)",
            [version],
        )
    )


def _write(out: Path, staff: HashKey, keys: Sequence[HashKey]) -> NewKeys:
    value = ",".join(f"{key.version}:{key.secret.hex()}" for key in (staff, *keys))
    try:
        _write_whole(out, value + "\n")
    except FileExistsError:
        raise UserError(f"--out {out} exists; name a file that does not") from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--out {out} cannot be written: {reason}") from None
    return NewKeys(out, tuple(key.version for key in keys), keys[-1].version)


def _write_whole(out: Path, text: str) -> None:
    """Write a file that only its owner can read: all of it under its name, or nothing.

    Raises:
        FileExistsError: something has that name.

    """
    if out.is_symlink() or out.exists():
        raise FileExistsError(out)
    waiting = out.with_name(f".{out.name}.new")
    # One that was killed has left it.
    waiting.unlink(missing_ok=True)
    try:
        handle = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(waiting, out)
    finally:
        waiting.unlink(missing_ok=True)

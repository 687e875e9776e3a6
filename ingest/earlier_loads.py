"""Earlier loads of the same bytes: which of them answers for a file, and what is left open of it.

Belongs here: what ops.loads and ops.rejected_events know of a file by its bytes and the way it was
read. Loading a file belongs in ``ingest.loader``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest.adapters import ADAPTERS
from ingest.warehouse import Warehouse


@dataclass(frozen=True)
class EarlierLoad:
    """A load that the bytes of a file came in before, or that failed with them."""

    load_id: int
    source: str
    digest: str
    rejected: int
    status: str


def digest_of(content: str, kind: str, mapping: Mapping[str, str]) -> str:
    """Return the SHA-256 of a file's bytes, and after it that of what renames its columns."""
    renamed = sorted(pair for pair in mapping.items() if pair[0] != pair[1])
    if kind != "csv" or not renamed:
        return content
    return f"{content}:{hashlib.sha256(repr(renamed).encode()).hexdigest()[:16]}"


def earlier_loads(warehouse: Warehouse, content: str, adapter: str | None) -> list[EarlierLoad]:
    """Return the loads of bytes by their SHA-256, newest first.

    What was read as a foreign format is another file than what was not.
    """
    foreign = [adapter] if adapter else list(ADAPTERS)
    same_format = f"source {'' if adapter else 'not '}in ({', '.join('?' * len(foreign))})"
    rows = warehouse.execute(
        "select load_id, source, file_sha256, rejected, status from ops.loads "
        f"where starts_with(file_sha256, ?) and (status = 'failed' or {same_format}) "
        "order by load_id desc",
        [content, *foreign],
    )
    return [EarlierLoad(*row) for row in rows]


def answering(earlier: Sequence[EarlierLoad], kind: str, digest: str) -> int | None:
    """Return the load that answers for a file; None when the file is to be read.

    Read in another way (as another format, with other columns) a file may say more than it did,
    but only where lines of it were rejected.
    """
    last = next((load for load in earlier if load.status != "failed"), None)
    if last is None or (last.rejected and (last.source, last.digest) != (kind, digest)):
        return None
    return last.load_id


def failed_alike(warehouse: Warehouse, digest: str, file_name: str, reason: str) -> int | None:
    """Return the load in which the same bytes failed for the same reason and that is still open.

    ``reason`` names the file; under another name it is the same.
    """
    found = warehouse.value(
        "select max(load_id) from ops.loads where file_sha256 = ? and status = 'failed' "
        "and replace(error, file_name, '') = ? and load_id in "
        "(select load_id from ops.rejected_events where resolved_at is null)",
        [digest, reason.replace(file_name, "")],
    )
    return None if found is None else int(found)


def supersede(warehouse: Warehouse, earlier: Sequence[EarlierLoad], at: datetime) -> None:
    """Resolve what is open of loads of a file that is read again, in another way."""
    if earlier:
        warehouse.execute(
            "update ops.rejected_events set resolved_at = ?, resolution = 'superseded' "
            f"where resolved_at is null and load_id in ({', '.join('?' * len(earlier))})",
            [at, *(load.load_id for load in earlier)],
        )

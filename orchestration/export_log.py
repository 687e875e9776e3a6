"""Which exports were made: what an erasure cannot reach, so that their owners can be told.

Belongs here: the list beside the warehouse. Writing an export belongs in ``orchestration.export``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.settings import Settings
from orchestration.erasure.rules import holds_persons

EXPORTS = "exports.ndjson"


@dataclass(frozen=True)
class Export:
    """One file that was written by ``tidemark export``."""

    exported_at: datetime
    relation: str
    role: str | None
    rows: int
    path: str


def note_export(
    settings: Settings, relation: str, *, rows: int, path: Path, role: str | None = None
) -> None:
    """Write down that a relation went into a file, as the role that it was made for.

    Raises:
        UserError: the list cannot be written.

    """
    line = json.dumps(
        {
            "exported_at": utc_now().isoformat(),
            "relation": relation.removeprefix("marts."),
            "role": role,
            "rows": rows,
            "path": str(path.absolute()),
        }
    )
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        handle = os.open(settings.home / EXPORTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line.encode() + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        raise UserError(
            f"nothing was exported, since it cannot be noted in {settings.home / EXPORTS}: "
            f"{error.strerror}; export as someone who may write to TIDEMARK_HOME"
        ) from None


def exports_of_persons(settings: Settings) -> list[Export]:
    """Return the exports of relations that hold persons, oldest first."""
    path = settings.home / EXPORTS
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            export = Export(
                datetime.fromisoformat(row["exported_at"]),
                row["relation"], row["role"], row["rows"], row["path"],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError):
            continue
        if holds_persons(export.relation):
            found.append(export)
    return found

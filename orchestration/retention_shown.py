"""What went because it was too old, in words: for the command line and for the log of the job."""

from __future__ import annotations

from orchestration.retention import Retention
from orchestration.text_table import table


def lines(done: Retention) -> list[str]:
    """Say what went, or would go, relation by relation, and what is held back."""
    rows = [
        [r.relation, r.kept_days, r.removed_before, r.rows, r.less or ""]
        for r in done.removals
        if r.rows or r.less
    ]
    said = table(rows, ["relation", "days kept", "before", "rows", ""]) if rows else []
    if not done.rows:
        said.append(f"nothing is too old on {done.as_of}")
    elif done.dry_run:
        said.append(f"{done.rows:,} rows would go; nothing was removed")
    else:
        said.append(f"{done.rows:,} rows removed")
    if done.closed_before:
        said.append(f"dates before {done.closed_before} are closed: they stay as they are")
    if done.publication:
        said.append(f"publication {done.publication} shows readers what is left")
    if done.not_published:
        said.append(f"readers keep the old file until the next publication: {done.not_published}")
    return said

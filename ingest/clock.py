"""The clock: the time as the warehouse stores it. Nothing else belongs here."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time, UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)

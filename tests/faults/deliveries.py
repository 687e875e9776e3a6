"""Files that are delivered: drafts with their dates, as bytes for the door and as the model reads.

Belongs here: making them, and keeping them to be delivered again. What events there are is drawn in
``tests.faults.drawing``.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.faults.drawing import Draft, user_of
from tests.faults.model import DAY, Line

#: The same content twice: as bytes, and as lines.
File = tuple[bytes, tuple[Line, ...]]


@dataclass
class Deliveries:
    """What was delivered so far, and the first of the month that days are counted back from."""

    first_of_month: date
    files: list[File] = field(default_factory=list)

    def day(self, back: int) -> date:
        """Return the date so many days before the first of the month."""
        return self.first_of_month - back * DAY

    def written(self, drafts: list[list[Draft]]) -> list[File]:
        """Date some files of drafts, keep them for later, and return them."""
        made = []
        for some in drafts:
            pairs = [self.dated(draft) for draft in some]
            content = b"\n".join(text for text, _ in pairs) + b"\n"
            made.append((content, tuple(line for _, line in pairs)))
        self.files += made
        return made

    def again(self, number: int) -> list[File]:
        """Return a file that was delivered before."""
        return [self.files[number % len(self.files)]] if self.files else []

    def dated(self, draft: Draft) -> tuple[bytes, Line]:
        """Return a draft as a line of JSON, and as the model reads it."""
        after = draft.back is None
        if after:
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        else:
            day = self.day(draft.back or 0)
            at = datetime(day.year, day.month, day.day, draft.hour, 30, tzinfo=UTC)
        line = Line(
            event_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(draft.number))),
            day=at.date(),
            hour=at.hour,
            user=user_of(draft.user) if draft.user is not None else None,
            device=f"device-{draft.device}" if draft.device is not None else None,
            phone_hash=f"hash-{draft.phone}" if draft.phone is not None else None,
            channel=draft.channel,
            amount=None if draft.links else draft.amount,
            links=draft.links,
            after=after,
            bad=draft.bad,
        )
        if line.bad == "malformed_json":
            return b"{", replace(line, user=None)
        if line.bad:
            # A number is not looked for in what was redacted.
            user = None if draft.user is None else f"person-{draft.user}"
            line = replace(line, user=user, device=None, phone_hash=None)
        event: dict[str, Any] = {
            "event_id": "no-uuid" if line.bad else line.event_id,
            "event_name": "user_identified" if line.links else "payment_succeeded",
            "occurred_at": at.isoformat(),
            "user_id": line.user,
            "anonymous_id": line.device,
            "channel": line.channel,
        }
        if line.links:
            event["properties"] = {"phone_hash": line.phone_hash} if line.phone_hash else {}
        else:
            event |= {"entity_id": f"p{draft.number}", "provider": "stripe", "currency": "EUR",
                      "amount_cents": line.amount,
                      "properties": {"order_id": f"o{draft.number}"}}  # fmt: skip
        kept = {name: value for name, value in event.items() if value is not None}
        return json.dumps(kept).encode(), line

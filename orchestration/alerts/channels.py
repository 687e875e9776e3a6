"""Channels on which messages on episodes of alerts go out: the log, and a webhook.

Belongs here: what a message is and how a channel sends one. Which messages are due, and the books
on them, belong in ``orchestration.alerts.delivery``.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Protocol

from ingest.settings import Settings
from orchestration.alerts.episodes import Episode, EpisodeKey, subject

OPENED, RESOLVED = "opened", "resolved"

#: A receiver that takes longer is tried again.
TIMEOUT_SECONDS = 5.0

LOGGER = logging.getLogger("tidemark.alerts")


class DeliveryError(Exception):
    """A message that did not arrive; the text is one line and names no address."""


@dataclass(frozen=True)
class Message:
    """That an episode opened or was resolved, for one channel.

    ``number`` counts the messages on the episode on the channel: a later opening is a reopening.
    Without ``episode`` a restatement took the episode away, and it is resolved by that.
    """

    key: EpisodeKey
    event: str
    number: int
    episode: Episode | None
    publication_id: int
    data_through: date

    @property
    def message_id(self) -> str:
        """The same for every attempt to deliver it, so that a receiver can drop a repetition."""
        text = json.dumps([asdict(self.key), self.event, self.number], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def words(self) -> str:
        """Return the message as one line."""
        what = f"alert {self.event}: {self.key.rule}, {subject(self.key)}"
        if self.episode is None:
            return f"{what}, since {self.key.opened_on}, withdrawn by restated figures"
        about = self.episode
        values = f"worst {about.worst_value:.6g}, threshold {about.threshold:.6g}"
        until = f" until {about.resolved_on}" if self.event == RESOLVED else ""
        again = " again" if self.event == OPENED and self.number > 1 else ""
        return (
            f"{what}{again}, since {self.key.opened_on}{until} ({about.severity}; {values}): "
            f"{about.message}"
        )

    def document(self) -> dict[str, Any]:
        """Return the message for a program."""
        return {
            "message_id": self.message_id,
            "event": self.event,
            "text": self.words(),
            "reopened": self.event == OPENED and self.number > 1,
            "withdrawn": self.episode is None,
            **asdict(self.key),
            **({} if self.episode is None else asdict(self.episode)),
            "publication_id": self.publication_id,
            "data_through": self.data_through,
        }


class Channel(Protocol):
    """Where messages go. ``name`` names it in the books: another name is told everything anew."""

    @property
    def name(self) -> str:
        """Name in ops.alert_deliveries."""
        ...

    def send(self, message: Message) -> None:
        """Deliver a message, or raise ``DeliveryError``."""
        ...


@dataclass(frozen=True)
class LogChannel:
    """One line a message in the log of the daemon."""

    write: Callable[[str], None] = LOGGER.warning
    name: str = "log"

    def send(self, message: Message) -> None:
        """Write the line."""
        self.write(message.words())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing: a redirected POST would arrive as a GET, and elsewhere."""


@dataclass(frozen=True)
class WebhookChannel:
    """A POST of JSON to an address; any answer of the 200s is a delivery."""

    url: str
    timeout_seconds: float = TIMEOUT_SECONDS
    name: str = "webhook"

    def send(self, message: Message) -> None:
        """Post the message.

        Raises:
            DeliveryError: no answer in time, or another one than of the 200s.

        """
        request = urllib.request.Request(
            self.url,
            data=json.dumps(message.document(), default=str).encode(),
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": message.message_id,
                "User-Agent": "tidemark",
            },
            method="POST",
        )
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=self.timeout_seconds) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The reason alone: an address may hold a secret, and errors are kept in a table.
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise DeliveryError(f"no answer ({type(reason).__name__})") from None
        if not 200 <= status < 300:
            raise DeliveryError(f"answered {status}")


def channels(settings: Settings) -> tuple[Channel, ...]:
    """Return the channels that the settings ask for; the log is always one."""
    webhook = settings.alert_webhook
    return (LogChannel(), *((WebhookChannel(webhook),) if webhook else ()))

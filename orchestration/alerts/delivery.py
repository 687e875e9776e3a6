"""Who is told of which episode: what is due after a publication, and the books on what was told.

Belongs here: comparing what a channel was told with what is published, back-off, and the sensor
that does it. How a message goes out belongs in ``orchestration.alerts.channels``.

A channel is told what it does not know yet: that an episode is open, that one it knows as open is
resolved or was restated away. One that opened and was resolved since the last time it is told of
both; older ones that it never heard of are history, so that the first publication of a year is not
a year of messages. Only what is published is read, and nothing is held while a message is sent: a
run never waits for a receiver. A message is booked after it was delivered: a crash in between sends
it again, under the same message_id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse, WarehouseBusy, WarehouseError, open_warehouse
from orchestration.alerts.channels import (
    OPENED,
    RESOLVED,
    Channel,
    DeliveryError,
    Message,
    channels,
)
from orchestration.alerts.episodes import EpisodeKey, PublishedEpisodes, published_episodes
from orchestration.partitions import GLANCE_SECONDS

#: What one channel gets in one tick; Dagster gives a tick a minute.
MOST_MESSAGES = 25
MOST_SECONDS = 20.0

#: After the first failure; doubled with every further one.
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)

WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt: ``error`` is None for a delivery."""

    channel: str
    key: EpisodeKey
    number: int
    event: str
    at: datetime
    error: str | None


@dataclass(frozen=True)
class Attempts:
    """The attempts of a message that has not been delivered."""

    count: int
    last_at: datetime

    def due(self, now: datetime) -> bool:
        """Whether it is time to try again."""
        wait = FIRST_WAIT * 2 ** min(self.count - 1, 20)
        return now >= self.last_at + min(wait, LONGEST_WAIT)


@dataclass
class Books:
    """What one channel was told.

    ``through`` is the last date of the publication it knows everything of, None before the first.
    """

    told: dict[EpisodeKey, tuple[int, str]] = field(default_factory=dict)
    pending: dict[tuple[EpisodeKey, int], Attempts] = field(default_factory=dict)
    publication_id: int | None = None
    through: date | None = None


@dataclass(frozen=True)
class HandOver:
    """What one pass did; ``unbooked`` could not be written, because the warehouse was in use."""

    publication_id: int
    delivered: int
    left: int
    unbooked: tuple[Outcome, ...]
    complete: tuple[str, ...]


def due_messages(books: Books, published: PublishedEpisodes) -> list[list[Message]]:
    """Return what a channel has to be told: a list for each episode, in order.

    Args:
        books: what it was told.
        published: what is true now.

    """

    def message(key: EpisodeKey, event: str, number: int, about: Any) -> Message:
        return Message(key, event, number, about, published.publication_id, published.data_through)

    due = []
    for episode in published.episodes:
        count, last = books.told.get(episode.key, (0, ""))
        events: list[str] = []
        if episode.is_open:
            events = [] if last == OPENED else [OPENED]
        elif last == OPENED:
            events = [RESOLVED]
        elif not last and books.through is not None and episode.opened_on > books.through:
            events = [OPENED, RESOLVED]
        if events:
            due.append(
                [
                    message(episode.key, event, count + place, episode)
                    for place, event in enumerate(events, start=1)
                ]
            )
    there = {episode.key for episode in published.episodes}
    due += [
        [message(key, RESOLVED, count + 1, None)]
        for key, (count, last) in sorted(books.told.items())
        if last == OPENED and key not in there
    ]
    return due


def deliver(
    channel: Channel, due: Sequence[Sequence[Message]], books: Books, now: datetime
) -> list[Outcome]:
    """Send messages to a channel until one fails or there were enough of them.

    One failure ends the pass: most often the receiver is away. A message that is refused for good
    waits longer and longer and holds up no other.
    """
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + MOST_SECONDS
    for messages in due:
        for message in messages:
            attempts = books.pending.get((message.key, message.number))
            if attempts is not None and not attempts.due(now):
                break
            if len(outcomes) >= MOST_MESSAGES or time.monotonic() >= deadline:
                return outcomes
            error = None
            try:
                channel.send(message)
            except DeliveryError as caught:
                error = " ".join(str(caught).split())
            outcomes.append(
                Outcome(channel.name, message.key, message.number, message.event, utc_now(), error)
            )
            if error is not None:
                return outcomes
    return outcomes


def read_books(warehouse: Warehouse, names: Iterable[str]) -> dict[str, Books]:
    """Read what channels were told; a warehouse from before there were books has told nothing."""
    books = {name: Books() for name in names}
    if not warehouse.relation_exists("ops", "alert_deliveries"):
        return books
    for *key, channel, number, event, attempts, at, delivered in warehouse.execute(
        "select rule, subject_type, subject_id, opened_on, channel, number, event, attempts, "
        "attempted_at, delivered_at from ops.alert_deliveries order by number"
    ):
        if channel not in books:
            continue
        episode = EpisodeKey(*key)
        if delivered is not None:
            books[channel].told[episode] = (number, event)
        else:
            books[channel].pending[episode, number] = Attempts(attempts, at)
    for channel, publication, through in warehouse.execute(
        "select channel, publication_id, data_through from ops.alert_handovers"
    ):
        if channel in books:
            books[channel].publication_id, books[channel].through = publication, through
    return books


def write_books(
    warehouse: Warehouse,
    outcomes: Sequence[Outcome],
    complete: Mapping[str, tuple[int, date]],
) -> None:
    """Book attempts, and the channels that know everything of a publication by now."""
    with warehouse.transaction():
        for outcome in outcomes:
            _book(warehouse, outcome)
        for channel, (publication, through) in complete.items():
            values = [publication, through, utc_now(), channel]
            if warehouse.value("select 1 from ops.alert_handovers where channel = ?", [channel]):
                sql = (
                    "update ops.alert_handovers set publication_id = ?, data_through = ?, "
                    "handed_over_at = ? where channel = ?"
                )
            else:
                sql = (
                    "insert into ops.alert_handovers "
                    "(publication_id, data_through, handed_over_at, channel) values (?, ?, ?, ?)"
                )
            warehouse.execute(sql, values)


def _book(warehouse: Warehouse, outcome: Outcome) -> None:
    key = [*asdict(outcome.key).values(), outcome.channel, outcome.number]
    where = (
        "where rule = ? and subject_type = ? and subject_id = ? and opened_on = ? "
        "and channel = ? and number = ?"
    )
    delivered = None if outcome.error else outcome.at
    rows = warehouse.execute(
        f"select attempts, attempted_at from ops.alert_deliveries {where}", key
    )
    if rows and rows[0][1] == outcome.at:
        # Booked already, by a pass that could not say so.
        return
    if not rows:
        warehouse.execute(
            "insert into ops.alert_deliveries (rule, subject_type, subject_id, opened_on, "
            "channel, number, event, attempts, attempted_at, delivered_at, last_error) "
            "values (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
            [*key, outcome.event, outcome.at, delivered, outcome.error],
        )
        return
    # A message that was not delivered may have become another one by now.
    warehouse.execute(
        "update ops.alert_deliveries set event = ?, attempts = ?, attempted_at = ?, "
        f"delivered_at = ?, last_error = coalesce(?, last_error) {where}",
        [outcome.event, rows[0][0] + 1, outcome.at, delivered, outcome.error, *key],
    )


def hand_over(
    settings: Settings,
    to: Sequence[Channel] | None = None,
    *,
    unbooked: Sequence[Outcome] = (),
) -> HandOver:
    """Tell every channel what it does not know of the newest publication.

    Args:
        settings: which warehouse and which channels.
        to: other channels than those of the settings.
        unbooked: what an earlier pass delivered and could not write.

    Raises:
        UserError: nothing was published yet.
        WarehouseBusy: the books cannot be read now; nothing was sent.

    """
    told = channels(settings) if to is None else to
    published = published_episodes(settings)
    if unbooked:
        _write(settings, unbooked, {})
    with open_warehouse(settings, wait_seconds=GLANCE_SECONDS, read_only=True) as warehouse:
        books = read_books(warehouse, [channel.name for channel in told])
    outcomes: list[Outcome] = []
    complete: dict[str, tuple[int, date]] = {}
    delivered = left = 0
    for channel in told:
        due = due_messages(books[channel.name], published)
        made = deliver(channel, due, books[channel.name], utc_now())
        arrived = sum(outcome.error is None for outcome in made)
        missing = sum(len(messages) for messages in due) - arrived
        delivered, left, outcomes = delivered + arrived, left + missing, outcomes + made
        known = books[channel.name].publication_id == published.publication_id
        if not missing and not known:
            complete[channel.name] = (published.publication_id, published.data_through)
    rest: tuple[Outcome, ...] = ()
    if outcomes or complete:
        try:
            _write(settings, outcomes, complete)
        except WarehouseBusy:
            rest, left = tuple(outcomes), left + len(complete)
    return HandOver(published.publication_id, delivered, left, rest, tuple(complete))


def _write(
    settings: Settings, outcomes: Sequence[Outcome], complete: Mapping[str, tuple[int, date]]
) -> None:
    with open_warehouse(settings, wait_seconds=WAIT_SECONDS) as warehouse:
        write_books(warehouse, outcomes, complete)


# -- the sensor ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers: what is done, and what it could not book."""

    publication_id: int | None = None
    channels: tuple[str, ...] = ()
    unbooked: tuple[Outcome, ...] = ()

    def text(self) -> str:
        """Return it as Dagster keeps it."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Read what ``text`` wrote; None is a sensor that never ran."""
        found = json.loads(text) if text else {}
        unbooked = tuple(
            Outcome(
                row["channel"],
                EpisodeKey(
                    **row["key"] | {"opened_on": date.fromisoformat(row["key"]["opened_on"])}
                ),
                row["number"],
                row["event"],
                datetime.fromisoformat(row["at"]),
                row["error"],
            )
            for row in found.get("unbooked", ())
        )
        return cls(found.get("publication_id"), tuple(found.get("channels", ())), unbooked)


def tick(settings: Settings, cursor: Cursor) -> tuple[str, Cursor]:
    """Hand over what is new, and say what was done and what to remember."""
    names = tuple(channel.name for channel in channels(settings))
    try:
        if not cursor.unbooked and cursor.channels == names:
            newest = published_episodes(settings).publication_id
            if newest == cursor.publication_id:
                return f"publication {newest} was handed over", cursor
        found = hand_over(settings, unbooked=cursor.unbooked)
    except WarehouseBusy:
        return "the warehouse is in use; next time", cursor
    except (UserError, WarehouseError) as error:
        return str(error), cursor
    done = None if found.left or found.unbooked else found.publication_id
    words = f"publication {found.publication_id}: {found.delivered} messages delivered"
    if found.left:
        words += f", {found.left} to be tried again"
    return words, Cursor(done, names, found.unbooked)


def sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor that tells channels of opened and resolved episodes."""

    @dg.sensor(
        name="alert_episodes",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells the log, and the webhook of TIDEMARK_ALERT_WEBHOOK, which episodes of alerts "
            "opened and which were resolved, after each publication."
        ),
    )
    def alert_episodes(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        words, cursor = tick(settings, Cursor.read(context.cursor))
        context.update_cursor(cursor.text())
        return dg.SkipReason(words)

    return alert_episodes

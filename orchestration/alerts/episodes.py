"""Episodes of alerts as readers find them published, and how they are shown.

Belongs here: reading them and putting them into words. What makes an episode is SQL; who is told of
it is decided in ``orchestration.alerts.delivery``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ingest.settings import Settings
from ingest.sql_text import identifiers
from orchestration.publication.opened import open_published, require

SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True, order=True)
class EpisodeKey:
    """What names an episode."""

    rule: str
    subject_type: str
    subject_id: str
    opened_on: date


@dataclass(frozen=True)
class Episode:
    """A row of ``alert_episodes``."""

    rule: str
    subject_type: str
    subject_id: str
    opened_on: date
    last_raised_on: date
    resolved_on: date | None
    status: str
    dates_raised: int
    times_reopened: int
    first_value: float
    worst_value: float
    last_value: float
    last_date: date
    threshold: float
    severity: str
    message: str
    relation: str
    metric: str

    @property
    def key(self) -> EpisodeKey:
        """What names it."""
        return EpisodeKey(self.rule, self.subject_type, self.subject_id, self.opened_on)

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.status == "open"


@dataclass(frozen=True)
class PublishedEpisodes:
    """All episodes of one publication, the most severe and newest first."""

    publication_id: int
    data_through: date
    episodes: tuple[Episode, ...]


def published_episodes(settings: Settings) -> PublishedEpisodes:
    """Read the episodes of the newest publication.

    Raises:
        UserError: nothing was published yet, or nothing with episodes in it.

    """
    columns = identifiers(Episode.__dataclass_fields__)
    with open_published(settings) as warehouse:
        require(warehouse, "alert_episodes")
        ((number, through),) = warehouse.execute(
            "select publication_id, data_through from ops.publications "
            "order by publication_id desc limit 1"
        )
        rows = warehouse.execute(f"select {columns} from marts.alert_episodes")
    found = sorted((Episode(*row) for row in rows), key=_rank)
    return PublishedEpisodes(number, through, tuple(found))


def _rank(episode: Episode) -> tuple[int, int, EpisodeKey]:
    severity = SEVERITIES.index(episode.severity) if episode.severity in SEVERITIES else 9
    return severity, -episode.opened_on.toordinal(), episode.key


def subject(key: EpisodeKey) -> str:
    """Return the subject in words: ``channel web``, or ``platform``."""
    if not key.subject_id:
        return key.subject_type
    names, values = key.subject_type.split("|"), key.subject_id.split("|")
    if len(names) != len(values):
        return f"{key.subject_type} {key.subject_id}"
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def rows_shown(episodes: Sequence[Episode]) -> list[list[str | int | date]]:
    """Return the cells of a table of episodes; the head is ``HEAD``."""
    return [
        [
            episode.severity, episode.rule, subject(episode.key), episode.opened_on,
            episode.last_raised_on, episode.resolved_on or "open", episode.dates_raised,
            f"{episode.worst_value:,.6g}", f"{episode.threshold:,.6g}",
        ]
        for episode in episodes
    ]  # fmt: skip


HEAD = ["severity", "rule", "subject", "opened", "last raised", "resolved", "dates", "worst",
        "threshold"]  # fmt: skip

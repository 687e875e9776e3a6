"""Persons for people who look after them: why identifiers are one person, and how to undo it.

Belongs here: questions to the tables of identity, and revocations. How persons are computed belongs
in the dbt project (``int_identity_persons``).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.privacy import Pseudonyms
from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import ledger

#: (identifier_type, identifier).
Key = tuple[str, str]


@dataclass(frozen=True)
class Link:
    """One user_identified event that links."""

    event_id: str
    event_date: date
    identifiers: tuple[Key, ...]


@dataclass(frozen=True)
class Step:
    """One link of a chain: from an identifier to the next."""

    start: Key
    end: Key
    link: Link


@dataclass(frozen=True)
class Member:
    """An identifier of a person, and what is counted under it alone.

    ``user_days`` are the dates on which it is one of the daily active users (a user_id only).
    """

    key: Key
    first_seen: date
    person_since: date
    events: int
    sessions: int
    user_days: int


@dataclass(frozen=True)
class Conflict:
    """An identifier that joins nobody."""

    key: Key
    reason: str
    partners: int
    since: date


@dataclass(frozen=True)
class Explanation:
    """A person as seen from one of its identifiers; ``chains`` lead to each of the others."""

    key: Key
    person_id: str
    members: tuple[Member, ...]
    chains: tuple[tuple[Step, ...], ...]
    links: tuple[Link, ...]
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True)
class Revocation:
    """A link that was taken back, and the oldest date that has to be run again."""

    link: Link
    stale_from: date
    stale_dates: int


def words(key: Key) -> str:
    """Return an identifier as people write it."""
    return f"{key[0]} {key[1]}"


def chain(
    links: Iterable[Link], start: Key, end: Key, *, without: Iterable[Key] = ()
) -> list[Step]:
    """Return the fewest links that lead from one identifier to another, earlier links first.

    Identifiers of ``without`` lead nowhere. Empty when there is no way, or nowhere to go.
    """
    closed = set(without)
    ways: dict[Key, list[Step]] = defaultdict(list)
    for link in sorted(links, key=lambda link: (link.event_date, link.event_id)):
        joined = [key for key in link.identifiers if key not in closed]
        for one in joined:
            ways[one] += [Step(one, other, link) for other in joined if other != one]
    came: dict[Key, Step | None] = {start: None}
    waiting = deque([start])
    while waiting and end not in came:
        for step in ways[waiting.popleft()]:
            if step.end not in came:
                came[step.end] = step
                waiting.append(step.end)
    steps: list[Step] = []
    at = came.get(end)
    while at is not None:
        steps.append(at)
        at = came[at.start]
    return steps[::-1]


def explain(settings: Settings, identifier: str) -> list[Explanation]:
    """Tell of each identifier with this value which person it is, and why.

    A telephone number or an address is found by its hash.

    Raises:
        UserError: nobody was ever seen under this value.

    """
    values = [identifier, *(Pseudonyms(key).of(identifier) for key in settings.hash_keys)]
    with open_warehouse(settings, read_only=True) as warehouse:
        tables = _Tables(warehouse)
        found = tables.keys_of(sorted(set(values)))
        if not found:
            raise UserError(
                f"no identifier {identifier!r} was seen up to the last date run; "
                "'tidemark status' names the dates that are stale"
            )
        return [tables.explanation(key, person_id) for key, person_id in found]


def list_conflicts(settings: Settings) -> list[Conflict]:
    """Return the identifiers that join nobody, the most shared ones first."""
    with open_warehouse(settings, read_only=True) as warehouse:
        return _Tables(warehouse).conflicts()


def revoke(
    settings: Settings,
    event_id: str,
    *,
    reason: str,
    notify: Callable[[str], None] | None = None,
) -> Revocation:
    """Take a link back: from its date on it links nothing once the stale dates are run again.

    Raises:
        UserError: there is no such link, it is revoked already, or its raw events are gone.

    """
    from orchestration.session import open_session

    with open_session(settings, notify=notify) as session:
        return _revoke(session.warehouse, event_id.strip().lower(), reason)


def _revoke(warehouse: Warehouse, event_id: str, reason: str) -> Revocation:
    revoked = warehouse.value(
        "select event_date from ops.identity_revocations where event_id = ?", [event_id]
    )
    if revoked:
        raise UserError(f"the link {event_id} of {revoked} is revoked already")
    rows = warehouse.execute(
        "select event_date, user_id, anonymous_id, phone_hash, email_hash from raw.events "
        "where event_name = 'user_identified' and cast(event_id as varchar) = ?",
        [event_id],
    )
    if not rows:
        known = warehouse.relation_exists("intermediate", "int_identity_links") and warehouse.value(
            "select event_date from intermediate.int_identity_links where event_id = ?", [event_id]
        )
        raise UserError(
            f"the raw events of {known} are gone, so that nothing can be computed without the link "
            f"{event_id}; put its identifiers into the seed identity_placeholders instead"
            if known
            else f"there is no user_identified event {event_id}; 'tidemark identity explain "
            "IDENTIFIER' names the links of a person"
        )
    event_date, *values = rows[0]
    closed = ledger.closed_dates(warehouse)
    if closed and event_date < closed.before:
        raise UserError(
            f"the link {event_id} of {event_date} cannot be taken back, as all of {closed}; put "
            "its identifiers into the seed identity_placeholders instead"
        )
    types = ("user_id", "anonymous_id", "phone_hash", "email_hash")
    identifiers = tuple((t, str(v)) for t, v in zip(types, values, strict=True) if v is not None)
    with warehouse.transaction():
        warehouse.execute(
            "insert into ops.identity_revocations (event_id, event_date, reason, revoked_at) "
            "values (?, ?, ?, ?)",
            [event_id, event_date, reason, utc_now()],
        )
        stale = ledger.mark_stale(warehouse, event_date)
    return Revocation(Link(event_id, event_date, identifiers), event_date, stale)


class _Tables:
    """The tables of identity in the private warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._marts = "build" if warehouse.target == "postgres" else "marts"
        if not warehouse.relation_exists(self._marts, "identity_map"):
            raise UserError("nothing was run yet; run 'tidemark run' first")

    def keys_of(self, values: Sequence[str]) -> list[tuple[Key, str]]:
        """The identifiers with one of these values, and their persons."""
        rows = self._warehouse.execute(
            f"select identifier_type, identifier, person_id from {self._marts}.identity_map "
            f"where identifier in ({_marks(values)}) order by identifier_type",
            values,
        )
        return [((kind, value), person_id) for kind, value, person_id in rows]

    def conflicts(self, keys: Iterable[Key] | None = None) -> list[Conflict]:
        """All conflicts, or those among some identifiers."""
        rows = self._warehouse.execute(
            "select identifier_type, identifier, reason, partners, since "
            f"from {self._marts}.identity_conflicts order by partners desc, 1, 2"
        )
        found = [Conflict((row[0], row[1]), *row[2:]) for row in rows]
        wanted = None if keys is None else set(keys)
        return [c for c in found if wanted is None or c.key in wanted]

    def explanation(self, key: Key, person_id: str) -> Explanation:
        """A person from one of its identifiers."""
        members = self._members(person_id)
        values = sorted({member.key[1] for member in members})
        links = self._links(values)
        conflicts = self.conflicts(k for link in links for k in link.identifiers)
        closed = [conflict.key for conflict in conflicts]
        own = {member.key for member in members}
        links = [link for link in links if own.intersection(link.identifiers)]
        return Explanation(
            key=key,
            person_id=person_id,
            members=tuple(members),
            chains=tuple(
                tuple(chain(links, key, member.key, without=closed))
                for member in members
                if member.key != key
            ),
            links=tuple(links),
            conflicts=tuple(conflicts),
        )

    def _members(self, person_id: str) -> list[Member]:
        rows = self._warehouse.execute(
            f"""
            select
                members.identifier_type, members.identifier, members.first_seen_date,
                members.person_since,
                (select count(*) from {self._marts}.timeline_events as events
                where events.user_key = members.identifier
                and events.user_key_type = members.identifier_type),
                (select count(*) from {self._marts}.sessions as sessions
                where sessions.user_key = members.identifier
                and sessions.user_key_type = members.identifier_type),
                (select count(*) from intermediate.int_user_days as days
                where days.user_id = members.identifier and members.identifier_type = 'user_id')
            from {self._marts}.identity_map as members
            where members.person_id = ?
            order by members.first_seen_date, members.identifier_type, members.identifier
            """,
            [person_id],
        )
        return [Member((row[0], row[1]), *row[2:]) for row in rows]

    def _links(self, values: Sequence[str]) -> list[Link]:
        rows = self._warehouse.execute(
            "select event_id, event_date, identifier_type, identifier "
            "from intermediate.int_identity_links where event_id in ("
            "select event_id from intermediate.int_identity_links "
            f"where identifier in ({_marks(values)})) order by 2, 1, 3",
            values,
        )
        found: dict[tuple[str, date], list[Key]] = defaultdict(list)
        for event_id, event_date, kind, value in rows:
            found[event_id, event_date].append((kind, value))
        links = [Link(event_id, day, tuple(keys)) for (event_id, day), keys in found.items()]
        return links + self._hash_links(values)

    def _hash_links(self, values: Sequence[str]) -> list[Link]:
        """The events that have shown two hashes, under two keys, to be one client."""
        if not self._warehouse.relation_exists("ops", "hash_links"):
            return []
        marks = _marks(values)
        rows = self._warehouse.execute(
            "select event_id, event_date, identifier_type, old_hash, new_hash from ops.hash_links "
            f"where old_hash in ({marks}) or new_hash in ({marks}) order by 2, 1, 3, 4",
            [*values, *values],
        )
        return [
            Link(event_id, day, ((kind, old), (kind, new)))
            for event_id, day, kind, old, new in rows
        ]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))

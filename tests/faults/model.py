"""The product as dicts and sets: what a warehouse holds after each step, by the specification.

Belongs here: the rules, written plainly, of the door (the first accepted event wins, erased persons
are refused), of stale dates, of what a run and a publication write, of retention and of erasure.
It shares no code with the product. How a step is done to a real warehouse belongs in
``tests.faults.product``, how both are compared in ``tests.faults.machine``.

A step is a generator that changes a ``World`` and yields after each change that lasts: a crash
leaves the world as it was at one of these places.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

#: (type, value), such as ("user_id", "person-1").
Identifier = tuple[str, str]

#: A step returns what it says; it is cut off at any of its yields.
Step = Generator[None, None, object]

TYPES = ("user_id", "anonymous_id", "phone_hash", "email_hash")

DAY = timedelta(days=1)

#: Days that raw events are kept in the project of these machines.
KEPT_DAYS = 5

#: The amount that a blocking test of the tiny project finds.
DEVILISH = 666


class Refused(Exception):
    """The product says in one line that it does not do this."""


def keyed_hash(key: tuple[str, bytes], number: str) -> str:
    """Return what the door makes of a telephone number under a key (version, secret)."""
    version, secret = key
    return f"{version}:{hmac.new(secret, number.encode(), hashlib.sha256).hexdigest()}"


def in_any_field(identifiers: Iterable[Identifier]) -> set[Identifier]:
    """Add the other types of hashes: one telephone number is one person in any field."""
    found = set(identifiers)
    for kind, value in tuple(found):
        if kind in ("phone_hash", "email_hash") or len(value) > 64:
            found |= {(other, value) for other in TYPES}
    return found


@dataclass(frozen=True)
class Line:
    """A line of a file. With ``bad``, a reason code, it is rejected; it names ``user`` or nobody.

    ``after``: it happened after every erasure so far; else before all of them.
    """

    event_id: str
    day: date
    hour: int
    user: str | None = None
    device: str | None = None
    phone_hash: str | None = None
    channel: str | None = None
    amount: int | None = None
    links: bool = False
    after: bool = False
    bad: str | None = None


@dataclass(frozen=True)
class Event:
    """An accepted event as it is stored; ``user`` is a hash where it was a number."""

    event_id: str
    day: date
    hour: int
    user: str | None
    device: str | None
    phone_hash: str | None
    channel: str | None
    amount: int | None
    links: bool
    load_id: int

    def identifiers(self) -> list[Identifier]:
        """The persons that it names."""
        named = zip(TYPES, (self.user, self.device, self.phone_hash), strict=False)
        return [(kind, value) for kind, value in named if value is not None]

    def without(self, persons: set[Identifier]) -> Event | None:
        """Return what is left when persons are erased; None when it is one's own.

        It is its user's, else its device's, else that of any client it names.
        """
        named = self.identifiers()
        if named and named[0] in persons:
            return None
        kept = dict(pair for pair in named if pair not in persons)
        return Event(
            self.event_id, self.day, self.hour, kept.get("user_id"), kept.get("anonymous_id"),
            kept.get("phone_hash"), self.channel, self.amount, self.links, self.load_id,
        )  # fmt: skip


@dataclass
class Rejected:
    """A line in quarantine."""

    load_id: int
    line_number: int
    reason: str
    mentions: str | None
    resolution: str | None = None


@dataclass
class Day:
    """What the ledger knows of a date; loads and runs are numbers that grow."""

    last_load: int | None = None
    run_through: int | None = None
    prepared_through: int | None = None
    last_run: int | None = None
    checked: bool = False
    published_run: int | None = None

    @property
    def published(self) -> bool:
        """Whether readers see what the last run made of it."""
        return self.last_run is not None and self.last_run == self.published_run

    @property
    def pending(self) -> bool:
        """Whether it was run, or begun, and not found good."""
        return self.last_run is not None and not self.checked


@dataclass
class Marts:
    """The tables that readers get, date by date where they have one."""

    hourly: dict[date, dict[tuple[int, str | None], tuple[int, int]]] = field(default_factory=dict)
    daily_users: dict[date, int] = field(default_factory=dict)
    first_seen: dict[str, date] = field(default_factory=dict)
    #: Identifier -> the smallest one of its person.
    persons: dict[Identifier, Identifier] = field(default_factory=dict)

    def erase(self, persons: set[Identifier]) -> None:
        """Take persons out; aggregates stay."""
        self.first_seen = {
            u: d for u, d in self.first_seen.items() if ("user_id", u) not in persons
        }
        self.persons = {
            one: smallest
            for one, smallest in self.persons.items()
            if one not in persons and smallest not in persons
        }


@dataclass
class Warehouse:
    """One database; a backup is a copy of it."""

    events: dict[str, Event] = field(default_factory=dict)
    known_ids: set[str] = field(default_factory=set)
    #: Content of a file -> its load.
    files: dict[bytes, int] = field(default_factory=dict)
    #: Of each load: read, accepted, duplicates, rejected.
    loads: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    days: dict[date, Day] = field(default_factory=dict)
    closed_before: date = date.min
    user_days: dict[date, set[str]] = field(default_factory=dict)
    #: (event, type, identifier) -> date.
    links: dict[tuple[str, str, str], date] = field(default_factory=dict)
    marts: Marts = field(default_factory=Marts)
    #: Dates of which a run that was cut off may or may not have written the tables.
    unsure_inputs: set[date] = field(default_factory=set)
    unsure_marts: set[date] = field(default_factory=set)
    #: Numbers of the requests that it knows, and of those that are done.
    requests: set[int] = field(default_factory=set)
    erased: set[int] = field(default_factory=set)
    #: Key versions looked back for, hashes of clients found, pairs of hashes that are one client.
    windows: set[str] = field(default_factory=set)
    older_hashes: set[Identifier] = field(default_factory=set)
    hash_links: set[tuple[str, str, str]] = field(default_factory=set)

    # -- dates -------------------------------------------------------------------------------------

    def closed(self, day: date) -> bool:
        """Whether raw events of a date were removed."""
        return day < self.closed_before

    def event_span(self) -> tuple[date, date] | None:
        """The first and the last date that ever had an event."""
        had = [day for day, known in self.days.items() if known.last_load is not None]
        return (min(had), max(had)) if had else None

    def _behind(self, through: str) -> list[date]:
        """Dates that events of them, or of earlier ones, were loaded after; closed ones never."""
        found, newest = [], -1
        span = self.event_span()
        for day in sorted(self.days):
            known = self.days[day]
            if known.last_load is not None:
                newest = max(newest, 0 if self.closed(day) else known.last_load)
            seen = getattr(known, through)
            never = seen is None and span is not None and span[0] <= day <= span[1]
            if not self.closed(day) and (never or (seen is not None and newest > seen)):
                found.append(day)
        return found

    def stale(self) -> list[date]:
        """Rule R4."""
        return self._behind("run_through")

    def unprepared(self) -> list[date]:
        """The same of the tables that marts are made from."""
        return self._behind("prepared_through")

    def pending(self) -> list[date]:
        """Dates that were begun and not found good, in order."""
        return sorted(day for day, known in self.days.items() if known.pending)

    # -- persons -----------------------------------------------------------------------------------

    def members(self, given: Iterable[Identifier]) -> set[Identifier]:
        """Return all identifiers of a person, by what the last run knows of links."""
        found = in_any_field(given)
        while True:
            names = {self.marts.persons[one] for one in found if one in self.marts.persons}
            more = {one for one, name in self.marts.persons.items() if name in names}
            values = {value for _, value in found}
            more |= {
                one for one in self.marts.persons
                if one[0] in ("phone_hash", "email_hash") and one[1] in values
            }  # fmt: skip
            for kind, old, new in self.hash_links:
                if (kind, old) in found or (kind, new) in found:
                    more |= {(kind, old), (kind, new)}
            more = in_any_field(more)
            if more <= found:
                return found
            found |= more

    def first_date_of(self, persons: set[Identifier]) -> date | None:
        """Return the first date of which any table has a row of theirs."""
        users = {value for kind, value in persons if kind == "user_id"}
        days = [event.day for event in self.events.values() if event.without(persons) is None]
        days += [day for (_, kind, value), day in self.links.items() if (kind, value) in persons]
        days += [day for day, seen in self.user_days.items() if seen & users]
        days += [day for user, day in self.marts.first_seen.items() if user in users]
        return min(days, default=None)

    def unprepare(self, since: date) -> None:
        """What dates look back on has to be made again, from a date on; no date gets stale."""
        for day, known in self.days.items():
            if day >= since and known.prepared_through is not None:
                known.prepared_through = 0

    def erase(self, persons: set[Identifier]) -> None:
        """Take persons out of every table."""
        if (first := self.first_date_of(persons)) is not None:
            self.unprepare(first)
        left = {key: event.without(persons) for key, event in self.events.items()}
        self.events = {key: event for key, event in left.items() if event is not None}
        for users in self.user_days.values():
            users -= {value for kind, value in persons if kind == "user_id"}
        self.links = {
            (event_id, kind, value): day
            for (event_id, kind, value), day in self.links.items()
            if (kind, value) not in persons and left.get(event_id, ...) is not None
        }
        self.marts.erase(persons)
        self.older_hashes -= persons
        self.hash_links = {
            (kind, old, new)
            for kind, old, new in self.hash_links
            if (kind, old) not in persons and (kind, new) not in persons
        }
        values = {value for _, value in persons}
        for line in self.rejected:
            if line.mentions in values:
                line.mentions, line.resolution = None, "erased"


@dataclass
class World:
    """A warehouse, what readers see of it, and the journal of erasures, which outlives backups."""

    engine: str
    keys: list[tuple[str, bytes]]
    warehouse: Warehouse = field(default_factory=Warehouse)
    published: Marts | None = None
    journal: list[set[Identifier]] = field(default_factory=list)
    runs: int = 0

    # -- the door ----------------------------------------------------------------------------------

    def ingest(self, files: Sequence[tuple[bytes, Sequence[Line]]]) -> Step:
        """Load files at once: all or none. Returns (load, read, accepted, duplicates, rejected,
        erased, status) of each.
        """
        house = self.warehouse
        yield
        house.requests |= set(range(len(self.journal)))
        yield
        self._look_back()
        results = []
        for content, lines in files:
            if content in house.files:
                load_id = house.files[content]
                read, accepted, duplicates, rejected = house.loads[load_id]
                known = accepted + duplicates
                results.append((load_id, read, 0, known, rejected, 0, "already_loaded"))
                continue
            load_id = max(house.loads, default=0) + 1
            erased = accepted = rejected = 0
            for number, line in enumerate(lines, 1):
                if line.bad:
                    rejected += 1
                    self._reject(line, load_id, number)
                elif (event := self._stored(line, load_id)) is None:
                    erased += 1
                elif line.event_id not in house.known_ids:
                    accepted += 1
                    house.events[line.event_id] = event
                    house.known_ids.add(line.event_id)
                    self._note_hashes(line, event)
                    house.days.setdefault(event.day, Day()).last_load = load_id
            duplicates = len(lines) - accepted - rejected
            house.files[content] = load_id
            house.loads[load_id] = (len(lines), accepted, duplicates, rejected)
            results.append((load_id, len(lines), accepted, duplicates, rejected, erased, "loaded"))
        if span := house.event_span():
            for offset in range((span[1] - span[0]).days + 1):
                house.days.setdefault(span[0] + offset * DAY, Day())
        yield
        return results

    def _tombstones(self) -> set[Identifier]:
        known = (self.journal[number] for number in self.warehouse.requests)
        return {identifier for persons in known for identifier in persons}

    def _forms(self, value: str) -> list[str]:
        """A value, and what it is under each key that is listed."""
        hashed = [keyed_hash(key, value) for key in self.keys] if value[0] == "+" else []
        return [value, *hashed]

    def _stored(self, line: Line, load_id: int) -> Event | None:
        """Return the event as it is stored, None when it is refused."""
        named = list(zip(TYPES, (line.user, line.device, line.phone_hash), strict=False))
        given = Event(
            line.event_id, line.day, line.hour, line.user, line.device, line.phone_hash,
            line.channel, line.amount, line.links, load_id,
        )  # fmt: skip
        persons = self._tombstones() if not line.after else set()
        refused = {
            (kind, value)
            for kind, value in named
            if value and any((kind, form) in persons for form in self._forms(value))
        }
        left = given.without(refused)
        if left is None or left.user is None:
            return left
        stored = self._forms(left.user)[-1]
        return Event(**{**vars(left), "user": stored})

    def _reject(self, line: Line, load_id: int, number: int) -> None:
        assert line.bad
        erased = {value for _, value in self._tombstones()}
        hidden = line.user in erased and not line.after
        mentions = None if hidden else line.user
        self.warehouse.rejected.append(Rejected(load_id, number, line.bad, mentions))

    def _look_back(self) -> None:
        """When a key is new, hashes under older ones that are stored are noted, once."""
        house = self.warehouse
        for version, _ in self.keys[:-1]:
            if version not in house.windows:
                house.windows.add(version)
                house.older_hashes |= {
                    ("user_id", event.user)
                    for event in house.events.values()
                    if event.user and event.user.startswith(f"{version}:")
                }

    def _note_hashes(self, line: Line, event: Event) -> None:
        if line.user and event.user != line.user:
            for old in self._forms(line.user)[1:-1]:
                if ("user_id", old) in self.warehouse.older_hashes:
                    assert event.user
                    self.warehouse.hash_links.add(("user_id", old, event.user))

    def rotate(self) -> Step:
        """A new key writes; the older ones stay listed."""
        number = len(self.keys) + 1
        self.keys.append((f"v{number}", bytes([number]) * 32))
        yield
        return None

    # -- runs and publications ---------------------------------------------------------------------

    def run(
        self, start: date | None = None, end: date | None = None, *, full: bool = False
    ) -> Step:
        """Run what is stale, or a range, and publish it. Returns the status."""
        yield from self._open_session()
        house = self.warehouse
        plan = self._plan(start, end, full=full)
        if plan is None:
            if all(day.published for day in house.days.values() if day.last_run is not None):
                return "nothing"
            yield from self._publish(None)
            return "published"
        first, last, prepare, rebuild = plan
        window = [first + n * DAY for n in range((last - first).days + 1)]
        inputs = [prepare + n * DAY for n in range((last - prepare).days + 1)]
        self.runs += 1
        for day in window:
            known = house.days.setdefault(day, Day())
            known.last_run, known.checked = self.runs, False
        before = (set(house.unsure_inputs), set(house.unsure_marts))
        house.unsure_inputs |= set(inputs) | (set(house.days) if rebuild else set())
        house.unsure_marts |= set(window) | (set(house.days) if rebuild else set())
        yield
        yield from self._write_partly(window, inputs, rebuild=rebuild)
        house.unsure_inputs, house.unsure_marts = before
        self._write(window, inputs, rebuild=rebuild)
        yield
        amounts = [odd for hours in house.marts.hourly.values() for _, odd in hours.values()]
        if any(amounts):
            return "blocked"
        through = max(house.loads)
        for day in inputs:
            if day in house.days:
                house.days[day].prepared_through = through
        for day in window:
            house.days[day].run_through = through
        yield
        for day in window:
            house.days[day].checked = True
        yield
        try:
            yield from self._publish((first, last))
        except Refused:
            return "failed"
        return "succeeded"

    def _plan(
        self, start: date | None, end: date | None, *, full: bool
    ) -> tuple[date, date, date, bool] | None:
        """Return first and last date, the first date whose inputs are written, and whether all
        tables are built anew; None when there is nothing to do.
        """
        house = self.warehouse
        if start and end and end < start:
            raise Refused("ends before it starts")
        span = house.event_span()
        if span is None:
            return None
        first, last = span
        if full and house.closed_before > date.min:
            raise Refused("closed")
        if any(day and house.closed(day) for day in (start, end)):
            raise Refused("closed")
        first = max(first, house.closed_before)
        ran = [day for day, known in house.days.items() if known.run_through is not None]
        stale, todo = house.stale(), sorted({*house.stale(), *house.pending()})
        if full:
            window = (first, max(last, *ran, end or last))
        elif start or end:
            window = (max(start or first, first), end or last)
            if window[1] < window[0]:
                raise Refused("before the first event")
            # No hole behind the last date that is known.
            window = (min(window[0], max([last, *ran]) + DAY), window[1])
        elif stale:
            window = (todo[0], max(last, todo[-1]))
        elif todo:
            window = (todo[0], todo[-1])
        else:
            return None
        prepare = min([window[0], *house.unprepared()])
        rebuild = full or (not ran and house.closed_before == date.min)
        return (*window, prepare, rebuild)

    def _write_partly(
        self, window: Sequence[date], inputs: Sequence[date], *, rebuild: bool
    ) -> Step:
        """Write some of the tables that are written whole, in any order; at the end none is.

        Those of dates are unsure meanwhile. Whom an erasure takes depends on these.
        """
        old = self.warehouse.marts
        written = deepcopy(self)
        written._write(window, inputs, rebuild=rebuild)
        new = written.warehouse.marts
        for first_seen, persons in ((old, new), (new, old), (new, new)):
            self.warehouse.marts = replace(
                old, first_seen=dict(first_seen.first_seen), persons=dict(persons.persons)
            )
            yield
        self.warehouse.marts = old
        return None

    def _write(self, window: Sequence[date], inputs: Sequence[date], *, rebuild: bool) -> None:
        """Write tables: inputs of some dates, marts of some, what has no date whole."""
        house, marts = self.warehouse, self.warehouse.marts
        if rebuild:
            house.user_days, house.links, house.marts = {}, {}, (marts := Marts())
            house.unsure_inputs, house.unsure_marts = set(), set()
        of_day: dict[date, list[Event]] = defaultdict(list)
        for event in house.events.values():
            of_day[event.day].append(event)
        house.links = {key: day for key, day in house.links.items() if day not in set(inputs)}
        for day in inputs:
            house.user_days[day] = {event.user for event in of_day[day] if event.user}
            for event in of_day[day]:
                if event.links:
                    for kind, value in event.identifiers():
                        house.links[event.event_id, kind, value] = day
        for day in window:
            marts.hourly[day] = {}
            for event in of_day[day]:
                place = (event.hour, event.channel)
                count, odd = marts.hourly[day].get(place, (0, 0))
                marts.hourly[day][place] = (count + 1, odd + (event.amount == DEVILISH))
            marts.daily_users[day] = len(house.user_days.get(day, ()))
        marts.first_seen = {}
        for day in sorted(house.user_days, reverse=True):
            marts.first_seen |= dict.fromkeys(house.user_days[day], day)
        marts.persons = _persons(house.links)
        house.unsure_inputs -= set(inputs)
        house.unsure_marts -= set(window)

    def publish(self) -> Step:
        """Publish without running anything."""
        yield from self._open_session()
        yield from self._publish(None)
        return "published"

    def _publish(self, window: tuple[date, date] | None) -> Step:
        house = self.warehouse
        ran = sorted(day for day, known in house.days.items() if known.run_through is not None)
        if window is None:
            if not ran:
                raise Refused("nothing was run")
            window = (ran[0], ran[-1])
        if any(window[0] <= day <= window[1] for day in house.stale()):
            raise Refused("stale")
        if house.pending():
            raise Refused("unchecked")
        yield
        self.published = deepcopy(house.marts)
        yield
        for known in house.days.values():
            if known.last_run is not None and known.checked:
                known.published_run = known.last_run
        yield
        return None

    # -- what goes ---------------------------------------------------------------------------------

    def _open_session(self) -> Step:
        """Erasures that wait, were cut off or undone are carried out by whoever opens a session."""
        yield
        self.warehouse.requests |= set(range(len(self.journal)))
        yield
        for number in sorted(self.warehouse.requests - self.warehouse.erased):
            yield from self._carry_out(number)
        return None

    def _carry_out(self, number: int) -> Step:
        persons = self.journal[number]
        self.warehouse.requests.add(number)
        self.warehouse.erase(persons)
        if self.published and self.engine == "postgres":
            self.published.erase(persons)
        yield
        if self.published:
            self.published.erase(persons)
        yield
        self.warehouse.erased.add(number)
        yield
        return None

    def erase(self, given: Sequence[Identifier]) -> Step:
        """Erase the person whom identifiers belong to."""
        yield from self._open_session()
        self.journal.append(self.warehouse.members(given))
        yield
        yield from self._carry_out(len(self.journal) - 1)
        return None

    def ask(self, given: Sequence[Identifier]) -> Step:
        """Note an erasure; the next session carries it out."""
        yield
        self.journal.append(self.warehouse.members(given))
        yield
        return None

    def retain(self, as_of: date) -> Step:
        """Remove raw events that are too old and that no date waits for. Returns the first date
        that is open.
        """
        yield from self._open_session()
        house = self.warehouse
        cut = as_of - KEPT_DAYS * DAY
        needs = {*house.stale(), *house.unprepared()}
        needs |= {d for d, known in house.days.items() if not known.checked or not known.published}
        waiting = [day for day in needs if house.closed_before <= day < cut]
        last = max(house.days, default=None)
        before = min([*waiting, cut, last + DAY if last else date.min])
        if self.engine == "postgres" and before.day > 1:
            month = (before.year, before.month)
            if any((d.year, d.month) == month and d >= before for d in self._event_days()):
                before = before.replace(day=1)
        before = max(before, house.closed_before)
        if any(day < before for day in self._event_days()):
            house.events = {k: e for k, e in house.events.items() if e.day >= before}
            house.closed_before = before
        yield
        return house.closed_before

    def _event_days(self) -> set[date]:
        return {event.day for event in self.warehouse.events.values()}


def _persons(links: Iterable[tuple[str, str, str]]) -> dict[Identifier, Identifier]:
    """Return the smallest identifier of each one's person: who stands in one event is one."""
    together: dict[str, set[Identifier]] = defaultdict(set)
    for event_id, kind, value in links:
        together[event_id].add((kind, value))
    persons: list[set[Identifier]] = []
    for group in together.values():
        joined = [person for person in persons if person & group]
        persons = [person for person in persons if not person & group]
        persons.append(group.union(*joined))
    return {one: min(person, key=":".join) for person in persons for one in person}

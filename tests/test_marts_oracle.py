"""The daily marts against the oracle, cell by cell, on both engines.

Small random worlds are written straight into raw.events (the door has tests of its own) and built
with dbt the way the orchestrator does: whole, in pieces, as interior windows after late events.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.registry import registry
from ingest.schema import ensure_month_partitions
from ingest.settings import Settings, load_settings
from ingest.warehouse import open_warehouse
from orchestration.dbt_project import DbtProject, environment_set
from orchestration.dbt_runner import Window, build, load_manifest, release_connections
from tests.advisor_worlds import START, advisor_world, advisory_events
from tests.agent_worlds import conversation_events, marketplace_events
from tests.facts import Row, read
from tests.oracle import GRAINS, STATE_RELATIONS, date_column, expected_marts
from tests.oracle_advisors import ADVISOR_GRAINS
from tests.oracle_journeys import EXTRA_COLUMNS, seeded_funnels
from tests.postgres import new_database

ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


# -- a world ---------------------------------------------------------------------------------------


def random_events(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Tangled histories of few entities: ties, repeats, gaps and everything out of order."""
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    # Few distinct instants, many of them near midnight, so that ids have to break ties.
    # Dates lie a week, a month or a retention day apart more often than by chance.
    dates = [n for n in (0, 1, 6, 7, 8, 29, 30, 31, 36, 37, 59, 60, 61, 90) if n < days]
    instants = [
        begin
        + timedelta(days=rng.choice((rng.choice(dates), rng.randrange(days))))
        + timedelta(seconds=rng.choice((0, 5, 86399, 43200, 4000)))
        + timedelta(milliseconds=rng.choice((0, 0, 250, 999)))
        for _ in range(max(4, count // 2))
    ]
    names = [
        name
        for name, event in registry().events.items()
        if event.domain in ("orders", "payments", "calls", "notifications", "moderation", "content")
        for _ in range(3)
    ] + ["page_viewed", "user_logged_in", "filter_applied", "message_received", "agent_created"]

    def user() -> str:
        # A few that are always there, and many that are seen once or twice.
        return rng.choice((f"u{rng.randrange(6)}", f"v{rng.randrange(count // 2)}"))

    def maybe(value: Any, share: float = 0.5) -> Any:
        return value if rng.random() < share else None

    events = []
    for _ in range(count):
        name = rng.choice(names)
        entity = f"e{rng.randrange(6)}"
        events.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "event_name": name,
                "occurred_at": rng.choice(instants).isoformat(),
                "channel": maybe(rng.choice(("web", "app"))),
                "user_id": user()
                if "user_id" in registry().events[name].required
                else maybe(user()),
                "entity_id": entity,
                "entity_type": rng.choice(("order", "horoscope", "comment"))
                if registry().events[name].domain == "moderation"
                else None,
                "status": rng.choice(registry().events[name].status or (None,)),
                "provider": rng.choice(("stripe", "paypal"))
                if registry().events[name].domain == "payments"
                else maybe(rng.choice(("twilio", "other"))),
                "country_code": maybe(rng.choice(("DE", "US"))),
                "service_code": rng.choice(("tarot", "palm"))
                if name == "order_created"
                else maybe(rng.choice(("tarot", "palm")), 0.3),
                "amount_cents": rng.randrange(1000),
                "currency": rng.choice(("USD", "EUR")),
                "duration_seconds": rng.choice((0, 1.5, 33.3, 600)),
                "agent_id": "a1",
                "properties": _properties(rng, name),
            }
        )
    # Users on the edges of weeks, months and cohorts, which chance seldom meets.
    for a, b in ((0, 1), (0, 6), (0, 7), (0, 24), (0, 29), (0, 30), (0, 31), (3, 33)):
        for day in (n for n in (a, b) if n < days):
            at = begin + timedelta(days=day, hours=12)
            events.append(
                {
                    "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                    "event_name": "page_viewed",
                    "occurred_at": at.isoformat(),
                    "user_id": f"edge-{a}-{b}",
                }
            )
    # One to fourteen advisors, so that tiers have too few peers, just enough, and more.
    advisors = rng.choice((1, 2, 5, 6, 14))
    events += advisory_events(rng, days=days, count=count, advisors=advisors)
    events += random_journeys(rng, days=days, count=1 + count // 8)
    events += conversation_events(rng, days=days, count=count // 2)
    events += marketplace_events(rng, days=days, count=count // 2)
    rng.shuffle(events)
    return events


#: Between two events of one history: ties, and both sides of a session's end.
STEPS = (0, 0.001, 5, 60, 900, 1799.999, 1800, 1800.001)
LONG_STEPS = (1801, 7200, 86399.5, 86400, 172800)

USER_AGENTS = ("Mozilla/5.0 (Windows NT 10.0)", "Mozilla/5.0 (iPhone) Mobile", "curl/8.0")


def random_journeys(rng: random.Random, *, days: int, count: int) -> list[Row]:
    """Visits around midnights and the timeout, chats, links of identifiers, and funnels."""
    visits = ("page_viewed",) * 4 + ("asset_viewed",) * 4 + ("license_clicked",) * 2 + (
        "message_read", "license_created", "appointment_booked", "email_sent",
    )  # fmt: skip
    chats = ("message_received",) * 8 + ("message_sent",) * 6 + (
        "chat_resolved", "chat_resolved", "chat_assigned", "message_delivered", "message_failed",
        "message_read", "campaign_sent", "contact_created",
    )  # fmt: skip
    funnels = (
        *((name, *(steps * 2)) for name, _, steps in seeded_funnels()),
        ("", "order_created", "payment_attempted", "payment_succeeded", "payment_succeeded"),
    )
    events = []
    for _ in range(3 + count):
        names = rng.choice((visits, visits, visits, chats, chats, *(f[1:] for f in funnels)))
        at = _begin_of_history(rng, days)
        keys = _keys(rng)
        chat, channel = f"c{rng.randrange(5)}", rng.choice(("web", "web", "app", None))
        for place in range(rng.randrange(1, 13)):
            in_order = names is not visits and names is not chats and rng.random() < 0.8
            name = names[place % len(names)] if in_order else rng.choice(names)
            if rng.random() < 0.1:
                keys, channel = _keys(rng), rng.choice(("web", "app"))
            events.append(_journey_event(rng, name, at, keys, chat) | {"channel": channel})
            at += timedelta(seconds=rng.choice(STEPS if rng.random() < 0.85 else LONG_STEPS))
    for _ in range(count):
        # Enough to make chains and merges, too few to make one person of all.
        ids = {kind: f"{kind[0]}{rng.randrange(count)}" for kind in ("phone_hash", "email_hash")}
        kinds = rng.sample(
            ("user_id", "anonymous_id", "phone_hash", "email_hash"), rng.choice((2, 2, 3))
        )
        keys = {
            "user_id": rng.choice((f"u{rng.randrange(6)}", f"w{rng.randrange(count)}")),
            "anonymous_id": rng.choice((f"d{rng.randrange(count)}", f"D{rng.randrange(9)}", "é|")),
        }
        event = _journey_event(
            rng,
            "user_identified",
            _begin_of_history(rng, days),
            {kind: value for kind, value in keys.items() if kind in kinds},
            "",
        )
        event["properties"] = {kind: value for kind, value in ids.items() if kind in kinds}
        events.append(event)
    # What chance seldom meets: visits and waits over a midnight of each zone, one over two of them.
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    for hours in (0, 5, 18.5):
        at = begin + timedelta(days=min(2, days - 1), hours=hours, minutes=-20)
        for place, name in enumerate(("page_viewed", "message_received", "message_sent") * 2):
            shift = timedelta(minutes=8 * place)
            keys = {"user_id": f"night-{hours}"}
            events.append(_journey_event(rng, name, at + shift, keys, f"night-{hours}"))
    if count > 20:
        for place in range(60):
            at = begin + timedelta(days=1, hours=2, minutes=30 * place)
            events.append(_journey_event(rng, "page_viewed", at, {"anonymous_id": "awake"}, ""))
    # Midnights and steps may lead out of the dates that were asked for.
    last = begin + timedelta(days=days)
    return [e for e in events if datetime.fromisoformat(e["occurred_at"]) < last]


def _begin_of_history(rng: random.Random, days: int) -> datetime:
    """Near a midnight of one of the zones; the clocks of New York change on day 66."""
    day = rng.choice((rng.randrange(days), min(65, days - 1), min(3, days - 1)))
    hours = rng.choice((0, 5, 4, 18.5, 12))
    offset = rng.choice((-1800, -1799.999, -60, -0.001, 0, 0, 1, 600))
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    return max(begin, begin + timedelta(days=day, hours=hours, seconds=offset))


def _keys(rng: random.Random) -> Row:
    """A known user, a device, both, or nobody; some ids are used for either."""
    # Ids in which cases, signs and scripts differ: text compares by its bytes on both engines.
    odd = rng.choice(("x0", "X0", "x|web", "x:0", "é'0", "x0 0"))
    user = rng.choice((f"u{rng.randrange(6)}", odd, f"w{rng.randrange(5)}"))
    device = rng.choice((f"d{rng.randrange(5)}", odd))
    return rng.choice(
        ({"user_id": user},) * 4
        + ({"anonymous_id": device},) * 2
        + ({"user_id": user, "anonymous_id": device}, {})
    )  # fmt: skip


def _journey_event(rng: random.Random, name: str, at: datetime, keys: Row, chat: str) -> Row:
    spec = registry().events[name]
    fields: Row = {
        "entity_id": "j1", "agent_id": rng.choice(("a1", "a2")), "user_id": f"u{rng.randrange(6)}",
        "advisor_id_hash": "adv", "service_code": "tarot", "provider": "stripe", "currency": "USD",
        "amount_cents": 700, "duration_seconds": 3, "status": rng.choice(spec.status or (None,)),
    }  # fmt: skip
    properties: Row = {
        "chat_id": chat, "campaign_id": "k1", "recipient_count": rng.choice((0, 3)),
        "listened_seconds": 3, "audio_seconds": 30, "zodiac_sign": "leo", "reader_id": "r1",
        "start_time": "2026-01-01T00:00:00+00:00", "project_id": "p1",
        "original_whatsapp_message_id": "m1", "whatsapp_message_id": "m1", "content_type": "edu",
        "resolution_time_seconds": 77.5, "feature": "f1",
    }  # fmt: skip
    context: Row = {
        "utm_source": "mail", "utm_medium": "cpc", "utm_campaign": "spring", "referrer": "https://r.example/",
        "landing_page": f"/{rng.randrange(3)}", "user_agent": rng.choice(USER_AGENTS),
    }  # fmt: skip
    shown = rng.random() < 0.4
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event_name": name,
        "occurred_at": at.isoformat(),
        **{k: v for k, v in fields.items() if k in spec.required},
        **keys,
        "entity_type": "page",
        "properties": {
            k: v
            for k, v in properties.items()
            if k in spec.properties and (spec.properties[k].required or rng.random() < 0.5)
        },
        "context": {k: v for k, v in context.items() if shown and rng.random() < 0.3}
        | ({"dnt": True} if rng.random() < 0.03 else {}),
    }


def _properties(rng: random.Random, name: str) -> Row:
    chosen: Row = {
        "reader_id": rng.choice(("r1", "r2")),
        "is_fallback": rng.random() < 0.5,
        "recorded": rng.random() < 0.5,
        "zodiac_sign": rng.choice(("aries", "leo", "virgo")),
        "listened_seconds": rng.choice((0, 10, 61.5)),
        "audio_seconds": rng.choice((0.001, 30, 60)),
        "chat_id": "c1",
    }
    spec = registry().events[name].properties
    return {
        key: value
        for key, value in chosen.items()
        if key in spec and (spec[key].required or rng.random() < 0.6)
    }


# -- a warehouse -----------------------------------------------------------------------------------


#: What a run writes again and again.
TABLES = ("path:models/intermediate", "path:models/marts")


@dataclass
class Lab:
    """A warehouse of one target that is emptied for every world."""

    settings: Settings
    events: dict[int, list[Row]] = field(default_factory=dict)
    #: Load that the views of the staging layer read through; None until they were made.
    staged: int | None = None
    #: What was selected before: seeds and views of it are there.
    selected: set[str] = field(default_factory=set)
    #: The marts that are built and compared.
    about: tuple[str, ...] = tuple(GRAINS)

    @property
    def marts(self) -> str:
        """The schema dbt writes marts to."""
        return "build" if self.settings.target == "postgres" else "marts"

    @property
    def timezone(self) -> str:
        """The business time zone."""
        return self.settings.timezone

    def reset(self, timezone: str = "UTC", *, about: Sequence[str] = tuple(GRAINS)) -> None:
        """Forget everything but the parsed project; start again in a business time zone."""
        self.settings, self.events = replace(self.settings, timezone=timezone), {}
        self.staged, self.about = None, tuple(about)
        self.selected.clear()
        for statement in (
            *(f"drop schema if exists {s} cascade" for s in ("staging", "intermediate")),
            f"drop schema if exists {self.marts} cascade",
            "delete from raw.events",
        ):
            self.sql(statement)

    def selection(self, wanted: Sequence[str] = (), loads_through: int = 99) -> list[str]:
        """Return what builds some models, none for all; seeds and views only when they are new."""
        if self.staged != loads_through:
            self.staged = loads_through
            self.selected.clear()
        # All of them know any; nothing else knows all.
        names = set(wanted) or {"*"}
        if "*" in self.selected or names <= self.selected:
            return [f"{name},{table}" for name in wanted for table in TABLES] or list(TABLES)
        self.selected |= names
        return list(wanted)

    def sql(self, statement: str) -> list[Row]:
        """Run a statement; the rows of a query as dicts."""
        warehouse = open_warehouse(self.settings)
        try:
            if statement.lstrip().startswith("select"):
                return warehouse.records(statement)
            warehouse.execute(statement)
            return []
        finally:
            warehouse.close()

    def load(self, load_id: int, events: Sequence[Row]) -> None:
        """Store accepted events the way the door does."""
        self.events[load_id] = list(events)
        columns = registry().raw_columns()
        defaults = {n: f.default for n, f in registry().envelope.items() if f.default is not None}
        rows = []
        for fact in read(events, self.timezone):
            values = {
                **{k: v for k, v in (defaults | fact.fields | fact.p).items() if k in columns},
                "load_id": load_id,
                "domain": fact.domain,
                "event_date": fact.day,
                "event_hour": fact.hour,
                "occurred_at": fact.at,
                "event_id": fact.event_id,
                "event_name": fact.name,
            }
            rows.append([values.get(name) for name in columns])
        warehouse = open_warehouse(self.settings)
        try:
            if self.settings.target == "postgres":
                months = {f"{row[list(columns).index('event_date')]:%Y-%m}" for row in rows}
                ensure_month_partitions(warehouse, sorted(months))
            with warehouse.transaction():
                warehouse.insert_many("raw.events", list(columns), rows)
        finally:
            warehouse.close()

    def run(
        self,
        start: date,
        end: date,
        *,
        prepare_start: date | None = None,
        loads_through: int = 99,
        full_refresh: bool = False,
        tested: bool = False,
    ) -> None:
        """Build a range of dates, both ends included; seeds and views only when they are new."""
        window = Window(start, end, prepare_start or start, loads_through)
        wanted = [] if self.about == tuple(GRAINS) else [f"+{name}" for name in self.about]
        chosen = self.selection(wanted, loads_through)
        result = build(
            DbtProject(self.settings),
            window,
            full_refresh=full_refresh,
            select=wanted if tested else chosen,
            tested=tested,
        )
        assert result.error is None, result.error
        assert result.succeeded, [(n.unique_id, n.message) for n in result.nodes if not n.ok]

    def rows(self, relation: str) -> list[Row]:
        """What a mart holds."""
        return self.sql(f"select * from {self.marts}.{relation}")

    def check(
        self, through: date, *, since: date = date.min, loads: Sequence[int] | None = None
    ) -> None:
        """Compare every mart, from a date on, with the oracle."""
        events = [e for n, rows in self.events.items() if loads is None or n in loads for e in rows]
        expected = expected_marts(events, through, timezone=self.timezone)
        for relation in self.about:
            grain = GRAINS[relation]
            if relation in STATE_RELATIONS:
                # The state at the end of a run is defined once nothing is stale.
                if since == date.min:
                    assert_same(relation, self.rows(relation), expected[relation], grain)
                continue
            dated = date_column(relation)
            assert_same(
                relation,
                [r for r in self.rows(relation) if since <= r[dated] <= through],
                [r for r in expected[relation] if r[dated] >= since],
                grain,
            )


def assert_same(
    relation: str, actual: list[Row], expected: list[Row], grain: Sequence[str]
) -> None:
    """Same keys, same columns, same values: integers exactly, doubles to 1e-9."""

    def keyed(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
        found = {tuple(row[name] for name in grain): row for row in rows}
        assert len(found) == len(rows), f"{relation}: rows that share a key"
        return found

    left, right = keyed(actual), keyed(expected)
    assert left.keys() == right.keys(), (
        f"{relation}: only built {sorted(left.keys() - right.keys())}, "
        f"only expected {sorted(right.keys() - left.keys())}"
    )
    for key, row in right.items():
        assert row.keys() <= left[key].keys(), relation
        assert left[key].keys() - row.keys() <= EXTRA_COLUMNS.get(relation, set()), relation
        for name, value in row.items():
            built = left[key][name]
            where = f"{relation} {key} {name}: built {built!r}, expected {value!r}"
            if value is None or built is None or isinstance(value, (str, date)):
                assert built == value, where
            elif isinstance(built, float):
                assert built == pytest.approx(value, rel=1e-12, abs=1e-9), where
            else:
                assert isinstance(built, int) and built == value, where


@pytest.fixture(scope="module")
def duckdb_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(load_settings({"TIDEMARK_HOME": str(tmp_path_factory.mktemp("marts-duckdb"))}))


@pytest.fixture(scope="module")
def postgres_lab(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Lab]:
    with new_database(postgres_server) as url:
        environment = {
            "TIDEMARK_HOME": str(tmp_path_factory.mktemp("marts-postgres")),
            "TIDEMARK_TARGET": "postgres",
            "TIDEMARK_POSTGRES_URL": url,
        }
        yield Lab(load_settings(environment))


@pytest.fixture(params=["duckdb", "postgres"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """A warehouse of either target, empty."""
    found: Lab = request.getfixturevalue(f"{request.param}_lab")
    found.reset()
    return found


def span(events: Sequence[Row], timezone: str) -> tuple[date, date]:
    """First and last event date."""
    facts = read(events, timezone)
    return min(f.day for f in facts), max(f.day for f in facts)


# -- the laws --------------------------------------------------------------------------------------


#: Both engines have the same SQL, and equal tables by another test: worlds are tried in turn.
IN_TURN = pytest.mark.parametrize(
    ("lab", "seed"), [("duckdb", 0), ("postgres", 1)], indirect=["lab"]
)


@IN_TURN
def test_a_range_at_once(lab: Lab, seed: int) -> None:
    """One run over all dates, and some quiet dates after the last event."""
    rng = random.Random(seed)
    lab.reset(ZONES[seed])
    lab.load(1, random_events(rng, days=100, count=250))
    first, last = span(lab.events[1], lab.timezone)
    lab.run(first, last + timedelta(days=3), tested=True)
    lab.check(last + timedelta(days=3))


@pytest.mark.parametrize("lab", ["duckdb"], indirect=True)
def test_in_pieces(lab: Lab) -> None:
    """Ranges of random length, one after the other, give the rows of one range."""
    rng = random.Random(10)
    lab.reset("America/New_York")
    lab.load(1, random_events(rng, days=8, count=180))
    first, last = span(lab.events[1], lab.timezone)
    middle = first + timedelta(days=3)
    lab.run(first, middle)
    lab.run(middle + timedelta(days=1), middle + timedelta(days=1))
    lab.check(middle + timedelta(days=1))
    lab.run(middle + timedelta(days=2), last)
    # Dates without events are dates too.
    lab.run(last + timedelta(days=1), last + timedelta(days=2))
    lab.check(last + timedelta(days=2))


@pytest.mark.parametrize("lab", ["duckdb"], indirect=True)
def test_interior_windows_after_late_events(lab: Lab) -> None:
    """Late events: an interior window is right at once, whatever stands after it."""
    rng = random.Random(20)
    lab.reset(ZONES[2])
    events = random_events(rng, days=45, count=400)
    late = [e for e in events if rng.random() < 0.3]
    lab.load(1, [e for e in events if e not in late])
    first, last = span(events, lab.timezone)
    lab.run(first, last)
    lab.load(2, late)
    stale_from, _ = span(late, lab.timezone)
    # Dates after the oldest stale one, prepared from there on; then the dates after them.
    start = first + timedelta(days=30)
    lab.run(start, start + timedelta(days=2), prepare_start=stale_from)
    lab.check(start + timedelta(days=2), since=start)
    later = start + timedelta(days=3)
    lab.run(later, later + timedelta(days=4))
    lab.check(later + timedelta(days=4), since=later)
    # And what is still stale.
    lab.run(first, last)
    lab.check(last)


#: Advisors and days of dense worlds: few peers, a silence and four falling weeks, many peers.
DENSE = ((5, 50), (14, 38))


@IN_TURN
def test_advisors_of_a_range_at_once(lab: Lab, seed: int) -> None:
    """Peers, trends, interventions and weeks of advisors who work nearly every day."""
    advisors, days = DENSE[seed]
    lab.reset(ZONES[seed], about=ADVISOR_GRAINS)
    lab.load(1, advisor_world(random.Random(seed), advisors=advisors, days=days))
    first, last = span(lab.events[1], lab.timezone)
    # Until after the last of them has left the window of thirty dates.
    lab.run(first, last + timedelta(days=33), tested=True)
    lab.check(last + timedelta(days=33))


@pytest.mark.parametrize(
    ("lab", "days", "count", "advisors", "pieces"),
    [("duckdb", 50, 300, 3, (0, 13, 29)), ("postgres", 200, 120, 6, (60, 90))],
    indirect=["lab"],
    ids=["busy", "silent for months"],
)
def test_tangled_advisors_in_pieces(
    lab: Lab, days: int, count: int, advisors: int, pieces: tuple[int, ...]
) -> None:
    """Few contents of few advisors with gaps; ranges of random length, one after the other."""
    rng = random.Random(days)
    lab.reset("Asia/Kolkata" if days > 100 else "America/New_York", about=ADVISOR_GRAINS)
    lab.load(1, advisory_events(rng, days=days, count=count, advisors=advisors))
    first, last = span(lab.events[1], lab.timezone)
    day = first
    while day <= last + timedelta(days=2):
        end = day + timedelta(days=rng.choice(pieces))
        lab.run(day, end)
        lab.check(end)
        day = end + timedelta(days=1)


def test_advisors_in_interior_windows_after_late_events(lab: Lab) -> None:
    """Late events of advisors: dates long after them are right at once, with what stands before."""
    rng = random.Random(90)
    lab.reset("Asia/Kolkata", about=ADVISOR_GRAINS)
    events = [
        *advisor_world(rng, advisors=7, days=50),
        *advisory_events(rng, days=50, count=150, advisors=4),
    ]
    late = [e for e in events if rng.random() < 0.2]
    lab.load(1, [e for e in events if e not in late])
    first, last = span(events, lab.timezone)
    lab.run(first, last)
    lab.load(2, late)
    stale_from, _ = span(late, lab.timezone)
    start = first + timedelta(days=35)
    lab.run(start, start + timedelta(days=5), prepare_start=stale_from)
    lab.check(start + timedelta(days=5), since=start)
    lab.run(first, last)
    lab.check(last)


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_a_full_refresh_changes_nothing(lab: Lab) -> None:
    """Tables made anew hold the same rows, and keep their indexes."""
    lab.load(1, random_events(random.Random(35), days=8, count=120))
    first, last = span(lab.events[1], lab.timezone)
    lab.run(first, last)
    lab.run(first, last, full_refresh=True)
    lab.check(last)
    indexed = lab.sql("select tablename from pg_indexes where schemaname = 'intermediate'")
    assert {row["tablename"] for row in indexed} == {
        path.stem
        for path in _models()
        if path.parent.name == "intermediate" and "ephemeral" not in path.read_text()
    }


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_a_run_sees_its_own_loads_only(lab: Lab) -> None:
    """What is loaded while a run goes on waits for the next one."""
    events = random_events(random.Random(30), days=10, count=80)
    lab.load(1, events[:50])
    lab.load(2, events[50:])
    first, last = span(events[:50], lab.timezone)
    lab.run(first, last, loads_through=1)
    lab.check(last, loads=[1])


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_a_date_that_loses_its_events_loses_its_rows(lab: Lab) -> None:
    """Rows are replaced by date, not by key: nothing is left of an emptied date."""
    lab.load(1, random_events(random.Random(40), days=10, count=150))
    first, last = span(lab.events[1], lab.timezone)
    lab.run(first, last)
    gone = {first + timedelta(days=4), first + timedelta(days=5), last}
    for day in gone:
        lab.sql(f"delete from raw.events where event_date = date '{day}'")
    kept = {fact.event_id for fact in read(lab.events[1], lab.timezone) if fact.day not in gone}
    lab.events[1] = [e for e in lab.events[1] if e["event_id"] in kept]
    lab.run(first, last)
    lab.check(last)


@pytest.mark.parametrize("lab", ["duckdb"], indirect=True)
def test_history_outlives_the_raw_events(lab: Lab) -> None:
    """After retention took old events, a new date still knows its orders, users and calls."""
    events = random_events(random.Random(50), days=40, count=300)
    first, last = span(events, lab.timezone)
    split = first + timedelta(days=35)
    lab.load(1, events)
    lab.run(first, split)
    lab.sql(f"delete from raw.events where event_date <= date '{split - timedelta(days=1)}'")
    lab.run(split + timedelta(days=1), last)
    lab.check(last)


# -- the tests of the project ----------------------------------------------------------------------


def dbt(lab: Lab, *arguments: str, window: Window | None = None) -> dict[str, str]:
    """Run a dbt command; the name of each node -> its status."""
    from dbt.cli.main import dbtRunner

    project = DbtProject(lab.settings)
    variables = ["--vars", json.dumps(window.variables())] if window else []
    with environment_set(project.environment()):
        result = dbtRunner(manifest=load_manifest(project)).invoke(
            [*arguments, *variables, *project.arguments(), "--log-level", "none", "--no-print"]
        )
        release_connections()
    runs = getattr(result.result, "results", None)
    assert runs is not None, result.exception
    return {run.node.name: str(run.status) for run in runs}


def test_every_formula(lab: Lab) -> None:
    """The unit tests of the dbt project pass on both engines."""
    lab.load(1, random_events(random.Random(60), days=3, count=10))
    lab.run(START, START + timedelta(days=3))
    statuses = dbt(lab, "test", "--select", "test_type:unit")
    assert statuses and set(statuses.values()) == {"pass"}, statuses


FAULTS = {
    "unique_grain": "insert into {marts}.metrics_hourly_activity"
    " select * from {marts}.metrics_hourly_activity",
    "between": "update {marts}.metrics_daily_engagement set stickiness = 1.5",
    "holds": "update {marts}.metrics_daily_engagement set new_users = new_users + 1",
    "same_daily_total": "delete from {marts}.metrics_daily_calls",
    "adds_up": "update {marts}.advisor_health_scores set base_score = base_score + 0.001",
}


def test_the_generic_tests_find_planted_faults(duckdb_lab: Lab) -> None:
    """Each kind of test passes on what dbt built and fails on what it did not."""
    lab = duckdb_lab
    lab.reset()
    lab.load(1, random_events(random.Random(70), days=6, count=150))
    first, last = span(lab.events[1], lab.timezone)
    window = Window(first, last, first, 99)
    outside = Window(last + timedelta(days=9), last + timedelta(days=9), first, 99)
    select = ("test", "--select", "test_type:data,path:models/marts")
    lab.run(first, last, tested=True)
    for fault in FAULTS.values():
        lab.sql(fault.format(marts=lab.marts))
    failed = {n for n, status in dbt(lab, *select, window=window).items() if status == "fail"}
    for name in FAULTS:
        assert any(n.startswith(name) for n in failed), (name, failed)
    assert set(dbt(lab, *select, window=outside).values()) == {"pass"}


def _models() -> list[Path]:
    root = Path(__file__).parent.parent / "dbt_project" / "models"
    return sorted([*root.glob("intermediate/*.sql"), *root.glob("marts/*.sql")])


@pytest.mark.parametrize("path", _models(), ids=lambda path: path.stem)
def test_models_keep_to_the_rules(path: Path) -> None:
    """What can be found by reading: one way to divide, no clock, no engine, columns by name."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- Grain: one row per ")
    for banned in (" / ", "target.type", "now()", "current_date", "current_timestamp"):
        assert banned not in text, banned
    assert all(len(line) <= 100 for line in text.splitlines())
    yaml = path.with_suffix(".yml").read_text(encoding="utf-8")
    assert "unit_tests:" in yaml and "description: >-\n      One row per " in yaml.replace(
        "description: One row", "description: >-\n      One row"
    )


def test_every_kpi_has_a_unit_test() -> None:
    """Every column of every mart stands in the expectation of one of its unit tests."""
    import yaml

    for path in (p.with_suffix(".yml") for p in _models() if p.parent.name == "marts"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        columns = {column["name"] for column in document["models"][0]["columns"]}
        tested = {
            name
            for test in document["unit_tests"]
            for row in test["expect"]["rows"]
            for name in row
        }
        assert columns <= tested, f"{path.name}: {sorted(columns - tested)}"

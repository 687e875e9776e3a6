"""The run: plan, spans of days, rendering on two threads, files, truth.

The number of events is met by a plan: a pilot run without files tells how many events a unit of
each domain brings within the period (whatever would happen after its end is not written).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.errors import UserError
from ingest.registry import registry
from ingest.simulator.advisory import Advisory
from ingest.simulator.arrival import Arrivals, Rates
from ingest.simulator.calls import Calls
from ingest.simulator.content import Content
from ingest.simulator.conversations import Conversations
from ingest.simulator.identity import Identity
from ingest.simulator.lines import Batch, render
from ingest.simulator.marketplace import Marketplace
from ingest.simulator.messaging import Messaging
from ingest.simulator.moderation import Moderation
from ingest.simulator.notifications import Notifications
from ingest.simulator.orders import Orders
from ingest.simulator.payments import TopUps
from ingest.simulator.people import MOST_PEOPLE, People
from ingest.simulator.rhythm import Calendar
from ingest.simulator.supply import Platform, Uploads
from ingest.simulator.truth import NAMES, Truth
from ingest.simulator.values import Array
from ingest.simulator.world import Domain, Incidents, Span, World

DOMAINS: tuple[type[Domain], ...] = (
    Identity, Orders, TopUps, Calls, Notifications, Moderation, Content, Advisory, Messaging,
    Conversations, Marketplace, Uploads, Platform,
)  # fmt: skip
SIZES = {"small": 50_000, "medium": 1_000_000, "large": 10_000_000}
EVENTS_PER_SPAN = 300_000
PILOT_EVENTS = 120_000
LEAST_UNITS_SHARE = 0.3
EVENTS_PER_PERSON = 40
THREADS = 2
#: Lives begin years before a period and go on after it; dates of Python end at both ends.
EARLIEST, LATEST = date(1900, 1, 1), date(9000, 12, 31)
_NUMBERS = {name: number for number, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Simulation:
    """What was made: folders, files in order of arrival, and counts."""

    out: Path
    events_folder: Path
    truth_folder: Path
    files: tuple[Path, ...]
    start: date
    end: date
    events: int
    lines: int
    duplicates: int
    late: int
    out_of_order: int
    invalid: int
    people: int
    advisors: int


def simulate(
    *,
    days: int,
    size: int | str,
    seed: int,
    out: Path,
    end: date = date(2026, 3, 31),
    start: date | None = None,
    duplicate_rate: float = 0.01,
    disorder_rate: float = 0.05,
    late_rate: float = 0.01,
    invalid_rate: float = 0.0,
    personal_data_rate: float = 0.0,
    timezone: str = "UTC",
    compress: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Write events of a made-up company and the truth about them; same arguments, same bytes.

    Args:
        days: Length of the period.
        size: Valid events in all, duplicates not counted (met within about 2 %), or a key of
            ``SIZES``.
        seed: Number that decides everything that is left to chance.
        out: Folder for ``events/`` and ``truth/``; an earlier run in it is replaced.
        end: Last day.
        start: First day; overrides ``end``.
        duplicate_rate: Share of the events that are sent a second time.
        disorder_rate: Share of the events that stand at a random place of their file.
        late_rate: Share of the events that arrive one to seven days late.
        invalid_rate: Invalid lines per valid event.
        personal_data_rate: Share of people whose user id is a phone number or an e-mail address,
            and of messages that contain one.
        timezone: Business time zone: that of the rhythm and of the dates of files and truth.
        compress: Write ``.ndjson.gz``.
        progress: Called with the days done and all days.

    Raises:
        UserError: an argument makes no sense, or ``out`` holds something else.

    """
    events = _checked_size(days, size)
    first = start or _first_day(end, days)
    rates = Rates(duplicate_rate, disorder_rate, late_rate, invalid_rate)
    world = _world(first, days, events, seed, timezone, personal_data_rate)
    domains = plan(world, events)
    folder, truth_folder = _folders(out)
    truth = Truth(world.calendar)
    arrivals = Arrivals(world, rates, folder=folder, compress=compress, truth=truth)
    _run(world, domains, arrivals, progress)
    tables = {"people": world.people.truth()}
    for domain in domains:
        tables.update(domain.truth())
    simulation = Simulation(
        out=out, events_folder=folder, truth_folder=truth_folder, files=tuple(arrivals.paths),
        start=first, end=first + timedelta(days=days - 1), events=int(truth.counts.sum()),
        lines=truth.total("lines"), duplicates=truth.total("duplicates"),
        late=truth.total("late"), out_of_order=truth.total("out_of_order"),
        invalid=truth.total("invalid"), people=world.people.count,
        advisors=tables["advisors"].num_rows,
    )  # fmt: skip
    truth.write(truth_folder, tables, _manifest(world, simulation, rates, timezone))
    return simulation


def _checked_size(days: int, size: int | str) -> int:
    if isinstance(size, str):
        if not size.isdigit() and size not in SIZES:
            raise UserError(f"size is {size!r}; use a number or one of {', '.join(SIZES)}")
        size = SIZES.get(size) or int(size)
    if days < 1 or size < 1:
        raise UserError(f"days is {days} and size is {size}; both must be at least 1")
    return size


def _first_day(end: date, days: int) -> date:
    if end > LATEST or (end - EARLIEST).days < days - 1:
        raise UserError(
            f"a period of {days} days cannot end on {end}; choose one within {EARLIEST} .. {LATEST}"
        )
    return end - timedelta(days=days - 1)


def _world(
    start: date, days: int, size: int, seed: int, timezone: str, personal_data_rate: float
) -> World:
    calendar = Calendar(start, days, timezone)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0])))
    count = int(np.clip(size // EVENTS_PER_PERSON, 60, MOST_PEOPLE))
    people = People(calendar, count, rng, personal_data_rate)
    return World(seed, size, calendar, people, Incidents.of(days), personal_data_rate)


def _folders(out: Path) -> tuple[Path, Path]:
    """Make the folders anew; only what an earlier run wrote is removed."""
    events, truth = out / "events", out / "truth"
    if out.exists() and any(out.iterdir()):
        if not (truth / "manifest.json").is_file():
            raise UserError(f"{out} is not empty and holds no earlier run; choose another folder")
        shutil.rmtree(events, ignore_errors=True)
        shutil.rmtree(truth)
    events.mkdir(parents=True)
    truth.mkdir()
    return events, truth


def plan(world: World, size: int) -> list[Domain]:
    """Domains with as many units each as bring about ``size`` events in all."""
    whole = Span(0, world.calendar.days)

    def count(kind: type[Domain], units: float) -> float:
        # a small run is a matter of luck, so that it takes several to know what to expect
        times = 1 if kind.linear else int(np.clip(PILOT_EVENTS // size, 1, 12))
        found = 0
        for number in range(times):
            batches = kind(world, units).events(whole, world.rng(kind.name, "pilot", number))
            found += sum(len(batch) for batch, *_ in kept(world, batches))
        return found / times

    def slope_of(kind: type[Domain], units: float, base: float) -> float:
        return (count(kind, units) - base) / units if units > 0 else 0.0

    shares = np.array([kind.share for kind in DOMAINS])
    pilot = np.array([PILOT_EVENTS if kind.linear else size for kind in DOMAINS])
    guesses = shares / np.array([kind.events_per_unit for kind in DOMAINS]) * pilot
    base = np.array([count(kind, 0.0) for kind in DOMAINS], float)
    slope = np.array(
        [slope_of(kind, *pair) for kind, *pair in zip(DOMAINS, guesses, base, strict=True)]
    )
    units = _units(shares, base, slope, size)
    for place, kind in enumerate(DOMAINS):
        if not kind.linear:
            slope[place] = slope_of(kind, units[place], base[place])
    units = _units(shares, base, slope, size)
    return [kind(world, float(units[place])) for place, kind in enumerate(DOMAINS)]


def _units(shares: Array, base: Array, slope: Array, size: int) -> Array:
    """Units per domain, from the events without units and the events per unit."""
    # whose fixed part takes (nearly) all of its share still gets some units; the others get less
    least = np.where(slope > 0, base + LEAST_UNITS_SHARE * shares * size, base)
    target = np.maximum(shares * size, least)
    for _ in range(4):
        full = target <= least
        rest = size - least[full].sum()
        open_shares = np.where(full, 0.0, shares)
        scaled = open_shares / max(float(open_shares.sum()), 1e-9) * rest
        target = np.where(full, least, np.maximum(scaled, least))
    return np.maximum(target - base, 0) / np.where(slope > 0, slope, np.inf)


def kept(world: World, batches: Sequence[Batch]) -> list[tuple[Batch, Array, Array]]:
    """Events inside the period, and not acted by someone who is gone: batch, UTC, wall clock."""
    calendar, people = world.calendar, world.people
    found = []
    for batch in batches:
        utc = calendar.to_utc(batch.at)
        local = calendar.to_local(utc)
        day = calendar.day_of(local)
        inside = (day >= 0) & (day < calendar.days)
        if batch.person is not None and registry().events[batch.name].activity:
            gone = people.churn_day[np.maximum(batch.person, 0)] <= day
            inside &= ~(gone & (batch.person >= 0))
        if not inside.all():
            batch, utc, local = batch.pick(inside), utc[inside], local[inside]
        if len(batch):
            found.append((batch, utc, local))
    return found


def _run(
    world: World, domains: list[Domain], arrivals: Arrivals,
    progress: Callable[[int, int], None] | None,
) -> None:  # fmt: skip
    """Make span after span; while one is written the next one is being made."""
    days = world.calendar.days
    step = int(np.clip(EVENTS_PER_SPAN * days // world.size, 1, days))
    writing: Future[None] | None = None
    with ThreadPoolExecutor(THREADS) as renderers, ThreadPoolExecutor(1) as writer:
        for first in range(0, days, step):
            span = Span(first, min(first + step, days))
            jobs = []
            for domain in domains:
                batches = domain.events(span, world.rng(domain.name, "span", first))
                for number, (batch, utc, local) in enumerate(kept(world, batches)):
                    ids = world.rng(domain.name, "ids", first, number)
                    jobs.append((batch, local, renderers.submit(render, batch, utc, ids)))
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, arrivals, jobs, span)
            world.people.forget(first)
            if progress is not None:
                progress(span.last, days)
        if writing is not None:
            writing.result()


def _write(
    arrivals: Arrivals, jobs: list[tuple[Batch, Array, Future[pa.Array]]], span: Span
) -> None:
    if jobs:
        lines = pa.concat_arrays([job.result() for *_, job in jobs])
        local = np.concatenate([local for _, local, _ in jobs])
        name = np.repeat([_NUMBERS[batch.name] for batch, *_ in jobs], [len(b) for b, *_ in jobs])
        arrivals.add(lines, local, name, span.first)
    if arrivals.waiting:
        arrivals.write(span.last)


def _manifest(world: World, simulation: Simulation, rates: Rates, timezone: str) -> dict[str, Any]:
    dates, incidents = world.calendar.dates, world.incidents

    def on(day: int) -> str | None:
        return dates[day].isoformat() if day >= 0 else None

    counts = {
        name: getattr(simulation, name)
        for name in ("events", "lines", "duplicates", "late", "out_of_order", "invalid",
                     "people", "advisors")
    }  # fmt: skip
    return {
        "seed": world.seed,
        "days": world.calendar.days,
        "size": world.size,
        "timezone": timezone,
        "start": simulation.start,
        "end": simulation.end,
        "rates": asdict(rates) | {"personal_data": world.personal_data_rate},
        "counts": counts,
        "incidents": {
            "provider": {"date": on(incidents.provider_day), "provider": incidents.provider},
            "delivery": {"date": on(incidents.delivery_day)},
            "content": {"date": on(incidents.content_day)},
        },
        "files": [path.name for path in simulation.files],
    }

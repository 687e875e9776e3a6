"""The parts of the benchmark: what runs, what of it was measured already, what it takes.

Belongs here: names, estimates of time and disk, and the order. How each part measures belongs in
its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks import advisors, growth, ingest, peers, queries, runs, sessions, timeline
from tests.benchmarks.results import Results
from tests.benchmarks.worlds import TARGETS

#: Of the estimates, for two cores: seconds that are fixed, and for each million events.
SECONDS_OF_WORLD = {"duckdb": (10, 45), "postgres": (15, 80)}
SECONDS_OF_RUN = {"duckdb": (30, 22), "postgres": (45, 70)}
#: GB of a million events with all that is computed from them; and what a server may keep beside.
GB_OF_WORLD = {"duckdb": 1.4, "postgres": 3.5}
GB_OF_LOG = 8.0

#: What the extra ``bench`` brings, and the parts that need it.
PACKAGES = {"dlt": ("ingest", "growth"), "matplotlib": ("growth",)}


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    ``run`` takes a folder of its own, its records, a number of events, the address of a server,
    ``repeats`` and ``targets``. ``seconds`` and ``gigabytes`` estimate one size on one target;
    ``records`` says how many records a size has on a target when it is done.
    """

    name: str
    run: Callable[..., None]
    records: Callable[[str, int], int]
    seconds: Callable[[str, float, int], float]
    gigabytes: Callable[[str, float], float]


def _world(target: str, millions: float) -> float:
    fixed, each = SECONDS_OF_WORLD[target]
    # Larger worlds are copies of a million, which are made ten times as fast as they come in.
    return fixed + each * (min(millions, 1) + max(0, millions - 1) / 10)


def _run(target: str, millions: float) -> float:
    fixed, each = SECONDS_OF_RUN[target]
    return fixed + each * millions


def _days(millions: float) -> int:
    return 365 if millions >= 30 else 90


def _ingest_seconds(target: str, millions: float, repeats: int) -> float:
    fast = 30 + millions * (60 if target == "duckdb" else 160)
    slow = min(millions, 1) * (60 if target == "duckdb" else 400)
    return millions * 10 + repeats * (fast + slow + (60 if millions <= 1 else 0))


def _peers_seconds(target: str, millions: float, repeats: int) -> float:
    per_day = 0.3 if target == "duckdb" else 1.5
    days = _days(millions)
    batches = min(days, peers.BATCH_DAYS if millions > 10 else days)
    by_day = batches * (0.6 + per_day * millions) + peers.DBT_DAYS * (10 + per_day * millions)
    function = 0.0
    if target == "postgres":
        function = per_day * millions * (days if millions <= 1 else peers.FUNCTION_DAYS)
    return _world(target, millions) + 2 * _run(target, millions) + by_day + function


def _queries_seconds(target: str, millions: float, repeats: int) -> float:
    asking = 60 + 12 * queries.RAW_REPEATS * millions * (0.2 if target == "duckdb" else 2)
    return _world(target, millions) + _run(target, millions) + asking


def _days_seconds(target: str, millions: float, repeats: int) -> float:
    shares = [history / max(runs.HISTORIES) for history in runs.HISTORIES]
    worlds = sum(_world(target, millions * s) + _run(target, millions * s) for s in shares)
    return worlds + len(shares) * repeats * _run(target, 0)


def _growth_seconds(target: str, millions: float, repeats: int) -> float:
    return _ingest_seconds(target, millions, 1) + _world(target, millions) + _run(target, millions)


PARTS = {
    part.name: part
    for part in (
        Part(
            "ingest", ingest.run,
            lambda target, events: len(ingest.ways_of(target, events)),
            _ingest_seconds,
            lambda target, millions: millions * (1.9 if target == "postgres" else 1.3),
        ),
        Part(
            "run", runs.run, lambda target, events: 1,
            lambda target, millions, repeats:
                _world(target, millions) + repeats * 1.2 * _run(target, millions),
            lambda target, millions: GB_OF_WORLD[target] * millions,
        ),
        Part(
            "peers", peers.run, lambda target, events: 6 if target == "postgres" else 5,
            _peers_seconds, lambda target, millions: GB_OF_WORLD[target] * millions,
        ),
        Part(
            "one_more_day", runs.one_more_day, lambda target, events: len(runs.HISTORIES),
            _days_seconds, lambda target, millions: GB_OF_WORLD[target] * millions,
        ),
        Part(
            "queries", queries.run, lambda target, events: 13,
            _queries_seconds, lambda target, millions: GB_OF_WORLD[target] * millions,
        ),
        Part(
            "growth", growth.run, lambda target, events: 1,
            _growth_seconds, lambda target, millions: GB_OF_WORLD[target] * millions,
        ),
    )
}  # fmt: skip


def _advisors(folder: Path, events: int, server: str, results: Path) -> None:
    count = 1000 if events >= 1_000_000 else 50
    advisors.year_of_advisors(folder, results, advisors=count)


def _sessions(folder: Path, events: int, server: str, results: Path) -> None:
    sessions.rebuild(folder, results, events)
    sessions.one_more_day(folder, results, max(100, events // 1000), server)


#: Parts about one subject of the warehouse, of the largest size: (run, seconds and GB per million).
SUBJECTS: dict[str, tuple[Callable[[Path, int, str, Path], None], float, float]] = {
    "advisors": (_advisors, 300, 0.3),
    "sessions": (_sessions, 200, 1.0),
    "timeline": (timeline.timeline, 120, 1.0),
}


def done(name: str, folder: Path, events: int, target: str) -> bool:
    """Tell whether a part was measured whole for a size on a target."""
    kept = Results(folder, name).of(events=events, target=target)
    return len(kept) >= PARTS[name].records(target, events)


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return the packages of the extra ``bench`` that parts need and that are not there."""
    needed = [name for name, parts in PACKAGES.items() if set(parts) & set(names)]
    return [name for name in needed if find_spec(name) is None]


def repeats_of(events: int) -> int:
    """Return how often a size is measured: the median of three, once from 30 M on."""
    return 1 if events >= 30_000_000 else 3


def estimate(
    names: Sequence[str], sizes: Sequence[int], targets: Sequence[str] = TARGETS
) -> tuple[float, float]:
    """Return the hours that parts take, and the GB that the largest needs at a time."""
    seconds, disk = 0.0, 0.0
    for name in names:
        if name in SUBJECTS:
            _, each, gigabytes = SUBJECTS[name]
            largest = max(sizes) / 1e6
            seconds += 120 + each * (1 if name == "advisors" else largest)
            disk = max(disk, 1 + gigabytes * largest)
            continue
        for events in sizes:
            for target in targets:
                part, millions = PARTS[name], events / 1e6
                # Pictures are drawn from what these measure.
                if name != "growth" or not {"ingest", "run"} <= set(names):
                    seconds += part.seconds(target, millions, repeats_of(events))
                log = min(GB_OF_LOG, millions) if target == "postgres" else 0
                disk = max(disk, 0.5 + log + part.gigabytes(target, millions))
    return seconds / 3600, disk

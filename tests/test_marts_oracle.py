"""The daily marts against the oracle, cell by cell, on both engines.

Small random worlds are written straight into raw.events (the door has tests of its own) and built
with dbt the way the orchestrator does: whole, in pieces, as interior windows after late events.
"""

from __future__ import annotations

import random
import re
from datetime import date, timedelta

import pytest

from orchestration.dbt_runner import Window
from tests.advisor_worlds import START, advisor_world, advisory_events
from tests.event_worlds import random_events
from tests.facts import read
from tests.lab import EVERY_LOAD, IN_TURN, Lab, span
from tests.oracle_advisors import ADVISOR_GRAINS
from tests.test_models import MODELS


class Undone(Exception):
    """Ends a transaction that is not to be kept."""


ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


# -- the laws --------------------------------------------------------------------------------------


@IN_TURN
def test_a_range_at_once(lab: Lab, seed: int) -> None:
    """One run over all dates, and some quiet dates after the last event."""
    rng = random.Random(seed)
    lab.reset(ZONES[seed])
    lab.load(1, random_events(rng, days=100, count=250))
    first, last = span(lab.events[1], lab.timezone)
    lab.run(first, last + timedelta(days=3), tested=True)
    lab.check(last + timedelta(days=3))


#: Models that look keys up in their own rows before the window; two look up dates.
LOOKING_UP = sorted(
    path.stem
    for path in MODELS
    if path.stem not in ("identity_map", "int_advisor_health_scores")
    and any(word in path.read_text() for word in ("}} as past", "is_key_of(", "_before_window("))
)


def test_what_a_model_knows_of_a_key_is_looked_up_by_index(postgres_lab: Lab) -> None:
    """Without indexes on dates Postgres has only those on keys, and is told to take an index."""
    lab = postgres_lab
    if not lab.is_built:
        lab.load(1, random_events(random.Random(2), days=2, count=30))
        lab.run(*span(lab.events[1], lab.timezone))
    day = START
    models = lab.compiled("config.materialized:incremental", Window(day, day, day, EVERY_LOAD))
    assert len(set(LOOKING_UP) & set(models)) > 14
    read_whole = []
    with lab.opened() as warehouse, pytest.raises(Undone), warehouse.transaction():
        warehouse.execute("set local enable_seqscan = off")
        for (index,) in warehouse.execute(
            "select i.indexrelid::regclass::text from pg_index as i "
            "join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] "
            "join pg_class as c on c.oid = i.indrelid "
            "where c.relnamespace in ('intermediate'::regnamespace, 'build'::regnamespace) "
            "and a.atttypid = 'date'::regtype"
        ):
            warehouse.execute(f"drop index {index}")
        for name in LOOKING_UP:
            plan = "\n".join(line for (line,) in warehouse.execute(f"explain {models[name]}"))
            if re.search(rf"Seq Scan on {name} past\b", plan):
                read_whole.append(name)
        raise Undone
    assert read_whole == []


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_planner_is_told_of_a_table_of_which_a_tenth_is_new_and_of_no_other(lab: Lab) -> None:
    """A day that is added to many costs no sample of the table; a month that is added does."""
    lab.load(1, random_events(random.Random(3), days=60, count=600))
    first, last = span(lab.events[1], lab.timezone)
    month_before = last - timedelta(days=30)

    def told(start: date, end: date) -> int:
        lab.build(start, end, ["+int_order_events"])
        ((count,),) = (
            row.values()
            for row in lab.sql(
                "select analyze_count from pg_stat_user_tables where relname = 'int_order_events'"
            )
        )
        return int(count)

    of_first = told(first, month_before)
    of_month = told(month_before + timedelta(days=1), last)
    assert of_month > of_first
    # What the transaction that told it had written counts as new once more.
    (quiet,) = lab.sql(
        "select event_date as day from intermediate.int_order_events "
        "group by 1 order by count(*), 1 limit 1"
    )
    settled = told(quiet["day"], quiet["day"])
    assert told(quiet["day"], quiet["day"]) == settled


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


@IN_TURN
def test_advisors_in_interior_windows_after_late_events(lab: Lab, seed: int) -> None:
    """Late events of advisors: dates long after them are right at once, with what stands before."""
    rng = random.Random(90 + seed)
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
def test_loads_of_a_run_dates_that_lose_their_events_and_a_full_refresh(lab: Lab) -> None:
    """One history, run three times: what each run sees, what it leaves, what it makes anew."""
    events = random_events(random.Random(30), days=10, count=150)
    lab.load(1, events[::2])
    lab.load(2, events[1::2])
    # What is loaded while a run goes on waits for the next one.
    first, last = span(events[::2], lab.timezone)
    lab.run(first, last, loads_through=1)
    lab.check(last, loads=[1])

    # Rows are replaced by date, not by key: nothing is left of an emptied date.
    first, last = span(events, lab.timezone)
    gone = {first + timedelta(days=4), first + timedelta(days=5), last}
    for day in gone:
        lab.sql(f"delete from raw.events where event_date = date '{day}'")
    kept = {fact.event_id for fact in read(events, lab.timezone) if fact.day not in gone}
    for load_id, loaded in lab.events.items():
        lab.events[load_id] = [e for e in loaded if e["event_id"] in kept]
    lab.run(first, last)
    lab.check(last)

    # Tables made anew hold the same rows, and keep their indexes.
    lab.run(first, last, full_refresh=True)
    lab.check(last)
    indexed = lab.sql("select tablename from pg_indexes where schemaname = 'intermediate'")
    assert {row["tablename"] for row in indexed} == {
        path.stem
        for path in MODELS
        if path.parent.name == "intermediate" and "ephemeral" not in path.read_text()
    }


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


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_every_formula(request: pytest.FixtureRequest, target: str) -> None:
    """The unit tests of the dbt project pass on both engines."""
    lab: Lab = request.getfixturevalue(f"{target}_lab")
    # They ask relations for their types alone: those of the test before will do.
    if not lab.is_built:
        lab.load(1, random_events(random.Random(60), days=3, count=10))
        lab.run(START, START + timedelta(days=3))
    statuses = lab.dbt("test", "--select", "test_type:unit")
    assert statuses and set(statuses.values()) == {"pass"}, statuses


#: What a kind of test begins with, the mart it is to fail on, and what is done to it.
FAULTS = (
    ("unique_grain", "metrics_hourly_activity", "insert into {0} select * from {0}"),
    # Of one column.
    ("unique_grain", "metrics_daily_content", "insert into {0} select * from {0}"),
    ("between", "metrics_daily_engagement", "update {0} set stickiness = 1.5"),
    ("holds", "metrics_daily_engagement", "update {0} set new_users = new_users + 1"),
    ("same_daily_total", "metrics_daily_calls", "delete from {0}"),
    ("adds_up", "advisor_health_scores", "update {0} set base_score = base_score + 0.001"),
)


def test_the_generic_tests_find_planted_faults(duckdb_lab: Lab) -> None:
    """Each kind of test passes on what dbt built and fails on what it did not."""
    lab = duckdb_lab
    lab.reset()
    lab.load(1, random_events(random.Random(70), days=6, count=150))
    first, last = span(lab.events[1], lab.timezone)
    window = Window(first, last, first, 99)
    outside = Window(last + timedelta(days=9), last + timedelta(days=9), first, 99)
    names = sorted({name for _, name, _ in FAULTS})
    lab.build(first, last, [f"+{name}" for name in names], tested=True)
    select = ("test", "--select", *(f"{name},test_type:data" for name in names),
              "--indirect-selection", "buildable")  # fmt: skip
    for _, name, fault in FAULTS:
        lab.sql(fault.format(f"marts.{name}"))
    failed = {n for n, status in lab.dbt(*select, window=window).items() if status == "fail"}
    for kind, name, _ in FAULTS:
        assert any(n.startswith(f"{kind}_{name}") for n in failed), (kind, failed)
    assert set(lab.dbt(*select, window=outside).values()) == {"pass"}

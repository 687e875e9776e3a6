"""Customers on both engines: the state of the last date run, whatever is run, and the churn model.

Belongs here: random worlds of customers against the oracle, the order of runs, objections, and what
the model promises of its risks. Single formulas stand in the unit tests of the models; how well
risks foretell anything in test_backtest_customers.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from orchestration.dbt_project import DbtProject
from orchestration.relations import marts
from tests import histories
from tests.advisor_worlds import START
from tests.agent_worlds import event
from tests.facts import Row, read
from tests.lab import IN_TURN, Lab, assert_same, span
from tests.oracle_customers import (
    ChurnModel,
    History,
    cell,
    churn_risk,
    expected_customers,
    fit,
    prior_risk,
)

DAY = timedelta(days=1)
TABLE = "customer_insights"
NAMES = (
    *(("conversation_recorded",) * 6), *(("payment_succeeded",) * 5), *(("refund_issued",) * 2),
    *(("appointment_booked", "appointment_completed") * 2), "payment_attempted", "payment_failed",
    "appointment_cancelled", "appointment_no_show", "page_viewed", "usage_billed",
    "notification_opened",
)  # fmt: skip


def customer_events(rng: random.Random, *, days: int, users: int) -> list[Row]:
    """Customers who come often, now and then, or once; ties, opt-outs, and other currencies.

    Half of the dates lie on Sundays and a horizon before them, where fits begin and end.
    """
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    sundays = [n for n in range(days) if (START + n * DAY).isoweekday() == 7]
    edges = [n + shift for n in sundays for shift in (-31, -30, -29, 0, 1) if 0 <= n + shift < days]
    made = []
    for user in (f"u{n}" for n in range(users)):
        joined = rng.randrange(days)
        share = rng.choice((0.01, 0.05, 0.2))
        leaves = min(days, joined + rng.choice((days, days, 40)))
        mine = [n for n in range(joined, leaves) if rng.random() < share]
        if leaves == days:
            mine += rng.sample(edges, min(len(edges), rng.randrange(3)))
        for n in mine or [joined]:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                made.append(_event(rng, begin + n * DAY, user))
        if rng.random() < 0.1:
            made.append(event(rng, "notification_opted_out", begin + rng.randrange(days) * DAY,
                              user_id=user))  # fmt: skip
    # Opted out and never a customer.
    made.append(event(rng, "notification_opted_out", begin, user_id="nobody"))
    return made


def _event(rng: random.Random, midnight: datetime, user: str) -> Row:
    name = rng.choice(NAMES)
    at = midnight + timedelta(seconds=rng.choice((0, 1, 43_200, 66_600, 86_399)))
    is_conversation = name == "conversation_recorded"
    made = event(
        rng, name, at,
        user_id=None if rng.random() < 0.02 and not is_conversation else user,
        agent_id="a1", entity_id=f"x{rng.randrange(9)}", provider="stripe",
        channel=rng.choice(("web", "app", "voice")) if is_conversation
        else rng.choice((None, "web", "app")),
        amount_cents=rng.choice((0, 100, 100, 5000, 7777)),
        currency=rng.choice(("USD", "USD", "EUR")),
        start_time=at.isoformat() if is_conversation else None,
        journey_stage=rng.choice((None, "awareness", "decision")) if is_conversation else None,
    )  # fmt: skip
    return made | ({"context": {"dnt": True}} if rng.random() < 0.02 else {})


def check(lab: Lab, through: date) -> None:
    """Compare the state with the oracle's at the end of a date."""
    events = [e for rows in lab.events.values() for e in rows]
    facts = [f for f in read(events, lab.timezone) if f.day <= through]
    assert_same(TABLE, lab.rows(TABLE), expected_customers(facts, through)[TABLE], ("user_id",))


def _history(lab: Lab, events: Sequence[Row]) -> tuple[histories.History, date, date]:
    first, last = span(events, lab.timezone)
    return histories.History(lab, last + DAY, (f"+{TABLE}",)), first, last


#: Days and users of worlds: more customers, and more weeks that are fitted.
WORLDS = ((120, 60), (260, 40))


@IN_TURN
def test_a_range_at_once(lab: Lab, seed: int) -> None:
    """Every column of every customer, fits of up to 26 weeks, quiet dates after the last event."""
    days, users = WORLDS[seed]
    lab.reset(("Asia/Kolkata", "America/New_York")[seed])
    events = customer_events(random.Random(1 + seed), days=days, users=users)
    history, first, last = _history(lab, events)
    history.load(1, events)
    history.run(first, last + DAY)
    check(lab, last + DAY)
    rows = lab.rows(TABLE)
    # The world holds what it is drawn for.
    assert {row["segment"] for row in rows} == {
        "new", "at_risk", "high_value", "regular", "occasional",
    }  # fmt: skip
    assert {row["churn_risk"] is None for row in rows} == {True, False}
    assert any(row["lifetime_value_cents"] < 0 for row in rows)
    assert {row["preferred_channel"] for row in rows} >= {"web", "app", "system"}
    assert "nobody" not in {row["user_id"] for row in rows}


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_pieces_late_events_and_interior_runs_give_one_range(lab: Lab) -> None:
    """In pieces, then late events run from the back: the end is that of one range."""
    rng = random.Random(7)
    events = customer_events(rng, days=70, users=30)
    history, first, _ = _history(lab, events)
    late = [e for e in events if rng.random() < 0.2]
    history.load(1, [e for e in events if e not in late])
    day = first
    while day <= history.last:
        end = min(history.last, day + rng.choice((0, 16, 22)) * DAY)
        history.run(day, end)
        day = end + DAY
    check(lab, history.last)
    history.load(2, late)
    middle = min(history.stale) + 40 * DAY
    # The newest dates first: the state is theirs; then those before, which leave it alone.
    history.run(middle, history.last)
    check(lab, history.last)
    before = lab.rows(TABLE)
    history.run(min(history.stale), max(history.stale))
    assert not history.stale
    check(lab, history.last)
    assert_same(TABLE, lab.rows(TABLE), before, ("user_id",))
    # A date that is not stale is run again: nothing changes.
    history.run(first + 30 * DAY, first + 31 * DAY)
    assert_same(TABLE, lab.rows(TABLE), before, ("user_id",))


def test_fits_stay_and_a_past_score_can_be_made_again(duckdb_lab: Lab) -> None:
    """A run that knows no more than a past date shows what was shown then."""
    lab = duckdb_lab
    lab.reset()
    events = customer_events(random.Random(3), days=100, users=50)
    history, first, last = _history(lab, events)
    history.load(1, events)
    past = first + 75 * DAY
    history.run(first, past)
    then = lab.rows(TABLE)
    fits = lab.sql("select * from intermediate.int_churn_rates order by all")
    history.run(past + DAY, last)
    kept = lab.sql("select * from intermediate.int_churn_rates order by all")
    assert [row for row in kept if row["fitted_on"] <= past] == fits
    assert len({row["fitted_on"] for row in kept}) > len({row["fitted_on"] for row in fits}) > 3
    lab.build(past, past, ["customer_insights"], known_through=past, tested=True)
    assert_same(TABLE, lab.rows(TABLE), then, ("user_id",))


def test_nobody_who_objected_is_scored(duckdb_lab: Lab) -> None:
    """From the date of the opt-out on, neither churn nor upsell, nor the segment at_risk."""
    lab = duckdb_lab
    lab.reset()
    begin = datetime(START.year, START.month, START.day, 12, tzinfo=UTC)
    rng = random.Random(1)
    paid = {"provider": "stripe", "amount_cents": 100, "currency": "USD", "entity_id": "p"}
    events = [
        event(rng, "payment_succeeded", begin, user_id="ann", **paid),
        event(rng, "payment_succeeded", begin, user_id="bob", **paid),
        event(rng, "page_viewed", begin + 91 * DAY, user_id="bob"),
        event(rng, "notification_opted_out", begin + 90 * DAY, user_id="ann"),
    ]
    history, first, _ = _history(lab, events)
    history.load(1, events)

    def shown(end: int) -> dict[str, tuple[str, bool]]:
        history.run(first, first + end * DAY)
        return {r["user_id"]: (r["segment"], r["churn_risk"] is None) for r in lab.rows(TABLE)}

    assert shown(89) == {"ann": ("at_risk", False), "bob": ("at_risk", False)}
    assert shown(90) == {"ann": ("occasional", True), "bob": ("at_risk", False)}
    assert all(
        (row["upsell_potential"] is None) == (row["user_id"] == "ann") for row in lab.rows(TABLE)
    )


def test_it_is_published_whole(duckdb_lab: Lab) -> None:
    """Every row changes with every date: no date column says which to replace."""
    found = {mart.name: mart for mart in marts(DbtProject(duckdb_lab.settings).manifest)}
    insights = found[TABLE]
    assert (insights.date_column, insights.grain) == (None, ("user_id",))


# -- the model, as the oracle has it ---------------------------------------------------------------

MODEL = ChurnModel()


def test_the_prior_by_hand() -> None:
    """Somebody new: alive with 1 / (1 + 0.5 / 2.5), comes with 1 - 30 / 60."""
    assert prior_risk(History(1, 0, 0), MODEL) == pytest.approx(1 - 0.5 / 1.2)
    assert prior_risk(History(1, 30, 30), MODEL) == pytest.approx(1 - (1 / 3) / 1.4)
    assert prior_risk(History(3, 10, 60), MODEL) == pytest.approx(
        1 - (1 - (90 / 120) ** 3) / (1 + 0.5 / 4.5 * (90 / 80) ** 3)
    )


def test_the_longer_away_the_higher_the_risk_within_a_cell() -> None:
    """The prior rises with every day; so does the risk where the cell is the same."""
    for contacts, tenure in ((1, 300), (2, 300), (9, 400)):
        past = [History(contacts, r, tenure) for r in range(tenure - contacts + 2)]
        priors = [prior_risk(one, MODEL) for one in past]
        assert all(a < b for a, b in pairwise(priors))
        fitted = {cell(one, MODEL): (50, 20) for one in past}
        for one, later in pairwise(past):
            if cell(one, MODEL) == cell(later, MODEL):
                assert churn_risk(one, fitted, MODEL) < churn_risk(later, fitted, MODEL)


def test_the_fit_by_hand() -> None:
    """Two weeks of outcomes, one customer who comes back and one who stays away."""
    sunday = date(2026, 2, 8)
    days = {"a": [date(2026, 1, 2), date(2026, 2, 1)], "b": [date(2026, 1, 9)]}
    counts = fit(days, {}, sunday, ChurnModel(weeks=2))
    # On 2 January a is new (0.583); on the 9th so is b, and a a week old (0.641).
    assert counts == {(5, 1): (2, 1), (6, 1): (1, 0)}
    assert fit(days, {"b": sunday}, sunday, ChurnModel(weeks=2)) == {(5, 1): (1, 0), (6, 1): (1, 0)}
    risk = churn_risk(History(1, 0, 0), counts, MODEL)
    prior = 1 - 0.5 / 1.2
    band = (1 + 20 * prior) / 22
    assert risk == pytest.approx((1 + 20 * band) / 22)


def test_ids_of_events_are_distinct() -> None:
    """The world's events can be loaded."""
    events = customer_events(random.Random(1), days=30, users=20)
    assert len({uuid.UUID(e["event_id"]) for e in events}) == len(events)

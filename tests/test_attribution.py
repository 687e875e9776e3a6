"""Which sessions conversions are due to, and what campaigns return: any way to the same rows.

Worlds of few persons with many identifiers, whose sessions and conversions meet at midnights, at one
instant and exactly thirty days apart. What the tables hold is compared with the oracle; that tests
of these tables find faults stands here too.
"""

from __future__ import annotations

import csv
import random
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.settings import load_settings
from orchestration.dbt_runner import Window
from tests.facts import Row, read
from tests.lab import Lab, assert_same, span
from tests.oracle_attribution import ATTRIBUTION_GRAINS, MODELS, credits, expected_attribution
from tests.postgres import new_database

START = date(2026, 3, 1)
DAYS = 40
SELECT = [f"+{relation}" for relation in ATTRIBUTION_GRAINS]
#: The shares of one conversion are added up by nobody else: "+" alone would leave out this test.
SELECT.append("credits_add_up_to_one")

#: A second before a midnight of each zone, and one on it: visits go on over it.
MIDNIGHTS = (86399, 86399, 0, 18 * 3600 + 1799, 4 * 3600 - 1, 5 * 3600 - 1)

CAMPAIGNS = (
    {"utm_source": "ads", "utm_medium": "cpc", "utm_campaign": "spring"},
    {"utm_source": "ads", "utm_medium": "cpc"},
    {"utm_source": "mail"},
    {"utm_campaign": "Spring"},
    {"referrer": "https://r.example/"},
    {"landing_page": "/start"},
    {}, {}, {},
)  # fmt: skip

#: Rows of campaign_spend: what has a session, what has none, what is not dollars, what is no date.
SPEND = (
    ("2026-03-03", "ads", "cpc", "spring", 500, "USD"),
    ("2026-03-03", "ads", "cpc", "spring", 70, ""),
    ("2026-03-03", "ads", "cpc", "spring", 9000, "EUR"),
    ("2026-03-20", "ads", "cpc", "", 40, "USD"),
    ("2026-03-21", "radio", "", "", 300, "USD"),
    ("2026-03-22", "mail", "", "", 0, "USD"),
    ("2026-02-01", "ads", "cpc", "spring", 800, "USD"),
    ("2027-02-01", "ads", "cpc", "spring", 800, "USD"),
)
SPEND_COLUMNS = (
    "spend_date", "utm_source", "utm_medium", "utm_campaign", "amount_cents", "currency",
)  # fmt: skip


def spend() -> list[Row]:
    """The costs as the oracle reads them."""
    rows = [dict(zip(SPEND_COLUMNS, row, strict=True)) for row in SPEND]
    return [
        {name: value or None for name, value in row.items()}
        | {
            "spend_date": date.fromisoformat(str(row["spend_date"])),
            "amount_cents": row["amount_cents"],
        }
        for row in rows
    ]


# -- a world ---------------------------------------------------------------------------------------


def random_world(rng: random.Random, count: int) -> list[Row]:
    """Visits, conversions, refunds and links of few identifiers, in any order."""
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    # Few instants: ties, and visits that began exactly thirty days before, or a bit beside that.
    early = [
        begin + timedelta(days=rng.randrange(9), seconds=rng.choice((0, 5, 43200, 86399)))
        for _ in range(6)
    ]
    instants = [
        *early,
        *(at + timedelta(days=30, milliseconds=rng.choice((0, 0, -1, 1))) for at in early),
        *(begin + timedelta(days=rng.randrange(DAYS), seconds=rng.choice(MIDNIGHTS))
          for _ in range(count // 5)),
    ]  # fmt: skip

    def user() -> str:
        return rng.choice(("u0", "u1", "u2", "u3", "u4", "u5", "ü", "U0"))

    def device() -> str:
        return rng.choice(("d0", "d1", "d2", "d3", "d4", "d5", "u0", "d é|"))

    def keys() -> Row:
        return rng.choice(
            (
                {"user_id": user()}, {"user_id": user()}, {"anonymous_id": device()},
                {"anonymous_id": device()}, {"user_id": user(), "anonymous_id": device()}, {},
            )
        )  # fmt: skip

    events = []

    def add(name: str, at: datetime, **fields: Any) -> None:
        channel = rng.choice(("web", "web", "app", "whatsapp"))
        events.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
                "event_name": name,
                "occurred_at": at.isoformat(),
                "channel": channel,
                **fields,
            }
        )

    def money(amounts: tuple[int | None, ...] = (0, 100, 100, 999, 999)) -> Row:
        found = {"amount_cents": rng.choice(amounts), "currency": rng.choice(("USD", "USD", "EUR"))}
        return {"entity_id": f"p{rng.randrange(6)}", "provider": "stripe"} | found

    def order(name: str = "order_id") -> Row:
        return {name: rng.choice(("o1", "o2", "o3", None))}

    for _ in range(count):
        at = rng.choice(instants)
        match rng.randrange(13):
            case 0 | 1:
                add("payment_succeeded", at, **keys(), **money(), properties=order())
            case 2:
                add("order_created", at, entity_id=rng.choice(("o1", "o2", "o3")),
                    service_code="tarot", user_id=user(), amount_cents=rng.choice((None, 70)),
                    context=rng.choice(CAMPAIGNS))  # fmt: skip
            case 3:
                add("license_created", at, **keys(),
                    properties={"revenue_cents": rng.choice((None, 0, 55))})  # fmt: skip
            case 4 | 12:
                add("refund_issued", at + timedelta(hours=rng.randrange(60)), **keys(),
                    **money((30, 200, 5000)), properties=order())  # fmt: skip
            case 5:
                if rng.random() < 0.5:
                    continue
                add("user_identified", at, user_id=user(),
                    **({"anonymous_id": device()} if rng.random() < 0.5 else {}),
                    properties={"phone_hash": rng.choice(("t1", "t2", "t3", "t4"))})  # fmt: skip
            case _:
                visitor = keys()
                for place in range(rng.choice((1, 1, 2, 3))):
                    step = timedelta(minutes=25 * place)
                    add("page_viewed", at + step, **visitor, context=rng.choice(CAMPAIGNS))
    # What chance seldom meets: over a midnight of each zone, a conversion before the visit says
    # where it came from.
    for number, hours in enumerate((24, 4, 5, 18.5)):
        night = begin + timedelta(days=4 + number, hours=hours)
        for minutes, context in ((-10, {}), (10, CAMPAIGNS[0])):
            at = night + timedelta(minutes=minutes)
            add("page_viewed", at, user_id=f"night{number}", context=context)
            events[-1]["channel"] = "web"
        add("payment_succeeded", night - timedelta(minutes=5), user_id=f"night{number}", **money())
    last = begin + timedelta(days=DAYS)
    rng.shuffle(events)
    return [e for e in events if datetime.fromisoformat(e["occurred_at"]) < last]


# -- warehouses with costs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what was spent on campaigns."""
    folder = tmp_path_factory.mktemp("seeds")
    with (folder / "campaign_spend.csv").open("w", newline="") as file:
        csv.writer(file).writerows([SPEND_COLUMNS, *SPEND])
    return folder


@pytest.fixture(scope="module")
def labs(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, seeds: Path
) -> Iterator[dict[str, Lab]]:
    """A warehouse of each target."""
    with new_database(postgres_server) as url:

        def new(target: str, **more: str) -> Lab:
            home = tmp_path_factory.mktemp(f"attribution-{target}")
            common = {"TIDEMARK_HOME": str(home), "TIDEMARK_SEEDS": str(seeds)}
            return Lab(load_settings(common | {"TIDEMARK_TARGET": target} | more))

        yield {"duckdb": new("duckdb"), "postgres": new("postgres", TIDEMARK_POSTGRES_URL=url)}


@pytest.fixture(params=["duckdb", "postgres"])
def lab(request: pytest.FixtureRequest, labs: dict[str, Lab]) -> Lab:
    """A warehouse of either target, empty."""
    labs[request.param].reset()
    return labs[request.param]


def assert_as_expected(lab: Lab, events: list[Row], through: date, since: date = date.min) -> None:
    """Row for row and cell for cell what the oracle says, from a date on."""
    facts = [fact for fact in read(events, lab.timezone) if fact.day <= through]
    first = facts[0].day
    dates = [first + timedelta(days=n) for n in range((through - first).days + 1)]
    expected = expected_attribution(facts, dates, spend=spend())
    for relation, grain in ATTRIBUTION_GRAINS.items():
        assert expected[relation]
        assert_same(
            relation,
            [row for row in lab.rows(relation) if since <= row["metric_date"] <= through],
            [row for row in expected[relation] if since <= row["metric_date"]],
            grain,
        )


# -- any way to the same rows ----------------------------------------------------------------------


def test_a_range_at_once(lab: Lab) -> None:
    """Everything in one run; and the world has what it is meant to have."""
    lab.reset("America/New_York")
    events = random_world(random.Random(4), 320)
    lab.load(1, events)
    first, last = span(events, lab.timezone)
    # Costs of dates before the first event, and after the last one, are none of ours.
    lab.build(first, last, SELECT)
    assert_as_expected(lab, events, last)
    rows = lab.rows("conversion_attribution")
    assert {row["model"] for row in rows} == set(MODELS)
    assert {row["person_id"] is None for row in rows} == {True, False}
    ages = [
        row["converted_at"] - row["session_start_at"] for row in rows if row["session_start_at"]
    ]
    assert max(ages) == timedelta(days=30) and min(ages) == timedelta(0)
    counts = {row["touch_count"] for row in rows}
    assert counts >= {1, 2, 3} and max(counts) > 5
    returns = lab.rows("metrics_daily_campaign_returns")
    assert any(row["refunded_cents"] and row["return_on_spend"] is None for row in returns)
    assert any(row["return_on_spend"] is not None for row in returns)


@pytest.mark.parametrize("lab", ["duckdb"], indirect=True)
def test_pieces_and_late_events_in_any_order(lab: Lab) -> None:
    """Random pieces of a history of which half came late, links and sessions included."""
    rng = random.Random(3)
    lab.reset("Asia/Kolkata")
    events = random_world(rng, 220)
    parts = [events[0::2], events[1::2]]
    _, last = span(events, lab.timezone)
    loaded: list[Row] = []
    for number, part in enumerate(parts, start=1):
        lab.load(number, part)
        loaded += part
        day, _ = span(part, lab.timezone)
        if number == 2:
            # Dates between stale ones, prepared from the oldest of them on.
            interior = day + timedelta(days=30)
            end = interior + timedelta(days=2)
            lab.build(interior, end, SELECT, prepare_start=day)
            assert_as_expected(lab, loaded, end, since=interior)
        while day <= last:
            end = min(last, day + timedelta(days=rng.choice((17, 29))))
            lab.build(day, end, SELECT)
            day = end + timedelta(days=1)
        assert_as_expected(lab, loaded, last)


def test_credits_outlive_the_raw_events(lab: Lab) -> None:
    """What retention takes from raw.events is still known of sessions, persons and payments."""
    events = random_world(random.Random(4), 220)
    lab.load(1, events)
    first, last = span(events, lab.timezone)
    split = last - timedelta(days=4)
    lab.build(first, split, SELECT)
    lab.sql(f"delete from raw.events where event_date <= date '{split}'")
    lab.build(split + timedelta(days=1), last, SELECT)
    assert_as_expected(lab, events, last)


def test_credits_add_up_to_one(labs: dict[str, Lab]) -> None:
    """Each conversion is given away exactly once by each model, also by settings of one's own."""
    lab = labs["duckdb"]
    lab.reset()
    events = random_world(random.Random(5), 260)
    lab.load(1, events)
    first, last = span(events, lab.timezone)
    lab.build(first, last, SELECT)
    conversions = lab.sql(
        "select conversion_event_id from intermediate.int_attribution_conversions"
    )
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for row in lab.rows("conversion_attribution"):
        assert row["credit"] > 0
        totals[row["conversion_event_id"], row["model"]] += row["credit"]
    assert totals.keys() == {(c["conversion_event_id"], m) for c in conversions for m in MODELS}
    assert all(abs(total - 1) <= 1e-9 for total in totals.values())


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 30 * 86_400_000)), min_size=1, max_size=40
    )
)  # fmt: skip
@settings(derandomize=True, max_examples=200, deadline=None)
def test_the_oracle_gives_each_conversion_away_once(touches: list[tuple[bool, int]]) -> None:
    """Of any touches: no credit below 0, none lost; the younger session never decays more."""
    direct = [is_direct for is_direct, _ in touches]
    ages = [timedelta(milliseconds=age) for _, age in touches]
    found = credits(direct, ages)
    assert tuple(found) == MODELS
    for shares in found.values():
        assert len(shares) == len(touches) and min(shares) >= 0
        assert abs(sum(shares) - 1) <= 1e-9
    by_age = sorted(zip(ages, found["time_decay"], strict=True))
    assert [share for _, share in by_age] == sorted(found["time_decay"], reverse=True)
    if not all(direct):
        assert not direct[found["last_non_direct"].index(1)]


# -- faults ----------------------------------------------------------------------------------------

#: Rounds of faults, one for a table at a time -> the tests that must find them.
FAULTS = (
    {
        "insert into marts.conversion_touches from marts.conversion_touches": (
            "unique_grain_conversion_touches"
        ),
        "insert into marts.metrics_daily_campaigns from marts.metrics_daily_campaigns": (
            "unique_grain_metrics_daily_campaigns"
        ),
        "insert into marts.metrics_daily_campaign_returns"
        " from marts.metrics_daily_campaign_returns": "unique_grain_metrics_daily_campaign_returns",
        "insert into intermediate.int_attribution_touches"
        " from intermediate.int_attribution_touches": "unique_grain_int_attribution_touches",
        "insert into intermediate.int_attribution_members"
        " from intermediate.int_attribution_members": "unique_grain_int_attribution_members",
        "insert into intermediate.int_refunds from intermediate.int_refunds": (
            "unique_grain_int_refunds"
        ),
        "insert into intermediate.int_attribution_conversions"
        " from intermediate.int_attribution_conversions": (
            "unique_grain_int_attribution_conversions"
        ),
    },
    {
        "update marts.conversion_touches set linear_credit = linear_credit + 1e-6": (
            "credits_add_up_to_one"
        ),
        "update marts.metrics_daily_campaigns set sessions = sessions + 1": (
            "same_daily_total_metrics_daily_campaigns"
        ),
        "update marts.metrics_daily_campaign_returns set refunded_cents = refunded_cents + 1,"
        " net_revenue_cents = net_revenue_cents - 1": (
            "same_daily_total_metrics_daily_campaign_returns"
        ),
        "update intermediate.int_attribution_touches set touch_position = 0": (
            "holds_int_attribution_touches"
        ),
        "update intermediate.int_refunds set refunded_cents = -1": "holds_int_refunds",
        "update intermediate.int_attribution_conversions set value_cents = -1": (
            "holds_int_attribution_conversions"
        ),
    },
    {
        "update marts.conversion_touches set time_decay_credit = 0": "credits_add_up_to_one",
        "update marts.metrics_daily_campaigns set conversions = 0 where model = 'first_touch'": (
            "same_daily_total_metrics_daily_campaigns"
        ),
        "update marts.metrics_daily_campaign_returns set net_revenue_cents = 0": (
            "holds_metrics_daily_campaign_returns"
        ),
        "delete from intermediate.int_attribution_touches where touch_position = touch_count": (
            "same_daily_total_int_attribution_touches"
        ),
    },
    {
        "update marts.conversion_touches set touch_position = 0, first_touch_credit = 2": (
            "holds_conversion_touches"
        ),
        "update marts.conversion_touches set linear_credit = -1": "between_conversion_touches",
        "update marts.metrics_daily_campaigns set revenue_cents = -1": (
            "holds_metrics_daily_campaigns"
        ),
    },
)  # fmt: skip


def test_the_data_tests_find_planted_faults(labs: dict[str, Lab]) -> None:
    """Each test of these tables fails when what it says is not so."""
    lab = labs["duckdb"]
    lab.reset()
    events = random_world(random.Random(6), 160)
    lab.load(1, events)
    first, last = span(events, lab.timezone)
    names = (
        *ATTRIBUTION_GRAINS, "int_attribution_conversions", "int_attribution_members",
        "int_attribution_touches", "int_refunds", "conversion_touches",
    )  # fmt: skip
    lab.build(first, last, SELECT, tested=True)
    lab.assert_faults_are_found(FAULTS, names, Window(first, last, first, 99))

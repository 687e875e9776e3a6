"""Which dates of a mart are not as readers have them, told by a hash of rows."""

from __future__ import annotations

from datetime import date

import pytest

from orchestration.publication.changes import UNDATED, Change
from tests.two_tables import Bench, bench, march, rows

__all__ = ["bench"]


def dates(bench: Bench, **of_mart: object) -> list[int] | None:
    """Return the days of March that differ, None when rows without a date do."""
    found = bench.changes(**of_mart)["figures"].dates
    return None if found is None else [day.day for day in found]


def test_dates_with_another_figure_another_row_or_one_row_less(bench: Bench) -> None:
    bench.tables(
        rows("(3, 'a', 1), (4, 'a', 1), (5, 'a', 1), (6, 'a', 1), (6, 'b', 1), (8, 'a', null)"),
        rows("(3, 'a', 1), (4, 'a', 2), (5, 'a', 1), (5, 'b', 1), (6, 'b', 1), (8, 'a', 0)"),
    )
    assert bench.changes() == {
        "figures": Change((march(4), march(5), march(6), march(8)), row_count=5)
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The same values, each of the other row; of another column; of another date.
        ("(3, 'a', 'x'), (3, 'b', 'y')", "(3, 'a', 'y'), (3, 'b', 'x')"),
        ("(3, 'a', 'x')", "(3, 'x', 'a')"),
        ("(3, 'a', 'x'), (4, 'b', 'y')", "(3, 'b', 'y'), (4, 'a', 'x')"),
        # What a sum that leaves out how many there are, or a parity, would not tell.
        ("(3, 'a', 'x')", "(3, 'a', 'x'), (3, 'a', 'x'), (3, 'a', 'x')"),
        ("(3, 'a', 'x'), (3, 'a', 'x')", "(3, 'b', 'x'), (3, 'b', 'x')"),
        ("(3, 'a', null), (4, 'a', 'x')", "(3, 'a', ''), (4, 'a', 'x')"),
        ("(3, null, 'a'), (4, 'a', 'x')", "(3, 'a', null), (4, 'a', 'x')"),
    ],
)
def test_values_that_changed_places_are_a_change(bench: Bench, before: str, after: str) -> None:
    bench.tables(rows(before), rows(after))
    assert 3 in (dates(bench) or [])


def test_order_of_rows_and_a_zero_with_a_sign_are_none(bench: Bench) -> None:
    zero = "cast({} as double precision)"
    bench.tables(
        rows(f"(3, 'a', {zero.format('0.0')}), (3, 'b', {zero.format('1.5')}), (3, 'b', null)"),
        rows(f"(3, 'b', null), (3, 'b', {zero.format('1.5')}), (3, 'a', {zero.format('-0.0')})"),
    )
    assert dates(bench) == []


def test_only_dates_that_were_run_are_looked_at_unless_a_run_rewrites_all(bench: Bench) -> None:
    bench.day(3)
    bench.day(4, run="old")
    bench.tables(rows("(3, 'a', 1), (4, 'a', 1)"), rows("(3, 'a', 2), (4, 'a', 2)"))
    assert dates(bench) == [3]
    assert dates(bench, whole=True) == [3, 4]
    assert dates(bench, date_column=None, grain=("k",)) is None


def test_without_a_run_nothing_of_dates_is_looked_at(bench: Bench) -> None:
    bench.day(3, run="old")
    bench.tables(rows("(3, 'a', 1)"), rows("(3, 'a', 2)"))
    assert dates(bench) == []


def test_rows_without_a_date_are_a_change_of_all(bench: Bench) -> None:
    bench.tables(
        "select cast(null as date) as metric_date, 'a' as k, 1 as n",
        "select cast(null as date) as metric_date, 'a' as k, 2 as n",
    )
    assert bench.changes() == {"figures": Change(None, row_count=1)}
    assert date.min == UNDATED


def test_tables_of_other_columns_and_views_are_not_compared(bench: Bench) -> None:
    bench.tables(rows("(3, 'a', 1)"), rows("(3, 'a', cast(1 as bigint))"))
    assert bench.changes() == {}
    assert bench.changes(kind="view") == {}

"""What tests spare dbt changes nothing of what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import agate
import parsedatetime
import pytest
import sqlparse
from dbt.compilation import InjectedCTE, inject_ctes_into_sql
from dbt.context.macros import MacroNamespace

from tests.cheap_dbt import cheap_dbt, flat

#: Before any fixture puts something in their place.
really_parse, really_constants = sqlparse.parse, parsedatetime.Constants


def test_a_macro_is_that_of_the_package_that_is_searched_first() -> None:
    macros: Any = [
        {"a": "root", "b": "root", "c": "root"},
        {"a": "local"},
        {"a": "dbt", "b": "dbt", "d": "dbt", "other": "dbt"},
        {"other": {"e": "other"}},
    ]
    namespace = MacroNamespace(*macros)
    found = flat(namespace)
    assert found == dict(namespace)
    assert [found[name] for name in "abcd"] == ["local", "root", "root", "dbt"]
    assert found["other"] == {"e": "other"} and found["dbt"] == macros[2]


@pytest.mark.parametrize(
    "sql",
    [
        "-- Grain: one row\nwith a as (\n  select * from b where (c = 'with' or d) -- with\n)\n"
        "select case when a.x then (with e as (select 1) select * from e) end from a",
        "/* with */ with recursive a as (select 1 union all select a.n + 1 from a) select * from a",
        "select * from a where b in (with c as (select 1) select * from c)",
    ],
)
def test_an_ephemeral_model_gets_to_the_same_place(sql: str, tmp_path: Path) -> None:
    ctes = [InjectedCTE(id=name, sql=f"{name} as (select 1)") for name in ("x", "y")]
    with cheap_dbt(tmp_path):
        cheap = inject_ctes_into_sql(sql, ctes)
    with patch.object(sqlparse, "parse", really_parse):
        assert sqlparse.parse is really_parse
        assert cheap == inject_ctes_into_sql(sql, ctes)
    assert cheap.count("x as (select 1)") == 1


def test_dates_are_read_alike_by_calendars_of_one_making(tmp_path: Path) -> None:
    texts = ["2026-03-01", "2026-03-01 10:00:00", "tomorrow", "x"]

    def read() -> list[Any]:
        return [kind.test(text) for kind in (agate.Date(), agate.DateTime()) for text in texts]

    with patch.object(parsedatetime, "Constants", really_constants):
        really = read()
    with cheap_dbt(tmp_path):
        assert read() == read() == really
    assert any(really) and not all(really)

"""Which published cells a publication changes, from what to what, and because of which load."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import duckdb
import psycopg
import pytest
import yaml

from ingest.settings import Settings
from ingest.warehouse import open_warehouse
from orchestration import runs
from orchestration.dbt_project import PROJECT_DIR
from orchestration.publication import duckdb_file, postgres_tables
from orchestration.publication.restatements_shown import Restated, lines, report, words
from orchestration.summary import run_lines
from tests.command_line import assert_one_line_error, tidemark
from tests.events import query
from tests.test_orchestration import load, project, short_suite, tiny
from tests.test_publication import publish, readers_view
from tests.tiny_project import run_below_job
from tests.two_tables import Bench, Cell, bench, march, rows

__all__ = ["bench", "project", "short_suite", "tiny"]

GRAINS = {
    "metrics_hourly_activity": ("metric_date", "hour", "channel"),
    "daily_users": ("metric_date",),
    "first_seen": ("user_id",),
}


# -- two tables beside each other ---------------------------------------------------------------


def test_a_view_is_told_by_the_tables_that_it_reads(bench: Bench) -> None:
    bench.day(3)
    bench.tables(rows("(3, 'a', 1)"), rows("(3, 'a', 2)"))
    assert bench.find(kind="incremental") and not bench.find(kind="view")
    assert bench.find(date_column=None) and not bench.find(date_column=None, kind="view")


def test_cells_that_differ_and_rows_that_come_and_go(bench: Bench) -> None:
    bench.day(3)
    bench.tables(
        rows("(3, 'same', 1, 'x'), (3, 'more', 2, 'x'), (3, 'gone', 3, 'x'), (3, 'to null', 4, 'x')",
             "metric_date, k, n, word"),
        rows("(3, 'same', 1, 'x'), (3, 'more', 5, 'y'), (3, 'here', 6, 'x'), (3, 'to null', 4, null)",
             "metric_date, k, n, word"),
    )  # fmt: skip
    key = "metric_date=2026-03-03, k="
    assert bench.find() == [
        (3, f"{key}gone", "*", "row", None, "definition"),
        (3, f"{key}here", "*", None, "row", "definition"),
        (3, f"{key}more", "n", "2", "5", "definition"),
        (3, f"{key}more", "word", "x", "y", "definition"),
        (3, f"{key}to null", "word", "x", None, "definition"),
    ]


def test_keys_may_be_null_and_hold_anything(bench: Bench) -> None:
    bench.day(3)
    bench.tables(
        rows("(3, null, 1), (3, '', 2), (3, 'it''s 100 % {?}', 3)"),
        rows("(3, null, 1), (3, '', 3), (3, 'it''s 100 % {?}', 4)"),
    )
    assert [row[1:5] for row in bench.find()] == [
        ("metric_date=2026-03-03, k=", "n", "2", "3"),
        ("metric_date=2026-03-03, k=it's 100 % {?}", "n", "3", "4"),
    ]


def test_null_key_that_is_restated_is_one_cell(bench: Bench) -> None:
    bench.day(3)
    bench.tables(
        rows("(3, cast(null as varchar), 1)"), rows("(3, cast(null as varchar), 2)")
    )  # fmt: skip
    assert [row[1:5] for row in bench.find()] == [("metric_date=2026-03-03, k=null", "n", "1", "2")]


def test_doubles_are_equal_to_the_ninth_decimal(bench: Bench) -> None:
    bench.day(3)
    pairs = {
        "a": ("0.5", "0.5 + 5e-10"), "b": ("0.5", "0.5 + 2e-9"), "c": ("null", "1"),
        "d": ("1e0", "2"), "e": ("'nan'", "'nan'"), "f": ("'infinity'", "'infinity'"),
        "g": ("'infinity'", "1"), "h": ("1e-7", "1e20"), "i": ("null", "null"), "j": ("0", "-0.0"),
    }  # fmt: skip
    before, after = (
        rows(
            ", ".join(f"(3, '{k}', cast({v[n]} as double precision))" for k, v in pairs.items()),
            "metric_date, k, share",
        )
        for n in (0, 1)
    )
    bench.tables(before, after)
    found = {row[1][-1]: (row[3], row[4]) for row in bench.find()}
    assert found.pop("g")[1] == "1"
    assert found == {
        "b": ("0.5", "0.500000002"),
        "c": (None, "1"),
        "d": ("1", "2"),
        "h": ("1e-07", "1e+20"),
    }


def test_texts_are_the_same_on_both_engines(bench: Bench) -> None:
    bench.day(3)
    columns = "metric_date, k, flag, moment, day, number, share, name"
    bench.tables(
        rows("(3, 'a', true, timestamp '2026-03-03 10:00:00', date '2026-03-03', "
             "9007199254740993, cast(1 as double precision) / 3, 'x.0')", columns),
        rows("(3, 'a', false, timestamp '2026-03-03 10:00:00.5', date '2026-03-04', "
             "1, cast(-7 as double precision), 'y.0')", columns),
    )  # fmt: skip
    assert {row[2]: (row[3], row[4]) for row in bench.find()} == {
        "flag": ("true", "false"),
        "moment": ("2026-03-03 10:00:00", "2026-03-03 10:00:00.5"),
        "day": ("2026-03-03", "2026-03-04"),
        "number": ("9007199254740993", "1"),
        "share": ("0.3333333333333333", "-7"),
        "name": ("x.0", "y.0"),
    }


def test_new_and_dropped_columns_restate_nothing(bench: Bench) -> None:
    bench.day(3)
    bench.tables(
        rows("(3, 'a', 1, 5), (3, 'b', 2, 5)", "metric_date, k, n, dropped"),
        rows("(3, 'a', 1, 7), (3, 'b', 3, 7)", "metric_date, k, n, added"),
    )
    assert [row[2:5] for row in bench.find()] == [("n", "2", "3")]


def test_changed_type_is_compared_as_text(bench: Bench) -> None:
    bench.day(3)
    bench.tables(
        rows("(3, 'a', cast(1 as bigint)), (3, 'b', cast(2 as bigint))"),
        rows("(3, 'a', cast(1 as double precision)), (3, 'b', cast(2.5 as double precision))"),
    )
    assert [row[1:5] for row in bench.find()] == [("metric_date=2026-03-03, k=b", "n", "2", "2.5")]


def test_finer_grain_makes_other_rows(bench: Bench) -> None:
    bench.day(3)
    bench.tables(
        rows("(3, 'a', 3)"), rows("(3, 'a', 'x', 1), (3, 'a', 'y', 2)", "metric_date, k, part, n")
    )
    assert [row[1:5] for row in bench.find(grain=("metric_date", "k", "part"))] == [
        ("metric_date=2026-03-03, k=a, part=null", "*", "row", None),
        ("metric_date=2026-03-03, k=a, part=x", "*", None, "row"),
        ("metric_date=2026-03-03, k=a, part=y", "*", None, "row"),
    ]


def test_mart_without_a_grain_has_whole_rows(bench: Bench) -> None:
    bench.day(3)
    bench.tables(rows("(3, 'a', 1), (3, 'b', null)"), rows("(3, 'a', 2), (3, 'b', null)"))
    assert [row[1:5] for row in bench.find(grain=())] == [
        ("metric_date=2026-03-03, k=a, n=1", "*", "row", None),
        ("metric_date=2026-03-03, k=a, n=2", "*", None, "row"),
    ]


def test_only_dates_that_were_published_and_run_again(bench: Bench) -> None:
    bench.day(3)
    bench.day(4, run="old")
    bench.day(5, seen=None)
    bench.day(6)
    bench.tables(
        rows("(3, 'a', 1), (4, 'a', 1), (5, 'a', 1), (6, 'a', 1), (8, 'a', 1)"),
        rows("(3, 'a', 2), (4, 'a', 2), (5, 'a', 2), (6, 'a', 1), (8, 'a', 2)"),
    )
    assert [row[0] for row in bench.find()] == [3]


def test_mart_that_readers_do_not_have_is_news(bench: Bench) -> None:
    bench.day(3)
    bench.warehouse.execute("create table build.figures as " + rows("(3, 'a', 1)"))
    assert bench.find() == []


def test_cause_is_the_loads_that_the_published_rows_had_not_seen(bench: Bench) -> None:
    for day in (2, 3, 4, 5, 6):
        bench.day(day, seen=3, now=15)
    bench.day(7, seen=12, now=15)
    bench.loaded(3, 1)  # seen before
    bench.loaded(4, 3)
    bench.loaded(5, 4, 6)  # its first date counts
    bench.loaded(6, 1, accepted=0)  # brought nothing
    for number in range(7, 13):
        bench.loaded(number, 5)
    bench.loaded(15, 7)
    bench.loaded(16, 1)  # not seen yet
    every = [f"({day}, 'a', {{n}})" for day in range(2, 8)]
    bench.tables(rows(", ".join(every).format(n=1)), rows(", ".join(every).format(n=2)))
    assert {row[0]: row[-1] for row in bench.find()} == {
        2: "definition",
        3: "load 4",
        4: "loads 4, 5",
        5: "loads 4, 5, 7, 8, 9 and 3 more",
        6: "loads 4, 5, 7, 8, 9 and 3 more",
        7: "load 15",
    }


def test_history_that_is_rewritten_is_compared_up_to_the_last_published_date(bench: Bench) -> None:
    bench.day(3, run="old", seen=1, now=1)
    bench.day(4, seen=1, now=2)
    bench.day(5, seen=None, now=2)
    bench.loaded(1, 3, 4)
    bench.loaded(2, 5)
    bench.tables(
        rows("(3, 'a', 1), (4, 'a', 1), (5, 'a', 1)"), rows("(3, 'a', 2), (4, 'a', 1), (5, 'a', 2)")
    )
    # An event of the 5th, which is new, may have changed a row of the 3rd: a session, say.
    assert [(row[0], row[-1]) for row in bench.find(whole=True, through=(4, 5))] == [(3, "load 2")]
    assert bench.find(through=(4, 5)) == []


def test_state_without_dates_is_that_of_the_last_date(bench: Bench) -> None:
    bench.day(3, now=2)
    bench.loaded(2, 3)
    bench.tables("select 'a' as k, 1 as n", "select 'a' as k, 2 as n")
    options: dict[str, Any] = {"grain": ("k",), "date_column": None}
    assert bench.find(through=(3, 3), **options) == [(None, "k=a", "n", "1", "2", "load 2")]
    assert bench.find(through=(3, 4), **options) == []


def test_ledger_that_forgot_its_dates_compares_all_of_them(bench: Bench) -> None:
    bench.day(3, seen=None, now=2)
    bench.loaded(2, 3)
    bench.tables(
        rows("(2, 'a', 1), (3, 'a', 1), (4, 'a', 1)"), rows("(3, 'a', 1), (4, 'a', 2)")
    )  # fmt: skip
    assert bench.find(through=(3, 4)) == [
        (2, "metric_date=2026-03-02, k=a", "*", "row", None, "definition")
    ]


def test_warehouse_of_an_older_version_learns_what_was_seen(settings: Settings) -> None:
    warehouse = open_warehouse(settings)
    warehouse.execute("alter table ops.partitions drop column published_loads_through")
    warehouse.execute("delete from ops.migrations where name = '002_restatements'")
    warehouse.execute(
        "insert into ops.etl_job_runs (run_id, job, started_at, status, loads_through) "
        "values ('a', 'j', timestamp '2026-03-04 00:00:00', 'succeeded', 7)"
    )
    warehouse.execute(
        "insert into ops.partitions (partition_date, last_run_id, published_run_id) "
        "values (date '2026-03-03', 'b', 'a'), (date '2026-03-04', 'b', null)"
    )
    warehouse.close()
    found = query(
        settings, "select published_loads_through as n from ops.partitions order by partition_date"
    )
    assert [row["n"] for row in found] == [7, None]


def test_every_mart_names_its_grain() -> None:
    for path in sorted((PROJECT_DIR / "models" / "marts").glob("*.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
            columns = {column["name"] for column in model["columns"]}
            grain = model["config"]["meta"]["grain"]
            assert grain, model["name"]
            assert set(grain) <= columns, model["name"]


# -- whole runs ----------------------------------------------------------------------------------


def restated(settings: Settings, publication: int | None = None) -> set[Cell]:
    where = f"where publication_id = {publication}" if publication else ""
    return {
        tuple(row.values())
        for row in query(
            settings,
            'select relation, metric_date, key, "column", before, after, cause '
            f"from ops.restatements {where}",
        )
    }


def published(settings: Settings) -> dict[str, dict[str, dict[str, str | None]]]:
    """Return every published row by key, its cells as text."""
    tables: dict[str, dict[str, dict[str, str | None]]] = {}
    for name, grain in GRAINS.items():
        columns = [
            column
            for (column,) in readers_view(
                settings,
                "select column_name from information_schema.columns where table_schema = 'marts' "
                f"and table_name = '{name}' order by ordinal_position",
            )
        ]
        tables[name] = {}
        for values in readers_view(settings, f"select * from marts.{name}"):
            row = {
                c: None if v is None else str(v) for c, v in zip(columns, values, strict=True)
            }  # fmt: skip
            tables[name][", ".join(f"{c}={row.pop(c) or 'null'}" for c in grain)] = row
    return tables


def differences(before: Any, after: Any, causes: dict[int, str]) -> set[Cell]:
    """Compare two states of the readers' tables in plain Python, on the dates of ``causes``."""
    cells: set[Cell] = set()
    for name in ("metrics_hourly_activity", "daily_users"):
        for key in set(before[name]) | set(after[name]):
            day = date.fromisoformat(key[12:22])
            if day.day not in causes:
                continue
            old, new, cause = before[name].get(key), after[name].get(key), causes[day.day]
            if old is None or new is None:
                was, now = ("row" if row is not None else None for row in (old, new))
                cells.add((name, day, key, "*", was, now, cause))
                continue
            cells |= {
                (name, day, key, column, old[column], new[column], cause)
                for column in old
                if old[column] != new[column]
            }
    return cells


@pytest.mark.usefixtures("project")
def test_late_events_restate_the_dates_they_touch(settings: Settings) -> None:
    load(settings, 3, 4, 5, 6)
    first = runs.run(settings)
    assert restated(settings) == set()
    assert not any("restated" in line for line in run_lines(first))
    assert lines(report(settings, limit=9)) == ["nothing published was ever restated"]
    before = published(settings)

    # Two files: one changes a row of the 4th, the other brings one to the 5th, and there is news.
    load(settings, 4, amount_cents=333)
    load(settings, 5, 7, channel="web", entity_id="p2")
    summary = run_below_job(settings)
    assert summary.status == "succeeded", summary.error
    cells = restated(settings)
    assert cells == differences(before, published(settings), {4: "load 2", 5: "loads 2, 3"})
    assert {row[3] for row in cells} == {"*", "events", "odd"}
    assert {row[1].day for row in cells} == {4, 5}
    assert {tuple(row) for row in readers_view(settings, "select relation, metric_date, key, "
            '"column", before, after, cause from ops.restatements')} == cells  # fmt: skip
    line = "publication 2 restated 2 cells and 1 row (1 new) of 1 relation on 2 dates because of loads 2, 3"
    assert f"{line}; 'tidemark restatements'" in run_lines(summary)
    # In a process of its own: this one may still hold the warehouse open for writing.
    assert line in tidemark(settings, "status").stdout

    # The same again restates nothing: not by publishing, not by computing everything anew.
    publish(settings)
    again = run_below_job(settings, full_refresh=True)
    assert again.restated is None
    assert restated(settings) == cells
    state = json.loads(tidemark(settings, "status", "--json").stdout)
    assert (state["published"]["publication_id"], state["published"]["restated"]) == (4, None)


def spoil(settings: Settings) -> None:
    """Change what readers have, as if it had been computed by another definition."""
    statement = "update marts.metrics_hourly_activity set events = events + 41 where hour = 10"
    if settings.target == "duckdb":
        path = settings.published_path.resolve()
        path.chmod(0o644)
        with duckdb.connect(str(path)) as connection:
            connection.execute(statement)
        return
    assert settings.postgres_url is not None
    with psycopg.connect(settings.postgres_url) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@pytest.mark.usefixtures("project")
def test_changed_definitions_are_a_cause_and_a_cut_off_publication_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(settings, 3, 4)
    run_below_job(settings)
    spoil(settings)

    def cut(*_: Any, **__: Any) -> None:
        raise RuntimeError("cut off")

    with monkeypatch.context() as patch:
        # At the last moment: on DuckDB the link shows the new file already.
        patch.setattr(
            duckdb_file if settings.target == "duckdb" else postgres_tables, "record", cut
        )
        assert runs.run(settings, full_refresh=True).status == "failed"
    assert restated(settings) == set()
    assert query(settings, "select count(*) as n from ops.publications") == [{"n": 1}]

    assert run_below_job(settings).status in ("published", "succeeded")
    key = "metric_date=2026-03-0{}, hour=10, channel=system"
    assert restated(settings) == {
        ("metrics_hourly_activity", march(day), key.format(day), "events", "42", "1", "definition")
        for day in (3, 4)
    }


@pytest.mark.usefixtures("project")
def test_without_the_file_of_before_nothing_is_compared(duckdb_settings: Settings) -> None:
    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)
    file = duckdb_settings.published_path.resolve()
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    load(duckdb_settings, 3)
    assert run_below_job(duckdb_settings).status == "succeeded"
    duckdb_settings.published_path.resolve().unlink()
    load(duckdb_settings, 3)
    assert run_below_job(duckdb_settings).status == "succeeded"
    assert restated(duckdb_settings) == set()
    load(duckdb_settings, 3)
    run_below_job(duckdb_settings)
    assert {row[4:] for row in restated(duckdb_settings)} == {("3", "4", "load 4")}


# -- the command ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_command_shows_the_newest_first(duckdb_settings: Settings) -> None:
    settings = duckdb_settings
    assert_one_line_error(tidemark(settings, "restatements"), "nothing was published yet")
    load(settings, 3, 4)
    run_below_job(settings)
    assert tidemark(settings, "restatements").stdout == "nothing published was ever restated\n"
    for _ in range(2):
        load(settings, 3, 4)
        run_below_job(settings)
    load(settings, 4)
    run_below_job(settings)

    text = tidemark(settings, "restatements").stdout.splitlines()
    said = "publication {} restated {} of 1 relation on {} because of load {}"
    assert text[0] == said.format(4, "1 cell", "1 date", 4)
    assert " ".join(text[1].split()) == "date relation key column before after cause"
    assert " ".join(text[2].split()) == (
        "2026-03-04 metrics_hourly_activity hour=10, channel=system events 3 4 load 4"
    )
    assert text[4] == said.format(3, "2 cells", "2 dates", 3)
    assert text[9] == said.format(2, "2 cells", "2 dates", 2)
    assert len(text) == 13

    text = tidemark(settings, "restatements", "--limit", "2").stdout.splitlines()
    assert [line[:13] for line in text if line.startswith("publication")] == [
        "publication 4", "publication 3",
    ]  # fmt: skip
    assert text[-1] == "3 more that are older are not shown; raise --limit"

    data = json.loads(tidemark(settings, "restatements", "--date", "2026-03-03", "--json").stdout)
    assert [(r["publication_id"], r["before"], r["after"]) for r in data["restatements"]] == [
        (3, "2", "3"), (2, "1", "2"),
    ]  # fmt: skip
    assert [(p["cells"], p["causes"]) for p in data["publications"]] == [
        (1, ["load 3"]), (1, ["load 2"]),
    ]  # fmt: skip

    told = tidemark(settings, "restatements", "--relation", "marts.daily_users").stdout
    assert told == "nothing published of daily_users was ever restated\n"
    told = tidemark(settings, "restatements", "--date", "2026-03-09").stdout
    assert told == "nothing published on 2026-03-09 was ever restated\n"
    assert_one_line_error(
        tidemark(settings, "restatements", "--relation", "x"), "no relation 'x'", "daily_users"
    )
    assert_one_line_error(tidemark(settings, "restatements", "--date", "x"), "--date", "no date")


@pytest.mark.parametrize(
    ("counts", "causes", "text"),
    [
        ((12, 0, 0, 3, 2), ["load 12"],
         "12 cells of 3 relations on 2 dates because of load 12"),
        ((0, 1, 2, 1, 1), ["loads 12, 14", "load 12"],
         "3 rows (1 new, 2 gone) of 1 relation on 1 date because of loads 12, 14"),
        ((1, 0, 0, 1, 0), ["definition"],
         "1 cell of 1 relation because of changed definitions"),
        ((1200, 0, 0, 1, 1), ["definition", "loads 1, 2, 3, 4, 5 and 9 more", "load 9"],
         "1,200 cells of 1 relation on 1 date because of loads 1, 2, 3, 4, 5 and more and "
         "changed definitions"),
        ((1, 0, 0, 1, 1), ["erasure"], "1 cell of 1 relation on 1 date because of erasure"),
        ((1, 0, 0, 1, 1), [], "1 cell of 1 relation on 1 date because of an unknown cause"),
    ],
)  # fmt: skip
def test_line_of_a_publication(counts: tuple[int, ...], causes: list[str], text: str) -> None:
    cells, new, gone, relations, dates = counts
    restated = Restated(
        publication_id=7, published_at=None, cells=cells, rows_new=new, rows_gone=gone,  # type: ignore[arg-type]
        relations=relations, dates=dates, causes=tuple(causes),
    )  # fmt: skip
    assert words(restated) == f"publication 7 restated {text}"

"""How long analysts wait: the questions of ``queries.sql``, asked of marts and of raw events.

On DuckDB as readers do, of the published file; on Postgres by a login of role admin, with its
policies. Each time on a fresh connection, which is part of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from ingest.registry import registry
from ingest.warehouse import open_warehouse
from tests.benchmarks.measure import quantile
from tests.benchmarks.results import Results, millions
from tests.benchmarks.runs import timed_run
from tests.benchmarks.worlds import TARGETS, Loaded, loaded

DAYS = 365
REPEATS = 50
RAW_REPEATS = 3

ANALYST = "bench_analyst"

#: What it takes to ask anything at all, asked like a question.
CONNECTING = "connect"

Ask = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Question:
    """A question with its two queries."""

    name: str
    title: str
    marts: str
    raw: str


def questions(last: str) -> list[Question]:
    """Read the questions, for a last date written ``YYYY-MM-DD``."""
    events = registry().events.values()
    text = (Path(__file__).parent / "queries.sql").read_text(encoding="utf-8")
    for mark, value in (
        ("$last", f"date '{last}'"),
        ("$activity", ", ".join(f"'{e.name}'" for e in events if e.activity)),
        ("$session", ", ".join(f"'{e.name}'" for e in events if e.activity and e.session)),
    ):
        text = text.replace(mark, value)
    found = []
    for part in text.split("-- question: ")[1:]:
        head, _, body = part.partition("\n")
        name, _, title = head.partition(" ")
        marts, _, raw = body.partition("-- raw\n")
        found.append(Question(name, title.strip(), marts.strip(), raw.strip()))
    return found


def same(one: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> bool:
    """Tell whether two answers are the same, floats within a millionth."""
    if len(one) != len(other):
        return False
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left, right, strict=True):
            if isinstance(a, float) and b is not None:
                if abs(a - b) > 1e-6 * (1 + abs(a)):
                    return False
            elif a != b:
                return False
    return True


def run(
    folder: Path, results: Results, events: int, server: str, *, repeats: int,
    targets: Sequence[str] = TARGETS,
) -> None:  # fmt: skip
    """Ask every question of a year of events on both targets."""
    for target in targets:
        with loaded(folder, target, events, DAYS, server) as world:
            timed_run(world.environment)
            of_marts, of_raw = _asking(world)
            nothing = Question(CONNECTING, "nothing: `select 1`", "select 1", "select 1")
            for question in (nothing, *questions(world.last.isoformat())):
                numbers = _measure(question, of_marts, of_raw)
                key = {"events": events, "target": target, "question": question.name}
                results.keep(key, {"title": question.title, **numbers})
        write(results)


def _asking(world: Loaded) -> tuple[Ask, Ask]:
    """Return what asks the marts, and what asks raw events, each on a connection of its own."""
    if world.target == "duckdb":
        published, warehouse = (
            str(path) for path in (world.settings.published_path, world.settings.warehouse_path)
        )

        def of_file(path: str) -> Ask:
            def ask(sql: str) -> list[tuple[Any, ...]]:
                with duckdb.connect(path, read_only=True) as connection:
                    return connection.execute(sql).fetchall()

            return ask

        return of_file(published), of_file(warehouse)
    warehouse_ = open_warehouse(world.settings)
    warehouse_.execute(f"drop role if exists {ANALYST}")
    warehouse_.execute(f"create role {ANALYST} login in role tidemark_admin")
    for schema in ("raw", "marts"):
        for (name,) in warehouse_.execute(
            "select tablename from pg_tables where schemaname = ?", [schema]
        ):
            warehouse_.execute(f'analyze {schema}."{name}"')
    warehouse_.close()
    url = world.environment["TIDEMARK_POSTGRES_URL"].replace("//tidemark@", f"//{ANALYST}@")

    def ask_server(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload]

    return ask_server, ask_server


def _measure(question: Question, of_marts: Ask, of_raw: Ask) -> dict[str, float]:
    """Return milliseconds of a question: quantiles of the marts, the median of raw events.

    Raises:
        AssertionError: the two answers differ, or there is none.

    """
    answer, other = of_marts(question.marts), of_raw(question.raw)
    assert answer, f"{question.name}: no rows"
    assert same(answer, other), f"{question.name}: {answer[:3]} of marts, {other[:3]} of raw"
    taken = [_milliseconds(of_marts, question.marts) for _ in range(REPEATS)]
    raw = [_milliseconds(of_raw, question.raw) for _ in range(RAW_REPEATS)]
    return {
        "rows": len(answer), "p50": quantile(taken, 0.5), "p95": quantile(taken, 0.95),
        "max": max(taken), "raw": quantile(raw, 0.5),
    }  # fmt: skip


def _milliseconds(ask: Ask, sql: str) -> float:
    began = time.monotonic()
    ask(sql)
    return 1000 * (time.monotonic() - began)


def write(results: Results) -> None:
    """Write a table for each size and target."""
    tables = []
    for events in sorted({r["events"] for r in results.records}):
        for target in TARGETS:
            found = results.of(events=events, target=target)
            found.sort(key=lambda r: r["question"] != CONNECTING)
            if len(found) < 2:
                continue
            rows = [
                ["question", "rows", "p50, ms", "p95, ms", "max, ms", "of raw events, ms",
                 "times as long"]
            ]  # fmt: skip
            order = [CONNECTING, *(question.name for question in questions("2026-01-01"))]
            for r in sorted(found, key=lambda r: order.index(r["question"])):
                rows.append(
                    [r["title"], str(r["rows"]), f"{r['p50']:.1f}", f"{r['p95']:.1f}",
                     f"{r['max']:.1f}", f"{r['raw']:.0f}", f"{r['raw'] / r['p50']:.0f}"]
                )  # fmt: skip
            worst = max(found[1:], key=lambda r: r["p95"])
            rows.append(["slowest", "", "", f"{worst['p95']:.1f}", "", "", ""])
            tables.append((f"A year of {millions(events)} events, {target}", rows))
    results.write(
        "Twelve questions of analysts",
        tables,
        f"{REPEATS} times each on a fresh connection, connecting included: on DuckDB of the "
        "published file, on Postgres by a login of role admin. Beside it the same question asked "
        f"of raw.events (median of {RAW_REPEATS}); both answers are the same rows. Target: p95 at "
        "most 100 ms.",
    )

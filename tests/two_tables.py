"""Two tables beside each other: a mart as readers have it, and as it was run again.

Belongs here: making them and their dates on either engine, and what is found between them. What
has to be found is said by the tests that use this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import pytest

from ingest.settings import Settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration.publication import changes, restatements
from orchestration.publication.changes import Change
from orchestration.relations import Relation

Cell = tuple[Any, ...]


def march(day: int) -> date:
    return date(2026, 3, day)


class Bench:
    """A warehouse with a table as readers have it and the same table as it was run again."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        for schema in ("marts", "build"):
            warehouse.execute(f"create schema if not exists {schema}")

    def day(self, day: int, *, seen: int | None = 1, now: int = 1, run: str = "new") -> None:
        """Note a date that was published after load ``seen`` and run again after load ``now``."""
        self.warehouse.execute(
            "insert into ops.partitions (partition_date, last_run_id, run_loads_through, checked, "
            "published_run_id, published_loads_through) values (?, ?, ?, true, ?, ?)",
            [march(day), run, now, None if seen is None else "old", seen],
        )

    def loaded(self, load_id: int, *days: int, accepted: int = 1) -> None:
        for day in days:
            self.warehouse.execute(
                "insert into ops.load_dates values (?, ?, ?)", [load_id, march(day), accepted]
            )

    def tables(self, before: str, after: str) -> None:
        """Make both tables of queries."""
        self.warehouse.execute(f"create table marts.figures as {before}")
        self.warehouse.execute(f"create table build.figures as {after}")

    def mart(
        self,
        *,
        grain: Sequence[str] = ("metric_date", "k"),
        date_column: str | None = "metric_date",
        whole: bool = False,
        kind: str = "incremental",
    ) -> Relation:
        """Return the tables as what dbt knows of them."""
        return Relation(
            unique_id="model.tidemark.figures", name="figures", layer="marts", schema="build",
            kind=kind, date_column=date_column, grain=tuple(grain), whole=whole,
            description="", columns=(),
        )  # fmt: skip

    def changes(self, **of_mart: Any) -> dict[str, Change]:
        """Return what of the mart is not as readers have it; keywords are those of ``mart``."""
        catalog = self.warehouse.value("select current_database()")
        return changes.find(self.warehouse, [self.mart(**of_mart)], catalog)

    def find(self, *, through: tuple[int, int] = (9, 9), **of_mart: Any) -> list[Cell]:
        """Return (day, key, column, before, after, cause) of what differs."""
        restatements.find(
            self.warehouse,
            [self.mart(**of_mart)],
            published_through=march(through[0]),
            publishing_through=march(through[1]),
            catalog=self.warehouse.value("select current_database()"),
            changes=self.changes(**of_mart),
        )
        rows = self.warehouse.execute(
            'select metric_date, key, "column", before, after, cause, relation '
            f"from {restatements.FOUND}"
        )
        assert {row[-1] for row in rows} <= {"figures"}
        return sorted(
            ((row[0].day if row[0] else None, *row[1:-1]) for row in rows), key=lambda row: row[1:3]
        )


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    warehouse = open_warehouse(settings)
    yield Bench(warehouse)
    warehouse.close()


def rows(values: str, columns: str = "metric_date, k, n") -> str:
    """Return a query for rows of one day each: ``(3, 'a', 1)``."""
    names = columns.split(", ")[1:]
    return (
        f"select date '2026-03-01' + (d - 1) as metric_date, {', '.join(names)} "
        f"from (values {values}) as v (d, {', '.join(names)})"
    )

"""What was restated, in words, as a table and as data.

Belongs here: reading ``ops.restatements`` and telling it. How the rows come about belongs in
``orchestration.publication.restatements``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse
from orchestration.publication.opened import open_published
from orchestration.publication.restatements import DEFINITION, ERASURE, NAMED, ROW
from orchestration.text_table import table

LOADS = re.compile(r"^loads? ([0-9, ]+?)(?: and [0-9]+ more)?$")

#: A longer value is cut in the table; the data has all of it.
WIDTH = 48


@dataclass(frozen=True)
class Restatement:
    """One cell, or one row where ``column`` is ``*``."""

    publication_id: int
    relation: str
    metric_date: date | None
    key: str
    column: str
    before: str | None
    after: str | None
    cause: str | None


@dataclass(frozen=True)
class Restated:
    """What one publication restated: numbers of cells, rows, relations and dates, and why."""

    publication_id: int
    published_at: datetime
    cells: int
    rows_new: int
    rows_gone: int
    relations: int
    dates: int
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was asked for: the newest rows, the publications behind them, and how many there are."""

    relation: str | None
    metric_date: date | None
    total: int
    publications: tuple[Restated, ...]
    restatements: tuple[Restatement, ...]


def report(
    settings: Settings, *, relation: str | None = None, day: date | None = None, limit: int
) -> Report:
    """Read what readers read, newest publication and date first.

    Raises:
        UserError: nothing was published yet, or there is no such relation.

    """
    relation = relation.removeprefix("marts.") if relation else None
    with open_published(settings) as warehouse:
        # A file that an older version published has none.
        if not warehouse.relation_exists("ops", "restatements"):
            return Report(relation, day, 0, (), ())
        conditions, values = ["1 = 1"], list[Any]()
        if relation is not None:
            _check_relation(warehouse, relation)
            conditions, values = [*conditions, "relation = ?"], [*values, relation]
        if day is not None:
            conditions, values = [*conditions, "metric_date = ?"], [*values, day]
        where = " and ".join(conditions)
        publications = _publications(warehouse, where, values)
        rows = warehouse.execute(
            'select publication_id, relation, metric_date, key, "column", before, after, cause '
            f"from ops.restatements where {where} order by publication_id desc, "
            'metric_date desc nulls first, relation, key, "column" limit ?',
            [*values, limit],
        )
        shown = {row[0] for row in rows}
        return Report(
            relation=relation,
            metric_date=day,
            total=sum(p.cells + p.rows_new + p.rows_gone for p in publications),
            publications=tuple(p for p in publications if p.publication_id in shown),
            restatements=tuple(Restatement(*row) for row in rows),
        )


def in_words(warehouse: Warehouse, publication_id: int) -> str | None:
    """Say in one line what a publication restated; None when it restated nothing."""
    found = _publications(warehouse, "publication_id = ?", [publication_id])
    return words(found[0]) if found else None


def words(restated: Restated) -> str:
    """Return the one line, such as ``publication 7 restated 12 cells of 3 relations ...``."""
    what = []
    if restated.cells:
        what.append(_count(restated.cells, "cell"))
    if rows := restated.rows_new + restated.rows_gone:
        kinds = [(restated.rows_new, "new"), (restated.rows_gone, "gone")]
        told = ", ".join(f"{number:,} {kind}" for number, kind in kinds if number)
        what.append(f"{_count(rows, 'row')} ({told})")
    dates = f" on {_count(restated.dates, 'date')}" if restated.dates else ""
    return (
        f"publication {restated.publication_id} restated {' and '.join(what)} "
        f"of {_count(restated.relations, 'relation')}{dates} because of {_because(restated)}"
    )


def lines(found: Report) -> list[str]:
    """Lay it out for a person, each publication under its line."""
    if not found.restatements:
        of = f" of {found.relation}" if found.relation else ""
        on = f" on {found.metric_date}" if found.metric_date else ""
        return [f"nothing published{of}{on} was ever restated"]
    text: list[str] = []
    for publication in found.publications:
        rows = [
            _row(row)
            for row in found.restatements
            if row.publication_id == publication.publication_id
        ]
        head = ["date", "relation", "key", "column", "before", "after", "cause"]
        text += ["", words(publication)] if text else [words(publication)]
        text += [f"  {line}" for line in table(rows, head)]
    hidden = found.total - len(found.restatements)
    if hidden:
        text += ["", f"{hidden:,} more that are older are not shown; raise --limit"]
    return text


def as_data(found: Report) -> dict[str, Any]:
    """Return the report for a program."""
    return asdict(found)


def _check_relation(warehouse: Warehouse, relation: str) -> None:
    rows = warehouse.execute(
        "select table_name from information_schema.tables where table_schema = 'marts' "
        "union select relation from ops.restatements order by 1"
    )
    known = [name for (name,) in rows]
    if relation not in known:
        raise UserError(f"there is no relation {relation!r}; there are {', '.join(known)}")


def _publications(warehouse: Warehouse, where: str, values: Sequence[Any]) -> list[Restated]:
    counts = warehouse.records(
        f"""
        with chosen as (
            select publication_id, relation, metric_date, "column", before
            from ops.restatements
            where {where}
        )
        select
            chosen.publication_id,
            min(publications.published_at) as published_at,
            count(*) filter (where chosen."column" <> '{ROW}') as cells,
            count(*) filter (
                where chosen."column" = '{ROW}' and chosen.before is null
            ) as rows_new,
            count(*) filter (
                where chosen."column" = '{ROW}' and chosen.before is not null
            ) as rows_gone,
            count(distinct chosen.relation) as relations,
            count(distinct chosen.metric_date) as dates
        from chosen
        inner join ops.publications as publications
            on chosen.publication_id = publications.publication_id
        group by chosen.publication_id
        order by chosen.publication_id desc
        """,
        values,
    )
    causes: dict[int, list[str]] = {}
    for publication_id, cause in warehouse.execute(
        f"select distinct publication_id, cause from ops.restatements where {where} "
        "and cause is not null order by publication_id, cause",
        values,
    ):
        causes.setdefault(publication_id, []).append(cause)
    return [
        Restated(**count, causes=tuple(causes.get(count["publication_id"], ()))) for count in counts
    ]


def _because(restated: Restated) -> str:
    """Put the causes of all dates together: their loads, then what is no load."""
    loads: set[int] = set()
    others, cut = [], False
    erased = False
    for named_cause in restated.causes:
        cause = named_cause.removesuffix(f", {ERASURE}")
        erased = erased or cause != named_cause or cause == ERASURE
        if cause == ERASURE:
            continue
        found = LOADS.match(cause)
        if found:
            loads |= {int(number) for number in found.group(1).split(",")}
            cut = cut or cause.endswith(" more")
        else:
            others.append("changed definitions" if cause == DEFINITION else cause)
    parts = []
    if loads:
        named = ", ".join(str(load) for load in sorted(loads)[:NAMED])
        more = " and more" if cut or len(loads) > NAMED else ""
        parts.append(f"{'load' if len(loads) == 1 else 'loads'} {named}{more}")
    others += [ERASURE] if erased else []
    return " and ".join([*parts, *others]) or "an unknown cause"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _row(row: Restatement) -> list[str | None]:
    # The date has a column of its own.
    key = ", ".join(p for p in row.key.split(", ") if not p.endswith(f"={row.metric_date}"))
    column = "row" if row.column == ROW else row.column
    return [
        str(row.metric_date) if row.metric_date else None,
        row.relation, _cut(key), column, _cut(row.before), _cut(row.after), row.cause,
    ]  # fmt: skip


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= WIDTH else text[: WIDTH - 1] + "…"

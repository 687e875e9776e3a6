"""Restatements: what a publication changes of what readers had seen, and because of which loads.

Belongs here: comparing what is about to be published with what is published, cell by cell. On which
dates anything differs is found by ``orchestration.publication.changes``. Writing it to the ledger
belongs in ``orchestration.publication.gate``; telling it, in
``orchestration.publication.restatements_shown``.

A row of ``ops.restatements`` is one cell. ``key`` is the grain of its row, ``name=value, ...``;
``before`` and ``after`` are texts, the same on both engines (a double in its shortest form that
reads back the same, without a final ``.0``), null for SQL null. A row that appeared has column
``*``, before null and after ``row``; one that went away the reverse. Doubles that are equal to
1e-9 (rule R11) are equal. ``cause`` names the loads that the published row had not seen: those
with events of its date or of an earlier one; ``erasure`` when a person who had events up to that
date was erased since; or ``definition`` when there is neither.

A date that was never published is news, and so are a mart and a column. A mart without dates shows
the state at the end of the last date run: that of another date is news as well. A mart that lost
its date column is another mart. Of a view the tables that it reads are compared, not its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from ingest.sql_text import literal
from ingest.warehouse import Warehouse
from orchestration.publication.changes import CHANGED, Change, Column, columns_beside
from orchestration.relations import READERS_SCHEMA, Relation

#: Temporary tables of the session: what ``find`` found, and the dates that it compares.
FOUND = "restated_cells"
COMPARED = "compared_dates"

#: The column of a row that appeared or went away.
ROW = "*"

#: The cause when no load explains a change: a full refresh after changed definitions.
DEFINITION = "definition"

#: The cause when a person was erased since, after the loads if there are any.
ERASURE = "erasure"

#: How many loads a cause names.
NAMED = 5

TOLERANCE = "1e-9"

DOUBLES = frozenset({"double", "double precision"})


@dataclass(frozen=True)
class Scope:
    """Which rows of a mart are compared, and the SQL of why one of date ``metric_date`` changed."""

    where: str
    cause: str


def find(
    warehouse: Warehouse,
    marts: Sequence[Relation],
    *,
    published_through: date | None,
    publishing_through: date | None,
    catalog: str | None,
    changes: Mapping[str, Change],
) -> None:
    """Write the cells that differ to the temporary table ``FOUND``, empty when nothing does.

    ``catalog`` is the database whose schema ``marts`` readers see now; None when there is nothing
    to compare with. ``published_through`` and ``publishing_through`` are the last dates of the
    publication that is there and of the one to come. ``changes`` are what ``changes.find`` found.
    """
    warehouse.execute(f"drop table if exists {FOUND}")
    warehouse.execute(
        f"create temporary table {FOUND} (relation varchar, metric_date date, key varchar, "
        '"column" varchar, before varchar, after varchar, cause varchar)'
    )
    if catalog is None or published_through is None or not _ran_since(warehouse):
        return
    # A change of the business time zone empties the ledger of dates; readers still have them.
    forgotten = not warehouse.value(
        "select 1 from ops.partitions where published_run_id is not null limit 1"
    )
    _compare_dates(warehouse)
    some = bool(warehouse.value(f"select 1 from {COMPARED} limit 1"))
    through = f"cast('{published_through}' as date)"
    kept_from = _kept_from(warehouse)
    cause = literal(DEFINITION if forgotten else _new_loads(warehouse))
    columns = columns_beside(warehouse, marts, catalog)
    for mart in marts:
        old, new = columns.get(mart.name, ({}, {}))
        change = changes.get(mart.name)
        if not old or (mart.date_column and mart.date_column not in old):
            continue
        if change is not None and change.dates == ():
            continue
        if mart.date_column is None:
            if publishing_through != published_through:
                continue
            scope = Scope("true", cause)
        elif mart.whole or forgotten:
            scope = Scope(f'"{mart.date_column}" <= {through}', cause)
        elif some:
            scope = Scope(
                f'"{mart.date_column}" in (select metric_date from {COMPARED})',
                f"(select cause from {COMPARED} where {COMPARED}.metric_date = changed.on_date)",
            )
        else:
            continue
        if mart.date_column and (first := kept_from.get(f"marts.{mart.name}")):
            kept = f"\"{mart.date_column}\" >= cast('{first}' as date)"
            scope = Scope(f"{scope.where} and {kept}", scope.cause)
        if change is not None and change.dates:
            differing = f"select metric_date from {CHANGED} where relation = {literal(mart.name)}"
            scope = Scope(f'{scope.where} and "{mart.date_column}" in ({differing})', scope.cause)
        warehouse.execute(
            comparison(
                mart, old, new, scope,
                before=f'"{catalog}".{READERS_SCHEMA}."{mart.name}"', after=mart.full_name,
            )
        )  # fmt: skip


def _kept_from(warehouse: Warehouse) -> dict[str, date]:
    """Return the first date that retention left, by relation: what it removed is no restatement."""
    return dict(
        warehouse.execute(
            "select relation, max(removed_before) from ops.retentions group by relation"
        )
    )


def _ran_since(warehouse: Warehouse) -> bool:
    return bool(
        warehouse.value(
            "select 1 from ops.partitions where last_run_id is not null "
            "and last_run_id is distinct from published_run_id limit 1"
        )
    )


def _words(load: str, position: str) -> str:
    """Return the aggregate that names loads: ``load 12``, ``loads 12, 14``, ``... and 3 more``."""
    named = f"string_agg(cast({load} as varchar), ', ' order by {load})"
    return (
        f"case when count(*) = 1 then 'load ' else 'loads ' end "
        f"|| {named} filter (where {position} <= {NAMED}) "
        f"|| case when count(*) > {NAMED} "
        f"then ' and ' || cast(count(*) - {NAMED} as varchar) || ' more' else '' end"
    )


def _compare_dates(warehouse: Warehouse) -> None:
    """List the dates that were published and were run again since, each with its cause."""
    warehouse.execute(f"drop table if exists {COMPARED}")
    warehouse.execute(
        f"""
        create temporary table {COMPARED} as
        with again as (
            select partition_date, published_loads_through, run_loads_through, published_run_id
            from ops.partitions
            where published_run_id is not null and published_run_id <> last_run_id
        ),
        loads as (
            select load_id, min(event_date) as first_date
            from ops.load_dates
            where accepted > 0
                -- What came too late for its date changed nothing.
                and event_date >= coalesce(
                    (select max(closed_before) from ops.closed_dates), cast('0001-01-01' as date)
                )
                and load_id > (select min(published_loads_through) from again)
            group by load_id
        ),
        unseen as (
            select
                again.partition_date,
                loads.load_id,
                row_number() over (
                    partition by again.partition_date order by loads.load_id
                ) as position
            from again
            inner join loads
                on
                    loads.first_date <= again.partition_date
                    and loads.load_id > again.published_loads_through
                    and loads.load_id <= again.run_loads_through
        ),
        causes as (
            select partition_date, {_words("load_id", "position")} as cause
            from unseen
            group by partition_date
        ),
        -- Runs and erasures wait for each other: one that began before has seen the person.
        erased as (
            select distinct again.partition_date
            from again
            left join ops.etl_job_runs as runs on again.published_run_id = runs.run_id
            inner join ops.erasures as erasures
                on
                    erasures.first_event_date <= again.partition_date
                    and erasures.requested_at >= coalesce(runs.started_at, erasures.requested_at)
        )
        select
            again.partition_date as metric_date,
            case
                when erased.partition_date is null then coalesce(causes.cause, '{DEFINITION}')
                else coalesce(causes.cause || ', ', '') || '{ERASURE}'
            end as cause
        from again
        left join erased on again.partition_date = erased.partition_date
        left join causes on again.partition_date = causes.partition_date
        """
    )
    warehouse.execute(f"analyze {COMPARED}")


def _new_loads(warehouse: Warehouse) -> str:
    """Name the loads with events of dates that were run on them for the first time.

    These can change any row of a mart that rewrites its history, whatever the row's date.
    """
    words = warehouse.value(
        f"""
        with unseen as (
            select load_dates.load_id
            from ops.load_dates as load_dates
            inner join ops.partitions as partitions
                on load_dates.event_date = partitions.partition_date
            where load_dates.accepted > 0
                and partitions.last_run_id is distinct from partitions.published_run_id
                and load_dates.load_id > coalesce(partitions.published_loads_through, 0)
                and load_dates.load_id <= partitions.run_loads_through
            group by load_dates.load_id
        ),
        numbered as (
            select load_id, row_number() over (order by load_id) as position from unseen
        )
        select {_words("load_id", "position")} from numbered having count(*) > 0
        """
    )
    erased = warehouse.value(
        "select 1 from ops.erasures where first_event_date is not null "
        "and requested_at >= (select max(published_at) from ops.publications) limit 1"
    )
    causes = [str(words)] if words else []
    return ", ".join([*causes, ERASURE] if erased else causes) or DEFINITION


def comparison(
    mart: Relation,
    old: Mapping[str, Column],
    new: Mapping[str, Column],
    scope: Scope,
    *,
    before: str,
    after: str,
) -> str:
    """Return the statement that compares two tables, one text for both engines.

    Rows meet by their grain in one hash join; only those that differ are taken apart into cells.
    A mart without a grain has none but whole rows.
    """
    common = [name for name in new if name in old]
    grain = mart.grain or tuple(common)
    cells = [name for name in common if name not in grain]
    kinds = {n: new[n].kind if n in old and old[n].kind == new[n].kind else None for n in new}

    def side(columns: Mapping[str, Column], table: str) -> str:
        day = f'"{mart.date_column}"' if mart.date_column else "cast(null as date)"
        selected = [f"{day} as on_date", "true as present"]
        for name in (*grain, *cells):
            if name not in columns:
                value = "cast(null as varchar)"
            elif kinds[name] is None:
                value = _text(f'"{name}"', columns[name].kind)
            else:
                value = f'"{name}"'
            selected.append(f'{value} as "{name}"')
        return f"select {', '.join(selected)} from {table} where {scope.where}"

    def meets(name: str) -> str:
        mine, theirs = f'old_rows."{name}"', f'new_rows."{name}"'
        if kinds[name] is not None and not new[name].nullable:
            return f"{mine} = {theirs}"
        # Null meets null; neither engine joins in full on "is not distinct from" by hash.
        texts = (_text(x, kinds[name] or "varchar") for x in (mine, theirs))
        return " = ".join(f"coalesce('=' || {text}, '')" for text in texts)

    def key(name: str) -> str:
        value = f'coalesce(new_rows."{name}", old_rows."{name}")'
        text = f"coalesce({_text(value, kinds[name] or 'varchar')}, 'null')"
        return f"{literal(name + '=')} || {text}"

    differ = {
        name: _differs(f'old_rows."{name}"', f'new_rows."{name}"', kinds[name]) for name in cells
    }
    pairs = [
        f'old_rows."{name}" as before_{n}, new_rows."{name}" as after_{n}, {differ[name]} as is_{n}'
        for n, name in enumerate(cells)
    ]
    row = literal("row")
    taken_apart = [
        (ROW, f"case when was then {row} end", f"case when is_now then {row} end",
         "was is null or is_now is null"),
        *(
            (name, _text(f"before_{n}", kinds[name] or "varchar"),
             _text(f"after_{n}", kinds[name] or "varchar"), f"was and is_now and is_{n}")
            for n, name in enumerate(cells)
        ),
    ]  # fmt: skip
    # One scan a column: texts are made of what differs only, which a lateral join cannot do.
    selects = [
        f"select {literal(mart.name)}, on_date, key, {literal(name)}, "
        f"{was}, {is_now}, {scope.cause} from changed where {condition}"
        for name, was, is_now, condition in taken_apart
    ]
    gone_or_new = ["old_rows.present is null", "new_rows.present is null"]
    return f"""
        insert into {FOUND} (relation, metric_date, key, "column", before, after, cause)
        with old_rows as (
            {side(old, before)}
        ),
        new_rows as (
            {side(new, after)}
        ),
        changed as materialized (
            select
                old_rows.present as was,
                new_rows.present as is_now,
                coalesce(old_rows.on_date, new_rows.on_date) as on_date,
                {" || ', ' || ".join(key(name) for name in grain)} as key
                {"".join(f", {pair}" for pair in pairs)}
            from old_rows
            full join new_rows on {" and ".join(meets(name) for name in grain)}
            where {" or ".join([*gone_or_new, *differ.values()])}
        )
        {" union all ".join(selects)}
    """


def _differs(before: str, after: str, kind: str | None) -> str:
    differs = f"{before} is distinct from {after}"
    if kind in DOUBLES:
        return f"({differs} and (abs({before} - {after}) <= {TOLERANCE}) is not true)"
    return f"({differs})"


def _text(value: str, kind: str) -> str:
    text = f"cast({value} as varchar)"
    # DuckDB writes 1.0 where Postgres writes 1.
    return f"regexp_replace({text}, '[.]0$', '')" if kind in DOUBLES else text

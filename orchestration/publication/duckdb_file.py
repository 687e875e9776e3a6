"""Publication on DuckDB: a versioned read-only file behind a link that is swapped at once.

Readers that have the old file open keep it; who opens the link afterwards gets the new one. A new
file begins as a copy of the last one, and gets the dates on which something is not as it was there:
a day's publication costs what the day holds and the copying of a file, not what history holds.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from ingest.sql_text import identifier, identifiers, literal
from ingest.warehouse import Warehouse
from orchestration.publication import changes, restatements
from orchestration.publication.changes import Change, columns_beside, copy_dates
from orchestration.publication.gate import Publication, note, record
from orchestration.relations import READERS_SCHEMA, Relation
from orchestration.session import RunSession

#: The file that is being written, as a database.
PUBLISHED = "published"

#: The newest, and two that readers may still be busy with.
KEPT = 3

#: A quarter of what DuckDB takes: who looks up one key reads less beside it, for a file that is a
#: tenth larger. One person's journey among 10 M events takes 5 ms, since its key is a number:
#: of texts a row group remembers eight bytes, and keys that begin alike would all be read.
ROW_GROUP_SIZE = 30_720

#: Rows of a table that is ordered by a key may stand behind the others in this share; with more
#: of them it is written anew, in order.
UNORDERED_SHARE = 0.1

#: A file is written anew when so large a share of its blocks is free.
FREE_SHARE = 0.4

VERSION = re.compile(r"^tidemark-(\d+)\.duckdb$")


def hand_out(
    session: RunSession,
    marts: Sequence[Relation],
    publication: Publication,
    last: Publication | None,
) -> Publication:
    """Write the file beside, put it in its place, swap the link, note it in the ledger."""
    link = session.settings.published_path
    folder = link.parent
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"tidemark-{publication.publication_id}.duckdb"
    publication = replace(publication, location=str(final))
    before = folder / f"tidemark-{last.publication_id}.duckdb" if last else None
    with _published_before(session, before) as catalog:
        changed = changes.find(session.warehouse, marts, catalog)
        restatements.find(
            session.warehouse,
            marts,
            published_through=last.data_through if last else None,
            publishing_through=publication.data_through,
            catalog=catalog,
            changes=changed,
        )
    waiting = final.with_name(f".{final.name}.new")
    try:
        _write_file(session, marts, publication, waiting, before if catalog else None, changed)
    except BaseException:
        _remove(waiting)
        raise
    waiting.chmod(0o444)
    with waiting.open("rb") as file:
        os.fsync(file.fileno())
    waiting.replace(final)
    _swap(link, final.name)
    with session.warehouse.transaction():
        record(session.warehouse, publication)
    _forget_old(folder, publication.publication_id)
    return publication


@contextmanager
def _published_before(session: RunSession, path: Path | None) -> Iterator[str | None]:
    """Attach the file of the publication that the ledger knows as the last one.

    Not what the link shows: a publication that was cut off after the swap is made again, and
    restates what the one before it showed. Without a file that can be read nothing is compared.
    """
    if path is None or not path.exists():
        yield None
        return
    connection = session.warehouse.connection
    try:
        connection.execute(f"attach {literal(str(path))} as before (read_only)")
    except duckdb.Error:
        session.note(f"{path.name} cannot be read: what this publication restates is not known")
        yield None
        return
    try:
        yield "before"
    finally:
        connection.execute("detach before")


def _write_file(
    session: RunSession,
    marts: Sequence[Relation],
    publication: Publication,
    path: Path,
    before: Path | None,
    changed: Mapping[str, Change],
) -> None:
    """Write a file of all marts; ``before`` is the one that it may begin as a copy of."""
    warehouse = session.warehouse
    run = warehouse.execute
    if not _attach(warehouse, marts, path, before, changed):
        changed = {}
    columns = columns_beside(warehouse, marts, PUBLISHED)
    try:
        for schema in ("marts", "ops"):
            run(f"create schema if not exists {PUBLISHED}.{schema}")
        run(
            f"create table if not exists {PUBLISHED}.ops.ordered_rows "
            "(relation varchar not null, row_count bigint not null)"
        )
        _drop_others(warehouse, marts)
        # Views come after the tables that they read.
        for mart in sorted(marts, key=lambda mart: mart.is_view):
            if mart.is_view:
                run(published_view(warehouse.connection, mart))
            else:
                theirs, names = map(list, columns[mart.name])
                in_order = names == theirs
                _write_table(warehouse, mart, names, changed.get(mart.name) if in_order else None)
        _describe(warehouse, marts)
        for ledger in ("publications", "restatements"):
            run(f"create or replace table {PUBLISHED}.ops.{ledger} as select * from ops.{ledger}")
        note(warehouse, publication, f"{PUBLISHED}.ops")
    finally:
        run(f"detach {PUBLISHED}")


def _attach(
    warehouse: Warehouse,
    marts: Sequence[Relation],
    path: Path,
    before: Path | None,
    changed: Mapping[str, Change],
) -> bool:
    """Attach the file to write, and tell whether it is a copy of the one before.

    It is, unless most of that would be written again or a good part of it is blocks that nothing
    is in any more.
    """
    _remove(path)
    attach = f"attach {literal(str(path))} as {PUBLISHED} (row_group_size {ROW_GROUP_SIZE})"
    if before is not None and _is_little(warehouse, marts, changed):
        shutil.copyfile(before, path)
        warehouse.execute(attach)
        ((free, blocks),) = warehouse.execute(
            "select free_blocks, total_blocks from pragma_database_size() "
            f"where database_name = '{PUBLISHED}'"
        )
        if free <= FREE_SHARE * blocks:
            return True
        warehouse.execute(f"detach {PUBLISHED}")
        _remove(path)
    warehouse.execute(attach)
    return False


def _is_little(
    warehouse: Warehouse, marts: Sequence[Relation], changed: Mapping[str, Change]
) -> bool:
    """Tell whether at most half of all rows are to be written."""
    rows = dict(
        warehouse.execute(
            "select schema_name || '.' || table_name, estimated_size from duckdb_tables() "
            "where database_name = current_database()"
        )
    )
    of_marts = {mart.name: rows.get(f"{mart.schema}.{mart.name}", 0) for mart in marts}
    to_write = sum(
        changed[name].row_count if name in changed else count for name, count in of_marts.items()
    )
    return 2 * to_write <= sum(of_marts.values())


def _drop_others(warehouse: Warehouse, marts: Sequence[Relation]) -> None:
    """Drop what the file before had and is no mart, or another kind of relation, now."""
    kinds = {mart.name: "VIEW" if mart.is_view else "BASE TABLE" for mart in marts}
    for name, kind in warehouse.execute(
        "select table_name, table_type from information_schema.tables "
        f"where table_catalog = '{PUBLISHED}' and table_schema = 'marts'"
    ):
        if kinds.get(name) != kind:
            what = "view" if kind == "VIEW" else "table"
            warehouse.execute(f'drop {what} {PUBLISHED}.marts."{name}" cascade')


def _write_table(
    warehouse: Warehouse, mart: Relation, names: Sequence[str], change: Change | None
) -> None:
    """Bring a table of the file up to date: all of it, or where it is not as the mart is."""
    table = f'{PUBLISHED}.marts."{mart.name}"'
    if change is None or change.dates is None:
        _write_whole(warehouse, mart, table)
        return
    before = _count(warehouse, table)
    copy_dates(warehouse, mart, table, identifiers(names), change.dates)
    if mart.date_column:
        # What retention has removed of the mart.
        warehouse.execute(
            f'delete from {table} where "{mart.date_column}" < '
            f'(select min("{mart.date_column}") from {mart.full_name})'
        )
    if mart.ordered_by:
        after = _count(warehouse, table)
        removed = before + change.row_count - after
        warehouse.execute(
            f"update {PUBLISHED}.ops.ordered_rows set row_count = row_count - ? where relation = ?",
            [removed, mart.name],
        )
        if _is_out_of_order(warehouse, mart, after):
            _write_whole(warehouse, mart, table)


def _count(warehouse: Warehouse, table: str) -> int:
    return int(warehouse.value(f"select count(*) from {table}"))


def _write_whole(warehouse: Warehouse, mart: Relation, table: str) -> None:
    """Write all rows of a mart: those that are looked up together, or of a date, together.

    DuckDB skips the row groups between.
    """
    ordering = mart.ordered_by or mart.date_column
    order = f' order by "{ordering}"' if ordering else ""
    warehouse.execute(f"create or replace table {table} as select * from {mart.full_name}{order}")
    if mart.ordered_by:
        # A file that an erasure wrote anew has no keys.
        counted = f"{PUBLISHED}.ops.ordered_rows"
        warehouse.execute(f"delete from {counted} where relation = {literal(mart.name)}")
        warehouse.execute(
            f"insert into {counted} select {literal(mart.name)}, count(*) from {table}"
        )


def _is_out_of_order(warehouse: Warehouse, mart: Relation, rows: int) -> bool:
    """Tell whether too many rows were appended since a table was written in order."""
    ordered = warehouse.value(
        f"select row_count from {PUBLISHED}.ops.ordered_rows where relation = ?", [mart.name]
    )
    return rows > (1 + UNORDERED_SHARE) * (ordered or 0)


def _remove(path: Path) -> None:
    for leftover in (path, path.with_name(path.name + ".wal")):
        leftover.unlink(missing_ok=True)


def published_view(connection: Any, mart: Relation) -> str:
    """Return the statement that makes a view of the warehouse over the published tables."""
    database, sql = connection.execute(
        "select database_name, sql from duckdb_views() "
        "where database_name = current_database() and schema_name = ? and view_name = ?",
        [mart.schema, mart.name],
    ).fetchone()
    query = re.split(r"\bas\b", sql, maxsplit=1, flags=re.IGNORECASE)[1].rstrip("; \n")
    # Names of the warehouse's own database would lead readers to a file that they do not have.
    for name in (database, identifier(database)):
        for schema in (mart.schema, f'"{mart.schema}"'):
            query = query.replace(f"{name}.{schema}.", "marts.")
    return f'create or replace view {PUBLISHED}.marts."{mart.name}" as {query}'


def _describe(warehouse: Warehouse, marts: Sequence[Relation]) -> None:
    """Bring the comments of relations and columns to the descriptions that the project has."""
    of_relations = " union all ".join(
        f"select {kind}_name, null, comment from duckdb_{kind}s() "
        f"where database_name = '{PUBLISHED}' and schema_name = '{READERS_SCHEMA}'"
        for kind in ("table", "view")
    )
    of_columns = (
        "select table_name, column_name, comment from duckdb_columns() "
        f"where database_name = '{PUBLISHED}' and schema_name = '{READERS_SCHEMA}'"
    )
    present = {
        (relation, column): comment
        for relation, column, comment in warehouse.execute(f"{of_relations} union all {of_columns}")
    }
    statements = []
    for mart in marts:
        name = f'{PUBLISHED}.{READERS_SCHEMA}."{mart.name}"'
        wanted = {None: ("view" if mart.is_view else "table", name, mart.description)} | {
            c.name: ("column", f'{name}."{c.name}"', c.description) for c in mart.columns
        }
        for column, (kind, what, description) in wanted.items():
            text = " ".join(description.split())
            if text and text != present.get((mart.name, column)):
                statements.append(f"comment on {kind} {what} is {literal(text)}")
    if statements:
        warehouse.connection.execute(";".join(statements))


def _swap(link: Path, target: str) -> None:
    waiting = link.with_name(f".{link.name}.new")
    waiting.unlink(missing_ok=True)
    waiting.symlink_to(target)
    waiting.replace(link)


def _forget_old(folder: Path, newest: int) -> None:
    for path in folder.iterdir():
        found = VERSION.match(path.name)
        if found and not newest - KEPT < int(found.group(1)) <= newest:
            path.unlink()

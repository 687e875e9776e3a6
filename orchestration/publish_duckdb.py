"""Publication on DuckDB: a versioned read-only file behind a link that is swapped at once.

Readers that have the old file open keep it; who opens the link afterwards gets the new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from orchestration import restatements
from orchestration.publish import Publication, note, record
from orchestration.relations import Relation
from orchestration.session import RunSession

#: The newest, and two that readers may still be busy with.
KEPT = 3

#: A quarter of what DuckDB takes: who looks up one key reads less beside it, for a file that is a
#: tenth larger. One person's journey among 10 M events takes 5 ms, since its key is a number:
#: of texts a row group remembers eight bytes, and keys that begin alike would all be read.
ROW_GROUP_SIZE = 30_720

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
    with _published_before(session, folder, last) as catalog:
        restatements.find(
            session.warehouse,
            marts,
            published_through=last.data_through if last else None,
            publishing_through=publication.data_through,
            catalog=catalog,
        )
    _write_file(session, marts, publication, final)
    _swap(link, final.name)
    with session.warehouse.transaction():
        record(session.warehouse, publication)
    _forget_old(folder, publication.publication_id)
    return publication


@contextmanager
def _published_before(
    session: RunSession, folder: Path, last: Publication | None
) -> Iterator[str | None]:
    """Attach the file of the publication that the ledger knows as the last one.

    Not what the link shows: a publication that was cut off after the swap is made again, and
    restates what the one before it showed. Without a file that can be read nothing is compared.
    """
    path = folder / f"tidemark-{last.publication_id}.duckdb" if last else None
    if path is None or not path.exists():
        yield None
        return
    connection = session.warehouse.connection
    try:
        connection.execute(f"attach '{_quoted(path)}' as before (read_only)")
    except duckdb.Error:
        session.say(f"{path.name} cannot be read: what this publication restates is not known")
        yield None
        return
    try:
        yield "before"
    finally:
        connection.execute("detach before")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _write_file(
    session: RunSession, marts: Sequence[Relation], publication: Publication, final: Path
) -> None:
    waiting = final.with_name(f".{final.name}.new")
    for leftover in (waiting, waiting.with_name(waiting.name + ".wal")):
        leftover.unlink(missing_ok=True)
    connection = session.warehouse.connection
    connection.execute(
        f"attach '{_quoted(waiting)}' as published (row_group_size {ROW_GROUP_SIZE})"
    )
    try:
        connection.execute("create schema published.marts")
        connection.execute("create schema published.ops")
        # Views come after the tables that they read.
        for mart in sorted(marts, key=lambda mart: mart.is_view):
            if mart.is_view:
                connection.execute(published_view(connection, mart))
                _describe(connection, mart)
                continue
            # Rows that are looked up together lie together: DuckDB skips the row groups between.
            sorting = mart.lookup_columns[:1] or (mart.date_column,)
            order = f' order by "{sorting[0]}"' if sorting[0] else ""
            connection.execute(
                f'create table published.marts."{mart.name}" as '
                f"select * from {mart.full_name}{order}"
            )
            _describe(connection, mart)
        for ledger in ("publications", "restatements"):
            connection.execute(f"create table published.ops.{ledger} as select * from ops.{ledger}")
        note(session.warehouse, publication, "published.ops")
    finally:
        connection.execute("detach published")
    waiting.chmod(0o444)
    with waiting.open("rb") as file:
        os.fsync(file.fileno())
    waiting.replace(final)


def published_view(connection: Any, mart: Relation) -> str:
    """Return the statement that makes a view of the warehouse over the published tables."""
    database, sql = connection.execute(
        "select database_name, sql from duckdb_views() "
        "where database_name = current_database() and schema_name = ? and view_name = ?",
        [mart.schema, mart.name],
    ).fetchone()
    query = re.split(r"\bas\b", sql, maxsplit=1, flags=re.IGNORECASE)[1].rstrip("; \n")
    # Names of the warehouse's own database would lead readers to a file that they do not have.
    for name in (database, f'"{database}"'):
        for schema in (mart.schema, f'"{mart.schema}"'):
            query = query.replace(f"{name}.{schema}.", "marts.")
    return f'create view published.marts."{mart.name}" as {query}'


def _describe(connection: object, mart: Relation) -> None:
    kind = "view" if mart.is_view else "table"
    texts = [(f'{kind} published.marts."{mart.name}"', mart.description)]
    texts += [
        (f'column published.marts."{mart.name}"."{column.name}"', column.description)
        for column in mart.columns
    ]
    statements = [
        f"comment on {what} is '{' '.join(text.split()).replace(chr(39), chr(39) * 2)}'"
        for what, text in texts
        if text
    ]
    if statements:
        connection.execute(";".join(statements))  # type: ignore[attr-defined]


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

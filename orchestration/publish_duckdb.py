"""Publication on DuckDB: a versioned read-only file behind a link that is swapped at once.

Readers that have the old file open keep it; who opens the link afterwards gets the new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestration.publish import Publication, record
from orchestration.relations import Relation
from orchestration.session import RunSession

#: The newest, and two that readers may still be busy with.
KEPT = 3

VERSION = re.compile(r"^tidemark-(\d+)\.duckdb$")


def hand_out(
    session: RunSession, marts: Sequence[Relation], publication: Publication
) -> Publication:
    """Write the file beside, put it in its place, swap the link, note it in the ledger."""
    link = session.settings.published_path
    folder = link.parent
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"tidemark-{publication.publication_id}.duckdb"
    publication = replace(publication, location=str(final))
    _write_file(session, marts, publication, final)
    _swap(link, final.name)
    with session.warehouse.transaction():
        record(session.warehouse, publication)
    _forget_old(folder, publication.publication_id)
    return publication


def _write_file(
    session: RunSession, marts: Sequence[Relation], publication: Publication, final: Path
) -> None:
    waiting = final.with_name(f".{final.name}.new")
    for leftover in (waiting, waiting.with_name(waiting.name + ".wal")):
        leftover.unlink(missing_ok=True)
    connection = session.warehouse.connection
    path = str(waiting).replace("'", "''")
    connection.execute(f"attach '{path}' as published")
    try:
        connection.execute("create schema published.marts")
        connection.execute("create schema published.ops")
        for mart in marts:
            order = f' order by "{mart.date_column}"' if mart.date_column else ""
            connection.execute(
                f'create table published.marts."{mart.name}" as '
                f"select * from {mart.full_name}{order}"
            )
            _describe(connection, mart)
        connection.execute(
            "create table published.ops.publications as select * from ops.publications"
        )
        connection.execute(
            "insert into published.ops.publications (publication_id, published_at, data_through, "
            "run_id, relations, location) values (?, ?, ?, ?, ?, ?)",
            [
                publication.publication_id, publication.published_at, publication.data_through,
                publication.run_id, publication.relations, publication.location,
            ],
        )  # fmt: skip
    finally:
        connection.execute("detach published")
    waiting.chmod(0o444)
    with waiting.open("rb") as file:
        os.fsync(file.fileno())
    waiting.replace(final)


def _describe(connection: object, mart: Relation) -> None:
    texts = [(f'table published.marts."{mart.name}"', mart.description)]
    texts += [
        (f'column published.marts."{mart.name}"."{column}"', text)
        for column, text in mart.column_descriptions
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

"""Published marts as files for people without SQL, whole or as a role would see them.

Reads what readers read: the published file on DuckDB, schema ``marts`` on Postgres. Which rows a
role sees is said by ``orchestration.access.matrix``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.sql_text import identifier, literal
from ingest.warehouse import Warehouse, duckdb_connection
from orchestration.access.matrix import PEOPLE, read_matrix
from orchestration.dbt_project import DbtProject
from orchestration.export_log import note_export
from orchestration.publication.opened import open_published
from orchestration.relations import READERS_SCHEMA, marts

FORMATS = ("csv", "parquet", "json")

#: A spreadsheet would run a cell that begins like this.
RISKY = "^[=+\\-@\\t\\r]"

BATCH = 20_000

ARROW_TYPES = {
    "bigint": "int64", "integer": "int32", "smallint": "int16", "double precision": "float64",
    "boolean": "bool_", "date": "date32", "real": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Which rows of a relation: a condition, and the values of its marks."""

    condition: str = "true"
    values: tuple[str, ...] = ()


def export_relation(
    settings: Settings,
    relation: str,
    *,
    format: str,
    out: Path,
    role: str | None = None,
    subject: str | None = None,
) -> int:
    """Write a published relation to a file, whole or not at all, and return its rows.

    With a ``role`` those rows that it sees; ``subject`` says which reader, advisor, creator or
    brand that is, where the role sees only its own.

    Raises:
        UserError: there is no such relation, format or role, the role sees nothing of the
            relation, nothing was published, or the file cannot be written.

    """
    if format not in FORMATS:
        raise UserError(f"--format is {format!r}; use one of {', '.join(FORMATS)}")
    file = _file_behind(out)
    name = relation.removeprefix("marts.")
    waiting = file.with_name(f".{file.name}.new")
    if subject is not None and role is None:
        raise UserError("--subject says whose rows a role sees; name the role with --as")
    if role is not None:
        role = role.removeprefix("tidemark_")
    rows_of = _seen_by(settings, name, role, subject) if role is not None else Rows()
    with _readable(settings, name, rows_of) as (connection, table):
        columns = connection.execute(f"describe select * from {table}").fetchall()
        selected = ", ".join(_expression(c[0], str(c[1]), format) for c in columns)
        try:
            # What keeps a file from being made DuckDB would tell in words of its own.
            waiting.touch()
            try:
                rows = connection.execute(
                    f"copy (select {selected} from {table}) to {literal(str(waiting.absolute()))} "
                    f"({_options(format, out)})"
                ).fetchone()
                count = int(rows[0]) if rows else 0
                # Before the file has its name: an erasure must be able to tell of every export.
                note_export(settings, name, rows=count, path=file, role=role)
                waiting.replace(file)
            finally:
                waiting.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{out} cannot be written: {error.strerror}") from None
    return count


def _file_behind(out: Path) -> Path:
    """Return the file that is to be written, there or not: where ``out`` points if it is a link."""
    if str(out) == "-":
        raise UserError("an export is a file; give --out its path instead of -")
    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the path of a file")
    # A device or a pipe would be replaced by a file.
    if out.exists() and not out.is_file():
        raise UserError(f"{out} is no regular file; give --out the path of a file")
    file = Path(os.path.realpath(out)) if out.is_symlink() else out
    if file.is_symlink():
        raise UserError(f"{out} is a link that leads back to itself; give --out another path")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is no folder; make it first")
    return file


def _seen_by(settings: Settings, name: str, role: str, subject: str | None) -> Rows:
    if role not in PEOPLE:
        raise UserError(f"--as is {role!r}; use one of {', '.join(PEOPLE)}")
    relations = marts(DbtProject(settings).manifest)
    _check_name(name, [mart.name for mart in relations])
    rules = read_matrix(settings, relations)
    rule = next((r for r in rules if (r.role, r.relation) == (role, name)), None)
    if rule is None:
        raise UserError(f"{role} sees nothing of {name}; see access_rules.csv")
    if rule.own_column and subject is None:
        raise UserError(f"{role} sees its own rows of {name}; say whose with --subject ID")
    if not rule.own_column and subject is not None:
        raise UserError(f"{role} sees {name} whoever it is; leave --subject out")
    owners = f'{READERS_SCHEMA}."{rule.owners_relation}"'
    condition = rule.condition(
        subjects="?",
        newest=f'(select max("{rule.date_column}") from {READERS_SCHEMA}."{name}")',
        owned=f'select "{rule.own_column}" from {owners} where "{rule.owners_column}" = ?',
    )
    return Rows(condition, (subject,) if subject is not None else ())


def _options(format: str, out: Path) -> str:
    if format == "csv":
        return "format csv, header true"
    if format == "parquet":
        return "format parquet, compression zstd"
    lines = out.suffix.lower() in (".jsonl", ".ndjson")
    return f"format json, array {'false' if lines else 'true'}"


def _expression(column: str, kind: str, format: str) -> str:
    name = identifier(column)
    if format == "csv" and kind == "VARCHAR":
        return (
            f"case when regexp_matches({name}, '{RISKY}') then '''' || {name} else {name} end "
            f"as {name}"
        )
    return name


@contextmanager
def _readable(settings: Settings, name: str, rows: Rows) -> Iterator[tuple[Any, str]]:
    """Give a DuckDB connection and the name under which the rows can be read."""
    with open_published(settings) as warehouse:
        known = warehouse.execute(
            "select table_name from information_schema.tables where table_schema = 'marts'"
        )
        _check_name(name, [row[0] for row in known])
        if warehouse.target == "postgres":
            with closing(duckdb_connection()) as connection:
                connection.register("relation", _postgres_table(warehouse, name, rows))
                yield connection, "relation"
            return
        table = f'{READERS_SCHEMA}."{name}"'
        if rows.values:
            # A COPY takes no bound values.
            warehouse.execute(
                f"create temp table relation as select * from {table} where {rows.condition}",
                rows.values,
            )
            table = "relation"
        elif rows != Rows():
            table = f"(select * from {table} where {rows.condition})"
        yield warehouse.connection, table


def _check_name(name: str, known: list[str]) -> None:
    if name not in known:
        raise UserError(f"there is no relation {name!r}; there are {', '.join(sorted(known))}")


def _postgres_table(warehouse: Warehouse, name: str, rows_of: Rows) -> Any:
    import pyarrow as pa

    columns = warehouse.execute(
        "select column_name, data_type from information_schema.columns "
        "where table_schema = 'marts' and table_name = ? order by ordinal_position",
        [name],
    )
    schema = pa.schema([(column, _arrow_type(pa, kind)) for column, kind in columns])
    batches = []
    with (
        warehouse.transaction(),
        warehouse.connection.cursor(name="export") as cursor,
    ):
        condition = rows_of.condition.replace("%", "%%").replace("?", "%s")
        cursor.execute(
            f'select * from {READERS_SCHEMA}."{name}" where {condition}', list(rows_of.values)
        )
        while rows := cursor.fetchmany(BATCH):
            arrays = [
                pa.array(values, type=field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            batches.append(pa.record_batch(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def _arrow_type(pa: Any, kind: str) -> Any:
    if kind.startswith("timestamp"):
        return pa.timestamp("us")
    return getattr(pa, ARROW_TYPES[kind])() if kind in ARROW_TYPES else pa.string()

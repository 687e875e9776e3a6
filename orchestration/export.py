"""Published marts as files for people without SQL.

Reads what readers read: the published file on DuckDB, schema ``marts`` on Postgres.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest.errors import UserError
from ingest.settings import Settings

FORMATS = ("csv", "parquet", "json")

#: A spreadsheet would run a cell that begins like this.
RISKY = "^[=+\\-@\\t\\r]"

BATCH = 20_000

ARROW_TYPES = {
    "bigint": "int64", "integer": "int32", "smallint": "int16", "double precision": "float64",
    "boolean": "bool_", "date": "date32", "real": "float32",
}  # fmt: skip


def export_relation(settings: Settings, relation: str, *, format: str, out: Path) -> int:
    """Write a published relation to a file, whole or not at all, and return its rows.

    Raises:
        UserError: there is no such relation or format, nothing was published, or the file cannot
            be written.

    """
    if format not in FORMATS:
        raise UserError(f"--format is {format!r}; use one of {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it first")
    name = relation.removeprefix("marts.")
    waiting = out.with_name(f".{out.name}.new")
    with _published(settings, name) as (connection, table):
        columns = connection.execute(f"describe select * from {table}").fetchall()
        selected = ", ".join(_expression(c[0], str(c[1]), format) for c in columns)
        try:
            rows = connection.execute(
                f"copy (select {selected} from {table}) to '{_quoted(waiting)}' "
                f"({_options(format, out)})"
            ).fetchone()
            waiting.replace(out)
        except OSError as error:
            raise UserError(f"{out} cannot be written: {error.strerror}") from None
        finally:
            waiting.unlink(missing_ok=True)
    return int(rows[0]) if rows else 0


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("'", "''")


def _options(format: str, out: Path) -> str:
    if format == "csv":
        return "format csv, header true"
    if format == "parquet":
        return "format parquet, compression zstd"
    lines = out.suffix.lower() in (".jsonl", ".ndjson")
    return f"format json, array {'false' if lines else 'true'}"


def _expression(column: str, kind: str, format: str) -> str:
    name = '"' + column.replace('"', '""') + '"'
    if format == "csv" and kind == "VARCHAR":
        return (
            f"case when regexp_matches({name}, '{RISKY}') then '''' || {name} else {name} end "
            f"as {name}"
        )
    return name


@contextmanager
def _published(settings: Settings, name: str) -> Iterator[tuple[Any, str]]:
    """Give a DuckDB connection and the name under which the relation can be read."""
    import duckdb

    if settings.target == "duckdb":
        if not settings.published_path.exists():
            raise UserError("nothing was published yet; run 'tidemark run' first")
        connection = duckdb.connect(str(settings.published_path), read_only=True)
        try:
            known = connection.execute(
                "select table_name from information_schema.tables where table_schema = 'marts'"
            ).fetchall()
            _check_name(name, [row[0] for row in known])
            yield connection, f'marts."{name}"'
        finally:
            connection.close()
        return
    connection = duckdb.connect(":memory:")
    try:
        connection.register("relation", _postgres_table(settings, name))
        yield connection, "relation"
    finally:
        connection.close()


def _check_name(name: str, known: list[str]) -> None:
    if not known:
        raise UserError("nothing was published yet; run 'tidemark run' first")
    if name not in known:
        raise UserError(f"there is no relation {name!r}; there are {', '.join(sorted(known))}")


def _postgres_table(settings: Settings, name: str) -> Any:
    import pyarrow as pa

    from ingest.warehouse import open_warehouse

    warehouse = open_warehouse(settings, read_only=True)
    try:
        known = warehouse.execute(
            "select table_name from information_schema.tables where table_schema = 'marts'"
        )
        _check_name(name, [row[0] for row in known])
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
            cursor.execute(f'select * from marts."{name}"')
            while rows := cursor.fetchmany(BATCH):
                arrays = [
                    pa.array(values, type=field.type)
                    for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                batches.append(pa.record_batch(arrays, schema=schema))
        return pa.Table.from_batches(batches, schema=schema)
    finally:
        warehouse.close()


def _arrow_type(pa: Any, kind: str) -> Any:
    if kind.startswith("timestamp"):
        return pa.timestamp("us")
    return getattr(pa, ARROW_TYPES[kind])() if kind in ARROW_TYPES else pa.string()

"""The least that a load can cost: the fields of the contracts, typed, and nothing else.

``python -m tests.benchmarks.load_typed duckdb|postgres|postgres-lines WHERE FILE``: into a DuckDB
file by read_json; into Postgres by COPY of what DuckDB typed, or of the lines as they are.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import duckdb

from ingest.registry import registry

_TYPES = {
    "string": "VARCHAR", "text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE",
    "boolean": "BOOLEAN", "timestamp": "TIMESTAMP", "array": "JSON", "object": "JSON",
}  # fmt: skip

_POSTGRES = {"VARCHAR": "text", "DOUBLE": "double precision", "JSON": "json"}

BLOCK = 1 << 20


def typed_columns() -> dict[str, str]:
    """Return the columns of read_json: every field of the contracts with its type."""

    def struct(types: dict[str, str]) -> str:
        return "STRUCT(" + ", ".join(f'"{n}" {_TYPES[t]}' for n, t in types.items()) + ")"

    columns = {name: _TYPES[kind] for name, kind in registry().envelope_columns().items()}
    columns["context"] = struct({n: f.type for n, f in registry().context.items()})
    columns["properties"] = struct(registry().property_types())
    return columns


def read_json(path: Path) -> str:
    """Return the table function that reads a file with all fields typed."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in typed_columns().items())
    return f"read_json('{path}', format = 'newline_delimited', columns = {{{columns}}})"


def into_duckdb(database: str, path: Path) -> None:
    """Read the file into a table with a struct each for context and properties."""
    with duckdb.connect(database) as connection:
        connection.execute(f"create table events as select * from {read_json(path)}")


def flat_columns() -> dict[str, tuple[str, str]]:
    """Return an expression for each field of the contracts, with its name and DuckDB's type."""
    kinds = typed_columns()
    found = {f'"{n}"': (n, kind) for n, kind in kinds.items() if not kind.startswith("STRUCT")}
    for group, fields in (
        ("context", {n: f.type for n, f in registry().context.items()}),
        ("properties", registry().property_types()),
    ):
        found |= {f'{group}."{n}"': (f"{group}_{n}", _TYPES[t]) for n, t in fields.items()}
    return found


def into_postgres(url: str, path: Path) -> None:
    """Type the file with DuckDB and copy it into a table with a column for each field."""
    columns = flat_columns()
    ddl = ", ".join(f'"{name}" {_POSTGRES.get(kind, kind)}' for name, kind in columns.values())
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        duckdb.execute(
            f"copy (select {', '.join(columns)} from {read_json(path)}) "
            f"to '{file.name}' (format csv, header false)"
        )
        _copy(url, ddl, "format csv", Path(file.name))


def lines_into_postgres(url: str, path: Path) -> None:
    """Copy the lines into a table of one column of type json."""
    # A delimiter and a quote that JSON cannot hold, so that a line is a field.
    _copy(url, "line json", "format csv, delimiter e'\\x01', quote e'\\x02'", path)


def _copy(url: str, columns: str, options: str, path: Path) -> None:
    import psycopg

    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"create table events ({columns})")  # type: ignore[call-overload]
        statement = f"copy events from stdin ({options})"
        with cursor.copy(statement) as copy, path.open("rb") as file:  # type: ignore[call-overload]
            while block := file.read(BLOCK):
                copy.write(block)


if __name__ == "__main__":
    _WAYS = {
        "duckdb": into_duckdb, "postgres": into_postgres, "postgres-lines": lines_into_postgres,
    }  # fmt: skip
    _WAYS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))

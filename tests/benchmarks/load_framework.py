"""A loading framework, dlt, merging by event_id, fed in three ways.

``python -m tests.benchmarks.load_framework duckdb|postgres WHERE FILE typed|json|lines``: Arrow
batches with every field typed, as DuckDB reads them; Arrow batches with properties left as JSON,
which is the least it can do; parsed lines, as its own introduction has it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from tests.benchmarks.load_lines import COLUMNS
from tests.benchmarks.load_typed import flat_columns, read_json

#: So that it sends nothing anywhere.
SILENT = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}

#: What load_lines calls these types, as DuckDB does.
TYPES = {"timestamp": "TIMESTAMP", "bigint": "BIGINT", "double precision": "DOUBLE", "json": "JSON"}

BATCH = 100_000
LINES = 5_000


def typed(path: Path) -> Iterator[Any]:
    """Yield the file as Arrow tables with a column for each field of the contracts."""
    chosen = ", ".join(
        f'cast({expression} as varchar) as "{name}"'
        if kind == "JSON"
        else f'{expression} as "{name}"'
        for expression, (name, kind) in flat_columns().items()
    )
    return _arrow(f"select {chosen} from {read_json(path)}")


def with_json(path: Path) -> Iterator[Any]:
    """Yield the file as Arrow tables with the columns of ``load_lines``."""
    columns = {name: TYPES.get(kind, "VARCHAR") for name, kind in COLUMNS.items()}
    listed = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    chosen = ", ".join(
        f"cast({name} as varchar) as {name}" if kind == "JSON" else name
        for name, kind in columns.items()
    )
    return _arrow(
        f"select {chosen} from read_json('{path}', format = 'newline_delimited', "
        f"columns = {{{listed}}})"
    )


def _arrow(query: str) -> Iterator[Any]:
    import pyarrow as pa

    for batch in duckdb.sql(query).to_arrow_reader(BATCH):
        yield pa.Table.from_batches([batch])


def lines(path: Path) -> Iterator[Any]:
    """Yield lists of events; the framework finds out what is in them."""
    with path.open("rb") as file:
        while found := [json.loads(line) for line in islice(file, LINES)]:
            yield found


FEEDS = {"typed": typed, "json": with_json, "lines": lines}


def load(target: str, where: str, path: Path, feed: str) -> None:
    """Load a file into a table ``events`` of dataset ``loaded``, merged by event_id."""
    os.environ.update(SILENT)
    import dlt

    destination = dlt.destinations.duckdb if target == "duckdb" else dlt.destinations.postgres
    # It asks for a password, also of a server that does not.
    where = re.sub(r"^(postgresql://\w+)@", r"\1:none@", where)
    pipeline = dlt.pipeline(
        "bench", destination=destination(where), dataset_name="loaded",
        pipelines_dir=os.environ["DLT_DATA_DIR"],
    )  # fmt: skip
    resource = dlt.resource(
        FEEDS[feed](path), name="events", write_disposition="merge", primary_key="event_id",
        # Lists stay in their row, as in every other way.
        max_table_nesting=0 if feed != "lines" else 1,
    )  # fmt: skip
    # What it writes for Postgres without a further driver.
    form = "parquet" if target == "duckdb" else "csv"
    pipeline.run(resource, loader_file_format=form)


if __name__ == "__main__":
    load(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])

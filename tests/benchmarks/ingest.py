"""How much a load costs beside DuckDB's bare typed read of the same file into a table."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ingest.registry import registry
from ingest.simulator import simulate
from tests.benchmarks.measure import cost_of, python, typical, write_results

_TYPES = {
    "string": "VARCHAR", "text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE",
    "boolean": "BOOLEAN", "timestamp": "TIMESTAMP", "array": "JSON", "object": "JSON",
}  # fmt: skip

_BARE = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute(
    "create table events as select * from read_json('" + sys.argv[2]
    + "', format = 'newline_delimited', columns = " + sys.argv[3] + ")"
)
connection.close()
"""


def typed_columns() -> str:
    """Return the columns of read_json: every field of the contracts with its type."""

    def struct(types: dict[str, str]) -> str:
        return "STRUCT(" + ", ".join(f'"{n}" {_TYPES[t]}' for n, t in types.items()) + ")"

    columns = {name: _TYPES[kind] for name, kind in registry().envelope_columns().items()}
    columns["context"] = struct({n: f.type for n, f in registry().context.items()})
    columns["properties"] = struct(registry().property_types())
    return "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items()) + "}"


def run(folder: Path, events: int) -> None:
    """Compare three loads of one file of simulated events with three bare reads."""
    world = simulate(days=90, size=events, seed=1, out=folder / "events")
    path = folder / "all.ndjson"
    with path.open("wb") as whole:
        for part in world.files:
            whole.write(part.read_bytes())
    bare, load = [], []
    command = [str(Path(sys.executable).parent / "tidemark"), "ingest", str(path), "--quiet"]
    for attempt in range(3):
        database = folder / f"bare-{attempt}.duckdb"
        bare.append(cost_of(python(_BARE, str(database), str(path), typed_columns()), {}))
        database.unlink()
        home = folder / f"home-{attempt}"
        load.append(cost_of(command, {"TIDEMARK_HOME": str(home)}))
        shutil.rmtree(home)
    read, whole_load = typical(bare), typical(load)
    write_results(
        "ingest",
        f"Ingest of {world.lines:,} NDJSON events into DuckDB",
        [
            ["way", "CPU s", "wall s", "CPU ratio"],
            ["bare typed read of the file into a table", f"{read.cpu:.1f}", f"{read.wall:.1f}", "1.0"],
            ["`tidemark ingest`", f"{whole_load.cpu:.1f}", f"{whole_load.wall:.1f}",
             f"{whole_load.cpu / read.cpu:.2f}"],
        ],
        "Medians of three. Both read the same file of "
        f"{path.stat().st_size / 1e6:.0f} MB into a database file with every field of the "
        "contracts typed; ingest adds strict bytes, validation, privacy, deduplication, "
        "bookkeeping and the start of the program. Target: at most 3.",
    )  # fmt: skip

"""What readers read, opened to be read: the published file on DuckDB, schema ``marts`` on Postgres.

Belongs here: opening it, and the one line when there is nothing yet. What is shown of it belongs
to the commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.warehouse import Warehouse, duckdb_connection, open_warehouse

NOTHING = "nothing was published yet; run 'tidemark run' first"


@contextmanager
def open_published(settings: Settings) -> Iterator[Warehouse]:
    """Give a connection that sees ``marts`` and ``ops.publications`` as readers do.

    Raises:
        UserError: nothing was published yet.

    """
    if settings.target == "postgres":
        warehouse = open_warehouse(settings, read_only=True)
    else:
        if not settings.published_path.exists():
            raise UserError(NOTHING)
        connection = duckdb_connection(settings.published_path, read_only=True)
        warehouse = Warehouse("duckdb", connection)
    try:
        known = warehouse.relation_exists("ops", "publications")
        if not known or not warehouse.value("select count(*) from ops.publications"):
            raise UserError(NOTHING)
        yield warehouse
    finally:
        warehouse.close()


def require(warehouse: Warehouse, *relations: str) -> None:
    """Refuse when a relation was not published.

    Raises:
        UserError: names the first one that is missing.

    """
    for name in relations:
        if not warehouse.relation_exists("marts", name):
            raise UserError(
                f"{name} is not published; run 'tidemark run' with this version of Tidemark"
            )

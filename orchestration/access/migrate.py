"""Bring a Postgres warehouse to what the contracts and the matrix say, and tell what was changed.

Belongs here: the order of it, and who is refused. What is wanted is said in
``orchestration.publication.readers_tables`` and ``orchestration.access.catalogue``. DuckDB has no
roles: there the whole matter is in ``tidemark export --as``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ingest.errors import UserError
from ingest.hash_links import look_over_hashes
from ingest.settings import Settings
from ingest.warehouse import LOAD_LOCK, Warehouse
from orchestration.access.catalogue import differences
from orchestration.access.matrix import read_matrix
from orchestration.access.roles import TRANSFORMER, Difference
from orchestration.publication import readers_tables
from orchestration.relations import Relation, marts

if TYPE_CHECKING:
    from orchestration.session import RunSession


def role_of(settings: Settings) -> str | None:
    """Return the role that dbt works as: none on DuckDB, which has no roles."""
    return TRANSFORMER if settings.target == "postgres" else None


def settle(session: RunSession, manifest: Mapping[str, Any]) -> list[str]:
    """Make roles, readers' tables, policies and grants, and return what was done in words.

    In one transaction; what is as wanted is not touched. On DuckDB there is nothing to do.

    Raises:
        UserError: the login may not do it, or something has to be decided by a person.

    """
    if session.settings.target != "postgres":
        return []
    with session.warehouse.transaction():
        # Who only loads may not look over what is stored when the keys are new.
        session.warehouse.execute("select pg_advisory_xact_lock(?)", [LOAD_LOCK])
        look_over_hashes(session.warehouse, session.settings)
        done = settle_within(session.settings, session.warehouse, marts(manifest))
    if done:
        more = f" and {len(done) - 3} more" if len(done) > 3 else ""
        session.note(f"access put right: {'; '.join(done[:3])}{more}")
    return done


def settle_within(
    settings: Settings, warehouse: Warehouse, published: Sequence[Relation]
) -> list[str]:
    """Do the work of ``settle`` within the caller's transaction.

    Raises:
        UserError: as ``settle``; the caller's transaction cannot go on.

    """
    rules = read_matrix(settings, published)
    warehouse.execute("create schema if not exists marts")
    done = readers_tables.make(warehouse, published)
    for _ in range(3):
        found = differences(warehouse, rules, published)
        mendable = [difference for difference in found if difference.mend]
        if not mendable:
            break
        _mend(warehouse, mendable)
        done += [difference.text for difference in mendable]
    if found:
        texts = "; ".join(difference.text for difference in found[:5])
        raise UserError(
            f"access is not as the matrix says: {texts}; remove it, or add it to access_rules, "
            "and run 'tidemark migrate' again"
        )
    return done


def check(
    settings: Settings, warehouse: Warehouse, published: Sequence[Relation]
) -> list[Difference]:
    """Return what is otherwise than the matrix says, without changing anything."""
    if warehouse.target != "postgres":
        return []
    return differences(warehouse, read_matrix(settings, published), published)


def _mend(warehouse: Warehouse, found: Sequence[Difference]) -> None:
    import psycopg

    for difference in found:
        assert difference.mend is not None
        try:
            with warehouse.connection.transaction():
                warehouse.execute(difference.mend)
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            # Another database of this server made the role in the meantime.
            continue
        except psycopg.errors.InsufficientPrivilege as error:
            raise UserError(
                f"{difference.text}, and the login of TIDEMARK_POSTGRES_URL may not mend it "
                f"({str(error).splitlines()[0]}); let one that may create roles run "
                "'tidemark migrate'"
            ) from None

"""The roles of the project and the words that the check of the catalogue is made of.

Belongs here: names of roles and schemas, what a role may be, and what a difference is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingest.sql_text import identifier
from ingest.warehouse import Warehouse
from orchestration.access.matrix import PEOPLE
from orchestration.relations import READERS_SCHEMA

LOADER, TRANSFORMER, PUBLISHER = "tidemark_loader", "tidemark_transformer", "tidemark_publisher"

GROUPS = (LOADER, TRANSFORMER, PUBLISHER, *(f"tidemark_{role}" for role in PEOPLE))

#: Schemas that dbt writes.
BUILT = ("staging", "intermediate", "build", "reference")

OURS = (*BUILT, "raw", "ops", READERS_SCHEMA)

#: Attributes that a group may not have, by their column of pg_roles.
ATTRIBUTES = {
    "rolcanlogin": "login", "rolsuper": "superuser", "rolcreaterole": "createrole",
    "rolcreatedb": "createdb", "rolbypassrls": "bypassrls", "rolreplication": "replication",
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Something that the catalogue has otherwise than the matrix wants it.

    ``mend`` is the statement that puts it right; None where a person has to decide.
    """

    text: str
    mend: str | None


def role_differences(warehouse: Warehouse) -> Iterator[Difference]:
    """Yield groups that are missing, can more than they should, or belong to other roles."""
    columns = ", ".join(ATTRIBUTES)
    found = {
        row[0]: row[1:]
        for row in warehouse.execute(
            f"select rolname, {columns} from pg_roles where rolname = any(?)", [list(GROUPS)]
        )
    }
    for group in GROUPS:
        if group not in found:
            yield Difference(f"role {group} is missing", f"create role {group} nologin")
            continue
        for attribute, has in zip(ATTRIBUTES.values(), found[group], strict=True):
            if has:
                yield Difference(
                    f"role {group} has {attribute}", f"alter role {group} no{attribute}"
                )
    for member, group in warehouse.execute(
        "select pg_get_userbyid(member), pg_get_userbyid(roleid) from pg_auth_members "
        "where pg_get_userbyid(member) = any(?) order by 1, 2",
        [list(GROUPS)],
    ):
        yield Difference(
            f"role {member} is a member of {group}",
            f"revoke {identifier(group)} from {identifier(member)}",
        )
    version = warehouse.connection.info.server_version
    for group in (TRANSFORMER, PUBLISHER):
        if group not in found or not warehouse.value(
            "select pg_has_role(current_user, ?, 'USAGE') and pg_has_role(current_user, ?, ?)",
            [group, group, "SET" if version >= 160000 else "MEMBER"],
        ):
            options = " with inherit true, set true" if version >= 160000 else ""
            yield Difference(
                f"the login of runs cannot act as {group}",
                f"grant {group} to current_user{options}",
            )


def readers_relations(warehouse: Warehouse) -> dict[str, tuple[str, bool, bool, bool]]:
    """Return kind, enabled, forced and security_invoker of what stands in ``marts``."""
    return {
        name: (kind, enabled, forced, invoker)
        for name, kind, enabled, forced, invoker in warehouse.execute(
            "select relname, relkind::text, relrowsecurity, relforcerowsecurity, "
            "coalesce(reloptions && array['security_invoker=true', 'security_invoker=on'], false) "
            "from pg_class where relnamespace = to_regnamespace(?) "
            "and relkind in ('r', 'p', 'v', 'm', 'f') order by relname",
            [READERS_SCHEMA],
        )
    }

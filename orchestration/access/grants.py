"""Privileges on Postgres: those that the matrix wants, and those that the catalogue has.

Belongs here: grants on schemas, relations, columns and functions, and default privileges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.sql_text import identifier
from ingest.warehouse import Warehouse
from orchestration.access import functions
from orchestration.access.matrix import Rule
from orchestration.access.roles import (
    LOADER,
    OURS,
    PUBLISHER,
    TRANSFORMER,
    Difference,
)
from orchestration.relations import READERS_SCHEMA, Relation

#: Who prepares data may do this and nothing else: table of ops or raw -> privileges.
PIPELINE: dict[str, dict[str, tuple[str, ...]]] = {
    LOADER: {
        "raw.events": ("INSERT", "SELECT(load_id)", "SELECT(event_date)"),
        "raw.event_ids": ("INSERT", "SELECT"),
        "ops.loads": ("INSERT", "SELECT"),
        "ops.load_dates": ("INSERT", "SELECT"),
        "ops.unknown_properties": ("INSERT",),
        # To resolve what a file left open that is read again; the payloads stay unseen.
        "ops.rejected_events": (
            "INSERT",
            "SELECT(rejection_id)",
            "SELECT(load_id)",
            "SELECT(resolved_at)",
            "UPDATE(resolved_at)",
            "UPDATE(resolution)",
        ),
        "ops.partitions": ("INSERT", "SELECT", "UPDATE"),
        "ops.migrations": ("SELECT",),
        "ops.warehouse": ("SELECT",),
        "ops.event_schema_versions": ("INSERT", "SELECT", "UPDATE"),
        "ops.erasure_salt": ("INSERT", "SELECT"),
        "ops.erasure_tombstones": ("INSERT", "SELECT"),
        "ops.erasures": ("INSERT", "SELECT"),
        "ops.closed_dates": ("SELECT",),
        "ops.hash_windows": ("DELETE", "INSERT", "SELECT"),
        "ops.hashes_written": ("INSERT", "SELECT", "DELETE"),
        "ops.hash_links": ("INSERT", "SELECT"),
        "ops.staff_written": ("INSERT", "SELECT"),
        "ops.staff_aliases": ("INSERT", "SELECT"),
    },
    TRANSFORMER: {
        "raw.events": ("SELECT",),
        "ops.identity_revocations": ("SELECT",),
        "ops.hash_links": ("SELECT",),
    },
    PUBLISHER: {},
}


@dataclass(frozen=True, order=True)
class Grant:
    """A privilege: on a schema, on a relation or one of its columns, or on a function."""

    kind: str
    schema: str
    name: str
    column: str
    grantee: str
    privilege: str
    grantable: bool = False

    @property
    def target(self) -> str:
        """The object as GRANT names it."""
        if self.kind == "schema":
            return f"schema {identifier(self.schema)}"
        if self.kind == "function":
            return f"function {identifier(self.schema)}.{self.name}"
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def what(self) -> str:
        """The privilege as GRANT names it."""
        return f"{self.privilege} ({identifier(self.column)})" if self.column else self.privilege

    @property
    def words(self) -> str:
        """The grant for a person."""
        option = " with grant option" if self.grantable else ""
        return f"{self.what} on {self.target} for {self.grantee}{option}"


GRANTS = """
select
    'relation', nspname, relname, '', grantee, privilege_type, is_grantable
from pg_class
inner join pg_namespace on pg_namespace.oid = relnamespace
cross join aclexplode(coalesce(relacl, acldefault('r', relowner)))
where nspname = any(%(schemas)s) and relkind in ('r', 'p', 'v', 'm', 'f') and grantee <> relowner
union all
select
    'relation', nspname, relname, attname, grantee, privilege_type, is_grantable
from pg_attribute
inner join pg_class on pg_class.oid = attrelid
inner join pg_namespace on pg_namespace.oid = relnamespace
cross join aclexplode(attacl)
where nspname = any(%(schemas)s) and grantee <> relowner
union all
select 'schema', nspname, '', '', grantee, privilege_type, is_grantable
from pg_namespace
cross join aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
where nspname = any(%(schemas)s) and grantee <> nspowner
union all
select
    'function', nspname,
    format('%%I(%%s)', proname, pg_get_function_identity_arguments(pg_proc.oid)), '',
    grantee, privilege_type, is_grantable
from pg_proc
inner join pg_namespace on pg_namespace.oid = pronamespace
cross join aclexplode(coalesce(proacl, acldefault('f', proowner)))
where nspname = any(%(schemas)s) and grantee <> proowner
"""


def _grantee(name: str) -> str:
    """Name a role as GRANT does; PUBLIC is a word of SQL and no role."""
    return "public" if name == "PUBLIC" else identifier(name)


def grant_differences(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> Iterator[Difference]:
    """Yield grants that stand in no rule, then those that are missing."""
    rows = warehouse.connection.execute(GRANTS, {"schemas": list(OURS)}).fetchall()
    names = dict(warehouse.execute("select oid, rolname from pg_roles"))
    found = {
        Grant(kind, schema, name, column, names.get(grantee, "PUBLIC"), privilege, grantable)
        for kind, schema, name, column, grantee, privilege, grantable in rows
    }
    wanted = _wanted_grants(warehouse, rules, marts)
    for grant in sorted(found - wanted):
        yield Difference(
            f"{grant.words} stands in no rule",
            f"revoke {grant.what} on {grant.target} from {_grantee(grant.grantee)} cascade",
        )
    for grant in sorted(wanted - found):
        yield Difference(
            f"{grant.words} is missing",
            f"grant {grant.what} on {grant.target} to {_grantee(grant.grantee)}",
        )


def _wanted_grants(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> set[Grant]:
    tables: dict[str, list[str]] = {schema: [] for schema in OURS}
    for schema, name in warehouse.execute(
        "select nspname, relname from pg_class "
        "inner join pg_namespace on pg_namespace.oid = relnamespace "
        "where nspname = any(?) and relkind in ('r', 'p', 'v', 'm') and not relispartition",
        [list(OURS)],
    ):
        tables[schema].append(name)
    readable = {*tables[READERS_SCHEMA], *(m.name for m in marts if m.contract and not m.is_view)}
    tables[READERS_SCHEMA] = sorted(readable)
    wanted: set[Grant] = set()

    def table(grantee: str, schema: str, name: str, *privileges: str) -> None:
        wanted.add(Grant("schema", schema, "", "", grantee, "USAGE"))
        for privilege in privileges:
            what, _, column = privilege.rstrip(")").partition("(")
            wanted.add(Grant("relation", schema, name, column, grantee, what))

    for rule in rules:
        group = f"tidemark_{rule.role}"
        whole = rule.relation == "*" and rule.schema != READERS_SCHEMA
        for name in tables[rule.schema] if whole else [rule.relation]:
            if name in tables[rule.schema]:
                table(group, rule.schema, name, "SELECT")
        if rule.schema == "ops" and rule.role == "superadmin":
            table(group, "ops", "identities", "INSERT", "UPDATE", "DELETE")
    for group, privileges in PIPELINE.items():
        for name, wants in privileges.items():
            schema, _, relation = name.partition(".")
            table(group, schema, relation, *wants)
    for name in tables["build"]:
        table(PUBLISHER, "build", name, "SELECT")
    for mart in marts:
        if mart.name in tables[READERS_SCHEMA] and not mart.is_view:
            table(PUBLISHER, READERS_SCHEMA, mart.name, "SELECT", "INSERT", "UPDATE", "DELETE")
    wanted |= {
        Grant("function", schema, name, "", grantee, "EXECUTE")
        for schema, name, grantee in functions.wanted_grants(rules)
    }
    # Who is granted the tables that dbt has yet to make can enter their schemas already.
    wanted |= {Grant("schema", s, "", "", grantee, "USAGE") for s, grantee in DEFAULT_PRIVILEGES}
    return wanted


#: Tables that dbt will make in a schema can be read by these.
DEFAULT_PRIVILEGES = (
    ("intermediate", "tidemark_admin"),
    ("intermediate", "tidemark_superadmin"),
    ("build", PUBLISHER),
)


def default_privilege_differences(warehouse: Warehouse) -> Iterator[Difference]:
    """Yield default privileges that are missing or stand in no rule."""
    found = {
        (owner, schema, kind, grantee, privilege)
        for owner, schema, kind, grantee, privilege in warehouse.execute(
            "select pg_get_userbyid(defaclrole), coalesce(nspname, ''), defaclobjtype::text, "
            "case when grantee = 0 then 'PUBLIC' else pg_get_userbyid(grantee)::text end, "
            "privilege_type from pg_default_acl "
            "left join pg_namespace on pg_namespace.oid = defaclnamespace "
            "cross join aclexplode(defaclacl) where grantee <> defaclrole "
            "and (nspname is null or nspname = any(?))",
            [list(OURS)],
        )
    }
    wanted = {(TRANSFORMER, schema, "r", who, "SELECT") for schema, who in DEFAULT_PRIVILEGES}
    kinds = {"r": "tables", "S": "sequences", "f": "functions", "T": "types", "n": "schemas"}
    for owner, schema, kind, grantee, privilege in sorted(found ^ wanted):
        key = (owner, schema, kind, grantee, privilege)
        where = f"in schema {identifier(schema)} " if schema else ""
        change, to = ("grant", "to") if key in wanted else ("revoke", "from")
        yield Difference(
            f"default privilege {privilege} on {kinds.get(kind, kind)} of {owner} for {grantee} "
            + ("is missing" if key in wanted else "stands in no rule"),
            f"alter default privileges for role {identifier(owner)} {where}{change} {privilege} "
            f"on {kinds.get(kind, kind)} {to} {_grantee(grantee)}",
        )

"""What Postgres says of roles, grants and policies, held against the matrix.

Belongs here: all differences in an order in which they can be mended, and what concerns schemas,
owners, and ways around. Nothing is changed here; who mends is ``orchestration.access.migrate``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ingest.sql_text import identifier
from ingest.warehouse import Warehouse
from orchestration.access import functions
from orchestration.access.grants import default_privilege_differences, grant_differences
from orchestration.access.matrix import PEOPLE, Rule
from orchestration.access.policies import policy_differences
from orchestration.access.roles import (
    BUILT,
    GROUPS,
    OURS,
    TRANSFORMER,
    Difference,
    readers_relations,
    role_differences,
)
from orchestration.relations import READERS_SCHEMA, Relation


def differences(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> list[Difference]:
    """Return what is otherwise than wanted, in an order in which it can be mended."""
    # A mart without a contract gets its table, and its rules, with its first publication.
    there = {mart.name for mart in marts if mart.contract} | set(readers_relations(warehouse))
    rules = [
        rule
        for rule in rules
        if rule.schema != READERS_SCHEMA
        or (rule.relation in there and (rule.owners_relation or rule.relation) in there)
    ]
    return [
        *role_differences(warehouse),
        *_schemas(warehouse),
        *_owners(warehouse),
        *_relations(warehouse, marts),
        *functions.differences(warehouse, rules),
        *policy_differences(warehouse, rules, marts),
        *grant_differences(warehouse, rules, marts),
        *default_privilege_differences(warehouse),
        *_guard(warehouse),
        *_ways_around(warehouse, rules),
    ]


def _schemas(warehouse: Warehouse) -> Iterator[Difference]:
    owners = dict(
        warehouse.execute(
            "select nspname, pg_get_userbyid(nspowner) from pg_namespace where nspname = any(?)",
            [list(OURS)],
        )
    )
    for schema in (*BUILT, READERS_SCHEMA):
        owner = TRANSFORMER if schema in BUILT else "current_user"
        if schema not in owners:
            yield Difference(
                f"schema {schema} is missing",
                f"create schema if not exists {schema} authorization {owner}",
            )
        elif schema in BUILT and owners[schema] != TRANSFORMER:
            yield Difference(
                f"schema {schema} belongs to {owners[schema]}",
                f"alter schema {schema} owner to {owner}",
            )
    for schema in ("raw", "ops", READERS_SCHEMA):
        if owners.get(schema) in GROUPS:
            yield Difference(
                f"schema {schema} belongs to {owners[schema]}",
                f"alter schema {schema} owner to current_user",
            )


def _owners(warehouse: Warehouse) -> Iterator[Difference]:
    kinds = {"v": "view", "m": "materialized view"}
    for schema, name, kind, owner in warehouse.execute(
        "select nspname, relname, relkind::text, pg_get_userbyid(relowner) from pg_class "
        "inner join pg_namespace on pg_namespace.oid = relnamespace "
        "where nspname = any(?) and relkind in ('r', 'p', 'v', 'm') order by 1, 2",
        [list(OURS)],
    ):
        word = kinds.get(kind, "table")
        wrong = owner != TRANSFORMER if schema in BUILT else owner in GROUPS
        if wrong:
            to = TRANSFORMER if schema in BUILT else "current_user"
            yield Difference(
                f"{word} {schema}.{name} belongs to {owner}",
                f"alter {word} {identifier(schema)}.{identifier(name)} owner to {to}",
            )


def _relations(warehouse: Warehouse, marts: Sequence[Relation]) -> Iterator[Difference]:
    names = {mart.name for mart in marts}
    for name, (kind, enabled, forced, invoker) in readers_relations(warehouse).items():
        table = f"{READERS_SCHEMA}.{identifier(name)}"
        if kind == "v":
            if not invoker:
                yield Difference(
                    f"view {READERS_SCHEMA}.{name} reads with its owner's rights",
                    f"alter view {table} set (security_invoker = true)",
                )
        elif kind in ("m", "f"):
            yield Difference(f"{READERS_SCHEMA}.{name} knows no row-level security", None)
        elif not enabled or not forced:
            yield Difference(
                f"row-level security of {READERS_SCHEMA}.{name} is "
                + ("not forced" if enabled else "off"),
                f"alter table {table} enable row level security, force row level security",
            )
        if name not in names and kind == "v":
            yield Difference(f"view {READERS_SCHEMA}.{name} is none of the project", None)


def _guard(warehouse: Warehouse) -> Iterator[Difference]:
    """The event trigger: only a superuser can have one, and so the check is there without it."""
    if not warehouse.value("select rolsuper from pg_roles where rolname = current_user"):
        return
    enabled = warehouse.value(
        "select evtenabled::text from pg_event_trigger where evtname = ?", [functions.GUARD]
    )
    if enabled is None:
        yield Difference(f"event trigger {functions.GUARD} is missing", functions.GUARD_TRIGGER)
    elif enabled != "A":
        yield Difference(
            f"event trigger {functions.GUARD} is not always on",
            f"alter event trigger {functions.GUARD} enable always",
        )


def _ways_around(warehouse: Warehouse, rules: Sequence[Rule]) -> Iterator[Difference]:
    """What opens a way past policies and was made by somebody else: a person has to decide."""
    ours = list(OURS)
    known = sorted(functions.known(rules))
    for (name,) in warehouse.execute(
        "select format('%I.%I', nspname, proname) from pg_proc "
        "inner join pg_namespace on pg_namespace.oid = pronamespace "
        "where prosecdef and nspname not in ('pg_catalog', 'information_schema') "
        "and not format('%I.%I', nspname, proname) = any(?) "
        "and not exists (select from pg_depend where classid = 'pg_proc'::regclass "
        "and objid = pg_proc.oid and deptype = 'e') order by 1",
        [known],
    ):
        yield Difference(f"function {name} runs with its owner's rights", None)
    for (name,) in warehouse.execute(
        "select distinct format('%I.%I', v.relnamespace::regnamespace::text, v.relname) "
        "from pg_depend inner join pg_rewrite on pg_rewrite.oid = objid "
        "inner join pg_class as v on v.oid = ev_class "
        "inner join pg_class as t on t.oid = refobjid "
        "where pg_depend.classid = 'pg_rewrite'::regclass "
        "and refclassid = 'pg_class'::regclass and v.oid <> t.oid "
        "and t.relnamespace::regnamespace::text = any(?) "
        "and not v.relnamespace::regnamespace::text = any(?) "
        "and (v.relkind = 'm' or not coalesce(v.reloptions && "
        "array['security_invoker=true', 'security_invoker=on'], false)) order by 1",
        [ours, ours],
    ):
        yield Difference(f"view {name} shows our tables with its owner's rights", None)
    for name, table in warehouse.execute(
        "select tgname, tgrelid::regclass::text from pg_trigger where not tgisinternal "
        "and tgrelid in (select oid from pg_class where relnamespace::regnamespace::text = any(?)) "
        "union all select rulename, ev_class::regclass::text from pg_rewrite "
        "where rulename <> '_RETURN' and ev_class in "
        "(select oid from pg_class where relnamespace::regnamespace::text = any(?)) order by 1",
        [ours, ours],
    ):
        yield Difference(f"trigger or rule {name} on {table} is none of the project", None)
    for child, parent in warehouse.execute(
        "select inhrelid::regclass::text, inhparent::regclass::text from pg_inherits "
        "inner join pg_class on pg_class.oid = inhparent "
        "where relnamespace = to_regnamespace(?) and relkind in ('r', 'p') order by 1",
        [READERS_SCHEMA],
    ):
        yield Difference(f"{child} inherits rows of {parent} with policies of its own", None)
    for role, settings in warehouse.execute(
        "select rolname, array_to_string(setconfig, ', ') from pg_db_role_setting "
        "inner join pg_roles on pg_roles.oid = setrole where rolname = any(?) order by 1",
        [list(GROUPS)],
    ):
        yield Difference(
            f"role {role} has settings of its own ({settings})", f"alter role {role} reset all"
        )
    people = [f"tidemark_{role}" for role in PEOPLE if role not in ("admin", "superadmin")]
    for login, role in warehouse.execute(
        "select people.rolname, groups.rolname from pg_roles as people "
        "cross join pg_roles as groups where groups.rolname = any(?) "
        "and (people.rolsuper or people.rolbypassrls) and people.rolname <> current_user "
        "and exists (select from pg_auth_members "
        "where member = people.oid and roleid = groups.oid) order by 1, 2",
        [people],
    ):
        yield Difference(f"login {login} of {role} is above row-level security", None)

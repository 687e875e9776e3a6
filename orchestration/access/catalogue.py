"""What Postgres says of roles, grants and policies, held against the matrix.

Belongs here: the wanted state, read off the matrix, the state that the catalogue shows, and the
differences, each with the statement that mends it. Nothing is changed here; who mends is
``orchestration.access.migrate``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.warehouse import Warehouse
from orchestration.access import functions
from orchestration.access.matrix import PEOPLE, READERS_SCHEMA, Rule
from orchestration.relations import Relation

LOADER, TRANSFORMER, PUBLISHER = "tidemark_loader", "tidemark_transformer", "tidemark_publisher"

GROUPS = (LOADER, TRANSFORMER, PUBLISHER, *(f"tidemark_{role}" for role in PEOPLE))

#: Schemas that dbt writes.
BUILT = ("staging", "intermediate", "build", "reference")

OURS = (*BUILT, "raw", "ops", READERS_SCHEMA)

#: Who prepares data may do this and nothing else: table of ops or raw -> privileges.
PIPELINE: dict[str, dict[str, tuple[str, ...]]] = {
    LOADER: {
        "raw.events": ("INSERT", "SELECT(load_id)", "SELECT(event_date)"),
        "raw.event_ids": ("INSERT", "SELECT"),
        "ops.loads": ("INSERT", "SELECT"),
        "ops.load_dates": ("INSERT", "SELECT"),
        "ops.unknown_properties": ("INSERT",),
        "ops.rejected_events": ("INSERT", "SELECT(rejection_id)"),
        "ops.partitions": ("INSERT", "SELECT", "UPDATE"),
        "ops.migrations": ("SELECT",),
        "ops.warehouse": ("SELECT",),
        "ops.event_schema_versions": ("INSERT", "SELECT", "UPDATE"),
    },
    TRANSFORMER: {"raw.events": ("SELECT",), "ops.identity_revocations": ("SELECT",)},
    PUBLISHER: {},
}

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
            return f"schema {quoted(self.schema)}"
        if self.kind == "function":
            return f"function {quoted(self.schema)}.{self.name}"
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def what(self) -> str:
        """The privilege as GRANT names it."""
        return f"{self.privilege} ({quoted(self.column)})" if self.column else self.privilege

    @property
    def words(self) -> str:
        """The grant for a person."""
        option = " with grant option" if self.grantable else ""
        return f"{self.what} on {self.target} for {self.grantee}{option}"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier; PUBLIC is none."""
    return "public" if name == "PUBLIC" else '"' + name.replace('"', '""') + '"'


def differences(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> list[Difference]:
    """Return what is otherwise than wanted, in an order in which it can be mended."""
    # A mart without a contract gets its table, and its rules, with its first publication.
    there = {mart.name for mart in marts if mart.contract} | set(_readers_relations(warehouse))
    rules = [
        rule
        for rule in rules
        if rule.schema != READERS_SCHEMA
        or (rule.relation in there and (rule.owners_relation or rule.relation) in there)
    ]
    return [
        *_roles(warehouse),
        *_schemas(warehouse),
        *_owners(warehouse),
        *_relations(warehouse, marts),
        *functions.differences(warehouse, rules),
        *_policies(warehouse, rules, marts),
        *_grants(warehouse, rules, marts),
        *_default_privileges(warehouse),
        *_guard(warehouse),
        *_ways_around(warehouse, rules),
    ]


def _roles(warehouse: Warehouse) -> Iterator[Difference]:
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
            f"role {member} is a member of {group}", f"revoke {quoted(group)} from {quoted(member)}"
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
                f"alter {word} {quoted(schema)}.{quoted(name)} owner to {to}",
            )


def _readers_relations(warehouse: Warehouse) -> dict[str, tuple[str, bool, bool, bool]]:
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


def _relations(warehouse: Warehouse, marts: Sequence[Relation]) -> Iterator[Difference]:
    names = {mart.name for mart in marts}
    for name, (kind, enabled, forced, invoker) in _readers_relations(warehouse).items():
        table = f"{READERS_SCHEMA}.{quoted(name)}"
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


@dataclass(frozen=True)
class Policy:
    """A policy as pg_policy has it; ``using`` and ``check`` as Postgres writes them back."""

    table: str
    name: str
    command: str
    roles: tuple[str, ...]
    permissive: bool
    using: str | None
    check: str | None


POLICIES = """
select
    relname, polname, polcmd::text,
    array(select case when r = 0 then 'PUBLIC' else pg_get_userbyid(r)::text end
          from unnest(polroles) as r order by 1),
    polpermissive, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
from pg_policy
inner join pg_class on pg_class.oid = polrelid
where relnamespace = {namespace}
order by relname, polname
"""


def _policies(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> Iterator[Difference]:
    there = {name for name, (kind, *_) in _readers_relations(warehouse).items() if kind in "rp"}
    there |= {mart.name for mart in marts if mart.contract and not mart.is_view}
    namespace = f"to_regnamespace('{READERS_SCHEMA}')"
    found = {
        (policy.table, policy.name): policy
        for policy in (
            Policy(table, name, command, tuple(roles), permissive, using, check)
            for table, name, command, roles, permissive, using, check in warehouse.execute(
                POLICIES.format(namespace=namespace)
            )
        )
    }
    wanted = _wanted_policies(warehouse, rules, sorted(there), marts)
    for key, policy in found.items():
        if wanted.get(key, (None, ""))[0] != policy:
            how = "is otherwise than the matrix says" if key in wanted else "stands in no rule"
            drop = f"drop policy {quoted(key[1])} on {READERS_SCHEMA}.{quoted(key[0])}"
            yield Difference(
                f"policy {key[1]} on {READERS_SCHEMA}.{key[0]} {how}",
                f"{drop}; {wanted[key][1]}" if key in wanted else drop,
            )
    for key, (_, statement) in wanted.items():
        if key not in found:
            text = f"policy {key[1]} on {READERS_SCHEMA}.{key[0]} is missing"
            yield Difference(text, statement)


def _wanted_policies(
    warehouse: Warehouse,
    rules: Sequence[Rule],
    tables: Sequence[str],
    marts: Sequence[Relation],
) -> dict[tuple[str, str], tuple[Policy, str]]:
    """Return each wanted policy, and the statement that makes it."""
    login = warehouse.value("select current_user")
    wanted = {}
    for table in tables:
        target = f"{READERS_SCHEMA}.{quoted(table)}"
        for name, role, grantee in (
            ("owner", login, "current_user"),
            ("publisher", PUBLISHER, PUBLISHER),
        ):
            wanted[table, name] = (
                Policy(table, name, "*", (role,), True, "true", "true"),
                f"create policy {name} on {target} to {grantee} using (true) with check (true)",
            )
    own = [rule for rule in rules if rule.schema == READERS_SCHEMA and rule.relation in tables]
    written = _as_postgres_writes(warehouse, [rule for rule in own if not rule.everything], marts)
    for rule in own:
        group = f"tidemark_{rule.role}"
        wanted[rule.relation, rule.role] = (
            Policy(
                rule.relation, rule.role, "r", (group,), True,
                written.get((rule.relation, rule.role), "true"), None,
            ),
            f"create policy {rule.role} on {READERS_SCHEMA}.{quoted(rule.relation)} for select "
            f"to {group} using ({functions.condition(rule)})",
        )  # fmt: skip
    return wanted


def _as_postgres_writes(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> dict[tuple[str, str], str]:
    """Return conditions as this server writes them back: of policies made and taken away again."""
    types = {mart.name: mart for mart in marts}
    known = functions.present(warehouse)
    with warehouse.connection.transaction(force_rollback=True):
        for rule in rules:
            if not functions.needed(rule) <= known:
                continue
            columns = _columns_of(warehouse, types[rule.relation])
            table = f"pg_temp.{quoted(rule.relation)}"
            warehouse.execute(
                f"create temp table if not exists {quoted(rule.relation)} ({columns})"
            )
            warehouse.execute(
                f"create policy {rule.role} on {table} for select "
                f"using ({functions.condition(rule)})"
            )
        return {
            (table, name): using
            for table, name, _, _, _, using, _ in warehouse.execute(
                POLICIES.format(namespace="pg_my_temp_schema()")
            )
        }


def _columns_of(warehouse: Warehouse, mart: Relation) -> str:
    types = mart.contract or dict(
        warehouse.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = to_regclass(?) and attnum > 0 and not attisdropped",
            [f"{READERS_SCHEMA}.{quoted(mart.name)}"],
        )
    )
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in types.items())


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


def _grants(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> Iterator[Difference]:
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
            f"revoke {grant.what} on {grant.target} from {quoted(grant.grantee)} cascade",
        )
    for grant in sorted(wanted - found):
        yield Difference(
            f"{grant.words} is missing",
            f"grant {grant.what} on {grant.target} to {quoted(grant.grantee)}",
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


def _default_privileges(warehouse: Warehouse) -> Iterator[Difference]:
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
        where = f"in schema {quoted(schema)} " if schema else ""
        change, to = ("grant", "to") if key in wanted else ("revoke", "from")
        yield Difference(
            f"default privilege {privilege} on {kinds.get(kind, kind)} of {owner} for {grantee} "
            + ("is missing" if key in wanted else "stands in no rule"),
            f"alter default privileges for role {quoted(owner)} {where}{change} {privilege} "
            f"on {kinds.get(kind, kind)} {to} {quoted(grantee)}",
        )


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

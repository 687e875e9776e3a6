"""Policies of readers' tables: those that the matrix wants, and those that the catalogue has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.sql_text import identifier
from ingest.warehouse import Warehouse
from orchestration.access import functions
from orchestration.access.matrix import Rule
from orchestration.access.roles import PUBLISHER, Difference, readers_relations
from orchestration.relations import READERS_SCHEMA, Relation


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


def policy_differences(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> Iterator[Difference]:
    """Yield policies that are otherwise than wanted, stand in no rule, or are missing."""
    there = {name for name, (kind, *_) in readers_relations(warehouse).items() if kind in "rp"}
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
            drop = f"drop policy {identifier(key[1])} on {READERS_SCHEMA}.{identifier(key[0])}"
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
        target = f"{READERS_SCHEMA}.{identifier(table)}"
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
            f"create policy {rule.role} on {READERS_SCHEMA}.{identifier(rule.relation)} for select "
            f"to {group} using ({functions.condition(rule)})",
        )  # fmt: skip
    return wanted


#: What does not change while a process lives: a publication asks twice.
_written: dict[tuple[Any, ...], dict[tuple[str, str], str]] = {}


def _as_postgres_writes(
    warehouse: Warehouse, rules: Sequence[Rule], marts: Sequence[Relation]
) -> dict[tuple[str, str], str]:
    """Return conditions as this server writes them back: of policies made and taken away again."""
    types = {mart.name: mart for mart in marts}
    known = functions.present(warehouse)
    key = (warehouse.connection.info.server_version, tuple(rules), frozenset(known))
    if key in _written:
        return _written[key]
    with warehouse.connection.transaction(force_rollback=True):
        for rule in rules:
            if not functions.needed(rule) <= known:
                continue
            columns = _columns_of(warehouse, types[rule.relation])
            table = f"pg_temp.{identifier(rule.relation)}"
            warehouse.execute(
                f"create temp table if not exists {identifier(rule.relation)} ({columns})"
            )
            warehouse.execute(
                f"create policy {rule.role} on {table} for select "
                f"using ({functions.condition(rule)})"
            )
        _written[key] = {
            (table, name): using
            for table, name, _, _, _, using, _ in warehouse.execute(
                POLICIES.format(namespace="pg_my_temp_schema()")
            )
        }
    return _written[key]


def _columns_of(warehouse: Warehouse, mart: Relation) -> str:
    types = mart.contract or dict(
        warehouse.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = to_regclass(?) and attnum > 0 and not attisdropped",
            [f"{READERS_SCHEMA}.{identifier(mart.name)}"],
        )
    )
    return ", ".join(f"{identifier(name)} {kind}" for name, kind in types.items())

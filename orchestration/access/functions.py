"""Functions of the database that policies ask, and the guard of new tables.

Belongs here: each function's text, and whether the database has it so. They run with their owner's
rights, say nothing but what concerns the login that asks, and name everything with its schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ingest.schema import MIGRATIONS
from ingest.sql_text import literal
from ingest.warehouse import Warehouse
from orchestration.access.matrix import Rule
from orchestration.access.roles import Difference
from orchestration.relations import READERS_SCHEMA

SEARCH_PATH = "search_path=pg_catalog, pg_temp"

#: Who asks is the login, which neither SET ROLE nor a setting changes.
SUBJECTS = """
select subject_id from ops.identities
where identities.login_role = session_user and identities.kind = asked_kind
"""

GUARD = "tidemark_guard"

GUARD_BODY = """
declare
    made record;
    found record;
begin
    for made in
        select * from pg_event_trigger_ddl_commands()
        where schema_name = 'marts' and object_type in ('table', 'view', 'materialized view')
    loop
        select relkind, relrowsecurity, relforcerowsecurity, reloptions into found
        from pg_class where oid = made.objid;
        if found.relkind in ('r', 'p') and made.command_tag <> 'ALTER TABLE' then
            execute format(
                'alter table %s enable row level security, force row level security',
                made.objid::regclass
            );
        elsif found.relkind in ('r', 'p') and not (
            found.relrowsecurity and found.relforcerowsecurity
        ) then
            raise exception 'row-level security of % stays on and forced', made.object_identity;
        elsif found.relkind = 'm' then
            raise exception 'materialized views know no row-level security: %',
                made.object_identity;
        elsif found.relkind = 'v' and not coalesce(
            found.reloptions && array['security_invoker=true', 'security_invoker=on'], false
        ) then
            raise exception 'views of marts are made with (security_invoker = true): %',
                made.object_identity;
        end if;
    end loop;
end
"""

GUARD_TRIGGER = (
    f"create event trigger {GUARD} on ddl_command_end "
    "when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE VIEW', "
    f"'ALTER VIEW', 'CREATE MATERIALIZED VIEW') execute function ops.{GUARD}(); "
    f"alter event trigger {GUARD} enable always"
)


def needed(rule: Rule) -> set[str]:
    """Return the names of the functions that a rule's policy asks."""
    names = set()
    if rule.own_column:
        names.add(f"own_{rule.owners_relation}" if rule.owners_relation else "own_subjects")
    if rule.last_days is not None:
        names.add(f"newest_{rule.relation}")
    return names


def condition(rule: Rule) -> str:
    """Return the condition of a rule's policy."""
    return rule.condition(
        subjects=f"select ops.own_subjects({literal(rule.role)})",
        newest=f"(select ops.newest_{rule.relation}())",
        owned=f"select ops.own_{rule.owners_relation}()",
    )


def _texts(rules: Iterable[Rule]) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return arguments, result and language, and body, by schema and name."""
    texts = {
        ("ops", "own_subjects"): ("asked_kind text", "setof text language sql stable", SUBJECTS),
        ("ops", GUARD): ("", "event_trigger language plpgsql", GUARD_BODY),
    }
    for rule in rules:
        if rule.owners_relation:
            texts["ops", f"own_{rule.owners_relation}"] = (
                "",
                "setof text language sql stable",
                f'\nselect "{rule.own_column}" from {READERS_SCHEMA}."{rule.owners_relation}"\n'
                f'where "{rule.owners_column}" in '
                f"(select ops.own_subjects({literal(rule.role)}))\n",
            )
        if rule.last_days is not None:
            texts["ops", f"newest_{rule.relation}"] = (
                "",
                "date language sql stable",
                f'\nselect max("{rule.date_column}") from {READERS_SCHEMA}."{rule.relation}"\n',
            )
    return texts


def known(rules: Iterable[Rule]) -> set[str]:
    """Return the functions with their owner's rights that belong to the project."""
    return {f"{schema}.{name}" for schema, name in _texts(rules)} | {"raw.add_month"}


def present(warehouse: Warehouse) -> set[str]:
    """Return the names of the functions of ``ops`` that are there."""
    return {
        name
        for (name,) in warehouse.execute(
            "select proname from pg_proc where pronamespace = to_regnamespace('ops')"
        )
    }


def wanted_grants(rules: Sequence[Rule]) -> Iterator[tuple[str, str, str]]:
    """Yield schema, signature and role of who may call a function."""
    yield "raw", "add_month(month date)", "tidemark_loader"
    for rule in rules:
        for name in needed(rule):
            arguments = "asked_kind text" if name == "own_subjects" else ""
            yield "ops", f"{name}({arguments})", f"tidemark_{rule.role}"


def differences(warehouse: Warehouse, rules: Sequence[Rule]) -> Iterator[Difference]:
    """Yield functions that are missing or have another text, owner or search path."""
    month = (MIGRATIONS / "010_months.postgres.sql").read_text(encoding="utf-8")
    bodies = {key: body for key, (_, _, body) in _texts(rules).items()}
    bodies["raw", "add_month"] = re.split(r"\$\$", month)[1]
    statements = {
        (schema, name): (
            f"create or replace function {schema}.{name}({arguments}) returns {result} "
            f"security definer set search_path = pg_catalog, pg_temp as $tidemark${body}$tidemark$"
        )
        for (schema, name), (arguments, result, body) in _texts(rules).items()
    }
    statements["raw", "add_month"] = month
    found = {
        (schema, name): (body, definer, config, owned)
        for schema, name, body, definer, config, owned in warehouse.execute(
            "select nspname, proname, prosrc, prosecdef, array_to_string(proconfig, ';'), "
            "pg_get_userbyid(proowner) not like 'tidemark\\_%' from pg_proc "
            "inner join pg_namespace on pg_namespace.oid = pronamespace "
            "where nspname in ('raw', 'ops')"
        )
    }
    for (schema, name), body in bodies.items():
        have = found.get((schema, name))
        if have is None:
            text = f"function {schema}.{name} is missing"
        elif have != (body, True, SEARCH_PATH, True):
            text = f"function {schema}.{name} is otherwise than the project has it"
        else:
            continue
        yield Difference(text, statements[schema, name])

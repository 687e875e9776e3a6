"""The rows of a person in one database: found by tombstones, counted, removed.

Belongs here: SQL on an open warehouse, on either engine, and in published files that are attached
to it. Which rule a relation has is said in ``orchestration.erasure.rules``; files, receipts and the
order of things belong in ``orchestration.erasure.requests``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ingest.clock import utc_now
from ingest.sql_text import identifier, identifiers, literal, literals
from ingest.tombstones import IDENTIFIER_TYPES, KEYED_HASH, salted, salted_sql, tokens
from ingest.warehouse import Warehouse
from orchestration.erasure.rules import (
    BLANK,
    CHAT,
    EVENT,
    IDENTIFIER,
    MENTIONED_LENGTH,
    MENTIONS,
    OWNER,
    PERSON,
    RESTATEMENTS,
    SESSION,
    SUBJECT,
    TEXTS,
    USER,
    USER_KEY,
    VOCABULARY,
    Key,
    Rule,
    rule_of,
)

SCHEMAS = ("raw", "ops", "intermediate", "build", "marts")

#: (type, identifier) of identity_map.
Identifier = tuple[str, str]

#: Types whose values mean the same person under any other type.
HASHES = ("phone_hash", "email_hash")

#: Temporary tables of the session: what is the person's, by kind of key.
TABLES = {
    IDENTIFIER: "tide_erased_identifiers",
    PERSON: "tide_erased_persons",
    SESSION: "tide_erased_sessions",
    EVENT: "tide_erased_events",
    CHAT: "tide_erased_chats",
}

#: What an alert can be about -> the kind of key, or the type of identifier.
SUBJECTS = {
    "chat_id": CHAT,
    "response_event_id": EVENT,
    "event_id": EVENT,
    "session_id": SESSION,
    "person_id": PERSON,
}

_KEY_PART = re.compile(rf"(?:^|, )({'|'.join(VOCABULARY)})=(.*?)(?=, \w+=|$)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table of a database: of the warehouse, or of a file that is attached as ``catalog``."""

    schema: str
    name: str
    columns: tuple[str, ...]
    catalog: str | None = None

    @property
    def sql(self) -> str:
        """The table as SQL names it."""
        catalog = f'"{self.catalog}".' if self.catalog else ""
        return f'{catalog}{self.schema}."{self.name}"'

    @property
    def label(self) -> str:
        """The table in a receipt."""
        return f"{'published ' if self.catalog else ''}{self.schema}.{self.name}"

    @property
    def rule(self) -> Rule:
        """What becomes of its rows."""
        return rule_of(self.schema, self.name, self.columns)


def expanded(identifiers: Iterable[Identifier]) -> set[Identifier]:
    """Add the other types of hashes: a telephone number is one person's in any field.

    Producers write the same hash into several fields, and the door takes a client's for a user_id.
    """
    found = set(identifiers)
    for kind, value in list(found):
        if kind in HASHES or KEYED_HASH.fullmatch(value):
            found.update((kind, value) for kind in IDENTIFIER_TYPES)
    return found


@dataclass
class PersonRows:
    """One person in an open database, found by the salted hashes of all identifiers."""

    warehouse: Warehouse
    salt: str
    tombstones: frozenset[Identifier]
    #: Names of attached databases (DuckDB) that hold published tables.
    catalogs: tuple[str, ...] = ()
    _known: dict[str, bool] = field(default_factory=dict)

    # -- who ---------------------------------------------------------------------------------------

    def members(self) -> set[Identifier]:
        """Return the identifiers in the database that are the person's by identity_map.

        Starts from the tombstones there are; nothing but their hashes is sent to the database.
        """
        schema = "build" if self.warehouse.target == "postgres" else "marts"
        found: set[Identifier] = set()
        hashes = {hashed for _, hashed in self.tombstones}
        while True:
            before = len(found)
            for source in self._links(schema):
                found |= expanded(self._partners(source, hashes))
            hashes |= {salted(self.salt, kind, value) for kind, value in found}
            if len(found) == before:
                return found

    def _links(self, schema: str) -> Iterator[str]:
        """Yield queries of identifiers (mine_type, mine) and others of the same person."""
        if self.warehouse.relation_exists(schema, "identity_map"):
            both = (
                "select mine.identifier_type as mine_type, mine.identifier as mine, "
                "theirs.identifier_type, theirs.identifier from {0}.identity_map as mine "
                "inner join {0}.identity_map as theirs on {1}"
            )
            yield both.format(schema, "mine.person_id = theirs.person_id")
            yield both.format(
                schema,
                "mine.identifier = theirs.identifier "
                f"and theirs.identifier_type in ({literals(HASHES)})",
            )
        if self.warehouse.relation_exists("ops", "hash_links"):
            one_way = (
                "select identifier_type as mine_type, {0} as mine, identifier_type, "
                "{1} as identifier from ops.hash_links"
            )
            yield one_way.format("old_hash", "new_hash")
            yield one_way.format("new_hash", "old_hash")

    def _partners(self, source: str, hashes: set[str]) -> set[Identifier]:
        hashed = salted_sql(
            self.warehouse.target, literal(self.salt), "linked.mine_type", "linked.mine"
        )
        rows = self.warehouse.execute(
            "select distinct linked.identifier_type, linked.identifier "
            f"from ({source}) as linked where {hashed} in ({literals(sorted(hashes))})"
        )
        return {(str(kind), str(value)) for kind, value in rows}

    # -- what --------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """Return the tables that can hold rows of a person, in the order of their names."""
        schemas = literals(SCHEMAS)
        if self.warehouse.target == "postgres":
            rows = self.warehouse.execute(
                "select null, namespaces.nspname, classes.relname, "
                "array_agg(attributes.attname::text order by attributes.attnum) "
                "from pg_class as classes "
                "inner join pg_namespace as namespaces on classes.relnamespace = namespaces.oid "
                "inner join pg_attribute as attributes on attributes.attrelid = classes.oid "
                "where classes.relkind in ('r', 'p') and not classes.relispartition "
                "and attributes.attnum > 0 and not attributes.attisdropped "
                f"and namespaces.nspname in ({schemas}) group by 1, 2, 3 order by 2, 3"
            )
        else:
            here = self.warehouse.value("select current_database()")
            rows = self.warehouse.execute(
                "select nullif(tables.database_name, ?), tables.schema_name, tables.table_name, "
                "list(columns.column_name order by columns.column_index) "
                "from duckdb_tables() as tables inner join duckdb_columns() as columns "
                "on tables.table_oid = columns.table_oid "
                "and tables.database_oid = columns.database_oid "
                f"where tables.schema_name in ({schemas}) and not tables.temporary "
                "group by all order by 1 nulls first, 2, 3",
                [here],
            )
        return [
            Table(schema, name, tuple(columns), catalog)
            for catalog, schema, name, columns in rows
            if catalog is None or catalog in self.catalogs
        ]

    def find(self) -> None:
        """Write down all keys of the person that any table holds, in temporary tables."""
        tables = self.tables()
        for kind, name in TABLES.items():
            columns = (
                "identifier_type varchar, key varchar" if kind == IDENTIFIER else "key varchar"
            )
            self._run(f"drop table if exists {name}")
            self._run(f"create temporary table {name} ({columns})")
        self._find_identifiers(tables)
        self._run(
            f"insert into {TABLES[PERSON]} select distinct md5(identifier_type || ':' || key) "
            f"from {TABLES[IDENTIFIER]}"
        )
        self._find_owned(tables)
        self._find_chats(tables)
        for name in TABLES.values():
            self._run(f"analyze {name}")

    def _find_identifiers(self, tables: Sequence[Table]) -> None:
        """Identifiers of columns whose type is known, then what else names a client."""
        mine = TABLES[IDENTIFIER]
        hashed = salted_sql(self.warehouse.target, literal(self.salt), "identifier_type", "key")
        hashes = literals(sorted({hashed for _, hashed in self.tombstones}))
        for typed in (True, False):
            self._run("drop table if exists tide_candidates")
            self._run(
                "create temporary table tide_candidates (identifier_type varchar, key varchar)"
            )
            for table in tables:
                rule = table.rule
                keys = {key for key in (*rule.deletes, *rule.clears) if key.kind == IDENTIFIER}
                for key in keys:
                    if bool(key.type or key.type_column) == typed:
                        self._note_candidates(table, key)
            self._run(
                f"insert into {mine} select {'' if typed else 'max('}identifier_type"
                f"{'' if typed else ')'}, key from tide_candidates where {hashed} in ({hashes}) "
                f"and key not in (select key from {mine}) group by key"
                f"{', identifier_type' if typed else ''}"
            )
        self._run("drop table tide_candidates")

    def _note_candidates(self, table: Table, key: Key) -> None:
        if key.type_column:
            types = [identifier(key.type_column)]
        else:
            types = [literal(kind) for kind in ((key.type,) if key.type else IDENTIFIER_TYPES)]
        for kind in types:
            self._run(
                f"insert into tide_candidates select distinct {kind}, "
                f'cast("{key.column}" as varchar) from {table.sql} '
                f'where "{key.column}" is not null'
            )

    def _find_owned(self, tables: Sequence[Table]) -> None:
        """Sessions and events: of tables that say whose they are."""
        for kind in (SESSION, EVENT):
            self._run("drop table if exists tide_candidates")
            self._run("create temporary table tide_candidates (key varchar)")
            for table in tables:
                column, owner = _owned(table, kind)
                if column and owner:
                    self._run(
                        f'insert into tide_candidates select distinct cast("{column}" as varchar) '
                        f"from {table.sql} where {self.condition(owner)} "
                        f'and "{column}" is not null'
                    )
            self._run(f"insert into {TABLES[kind]} select distinct key from tide_candidates")
            self._run("drop table tide_candidates")

    def _find_chats(self, tables: Sequence[Table]) -> None:
        """Chats in which nobody but the person takes part, the agents aside."""
        parts = [
            f"select chat_id, user_id from {table.sql} "
            "where chat_id is not null and user_id is not null"
            for table in tables
            if {"chat_id", "user_id"} <= set(table.columns)
        ]
        if parts:
            self._run(
                f"insert into {TABLES[CHAT]} select chat_id from ({' union all '.join(parts)}) "
                f"as chats group by chat_id having bool_and({self.condition(USER)})"
            )

    def condition(self, key: Key) -> str:
        """Return the SQL that is true where a key is the person's (false or null elsewhere)."""
        column = self._text(key.column)
        mine = TABLES[IDENTIFIER]
        if key.kind == OWNER:
            return self._owner()
        if key.kind == SUBJECT:
            cases = " ".join(
                f"when {literal(subject)} then {column} in (select key from {TABLES[kind]})"
                for subject, kind in SUBJECTS.items()
            )
            users = f"{column} in (select key from {mine} where identifier_type = subject_type)"
            return f"(case subject_type {cases} else {users} end)"
        if key.kind != IDENTIFIER:
            return f"{column} in (select key from {TABLES[key.kind]})"
        if key.type_column:
            return (
                f"({self._text(key.type_column)}, {column}) in "
                f"(select identifier_type, key from {mine})"
            )
        if key.type:
            return (
                f"{column} in (select key from {mine} where identifier_type = {literal(key.type)})"
            )
        found = f"{column} in (select key from {mine})"
        return f"({found} and coalesce(actor_type, 'user') = 'user')" if (
            key.column == "actor_id"
        ) else found  # fmt: skip

    def _owner(self) -> str:
        """Whose an event is: its user's, else its device's, else that of any client named in it."""
        rule = rule_of("raw", "events", VOCABULARY)
        keys = {key.column: key for key in rule.clears}
        user, device = keys.pop("user_id"), keys.pop("anonymous_id")
        others = " or ".join(self.condition(key) for key in keys.values())
        return (
            f"(case when user_id is not null then {self.condition(user)} "
            f"when anonymous_id is not null then {self.condition(device)} else {others} end)"
        )

    def _text(self, column: str) -> str:
        # raw.events is ordered by bytes whatever the database is.
        return f'"{column}" collate "C"' if self.warehouse.target == "postgres" else f'"{column}"'

    def keys(self) -> set[str]:
        """Return all keys of the person that were found, of any kind, as texts."""
        found: set[str] = set()
        for name in TABLES.values():
            found.update(str(row[0]) for row in self.warehouse.execute(f"select key from {name}"))
        return found

    def identifiers(self) -> set[Identifier]:
        """Return the person's identifiers that any table holds."""
        rows = self.warehouse.execute(f"select identifier_type, key from {TABLES[IDENTIFIER]}")
        return {(str(kind), str(value)) for kind, value in rows}

    def first_event_date(self) -> date | None:
        """Return the date of the person's first event, as far as any table still knows."""
        dates = []
        for table in self.tables():
            known = [c for c in ("event_date", "activity_date", "first_date", "session_date")
                     if c in table.columns]  # fmt: skip
            condition = self._deletes(table)
            if known and condition and not table.catalog:
                dates.append(
                    self.warehouse.value(
                        f'select min("{known[0]}") from {table.sql} where {condition}'
                    )
                )
        return min((day for day in dates if day is not None), default=None)

    # -- counted and removed -----------------------------------------------------------------------

    def _deletes(self, table: Table) -> str | None:
        conditions = [self.condition(key) for key in table.rule.deletes]
        return " or ".join(conditions) if conditions else None

    def count(self) -> dict[str, int]:
        """Count what is the person's, by relation, attached files too."""
        return self._each(self.tables(), change=False)

    def count_published(self) -> dict[str, int]:
        """Count what is the person's in attached files."""
        return self._each([table for table in self.tables() if table.catalog], change=False)

    def remove(self) -> dict[str, int]:
        """Remove and empty in the warehouse; return how many rows, by relation."""
        return self._each([table for table in self.tables() if not table.catalog], change=True)

    def _each(self, tables: Sequence[Table], *, change: bool) -> dict[str, int]:
        rows: dict[str, int] = {}
        for table in tables:
            count = 0
            condition = self._deletes(table)
            if condition:
                count += self._change(
                    table, f"delete from {table.sql} where {condition}", condition, change=change
                )
            for key, columns in table.rule.clears.items():
                mine = self.condition(key)
                left = mine if change or not condition else f"{mine} and ({condition}) is not true"
                values = ", ".join(f'"{column}" = null' for column in columns)
                count += self._change(
                    table, f"update {table.sql} set {values} where {mine}", left, change=change
                )
            for column, mentioned in self._mentions(table):
                left = mentioned if change else f"{mentioned} and ({condition}) is not true"
                count += self._change(
                    table,
                    f'update {table.sql} set "{column}" = null where {mentioned}',
                    left,
                    change=change,
                )
            count += self._texts(table, change=change)
            if count:
                rows[table.label] = count
        return rows

    def _change(self, table: Table, statement: str, condition: str, *, change: bool) -> int:
        count = int(
            self.warehouse.value(f"select count(*) from {table.sql} where {condition}") or 0
        )
        if count and change:
            self._run(statement)
        return count

    def _mentions(self, table: Table) -> Iterator[tuple[str, str]]:
        """Yield columns of free text and the SQL of where they mention the person."""
        names = sorted({v for _, v in self.identifiers() if len(v) >= MENTIONED_LENGTH})
        if not names or table.schema == "ops":
            return
        for column in MENTIONS.get(table.name, ()):
            if column in table.columns:
                text = f'cast("{column}" as varchar)'
                found = " or ".join(self._mentions_name(text, name) for name in names)
                yield column, f"({found})"

    def _mentions_name(self, text: str, name: str) -> str:
        sought = literal(name)
        pattern = literal(rf"(^|[^A-Za-z0-9_]){re.escape(name)}($|[^A-Za-z0-9_])")
        if self.warehouse.target == "postgres":
            return f"(position({sought} in {text}) > 0 and {text} ~ {pattern})"
        return f"(contains({text}, {sought}) and regexp_matches({text}, {pattern}))"

    def _texts(self, table: Table, *, change: bool) -> int:
        full = f"{table.schema}.{table.name}"
        columns: tuple[str, ...]
        if full == RESTATEMENTS:
            columns, action = ("key", "column", "before", "after"), "delete"
        elif full in TEXTS and not table.catalog:
            columns, action = TEXTS[full]
        else:
            return 0
        found = self._found_texts(table, columns)
        for start in range(0, len(found) if change else 0, 1000):
            self._change_text(table, columns, action, found[start : start + 1000])
        return len(found)

    def _found_texts(self, table: Table, columns: Sequence[str]) -> list[Any]:
        """Return the places of rows that name the person."""
        keys = self.keys()
        restates = f"{table.schema}.{table.name}" == RESTATEMENTS
        return [
            row[0]
            for row in self._rows_of(table, columns)
            if (
                self._restates(keys, *row[1:])
                if restates
                else any(self._names(keys, text) for text in row[1:] if text)
            )
        ]

    def _rows_of(self, table: Table, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        names = identifiers(columns)
        place = "cast(ctid as text)" if self.warehouse.target == "postgres" else "rowid"
        some = " or ".join(f'"{name}" is not null' for name in columns)
        yield from self.warehouse.execute(f"select {place}, {names} from {table.sql} where {some}")

    def _names(self, keys: set[str], text: str) -> bool:
        """Whether a text names the person, also under an identifier that no table holds."""
        for token in set(tokens(text)):
            if token not in self._known:
                self._known[token] = any(
                    (kind, salted(self.salt, kind, token)) in self.tombstones
                    for kind in IDENTIFIER_TYPES
                )
            if token in keys or self._known[token]:
                return True
        return False

    def _restates(
        self, keys: set[str], key: str, column: str, before: str | None, after: str | None
    ) -> bool:
        values = [match[2] for match in _KEY_PART.finditer(key)]
        if column in VOCABULARY:
            values += [value for value in (before, after) if value]
        # The subject of an alert can be several keys.
        return any(part in keys for value in values for part in (value, *value.split("|")))

    def _change_text(
        self, table: Table, columns: Sequence[str], action: str, rows: Sequence[Any]
    ) -> None:
        if self.warehouse.target == "postgres":
            where = f"ctid in ({', '.join(f'{literal(row)}::tid' for row in rows)})"
        else:
            where = f"rowid in ({', '.join(str(int(row)) for row in rows)})"
        if action == "delete":
            self._run(f"delete from {table.sql} where {where}")
        elif action == "quarantine":
            emptied = ", ".join(f'"{name}" = null' for name in columns)
            self.warehouse.execute(
                f"update {table.sql} set {emptied}, resolution = 'erased', "
                f"resolved_at = coalesce(resolved_at, ?) where {where}",
                [utc_now()],
            )
        else:
            for name in columns:
                self._run(
                    f'update {table.sql} set "{name}" = {literal(BLANK)} '
                    f'where {where} and "{name}" is not null'
                )

    def remaining(self, table: Table) -> str:
        """Return the query of a table without the person, for a file that is written anew."""
        condition = self._deletes(table)
        conditions = [f"({condition}) is not true"] if condition else []
        if f"{table.schema}.{table.name}" == RESTATEMENTS:
            found = self._found_texts(table, ("key", "column", "before", "after"))
            if found:
                conditions.append(f"rowid not in ({', '.join(map(str, map(int, found)))})")
        emptied = {
            column: f'case when {self.condition(key)} then null else "{column}" end as "{column}"'
            for key, columns in table.rule.clears.items()
            for column in columns
        } | {
            column: f'case when {mentioned} then null else "{column}" end as "{column}"'
            for column, mentioned in self._mentions(table)
        }
        replaced = f" replace ({', '.join(emptied.values())})" if emptied else ""
        where = f" where {' and '.join(conditions)}" if conditions else ""
        return f"select *{replaced} from {table.sql}{where}"

    def drop(self) -> None:
        """Forget the keys that were found."""
        for name in TABLES.values():
            self._run(f"drop table if exists {name}")

    def _run(self, sql: str) -> None:
        self.warehouse.execute(sql)


def _owned(table: Table, kind: str) -> tuple[str | None, Key | None]:
    """Return the column of a table that has keys of a kind, and the key that says whose."""
    if (table.schema, table.name) == ("raw", "events"):
        return ("event_id", table.rule.deletes[0]) if kind == EVENT else (None, None)
    deletes = table.rule.deletes
    column = next((key.column for key in deletes if key.kind == kind), None)
    return column, next((key for key in (USER, USER_KEY) if key in deletes), None)

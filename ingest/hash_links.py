"""What the warehouse knows of hashes under other keys: aliases of staff, links of clients.

Belongs here: the tables of migration 007 and when they are read and written. How a value is hashed
belongs in ``ingest.privacy``; how links make persons in the dbt project (``int_identity_pairs``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.privacy import Pseudonyms
from ingest.registry import Registry, registry
from ingest.settings import STAFF, Settings
from ingest.sql_text import literal, literals
from ingest.warehouse import Warehouse

#: Identifiers of identity_map that the door hashes; the others come as hashes.
LINKED = ("user_id", "anonymous_id")

#: What Postgres says to a login without the right.
INSUFFICIENT_PRIVILEGE = "42501"

_HASH = re.compile(r"([A-Za-z0-9]{1,32}):[0-9a-f]{64}")


def look_over_hashes(warehouse: Warehouse, settings: Settings) -> None:
    """Do for keys that are new to a warehouse what its next load would do first."""
    contracts = registry()
    pseudonyms = Pseudonyms.of_settings(settings)
    HashMemory.of(warehouse, settings, pseudonyms=pseudonyms, registry=contracts).begin()


@dataclass(frozen=True)
class HashMemory:
    """The tables of hashes of one warehouse, for the loads of one process."""

    warehouse: Warehouse
    pseudonyms: Pseudonyms
    registry: Registry
    older_versions: tuple[str, ...]

    @classmethod
    def of(
        cls, warehouse: Warehouse, settings: Settings, *, pseudonyms: Pseudonyms, registry: Registry
    ) -> HashMemory:
        """Bind a warehouse to the keys of the settings."""
        return cls(warehouse, pseudonyms, registry, tuple(k.version for k in settings.older_keys))

    def begin(self) -> None:
        """Bring the tables to the keys that are listed; the caller is in the load transaction.

        Raises:
            UserError: the login may load, but not look over what is stored under older keys.

        """
        try:
            self._look_back()
        except Exception as error:
            if getattr(error, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
                raise
            raise UserError(
                "the hash keys are new to this warehouse, and this login may not look over what is "
                "stored; run 'tidemark migrate' once with the login that owns it"
            ) from None
        written = self.warehouse.execute("select written from ops.staff_written")
        aliases = self.warehouse.execute("select staff_hash, written from ops.staff_aliases")
        self.pseudonyms.remember_staff(
            written=frozenset(row[0] for row in written), aliases=dict(aliases)
        )

    def _look_back(self) -> None:
        known = {row[0] for row in self.warehouse.execute("select version from ops.hash_windows")}
        if STAFF not in known:
            self._note_staff_written()
            self._open(STAFF)
        for version in known - {STAFF, *self.older_versions}:
            self.warehouse.execute("delete from ops.hashes_written where version = ?", [version])
            self.warehouse.execute("delete from ops.hash_windows where version = ?", [version])
        for version in self.older_versions:
            if version not in known:
                self._note_clients_written(version)
                self._open(version)

    def _open(self, version: str) -> None:
        now = utc_now()
        self.warehouse.execute(
            "insert into ops.hash_windows (version, opened_at) values (?, ?)", [version, now]
        )

    def _note_staff_written(self) -> None:
        """Find the hashes that staff has from the time before it had a key of its own."""
        names = self.registry.staff_fields()
        columns = [
            ("raw", "events", name, kind) for name, kind in names.items()
            if not name.endswith("_hash")
        ]  # fmt: skip
        # Raw events are removed after a while; what was computed from them is not.
        columns += [
            (schema, table, name, names[name])
            for schema, table, name in self._columns(names)
            if names[name] == "always" and not name.endswith("_hash")
        ]
        found: set[str] = set()
        for schema, table, name, kind in columns:
            only = "" if kind == "always" else " and actor_type <> 'user'"
            rows = self.warehouse.execute(
                f'select distinct "{name}" from {schema}."{table}" '
                f"where \"{name}\" like '%:%'{only}"
            )
            found.update(str(value) for (value,) in rows)
        found.update(self._quarantined(names))
        hashes = {value: match[1] for value in found if (match := _HASH.fullmatch(value))}
        self.warehouse.insert_many(
            "ops.staff_written",
            ("written", "version"),
            [[value, version] for value, version in sorted(hashes.items()) if version != STAFF],
        )

    def _columns(self, names: Iterable[str]) -> list[tuple[str, str, str]]:
        return [
            (schema, table, name)
            for schema, table, name in self.warehouse.execute(
                "select columns.table_schema, columns.table_name, columns.column_name "
                "from information_schema.columns as columns "
                "inner join information_schema.tables as tables "
                "on columns.table_schema = tables.table_schema "
                "and columns.table_name = tables.table_name "
                "where tables.table_type = 'BASE TABLE' "
                "and columns.table_schema in ('intermediate', 'marts', 'build') "
                f"and columns.column_name in ({literals(names)}) order by 1, 2, 3"
            )
        ]

    def _quarantined(self, names: Iterable[str]) -> set[str]:
        fields = "|".join(map(re.escape, names))
        named = re.compile(rf'"(?:{fields})":"({_HASH.pattern})"')
        rows = self.warehouse.execute(
            "select payload from ops.rejected_events "
            "where resolved_at is null and payload like '%:%'"
        )
        return {match[1] for (payload,) in rows for match in named.finditer(payload)}

    def _note_clients_written(self, version: str) -> None:
        """Keep the hashes of an older version that are in the warehouse: only they are linked."""
        sources = [("raw", "events", name, literal(name), name) for name in LINKED]
        if self.warehouse.relation_exists("intermediate", "int_identifiers"):
            sources.append(("intermediate", "int_identifiers", "identifier", "identifier_type", ""))
        found = " union ".join(
            f'select {kind} as identifier_type, "{column}" as hash from {schema}."{table}" '
            f'where "{column}" like ?'
            for schema, table, column, kind, _ in sources
        )
        self.warehouse.execute(
            "insert into ops.hashes_written (identifier_type, hash, version) "
            f"select identifier_type, hash, ? from ({found}) as found "
            f"where identifier_type in ({', '.join('?' * len(LINKED))})",
            [version, *[f"{version}:%"] * len(sources), *LINKED],
        )

    def note(self, load_id: int, dates: Sequence[date]) -> None:
        """Note what the events just appended have shown; ``dates`` are theirs."""
        if self.pseudonyms.staff_aliases:
            known = {
                row[0] for row in self.warehouse.execute("select staff_hash from ops.staff_aliases")
            }
            self.warehouse.insert_many(
                "ops.staff_aliases",
                ("staff_hash", "written"),
                [
                    [staff_hash, written]
                    for staff_hash, written in sorted(self.pseudonyms.staff_aliases.items())
                    if staff_hash not in known
                ],
            )
        shown = self.pseudonyms.under_older_keys
        if shown and dates:
            self._link(shown, load_id, min(dates), max(dates))
        shown.clear()

    def _link(
        self, shown: dict[str, tuple[str, ...]], load_id: int, first: date, last: date
    ) -> None:
        pairs = [(old, new) for new, hashes in shown.items() for old in hashes]
        self._fill_temporary(pairs)
        events = " union all ".join(
            f"select {literal(name)} as identifier_type, {name} as new_hash, event_date, "
            "occurred_at, event_id, load_id from raw.events "
            "where load_id >= ? and event_date between ? and ? "
            f"and {name} in (select new_hash from tide_hashes)"
            for name in LINKED
        )
        self.warehouse.execute(
            f"""
            insert into ops.hash_links
            (identifier_type, old_hash, new_hash, event_date, occurred_at, event_id, load_id)
            select identifier_type, old_hash, new_hash, event_date, occurred_at, event_id, load_id
            from (
                select events.*, pairs.old_hash, row_number() over (
                    partition by events.identifier_type, pairs.old_hash, events.new_hash
                    order by events.occurred_at, events.event_id
                ) as place
                from ({events}) as events
                inner join tide_hashes as pairs on events.new_hash = pairs.new_hash
                inner join ops.hashes_written as written
                on pairs.old_hash = written.hash
                and events.identifier_type = written.identifier_type
            ) as shown
            where place = 1 and not exists (
                select 1 from ops.hash_links as known
                where known.identifier_type = shown.identifier_type
                and known.old_hash = shown.old_hash and known.new_hash = shown.new_hash
                and known.event_date <= shown.event_date
            )
            """,
            [load_id, first, last] * len(LINKED),
        )
        self.warehouse.execute("drop table tide_hashes")

    def _fill_temporary(self, pairs: list[tuple[str, str]]) -> None:
        self.warehouse.execute("drop table if exists tide_hashes")
        self.warehouse.execute("create temp table tide_hashes (old_hash varchar, new_hash varchar)")
        connection: Any = self.warehouse.connection
        if self.warehouse.target == "postgres":
            with connection.cursor().copy("copy tide_hashes from stdin") as copy:
                for pair in pairs:
                    copy.write_row(pair)
            return
        import pyarrow as pa

        columns = list(zip(*pairs, strict=True))
        table = pa.table({"old_hash": list(columns[0]), "new_hash": list(columns[1])})
        connection.register("tide_pairs_shown", table)
        connection.execute("insert into tide_hashes select * from tide_pairs_shown")
        connection.unregister("tide_pairs_shown")

"""Tombstones: salted hashes of erased persons, and the door's refusal of what these did before.

Belongs here: the hash, the journal beside the warehouse, and what the door asks of both. Finding a
person and removing what is there belongs in ``orchestration.erasure.requests``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ingest.privacy import Pseudonyms
from ingest.settings import Settings
from ingest.sql_text import literals
from ingest.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

#: Types of identity_map: an identifier is the pair of its type and its value.
IDENTIFIER_TYPES = ("user_id", "anonymous_id", "phone_hash", "email_hash")

#: Fields of an event that can name a client -> the types that their values can be of. Producers
#: write the same hash into several fields, and the door takes a client's hash for a user_id.
NAMING_FIELDS: dict[str, tuple[str, ...]] = {
    "user_id": ("user_id",),
    "anonymous_id": ("anonymous_id",),
    "phone_hash": ("phone_hash",),
    "email_hash": ("email_hash",),
    "actor_id": IDENTIFIER_TYPES,
    "recipient_phone_hash": IDENTIFIER_TYPES,
    "forwarding_client_hash": IDENTIFIER_TYPES,
    "responding_client_hash": IDENTIFIER_TYPES,
    "client_anonymized_id": IDENTIFIER_TYPES,
}

_ENVELOPE = ("user_id", "anonymous_id", "actor_id")

#: A hash that the door made of a phone number or an address: the same person in any field.
KEYED_HASH = re.compile(r"[A-Za-z0-9]{1,32}:[0-9a-f]{64}")

#: A string that is not closed ends with the text: what looks for its end looks once.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)|\'([^\']*)\'')
_GIVEN = re.compile(r'"\w*(?:id|Id|hash|Hash|phone|email)"\s*:\s*([\w.+\-]+)')
_WORD = re.compile(r"[^\s\"',;{}\[\]()<>=|]{4,}")
_PART = re.compile(r"[^\s\"',;{}\[\]()<>=|&?/#]{4,}")

_SALT = re.compile("[0-9a-f]{32}")

JOURNAL = "erasures.ndjson"


@dataclass(frozen=True)
class Erasure:
    """A request to erase a person: hashes of all identifiers that the person had."""

    request_id: str
    requested_at: datetime
    salt: str
    identifier_hash: str
    tombstones: tuple[tuple[str, str], ...]


def salted(salt: str, identifier_type: str, identifier: str) -> str:
    """Return the hash that a tombstone keeps of an identifier."""
    text = f"{salt}{identifier_type}:{identifier}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def salted_sql(target: str, salt: str, identifier_type: str, identifier: str) -> str:
    """Return the expression of an engine for ``salted``; the arguments are expressions."""
    text = f"{salt} || {identifier_type} || ':' || {identifier}"
    if target == "postgres":
        return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"
    return f"sha256({text})"


def tokens(text: str) -> Iterator[str]:
    """Yield what in a text can be an identifier: strings in quotes, words, parts of addresses.

    Words of one to three characters only where they are the value of an id.
    """
    for match in _QUOTED.finditer(text):
        quoted = match[1] if match[1] is not None else match[2]
        if quoted:
            yield quoted
            if "\\" in quoted:
                with suppress(orjson.JSONDecodeError):
                    yield str(orjson.loads(f'"{quoted}"'))
    for match in _GIVEN.finditer(text):
        yield match[1]
    for pattern in (_WORD, _PART):
        for match in pattern.finditer(text):
            yield match[0]
            yield match[0].strip(".:")


# -- the journal -----------------------------------------------------------------------------------


def journal_path(settings: Settings) -> Path:
    """Return the file that outlives a warehouse that is put back from a backup."""
    return settings.home / JOURNAL


def read_journal(settings: Settings) -> list[Erasure]:
    """Return the erasures of the journal, oldest first; a line that was cut off is none."""
    path = journal_path(settings)
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            row = orjson.loads(line)
            if not _SALT.fullmatch(row["salt"]):
                continue
            found.append(
                Erasure(
                    row["request_id"],
                    datetime.fromisoformat(row["requested_at"]),
                    row["salt"],
                    row["identifier_hash"],
                    tuple((kind, hashed) for kind, hashed in row["tombstones"]),
                )
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            continue
    return found


def write_journal(settings: Settings, erasure: Erasure) -> None:
    """Append an erasure and see it onto the disk."""
    path = journal_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    line = json.dumps(
        {
            "request_id": erasure.request_id,
            "requested_at": erasure.requested_at.isoformat(),
            "salt": erasure.salt,
            "identifier_hash": erasure.identifier_hash,
            "tombstones": [list(pair) for pair in erasure.tombstones],
        }
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # After a line that a crash cut off, a new one begins on its own.
        os.write(handle, (b"\n" if whole else b"") + line.encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def salt_of(warehouse: Warehouse, settings: Settings) -> str:
    """Return the salt of the warehouse: its own, else that of the journal, else a new one."""
    known = warehouse.value("select min(salt) from ops.erasure_salt")
    if known:
        return str(known)
    journal = read_journal(settings)
    return journal[0].salt if journal else secrets.token_hex(16)


def take_over(warehouse: Warehouse, settings: Settings) -> list[str]:
    """Write down the erasures of the journal that the warehouse does not know.

    Returns the requests that are not finished: new ones, and those that a crash has cut off.
    A warehouse that was put back from a backup refuses the persons again from here on.
    """
    if not warehouse.relation_exists("ops", "erasure_tombstones"):
        return []
    known = dict(warehouse.execute("select request_id, finished_at from ops.erasures"))
    missing = [erasure for erasure in read_journal(settings) if erasure.request_id not in known]
    if missing:
        with warehouse.transaction():
            for erasure in missing:
                record(warehouse, erasure)
    unfinished = [request for request, finished in known.items() if finished is None]
    return [*unfinished, *(erasure.request_id for erasure in missing)]


def record(warehouse: Warehouse, erasure: Erasure) -> None:
    """Write the tombstones and the receipt of an erasure that begins."""
    if not warehouse.value("select count(*) from ops.erasure_salt"):
        warehouse.execute("insert into ops.erasure_salt (salt) values (?)", [erasure.salt])
    warehouse.execute(
        "insert into ops.erasures (request_id, identifier_hash, requested_at) values (?, ?, ?)",
        [erasure.request_id, erasure.identifier_hash, erasure.requested_at],
    )
    warehouse.insert_many(
        "ops.erasure_tombstones",
        ("request_id", "identifier_type", "identifier_hash", "salt", "erased_at"),
        [
            [erasure.request_id, kind, hashed, erasure.salt, erasure.requested_at]
            for kind, hashed in erasure.tombstones
        ],
    )


# -- the door --------------------------------------------------------------------------------------


@dataclass
class ErasedPersons:
    """The tombstones of a warehouse as the door asks for them; empty costs nothing."""

    warehouse: Warehouse
    settings: Settings
    #: salt -> (type, hash) -> until when.
    known: dict[str, dict[tuple[str, str], datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bind the keys under which a telephone number may have been erased."""
        self._pseudonyms = [Pseudonyms(key) for key in self.settings.hash_keys]
        self._handed_over: Any = None

    def __bool__(self) -> bool:
        """Whether anybody was ever erased."""
        return bool(self.known)

    def begin(self) -> None:
        """Read the tombstones; the caller is in the load transaction."""
        self.known = {}
        rows = self.warehouse.execute(
            "select salt, identifier_type, identifier_hash, max(erased_at) "
            "from ops.erasure_tombstones group by salt, identifier_type, identifier_hash"
        )
        for salt, kind, hashed, erased_at in rows:
            self.known.setdefault(salt, {})[kind, hashed] = erased_at

    def named_in(self, text: str) -> datetime | None:
        """Return until when the person was erased whom a text names; None when it names nobody."""
        latest = None
        if not self.known:
            return None
        for token in set(tokens(text)):
            for form in self._forms(token):
                for salt, tombstones in self.known.items():
                    for kind in IDENTIFIER_TYPES:
                        until = tombstones.get((kind, salted(salt, kind, form)))
                        if until and (latest is None or until > latest):
                            latest = until
        return latest

    def hides(self, payload: bytes, happened_at: datetime | None) -> bool:
        """Tell whether a rejected input must not be kept: it names an erased person.

        What happened after the erasure is kept; without a time nothing says that it did.
        """
        until = self.named_in(payload.decode("utf-8", "replace"))
        return until is not None and (happened_at is None or happened_at <= until)

    def _forms(self, value: str) -> set[str]:
        return {value, *(pseudonyms.of(value) for pseudonyms in self._pseudonyms)}

    def find(self, connection: Any, lines: pa.Table) -> tuple[Any, pa.Table]:
        """Find events of erased persons among canonical lines, as the typing engine has them.

        Returns the line_numbers of events whose user key is an erased person's: they go. Those
        that merely name such a person beside another one's user key come back as lines without
        the name. ``connection`` is that of the typing engine.
        """
        connection.register("tide_canonical", lines)
        try:
            self._hand_over(connection)
            if not self._find(connection):
                return [], lines.slice(0, 0)
            dropped = connection.execute("select line_number from tide_erased where drops")
            numbers = dropped.fetchnumpy()["line_number"]
            patched = connection.execute(
                "select line_number, event_name, true as suspicious, true as blanks, cast("
                "json_merge_patch(json_merge_patch(line, envelope_patch), properties_patch) "
                "as varchar) as line from tide_canonical "
                "inner join tide_erased using (line_number) where not drops"
            )
            return numbers, patched.to_arrow_table()
        finally:
            connection.unregister("tide_canonical")

    def _hand_over(self, connection: Any) -> None:
        if self._handed_over == self.known:
            return
        import pyarrow as pa

        rows = [(s, k, h, at) for s, found in self.known.items() for (k, h), at in found.items()]
        names = ("salt", "identifier_type", "identifier_hash", "erased_at")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        columns["erased_at"] = pa.array(columns["erased_at"], pa.timestamp("us"))
        connection.register("tide_given", pa.table(columns))
        connection.execute("create or replace temp table tide_tombstones as from tide_given")
        connection.unregister("tide_given")
        kinds = [(name, kind) for name, found in NAMING_FIELDS.items() for kind in found]
        values = ", ".join(f"({literals(pair)})" for pair in kinds)
        connection.execute(
            "create or replace temp table tide_kinds as "
            f"from (values {values}) as kinds (field, identifier_type)"
        )
        self._handed_over = self.known

    def _find(self, connection: Any) -> bool:
        """Fill tide_erased: line_number, drops, and the patches that take the name out."""
        fields = list(NAMING_FIELDS)
        paths = [f"$.{n}" if n in _ENVELOPE else f"$.properties.{n}" for n in fields]
        connection.execute(
            f"""
            create or replace temp table tide_named as
            select line_number, field, value
            from (
                select line_number, unnest({fields}) as field,
                    unnest(json_extract_string(line, {paths})) as value,
                    json_extract_string(line, '$.actor_type') as actor_type
                from tide_canonical
            )
            where value is not null and trim(value) <> ''
                and (field <> 'actor_id' or coalesce(actor_type, 'user') = 'user')
            """
        )
        self._write_forms(connection)
        hashed = salted_sql("duckdb", "salts.salt", "kinds.identifier_type", "forms.form")
        connection.execute(
            f"""
            create or replace temp table tide_erased as
            with forms as (
                select distinct field, value, unnest([value, form]) as form
                from (select named.field, named.value, forms.form
                    from (select distinct field, value from tide_named) as named
                    left join tide_forms as forms on named.value = forms.value)
            ),
            found as (
                select forms.field, forms.value, max(tombstones.erased_at) as erased_at
                from forms
                inner join tide_kinds as kinds on forms.field = kinds.field
                cross join (select distinct salt from tide_tombstones) as salts
                inner join tide_tombstones as tombstones
                    on tombstones.salt = salts.salt
                    and tombstones.identifier_type = kinds.identifier_type
                    and tombstones.identifier_hash = {hashed}
                where forms.form is not null
                group by forms.field, forms.value
            ),
            hits as (
                select named.line_number, named.field
                from tide_named as named
                inner join found on named.field = found.field and named.value = found.value
                inner join tide_canonical as lines on named.line_number = lines.line_number
                where tm_time(json_extract_string(lines.line, '$.occurred_at')) <= found.erased_at
            ),
            keys as (
                select line_number, bool_or(field = 'user_id') as has_user,
                    bool_or(field = 'anonymous_id') as has_device
                from tide_named
                group by line_number
            )
            select
                hits.line_number,
                bool_or(case hits.field
                    when 'user_id' then true
                    when 'anonymous_id' then not has_user
                    else not has_user and not has_device
                end) as drops,
                coalesce('{{' || string_agg('"' || hits.field || '":null', ',')
                    filter (where hits.field in {_ENVELOPE}) || '}}', '{{}}') as envelope_patch,
                coalesce('{{"properties":{{' || string_agg('"' || hits.field || '":null', ',')
                    filter (where hits.field not in {_ENVELOPE}) || '}}}}', '{{}}')
                    as properties_patch
            from hits
            inner join keys on hits.line_number = keys.line_number
            group by hits.line_number
            """
        )
        return bool(connection.execute("select count(*) from tide_erased").fetchone()[0])

    def _write_forms(self, connection: Any) -> None:
        """Fill tide_forms: values that are a number or an address, with what the door makes of it.

        Under every key that is listed: a person may have been erased before the newest was made.
        """
        import pyarrow as pa

        marked = connection.execute(
            "select distinct value from tide_named "
            "where regexp_matches(value, '[@+\\x{FF0B}\\x{FE62}\\x{FF20}]|wamid[.]')"
        ).fetchall()
        pairs = [(value, form) for (value,) in marked for form in self._forms(value)]
        table = pa.table(
            {
                "value": pa.array([pair[0] for pair in pairs], pa.string()),
                "form": pa.array([pair[1] for pair in pairs], pa.string()),
            }
        )
        connection.register("tide_given", table)
        connection.execute("create or replace temp table tide_forms as from tide_given")
        connection.unregister("tide_given")


def happened_at(payload: bytes) -> datetime | None:
    """Return the time that a rejected input gives, in UTC without zone; None when it gives none."""
    try:
        document = orjson.loads(payload)
        given = document.get("occurred_at", document.get("timestamp"))
        found = datetime.fromisoformat(given)
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else None

"""The validation of canonical lines: one SQL statement per domain, generated from the contracts.

Each statement turns lines of JSON into typed columns and names the first fault of each line; it
runs in DuckDB whatever the target is. Forms other than the canonical one are the matter of
``ingest.shape``, the bytes themselves that of ``ingest.source_files``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import Any

import pycountry

from ingest.blocks import ORDINAL_BITS
from ingest.privacy import CLIENT_IDENTIFIERS, IDENTIFYING_MARKS, SUSPICIOUS_MARKS
from ingest.redaction import TEXT_MARKS, URL_MARKS
from ingest.registry import DEVICE_COLUMNS, DROPPED_CONTEXT, Event, Field, Registry
from ingest.sql_text import literal, literals

#: Every reason for which an input is rejected, with what it means.
REASON_CODES: dict[str, str] = {
    "malformed_json": "the line is not valid JSON, or a CSV row does not fit its header",
    "not_an_object": "the line is JSON but not an object",
    "missing_field": "a required field is absent, null, empty or white space",
    "bad_type": "a value has another type than its contract says",
    "not_in_enum": "a value is none of those that its contract lists",
    "out_of_range": "a number is outside the range of its contract",
    "bad_uuid": "event_id is not a UUID of the form 8-4-4-4-12",
    "bad_timestamp": "a time is not YYYY-MM-DDThh:mm:ss[.digits](Z|+hh:mm|-hh:mm), or is none",
    "naive_timestamp": "a time has no offset",
    "in_the_future": "occurred_at is more than 24 hours after receipt",
    "too_old": "occurred_at lies before the year 2000",
    "unknown_event": "no contract has an event of this name",
    "unknown_currency": "currency is no ISO 4217 code",
    "too_large": "the line is longer than 262,144 bytes",
    "too_deep": "the line is nested more than 16 levels deep",
    "invalid_utf8": "the line is not valid UTF-8",
    "nul_byte": "the line holds a NUL character",
    "unreadable_file": "the file, or the rest of it, could not be read",
}

_WHITE_SPACE = "".join(
    f"\\u{code:04x}"
    for code in [9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B),
                 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
).encode().decode("unicode_escape")  # fmt: skip

_LEAF_TYPES = {
    "string": "VARCHAR",
    "text": "VARCHAR",
    "timestamp": "VARCHAR",
    "date": "VARCHAR",
    "integer": "HUGEINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "array": "JSON",
    "object": "JSON",
}

_TIMESTAMP = r"\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
_OFFSET = r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"

#: How a time and an event_id are written, as regular expressions of Python and RE2.
TIME = _TIMESTAMP + _OFFSET
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

#: Signs that a line can hold a string of white space only.
_BLANK_MARKS = ('""', '" ', '"\\')


def _bears(marks: tuple[str, ...]) -> str:
    return " or ".join(f"contains(line, {literal(mark)})" for mark in marks)


#: What a line may hold: identifiers that must be hashed, strings of white space only. Columns over
#: ``line`` and whether it has ``foreign_signs``, any beyond ASCII.
SIGNS = f"""{_bears(SUSPICIOUS_MARKS)} or foreign_signs as suspicious,
    {_bears(_BLANK_MARKS)} or foreign_signs as blanks"""

#: Functions of one value that the statements use; created once per connection.
#: A time that json writes with Z and no or three digits of a second is cast directly.
SETUP = f"""
create or replace temp macro tm_time(value) as
    case
        when value[20:20] = 'Z' then try_cast(value[1:19] as timestamp)
        when value[24:24] = 'Z' and length(value) = 24 then try_cast(value[1:23] as timestamp)
        else try_cast(value[1:19] as timestamp)
            + to_milliseconds(
                try_cast(rpad(regexp_extract(value, '\\.(\\d{{1,3}})', 1), 3, '0') as bigint)
            )
            - case
                when value[-1:] = 'Z' then to_minutes(0)
                else to_minutes(
                    try_cast(value[-6:-6] || '1' as bigint)
                    * (60 * try_cast(value[-5:-4] as bigint) + try_cast(value[-2:] as bigint))
                )
            end
    end;
create or replace temp macro tm_time_fault(value, name) as
    case
        when regexp_full_match(value, '{TIME}') then
            case when try_cast(value[1:19] as timestamp) is null
                then 'bad_timestamp|' || name || '|there is no such time' end
        when regexp_full_match(value, '{_TIMESTAMP}')
            and try_cast(value[1:19] as timestamp) is not null
            then 'naive_timestamp|' || name || '|a time needs an offset: Z, +hh:mm or -hh:mm'
        when value is not null
            then 'bad_timestamp|' || name || '|write YYYY-MM-DDThh:mm:ss[.digits]Z'
    end;
"""


def _list(values: Any) -> str:
    return f"({literals(map(str, values))})"


def _assigned(column: str, codes: tuple[str, ...]) -> str:
    """Return a code in upper case if it is one of those assigned (a join costs more memory)."""
    pattern = literal("|".join(codes))
    return f"case when regexp_full_match(upper({column}), {pattern}) then upper({column}) end"


@cache
def country_codes() -> tuple[str, ...]:
    """Assigned ISO 3166-1 alpha-2 codes."""
    return tuple(sorted(country.alpha_2 for country in pycountry.countries))


@cache
def currency_codes() -> tuple[str, ...]:
    """Assigned ISO 4217 codes."""
    return tuple(sorted(currency.alpha_3 for currency in pycountry.currencies))


def may_identify(field: Field) -> bool:
    """Tell whether a field is an identifier: what identifies a person in it becomes a hash.

    Free text, addresses of pages, values of a list and what is a hash already are none.
    """
    return (
        field.type == "string"
        and field.format != "url"
        and not field.enum
        and not field.name.endswith("_hash")
    )


class DomainStatement:
    """The statement that types and judges the canonical lines of one domain.

    ``sql`` gives line_number, fault (``code|field|detail`` or null) and the domain's columns of
    raw.events for each line of the relation ``tide_lines``. One pass: parsing a line twice costs
    more than the columns of those that turn out to be faulty or known already. So no expression of
    a column may fail on a value that is a fault.
    """

    def __init__(self, registry: Registry, domain: str, timezone: str) -> None:
        """Prepare the statement for a domain; event dates are those of ``timezone``."""
        self._registry = registry
        self._domain = domain
        self._timezone = timezone
        self._events = registry.events_of(domain)
        self._properties = registry.properties_of(domain)
        self._envelope = {
            name: field
            for name, field in registry.envelope.items()
            if name not in ("context", "properties")
        }
        self.sql = self._sql()

    def _structure(self) -> str:
        def leaves(fields: dict[str, Field]) -> dict[str, str]:
            return {name: _LEAF_TYPES[field.type] for name, field in fields.items()}

        structure: dict[str, Any] = leaves(self._envelope)
        structure["context"] = leaves(self._registry.context)
        if self._properties:
            structure["properties"] = leaves(self._properties)
        structure["extra"] = "JSON"
        return json.dumps(structure)

    def _inputs(self) -> list[str]:
        """Leaves by name, blank strings as null (prefix i_)."""
        found = []
        given = (
            "case when blanks and trim({0}, "
            + literal(_WHITE_SPACE)
            + ") = '' then null else {0} end"
        )
        groups = (
            ("j", self._envelope),
            ("j.context", self._registry.context),
            ("j.properties", self._properties),
        )
        for place, fields in groups:
            for name, field in fields.items():
                leaf = f'{place}."{name}"'
                kind = _LEAF_TYPES[field.type]
                value = given.format(leaf) if kind == "VARCHAR" and name != "ip" else leaf
                found.append(f'{value} as "i_{name}"')
        return found

    def _faults(self) -> list[str]:
        """Conditions in the order in which they are tried: (sql that is a fault or null)."""
        checks: list[str] = []

        def when(condition: str, code: str, field: str, detail: str) -> None:
            checks.append(f"when {condition} then {literal(f'{code}|{field}|{detail}')}")

        when("i_event_id is null", "missing_field", "event_id", "event_id is required")
        when(
            f"not regexp_full_match(i_event_id, '{UUID}')",
            "bad_uuid", "event_id", "write 8-4-4-4-12 hexadecimal digits",
        )  # fmt: skip
        when("i_occurred_at is null", "missing_field", "occurred_at", "occurred_at is required")
        checks.append("when time_fault is not null then time_fault")
        when("t_occurred_at < timestamp '2000-01-01'", "too_old", "occurred_at",
             "nothing before the year 2000 is taken")  # fmt: skip
        when("t_occurred_at > $received_at::timestamp + interval 24 hour", "in_the_future",
             "occurred_at", "more than 24 hours after receipt")  # fmt: skip
        required: dict[str, list[Event]] = defaultdict(list)
        for event in self._events:
            for name in event.required:
                required[name].append(event)
        for name, events in required.items():
            when(f'{self._of(events)}"i_{name}" is null', "missing_field", name,
                 f"{name} is required")  # fmt: skip
        if self._registry.domain_entity_types[self._domain] is None:
            own = [event for event in self._events if event.entity_type is None]
            when(f"{self._of(own)}i_entity_id is not null and i_entity_type is null",
                 "missing_field", "entity_type",
                 "entity_type is required where entity_id is given")  # fmt: skip
        when("i_currency is not null and currency_code is null",
             "unknown_currency", "currency", "no ISO 4217 code")  # fmt: skip
        for name, field in self._envelope.items():
            if name not in ("event_id", "event_name", "occurred_at"):
                self._value_checks(when, checks, name, {field: self._events})
        for name, field in self._registry.context.items():
            if name not in DROPPED_CONTEXT:
                self._value_checks(when, checks, name, {field: self._events})
        by_status: dict[tuple[str, ...], list[Event]] = defaultdict(list)
        for event in self._events:
            if event.status:
                by_status[event.status].append(event)
        for allowed, events in by_status.items():
            when(f"{self._of(events)}i_status not in {_list(allowed)}", "not_in_enum", "status",
                 "use one of " + ", ".join(allowed))  # fmt: skip
        for name in self._properties:
            definitions: dict[Field, list[Event]] = defaultdict(list)
            needing = []
            for event in self._events:
                if name in event.properties:
                    definitions[event.properties[name]].append(event)
                    if event.properties[name].required:
                        needing.append(event)
            if needing:
                when(f'{self._of(needing)}"i_{name}" is null', "missing_field", name,
                     f"{name} is required")  # fmt: skip
            self._value_checks(when, checks, name, definitions)
        if any(event.name == "user_identified" for event in self._events):
            links = ("i_user_id", "i_anonymous_id", "i_phone_hash", "i_email_hash")
            count = " + ".join(f"({link} is not null)::int" for link in links)
            when(f"event_name = 'user_identified' and {count} < 2", "missing_field", "user_id",
                 "give two of user_id, anonymous_id, phone_hash, email_hash")  # fmt: skip
        return checks

    def _value_checks(
        self, when: Any, checks: list[str], name: str, definitions: dict[Field, list[Event]]
    ) -> None:
        column = f'"i_{name}"'
        for field, events in definitions.items():
            of = self._of(events)
            if field.enum:
                when(f"{of}{column} not in {_list(field.enum)}", "not_in_enum", name,
                     "use one of " + ", ".join(field.enum))  # fmt: skip
            if field.type == "integer":
                when(f"{column} not between -9223372036854775808 and 9223372036854775807",
                     "bad_type", name, "must fit into 64 bits")  # fmt: skip
            if field.type == "number":
                when(f"not isfinite({column})", "bad_type", name, "must be a finite number")
            if field.min is not None:
                when(f"{of}{column} < {field.min}", "out_of_range", name,
                     f"must be at least {field.min}")  # fmt: skip
            if field.max is not None:
                when(f"{of}{column} > {field.max}", "out_of_range", name,
                     f"must be at most {field.max}")  # fmt: skip
            if field.type == "timestamp":
                checks.append(
                    f"when tm_time_fault({column}, {literal(name)}) is not null "
                    f"then tm_time_fault({column}, {literal(name)})"
                )

    def _of(self, events: list[Event]) -> str:
        """Return the condition that holds for these events only (empty for the whole domain)."""
        if len(events) == len(self._events):
            return ""
        return f"event_name in {_list(event.name for event in events)} and "

    def _default(self, name: str, value: str) -> str:
        by_default: dict[Any, list[str]] = defaultdict(list)
        for event in self._events:
            field = event.properties.get(name)
            if field is not None and field.default is not None:
                by_default[field.default].append(event.name)
        for default, names in by_default.items():
            given = literal(default) if isinstance(default, str) else json.dumps(default)
            value = f"coalesce({value}, case when event_name in {_list(names)} then {given} end)"
        return value

    def _private(self, field: Field, value: str) -> str:
        """Hash or redact what a value may give away that is stored in this field."""
        if field.type == "text":
            marked = f"regexp_matches({value}, {literal(TEXT_MARKS)})"
            return f"case when {marked} then tm_redact({value}) else {value} end"
        if field.format == "url":
            marked = f"regexp_matches({value}, {literal(URL_MARKS)})"
            return f"case when {marked} then tm_redact_url({value}) else {value} end"
        if field.type in ("array", "object"):
            text = f"cast({value} as varchar)"
            marked = f"suspicious or regexp_matches({text}, {literal(TEXT_MARKS)})"
            return f"case when {marked} then tm_redact_json({text}) else {text} end"
        if may_identify(field):
            # Functions in Python are dear: only values that bear a mark themselves go there.
            marked = f"suspicious and regexp_matches({value}, {literal(IDENTIFYING_MARKS)})"
            hashed = f"then tm_pseudonym({value})"
            if field.staff == "always":
                hashed = f"then tm_staff({value})"
            elif field.staff == "unless_user":
                hashed = f"and i_actor_type <> 'user' then tm_staff({value}) when {marked} {hashed}"
            return f"case when {marked} {hashed} else {value} end"
        return value

    def _value(self, name: str, field: Field) -> str:
        column = f'"i_{name}"'
        if field.type == "timestamp":
            return f"tm_time({column})"
        if field.type == "integer":
            return self._default(name, f"try_cast({column} as bigint)")
        return self._default(name, self._private(field, column))

    def _values(self) -> dict[str, str]:
        """Column of raw.events -> expression over the inputs."""
        local = "t_occurred_at"
        if self._timezone != "UTC":
            local = f"timezone({literal(self._timezone)}, timezone('UTC', t_occurred_at))"
        values: dict[str, str] = {
            "load_id": f"$load_id::bigint + (line_number >> {ORDINAL_BITS})",
            "domain": literal(self._domain),
            "event_date": f"cast({local} as date)",
            "event_hour": f"cast(extract(hour from {local}) as smallint)",
        }
        for name, field in self._envelope.items():
            values[name] = self._value(name, field)
        values["event_id"] = "lower(i_event_id)"
        values["event_name"] = "event_name"
        values["occurred_at"] = "t_occurred_at"
        for name in ("source", "channel"):
            values[name] = f"coalesce({values[name]}, {literal(self._envelope[name].default)})"
        values["schema_version"] = (
            f"coalesce({values['schema_version']}, {self._envelope['schema_version'].default})"
        )
        values["currency"] = "upper(i_currency)"
        values["country_code"] = "assigned_country_code"
        values["entity_type"] = self._entity_type(values["entity_type"])
        for field_name, spellings in self._registry.domain_aliases[self._domain].items():
            known = [values[field_name]]
            for spelling in spellings:
                if spelling in self._properties:
                    # By the rule of the field that it is stored in: a producer that sends a number
                    # for a hash would have it copied into an identifier.
                    known.append(self._private(self._envelope[field_name], f'"i_{spelling}"'))
            if len(known) > 1:
                values[field_name] = f"coalesce({', '.join(known)})"
        for name, field in self._registry.context.items():
            if name not in DROPPED_CONTEXT:
                kept = self._value(name, field)
                values[name] = (
                    kept if name == "dnt" else f"case when objects then null else {kept} end"
                )
        for place, name in enumerate(DEVICE_COLUMNS, 1):
            part = f"nullif(split_part(device, chr(31), {place}), '')"
            values[name] = f"case when objects then null else {part} end"
        for name, field in self._properties.items():
            if field.stored:
                values[name] = self._value(name, field)
        for name in CLIENT_IDENTIFIERS:
            if name in values:
                values[name] = f"case when objects then null else {values[name]} end"
        values["extra"] = "j_extra"
        return values

    def _entity_type(self, given: str) -> str:
        by_type: dict[str, list[Event]] = defaultdict(list)
        for event in self._events:
            if event.entity_type is not None:
                by_type[event.entity_type].append(event)
        if not by_type:
            return given
        branches = " ".join(
            f"when event_name in {_list(event.name for event in events)} then {literal(kind)}"
            for kind, events in by_type.items()
        )
        return f"coalesce({given}, case {branches} end)"

    def _sql(self) -> str:
        values = self._values()
        inputs = ",\n        ".join(self._inputs())
        country = _assigned("i_country_code", country_codes())
        currency = _assigned("i_currency", currency_codes())
        faults = "\n        ".join(self._faults())
        columns = ",\n    ".join(f'{value} as "{name}"' for name, value in values.items())
        return f"""
with parsed as (
    select line_number, event_name, suspicious, blanks,
        json_transform(line, {literal(self._structure())}) as j
    from tide_lines
    where event_name in {_list(event.name for event in self._events)}
),
inputs as (
    select line_number, event_name, suspicious,
        case when j.extra is not null and cast(j.extra as varchar) <> 'null' then j.extra end
            as j_extra,
        {inputs}
    from parsed
),
timed as (
    select
        inputs.*,
        tm_time(i_occurred_at) as t_occurred_at,
        tm_time_fault(i_occurred_at, 'occurred_at') as time_fault,
        coalesce(i_dnt, false) as objects,
        {country} as assigned_country_code,
        {currency} as currency_code,
        case when i_user_agent is not null then tm_device(i_user_agent) end as device
    from inputs
)
select
    line_number,
    case
        {faults}
    end as fault,
    {columns}
from timed
"""

"""What contracts have to keep besides what ``ingest.registry`` insists on while reading them.

Belongs here: rules on names, ranges and descriptions, each told in one line. They guard what is
generated from the contracts: columns, models, schemas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ingest.registry import Field, Registry

#: Names become columns and models; Postgres cuts identifiers off after 63 bytes.
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")

#: Columns that staging adds to those of raw.events.
STAGING_COLUMNS = ("is_activity", "is_session")

_NUMBERS = ("integer", "number")


def _default_fits(spec: Field) -> bool:
    if spec.default is None:
        return True
    kinds: dict[str, type | tuple[type, ...]] = {
        "boolean": bool, "integer": int, "number": (int, float), "string": str, "text": str,
    }  # fmt: skip
    kind = kinds.get(spec.type)
    if kind is None or not isinstance(spec.default, kind):
        return False
    if isinstance(spec.default, bool) != (spec.type == "boolean"):
        return False
    if spec.enum and spec.default not in spec.enum:
        return False
    if spec.type not in _NUMBERS:
        return True
    return (spec.min is None or spec.default >= spec.min) and (
        spec.max is None or spec.default <= spec.max
    )


def _values_fault(values: Iterable[object]) -> str | None:
    listed = list(values)
    if any(not isinstance(value, str) or not value.strip() for value in listed):
        return "has an allowed value that is no text; put it in quotes"
    if len(set(listed)) != len(listed):
        return "lists an allowed value twice"
    return None


def _field_faults(spec: Field, where: str) -> Iterator[str]:
    if not NAME.match(spec.name):
        yield f"{where}: {spec.name!r} is no name; use lower case, digits and underscores"
    if not spec.description:
        yield f"{where}: {spec.name} has no description"
    if spec.enum and spec.type != "string":
        yield f"{where}: {spec.name} lists values but is of type {spec.type}"
    elif fault := _values_fault(spec.enum):
        yield f"{where}: {spec.name} {fault}"
    bounds = [bound for bound in (spec.min, spec.max) if bound is not None]
    if bounds and spec.type not in _NUMBERS:
        yield f"{where}: {spec.name} has a range but is of type {spec.type}"
    elif any(isinstance(b, bool) or not isinstance(b, int | float) for b in bounds):
        yield f"{where}: {spec.name} has a range that is not made of numbers"
    elif len(bounds) == 2 and bounds[0] > bounds[1]:
        yield f"{where}: {spec.name} has a min above its max"
    elif not _default_fits(spec):
        yield f"{where}: {spec.name} has a default that its own rules refuse"
    if spec.required and spec.default is not None:
        yield f"{where}: {spec.name} is required and has a default; it can have one of the two"


def contract_faults(contracts: Registry) -> list[str]:
    """Return every fault of the contracts, one line each; none when they are sound."""
    found: list[str] = []
    for spec in (*contracts.envelope.values(), *contracts.context.values()):
        found += _field_faults(spec, "envelope.yml")
    for domain in contracts.domains:
        where = f"{domain}.yml"
        if not NAME.match(domain) or domain == "events":
            found.append(f"{where}: {domain!r} cannot be the name of a domain")
        for name in contracts.domain_aliases.get(domain, {}):
            if name not in contracts.envelope:
                found.append(f"{where}: aliases of {name!r}, which is no field of the envelope")
        if not contracts.domain_descriptions.get(domain):
            found.append(f"{where}: the domain has no description")
    for event in contracts.events.values():
        where = f"{event.domain}.yml: {event.name}"
        if not NAME.match(event.name):
            found.append(f"{where} is no name; use lower case, digits and underscores")
        if not event.description:
            found.append(f"{where} has no description")
        if event.version < 1:
            found.append(f"{where} has version {event.version}; versions start at 1")
        if fault := _values_fault(event.status):
            found.append(f"{where}: status {fault}")
        for spec in event.properties.values():
            found += _field_faults(spec, where)
            if spec.name in STAGING_COLUMNS:
                found.append(f"{where}: {spec.name} is the name of a column that staging adds")
    return found

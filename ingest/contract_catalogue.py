"""The catalogue of events: the contracts to be read by people and by other programs.

Belongs here: what `tidemark contracts` lists, shows and exports, as plain functions that return
data or text. What the JSON Schemas say belongs in ``ingest.json_schema``; files that are generated
for the warehouse belong in ``ingest.contract_files``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ingest import registry as registry_module
from ingest.contract_files import write_file
from ingest.errors import UserError
from ingest.json_schema import bundle_schema, event_schema, example_event
from ingest.registry import Event, Field, Registry
from ingest.staging import MARK

EXPORT_FORMATS = ("json-schema", "markdown")


# -- list and show ---------------------------------------------------------------------------


def list_contracts(contracts: Registry | None = None) -> list[dict[str, Any]]:
    """Return one record per event, by domain and in the order of its file."""
    contracts = contracts or registry_module.registry()
    return [
        {
            "domain": domain,
            "event": event.name,
            "version": event.version,
            "activity": event.activity,
            "session": event.session,
            "required": [*event.required, *(n for n, s in event.properties.items() if s.required)],
            "properties": len(event.properties),
            "description": event.description,
        }
        for domain in contracts.domains
        for event in contracts.events_of(domain)
    ]


def _found_event(name: str, contracts: Registry) -> Event:
    wanted = name.replace(".", "_")
    if wanted in contracts.events:
        return contracts.events[wanted]
    near = difflib.get_close_matches(wanted, contracts.events, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see 'tidemark contracts list'"
    raise UserError(f"there is no event {name!r}; {hint}")


def _rules(spec: Field) -> str:
    parts = []
    if spec.enum:
        parts.append("one of " + ", ".join(spec.enum))
    if spec.min is not None and spec.max is not None:
        parts.append(f"{spec.min} to {spec.max}")
    elif spec.min is not None:
        parts.append(f"at least {spec.min}")
    elif spec.max is not None:
        parts.append(f"at most {spec.max}")
    if spec.format:
        parts.append(spec.format)
    if spec.staff:
        parts.append("staff" if spec.staff == "always" else "staff unless actor_type is user")
    if spec.default is not None:
        shown = str(spec.default).lower() if isinstance(spec.default, bool) else spec.default
        parts.append(f"default {shown}")
    if not spec.stored:
        parts.append("not stored")
    return "; ".join(parts)


def _counts(event: Event) -> str:
    if event.session:
        return "yes, and starts or extends sessions"
    return "yes, but not towards sessions" if event.activity else "no"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  " + "  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=True)), row[-1]])
        for row in rows
    ]


def show_contract(name: str, contracts: Registry | None = None) -> str:
    """Return one event's contract for a person to read, with an example event.

    Raises:
        UserError: there is no such event.

    """
    contracts = contracts or registry_module.registry()
    event = _found_event(name, contracts)
    lines = [f"{event.name}  (domain {event.domain}, version {event.version})"]
    if event.description:
        lines.append(event.description)
    lines += ["", f"Counts as activity: {_counts(event)}"]
    if event.entity_type:
        lines.append(f"Entity type: {event.entity_type}")
    if event.status:
        lines.append("Status: one of " + ", ".join(event.status))
    for name, spellings in contracts.domain_aliases.get(event.domain, {}).items():
        lines.append(f"{name} may also come as {', '.join(spellings)}")
    envelope = [
        (n, s.type, _rules(s) if n != "status" else "", s.description)
        for n, s in contracts.envelope.items()
        if s.required or n in event.required
    ]
    lines += ["", "Required in the envelope:"]
    lines += [line.rstrip() for line in _table(envelope)]
    if event.properties:
        own = [
            (n, s.type, "required" if s.required else "", _rules(s), s.description)
            for n, s in event.properties.items()
        ]
        lines += ["", "Properties:", *(line.rstrip() for line in _table(own))]
    lines += ["", "Example:", json.dumps(example_event(event, contracts), indent=2)]
    return "\n".join(lines)


# -- export ----------------------------------------------------------------------------------


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(_cell, line)) + " |" for line in lines]


def _field_rows(fields: Iterable[Field]) -> Iterable[Sequence[str]]:
    for spec in fields:
        required = "yes" if spec.required else ""
        yield f"`{spec.name}`", spec.type, required, _rules(spec), spec.description


def markdown_catalogue(contracts: Registry | None = None) -> str:
    """Return the catalogue of events as Markdown."""
    contracts = contracts or registry_module.registry()
    head = ("field", "type", "required", "allowed", "meaning")
    lines = ["# Events", "", f"<!-- {MARK.replace('sync', 'export')} -->", ""]
    lines += [f"{len(contracts.events)} events in {len(contracts.domains)} domains.", ""]
    lines += ["## Envelope", "", "Fields of every event.", ""]
    lines += _markdown_table(head, _field_rows(contracts.envelope.values()))
    lines += ["", "### Context", ""]
    lines += _markdown_table(head, _field_rows(contracts.context.values()))
    for domain in contracts.domains:
        lines += ["", f"## {domain.capitalize()}", "", contracts.domain_descriptions[domain]]
        for name, spellings in contracts.domain_aliases.get(domain, {}).items():
            listed = ", ".join(f"`{spelling}`" for spelling in spellings)
            lines += ["", f"`{name}` may also come as {listed}."]
        for event in contracts.events_of(domain):
            lines += ["", f"### {event.name}", "", event.description, ""]
            facts = [f"Version {event.version}", f"activity: {_counts(event)}"]
            if event.entity_type:
                facts.append(f"entity type `{event.entity_type}`")
            lines.append("; ".join(facts) + ".")
            if event.required:
                names = ", ".join(f"`{name}`" for name in event.required)
                lines += ["", f"Required in the envelope: {names}."]
            if event.status:
                names = ", ".join(f"`{value}`" for value in event.status)
                lines += ["", f"Status: {names}."]
            if event.properties:
                lines += ["", *_markdown_table(head, _field_rows(event.properties.values()))]
    return "\n".join(lines) + "\n"


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def render_contracts(format: str, contracts: Registry | None = None) -> str:
    """Return all contracts as one text: a JSON Schema of any event, or the Markdown catalogue.

    Raises:
        UserError: the format is unknown.

    """
    contracts = contracts or registry_module.registry()
    if format == "json-schema":
        return _json(bundle_schema(contracts))
    if format == "markdown":
        return markdown_catalogue(contracts)
    raise UserError(f"there is no format {format!r}; use {' or '.join(EXPORT_FORMATS)}")


def export_contracts(
    format: str, out: Path | None = None, contracts: Registry | None = None
) -> list[Path]:
    """Write the contracts for others and return the files written.

    ``out`` is a folder (one ``<event>.schema.json`` per event, or ``events.md``), or a file that
    ends in .json or .md and takes everything. Without it the folder is ``contracts``.

    Raises:
        UserError: the format is unknown.

    """
    contracts = contracts or registry_module.registry()
    out = out or Path("contracts")
    whole = render_contracts(format, contracts)
    if out.suffix in (".json", ".md"):
        files = {out: whole}
    elif format == "markdown":
        files = {out / "events.md": whole}
    else:
        files = {
            out / f"{event.name}.schema.json": _json(event_schema(event, contracts))
            for event in contracts.events.values()
        }
    for path, text in files.items():
        write_file(path, text)
    return list(files)

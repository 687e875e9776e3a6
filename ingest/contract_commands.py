"""What `tidemark contracts` does: list, show, check, sync, export, and register versions.

Belongs here: the commands on contracts as plain functions that return data or text. What the
generated files look like belongs in ``ingest.staging`` and ``ingest.json_schema``; which change
breaks belongs in ``ingest.contract_changes``.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ingest import registry as registry_module
from ingest.contract_changes import Change, changes_since, changes_since_registered
from ingest.contract_lint import contract_faults
from ingest.contract_lock import LOCK_FILE, Lock, canonical_event, fingerprint, read_lock
from ingest.errors import UserError
from ingest.json_schema import bundle_schema, event_schema, example_event
from ingest.registry import (
    CONTRACTS_DIR,
    SQL_TYPES,
    ContractError,
    Event,
    Field,
    Registry,
    load_registry,
)
from ingest.settings import Settings
from ingest.staging import MARK, staging_files
from ingest.warehouse import Warehouse, WarehouseBusy, WarehouseError, open_warehouse

ROOT = Path(__file__).resolve().parents[1]

SYNC = "run 'tidemark contracts sync'"

#: How long a check waits for a warehouse that is in use before it goes on without.
CHECK_WAIT_SECONDS = 2.0


class BreakingChange(UserError):
    """Contracts that would break what producers or readers rely on, without a new version."""


@dataclass(frozen=True)
class Layout:
    """Where the contracts stand, and what is generated from them."""

    contracts: Path
    lock: Path
    staging: Path
    raw_suite: Path

    def shown(self, path: Path) -> str:
        """Name a file the way a message should: from the root of the project."""
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


LAYOUT = Layout(
    contracts=CONTRACTS_DIR,
    lock=LOCK_FILE,
    staging=ROOT / "dbt_project" / "models" / "staging",
    raw_suite=ROOT / "expectations" / "suites" / "raw_events.yml",
)


@dataclass(frozen=True)
class CheckReport:
    """What `contracts check` found: each entry is one line that names its file or event."""

    events: int
    invalid: tuple[str, ...] = ()
    breaking: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when there is nothing to mend."""
        return not (self.invalid or self.breaking or self.drift)

    def lines(self) -> list[str]:
        """Say it all, the gravest first, and what to do at the end."""
        found = [*self.invalid, *self.breaking, *self.compatible, *self.drift, *self.notes]
        if self.ok:
            return [*found, f"{self.events} events: contracts valid, generated files in step"]
        if self.drift and not self.invalid and not self.breaking:
            found.append(SYNC)
        return found


@dataclass(frozen=True)
class SyncReport:
    """What `contracts sync` did."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    registered: int
    changes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say it in lines."""
        found = [*self.changes]
        found += [f"{name}: written" for name in self.written]
        found += [f"{name}: removed" for name in self.removed]
        if self.registered:
            found.append(f"{self.registered} versions registered in the warehouse")
        return found or ["everything is in step"]


def _read_contracts(layout: Layout) -> Registry:
    """Read the contracts of a layout and hold them against all rules."""
    try:
        contracts = load_registry(layout.contracts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The registry names the faults it looks for; a file of another shape ends up here.
        raise ContractError(
            f"{layout.shown(layout.contracts)}: a file has not the form of a contract "
            f"({type(error).__name__}: {error})"
        ) from error
    faults = contract_faults(contracts)
    if faults:
        raise ContractError("\n".join(faults))
    return contracts


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


# -- what is generated -----------------------------------------------------------------------


def _raw_suite_text(contracts: Registry) -> str | None:
    """Return the raw suite as text, or None while there is no module that makes it."""
    try:
        module = importlib.import_module("expectations.raw_border")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("expectations"):
            return None
        raise
    if not hasattr(module, "raw_suite"):
        return None
    suite = module.raw_suite(contracts)
    if isinstance(suite, str):
        return suite
    text = yaml.safe_dump(suite, sort_keys=False, width=96, allow_unicode=True)
    return f"# {MARK}\n{text}"


def generated_files(contracts: Registry, lock: Lock, layout: Layout = LAYOUT) -> dict[Path, str]:
    """Return every generated file as it should be, lock file included."""
    files = {
        layout.staging / name: text
        for name, text in staging_files(contracts, lock.history()).items()
    }
    suite = _raw_suite_text(contracts)
    if suite is not None:
        files[layout.raw_suite] = suite
    files[layout.lock] = lock.text()
    return files


def _leftovers(files: Iterable[Path], layout: Layout) -> list[Path]:
    expected = set(files)
    return [
        path
        for path in sorted(layout.staging.glob("*"))
        if path.suffix in (".sql", ".yml", ".yaml") and path not in expected
    ]


def _drift(files: dict[Path, str], layout: Layout) -> list[str]:
    found = []
    for path, text in files.items():
        if not path.exists():
            found.append(f"{layout.shown(path)}: is missing; {SYNC}")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"{layout.shown(path)}: differs from the contracts; {SYNC}")
    for path in _leftovers(files, layout):
        advice = SYNC if MARK in path.read_text(encoding="utf-8") else "move it elsewhere"
        found.append(f"{layout.shown(path)}: comes from no contract; {advice}")
    return found


# -- registered versions ---------------------------------------------------------------------


def _registered(warehouse: Warehouse) -> dict[tuple[str, int], str]:
    rows = warehouse.execute(
        "select event_name, version, fingerprint from ops.event_schema_versions"
    )
    return {(name, version): mark for name, version, mark in rows}


def _registered_contracts(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Return per event the newest contract that a warehouse has seen."""
    rows = warehouse.execute(
        "select event_name, contract from ops.event_schema_versions order by event_name, version"
    )
    return {name: json.loads(contract) for name, contract in rows}


def _refusal(changes: Iterable[Change]) -> BreakingChange:
    lines = [str(change) for change in changes if change.refused]
    return BreakingChange("\n".join(lines))


def register_versions(warehouse: Warehouse, contracts: Registry | None = None) -> int:
    """Enter in ops.event_schema_versions what is not there yet; return how many versions.

    One small query when nothing changed. A version that the warehouse knows is replaced by a
    compatible successor of itself; versions newer than the contracts at hand are left alone.

    Raises:
        BreakingChange: a contract breaks the version of itself that was registered.

    """
    contracts = contracts or registry_module.registry()
    known = _registered(warehouse)
    pending: list[tuple[str, int, str, str]] = []
    replaced = False
    for event in contracts.events.values():
        contract = canonical_event(event, contracts)
        mark = fingerprint(contract)
        standing = known.get((event.name, event.version))
        if standing != mark:
            replaced = replaced or standing is not None
            text = json.dumps(contract, ensure_ascii=False)
            pending.append((event.name, event.version, mark, text))
    if not pending:
        return 0
    if replaced:
        same = {
            name: contract
            for name, contract in _registered_contracts(warehouse).items()
            if name in contracts.events and contracts.events[name].version == contract["version"]
        }
        changes = changes_since_registered(same, contracts)
        if any(change.refused for change in changes):
            raise _refusal(changes)
    now = datetime.now(UTC).replace(tzinfo=None)
    places = ", ".join(["(?, ?, ?, ?, ?)"] * len(pending))
    warehouse.execute(
        "insert into ops.event_schema_versions "
        f"(event_name, version, fingerprint, contract, registered_at) values {places} "
        "on conflict (event_name, version) do update set fingerprint = excluded.fingerprint, "
        "contract = excluded.contract, registered_at = excluded.registered_at",
        [value for row in pending for value in (*row, now)],
    )
    return len(pending)


# -- check -----------------------------------------------------------------------------------


def _column_faults(warehouse: Warehouse, contracts: Registry) -> list[str]:
    """Name columns of raw.events whose type is no longer that of their contract."""
    rows = warehouse.execute(
        "select column_name, lower(data_type) from information_schema.columns "
        "where table_schema = 'raw' and table_name = 'events'"
    )
    present = dict(rows)
    synonyms = {"character varying": "varchar", "timestamp without time zone": "timestamp"}
    found = []
    for name, kind in contracts.raw_columns().items():
        wanted = SQL_TYPES[warehouse.target][kind].split(" collate")[0]
        stands = synonyms.get(present.get(name, wanted), present.get(name, wanted))
        if stands != wanted:
            found.append(
                f"raw.events.{name}: is {stands} in the warehouse, {wanted} by contract; "
                "a column keeps its type: give the property a new name"
            )
    return found


def _warehouse_findings(
    warehouse: Warehouse, contracts: Registry
) -> tuple[list[Change], list[str]]:
    if not warehouse.relation_exists("ops", "event_schema_versions"):
        return [], []
    changes = changes_since_registered(_registered_contracts(warehouse), contracts)
    return changes, _column_faults(warehouse, contracts)


def _open_for_check(settings: Settings) -> tuple[Warehouse | None, str | None]:
    """Open the warehouse if there is one and it is free; otherwise say why it was left out."""
    if settings.target == "duckdb" and not settings.warehouse_path.exists():
        return None, None
    try:
        opened = open_warehouse(settings, wait_seconds=CHECK_WAIT_SECONDS, read_only=True)
    except (WarehouseBusy, WarehouseError) as error:
        return None, f"not compared with the warehouse: {error}"
    return opened, None


def check_contracts(
    warehouse: Warehouse | None = None,
    *,
    settings: Settings | None = None,
    layout: Layout = LAYOUT,
) -> CheckReport:
    """Check the files, the generated files, and the contracts against their known versions.

    The lock file is always asked; the warehouse too when one is given, or when the settings lead
    to one that exists and is free. Nothing is written.
    """
    try:
        contracts = _read_contracts(layout)
        lock = read_lock(layout.lock)
    except ContractError as error:
        return CheckReport(events=0, invalid=tuple(str(error).splitlines()))
    changes = changes_since(lock, contracts)
    faults: list[str] = []
    notes: list[str] = []
    opened = None
    if warehouse is None and settings is not None:
        warehouse, note = _open_for_check(settings)
        opened = warehouse
        notes += [note] if note else []
    try:
        if warehouse is not None:
            more, faults = _warehouse_findings(warehouse, contracts)
            told = {(change.name, change.text) for change in changes}
            changes += [c for c in more if c.refused and (c.name, c.text) not in told]
    finally:
        if opened is not None:
            opened.close()
    drift = _drift(generated_files(contracts, lock.with_contracts(contracts), layout), layout)
    return CheckReport(
        events=len(contracts.events),
        breaking=(*(str(c) for c in changes if c.refused), *faults),
        compatible=tuple(str(c) for c in changes if not c.refused),
        drift=tuple(drift),
        notes=tuple(notes),
    )


# -- sync ------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{path.name}.new")
    waiting.write_text(text, encoding="utf-8")
    waiting.replace(path)


def sync_contracts(
    warehouse: Warehouse | None = None,
    *,
    retire: Sequence[str] = (),
    layout: Layout = LAYOUT,
) -> SyncReport:
    """Write everything that is generated from the contracts, and register their versions.

    ``retire`` names events that were taken out of the contracts for good; their rows stay.

    Raises:
        ContractError: a contract or the lock file cannot be used.
        BreakingChange: a change breaks a known version of an event; nothing was written.
        UserError: an event to retire still has a contract or was never known.

    """
    contracts = _read_contracts(layout)
    lock = read_lock(layout.lock)
    for name in retire:
        if name in contracts.events:
            raise UserError(f"{name} still has a contract; take it out before you retire it")
        if name not in lock.events:
            raise UserError(f"there is no event {name!r} to retire")
    lock = Lock(lock.envelope, lock.events, tuple({*lock.retired, *retire}))
    changes = changes_since(lock, contracts)
    if warehouse is not None and not any(change.refused for change in changes):
        more, faults = _warehouse_findings(warehouse, contracts)
        changes += [change for change in more if change.refused]
        if faults:
            raise BreakingChange("\n".join(faults))
    if any(change.refused for change in changes):
        raise _refusal(changes)
    files = generated_files(contracts, lock.with_contracts(contracts), layout)
    written = []
    # The lock file is the last: a sync that was cut off is found by the next check.
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            _write(path, text)
            written.append(layout.shown(path))
    removed = []
    for path in _leftovers(files, layout):
        if MARK in path.read_text(encoding="utf-8"):
            path.unlink()
            removed.append(layout.shown(path))
    registered = register_versions(warehouse, contracts) if warehouse is not None else 0
    told = tuple(str(change) for change in changes)
    return SyncReport(tuple(written), tuple(removed), registered, told)


# -- export ----------------------------------------------------------------------------------

EXPORT_FORMATS = ("json-schema", "markdown")


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
        _write(path, text)
    return list(files)

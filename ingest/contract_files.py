"""The contracts as files: what is generated from them, and whether it is in step.

Belongs here: where contracts and generated files stand, `tidemark contracts check` and `sync` as
plain functions. What the generated files look like belongs in ``ingest.staging`` and its
neighbours; which change breaks belongs in ``ingest.contract_changes``; what a warehouse knows of
contracts belongs in ``ingest.contract_versions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.contract_changes import BreakingChange, changes_since, refuse
from ingest.contract_lint import contract_faults
from ingest.contract_lock import LOCK_FILE, Lock, read_lock
from ingest.contract_versions import register_versions, warehouse_findings
from ingest.errors import UserError
from ingest.raw_suite import raw_suite_text
from ingest.registry import CONTRACTS_DIR, ContractError, Registry, load_registry
from ingest.settings import Settings
from ingest.staging import MARK, staging_files
from ingest.warehouse import Warehouse, WarehouseBusy, WarehouseError, open_warehouse

ROOT = Path(__file__).resolve().parents[1]

SYNC = "run 'tidemark contracts sync'"

#: How long a check waits for a warehouse that is in use before it goes on without.
CHECK_WAIT_SECONDS = 2.0


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


# -- what is generated -----------------------------------------------------------------------


def generated_files(contracts: Registry, lock: Lock, layout: Layout = LAYOUT) -> dict[Path, str]:
    """Return every generated file as it should be, lock file included."""
    files = {
        layout.staging / name: text
        for name, text in staging_files(contracts, lock.history()).items()
    }
    files[layout.raw_suite] = raw_suite_text(contracts)
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


# -- check -----------------------------------------------------------------------------------


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
            more, faults = warehouse_findings(warehouse, contracts)
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


def write_file(path: Path, text: str) -> None:
    """Put a text under a name, all of it at once; folders are made."""
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
        more, faults = warehouse_findings(warehouse, contracts)
        changes += [change for change in more if change.refused]
        if faults:
            raise BreakingChange("\n".join(faults))
    refuse(changes)
    files = generated_files(contracts, lock.with_contracts(contracts), layout)
    written = []
    # The lock file is the last: a sync that was cut off is found by the next check.
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_file(path, text)
            written.append(layout.shown(path))
    removed = []
    for path in _leftovers(files, layout):
        if MARK in path.read_text(encoding="utf-8"):
            path.unlink()
            removed.append(layout.shown(path))
    registered = register_versions(warehouse, contracts) if warehouse is not None else 0
    told = tuple(str(change) for change in changes)
    return SyncReport(tuple(written), tuple(removed), registered, told)

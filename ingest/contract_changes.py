"""What changed between two versions of a contract, and whom it breaks.

Belongs here: the rules by which a change is compatible (existing producers are still accepted and
existing rows still mean the same) or breaking. Reading and writing versions belongs in
``ingest.contract_lock``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.contract_lock import ENVELOPE, Lock, canonical_envelope, canonical_event
from ingest.errors import UserError
from ingest.registry import Registry


class BreakingChange(UserError):
    """Contracts that would break what producers or readers rely on, without a new version."""


@dataclass(frozen=True)
class Change:
    """One difference between a known contract and the one in the files."""

    name: str
    text: str
    breaking: bool
    refused: bool = False
    advice: str = ""

    def __str__(self) -> str:
        """Say it in one line, with what to do when it is refused."""
        return f"{self.name}: {self.text}" + (f"; {self.advice}" if self.advice else "")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _enum_changes(label: str, old: list[str], new: list[str]) -> Iterator[tuple[str, bool]]:
    if old and not new:
        yield f"{label}: any value is allowed now", False
    elif new and not old:
        yield f"{label}: only certain values are allowed now", True
    else:
        yield from ((f"{label}: value {v} removed", True) for v in old if v not in new)
        yield from ((f"{label}: new value {v}", False) for v in new if v not in old)


def _range_changes(
    label: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, bool]]:
    for end in ("min", "max"):
        before, after = old.get(end), new.get(end)
        if before == after:
            continue
        if after is None:
            yield f"{label}: range widened, no {end} any more (was {_shown(before)})", False
            continue
        narrower = before is None or (after > before if end == "min" else after < before)
        how = "narrowed" if narrower else "widened"
        was = "none" if before is None else _shown(before)
        yield f"{label}: range {how}, {end} {_shown(after)} (was {was})", narrower


def _field_changes(
    label: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, bool]]:
    if old["type"] != new["type"]:
        yield f"{label}: type changed from {old['type']} to {new['type']}", True
    if bool(old.get("required")) != bool(new.get("required")):
        if new.get("required"):
            yield f"{label}: is required now", True
        else:
            yield f"{label}: is optional now", False
    yield from _enum_changes(label, old.get("enum", []), new.get("enum", []))
    yield from _range_changes(label, old, new)
    for key, adding_breaks in (("default", False), ("format", True), ("alias", False)):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if before is None:
            yield f"{label}: {key} {_shown(after)} added", adding_breaks
        elif after is None:
            yield f"{label}: {key} {_shown(before)} removed", key != "format"
        else:
            yield f"{label}: {key} changed from {_shown(before)} to {_shown(after)}", True
    if old.get("stored", True) != new.get("stored", True):
        now = "stored" if new.get("stored", True) else "dropped"
        yield f"{label}: is {now} now", True


def _successor(
    spec: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> str | None:
    """Return the new name of a field that went away, if exactly one new field is its like."""
    gone = [name for name, other in old.items() if name not in new and other == spec]
    like = [name for name, other in new.items() if name not in old and other == spec]
    return like[0] if len(gone) == len(like) == 1 else None


def _fields_changes(
    kind: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, bool]]:
    renamed = set()
    for name, spec in old.items():
        if name in new:
            yield from _field_changes(f"{kind} {name}", spec, new[name])
        elif successor := _successor(spec, old, new):
            renamed.add(successor)
            yield f"{kind} {name} renamed to {successor}", True
        else:
            yield f"{kind} {name} removed", True
    for name in new:
        if name not in old and name not in renamed:
            required = bool(new[name].get("required"))
            yield f"new {'required' if required else 'optional'} {kind} {name}", required


def event_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Compare two canonical contracts of one event: what changed, and whether it breaks."""
    found: list[tuple[str, bool]] = []
    for key in ("domain", "activity", "session", "entity_type"):
        if key == "session" and old["activity"] != new["activity"]:
            continue  # What is no activity is no session either: one change, one line.
        if old[key] != new[key]:
            found.append((f"{key} changed from {_shown(old[key])} to {_shown(new[key])}", True))
    for name in new["required"]:
        if name not in old["required"]:
            found.append((f"envelope field {name} is required now", True))
    for name in old["required"]:
        if name not in new["required"]:
            found.append((f"envelope field {name} is optional now", False))
    for name in {**old["aliases"], **new["aliases"]}:
        before, after = old["aliases"].get(name, []), new["aliases"].get(name, [])
        found += [(f"{name}: spelling {s} removed", True) for s in before if s not in after]
        found += [(f"{name}: new spelling {s}", False) for s in after if s not in before]
    found += _enum_changes("status", old["status"], new["status"])
    found += _fields_changes("property", old["properties"], new["properties"])
    return found


def envelope_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Compare two canonical envelopes: what changed, and whether it breaks."""
    return [
        *_fields_changes("field", old["properties"], new["properties"]),
        *_fields_changes("context field", old["context"], new["context"]),
    ]


def _judged(
    name: str, known: Mapping[str, Any], current: Mapping[str, Any], where: str
) -> Iterator[Change]:
    before, after = known["version"], current["version"]
    if after < before:
        advice = "versions only grow: give it back its version, or a higher one"
        text = f"version {after} is older than version {before} {where}"
        yield Change(name, text, True, True, advice)
        return
    if after > before:
        yield Change(name, f"version {after} follows version {before}", False)
    for text, breaking in event_changes(known, current):
        refused = breaking and after == before
        advice = f"breaks version {before}: undo it, or set version: {before + 1}"
        yield Change(name, text, breaking, refused, advice if refused else "")


def changes_since(lock: Lock, contracts: Registry) -> list[Change]:
    """Compare the contracts with what is locked: every change, refused or not.

    A breaking change is refused unless the event's version went up. The envelope has no version
    of its own: breaking it breaks every producer, so every event's version has to go up.
    """
    found: list[Change] = []
    raised = set()
    for event in contracts.events.values():
        known = lock.newest(event.name)
        if known is None:
            found.append(Change(event.name, "new event", False))
            continue
        if event.version > known["version"]:
            raised.add(event.name)
        found += _judged(
            event.name, known, canonical_event(event, contracts), "in contracts.lock.json"
        )
    for name in lock.events:
        if name not in contracts.events and name not in lock.retired:
            advice = f"put it back, or retire it with 'tidemark contracts sync --retire {name}'"
            found.append(Change(name, "event removed", True, True, advice))
    if lock.envelope:
        standing = [n for n in lock.events if n in contracts.events and n not in raised]
        for text, breaking in envelope_changes(lock.envelope, canonical_envelope(contracts)):
            refused = breaking and bool(standing)
            advice = "breaks every event: undo it, or raise the version of all of them"
            found.append(Change(ENVELOPE, text, breaking, refused, advice if refused else ""))
    return found


def changes_since_registered(
    registered: Mapping[str, Mapping[str, Any]], contracts: Registry
) -> list[Change]:
    """Compare with the newest contract per event that a warehouse has seen.

    Events that only the warehouse knows were retired; the lock file watches over that.
    """
    found: list[Change] = []
    for name, known in registered.items():
        if name in contracts.events:
            current = canonical_event(contracts.events[name], contracts)
            found += _judged(name, known, current, "registered in the warehouse")
    return found


def refuse(changes: Iterable[Change]) -> None:
    """Let changes pass unless some are refused.

    Raises:
        BreakingChange: names every change that is refused, one per line.

    """
    refused = [str(change) for change in changes if change.refused]
    if refused:
        raise BreakingChange("\n".join(refused))

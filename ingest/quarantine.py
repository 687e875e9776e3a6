"""The quarantine: rejected inputs listed, shown, replayed after a fix, or discarded.

What is kept of a rejected input is decided in ``ingest.redacted_payload``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ingest.adapters import ADAPTERS
from ingest.blocks import ROWS_PER_BLOCK, Block, lines_as_block
from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.loader import Loader, Source
from ingest.redacted_payload import OF_BYTES
from ingest.settings import Settings
from ingest.tombstones import take_over
from ingest.validation import REASON_CODES
from ingest.warehouse import Warehouse, open_warehouse

#: Reasons of what is no event.
NO_EVENT = ("malformed_json", "not_an_object")


@dataclass(frozen=True)
class Selection:
    """Which rejected inputs are meant; nothing given means all that are not resolved."""

    rejection_ids: tuple[int, ...] = ()
    reason_code: str | None = None
    load_id: int | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return an SQL condition over ops.rejected_events and its values.

        Raises:
            UserError: the reason code is none of the fixed list.

        """
        parts = ["resolved_at is null"]
        values: list[Any] = []
        if self.rejection_ids:
            parts.append(f"rejection_id in ({', '.join('?' * len(self.rejection_ids))})")
            values.extend(self.rejection_ids)
        if self.reason_code is not None:
            if self.reason_code not in REASON_CODES:
                raise UserError(
                    f"{self.reason_code!r} is no reason code; use one of {', '.join(REASON_CODES)}"
                )
            parts.append("reason_code = ?")
            values.append(self.reason_code)
        if self.load_id is not None:
            parts.append("load_id = ?")
            values.append(self.load_id)
        return " and ".join(parts), values


@dataclass(frozen=True)
class ReplayResult:
    """What became of replayed inputs."""

    accepted: int
    duplicates: int
    still_rejected: int


def list_rejections(
    warehouse: Warehouse, selection: Selection, *, limit: int | None
) -> list[dict[str, Any]]:
    """Return open rejections, newest first and at most ``limit``, without their payloads."""
    condition, values = selection.condition()
    return warehouse.records(
        "select rejection_id, load_id, line_number, reason_code, field, detail, event_name, "
        f"rejected_at from ops.rejected_events where {condition} order by rejection_id desc"
        + ("" if limit is None else f" limit {int(limit)}"),
        values,
    )


def count_rejections(warehouse: Warehouse, selection: Selection) -> int:
    """Return how many rejections are open."""
    condition, values = selection.condition()
    return int(
        warehouse.value(f"select count(*) from ops.rejected_events where {condition}", values)
    )


def _insist_on_numbers(warehouse: Warehouse, selection: Selection) -> None:
    if not selection.rejection_ids:
        return
    condition, values = selection.condition()
    rows = warehouse.execute(
        f"select rejection_id from ops.rejected_events where {condition}", values
    )
    if missing := sorted(set(selection.rejection_ids) - {number for (number,) in rows}):
        named = ", ".join(map(str, missing))
        raise UserError(f"there is no open rejected input {named}; see 'tidemark quarantine list'")


def show_rejection(warehouse: Warehouse, rejection_id: int) -> dict[str, Any]:
    """Return one rejection with its redacted payload and the file that it came in.

    Raises:
        UserError: there is no rejection of this number.

    """
    rows = warehouse.records(
        "select rejected.*, loads.file_name, loads.source from ops.rejected_events as rejected "
        "left join ops.loads as loads on rejected.load_id = loads.load_id "
        "where rejected.rejection_id = ?",
        [rejection_id],
    )
    if not rows:
        raise UserError(
            f"there is no rejected input {rejection_id}; see 'tidemark quarantine list'"
        )
    return rows[0]


def discard(warehouse: Warehouse, selection: Selection) -> int:
    """Resolve rejections for good and forget their payloads; return how many.

    Raises:
        UserError: one of the numbers is not open; then nothing is discarded.

    """
    condition, values = selection.condition()
    with warehouse.transaction():
        _insist_on_numbers(warehouse, selection)
        count = count_rejections(warehouse, selection)
        warehouse.execute(
            "update ops.rejected_events set resolved_at = ?, resolution = 'discarded', "
            f"payload = null where {condition}",
            [utc_now(), *values],
        )
    return count


def replay(settings: Settings, selection: Selection) -> ReplayResult:
    """Put rejections through the door again, as a load of their own, in one transaction.

    Those that pass now are resolved (known event ids as duplicates); the others keep their place
    with the reason of today, but those of wrong bytes with their first one: that what is kept of
    them is no event is none of its own. A replay is a new receipt.

    Raises:
        UserError: one of the numbers is not open; then nothing is replayed.

    """
    with open_warehouse(settings) as warehouse:
        take_over(warehouse, settings)
        with closing(Loader(warehouse, settings, mapping={})) as loader, loader.load_transaction():
            return _replay(loader, selection)


def _replay(loader: Loader, selection: Selection) -> ReplayResult:
    warehouse = loader.warehouse
    _insist_on_numbers(warehouse, selection)
    condition, values = selection.condition()
    rows = warehouse.execute(
        "select rejection_id, payload, reason_code from ops.rejected_events "
        f"where {condition} and payload is not null and payload <> '' "
        # Of a foreign document only a skeleton is kept; it is no event and stays what it is.
        "and (event_name is not null or load_id not in (select load_id from ops.loads "
        f"where source in ({', '.join('?' * len(ADAPTERS))}))) order by rejection_id",
        [*values, *ADAPTERS],
    )
    source = Source(loader.next_load_id(), "quarantine", "quarantine", "", iter(()))
    started = utc_now()
    tally = source.tally
    still_rejected = 0
    bytes_were_wrong = {number for number, _, reason in rows if reason in OF_BYTES}
    for block in _blocks(rows):
        numbers = set(block.lines.column(0).to_pylist())
        batch = loader.engine.type_block(block, load_id=source.load_id, received_at=started)
        for (_, day), count in loader.append(batch, source.load_id).items():
            tally.accepted += count
            tally.dates[day] += count
        for (_, event_name, name), count in batch.unknown_properties.items():
            tally.unknown[event_name, name] += count
        tally.erased += sum(batch.erased.values())
        for bad in batch.rejected:
            still_rejected += 1
            numbers.discard(bad.line_number)
            if bad.line_number in bytes_were_wrong and bad.fault.code in NO_EVENT:
                continue
            warehouse.execute(
                "update ops.rejected_events set reason_code = ?, field = ?, detail = ? "
                "where rejection_id = ?",
                [bad.fault.code, bad.fault.field, bad.fault.detail, bad.line_number],
            )
        # What stays in the quarantine was counted by the load that it first came in.
        tally.read += len(numbers)
        _resolve(warehouse, sorted(numbers), started)
    if tally.read:
        loader.record(source, started, "loaded")
    return ReplayResult(tally.accepted, tally.duplicates, still_rejected)


def _blocks(rows: Sequence[tuple[int, str, str]]) -> Iterator[Block]:
    for start in range(0, len(rows), ROWS_PER_BLOCK):
        part = rows[start : start + ROWS_PER_BLOCK]
        lines = [payload.replace("\n", " ").encode() for _, payload, _ in part]
        yield lines_as_block([number for number, _, _ in part], lines, [])


def _resolve(warehouse: Warehouse, numbers: Sequence[int], at: Any) -> None:
    for start in range(0, len(numbers), 1000):
        part = numbers[start : start + 1000]
        warehouse.execute(
            "update ops.rejected_events set resolved_at = ?, resolution = 'replayed' "
            f"where rejection_id in ({', '.join('?' * len(part))})",
            [at, *part],
        )

"""Erasure: a person goes from the warehouse, from what was published of it, and from the files.

Belongs here: who is meant, the order of things, the receipt, and doing again what a crash or an old
backup has undone. Which rows go is found in ``orchestration.erasure.rows``, databases are
written anew in ``orchestration.erasure.files``, logs looked through in
``orchestration.erasure.traces``; the door's refusal belongs in ``ingest.tombstones``.

First the journal beside the warehouse, then tombstones and rows in one transaction, then files,
last the receipt's finished_at: whoever opens a session finishes what is not finished. Everything
works from salted hashes, so that an older backup is erased again without knowing whom.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from ingest.clock import utc_now
from ingest.errors import UserError
from ingest.privacy import Pseudonyms, identifying
from ingest.settings import Settings
from ingest.tombstones import (
    IDENTIFIER_TYPES,
    Erasure,
    read_journal,
    record,
    salt_of,
    salted,
    write_journal,
)
from ingest.warehouse import LOAD_LOCK, WAIT_SECONDS, Warehouse, open_warehouse
from orchestration import ledger
from orchestration.erasure import files
from orchestration.erasure.rows import Identifier, PersonRows, expanded
from orchestration.erasure.traces import scrub_dagster, scrub_home
from orchestration.export_log import Export, exports_of_persons
from orchestration.session import RunSession, open_session

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What an erasure did, or would do: counts only, nothing that tells who it was.

    ``done`` is False for what would go, and for a request that waits. ``left`` says what could
    not be done, ``files`` which files of others name the person. ``stale_since``: links of events
    from that date on are not known yet.
    """

    request_id: str | None
    identifiers: Mapping[str, int]
    rows: Mapping[str, int]
    done: bool = False
    first_event_date: date | None = None
    left: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    exports: tuple[Export, ...] = ()
    stale_since: date | None = None

    def as_data(self) -> dict[str, Any]:
        """Return it for a program."""
        return asdict(self)


@dataclass
class _Done:
    """What an erasure that is carried out has done so far."""

    identifiers: set[Identifier] = field(default_factory=set)
    rows: dict[str, int] = field(default_factory=dict)
    first_event_date: date | None = None
    left: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def named(
    settings: Settings,
    *,
    user_id: str | None = None,
    anonymous_id: str | None = None,
    phone: str | None = None,
    email: str | None = None,
    phone_hash: str | None = None,
    email_hash: str | None = None,
) -> list[Identifier]:
    """Return the identifiers that one way of naming a person stands for.

    A telephone number or an address is what the door makes of it under each key that is listed.

    Raises:
        UserError: not exactly one is given, or it is no number or address.

    """
    given = {
        "user_id": user_id, "anonymous_id": anonymous_id, "phone": phone, "email": email,
        "phone_hash": phone_hash, "email_hash": email_hash,
    }  # fmt: skip
    chosen = {name: value.strip() for name, value in given.items() if value is not None}
    if len(chosen) != 1 or not all(chosen.values()):
        raise UserError(
            "say who by exactly one of --user-id, --anonymous-id, --phone, --email, --phone-hash, "
            "--email-hash"
        )
    ((name, value),) = chosen.items()
    if "\0" in value:
        raise UserError(f"--{name.replace('_', '-')} holds a NUL character; no identifier has one")
    normal_form = identifying(value)
    if name == "phone" and not (normal_form or "").startswith("+"):
        raise UserError("--phone is no telephone number; write it as +49 30 901820")
    if name == "email" and "@" not in (normal_form or ""):
        raise UserError("--email is no address; write it as ann@example.com")
    kind = {"phone": "phone_hash", "email": "email_hash"}.get(name, name)
    forms = [Pseudonyms(key).of(value) for key in reversed(settings.hash_keys)]
    # What the door keeps as it is comes first; a number never is.
    values = forms if normal_form else [value, *forms]
    return [(kind, form) for form in dict.fromkeys(values)]


def preview(settings: Settings, given: Sequence[Identifier]) -> Report:
    """Tell what would go, and change nothing.

    Raises:
        WarehouseError: there is no warehouse yet.

    """
    with (
        open_warehouse(settings, read_only=True) as warehouse,
        files.published_attached(settings, warehouse) as catalogs,
    ):
        rows = _rows_of(warehouse, secrets.token_hex(16), given, catalogs)
        members = rows.members() | expanded(given)
        rows = _rows_of(warehouse, rows.salt, members, catalogs)
        return _found(settings, rows, None)


def ask(settings: Settings, given: Sequence[Identifier]) -> Report:
    """Note an erasure in the journal and leave it to the job `erasure`, or to the next run.

    The person's identifiers are those known now, and the door refuses them from its next load on.

    Raises:
        WarehouseBusy: a run or a load did not end in time.

    """
    with open_warehouse(settings) as warehouse:
        erasure, members = _request(warehouse, settings, given)
        with files.published_attached(settings, warehouse) as catalogs:
            rows = _rows_of(warehouse, erasure.salt, members, catalogs)
            report = _found(settings, rows, erasure.request_id)
        write_journal(settings, erasure)
        return report


def waiting(settings: Settings) -> list[Report]:
    """Tell what would go by the erasures that are asked for and not done; change nothing.

    Raises:
        WarehouseError: there is no warehouse yet.

    """
    with open_warehouse(settings, read_only=True) as warehouse:
        erasures = _unfinished(warehouse, settings)
        with files.published_attached(settings, warehouse) as catalogs:
            reports = []
            for each in erasures:
                rows = PersonRows(warehouse, each.salt, frozenset(each.tombstones), catalogs)
                reports.append(_found(settings, rows, each.request_id))
            return reports


def finish(
    settings: Settings,
    *,
    wait_seconds: float = WAIT_SECONDS,
    notify: Notify | None = None,
    on_step: Notify | None = None,
) -> list[Report]:
    """Carry out the erasures that are asked for and not done; return what each did.

    Raises:
        UserError: the database does not let this login.
        WarehouseBusy: a run or a load did not end in time.

    """
    session = open_session(settings, wait_seconds=wait_seconds, notify=notify, on_step=on_step)
    session.close()
    return session.erasures


def erase(
    settings: Settings,
    given: Sequence[Identifier],
    *,
    notify: Notify | None = None,
    on_step: Notify | None = None,
) -> Report:
    """Erase the person whom identifiers belong to, for good.

    Nobody found leaves tombstones and a receipt all the same: the events may still come.

    Raises:
        UserError: there is not enough room, or the database does not let this login.
        WarehouseBusy: a run or a load did not end in time.

    """
    files.require_space(settings)
    with open_session(settings, notify=notify, on_step=on_step) as session:
        warehouse = session.warehouse
        erasure, members = _request(warehouse, settings, given)
        stale_since = _stale_since(warehouse)
        write_journal(settings, erasure)
        done = _carry_out(session, erasure, members, known=False)
        return _report(settings, erasure, done, stale_since)


def catch_up(session: RunSession) -> list[Report]:
    """Carry out erasures that wait, were cut off by a crash, or were undone by a backup.

    Returns what each did. The caller holds the lock of runs and has taken the journal over.
    """
    reports = []
    for erasure in _unfinished(session.warehouse, session.settings):
        session.say(f"erasure {erasure.request_id} is not done in this warehouse: it is done now")
        stale_since = _stale_since(session.warehouse)
        done = _carry_out(session, erasure, set(), known=True)
        reports.append(_report(session.settings, erasure, done, stale_since))
    return reports


def _unfinished(warehouse: Warehouse, settings: Settings) -> list[Erasure]:
    """Return the erasures without a receipt that says finished, and those of the journal alone."""
    known: set[str] = set()
    found: dict[str, Erasure] = {}
    if warehouse.relation_exists("ops", "erasure_tombstones"):
        known = {request_id for (request_id,) in warehouse.execute(
            "select request_id from ops.erasures"
        )}  # fmt: skip
        for request_id, requested_at, identifier_hash, salt, kind, hashed in warehouse.execute(
            "select erasures.request_id, erasures.requested_at, erasures.identifier_hash, "
            "tombstones.salt, tombstones.identifier_type, tombstones.identifier_hash "
            "from ops.erasures as erasures inner join ops.erasure_tombstones as tombstones "
            "on erasures.request_id = tombstones.request_id where erasures.finished_at is null "
            "order by erasures.requested_at, erasures.request_id"
        ):
            before = found[request_id].tombstones if request_id in found else ()
            tombstones = (*before, (kind, hashed))
            found[request_id] = Erasure(request_id, requested_at, salt, identifier_hash, tombstones)
    noted = [each for each in read_journal(settings) if each.request_id not in known]
    return [*found.values(), *noted]


def _request(
    warehouse: Warehouse, settings: Settings, given: Sequence[Identifier]
) -> tuple[Erasure, set[Identifier]]:
    """Return a new erasure, and the identifiers it is about."""
    salt = salt_of(warehouse, settings)
    members = _rows_of(warehouse, salt, given).members() | expanded(given)
    erasure = Erasure(
        request_id=ledger.new_run_id(),
        requested_at=utc_now(),
        salt=salt,
        identifier_hash=salted(salt, *given[0]),
        tombstones=tuple(sorted((kind, salted(salt, kind, v)) for kind, v in members)),
    )
    return erasure, members


def _found(settings: Settings, rows: PersonRows, request_id: str | None) -> Report:
    """Return what would go."""
    rows.find()
    report = Report(
        request_id, _by_type(rows.identifiers()), rows.count(),
        first_event_date=rows.first_event_date(), exports=tuple(exports_of_persons(settings)),
        stale_since=_stale_since(rows.warehouse),
    )  # fmt: skip
    rows.drop()
    return report


def _report(settings: Settings, erasure: Erasure, done: _Done, stale_since: date | None) -> Report:
    """Return what went."""
    return Report(
        erasure.request_id, _by_type(done.identifiers), done.rows, True, done.first_event_date,
        tuple(done.left), tuple(done.files), tuple(exports_of_persons(settings)), stale_since,
    )  # fmt: skip


def _rows_of(
    warehouse: Warehouse,
    salt: str,
    identifiers: Iterable[Identifier],
    catalogs: tuple[str, ...] = (),
) -> PersonRows:
    hashes = frozenset((kind, salted(salt, kind, value)) for kind, value in expanded(identifiers))
    return PersonRows(warehouse, salt, hashes, catalogs)


def _carry_out(
    session: RunSession, erasure: Erasure, members: set[Identifier], *, known: bool
) -> _Done:
    """Do all of it; ``known`` when the warehouse has the tombstones already."""
    settings, warehouse = session.settings, session.warehouse
    done = _Done()
    session.say("removing rows")
    with files.published_attached(settings, warehouse) as catalogs:
        rows = PersonRows(warehouse, erasure.salt, frozenset(erasure.tombstones), catalogs)
        try:
            with warehouse.transaction():
                _lock(warehouse)
                if not known:
                    record(warehouse, erasure)
                rows.find()
                done.identifiers = rows.identifiers()
                names = _names(rows, members)
                published = rows.count_published()
                done.first_event_date = rows.first_event_date()
                done.rows = rows.remove() | published
                if done.first_event_date:
                    # What later dates look back on counts the person where no key tells it.
                    ledger.mark_unprepared(warehouse, done.first_event_date)
                _note(warehouse, erasure.request_id, done)
        except _denied(warehouse) as error:
            raise UserError(
                f"this login may not erase: {' '.join(str(error).split())[:200]}; connect as the "
                "owner of the database, then run any command again"
            ) from None
        if catalogs:
            # Also when no row of it is the person's: a file that began as a copy of an older one
            # keeps in its free blocks what was replaced.
            session.say("writing the published file anew")
            files.write_published(settings, rows)
        rows.drop()
    files.remove_old_versions(settings)
    session.say("looking through logs")
    done.files = scrub_home(settings, names)
    if settings.postgres_url:
        scrub_dagster(settings, names)
    if warehouse.target == "duckdb":
        session.say("writing the warehouse anew")
        files.rewrite_warehouse(session, erasure.request_id)
        return done
    session.say("writing tables anew")
    done.left = files.rewrite_postgres(warehouse)
    warehouse.execute(
        "update ops.erasures set finished_at = ?, left_to_do = ? where request_id = ?",
        [utc_now(), "; ".join(done.left) or None, erasure.request_id],
    )
    return done


def _lock(warehouse: Warehouse) -> None:
    """Wait for loads and publications that are under way; those to come see the tombstones."""
    from orchestration.publication.postgres_tables import PUBLISH_LOCK

    if warehouse.target == "postgres":
        for lock in (LOAD_LOCK, PUBLISH_LOCK):
            warehouse.execute("select pg_advisory_xact_lock(?)", [lock])


def _denied(warehouse: Warehouse) -> type[Exception]:
    if warehouse.target == "postgres":
        import psycopg

        return psycopg.errors.InsufficientPrivilege
    return PermissionError


def _names(rows: PersonRows, members: Iterable[Identifier]) -> list[str]:
    """What a file could name the person by: identifiers, and the ids that follow from them."""
    found = {value for _, value in (*members, *rows.identifiers())}
    persons = rows.warehouse.execute("select key from tide_erased_persons")
    return sorted(found | {str(key) for (key,) in persons})


def _note(warehouse: Warehouse, request_id: str, done: _Done) -> None:
    """Write rows and the first date to the receipt, on top of what a first try has done."""
    ((before, first),) = warehouse.execute(
        "select rows_by_relation, first_event_date from ops.erasures where request_id = ?",
        [request_id],
    )
    rows = Counter(json.loads(before) if before else {})
    for label, count in done.rows.items():
        # A file that was not written the first time is counted again.
        rows[label] = count if label.startswith("published ") else rows[label] + count
    dates = [day for day in (first, done.first_event_date) if day is not None]
    warehouse.execute(
        "update ops.erasures set rows_by_relation = ?, first_event_date = ?, finished_at = null "
        "where request_id = ?",
        [json.dumps(dict(sorted(rows.items()))), min(dates, default=None), request_id],
    )


def _by_type(identifiers: Iterable[Identifier]) -> dict[str, int]:
    counts = Counter(kind for kind, _ in identifiers)
    return {kind: counts[kind] for kind in IDENTIFIER_TYPES if counts[kind]}


def _stale_since(warehouse: Warehouse) -> date | None:
    if not warehouse.relation_exists("ops", "partition_state"):
        return None
    stale: date | None = warehouse.value(
        "select min(partition_date) from ops.partition_state where stale"
    )
    return stale

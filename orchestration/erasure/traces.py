"""Traces that only accidents leave: a person's name in a log, in Dagster's storage, beside dbt.

Belongs here: finding names in what the project writes beside its databases, and taking them out
without harm to what else stands there. Databases are the matter of ``orchestration.erasure.files``.

A name is found as a whole word only: ``ann`` is not in ``channel``, nor ``101`` in ``10:15.101``.
What programs read again is changed where people wrote, never where a name happens to be a part of
the program.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.door import clean_spool
from ingest.settings import Settings
from ingest.tombstones import NAMING_FIELDS
from ingest.warehouse import open_warehouse
from orchestration.erasure.rules import BLANK

#: Larger files are not looked through, but for Dagster's databases.
LOOKED_THROUGH = 256 << 20

#: A shorter name is looked for nowhere: every other line has it, and it tells nobody who it was.
SHORTEST = 3

#: So long a name is not part of anything else by chance.
UNMISTAKABLE = 12

#: Values under such keys are Dagster's own: a number there is a limit or a count.
DAGSTER_TAGS = ("dagster/", ".dagster/")

#: So many bytes of a file are read at once.
BLOCK = 16 << 20

_SQLITE = b"SQLite format 3\0"


class Names:
    """What a person is named by, to be found in texts as whole words."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names that are long enough."""
        self.names = frozenset(name for name in names if len(name) >= SHORTEST)
        #: The names, also as JSON writes them where that differs.
        self.forms = sorted({*self.names, *(json.dumps(name)[1:-1] for name in self.names)})
        self._any = _words(self.forms)
        self._unlike_any_other = _words(form for form in self.forms if len(form) >= UNMISTAKABLE)

    def may_be_in(self, path: Path) -> bool:
        """Tell whether the bytes of one of them are in a file, as a word or as part of one."""
        wanted = [_bytes(form) for form in self.forms]
        before = max(map(len, wanted), default=0)
        with path.open("rb") as file:
            block = b""
            while read := file.read(BLOCK):
                block = block[-before:] + read
                if any(name in block for name in wanted):
                    return True
        return False

    def taken_out(self, text: str) -> str:
        """Return a text without them."""
        return self._any.sub(BLANK, text)

    def taken_out_of_cell(self, cell: str) -> str:
        """Return what a cell of a program's table says without them; of JSON, keys stay."""
        try:
            document = json.loads(cell)
        except ValueError:
            document = None
        if isinstance(document, (dict, list)):
            changed = self._taken_out_of(document)
            return cell if changed == document else json.dumps(changed)
        if len(cell.split()) > 1:
            return self.taken_out(cell)
        # A date, a path, the id of a run: part of it may be anybody's number.
        return self._unlike_any_other.sub(BLANK, cell)

    def _taken_out_of(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._taken_out_of(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self._taken_out_of(each, key) for each in value]
        if key in NAMING_FIELDS and str(value) in self.names:
            return BLANK
        if not isinstance(value, str):
            return value
        # A word of letters may be the program's own, as the name of a step is.
        if value in self.names and not value.isalpha() and not key.startswith(DAGSTER_TAGS):
            return BLANK
        return self.taken_out_of_cell(value)


def _words(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds names as whole words, longer ones first; without names, nothing."""
    listed = "|".join(map(_word, sorted(names, key=len, reverse=True)))
    # After an escaped line break, as programs quote texts, a word begins too.
    return re.compile(rf"(?:(?<!\w)|(?<=\\[nrt]))(?:{listed})(?!\w)" if listed else r"(?!)")


def _word(name: str) -> str:
    # Digits beside these signs and more digits are part of a date, a time or a fraction.
    return rf"(?<!\d[-.:]){name}(?![-.:]\d)" if name.isdigit() else re.escape(name)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# -- the home folder -------------------------------------------------------------------------------


def scrub_home(settings: Settings, names: Sequence[str]) -> list[str]:
    """Take names out of the logs and storages that the project writes.

    Of what dbt has made, files that hold a name are removed; it makes them anew. What a load that
    goes on has in the spool is left to it: the door refuses the person, and the spool goes with it.

    Returns the other files in the home folder that hold one.
    """
    person = Names(names)
    clean_spool(settings.home / "spool")
    others: list[str] = []
    for path in _files(settings) if person.names else ():
        folder = path.relative_to(settings.home).parts[0]
        try:
            if folder == "dagster" and _is_sqlite(path):
                _scrub_sqlite(path, person)
                continue
            if path.stat().st_size > LOOKED_THROUGH or not person.may_be_in(path):
                continue
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            continue
        clean = person.taken_out(text)
        if clean == text:
            continue
        if folder == "dbt":
            _forget_parsed(path, settings.home / "dbt")
        elif folder == "logs" or path.is_relative_to(settings.dagster_home / "logs"):
            _write(path, clean)
        else:
            others.append(str(path))
    return others


def _files(settings: Settings) -> Iterator[Path]:
    """Yield the files of the home in which a name can be an accident."""
    warehouse = settings.warehouse_path.name
    for path in sorted(settings.home.rglob("*")):
        place = path.relative_to(settings.home).parts
        if path.is_symlink() or not path.is_file() or place[0] in ("published", "spool"):
            continue
        if len(place) == 1 and path.name.lstrip(".").startswith(warehouse):
            continue
        # What SQLite keeps beside a database goes with it; dagster.yaml is written by us.
        if place[0] == "dagster" and path.name.endswith(
            ("-wal", "-shm", "-journal", "dagster.yaml")
        ):
            continue
        yield path


def _forget_parsed(path: Path, root: Path) -> None:
    """Remove a file that dbt makes anew, and first what says that all of them are up to date."""
    for name in ("fingerprint", "manifest.json"):
        for made in root.glob(f"*/{name}"):
            made.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    waiting = path.with_name(f".{path.name}.new")
    waiting.write_bytes(_bytes(text))
    shutil.copymode(path, waiting)
    waiting.replace(path)


# -- Dagster's storage -----------------------------------------------------------------------------


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _scrub_sqlite(path: Path, person: Names) -> None:
    log = path.with_name(f"{path.name}-wal")
    # Also what was deleted, and is no cell any more.
    due = person.may_be_in(path) or (log.exists() and person.may_be_in(log))
    with closing(sqlite3.connect(path, timeout=30)) as database:
        for table, column in database.execute(
            "select tables.name, columns.name from sqlite_master as tables "
            "cross join pragma_table_info(tables.name) as columns "
            "where tables.type = 'table' and tables.name not like 'sqlite_%'"
        ).fetchall():
            cells = database.execute(
                f'select cells.rowid, cells."{column}" from "{table}" as cells '
                f"where typeof(cells.\"{column}\") = 'text' and exists (select 1 from "
                f'json_each(?) as names where instr(cells."{column}", names.value) > 0)',
                [json.dumps(person.forms)],
            ).fetchall()
            mended = [
                (clean, place)
                for place, cell in cells
                if (clean := person.taken_out_of_cell(cell)) != cell
            ]
            database.executemany(f'update "{table}" set "{column}" = ? where rowid = ?', mended)
            due = due or bool(mended)
        database.commit()
        if due:
            database.execute("vacuum")
            database.execute("pragma wal_checkpoint(truncate)")


def scrub_dagster(settings: Settings, names: Sequence[str]) -> None:
    """Take names out of Dagster's tables on Postgres, and of no other program's.

    Raises:
        WarehouseError: the server cannot be reached.

    """
    person = Names(names)
    if not person.names:
        return
    # Dagster's runs are kept on Postgres wherever there is one, whatever the target is.
    server = open_warehouse(replace(settings, target="postgres"), read_only=True)
    with closing(server) as warehouse:
        written = _columns_of_dagster()
        there = warehouse.execute(
            "select columns.table_name, columns.column_name from information_schema.columns "
            "as columns inner join information_schema.tables as tables "
            "on columns.table_schema = tables.table_schema "
            "and columns.table_name = tables.table_name "
            "where columns.table_schema = 'public' and tables.table_type = 'BASE TABLE' "
            "and columns.data_type in ('text', 'character varying') and exists (select 1 "
            "from information_schema.tables as mark where mark.table_schema = 'public' "
            "and mark.table_name = 'event_logs') order by 1, 2"
        )
        changed = set()
        for table, column in there:
            if (table, column) not in written:
                continue
            for place, cell in warehouse.execute(
                f'select cast(cells.ctid as text), cells."{column}" from public."{table}" as cells '
                "where exists (select 1 from unnest(cast(? as text[])) as names (name) "
                f'where position(names.name in cells."{column}") > 0)',
                [person.forms],
            ):
                mended = person.taken_out_of_cell(cell)
                if mended != cell:
                    # Dagster may have put another row in this place meanwhile.
                    warehouse.execute(
                        f'update public."{table}" set "{column}" = ? '
                        f'where ctid = cast(? as tid) and "{column}" = ?',
                        [mended, place, cell],
                    )
                    changed.add(table)
        for table in sorted(changed):
            warehouse.execute(f'vacuum (full, analyze) public."{table}"')


def _columns_of_dagster() -> set[tuple[str, str]]:
    """Return the columns (table, column) of Dagster's tables: `jobs` is a name that others use."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
    from dagster._core.storage.runs.schema import RunStorageSqlMetadata
    from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata

    storages = (SqlEventLogStorageMetadata, RunStorageSqlMetadata, ScheduleStorageSqlMetadata)
    return {
        (table.name, column.name)
        for storage in storages
        for table in storage.tables.values()
        for column in table.columns
    }

"""Dagster's event log, made fast enough for runs of any length.

Belongs here: only how events are written. A range run plans and materializes every date of every
relation, and Dagster plans every check once per date although ours have no dates: written the
ordinary way that is 14 ms an event and half a gigabyte for a year. ``dagster.yaml`` names these
classes.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as db
from dagster import AssetMaterialization, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

PLANNED = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
CHECK_PLANNED = DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED

BATCHED = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_OBSERVATION,
    PLANNED,
    CHECK_PLANNED,
}

#: Of more events than these for one asset, only the newest is kept where the others say nothing
#: new: in a run's own log, and of what was merely planned.
TOLD_SINGLY = 31

#: Files kept open: the index and the run at hand, and a few that the web page looks at.
OPEN_FILES = 4

BUSY_SECONDS = 60


class Batches:
    """Writes batches in one transaction, and a planned check once, not once per date.

    Mixed into a storage; ``_tell_run`` is where a storage keeps a log per run.
    """

    def store_event_batch(self: Any, events: Sequence[EventLogEntry]) -> None:
        """Write events together; what cannot be batched goes the ordinary way."""
        groups: dict[tuple[str, Any], list[EventLogEntry]] = {}
        for event in events:
            kind = event.dagster_event_type
            if kind in BATCHED:
                groups.setdefault((event.run_id, kind), []).append(event)
            else:
                self.store_event(event)
        for (run_id, kind), group in groups.items():
            if kind == CHECK_PLANNED:
                self._store_planned_checks(run_id, group)
            else:
                self._store_asset_events(run_id, group, thin=kind == PLANNED)

    def _store_asset_events(
        self: Any, run_id: str, events: Sequence[EventLogEntry], *, thin: bool
    ) -> None:
        told = _told(events)
        self._tell_run(run_id, [self._event_to_row(event) for event in told])
        kept = told if thin else events
        with self.index_transaction() as connection:
            ids = self._insert(connection, self._rows(kept))
            if any(self._tags_for_asset_event(event) for event in kept):
                self._store_asset_event_tags(connection, kept, ids)
            newest = {e.get_dagster_event().asset_key: n for n, e in enumerate(kept)}
            for number in newest.values():
                self._store_asset_event(connection, kept[number], ids[number])

    def _store_planned_checks(self: Any, run_id: str, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        self._tell_run(run_id, rows)
        with self.index_transaction() as connection:
            ids = self._insert(connection, rows)
            checks = [self._planned_check(e, n) for e, n in zip(events, ids, strict=True)]
            connection.execute(AssetCheckExecutionsTable.insert(), checks)

    def _store_asset_check_evaluation_planned(
        self: Any, event: EventLogEntry, event_id: int | None
    ) -> None:
        with self.index_transaction() as connection:
            connection.execute(
                AssetCheckExecutionsTable.insert(), [self._planned_check(event, event_id)]
            )

    def _planned_check(self: Any, event: EventLogEntry, event_id: int | None) -> dict[str, Any]:
        """Return the one row of a planned check; its evaluation will have no partition either."""
        planned: Any = event.get_dagster_event().event_specific_data
        return {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "partition": None,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }

    def _rows(self: Any, events: Sequence[EventLogEntry]) -> list[dict[str, Any]]:
        """Return rows of events; those that differ in their date only are serialized once."""
        rows: list[dict[str, Any]] = []
        model: AssetMaterialization | None = None
        pieces: list[str] = []
        for event in events:
            this = _materialization(event)
            alike = (
                this is not None
                and model is not None
                and this.asset_key == model.asset_key
                and this.metadata == model.metadata
                and this.tags == model.tags
            )
            if alike and len(pieces) == 2:
                assert this is not None
                day = json.dumps(this.partition)
                rows.append({**rows[-1], "event": day.join(pieces), "partition": this.partition})
                continue
            row = self._event_to_row(event)
            model = this
            mark = f'"partition": {json.dumps(this.partition)}' if this is not None else None
            pieces = row["event"].split(mark) if mark else []
            if len(pieces) == 2:
                pieces[0] += '"partition": '
            rows.append(row)
        return rows


class TidemarkPostgresEventLogStorage(Batches, PostgresEventLogStorage):
    """``PostgresEventLogStorage`` with lasting connections, which also batches what is planned."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        """Open the log in a database."""
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        self._engine = create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=4,
            pool_pre_ping=True,
        )  # fmt: skip

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> TidemarkPostgresEventLogStorage:
        """Make the storage from ``dagster.yaml``."""
        return cls(
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )

    def _tell_run(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """One table holds everything."""

    def _insert(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        statement = SqlEventLogStorageTable.insert().returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        return [int(row[0]) for row in connection.execute(statement, rows)]

    def dispose(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        super().dispose()


class TidemarkSqliteEventLogStorage(Batches, SqliteEventLogStorage):
    """``SqliteEventLogStorage`` with lasting connections and one transaction per batch."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open the log below a folder."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> TidemarkSqliteEventLogStorage:
        """Make the storage from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.get(shard)
        if engine is None:
            engine = create_engine(
                create_db_conn_string(self._base_dir, shard),
                poolclass=StaticPool,
                connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            )
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection:
                # In WAL mode NORMAL survives a killed process; only a power cut may lose events.
                connection.exec_driver_sql("pragma synchronous = normal")
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        while len(self._engines) > OPEN_FILES:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close all files."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()

    def _tell_run(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)

    def _insert(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        # The index has one writer at a time, so that the ids of one insert are consecutive.
        connection.execute(SqlEventLogStorageTable.insert(), rows)
        last = connection.execute(db.select(db.func.max(SqlEventLogStorageTable.c.id))).scalar()
        first = int(last or 0) - len(rows) + 1
        return list(range(first, first + len(rows)))


def _told(events: Sequence[EventLogEntry]) -> list[EventLogEntry]:
    by_asset: dict[Any, list[EventLogEntry]] = {}
    for event in events:
        by_asset.setdefault(event.get_dagster_event().asset_key, []).append(event)
    return [
        event
        for group in by_asset.values()
        for event in (group if len(group) <= TOLD_SINGLY else group[-1:])
    ]


def _materialization(event: EventLogEntry) -> AssetMaterialization | None:
    dagster_event = event.get_dagster_event()
    if not dagster_event.is_step_materialization:
        return None
    return dagster_event.step_materialization_data.materialization

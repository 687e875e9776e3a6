"""A real warehouse to which the steps of a machine are done.

Belongs here: a method for each kind of step, by the functions that the commands call, and putting
the warehouse aside and back. What a step does by the specification belongs in
``tests.faults.model``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import psycopg

from ingest.door import ingest_paths
from ingest.settings import HashKey, Settings, load_settings
from orchestration import retention, runs
from orchestration.erasure import requests
from orchestration.session import open_session
from tests.tiny_project import run_below_job


@dataclass
class Product:
    """A warehouse in a folder or in a database, and where it was put aside.

    Each step raises UserError when the product refuses it.
    """

    settings: Settings
    folder: Path
    backups: list[str] = field(default_factory=list)

    @classmethod
    def new(cls, folder: Path, url: str | None) -> Product:
        """An empty warehouse in a folder; with the URL of an empty database, on Postgres."""
        variables = {"TIDEMARK_HOME": str(folder / "home")}
        if url:
            variables |= {"TIDEMARK_TARGET": "postgres", "TIDEMARK_POSTGRES_URL": url}
        settings = replace(load_settings(variables), hash_keys=(_key(1),))
        (folder / "in").mkdir(parents=True)
        return cls(settings, folder)

    def ingest(self, contents: Sequence[bytes]) -> object:
        """Load files of some content."""
        paths = []
        for number, content in enumerate(contents):
            path = self.folder / "in" / f"{number}.ndjson"
            path.write_bytes(content)
            paths.append(path)
        return [
            (r.load_id, r.read, r.accepted, r.duplicates, r.rejected, r.erased, r.status)
            for r in ingest_paths(paths, settings=self.settings)
        ]

    def erase(self, names: Mapping[str, str], *, later: bool) -> None:
        """Erase a person at once, or note that the next session is to."""
        act = requests.ask if later else requests.erase
        act(self.settings, requests.named(self.settings, **names))

    def run(self, start: date | None, end: date | None, *, full: bool, job: bool) -> str:
        """Run a range of dates, or what is stale, as the job or below it."""
        run = runs.run if job else run_below_job
        return run(self.settings, start=start, end=end, full_refresh=full).status

    def retain(self, as_of: date) -> date:
        """Remove what is too old."""
        done = retention.retain(self.settings, dry_run=False, as_of=as_of)
        return done.closed_before or date.min

    def publish(self) -> str:
        """Publish what was run."""
        with open_session(self.settings) as session:
            runs.publish_now(session)
        return "published"

    def rotate(self) -> None:
        """Make a new key write."""
        keys = self.settings.hash_keys
        self.settings = replace(self.settings, hash_keys=(*keys, _key(len(keys) + 1)))

    def back_up(self) -> None:
        """Put the warehouse aside while nobody has it open; the journal is none of it."""
        number = len(self.backups)
        if self.settings.target == "postgres":
            place = f"{self._database()}_{number}"
            self._copy_database(self._database(), place)
        else:
            place = str(self.folder / f"backup{number}")
            Path(place).mkdir()
            for path in self._warehouse_files():
                shutil.copy(path, place)
        self.backups.append(place)

    def restore(self, number: int) -> None:
        """Put a backup back."""
        place = self.backups[number]
        if self.settings.target == "postgres":
            self._copy_database(place, self._database())
        else:
            for path in self._warehouse_files():
                path.unlink()
            for path in Path(place).iterdir():
                shutil.copy(path, self.settings.home)

    def forget_backups(self) -> None:
        """Remove what was put aside in databases; files go with the folder."""
        if self.settings.target == "postgres":
            self._on_server(*(f"drop database if exists {b} with (force)" for b in self.backups))

    def _warehouse_files(self) -> list[Path]:
        path = self.settings.warehouse_path
        return sorted(path.parent.glob(f"{path.name}*")) if path.parent.is_dir() else []

    def _database(self) -> str:
        assert self.settings.postgres_url
        return self.settings.postgres_url.rsplit("/", 1)[1]

    def _copy_database(self, source: str, target: str) -> None:
        self._on_server(
            f"drop database if exists {target} with (force)",
            f"create database {target} template {source}",
        )

    def _on_server(self, *statements: str) -> None:
        assert self.settings.postgres_url
        server = self.settings.postgres_url.rsplit("/", 1)[0] + "/postgres"
        with psycopg.connect(server, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def _key(number: int) -> HashKey:
    return HashKey(f"v{number}", bytes([number]) * 32)

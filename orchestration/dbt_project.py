"""The dbt project as a program: where it lies, its environment, and its manifest.

Belongs here: everything that has to be right before dbt is started, and the parsed manifest that
Dagster and the runner share. Starting dbt belongs in ``orchestration.dbt_runner``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingest.errors import UserError
from ingest.settings import Settings
from orchestration.reference_data import judge

PROJECT_DIR = Path(__file__).resolve().parent.parent / "dbt_project"

#: Folders of the project that hold output, not source.
NOT_SOURCE = {"target", "logs", "dbt_packages", "__pycache__", "docs"}


@dataclass(frozen=True)
class DbtProject:
    """The project of one target, with the seeds that a user may have put in place of ours."""

    settings: Settings
    source_dir: Path = field(default_factory=lambda: PROJECT_DIR)

    @property
    def target_path(self) -> Path:
        """Where dbt writes the manifest and compiled SQL."""
        return self.settings.dbt_target_path

    @property
    def log_path(self) -> Path:
        """Where dbt writes its log file."""
        return self.settings.home / "logs" / "dbt"

    @property
    def project_dir(self) -> Path:
        """The project that dbt reads: ours, or a copy with the user's seeds in it."""
        if self.settings.seeds is None:
            return self.source_dir
        return self.settings.home / "dbt" / "project"

    @property
    def manifest_path(self) -> Path:
        """The parsed project as JSON, which Dagster reads."""
        return self.target_path / "manifest.json"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The parsed project, made when it is missing or older than its sources."""
        self.ensure_manifest()
        return json.loads(self.manifest_path.read_bytes())

    def environment(self) -> dict[str, str]:
        """The variables that profiles.yml reads, and what keeps dbt quiet and at home."""
        return {
            "TIDEMARK_TARGET": self.settings.target,
            "TIDEMARK_DUCKDB_PATH": str(self.settings.warehouse_path),
            "TIDEMARK_TIMEZONE": self.settings.timezone,
            **postgres_environment(self.settings),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
        }

    def arguments(self) -> list[str]:
        """The options that every dbt command gets."""
        return [
            "--project-dir", str(self.project_dir),
            "--profiles-dir", str(self.project_dir),
            "--target", self.settings.target,
            "--target-path", str(self.target_path),
            "--log-path", str(self.log_path),
        ]  # fmt: skip

    def fingerprint(self) -> str:
        """A hash of everything that parsing depends on."""
        digest = hashlib.sha256()
        # The manifest names relations with their database.
        database = postgres_environment(self.settings).get("TIDEMARK_PGDATABASE", "")
        for part in (version("dbt-core"), self.settings.target, str(self.project_dir), database):
            digest.update(part.encode() + b"\0")
        roots = [self.source_dir, *([self.settings.seeds] if self.settings.seeds else [])]
        for root in roots:
            for path in _sources(root):
                digest.update(str(path.relative_to(root)).encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def ensure_manifest(self) -> None:
        """Parse the project unless the manifest that is there was made from the same sources.

        Raises:
            UserError: the project cannot be parsed, or reference data does not hold.

        """
        from filelock import FileLock

        stamp = self.target_path / "fingerprint"
        self.target_path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.target_path / ".lock"):
            fingerprint = self.fingerprint()
            if (
                self.manifest_path.exists()
                and stamp.exists()
                and stamp.read_text(encoding="utf-8") == fingerprint
            ):
                return
            if self.settings.seeds is not None:
                copy_with_seeds(self.source_dir, self.settings.seeds, self.project_dir)
            seeds = (self.project_dir / "seeds").rglob("*.csv")
            judge(self.project_dir, {path.stem: _rows(path) for path in seeds})
            from orchestration.dbt_runner import parse

            stamp.unlink(missing_ok=True)
            parse(self)
            stamp.write_text(fingerprint, encoding="utf-8")


def _sources(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not NOT_SOURCE.intersection(path.relative_to(root).parts)
    )


def copy_with_seeds(source: Path, seeds: Path, destination: Path) -> None:
    """Copy the project and put the CSV files of a folder in place of its seeds of the same name.

    Raises:
        UserError: a file has no seed of its name, is no table, or has other columns than the seed.

    """
    ours = {path.name: path for path in (source / "seeds").rglob("*.csv")}
    tables = {}
    for path in sorted(seeds.glob("*.csv")):
        if path.name not in ours:
            known = ", ".join(sorted(name.removesuffix(".csv") for name in ours))
            raise UserError(f"TIDEMARK_SEEDS: there is no seed {path.stem}; the seeds are {known}")
        columns = _table(ours[path.name])[0]
        tables[path] = _table(path)
        if sorted(tables[path][0]) != sorted(columns):
            known = ", ".join(columns)
            raise UserError(f"TIDEMARK_SEEDS: {path.name} must have the columns {known}")
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(source, destination, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    for path, rows in tables.items():
        target = destination / ours[path.name].relative_to(source)
        columns = _table(ours[path.name])[0]
        places = [rows[0].index(name) for name in columns]
        with target.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([row[place] for place in places] for row in rows)


def seed_rows(settings: Settings, name: str) -> list[dict[str, str]]:
    """Return the rows of a seed as text by column: the user's in place of ours, as in a run.

    Raises:
        UserError: there is no seed of that name.

    """
    theirs = settings.seeds / f"{name}.csv" if settings.seeds else None
    ours = sorted((PROJECT_DIR / "seeds").rglob(f"{name}.csv"))
    paths = [path for path in (theirs, *ours) if path is not None and path.exists()]
    if not paths:
        raise UserError(f"there is no seed {name}; set TIDEMARK_SEEDS to a folder that has it")
    return _rows(paths[0])


def _rows(path: Path) -> list[dict[str, str]]:
    header, *lines = _table(path)
    return [dict(zip(header, line, strict=True)) for line in lines]


def _table(path: Path) -> list[list[str]]:
    """The lines of a CSV file, its header first; blank lines and blanks around values are no part.

    Raises:
        UserError: the file is no table.

    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [value.strip() for value in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"TIDEMARK_SEEDS: {path.name} is not UTF-8 text with commas") from None
    rows = [row for _, row in lines] or [[]]
    for number, row in lines:
        if len(row) != len(rows[0]):
            raise UserError(
                f"TIDEMARK_SEEDS: {path.name} line {number} has {len(row)} values "
                f"for {len(rows[0])} columns"
            )
    return rows


def postgres_environment(settings: Settings) -> dict[str, str]:
    """The parts of the connection URL as the variables of profiles.yml."""
    if not settings.postgres_url or settings.target != "postgres":
        return {}
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(settings.postgres_url)
    return {
        "TIDEMARK_PGHOST": str(parts.get("host") or "localhost"),
        "TIDEMARK_PGPORT": str(parts.get("port") or 5432),
        "TIDEMARK_PGUSER": str(parts.get("user") or os.environ.get("USER", "postgres")),
        "TIDEMARK_PGPASSWORD": str(parts.get("password") or ""),
        "TIDEMARK_PGDATABASE": str(parts.get("dbname") or parts.get("user") or "postgres"),
        # A killed run must not leave its statement running against the next one.
        "PGOPTIONS": "-c client_connection_check_interval=1000 -c timezone=UTC",
    }


@contextmanager
def environment_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the time of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

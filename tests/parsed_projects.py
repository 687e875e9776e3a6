"""Parsed dbt projects, shared by all tests of a run.

Belongs here: keeping what dbt makes of a project and handing it to the next test that has the same
sources. A manifest names the Postgres database; names of test databases are equally long, so that
one can stand for another in the packed file too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from filelock import FileLock

from orchestration import dbt_runner
from orchestration.dbt_project import DbtProject, postgres_environment

FILES = ("manifest.json", "partial_parse.msgpack")

DATABASE = "database"


@contextmanager
def parse_once(folder: Path) -> Iterator[None]:
    """Keep parsed projects in a folder while the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    really_parse = dbt_runner.parse

    def parse(project: DbtProject) -> None:
        kept = folder / _key(project)
        with FileLock(f"{kept}.lock"):
            if kept.exists():
                _hand_out(kept, project)
                return
            really_parse(project)
            waiting = kept.with_suffix(".new")
            shutil.rmtree(waiting, ignore_errors=True)
            waiting.mkdir()
            for name in FILES:
                shutil.copy(project.target_path / name, waiting / name)
            (waiting / DATABASE).write_text(_database(project), encoding="utf-8")
            waiting.rename(kept)

    with patch.object(dbt_runner, "parse", parse):
        yield


def _key(project: DbtProject) -> str:
    if project.settings.target != "postgres":
        return project.fingerprint()
    url = f"postgresql://tidemark@127.0.0.1/{'x' * len(_database(project))}"
    return replace(project, settings=replace(project.settings, postgres_url=url)).fingerprint()


def _database(project: DbtProject) -> str:
    return postgres_environment(project.settings).get("TIDEMARK_PGDATABASE", "")


def _hand_out(kept: Path, project: DbtProject) -> None:
    theirs = (kept / DATABASE).read_bytes()
    ours = _database(project).encode()
    for name in FILES:
        packed = (kept / name).read_bytes()
        (project.target_path / name).write_bytes(packed.replace(theirs, ours) if theirs else packed)

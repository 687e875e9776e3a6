"""What `tidemark doctor` looks at when something does not work."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ingest.settings import Settings

LEAST_FREE_BYTES = 1_000_000_000

NEEDED = ("duckdb", "dagster", "dagster_dbt", "dbt", "psycopg", "pyarrow", "great_expectations")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that a run needs; a fault of one does not hide the next."""
    looks: list[tuple[str, Callable[[Settings], str]]] = [
        ("python", _python),
        ("packages", _packages),
        ("home", _home),
        ("hash keys", _keys),
        ("warehouse", _warehouse),
        ("contracts", _contracts),
        ("dbt project", _dbt),
        ("access", _access),
        ("published", _published),
    ]
    findings = []
    for name, look in looks:
        try:
            findings.append(Finding(name, True, look(settings)))
        except Exception as error:
            findings.append(Finding(name, False, " ".join(str(error).split())))
    return findings


class _Fault(Exception):
    pass


def _python(_: Settings) -> str:
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        raise _Fault(f"Python {platform.python_version()}; use 3.11, 3.12 or 3.13")
    return f"Python {platform.python_version()} in {sys.prefix}"


def _packages(_: Settings) -> str:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise _Fault(f"not installed: {', '.join(missing)}; run 'make test' or pip install -e .")
    return f"{len(NEEDED)} of {len(NEEDED)} there"


def _home(settings: Settings) -> str:
    settings.home.mkdir(parents=True, exist_ok=True)
    probe = settings.home / ".doctor"
    probe.write_text("ok", encoding="utf-8")
    probe.unlink()
    free = shutil.disk_usage(settings.home).free
    if free < LEAST_FREE_BYTES:
        raise _Fault(f"{settings.home}: only {free / 1e9:.1f} GB free; make room")
    return f"{settings.home} is writable, {free / 1e9:.0f} GB free"


def _keys(settings: Settings) -> str:
    from ingest.settings import DEVELOPMENT_KEY

    if settings.write_key.secret.hex() == DEVELOPMENT_KEY:
        return "the development key: fine to try things out, not for real people's data"
    return f"{len(settings.hash_keys)} keys, {settings.write_key.version} writes"


def _warehouse(settings: Settings) -> str:
    from ingest.warehouse import open_warehouse

    if settings.target == "duckdb" and not settings.warehouse_path.exists():
        return "none yet; 'tidemark ingest PATH' makes it"
    with open_warehouse(settings, wait_seconds=2.0, read_only=True) as warehouse:
        version = warehouse.value("select version()")
        return f"{settings.target} {str(version).split(' on ')[0]} answers"


def _contracts(_: Settings) -> str:
    from ingest.contract_files import check_contracts

    report = check_contracts()
    if not report.ok:
        raise _Fault(f"{report.lines()[0]}; see 'tidemark contracts check'")
    return f"{report.events} events, generated files in step"


def _dbt(settings: Settings) -> str:
    from orchestration.dbt_project import DbtProject
    from orchestration.relations import marts

    manifest = DbtProject(settings).manifest
    tests = sum(1 for name in manifest["nodes"] if name.startswith("test."))
    unit_tests = len(manifest["unit_tests"])
    return f"parsed: {len(marts(manifest))} marts, {tests} data tests, {unit_tests} unit tests"


def _access(settings: Settings) -> str:
    from ingest.warehouse import open_warehouse
    from orchestration.access.migrate import check
    from orchestration.dbt_project import DbtProject
    from orchestration.relations import marts

    if settings.target == "duckdb":
        return "DuckDB has no roles; 'tidemark export --as ROLE' cuts files to what a role sees"
    with open_warehouse(settings, wait_seconds=2.0, read_only=True) as warehouse:
        found = check(settings, warehouse, marts(DbtProject(settings).manifest))
    if found:
        raise _Fault(f"{found[0].text}, {len(found)} differences; run 'tidemark migrate'")
    return "roles, policies and grants are as the matrix says"


def _published(settings: Settings) -> str:
    if settings.target == "postgres":
        return "schema marts of the database"
    if not settings.published_path.exists():
        return "nothing yet; 'tidemark run' publishes"
    return f"{settings.published_path} -> {settings.published_path.resolve().name}"

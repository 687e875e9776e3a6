"""dbt in this process: parse once, build once per run, hand back what happened to every node.

Belongs here: the calls of ``dbtRunner`` and the reading of their results. Which window is built is
decided in ``orchestration.ledger``; what the results mean for Dagster in ``orchestration.assets``.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ingest.errors import UserError
from orchestration.dbt_project import DbtProject, environment_set

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

#: Nothing on the console, and the log file is written by ``_log_file``: dbt's own formats every
#: debug event before it throws it away, which is a twentieth of a build.
QUIET = ("--log-level", "none", "--no-print", "--log-level-file", "none", "--no-use-colors")

#: Size of the log file after which it is put aside as dbt.log.1.
LOG_BYTES = 5_000_000

TESTS = ("test", "unit_test")


@dataclass(frozen=True)
class Window:
    """The dates and loads of one build; both ends inclusive here, half open in SQL."""

    start: date
    end: date
    prepare_start: date
    loads_through: int
    #: Last date after the window up to which all rows are current; None when ``end`` is.
    known_through: date | None = None

    def variables(self) -> dict[str, Any]:
        """The dbt vars; only dates and a number, because vars are rendered into SQL."""
        return {
            "window_start": self.start.isoformat(),
            "window_end": (self.end + timedelta(days=1)).isoformat(),
            "prepare_start": self.prepare_start.isoformat(),
            "loads_through": int(self.loads_through),
            "known_end": ((self.known_through or self.end) + timedelta(days=1)).isoformat(),
        }


@dataclass(frozen=True)
class NodeResult:
    """What dbt says of one model, seed or test."""

    unique_id: str
    kind: str
    status: str
    severity: str
    failures: int | None
    message: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Built, or a test that did not fail (a warning is no failure)."""
        return self.status in ("success", "pass", "warn", "no-op")


@dataclass(frozen=True)
class BuildResult:
    """What dbt says of all nodes of a build; ``error`` when it did not even start."""

    nodes: tuple[NodeResult, ...]
    error: str | None = None

    @property
    def failed_tests(self) -> list[NodeResult]:
        """Tests of severity error that found something."""
        return [n for n in self.nodes if n.kind in TESTS and n.status == "fail"]

    @property
    def broken(self) -> list[NodeResult]:
        """Models and seeds that could not be built, and tests that could not be run."""
        return [n for n in self.nodes if n.status in ("error", "runtime error", "partial success")]

    @property
    def succeeded(self) -> bool:
        """Everything was built and no blocking test failed."""
        return self.error is None and all(node.ok for node in self.nodes)


def one_line(error: object) -> str:
    """Return a message without line breaks and repeated blanks."""
    return " ".join(str(error).split())


def invoke(
    project: DbtProject,
    arguments: Sequence[str],
    *,
    quiet: bool = False,
    manifest: Manifest | None = None,
    role: str | None = None,
    on_event: Callable[[Any], None] | None = None,
) -> dbtRunnerResult:
    """Run a dbt command with the project's environment; on Postgres as ``role``, else the login.

    ``quiet`` keeps it off the console and writes its log file; ``on_event`` gets dbt's events.
    """
    from dbt.cli.main import dbtRunner

    callbacks = [on_event] if on_event else []
    if quiet:
        arguments = [*arguments, *QUIET]
        callbacks.append(_log_file(project))
    with environment_set({**project.environment(), "TIDEMARK_PGROLE": role or ""}):
        try:
            with _no_garbage_collection():
                result = dbtRunner(manifest=manifest, callbacks=callbacks).invoke(list(arguments))
        finally:
            clear_up()
    if result.exception is not None and not isinstance(result.exception, Exception):
        # dbt keeps what ends a process, such as Ctrl-C, to itself.
        raise result.exception
    return result


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Look for no garbage: dbt keeps nearly everything that it makes, it is a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _log_file(project: DbtProject) -> Callable[[Any], None]:
    """Return what appends dbt's events, from info on, to the log file."""
    project.log_path.mkdir(parents=True, exist_ok=True)
    path = project.log_path / "dbt.log"
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name("dbt.log.1"))

    def write(event: Any) -> None:
        if event.info.level in ("info", "warn", "error"):
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{event.info.ts.ToJsonString()} {event.info.level} {event.info.msg}\n")

    return write


def clear_up() -> None:
    """Let go of what dbt keeps after a command: the DuckDB file, and flags of every command."""
    from dbt.adapters.base import impl
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
    DuckDBConnectionManager.close_all_connections()
    # Each adapter adds its flags to this list of the module again, and a command describes them
    # all: after ninety commands in a process that is half of the next one's time.
    flags = {flag["name"]: flag for flag in impl.DEFAULT_BASE_BEHAVIOR_FLAGS}
    impl.DEFAULT_BASE_BEHAVIOR_FLAGS[:] = flags.values()


def parse(project: DbtProject) -> None:
    """Parse the project and write its manifest.

    Raises:
        UserError: the project has an error; the message is dbt's.

    """
    result = invoke(project, ["parse", "--no-partial-parse", *project.arguments()], quiet=True)
    if not result.success:
        raise UserError(f"the dbt project cannot be parsed: {one_line(result.exception)}")


def load_manifest(project: DbtProject) -> Manifest:
    """Read the manifest in dbt's own form, so that a build need not parse again."""
    from dbt.contracts.graph.manifest import Manifest

    project.ensure_manifest()
    packed = (project.target_path / "partial_parse.msgpack").read_bytes()
    with _no_garbage_collection():
        # Without its flat graph, which is there for the variable `graph`: no macro reads it.
        return Manifest.from_msgpack(packed)


def build(
    project: DbtProject,
    window: Window,
    *,
    full_refresh: bool = False,
    select: Sequence[str] = (),
    tested: bool = True,
    role: str | None = None,
    on_event: Callable[[Any], None] | None = None,
) -> BuildResult:
    """Run ``dbt build`` once for a window; without data tests where ``tested`` is false.

    On Postgres everything is done, and then owned, by ``role``, else by the login. Unit tests are
    left out: they prove formulas, not data, and the test suite runs them.
    """
    arguments = [
        "build", "--exclude-resource-type", "unit_test",
        *([] if tested else ["--exclude-resource-type", "test"]),
        "--vars", json.dumps(window.variables()),
        *project.arguments(), "--no-write-json",
        *(["--full-refresh"] if full_refresh else []),
        *(["--select", *select, "--indirect-selection", "cautious"] if select else []),
    ]  # fmt: skip
    manifest = load_manifest(project)
    result = invoke(project, arguments, quiet=True, manifest=manifest, role=role, on_event=on_event)
    runs = getattr(result.result, "results", None)
    if runs is None:
        error = result.exception
        words = (one_line(error) or type(error).__name__) if error else "dbt did not start"
        return BuildResult((), words)
    return BuildResult(tuple(_node_result(run) for run in runs))


def _node_result(run: Any) -> NodeResult:
    severity = str(getattr(run.node.config, "severity", "") or "error").lower()
    return NodeResult(
        unique_id=run.node.unique_id,
        kind=str(run.node.resource_type),
        status=str(run.status),
        severity="warn" if severity == "warn" else "block",
        failures=run.failures,
        message=one_line(run.message or ""),
        seconds=float(run.execution_time or 0),
    )

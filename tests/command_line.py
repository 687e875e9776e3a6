"""The command ``tidemark`` as a user types it, for tests.

Belongs here: running it, looking at its errors, and another process that is in its way. It runs
within the process of the tests, which spares seconds of imports; what needs a process of its own
(signals, terminals, children) starts ``MAIN``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest.mock import patch

from ingest.settings import Settings

MAIN = (
    "import os, sys; from pathlib import Path; "
    "project = os.environ.get('TIDEMARK_TEST_PROJECT')\n"
    "if project:\n"
    "    from orchestration import dbt_project\n"
    "    dbt_project.PROJECT_DIR = Path(project)\n"
    "from orchestration.cli.entry import main\n"
    "sys.argv = ['tidemark', *sys.argv[1:]]\n"
    "main()\n"
)


_HOLD = """
import sys
from ingest.settings import load_settings
from ingest.warehouse import open_warehouse
with open_warehouse(load_settings()):
    print("held", flush=True)
    sys.stdin.read()
"""


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process that has these settings."""
    found = {**os.environ, "TIDEMARK_HOME": str(settings.home), "TIDEMARK_TARGET": settings.target}
    if settings.postgres_url:
        found["TIDEMARK_POSTGRES_URL"] = settings.postgres_url
    return found


def tidemark(
    settings: Settings, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command and return its exit code and what it printed."""
    from orchestration.cli.main import main

    printed, complained = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with (
        redirect_stdout(printed),
        redirect_stderr(complained),
        patch.dict(os.environ, {**environment(settings), **variables}, clear=True),
        patch.object(sys, "argv", ["tidemark", *arguments]),
    ):
        try:
            main()
        except SystemExit as exit:
            code = exit.code
    return subprocess.CompletedProcess(
        arguments, int(code or 0), printed.getvalue(), complained.getvalue()
    )


@contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Have another process keep the warehouse open for a block."""
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD], env=environment(settings),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield
    finally:
        child.communicate("")


def assert_one_line_error(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that the command failed with one line that has these words."""
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("tidemark: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr

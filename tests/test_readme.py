"""What the README and .env.example say is what the project does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.settings import VARIABLES
from tests.test_no_network import watched

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tour() -> list[str]:
    """Return the blocks of the tour in order."""
    return re.findall(r"<!-- tour -->\n```console\n(.*?)```", README, re.DOTALL)


def test_the_tour_runs_as_it_stands_and_talks_to_nobody(tmp_path: Path) -> None:
    """Also what is no part of it: dbt's own documentation is made."""
    blocks = tour()
    environment, log = watched(tmp_path)
    environment.pop("VIRTUAL_ENV", None)
    for entry in ("ingest", "orchestration", "expectations", "dbt_project"):
        (tmp_path / entry).symlink_to(ROOT / entry)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    script = "set -euo pipefail\n" + "\n".join(f"{block}\necho '# end'" for block in blocks)
    script += "\ntidemark dbt docs generate"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, again, late, bad, explained, readers, docs = done.stdout.split("# end\n")
    assert "Catalog written" in docs
    assert log.read_text() == ""
    assert "none stale" in first
    assert again.count("already_loaded") == first.count("(loaded)") == 30
    assert "nothing" in again.splitlines()[-1] or "nothing" in again
    assert "2026-03-29 .. 2026-03-31" in late
    assert re.search(r"publication 2 restated .+ because of load 31", late)
    assert "bad_uuid" in bad
    assert re.search(r"health score \d+, ", explained)
    assert "daily_active_users" in readers
    assert (tmp_path / "data" / "tour" / "payments.csv").read_text().startswith("metric_date,")


def test_make_targets_are_those_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", README))
    assert named <= targets
    assert {"demo", "test", "ui", "lint", "bench", "docs"} <= targets


def test_settings_are_documented() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^#?(TIDEMARK_[A-Z_]+)=", example, re.MULTILINE)) == set(VARIABLES)
    assert set(re.findall(r"^\| `(TIDEMARK_[A-Z_]+)`", README, re.MULTILINE)) == set(VARIABLES)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_commands_of_the_readme_exist() -> None:
    help_text = subprocess.run(
        [str(Path(sys.executable).parent / "tidemark"), "--help"], capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    commands = set(re.findall(r"^  ([a-z]+) ", help_text, re.MULTILINE))
    table = README[README.index("## Commands") : README.index("## Settings")]
    named = set(re.findall(r"tidemark ([a-z]+)", table)) | {"summary", "doctor", "export", "dbt"}
    assert named <= commands

"""The commands on hash keys; what they do is in ``orchestration.keys``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson
from orchestration.text_table import table

keys = typer.Typer(help="The keys of hashes: see which there are, make one, let one go.")

Out = Annotated[Path, typer.Option(help="A file that does not exist; only you will read it.")]


@keys.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the versions and which one writes; no key is shown."""
    from orchestration.keys import shown

    settings, console = load_settings(), Console()
    found = shown(settings)
    if as_json:
        console.data(
            {"keys": [asdict(key) for key in found], "mapping_window": bool(settings.older_keys)}
        )
        return
    for line in table([[key.version, key.role] for key in found], ["version", "for"]):
        console.line(line)
    older = ", ".join(key.version for key in settings.older_keys)
    console.line(
        f"the mapping window is open: clients seen again are linked with their hashes under {older}"
        if older
        else "no mapping window is open"
    )


@keys.command()
def rotate(out: Out) -> None:
    """Make a new key that will write; the old ones stay listed, which opens a mapping window."""
    from orchestration.keys import rotate

    made = rotate(load_settings(), out)
    console = Console()
    console.line(f"{made.writes} will write; the new value of TIDEMARK_HASH_KEYS is in {made.out}")
    _how_to_set(console, made.out)
    old = [version for version in made.versions if version != made.writes]
    console.line(
        f"while {' and '.join(old)} {'is' if len(old) == 1 else 'are'} listed, clients seen again "
        f"are linked; 'tidemark keys retire {old[0]} --out FILE' ends that"
    )


@keys.command()
def retire(
    version: Annotated[str, typer.Argument(help="A version from 'tidemark keys list'.")],
    out: Out,
    force: Annotated[
        bool, typer.Option("--force", help="Also when members of staff are known by it alone.")
    ] = False,
) -> None:
    """Let an older key go: what was hashed under it can be linked with nothing new."""
    from orchestration.keys import retire

    made = retire(load_settings(), version, out=out, force=force)
    console = Console()
    console.line(
        f"without {version}, {made.writes} writes; the new value of TIDEMARK_HASH_KEYS is in "
        f"{made.out}"
    )
    _how_to_set(console, made.out)
    console.line(f"destroy every copy of {version}: its hashes are then nobody's")


def _how_to_set(console: Console, out: Path) -> None:
    console.line(f'set it for every process: export TIDEMARK_HASH_KEYS="$(cat {out})"')
    console.line("keep the value where your secrets are kept, and remove the file")

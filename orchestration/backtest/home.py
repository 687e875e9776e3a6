"""The warehouse of a backtest: a home of its own on DuckDB, with events made up or given.

Belongs here: where it is and how events get into it. What is run on them and how it is judged
belongs in the backtest of whoever is judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ingest.errors import UserError
from ingest.settings import Settings
from ingest.simulator import Simulation

Notify = Callable[[str], None]


@contextmanager
def own_home(keep: Path | None) -> Iterator[Path]:
    """Give a folder for the warehouse of a backtest: ``keep``, or one that is deleted afterwards.

    Raises:
        UserError: ``keep`` holds something.

    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tidemark-backtest-") as folder:
            yield Path(folder)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UserError(f"--keep {keep} holds something already; name a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()


def settings_of(settings: Settings, home: Path) -> Settings:
    """Return settings of a home on DuckDB; time zone and seeds stay as they are."""
    return replace(settings, home=home, target="duckdb", postgres_url=None)


def make_company(
    settings: Settings, *, days: int, size: int | str, seed: int, notify: Notify
) -> Simulation:
    """Simulate into the home of ``settings`` and load what was made."""
    from ingest.simulator import simulate

    notify("making events")
    simulation = simulate(
        days=days, size=size, seed=seed, out=settings.home / "simulation",
        timezone=settings.timezone,
    )  # fmt: skip
    load(settings, simulation.events_folder, notify=notify)
    return simulation


def load(settings: Settings, path: Path, *, notify: Notify) -> None:
    """Load canonical events of a file or folder.

    Raises:
        UserError: there is nothing to load.

    """
    from ingest.door import ingest_paths

    notify("loading events")
    ingest_paths([path], settings=settings)

"""Raw events are kept for 90 days; what is computed after that must not notice."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.door import ingest_paths
from ingest.simulator import simulate
from ingest.warehouse import open_warehouse
from tests.test_laws import World, assert_equal_marts, worlds

__all__ = ["worlds"]

#: Twice 90 days are what the longest trend looks at, and some more.
DAYS = 200
KEPT_DAYS = 90
LAST = date(2026, 3, 31)


def forget_raw_events(world: World) -> None:
    warehouse = open_warehouse(world.settings)
    oldest = LAST - timedelta(days=KEPT_DAYS - 1)
    warehouse.execute("delete from raw.events where event_date < ?", [oldest])
    assert warehouse.value("select min(event_date) from raw.events") >= oldest
    warehouse.close()


def changes_of_90_days(marts: dict[str, list[dict[str, Any]]]) -> list[float | None]:
    """Return those of the last date, one an advisor."""
    rows = [row for row in marts["advisor_health_trends"] if row["as_of_date"] == LAST]
    return [row["change_90d"] for row in rows]


@pytest.mark.parametrize("target", ["duckdb"])
def test_retention_of_raw_events_never_shortens_the_trend_of_90_days(
    worlds: dict[str, World], target: str, tmp_path: Path
) -> None:
    world = worlds[target]
    world.reset()
    made = simulate(days=DAYS, size=12_000, seed=5, out=tmp_path / "made", end=LAST)
    ingest_paths([made.events_folder], settings=world.settings)
    assert world.run()
    whole = world.marts()
    # Long trends are what the test is about: there have to be some.
    assert sum(change is not None for change in changes_of_90_days(whole)) > 5
    forget_raw_events(world)
    assert world.run(LAST, LAST)
    assert_equal_marts(world.marts(), whole)
    # The proof can fail: of what is left of the raw events alone, no trend is that long.
    assert world.run(full_refresh=True)
    rebuilt = changes_of_90_days(world.marts())
    assert len(rebuilt) == len(changes_of_90_days(whole))
    assert set(rebuilt) == {None}

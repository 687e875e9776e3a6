"""``python -m tests.benchmarks [NAME ...]``: measure and keep results."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks import advisors, ingest, runs, sessions, timeline
from tests.postgres import running_server

BENCHMARKS = ("ingest", "backfill", "one_more_day", "advisors", "sessions", "timeline")


def main() -> None:
    """Run what is asked for, each in a folder that is gone afterwards."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], default=list(BENCHMARKS))
    parser.add_argument("--events", type=int, default=1_000_000, help="of the ingest benchmark")
    parser.add_argument("--backfill-events", type=int, default=10_000_000)
    parser.add_argument("--events-per-day", type=int, default=10_000)
    chosen = parser.parse_args()
    for name in chosen.names:
        with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as folder:
            if name == "ingest":
                ingest.run(Path(folder), chosen.events)
            elif name == "backfill":
                runs.backfill(Path(folder), chosen.backfill_events)
            elif name == "advisors":
                advisors.year_of_advisors(Path(folder))
            elif name == "sessions":
                sessions.rebuild(Path(folder), chosen.backfill_events)
                with running_server() as url:
                    sessions.one_more_day(Path(folder), chosen.events_per_day, url)
            elif name == "timeline":
                with running_server() as url:
                    timeline.timeline(Path(folder), chosen.backfill_events, url)
            else:
                with running_server() as url:
                    runs.one_more_day(Path(folder), chosen.events_per_day, url)


if __name__ == "__main__":
    main()

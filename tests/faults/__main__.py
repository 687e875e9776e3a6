"""``python -m tests.faults [NAME ...] [--long]``: prove, and keep results."""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial

from tests.faults import campaign, disk, drill, fail_points, files, fuzz, kills, together

PROOFS = {
    "kills": kills.run,
    "fail_points": fail_points.run,
    "disk": disk.run,
    "together": together.run,
    "fuzz": fuzz.run,
    "files": files.run,
    "drill": drill.run,
    "machine": campaign.run,
}


def main() -> int:
    """Run what is asked for; 1 when anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PROOFS, []], default=list(PROOFS))
    parser.add_argument("--long", action="store_true", help="the long form, which takes hours")
    parser.add_argument("--machines", type=int, default=0, help="so many, instead of a thousand")
    chosen = parser.parse_args()
    proofs = {**PROOFS, "machine": partial(campaign.run, machines=chosen.machines)}
    # By either way out what was started is ended, and what was made is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = 0
    for name in chosen.names:
        try:
            wrong = proofs[name](long=chosen.long)
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            return 130
        for text in wrong:
            status = 1
            print(f"{name}: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    raise SystemExit(main())

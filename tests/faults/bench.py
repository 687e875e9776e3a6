"""One machine from its seed, and the seed of a failing one made shorter.

Belongs here: the project that machines run, an empty warehouse for each, and leaving out steps.
``python -m tests.faults.bench SEED`` does it for one. Many of them belong in
``tests.faults.campaign``.

Not Hypothesis: a step costs a sixth of a second, a machine ten, and its shrinker asks for hundreds
of them; a seed that stands in a report is to give the same machine with every version of it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from orchestration import dbt_project
from tests.cheap_dbt import cheap_dbt
from tests.faults.drawing import STEPS, Drawing, Step
from tests.faults.machine import Divergence, Machine
from tests.faults.model import KEPT_DAYS
from tests.postgres import new_database, running_server
from tests.tiny_project import write_project

#: Every so-and-so-many-th seed is on Postgres.
POSTGRES_EVERY = 10

#: Tries that are spent on making a failing machine shorter.
TRIES = 60

SEEDS = {"retention.csv": f"what,kept_days\nraw_events,{KEPT_DAYS}\nquarantine,90\nloads,365\n"
         "runs,365\ncheck_results,365\n"}  # fmt: skip

#: Beside the models of the tiny project: who is one person, as simply as can be said.
MODELS = {
    "intermediate/int_identity_links.sql": """
{{ config(pre_hook="{{ delete_window('event_date') }}") }}
{% for kind in ['user_id', 'anonymous_id', 'phone_hash'] %}
select event_date, cast(event_id as varchar) as event_id, '{{ kind }}' as identifier_type,
    {{ kind }} as identifier
from {{ ref('stg_events') }}
where {{ in_window('event_date') }} and event_name = 'user_identified' and {{ kind }} is not null
{{ 'union all' if not loop.last }}
{% endfor %}
""",
    "marts/identity_map.sql": """
{{ config(materialized='table', meta={'grain': ['identifier_type', 'identifier'],
    'rewrites_history': true}) }}
with recursive pairs as (
    select one.identifier_type, one.identifier,
        other.identifier_type || ':' || other.identifier as other
    from {{ ref('int_identity_links') }} as one
    inner join {{ ref('int_identity_links') }} as other on one.event_id = other.event_id
),

reached as (
    select identifier_type, identifier, other from pairs
    union
    select reached.identifier_type, reached.identifier, pairs.other
    from reached
    inner join pairs on reached.other = pairs.identifier_type || ':' || pairs.identifier
)

select identifier_type, identifier, md5(min(other)) as person_id
from reached group by identifier_type, identifier
""",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one machine; ``divergence`` is None when there was none."""

    seed: int
    engine: str
    steps: dict[str, int]
    crashes: dict[str, int]
    cpu_seconds: float
    divergence: str | None


@dataclass(frozen=True)
class Bench:
    """Where machines run: a folder, and the URL of a Postgres server if there is one."""

    folder: Path
    server: str | None

    def machine(self, steps: Sequence[Step], *, seed: int, postgres: bool = False) -> Outcome:
        """Run a machine from an empty warehouse, and forget it."""
        folder = self.folder / uuid.uuid4().hex
        before = sum(os.times()[:4])
        divergence = None
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            url = None
            if postgres:
                assert self.server
                url = stack.enter_context(new_database(self.server))
            machine = Machine.new(folder, url)
            stack.callback(machine.product.forget_backups)
            try:
                machine.run(steps)
            except Divergence as found:
                divergence = str(found)
        return Outcome(
            seed, machine.product.settings.target, dict(machine.counts), dict(machine.crashes),
            sum(os.times()[:4]) - before, divergence,
        )  # fmt: skip

    def seeded(self, seed: int, count: int = STEPS) -> Outcome:
        """Run the machine of a seed."""
        steps = Drawing(seed).steps(count)
        return self.machine(steps, seed=seed, postgres=seed % POSTGRES_EVERY == 0)


@contextmanager
def bench(folder: Path, server: str | None) -> Iterator[Bench]:
    """Put the tiny project, with persons and retention, in place of the real one."""
    project = write_project(folder / "project")
    for name, text in SEEDS.items():
        (project / "seeds" / name).write_text(text, encoding="utf-8")
    for name, text in MODELS.items():
        (project / "models" / name).write_text(text, encoding="utf-8")
    with patch.object(dbt_project, "PROJECT_DIR", project), cheap_dbt(folder / "parsed"):
        yield Bench(folder, server)


def shortened(bench: Bench, steps: Sequence[Step], *, postgres: bool) -> tuple[list[Step], str]:
    """Leave out steps of a failing machine while it still fails; return them and the words."""
    kept, words = list(steps), ""
    size, tries = len(kept) // 2, 0
    while size and tries < TRIES:
        for start in range(len(kept) - size, -1, -size):
            fewer = kept[:start] + kept[start + size :]
            tries += 1
            outcome = bench.machine(fewer, seed=0, postgres=postgres)
            if outcome.divergence:
                kept, words = fewer, outcome.divergence
        size //= 2
    return kept, words


def main() -> None:
    """Run the machine of a seed, and shorten it if it fails."""
    seed = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        postgres = seed % POSTGRES_EVERY == 0
        server = stack.enter_context(running_server()) if postgres else None
        ready = stack.enter_context(bench(Path(folder), server))
        outcome = ready.seeded(seed)
        print(outcome.divergence or "no divergence")
        if outcome.divergence:
            steps, words = shortened(ready, Drawing(seed).steps(STEPS), postgres=postgres)
            print(f"shortened to {len(steps)} steps:\n{words}")


if __name__ == "__main__":
    main()

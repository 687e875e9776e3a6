"""The whole product against a plain model: random steps, and after each a look at everything.

Belongs here: carrying out steps on a real warehouse and on ``tests.faults.model``, comparing, and
running many machines. Steps are plain data (``tests.faults.drawing``) and do not depend on what
became of those before them, so that a machine is its seed, and a failing one is shortened by
leaving steps out.

Not Hypothesis: a step costs a sixth of a second, a machine ten, and its shrinker asks for hundreds
of them; a seed that stands in a report is to give the same machine with every version of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import duckdb

from ingest.door import ingest_paths
from ingest.errors import UserError
from ingest.settings import HashKey, Settings, load_settings
from ingest.warehouse import Warehouse, open_warehouse
from orchestration import dbt_project, retention, runs
from orchestration.erasure import requests
from orchestration.session import RunSession, open_session
from tests.benchmarks.measure import markdown
from tests.faults import model, tables
from tests.faults.drawing import STEPS, Draft, Drawing, Step, user_of
from tests.faults.looking import (
    MARTS,
    expect,
    seen_of_marts,
    seen_of_operations,
    seen_of_tables,
    texts,
)
from tests.faults.model import DAY, KEPT_DAYS, Line, Refused, World
from tests.parsed_projects import parse_once
from tests.postgres import new_database, running_server
from tests.tiny_project import run_below_job, write_project

#: About how many places of a step there are where a crash can cut it off, see ``counted``.
PLACES = {"ingest": 26, "run": 80, "erase": 310, "publish": 50, "retain": 33, "later": 225}

#: What takes longer than this has stopped.
CHILD_SECONDS = 120.0

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


class Divergence(AssertionError):
    """The product and the model do not agree; the words say where."""


class Cut(BaseException):
    """The exception of a crash: nobody handles it."""


# -- a machine -------------------------------------------------------------------------------------


@dataclass
class Backup:
    """Files or a database put aside, and what the model knew of them."""

    place: str
    worlds: list[World]


@dataclass
class Machine:
    """A warehouse, and the worlds that it can be: one, but for what a crash may have left."""

    settings: Settings
    folder: Path
    worlds: list[World]
    first_of_month: date
    log: list[str] = field(default_factory=list)
    files: list[tuple[bytes, tuple[Line, ...]]] = field(default_factory=list)
    backups: list[Backup] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def new(cls, folder: Path, url: str | None) -> Machine:
        """An empty warehouse in a folder; with the URL of an empty database, on Postgres."""
        variables = {"TIDEMARK_HOME": str(folder / "home")}
        if url:
            variables |= {"TIDEMARK_TARGET": "postgres", "TIDEMARK_POSTGRES_URL": url}
        settings = load_settings(variables)
        key = HashKey("v1", bytes([1]) * 32)
        settings = replace(settings, hash_keys=(key,))
        (folder / "in").mkdir(parents=True)
        world = World(settings.target, [(key.version, key.secret)])
        today = datetime.now(UTC).date()
        return cls(settings, folder, [world], today.replace(day=1))

    def run(self, steps: Sequence[Step]) -> None:
        """Carry out steps and look at everything after each.

        Raises:
            Divergence: the product is not in any of the states that the model allows.

        """
        for step in steps:
            self.counts[step[0]] += 1
            self.log.append(repr(step))
            self.carry_out(step)
            self.look(tables=step[0] != "ingest")

    # -- what a step is, for the product and for the model -------------------------------------

    def carry_out(self, step: Step) -> None:
        """Do a step on both sides and compare what they say."""
        kind, *given = step
        if kind == "crash":
            self.crash(*given)
        elif kind == "backup":
            self.back_up()
        elif kind == "restore":
            self.restore(*given)
        elif kind != "read":
            product, modelled = self.sides(step)
            self.compare(kind, product, modelled)

    def sides(
        self, step: Step
    ) -> tuple[Callable[[], object], Callable[[World], Generator[None, None, object]]]:
        """Return what a step does to the product, and to a world."""
        kind, *given = step
        settings = self.settings
        if kind in ("ingest", "redeliver", "again"):
            files = self.chosen(*given) if kind == "again" else self.written(*given)
            return lambda: self.ingest(files), lambda world: world.ingest(files)
        if kind in ("erase", "later"):
            who = requests.named(settings, **self.names(*given))
            act = requests.erase if kind == "erase" else requests.ask
            theirs = self.identifiers(*given)
            return (
                lambda: (act(settings, who), None)[1],
                lambda world: world.erase(theirs) if kind == "erase" else world.ask(theirs),
            )
        if kind == "retain":
            as_of = self.first_of_month - (given[0] - 3) * DAY
            as_of = min(as_of, datetime.now(UTC).date())
            return lambda: self.retain(as_of), lambda world: world.retain(as_of)
        if kind == "publish":
            return self.publish, lambda world: world.publish()
        if kind == "rotate":
            return self.rotate, lambda world: world.rotate()
        start, end = (
            back and self.first_of_month - back * DAY
            for back in (given if kind == "range" else (None, None))
        )
        full = kind == "refresh"
        act_run = runs.run if kind == "job" else run_below_job
        return (
            lambda: act_run(settings, start=start, end=end, full_refresh=full).status,
            lambda world: world.run(start, end, full=full),
        )

    def compare(
        self,
        kind: str,
        product: Callable[[], object],
        modelled: Callable[[World], Generator[None, None, object]],
    ) -> None:
        """Keep the worlds in which a step says what the product says."""
        said: object
        try:
            said = product()
        except UserError as error:
            said = Refused(str(error))
        except Exception as error:
            self.diverge(f"{kind}: the product failed: {type(error).__name__}: {error}")
        outcomes = []
        for world in self.worlds:
            result = to_the_end(modelled(world))
            outcomes.append(result)
            if isinstance(result, Refused) != isinstance(said, Refused) or (
                not isinstance(said, Refused) and result != said
            ):
                world.engine = ""
        self.worlds = [world for world in self.worlds if world.engine]
        if not self.worlds:
            self.diverge(f"{kind}: the product said {said!r}, the model {outcomes[0]!r}")

    def diverge(self, words: str) -> NoReturn:
        """Give up, with the steps that led here."""
        raise Divergence("\n".join([words, "after:", *(f"  {line}," for line in self.log)]))

    # -- steps ---------------------------------------------------------------------------------

    def written(self, drafts: list[list[Draft]]) -> list[tuple[bytes, tuple[Line, ...]]]:
        """Date some files of drafts, keep them for later, and return them."""
        made = []
        for some in drafts:
            pairs = [self.dated(draft) for draft in some]
            content = b"\n".join(text for text, _ in pairs) + b"\n"
            made.append((content, tuple(line for _, line in pairs)))
        self.files += made
        return made

    def chosen(self, number: int) -> list[tuple[bytes, tuple[Line, ...]]]:
        """Return a file that was delivered before."""
        return [self.files[number % len(self.files)]] if self.files else []

    def dated(self, draft: Draft) -> tuple[bytes, Line]:
        """Return a draft as a line of JSON, and as the model reads it."""
        after = draft.back is None
        if after:
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        else:
            day = self.first_of_month - (draft.back or 0) * DAY
            at = datetime(day.year, day.month, day.day, draft.hour, 30, tzinfo=UTC)
        line = Line(
            event_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(draft.number))),
            day=at.date(),
            hour=at.hour,
            user=user_of(draft.user) if draft.user is not None else None,
            device=f"device-{draft.device}" if draft.device is not None else None,
            phone_hash=f"hash-{draft.phone}" if draft.phone is not None else None,
            channel=draft.channel,
            amount=None if draft.links else draft.amount,
            links=draft.links,
            after=after,
            bad=draft.bad,
        )
        if line.bad == "malformed_json":
            return b"{", replace(line, user=None)
        if line.bad:
            # A number is not looked for in what was redacted.
            user = None if draft.user is None else f"person-{draft.user}"
            line = replace(line, user=user, device=None, phone_hash=None)
        event: dict[str, Any] = {
            "event_id": "no-uuid" if line.bad else line.event_id,
            "event_name": "user_identified" if line.links else "payment_succeeded",
            "occurred_at": at.isoformat(),
            "user_id": line.user,
            "anonymous_id": line.device,
            "channel": line.channel,
        }
        if line.links:
            event["properties"] = {"phone_hash": line.phone_hash} if line.phone_hash else {}
        else:
            event |= {"entity_id": f"p{draft.number}", "provider": "stripe", "currency": "EUR",
                      "amount_cents": line.amount,
                      "properties": {"order_id": f"o{draft.number}"}}  # fmt: skip
        kept = {name: value for name, value in event.items() if value is not None}
        return json.dumps(kept).encode(), line

    def ingest(self, files: Sequence[tuple[bytes, Sequence[Line]]]) -> object:
        """Load files of some content."""
        paths = []
        for number, (content, _) in enumerate(files):
            path = self.folder / "in" / f"{number}.ndjson"
            path.write_bytes(content)
            paths.append(path)
        return [
            (r.load_id, r.read, r.accepted, r.duplicates, r.rejected, r.erased, r.status)
            for r in ingest_paths(paths, settings=self.settings)
        ]

    def names(self, how: str, who: int) -> dict[str, str]:
        """Return how the command names a person."""
        number = f"+4915112345{who:02d}"
        return {
            "user": {"phone": number} if user_of(who) == number else {"user_id": user_of(who)},
            "device": {"anonymous_id": f"device-{who}"},
            "phone": {"phone_hash": f"hash-{who}"},
            "number": {"phone": number},
        }[how]

    def identifiers(self, how: str, who: int) -> list[model.Identifier]:
        """Return the same as the model names a person."""
        ((way, value),) = self.names(how, who).items()
        if way == "phone":
            return [("phone_hash", model.keyed_hash(key, value)) for key in self.worlds[0].keys]
        return [(way, value)]

    def retain(self, as_of: date) -> date:
        """Remove what is too old."""
        done = retention.retain(self.settings, dry_run=False, as_of=as_of)
        return done.closed_before or date.min

    def publish(self) -> str:
        """Publish what was run."""
        session = open_session(self.settings)
        try:
            runs.publish_now(session)
        finally:
            session.close()
        return "published"

    def rotate(self) -> None:
        """Make a new key write."""
        number = len(self.settings.hash_keys) + 1
        key = HashKey(f"v{number}", bytes([number]) * 32)
        self.settings = replace(self.settings, hash_keys=(*self.settings.hash_keys, key))

    def back_up(self) -> None:
        """Put the warehouse aside while nobody has it open; the journal is none of it."""
        number = len(self.backups)
        if self.settings.target == "postgres":
            place = f"{self._database()}_{number}"
            self._copy_database(self._database(), place)
        else:
            place = str(self.folder / f"backup{number}")
            Path(place).mkdir()
            for path in self._warehouse_files():
                shutil.copy(path, place)
        self.backups.append(Backup(place, deepcopy(self.worlds)))

    def restore(self, number: int) -> None:
        """Put a backup back."""
        if not self.backups:
            return
        backup = self.backups[number % len(self.backups)]
        if self.settings.target == "postgres":
            self._copy_database(backup.place, self._database())
        else:
            for path in self._warehouse_files():
                path.unlink()
            for path in Path(backup.place).iterdir():
                shutil.copy(path, self.settings.home)
        # On Postgres readers' tables are in the same database, on DuckDB they are other files.
        with_readers = self.settings.target == "postgres"
        self.worlds = [
            replace(
                deepcopy(world),
                warehouse=deepcopy(then.warehouse),
                published=deepcopy(then.published if with_readers else world.published),
            )
            for world in self.worlds
            for then in backup.worlds
        ]

    def _warehouse_files(self) -> list[Path]:
        path = self.settings.warehouse_path
        return sorted(path.parent.glob(f"{path.name}*")) if path.parent.is_dir() else []

    def _database(self) -> str:
        assert self.settings.postgres_url
        return self.settings.postgres_url.rsplit("/", 1)[1]

    def _copy_database(self, source: str, target: str) -> None:
        import psycopg

        assert self.settings.postgres_url
        server = self.settings.postgres_url.rsplit("/", 1)[0] + "/postgres"
        with psycopg.connect(server, autocommit=True) as connection:
            for statement in (
                f"drop database if exists {target} with (force)",
                f"create database {target} template {source}",
            ):
                connection.execute(statement)  # type: ignore[call-overload]

    def forget_backups(self) -> None:
        """Remove what was put aside in databases; files go with the folder."""
        import psycopg

        if self.settings.target == "postgres" and self.settings.postgres_url:
            server = self.settings.postgres_url.rsplit("/", 1)[0] + "/postgres"
            with psycopg.connect(server, autocommit=True) as connection:
                for backup in self.backups:
                    drop = f"drop database if exists {backup.place} with (force)"
                    connection.execute(drop)  # type: ignore[call-overload]

    # -- crashes -------------------------------------------------------------------------------

    def crash(self, way: str, share: float, step: Step) -> None:
        """Cut a step off when about a share of it is done."""
        product, modelled = self.sides(step)
        point = 1 + int(share * PLACES[step[0]])
        try:
            said = killed_at(point, product) if way == "kill" else raised_at(point, product)
        except Divergence as failed:
            self.diverge(f"crash of {step[0]}: {failed}")
        self.crashes[f"{step[0]} {way if said is None else 'not reached'}"] += 1
        if said is not None:
            # The child keeps what it was told; whether it was refused is known.
            if said == "refused":
                self.compare(step[0], _refuse, modelled)
            else:
                for world in self.worlds:
                    to_the_end(modelled(world))
            return
        found: list[World] = []
        for world in self.worlds:
            for state in states(world, modelled):
                if state not in found:
                    found.append(state)
        self.worlds = found

    # -- looking -------------------------------------------------------------------------------

    def look(self, *, tables: bool = True) -> None:
        """Compare everything that can be seen; worlds that do not fit are no longer possible."""
        seen = self.seen(tables=tables)
        expected = [expect(world, seen) for world in self.worlds]
        fitting = [w for w, e in zip(self.worlds, expected, strict=True) if e == seen]
        if not fitting:
            different = [
                f"{name}\n  only the product: {_less(seen[name], expected[0].get(name))}"
                f"\n  only the model: {_less(expected[0].get(name), seen[name])}"
                for name in seen
                if all(e.get(name) != seen[name] for e in expected)
            ]
            some = f"none of {len(expected)} worlds fits"
            self.diverge("\n".join(different or [some]))
        self.worlds = fitting

    def seen(self, *, tables: bool) -> dict[str, Any]:
        """Return what an auditor sees of the warehouse, and a reader of what was published."""
        found: dict[str, Any] = {}
        warehouse = open_warehouse(self.settings)
        try:
            found |= seen_of_operations(warehouse)
            if tables:
                found |= seen_of_tables(warehouse)
                if self.settings.target == "postgres":
                    found |= seen_of_marts(warehouse, "marts", "published")
                found["texts"] = texts(warehouse)
        finally:
            warehouse.close()
        if tables and self.settings.target == "duckdb":
            found |= {f"published {name}": None for name in MARTS}
            if self.settings.published_path.exists():
                connection = duckdb.connect(str(self.settings.published_path), read_only=True)
                reader = Warehouse("duckdb", connection)
                found |= seen_of_marts(reader, "marts", "published")
                found["texts"] += texts(reader)
                reader.close()
        return found


def _less(one: Any, other: Any) -> str:
    if isinstance(one, set) and isinstance(other, set):
        return str(sorted(map(str, one - other)))[:600]
    return str(one)[:600]


def _refuse() -> object:
    raise UserError("refused in a process of its own")


def to_the_end(step: Generator[None, None, object]) -> object:
    """Carry out a step of the model and return what it says, a ``Refused`` if it is refused."""
    while True:
        try:
            next(step)
        except StopIteration as end:
            return end.value
        except Refused as refused:
            return refused


def states(
    world: World, modelled: Callable[[World], Generator[None, None, object]]
) -> Iterator[World]:
    """Yield the states that a step passes through, the last one too."""
    yield deepcopy(world)
    step = modelled(world)
    with suppress(StopIteration, Refused):
        while True:
            next(step)
            yield deepcopy(world)
    yield world


# -- crashes ---------------------------------------------------------------------------------------


@contextmanager
def counted(point: int, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` before the so-and-so-many-th statement, progress of dbt, or file."""
    passed = 0

    def counting(really: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == point:
                cut()
            return really(*arguments, **options)

        return counted

    places = ((Warehouse, "execute"), (Warehouse, "insert_many"), (Path, "replace"))
    with ExitStack() as patches:
        for owner, name in places:
            patches.enter_context(patch.object(owner, name, counting(getattr(owner, name))))
        if cut is die:
            really = counting(RunSession.progress)
            patches.enter_context(patch.object(RunSession, "progress", really))
        yield


def die() -> None:
    """End this process as no handler can."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(point: int, act: Callable[[], object]) -> str | None:
    """Do something in a child that is killed on its way; None if it was, else how it ended."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            with counted(point, die):
                act()
            code = 0
        except UserError:
            code = 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + CHILD_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise Divergence(f"a step cut off at {point} did not end in {CHILD_SECONDS:.0f} s")
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        return None
    how = {0: "done", 1: "refused"}.get(os.WEXITSTATUS(status))
    if how is None:
        raise Divergence("a step failed in a process of its own")
    return how


def raised_at(point: int, act: Callable[[], object]) -> str | None:
    """Do something that an exception cuts off; None if it did, else how it ended."""

    def cut() -> None:
        raise Cut

    try:
        with counted(point, cut):
            act()
    except Cut:
        return None
    except UserError:
        return "refused"
    except Exception as error:
        raise Divergence(f"the product failed: {type(error).__name__}: {error}") from error
    return "done"


# -- many machines ---------------------------------------------------------------------------------

#: Machines of the long form, and every so-and-so-many-th is on Postgres.
MACHINES = 1000
POSTGRES_EVERY = 10

#: Tries that are spent on making a failing machine shorter.
TRIES = 60


ROOT = Path(__file__).resolve().parents[2]

#: Machines that are done, for when the long form is cut off: a line each.
PROGRESS = ROOT / "data" / "faults" / "machine.ndjson"


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
            stack.callback(machine.forget_backups)
            try:
                machine.run(steps)
            except Divergence as found:
                divergence = str(found)
        return Outcome(
            seed, machine.settings.target, dict(machine.counts), dict(machine.crashes),
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
    with patch.object(dbt_project, "PROJECT_DIR", project), parse_once(folder / "parsed"):
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


def fingerprint() -> str:
    """Return twelve hexadecimal digits that tell one state of the source from another."""
    digest = hashlib.sha256()
    folders = ("ingest", "orchestration", "expectations", "dbt_project/macros")
    files = [path for name in folders for path in (ROOT / name).rglob("*") if path.is_file()]
    here = ("machine", "model", "drawing", "looking")
    files += [Path(__file__).with_name(f"{name}.py") for name in here]
    for path in sorted(files):
        if path.suffix in (".py", ".sql", ".yml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _done(mark: str) -> dict[int, Outcome]:
    if not PROGRESS.exists():
        return {}
    # A last line without its end is being written, or was cut off.
    whole = PROGRESS.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    return {
        line["outcome"]["seed"]: Outcome(**line["outcome"])
        for line in lines
        if line["mark"] == mark
    }


def _work(seeds: Sequence[int], mark: str) -> None:
    """Run machines in a process of their own, noting each."""
    memory = Path("/dev/shm")
    within = str(memory) if memory.is_dir() else None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tidemark-", dir=within))
        needs_server = any(seed % POSTGRES_EVERY == 0 for seed in seeds)
        server = stack.enter_context(running_server()) if needs_server else None
        ready = stack.enter_context(bench(Path(folder), server))
        for seed in seeds:
            outcome = ready.seeded(seed)
            with PROGRESS.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"mark": mark, "outcome": vars(outcome)}) + "\n")


def run(*, long: bool, machines: int = 0, workers: int = 0) -> list[str]:
    """Run machines, go on where a run was cut off, write the table; return the divergences.

    The long form runs a thousand, the short one fifty; seeds are numbers from 0 on.
    """
    import multiprocessing

    machines = machines or (MACHINES if long else 50)
    workers = workers or (os.cpu_count() or 1 if long else 1)
    mark = fingerprint()
    PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    known = _done(mark)
    todo = [seed for seed in range(machines) if seed not in known]
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_work, args=(todo[n::workers], mark))
        for n in range(min(workers, len(todo)))
    ]
    began = time.monotonic()
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        time.sleep(10)
        done = len(_done(mark)) - len(known)
        rate = done * 60 / (time.monotonic() - began)
        print(f"machine: {len(known) + done} of {machines}, {rate:.1f} a minute", flush=True)
    outcomes = [outcome for seed, outcome in sorted(_done(mark).items()) if seed < machines]
    failed = [f"seed {o.seed} on {o.engine}: {o.divergence}" for o in outcomes if o.divergence]
    failed += [
        f"a process of machines ended with {p.exitcode}" for p in processes if p.exitcode != 0
    ]
    write_results(outcomes, failed)
    return failed


def write_results(outcomes: Sequence[Outcome], failed: Sequence[str]) -> None:
    """Print the table and keep it."""
    steps: Counter[str] = Counter()
    crashes: Counter[str] = Counter()
    engines = Counter(outcome.engine for outcome in outcomes)
    for outcome in outcomes:
        steps.update(outcome.steps)
        crashes.update(outcome.crashes)
    cpu = sum(outcome.cpu_seconds for outcome in outcomes)
    seeds = [outcome.seed for outcome in outcomes]
    on = ", ".join(f"{n:,} {engine}" for engine, n in engines.items())
    rows = [
        ("", ""),
        ("machines", f"{len(outcomes):,} ({on})"),
        ("seeds", f"{min(seeds)} to {max(seeds)}" if seeds else "none"),
        ("steps", f"{steps.total():,}"),
        ("divergences", str(len(failed))),
        ("CPU seconds a machine", f"{cpu / max(len(outcomes), 1):.1f}"),
    ]
    notes = [
        markdown([("step", "times"), *((k, f"{n:,}") for k, n in steps.most_common())]),
        markdown([("crash of", "times"), *((k, f"{n:,}") for k, n in sorted(crashes.items()))]),
        "After each step everything that is stored is compared with the model, after all but\n"
        "deliveries the tables of runs and what readers see as well. `not reached`: it ended\n"
        "before the place where it was to be cut off.",
    ]
    title = "The product against a plain model"
    tables.write("machine", title, rows, "\n\n".join(notes), failed)


def main() -> None:
    """Run the machine of a seed, and shorten it if it fails."""
    import sys

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

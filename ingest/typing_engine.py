"""The typing engine: blocks of lines into typed, judged tables, in DuckDB, for either target.

The engine recognises canonical lines by their structure, has the others reshaped, and runs the
statement of each domain. What is kept of the result is decided by ``ingest.door``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ingest.blocks import ORDINAL_BITS, BadLine, Block, split_lines
from ingest.privacy import Pseudonyms
from ingest.redaction import REMOVED, redact, redact_tree, redact_url
from ingest.registry import Registry
from ingest.shape import Fault, Shaper, judge
from ingest.tombstones import ErasedPersons
from ingest.user_agents import parse_device
from ingest.validation import SETUP, DomainStatement, quoted

_EVENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Batch:
    """What became of a block: the tables ``tide_canonical`` and ``tide_first`` in the engine.

    ``tide_first`` has line_number, event_id, event_date and domain of the first valid line of
    each event_id. Unknown properties are counted by the ordinal of the file, event and name.
    """

    domains: list[str]
    rejected: list[BadLine]
    unknown_properties: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    #: Events that were refused because they are of erased persons, by the ordinal of the file.
    erased: dict[int, int] = field(default_factory=dict)


class TypingEngine:
    """Types and judges lines on a DuckDB connection (one of its own when none is given)."""

    def __init__(
        self,
        registry: Registry,
        pseudonyms: Pseudonyms,
        *,
        timezone: str,
        connection: Any = None,
        erased: ErasedPersons | None = None,
        spool: Path | None = None,
    ) -> None:
        """Prepare functions and statements; nothing is read yet.

        ``spool`` is the one folder that the connection may write to; None: it has no files but
        its own database.
        """
        import duckdb

        self.connection: Any = connection or duckdb.connect()
        self._confine(spool)
        self._registry = registry
        self._shaper = Shaper(registry, pseudonyms)
        self._timezone = timezone
        self._erased = erased
        self._statements: dict[str, DomainStatement] = {}
        self._parsed_agents: set[str] = set()
        self._judged: dict[tuple[str | None, str, bool], Fault | None] = {}
        #: Answers of the functions for the block at hand: what DuckDB makes of them may point into
        #: their memory after it let go of them (seen in 1.5 where CASE takes rows from several).
        self._answers: list[Any] = []
        self._create_functions(pseudonyms)

    def columns(self, domain: str) -> tuple[str, ...]:
        """Columns of raw.events that a domain's table fills."""
        return self._statement(domain).columns

    def _statement(self, domain: str) -> DomainStatement:
        if domain not in self._statements:
            self._statements[domain] = DomainStatement(self._registry, domain, self._timezone)
        return self._statements[domain]

    def _confine(self, spool: Path | None) -> None:
        """Keep what users send away from files, the network and extensions, for good."""
        if spool is not None:
            self.connection.execute(f"set allowed_directories = [{quoted(str(spool))}]")
        for setting in ("autoinstall_known_extensions", "autoload_known_extensions",
                        "allow_community_extensions", "enable_external_access"):  # fmt: skip
            self.connection.execute(f"set {setting} = false")

    def _create_functions(self, pseudonyms: Pseudonyms) -> None:
        def redact_json(text: str) -> str:
            return orjson.dumps(redact_tree(orjson.loads(text), pseudonyms)).decode()

        functions = {
            "tm_pseudonym": pseudonyms.of,
            "tm_staff": pseudonyms.staff,
            "tm_redact": redact,
            "tm_redact_url": redact_url,
            "tm_redact_json": redact_json,
        }
        for name, function in functions.items():
            lifted = _by_value(function, self._answers)
            self.connection.create_function(name, lifted, ["VARCHAR"], "VARCHAR", type="arrow")
        # Measured: a second thread doubles the CPU of appends to a table this wide, and gains no
        # time, because every thread fills row groups of its own.
        self.connection.execute("set threads = 1")
        self.connection.execute(SETUP)

    def type_block(self, block: Block, *, load_id: int, received_at: datetime) -> Batch:
        """Type and judge the lines of a block; ``received_at`` is UTC."""
        self._answers.clear()
        rejected = list(block.bad_lines)
        unknown: Counter[tuple[int, str, str]] = Counter()
        self._recognise(block, rejected, unknown)
        names = self._rows("select distinct event_name from tide_canonical")
        domains = sorted({self._registry.events[name].domain for (name,) in names})
        if not domains:
            return Batch([], rejected, unknown)
        self._parse_devices()
        for domain in domains:
            # Full vectors: lines of a domain scattered over all vectors cost three times as much.
            events = ", ".join(quoted(event.name) for event in self._registry.events_of(domain))
            self._execute(
                f"create or replace temp table tide_canonical_{domain} as "
                f"select * from tide_canonical where event_name in ({events})"
            )
        received = f"timestamp '{received_at:%Y-%m-%d %H:%M:%S.%f}'"
        judging = " union all ".join(
            f"({self._statement(domain).judging})".replace("$lines", f"tide_canonical_{domain}")
            for domain in domains
        )
        judging = judging.replace("$load_id", str(load_id)).replace("$received_at", received)
        self._execute(f"create or replace temp table tide_judged as {judging}")
        self._execute(
            """
            create or replace temp table tide_first as
            select line_number, event_id, event_date, domain
            from tide_judged
            where fault is null
            qualify row_number() over (partition by event_id order by line_number) = 1
            """
        )
        rejected.extend(self._faults())
        refused = self._erased.refuse(self.connection, domains) if self._erased else {}
        return Batch(domains, rejected, unknown, refused)

    def typed_rows(self, domain: str, chosen: str, *, load_id: int) -> str:
        """Return the query of a domain's typed rows.

        ``chosen`` names a table with the line_numbers that are wanted; the columns that come out
        are those of ``columns(domain)``, in that order.
        """
        lines = f"tide_canonical_{domain}"
        all_lines = self._rows(f"select count(*) from {lines}")
        wanted = self._rows(f"select count(*) from {chosen} where domain = {quoted(domain)}")
        if all_lines != wanted:
            lines = f"(select * from {lines} semi join {chosen} using (line_number))"
        sql = self._statement(domain).typing.replace("$load_id", str(load_id))
        return sql.replace("$lines", lines)

    def _recognise(
        self, block: Block, rejected: list[BadLine], unknown: Counter[tuple[int, str, str]]
    ) -> None:
        """Fill tide_canonical with canonical lines, reshaping those that are not."""
        self._execute("create or replace temp table tide_canonical (line_number bigint, "
                      "event_name varchar, line varchar)")  # fmt: skip
        if not block.lines.num_rows:
            return
        doubtful = set(block.doubtful)
        odd = self._take(block.lines, doubtful)
        if not odd:
            return
        lines: list[bytes] = []
        numbers: list[int] = []
        originals: dict[int, bytes] = {}
        for number, line in odd:
            original = line.encode()
            shaped = self._shaper.reshape_line(original)
            if isinstance(shaped, Fault):
                rejected.append(BadLine(number, shaped, original))
                continue
            canonical, names = shaped
            lines.append(canonical)
            numbers.append(number)
            originals[number] = original
            if names:
                event_name = orjson.loads(canonical).get("event_name")
                ordinal = number >> ORDINAL_BITS
                unknown.update((ordinal, _shown_name(event_name), name) for name in names)
        if not lines:
            return
        import pyarrow as pa

        table = split_lines(b"\n".join(lines) + b"\n", 0).lines
        table = table.set_column(0, "line_number", pa.array(numbers, pa.int64()))
        for number, fault in self._take(table, set(), final=True):
            rejected.append(BadLine(number, fault, originals[number]))

    def _take(
        self, lines: pa.Table, doubtful: set[int], *, final: bool = False
    ) -> list[tuple[int, Any]]:
        """Add the canonical ones of some lines to tide_canonical and return the others.

        The others come as (line_number, line), or with ``final`` as (line_number, fault).
        """
        self.connection.register("tide_lines", lines)
        self._execute(
            """
            create or replace temp table tide_head as
            select
                line_number,
                line,
                case when sound then json_extract_string(line, '$.event_name') end as event_name,
                case when sound then json_structure(line) end as structure
            from (select line_number, line, json_valid(line) as sound from tide_lines)
            """
        )
        self.connection.unregister("tide_lines")
        shapes = self._rows("select distinct event_name, structure from tide_head")
        odd: dict[tuple[str | None, str | None], Fault | None] = {}
        for event_name, structure in shapes:
            if structure is None:
                odd[event_name, structure] = None
                continue
            key = (event_name, structure, final)
            if key not in self._judged:
                self._judged[key] = judge(self._registry, event_name, structure, reshaped=final)
            if self._judged[key] is not None:
                odd[event_name, structure] = self._judged[key]
        if not odd and not doubtful:
            self._execute(
                "insert into tide_canonical select line_number, event_name, line from tide_head"
            )
            return []
        import pyarrow as pa

        keys = list(odd)
        self.connection.register(
            "tide_odd",
            pa.table(
                {
                    "event_name": pa.array([k[0] for k in keys], pa.string()),
                    "structure": pa.array([k[1] for k in keys], pa.string()),
                }
            ),
        )
        self.connection.register(
            "tide_doubtful", pa.table({"line_number": pa.array(sorted(doubtful), pa.int64())})
        )
        self._execute(
            """
            create or replace temp table tide_other as
            select tide_head.*
            from tide_head
            where line_number in (select line_number from tide_doubtful)
            or exists (
                select 1 from tide_odd
                where tide_odd.event_name is not distinct from tide_head.event_name
                and tide_odd.structure is not distinct from tide_head.structure
            )
            """
        )
        self._execute(
            "insert into tide_canonical select line_number, event_name, line from tide_head "
            "anti join tide_other using (line_number)"
        )
        others = self._rows(
            "select line_number, line, event_name, structure from tide_other order by line_number"
        )
        self.connection.unregister("tide_odd")
        self.connection.unregister("tide_doubtful")
        if final:
            return [(number, odd[name, shape]) for number, _, name, shape in others]
        return [(number, line) for number, line, _, _ in others]

    def _parse_devices(self) -> None:
        """Fill tide_devices with the user agents of tide_canonical, each parsed once."""
        found = self._rows(
            "select distinct json_extract_string(line, '$.context.user_agent') "
            "from tide_canonical where contains(line, '\"user_agent\"')"
        )
        agents = [agent for (agent,) in found if agent and agent not in self._parsed_agents]
        if not agents:
            return
        self._parsed_agents.update(agents)
        rows = [[agent, *parse_device(agent)] for agent in agents]
        self.connection.executemany("insert into tide_devices values (?, ?, ?, ?)", rows)

    def _faults(self) -> list[BadLine]:
        if not self._rows("select 1 from tide_judged where fault is not null limit 1"):
            return []
        rows = self._rows(
            "select line_number, fault, line from tide_judged "
            "inner join tide_canonical using (line_number) where fault is not null"
        )
        found = []
        for number, text, line in rows:
            payload = line.encode()
            code, name, detail = text.split("|", 2)
            fault = Fault(code, name, detail)
            try:
                orjson.loads(payload)
            except orjson.JSONDecodeError as error:
                # The typing parser is lenient (NaN, trailing commas); the strict one decides.
                fault = Fault("malformed_json", None, f"not valid JSON: {str(error)[:120]}")
            found.append(BadLine(number, fault, payload))
        return found

    def _execute(self, sql: str) -> None:
        self.connection.execute(sql)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()


def _shown_name(event_name: Any) -> str:
    """Return the name of an event that may have no contract, unless it could be anything."""
    return str(event_name) if _EVENT_NAME.fullmatch(str(event_name)) else REMOVED


def _by_value(function: Any, answers: list[Any]) -> Any:
    """Lift a function of one string to Arrow columns, each distinct value computed once.

    What it returns is put into ``answers`` too, so that it lives until that is cleared.
    """

    def vectorised(column: Any) -> Any:
        import pyarrow as pa

        coded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        coded = coded.dictionary_encode()
        values = [None if v is None else function(v) for v in coded.dictionary.to_pylist()]
        answers.append(pa.array(values, pa.string()).take(coded.indices))
        return answers[-1]

    return vectorised

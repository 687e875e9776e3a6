"""The typing engine: blocks of lines into typed, judged tables, in DuckDB, for either target.

The engine recognises canonical lines by their structure, has the others reshaped, and runs the
statements of each domain. What is kept of the result is decided by ``ingest.loader``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ingest.blocks import ORDINAL_BITS, BadLine, Block, as_table
from ingest.memory import give_back_at_once
from ingest.outlines import key_counts, outlines
from ingest.privacy import Pseudonyms
from ingest.redaction import redact, redact_tree, redact_url
from ingest.registry import Registry
from ingest.shape import Fault, Shaper, certain_keys, judge
from ingest.sql_text import literal
from ingest.tombstones import ErasedPersons
from ingest.user_agents import parse_device
from ingest.validation import SETUP, SIGNS, DomainStatement
from ingest.warehouse import duckdb_connection

if TYPE_CHECKING:
    import pyarrow as pa


class Feed:
    """A relation of DuckDB whose rows are whatever table it holds when a statement is executed.

    The catalogue never changes, so that prepared statements stay prepared: planning the statements
    of all domains costs more than a block of some thousand lines. A table within the transaction
    of a load would keep its memory until that ends.
    """

    def __init__(self, table: pa.Table) -> None:
        """Hold a table; those that follow have its columns."""
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Give the table to DuckDB (the protocol of Arrow's stream)."""
        return self.table.__arrow_c_stream__(requested_schema)


_HEADS = f"""
select
    sound,
    sound and not contains(line, '\\') as plain,
    case when sound then json_extract_string(line, '$.event_name') end as event_name,
    {SIGNS}
from (
    select line, json_valid(line) as sound, strlen(line) <> length(line) as foreign_signs
    from tide_given
)
"""

_STRUCTURES = "select json_structure(line) as structure from tide_given"

_UNSOUND = Fault("malformed_json", None, "not valid JSON")

#: Rows for which DuckDB allocates the buffers of a result: by default a million for each column.
_ROWS_PER_BATCH = 8192


@dataclass(frozen=True)
class Batch:
    """What became of a block.

    ``rows`` has the valid lines of each domain, typed: line_number and the domain's columns of
    raw.events; ``first`` has line_number, event_id, event_date of the first of each event_id.
    Unknown properties of lines that are not rejected are counted by the ordinal of the file, event
    and name.
    """

    rows: dict[str, pa.Table]
    first: pa.Table
    rejected: list[BadLine]
    unknown_properties: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    #: Events that were refused because they are of erased persons, by the ordinal of the file.
    erased: dict[int, int] = field(default_factory=dict)

    def chosen(self, domain: str, numbers: Any) -> pa.Table:
        """Return a domain's rows of some line_numbers, with the columns of raw.events alone."""
        return _of_lines(self.rows[domain], numbers).drop_columns(["line_number"])


class TypingEngine:
    """Types and judges lines in a DuckDB instance (one of its own when no connection is given)."""

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
        import pyarrow as pa

        give_back_at_once()
        instance: Any = connection or duckdb_connection()
        #: For what is not prepared: creating anything here leaves the prepared statements alone.
        self.connection: Any = instance.cursor()
        self._prepared: Any = instance.cursor()
        self._confine(spool)
        self._tune()
        self._registry = registry
        self._shaper = Shaper(registry, pseudonyms)
        self._timezone = timezone
        self._erased = erased
        self._names: set[str] = set()
        self._judged: dict[tuple[str | None, str, bool], Fault | None] = {}
        #: Answers of the functions for the block at hand: what DuckDB makes of them may point into
        #: their memory after it let go of them (seen in 1.5 where CASE takes rows from several).
        self._answers: list[Any] = []
        self._create_functions(pseudonyms)
        numbered = [("line_number", pa.int64())]
        self._given = Feed(pa.schema([*numbered, ("line", pa.string())]).empty_table())
        signs = [("suspicious", pa.bool_()), ("blanks", pa.bool_())]
        named = [*numbered, ("event_name", pa.string()), *signs, ("line", pa.string())]
        self._lines = Feed(pa.schema(named).empty_table())
        self._prepared.register("tide_given", self._given)
        self._prepared.register("tide_lines", self._lines)

    def close(self) -> None:
        """Let go of the connections: as long as one is open, DuckDB holds its file's lock."""
        self._prepared.close()
        self.connection.close()

    def _confine(self, spool: Path | None) -> None:
        """Keep what users send away from files, the network and extensions, for good."""
        if spool is not None:
            self.connection.execute(f"set allowed_directories = [{literal(str(spool))}]")
            self.connection.execute(f"set temp_directory = {literal(str(spool))}")
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
            "tm_device": _device,
        }
        for name, function in functions.items():
            lifted = _by_value(function, self._answers)
            self._prepared.create_function(name, lifted, ["VARCHAR"], "VARCHAR", type="arrow")
        self.connection.execute(SETUP)
        self._prepared.execute(SETUP)

    def _tune(self) -> None:
        """Spend as little memory and CPU on appends as DuckDB can."""
        # Rows of a load wait in memory for so many row groups (of 122,880) before they are written.
        self.connection.execute("set write_buffer_row_group_count = 1")
        # Measured: a second thread doubles the CPU of appends to a table this wide, and gains no
        # time, because every thread fills row groups of its own.
        self.connection.execute("set threads = 1")

    def type_block(self, block: Block, *, load_id: int, received_at: datetime) -> Batch:
        """Type and judge the lines of a block; ``received_at`` is UTC."""
        self._answers.clear()
        rejected = list(block.bad_lines)
        unknown: dict[int, tuple[str, list[str]]] = {}
        canonical = self._recognise(block, rejected, unknown)
        given = (
            f"received_at := timestamp '{received_at:%Y-%m-%d %H:%M:%S.%f}', "
            f"load_id := {int(load_id)}::bigint"
        )
        rows: dict[str, pa.Table] = {}
        for domain, lines in self._by_domain(canonical).items():
            self._lines.table = lines
            typed = self._run(f"type_{domain}", given)
            fault = typed.column("fault")
            if fault.null_count < len(fault):
                rejected.extend(_faults(typed.filter(fault.is_valid()), lines))
                typed = typed.filter(fault.is_null())
            rows[domain] = typed.drop_columns(["fault"])
        sound = _verdicts(rows)
        erased: dict[int, int] = {}
        if self._erased and sound.num_rows:
            # Before the first of an id is chosen: one that is refused does not win over another.
            sound, erased = self._refuse_erased(canonical, sound, rows, given)
        # Of a rejected line nothing is kept in extra.
        for bad in rejected:
            unknown.pop(bad.line_number, None)
        counts = Counter(
            (number >> ORDINAL_BITS, event_name, name)
            for number, (event_name, names) in unknown.items()
            for name in names
        )
        return Batch(rows, _first_of_each(sound), rejected, counts, erased)

    def _recognise(
        self,
        block: Block,
        rejected: list[BadLine],
        unknown: dict[int, tuple[str, list[str]]],
    ) -> pa.Table:
        """Return the canonical lines of a block, after reshaping those that are not.

        ``unknown`` gets the event and the unknown properties of lines that have some.
        """
        import pyarrow as pa

        taken, odd = self._take(block.lines, block.doubtful)
        lines: list[bytes] = []
        numbers: list[int] = []
        originals: dict[int, bytes] = {}
        for number, line, _ in odd:
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
                unknown[number] = (str(orjson.loads(canonical).get("event_name")), names)
        if not lines:
            return taken
        # Not checked again: a group that was moved into ``extra`` is a level deeper than it came.
        reshaped, wrong = self._take(as_table(numbers, lines), frozenset(), final=True)
        for number, _, fault in wrong:
            rejected.append(BadLine(number, fault, originals[number]))
        return pa.concat_tables([taken, reshaped])

    def _take(
        self, lines: pa.Table, doubtful: frozenset[int], *, final: bool = False
    ) -> tuple[pa.Table, list[tuple[int, str, Any]]]:
        """Tell canonical lines from others.

        Returns the canonical ones with their event_name, and the others as (line_number, line,
        fault); ``final`` says that they are reshaped already.
        """
        import pyarrow as pa

        self._given.table = lines
        heads = self._run("heads")
        names = heads.column("event_name").combine_chunks().dictionary_encode()
        shapes, known_shapes, keys_written = self._structures(lines, heads)
        width = len(known_shapes)
        codes = _codes(names) * width + shapes
        known_names = [*names.dictionary.to_pylist(), None]
        distinct, places = np.unique(codes, return_inverse=True)
        faults: list[Fault | None] = []
        keys: list[int] = []
        for code in distinct.tolist():
            shape = known_shapes[code % width]
            fault: Fault | None = _UNSOUND
            keys.append(0)
            if shape is not None:
                keys[-1] = certain_keys(shape)
                key = (known_names[code // width], shape, final)
                if key not in self._judged:
                    self._judged[key] = judge(self._registry, key[0], shape, reshaped=final)
                fault = self._judged[key]
            faults.append(fault)
        odd = np.array([fault is not None for fault in faults], dtype=bool)[places]
        if not final:
            # DuckDB takes the first of two values of one key, other parsers the last.
            odd |= keys_written > np.array(keys, dtype=np.int64)[places]
        if doubtful:
            odd |= np.isin(lines.column("line_number").to_numpy(), list(doubtful))
        taken = lines
        for name in ("blanks", "suspicious", "event_name"):
            taken = taken.add_column(1, name, heads.column(name))
        if not odd.any():
            return taken, []
        mask = pa.array(odd)
        others = lines.filter(mask)
        return taken.filter(pa.array(~odd)), [
            (number, line, faults[place])
            for number, line, place in zip(
                others.column("line_number").to_pylist(),
                others.column("line").to_pylist(),
                places[odd].tolist(),
                strict=True,
            )
        ]

    def _structures(
        self, lines: pa.Table, heads: pa.Table
    ) -> tuple[np.ndarray, list[str | None], np.ndarray]:
        """Ask for the structure of one line of each outline, and of each line without one.

        Returns for each line the place of its structure among those that follow (the last is None,
        for what is no JSON), and the keys that are written in it.
        """
        import pyarrow as pa

        texts = lines.column("line")
        sound, plain = (heads.column(name).to_numpy() for name in ("sound", "plain"))
        outline, trusted = outlines(texts if plain.all() else texts.filter(pa.array(plain)))
        codes = outline.combine_chunks().dictionary_encode().indices.to_numpy()[trusted]
        alike = np.flatnonzero(plain)[trusted]
        distinct, first = np.unique(codes, return_index=True)
        single = sound.copy()
        single[alike] = False
        others = np.flatnonzero(single)

        asked = np.concatenate([alike[first], others])
        place = np.full(len(lines), len(asked))
        place[alike] = np.searchsorted(distinct, codes)
        place[others] = len(first) + np.arange(len(others))
        self._given.table = lines.take(pa.array(asked))
        shapes = self._run("structures").column("structure").combine_chunks().dictionary_encode()
        keys = np.concatenate(
            [
                key_counts(outline.filter(pa.array(trusted)).take(pa.array(first))),
                key_counts(texts.take(pa.array(others))),
                [0],
            ]
        )
        known = [*shapes.dictionary.to_pylist(), None]
        return np.append(_codes(shapes), len(known) - 1)[place], known, keys[place]

    def _by_domain(self, lines: pa.Table) -> dict[str, pa.Table]:
        """Split lines by the domain of their event, domains in order."""
        import pyarrow as pa

        if not lines.num_rows:
            return {}
        names = pa.chunked_array(lines.column("event_name")).combine_chunks().dictionary_encode()
        domains = [self._registry.events[name].domain for name in names.dictionary.to_pylist()]
        codes = names.indices.to_numpy()
        found: dict[str, pa.Table] = {}
        for domain in sorted(set(domains)):
            own = [code for code, other in enumerate(domains) if other == domain]
            found[domain] = lines.filter(pa.array(np.isin(codes, own))).combine_chunks()
        return found

    def _refuse_erased(
        self, canonical: pa.Table, sound: pa.Table, rows: dict[str, pa.Table], given: str
    ) -> tuple[pa.Table, dict[int, int]]:
        """Take out what is of erased persons: whole events, or their name in those of others.

        Returns what is left of ``sound``, and how many events went by the ordinal of their file;
        ``rows`` in which they were named are typed again, with the same arguments.
        """
        import pyarrow as pa

        assert self._erased is not None
        dropped, patched = self._erased.find(self.connection, canonical)
        for domain, lines in self._by_domain(patched).items():
            self._lines.table = lines
            mended = self._run(f"type_{domain}", given).drop_columns(["fault"])
            old = lines.column("line_number").to_numpy()
            others = _of_lines(rows[domain], old, without=True)
            rows[domain] = pa.concat_tables([others, mended]).sort_by("line_number")
        numbers = sound.column("line_number").to_numpy()
        gone = np.isin(numbers, dropped)
        counts = Counter((numbers[gone] >> ORDINAL_BITS).tolist())
        return sound.filter(pa.array(~gone)), dict(counts)

    def _run(self, name: str, arguments: str = "") -> pa.Table:
        """Execute a prepared statement, preparing it the first time."""
        if name not in self._names:
            domain = name.partition("_")[2]
            sql = {"heads": _HEADS, "structures": _STRUCTURES}.get(name, "")
            if domain:
                sql = DomainStatement(self._registry, domain, self._timezone).sql
            self._prepared.execute(f"prepare {name} as {sql}")
            self._names.add(name)
        call = f"execute {name}({arguments})" if arguments else f"execute {name}"
        return self._prepared.execute(call).to_arrow_table(_ROWS_PER_BATCH)


def _verdicts(rows: dict[str, pa.Table]) -> pa.Table:
    """Return line_number, event_id and event_date of the rows of all domains."""
    import pyarrow as pa

    columns = [("line_number", pa.int64()), ("event_id", pa.string()), ("event_date", pa.date32())]
    names = [name for name, _ in columns]
    parts = [table.select(names) for table in rows.values()]
    return pa.concat_tables([pa.schema(columns).empty_table(), *parts])


def _of_lines(rows: pa.Table, numbers: Any, *, without: bool = False) -> pa.Table:
    """Return the rows of some line_numbers, or those of all others."""
    import pyarrow as pa

    wanted = np.isin(rows.column("line_number").to_numpy(), numbers, invert=without)
    return rows if wanted.all() else rows.filter(pa.array(wanted))


def _codes(column: pa.DictionaryArray) -> np.ndarray:
    """Return the codes of a column, nulls as the number after the last one."""
    codes = column.indices.fill_null(len(column.dictionary))
    return np.asarray(codes.to_numpy(), dtype=np.int64)


def _first_of_each(verdicts: pa.Table) -> pa.Table:
    """Keep the first line of each event_id."""
    import pyarrow as pa

    ids = verdicts.column("event_id").combine_chunks().dictionary_encode()
    if len(ids.dictionary) == len(ids):
        return verdicts
    order = np.argsort(verdicts.column("line_number").to_numpy(), kind="stable")
    _, places = np.unique(ids.indices.to_numpy()[order], return_index=True)
    return verdicts.take(pa.array(order[places]))


def _faults(verdicts: pa.Table, lines: pa.Table) -> list[BadLine]:
    """Return the rejections of faulty lines, with what they hold."""
    import pyarrow as pa

    wanted = np.isin(
        lines.column("line_number").to_numpy(), verdicts.column("line_number").to_numpy()
    )
    chosen = lines.filter(pa.array(wanted))
    numbers, texts = chosen.column("line_number").to_pylist(), chosen.column("line").to_pylist()
    payloads = dict(zip(numbers, texts, strict=True))
    found = []
    pairs = zip(
        verdicts.column("line_number").to_pylist(), verdicts.column("fault").to_pylist(),
        strict=True,
    )  # fmt: skip
    for number, text in pairs:
        payload = payloads[number].encode()
        code, name, detail = text.split("|", 2)
        fault = Fault(code, name, detail)
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            # The typing parser is lenient (NaN, trailing commas); the strict one decides.
            fault = Fault("malformed_json", None, f"not valid JSON: {str(error)[:120]}")
        found.append(BadLine(number, fault, payload))
    return found


@lru_cache(maxsize=8192)
def _device(user_agent: str) -> str:
    """Return the device columns of a user agent, with the unit separator between them."""
    return "\x1f".join(part or "" for part in parse_device(user_agent))


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

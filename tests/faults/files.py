"""Hostile files at the door: each has a name, its bytes and exactly one expected outcome.

Belongs here: files as a whole (compression, encodings, CSV, Parquet, odd kinds of files) and the
peak of memory. Lines that are mutations of events belong in ``tests.faults.fuzz``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.settings import Settings, load_settings
from tests.command_line import environment
from tests.events import query
from tests.faults.tables import write

#: Of a process that loads all hostile files, and of one that loads a file of a million events.
MEMORY_LIMIT_MB = 512
LOAD_LIMIT_MB = 1024


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


@dataclass(frozen=True)
class Case:
    """A file and what is to become of it.

    ``accepted`` and ``rejected`` are counts; ``reasons`` those of the rejected lines in order.
    """

    name: str
    content: bytes
    status: str = "loaded"
    accepted: int = 0
    reasons: tuple[str, ...] = ()


class Maker:
    """Makes events that no other file has."""

    def __init__(self) -> None:
        """Start with the first id."""
        self.number = 0

    def event(self, **changes: Any) -> dict[str, Any]:
        """Return a valid payment; a change to None takes the field out."""
        self.number += 1
        row = {
            "event_id": _id(self.number), "event_name": "payment_succeeded",
            "occurred_at": "2026-03-01T10:00:00Z", "entity_id": "p", "provider": "x",
            "amount_cents": 7, "currency": "EUR", "request_id": f"r{self.number}",
            **changes,
        }  # fmt: skip
        return {key: value for key, value in row.items() if value is not None}

    def line(self, **changes: Any) -> bytes:
        """Return a changed event as a line with its line feed."""
        return json.dumps(self.event(**changes)).encode() + b"\n"

    def lines(self, count: int) -> bytes:
        """Return some valid lines."""
        return b"".join(self.line() for _ in range(count))


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, **options)
    return sink.getvalue()


def _csv(header: str, *rows: str) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def cut(content: bytes) -> bytes:
    """Return a gzip file that is cut right behind some content."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH)


def _ndjson(make: Maker) -> Iterator[Case]:
    two = make.lines(2)
    yield Case("empty.ndjson", b"")
    yield Case("blank.ndjson", b"\n\r\n  \n\t\n" * 50)
    yield Case("feeds.ndjson", b"\n" * 3_000_000)
    yield Case("mark.ndjson", b"\xef\xbb\xbf")
    yield Case("mark and lines.ndjson", b"\xef\xbb\xbf" + two, accepted=2)
    yield Case("two marks.ndjson", b"\xef\xbb\xbf\xef\xbb\xbf" + make.lines(2), accepted=1,
               reasons=("malformed_json",))  # fmt: skip
    yield Case("mark within.ndjson", make.lines(1) + b"\xef\xbb\xbf" + make.lines(2), accepted=2,
               reasons=("malformed_json",))  # fmt: skip
    yield Case("no last feed.ndjson", make.lines(2)[:-1], accepted=2)
    yield Case("crlf.ndjson", make.lines(3).replace(b"\n", b"\r\n"), accepted=3)
    yield Case("cr.ndjson", make.lines(3).replace(b"\n", b"\r"), reasons=("malformed_json",))
    yield Case("form feeds.ndjson", make.lines(2).replace(b"\n", b"\n\f\n"), accepted=2)
    for kind in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        content = make.line().decode().strip().encode(kind)
        yield Case(f"{kind}.ndjson", content, reasons=("nul_byte",))
    latin = json.dumps(make.event(provider="caf\u00e9"), ensure_ascii=False)
    yield Case("latin-1.ndjson", latin.encode("latin-1") + b"\n" + make.lines(1), accepted=1,
               reasons=("invalid_utf8",))  # fmt: skip
    yield Case("cp1252 named json.json", latin.encode("cp1252"), reasons=("invalid_utf8",))
    for depth, taken in ((14, True), (15, True), (16, False), (17, False), (5000, False)):
        line = make.line()[:-2] + b',"x":' + b"[" * depth + b"]" * depth + b"}\n"
        yield Case(f"depth {depth + 1}.ndjson", line + make.lines(1), accepted=1 + taken,
                   reasons=() if taken else ("too_deep",))  # fmt: skip
    for depth in (12, 15):
        line = make.line()[:-2] + b',"x":' + b'{"y":' * depth + b"1" + b"}" * depth + b"}\n"
        yield Case(f"objects {depth + 1}.ndjson", line, accepted=1)
    yield Case("nul.ndjson", make.line() + b"\0\n" + make.line(), accepted=2, reasons=("nul_byte",))
    yield Case("nuls.ndjson", b"\0" * 100_000, reasons=("nul_byte",))
    yield Case("escaped nul.ndjson", make.line(provider="a\0b"), reasons=("nul_byte",))
    yield Case("escaped backslash.ndjson", make.line(provider="a\\u0000b"), accepted=1)
    yield Case("huge string.ndjson", make.line(provider="x" * 300_000) + make.line(), accepted=1,
               reasons=("too_large",))  # fmt: skip
    yield Case("large strings.ndjson", b"".join(make.line(provider="x" * 250_000) for _ in range(8)),
               accepted=8)  # fmt: skip
    yield Case("large rejects.ndjson", b"".join(
        make.line(provider="x" * 200_000, amount_cents=-1) for _ in range(8)
    ), reasons=("out_of_range",) * 8)  # fmt: skip
    # What looks for personal data has to read such a text once, not once from each of its signs.
    words = ("x" * 120_000 + " a@b.example", "X" * 120_000 + "@", " " * 120_000 + "[at]",
             "<" + "a@" * 60_000, "a@b." * 30_000, "+ " * 60_000, "1:" * 60_000)  # fmt: skip
    for name in ("provider", "more", "page_url"):
        yield Case(f"words without end as {name}.ndjson",
                   b"".join(make.line(**{name: word}) for word in words), accepted=len(words))  # fmt: skip
    row = make.event()
    for name, second in (("same", row["entity_id"]), ("other", "q"), ("typed", 7)):
        text = json.dumps(make.event())[:-1] + f', "entity_id": {json.dumps(second)}}}'
        yield Case(f"key twice {name}.ndjson", text.encode(), reasons=("malformed_json",))
    text = json.dumps(make.event())[:-1] + ', "properties": {"order_id": "a", "order_id": "b"}}'
    yield Case("key twice within.ndjson", text.encode(), reasons=("malformed_json",))
    text = json.dumps(make.event())[:-1] + ', "\\u0065ntity_id": "b"}'
    yield Case("key twice escaped.ndjson", text.encode(), reasons=("malformed_json",))
    text = json.dumps(make.event())[:-1] + ', "x": {"a": {"b": 1, "b": 2}}}'
    yield Case("key twice unknown.ndjson", text.encode(), reasons=("malformed_json",))
    for number, value in enumerate(
        ("NaN", "Infinity", "-Infinity", "1e400", "01", "+1", ".5", "1.")
    ):
        text = json.dumps(make.event())[:-1] + f', "duration_seconds": {value}}}'
        yield Case(f"number {number}.ndjson", text.encode(), reasons=("malformed_json",))
        text = json.dumps(make.event(event_name="conversation_recorded", agent_id="a", user_id="u",
                                     channel="web"))[:-1]  # fmt: skip
        text += f', "properties": {{"start_time": "2026-03-01T09:00:00Z", "tags": [{value}]}}}}'
        yield Case(
            f"number in an array {number}.ndjson", text.encode(), reasons=("malformed_json",)
        )
    for name, value, code in (
        ("largest", 2**63 - 1, None), ("one more", 2**63, "bad_type"), ("half", 7.5, "bad_type"),
        ("whole float", 7.0, None), ("below", -1, "out_of_range"), ("text", "7", "bad_type"),
        ("truth", True, "bad_type"), ("list", [7], "bad_type"), ("object", {"a": 7}, "bad_type"),
        ("huge", 10**400, "malformed_json"), ("1e18", 1e18, None),
    ):  # fmt: skip
        yield Case(f"amount {name}.ndjson", make.line(amount_cents=value), accepted=code is None,
                   reasons=(code,) if code else ())  # fmt: skip
    now = datetime.now(UTC)
    for name, moment, code in (
        ("23 hours ahead", now + timedelta(hours=23), None),
        ("25 hours ahead", now + timedelta(hours=25), "in_the_future"),
        ("a year ahead", now + timedelta(days=365), "in_the_future"),
        ("2000", datetime(2000, 1, 1, tzinfo=UTC), None),
        ("1999", datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), "too_old"),
    ):
        yield Case(f"clock {name}.ndjson", make.line(occurred_at=moment.isoformat()),
                   accepted=code is None, reasons=(code,) if code else ())  # fmt: skip
    for number, (text, code) in enumerate((
        ("0001-01-01T00:00:00Z", "too_old"), ("0000-01-01T00:00:00Z", "too_old"),
        ("10000-01-01T00:00:00Z", "bad_timestamp"), ("9999-12-31T23:59:59Z", "in_the_future"),
        ("2026-02-30T00:00:00Z", "bad_timestamp"), ("2026-03-01T10:00:00", "naive_timestamp"),
        ("2026-03-01T10:00:00+24:00", "bad_timestamp"), ("2026-03-01T10:00:60Z", "bad_timestamp"),
        ("infinity", "bad_timestamp"), ("1772359200", "bad_timestamp"),
    )):  # fmt: skip
        yield Case(f"time {number}.ndjson", make.line(occurred_at=text), reasons=(code,))
    for number, whole in enumerate((b"[]", b"1", b'"x"', b"null", b"true", b"[{}]")):
        yield Case(f"no object {number}.ndjson", whole, reasons=("not_an_object",))
    for number, name in enumerate(("-x", "--strict", "a\nb", "\u0444\u0430\u0439\u043b", "\u202egnp",
                                   "'; drop table x", "%s", "a b", "*", "\u6587", "x" * 200)):  # fmt: skip
        yield Case(f"{number} {name}.ndjson" if name[0] != "-" else f"{name}.ndjson", make.lines(1),
                   accepted=1)  # fmt: skip


def _compressed(make: Maker) -> Iterator[Case]:
    data = b"".join(make.line(request_id=os.urandom(20).hex()) for _ in range(400))
    packed = gzip.compress(data, mtime=0)
    yield Case("whole.ndjson.gz", packed, accepted=400)
    for part in range(1, 20):
        cut = packed[: len(packed) * part // 20]
        whole = zlib.decompressobj(31).decompress(cut).count(b"\n")
        yield Case(
            f"cut {part:02d}.ndjson.gz", cut, "partial", 0, ("unreadable_file",) * (whole >= 0)
        )
    for part in range(1, 12):
        damaged = bytearray(packed)
        damaged[len(packed) * part // 12] ^= 0x55
        yield Case(
            f"flipped {part:02d}.ndjson.gz", bytes(damaged), "failed", 0, ("unreadable_file",)
        )
    yield Case("crc.ndjson.gz", packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:], "failed", 0,
               ("unreadable_file",))  # fmt: skip
    yield Case("length.ndjson.gz", packed[:-1] + b"\x7f", "failed", 0, ("unreadable_file",))
    yield Case("nothing.ndjson.gz", gzip.compress(b""))
    yield Case("header only.ndjson.gz", packed[:10], "partial", 0, ("unreadable_file",))
    yield Case("two members.ndjson.gz", gzip.compress(make.lines(2)) + gzip.compress(make.lines(2)),
               accepted=4)  # fmt: skip
    yield Case("padded.ndjson.gz", gzip.compress(make.lines(2)) + b"\0" * 512, accepted=2)
    yield Case("garbage behind.ndjson.gz", gzip.compress(make.lines(2)) + b"garbage", "failed", 0,
               ("unreadable_file",))  # fmt: skip
    yield Case("packed by another name.ndjson", gzip.compress(make.lines(2)), accepted=2)
    yield Case("not packed.ndjson.gz", make.lines(2), accepted=2)
    nested = gzip.compress(gzip.compress(make.lines(2), mtime=0), mtime=0)
    yield Case("nested.ndjson.gz", nested, reasons=("nul_byte", "nul_byte"))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * (16 << 20)) for _ in range(72)) + packer.flush()
    yield Case("bomb.ndjson.gz", bomb, "failed", 0, ("unreadable_file",))


def _tables(make: Maker) -> Iterator[Case]:
    names = (
        "event_id",
        "event_name",
        "occurred_at",
        "entity_id",
        "provider",
        "amount_cents",
        "currency",
    )
    header = ",".join(names)

    def row(**changes: Any) -> str:
        found = make.event(**changes)
        return ",".join(str(found[name]) for name in names)

    yield Case("only feeds.csv", b"\n\n", "loaded")
    yield Case("header.csv", header.encode())
    yield Case("rows.csv", _csv(header, row(), row()), accepted=2)
    yield Case("mark.csv", b"\xef\xbb\xbf" + _csv(header, row()), accepted=1)
    yield Case("crlf.csv", _csv(header, row(), row()).replace(b"\n", b"\r\n"), accepted=2)
    yield Case("cr.csv", _csv(header, row(), row()).replace(b"\n", b"\r"), accepted=2)
    yield Case("open quote.csv", _csv(header, row(), '"' + row(), row()), accepted=2,
               reasons=("malformed_json",))  # fmt: skip
    yield Case("quote within.csv", _csv(header, row(provider='a"b')), accepted=1)
    yield Case("short.csv", _csv(header, "a,b", row()), accepted=1, reasons=("malformed_json",))
    yield Case(
        "long.csv", _csv(header, row() + ",x", row()), accepted=1, reasons=("malformed_json",)
    )
    yield Case("columns twice.csv", _csv(header + ",currency", row() + ",INR"), "failed", 0,
               ("unreadable_file",))  # fmt: skip
    many = ",".join(f"c{number}" for number in range(10_000))
    yield Case("many columns.csv", _csv(header + "," + many, row() + "," * 10_000), accepted=1)
    yield Case(
        "nul.csv", _csv(header, row(provider="a\0b"), row()), accepted=1, reasons=("nul_byte",)
    )
    yield Case("utf-16.csv", _csv(header, row()).decode().encode("utf-16"),
               reasons=("nul_byte", "malformed_json"))  # fmt: skip
    yield Case("huge cell.csv", _csv(header, row(provider="x" * 300_000), row()), accepted=1,
               reasons=("too_large",))  # fmt: skip
    yield Case(
        "huge line.csv", _csv(header, "x" * 3_000_000, row()), accepted=1, reasons=("too_large",)
    )
    yield Case("blank rows.csv", _csv(header, row(), "   ", "," * 6, " , ,,,,,\t", ",", row()),
               accepted=2)  # fmt: skip
    for number, (columns, cells) in enumerate((
        ("properties,properties.order_id", "oops,o"), ("context.dnt,context", "true,oops"),
        ("metadata,metadata.order_id", "oops,o"), ("properties.order_id,properties", "o,[]"),
    )):  # fmt: skip
        yield Case(f"a group that is none {number}.csv",
                   _csv(f"{header},{columns}", f"{row()},{cells}", row() + ",,"), accepted=1,
                   reasons=("bad_type",))  # fmt: skip
    yield Case("deep cell.csv",
               _csv(header + ",properties", f"{row()},{'[' * 300}{']' * 300}", row() + ","),
               accepted=1, reasons=("too_deep",))  # fmt: skip
    whole = _csv(header, row())
    last, quoted = row(), row(provider='"two\nlines"')
    for name, content, accepted in (
        ("nothing", b"", 0), ("in the header", whole[:30], 0), ("at a line end", whole, 1),
        ("in a cell", _csv(header, row(), last[:-1])[:-1], 1),
        ("before a line end", _csv(header, row(), last)[:-1], 1),
        ("in a quote", _csv(header, row(), quoted[: quoted.index("nes")])[:-1], 1),
        ("at a line end in a quote", _csv(header, row(), quoted[: quoted.index("lines")])[:-1], 1),
        ("behind a quote", _csv(header, row(), quoted[:-1])[:-1], 1),
    ):  # fmt: skip
        yield Case(f"cut {name}.csv.gz", cut(content), "partial", accepted, ("unreadable_file",))
    yield Case("cut behind an open quote.csv.gz",
               cut(_csv(header, '"' + row(), row(), row(), last[:9])[:-1]), "partial", 2,
               ("malformed_json", "unreadable_file"))  # fmt: skip
    rows = [make.event() for _ in range(4)]
    table = pa.Table.from_pylist(rows)
    whole = _parquet(table)
    yield Case("rows.parquet", whole, accepted=4)
    for part in range(1, 20):
        yield Case(f"cut {part:02d}.parquet", whole[: len(whole) * part // 20], "failed", 0,
                   ("unreadable_file",))  # fmt: skip
    yield Case("zero rows.parquet", _parquet(table.slice(0, 0)))
    yield Case("no columns.parquet", _parquet(pa.table({})))
    yield Case(
        "no parquet.parquet", b"PAR1" + b"\0" * 500 + b"PAR1", "failed", 0, ("unreadable_file",)
    )
    typed = {
        "decimal": pa.array([Decimal("7.00")], pa.decimal128(20, 2)), "int8": pa.array([7], pa.int8()),
        "uint64": pa.array([7], pa.uint64()), "float": pa.array([7.0], pa.float32()),
        "dictionary": pa.array([7], pa.int64()).dictionary_encode(),
    }  # fmt: skip
    for name, column in typed.items():
        one = pa.Table.from_pylist([make.event(amount_cents=None)]).append_column(
            "amount_cents", column
        )
        yield Case(f"amount {name}.parquet", _parquet(one), accepted=1)
    odd = {
        "lists": pa.array([[["a"], []]], pa.list_(pa.list_(pa.string()))),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        "time": pa.array([datetime(2026, 3, 1)], pa.timestamp("ns")),
        "date": pa.array([date(2026, 3, 1)]), "duration": None, "nan": pa.array([float("nan")]),
        "bytes": pa.array([b"ab"]), "null": pa.nulls(1),
    }  # fmt: skip
    groups = {
        "map without entries": {"properties": pa.array([[]], pa.map_(pa.string(), pa.string()))},
        "text": {"properties": pa.array(["oops"]), "properties.order_id": pa.array(["o"])},
    }
    for name, columns in groups.items():
        one = pa.Table.from_pylist([make.event()])
        for column_name, column in columns.items():
            one = one.append_column(column_name, column)
        yield Case(f"group {name}.parquet", _parquet(one), accepted=name != "text",
                   reasons=("bad_type",) * (name == "text"))  # fmt: skip
    for name, column in odd.items():
        if column is not None:
            one = pa.Table.from_pylist([make.event()]).append_column("more", column)
            yield Case(f"odd {name}.parquet", _parquet(one), accepted=1)
    moment = pa.array([datetime(2026, 3, 1, 10, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    one = pa.Table.from_pylist([make.event(occurred_at=None)]).append_column("occurred_at", moment)
    yield Case("int96.parquet", _parquet(one, use_deprecated_int96_timestamps=True),
               reasons=("naive_timestamp",))  # fmt: skip
    yield Case("bad bytes.parquet", _parquet(pa.Table.from_pylist([make.event()]).append_column(
        "more", pa.array([b"\xff\xfe"]))), reasons=("malformed_json",))  # fmt: skip


def cases() -> list[Case]:
    """Return all files, each with its expected outcome."""
    make = Maker()
    return [*_ndjson(make), *_compressed(make), *_tables(make)]


#: The peak of the program itself: what getrusage tells begins with the size of who started it.
_CHILD = """
import re, resource, sys
from pathlib import Path
from ingest.door import ingest_paths
from ingest.settings import load_settings
for result in ingest_paths([Path(path) for path in sys.argv[1:]], settings=load_settings()):
    print(result.status, result.accepted, result.rejected, result.load_id)
own = Path("/proc/self/status")
kilobytes = (
    int(re.search(r"VmHWM:\\s+(\\d+)", own.read_text())[1])
    if own.exists()
    else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
)
print(kilobytes // 1024)
"""


def loaded(settings: Settings, paths: list[Path]) -> tuple[list[list[str]], int]:
    """Load files in a process of its own; return its results and its peak of memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, paths)], env=environment(settings), check=True,
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    *results, peak = done.stdout.splitlines()
    return [line.split() for line in results], int(peak)


def judged(
    settings: Settings, chosen: list[Case], folder: Path
) -> tuple[list[list[str]], list[str]]:
    """Load files in one process; return a row for each and what was not as expected."""
    folder.mkdir(parents=True)
    paths = []
    for case in chosen:
        paths.append(folder / case.name)
        paths[-1].write_bytes(case.content)
    # A line of 1 GiB without an end that takes no room on the disk.
    endless = folder / "endless.ndjson"
    with endless.open("wb") as stream:
        stream.truncate(1 << 30)
    results, peak = loaded(settings, [*paths, endless])
    found: dict[str, list[str]] = defaultdict(list)
    for row in query(settings, "select load_id, reason_code from ops.rejected_events "
                     "order by rejection_id"):  # fmt: skip
        found[str(row["load_id"])].append(row["reason_code"])
    rows, wrong = [], []
    expected = [*chosen, Case(endless.name, b"", reasons=("too_large",))]
    for case, (status, accepted, _, load_id) in zip(expected, results, strict=True):
        reasons = tuple(found[load_id])
        if (status, int(accepted), reasons) != (case.status, case.accepted, case.reasons):
            wrong.append(f"{case.name}: {status}, {accepted} accepted, {reasons}")
        shown = case.name if len(case.name) < 60 else case.name[:57] + "..."
        rows.append([json.dumps(shown), status, accepted, ", ".join(reasons[:3])])
    if peak > MEMORY_LIMIT_MB:
        wrong.append(f"the peak of memory was {peak} MiB, the limit is {MEMORY_LIMIT_MB}")
    rows.append(["peak of memory, MiB", "", str(peak), ""])
    return rows, wrong


def run(*, long: bool = False) -> list[str]:
    """Load every file on DuckDB, write the tables, and return what was not as expected.

    ``long`` measures the memory of a load of a million events as well.
    """
    with tempfile.TemporaryDirectory(prefix="tidemark-files-") as name:
        folder = Path(name)
        settings = load_settings({"TIDEMARK_HOME": str(folder / "home")})
        rows, wrong = judged(settings, cases(), folder / "in")
        write("hostile_files", f"{len(rows) - 1} hostile files",
              [["file", "status", "accepted", "reasons"], *rows],
              "One process loads all of them; each has exactly the outcome that was expected.",
              wrong)  # fmt: skip
        if long:
            wrong += memory(folder)
    return wrong


def memory(folder: Path, sizes: Sequence[int] = (100_000, 1_000_000)) -> list[str]:
    """Measure the peak of memory of loads of simulated events; return what is over the limit."""
    from ingest.simulator import simulate

    rows, wrong = [["input", "size, MB", "accepted", "peak of memory, MiB"]], []
    for size in sizes:
        world = simulate(days=90, size=size, seed=1, out=folder / f"events-{size}")
        whole = folder / f"{size}.ndjson"
        with whole.open("wb") as stream:
            for part in world.files:
                stream.write(part.read_bytes())
        packed = folder / f"{size}.ndjson.gz"
        with whole.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        for path in (whole, packed):
            home = folder / f"home-{path.name}"
            results, peak = loaded(load_settings({"TIDEMARK_HOME": str(home)}), [path])
            megabytes = path.stat().st_size / 1e6
            rows.append([path.name, f"{megabytes:.0f}", results[0][1], str(peak)])
            if peak > LOAD_LIMIT_MB:
                wrong.append(f"{path.name}: {peak} MiB")
    write("memory", "Memory of a load of one file, DuckDB", rows,
          f"Peak resident memory of the process that loads; limit {LOAD_LIMIT_MB} MiB. DuckDB keeps "
          "what it wrote in its cache while there is room, and nobody sets it a limit "
          "(ingest/memory.py says why).", wrong)  # fmt: skip
    return wrong

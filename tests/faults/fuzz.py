"""Fuzzed lines at the door: mutations of valid events of every contract, judged independently.

Belongs here: mutations, the validator that knows nothing of the project's own code, and the law
that both are held to. Whole files that are hostile belong in ``tests.faults.files``.
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from ingest.door import ingest_paths
from ingest.quarantine import Selection, replay
from ingest.registry import CONTRACTS_DIR, registry
from ingest.settings import Settings, load_settings
from ingest.validation import REASON_CODES
from ingest.warehouse import open_warehouse
from tests.events import query
from tests.faults.tables import write
from tests.postgres import new_database, running_server

LINES = 10_000
LINES_PER_FILE = 500

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WHITE = b" \t\r\x0b\x0c"
_SPACE = "".join(map(chr, [*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B),
                           0x2028, 0x2029, 0x202F, 0x205F, 0x3000]))  # fmt: skip


# -- what is valid: json.loads and the contracts' YAML, nothing else -------------------------------


def _contracts() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the envelope and the events, straight from the files that producers read."""
    documents = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(CONTRACTS_DIR.glob("*.yml"))
    }
    envelope = documents.pop("envelope")
    return envelope, {k: v for d in documents.values() for k, v in d["events"].items()}


def _strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def _is_type(kind: str, value: Any) -> bool:
    if kind in ("string", "text"):
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "number") and (
        isinstance(value, bool) or not isinstance(value, int | float)
    ):
        return False
    if kind == "integer":
        return -(2**63) <= value < 2**63 and value == int(value)
    if kind == "number":
        # A whole number of four hundred digits is none that a double can hold.
        return -sys.float_info.max <= value <= sys.float_info.max
    if kind == "timestamp":
        return isinstance(value, str) and _moment(value) is not None
    return isinstance(value, {"array": list, "object": dict}.get(kind, object))


def _moment(text: str) -> datetime | None:
    match = _TIME.fullmatch(text)
    if not match:
        return None
    try:
        naive = datetime.fromisoformat(match[1])
        offset = match[3].replace("Z", "+00:00")
        if int(offset[1:3]) > 23 or int(offset[4:]) > 59:
            return None
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:]))
        return naive - shift if offset[0] == "+" else naive + shift
    except (ValueError, OverflowError):
        return None


def _plain(key: str) -> str:
    """Return a key as the contracts write it: the same name in another case or with other joints."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).replace("-", "_").replace(" ", "_").lower()


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip(_SPACE))


class Validator:
    """Says what is wrong with a line whose event is written in the canonical form."""

    def __init__(self) -> None:
        """Read the contracts."""
        self.envelope, self.events = _contracts()

    def fault(self, line: bytes, received: datetime) -> str | None:
        """Return None for a line that may be accepted, else what is wrong with it.

        What stands in other spellings or in groups is looked for by its name anywhere in the line:
        this law only says that nothing invalid is accepted.
        """
        try:
            text = line.decode("utf-8")
            document = json.loads(text, object_pairs_hook=_strict, parse_constant=_no_constant,
                                  parse_float=_finite)  # fmt: skip
            json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            return f"no JSON: {error}"
        if not isinstance(document, dict):
            return "no object"
        if (
            len(line.rstrip(b"\r")) > 262_144
            or "\0" in text
            or "\\u0000" in text.replace("\\\\", "")
        ):
            return "too large or a NUL"
        if _depth(document) > 16:
            return "too deep"
        document = {**{_plain(key): value for key, value in document.items()}, **document}
        name = str(document.get("event_name") or "").strip()
        event = self.events.get(name.replace(".", "_"))
        if event is None:
            return "no such event"
        identifier = document.get("event_id")
        if not isinstance(identifier, str) or not _UUID.fullmatch(identifier):
            return "no uuid"
        given = next((document[key] for key in ("occurred_at", "timestamp")
                      if not _absent(document.get(key))), None)  # fmt: skip
        moment = _moment(given) if isinstance(given, str) else None
        if moment is None or not datetime(2000, 1, 1) <= moment <= received + timedelta(
            hours=24, minutes=5
        ):
            return "no time, or none that is taken"
        for field, spec in self.envelope.items():
            value = document.get(field)
            if field in ("event_id", "event_name", "occurred_at", "country_code") or _absent(value):
                continue
            if field in ("context", "properties"):
                if not isinstance(value, dict):
                    return f"{field} is no object"
                continue
            if problem := _problem(field, spec, value):
                return problem
        properties = document.get("properties") or {}
        for field, spec in (event.get("properties") or {}).items():
            value = properties.get(field)
            if not _absent(value) and (problem := _problem(field, spec, value)):
                return problem
        return None


def _problem(field: str, spec: dict[str, Any], value: Any) -> str | None:
    if not _is_type(spec["type"], value):
        return f"{field} is no {spec['type']}"
    if "enum" in spec and value not in spec["enum"]:
        return f"{field} is none of its values"
    if spec.get("min") is not None and value < spec["min"]:
        return f"{field} is too small"
    if spec.get("max") is not None and value > spec["max"]:
        return f"{field} is too large"
    return None


def _depth(value: Any) -> int:
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


# -- mutations -------------------------------------------------------------------------------------

NUMBERS = (
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809",
    b"18446744073709551616", b"1e400", b"-1e400", b"1e308", b"5e-324", b"0.1e1", b"-0", b"-0.0", b"1E5",
    b"9007199254740993", b"1e18", b"9.3e18", b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"01",
    b"+1", b".5", b"5.", b"0x10", b"1_000", b"true", b"null", b'"7"', b"[7]", b'{"a":7}',
    b"1" * 400, b"0." + b"1" * 400,
)  # fmt: skip
TIMES = (
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "10000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2000-01-01T00:00:00+23:59",
    "2026-02-29T00:00:00Z", "2024-02-29T23:59:59.999999999Z", "2026-01-01T00:00:00z",
    "2026-01-01t00:00:00Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00,5Z", "1767225600",
    "\u0662\u0660\u0662\u0666-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", " 2026-01-01T00:00:00Z",
    "infinity", "-infinity", "epoch", "1999-12-31T23:59:59Z", "2026-01-01T00:00:00.Z",
)  # fmt: skip
STRINGS = (
    '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\\\u0000"',
    '"\ufeff"', '"\u2028"', '"\u202e"', "null", "[]", "{}", "[{}]", '["a",1.5]', "[NaN]", "true", "0",
    '"' + "x" * 70_000 + '"', '"' + "\\u00e9" * 50 + '"', '"\\x41"', '"\t"', "'x'", '"a\\/b"',
)  # fmt: skip


def _swap(line: bytes, pick: random.Random, values: tuple[bytes, ...]) -> bytes:
    """Put another value in the place of some value."""
    places = [
        m.span(1) for m in re.finditer(rb':\s*("(?:[^"\\]|\\.)*"|-?[\d.]+|true|false|null)', line)
    ]
    if not places:
        return line
    start, end = pick.choice(places)
    return line[:start] + pick.choice(values) + line[end:]


def _flip(line: bytes, pick: random.Random) -> bytes:
    data = bytearray(line)
    for _ in range(pick.randint(1, 3)):
        data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
    return bytes(data)


def _again(line: bytes, pick: random.Random) -> bytes:
    """Give a key a second time, with the same value or another one."""
    pairs = re.findall(rb'("(?:event_id|event_name|entity_id|occurred_at|user_id|amount_cents|status'
                       rb'|[a-z_]+)"):("(?:[^"\\]|\\.)*"|-?[\d.]+|true|false)', line)  # fmt: skip
    key, value = pick.choice(pairs)
    second = pick.choice([value, b'"x"', b"7", b"null"])
    if pick.random() < 0.3:
        key = key[:1] + b"\\u%04x" % key[1] + key[2:]
    return (
        line[:-1] + pick.choice([b",", b" , "]) + key + pick.choice([b":", b" : "]) + second + b"}"
    )


def _renamed(line: bytes, pick: random.Random) -> bytes:
    keys = re.findall(rb'"([a-z_]+)":', line)
    key = pick.choice(keys)
    other = pick.choice([key.upper(), key.title(), key.replace(b"_", b"-"), key.replace(b"_", b" "),
                         key.replace(b"e", "\u0435".encode()), key + "\u200b".encode(), b"",
                         re.sub(rb"_(.)", lambda m: m[1].upper(), key)])  # fmt: skip
    return line.replace(b'"' + key + b'":', b'"' + other + b'":', 1)


def _nested(line: bytes, pick: random.Random) -> bytes:
    depth = pick.choice([5, 13, 14, 15, 16, 17, 40, 2000])
    opener, closer = pick.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return line[:-1] + b',"deep":' + opener * depth + b"1" + closer * depth + b"}"


def _inserted(line: bytes, pick: random.Random) -> bytes:
    signs = (b"\0", b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\u0000", b"\x1f", b",",
             b'"', b"\\", b"/*x*/", b"\x85", b"\xc2\x85", b"\r", b"{", b"}")  # fmt: skip
    place = pick.randrange(len(line) + 1)
    return line[:place] + pick.choice(signs) + line[place:]


def _encoded(line: bytes, pick: random.Random) -> bytes:
    text = line.decode().replace("a", "\u00e9", 1)
    return text.encode(pick.choice(["latin-1", "utf-16-le", "utf-16-be", "utf-7", "cp037"]))


def _skewed(line: bytes, pick: random.Random) -> bytes:
    shift = timedelta(hours=pick.choice([-26, -24, -1, 1, 23, 25, 48, 24 * 365]))
    moment = (datetime.now(UTC) + shift).isoformat(timespec="milliseconds")
    return re.sub(rb'("occurred_at":)"[^"]*"', rb'\1"%s"' % moment.encode(), line, count=1)


def _timed(line: bytes, pick: random.Random) -> bytes:
    text = json.dumps(pick.choice(TIMES)).encode()
    return re.sub(rb'("occurred_at":)"[^"]*"', lambda m: m[1] + text, line, count=1)


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "as it was": lambda line, pick: line,
    "bits flipped": _flip,
    "cut": lambda line, pick: line[: pick.randrange(1, len(line))],
    "head lost": lambda line, pick: line[pick.randrange(1, len(line)) :],
    "spliced": lambda line, pick: (
        line[: pick.randrange(len(line))] + line[pick.randrange(len(line)) :]
    ),
    "a key twice": _again,
    "numbers at the edges": lambda line, pick: _swap(line, pick, NUMBERS),
    "odd strings": lambda line, pick: _swap(line, pick, tuple(s.encode("utf-8") for s in STRINGS)),
    "other keys": _renamed,
    "depth": _nested,
    "signs inserted": _inserted,
    "other encodings": _encoded,
    "odd times": _timed,
    "clock skew": _skewed,
    "blank": lambda line, pick: pick.choice([b"", b" ", b"\t\r", b"  \r"]),
    "no object": lambda line, pick: pick.choice([b"[]", b"1", b'"x"', b"null", b"[" + line + b"]"]),
}


def _value(name: str, spec: dict[str, Any], pick: random.Random) -> Any:
    if spec.get("enum"):
        return pick.choice(spec["enum"])
    low = spec.get("min") or 0
    return {
        "string": f"v{pick.randrange(10**6)}", "text": "some words", "boolean": True, "array": ["a", 1],
        "integer": int(low) + 1, "number": low + 0.5, "timestamp": "2026-03-01T09:00:00Z",
        "object": {}, "date": "2026-03-01",
    }[spec["type"]]  # fmt: skip


def valid_event(
    name: str, pick: random.Random, envelope: dict[str, Any], event: dict[str, Any]
) -> dict[str, Any]:
    """Return a valid event with every field that its contract has."""
    row: dict[str, Any] = {
        "event_id": str(uuid.UUID(int=pick.getrandbits(128))), "event_name": name,
        "occurred_at": f"2026-03-{pick.randint(1, 28):02d}T10:{pick.randint(0, 59):02d}:00Z",
    }  # fmt: skip
    for field, spec in envelope.items():
        if field not in (*row, "context", "properties", "schema_version", "session_id"):
            row[field] = _value(field, spec, pick)
    row.update(currency="EUR", country_code="DE", context={"utm_source": "ads", "dnt": False})
    row["status"] = pick.choice(event.get("status") or ["done"])
    row["properties"] = {f: _value(f, s, pick) for f, s in (event.get("properties") or {}).items()}
    return row


def fuzzed(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Return so many lines with what was done to them, the same for the same seed and day."""
    pick = random.Random(seed)
    envelope, events = _contracts()
    names = sorted(events)
    lines = []
    for number in range(count):
        name = names[number % len(names)]
        line = json.dumps(
            valid_event(name, pick, envelope, events[name]), separators=(",", ":")
        ).encode()
        what = pick.choice(list(MUTATIONS))
        mutated = MUTATIONS[what](line, pick).replace(b"\n", b"\\n")
        lines.append((what, mutated))
    return lines


# -- the law ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of the lines: reason by (file, line), accepted ids, and what broke the law."""

    reasons: dict[tuple[str, int], str]
    accepted: int
    wrong: list[str]


def is_blank(line: bytes) -> bool:
    """Tell whether a line counts as none."""
    return not line.strip(_WHITE)


def written(lines: list[tuple[str, bytes]], folder: Path) -> list[Path]:
    """Write lines into files of some hundred."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for start in range(0, len(lines), LINES_PER_FILE):
        path = folder / f"{start:06d}.ndjson"
        path.write_bytes(
            b"".join(line + b"\n" for _, line in lines[start : start + LINES_PER_FILE])
        )
        paths.append(path)
    return paths


def judged(lines: list[tuple[str, bytes]], settings: Settings, folder: Path) -> Verdict:
    """Load lines in many files and say where the law was broken."""
    wrong: list[str] = []
    paths = written(lines, folder)
    received = datetime.now(UTC).replace(tzinfo=None)
    results = ingest_paths(paths, settings=settings)
    for path, result in zip(paths, results, strict=True):
        raw = path.read_bytes().split(b"\n")[:-1]
        expected = sum(not is_blank(line) for line in raw)
        if result.read != expected or result.status != "loaded":
            wrong.append(f"{path.name}: read {result.read} of {expected}, {result.status}")
        if result.read != result.accepted + result.duplicates + result.rejected:
            wrong.append(f"{path.name}: counts do not add up")
    rows = query(settings, "select l.file_name, r.line_number, r.reason_code, r.payload from "
                 "ops.rejected_events r join ops.loads l using (load_id)")  # fmt: skip
    reasons = {(row["file_name"], row["line_number"]): row["reason_code"] for row in rows}
    if len(rows) != sum(result.rejected for result in results) or len(reasons) != len(rows):
        wrong.append(f"{len(rows)} in quarantine, {sum(r.rejected for r in results)} rejected")
    wrong += [f"{code} is no reason" for code in set(reasons.values()) - set(REASON_CODES)]
    validator = Validator()
    for number, (what, line) in enumerate(lines):
        place = (f"{number - number % LINES_PER_FILE:06d}.ndjson", number % LINES_PER_FILE + 1)
        fault = None if is_blank(line) else validator.fault(line, received)
        if place not in reasons and fault:
            wrong.append(f"{place} ({what}) was taken: {fault}: {line[:300]!r}")
        if place in reasons and what == "as it was":
            wrong.append(f"{place} was refused: {reasons[place]}: {line[:300]!r}")
    again = ingest_paths(paths, settings=settings)
    if any(result.status != "already_loaded" for result in again):
        wrong.append("the same file was read again")
    for path in paths:
        path.write_bytes(path.read_bytes() + b"\n")
    repeated = ingest_paths(paths, settings=settings)
    if any(result.accepted for result in repeated):
        wrong.append("the same lines were accepted again")
    return Verdict(reasons, sum(result.accepted for result in results), wrong)


def replayed(settings: Settings) -> list[str]:
    """Mend what is mendable in the quarantine, replay it twice, and say what broke the law."""
    warehouse = open_warehouse(settings)
    try:
        before = int(warehouse.value("select count(*) from raw.events"))
        digits = "md5(cast(rejection_id as varchar))"
        warehouse.execute(
            'update ops.rejected_events set payload = \'{"event_id":"\' || '
            f"substr({digits}, 1, 8) || '-0000-4000-8000-' || substr({digits}, 9, 12) || "
            '\'","event_name":"job_failed","occurred_at":"2026-03-03T10:00:00Z"}\' '
            "where resolved_at is null and reason_code = 'malformed_json' and payload is not null"
        )
        mended = int(
            warehouse.value(
                "select count(*) from ops.rejected_events where resolved_at is null "
                "and reason_code = 'malformed_json' and payload is not null"
            )
        )
    finally:
        warehouse.close()
    first = replay(settings, Selection(reason_code="malformed_json"))
    second = replay(settings, Selection(reason_code="malformed_json"))
    (row,) = query(settings, "select count(*) as n, count(distinct event_id) as d from raw.events")
    wrong = []
    if not mended or first.accepted != mended or row["n"] != before + mended:
        wrong.append(f"{first.accepted} of {mended} mended inputs came in by a replay")
    if second.accepted or row["n"] != row["d"]:
        wrong.append("a second replay brought something in")
    return wrong


def run(*, long: bool = False) -> list[str]:
    """Fuzz both engines, write the table, and return what broke the law.

    Ten times the lines if ``long``; Postgres gets a tenth of them, or all.
    """
    wrong: list[str] = []
    rows = [["what was done to the lines", "lines", "accepted", "rejected", "reasons"]]
    with (
        tempfile.TemporaryDirectory(prefix="tidemark-fuzz-") as name,
        running_server() as server,
        new_database(server) as postgres,
    ):
        folder = Path(name)
        lines = fuzzed(LINES * (10 if long else 1), seed=7)
        settings = load_settings({"TIDEMARK_HOME": str(folder / "home")})
        verdict = judged(lines, settings, folder / "in")
        wrong += verdict.wrong + replayed(settings)
        part = lines if long else lines[: LINES // 10]
        other = replace(settings, home=folder / "pg", target="postgres", postgres_url=postgres)
        second = judged(part, other, folder / "in-pg")
        wrong += second.wrong + replayed(other)
        last = f"{len(part):06d}.ndjson"
        same = {place: code for place, code in verdict.reasons.items() if place[0] < last}
        if {p: c for p, c in second.reasons.items() if p[0] < last} != same:
            wrong.append("the engines do not agree on reasons")
        rows += list(_table(lines, verdict))
    write(
        "fuzz",
        f"{len(lines):,} fuzzed lines of {len(registry().events)} events",
        rows,
        "Every line is counted; every rejected one is in quarantine with a reason; nothing was "
        "accepted that an independent validator refuses; a second load accepts nothing; what is "
        "mended is replayed once; Postgres gives the same reasons.",
        wrong,
    )
    return wrong


def _table(lines: list[tuple[str, bytes]], verdict: Verdict) -> Iterator[list[str]]:
    for what in MUTATIONS:
        places = [
            (f"{n - n % LINES_PER_FILE:06d}.ndjson", n % LINES_PER_FILE + 1)
            for n, (kind, line) in enumerate(lines) if kind == what and not is_blank(line)
        ]  # fmt: skip
        codes = Counter(verdict.reasons[p] for p in places if p in verdict.reasons)
        rejected = sum(codes.values())
        said = ", ".join(f"{code} {n}" for code, n in codes.most_common(6))
        yield [what, str(len(places)), str(len(places) - rejected), str(rejected), said]

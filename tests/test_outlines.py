"""Outlines of lines: whatever JSON they hold, those of one outline have one structure."""

from __future__ import annotations

import json
from collections import defaultdict

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.outlines import key_counts, outlines

#: Signs that an outline is made by, and letters of literals and exponents.
TEXTS = st.text(alphabet=":,{}[]-+.0123456789eE truefalsn\u00e9\U0001f600", max_size=6)

NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 9, 10, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]),
)

DOCUMENTS = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)

SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), (",", "\t: ")])


def as_lines(texts: list[str], ends: str = "\n") -> pa.ChunkedArray:
    """Lines as the door has them, in two chunks, the first of which begins within its buffers."""
    whole = pa.array([text + ends for text in ["[]", *texts]])
    middle = 1 + len(texts) // 2
    return pa.chunked_array([whole[1:middle], whole[middle:]])


def structures(lines: pa.ChunkedArray) -> list[str]:
    """What DuckDB says of each line."""
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"line": lines}))
        return [
            row[0]
            for row in connection.execute("select json_structure(line) from given").fetchall()
        ]


def assert_one_structure_each(lines: pa.ChunkedArray) -> list[bool]:
    """Check lines against DuckDB; return which are trusted."""
    found, trusted = outlines(lines)
    assert len(found) == len(trusted) == len(lines)
    alike = defaultdict(set)
    for outline, sure, structure in zip(
        found.to_pylist(), trusted.tolist(), structures(lines), strict=True
    ):
        if sure:
            alike[outline].add(structure)
    assert all(len(kinds) == 1 for kinds in alike.values()), alike
    return trusted.tolist()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(DOCUMENTS, SEPARATORS), min_size=1, max_size=12), st.sampled_from(["\n", ""])
)
@example([({"a": 1}, (",", ":")), ({"a": 18446744073709551616}, (",", ":"))], "\n")
@example([({"a1": 1}, (",", ":")), ({"a2": 1}, (",", ":"))], "\n")
@example([({"a": [1, 2]}, (",", ":")), ({"a": [12]}, (",", ":")), ({"a": []}, (",", ":"))], "\n")
@example([("a", (",", ":")), ({"a": -1}, (",", ":")), (-0.5, (",", ":")), (5e30, (",", ":"))], "")
def test_lines_of_one_outline_have_one_structure(
    documents: list[tuple[object, tuple[str, str]]], ends: str
) -> None:
    """Any documents, however their signs are set apart."""
    texts = [
        json.dumps(document, separators=separators, ensure_ascii=False)
        for document, separators in documents
    ]
    assert_one_structure_each(as_lines([text for text in texts if "\\" not in text], ends))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_lines_as_json_is_commonly_written_are_trusted(separators: tuple[str, str]) -> None:
    """What differs in strings and digits alone has one outline, which keeps keys as they are."""
    documents = [
        {"utm_1": "a" * n, "n": -(10**n), "x": n / 8, "props": {"1": f"{n}: ,", "l": [n, True]}}
        for n in range(1, 18)
    ]
    lines = as_lines([json.dumps(one, separators=separators) for one in documents])
    assert all(assert_one_structure_each(lines))
    (outline,) = set(outlines(lines)[0].to_pylist())
    assert json.loads(outline) == {"utm_1": "", "n": 0, "x": 0, "props": {"1": "", "l": [0, True]}}


@pytest.mark.parametrize("line", ['{"a" :1}', '{"a":"x" }', '{"a":1234567890123456789}', '"x" '])
def test_what_an_outline_cannot_tell_is_not_trusted(line: str) -> None:
    """Blanks after a string and numbers of nineteen digits; the line beside it is."""
    assert outlines(as_lines(['{"a":1}', line, '{"b":2}']))[1].tolist() == [True, False, True]


def test_keys_are_counted() -> None:
    """Keys of all depths, whatever blanks there are."""
    lines = as_lines(['{"a":{"b":1},"c":[{"d" : 2}]}', "[]", '{"a":1,"a":2}'])
    assert key_counts(lines).tolist() == [4, 0, 2]

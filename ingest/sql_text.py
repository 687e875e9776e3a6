"""Text and names as SQL writes them, where a value cannot be bound.

Belongs here: quoting, which is the same in DuckDB and Postgres. A value that can be bound is not
written into SQL at all; what a name may be is judged where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable


def literal(text: str) -> str:
    """Return a text as an SQL literal, its quotes included."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: Iterable[str]) -> str:
    """Return texts as SQL literals with commas between, to stand in ``in (...)``.

    Without any text it is ``null``, which nothing is in.
    """
    return ", ".join(map(literal, texts)) or "null"


def identifier(name: str) -> str:
    """Return the name of a column, a relation or the like as an SQL identifier, in quotes."""
    return '"' + name.replace('"', '""') + '"'


def identifiers(names: Iterable[str]) -> str:
    """Return names as SQL identifiers with commas between."""
    return ", ".join(map(identifier, names))

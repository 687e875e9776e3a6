"""What every model's text has to say, whatever it computes.

Belongs here: rules of the SQL that no linter knows. What models compute is compared with oracles.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.dbt_project import PROJECT_DIR

MODELS = sorted((PROJECT_DIR / "models").rglob("*.sql"))

IMPORT = re.compile(r"(\w+) as \(\s*select \* from \{\{ ref\('\w+'\) \}\}\s*\)")


def written_down(text: str) -> list[str]:
    """Return the imports of a model that an engine would write down before anything is read.

    Postgres does so with what is named twice: the whole history is read, and no index is used.
    """
    return [
        match[1]
        for match in IMPORT.finditer(text)
        if len(re.findall(rf"\b(?:from|join) {match[1]}\b", text)) > 1
    ]


def test_an_import_that_is_named_twice_is_found() -> None:
    text = "with a as (\n    select * from {{ ref('x') }}\n)\nselect * from a join a as b using (n)"
    assert written_down(text) == ["a"]
    assert written_down(text.replace("join a as b", "join c")) == []
    assert written_down(text.replace("a as (", "a as not materialized (")) == []


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_models_say_their_grain_and_read_no_more_than_they_need(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- Grain: ")
    assert written_down(text) == []

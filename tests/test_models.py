"""What can be found by reading the models: rules of the SQL that no linter knows.

Belongs here: what the text of a model and of its tests says. What models compute is compared with
oracles.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.dbt_project import PROJECT_DIR

#: The models that are written by hand.
MODELS = sorted(
    path
    for layer in ("intermediate", "marts")
    for path in (PROJECT_DIR / "models" / layer).glob("*.sql")
)

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
def test_models_keep_to_the_rules(path: Path) -> None:
    """One way to divide, no clock, no engine, columns by name, no history read for a day."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- Grain: one row per ")
    for banned in (" / ", "target.type", "now()", "current_date", "current_timestamp"):
        assert banned not in text, banned
    assert all(len(line) <= 100 for line in text.splitlines())
    assert written_down(text) == []
    yaml = path.with_suffix(".yml").read_text(encoding="utf-8")
    assert "unit_tests:" in yaml and "description: >-\n      One row per " in yaml.replace(
        "description: One row", "description: >-\n      One row"
    )


def test_every_kpi_has_a_unit_test() -> None:
    """Every column of every mart stands in the expectation of one of its unit tests."""
    import yaml

    for path in (p.with_suffix(".yml") for p in MODELS if p.parent.name == "marts"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        columns = {column["name"] for column in document["models"][0]["columns"]}
        tested = {
            name
            for test in document["unit_tests"]
            for row in test["expect"]["rows"]
            for name in row
        }
        assert columns <= tested, f"{path.name}: {sorted(columns - tested)}"

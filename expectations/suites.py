"""Suites as data: what is expected of which column of which frame, how severely, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.yaml_files import read_yaml

FOLDER = Path(__file__).parent / "suites"

SEVERITIES = ("block", "warn")


class SuiteError(Exception):
    """A suite that cannot be used; the message names the file and the fault."""


@dataclass(frozen=True)
class Expectation:
    """One expectation: a Great Expectations type on one column of a frame."""

    name: str
    relation: str
    frame: str
    type: str
    column: str
    kwargs: Mapping[str, Any]
    severity: str
    reason: str


@dataclass(frozen=True)
class Suite:
    """All expectations of one border, and the SQL of the columns they look at."""

    name: str
    columns: Mapping[str, Any]
    expectations: tuple[Expectation, ...] = field(default=())


def read_suite(path: Path) -> Suite:
    """Read and check a suite.

    Raises:
        SuiteError: a name stands twice, or an expectation lacks something or its reason.

    """
    document = read_yaml(path)
    return make_suite(document, path.name)


def make_suite(document: Mapping[str, Any], where: str) -> Suite:
    """Check a suite that was read.

    Raises:
        SuiteError: a name stands twice, or an expectation lacks something or its reason.

    """
    found: dict[str, Expectation] = {}
    for spec in document.get("expectations") or []:
        try:
            expectation = Expectation(**{"kwargs": {}, "frame": "days", **spec})
        except TypeError as error:
            raise SuiteError(f"{where}: {spec.get('name')}: {error}") from None
        if expectation.name in found:
            raise SuiteError(f"{where}: {expectation.name} stands twice")
        if expectation.severity not in SEVERITIES:
            raise SuiteError(f"{where}: {expectation.name}: severity is one of {SEVERITIES}")
        if not expectation.reason.strip():
            raise SuiteError(f"{where}: {expectation.name} has no reason")
        found[expectation.name] = expectation
    return Suite(document["suite"], document.get("columns") or {}, tuple(found.values()))

"""dbt for less: what it makes again and again of the same sources is made once for all tests.

Belongs here: keeping what dbt makes of a project and handing it to the next test that has the same
sources; what Jinja makes of a template, for the next build of the same process; events that
nobody hears; and what dbt does in a roundabout way for every node, with the same result. A
manifest names the Postgres database; names of test databases are equally long, so that one can
stand for another in the packed file too. Commands that tests run as processes of their own have
dbt as it is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

import jinja2
import parsedatetime
import sqlparse
from dbt.adapters.events.base_types import DebugLevel
from dbt.context.configured import ConfiguredContext
from dbt.context.macro_resolver import TestMacroNamespace
from dbt.context.macros import MacroNamespace
from dbt.context.manifest import ManifestContext
from dbt_common.events.base_types import BaseEvent
from dbt_common.events.event_manager import EventManager
from filelock import FileLock
from sqlparse.engine.filter_stack import FilterStack

from orchestration import dbt_runner
from orchestration.dbt_project import DbtProject, postgres_environment

FILES = ("manifest.json", "partial_parse.msgpack")

DATABASE = "database"

#: A statement of which ``with`` is the first word, comments left out.
BEGINS_WITH = re.compile(r"(\s|--[^\n]*\n)*with\b")


@contextmanager
def cheap_dbt(folder: Path) -> Iterator[None]:
    """Parse a project once, compile a template once, make no event of a statement.

    Parsed projects are kept in the folder while the block lasts.
    """
    with _parse_once(folder), _compile_once(), _no_events_of_statements(), _straight_on():
        yield


@contextmanager
def _parse_once(folder: Path) -> Iterator[None]:
    """Keep parsed projects: one takes five seconds, in each of fifty homes."""
    folder.mkdir(parents=True, exist_ok=True)
    really_parse = dbt_runner.parse

    def parse(project: DbtProject) -> None:
        kept = folder / _key(project)
        with FileLock(f"{kept}.lock"):
            if kept.exists():
                _hand_out(kept, project)
                return
            really_parse(project)
            waiting = kept.with_suffix(".new")
            shutil.rmtree(waiting, ignore_errors=True)
            waiting.mkdir()
            for name in FILES:
                shutil.copy(project.target_path / name, waiting / name)
            (waiting / DATABASE).write_text(_database(project), encoding="utf-8")
            waiting.rename(kept)

    with patch.object(dbt_runner, "parse", parse):
        yield


@contextmanager
def _compile_once() -> Iterator[None]:
    """Compile a template once for all builds of this process: it is a tenth of each."""
    kept: dict[tuple[type, str], CodeType] = {}
    really_compile = jinja2.Environment.compile

    def compile_(environment: jinja2.Environment, source: Any, *options: Any) -> Any:
        key = (type(environment), source)
        if options or not isinstance(source, str):
            return really_compile(environment, source, *options)
        if key not in kept:
            kept[key] = really_compile(environment, source)
        return kept[key]

    with patch.object(jinja2.Environment, "compile", compile_):
        yield


@contextmanager
def _no_events_of_statements() -> Iterator[None]:
    """Adapters describe each statement in events of level debug: a seventh of each build."""
    really_fire = EventManager.fire_event

    def fire(manager: EventManager, event: BaseEvent, *given: Any, **named: Any) -> None:
        if not isinstance(event, DebugLevel):
            really_fire(manager, event, *given, **named)

    def unmade(event: DebugLevel, *given: Any, **named: Any) -> None:
        pass

    with (
        patch.object(DebugLevel, "__init__", unmade),
        patch.object(EventManager, "fire_event", fire),
    ):
        yield


def flat(namespace: MacroNamespace) -> dict[str, Any]:
    """Return all macros of a namespace by name, as it finds them itself."""
    found: dict[str, Any] = {}
    for macros in reversed(list(namespace._search_order())):
        found.update(macros)
    return found


@contextmanager
def _straight_on() -> Iterator[None]:
    """Spare what dbt does for every node and nobody needs: together a fifth of each build.

    Macros are looked up one by one in each of their packages to be put into one dict; calendars
    that read words such as tomorrow are made anew for every result of a query; a statement that
    gets the SQL of an ephemeral model is understood down to each comparison in it, where only its
    first word ``with`` is wanted.
    """
    really_parse = sqlparse.parse

    def parse(sql: str) -> tuple[Any, ...]:
        return tuple(FilterStack().run(sql)) if BEGINS_WITH.match(sql) else really_parse(sql)

    def to_dict(context: ManifestContext) -> dict[str, Any]:
        found: dict[str, Any] = ConfiguredContext.to_dict(context)
        if isinstance(context.namespace, TestMacroNamespace):
            found.update(context.namespace.local_namespace)
            found.update(context.namespace.project_namespace)
        else:
            found.update(flat(context.namespace))
        return found

    with (
        patch.object(ManifestContext, "to_dict", to_dict),
        patch.object(parsedatetime, "Constants", cache(parsedatetime.Constants)),
        patch.object(sqlparse, "parse", parse),
    ):
        yield


def _key(project: DbtProject) -> str:
    if project.settings.target != "postgres":
        return project.fingerprint()
    url = f"postgresql://tidemark@127.0.0.1/{'x' * len(_database(project))}"
    return replace(project, settings=replace(project.settings, postgres_url=url)).fingerprint()


def _database(project: DbtProject) -> str:
    return postgres_environment(project.settings).get("TIDEMARK_PGDATABASE", "")


def _hand_out(kept: Path, project: DbtProject) -> None:
    theirs = (kept / DATABASE).read_bytes()
    ours = _database(project).encode()
    for name in FILES:
        packed = (kept / name).read_bytes()
        (project.target_path / name).write_bytes(packed.replace(theirs, ours) if theirs else packed)

"""The commands at the door: ingest, and the quarantine of what was rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ingest.settings import load_settings
from orchestration.cli.console import Console
from orchestration.cli.options import AsJson, Quiet
from orchestration.text_table import table

quarantine = typer.Typer(help="Rejected inputs: look at them, replay them after a fix, or discard.")


#: What the warehouse can hold as a number.
HIGHEST = 2**63 - 1

Number = Annotated[int, typer.Argument(help="Number from 'quarantine list'.", min=1, max=HIGHEST)]
Numbers = Annotated[
    list[int] | None,
    typer.Argument(help="Numbers from 'quarantine list'.", min=1, max=HIGHEST),
]
Reason = Annotated[str | None, typer.Option(help="Only this reason code.")]
Load = Annotated[int | None, typer.Option(help="Only of this load.", min=1, max=HIGHEST)]

#: Rejections that are listed for a person.
LISTED = 50

#: What Postgres calls it when a login may not do something.
INSUFFICIENT_PRIVILEGE = "42501"

#: A file that maps columns is no larger.
MAPPING_BYTES = 1 << 20


def ingest(
    # As text: a path would no longer tell an empty word from the folder one is in, and would be
    # refused here where the door says that it cannot be read, and loads the others.
    paths: Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.")],
    adapter: Annotated[str | None, typer.Option("--as", help="A foreign format by name.")] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map", help="CSV columns to envelope fields (YAML or JSON).", readable=False
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 2 when lines were rejected.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Load events: NDJSON (.gz too), CSV or Parquet; rejected lines go to the quarantine."""
    from ingest.door import LoadResult, ingest_paths
    from ingest.errors import UserError

    if "" in paths:
        raise UserError("a path is empty (a variable that is not set?); give . for this folder")
    console = Console(quiet=quiet)
    missing: list[str] = []

    def complain(text: str) -> None:
        """Say what failed, quiet or not."""
        Console().note(" ".join(text.split()))

    def told(result: LoadResult) -> None:
        console.line(
            f"{result.file_name}: read {result.read:,}, accepted {result.accepted:,}, duplicates "
            f"{result.duplicates:,}{_erased(result.erased)}, rejected {result.rejected:,} "
            f"({result.status})"
        )
        if result.error:
            named = result.error.startswith(result.file_name)
            complain(result.error if named else f"{result.file_name}: {result.error}")

    def lacks(text: str) -> None:
        missing.append(text)
        complain(text)

    mapping = _mapping(map_file) if map_file else None
    with console.working() as notify:
        results = ingest_paths(
            [Path(path) for path in paths], settings=load_settings(), adapter=adapter,
            mapping=mapping, notify=notify, on_result=told, on_missing=lacks,
        )  # fmt: skip
        if results:
            _finish_erasures(notify)
    rejected = sum(result.rejected for result in results)
    if strict and rejected:
        lines = "1 line was" if rejected == 1 else f"{rejected:,} lines were"
        complain(f"{lines} rejected; see 'tidemark quarantine list'")
    if missing or any(result.error for result in results):
        raise typer.Exit(1)
    if strict and rejected:
        raise typer.Exit(2)


def _finish_erasures(notify: Callable[[str], None]) -> None:
    """Erase again what an older backup has brought back; whoever opens a session does.

    A login that may load and no more leaves it to others, and says so.
    """
    from ingest.tombstones import journal_path

    settings = load_settings()
    if not journal_path(settings).exists():
        return
    from ingest.warehouse import open_warehouse
    from orchestration.session import open_session

    with open_warehouse(settings, read_only=True, notify=notify) as warehouse:
        due = warehouse.value("select count(*) from ops.erasures where finished_at is null")
    if not due:
        return
    try:
        open_session(settings, notify=notify).close()
    except Exception as error:
        if getattr(error, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        notify("an erasure waits that this login may not carry out; the next 'tidemark run' does")


def _erased(events: int) -> str:
    return f" ({events:,} of erased persons)" if events else ""


def _mapping(path: Path) -> dict[str, str]:
    import yaml

    from ingest.errors import UserError

    try:
        if path.stat().st_size > MAPPING_BYTES:
            raise UserError(
                f"--map {path} is larger than {MAPPING_BYTES:,} bytes; name columns only"
            )
        # The loader in Python: the one in C crashes on very deep nesting.
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        # Of two values of one key a mapping would keep the last.
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        keys = Counter(key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode))
        twice = next((key for key, count in keys.items() if count > 1), None)
        if twice is not None:
            raise UserError(f"--map {path} names column {twice[:100]!r} twice; leave one of them")
        found = None if node is None else loader.construct_document(node)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"--map {path} cannot be read: {error}") from None
    # Names only: what YAML refers to again and again would be endless as text.
    if not isinstance(found, dict) or not all(
        isinstance(name, str) for pair in found.items() for name in pair
    ):
        raise UserError(f"--map {path} must map column names to field names")
    return dict(found)


@quarantine.command("list")
def list_(
    reason: Reason = None,
    load: Load = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"At most so many; {LISTED} without --json.",
            min=1,
            max=HIGHEST,
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List open rejections, newest first."""
    from ingest.quarantine import Selection, count_rejections, list_rejections
    from ingest.warehouse import open_warehouse

    chosen = Selection(reason_code=reason, load_id=load)
    with open_warehouse(load_settings(), read_only=True) as warehouse:
        shown = limit if limit or as_json else LISTED
        found = list_rejections(warehouse, chosen, limit=shown)
        fitting = count_rejections(warehouse, chosen)
        everything = count_rejections(warehouse, Selection())
    console = Console()
    if as_json:
        console.data(found)
        return
    head = [
        "rejection_id",
        "load_id",
        "line_number",
        "reason_code",
        "field",
        "event_name",
        "detail",
    ]
    rows = [[str(row[name] if row[name] is not None else "-") for name in head] for row in found]
    lines = table(rows, head)
    if not rows and everything:
        lines = [f"no open rejected input fits; {everything:,} are open in all"]
    elif not rows:
        lines = ["the quarantine is empty"]
    for line in lines:
        console.line(line)
    if fitting > len(rows):
        console.line(f"{len(rows):,} of {fitting:,}; --limit shows more")


@quarantine.command()
def show(number: Number) -> None:
    """Show one rejection with its redacted payload."""
    from ingest.quarantine import show_rejection
    from ingest.warehouse import open_warehouse

    with open_warehouse(load_settings(), read_only=True) as warehouse:
        Console().data(show_rejection(warehouse, number))


@quarantine.command()
def replay(
    numbers: Numbers = None, reason: Reason = None, load: Load = None, quiet: Quiet = False
) -> None:
    """Put rejections through the door again; without a choice, all that are open."""
    from ingest import quarantine as door

    selection = door.Selection(tuple(numbers or ()), reason, load)
    result = door.replay(load_settings(), selection)
    Console(quiet=quiet).line(
        f"accepted {result.accepted:,}, duplicates {result.duplicates:,}, "
        f"still rejected {result.still_rejected:,}"
    )


@quarantine.command()
def discard(
    numbers: Numbers = None, reason: Reason = None, load: Load = None, quiet: Quiet = False
) -> None:
    """Resolve rejections for good and forget their payloads; give numbers, --reason or --load."""
    from ingest import quarantine as door
    from ingest.errors import UserError
    from ingest.warehouse import open_warehouse

    if not numbers and reason is None and load is None:
        raise UserError("say which: numbers from 'tidemark quarantine list', --reason or --load")
    with open_warehouse(load_settings()) as warehouse:
        count = door.discard(warehouse, door.Selection(tuple(numbers or ()), reason, load))
    Console(quiet=quiet).line(f"{count:,} discarded")

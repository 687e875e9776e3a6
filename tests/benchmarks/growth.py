"""Growth: the curves of what was measured over size and over history, and the dots beside peers.

Belongs here: pictures, drawn from the records of the other parts. What is missing for a curve is
measured first, once. Each picture has one message, which is its title.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import ingest, runs
from tests.benchmarks.peers import NAMES
from tests.benchmarks.queries import CONNECTING
from tests.benchmarks.results import Record, Results, millions
from tests.benchmarks.worlds import TARGETS

COLOURS = {"duckdb": "#c8881b", "postgres": "#2f5d8a"}
GREY = "#8a8a8a"
LABELS = {"duckdb": "DuckDB", "postgres": "Postgres"}


def run(
    folder: Path, results: Results, events: int, server: str, *, repeats: int,
    targets: Sequence[str] = TARGETS,
) -> None:  # fmt: skip
    """Measure of a size what is not there yet, and draw all pictures."""
    for target in targets:
        for name, part in (("run", runs.run), ("ingest", ingest.run)):
            kept = Results(results.folder, name)
            if not kept.of(events=events, target=target):
                part(folder / name, kept, events, server, repeats=1, targets=[target])
        kept = Results(results.folder, "one_more_day")
        if not kept.of(target=target):
            runs.one_more_day(
                folder / "days", kept, events, server, repeats=repeats, targets=[target]
            )
    draw(results)


def draw(results: Results) -> None:
    """Draw what the records of all parts allow, and list it in ``growth.md``."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "tidemark", "svg.fonttype": "path", "font.size": 10,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
            "grid.color": "#e6e6e6", "axes.axisbelow": True, "figure.figsize": (7, 4.2),
            "lines.linewidth": 2,
        }
    )  # fmt: skip
    folder = results.folder
    drawn = [
        picture
        for picture in (_sizes(folder), _memory(folder), _history(folder), *_peers(folder),
                        *_ingest(folder), *_queries(folder))
        if picture
    ]  # fmt: skip
    text = ["# Growth, in pictures", "", "Drawn from the records of the other parts.", ""]
    for name, title in drawn:
        text += [f"![{title}]({name}.svg)", ""]
    (folder / "growth.md").write_text("\n".join(text), encoding="utf-8")


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    return figure, figure.add_subplot()


def _save(folder: Path, name: str, figure: Any, axes: Any, title: str) -> tuple[str, str]:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    if count := len(axes.get_legend_handles_labels()[0]):
        columns = 2 if count == 4 else 3
        figure.legend(loc="outside lower center", fontsize=8, ncols=columns, frameon=False)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return name, title


def _by_size(axes: Any, sizes: Sequence[int]) -> None:
    """Make the x axis one of numbers of events, in powers."""
    axes.set_xscale("log")
    axes.set_xticks(list(sizes), [millions(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("events")


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _sizes(folder: Path) -> tuple[str, str] | None:
    records = Results(folder, "run").records
    if not records:
        return None
    figure, axes = _figure()
    for target in TARGETS:
        found = sorted((r for r in records if r["target"] == target), key=lambda r: r["events"])
        sizes = [r["events"] for r in found]
        # A target that was not measured has no place in the legend.
        for key, style, label in (
            ("total", "-o", "whole run"), ("same", "--s", "SQL of the 7 marts"),
            ("hand", ":^", "script by hand"),
        ) if found else ():  # fmt: skip
            axes.plot(
                sizes, [r[key] for r in found], style, color=COLOURS[target],
                label=f"{LABELS[target]}: {label}",
            )  # fmt: skip
    axes.set_yscale("log")
    _by_size(axes, sorted({r["events"] for r in records}))
    _plain_numbers(axes.yaxis)
    axes.set_ylabel("wall seconds")
    title = "Wall time of a run over size, beside the script written by hand"
    return _save(folder, "growth_size", figure, axes, title)


def _memory(folder: Path) -> tuple[str, str] | None:
    ours = {
        "run": Results(folder, "run").records,
        "ingest": [r for r in Results(folder, "ingest").records if r["way"] == "tidemark"],
    }
    if not any(ours.values()):
        return None
    figure, axes = _figure()
    for name, style in (("run", "-o"), ("ingest", "--s")):
        for target in TARGETS:
            found = sorted(
                (r for r in ours[name] if r["target"] == target), key=lambda r: r["events"]
            )
            if found:
                axes.plot(
                    [r["events"] for r in found], [r["peak_mb"] for r in found], style,
                    color=COLOURS[target], label=f"{LABELS[target]}: {name}",
                )  # fmt: skip
    _by_size(axes, sorted({r["events"] for rs in ours.values() for r in rs}))
    axes.set_ylim(bottom=0)
    _plain_numbers(axes.yaxis)
    axes.set_ylabel("peak memory, MB (without shared buffers)")
    return _save(folder, "growth_memory", figure, axes, "Peak memory over size, ingest and run")


def _history(folder: Path) -> tuple[str, str] | None:
    records = Results(folder, "one_more_day").records
    if not records:
        return None
    figure, axes = _figure()
    for target in TARGETS:
        of_target = [r for r in records if r["target"] == target]
        if not of_target:
            continue
        most = max(r["events"] for r in of_target)
        found = sorted((r for r in of_target if r["events"] == most), key=lambda r: r["history"])
        days = [r["history"] for r in found]
        size = f"{LABELS[target]}, {found[0]['per_day']:,} events"
        for key, style, label in (("total", "-o", "whole run"), ("models", "--s", "SQL")):
            axes.plot(
                days, [r[key] for r in found], style, color=COLOURS[target],
                label=f"{size}: {label}",
            )  # fmt: skip
    axes.set_xticks(sorted({r["history"] for r in records}))
    axes.set_xlabel("days of history before it")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("wall seconds")
    title = "One more day over the history before it"
    return _save(folder, "growth_history", figure, axes, title)


def _dots(
    folder: Path, name: str, title: str, unit: str, dots: Sequence[tuple[str, float, str]]
) -> tuple[str, str]:
    """Draw a value per name on a logarithmic axis, where ratios are distances."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.1 + 0.34 * len(dots)), layout="constrained")
    axes = figure.add_subplot()
    labels, values, colours = zip(*reversed(dots), strict=True)
    axes.scatter(values, labels, color=colours, s=60)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.6, max(values) * 3)
    for place, value in enumerate(values):
        text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        axes.annotate(f"   {text}", (value, place), va="center", fontsize=8)
    _plain_numbers(axes.xaxis)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel(unit)
    return _save(folder, name, figure, axes, title)


def _largest(results: Results, **key: str) -> Iterator[tuple[str, int, list[Record]]]:
    """Yield each target with its largest size that was measured, and the records of that."""
    for target in TARGETS:
        sizes = [r["events"] for r in results.of(target=target, **key)]
        if sizes:
            yield target, max(sizes), results.of(target=target, events=max(sizes))


def _peers(folder: Path) -> list[tuple[str, str]]:
    drawn = []
    for target, events, records in _largest(Results(folder, "peers")):
        found = {r["way"]: r for r in records}
        dots = [
            (name.replace("`", ""), found[way]["wall"],
             COLOURS[target] if way in ("models", "whole") else GREY)
            for way, name in NAMES.items() if way in found
        ]  # fmt: skip
        days = found["hand"]["days"]
        title = f"Four tables, {days} days, {millions(events)} events, {LABELS[target]}"
        unit = "wall seconds, logarithmic"
        drawn.append(_dots(folder, f"peers_{target}", title, unit, dots))
    return drawn


def _ingest(folder: Path) -> list[tuple[str, str]]:
    drawn = []
    for target, events, records in _largest(Results(folder, "ingest"), way="framework"):
        found = {r["way"]: r for r in records}
        dots = [
            (ingest.NAMES[way].replace("`", ""), found[way]["cpu"] * 1e6 / found[way]["lines"],
             COLOURS[target] if way == "tidemark" else GREY)
            for way in ingest.WAYS[target] if way in found
        ]  # fmt: skip
        title = f"Ingest of {millions(events)} events, {LABELS[target]}"
        unit = "CPU seconds per million events, logarithmic"
        drawn.append(_dots(folder, f"ingest_{target}", title, unit, dots))
    return drawn


def _queries(folder: Path) -> list[tuple[str, str]]:
    drawn = []
    for target, events, asked in _largest(Results(folder, "queries")):
        figure, axes = _figure()
        found = sorted((r for r in asked if r["question"] != CONNECTING), key=lambda r: r["raw"])
        names = [r["title"] for r in found]
        for key, colour, label in (
            ("p95", COLOURS[target], "marts, p95 of 50"), ("raw", GREY, "raw events, median"),
        ):  # fmt: skip
            axes.plot([r[key] for r in found], names, "o", color=colour, label=label)
        axes.axvline(100, color="#b03030", linewidth=1, linestyle="--")
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_xlabel("milliseconds, logarithmic; line: 100 ms")
        title = f"Questions over a year of {millions(events)} events, {LABELS[target]}"
        drawn.append(_save(folder, f"queries_{target}", figure, axes, title))
    return drawn

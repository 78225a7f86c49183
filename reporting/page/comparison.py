"""A comparison as a page: compare.md, compare.html, and all runs on one axis."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting import headlines
from reporting.figures import style as style_lib
from reporting.formatting import number
from reporting.history import History
from reporting.loop_tags import LOSS
from reporting.page import comparison_tables, render
from reporting.page.parts import Section
from reporting.run_dir import RunDir

# Okabe and Ito's colors, and dashes for who sees none.
STYLES = (
    ("#0072b2", "-"),
    ("#d55e00", "--"),
    ("#009e73", "-."),
    ("#cc79a7", (0, (5, 1, 1, 1))),
    ("#111827", (0, (1, 1))),
    ("#56b4e9", (0, (8, 2))),
)
MARKS = "osD^vP"


def write(
    folders: Sequence[Path | str], comparison: Mapping[str, Any], output: Path | str
) -> Path:
    """Write `compare.md`, `compare.html` and their figures.

    Args:
        folders: The workdirs, in the order of the comparison.
        comparison: What `compare.compare` gives for them.
        output: The folder to write into.

    Returns:
        The path of `compare.html`.
    """
    output, names = Path(output), comparison_tables.short_names(comparison)
    histories = (RunDir(folder).history for folder in folders)
    runs = dict(zip(names, histories, strict=True))
    figures = style_lib.save(output, _draw(runs))
    captions = {
        "loss": "Loss of each run, its chance level dotted in the same color.",
        "metrics": "One score a set, with 95 % intervals; chance dotted.",
    }
    tables = comparison_tables.tables(comparison)
    parts = [Section("Runs", tables=[tables.pop("Runs")])]
    for title, table in tables.items():
        parts.append(Section(title, tables=[table]))
        if title == "Gates":
            parts[-1].items = [
                ("wait", f"{disagreement}.")
                for disagreement in comparison_tables.disagreements(comparison)
            ]
        if title == "Metrics":
            parts[-1].text.append(comparison_tables.star(comparison))
    drawn = [(captions[name], paths) for name, paths in figures.items()]
    text = [] if drawn else ["Nothing has been logged yet."]
    parts.insert(1, Section("Curves", text, figures=drawn))
    title = f"{', '.join(names[:-1])} and {names[-1]}"
    render.render(output, {"title": title, "sections": parts}, "compare")
    return output / "compare.html"


def _draw(runs: Mapping[str, History]) -> Iterator[tuple[str, list[Figure]]]:
    if panels := loss(runs):
        yield "loss", panels
    if panels := scores(runs):
        yield "metrics", panels


def loss(runs: Mapping[str, History]) -> list[Figure]:
    """Return a panel of the losses of all runs, each with its chance level.

    Args:
        runs: Name to history.
    """
    losses = {
        name: frame
        for name, history in runs.items()
        if len(frame := history.series(LOSS, "train"))
    }
    if not losses:
        return []
    figure, (axis,) = style_lib.panel("Loss", style_lib.WIDE_PANEL)
    for name, frame in losses.items():
        color, dash, _ = style(runs, name)
        x, y = frame["epoch"], frame["value"]
        if len(y) > style_lib.MANY_POINTS:
            y = style_lib.smoothed(y)
        x, y = style_lib.thinned(x, y)
        axis.plot(x, y, color=color, linestyle=dash, lw=1.7, label=name)
        _chance(axis, frame["chance"].dropna(), color)
    axis.set_xlabel("epoch")
    style_lib.legend(axis)
    return [figure]


def scores(runs: Mapping[str, History]) -> list[Figure]:
    """Return a panel for each set: its score in every run, with intervals."""
    metrics: dict[str, dict] = {}
    for history in runs.values():
        metrics = history.metrics() | metrics
    tags = headlines.headlines(metrics)
    figures = []
    for tag in tags:
        figure, (axis,) = style_lib.panel(tag.removeprefix("eval/"))
        for name, history in runs.items():
            frame = history.series(tag, "eval")
            if frame.empty:
                continue
            color, dash, symbol = style(runs, name)
            x = frame["epoch"]
            axis.fill_between(x, frame["low"], frame["high"], color=color, alpha=0.14)
            axis.plot(
                x, frame["value"], color=color, linestyle=dash, marker=symbol, ms=3.5,
                lw=1.6, label=name,
            )  # fmt: skip
            _chance(axis, frame["chance"].dropna(), color)
        axis.margins(x=0.08)
        axis.set_xlabel("epoch")
        style_lib.legend(axis)
        figures.append(figure)
    return figures


def style(runs: Iterable[str], name: str) -> tuple[str, Any, str]:
    """Color, dash and symbol of a run, the same in every figure."""
    place = list(runs).index(name) % len(STYLES)
    color, dash = STYLES[place]
    return str(color), dash, MARKS[place]


def _chance(axis: Axes, levels: Any, color: str) -> None:
    if not len(levels):
        return
    level = levels.iloc[-1]
    axis.axhline(level, color=color, linestyle=":", lw=1.1)
    axis.annotate(
        f"chance {number(level)}",
        (1, level),
        xycoords=axis.get_yaxis_transform(),
        xytext=(0, 1.5),
        textcoords="offset points",
        ha="right",
        fontsize=6.5,
        color=color,
    )

"""How figures are drawn: colors, panels, marks that all of them share, files.

A figure is a list of panels, each an SVG of its own. The page lays panels out in as
many columns as the screen has room for, so that one drawing suits a desk and a phone.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting import files
from reporting.formatting import number
from reporting.history import History, Metric, is_finite

# Distinct in lightness too, for readers who do not see red and green apart.
BLUE, ORANGE, GREEN, GRAY = "#1f5fa8", "#d9822b", "#3c8c5a", "#6b7280"
LIGHT_GRAY, RED = "#9ca3af", "#b91c1c"
# Okabe and Ito's colors, with a dash each for print without color.
LEVEL_STYLES = (
    (ORANGE, "--"),
    (GREEN, "-."),
    ("#cc79a7", (0, (5, 1))),
    ("#56b4e9", (0, (1, 1))),
    ("#9b2226", (0, (3, 2))),
    ("#8a6d00", (0, (3, 1, 1, 1))),
)
CEILING_STYLE = ("#111827", (0, (8, 2)))
MANY_POINTS = 150  # from which a smooth curve is drawn, too
MOST_POINTS = 600  # of a curve in a file
PANELS = 6
PANEL, WIDE_PANEL = (3.1, 2.3), (4.4, 2.5)  # inches
MOST_RESUMES = 6  # that are named in a figure

_MARGINS = {"left": 0.62, "right": 0.12, "top": 0.32, "bottom": 0.48}  # inches
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.edgecolor": LIGHT_GRAY,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    # Text as text: a tenth of the size of outlines, and the reader's own fonts.
    "svg.fonttype": "none",
    "svg.hashsalt": "akin",
}

Figures = dict[str, list[Path]]
Column: TypeAlias = Any  # a column of `History.series`


def save(folder: Path | str, drawn: Iterable[tuple[str, Sequence[Figure]]]) -> Figures:
    """Write figures as SVG, all in the style of the report.

    Args:
        folder: The workdir.
        drawn: Name and panels of each figure; drawn one by one, so that the style holds
            while they are.

    Returns:
        Name to the files of its panels: `<name>.svg`, or `<name>-1.svg` and so on.
    """
    written: Figures = {}
    with matplotlib.rc_context(_STYLE):
        for name, panels in drawn:
            numbers = [""] if len(panels) == 1 else range(1, len(panels) + 1)
            written[name] = []
            for panel, place in zip(panels, numbers, strict=True):
                stem = f"{name}-{place}" if place else name
                path = Path(folder) / files.FIGURES / f"{stem}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                buffer = io.BytesIO()
                panel.savefig(buffer, format="svg", metadata={"Date": None})
                path.write_bytes(buffer.getvalue())
                written[name].append(path)
    return written


def panel(
    title: str = "", size: tuple[float, float] = PANEL, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Return a figure of one panel, or of rows with one x axis, and its axes.

    Args:
        title: Title of the first row.
        size: Width and height of a row in inches.
        rows: Number of rows.
    """
    width, height = size[0], size[1] * rows
    figure = Figure(figsize=(width, height))
    axes = list(figure.subplots(rows, sharex=True, squeeze=False)[:, 0])
    figure.subplots_adjust(
        left=_MARGINS["left"] / width,
        right=1 - _MARGINS["right"] / width,
        top=1 - _MARGINS["top"] / height,
        bottom=_MARGINS["bottom"] / height,
        hspace=0.3,
    )
    axes[0].set_title(title)
    return figure, axes


def thinned(x: Column, y: Column) -> tuple[Column, Column]:
    """Return no more than `MOST_POINTS` points of a curve, evenly chosen."""
    if len(x) <= MOST_POINTS:
        return x, y
    rows = np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int)
    return x.iloc[rows], y.iloc[rows]


def curve(axis: Axes, x: Column, y: Column) -> None:
    """Draw a curve; of many points also a smooth one."""
    if len(y) <= MANY_POINTS:
        axis.plot(x, y, color=BLUE, linewidth=1.6, marker="o" if len(y) < 3 else None)
        return
    axis.plot(*thinned(x, y), color=BLUE, linewidth=0.7, alpha=0.35)
    axis.plot(*thinned(x, smoothed(y)), color=BLUE, linewidth=1.8)


def smoothed(y: Column) -> Column:
    """Return the moving mean of a fiftieth of the points."""
    return y.rolling(len(y) // 50, center=True, min_periods=1).mean()


def baseline_styles(baselines: Mapping[str, Metric]) -> dict[str, tuple[str, Any]]:
    """Return a color and a dash for each baseline, in the order of their names."""
    styles = {}
    for name in sorted(baselines):
        if baselines[name]["ceiling"]:
            styles[name] = CEILING_STYLE
        else:
            styles[name] = LEVEL_STYLES[len(styles) % len(LEVEL_STYLES)]
    return styles


def mark_level(axis: Axes, y: float | None, label: str, color: str, dash: Any) -> None:
    """Draw a level over the whole width, labeled with its value."""
    if y is not None and is_finite(y):
        axis.axhline(
            y, color=color, linestyle=dash, lw=1.3, label=f"{label} {number(y)}"
        )


def mark_chance(axis: Axes, frame: pd.DataFrame) -> None:
    """Draw the last chance level of a series."""
    levels = frame["chance"].dropna()
    if len(levels):
        mark_level(axis, float(levels.iloc[-1]), "chance", GRAY, ":")


def mark_baselines(axis: Axes, baselines: Mapping[str, Metric]) -> None:
    """Draw the levels of baselines with their intervals."""
    styles = baseline_styles(baselines)
    for name, metric in baselines.items():
        color, dash = styles[name]
        mark_level(axis, metric["value"], metric["label"], color, dash)
        if metric["low"] is not None and metric["high"] is not None:
            axis.axhspan(metric["low"], metric["high"], color=color, alpha=0.12, lw=0)


def mark_failures(axis: Axes, frame: pd.DataFrame) -> None:
    """Mark the step from which values are not finite."""
    bad = frame.loc[~np.isfinite(frame["value"]), "step"]
    if len(bad):
        label = f"not finite from step {int(bad.iloc[0])}"
        axis.axvline(bad.iloc[0], color=RED, lw=1.5, label=label)


def mark_resumes(axis: Axes, history: History, starts: Mapping[int, str]) -> None:
    """Draw dotted lines at resumes, with a word each where there is room for words."""
    steps = sorted({event["step"] for event in history.of_kind("resume")})
    for step in steps:
        axis.axvline(step, color=LIGHT_GRAY, lw=0.8, ls=(0, (1, 2)))
        if step in starts and len(steps) <= MOST_RESUMES:
            axis.annotate(
                starts[step],
                (step, 0.04),
                xycoords=axis.get_xaxis_transform(),
                xytext=(-2, 0),
                textcoords="offset points",
                rotation=90,
                ha="right",
                va="bottom",
                fontsize=7,
                color=GRAY,
            )


def legend(axis: Axes, **options: Any) -> None:
    """Draw a legend where anything has a label."""
    if axis.get_legend_handles_labels()[1]:
        axis.legend(**({"loc": "best"} | options))


def metric_panel(history: History, tag: str, limit: float | None = None) -> Figure:
    """Return a small curve of a tag over steps, with its chance level and baselines.

    Args:
        history: A run's events.
        tag: What was measured.
        limit: A level above which an alarm is raised, where there is one.
    """
    figure, (axis,) = panel(tag.removeprefix("eval/"))
    frame = history.series(tag)
    curve(axis, frame["step"], frame["value"])
    mark_baselines(axis, history.baselines(tag))
    mark_chance(axis, frame)
    mark_level(axis, limit, "alarm above", ORANGE, "--")
    values = [row.value for row in history.points(tag) if is_finite(row.value)]
    if min(map(float, values), default=-1.0) >= 0:
        axis.set_ylim(bottom=0)
    axis.set_xlabel("step")
    legend(axis)
    return figure

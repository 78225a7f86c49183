"""How figures are drawn: colors, styles, lines that all of them share, files."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting import run_dir, timeline
from reporting.formatting import number
from reporting.history import History, is_finite

# Told apart by lightness too, for eyes that do not see red and green apart.
BLUE, ORANGE, GREEN, GRAY = "#1f5fa8", "#d9822b", "#3c8c5a", "#6b7280"
# Okabe and Ito's colors, with a dash each for who prints without.
BASELINE_STYLES = {
    "pixels": (ORANGE, "--"),
    "untrained": (GREEN, "-."),
    "start": ("#cc79a7", (0, (5, 1))),
    "persistence": (ORANGE, "--"),
    "mean": ("#56b4e9", (0, (1, 1))),
    "fitted_average": ("#cc79a7", (0, (5, 1))),
    "exponential_average": ("#9b2226", (0, (3, 2))),
    "ridge": ("#8a6d00", (0, (3, 1, 1, 1))),
    "best": ("#111827", (0, (8, 2))),
}
MANY_POINTS = 150
PANELS = 6
COLUMNS = 3
WIDE, NARROW = 7.2, 3.6  # inches, on a desk and on a telephone
MOST_WORDS = 6  # resumes that are named in the figure

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.edgecolor": "#9ca3af",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
}


def narrow(path: Path) -> Path:
    """Where the drawing of a figure lies that suits a narrow screen."""
    return path.parent / "narrow" / path.name


def save(
    folder: Path | str, drawn: Iterable[tuple[str, Figure]], slim: bool = False
) -> dict[str, Path]:
    """Writes figures that are drawn one by one, all in the style of the report."""
    written = {}
    with matplotlib.rc_context(_STYLE):
        for name, figure in drawn:
            path = Path(folder) / run_dir.FIGURES / f"{name}.png"
            path = narrow(path) if slim else path
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
            path.write_bytes(buffer.getvalue())
            written[name] = path
    return written


def grid(n: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of n panels in no more columns than given."""
    slim, columns = columns == 1, min(n, columns)
    rows = -(-n // columns)
    size = (NARROW if slim else max(2.9 * columns, 4.4), 2.5 * rows + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.remove()
    return figure, axes[:n]


def curve(axis: Axes, x: pd.Series, y: pd.Series) -> None:
    """A curve; of many points also a smooth one."""
    if len(y) <= MANY_POINTS:
        axis.plot(x, y, color=BLUE, linewidth=1.6, marker="o" if len(y) < 3 else None)
        return
    axis.plot(x, y, color=BLUE, linewidth=0.7, alpha=0.35)
    smooth = y.rolling(len(y) // 50, center=True, min_periods=1).mean()
    axis.plot(x, smooth, color=BLUE, linewidth=1.8)


def mark_level(axis: Axes, y: float | None, label: str, color: str, dash: str) -> None:
    """A level over the whole width, named with its value."""
    if is_finite(y):
        axis.axhline(
            y, color=color, linestyle=dash, lw=1.3, label=f"{label} {number(y)}"
        )


def mark_baselines(axis: Axes, baselines: dict[str, dict]) -> None:
    """Levels of baselines with their intervals."""
    for baseline, metric in baselines.items():
        color, dash = BASELINE_STYLES.get(baseline, (GRAY, "--"))
        mark_level(axis, metric["value"], metric["label"], color, dash)
        if metric["low"] is not None and metric["high"] is not None:
            axis.axhspan(metric["low"], metric["high"], color=color, alpha=0.12, lw=0)


def mark_failures(axis: Axes, frame: pd.DataFrame) -> None:
    """Where values stopped being finite, and the legend."""
    bad = frame.loc[~np.isfinite(frame["value"]), "step"]
    if len(bad):
        label = f"not finite from step {int(bad.iloc[0])}"
        axis.axvline(bad.iloc[0], color="#b91c1c", lw=1.5, label=label)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(loc="best")


def mark_resumes(axis: Axes, history: History, starts: dict[int, str]) -> None:
    """Dotted lines, with a word each where there is room for words."""
    steps = sorted({event["step"] for event in history.of_kind("resume")})
    for step in steps:
        axis.axvline(step, color="#9ca3af", lw=0.8, ls=(0, (1, 2)))
        if step in starts and len(steps) <= MOST_WORDS:
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


def panels(axes: Sequence[Axes], history: History, tags: Sequence[str]) -> None:
    """One small curve a tag over steps, with its chance level and baselines."""
    for axis, tag in zip(axes, tags, strict=True):
        frame = history.series(tag)
        curve(axis, frame["step"], frame["value"])
        axis.set_title(tag.removeprefix("eval/"))
        mark_baselines(axis, history.baselines(tag))
        if frame["chance"].notna().any():
            mark_level(axis, frame["chance"].dropna().iloc[-1], "chance", GRAY, ":")
        if tag == timeline.INPUT_WAIT:
            mark_level(axis, timeline.INPUT_BOUND, "input-bound above", ORANGE, "--")
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="best")
        if frame["value"].min() >= 0:
            axis.set_ylim(bottom=0)
        axis.set_xlabel("step")

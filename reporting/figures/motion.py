"""The motion of cine, with the still segments that pseudo-labels were made from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting.figures import style
from reporting.figures.style import BLUE, GRAY, GREEN, ORANGE, Figures
from reporting.formatting import number
from reporting.history import is_finite


def write(folder: Path | str, data: Mapping[str, Any]) -> Figures:
    """Draw the figure `motion` where the data has pseudo-labels.

    Args:
        folder: The workdir.
        data: What the dataset said of itself; `pseudo_labels` as `motion` wants it.

    Returns:
        Name to the SVG of its panel.
    """
    return style.save(folder, _draw(data))


def _draw(data: Mapping[str, Any]) -> Iterator[tuple[str, list[Figure]]]:
    if pseudo_labels := data.get("pseudo_labels"):
        yield "motion", [motion(pseudo_labels)]


def motion(pseudo_labels: Mapping[str, Any]) -> Figure:
    """Return the motion over frames, and the similarity with a reference below it.

    Args:
        pseudo_labels: `curves` {"motion", perhaps "similarity": {"row", "value"}},
            `threshold` and `similarity_threshold` or None, `segments` [(clip, first,
            last)] and `clip_starts` as rows.
    """
    curves = pseudo_labels["curves"]
    rows = len(curves)
    title = "Motion: mean change of a pixel, of 1"
    figure, axes = style.panel(title, (7.2, 2.2), rows)
    starts = np.asarray(pseudo_labels["clip_starts"][1:], float)
    for axis in axes:
        _segments(axis, pseudo_labels["segments"])
        whole = axis.get_xaxis_transform()
        axis.vlines(starts - 0.5, 0, 1, color=GRAY, lw=0.5, transform=whole)
    x, y = (_values(curves["motion"], key) for key in ("row", "value"))
    breaks = np.searchsorted(x, starts)  # no line leads from a clip to the next
    x, y = np.insert(x, breaks, np.nan), np.insert(y, breaks, np.nan)
    axes[0].plot(x, y, color=BLUE, linewidth=1.3)
    _threshold(axes[0], pseudo_labels["threshold"], "still up to")
    axes[0].set_ylim(bottom=0)
    if rows > 1:
        x, y = (_values(curves["similarity"], key) for key in ("row", "value"))
        threshold = pseudo_labels["similarity_threshold"]
        like = y >= (np.inf if threshold is None else threshold)
        axes[1].plot(x[~like], y[~like], "o", ms=3, color=GRAY, mfc="none")
        axes[1].plot(x[like], y[like], "o", ms=3, color=BLUE)
        axes[1].set_title("SSIM of still frames with the reference")
        _threshold(axes[1], threshold, "like the reference from")
    axes[0].set_xlim(-0.5, pseudo_labels["frames"] - 0.5)
    axes[-1].set_xlabel("frame, clip after clip")
    for axis in axes:
        style.legend(axis, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def _values(curve: Mapping[str, list], key: str) -> np.ndarray:
    return np.asarray(curve[key], float)


def _segments(axis: Axes, segments: list) -> None:
    if not segments:
        return
    extent = np.array([[a - 0.5, b + 0.5, np.nan] for _, a, b in segments]).ravel()
    axis.fill_between(
        extent,
        0,
        1,
        color=GREEN,
        alpha=0.22,
        lw=0,
        label="still segment",
        transform=axis.get_xaxis_transform(),
    )


def _threshold(axis: Axes, y: float | None, label: str) -> None:
    if is_finite(y):
        text = f"{label} {number(y)}"
        axis.axhline(y, color=ORANGE, linestyle="--", lw=1.3, label=text)

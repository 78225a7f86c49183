"""Pictures of a run: curves with their chance levels and floors, and the gallery."""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting import history, plan, workdir
from reporting.formatting import number

# Told apart by lightness too, for eyes that do not see red and green apart.
BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#d9822b", "#3c8c5a", "#6b7280"
# Okabe and Ito's colours, with a dash each for who prints without.
FLOOR_STYLES = {
    "pixels": (ORANGE, "--"),
    "untrained": (GREEN, "-."),
    "start": ("#cc79a7", (0, (5, 1))),
    "copy_last": (ORANGE, "--"),
    "mean": ("#56b4e9", (0, (1, 1))),
    "weights": ("#cc79a7", (0, (5, 1))),
    "fading": ("#9b2226", (0, (3, 2))),
    "ridge": ("#8a6d00", (0, (3, 1, 1, 1))),
    "best": ("#111827", (0, (8, 2))),
}
FLOOR_NAMES = {
    "pixels": "raw pixels",
    "untrained": "untrained network",
    "start": "what it started from",
    "copy_last": "copy of the last",
    "mean": "mean of the context",
    "weights": "weighted mean",
    "fading": "mean that fades",
    "best": "best possible",
}
MANY_POINTS = 150
PANELS = 6
COLUMNS = 3
NARROW = 3.6  # inches, on a telephone
MOST_WORDS = 6  # resumes that are named in the figure
TELLING = ("cosine", "error", "recall", "map", "ssim", "nar", "ndcg")
SHOWN = ("/nar", "/cosine", "/error")  # beside scores

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


def write(folder: Path | str, events: list[dict]) -> dict[str, Path]:
    """Draws every figure that the history has something for.

    Args:
      folder: the workdir.
      events: its history.

    Returns:
      Name to PNG, in the order in which a reader wants them: `loss`, one
      `retrieval-<set>` a set, `conditions-<set>` where a set was measured under other
      conditions, `embeddings`, `throughput`. Each is also drawn for narrow screens.
    """
    segments = workdir.read_resumes(folder)
    steps = [segment.get("from_step") for segment in segments]
    starts = dict(zip(steps, plan.starts(segments), strict=True))
    save(folder, _draw(events, starts, columns=1), slim=True)
    return save(folder, _draw(events, starts))


def save(
    folder: Path | str, drawn: Iterable[tuple[str, Figure]], slim: bool = False
) -> dict[str, Path]:
    """Writes figures that are drawn one by one, all in the style of the report."""
    written = {}
    with matplotlib.rc_context(_STYLE):
        for name, figure in drawn:
            path = Path(folder) / workdir.FIGURES / f"{name}.png"
            path = narrow(path) if slim else path
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
            path.write_bytes(buffer.getvalue())
            written[name] = path
    return written


def _draw(
    events: list[dict], starts: dict[int, str], columns: int = COLUMNS
) -> Iterable[tuple[str, Figure]]:
    if (figure := loss(events, starts, columns)) is not None:
        yield "loss", figure
    for name, tags in evaluation_sets(events).items():
        figure = retrieval(events, name, tags, columns)
        yield f"retrieval-{name.replace(', ', '-')}", figure
    for name, parts in condition_sets(events).items():
        yield f"conditions-{name}", conditions(events, parts, columns)
    for name, endings in (
        ("embeddings", history.GEOMETRY),
        ("throughput", ("examples_per_sec", "input_wait")),
    ):
        tags = history.tags(events, *endings)
        if tags:
            yield name, panels(events, tags[:PANELS], columns)


def loss(
    events: list[dict], starts: dict[int, str] | None = None, columns: int = COLUMNS
) -> Figure | None:
    """Loss with its chance level and floor, over the learning rate.

    Args:
      events: a run's history.
      starts: step to what the resume there was, as `plan.starts` says it.
      columns: 1 for a narrow screen.
    """
    frame = history.series(events, history.LOSS, "train")
    if frame.empty:
        return None
    rate = history.series(events, "train/lr", "train")
    rows = 2 if len(rate) else 1
    width = NARROW if columns == 1 else 7.2
    figure = Figure(figsize=(width, 2.6 + 1.3 * rows), layout="constrained")
    axes = figure.subplots(
        rows, sharex=True, squeeze=False, height_ratios=[3, 1.2][:rows]
    )[:, 0]
    _curve(axes[0], frame["step"], frame["value"])
    axes[0].set_title("Loss")
    lowest = history.series(events, "train/loss_floor", "train")["value"].dropna()
    if frame["chance"].notna().any():
        _level(axes[0], frame["chance"].dropna().iloc[-1], "chance", GREY, ":")
    if len(lowest):
        _level(axes[0], lowest.iloc[-1], "lowest possible", GREEN, "-.")
    _mark_failures(axes[0], frame)
    if len(rate):
        axes[1].plot(rate["step"], rate["value"], color=BLUE, linewidth=1.5)
        axes[1].set_title("Learning rate")
        axes[1].set_ylim(bottom=0)
        axes[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    for axis in axes:
        _resumes(axis, events, starts or {} if axis is axes[-1] else {})
    axes[-1].set_xlabel("step")
    return figure


def retrieval(
    events: list[dict], name: str, tags: Sequence[str], columns: int = COLUMNS
) -> Figure:
    """The metrics of one set over epochs, with intervals, chance level and floors."""
    floors = history.floors(events)
    figure, axes = grid(len(tags), columns)
    figure.suptitle(name, fontsize=11, fontweight="bold", x=0.01, ha="left")
    for axis, tag in zip(axes, tags, strict=True):
        frame = history.series(events, tag, "eval")
        axis.set_title(tag.split("/", 2)[2])
        axis.fill_between(
            frame["epoch"], frame["low"], frame["high"], color=BLUE, alpha=0.18, lw=0
        )
        axis.plot(frame["epoch"], frame["value"], "o-", ms=3.5, color=BLUE, lw=1.6)
        _floors(axis, floors.get(tag, {}))
        if frame["chance"].notna().any():
            _level(axis, frame["chance"].dropna().iloc[-1], "chance", GREY, ":")
        axis.margins(x=0.08)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="best", fontsize=7, handlelength=1.8)
    for axis in axes[-columns:]:
        axis.set_xlabel("epoch")
    return figure


def condition_sets(events: list[dict]) -> dict[str, dict[str, list[tuple]]]:
    """`{set: {field: [(value, tag)]}}` of scores measured under other conditions.

    Their tags are `eval/<set>/<field>_<value>/<score>`.
    """
    found: dict[str, dict[str, list[tuple]]] = {}
    for tag in history.measure(events):
        parts = tag.split("/")
        if len(parts) != 4 or not history.is_score(tag):
            continue
        field, _, value = parts[2].rpartition("_")
        if field not in ("", "in") and re.fullmatch(r"\d+(\.\d+)?", value):
            fields = found.setdefault(parts[1], {})
            fields.setdefault(field, []).append((float(value), tag))
    return {
        name: {field: sorted(values) for field, values in fields.items()}
        for name, fields in found.items()
    }


def conditions(
    events: list[dict], fields: dict[str, list[tuple]], columns: int = COLUMNS
) -> Figure:
    """A score against each condition, with intervals and floors under the same."""
    latest = history.measure(events)
    figure, axes = grid(len(fields), columns)
    for axis, (field, values) in zip(axes, fields.items(), strict=True):
        x = [value for value, _ in values]
        measured = [latest[tag] for _, tag in values]
        low, high = ([m[end] for m in measured] for end in ("low", "high"))
        if all(history.is_finite(v) for v in (*low, *high)):
            axis.fill_between(x, low, high, color=BLUE, alpha=0.18, lw=0)
        y = [m["value"] for m in measured]
        axis.plot(x, y, "o-", ms=3.5, color=BLUE, lw=1.6, label="trained")
        for name in sorted({name for m in measured for name in m["floors"]}):
            color, dash = FLOOR_STYLES.get(name, (GREY, "--"))
            level = [m["floors"].get(name, {}).get("value") for m in measured]
            label = FLOOR_NAMES.get(name, name)
            axis.plot(x, level, linestyle=dash, color=color, lw=1.3, label=label)
        chance = [m["chance"] for m in measured]
        if all(history.is_finite(level) for level in chance):
            axis.plot(x, chance, linestyle=":", color=GREY, lw=1.3, label="chance")
        axis.set_title(f"{values[0][1].rpartition('/')[2]} against {field}")
        axis.set_xlabel(field)
        axis.set_ylim(-0.03, 1.03)
        axis.legend(loc="best", fontsize=7, handlelength=1.8)
    return figure


def panels(events: list[dict], tags: Sequence[str], columns: int = COLUMNS) -> Figure:
    """One small curve a tag over steps, with its chance level and floors."""
    floors = history.floors(events)
    figure, axes = grid(len(tags), columns)
    for axis, tag in zip(axes, tags, strict=True):
        frame = history.series(events, tag)
        _curve(axis, frame["step"], frame["value"])
        axis.set_title(tag.removeprefix("eval/"))
        _floors(axis, floors.get(tag, {}))
        if frame["chance"].notna().any():
            label = "random directions" if tag.endswith("embedding_std") else "chance"
            _level(axis, frame["chance"].dropna().iloc[-1], label, GREY, ":")
        if tag.endswith("input_wait"):
            _level(axis, plan.INPUT_BOUND, "input-bound above", ORANGE, "--")
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="best")
        if tag.endswith(("_std", "_ratio", "_rank", "per_sec", "_wait")):
            axis.set_ylim(bottom=0)
        axis.set_xlabel("step")
    return figure


def evaluation_sets(events: list[dict]) -> dict[str, list[str]]:
    """`{set: tags}` of the retrieval metrics, the most telling first.

    Parts of a set, `eval/<set>/<part>/<metric>`, come as a set of their own.
    """
    found: dict[str, list[str]] = {}
    for tag in history.measure(events):
        _, name, *rest = [*tag.split("/"), ""]
        evaluated = tag.startswith("eval/")
        told = tag.endswith(SHOWN) or "/ssim@" in tag
        if history.is_score(tag) or evaluated and told:
            found.setdefault(f"{name}, parts" if len(rest) > 2 else name, []).append(
                tag
            )

    def rank(tag: str) -> int:
        last = tag.rpartition("/")[2]
        telling = (i for i, start in enumerate(TELLING) if last.startswith(start))
        return next(telling, len(TELLING))

    return {name: sorted(tags, key=rank)[:PANELS] for name, tags in found.items()}


def _curve(axis: Axes, x: pd.Series, y: pd.Series) -> None:
    if len(y) <= MANY_POINTS:
        axis.plot(x, y, color=BLUE, linewidth=1.6, marker="o" if len(y) < 3 else None)
        return
    axis.plot(x, y, color=BLUE, linewidth=0.7, alpha=0.35)
    smooth = y.rolling(len(y) // 50, center=True, min_periods=1).mean()
    axis.plot(x, smooth, color=BLUE, linewidth=1.8)


def _level(axis: Axes, y: float | None, label: str, color: str, dash: str) -> None:
    if history.is_finite(y):
        axis.axhline(
            y, color=color, linestyle=dash, lw=1.3, label=f"{label} {number(y)}"
        )


def _floors(axis: Axes, floors: dict[str, dict]) -> None:
    for floor, metric in floors.items():
        color, dash = FLOOR_STYLES.get(floor, (GREY, "--"))
        _level(axis, metric["value"], FLOOR_NAMES.get(floor, floor), color, dash)
        if metric["low"] is not None and metric["high"] is not None:
            axis.axhspan(metric["low"], metric["high"], color=color, alpha=0.12, lw=0)


def _mark_failures(axis: Axes, frame: pd.DataFrame) -> None:
    bad = frame.loc[~np.isfinite(frame["value"]), "step"]
    if len(bad):
        label = f"not finite from step {int(bad.iloc[0])}"
        axis.axvline(bad.iloc[0], color="#b91c1c", lw=1.5, label=label)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(loc="best")


def _resumes(axis: Axes, events: list[dict], starts: dict[int, str]) -> None:
    """Dotted lines, with a word each where there is room for words."""
    steps = sorted({e["step"] for e in events if e["kind"] == "resume"})
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
                color=GREY,
            )


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

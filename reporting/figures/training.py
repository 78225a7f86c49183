"""Curves of training: the loss over its learning rate, and what batches showed."""

from matplotlib.figure import Figure

from reporting.figures.style import (
    BLUE,
    COLUMNS,
    GRAY,
    GREEN,
    NARROW,
    ORANGE,
    PANELS,
    WIDE,
    curve,
    grid,
    mark_failures,
    mark_level,
    mark_resumes,
    panels,
)
from reporting.history import (
    LOSS,
    LOSS_HELD_OUT,
    LOSS_LOWER_BOUND,
    LOSS_TRAINED,
    History,
)

# The same loss of records trained on, and of as many held out.
SIDES = {
    LOSS_TRAINED: ("trained on", BLUE, "-"),
    LOSS_HELD_OUT: ("held out", ORANGE, "--"),
}


def loss(
    history: History, starts: dict[int, str] | None = None, columns: int = COLUMNS
) -> Figure | None:
    """Loss with its chance level and baseline, over the learning rate.

    Args:
      history: a run's events.
      starts: step to what the resume there was, as `plan.starts` says it.
      columns: 1 for a narrow screen.
    """
    frame = history.series(LOSS, "train")
    if frame.empty:
        return None
    rate = history.series("train/lr", "train")
    rows = 2 if len(rate) else 1
    width = NARROW if columns == 1 else WIDE
    figure = Figure(figsize=(width, 2.6 + 1.3 * rows), layout="constrained")
    axes = figure.subplots(
        rows, sharex=True, squeeze=False, height_ratios=[3, 1.2][:rows]
    )[:, 0]
    curve(axes[0], frame["step"], frame["value"])
    axes[0].set_title("Loss")
    lowest = history.series(LOSS_LOWER_BOUND, "train")["value"].dropna()
    if frame["chance"].notna().any():
        mark_level(axes[0], frame["chance"].dropna().iloc[-1], "chance", GRAY, ":")
    if len(lowest):
        mark_level(axes[0], lowest.iloc[-1], "lowest possible", GREEN, "-.")
    mark_failures(axes[0], frame)
    if len(rate):
        axes[1].plot(rate["step"], rate["value"], color=BLUE, linewidth=1.5)
        axes[1].set_title("Learning rate")
        axes[1].set_ylim(bottom=0)
        axes[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    for axis in axes:
        mark_resumes(axis, history, starts or {} if axis is axes[-1] else {})
    axes[-1].set_xlabel("step")
    return figure


def training(history: History, columns: int = COLUMNS) -> Figure | None:
    """Loss of records trained on and held out, then what batches showed beside it.

    Args:
      history: a run's events.
      columns: 1 for a narrow screen.
    """
    measured = history.metrics()
    sides = {tag: style for tag, style in SIDES.items() if tag in measured}
    tags = [
        tag
        for tag, metric in measured.items()
        if tag.startswith("train/") and tag != LOSS
        if metric["chance"] is not None
    ][: PANELS - bool(sides)]
    if not sides and not tags:
        return None
    figure, axes = grid(bool(sides) + len(tags), columns)
    if sides:
        axis = axes.pop(0)
        axis.set_title("loss, alike for both")
        for tag, (label, color, dash) in sides.items():
            frame = history.series(tag)
            x, y = frame["step"], frame["value"]
            axis.plot(x, y, "o", ls=dash, ms=3.5, color=color, lw=1.6, label=label)
            if frame["low"].notna().any():
                spread = {"color": color, "alpha": 0.15, "lw": 0}
                axis.fill_between(x, frame["low"], frame["high"], **spread)
        if frame["chance"].notna().any():
            mark_level(axis, frame["chance"].dropna().iloc[-1], "chance", GRAY, ":")
        axis.legend(loc="best", fontsize=7)
        axis.set_xlabel("step")
    panels(axes, history, tags)
    return figure

"""Curves of training: loss, learning rate, and what batches showed."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from reporting import loop_tags
from reporting.figures import style
from reporting.figures.style import BLUE, GREEN, ORANGE, PANELS, WIDE_PANEL
from reporting.history import History
from reporting.loop_tags import LOSS, LOSS_HELD_OUT, LOSS_LOWER_BOUND, LOSS_TRAINED

# The same loss of training records and of as many held-out ones.
SIDES = {
    LOSS_TRAINED: ("training records", BLUE, "-"),
    LOSS_HELD_OUT: ("held-out records", ORANGE, "--"),
}


def loss(history: History, starts: Mapping[int, str] | None = None) -> list[Figure]:
    """Return panels of the loss with its levels, and of the learning rate.

    Args:
        history: A run's events.
        starts: Step to what the resume there was, as `timeline.starts` says it.
    """
    frame = history.series(LOSS, "train")
    if frame.empty:
        return []
    figure, (axis,) = style.panel("Loss", WIDE_PANEL)
    style.curve(axis, frame["step"], frame["value"])
    style.mark_chance(axis, frame)
    lowest = history.latest(LOSS_LOWER_BOUND)
    if lowest:
        style.mark_level(axis, lowest["value"], "lower bound", GREEN, "-.")
    style.mark_failures(axis, frame)
    panels = [(figure, axis)]
    rate = history.series(loop_tags.RATE, "train")
    if len(rate):
        figure, (axis,) = style.panel("Learning rate", WIDE_PANEL)
        x, y = style.thinned(rate["step"], rate["value"])
        axis.plot(x, y, color=BLUE, linewidth=1.5)
        axis.set_ylim(bottom=0)
        panels.append((figure, axis))
    for figure, axis in panels:
        words = (starts or {}) if figure is panels[-1][0] else {}
        style.mark_resumes(axis, history, words)
        axis.set_xlabel("step")
        style.legend(axis)
    return [figure for figure, _ in panels]


def training(history: History) -> list[Figure]:
    """Return panels of the loss of both sides, and of what batches showed beside it."""
    metrics = history.metrics()
    sides = [tag for tag in SIDES if tag in metrics]
    tags = [
        tag
        for tag in history.batch_tags
        if tag != LOSS and metrics[tag]["chance"] is not None
    ]
    # What has no direction describes batches, and comes last.
    tags.sort(key=lambda tag: not metrics[tag]["better"])
    panels = [_both_sides(history, sides)] if sides else []
    rest = tags[: PANELS - len(panels)]
    return panels + [style.metric_panel(history, tag) for tag in rest]


def _both_sides(history: History, tags: list[str]) -> Figure:
    """Return a panel of the loss of training and of held-out records."""
    figure, (axis,) = style.panel("loss, same batches")
    frame = history.series(tags[0])
    for tag in tags:
        label, color, dash = SIDES[tag]
        frame = history.series(tag)
        x, y = frame["step"], frame["value"]
        axis.plot(x, y, "o", ls=dash, ms=3.5, color=color, lw=1.6, label=label)
        if any(level is not None for level in frame["low"].dropna()):
            spread = {"color": color, "alpha": 0.15, "lw": 0}
            axis.fill_between(x, frame["low"], frame["high"], **spread)
    style.mark_chance(axis, frame)
    axis.set_xlabel("step")
    style.legend(axis)
    return figure

"""Alarms on the loss and the gradient."""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from reporting import history, loop_tags
from reporting.alarms.common.rule import POINTS, Finding, Findings, Run, alarm
from reporting.formatting import count, number
from reporting.history import Measurement

CHECKED = (loop_tags.LOSS, "train/grad_norm")  # values that have to be finite


class Loss(NamedTuple):
    """A loss with its chance level."""

    step: int
    value: float
    chance: float


@alarm(severity="stop", shows="the loss or the gradient norm is NaN or infinite")
def not_finite(run: Run) -> Findings:
    """Find a loss or a gradient norm that is NaN or infinite."""
    for tag in CHECKED:
        point = run.history.first_not_finite(tag)
        if point is not None:
            yield describe_not_finite(tag, point.value, point.step)


def describe_not_finite(
    tag: str, value: float | None, step: int, checkpoint: str = ""
) -> Finding:
    """Return the finding on a value that is not finite.

    Args:
        tag: What was measured.
        value: NaN or infinity.
        step: The step of it.
        checkpoint: A sentence on the last checkpoint, where known.
    """
    return Finding(
        tag,
        step,
        f"{tag} is {number(value)} at step {count(step)}.{checkpoint and ' '}"
        f"{checkpoint}",
        "Lower the learning rate (optimizer.learning_rate), lengthen the warm-up, or "
        "clip the gradient (optimizer.clip_norm).",
    )


@alarm(shows="the loss has not left its chance level")
def near_chance(run: Run, *, share: float = 0.05, points: int = POINTS) -> Findings:
    """Find a loss that stays at the level of random embeddings.

    Args:
        run: The run.
        share: Distance from chance, as a share of the loss's reach.
        points: Logged points for which it has to last.
    """
    losses = _losses(run, points)
    if len(losses) < points:
        return
    bounds = run.history.points(loop_tags.LOSS_LOWER_BOUND, "train", 1)
    bound = bounds[0].value if bounds else None
    for loss in losses:
        reach = abs(loss.chance) or 1.0
        if bound is not None:
            reach = loss.chance - bound
        if not loss.value >= loss.chance - share * reach:
            return
    first, last = losses[0], losses[-1]
    yield Finding(
        loop_tags.LOSS,
        last.step,
        f"The loss ({number(last.value)}) has not left its chance level "
        f"({number(last.chance)}) from step {count(first.step)} to "
        f"{count(last.step)}: nothing is being learned.",
        "See with `preview` whether positives look alike, then raise the learning "
        "rate or lower the temperature.",
    )


@dataclass
class LowestMean:
    """The lowest mean of consecutive losses, and the latest."""

    points: int
    means: int = field(default=0, repr=False)
    best: float = field(default=math.inf, repr=False)
    best_step: int = field(default=0, repr=False)
    now: float = field(default=math.nan, repr=False)
    _window: deque[float] = field(default_factory=deque, repr=False)

    def add(self, point: Measurement) -> None:
        """Take one loss."""
        if (loss := _as_loss(point)) is None:
            return
        self._window.append(loss.value)
        if len(self._window) > self.points:
            self._window.popleft()
        if len(self._window) == self.points:
            self.means += 1
            self.now = sum(self._window) / self.points
            if self.now < self.best:
                self.best, self.best_step = self.now, point.step


@alarm(shows="the loss rises again after its best")
def loss_rising(run: Run, *, share: float = 0.02, points: int = POINTS) -> Findings:
    """Find a loss that has turned around.

    Args:
        run: The run.
        share: Rise above its best, as a share of the chance level.
        points: Logged points of a mean.
    """
    lowest = run.history.fold(loop_tags.LOSS, "train", LowestMean(points))
    if lowest.means <= points:
        return
    last = _losses(run, 1)
    if not last or lowest.now - lowest.best <= share * abs(last[0].chance):
        return
    yield Finding(
        loop_tags.LOSS,
        last[0].step,
        f"The loss has risen from {number(lowest.best)} at step "
        f"{count(lowest.best_step)} to {number(lowest.now)} (means of {points} "
        "points).",
        "The learning rate is too high for this stage; let it fall over the run or "
        "lower its peak.",
    )


@dataclass
class LastSpike:
    """The latest loss that lay far above the median of those before it."""

    share: float
    points: int
    spike: Loss | None = field(default=None, repr=False)
    usual: float = field(default=math.nan, repr=False)
    _window: deque[float] = field(default_factory=deque, repr=False)

    def add(self, point: Measurement) -> None:
        """Take one loss."""
        if (loss := _as_loss(point)) is None:
            return
        if len(self._window) == self.points:
            usual = statistics.median(self._window)
            if loss.value - usual > self.share * (abs(loss.chance) or 1.0):
                self.spike, self.usual = loss, usual
            self._window.popleft()
        self._window.append(loss.value)


@alarm(shows="the loss jumped far above the losses before it")
def loss_spike(run: Run, *, share: float = 0.25, points: int = POINTS) -> Findings:
    """Find a loss far above those before it.

    Args:
        run: The run.
        share: Height above their median, as a share of the chance level.
        points: Logged points of the median.
    """
    last = run.history.fold(loop_tags.LOSS, "train", LastSpike(share, points))
    if last.spike is not None:
        yield Finding(
            loop_tags.LOSS,
            last.spike.step,
            f"The loss jumped to {number(last.spike.value)} at step "
            f"{count(last.spike.step)}; the median of {points} points before was "
            f"{number(last.usual)}.",
            "Clip the gradient with optimizer.clip_norm, lower the peak of the "
            "learning rate, or look for odd records.",
        )


def _as_loss(point: Measurement) -> Loss | None:
    """Return a loss that has a value and a chance level, else None."""
    if history.is_number(point.value) and history.is_number(point.chance):
        return Loss(point.step, float(point.value), float(point.chance))
    return None


def _losses(run: Run, last: int) -> list[Loss]:
    """Return the latest losses that have a chance level."""
    points = run.history.points(loop_tags.LOSS, "train", last)
    return [loss for loss in map(_as_loss, points) if loss is not None]

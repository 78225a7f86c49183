"""Alarms on loss, gradient, embeddings, schedule and input of a run."""

import math
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reporting import history, timeline
from reporting.alarms.common.rule import (
    POINTS,
    SETTLING,
    Finding,
    Findings,
    Run,
    alarm,
)
from reporting.formatting import count, number, percent
from reporting.history import Measurement

COLLAPSED, COLLAPSED_POINTS = 0.05, 3  # of 1/√d, and for how many logged points
RATE = "train/lr"
CHECKED = (history.LOSS, "train/grad_norm")  # values that have to be finite


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


@alarm(severity="stop", shows="all embeddings are nearly the same")
def collapse(
    run: Run,
    *,
    spread: float = COLLAPSED,
    points: int = COLLAPSED_POINTS,
    settling: float = SETTLING,
) -> Findings:
    """Find embeddings that are all nearly the same.

    Args:
        run: The run.
        spread: Standard deviation of an embedding's entries, of 1/√d.
        points: Logged points for which it has to last.
        settling: Share of the run in which embeddings are not judged.
    """
    for tag, step, ratios in _spreads(run, points, settling):
        if len(ratios) == points and max(ratios) < spread:
            yield Finding(
                tag,
                step,
                "Embeddings have collapsed: their standard deviation is "
                f"{percent(ratios[-1])} of 1/√d, and all records look the same to the "
                "network.",
                "Lower the learning rate, and check the predictor, the stopped "
                "gradient and BatchNorm.",
            )


@alarm(shows="embeddings use little of the sphere")
def partial_collapse(
    run: Run,
    *,
    spread: float = 0.5,
    collapsed: float = COLLAPSED,
    points: int = COLLAPSED_POINTS,
    settling: float = SETTLING,
) -> Findings:
    """Find embeddings that spread over less of the sphere than they should.

    Args:
        run: The run.
        spread: Standard deviation of an embedding's entries, of 1/√d.
        collapsed: Standard deviation below which they have collapsed.
        points: Logged points after which they have.
        settling: Share of the run in which embeddings are not judged.
    """
    for tag, step, ratios in _spreads(run, points, settling):
        if ratios[-1] >= spread:
            continue
        if len(ratios) == points and max(ratios) < collapsed:
            continue
        yield Finding(
            tag,
            step,
            "Embeddings use little of the sphere: their standard deviation is "
            f"{percent(ratios[-1])} of 1/√d; below {percent(collapsed)} they have "
            "collapsed.",
            "Take more negatives or a lower temperature, and look at how positives are "
            "made: views that hardly differ teach nothing.",
        )


def _spreads(
    run: Run, points: int, settling: float
) -> Iterator[tuple[str, int, list[float]]]:
    """Yield tag, step and latest standard deviations of embeddings, of 1/√d."""
    if run.progress < settling:
        return
    tags = run.history.named("embedding_std", "embedding_std_ratio")
    for tag in tags:
        if f"{tag}_ratio" in tags:  # the same, already divided
            continue
        rows = run.history.points(tag, last=points)
        # 1/√d, the spread of random directions, is the metric's chance level.
        units = [1.0 if tag.endswith("_ratio") else row.chance for row in rows]
        ratios = [
            row.value / unit
            for row, unit in zip(rows, units, strict=True)
            if unit and history.is_number(row.value)
        ]
        if ratios:
            yield tag, rows[-1].step, ratios


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
    bounds = run.history.points(history.LOSS_LOWER_BOUND, "train", 1)
    for value, chance in ((point.value, point.chance) for point in losses):
        reach = chance - bounds[0].value if bounds else abs(chance) or 1
        if not value >= chance - share * reach:
            return
    first, last = losses[0], losses[-1]
    yield Finding(
        history.LOSS,
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
        if not _is_loss(point):
            return
        self._window.append(float(point.value or 0.0))
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
    lowest = run.history.fold(history.LOSS, "train", LowestMean(points))
    if lowest.means <= points:
        return
    last = _losses(run, 1)
    if not last or lowest.now - lowest.best <= share * abs(last[0].chance):
        return
    yield Finding(
        history.LOSS,
        last[0].step,
        f"The loss has risen from {number(lowest.best)} at step "
        f"{count(lowest.best_step)} to {number(lowest.now)} (means of {points} "
        "points).",
        "The learning rate is too high for this stage; let it fall over the run or "
        "lower its peak.",
    )


@alarm(shows="embeddings lie in very few dimensions")
def low_rank(run: Run, *, rank: float = 4.0, settling: float = SETTLING) -> Findings:
    """Find embeddings that lie in very few dimensions.

    Args:
        run: The run.
        rank: Effective rank below which they do.
        settling: Share of the run in which embeddings are not judged.
    """
    if run.progress < settling:
        return
    for tag in run.history.named("effective_rank"):
        (last,) = run.history.points(tag, last=1)
        if history.is_number(last.value) and last.value < rank:
            yield Finding(
                tag,
                last.step,
                f"The embeddings' effective rank is {number(last.value)}: all that "
                "tells records apart lies in that many directions.",
                "More negatives, a lower temperature or stronger augmentation spread "
                "it.",
            )


@alarm(shows="the learning-rate schedule does not end when the run does")
def schedule_horizon(run: Run, *, share: float = 0.02) -> Findings:
    """Find a learning-rate schedule that does not end when the run does.

    Args:
        run: The run.
        share: Difference of the lengths, of the schedule's.
    """
    total, horizon = run.total_steps, run.horizon
    if not total or not horizon or abs(total / horizon - 1) <= share:
        return
    lead = f"The run ends at step {count(total)}, its schedule at {count(horizon)}: "
    if total < horizon:
        fallen = 0.5 * (1 - math.cos(math.pi * total / horizon))
        what = f"a cosine will have fallen by {percent(fallen)} only."
    else:
        what = f"the last {percent(1 - horizon / total)} run at its end value."
    advice = "Let the schedule's horizon be the run's length."
    yield Finding(RATE, run.history.step, lead + what, advice)


@alarm(shows="the loss sees fewer candidates than the batch has records")
def few_candidates(run: Run) -> Findings:
    """Find a loss that sees fewer candidates than the batch has records."""
    tag = "diag/candidates"
    rows = run.history.points(tag, last=1)
    # One less is no fault: losses that leave the record itself out have it so.
    if not rows or not run.batch_size or not history.is_number(rows[0].value):
        return
    last = rows[0]
    if last.value < run.batch_size - 1:
        yield Finding(
            tag,
            last.step,
            f"Each anchor is compared with {count(last.value)} candidates, though a "
            f"step holds {count(run.batch_size)} records: the loss and its chance "
            "level are those of the smaller batch.",
            "Gather keys over devices, and accumulate with train.grad_cache_chunks "
            "and train.negatives=global, which keeps all candidates.",
        )


@alarm(severity="stop", shows="no query of a batch has a positive")
def no_positives(run: Run, *, points: int = COLLAPSED_POINTS) -> Findings:
    """Find batches in which no query has a positive.

    Args:
        run: The run.
        points: Logged points for which it has to last.
    """
    for tag, step, shares in _with_positive(run, points):
        if len(shares) == points and not any(shares):
            seen = "No query of a batch has a positive: nothing can be learned."
            yield Finding(tag, step, seen, _POSITIVES_ADVICE)


@alarm(shows="few queries of a batch have a positive")
def few_positives(
    run: Run, *, share: float = 0.5, points: int = COLLAPSED_POINTS
) -> Findings:
    """Find batches in which few queries have a positive.

    Args:
        run: The run.
        share: Share of queries that should have one.
        points: Logged points after which none having one is `no_positives`.
    """
    for tag, step, shares in _with_positive(run, points):
        if shares[-1] < share and (len(shares) < points or any(shares)):
            seen = f"{percent(shares[-1])} of the queries of a batch have a positive."
            yield Finding(tag, step, seen, _POSITIVES_ADVICE)


_POSITIVES_ADVICE = (
    "Set data.label, or draw several records of a label: train.samples_per_class."
)


def _with_positive(run: Run, points: int) -> Iterator[tuple[str, int, list[float]]]:
    """Yield tag, step and latest shares of queries with a positive."""
    for tag in run.history.named("queries_with_positive"):
        rows = run.history.points(tag, last=points)
        shares = [float(r.value) for r in rows if history.is_number(r.value)]
        if shares:
            yield tag, rows[-1].step, shares


@dataclass
class LastSpike:
    """The latest loss that lay far above the median of those before it."""

    share: float
    points: int
    spike: Measurement | None = field(default=None, repr=False)
    usual: float = field(default=math.nan, repr=False)
    _window: deque[float] = field(default_factory=deque, repr=False)

    def add(self, point: Measurement) -> None:
        """Take one loss."""
        if not _is_loss(point):
            return
        value = float(point.value or 0.0)
        if len(self._window) == self.points:
            usual = statistics.median(self._window)
            if value - usual > self.share * (abs(point.chance or 0.0) or 1):
                self.spike, self.usual = point, usual
            self._window.popleft()
        self._window.append(value)


@alarm(shows="the loss jumped far above the losses before it")
def loss_spike(run: Run, *, share: float = 0.25, points: int = POINTS) -> Findings:
    """Find a loss far above those before it.

    Args:
        run: The run.
        share: Height above their median, as a share of the chance level.
        points: Logged points of the median.
    """
    last = run.history.fold(history.LOSS, "train", LastSpike(share, points))
    if last.spike is not None:
        yield Finding(
            history.LOSS,
            last.spike.step,
            f"The loss jumped to {number(last.spike.value)} at step "
            f"{count(last.spike.step)}; the median of {points} points before was "
            f"{number(last.usual)}.",
            "Clip the gradient with optimizer.clip_norm, lower the peak of the "
            "learning rate, or look for odd records.",
        )


@alarm(shows="the learning rate after a resume is not the one before it")
def lr_jump(run: Run, *, times: float = 2.0) -> Findings:
    """Find a learning rate that is another after a resume than before.

    Args:
        run: The run.
        times: Ratio of the rates.
    """
    for resume in run.history.of_kind("resume"):
        before, after = run.history.around(RATE, resume["step"])
        if before is None or after is None:
            continue
        old, new = float(before.value or 0.0), float(after.value or 0.0)
        if max(old, new) <= times * max(min(old, new), 0.0):
            continue
        yield Finding(
            RATE,
            after.step,
            f"The run went on at step {count(resume['step'])} with a learning rate of "
            f"{number(new)}, {number(old)} before.",
            "A rate that jumps up undoes part of what was learned; --extend=continue "
            "keeps the old curve.",
        )


@alarm(shows="positives are farther apart than negatives")
def reversed_pairs(
    run: Run, *, points: int = POINTS, settling: float = SETTLING
) -> Findings:
    """Find positives that lie farther apart than negatives.

    Args:
        run: The run.
        points: Logged points for which it has to last.
        settling: Share of the run in which embeddings are not judged.
    """
    tags = "train/positive_similarity", "train/negative_similarity"
    near, far = (run.history.points(tag, "train", points) for tag in tags)
    if run.progress < settling or len(near) < points or len(near) != len(far):
        return
    pairs = [(a.value, b.value) for a, b in zip(near, far, strict=True)]
    if not all(history.is_number(a) and a < b for a, b in pairs):
        return
    yield Finding(
        tags[0],
        near[-1].step,
        f"Positives have a mean cosine of {number(near[-1].value)}, negatives one of "
        f"{number(far[-1].value)}: training drives apart what belongs together.",
        "A loss over ranks has to start at the nearest key.",
    )


@alarm(shows="a gate asks for something else than when the run began")
def gate_changed(run: Run) -> Findings:
    """Find a gate that asks for something else than it did when the run began."""
    for segment in run.segments:
        for name, (before, now) in (segment.get("changed") or {}).items():
            if not name.startswith("gates."):
                continue
            yield Finding(
                name,
                segment.get("from_step") or 0,
                f"{name} was {_as_text(before)} when the run began and is "
                f"{_as_text(now)} since step {count(segment.get('from_step'))}: one "
                "criterion with two thresholds.",
                "Set bounds before a run; a new bound is for the next one.",
            )


@alarm(shows="steps wait for their data")
def input_bound(
    run: Run, *, share: float = timeline.INPUT_BOUND, points: int = POINTS
) -> Findings:
    """Find steps that wait for their data.

    Args:
        run: The run.
        share: Share of the time spent waiting.
        points: Logged points of the median.
    """
    tag = "perf/input_wait"
    # The first point holds compilation and the filling of buffers.
    rows = run.history.points(tag, "train", points + 1)[1:]
    waits = [float(row.value) for row in rows if history.is_number(row.value)]
    if not waits or not (wait := statistics.median(waits)) > share:
        return
    speeds = [
        float(row.value)
        for row in run.history.points("perf/examples_per_sec", "train", points)
        if history.is_number(row.value)
    ]
    seen = f"{percent(wait)} of the time goes by waiting for data"
    seen += f" ({number(statistics.median(speeds))} records a second)" if speeds else ""
    yield Finding(
        tag,
        rows[-1].step,
        f"{seen}.",
        "Prepare the data once at the size that is trained on, and raise "
        "train.threads or train.prefetch.",
    )


def _as_text(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return "absent" if value is None else str(value)


def _is_loss(point: Measurement) -> bool:
    return history.is_number(point.value) and history.is_number(point.chance)


def _losses(run: Run, last: int) -> list[Measurement]:
    """Return the latest losses that have a chance level."""
    rows = run.history.points(history.LOSS, "train", last)
    return [row for row in rows if _is_loss(row)]

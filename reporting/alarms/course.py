"""Alarms on the course of a run: schedule, resumes, gates, input."""

import math
import statistics
from typing import Any

from reporting import history, loop_tags, timeline
from reporting.alarms.common.rule import POINTS, Finding, Findings, Run, alarm
from reporting.formatting import count, number, percent


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
    yield Finding(loop_tags.RATE, run.history.step, lead + what, advice)


@alarm(shows="the learning rate after a resume is not the one before it")
def lr_jump(run: Run, *, times: float = 2.0) -> Findings:
    """Find a learning rate that is another after a resume than before.

    Args:
        run: The run.
        times: Ratio of the rates.
    """
    for resume in run.history.of_kind("resume"):
        before, after = run.history.around(loop_tags.RATE, resume["step"])
        if before is None or after is None:
            continue
        old, new = float(before.value or 0.0), float(after.value or 0.0)
        if max(old, new) <= times * max(min(old, new), 0.0):
            continue
        yield Finding(
            loop_tags.RATE,
            after.step,
            f"The run went on at step {count(resume['step'])} with a learning rate of "
            f"{number(new)}, {number(old)} before.",
            "A rate that jumps up undoes part of what was learned; --extend=continue "
            "keeps the old curve.",
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
    tag = loop_tags.INPUT_WAIT
    # The first point holds compilation and the filling of buffers.
    rows = run.history.points(tag, "train", points + 1)[1:]
    waits = [float(row.value) for row in rows if history.is_number(row.value)]
    if not waits or not (wait := statistics.median(waits)) > share:
        return
    speeds = [
        float(row.value)
        for row in run.history.points(loop_tags.SPEED, "train", points)
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

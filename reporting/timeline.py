"""When things happen in a run: a clock of its work, and what is still to come."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from reporting.history import LIVE, Event, History, is_finite

INPUT_BOUND = 0.2  # share of the time spent waiting for data
UNTRAINED = "untrained"
TREND, LEAST_TREND = 5, 3  # measurements that a line is fitted to


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to come: steps and evaluations, and the seconds that they take."""

    step: int  # reached
    total: int | None
    epoch_steps: int | None
    every: int  # steps from one evaluation to the next; 0 for the end alone
    warmup: float  # epochs
    pace: float | None  # seconds a step
    evaluation: float | None  # seconds of one
    spent: float  # seconds
    over: bool

    def evaluations_to(self, step: int | None) -> int | None:
        """Evaluations after the present step, up to and with one at `step`."""
        if step is None:
            return None
        if self.over:
            return 0
        made = self.step // self.every if self.every else 0
        due = step // self.every if self.every else 0
        # The last step's comes in any case.
        odd = step == self.total and (not self.every or step % self.every != 0)
        last = step == self.total == self.step
        return max(due - made, 0) + (1 if odd or last else 0)

    def seconds_to(self, step: int | None) -> float | None:
        """Return seconds from now until a step is done and evaluated."""
        if step is None or (self.pace is None and not self.over):
            return None
        training = max(step - self.step, 0) * (self.pace or 0.0)
        evaluations = self.evaluations_to(step) or 0
        return training + evaluations * (self.evaluation or 0.0)

    def due(self, gate: Mapping) -> int | None:
        """Return the step after which a gate is judged."""
        at = gate.get("at", "end")
        epoch = self.warmup if at == "warmup" else at
        for judgment in gate.get("history") or []:  # which may have put it off
            epoch = judgment.get("until") or epoch
        if not is_finite(epoch) or not self.epoch_steps:
            return self.total
        step = math.ceil(epoch * self.epoch_steps - 1e-6)
        if str(gate.get("metric", "")).startswith("eval/"):
            every = self.every or self.total
            step = math.ceil(step / every) * every if every else step
        step += (max(gate.get("stable") or 1, 1) - 1) * self.every
        return step if self.total is None else min(step, self.total)


def starts(segments: Sequence[Mapping]) -> list[str]:
    """Return the kind of each start: "start", "resumed", "extended, rescale", ...

    Args:
        segments: The ledger, as `workdir.read_resumes` gives it. What an extension did
            to the learning rate shows in the horizons before and after.
    """
    kinds: list[str] = []
    for before, segment in zip([{}, *segments], segments, strict=False):
        why = str(segment.get("why", ""))
        old, new = before.get("horizon"), segment.get("horizon")
        if why == "extended" and old and new:
            if new == old:
                why += ", continue"
            else:
                why += ", rescale" if new[0] == old[0] else ", restart"
        kinds.append(why)
    return kinds


def clock(events: Sequence[Event], began: float | None = None) -> list[float]:
    """Return seconds of work done at each event; a stop before a resume is no work.

    Args:
        events: A run's history.
        began: Seconds since 1970 at the first start, where known.
    """
    now, at = 0.0, []
    before = events[0]["time"] if events else 0.0
    if began is not None:
        before = min(began, before)
    for event in events:
        if event["kind"] != "resume":
            now += max(event["time"] - before, 0.0)
        before = event["time"]
        at.append(now)
    return at


def throughput(history: History, batch_size: int | None = None) -> dict:
    """Return how fast the run was: medians over logged points, and time spent.

    The first logged point is left out of medians where there are others, since it
    holds compilation; `seconds` leaves out the time between a stop and its resume.
    """
    speed, waited = (
        median(points(history, tag))
        for tag in ("perf/examples_per_sec", "perf/input_wait")
    )
    step, events = history.step, history.events
    return {
        "examples_per_sec": speed,
        "input_wait": waited,
        "seconds": clock(events)[-1] if events else 0.0,
        "steps": step,
        "examples": step * batch_size if batch_size else None,
    }


def judged_at(gate: Mapping, events: Sequence[Event], plan: Plan) -> int | None:
    """Index of the event at which a gate was judged, or None where it waits."""
    if gate.get("passed") is None and "passed" in gate:
        return None
    if gate.get("at", "end") == "end":
        return len(events) - 1 if plan.over else None
    step = gate.get("step")
    step = plan.due(gate) if step is None else step
    if step is None:
        return None
    indices = (
        i
        for i, event in enumerate(events)
        if event["kind"] in LIVE
        and event["step"] >= step
        and gate.get("metric") in event["metrics"]
    )
    return next(indices, len(events) - 1 if plan.over else None)


def evaluation_seconds(events: Sequence[Event], began: float | None) -> float | None:
    """Return the seconds of an evaluation, else those of the untrained network's."""
    made: dict[str, list[float]] = {"eval": [], "baseline": []}
    before = began
    for event in events:
        if before is not None and event["kind"] in made:
            if event["kind"] == "eval" or event.get("baseline") == UNTRAINED:
                made[event["kind"]].append(max(event["time"] - before, 0.0))
        before = event["time"]
    seconds = made["eval"] or made["baseline"]
    return float(np.median(seconds)) if seconds else None


def since_start(history: History) -> History:
    """Return events since the last start, or all where it has measured no speed yet."""
    events = history.events
    starts = [i for i, event in enumerate(events) if event["kind"] == "resume"]
    if not starts:
        return history
    recent = History(events[starts[-1] :])
    return recent if recent.points("perf/examples_per_sec", last=1) else history


def points(history: History, tag: str) -> list[float]:
    """Return the finite values of a tag, less the first of several."""
    values = [point.value for point in history.points(tag, "train")]
    values = values[1:] if len(values) > 1 else values
    return [float(value) for value in values if value is not None and is_finite(value)]


def median(values: list[float]) -> float | None:
    """Return the median, or None without values."""
    return float(np.median(values)) if values else None


def trend(history: History, tag: str, epoch: float) -> dict | None:
    """Return where a line through the last measurements of a tag is at an epoch.

    Args:
        history: The run's events.
        tag: What was measured.
        epoch: When to look; scores stay in [0, 1].

    Returns:
        `{value, points, last}`, or None for fewer than three measurements.
    """
    rows = [row for row in history.points(tag, last=TREND) if is_finite(row.value)]
    x = np.array([row.epoch for row in rows], float)
    y = np.array([row.value for row in rows], float)
    if len(x) < LEAST_TREND or np.ptp(x) <= 0:
        return None
    slope, offset = np.polyfit(x - x[-1], y, 1)
    value = float(offset + slope * (epoch - x[-1]))
    if history.facts(tag).kind == "score":
        value = min(max(value, 0.0), 1.0)
    return {"value": value, "points": len(x), "last": float(y[-1])}

"""Alarms on loss, gradient, embeddings, schedule and input of a run."""

import math

import pandas as pd

from reporting import history
from reporting.alarms.common.rule import Limits, Run, alarm
from reporting.formatting import count, number, percent


def not_finite(run: Run) -> list[dict]:
    """Loss or gradient norm that is NaN or infinite."""
    found = []
    for tag in (history.LOSS, "train/grad_norm"):
        train = (e for e in run.events if e["kind"] == "train" and tag in e["metrics"])
        bad = (e for e in train if not history.is_finite(e["metrics"][tag]))
        if (event := next(bad, None)) is None:
            continue
        step, value = event["step"], event["metrics"][tag]
        seen = f"{tag} is {number(value)} at step {count(step)}."
        advice = "Lower the learning rate, lengthen the warm-up, or clip the gradient."
        found.append(alarm("not_finite", tag, step, seen, advice))
    return found


def near_chance(run: Run) -> list[dict]:
    """A loss that stays where a network that knows nothing would be."""
    frame = _losses(run, run.limits.points)
    if len(frame) < run.limits.points:
        return []
    baseline = history.series(run.events, "train/loss_lower_bound", "train", 1)["value"]
    chance = frame["chance"]
    reach = chance - baseline.iloc[-1] if len(baseline) else chance.abs().replace(0, 1)
    if not (frame["value"] >= chance - run.limits.near_chance * reach).all():
        return []
    first, last = frame.iloc[0], frame.iloc[-1]
    return [
        alarm(
            "near_chance",
            history.LOSS,
            last["step"],
            f"The loss ({number(last['value'])}) has not left its chance level "
            f"({number(last['chance'])}) from step {count(first['step'])} to "
            f"{count(last['step'])}: nothing is being learned.",
            "See with `preview` whether positives look alike, then raise the learning "
            "rate or lower the temperature.",
        )
    ]


def rising(run: Run) -> list[dict]:
    """A loss that has turned around."""
    frame = _losses(run)
    smooth = frame["value"].rolling(run.limits.points).mean().dropna()
    if len(smooth) <= run.limits.points:
        return []
    best, now = smooth.min(), smooth.iloc[-1]
    if now - best <= run.limits.rising * abs(frame["chance"].iloc[-1]):
        return []
    turned = frame["step"][smooth.idxmin()]
    return [
        alarm(
            "loss_rising",
            history.LOSS,
            frame["step"].iloc[-1],
            f"The loss has risen from {number(best)} at step {count(turned)} to "
            f"{number(now)} (means of {run.limits.points} points).",
            "The learning rate is too high for this stage; let it fall over the run or "
            "lower its peak.",
        )
    ]


def collapse(run: Run) -> list[dict]:
    """Embeddings that spread over less of the sphere than they should."""
    if run.progress < run.limits.settling:
        return []
    found = []
    tags = history.tags(run.events, "embedding_std", "embedding_std_ratio")
    for tag in tags:
        if f"{tag}_ratio" in tags:  # the same, already divided
            continue
        frame = history.series(run.events, tag, last=run.limits.collapsed_points)
        # 1/√d, the spread of random directions, comes as the metric's chance level.
        unit = 1.0 if tag.endswith("_ratio") else frame["chance"]
        ratio = (frame["value"] / unit).dropna()
        if len(ratio) and ratio.iloc[-1] < run.limits.partial_collapse:
            found.append(_spread(run.limits, tag, frame["step"].iloc[-1], ratio))
    return found


def _spread(limits: Limits, tag: str, step: float, ratio: pd.Series) -> dict:
    share = percent(ratio.iloc[-1])
    long_enough = len(ratio) == limits.collapsed_points
    if long_enough and (ratio < limits.collapsed_spread).all():
        return alarm(
            "collapse",
            tag,
            step,
            f"Embeddings have collapsed: their standard deviation is {share} of 1/√d, "
            "and all records look the same to the network.",
            "Lower the learning rate, and check the predictor, the stopped gradient "
            "and BatchNorm.",
        )
    return alarm(
        "partial_collapse",
        tag,
        step,
        f"Embeddings use little of the sphere: their standard deviation is {share} of "
        f"1/√d; below {percent(limits.collapsed_spread)} they have collapsed.",
        "Take more negatives or a lower temperature, and look at how positives are "
        "made: views that differ in too little leave nothing to tell apart.",
    )


def low_rank(run: Run) -> list[dict]:
    """Embeddings that lie in very few dimensions."""
    found = []
    if run.progress < run.limits.settling:
        return found
    for tag in history.tags(run.events, "effective_rank"):
        last = history.series(run.events, tag, last=1).iloc[-1]
        if last["value"] < run.limits.effective_rank:
            seen = (
                f"The embeddings' effective rank is {number(last['value'])}: all that "
                "tells records apart lies in that many directions."
            )
            advice = (
                "More negatives, a lower temperature or stronger augmentation spread "
                "it."
            )
            found.append(alarm("low_rank", tag, last["step"], seen, advice))
    return found


def schedule_horizon(run: Run) -> list[dict]:
    """A learning-rate schedule that does not end when the run does."""
    total, horizon = run.total_steps, run.horizon
    if not total or not horizon or abs(total / horizon - 1) <= run.limits.horizon:
        return []
    lead = f"The run ends at step {count(total)}, its schedule at {count(horizon)}: "
    if total < horizon:
        fallen = 0.5 * (1 - math.cos(math.pi * total / horizon))
        what = f"a cosine will have fallen by {percent(fallen)} only."
    else:
        what = f"the last {percent(1 - horizon / total)} run at its end value."
    advice = "Let the schedule's horizon be the run's length."
    step = history.reached(run.events)[0]
    return [alarm("schedule_horizon", "train/lr", step, lead + what, advice)]


def input_bound(run: Run) -> list[dict]:
    """A step that waits for its data."""
    tag = "perf/input_wait"
    # The first point holds compilation and the filling of buffers.
    frame = history.series(run.events, tag, "train", run.limits.points + 1).iloc[1:]
    if frame.empty or not (share := frame["value"].median()) > run.limits.input_wait:
        return []
    speed = history.series(run.events, "perf/examples_per_sec", "train")["value"]
    seen = f"{percent(share)} of the time goes by waiting for data"
    seen += f" ({number(speed.median())} records a second)." if len(speed) else "."
    advice = (
        "Prepare the data once at the size that is trained on, and raise "
        "train.threads or train.prefetch."
    )
    return [alarm("input_bound", tag, frame["step"].iloc[-1], seen, advice)]


def few_candidates(run: Run) -> list[dict]:
    """A loss that sees fewer candidates than the batch has records."""
    tag = "diag/candidates"
    frame = history.series(run.events, tag, last=1).dropna(subset="value")
    # One less is no fault: losses that leave the record itself out have it so.
    if frame.empty or not run.batch_size:
        return []
    last = frame.iloc[-1]
    if last["value"] >= run.batch_size - 1:
        return []
    seen = (
        f"Each anchor is compared with {count(last['value'])} candidates, though a "
        f"step holds {count(run.batch_size)} records: the loss and its chance level "
        "are those of the smaller batch."
    )
    advice = (
        "Gather keys over devices, and accumulate with train.grad_cache_chunks and "
        "train.negatives=exact, which keeps all candidates."
    )
    return [alarm("few_candidates", tag, last["step"], seen, advice)]


def no_positives(run: Run) -> list[dict]:
    """Batches whose queries have nothing to find."""
    found, limits = [], run.limits
    for tag in history.tags(run.events, "queries_with_positive"):
        frame = history.series(run.events, tag, last=limits.collapsed_points)
        values, step = frame["value"].dropna(), frame["step"].iloc[-1]
        if not len(values) or values.iloc[-1] >= 0.5:
            continue
        advice = (
            "Set data.label, or draw several records of a label: "
            "train.samples_per_class."
        )
        if len(values) == limits.collapsed_points and not values.any():
            seen = "No query of a batch has a positive: nothing can be learned."
            found.append(alarm("no_positives", tag, step, seen, advice))
            continue
        share = percent(values.iloc[-1])
        seen = f"{share} of the queries of a batch have a positive."
        found.append(alarm("few_positives", tag, step, seen, advice))
    return found


def spike(run: Run) -> list[dict]:
    """A loss far above those before it."""
    frame = _losses(run)
    if len(frame) <= run.limits.points:
        return []
    usual = frame["value"].rolling(run.limits.points).median().shift()
    reach = frame["chance"].abs().replace(0, 1)
    high = frame[frame["value"] - usual > run.limits.spike * reach]
    if high.empty:
        return []
    last = high.iloc[-1]
    seen = (
        f"The loss jumped to {number(last['value'])} at step {count(last['step'])}; "
        f"the median of {run.limits.points} points before was "
        f"{number(usual[high.index[-1]])}."
    )
    advice = (
        "Clip the gradient with optimizer.clip_norm, lower the peak of the learning "
        "rate, or look for odd records."
    )
    return [alarm("loss_spike", history.LOSS, last["step"], seen, advice)]


def lr_jump(run: Run) -> list[dict]:
    """A learning rate that is another after a resume than before."""
    found, limit = [], run.limits.lr_jump
    rates = history.series(run.events, "train/lr", "train")
    for event in (e for e in run.events if e["kind"] == "resume"):
        before = rates[rates["step"] <= event["step"]]["value"]
        after = rates[rates["step"] > event["step"]]
        if before.empty or after.empty:
            continue
        old, new = before.iloc[-1], after["value"].iloc[0]
        if max(old, new) <= limit * max(min(old, new), 0.0):
            continue
        seen = (
            f"The run went on at step {count(event['step'])} with a learning rate of "
            f"{number(new)}, {number(old)} before."
        )
        advice = (
            "A rate that jumps up undoes part of what was learned; --extend=continue "
            "keeps the old curve."
        )
        found.append(alarm("lr_jump", "train/lr", after["step"].iloc[0], seen, advice))
    return found


def gate_changed(run: Run) -> list[dict]:
    """A gate that asks for something else than it did when the run began."""
    found = []
    for segment in run.segments:
        for name, (before, now) in (segment.get("changed") or {}).items():
            if not name.startswith("gates."):
                continue
            seen = (
                f"{name} was {_said(before)} when the run began and is {_said(now)} "
                f"since step {count(segment.get('from_step'))}: one criterion with two "
                "thresholds."
            )
            advice = "Set bounds before a run; a new bound is for the next one."
            step = segment.get("from_step") or 0
            found.append(alarm("gate_changed", name, step, seen, advice))
    return found


def reversed_pairs(run: Run) -> list[dict]:
    """Pairs that belong together and lie farther apart than those that do not."""
    tags = "train/positive_similarity", "train/negative_similarity"
    near, far = (
        history.series(run.events, tag, "train", run.limits.points) for tag in tags
    )
    if run.progress < run.limits.settling or len(near) < run.limits.points:
        return []
    if len(near) != len(far) or not (near["value"] < far["value"]).all():
        return []
    last = near.iloc[-1]
    seen = (
        f"Positives have a mean cosine of {number(last['value'])}, negatives one of "
        f"{number(far['value'].iloc[-1])}: training drives apart what belongs together."
    )
    advice = "A loss over ranks has to walk from the nearest to the farthest."
    return [alarm("reversed_pairs", tags[0], last["step"], seen, advice)]


def _said(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return "absent" if value is None else str(value)


def _losses(run: Run, last: int | None = None) -> pd.DataFrame:
    """The finite losses with their chance level: columns step, value, chance."""
    frame = history.series(run.events, history.LOSS, "train", last)
    return frame.dropna(subset=["value", "chance"]).reset_index(drop=True)

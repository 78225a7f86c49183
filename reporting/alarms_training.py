"""Alarms on loss, gradient, embeddings, schedule and input of a run."""

import math

import pandas as pd

from reporting import history
from reporting._alarm import Limits, Run, stop, warn
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
        message = (
            f"{tag} is {number(value)} at step {count(step)}. Lower the learning rate, "
            "lengthen the warm-up, or clip the gradient."
        )
        found.append(stop("not_finite", tag, step, message))
    return found


def near_chance(run: Run) -> list[dict]:
    """A loss that stays where a network that knows nothing would be."""
    frame = _losses(run, run.limits.points)
    if len(frame) < run.limits.points:
        return []
    floor = history.series(run.events, "train/loss_floor", "train", 1)["value"]
    chance = frame["chance"]
    reach = chance - floor.iloc[-1] if len(floor) else chance.abs().replace(0, 1)
    if not (frame["value"] >= chance - run.limits.near_chance * reach).all():
        return []
    first, last = frame.iloc[0], frame.iloc[-1]
    return [
        warn(
            "near_chance",
            history.LOSS,
            last["step"],
            f"The loss ({number(last['value'])}) has not left its chance level "
            f"({number(last['chance'])}) from step {count(first['step'])} to "
            f"{count(last['step'])}: nothing is being learned. See with `preview` "
            "whether positives look alike, then raise the learning rate or lower the "
            "temperature.",
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
        warn(
            "loss_rising",
            history.LOSS,
            frame["step"].iloc[-1],
            f"The loss has risen from {number(best)} at step {count(turned)} to "
            f"{number(now)} (means of {run.limits.points} points). The learning rate "
            "is too high for this stage; let it fall over the run or lower its peak.",
        )
    ]


def collapse(run: Run) -> list[dict]:
    """Embeddings that spread over less of the sphere than they should."""
    if run.progress < run.limits.settling:
        return []
    found = []
    for tag in history.tags(run.events, "embedding_std", "embedding_std_ratio"):
        frame = history.series(run.events, tag, last=run.limits.collapsed_points)
        # 1/√d, the spread of random directions, comes as the metric's chance level.
        unit = 1.0 if tag.endswith("_ratio") else frame["chance"]
        ratio = (frame["value"] / unit).dropna()
        if len(ratio) and ratio.iloc[-1] < run.limits.thin_spread:
            found.append(_spread(run.limits, tag, frame["step"].iloc[-1], ratio))
    return found


def _spread(limits: Limits, tag: str, step: float, ratio: pd.Series) -> dict:
    share = percent(ratio.iloc[-1])
    long_enough = len(ratio) == limits.collapsed_points
    if long_enough and (ratio < limits.collapsed_spread).all():
        return stop(
            "collapse",
            tag,
            step,
            f"Embeddings have collapsed: their standard deviation is {share} of 1/√d. "
            "All records look the same to the network; lower the learning rate, and "
            "check the predictor, the stopped gradient and BatchNorm.",
        )
    return warn(
        "thin_spread",
        tag,
        step,
        f"Embeddings use little of the sphere: their standard deviation is {share} of "
        f"1/√d. Below {percent(limits.collapsed_spread)} they have collapsed.",
    )


def low_rank(run: Run) -> list[dict]:
    """Embeddings that lie in very few dimensions."""
    found = []
    if run.progress < run.limits.settling:
        return found
    for tag in history.tags(run.events, "effective_rank"):
        last = history.series(run.events, tag, last=1).iloc[-1]
        if last["value"] < run.limits.effective_rank:
            message = (
                f"The embeddings' effective rank is {number(last['value'])}: all that "
                "tells records apart lies in that many directions. More negatives, "
                "a lower temperature or stronger augmentation spread it."
            )
            found.append(warn("low_rank", tag, last["step"], message))
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
    advice = " Let the schedule's horizon be the run's length."
    step = history.reached(run.events)[0]
    return [warn("schedule_horizon", "train/lr", step, lead + what + advice)]


def input_bound(run: Run) -> list[dict]:
    """A step that waits for its data."""
    tag = "perf/input_wait"
    # The first point holds compilation and the filling of buffers.
    frame = history.series(run.events, tag, "train", run.limits.points + 1).iloc[1:]
    if frame.empty or not (share := frame["value"].median()) > run.limits.input_wait:
        return []
    message = (
        f"{percent(share)} of the time goes by waiting for data. Prepare the data at "
        "the size that is trained on, and raise `data.threads` or `data.prefetch`."
    )
    return [warn("input_bound", tag, frame["step"].iloc[-1], message)]


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
    message = (
        f"Each anchor is compared with {count(last['value'])} candidates, though a "
        f"step holds {count(run.batch_size)} records. The loss is that of the smaller "
        "batch; gather keys over devices, or accumulate with `train.chunks`."
    )
    return [warn("few_candidates", tag, last["step"], message)]


def no_positives(run: Run) -> list[dict]:
    """Batches whose queries have nothing to find."""
    found, limits = [], run.limits
    for tag in history.tags(run.events, "queries_with_positive"):
        frame = history.series(run.events, tag, last=limits.collapsed_points)
        values, step = frame["value"].dropna(), frame["step"].iloc[-1]
        if not len(values) or values.iloc[-1] >= 0.5:
            continue
        advice = "Set data.label, or draw several records of a label: train.per_class."
        if len(values) == limits.collapsed_points and not values.any():
            said = (
                f"No query of a batch has a positive: nothing can be learned. {advice}"
            )
            found.append(stop("no_positives", tag, step, said))
            continue
        share = percent(values.iloc[-1])
        said = f"{share} of the queries of a batch have a positive. {advice}"
        found.append(warn("few_positives", tag, step, said))
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
    message = (
        f"The loss jumped to {number(last['value'])} at step {count(last['step'])}; "
        f"the median of {run.limits.points} points before was "
        f"{number(usual[high.index[-1]])}. Clip the gradient with "
        "optimizer.clip_norm, lower the peak of the learning rate, or look for odd "
        "records."
    )
    return [warn("loss_spike", history.LOSS, last["step"], message)]


def rate_jump(run: Run) -> list[dict]:
    """A learning rate that is another after a resume than before."""
    found, limit = [], run.limits.rate_jump
    rates = history.series(run.events, "train/lr", "train")
    for event in (e for e in run.events if e["kind"] == "resume"):
        before = rates[rates["step"] <= event["step"]]["value"]
        after = rates[rates["step"] > event["step"]]
        if before.empty or after.empty:
            continue
        old, new = before.iloc[-1], after["value"].iloc[0]
        if max(old, new) <= limit * max(min(old, new), 0.0):
            continue
        message = (
            f"The run went on at step {count(event['step'])} with a learning rate of "
            f"{number(new)}, {number(old)} before. --extend=continue keeps the old "
            "curve; a rate that jumps up undoes part of what was learned."
        )
        found.append(warn("rate_jump", "train/lr", after["step"].iloc[0], message))
    return found


def _losses(run: Run, last: int | None = None) -> pd.DataFrame:
    """The finite losses with their chance level: columns step, value, chance."""
    frame = history.series(run.events, history.LOSS, "train", last)
    return frame.dropna(subset=["value", "chance"]).reset_index(drop=True)

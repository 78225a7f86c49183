"""Histories that alarms are tried on."""

import math

from reporting.alarms.common import check as alarm_check
from tests.reporting import fake

CHANCE = math.log(256)


def events(losses=(), *, tag=None, values=(), kind="train", every=10, **beside):
    """A history with a loss, or with one other tag, at every tenth step."""
    history = []
    for i, loss in enumerate(losses):
        metrics = {"train/loss": loss, "train/loss_chance": CHANCE}
        history.append(event("train", (i + 1) * every, metrics))
    for i, value in enumerate(values):
        history.append(event(kind, (i + 1) * every, {tag: value} | beside))
    return history


def event(kind, step, metrics, **fields):
    base = {"kind": kind, "step": step, "epoch": step / 10, "time": float(step)}
    if "baseline" in fields:
        fields |= fake.shown(fields["baseline"])
    return base | fields | {"metrics": fake.typed(metrics)}


def names(history, **fields):
    return [alarm["name"] for alarm in alarm_check.check(history, **fields)]


def evaluated(value, pixels=None, untrained=None, n=500, name="recall@1", **fields):
    tag = f"eval/brand/{name}"
    history = [
        event("baseline", 0, {tag: baseline}, baseline=which)
        for which, baseline in (("pixels", pixels), ("untrained", untrained))
        if baseline
    ]
    metric = fake.metric(value, n) | fields
    return [*history, event("eval", 50, {tag: metric}, final=True)]

"""Workdirs with given figures, and what their reports say."""

import json

from reporting import report
from reporting import run_dir as files
from tests.reporting import fake


def told(folder):
    """Return alarms by name, from report.json."""
    return {alarm["name"]: alarm for alarm in read(folder)["alarms"]}


def read(folder):
    """Return report.json."""
    return json.loads((folder / "report.json").read_text("utf-8"))


def replay(folder, *, train=(), evaluations=(), baselines=(), data=None):
    """Write a workdir with given figures and its report; return alarms by name."""
    for name, baseline in dict(baselines).items():
        files.append_event(
            folder,
            "baseline",
            step=0,
            epoch=0,
            metrics=fake.typed(baseline),
            time=0.0,
            **fake.shown(name),
        )
    for i, values in enumerate(train, 1):
        files.append_event(
            folder, "train", step=i, epoch=i / 10, metrics=values, time=float(i)
        )
    for i, values in enumerate(evaluations, 1):
        last = {"final": True} if i == len(evaluations) else {}
        step = i * max(len(train) // max(len(evaluations), 1), 1)
        files.append_event(
            folder, "eval", step=step, epoch=step / 10, metrics=fake.typed(values),
            time=99.0 + i, **last,
        )  # fmt: skip
    if data is not None:
        files.write_json(folder / files.DATA, data)
    report.write(folder)
    return told(folder)


def score(value, n, chance=0.0, low=None, high=None):
    """Return a metric as events hold it."""
    return {"value": value, "n": n, "chance": chance, "low": low, "high": high}

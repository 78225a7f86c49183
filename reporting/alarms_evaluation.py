"""Alarms on what an evaluation found: floors, ceilings and zeros."""

import re
from collections.abc import Iterable

from reporting import history
from reporting._alarm import Run, warn
from reporting.formatting import count, interval, number, percent

# One figure a set is enough to raise an alarm on; R@100 is easy nearly everywhere.
HEADLINE = re.compile(r"^(recall@1|r@1|hit@1|accuracy|map|mrr)(@r)?$", re.I)


def saturated(run: Run) -> list[dict]:
    """A metric that has nowhere left to go."""
    found = []
    for tag, metric, step in _scores(run):
        if metric["value"] < run.limits.saturated or not HEADLINE.match(_name(tag)):
            continue
        pixels = metric["floors"].get("pixels", {}).get("value")
        known = f" (raw pixels: {number(pixels)})" if pixels is not None else ""
        message = (
            f"{tag} is {percent(metric['value'])}{known}: the task may be too easy to "
            "tell good embeddings from bad ones. Use a larger gallery or harder "
            "queries."
        )
        found.append(warn("saturated", tag, step, message))
    return found


def under_floor(run: Run) -> list[dict]:
    """A metric that raw pixels or the untrained network reach as well."""
    found = []
    if run.progress < run.limits.judging:
        return found
    said = {"pixels": "what raw pixels score", "untrained": "the untrained network"}
    for tag, metric, step in _scores(run):
        if not HEADLINE.match(_name(tag)):
            continue
        for name, floor in metric["floors"].items():
            top = floor["high"] if history.is_finite(floor["high"]) else floor["value"]
            if not history.is_finite(top) or metric["value"] > top:
                continue
            message = (
                f"{tag} is {number(metric['value'])}, not above {said.get(name, name)} "
                f"({number(floor['value'])}, {interval(floor['low'], floor['high'])}). "
                "Training has added nothing to this task yet; train longer, or "
                "choose positives that are nearer to it."
            )
            found.append(warn(f"under_floor_{name}", tag, step, message))
    return found


def no_hits(run: Run) -> list[dict]:
    """A zero, and how much it says."""
    found = []
    for tag, metric, step in _scores(run):
        n = metric["n"]
        if metric["value"] != 0 or not n or not history.is_finite(metric["high"]):
            continue
        small = n < run.limits.few
        advice = (
            "So few queries say little; evaluate on more."
            if small
            else "The embeddings do not find what these labels ask for."
        )
        message = (
            f"{tag} is 0 in {count(n)} queries: with 95 % confidence the true value is "
            f"below {number(metric['high'])} (chance {number(metric['chance'])}). "
            f"{advice}"
        )
        found.append(warn("no_hits", tag, step, message))
    return found


def _scores(run: Run) -> Iterable[tuple[str, dict, int]]:
    step = max((e["step"] for e in run.events if e["kind"] == "eval"), default=0)
    for tag, metric in history.measure(run.events).items():
        if history.is_score(tag) and history.is_finite(metric["value"]):
            yield tag, metric, step


def _name(tag: str) -> str:
    return tag.rpartition("/")[2]

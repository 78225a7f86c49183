"""Alarms on what an evaluation found: floors, ceilings and zeros."""

from collections.abc import Iterable

from reporting import history
from reporting._alarm import Run, warn
from reporting.formatting import count, measured, number, percent

FLOOR_WORDS = {
    "pixels": "raw pixels",
    "untrained": "the untrained network",
    "start": "what it started from",
    "copy_last": "a copy of the last vector",
    "mean": "the mean of the context",
    "weights": "a weighted mean of the context",
    "fading": "a mean that fades",
    "ridge": "ridge regression",
}


def saturated(run: Run) -> list[dict]:
    """A metric that has nowhere left to go."""
    found = []
    for tag, metric, step in _headlines(run):
        if metric["value"] < run.limits.saturated:
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
    for tag, metric, step in _headlines(run):
        unbeaten = [
            f"{FLOOR_WORDS.get(name, name)} ({measured(floor)})"
            for name, floor in metric["floors"].items()
            if name not in history.CEILINGS and not _above(metric["value"], floor)
        ]
        if not unbeaten:
            continue
        message = (
            f"{tag} is {number(metric['value'])}, not above the interval of "
            f"{' or '.join(unbeaten)}. For this task training has added nothing yet; "
            "train longer, or choose positives that are nearer to it."
        )
        found.append(warn("under_floor", tag, step, message))
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


def few_queries(run: Run) -> list[dict]:
    """A score of so few queries that it says little."""
    found = []
    for tag, metric, step in _headlines(run):
        n = metric["n"]
        if not n or n >= run.limits.few or not metric["value"]:
            continue
        message = (
            f"{tag} is {measured(metric)} of {count(n)} queries only. Hold back more "
            "records, or call it an impression and not a result."
        )
        found.append(warn("few_queries", tag, step, message))
    return found


def near_ties(run: Run) -> list[dict]:
    """Neighbours whose scores hardly differ."""
    found = []
    for tag, metric, step in _last(run, "near_ties"):
        if metric["value"] > run.limits.near_ties:
            message = (
                f"{percent(metric['value'])} of the queries have neighbours whose "
                "scores are nearly tied: their order says little. Train longer, or "
                "look at how the embeddings spread."
            )
            found.append(warn("near_ties", tag, step, message))
    return found


def resemblance(run: Run) -> list[dict]:
    """Neighbours that look hardly more alike than pairs drawn at random."""
    found = []
    for tag, metric, step in _last(run, "ssim@1"):
        chance = metric["chance"]
        if chance is None or metric["value"] - chance >= run.limits.resemblance:
            continue
        message = (
            f"{tag} is {number(metric['value'])} where random pairs have "
            f"{number(chance)}: an SSIM so near to theirs says nothing of the "
            "embeddings. Judge by a column or by labels."
        )
        found.append(warn("resemblance", tag, step, message))
    return found


def duplicates(run: Run) -> list[dict]:
    """Records whose embedding is that of another."""
    found = []
    for tag, metric, step in _last(run, "duplicates"):
        if metric["value"] > run.limits.duplicates:
            message = (
                f"{percent(metric['value'])} of the records have the embedding of "
                "another: the data holds duplicates, which are found without having "
                "learned anything. Take them out."
            )
            found.append(warn("duplicates", tag, step, message))
    return found


def gap(run: Run) -> list[dict]:
    """A network that knows its training records better than others."""
    found = []
    for tag, metric, step in _last(run, "gap"):
        if metric["value"] > run.limits.gap:
            message = (
                f"{tag}: training records score {number(metric['value'])} more than "
                "those held back. Stop earlier, take a smaller network or more data, "
                "and check that both are prepared alike."
            )
            found.append(warn("generalisation_gap", tag, step, message))
    return found


def _last(run: Run, ending: str) -> Iterable[tuple[str, dict, int]]:
    """Evaluated tags with an ending, their latest metric and its step."""
    step = max((e["step"] for e in run.events if e["kind"] == "eval"), default=0)
    known = history.measure(run.events)
    for tag in history.tags(run.events, ending):
        if tag.startswith("eval/") and history.is_finite(known[tag]["value"]):
            yield tag, known[tag], step


def _above(value: float, floor: dict) -> bool:
    top = floor["high"] if floor["high"] is not None else floor["value"]
    return not history.is_finite(top) or value > top


def _headlines(run: Run) -> list[tuple[str, dict, int]]:
    scores = {tag: (tag, metric, step) for tag, metric, step in _scores(run)}
    return [scores[tag] for tag in history.headlines(scores)]


def _scores(run: Run) -> Iterable[tuple[str, dict, int]]:
    step = max((e["step"] for e in run.events if e["kind"] == "eval"), default=0)
    for tag, metric in history.measure(run.events).items():
        if history.is_score(tag) and history.is_finite(metric["value"]):
            yield tag, metric, step

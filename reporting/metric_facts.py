"""What is true of a metric whatever its value: kind, direction, headline or not.

Evaluators write these facts with every metric. Those of tags that training logs stand
in `metric_facts.json` of the workdir.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Shares of a ranking or of queries: 0 is worst and 1 perfect.
_SCORE = re.compile(r"^(recall|precision|map|mrr|ndcg|hit|accuracy|p@|r@)", re.I)
_HEADLINES = ("recall@1", "accuracy", "map")
_ERRORS = ("nar", "error", "error_mean")
_GEOMETRY = {
    "embedding_std": "higher",
    "embedding_std_ratio": "higher",
    "effective_rank": "higher",
    "alignment": "lower",
    "uniformity": "lower",
}
_LOSSES = ("eval/loss/train", "eval/loss/held_out")


_LABELS = {
    "pixels": "raw pixels",
    "untrained": "untrained network",
    "start": "starting network",
    "persistence": "copy of the last vector",
    "mean": "mean of the context",
    "fitted_average": "fitted average",
    "exponential_average": "exponential average",
    "ridge": "ridge regression",
    "best": "best possible",
}


class Facts(NamedTuple):
    """Facts of a metric.

    Attributes:
        kind: "score" in [0, 1], "error", "loss", "distance" or "diagnostic".
        better: "higher", "lower", or "" where neither is better.
        headline: Whether it speaks for its set.
    """

    kind: str = "diagnostic"
    better: str = ""
    headline: bool = False


def of_value(value: Any) -> Facts | None:
    """Return the facts that a metric carries, or None where it carries none."""
    if not isinstance(value, Mapping) or "kind" not in value:
        return None
    return Facts(
        str(value["kind"]), str(value.get("better", "")), bool(value.get("headline"))
    )


def guess(tag: str) -> Facts:
    """Return the facts of a tag that nothing describes."""
    last = tag.rpartition("/")[2]
    if not tag.startswith("eval/"):
        return Facts()
    if _SCORE.match(last):
        return Facts("score", "higher", last in _HEADLINES)
    if tag in _LOSSES:
        return Facts("loss", "lower")
    if last in _ERRORS:
        return Facts("error", "lower")
    if last == "cosine" or last.startswith("ssim@"):
        return Facts("distance", "higher")
    if last in _GEOMETRY:
        return Facts("diagnostic", _GEOMETRY[last])
    return Facts()


def baseline(event: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a baseline's name in reports, and whether it is the best possible."""
    name = event.get("baseline", "")
    label = event.get("label") or _LABELS.get(name, name)
    return label, bool(event.get("ceiling", name == "best"))


def headlines_by_set(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the headline tags of each set; the parts of a set are not among them.

    Args:
        metrics: Tag to metric with its facts.
    """
    tags: dict[str, list[str]] = {}
    for tag, metric in metrics.items():
        place = tag.split("/")
        if metric["headline"] and len(place) == 3:
            tags.setdefault(place[1], []).append(tag)
    return tags


def headlines(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one tag for each set, the first of its headlines."""
    return [tags[0] for tags in headlines_by_set(metrics).values()]


def scores(metrics: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Return the tags that are scores."""
    return [tag for tag, metric in metrics.items() if metric["kind"] == "score"]

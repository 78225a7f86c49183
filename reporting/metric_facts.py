"""What is true of a metric whatever its value: kind, direction, headline or not.

Evaluators write these facts with every metric. Those of tags that training logs stand
in `metric_facts.json` of the workdir.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


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

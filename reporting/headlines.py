"""Choosing metrics by their facts: scores, and headlines of sets."""

from collections.abc import Iterable, Mapping
from typing import Any


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

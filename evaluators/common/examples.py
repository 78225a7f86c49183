"""Queries with their nearest neighbors, to be shown in reports."""

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import numpy as np

from evaluators.search import exact as exact_search

KEPT = 32  # examples a search with a relevant first neighbor, and as many without
SHOWN = 10  # neighbors of each


class ExampleLists(NamedTuple):
    """Examples of one search; see `Evaluation` for what each holds.

    Attributes:
        right: With a relevant first neighbor.
        wrong: The others.
    """

    right: list[dict[str, Any]]
    wrong: list[dict[str, Any]]


def of_search(
    z: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    right: np.ndarray,
    relevant: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
    includes_itself: bool = False,
    excluded: np.ndarray | None = None,
) -> ExampleLists:
    """Return examples of a search, a sample of queries with their nearest records.

    Args:
        z: [q, d] embeddings of the queries.
        gallery: [n, d].
        query_ids: [q].
        gallery_ids: [n].
        right: bool [q], whether the first neighbor is relevant.
        relevant: Queries and gallery rows that belong together, int [m] each.
        seed: Random seed of the sampled queries.
        includes_itself: Whether the record with the query's id is a candidate.
        excluded: int [q, l], gallery rows that are no candidates of a query; -1 for
            none.
    """
    if excluded is None:
        excluded = np.zeros((len(z), 0), np.int64)
    keys = relevant[0].astype(np.int64) * len(gallery) + relevant[1]
    order = np.random.default_rng(seed).permutation(len(right))
    lists = ExampleLists([], [])
    for side, examples in zip((True, False), lists, strict=True):
        rows = np.sort(order[right[order] == side][:KEPT])
        scores, near = exact_search.top_k(
            z[rows],
            gallery,
            SHOWN + excluded.shape[1],
            query_ids=None if includes_itself else query_ids[rows],
            gallery_ids=gallery_ids,
        )
        hits = np.isin(rows[:, None] * len(gallery) + near, keys) & (near >= 0)
        for row, *columns in zip(rows, near, scores, hits, strict=True):
            shown = [
                {"id": int(gallery_ids[j]), "score": float(s), "relevant": bool(hit)}
                for j, s, hit in zip(*columns, strict=True)
                if j >= 0 and j not in excluded[row]
            ][:SHOWN]
            query = int(query_ids[row])
            examples.append({"query": query, "neighbors": shown, "right": side})
    return lists


def pick(searches: Sequence[ExampleLists], count: int) -> list[dict[str, Any]]:
    """Return up to `count` examples, wrong and right ones and all searches by turns."""
    right, wrong = (
        [e for e in chain(*zip_longest(*lists)) if e is not None]
        for lists in zip(*searches, strict=True)
    )
    half = count // 2
    right_count = max(half, count - len(wrong))
    wrong_count = max(count - half, count - len(right))
    turns = zip_longest(wrong[:wrong_count], right[:right_count])
    return [e for e in chain(*turns) if e is not None][:count]

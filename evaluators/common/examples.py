"""Queries with their neighbors, for people to look at."""

from itertools import chain, zip_longest

import numpy as np

from evaluators.common.summary import SearchResult
from evaluators.search import exact as exact_search

KEPT = 32  # right ones a search, and as many wrong ones
SHOWN = 10  # neighbors of each


def of_search(
    z: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    right: np.ndarray,
    relevant: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
    own: bool = False,
    without: np.ndarray | None = None,
) -> tuple[list[dict], list[dict]]:
    """Return examples with a relevant first neighbor, and others.

    Args:
        z: [q, d] embeddings of the queries.
        gallery: [n, d].
        query_ids: [q].
        gallery_ids: [n].
        right: bool [q].
        relevant: Queries and gallery rows that belong together, [m] each.
        seed: Of the choice.
        own: Whether the record with the query's id is a candidate.
        without: Gallery rows that are no candidates of a query, [q, l]; -1 for none.
    """
    if without is None:
        without = np.zeros((len(z), 0), np.int64)
    keys = relevant[0].astype(np.int64) * len(gallery) + relevant[1]
    order = np.random.default_rng(seed).permutation(len(right))
    sides = []
    for side in (True, False):
        rows = np.sort(order[right[order] == side][:KEPT])
        ids = {} if own else {"query_ids": query_ids[rows]}
        scores, near = exact_search.top_k(
            z[rows], gallery, SHOWN + without.shape[1], gallery_ids=gallery_ids, **ids
        )
        hits = np.isin(rows[:, None] * len(gallery) + near, keys) & (near >= 0)
        sides.append([])
        for row, *columns in zip(rows, near, scores, hits, strict=True):
            shown = [
                {"id": int(gallery_ids[j]), "score": float(s), "relevant": bool(hit)}
                for j, s, hit in zip(*columns, strict=True)
                if j >= 0 and j not in without[row]
            ][:SHOWN]
            query = int(query_ids[row])
            sides[-1].append({"query": query, "neighbors": shown, "right": side})
    return sides[0], sides[1]


def pick(searches: list[SearchResult], count: int) -> list[dict]:
    """Return up to `count` examples, wrong and right and all searches by turns."""
    right, wrong = (
        [e for e in chain(*zip_longest(*lists)) if e is not None]
        for lists in ([s.right for s in searches], [s.wrong for s in searches])
    )
    half = count // 2
    rights = max(half, count - len(wrong))
    wrongs = max(count - half, count - len(right))
    turns = zip_longest(wrong[:wrongs], right[:rights])
    return [e for e in chain(*turns) if e is not None][:count]

"""Queries with their nearest neighbors, to be shown in reports."""

from itertools import chain, zip_longest

import numpy as np

from evaluators.common.summary import SearchResult
from evaluators.search import exact as exact_search

KEPT = 32  # examples a search with a relevant first neighbor, and as many without
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
    includes_itself: bool = False,
    excluded: np.ndarray | None = None,
) -> tuple[list[dict], list[dict]]:
    """Return examples with a relevant first neighbor, and others.

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
    sides = []
    for side in (True, False):
        rows = np.sort(order[right[order] == side][:KEPT])
        scores, near = exact_search.top_k(
            z[rows],
            gallery,
            SHOWN + excluded.shape[1],
            query_ids=None if includes_itself else query_ids[rows],
            gallery_ids=gallery_ids,
        )
        hits = np.isin(rows[:, None] * len(gallery) + near, keys) & (near >= 0)
        sides.append([])
        for row, *columns in zip(rows, near, scores, hits, strict=True):
            shown = [
                {"id": int(gallery_ids[j]), "score": float(s), "relevant": bool(hit)}
                for j, s, hit in zip(*columns, strict=True)
                if j >= 0 and j not in excluded[row]
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

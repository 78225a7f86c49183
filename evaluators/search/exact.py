"""Exact nearest neighbors by inner product, in memory bounded by one gallery block.

Scores are those of `scores.inner_products`. Ties go to the smaller gallery id, and a
record never retrieves itself (same id).
"""

import numpy as np

from evaluators.search import pruning
from evaluators.search.scores import (
    GALLERY_BLOCK,
    QUERY_BLOCK,
    Ranks,
    Search,
    largest,
)

# Of `top_k`: the fewer blocks, the fewer intermediate candidates.
TOP_K_GALLERY_BLOCK = 4 * GALLERY_BLOCK
COUNTING_LIMIT = 8  # up to so many relevant records a query, counting beats sorting


def top_k(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    *,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
    gallery_block: int = TOP_K_GALLERY_BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k gallery rows with the largest inner product for every query.

    Args:
        queries: float32 [q, d].
        gallery: float32 [n, d]; an array on disk (numpy.memmap) is read by blocks.
        k: Neighbors a query.
        query_ids: int64 [q]. Gallery records with the query's id are no candidates.
        gallery_ids: int64 [n], decides ties; the row number where absent.
        gallery_block: Gallery rows in memory at once.

    Returns:
        scores float32 [q, k], largest first, and rows int64 [q, k]. Where a query has
        fewer than k candidates the rest is -inf and -1.

    Raises:
        ValueError: If shapes disagree, k or gallery_block is below 1, a value is not
            finite, or query_ids come without gallery_ids.
    """
    if k < 1:
        raise ValueError(f"got k={k}; expected 1 or more")
    search = Search.of(queries, gallery, query_ids, gallery_ids, gallery_block)
    width = min(k, search.size)
    if pruning.is_worthwhile(search, width):
        scores, places, unsettled = pruning.top_k(search, width)
    else:
        shape = (len(search.queries), width)
        scores, places = np.empty(shape, np.float32), np.empty(shape, np.int64)
        unsettled = np.arange(shape[0])
    if len(unsettled):
        scores[unsettled], places[unsettled] = _dense_top_k(search, unsettled, width)
    pad = ((0, 0), (0, k - width))
    scores = np.pad(scores, pad, constant_values=-np.inf)
    places = np.pad(places, pad, constant_values=-1)
    return scores, np.where(places < 0, -1, search.rows_at(places))


def ranks_of(
    queries: np.ndarray,
    gallery: np.ndarray,
    pair_query: np.ndarray,
    pair_row: np.ndarray,
    *,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
    gallery_block: int = GALLERY_BLOCK,
) -> Ranks:
    """Return the rank of chosen gallery rows in the ranking of the whole gallery.

    Args:
        queries: float32 [q, d].
        gallery: float32 [n, d] or numpy.memmap.
        pair_query: int [m], the query of each rank.
        pair_row: int [m], the gallery row of each rank.
        query_ids: int64 [q]. Gallery records with the query's id are no candidates.
        gallery_ids: int64 [n], decides ties; the row number where absent.
        gallery_block: Gallery rows in memory at once.

    Raises:
        ValueError: Shapes do not match, see `top_k`, or a pair is out of range or has
            one id twice.
    """
    search = Search.of(queries, gallery, query_ids, gallery_ids, gallery_block)
    pair_query, pair_row = np.asarray(pair_query), np.asarray(pair_row)
    by_query = np.argsort(pair_query, kind="stable")
    query, place = pair_query[by_query], search.places_of(pair_row[by_query])
    skipped = (place >= search.skip[0][query]) & (place < search.skip[1][query])
    if skipped.any():
        raise ValueError(
            f"got {int(skipped.sum())} pairs of a query and a record with its own id, "
            "which has no rank; expected none"
        )
    score = _pair_scores(search, query, place)
    above, tied, before = (np.zeros(len(query), np.int64) for _ in range(3))
    ends = np.searchsorted(query, np.arange(len(search.queries) + 1))
    for start, rows in search.gallery_blocks():
        for block in search.query_blocks():
            if ends[block[0]] == ends[block[-1] + 1]:
                continue
            scores = search.scores(block, start, rows)  # [b, t]
            for i, line in zip(block, scores, strict=True):
                pairs = slice(ends[i], ends[i + 1])
                larger, equal = _count(line, score[pairs])
                above[pairs] += larger
                tied[pairs] += equal
                column = place[pairs] - start
                before[pairs] += _ties_before(line, score[pairs], equal, column)
    ranks = np.empty((3, len(query)), np.int64)
    ranks[:, by_query] = above + before + 1, above, tied
    return Ranks(*ranks)


def _count(line: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of line [t] are above, and equal to, each of scores [r]."""
    if len(scores) <= COUNTING_LIMIT:
        larger = [np.count_nonzero(line > score) for score in scores]
        equal = [np.count_nonzero(line == score) for score in scores]
        return np.array(larger, np.int64), np.array(equal, np.int64)
    line = np.sort(line)
    right = np.searchsorted(line, scores, side="right")
    return len(line) - right, right - np.searchsorted(line, scores, side="left")


def _ties_before(
    line: np.ndarray, scores: np.ndarray, equal: np.ndarray, column: np.ndarray
) -> np.ndarray:
    """Return how many ties of each record stand in a column before its own.

    Args:
        line: [t], scores of a gallery block.
        scores: [r], scores of the records.
        equal: int [r], ties of each in line.
        column: int [r], of each record; outside 0..t-1 if in another block.
    """
    before = np.where(column >= len(line), equal, 0)
    for j in np.flatnonzero((equal > 0) & (column >= 0) & (column < len(line))):
        before[j] = np.count_nonzero(line[: column[j]] == scores[j])
    return before


def _pair_scores(search: Search, query: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the score of every (query, place) pair, float32 [m]."""
    scores = np.empty(len(query), np.float32)
    for start in range(0, len(query), QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        left = search.queries[query[block]].astype(np.float64)
        right = np.asarray(search.gallery[search.rows_at(place[block])], np.float64)
        scores[block] = (left * right).sum(axis=1)
    return scores


def _dense_top_k(
    search: Search, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score everything in double precision: for small galleries and for mass ties.

    Args:
        search: Search over all queries.
        queries: int [m], those that are searched.
        k: At most the size of the gallery.

    Returns:
        scores float32 [m, k] and places int64 [m, k], -1 for no candidate.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    places = np.full((len(queries), k), -1)
    for start, rows in search.gallery_blocks():
        for first in range(0, len(queries), QUERY_BLOCK):
            block = slice(first, first + QUERY_BLOCK)
            scores = search.scores(queries[block], start, rows)
            # Earlier places stand first, so that ties go to the smaller id.
            joined = np.concatenate([best[block], scores], axis=1)  # [b, k + t]
            order = largest(joined, k)
            columns = np.broadcast_to(start + np.arange(len(rows)), scores.shape)
            joined_places = np.concatenate([places[block], columns], axis=1)
            best[block] = np.take_along_axis(joined, order, axis=1)
            places[block] = np.take_along_axis(joined_places, order, axis=1)
    return best, np.where(np.isneginf(best), -1, places)

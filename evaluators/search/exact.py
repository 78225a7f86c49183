"""Exact nearest neighbors by inner product, in memory bounded by one gallery_block.

The score of a pair is one number however it is computed: the inner product in double
precision, rounded to float32. Tiles, query blocks and the backend's matmul therefore
cannot change a result, and two equal records tie exactly. Ties go to the smaller
gallery id, and a record never retrieves itself (same id).
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from evaluators.search import pruning

BLOCK_ROWS = 8192  # gallery rows in memory at once
WIDE_TILE = (
    4 * BLOCK_ROWS
)  # for top_k: the fewer tiles, the fewer candidates on the way
BLOCK = 512  # queries worked on at once
FEW = 8  # up to so many relevant records a query, counting is faster than sorting


def top_k(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    *,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
    gallery_block: int = WIDE_TILE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k gallery rows with the largest inner product for every query.

    Args:
        queries: [q, d] float32.
        gallery: [n, d] float32; an array on disk (numpy.memmap) is read by tiles.
        k: Neighbors a query.
        query_ids: [q] int64. Gallery records with the query's id are left out.
        gallery_ids: [n] int64, decides ties; the row number where absent.
        gallery_block: Gallery rows in memory at once.

    Returns:
        scores float32 [q, k], largest first, and rows int64 [q, k]. Where a query has
        fewer than k candidates the rest is -inf and -1.

    Raises:
        ValueError: If shapes disagree, k or gallery_block is below 1, a value is not
            finite, or query_ids come without gallery_ids.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected 1 or more")
    search = _Search.of(queries, gallery, query_ids, gallery_ids, gallery_block)
    wide = min(k, search.size)
    if pruning.worthwhile(search, wide):
        scores, places, left = pruning.top_k(search, wide)
    else:
        shape = (len(search.queries), wide)
        scores, places = np.empty(shape, np.float32), np.empty(shape, np.int64)
        left = np.arange(shape[0])
    if len(left):
        scores[left], places[left] = _dense_top_k(search, left, wide)
    pad = ((0, 0), (0, k - wide))
    scores = np.pad(scores, pad, constant_values=-np.inf)
    places = np.pad(places, pad, constant_values=-1)
    return scores, np.where(places < 0, -1, search.rows_at(places))


class Ranks(NamedTuple):
    """Where relevant records stand in the full ranking of their queries, int64 [m].

    Attributes:
        rank: 1 for the best; ties by gallery id.
        above: Records with a strictly larger score.
        tied: Records with the same score, itself included.
    """

    rank: np.ndarray
    above: np.ndarray
    tied: np.ndarray


def ranks_of(
    queries: np.ndarray,
    gallery: np.ndarray,
    pair_query: np.ndarray,
    pair_row: np.ndarray,
    *,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
    gallery_block: int = BLOCK_ROWS,
) -> Ranks:
    """Return the rank of chosen gallery rows in the ranking of the whole gallery.

    Args:
        queries: [q, d] float32.
        gallery: [n, d] float32 or numpy.memmap.
        pair_query: [m] int, the query of each wanted rank.
        pair_row: [m] int, the gallery row of each wanted rank.
        query_ids: [q] int64. Gallery records with the query's id are left out.
        gallery_ids: [n] int64, decides ties; the row number where absent.
        gallery_block: Gallery rows in memory at once.

    Raises:
        ValueError: As top_k, and if a pair is out of range or has one id twice.
    """
    search = _Search.of(queries, gallery, query_ids, gallery_ids, gallery_block)
    pair_query, pair_row = np.asarray(pair_query), np.asarray(pair_row)
    by_query = np.argsort(pair_query, kind="stable")
    query, place = pair_query[by_query], search.places_of(pair_row[by_query])
    skipped = (place >= search.skip[0][query]) & (place < search.skip[1][query])
    if skipped.any():
        raise ValueError(
            f"{int(skipped.sum())} pairs join a query to a record with its own id, "
            "which has no rank; leave them out"
        )
    score = _pair_scores(search, query, place)
    above, tied, before = (np.zeros(len(query), np.int64) for _ in range(3))
    ends = np.searchsorted(query, np.arange(len(search.queries) + 1))
    for start, rows in search.tiles():
        for block in search.blocks():
            if ends[block[0]] == ends[block[-1] + 1]:
                continue
            scores = search.scores(block, start, rows)  # [b, t]
            for i, line in zip(block, scores, strict=True):
                mine = slice(ends[i], ends[i + 1])
                more, same = _count(line, score[mine])
                above[mine] += more
                tied[mine] += same
                before[mine] += _ties_before(
                    line, score[mine], same, place[mine] - start
                )
    ranks = np.empty((3, len(query)), np.int64)
    ranks[:, by_query] = above + before + 1, above, tied
    return Ranks(*ranks)


def _count(line: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the scores of line [t] above, and equal to, each wanted score [r]."""
    if len(wanted) <= FEW:
        more = [np.count_nonzero(line > score) for score in wanted]
        same = [np.count_nonzero(line == score) for score in wanted]
        return np.array(more, np.int64), np.array(same, np.int64)
    line = np.sort(line)
    right = np.searchsorted(line, wanted, side="right")
    return len(line) - right, right - np.searchsorted(line, wanted, side="left")


def _ties_before(
    line: np.ndarray, wanted: np.ndarray, same: np.ndarray, column: np.ndarray
) -> np.ndarray:
    """Of the ties in line, count those in a column before the wanted record's own."""
    before = np.where(column >= len(line), same, 0)
    for j in np.flatnonzero((same > 0) & (column >= 0) & (column < len(line))):
        before[j] = np.count_nonzero(line[: column[j]] == wanted[j])
    return before


def _pair_scores(search: "_Search", query: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the score of every (query, place) pair, float32 [m]."""
    scores = np.empty(len(query), np.float32)
    for start in range(0, len(query), BLOCK):
        part = slice(start, start + BLOCK)
        left = search.queries[query[part]].astype(np.float64)
        right = np.asarray(search.gallery[search.rows_at(place[part])], np.float64)
        scores[part] = (left * right).sum(axis=1)
    return scores


def _dense_top_k(
    search: "_Search", which: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score everything in double precision: for small galleries and for mass ties."""
    best = np.full((len(which), k), -np.inf, np.float32)
    places = np.full((len(which), k), -1)
    for start, rows in search.tiles():
        for at in range(0, len(which), BLOCK):
            part = slice(at, at + BLOCK)
            scores = search.scores(which[part], start, rows)
            # Earlier places stand first, so that ties fall to the smaller id.
            joined = np.concatenate([best[part], scores], axis=1)  # [b, k + t]
            order = largest(joined, k)
            here = np.broadcast_to(start + np.arange(len(rows)), scores.shape)
            joined_places = np.concatenate([places[part], here], axis=1)
            best[part] = np.take_along_axis(joined, order, axis=1)
            places[part] = np.take_along_axis(joined_places, order, axis=1)
    return best, np.where(np.isneginf(best), -1, places)


def inner_products(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the scores of queries [b, d] with rows [t, d], float32 [b, t]."""
    exact = queries.astype(np.float64) @ rows.T.astype(np.float64)
    return exact.astype(np.float32)


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k largest scores a row, by score, then by column."""
    edge = scores.shape[1] - k
    bar = np.partition(scores, edge, axis=1)[:, edge, None]  # [b, 1]
    above, ties = scores > bar, scores == bar
    room = k - above.sum(axis=1, keepdims=True)
    take = above | (ties & (np.cumsum(ties, axis=1) <= room))
    columns = np.nonzero(take)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


@dataclasses.dataclass(frozen=True)
class _Search:
    """A checked search. A place is a gallery row's position in the order of the ids."""

    queries: np.ndarray  # [q, d] float32
    gallery: np.ndarray  # [n, d]
    order: np.ndarray | None  # place -> row; None where rows are in order of id
    skip: tuple[np.ndarray, np.ndarray]  # [q] each: places first..last-1 are left out
    gallery_block: int

    @classmethod
    def of(cls, queries, gallery, query_ids, gallery_ids, gallery_block) -> "_Search":
        """Check the arguments, and put the gallery in order of its ids."""
        queries = np.ascontiguousarray(queries, np.float32)
        n = len(gallery)
        if (
            queries.ndim != 2
            or gallery.ndim != 2
            or queries.shape[1:] != gallery.shape[1:]
        ):
            raise ValueError(
                f"queries are {queries.shape}, the gallery is {gallery.shape}; "
                "expected [q, d] and [n, d]"
            )
        if gallery_block < 1:
            raise ValueError(f"gallery_block is {gallery_block}; expected 1 or more")
        if query_ids is not None and gallery_ids is None:
            raise ValueError("query_ids need gallery_ids to be compared with")
        if not np.isfinite(queries).all():
            raise ValueError("queries hold values that are not finite")
        order, skip = None, (np.zeros(len(queries), np.int64),) * 2
        if gallery_ids is not None:
            ids = _checked_ids("gallery_ids", gallery_ids, n)
            if (ids[1:] < ids[:-1]).any():
                order = np.argsort(ids, kind="stable")
                ids = ids[order]
            if query_ids is not None:
                wanted = _checked_ids("query_ids", query_ids, len(queries))
                skip = tuple(np.searchsorted(ids, wanted, s) for s in ("left", "right"))
        tiles = max(-(-n // gallery_block), 1)
        return cls(queries, gallery, order, skip, max(-(-n // tiles), 1))

    @property
    def size(self) -> int:
        """Records of the gallery."""
        return len(self.gallery)

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Rows of the gallery that stand at these places of the search."""
        return places if self.order is None else self.order[places]

    def places_of(self, rows: np.ndarray) -> np.ndarray:
        """The inverse of `rows_at`."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.size:
            raise ValueError(
                f"pair_row spans {rows.min()}..{rows.max()}; "
                f"the gallery has rows 0..{self.size - 1}"
            )
        if self.order is None:
            return rows
        places = np.empty_like(self.order)
        places[self.order] = np.arange(self.size)
        return places[rows]

    def blocks(self, which: np.ndarray | None = None) -> list[np.ndarray]:
        """Queries, all or `which`, in groups that are searched together."""
        which = np.arange(len(self.queries)) if which is None else which
        return [which[i : i + BLOCK] for i in range(0, len(which), BLOCK)]

    def tiles(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first place, float32 [t, d])."""
        for start in range(0, self.size, self.gallery_block):
            places = np.arange(start, min(start + self.gallery_block, self.size))
            where = (
                slice(start, places[-1] + 1)
                if self.order is None
                else self.order[places]
            )
            rows = np.asarray(self.gallery[where], np.float32)
            if not np.isfinite(rows).all():
                raise ValueError(f"gallery rows near {start} hold values not finite")
            yield start, rows

    def scores(self, which: np.ndarray, start: int, rows: np.ndarray) -> np.ndarray:
        """Return scores [b, t] of queries and a gallery block, -inf where excluded."""
        scores = inner_products(self.queries[which], rows)
        first, last = (np.clip(s[which] - start, 0, len(rows)) for s in self.skip)
        for i in np.flatnonzero(first < last):
            scores[i, first[i] : last[i]] = -np.inf
        return scores


def _checked_ids(name: str, ids: np.ndarray, count: int) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.shape != (count,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"{name} are {ids.dtype} {ids.shape}; expected whole numbers ({count},)"
        )
    return ids

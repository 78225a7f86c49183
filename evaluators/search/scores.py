"""Scores of queries and gallery records, and the order of a checked search.

The score of a pair is one number however it is computed: the inner product in double
precision, rounded to float32. Blocks and the backend's matmul therefore cannot change a
result, and two equal records tie exactly.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

GALLERY_BLOCK = 8192  # gallery rows in memory at once
QUERY_BLOCK = 512  # queries searched at once


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


def inner_products(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the scores of queries [b, d] with rows [t, d], float32 [b, t]."""
    exact = queries.astype(np.float64) @ rows.T.astype(np.float64)
    return exact.astype(np.float32)


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k largest scores a row, by score, then by column.

    Args:
        scores: [b, t], t >= k.
        k: Columns a row.
    """
    edge = scores.shape[1] - k
    threshold = np.partition(scores, edge, axis=1)[:, edge, None]  # [b, 1]
    above, ties = scores > threshold, scores == threshold
    room = k - above.sum(axis=1, keepdims=True)
    selected = above | (ties & (np.cumsum(ties, axis=1) <= room))
    columns = np.nonzero(selected)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


@dataclasses.dataclass(frozen=True)
class Search:
    """A checked search, with the gallery in order of its ids.

    A place is a gallery row's position in the order of the ids, so that ties go to the
    smaller id.

    Attributes:
        queries: float32 [q, d].
        gallery: [n, d]; an array on disk (numpy.memmap) is read by blocks.
        order: int [n], place -> row; None where rows are in order of id.
        skip: int [q] each: places first..last-1 are no candidates of a query.
        gallery_block: Gallery rows in memory at once.
    """

    queries: np.ndarray
    gallery: np.ndarray
    order: np.ndarray | None
    skip: tuple[np.ndarray, np.ndarray]
    gallery_block: int

    @classmethod
    def of(
        cls,
        queries: np.ndarray,
        gallery: np.ndarray,
        query_ids: np.ndarray | None,
        gallery_ids: np.ndarray | None,
        gallery_block: int,
    ) -> "Search":
        """Check the arguments, and put the gallery in order of its ids.

        Args:
            queries: [q, d].
            gallery: [n, d].
            query_ids: int [q]; gallery records with the query's id are no candidates.
            gallery_ids: int [n]; the row numbers where None.
            gallery_block: Most gallery rows in memory at once, >= 1.

        Raises:
            ValueError: If shapes disagree, a block has no row, queries are not finite,
                or query_ids come without gallery_ids.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        n = len(gallery)
        if (
            queries.ndim != 2
            or gallery.ndim != 2
            or queries.shape[1:] != gallery.shape[1:]
        ):
            raise ValueError(
                f"got queries {queries.shape} and a gallery {gallery.shape}; "
                "expected [q, d] and [n, d]"
            )
        if gallery_block < 1:
            raise ValueError(f"got gallery_block={gallery_block}; expected 1 or more")
        if query_ids is not None and gallery_ids is None:
            raise ValueError("got query_ids without gallery_ids; expected both")
        if not np.isfinite(queries).all():
            raise ValueError("got queries with values that are not finite")
        order, none = None, np.zeros(len(queries), np.int64)
        skip = none, none
        if gallery_ids is not None:
            ids = _checked_ids("gallery_ids", gallery_ids, n)
            if (ids[1:] < ids[:-1]).any():
                order = np.argsort(ids, kind="stable")
                ids = ids[order]
            if query_ids is not None:
                excluded = _checked_ids("query_ids", query_ids, len(queries))
                skip = (
                    np.searchsorted(ids, excluded, "left"),
                    np.searchsorted(ids, excluded, "right"),
                )
        blocks = max(-(-n // gallery_block), 1)
        return cls(queries, gallery, order, skip, max(-(-n // blocks), 1))

    @property
    def size(self) -> int:
        """Records of the gallery."""
        return len(self.gallery)

    @property
    def most_skipped(self) -> int:
        """Largest number of records that are no candidates of a query."""
        first, last = self.skip
        return int((last - first).max(initial=0))

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Return the gallery rows at places."""
        return places if self.order is None else self.order[places]

    def places_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the places of gallery rows, the inverse of `rows_at`.

        Raises:
            ValueError: If there is no such row.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.size:
            raise ValueError(
                f"got gallery rows {rows.min()}..{rows.max()}; expected "
                f"0..{self.size - 1}"
            )
        if self.order is None:
            return rows
        places = np.empty_like(self.order)
        places[self.order] = np.arange(self.size)
        return places[rows]

    def query_blocks(self, queries: np.ndarray | None = None) -> list[np.ndarray]:
        """Return chosen queries, or all, in groups that are searched together."""
        if queries is None:
            queries = np.arange(len(self.queries))
        starts = range(0, len(queries), QUERY_BLOCK)
        return [queries[start : start + QUERY_BLOCK] for start in starts]

    def gallery_blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first place of each block and its rows, float32 [t, d].

        Raises:
            ValueError: If a value is not finite.
        """
        for start in range(0, self.size, self.gallery_block):
            stop = min(start + self.gallery_block, self.size)
            block = slice(start, stop)
            rows = self.gallery[block if self.order is None else self.order[block]]
            rows = np.asarray(rows, np.float32)
            if not np.isfinite(rows).all():
                raise ValueError(
                    f"got gallery rows near {start} with values that are not finite"
                )
            yield start, rows

    def scores(self, queries: np.ndarray, start: int, rows: np.ndarray) -> np.ndarray:
        """Return scores [b, t] of queries with a gallery block, -inf where skipped.

        Args:
            queries: int [b].
            start: First place of the block.
            rows: [t, d], rows of the block.
        """
        scores = inner_products(self.queries[queries], rows)
        first, last = (np.clip(s[queries] - start, 0, len(rows)) for s in self.skip)
        for i in np.flatnonzero(first < last):
            scores[i, first[i] : last[i]] = -np.inf
        return scores


def _checked_ids(name: str, ids: np.ndarray, count: int) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.shape != (count,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"got {name} of type {ids.dtype} and shape {ids.shape}; expected integers "
            f"({count},)"
        )
    return ids

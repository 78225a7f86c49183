"""Which gallery records are relevant to which query, in bounded memory."""

from typing import NamedTuple

import numpy as np

BLOCK_ROWS = 8192
BLOCK = 64
ROUNDING = 1e-9  # sums of weights in another order


class Relevance(NamedTuple):
    """Pairs of a query and a relevant record, and gains where relevance is graded.

    Attributes:
        query: int [m].
        row: int [m], gallery row.
        ideal: [q, k], the k largest gains of each query, falling; None if not graded.
        mean_gain: [q], over all candidates; None if not graded.
    """

    query: np.ndarray
    row: np.ndarray
    ideal: np.ndarray | None = None
    mean_gain: np.ndarray | None = None


def same_label(queries: dict, gallery: dict) -> Relevance:
    """Pair records that share a label; -1 is no label, and own ids are left out.

    Args:
        queries: Columns "id" and "label" of the queries, [q].
        gallery: The same of the gallery, [n].
    """
    labels = gallery["label"]
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], queries["label"], "left")
    last = np.searchsorted(labels[order], queries["label"], "right")
    counts = np.where(queries["label"] < 0, 0, last - first)
    query = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = order[np.repeat(first, counts) + within]
    other = queries["id"][query] != gallery["id"][row]
    return Relevance(query[other], row[other])


def shared_codes(queries: dict, gallery: dict, threshold: float, k: int) -> Relevance:
    """Pair records whose weighted Jaccard similarity of codes reaches a threshold.

    Args:
        queries: Columns "id" [q], "codes" and "code_weights" [q, C] of the queries.
        gallery: The same of the gallery, [n].
        threshold: In (0, 1].
        k: Gains to keep for the ideal ranking.
    """
    sides = [_weights(table) for table in (queries, gallery)]
    ideal = np.zeros((len(queries["id"]), k))
    total = np.zeros(len(ideal))
    found = []
    for start in range(0, len(gallery["id"]), BLOCK_ROWS):
        gallery_block = slice(start, start + BLOCK_ROWS)
        for at in range(0, len(ideal), BLOCK):
            block = slice(at, at + BLOCK)
            gain = _jaccard(sides[0], block, sides[1], gallery_block)  # [b, t]
            gain[queries["id"][block, None] == gallery["id"][None, gallery_block]] = 0
            total[block] += gain.sum(axis=1)
            both = np.concatenate([ideal[block], gain], axis=1)
            ideal[block] = -np.partition(-both, k - 1, axis=1)[:, :k]
            query, row = np.nonzero(gain >= threshold - ROUNDING)
            found.append((query + at, row + start))
    query, row = (np.concatenate(side) for side in zip(*found, strict=True))
    candidates = candidate_counts(queries["id"], gallery["id"])
    mean = total / np.maximum(candidates, 1)
    return Relevance(query, row, -np.sort(-ideal, axis=1), mean)


def candidate_counts(query_ids: np.ndarray, gallery_ids: np.ndarray) -> np.ndarray:
    """Return how many gallery records have another id than each query, [q]."""
    ids = np.sort(gallery_ids)
    own = np.searchsorted(ids, query_ids, "right") - np.searchsorted(ids, query_ids)
    return len(ids) - own


def gains_of(queries: dict, gallery: dict, rows: np.ndarray) -> np.ndarray:
    """Return the weighted Jaccard similarity to chosen rows [q, k]; 0 where row is -1.

    J = (weight of shared codes) / (weight of all codes that either carries), so that
    sharing a code which every second mark carries counts for little.
    """
    (codes, weights), (their_codes, their_weights) = map(_weights, (queries, gallery))
    same = codes[:, None, :, None] == their_codes[rows][:, :, None, :]  # [q, k, C, C]
    shared = (same.any(axis=3) * weights[:, None, :]).sum(axis=2)
    union = weights.sum(axis=1)[:, None] + their_weights[rows].sum(axis=2) - shared
    return np.where(rows < 0, 0.0, _ratio(shared, union))


def similarity(queries: dict, gallery: dict) -> np.ndarray:
    """Return the weighted Jaccard similarity of all pairs, [q, n]; see gains_of."""
    everything = slice(None)
    sides = [_weights(table) for table in (queries, gallery)]
    return _jaccard(sides[0], everything, sides[1], everything)


def _weights(table: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and weights [n, C], each code once a record, weight 0 elsewhere."""
    codes = np.asarray(table["codes"])
    order = np.argsort(codes, axis=1, kind="stable")
    codes = np.take_along_axis(codes, order, axis=1)
    weights = np.take_along_axis(
        np.asarray(table["code_weights"], float), order, axis=1
    )
    repeat = np.zeros(codes.shape, bool)
    repeat[:, 1:] = codes[:, 1:] == codes[:, :-1]
    codes = np.where(repeat, -1, codes)
    return codes, np.where(codes < 0, 0.0, weights)


def _jaccard(
    left: tuple, block: slice, right: tuple, gallery_block: slice
) -> np.ndarray:
    """Return weighted Jaccard similarities [b, t]; see gains_of."""
    codes, weights = left[0][block], left[1][block]
    their_codes, their_weights = right[0][gallery_block], right[1][gallery_block]
    names, index = np.unique(codes, return_inverse=True)
    table = np.zeros((len(codes), len(names) + 1))  # the last column: not carried
    np.put_along_axis(table, index.reshape(codes.shape), weights, axis=1)
    at = np.minimum(np.searchsorted(names, their_codes), len(names) - 1)
    known = (names[at] == their_codes) & (their_weights > 0)
    at = np.where(known, at, len(names))
    shared = sum(table[:, column] for column in at.T)
    union = weights.sum(1)[:, None] + their_weights.sum(1)[None, :] - shared
    return _ratio(shared, union)


def _ratio(shared: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)

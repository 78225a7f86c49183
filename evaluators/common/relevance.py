"""Which gallery records are relevant to which query, in bounded memory."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from losses.common.weighted_jaccard import jaccard_ratio, weighted_jaccard

GALLERY_BLOCK = 8192  # gallery rows in memory at once
QUERY_BLOCK = 64  # queries in memory at once
ROUNDING = 1e-9  # sums of weights in another order

Table = Mapping[str, Any]  # columns by name


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


class CodeSets(NamedTuple):
    """Sets of weighted codes, one a record.

    Attributes:
        codes: int [n, C], each code once a record, -1 where padded.
        weights: float64 [n, C], 0 where padded.
    """

    codes: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, table: Table) -> "CodeSets":
        """Return the sets of the columns `codes` and `code_weights`."""
        codes = np.asarray(table["codes"])
        order = np.argsort(codes, axis=1, kind="stable")
        codes = np.take_along_axis(codes, order, axis=1)
        weights = np.asarray(table["code_weights"], float)
        weights = np.take_along_axis(weights, order, axis=1)
        repeat = np.zeros(codes.shape, bool)
        repeat[:, 1:] = codes[:, 1:] == codes[:, :-1]
        codes = np.where(repeat, -1, codes)
        return cls(codes, np.where(codes < 0, 0.0, weights))

    def take(self, rows: np.ndarray | slice) -> "CodeSets":
        """Return the sets of chosen records."""
        return CodeSets(self.codes[rows], self.weights[rows])


def same_label(queries: Table, gallery: Table) -> Relevance:
    """Pair records that share a label, but no record with itself.

    Args:
        queries: Columns "id" and "label" of the queries, [q]; label -1 for none.
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


def shared_codes(queries: Table, gallery: Table, threshold: float, k: int) -> Relevance:
    """Pair records whose weighted Jaccard similarity of codes reaches a threshold.

    Args:
        queries: Columns "id" [q], "codes" and "code_weights" [q, C] of the queries.
        gallery: The same of the gallery, [n].
        threshold: In (0, 1].
        k: Gains to keep for the ideal ranking.
    """
    query_sets, gallery_sets = CodeSets.of(queries), CodeSets.of(gallery)
    ideal = np.zeros((len(queries["id"]), k))
    total = np.zeros(len(ideal))
    pairs = []
    for start in range(0, len(gallery["id"]), GALLERY_BLOCK):
        gallery_block = slice(start, start + GALLERY_BLOCK)
        for first in range(0, len(ideal), QUERY_BLOCK):
            block = slice(first, first + QUERY_BLOCK)
            gain = _pairwise_similarity(
                query_sets.take(block), gallery_sets.take(gallery_block)
            )  # [b, t]
            gain[queries["id"][block, None] == gallery["id"][None, gallery_block]] = 0
            total[block] += gain.sum(axis=1)
            both = np.concatenate([ideal[block], gain], axis=1)
            ideal[block] = -np.partition(-both, k - 1, axis=1)[:, :k]
            query, row = np.nonzero(gain >= threshold - ROUNDING)
            pairs.append((query + first, row + start))
    query, row = (np.concatenate(side) for side in zip(*pairs, strict=True))
    candidates = candidate_counts(queries["id"], gallery["id"])
    mean = total / np.maximum(candidates, 1)
    return Relevance(query, row, -np.sort(-ideal, axis=1), mean)


def has_relevant(
    queries: Table, gallery: Table, relevance: str, threshold: float
) -> bool:
    """Return whether a query has a relevant record that is not the query itself.

    Args:
        queries: Columns of the queries, "label" among them.
        gallery: The same of the gallery.
        relevance: "label" or "codes".
        threshold: Least similarity of relevant codes.
    """
    if relevance == "label":
        labels, counts = np.unique(gallery["label"], return_counts=True)
        place = np.minimum(np.searchsorted(labels, queries["label"]), len(labels) - 1)
        if not len(labels):
            return False
        counts = np.where(labels[place] == queries["label"], counts[place], 0)
        counts = counts - np.isin(queries["id"], gallery["id"])
        return bool((counts[queries["label"] >= 0] > 0).any())
    coded = np.flatnonzero((queries["codes"] >= 0).any(1))
    for start in range(0, len(coded), QUERY_BLOCK):
        rows = coded[start : start + QUERY_BLOCK]
        block = {name: np.asarray(column)[rows] for name, column in queries.items()}
        if len(shared_codes(block, gallery, threshold, 1).query):
            return True
    return False


def candidate_counts(query_ids: np.ndarray, gallery_ids: np.ndarray) -> np.ndarray:
    """Return how many gallery records have another id than each query, int [q]."""
    ids = np.sort(gallery_ids)
    first, last = (np.searchsorted(ids, query_ids, side) for side in ("left", "right"))
    return len(ids) - (last - first)


def gains_of(queries: Table, gallery: Table, rows: np.ndarray) -> np.ndarray:
    """Return the similarity of each query to chosen gallery rows, [q, k].

    Args:
        queries: Columns "codes" and "code_weights" of the queries, [q, C].
        gallery: The same of the gallery, [n, C].
        rows: int [q, k], gallery rows; -1 for none, which counts as 0.
    """
    left, right = CodeSets.of(queries), CodeSets.of(gallery).take(rows)
    gains = weighted_jaccard(
        left.codes[:, None], left.weights[:, None], right.codes, right.weights, np
    )
    return np.where(rows < 0, 0.0, gains)


def similarity(queries: Table, gallery: Table) -> np.ndarray:
    """Return the weighted Jaccard similarity of all pairs, [q, n].

    Args:
        queries: Columns "codes" and "code_weights" of the queries, [q, C].
        gallery: The same of the gallery, [n, C].
    """
    return _pairwise_similarity(CodeSets.of(queries), CodeSets.of(gallery))


def _pairwise_similarity(left: CodeSets, right: CodeSets) -> np.ndarray:
    """Return the weighted Jaccard similarities of all pairs, [b, t].

    A table of weights by code replaces the comparison of all codes of all pairs, which
    `weighted_jaccard` would hold in memory.
    """
    names, index = np.unique(left.codes, return_inverse=True)
    # Weight of each name in each left set; the last column is for codes without a name.
    table = np.zeros((len(left.codes), len(names) + 1))
    np.put_along_axis(table, index.reshape(left.codes.shape), left.weights, axis=1)
    column = np.minimum(np.searchsorted(names, right.codes), len(names) - 1)
    is_named = (names[column] == right.codes) & (right.weights > 0)
    column = np.where(is_named, column, len(names))
    shared = np.zeros((len(left.codes), len(right.codes)))
    for position in column.T:
        shared = shared + table[:, position]
    totals = left.weights.sum(1)[:, None], right.weights.sum(1)[None, :]
    return jaccard_ratio(shared, *totals, np)

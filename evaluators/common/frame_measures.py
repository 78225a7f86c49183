"""What is measured of a query's ranked candidates: likeness, a column, labels.

A measure is shown the queries block by block: once which frames are their candidates
(`expect`, for chance), and in every run how they rank (`rank`). `figures` is what it
then has to say.
"""

from typing import NamedTuple

import numpy as np

from evaluators.metrics import column_error, ranking
from evaluators.metrics.structural_similarity import Similarity
from evaluators.search.temporal import Frames


class Figure(NamedTuple):
    """One figure of some queries.

    Attributes:
        values: [m], of each query.
        chance: [m], the same of candidates in random order; of a median, its own [].
        queries: int [m].
        kind: "mean", "share" (a mean of values between 0 and 1) or "median".
    """

    values: np.ndarray
    chance: np.ndarray
    queries: np.ndarray
    kind: str = "mean"


class Likeness:
    """Mean SSIM of a query with its k nearest, for some of the queries.

    Args:
        queries: All of them.
        gallery: What they are looked for in.
        k: Cut-offs.
        chosen: The queries it is measured for, rising.
        seed: Of the candidates drawn at random, max(k) a query.
    """

    def __init__(self, queries: Frames, gallery: Frames, k, chosen, seed: int):
        self._similarity = Similarity(queries, gallery)
        self._k, self._chosen = k, chosen
        self._rng = np.random.default_rng(seed)
        self._drawn, self._near = {}, {}

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Draw candidates: mask bool [b, n] of queries [b]."""
        for i in np.intersect1d(block, self._chosen):
            rows = np.flatnonzero(mask[i - block[0]])
            count = min(self._k[-1], len(rows))
            self._drawn[i] = self._rng.choice(rows, count, replace=False)

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> None:
        """Keep the nearest: gallery rows near [b, k], -1 where there is none."""
        for i in np.intersect1d(block, self._chosen):
            rows = near[i - block[0], : self._k[-1]]
            self._near[i] = rows[rows >= 0]

    def figures(self) -> dict[str, Figure]:
        """Return ssim@k."""
        near = [self._similarity(i, self._near[i]) for i in self._chosen]
        drawn = [self._similarity(i, self._drawn[i]).mean() for i in self._chosen]
        return {
            f"ssim@{k}": Figure(
                np.array([values[:k].mean() for values in near]),
                np.array(drawn),
                self._chosen,
            )
            for k in self._k
        }


class Errors:
    """How far off the nearest frame is in a column of numbers.

    Frames whose value is missing are passed over.

    Args:
        own: The column of the queries, [q]; nan where missing.
        theirs: The same of the gallery, [n].
        period: Of the column; 0 for none.
    """

    def __init__(self, own: np.ndarray, theirs: np.ndarray, period: float):
        self._own, self._theirs, self._period = own, theirs, period
        self._error, self._mean = np.full((2, len(own)), np.nan)
        self._quantiles = []

    def _off(self, block: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Errors [b, n], nan where missing or not a candidate."""
        off = column_error.difference(
            self._own[block, None], self._theirs[None, :], self._period
        )
        return np.where(mask, off, np.nan)

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Take in the errors of all candidates: mask bool [b, n] of queries [b]."""
        for i, off in zip(block, self._off(block, mask), strict=True):
            off = off[np.isfinite(off)]
            if len(off):
                self._mean[i] = off.mean()
                self._quantiles.append(column_error.quantiles(off))

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> None:
        """Take the error of the best of the scores [b, n]; -inf is no candidate."""
        off = self._off(block, np.isfinite(scores))
        best = np.argmax(np.where(np.isfinite(off), scores, -np.inf), axis=1)
        self._error[block] = np.take_along_axis(off, best[:, None], axis=1)[:, 0]

    @property
    def chance(self) -> float:
        """Median error of candidates drawn at random; nan without any."""
        return float(np.median(self._quantiles)) if self._quantiles else np.nan

    def relevant(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return which gallery rows are less than half of chance off, bool [k]."""
        off = column_error.difference(
            self._own[query], self._theirs[rows], self._period
        )
        return off < self.chance / 2

    def figures(self) -> dict[str, Figure]:
        """Return error, a median, and error_mean."""
        queries = np.flatnonzero(np.isfinite(self._mean))
        error = self._error[queries]
        return {
            "error": Figure(error, np.array(self.chance), queries, "median"),
            "error_mean": Figure(error, self._mean[queries], queries),
        }


class Labels:
    """Recall and average precision of candidates that share the query's label.

    Args:
        own: Labels of the queries, int [q]; -1 for none.
        theirs: The same of the gallery, [n].
        k: Cut-offs.
    """

    def __init__(self, own: np.ndarray, theirs: np.ndarray, k: tuple[int, ...]):
        self._own, self._theirs, self._k = own, theirs, k
        self._counts = np.zeros((2, len(own)), int)  # candidates, and relevant ones
        self._values = {
            name: np.zeros(len(own)) for name in (*(f"recall@{at}" for at in k), "map")
        }

    def _same(self, block: np.ndarray) -> np.ndarray:
        own = self._own[block, None]
        return (own == self._theirs[None, :]) & (own >= 0)  # [b, n]

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count candidates and relevant ones: mask bool [b, n] of queries [b]."""
        both = mask & self._same(block)
        self._counts[:, block] = mask.sum(axis=1), both.sum(axis=1)

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> None:
        """Rank the scores [b, n]; ties go to the smaller id, -inf is no candidate."""
        order = np.argsort(-scores, axis=1, kind="stable")
        relevant = self._same(block) & np.isfinite(scores)
        query, place = np.nonzero(np.take_along_axis(relevant, order, axis=1))
        kept, query = np.unique(query, return_inverse=True)
        found = query, len(kept)
        for at in self._k:
            recall = ranking.recall_at(place + 1, *found, at)
            self._values[f"recall@{at}"][block[kept]] = recall
        average = ranking.average_precision(place + 1, *found)
        self._values["map"][block[kept]] = average

    def relevant(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return which gallery rows have the query's label, bool [k]."""
        return (self._theirs[rows] == self._own[query]) & (self._own[query] >= 0)

    def figures(self) -> dict[str, Figure]:
        """Return recall@k and map, of queries with a relevant candidate."""
        queries = np.flatnonzero(self._counts[1])
        n, r = self._counts[:, queries]
        chance = {f"recall@{k}": ranking.recall_at_chance(n, r, k) for k in self._k}
        chance["map"] = ranking.average_precision_chance(n, r)
        return {
            name: Figure(values[queries], chance[name], queries, "share")
            for name, values in self._values.items()
        }

"""What is measured of a query's ranked candidates: SSIM, a column, labels.

A measure gets the queries block by block: when an evaluator is built, which frames are
their candidates (`expect`, for chance levels), and in every run how these rank (`rank`,
which returns values and leaves the measure as it is). For intervals, `rank` is called
again with the clips of a fold left out of the gallery.
"""

from typing import Protocol

import numpy as np

from evaluators.common.frame_figures import Figure, Ranked
from evaluators.common.metric import DIAGNOSTIC, ERROR, HEADLINE, SIMILARITY
from evaluators.common.summary import recall_type
from evaluators.metrics import chance, column_error, ranking
from evaluators.metrics.intervals import COSINE, POSITIVE_TAIL, SHARE, Bounds
from evaluators.metrics.structural_similarity import check_sides, mean_ssim
from evaluators.metrics.ties import nearly_tied, tied_by_chance
from evaluators.search.temporal import Candidates, Frames

Values = dict[str, np.ndarray]  # by name, one value a query


class Measure(Protocol):
    """Something measured of ranked candidates."""

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count the candidates, mask bool [b, n], of queries [b] for chance levels."""
        ...

    def check(self) -> None:
        """Raise ValueError if no query can be measured, once all are counted."""
        ...

    def rank(self, block: np.ndarray, ranked: Ranked) -> Values:
        """Return values of queries [b], nan where there is nothing to measure.

        Args:
            block: int [b], queries.
            ranked: Their candidates.
        """
        ...

    def figures(self, values: Values) -> dict[str, Figure]:
        """Return the figures from the values of all queries, [q] each."""
        ...


class Likeness:
    """Mean SSIM of a query with its k nearest, for some of the queries.

    Args:
        queries: Stored frames.
        gallery: Stored frames that are searched.
        k: Cut-offs, rising.
        chosen: int, the queries it is measured for, rising.
        seed: Random seed of the candidates that chance is measured on, max(k) a query.

    Raises:
        ValueError: If a frame has a side below 3 pixels.
    """

    def __init__(
        self,
        queries: Frames,
        gallery: Frames,
        k: tuple[int, ...],
        chosen: np.ndarray,
        seed: int,
    ):
        check_sides(*queries.read(np.zeros(1, int)).shape[1:])
        self._queries, self._gallery = queries, gallery
        self._k, self._chosen = k, chosen
        self._rng = np.random.default_rng(seed)
        self._chance: dict[int, float] = {}
        self._measured: dict[int, dict[int, float]] = {}  # query -> gallery row -> SSIM

    def _ssim(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return the SSIM of one query with gallery rows, [m]."""
        measured = self._measured.setdefault(query, {})
        new = np.array([row for row in rows.tolist() if row not in measured], int)
        if len(new):
            frame = self._queries.read(np.array([query]))[0]
            for row, near in zip(new.tolist(), self._gallery.read(new), strict=True):
                measured[row] = mean_ssim(frame, near)
        return np.array([measured[row] for row in rows.tolist()])

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Measure candidates drawn at random."""
        for i in np.intersect1d(block, self._chosen):
            rows = np.flatnonzero(mask[i - block[0]])
            count = min(self._k[-1], len(rows))
            drawn = self._rng.choice(rows, count, replace=False)
            self._chance[int(i)] = self._ssim(i, drawn).mean()

    def check(self) -> None:
        """Every query with a candidate has a similarity."""

    def rank(self, block: np.ndarray, ranked: Ranked) -> Values:
        """Return ssim@k [b]; nan for queries that are not chosen."""
        values = {f"ssim@{k}": np.full(len(block), np.nan) for k in self._k}
        near = ranked.nearest(self._k[-1])
        for i in np.intersect1d(block, self._chosen):
            row = i - block[0]
            rows = near[row][near[row] >= 0]
            if len(rows):
                ssim = self._ssim(int(i), rows)
                for k in self._k:
                    values[f"ssim@{k}"][row] = ssim[:k].mean()
        return values

    def figures(self, values: Values) -> dict[str, Figure]:
        """Return ssim@k."""
        level = np.array([self._chance[int(i)] for i in self._chosen])
        return {
            name: Figure(ssim[self._chosen], level, self._chosen, SIMILARITY, COSINE)
            for name, ssim in values.items()
        }


class ColumnErrors:
    """Error of the nearest frame in a column of numbers.

    Frames whose value is missing are passed over.

    Args:
        queries: The column of the queries, [q]; nan where missing.
        gallery: The same of the gallery, [n].
        period: Period of the column; 0 for none.
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray, period: float):
        self._queries, self._gallery, self._period = queries, gallery, period
        self._mean = np.full(len(queries), np.nan)
        self._quantiles: list[np.ndarray] = []

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count the errors of all candidates."""
        all_errors = column_error.difference(
            self._queries[block, None], self._gallery[None, :], self._period
        )
        for i, row, errors in zip(block, mask, all_errors, strict=True):
            errors = errors[row & np.isfinite(errors)]
            if len(errors):
                self._mean[i] = errors.mean()
                self._quantiles.append(column_error.quantiles(errors))

    def check(self) -> None:
        """Raise ValueError if no query and candidate have values."""
        if not self._quantiles:
            raise ValueError(
                "no query and candidate of it have a value in the column; set column "
                "to another, or column="
            )

    def rank(self, block: np.ndarray, ranked: Ranked) -> Values:
        """Return the error of the best candidate that has a value, [b]."""
        errors = column_error.difference(
            self._queries[block, None], self._gallery[ranked.rows], self._period
        )
        errors = np.where(ranked.valid, errors, np.nan)
        best = np.argmax(np.isfinite(errors), axis=1)
        error = np.take_along_axis(errors, best[:, None], axis=1)[:, 0]
        return {"error": error, "error_mean": error}

    @property
    def chance(self) -> float:
        """Median error of candidates drawn at random; nan without any."""
        return float(np.median(self._quantiles)) if self._quantiles else np.nan

    def relevant(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return which gallery rows are less than half of chance off, bool [k]."""
        errors = column_error.difference(
            self._queries[query], self._gallery[rows], self._period
        )
        return errors < self.chance / 2

    def figures(self, values: Values) -> dict[str, Figure]:
        """Return error, a median, and error_mean."""
        queries = np.flatnonzero(np.isfinite(self._mean))
        error = values["error"][queries]
        level, bounds = np.array(self.chance), POSITIVE_TAIL
        if self._period:
            bounds = Bounds(0.0, self._period / 2, has_tail=True)
        return {
            "error": Figure(error, level, queries, ERROR, bounds, "median"),
            "error_mean": Figure(error, self._mean[queries], queries, ERROR, bounds),
        }


class LabelRanks:
    """Recall and average precision of candidates that share the query's label.

    Args:
        queries: Labels of the queries, int [q]; -1 for none.
        gallery: The same of the gallery, [n].
        k: Cut-offs.
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray, k: tuple[int, ...]):
        self._queries, self._gallery, self._k = queries, gallery, k
        # Candidates of each query, and relevant ones among them.
        self._counts = np.zeros((2, len(queries)), int)

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count candidates and relevant ones."""
        label = self._queries[block, None]
        relevant = mask & (label == self._gallery[None, :]) & (label >= 0)  # [b, n]
        self._counts[:, block] = mask.sum(axis=1), relevant.sum(axis=1)

    def check(self) -> None:
        """Raise ValueError if no query has a candidate of its label."""
        if not self._counts[1].any():
            raise ValueError(
                "no query has a candidate of its label, outside its window and what "
                "is apart; set window to fewer seconds, or labels=False"
            )

    def rank(self, block: np.ndarray, ranked: Ranked) -> Values:
        """Return recall@k and map, nan without a relevant candidate."""
        label = self._queries[block, None]
        relevant = (label == self._gallery[ranked.rows]) & (label >= 0) & ranked.valid
        query, place = np.nonzero(relevant)
        kept, query = np.unique(query, return_inverse=True)
        names = (*(f"recall@{k}" for k in self._k), "map")
        values = {name: np.full(len(block), np.nan) for name in names}
        for k in self._k:
            recall = ranking.recall_at(place + 1, query, len(kept), k)
            values[f"recall@{k}"][kept] = recall
        precision = ranking.average_precision(place + 1, query, len(kept))
        values["map"][kept] = precision
        return values

    def relevant(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return which gallery rows have the query's label, bool [k]."""
        label = self._queries[query]
        return (self._gallery[rows] == label) & (label >= 0)

    def figures(self, values: Values) -> dict[str, Figure]:
        """Return recall@k and map, of queries with a relevant candidate."""
        queries = np.flatnonzero(self._counts[1])
        n, r = self._counts[:, queries]
        figures = {
            f"recall@{k}": Figure(
                values[f"recall@{k}"][queries],
                chance.recall_at(n, r, k),
                queries,
                recall_type(k),
                SHARE,
            )
            for k in self._k
        }
        figures["map"] = Figure(
            values["map"][queries],
            chance.average_precision(n, r),
            queries,
            HEADLINE,
            SHARE,
        )
        return figures


class NearTies:
    """Whether the best scores of a query are too close to tell records apart.

    Args:
        candidates: Candidates of the queries.
        depth: Best scores that are compared.
        width: Dimension of the embeddings.
        within: Cosine; closer scores count as tied.
        seed: Random seed of the scores that chance is measured on.
    """

    def __init__(
        self, candidates: Candidates, depth: int, width: int, within: float, seed: int
    ):
        self._candidates, self._depth, self._width = candidates, depth, width
        self._within, self._seed = within, seed

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Do nothing: chance needs no more than the number of candidates."""
        del block, mask

    def check(self) -> None:
        """Every query with a candidate has scores."""

    def rank(self, block: np.ndarray, ranked: Ranked) -> Values:
        """Return near_ties [b], nan without a candidate."""
        del block
        best = ranked.scores[:, : self._depth]
        tied = nearly_tied(best, self._within) * 1.0
        return {"near_ties": np.where(ranked.valid[:, :1].any(axis=1), tied, np.nan)}

    def figures(self, values: Values) -> dict[str, Figure]:
        """Return near_ties."""
        tied, counts = values["near_ties"], self._candidates.counts()
        level = tied_by_chance(
            counts, self._depth, self._width, self._seed, self._within
        )
        return {
            "near_ties": Figure(tied, level, np.arange(len(tied)), DIAGNOSTIC, SHARE)
        }

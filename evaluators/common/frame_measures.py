"""What is measured of a query's ranked candidates: SSIM, a column, labels.

A measure gets the queries block by block: when an evaluator is built, which frames are
their candidates (`expect`, for chance levels), and in every run how these rank (`rank`,
which returns values and leaves the measure as it is).
"""

from typing import Literal, NamedTuple, Protocol

import numpy as np

from evaluators.common.metric import (
    ERROR,
    HEADLINE,
    SIMILARITY,
    Metric,
    MetricType,
)
from evaluators.common.summary import recall_type
from evaluators.metrics import chance, column_error, ranking
from evaluators.metrics.intervals import mean_metric, median_metric
from evaluators.metrics.structural_similarity import check_sides, mean_ssim
from evaluators.search.temporal import Frames

Values = dict[str, np.ndarray]  # by name, one value a query


class Figure(NamedTuple):
    """One figure of some queries.

    Attributes:
        values: [m].
        chance: [m], the same of candidates in random order; of a median, one level [].
        queries: int [m].
        type: Kind and direction.
        statistic: "mean", "share" (a mean of values between 0 and 1) or "median".
    """

    values: np.ndarray
    chance: np.ndarray
    queries: np.ndarray
    type: MetricType
    statistic: Literal["mean", "share", "median"] = "mean"

    def metric(self, groups: np.ndarray, seed: int) -> Metric:
        """Return the statistic over queries with its interval.

        Args:
            groups: int, of all queries; those of one group are not independent.
            seed: Random seed of the bootstrap.
        """
        groups = groups[self.queries]
        if self.statistic == "median":
            return median_metric(
                self.values, float(self.chance), groups, seed, self.type
            )
        share = self.statistic == "share"
        return mean_metric(
            self.values, self.chance, groups, seed, self.type, share=share
        )


class Measure(Protocol):
    """Something measured of ranked candidates."""

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count the candidates, mask bool [b, n], of queries [b] for chance levels."""
        ...

    def check(self) -> None:
        """Raise ValueError if no query can be measured, once all are counted."""
        ...

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> Values:
        """Return values of queries [b].

        Args:
            block: int [b], queries.
            scores: [b, n] with all gallery frames; -inf is no candidate.
            near: int [b, k], gallery rows of the nearest; -1 where there is none.
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

    def _ssim(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return the SSIM of one query with gallery rows, [m]."""
        frame = self._queries.read(np.array([query]))[0]
        return np.array([mean_ssim(frame, near) for near in self._gallery.read(rows)])

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Measure candidates drawn at random."""
        for i in np.intersect1d(block, self._chosen):
            rows = np.flatnonzero(mask[i - block[0]])
            count = min(self._k[-1], len(rows))
            drawn = self._rng.choice(rows, count, replace=False)
            self._chance[int(i)] = self._ssim(i, drawn).mean()

    def check(self) -> None:
        """Every query with a candidate has a similarity."""

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> Values:
        """Return ssim@k [b]; nan for queries that are not chosen."""
        del scores
        values = {f"ssim@{k}": np.full(len(block), np.nan) for k in self._k}
        for i in np.intersect1d(block, self._chosen):
            row = i - block[0]
            rows = near[row, : self._k[-1]]
            ssim = self._ssim(i, rows[rows >= 0])
            for k in self._k:
                values[f"ssim@{k}"][row] = ssim[:k].mean()
        return values

    def figures(self, values: Values) -> dict[str, Figure]:
        """Return ssim@k."""
        level = np.array([self._chance[int(i)] for i in self._chosen])
        return {
            name: Figure(ssim[self._chosen], level, self._chosen, SIMILARITY)
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

    def _errors(self, block: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return errors [b, n], nan where missing or not a candidate."""
        errors = column_error.difference(
            self._queries[block, None], self._gallery[None, :], self._period
        )
        return np.where(mask, errors, np.nan)

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count the errors of all candidates."""
        for i, errors in zip(block, self._errors(block, mask), strict=True):
            errors = errors[np.isfinite(errors)]
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

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> Values:
        """Return the error of the best candidate that has a value, [b]."""
        del near
        errors = self._errors(block, np.isfinite(scores))
        best = np.argmax(np.where(np.isfinite(errors), scores, -np.inf), axis=1)
        return {"error": np.take_along_axis(errors, best[:, None], axis=1)[:, 0]}

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
        level = np.array(self.chance)
        return {
            "error": Figure(error, level, queries, ERROR, "median"),
            "error_mean": Figure(error, self._mean[queries], queries, ERROR),
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

    def _same_label(self, block: np.ndarray) -> np.ndarray:
        label = self._queries[block, None]
        return (label == self._gallery[None, :]) & (label >= 0)  # [b, n]

    def expect(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Count candidates and relevant ones."""
        relevant = mask & self._same_label(block)
        self._counts[:, block] = mask.sum(axis=1), relevant.sum(axis=1)

    def check(self) -> None:
        """Raise ValueError if no query has a candidate of its label."""
        if not self._counts[1].any():
            raise ValueError(
                "no query has a candidate of its label, outside its window and what "
                "is apart; set window to fewer seconds, or labels=False"
            )

    def rank(self, block: np.ndarray, scores: np.ndarray, near: np.ndarray) -> Values:
        """Return recall@k and map, 0 without a relevant candidate.

        Ties go to the smaller id.
        """
        del near
        order = np.argsort(-scores, axis=1, kind="stable")
        relevant = self._same_label(block) & np.isfinite(scores)
        query, place = np.nonzero(np.take_along_axis(relevant, order, axis=1))
        kept, query = np.unique(query, return_inverse=True)
        names = (*(f"recall@{k}" for k in self._k), "map")
        values = {name: np.zeros(len(block)) for name in names}
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
                "share",
            )
            for k in self._k
        }
        figures["map"] = Figure(
            values["map"][queries],
            chance.average_precision(n, r),
            queries,
            HEADLINE,
            "share",
        )
        return figures

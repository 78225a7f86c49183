"""Ranked candidates of frames, and figures with intervals that leave out clips.

A clip is searched from and searched in: leaving out its queries alone would miss what
it does to the queries of other clips.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from evaluators.common.metric import Metric, MetricType
from evaluators.metrics.intervals import (
    LEAST,
    Bounds,
    LeftOut,
    interval,
    median_interval,
)


class Figure(NamedTuple):
    """One figure of some queries.

    Attributes:
        values: [m].
        chance: [m], the same of candidates in random order; of a median, one level [].
        queries: int [m].
        type: Kind and direction.
        bounds: Least and largest value that there can be.
        statistic: Over queries.
    """

    values: np.ndarray
    chance: np.ndarray
    queries: np.ndarray
    type: MetricType
    bounds: Bounds
    statistic: Literal["mean", "median"] = "mean"

    def metric(
        self, groups: np.ndarray, fold: np.ndarray, without: Sequence[np.ndarray]
    ) -> Metric:
        """Return the statistic over queries with its interval.

        Args:
            groups: int [q], of all queries; those of one group are not independent.
            fold: int [q], 0..F-1; those of one group are in one fold.
            without: F arrays [q], values of all queries where the groups of a fold are
                no candidates, nan where there is nothing to measure.
        """
        m = len(self.values)
        if not m:
            return Metric(np.nan, 0, np.nan, np.nan, np.nan, *self.type)
        rest = [x[(fold != i) & ~np.isnan(x)] for i, x in enumerate(without)]
        sizes = np.bincount(fold[self.queries], minlength=len(without))
        if not all(map(len, rest)) or len(rest) < 2:
            low, high = np.nan, np.nan
        elif self.statistic == "median":
            median = np.median(self.values)
            below = [((x < median) + (x <= median)).mean() / 2 for x in rest]
            low, high = median_interval(
                self.values, LeftOut(0.5, np.array(below), sizes)
            )
        else:
            means = np.array([x.mean() for x in rest])
            low, high = interval(
                LeftOut(float(self.values.mean()), means, sizes),
                self.bounds,
                least=LEAST * float(self.values.var()) / m,
                groups=len(np.unique(groups[self.queries])),
            )
        value = np.median if self.statistic == "median" else np.mean
        return Metric(
            float(value(self.values)),
            m,
            float(np.mean(self.chance)),
            low,
            high,
            *self.type,
        )


class Ranked(NamedTuple):
    """Candidates of some queries, best first.

    Attributes:
        rows: int [b, m], gallery rows; those that are no candidates are last.
        scores: [b, m], falling; -inf where not a candidate.
    """

    rows: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> "Ranked":
        """Rank by scores [b, n], -inf where not a candidate; ties by gallery row."""
        rows = np.argsort(-scores, axis=1, kind="stable")
        return cls(rows, np.take_along_axis(scores, rows, axis=1))

    def without(self, left_out: np.ndarray) -> "Ranked":
        """Return the ranking without some of the gallery, bool [n]."""
        kept = ~left_out[self.rows]
        shape = len(kept), -1
        return Ranked(self.rows[kept].reshape(shape), self.scores[kept].reshape(shape))

    @property
    def valid(self) -> np.ndarray:
        """Which are candidates, bool [b, m]."""
        return np.isfinite(self.scores)

    def nearest(self, k: int) -> np.ndarray:
        """Return the k nearest gallery rows, int [b, k]; -1 where there is none."""
        return np.where(self.valid, self.rows, -1)[:, :k]

"""Ranked candidates of frames, and figures with intervals that leave out clips.

A clip is searched from and searched in: leaving out its queries alone would miss what
it does to the queries of other clips.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from evaluators.common.metric import Metric, MetricType
from evaluators.metrics.intervals import Bounds, interval, median_interval
from evaluators.metrics.left_out import deal_folds
from evaluators.metrics.search_means import searched_mean

STRETCHES = 10  # parts of a single clip


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
        self,
        groups: np.ndarray,
        folds: np.ndarray,
        without: Sequence[np.ndarray],
        removed: np.ndarray | None,
    ) -> Metric:
        """Return the statistic over queries with its interval.

        Args:
            groups: int [q], of all queries; those of one group are not independent.
            folds: int [q], 0..F-1; those of one group are in one fold.
            without: F arrays [q], values of all queries where the groups of a fold are
                no candidates, nan where there is nothing to measure.
            removed: int [F], gallery frames of each fold; None where there are none.
        """
        m = len(self.values)
        if not m:
            return Metric(np.nan, 0, np.nan, np.nan, np.nan, *self.type)
        rows, chance = self.queries, float(np.mean(self.chance))
        changed = [x[rows] for x in without]
        queries = groups[rows], folds[rows]
        if self.statistic == "mean":
            mean = searched_mean(self.values, *queries, changed, removed)
            ends = interval(mean, self.bounds)
            return Metric(mean.value, m, chance, *ends, *self.type)
        median = float(np.median(self.values))
        below = searched_mean(
            _share_below(self.values, median),
            *queries,
            [_share_below(x, median) for x in changed],
            removed,
        )
        ends = median_interval(self.values, below)
        return Metric(median, m, chance, *ends, *self.type)


def _share_below(values: np.ndarray, median: float) -> np.ndarray:
    """Return 1 below the median, 1/2 at it, 0 above; nan stays."""
    share = np.where(values < median, 1.0, np.where(values > median, 0.0, 0.5))
    return np.where(np.isnan(values), np.nan, share)


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


def deal_clips(
    queries: dict[str, np.ndarray], gallery: dict[str, np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the clips of queries, and the folds in which clips are left out.

    Args:
        queries: Columns "id", "clip" and "time", [q].
        gallery: The same, [n].
        seed: Random seed of the folds.

    Returns:
        Groups of the queries, int [q]: clips, or tenths of a single one; their folds,
        0..F-1, int [q]; and those of gallery frames, -1 for none, int [n].
    """
    groups, gallery_groups = _clip_groups(queries, gallery)
    names, group = np.unique(groups, return_inverse=True)
    folds = deal_folds(groups, seed)
    fold_of = np.empty(len(names), int)
    fold_of[group] = folds
    place = np.minimum(np.searchsorted(names, gallery_groups), len(names) - 1)
    is_asked = names[place] == gallery_groups
    return groups, folds, np.where(is_asked, fold_of[place], -1)


def _clip_groups(
    queries: dict[str, np.ndarray], gallery: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips of queries [q] and gallery frames [n], int.

    Queries of a single clip are in tenths of it, numbered from 0, and so are its frames
    in the gallery; those of other clips are -1.
    """
    clips = np.concatenate([queries["clip"], gallery["clip"]])
    number = np.unique(clips, return_inverse=True)[1]
    q = len(queries["clip"])
    if (number[:q] != number[0]).any():
        return number[:q], number[q:]
    place = np.argsort(np.lexsort((queries["id"], queries["time"])))
    tenth = place * STRETCHES // len(place)
    begins = [queries["time"][tenth == i].min() for i in np.unique(tenth)]
    at = np.searchsorted(begins, gallery["time"], "right") - 1
    at = np.unique(tenth)[np.maximum(at, 0)]
    return tenth, np.where(number[q:] == number[0], at, -1)

"""Next vector: is the vector that follows a context nearest to its prediction?

Queries are windows of held-out articles; the pool is every vector of those articles,
less the context of the query, which could be retrieved by copying it.
"""

import dataclasses
import functools
import math
from typing import Annotated

import numpy as np
from annotated_types import Interval

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.evaluator import (
    EvaluatorBase,
    Examples,
    check_cut_offs,
    sorted_cut_offs,
)
from evaluators.common.fields import CutOffs
from evaluators.common.metric import (
    ERROR,
    SIMILARITY,
    Metric,
    Metrics,
    MetricType,
)
from evaluators.common.protocols import Data, Embed, Split
from evaluators.metrics.intervals import COSINE, SHARE, Bounds, mean_metric
from evaluators.search import exact as exact_search

GAP = MetricType("diagnostic", "lower")


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Queries and pool of a dataset.

    Attributes:
        pool: Split of single vectors.
        pool_rows: int [n], its rows that are searched, rising.
        rows: int [q], windows that are queries.
        target_row: int [q], place of each target in `pool_rows`.
        context_rows: int [q, l], places of each query's context; -1 where not there.
        train_rows: int, windows of training.
    """

    pool: Split
    pool_rows: np.ndarray
    rows: np.ndarray
    target_row: np.ndarray
    context_rows: np.ndarray
    train_rows: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """Cosine of prediction and target, and the target's rank in the pool.

      cosine        mean_i cos(p_i, t_i); chance: cosines with the whole pool
      recall@k      share of queries whose target is among the k best of the pool
      mean_rank     mean place of the target, 1 the best
      train_cosine  cosine on windows of the articles in training
      gap           train_cosine - cosine, the part that was memorized

    Ties count against the prediction. Queries of one article are not independent;
    intervals draw whole articles. The data needs the split `extra["pool"]` and the
    column `vector`.

    Attributes:
        k: Cut-offs.
        pool: Vectors to be searched, drawn by seed; 0 for all. Queries are then those
            whose target was drawn.
        max_queries: Most queries; of more, a sample is drawn by seed; 0 for all.
    """

    k: CutOffs = (1, 5, 10, 50)
    pool: Annotated[int, Interval(ge=0, le=100_000_000)] = 0
    max_queries: Annotated[int, Interval(ge=0, le=1_000_000)] = 0

    def tags(self) -> list[str]:
        """Return cosine, recall@k, mean_rank, train_cosine and gap."""
        recalls = [f"recall@{k}" for k in sorted_cut_offs(self.k)]
        return ["cosine", *recalls, "mean_rank", "train_cosine", "gap"]

    def _check_fields(self) -> None:
        check_cut_offs(self.k)

    def _check_data(self, data: Data) -> None:
        if "pool" not in data.extra:
            raise ValueError(
                "got data without a pool of vectors; expected one of the datasets of "
                "windows, articles or topics"
            )
        _ = self._sample

    @functools.cached_property
    def _sample(self) -> _Sample:
        data, seed = self._data, self._seed
        pool, split = data.extra["pool"], data.validation
        pool_rows = embeddings.sample_rows(len(pool), self.pool or len(pool), seed)
        vectors = pool.table["vector"][pool_rows]  # rising
        target = split.table["vector"]
        available = np.flatnonzero(np.isin(target, vectors))
        if not len(available):
            raise ValueError(
                f"got pool={self.pool}, which holds the target of no window"
            )
        most = self.max_queries or len(available)
        rows = available[embeddings.sample_rows(len(available), most, seed)]
        context = split.read(rows[:1])["context"].shape[1]
        return _Sample(
            pool,
            pool_rows,
            rows,
            np.searchsorted(vectors, target[rows]),
            _context_rows(vectors, target[rows], context),
            embeddings.sample_rows(len(data.train), len(rows), seed),
        )

    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        sample, split, seed = self._sample, self._data.validation, self._seed
        parts = [(sample.pool, sample.pool_rows)]
        pool = embeddings.embed_required(embed, parts, embeddings.TARGET_VIEW)
        q = embeddings.embed_required(embed, [(split, sample.rows)])  # [q, d]
        rank = self._ranks(q, pool)
        n = len(pool) - (sample.context_rows >= 0).sum(1)  # candidates of each query
        groups = split.table["label"][sample.rows]
        cosine = _cosine(q, pool[sample.target_row])
        metrics = {
            "cosine": mean_metric(
                cosine, q @ pool.mean(0), groups, SIMILARITY, bounds=COSINE
            )
        }
        for k in sorted_cut_offs(self.k):
            metrics[f"recall@{k}"] = mean_metric(
                rank <= k,
                np.minimum(k, n) / n,
                groups,
                summary.recall_type(k),
                bounds=SHARE,
            )
        metrics["mean_rank"] = mean_metric(
            rank, (n + 1) / 2, groups, ERROR, bounds=Bounds(1.0, float(n.max()), True)
        )
        metrics["train_cosine"] = self._train_cosine(embed)
        metrics["gap"] = _difference(metrics["train_cosine"], metrics["cosine"])
        examples = examples_lib.of_search(
            q,
            pool,
            split.table["id"][sample.rows],
            sample.pool.table["id"][sample.pool_rows],
            rank == 1,
            (np.arange(len(q)), sample.target_row),
            seed=seed,
            includes_itself=True,
            excluded=sample.context_rows,
        )
        return metrics, functools.partial(examples_lib.pick, [examples])

    def _ranks(self, q: np.ndarray, pool: np.ndarray) -> np.ndarray:
        """Return the rank of each target in the pool without the context, int [q]."""
        query, context = np.arange(len(q)), self._sample.context_rows  # context [q, l]
        target = self._sample.target_row
        ranks = exact_search.ranks_of(q, pool, query, target)
        exact = q.astype(np.float64)
        score = np.einsum("qd,qd->q", exact, pool[target])
        score = score.astype(np.float32)
        near = np.einsum("qd,qld->ql", exact, pool[np.maximum(context, 0)])
        near = near.astype(np.float32)
        ahead = ((context >= 0) & (near >= score[:, None])).sum(1)
        return ranks.above + ranks.tied - ahead

    def _train_cosine(self, embed: Embed) -> Metric:
        train, rows = self._data.train, self._sample.train_rows
        q = embeddings.embed_required(embed, [(train, rows)])
        t = embeddings.embed_required(embed, [(train, rows)], embeddings.TARGET_VIEW)
        cosine = _cosine(q, t)
        groups = train.table["label"][rows]
        return mean_metric(cosine, q @ t.mean(0), groups, SIMILARITY, bounds=COSINE)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines of unit vectors [n, d], float64 [n]."""
    return np.asarray(np.sum(a * b, 1, dtype=np.float64))


def _context_rows(vectors: np.ndarray, target: np.ndarray, context: int) -> np.ndarray:
    """Return the pool rows of each query's context, int [q, l]; -1 where not there.

    Args:
        vectors: int [n], numbers of the vectors in the pool, rising.
        target: int [q], number of each query's target.
        context: Length of a context.
    """
    number = target[:, None] - np.arange(1, context + 1)[None, :]
    row = np.minimum(np.searchsorted(vectors, number), len(vectors) - 1)
    return np.where(vectors[row] == number, row, -1)


def _difference(a: Metric, b: Metric) -> Metric:
    """Return a - b of independent samples; the chance level is 0."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Metric(value, min(a.n, b.n), 0.0, low, high, *GAP)

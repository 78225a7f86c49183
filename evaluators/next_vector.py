"""Next vector: is what follows a context found where the prediction points?

Queries are windows of the articles held out; the pool is every vector of those
articles, less the query's own context, which could be found by copying it.
"""

import math
from typing import Any

import numpy as np

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.metric import Embed, Metric, check_count, check_ranks
from evaluators.metrics import ranking
from evaluators.search import exact as exact_search

TARGET = "view2"


class Evaluator:
    """Cosine of prediction and target, and the target's rank in the pool.

      cosine        mean_i cos(p_i, t_i); chance: cosines with the whole pool
      recall@k      share of queries whose target is among the k best of the pool
      mean_rank     mean place of the target, 1 the best
      train_cosine  cosine on windows of the articles in training
      gap           train_cosine - cosine: what was learned by heart

    Ties count against the prediction. Queries of one article are not independent, and
    the intervals know it.

    Args:
        data: The dataset, with `data.extra["pool"]` and the column `vector`.
        prefix: What tags start with, as in "eval/next".
        seed: Of the choice of queries and of the intervals.
        k: Cut-offs.
        pool: Vectors to be found among, drawn by seed; 0 for all. Queries are then
            those whose target was drawn.
        max_queries: More are drawn from by seed; 0 for all.

    Raises:
        ValueError: If a field has a value that it cannot have, or the data has no pool.
    """

    def __init__(
        self,
        data: Any,
        *,
        prefix: str,
        seed: int,
        k: tuple[int, ...] = (1, 5, 10, 50),
        pool: int = 0,
        max_queries: int = 0,
    ):
        self.k = _check(k, pool, max_queries)
        self.prefix, self.seed = prefix, seed
        self.split, self.train = data.validation, data.train
        if "pool" not in data.extra:
            raise ValueError(
                "got data without a pool of vectors; expected one of the datasets of "
                "windows, articles or topics"
            )
        self.pool = data.extra["pool"]
        self.pool_rows = embeddings.some_rows(
            len(self.pool), pool or len(self.pool), seed
        )
        vectors = self.pool.table["vector"][self.pool_rows]  # rising
        target = self.split.table["vector"]
        asked = np.flatnonzero(np.isin(target, vectors))
        if not len(asked):
            raise ValueError(f"got pool={pool}, which holds the target of no window")
        self.rows = asked[
            embeddings.some_rows(len(asked), max_queries or len(asked), seed)
        ]
        self.target_row = np.searchsorted(vectors, target[self.rows])
        self.context_rows = _context_rows(
            vectors, target[self.rows], len(self.split[0]["context"])
        )
        self.train_rows = embeddings.some_rows(len(self.train), len(self.rows), seed)
        self._found: list[summary.Found] = []

    @staticmethod
    def promises(prefix: str, **fields: Any) -> list[str]:
        """Return the tags of `run`."""
        known = {"k": (1, 5, 10, 50), "pool": 0, "max_queries": 0}
        ks = _check(**{name: fields.get(name, value) for name, value in known.items()})
        names = [f"recall@{k}" for k in ks]
        names = ["cosine", *names, "mean_rank", "train_cosine", "gap"]
        return [f"{prefix}/{name}" for name in names]

    def run(self, embed: Embed) -> dict[str, Metric]:
        """Return a Metric for each tag."""
        pool = embeddings.embed_parts(embed, [(self.pool, self.pool_rows)], TARGET)
        q = embeddings.embed_parts(embed, [(self.split, self.rows)])  # [q, d]
        rank = self._ranks(q, pool)
        n = len(pool) - (self.context_rows >= 0).sum(1)  # candidates of each query
        groups = self.split.table["label"][self.rows]
        cosine = np.sum(q * pool[self.target_row], 1, dtype=np.float64)
        found = {
            "cosine": self._metric(cosine, q @ pool.mean(0), groups),
            **{
                f"recall@{k}": self._metric(
                    rank <= k, np.minimum(k, n) / n, groups, share=True
                )
                for k in self.k
            },
            "mean_rank": self._metric(rank.astype(float), (n + 1) / 2, groups),
        }
        found["train_cosine"] = self._in_training(embed)
        found["gap"] = _difference(found["train_cosine"], found["cosine"])
        self._keep_examples(q, pool, rank)
        return {f"{self.prefix}/{name}": metric for name, metric in found.items()}

    def examples(self, count: int) -> list[dict]:
        """Return queries with their neighbors; see `retrieval.Evaluator.examples`."""
        return examples_lib.pick(self._found, count)

    def _ranks(self, q: np.ndarray, pool: np.ndarray) -> np.ndarray:
        """Place of each target among the pool less the query's own context, int [q]."""
        query = np.arange(len(q))
        ranks = exact_search.ranks_of(q, pool, query, self.target_row)
        own = self.context_rows  # [q, l]
        exact = q.astype(np.float64)
        score = np.float32(np.einsum("qd,qd->q", exact, pool[self.target_row]))
        near = np.float32(np.einsum("qd,qld->ql", exact, pool[np.maximum(own, 0)]))
        ahead = ((own >= 0) & (near >= score[:, None])).sum(1)
        return ranks.above + ranks.tied - ahead

    def _in_training(self, embed: Embed) -> Metric:
        parts = [(self.train, self.train_rows)]
        q = embeddings.embed_parts(embed, parts)
        t = embeddings.embed_parts(embed, parts, TARGET)
        cosine = np.sum(q * t, 1, dtype=np.float64)
        groups = self.train.table["label"][self.train_rows]
        return self._metric(cosine, q @ t.mean(0), groups)

    def _metric(self, values, chance, groups, share: bool = False) -> Metric:
        return Metric(
            *ranking.summarize(
                np.asarray(values, float),
                np.asarray(chance, float),
                groups,
                np.zeros(len(values), int),
                self.seed,
                share=share,
            )
        )

    def _keep_examples(self, q, pool, rank) -> None:
        ids = self.pool.table["id"][self.pool_rows]
        examples = examples_lib.of_search(
            q,
            pool,
            self.split.table["id"][self.rows],
            ids,
            rank == 1,
            (np.arange(len(q)), self.target_row),
            seed=self.seed,
            own=True,
            without=self.context_rows,
        )
        self._found = [summary.Found("", {}, np.arange(len(q)), 0, *examples)]


def _context_rows(vectors: np.ndarray, target: np.ndarray, context: int) -> np.ndarray:
    """Pool rows of each query's own context, int [q, l]; -1 where not in the pool."""
    own = target[:, None] - np.arange(1, context + 1)[None, :]
    row = np.minimum(np.searchsorted(vectors, own), len(vectors) - 1)
    return np.where(vectors[row] == own, row, -1)


def _difference(a: Metric, b: Metric) -> Metric:
    """Return a - b of independent samples, its interval from theirs; chance is 0."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Metric(value, min(a.n, b.n), 0.0, low, high)


def _check(k, pool, max_queries) -> tuple[int, ...]:
    check_count("pool", pool, least=0)
    check_count("max_queries", max_queries, least=0)
    return check_ranks("k", k)

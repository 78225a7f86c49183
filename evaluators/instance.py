"""Instance retrieval: does an augmented picture find the record that it was made from?

The query is another picture of the record, so here the record itself, as it is, is the
one relevant candidate. The rule that a record never retrieves itself is for queries
that are in the gallery as they are.
"""

from typing import Any, Literal

import numpy as np

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.metric import (
    SPLITS,
    Embed,
    Metric,
    check_choice,
    check_count,
    check_ranks,
)
from evaluators.search import exact as exact_search

QUERY_VIEW = "view1"


class Evaluator:
    """Rank of its source among all records of a split, for augmented queries.

    Args:
        data: The dataset.
        prefix: What tags start with, as in "eval/instance".
        seed: Of the choice of queries and of the bootstrap.
        split: "train" or "validation"; the gallery is all of it.
        k: Cut-offs.
        max_queries: More are drawn from by seed.

    Raises:
        ValueError: If a field has a value that it cannot have.
    """

    def __init__(
        self,
        data: Any,
        *,
        prefix: str,
        seed: int,
        split: Literal["train", "validation"] = "validation",
        k: tuple[int, ...] = (1, 10),
        max_queries: int = 2000,
    ):
        self.k = _checked(split, k, max_queries)
        self.prefix, self.seed = prefix, seed
        self.split = getattr(data, split)
        self.ids = embeddings.columns([self.split])["id"]
        self.rows = embeddings.some_rows(len(self.ids), max_queries, seed)
        self._found: list[summary.Found] = []

    @staticmethod
    def promises(prefix: str, **fields: Any) -> list[str]:
        """Return the tags of `run`."""
        known = {"split": "validation", "k": (1, 10), "max_queries": 2000} | fields
        return [f"{prefix}/{name}" for name in _names(_checked(**known))]

    def run(self, embed: Embed) -> dict[str, Metric]:
        """Return a Metric for each tag; none if embed cannot make views."""
        z = embeddings.embed_parts(embed, [(self.split, self.rows)], QUERY_VIEW)
        if z is None:
            return {}
        everything = np.arange(len(self.ids))
        gallery = embeddings.embed_parts(embed, [(self.split, everything)])
        query = np.arange(len(self.rows))
        ranks = exact_search.ranks_of(
            z, gallery, query, self.rows, gallery_ids=self.ids
        )
        n = np.full(len(query), len(self.ids))
        values = summary.of_ranks(ranks, query, n, self.k)
        values["mean_rank"] = ranks.rank.astype(float), (n + 1) / 2
        examples = examples_lib.of_search(
            z,
            gallery,
            self.ids[self.rows],
            self.ids,
            ranks.rank == 1,
            (query, self.rows),
            seed=self.seed,
            own=True,
        )
        self._found = [summary.Found("", values, query, 0, *examples)]
        return summary.summarize(self.prefix, self._found, _names(self.k), self.seed)

    def examples(self, count: int) -> list[dict]:
        """Return queries with their neighbors; see `retrieval.Evaluator.examples`."""
        return examples_lib.pick(self._found, count)


def _names(k: tuple[int, ...]) -> list[str]:
    return [*(f"recall@{at}" for at in k), "nar", "mean_rank"]


def _checked(split, k, max_queries) -> tuple[int, ...]:
    check_choice("split", split, SPLITS)
    check_count("max_queries", max_queries)
    return check_ranks("k", k)

"""Retrieval: do a query's neighbors share its label or its codes?

Queries are records of a split, as they are; the gallery is a split or all records. A
query never retrieves itself: the record with its id is no candidate. With
`cross="source"`, queries of each source search among the records of each other source.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common import relevance as relevance_lib
from evaluators.common.metric import (
    SPLITS,
    Embed,
    Metric,
    check_choice,
    check_count,
    check_ranks,
)
from evaluators.metrics import ranking
from evaluators.search import exact as exact_search

GALLERIES = (*SPLITS, "all")
RELEVANCES = ("label", "codes")


class Evaluator:
    """Ranks of relevant records, for queries that have any.

    Args:
        data: The dataset.
        prefix: What tags start with, as in "eval/brand".
        seed: Of the choice of queries and of the bootstrap.
        query_split: "train" or "validation".
        gallery_split: "train", "validation" or "all".
        relevance: "label": a record with the query's label is relevant. "codes": one
            whose weighted Jaccard similarity of codes reaches `threshold` (weights:
            the column code_weights, so that common codes count for little); nDCG@k then
            takes that similarity as gain.
        cross: Name of a column, such as "source", whose values are searched one from
            another; "" for a single gallery. Values are means over the ordered pairs.
        k: Cut-offs.
        threshold: In (0, 1].
        query_view: Name of the training view in which queries are seen, "" as they are.
        gallery_view: The same for the gallery.
        max_queries: More are drawn from by seed.

    Raises:
        ValueError: If a field has a value that it cannot have, or the column named by
            `cross` is not there.
    """

    def __init__(
        self,
        data: Any,
        *,
        prefix: str,
        seed: int,
        query_split: Literal["train", "validation"] = "validation",
        gallery_split: Literal["train", "validation", "all"] = "validation",
        relevance: Literal["label", "codes"] = "label",
        cross: str = "",
        k: tuple[int, ...] = (1, 10, 100),
        threshold: float = 0.5,
        query_view: str = "",
        gallery_view: str = "",
        max_queries: int = 2000,
    ):
        self.k = _checked(query_split, gallery_split, relevance, k, threshold)
        self.prefix, self.seed = prefix, seed
        self.relevance, self.cross, self.threshold = relevance, cross, threshold
        self.views = query_view or None, gallery_view or None
        self.query_split = getattr(data, query_split)
        names = SPLITS if gallery_split == "all" else (gallery_split,)
        self.gallery_splits = [getattr(data, name) for name in names]
        more = (cross,) if cross else ()
        self.gallery = embeddings.columns(self.gallery_splits, *more)
        rows = embeddings.some_rows(
            len(self.query_split), check_count("max_queries", max_queries), seed
        )
        self.query_rows = rows
        self.queries = embeddings.take(
            embeddings.columns([self.query_split], *more), rows
        )
        if cross and len(np.unique(self.gallery[cross])) < 2:
            raise ValueError(
                f"got cross={cross!r}, a column with one value; expected one with "
                "several, to search from each in the others"
            )
        self._found: list[summary.Found] = []

    @staticmethod
    def promises(prefix: str, **fields: Any) -> list[str]:
        """Return the tags that hold for any data; pairs of sources come on top."""
        known = {"query_split": "validation", "gallery_split": "validation"}
        known |= {"relevance": "label", "k": (1, 10, 100), "threshold": 0.5}
        known |= {name: fields[name] for name in known if name in fields}
        names = summary.names(_checked(**known), graded=known["relevance"] == "codes")
        return [f"{prefix}/{name}" for name in (*names, "left_out")]

    def run(self, embed: Embed) -> dict[str, Metric]:
        """Embed queries and gallery, and return a Metric for each tag."""
        gallery = embeddings.embed_parts(
            embed,
            [(split, np.arange(len(split))) for split in self.gallery_splits],
            self.views[1],
        )  # [n, d]
        z = self._query_embeddings(embed, gallery)  # [q, d]
        self._found = [
            self._search(name, queries, rows, z, gallery)
            for name, queries, rows in self._searches()
        ]
        graded = self.relevance == "codes"
        names = summary.names(self.k, graded=graded)
        found, first = self._found, f"recall@{self.k[0]}"
        values = summary.summarize(self.prefix, found, names, self.seed)
        for one in found if self.cross else ():
            prefix = f"{self.prefix}/{one.name}"
            values |= summary.summarize(prefix, [one], [first], self.seed)
        asked = sum(len(one.groups) + one.left_out for one in found)
        left_out = summary.count(sum(one.left_out for one in found), asked)
        return values | {f"{self.prefix}/left_out": left_out}

    def examples(self, count: int) -> list[dict]:
        """Return queries with their neighbors in the last run, right and wrong ones.

        Returns:
            `{"query": id, "neighbors": [{"id", "score", "relevant"}], "right": bool}`
            each; right means that the first neighbor is relevant.
        """
        return examples_lib.pick(self._found, count)

    def _query_embeddings(self, embed: Embed, gallery: np.ndarray) -> np.ndarray:
        first = 0
        for split in self.gallery_splits:
            if split is self.query_split and self.views[0] == self.views[1]:
                return gallery[first + self.query_rows]
            first += len(split)
        parts = [(self.query_split, self.query_rows)]
        return embeddings.embed_parts(embed, parts, self.views[0])

    def _searches(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the name of each search, its queries and its gallery rows."""
        if not self.cross:
            yield (
                "",
                np.arange(len(self.query_rows)),
                np.arange(len(self.gallery["id"])),
            )
            return
        sides = self.queries[self.cross], self.gallery[self.cross]
        for a, b in itertools.permutations(np.unique(sides[1]).tolist(), 2):
            yield (
                f"{a}_to_{b}",
                np.flatnonzero(sides[0] == a),
                np.flatnonzero(sides[1] == b),
            )

    def _search(self, name, queries, rows, z, gallery) -> summary.Found:
        """Rank one gallery for one lot of queries."""
        asked = embeddings.take(self.queries, queries)
        held = embeddings.take(self.gallery, rows)
        gallery = gallery if len(rows) == len(gallery) else gallery[rows]
        if self.relevance == "label":
            relevant = relevance_lib.same_label(asked, held)
        else:
            relevant = relevance_lib.shared_codes(
                asked, held, self.threshold, self.k[-1]
            )
        kept, query = np.unique(relevant.query, return_inverse=True)
        left_out = len(queries) - len(kept)
        asked, z = embeddings.take(asked, kept), z[queries[kept]]
        ids = {"query_ids": asked["id"], "gallery_ids": held["id"]}
        ranks = exact_search.ranks_of(z, gallery, query, relevant.row, **ids)
        n = relevance_lib.candidate_counts(**ids)
        values = summary.of_ranks(ranks, query, n, self.k)
        if relevant.ideal is not None:
            rows_found = exact_search.top_k(z, gallery, self.k[-1], **ids)[1]
            gains = relevance_lib.gains_of(asked, held, rows_found)
            for k in self.k:
                ideal, mean = relevant.ideal[kept, :k], relevant.mean_gain[kept]
                values[f"ndcg@{k}"] = (
                    ranking.ndcg(gains[:, :k], ideal),
                    ranking.ndcg_chance(mean, ideal, n),
                )
        right, wrong = examples_lib.of_search(
            z,
            gallery,
            asked["id"],
            held["id"],
            np.bincount(query, ranks.rank == 1, minlength=len(kept)) > 0,
            (query, relevant.row),
            seed=self.seed,
        )
        # Records of one label are not independent; others stand for themselves.
        groups = np.where(asked["label"] >= 0, asked["label"], -1 - queries[kept])
        return summary.Found(name, values, groups, left_out, right, wrong)


def _checked(query_split, gallery_split, relevance, k, threshold) -> tuple[int, ...]:
    check_choice("query_split", query_split, SPLITS)
    check_choice("gallery_split", gallery_split, GALLERIES)
    check_choice("relevance", relevance, RELEVANCES)
    if not 0 < threshold <= 1:
        raise ValueError(f"got threshold={threshold}; expected more than 0, at most 1")
    return check_ranks("k", k)

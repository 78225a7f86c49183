"""Retrieval: do a query's neighbors share its label or its codes?

Queries are records of a split; the gallery is a split or all records. A query never
retrieves itself: the record with its id is no candidate. With `cross="source"`, queries
of each source search among the records of each other source.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common import relevance as relevance_lib
from evaluators.common.evaluator import (
    EvaluatorBase,
    Examples,
    check_cut_offs,
    no_examples,
    sorted_cut_offs,
)
from evaluators.common.fields import CutOffs, GalleryName, QueryCount, SplitName
from evaluators.common.metric import SCORE, Metrics
from evaluators.common.protocols import Data, Embed, Split
from evaluators.metrics import chance, ranking
from evaluators.search import exact as exact_search


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """Ranks of relevant records, for queries that have any.

      recall@k     share of queries with a relevant record among the k nearest
      precision@k  share of relevant records among the k nearest
      ndcg@k       normalized discounted cumulative gain (relevance "codes")
      map          mean average precision; map_at_r: cut off at R relevant records
      nar          normalized average rank, 0 perfect, .5 random
      left_out     queries without a relevant record

    Attributes:
        query_split: Split of the queries.
        gallery_split: Split of the gallery; "all" for both.
        relevance: "label": a record with the query's label is relevant. "codes": one
            whose weighted Jaccard similarity of codes reaches `threshold` (weights:
            the column code_weights, so that common codes count for little); nDCG@k then
            takes that similarity as gain.
        cross: Name of a column, such as "source", whose values are searched one from
            another; "" for a single gallery. Values are means over the ordered pairs.
        k: Cut-offs.
        threshold: Least similarity of relevant codes.
        query_view: Name of the training view in which queries are seen, "" as they are.
        gallery_view: The same for the gallery.
        max_queries: Most queries; of more, a sample is drawn by seed.
    """

    query_split: SplitName = "validation"
    gallery_split: GalleryName = "validation"
    relevance: Literal["label", "codes"] = "label"
    cross: str = ""
    k: CutOffs = (1, 10, 100)
    threshold: Annotated[float, Interval(gt=0, le=1)] = 0.5
    query_view: str = ""
    gallery_view: str = ""
    max_queries: QueryCount = 2000

    def tags(self) -> list[str]:
        """Return the tags that hold for any data; pairs of sources come on top."""
        return [*self._figure_names(), "left_out"]

    def _figure_names(self) -> list[str]:
        graded = self.relevance == "codes"
        return summary.rank_figure_names(sorted_cut_offs(self.k), graded=graded)

    def _check_fields(self) -> None:
        check_cut_offs(self.k)

    def _check_data(self, data: Data) -> None:
        if self.cross and len(np.unique(self._gallery[self.cross])) < 2:
            raise ValueError(
                f"got cross={self.cross!r}, a column with one value; expected one with "
                "several, to search from each in the others"
            )
        _ = self._queries

    @functools.cached_property
    def _gallery_splits(self) -> list[Split]:
        return embeddings.named_splits(self._data, self.gallery_split)

    @functools.cached_property
    def _gallery(self) -> dict[str, np.ndarray]:
        return embeddings.columns(self._gallery_splits, *self._more_columns())

    @functools.cached_property
    def _query_rows(self) -> np.ndarray:
        count = len(getattr(self._data, self.query_split))
        return embeddings.sample_rows(count, self.max_queries, self._seed)

    @functools.cached_property
    def _queries(self) -> dict[str, np.ndarray]:
        split = getattr(self._data, self.query_split)
        table = embeddings.columns([split], *self._more_columns())
        return embeddings.take_rows(table, self._query_rows)

    def _more_columns(self) -> tuple[str, ...]:
        return (self.cross,) if self.cross else ()

    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        parts = [(split, np.arange(len(split))) for split in self._gallery_splits]
        gallery = embeddings.embed_parts(embed, parts, self.gallery_view or None)
        if gallery is None:
            return {}, no_examples
        z = self._query_embeddings(embed, gallery)  # [q, d]
        if z is None:
            return {}, no_examples
        searches, examples = [], []
        for name, queries, rows in self._searches():
            search, of_search = self._search(name, queries, rows, z, gallery)
            searches.append(search)
            examples.append(of_search)
        names, first = self._figure_names(), f"recall@{min(self.k)}"
        metrics = summary.summarize_searches(searches, names)
        for search in searches if self.cross else ():
            recall = summary.summarize_searches([search], [first])[first]
            metrics[f"{search.name}/{first}"] = recall._replace(headline=False)
        left_out = sum(search.left_out for search in searches)
        count = sum(len(search.groups) for search in searches) + left_out
        metrics["left_out"] = summary.count_metric(left_out, count)
        return metrics, functools.partial(examples_lib.pick, examples)

    def _query_embeddings(self, embed: Embed, gallery: np.ndarray) -> np.ndarray | None:
        query_split, first = getattr(self._data, self.query_split), 0
        for split in self._gallery_splits:
            if split is query_split and self.query_view == self.gallery_view:
                return gallery[first + self._query_rows]
            first += len(split)
        parts = [(query_split, self._query_rows)]
        return embeddings.embed_parts(embed, parts, self.query_view or None)

    def _searches(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield the name of each search, its queries and its gallery rows."""
        if not self.cross:
            queries = np.arange(len(self._query_rows))
            yield "", queries, np.arange(len(self._gallery["id"]))
            return
        sources, targets = self._queries[self.cross], self._gallery[self.cross]
        for a, b in itertools.permutations(np.unique(targets).tolist(), 2):
            queries, rows = np.flatnonzero(sources == a), np.flatnonzero(targets == b)
            yield f"{a}_to_{b}", queries, rows

    def _search(
        self,
        name: str,
        queries: np.ndarray,
        rows: np.ndarray,
        z: np.ndarray,
        gallery: np.ndarray,
    ) -> tuple[summary.SearchResult, examples_lib.ExampleLists]:
        """Rank some gallery rows for some queries."""
        query_table = embeddings.take_rows(self._queries, queries)
        gallery_table = embeddings.take_rows(self._gallery, rows)
        gallery = gallery if len(rows) == len(gallery) else gallery[rows]
        cut_offs = sorted_cut_offs(self.k)
        if self.relevance == "label":
            relevant = relevance_lib.same_label(query_table, gallery_table)
        else:
            relevant = relevance_lib.shared_codes(
                query_table, gallery_table, self.threshold, cut_offs[-1]
            )
        kept, query = np.unique(relevant.query, return_inverse=True)
        query_table, z = embeddings.take_rows(query_table, kept), z[queries[kept]]
        query_ids, gallery_ids = query_table["id"], gallery_table["id"]
        ranks = exact_search.ranks_of(
            z,
            gallery,
            query,
            relevant.row,
            query_ids=query_ids,
            gallery_ids=gallery_ids,
        )
        n = relevance_lib.candidate_counts(query_ids, gallery_ids)
        values = summary.rank_figures(ranks, query, n, cut_offs)
        if relevant.ideal is not None and relevant.mean_gain is not None:
            _, nearest = exact_search.top_k(
                z, gallery, cut_offs[-1], query_ids=query_ids, gallery_ids=gallery_ids
            )
            gains = relevance_lib.gains_of(query_table, gallery_table, nearest)
            ideal, mean_gain = relevant.ideal[kept], relevant.mean_gain[kept]
            values |= _gain_figures(gains, ideal, mean_gain, n, cut_offs)
        examples = examples_lib.of_search(
            z,
            gallery,
            query_ids,
            gallery_ids,
            np.bincount(query, ranks.rank == 1, minlength=len(kept)) > 0,
            (query, relevant.row),
            seed=self._seed,
        )
        # Records of one label are not independent; unlabeled ones are.
        label = query_table["label"]
        groups = np.where(label >= 0, label, -1 - queries[kept])
        left_out = len(queries) - len(kept)
        return summary.SearchResult(name, values, groups, left_out), examples


def _gain_figures(
    gains: np.ndarray,
    ideal: np.ndarray,
    mean_gain: np.ndarray,
    n: np.ndarray,
    k: tuple[int, ...],
) -> dict[str, summary.QueryValues]:
    """Return ndcg@k.

    Args:
        gains: [q, max(k)], of the nearest records, best first.
        ideal: [q, max(k)], the largest gains among the candidates, falling.
        mean_gain: [q], over all candidates.
        n: int [q], candidates.
        k: Cut-offs.
    """
    figures = {}
    for at in k:
        best = np.ascontiguousarray(ideal[:, :at])
        figures[f"ndcg@{at}"] = summary.QueryValues(
            ranking.ndcg(gains[:, :at], best), chance.ndcg(mean_gain, best, n), SCORE
        )
    return figures

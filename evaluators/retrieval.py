"""Retrieval: do a query's neighbors share its label or its codes?

Queries are records of a split; the gallery is a split or all records. A query never
retrieves itself: the record with its id is no candidate. With `cross="source"`, queries
of each source search among the records of each other source; with `cross="auto"`, only
where the data has several sources.
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

AUTO = "auto"
SOURCE = "source"
MOST_SOURCES = 8  # that "auto" searches one from another
MOST_PAIRS = 20_000_000  # of a query and a relevant record


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
            "auto": "source" if it has 2 to 8 values and a query has a relevant record
            in another source, else "".
        k: Cut-offs.
        threshold: Least similarity of relevant codes.
        query_view: Name of the training view in which queries are seen, "" as they are.
        gallery_view: The same for the gallery.
        max_queries: Most queries; of more, a sample is drawn by seed. Fewer where
            labels are so large that relevant records would fill the memory.
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
        column = self._column
        if column and len(self._values(column)) < 2:
            raise ValueError(
                f"got cross={column!r}, a column with one value; expected one with "
                "several, to search from each in the others"
            )
        if not len(self._query_rows):
            raise ValueError(f"got no record in the {self.query_split} split")
        labels = self._gallery["label" if self.relevance == "label" else "codes"]
        if (labels >= 0).any() and (labels == labels[:1]).all():
            raise ValueError(
                f"got the same {self.relevance} on all records, which every order "
                "finds; expected several"
            )
        if not self._has_relevant(column):
            kind = "a label" if self.relevance == "label" else "codes"
            where = f" of another {column}" if column else ""
            raise ValueError(
                f"got no query that shares {kind} with another record{where}; expected "
                "some that do"
            )

    def choices(self) -> list[str]:
        """Return sentences on sources and queries where the data decided."""
        sentences = []
        if self.cross == AUTO and self._column:
            names = ", ".join(self._values(self._column))
            sentences.append(f"queries of each source search in the others ({names}).")
        elif self.cross == AUTO:
            sentences.append("all records are one gallery, whatever their source.")
        count = min(len(getattr(self._data, self.query_split)), self.max_queries)
        if len(self._query_rows) < count:
            sentences.append(
                f"{len(self._query_rows)} queries of {count}, since a label has so "
                "many records."
            )
        return sentences

    @functools.cached_property
    def _column(self) -> str:
        """Name of the column that is searched across, "" for a single gallery."""
        if self.cross != AUTO:
            return self.cross
        splits = [getattr(self._data, self.query_split), *self._gallery_splits]
        if any(SOURCE not in split.table for split in splits):
            return ""
        if not 2 <= len(self._values(SOURCE)) <= MOST_SOURCES:
            return ""
        return SOURCE if self._has_relevant(SOURCE) else ""

    def _values(self, column: str) -> list[str]:
        """Return the values of a column of the gallery; "" is none."""
        values = embeddings.columns(self._gallery_splits, column)[column]
        return [value for value in np.unique(values).tolist() if value != ""]

    def _has_relevant(self, column: str) -> bool:
        """Return whether a query has a relevant record in a search across a column."""
        split = getattr(self._data, self.query_split)
        more = (column,) if column else ()
        queries = embeddings.columns([split], *more)
        queries = embeddings.take_rows(queries, self._query_rows)
        gallery = embeddings.columns(self._gallery_splits, *more)
        for _, asked, rows in self._pairs(queries, gallery, column):
            tables = (
                embeddings.take_rows(queries, asked),
                embeddings.take_rows(gallery, rows),
            )
            if relevance_lib.has_relevant(*tables, self.relevance, self.threshold):
                return True
        return False

    @functools.cached_property
    def _gallery_splits(self) -> list[Split]:
        return embeddings.named_splits(self._data, self.gallery_split)

    @functools.cached_property
    def _gallery(self) -> dict[str, np.ndarray]:
        return embeddings.columns(self._gallery_splits, *self._more_columns())

    @functools.cached_property
    def _query_rows(self) -> np.ndarray:
        split = getattr(self._data, self.query_split)
        rows = embeddings.sample_rows(len(split), self.max_queries, self._seed)
        labels = embeddings.columns(self._gallery_splits)["label"]
        counts = np.bincount(labels[labels >= 0], minlength=1)
        label = np.asarray(split.table["label"])[rows]
        pairs = np.where((label >= 0) & (label < len(counts)), counts[label], 0).sum()
        if pairs <= MOST_PAIRS:
            return rows
        most = max(int(len(rows) * (MOST_PAIRS / pairs)), 1)
        return embeddings.sample_rows(len(split), most, self._seed)

    @functools.cached_property
    def _queries(self) -> dict[str, np.ndarray]:
        split = getattr(self._data, self.query_split)
        table = embeddings.columns([split], *self._more_columns())
        return embeddings.take_rows(table, self._query_rows)

    def _more_columns(self) -> tuple[str, ...]:
        return (self._column,) if self._column else ()

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
        for search in searches if self._column else ():
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
        yield from self._pairs(self._queries, self._gallery, self._column)

    def _pairs(
        self, queries: dict, gallery: dict, column: str
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        if not column:
            yield "", np.arange(len(queries["id"])), np.arange(len(gallery["id"]))
            return
        sources, targets = queries[column], gallery[column]
        for a, b in itertools.permutations(self._values(column), 2):
            asked, rows = np.flatnonzero(sources == a), np.flatnonzero(targets == b)
            yield f"{a}_to_{b}", asked, rows

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
        # Records of one label are not independent, but where files are held out and all
        # labels are seen; unlabeled ones are.
        label, alone = query_table["label"], -1 - queries[kept]
        if self._data.grouped_by != "filename":
            alone = np.where(label >= 0, label, alone)
        groups = alone
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

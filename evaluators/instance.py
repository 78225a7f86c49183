"""Instance retrieval: does an augmented image find the record that it was made from?

The query is another view of the record, so the record itself, as it is, is the one
relevant candidate. The rule that a record never retrieves itself holds for queries that
are in the gallery as they are.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.evaluator import (
    EvaluatorBase,
    Examples,
    check_cut_offs,
    no_examples,
    sorted_cut_offs,
)
from evaluators.common.fields import CutOffs, QueryCount, SplitName
from evaluators.common.groups import record_groups
from evaluators.common.metric import ERROR, Metrics
from evaluators.common.protocols import Data, Embed, Split
from evaluators.metrics.intervals import SHARE, Bounds
from evaluators.search import exact as exact_search

FEW = 100  # records of a split, from which on it is a gallery of its own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """Rank of the source record among all records of a split, for augmented queries.

      recall@k   share of queries whose source is among the k nearest
      nar        normalized average rank of the source, 0 perfect, .5 random
      mean_rank  mean rank of the source, 1 best

    No metric where the embed function has no views.

    Attributes:
        split: Split of the queries.
        gallery_split: Records that are searched. "same": the split; "all": both splits;
            "auto": both where the split has fewer than 100 records.
        k: Cut-offs.
        max_queries: Most queries; of more, a sample is drawn by seed.
    """

    split: SplitName = "validation"
    gallery_split: Literal["same", "all", "auto"] = "same"
    k: CutOffs = (1, 10)
    max_queries: QueryCount = 2000

    def tags(self) -> list[str]:
        """Return recall@k, nar and mean_rank."""
        cut_offs = sorted_cut_offs(self.k)
        return [*(f"recall@{k}" for k in cut_offs), "nar", "mean_rank"]

    def _check_fields(self) -> None:
        check_cut_offs(self.k)

    def _check_data(self, data: Data) -> None:
        splits = [getattr(data, self.split), *self._gallery_splits]
        if not len(embeddings.columns(splits[:1])["id"]):
            raise ValueError(f"got no record in the {self.split} split")
        if len(embeddings.columns(splits[1:])["id"]) < 2:
            raise ValueError("got one record to search; expected more")

    def choices(self) -> list[str]:
        """Return a sentence on the gallery where the data decided."""
        if self.gallery_split != "auto" or len(self._gallery_splits) == 1:
            return []
        count = len(getattr(self._data, self.split))
        return [f"all records are searched, since {self.split} has {count} of them."]

    @functools.cached_property
    def _gallery_splits(self) -> list[Split]:
        split = getattr(self._data, self.split)
        few = self.gallery_split == "auto" and len(split) < FEW
        if few or self.gallery_split == "all":
            return embeddings.named_splits(self._data, "all")
        return [split]

    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        split = getattr(self._data, self.split)
        rows = embeddings.sample_rows(len(split), self.max_queries, self._seed)
        z = embeddings.embed_parts(embed, [(split, rows)], embeddings.FIRST_VIEW)
        if z is None:
            return {}, no_examples
        splits = self._gallery_splits
        gallery = embeddings.embed_required(
            embed, [(part, np.arange(len(part))) for part in splits]
        )
        ids = embeddings.columns(splits)["id"]
        before = next(k for k, part in enumerate(splits) if part is split)
        places = rows + sum(len(part) for part in splits[:before])
        query = np.arange(len(rows))
        ranks = exact_search.ranks_of(z, gallery, query, places, gallery_ids=ids)
        n = np.full(len(query), len(ids))
        values = summary.rank_figures(ranks, query, n, sorted_cut_offs(self.k))
        # Most sources are found first, and a few far behind.
        tail = SHARE._replace(has_tail=True)
        values["nar"] = values["nar"]._replace(bounds=tail)
        values["mean_rank"] = summary.QueryValues(
            ranks.rank.astype(float),
            (n + 1) / 2,
            ERROR,
            bounds=Bounds(1.0, len(ids), has_tail=True),
        )
        examples = examples_lib.of_search(
            z,
            gallery,
            ids[places],
            ids,
            ranks.rank == 1,
            (query, places),
            seed=self._seed,
            includes_itself=True,
        )
        groups = record_groups(self._data, [(split, rows)])
        searches = [summary.SearchResult("", values, groups, 0)]
        metrics = summary.summarize_searches(searches, self.tags())
        return metrics, functools.partial(examples_lib.pick, [examples])

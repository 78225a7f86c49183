"""Pairs: is a record's second view nearer to its first than other records are?

Anchors are records under one view, keys are records under another. Distances, margin
violations and recall@1 are measured over every pair of different records, not over one
random negative an anchor. A few hundred unrelated records are easily told apart, so
recall@1 is also measured in larger galleries, among near-duplicates, and with anchors
under harder conditions than in training.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from evaluators.common import embeddings, pair_distances
from evaluators.common import examples as examples_lib
from evaluators.common.evaluator import EvaluatorBase, Examples
from evaluators.common.fields import QueryCount
from evaluators.common.groups import record_groups
from evaluators.common.metric import HEADLINE, SCORE, Metric, Metrics, MetricType
from evaluators.common.protocols import Data, Embed, Split
from evaluators.metrics.intervals import SHARE, mean_metric
from evaluators.search import exact as exact_search


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """Distances of positive and negative pairs, and retrieval across views.

    With d_ij the distance of anchor i to key j, both of validation records,

      d_pos         mean d_ii                 d_neg      mean d_ij, j != i
      d_nearest     mean_i min_j d_ij         violations share of d_ij - d_ii < margin
      triplet_loss  mean relu(d_ii - d_ij + margin)
      hard_*        the same with the nearest j alone, an anchor
      recall@1      share of anchors with d_ii < d_ij for all j; ties count against it

    Galleries larger than the validation split take further keys from
    `extra["distractors"]`, near-duplicates come from `extra["near_duplicates"]`.

    Attributes:
        anchor_view: View of the anchors.
        key_view: View of the keys.
        margin: Of distances, as in the loss.
        squared: Whether distances are squared.
        galleries: Sizes of further galleries, keys of validation records included; -1
            for all distractors that there are.
        near_duplicates: Also retrieve each record among its near-duplicates alone.
        conditions: Field of the transform -> its values: recall@1 of anchors under each
            of them, in the largest gallery. A field of views is changed in the anchors'
            view.
        max_queries: Most anchors; of more, a sample is drawn by seed.
    """

    anchor_view: str = "view1"
    key_view: str = "view2"
    margin: Annotated[float, Interval(gt=0, le=100)] = 0.2
    squared: bool = False
    galleries: tuple[Annotated[int, Interval(ge=-1, le=100_000_000)], ...] = ()
    near_duplicates: bool = False
    conditions: Mapping[str, tuple[Annotated[float, Interval(gt=0, le=1e6)], ...]] = (
        dataclasses.field(default_factory=dict)
    )
    max_queries: QueryCount = 1000

    def tags(self) -> list[str]:
        """Return the names of all figures, those of conditions last."""
        tags = [
            *pair_distances.TYPES,
            "recall@1",
            *(f"{_gallery_name(n)}/recall@1" for n in self.galleries),
        ]
        if self.near_duplicates:
            tags.append("near_duplicates/recall@1")
        tags += [f"{name}/recall@1" for name, _ in self._named_conditions()]
        return tags

    def _named_conditions(self) -> list[tuple[str, dict[str, float]]]:
        """Return the name of each condition and the field that it changes."""
        return [
            (f"{field}_{value:g}", {field: value})
            for field, values in self.conditions.items()
            for value in values
        ]

    def _check_fields(self) -> None:
        for size in self.galleries:
            if size in (0, 1):
                raise ValueError(
                    f"got galleries={tuple(self.galleries)}; expected sizes >= 2, or "
                    "-1 for all distractors"
                )

    def _check_data(self, data: Data) -> None:
        del data
        _ = self._gallery_sizes, self._near_duplicate_rows

    @functools.cached_property
    def _ids(self) -> np.ndarray:
        return np.asarray(self._data.validation.table["id"])

    @functools.cached_property
    def _groups(self) -> np.ndarray:
        """Return the group of each validation record, 0..G-1."""
        validation = self._data.validation
        parts = [(validation, np.arange(len(validation)))]
        groups = record_groups(self._data, parts)
        return np.unique(groups, return_inverse=True)[1]

    @functools.cached_property
    def _anchor_rows(self) -> np.ndarray:
        return embeddings.sample_rows(len(self._ids), self.max_queries, self._seed)

    @functools.cached_property
    def _gallery_sizes(self) -> dict[str, int]:
        """Return the size of each further gallery by its name, the largest last."""
        records, distractors = len(self._ids), self._data.extra.get("distractors")
        total = records + (0 if distractors is None else len(distractors))
        sizes = {_gallery_name(n): total if n < 0 else n for n in self.galleries}
        for size in sizes.values():
            if not records < size <= total:
                raise ValueError(
                    f"got a gallery of {size} with {records} validation records and "
                    f"{total - records} distractors; expected {records + 1} to {total}:"
                    " change galleries or data.distractors"
                )
        return dict(sorted(sizes.items(), key=lambda item: item[1]))

    @functools.cached_property
    def _near_duplicate_rows(self) -> np.ndarray | None:
        """Return rows of near-duplicates for each validation record, [n, m]."""
        if not self.near_duplicates:
            return None
        data = self._data
        if "near_duplicates" not in data.extra:
            raise ValueError(
                "got near_duplicates=True with data that has none; set "
                "data.near_duplicates"
            )
        return _rows_by_phantom(data.validation, data.extra["near_duplicates"])

    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        validation = self._data.validation
        q = self._anchors(embed)  # [q, d]
        k = self._keys(embed, validation, np.arange(len(validation)))  # [n, d]
        metrics = pair_distances.measure(
            q, k, self._anchor_rows, self._groups, self.margin, self.squared
        )
        hits = self._hits(q, k, self._ids)
        metrics["recall@1"] = self._recall(hits, len(k), HEADLINE)
        gallery, ids = k, self._ids
        if self._gallery_sizes:
            gallery, ids = self._largest_gallery(embed, k)
            for name, size in self._gallery_sizes.items():
                hits = self._hits(q, gallery[:size], ids[:size])
                metrics[f"{name}/recall@1"] = self._recall(hits, size)
        examples = self._examples(q, gallery, ids, hits)
        if self._near_duplicate_rows is not None:
            rows = self._near_duplicate_rows
            hits = self._near_duplicate_hits(embed, q, k, rows)
            metrics["near_duplicates/recall@1"] = self._recall(hits, 1 + rows.shape[1])
        for name, change in self._named_conditions():
            hits = self._hits(self._anchors(embed, **change), gallery, ids)
            metrics[f"{name}/recall@1"] = self._recall(hits, len(gallery))
        return metrics, examples

    def _anchors(self, embed: Embed, **changes: Any) -> np.ndarray:
        parts = [(self._data.validation, self._anchor_rows)]
        return embeddings.embed_required(embed, parts, self.anchor_view, **changes)

    def _keys(self, embed: Embed, split: Split, rows: np.ndarray) -> np.ndarray:
        return embeddings.embed_required(embed, [(split, rows)], self.key_view)

    def _largest_gallery(
        self, embed: Embed, k: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and ids of the largest gallery, validation records first."""
        distractors = self._data.extra["distractors"]
        rows = np.arange(max(self._gallery_sizes.values()) - len(k))
        more = self._keys(embed, distractors, rows)
        ids = np.concatenate([self._ids, distractors.table["id"][rows]])
        return np.concatenate([k, more]), ids

    def _hits(self, q: np.ndarray, gallery: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return whether the key of each anchor's record is its nearest, bool [q].

        A tie is a miss; otherwise embeddings that are all equal would find everything.
        """
        rows = self._anchor_rows
        ranks = exact_search.ranks_of(
            q, gallery, np.arange(len(q)), rows, gallery_ids=ids
        )
        return (ranks.above == 0) & (ranks.tied == 1)

    def _near_duplicate_hits(
        self, embed: Embed, q: np.ndarray, k: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Return whether each key is nearer than its near-duplicates, bool [q]."""
        split = self._data.extra["near_duplicates"]
        near_duplicates = self._keys(embed, split, rows.ravel())
        near_duplicates = near_duplicates.reshape(*rows.shape, -1)
        near_duplicates = near_duplicates[self._anchor_rows]  # [q, m, d]
        score = np.einsum("qd,qd->q", q, k[self._anchor_rows])
        return score > np.einsum("qd,qtd->qt", q, near_duplicates).max(1)

    def _recall(
        self, hits: np.ndarray, candidates: int, metric_type: MetricType = SCORE
    ) -> Metric:
        groups, chance = self._groups[self._anchor_rows], 1 / candidates
        return mean_metric(hits, chance, groups, metric_type, bounds=SHARE)

    def _examples(
        self, q: np.ndarray, gallery: np.ndarray, ids: np.ndarray, hits: np.ndarray
    ) -> Examples:
        query, rows = np.arange(len(q)), self._anchor_rows
        examples = examples_lib.of_search(
            q,
            gallery,
            self._ids[rows],
            ids,
            hits,
            (query, rows),
            seed=self._seed,
            includes_itself=True,
        )
        return functools.partial(examples_lib.pick, [examples])


def _rows_by_phantom(split: Split, near_duplicates: Split) -> np.ndarray:
    """Return the rows of near-duplicates for each record of a split, [n, m]."""
    place = {
        phantom: row for row, phantom in enumerate(split.table["phantom"].tolist())
    }
    owner = np.array(
        [place[phantom] for phantom in near_duplicates.table["phantom"].tolist()]
    )
    return np.argsort(owner, kind="stable").reshape(len(split), -1)


def _gallery_name(size: int) -> str:
    return "in_all" if size < 0 else f"in_{size}"

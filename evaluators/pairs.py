"""Pairs: is a record's second view nearer to its first than other records are?

Anchors are records under one view, keys are records under another. What the reports on
triplets call d_pos, d_neg, violations and R@1 is measured here over every pair of
different records, not over one random negative an anchor; and since a few hundred
unrelated records are soon told apart, also in larger galleries, among near_duplicates,
and with anchors measured worse than training did.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.metric import Embed, Metric, check_count
from evaluators.metrics import ranking
from evaluators.search import exact as exact_search
from losses.triplet import chance_levels

NAMES = (
    "d_pos", "d_neg", "d_nearest", "violations", "hard_violations", "triplet_loss",
    "hard_loss", "recall@1",
)  # fmt: skip
SHARES = ("violations", "hard_violations", "recall@1")


class Evaluator:
    """Distances of positive and negative pairs, and retrieval across views.

    With d_ij the distance of anchor i to key j, both of validation records,

      d_pos         mean d_ii                 d_neg      mean d_ij, j != i
      d_nearest     mean_i min_j d_ij         violations share of d_ij - d_ii < margin
      triplet_loss  mean relu(d_ii - d_ij + margin)
      hard_*        the same with the nearest j alone, an anchor
      recall@1      share of anchors with d_ii < d_ij for all j; ties count against it

    Args:
        data: The dataset; galleries larger than the validation split take their records
            from `data.extra["distractors"]`, near_duplicates come from
            `data.extra["near_duplicates"]`.
        prefix: What tags start with, as in "eval/pairs".
        seed: Of the choice of anchors and of the intervals.
        anchor_view: View of the anchors, "view1".
        key_view: View of the keys.
        margin: Of distances, as in the loss.
        squared: Squared distances.
        galleries: Sizes of further galleries, keys of validation records included; -1
            for all distractors that there are.
        near_duplicates: Also retrieve each record among its near-duplicates alone.
        conditions: Field of `augment` -> its values: recall@1 of anchors measured so,
            in the largest gallery. A field of views is changed in the anchors' view.
        max_queries: More anchors are drawn from by seed.

    Raises:
        ValueError: If a field has a value that it cannot have, or the data has not
            enough records for it.
    """

    def __init__(
        self,
        data: Any,
        *,
        prefix: str,
        seed: int,
        anchor_view: str = "view1",
        key_view: str = "view2",
        margin: float = 0.2,
        squared: bool = False,
        galleries: tuple[int, ...] = (),
        near_duplicates: bool = False,
        conditions: Mapping[str, tuple] | None = None,
        max_queries: int = 1000,
    ):
        _check(margin, galleries, max_queries)
        self.prefix, self.seed, self.margin, self.squared = (
            prefix,
            seed,
            margin,
            squared,
        )
        self.views = anchor_view, key_view
        self.conditions = dict(conditions or {})
        self.split = data.validation
        self.distractors = data.extra.get("distractors")
        self.rows = embeddings.some_rows(len(self.split), max_queries, seed)
        self.ids = self.split.table["id"]
        self.galleries = self._sizes(galleries)
        self.near_duplicates = (
            _near_duplicates_of(self.split, data.extra.get("near_duplicates"))
            if near_duplicates
            else None
        )
        self._found: list[summary.Found] = []

    @staticmethod
    def promises(prefix: str, **fields: Any) -> list[str]:
        """Return the tags of `run`."""
        known = {"margin": 0.2, "galleries": (), "max_queries": 1000}
        _check(**{name: fields.get(name, value) for name, value in known.items()})
        tags = list(NAMES)
        tags += [f"{_gallery(size)}/recall@1" for size in fields.get("galleries", ())]
        if fields.get("near_duplicates", False):
            tags.append("near_duplicates/recall@1")
        tags += [
            f"{_condition(name, value)}/recall@1"
            for name, values in (fields.get("conditions") or {}).items()
            for value in values
        ]
        return [f"{prefix}/{tag}" for tag in tags]

    def run(self, embed: Embed) -> dict[str, Metric]:
        """Return a Metric for each tag."""
        everything = np.arange(len(self.split))
        q = self._anchors(embed)  # [q, d]
        k = self._keys(embed, self.split, everything)  # [n, d]
        levels = chance_levels(q.shape[1], len(k) - 1, self.margin, self.squared)
        found = {
            name: self._metric(name, values, levels[name])
            for name, values in self._distances(q, k).items()
        }
        found["recall@1"] = self._recall(q, k, self.ids, keep=True)
        gallery, ids = k, self.ids
        if self.galleries:
            gallery, ids = self._largest(embed, k)
            for name, size in self.galleries.items():
                found[f"{name}/recall@1"] = self._recall(
                    q, gallery[:size], ids[:size], keep=True
                )
        if self.near_duplicates is not None:
            found["near_duplicates/recall@1"] = self._among_near_duplicates(embed, q, k)
        for name, values in self.conditions.items():
            for value in values:
                worse = self._anchors(embed, **{name: value})
                tag = f"{_condition(name, value)}/recall@1"
                found[tag] = self._recall(worse, gallery, ids)
        return {f"{self.prefix}/{name}": metric for name, metric in found.items()}

    def examples(self, count: int) -> list[dict]:
        """Return queries with their neighbors; see `retrieval.Evaluator.examples`."""
        return examples_lib.pick(self._found[-1:], count)

    def _anchors(self, embed: Embed, **changes: Any) -> np.ndarray:
        parts = [(self.split, self.rows)]
        return embeddings.embed_parts(embed, parts, self.views[0], **changes)

    def _keys(self, embed: Embed, split: Any, rows: np.ndarray) -> np.ndarray:
        return embeddings.embed_parts(embed, [(split, rows)], self.views[1])

    def _largest(self, embed: Embed, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and ids of the largest gallery, validation records first."""
        rows = np.arange(max(self.galleries.values()) - len(k))
        more = self._keys(embed, self.distractors, rows)
        ids = np.concatenate([self.ids, self.distractors.table["id"][rows]])
        return np.concatenate([k, more]), ids

    def _distances(self, q: np.ndarray, k: np.ndarray) -> dict[str, np.ndarray]:
        """Return one value an anchor of every figure but recall."""
        parts = []
        for start in range(0, len(q), 64):  # [64, n, d] would be large: rows in turn
            rows = self.rows[start : start + 64]
            d = _distances(q[start : start + 64], k, self.squared)  # [b, n]
            own = np.arange(len(k))[None, :] == rows[:, None]
            d_pos, d_neg = d[own][:, None], d[~own].reshape(len(rows), -1)
            nearest = d_neg.min(1, keepdims=True)
            parts.append(
                {
                    "d_pos": d_pos[:, 0],
                    "d_neg": d_neg.mean(1),
                    "d_nearest": nearest[:, 0],
                    "violations": (d_neg - d_pos < self.margin).mean(1),
                    "hard_violations": (nearest - d_pos < self.margin)[:, 0],
                    "triplet_loss": _hinge(d_pos - d_neg + self.margin).mean(1),
                    "hard_loss": _hinge(d_pos - nearest + self.margin)[:, 0],
                }
            )
        return {
            name: np.concatenate([part[name] for part in parts]).astype(float)
            for name in parts[0]
        }

    def _metric(self, name: str, values: np.ndarray, level: float) -> Metric:
        n, share = len(values), name in SHARES
        return Metric(
            *ranking.summarize(
                values,
                np.full(n, level),
                np.arange(n),
                np.zeros(n, int),
                self.seed,
                share=share,
            )
        )

    def _recall(self, q, gallery, ids, keep: bool = False) -> Metric:
        query = np.arange(len(q))
        ranks = exact_search.ranks_of(q, gallery, query, self.rows, gallery_ids=ids)
        # A tie is a miss, or embeddings that are all the same would find everything.
        first = (ranks.above == 0) & (ranks.tied == 1)
        if keep:
            examples = examples_lib.of_search(
                q,
                gallery,
                self.ids[self.rows],
                ids,
                first,
                (query, self.rows),
                seed=self.seed,
                own=True,
            )
            self._found = [summary.Found("", {}, query, 0, *examples)]
        n = len(query)
        chance = np.full(n, 1 / len(gallery))
        return Metric(
            *ranking.summarize(first, chance, query, np.zeros(n, int), self.seed)
        )

    def _among_near_duplicates(
        self, embed: Embed, q: np.ndarray, k: np.ndarray
    ) -> Metric:
        """Return recall@1 among a record and n near-duplicates, chance 1 / (1 + n)."""
        split, rows = self.near_duplicates  # rows [n, near_duplicates]
        near_duplicates = self._keys(embed, split, rows.ravel())
        near_duplicates = near_duplicates.reshape(*rows.shape, -1)[
            self.rows
        ]  # [q, near_duplicates, d]
        own = np.einsum("qd,qd->q", q, k[self.rows])
        first = own > np.einsum("qd,qtd->qt", q, near_duplicates).max(1)
        n, chance = len(q), 1 / (1 + rows.shape[1])
        return Metric(
            *ranking.summarize(
                first, np.full(n, chance), np.arange(n), np.zeros(n, int), self.seed
            )
        )

    def _sizes(self, galleries: tuple[int, ...]) -> dict[str, int]:
        """Return the size of each gallery by its name, the largest last."""
        there = len(self.split)
        more = 0 if self.distractors is None else len(self.distractors)
        sizes = {_gallery(n): there + more if n < 0 else n for n in galleries}
        for size in sizes.values():
            if not there < size <= there + more:
                raise ValueError(
                    f"got a gallery of {size} with {there} validation records and "
                    f"{more} distractors; expected {there + 1} to {there + more}: "
                    "change galleries or data.distractors"
                )
        return dict(sorted(sizes.items(), key=lambda item: item[1]))


def _near_duplicates_of(split: Any, near_duplicates: Any) -> tuple[Any, np.ndarray]:
    """Return the split of near-duplicates and its rows for each record, [n, m]."""
    if near_duplicates is None:
        raise ValueError(
            "got near_duplicates=True with data that has none; set data.near_duplicates"
        )
    place = {head: row for row, head in enumerate(split.table["head"].tolist())}
    owner = np.array([place[head] for head in near_duplicates.table["head"].tolist()])
    rows = np.argsort(owner, kind="stable").reshape(len(split), -1)
    return near_duplicates, rows


def _distances(q: np.ndarray, k: np.ndarray, squared: bool) -> np.ndarray:
    """Return |q_i - k_j| or its square, [b, n], by differences in double precision."""
    q, k = q.astype(np.float64), k.astype(np.float64)
    square = (q * q).sum(1)[:, None] + (k * k).sum(1)[None, :] - 2 * q @ k.T
    square = np.maximum(square, 0)
    return square if squared else np.sqrt(square)


def _hinge(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _gallery(size: int) -> str:
    return "in_all" if size < 0 else f"in_{size}"


def _condition(name: str, value: float) -> str:
    return f"{name}_{value:g}"


def _check(margin, galleries, max_queries) -> None:
    if not margin > 0:
        raise ValueError(f"got margin={margin}; expected a number above 0")
    check_count("max_queries", max_queries)
    for size in galleries:
        if size != -1:
            check_count("galleries", size, least=2)

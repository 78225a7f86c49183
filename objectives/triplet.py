"""Triplets: one view of a record nearer to its other view than to other records."""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
from annotated_types import Interval

from losses import triplet as triplet_lib
from objectives.common import diagnostics, networks
from objectives.common.collectives import gather
from objectives.common.objective import (
    Batch,
    Extra,
    LossOutput,
    MetricFacts,
    ObjectiveBase,
    Params,
)

_FACTS: dict[str, MetricFacts] = {
    "train/d_pos": {"kind": "distance", "better": "lower"},
    "train/d_neg": {"kind": "distance", "better": "higher"},
    "train/violations": {"kind": "error", "better": "lower"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(ObjectiveBase):
    """Triplet loss on unit-norm embeddings.

    `L = mean_i f(d(q_i, k_i) - d(q_i, k_n))`, q the first views, k the second views, n
    a negative of i; f as in `losses.triplet`. The embeddings are the output of the
    backbone `(x, train) -> [n, d]`. Batches hold "view1" and "view2", and "label" to
    mask.

    Attributes:
        margin: In units of the distance, which lies in [0, 2], squared in [0, 4].
        soft_margin: Use softplus instead of the margin, which is then ignored.
        squared: Use squared distances.
        mining: Which of the keys of all devices are the negatives of an anchor.
        false_negatives: "mask" removes keys with the anchor's label from the negatives.
    """

    margin: Annotated[float, Interval(gt=0, le=4)] = 0.2
    soft_margin: bool = False
    squared: bool = False
    mining: triplet_lib.Mining = "batch_hard"
    false_negatives: Literal["keep", "mask"] = "keep"

    @functools.cached_property
    def _network(self) -> networks.PairNetwork:
        context = self.bound
        return networks.PairNetwork(context.backbone, context.axis_name, context.chunks)

    @property
    def _margin(self) -> float | None:
        return None if self.soft_margin else self.margin

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return initial parameters and batch statistics."""
        return self._network.init(rng, batch)

    def loss(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array | int,
    ) -> LossOutput:
        """Return the loss of first views against the second views of all devices."""
        del step
        axis_name = self.bound.axis_name
        q, k, extra = self._network.encode_pair(params, extra, batch, rng)
        keys = gather(k, axis_name)  # [devices * n, d]
        mask = None
        if self.false_negatives == "mask":
            mask = networks.differing_labels(batch, axis_name)
        value, aux = triplet_lib.triplet(
            q,
            keys,
            networks.gathered_columns(q.shape[0], axis_name),
            margin=self._margin,
            squared=self.squared,
            mining=self.mining,
            mask=mask,
            rng=jax.random.fold_in(rng, 2),
            axis_name=axis_name,
        )
        levels = triplet_lib.mined_levels(
            q.shape[-1],
            max(keys.shape[0] - 1, 1),
            self._margin,
            self.squared,
            self.mining,
        )
        values = {
            "d_pos": aux.positive_distance,
            "d_neg": aux.negative_distance,
            "violations": aux.violations,
            "accuracy": aux.accuracy,
        }
        metrics = {
            **diagnostics.with_chance(
                {f"train/{name}": (x, levels[name]) for name, x in values.items()}
            ),
            "diag/candidates": aux.candidates,
            **diagnostics.spread(q, axis_name),
        }
        if mask is not None:  # an anchor without a negative has loss 0
            chance = triplet_lib.chance(self._margin)
            metrics["train/loss_chance"] = chance * aux.compared
        return value, (extra, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings of `batch["image"]`."""
        return self._network.embed(params, extra, batch)

    def chance(self, global_batch: int) -> float:
        """Return the loss of equal embeddings: the margin, or ln 2 without one."""
        del global_batch
        return triplet_lib.chance(self._margin)

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        shared = diagnostics.ACCURACY | diagnostics.CANDIDATES | diagnostics.SPREAD
        return _FACTS | shared

"""InfoNCE in a batch: both views by one network, other records' views as negatives."""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
from annotated_types import Interval

from losses import info_nce as info_nce_lib
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(ObjectiveBase):
    """Symmetric in-batch InfoNCE on unit-norm embeddings.

    `L = (NCE(q, k) + NCE(k, q)) / 2`, q the first views, k the second views, NCE as in
    `losses.info_nce`; the gradient reaches both. There is neither a head nor a target
    network: the embeddings that are compared are the output of the backbone
    `(x, train) -> [n, d]`. Batches hold "view1" and "view2", and "label" to mask.

    Attributes:
        temperature: tau.
        false_negatives: "mask" removes keys with the anchor's label from the negatives.
        key_block_size: Number of keys scored at a time, 0 for all.

    Source: Chen et al., SimCLR, arXiv 2002.05709, without negatives of the same view.
    """

    temperature: Annotated[float, Interval(gt=0, le=100)] = 0.2
    false_negatives: Literal["keep", "mask"] = "keep"
    key_block_size: Annotated[int, Interval(ge=0, le=2**24)] = 0

    @functools.cached_property
    def _network(self) -> networks.PairNetwork:
        context = self.bound
        return networks.PairNetwork(context.backbone, context.axis_name, context.chunks)

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
        """Return the mean loss of both directions, over the keys of all devices."""
        del step
        axis_name = self.bound.axis_name
        q, k, extra = self._network.encode_pair(params, extra, batch, rng)
        mask = None
        if self.false_negatives == "mask":
            mask = networks.differing_labels(batch, axis_name)
        (loss_qk, aux), (loss_kq, other) = (
            info_nce_lib.info_nce(
                anchors,
                gather(keys, axis_name),  # [devices * n, d]
                networks.gathered_columns(q.shape[0], axis_name),
                temperature=self.temperature,
                mask=mask,
                key_block_size=self.key_block_size,
                axis_name=axis_name,
            )
            for anchors, keys in ((q, k), (k, q))
        )
        metrics = {**diagnostics.contrast(aux), **diagnostics.spread(q, axis_name)}
        if mask is not None:
            metrics["train/loss_chance"] = (aux.chance + other.chance) / 2
        return (loss_qk + loss_kq) / 2, (extra, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings of `batch["image"]`."""
        return self._network.embed(params, extra, batch)

    def chance(self, global_batch: int) -> float:
        """Return `ln N`, the loss where all keys are alike."""
        return info_nce_lib.chance(global_batch)

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        return diagnostics.CONTRAST | diagnostics.SPREAD

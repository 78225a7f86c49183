"""SimSiam: each view predicts another view of the record, or of the next frame."""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Interval
from jax import lax

from losses import negative_cosine as negative_cosine_lib
from losses.common.device_means import mean_over_devices
from models.layers.mlp import MLP
from objectives.common import diagnostics
from objectives.common.networks import Encoder, PredictingNetwork
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
    """SimSiam, with an optional term between consecutive frames.

    `L = [D(p1, z2) + D(p2, z1)] / 2 + w [D(p1, z3) + D(p3, z1)] / 2`, D the negative
    cosine whose second argument is a constant, z3 of the next frame. In the paper the
    learning rate of the predictor does not decay: `optimizer.constant =
    ("predictor",)`. The backbone is `(x, train) -> [n, f]`. Batches hold "view1" and
    "view2"; with w above 0 also "view3", a view of the next frame, and "has_next",
    false where there is none.

    Attributes:
        hidden_dim: Width of the projector's two hidden layers; f in the paper.
        proj_dim: Width of projections and predictions.
        pred_hidden_dim: Width of the predictor's hidden layer.
        temporal_weight: w.
        embed_from: Whose output is the embedding.

    Source: Chen and He, arXiv 2011.10566, section 3 and appendix A.
    """

    hidden_dim: Annotated[int, Interval(ge=1, le=65536)] = 512
    proj_dim: Annotated[int, Interval(ge=1, le=65536)] = 2048
    pred_hidden_dim: Annotated[int, Interval(ge=1, le=65536)] = 512
    temporal_weight: Annotated[float, Interval(ge=0, le=1000)] = 0.0
    embed_from: Literal["backbone", "projector"] = "backbone"

    @functools.cached_property
    def _network(self) -> PredictingNetwork:
        context = self.bound
        axis_name = context.axis_name if context.sync_batchnorm else None
        projector = MLP(
            self.hidden_dim,
            self.proj_dim,
            layers=3,
            norm_last=True,
            axis_name=axis_name,
        )
        predictor = MLP(
            self.pred_hidden_dim, self.proj_dim, bias_last=True, axis_name=axis_name
        )
        return PredictingNetwork(
            Encoder(context.backbone, projector),
            predictor,
            context.chunks,
            self.embed_from,
        )

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
        """Return the loss between two views and, with w above 0, consecutive frames."""
        del step
        axis_name = self.bound.axis_name
        names = ["view1", "view2", "view3"][: 3 if self.temporal_weight else 2]
        stats, outputs = extra["batch_stats"], []
        # Each view has its own pass, so that BatchNorm never mixes them.
        for name, key in zip(names, jax.random.split(rng, len(names)), strict=True):
            output, stats = self._network.predict(params, stats, batch[name], key)
            outputs.append(output)
        h, z, p = zip(*outputs, strict=True)
        chance = negative_cosine_lib.chance()
        siamese = _symmetric(p[0], z[0], p[1], z[1])
        metrics = diagnostics.with_chance({"train/simsiam": (siamese, chance)})
        value = siamese
        if self.temporal_weight:
            has_next = batch["has_next"].astype(jnp.float32)
            count = mean_over_devices(jnp.sum(has_next), axis_name)
            temporal = _symmetric(p[0], z[0], p[2], z[2], has_next, count)
            metrics |= diagnostics.with_chance({"train/temporal": (temporal, chance)})
            metrics["diag/has_next"] = jnp.mean(has_next)
            value = siamese + self.temporal_weight * temporal
        embedded = self._network.embedded(h[0], z[0])
        metrics |= diagnostics.spread(embedded, axis_name)
        stats = mean_over_devices(stats, axis_name)
        return value, ({"batch_stats": lax.stop_gradient(stats)}, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm features or projections of `batch["image"]`."""
        return self._network.embed(params, extra, batch)

    def chance(self, global_batch: int) -> float:
        """Return 0, the loss of predictions that are independent of their targets."""
        del global_batch
        return negative_cosine_lib.chance()

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        facts: dict[str, MetricFacts] = {
            "train/simsiam": {"kind": "loss", "better": "lower"}
        }
        if self.temporal_weight:
            facts["train/temporal"] = {"kind": "loss", "better": "lower"}
            facts["diag/has_next"] = {"kind": "diagnostic", "better": ""}
        return facts | diagnostics.SPREAD


def _symmetric(
    p1: jax.Array,
    z1: jax.Array,
    p2: jax.Array,
    z2: jax.Array,
    weights: jax.Array | None = None,
    count: jax.Array | None = None,
) -> jax.Array:
    """Return `[D(p1, z2) + D(p2, z1)] / 2`."""
    forward = negative_cosine_lib.negative_cosine(p1, z2, weights, count)
    backward = negative_cosine_lib.negative_cosine(p2, z1, weights, count)
    return (forward + backward) / 2

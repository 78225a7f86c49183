"""SimSiam: each view predicts where another view of the record, or the next, lies."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from losses import negative_cosine as loss_lib
from models.layers.mlp import MLP
from objectives.common import diagnostics
from objectives.common import objective as contract
from objectives.common.networks import Encoder, PredictingNetwork

Tree = Any


@dataclasses.dataclass(frozen=True)
class _SimSiam(PredictingNetwork):
    """The four functions of the objective, over the networks and fields of `make`."""

    temporal_weight: float

    def loss(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array, step):
        """Both directions between the views, and between a frame and the next."""
        del step
        names = (
            ("view1", "view2", "view3") if self.temporal_weight else ("view1", "view2")
        )
        stats, seen = extra["batch_stats"], []
        # Each view has its own pass, so that BatchNorm never mixes them.
        for name, key in zip(names, jax.random.split(rng, len(names)), strict=True):
            found, stats = self.predict(params, stats, batch[name], key)
            seen.append(found)
        h, z, p = zip(*seen, strict=True)
        siamese = _both_ways(p[0], z[0], p[1], z[1])
        metrics = diagnostics.with_chance(
            {"train/simsiam": (siamese, loss_lib.chance())}
        )
        value = siamese
        if self.temporal_weight:
            has_next = batch["has_next"].astype(jnp.float32)
            count = jnp.sum(has_next)
            if self.axis_name is not None:
                count = lax.pmean(count, self.axis_name)
            later = _both_ways(p[0], z[0], p[2], z[2], has_next, count)
            metrics |= {
                **diagnostics.with_chance(
                    {"train/temporal": (later, loss_lib.chance())}
                ),
                "diag/has_next": jnp.mean(has_next),
            }
            value = siamese + self.temporal_weight * later
        metrics |= self.spread(h[0], z[0])
        stats = contract.mean_over_devices(stats, self.axis_name)
        return value, ({"batch_stats": lax.stop_gradient(stats)}, metrics)

    def chance(self, global_batch: int) -> float:
        """0: predictions that have nothing to do with their targets."""
        del global_batch
        return loss_lib.chance()


def _both_ways(p1, z1, p2, z2, weights=None, count=None) -> jax.Array:
    there = loss_lib.negative_cosine(p1, z2, weights, count)
    back = loss_lib.negative_cosine(p2, z1, weights, count)
    return (there + back) / 2


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    hidden: int = 512,
    features: int = 2048,
    bottleneck: int = 512,
    temporal_weight: float = 0.0,
    embed_from: Literal["backbone", "projector"] = "backbone",
    sync_batchnorm: bool = False,
) -> contract.Objective:
    """Builds SimSiam, with a term that holds a frame to the one after it.

    `L = [D(p1, z2) + D(p2, z1)] / 2 + w [D(p1, z3) + D(p3, z1)] / 2`, D the negative
    cosine with its second argument a constant, z3 of the frame that follows. The
    predictor's rate does not fall in the paper: `optimizer.constant = ("predictor",)`.

    Args:
        backbone: Network `(x, train) -> [n, f]`.
        axis_name: Device axis over which statistics are averaged, or None.
        total_steps: No use here; nothing is scheduled.
        chunks: Parts that the networks run in.
        hidden: Width of the projector's two hidden layers; f in the paper.
        features: Width of projections and predictions.
        bottleneck: Width of the predictor's hidden layer.
        temporal_weight: w, 0 or more; above 0 the batch holds "view3", a view of the
            next frame, and "has_next", false where there is none.
        embed_from: What is embedded after training.
        sync_batchnorm: Share the heads' batch statistics over devices.

    Returns:
        The objective. Its batches hold "view1" and "view2".

    Raises:
        ValueError: `temporal_weight` is below 0.

    Source: Chen and He, arXiv 2011.10566, section 3 and appendix A.
    """
    del total_steps
    if not temporal_weight >= 0:
        raise ValueError(f"got temporal_weight {temporal_weight}; expected 0 or more")
    axis = axis_name if sync_batchnorm else None
    method = _SimSiam(
        encoder=Encoder(
            backbone, MLP(hidden, features, layers=3, norm_last=True, axis_name=axis)
        ),
        predictor=MLP(bottleneck, features, bias_last=True, axis_name=axis),
        axis_name=axis_name,
        chunks=chunks,
        temporal_weight=temporal_weight,
        embed_from=embed_from,
    )
    return contract.Objective(method.init, method.loss, method.embed, method.chance)

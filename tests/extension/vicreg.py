"""VICReg (Bardes et al., arXiv 2105.04906): invariance, variance and covariance."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp
from annotated_types import Interval

from losses.common.normalize import unit_norm
from objectives.common import networks
from objectives.common.objective import ObjectiveBase


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(ObjectiveBase):
    """VICReg on the output of the backbone.

    Attributes:
        invariance: Weight of the squared distance of two views.
        variance: Weight of the hinge on the standard deviation.
        covariance: Weight of the squared covariances.
    """

    invariance: Annotated[float, Interval(ge=0, le=1e4)] = 25.0
    variance: Annotated[float, Interval(ge=0, le=1e4)] = 25.0
    covariance: Annotated[float, Interval(ge=0, le=1e4)] = 1.0

    def init(self, rng, batch):
        """Return initial parameters and batch statistics."""
        variables = self.bound.backbone.init(
            networks.init_keys(rng), batch["view1"], train=False
        )
        stats = variables.get("batch_stats", {})
        return variables["params"], {"batch_stats": stats}

    def loss(self, params, extra, batch, rng, step):
        """Return the weighted sum of the three terms."""
        stats, z = extra["batch_stats"], []
        for name in ("view1", "view2"):
            output, stats = networks.apply_training(
                self.bound.backbone, params, stats, batch[name], rng
            )
            z.append(output)
        n, d = z[0].shape
        hinge, off_diagonal = 0.0, 0.0
        for x in z:
            x = x - x.mean(0, keepdims=True)
            hinge += jnp.maximum(0, 1 - jnp.sqrt(x.var(0) + 1e-4)).mean()
            c = x.T @ x / (n - 1)
            off_diagonal += ((c**2).sum() - (jnp.diagonal(c) ** 2).sum()) / d
        distance = jnp.mean((z[0] - z[1]) ** 2)
        loss = self.invariance * distance + self.variance * hinge
        metrics = {"train/hinge": jnp.asarray(hinge)}
        return loss + self.covariance * off_diagonal, (
            {"batch_stats": stats},
            metrics,
        )

    def embed(self, params, extra, batch):
        """Return unit-norm embeddings."""
        variables = {"params": params, **extra}
        return unit_norm(
            self.bound.backbone.apply(variables, batch["image"], train=False)
        )

    def chance(self, global_batch):
        """Return the loss of constant embeddings: both hinges are 1 - .01."""
        return self.variance * 2 * 0.99

    def metric_facts(self):
        """Return kind and direction of the hinge."""
        return {"train/hinge": {"kind": "loss", "better": "lower"}}

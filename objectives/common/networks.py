"""A backbone with a projector and a predictor: what methods with heads share."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.mlp import MLP
from objectives.common import objective as contract

Tree = Any


class Encoder(nn.Module):
    """Backbone and projector in one tree."""

    backbone: nn.Module
    projector: nn.Module

    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps images `[n, h, w, c]` to features `[n, f]` and projections `[n, d]`."""
        features = self.backbone(x, train=train)
        return features, self.projector(features, train=train)


@dataclasses.dataclass(frozen=True)
class PredictingNetwork:
    """Features, projections and predictions of views by one network.

    Attributes:
        encoder: Backbone and projector.
        predictor: From projections to predictions of the same width.
        axis_name: Device axis over which statistics are averaged, or None.
        chunks: Parts that the networks run in.
        embed_from: "backbone" or "projector", what is embedded after training.
    """

    encoder: Encoder
    predictor: MLP
    axis_name: str | None
    chunks: int
    embed_from: str

    def init(self, rng: jax.Array, batch: dict) -> tuple[Tree, Tree]:
        """Parameters and batch statistics of encoder and predictor."""
        keys = dict(zip(("params", "dropout"), jax.random.split(rng), strict=True))
        (_, z), encoder = self.encoder.init_with_output(
            keys, batch["view1"], train=False
        )
        head_keys = {"params": jax.random.fold_in(rng, 2)}
        predictor = self.predictor.init(head_keys, z, train=False)
        both = {"encoder": encoder, "predictor": predictor}
        params = {name: part["params"] for name, part in both.items()}
        stats = {name: part["batch_stats"] for name, part in both.items()}
        return params, {"batch_stats": stats}

    def predict(self, params: Tree, stats: Tree, x: jax.Array, rng: jax.Array):
        """Features h, projections z and predictions p of views, with new statistics."""

        def part(x, rng):
            (h, z), encoder = contract.apply_training(
                self.encoder, params["encoder"], stats["encoder"], x, rng
            )
            p, predictor = contract.apply_training(
                self.predictor, params["predictor"], stats["predictor"], z, rng
            )
            return (h, z, p), {"encoder": encoder, "predictor": predictor}

        return contract.in_chunks(part, x, rng, self.chunks)

    def embedded(self, h: jax.Array, z: jax.Array) -> jax.Array:
        """Features or projections, whichever is embedded after training."""
        return h if self.embed_from == "backbone" else z

    def spread(self, h: jax.Array, z: jax.Array) -> dict[str, jax.Array]:
        """How far embeddings are from collapse, as figures to log."""
        embedded = self.embedded(h, z)
        return {
            "diag/embedding_std": contract.embedding_std(embedded, self.axis_name),
            "diag/embedding_std_chance": jnp.float32(embedded.shape[-1] ** -0.5),
        }

    def embed(self, params: Tree, extra: Tree, batch: dict) -> jax.Array:
        """Unit-norm features or projections, by running statistics."""
        variables = {
            "params": params["encoder"],
            "batch_stats": extra["batch_stats"]["encoder"],
        }
        h, z = self.encoder.apply(variables, batch["image"], train=False)
        return contract.unit_norm(self.embedded(h, z))

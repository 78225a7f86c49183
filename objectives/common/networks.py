"""Networks that several objectives share: one for pairs, one with a predictor."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from losses.common.device_means import mean_over_devices
from losses.common.normalize import unit_norm
from models.layers.mlp import MLP
from objectives.common import collectives
from objectives.common.accumulation import in_chunks
from objectives.common.objective import Backbone, Batch, Extra, Params, Tree


def apply_training(
    module: nn.Module, params: Params, stats: Tree, x: jax.Array, rng: jax.Array
) -> tuple[Tree, Tree]:
    """Return the output of a network in training mode, and its new batch statistics."""
    output, new = module.apply(
        {"params": params, "batch_stats": stats},
        x,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": rng},
    )
    return output, new.get("batch_stats", stats)


def apply_inference(
    module: nn.Module, params: Params, stats: Tree, x: jax.Array
) -> Tree:
    """Return the output of a network that uses its running statistics."""
    return module.apply({"params": params, "batch_stats": stats}, x, train=False)


def init_keys(rng: jax.Array) -> dict[str, jax.Array]:
    """Return the keys by which a network starts."""
    params, dropout = jax.random.split(rng)
    return {"params": params, "dropout": dropout}


class Encoder(nn.Module):
    """Backbone and projector in one tree of parameters."""

    backbone: nn.Module
    projector: nn.Module

    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Return features `[n, f]` and projections `[n, d]` of `[n, h, w, c]`."""
        features = self.backbone(x, train=train)
        return features, self.projector(features, train=train)


@dataclasses.dataclass(frozen=True)
class PredictingNetwork:
    """Features h, projections z and predictions p of views by one network.

    Attributes:
        encoder: Backbone and projector.
        predictor: From projections to predictions of the same width.
        chunks: Number of chunks in which the networks process a batch.
        embed_from: "backbone" or "projector", whose output is the embedding.
    """

    encoder: Encoder
    predictor: MLP
    chunks: int
    embed_from: str

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return parameters and batch statistics of encoder and predictor."""
        (_, z), encoder = self.encoder.init_with_output(
            init_keys(rng), batch["view1"], train=False
        )
        head_keys = {"params": jax.random.fold_in(rng, 2)}
        predictor = self.predictor.init(head_keys, z, train=False)
        both = {"encoder": encoder, "predictor": predictor}
        params = {name: variables["params"] for name, variables in both.items()}
        stats = {name: variables["batch_stats"] for name, variables in both.items()}
        return params, {"batch_stats": stats}

    def predict(
        self, params: Params, stats: Tree, x: jax.Array, rng: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Tree]:
        """Return `(h, z, p)` of a view in training mode, and new statistics."""

        def encode(x, rng):
            (h, z), encoder = apply_training(
                self.encoder, params["encoder"], stats["encoder"], x, rng
            )
            p, predictor = apply_training(
                self.predictor, params["predictor"], stats["predictor"], z, rng
            )
            return (h, z, p), {"encoder": encoder, "predictor": predictor}

        return in_chunks(encode, x, rng, self.chunks)

    def embedded(self, h: jax.Array, z: jax.Array) -> jax.Array:
        """Return h or z, by `embed_from`."""
        return h if self.embed_from == "backbone" else z

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings of `batch["image"]`, from running statistics."""
        stats = extra["batch_stats"]["encoder"]
        h, z = apply_inference(self.encoder, params["encoder"], stats, batch["image"])
        return unit_norm(self.embedded(h, z))


@dataclasses.dataclass(frozen=True)
class PairNetwork:
    """Unit-norm embeddings of two views by one network.

    Attributes:
        backbone: Network `(x, train) -> [n, d]`; its output is the embedding.
        axis_name: Device axis over which statistics are averaged, or None.
        chunks: Number of chunks in which the network processes a batch.
    """

    backbone: Backbone
    axis_name: str | None
    chunks: int

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return parameters and batch statistics of the network."""
        variables = self.backbone.init(init_keys(rng), batch["view1"], train=False)
        return variables["params"], {"batch_stats": variables.get("batch_stats", {})}

    def encode(
        self, params: Params, stats: Tree, x: jax.Array, rng: jax.Array
    ) -> tuple[jax.Array, Tree]:
        """Return unit-norm embeddings `[n, d]` of a view, and new statistics."""

        def encode_chunk(x, rng):
            h, new = apply_training(self.backbone, params, stats, x, rng)
            return unit_norm(h), new

        return in_chunks(encode_chunk, x, rng, self.chunks)

    def encode_pair(
        self, params: Params, extra: Extra, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, jax.Array, Extra]:
        """Return embeddings q of first and k of second views, and the new state."""
        rngs = jax.random.split(rng)
        # Each view has its own pass, so that BatchNorm never mixes them.
        stats = extra["batch_stats"]
        q, stats = self.encode(params, stats, batch["view1"], rngs[0])  # [n, d]
        k, stats = self.encode(params, stats, batch["view2"], rngs[1])
        stats = mean_over_devices(stats, self.axis_name)
        return q, k, {"batch_stats": lax.stop_gradient(stats)}

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings of `batch["image"]`, from running statistics."""
        stats = extra["batch_stats"]
        return unit_norm(apply_inference(self.backbone, params, stats, batch["image"]))


def gathered_columns(n: int, axis_name: str | None) -> jax.Array:
    """Return the indices `[n]` of this device's rows among those of all devices."""
    return collectives.first_row(n, axis_name) + jnp.arange(n)


def differing_labels(batch: Batch, axis_name: str | None) -> jax.Array:
    """Return which keys may be negatives, bool `[n, devices n]`.

    False where a key has the label of the anchor; a negative label is none.
    """
    labels = collectives.gather(batch["label"], axis_name)
    anchors = batch["label"][:, None]
    return (anchors != labels[None, :]) | (anchors < 0)

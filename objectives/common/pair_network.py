"""One network that sees both views of a record: what pairwise objectives share."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from objectives.common import objective as contract

Tree = Any


@dataclasses.dataclass(frozen=True)
class PairNetwork:
    """Unit-norm embeddings of two views by one network.

    Attributes:
        backbone: Network `(x, train) -> [n, d]`; its output is what is embedded.
        axis_name: Device axis over which keys are gathered, or None.
        chunks: Parts that the network runs in.
    """

    backbone: nn.Module
    axis_name: str | None
    chunks: int

    def init(self, rng: jax.Array, batch: dict) -> tuple[Tree, Tree]:
        """Parameters and batch statistics of the network."""
        keys = dict(zip(("params", "dropout"), jax.random.split(rng), strict=True))
        variables = self.backbone.init(keys, batch["view1"], train=False)
        return variables["params"], {"batch_stats": variables.get("batch_stats", {})}

    def encode(self, params: Tree, stats: Tree, x: jax.Array, rng: jax.Array):
        """Unit-norm embeddings [n, d] of a view, with new statistics."""

        def part(x, rng):
            h, new = contract.apply_training(self.backbone, params, stats, x, rng)
            return contract.unit_norm(h), new

        return contract.in_chunks(part, x, rng, self.chunks)

    def both(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array):
        """Embeddings q of first and k of second views, with new `extra`."""
        rngs = jax.random.split(rng)
        # Each view has its own pass, so that BatchNorm never mixes them.
        stats = extra["batch_stats"]
        q, stats = self.encode(params, stats, batch["view1"], rngs[0])  # [n, d]
        k, stats = self.encode(params, stats, batch["view2"], rngs[1])
        stats = contract.mean_over_devices(stats, self.axis_name)
        return q, k, {"batch_stats": lax.stop_gradient(stats)}

    def columns(self, n: int) -> jax.Array:
        """Where the keys of this device's rows lie among those of all devices, [n]."""
        return contract.first_row(n, self.axis_name) + jnp.arange(n)

    def may_be_negative(self, batch: dict) -> jax.Array:
        """False where a key has the anchor's label, bool [n, devices * n]."""
        labels = contract.gather(batch["label"], self.axis_name)
        own = batch["label"][:, None]
        return (own != labels[None, :]) | (own < 0)

    def spread(self, q: jax.Array) -> dict[str, jax.Array]:
        """How far embeddings are from collapse, as figures to log."""
        return {
            "diag/embedding_std": contract.embedding_std(q, self.axis_name),
            "diag/embedding_std_chance": jnp.float32(q.shape[-1] ** -0.5),
        }

    def embed(self, params: Tree, extra: Tree, batch: dict) -> jax.Array:
        """Unit-norm embeddings by running statistics."""
        variables = {"params": params, **extra}
        h = self.backbone.apply(variables, batch["image"], train=False)
        return contract.unit_norm(h)

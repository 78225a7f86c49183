"""What every training method is: four pure functions, and the pieces they share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Tree = Any


class Objective(NamedTuple):
    """A training method as pure functions, after optax's GradientTransformation.

    Attributes:
        init: `(rng, batch) -> (params, extra)`; `params` is what the gradient trains,
            `extra` all other state. `batch` holds one or more records with views.
        loss: `(params, extra, batch, rng, step) -> (loss, (extra, metrics))`, the value
            of this device's rows; its mean over devices is the global batch's.
        embed: `(params, extra, batch) -> [n, d]`, unit norm, from running statistics.
        chance: `(global_batch) -> float`, the loss of a network that knows nothing.
    """

    init: Callable[..., tuple[Tree, Tree]]
    loss: Callable[..., tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]]
    embed: Callable[..., jax.Array]
    chance: Callable[[int], float]


def in_chunks(
    encode: Callable[[jax.Array, jax.Array], tuple[Tree, Tree]],
    x: jax.Array,
    rng: jax.Array,
    chunks: int,
) -> tuple[Tree, Tree]:
    """Encodes a batch a chunk at a time, so that memory is that of one chunk.

    The activations of a chunk are dropped and computed again for its gradient, with
    the same key, while the embeddings of all chunks stay: a loss over them is the loss
    of the full batch, and so is its gradient (GradCache, arXiv 2101.06983). Networks
    with BatchNorm normalize each chunk by its own statistics; the new running ones are
    the mean over chunks, which moves them once a step however many chunks there are.

    Args:
        encode: `(x [c, ...], rng) -> (outputs with leading axis c, statistics)`.
        x: `[n, ...]`.
        rng: Key; each chunk draws from its own.
        chunks: How many; must divide n.

    Returns:
        Outputs with leading axis n, and statistics.
    """
    if chunks == 1:
        return encode(x, rng)
    n = x.shape[0]
    if n % chunks:
        raise ValueError(f"got {n} rows on a device; expected a multiple of {chunks}")
    x = x.reshape(chunks, n // chunks, *x.shape[1:])  # [chunks, c, ...]

    def body(_, item):
        return None, encode(*item)

    keys = jax.random.split(rng, chunks)
    _, (outputs, stats) = lax.scan(jax.checkpoint(body), None, (x, keys))
    outputs = jax.tree.map(lambda y: y.reshape(n, *y.shape[2:]), outputs)
    return outputs, jax.tree.map(lambda s: s.mean(0), stats)


def separately(objective: Objective, chunks: int) -> Objective:
    """The objective on each chunk of a batch by itself, as plain accumulation has it.

    `L = mean_c L(chunk c)`: an anchor's candidates are those of its chunk, so that 4
    chunks of 256 have 256 candidates and not 1,024, and chance is that of a chunk. It
    is there to be compared with `in_chunks`, which loses nothing.

    Args:
        objective: Made for one chunk at a time.
        chunks: How many; must divide the rows of a device.

    Returns:
        The objective; state such as batch statistics passes from chunk to chunk.
    """

    def loss(params, extra, batch, rng, step):
        """The mean over chunks, and what the last one leaves."""
        parts = jax.tree.map(lambda x: x.reshape(chunks, -1, *x.shape[1:]), batch)

        def body(extra, item):
            value, (extra, metrics) = objective.loss(params, extra, *item, step)
            return extra, (value, metrics)

        keys = jax.random.split(rng, chunks)
        extra, found = lax.scan(jax.checkpoint(body), extra, (parts, keys))
        value, metrics = jax.tree.map(lambda x: x.mean(0), found)
        return value, (extra, metrics)

    def chance(global_batch: int) -> float:
        """Of one chunk."""
        return objective.chance(global_batch // chunks)

    return objective._replace(loss=loss, chance=chance)


def apply_training(
    module: nn.Module, params: Tree, stats: Tree, x: jax.Array, rng: jax.Array
) -> tuple[Tree, Tree]:
    """Output of a network in training mode, and its new batch statistics."""
    output, new = module.apply(
        {"params": params, "batch_stats": stats},
        x,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": rng},
    )
    return output, new.get("batch_stats", stats)


def gather(x: Tree, axis_name: str | None) -> Tree:
    """Rows of all devices in order of their index, `[n, ...] -> [devices * n, ...]`."""
    if axis_name is None:
        return x
    return jax.tree.map(lambda a: lax.all_gather(a, axis_name, tiled=True), x)


def mean_over_devices(x: Tree, axis_name: str | None) -> Tree:
    """Mean over devices; the identity where there is no axis."""
    return x if axis_name is None else lax.pmean(x, axis_name)


def first_row(n: int, axis_name: str | None) -> jax.Array | int:
    """Index of this device's first row among the gathered rows."""
    return 0 if axis_name is None else lax.axis_index(axis_name) * n


def unit_norm(x: jax.Array) -> jax.Array:
    """Rows divided by their norm, in float32; a zero row stays zero."""
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


def embedding_std(z: jax.Array, axis_name: str | None) -> jax.Array:
    """Standard deviation of a channel over the global batch, mean over channels.

    Healthy unit-norm embeddings have 1/sqrt(d); 0 is collapse.

    Args:
        z: `[n, d]` rows of this device; normalized here.
        axis_name: Device axis, or None.
    """
    z = lax.stop_gradient(unit_norm(z))
    mean, square = mean_over_devices((z.mean(0), (z * z).mean(0)), axis_name)
    return jnp.sqrt(jnp.maximum(square - mean * mean, 0.0)).mean()

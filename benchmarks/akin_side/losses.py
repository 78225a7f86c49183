"""Our side of the loss benchmark: value and gradient by the embeddings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.akin_side.common import VERSION, start
from benchmarks.common.worker import LOSSES
from losses import fast_ap as fast_ap_loss
from losses import info_nce as info_nce_loss
from losses import negative_cosine as simsiam_loss
from losses import triplet as triplet_loss

__all__ = ["VERSION", "fast_ap", "info_nce", "simsiam", "start", "triplet"]


def fast_ap(size: int, batch: int) -> Callable[[], None]:
    """FastAP of records of a class, triangular bins."""
    labels = jnp.arange(batch) // LOSSES["samples_per_class"]
    own = jnp.arange(batch)

    def loss(x):
        return fast_ap_loss.fast_ap(x, x, labels, labels, own, bins=LOSSES["bins"])[0]

    return _prepared(loss, _draw(0, size, batch))


def triplet(size: int, batch: int) -> Callable[[], None]:
    """Triplets with the nearest negative of the batch."""

    def loss(q, k):
        own = jnp.arange(batch)
        return triplet_loss.triplet(q, k, own, margin=LOSSES["margin"])[0]

    return _prepared(loss, _draw(0, size, batch), _draw(1, size, batch))


def info_nce(size: int, batch: int) -> Callable[[], None]:
    """InfoNCE of two views."""

    def loss(q, k):
        own = jnp.arange(batch)
        return info_nce_loss.info_nce(q, k, own, temperature=LOSSES["temperature"])[0]

    return _prepared(loss, _draw(0, size, batch), _draw(1, size, batch))


def simsiam(size: int, batch: int) -> Callable[[], None]:
    """Negative cosine with constant targets."""
    x = _draw(0, size, batch), _draw(1, size, batch)
    return _prepared(simsiam_loss.negative_cosine, *x)


def _draw(seed: int, size: int, batch: int) -> jax.Array:
    x = jax.random.normal(jax.random.key(seed), (batch, size))
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def _prepared(loss: Callable, *x: jax.Array) -> Callable[[], None]:
    every = tuple(range(len(x)))
    run = jax.jit(jax.value_and_grad(loss, every)).lower(*x).compile()
    return lambda: jax.block_until_ready(run(*x))

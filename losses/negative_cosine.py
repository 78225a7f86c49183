"""Negative cosine of predictions and constant targets, the loss of SimSiam."""

import jax
import jax.numpy as jnp
from jax import lax

from losses.common.normalize import unit_norm


def negative_cosine(
    p: jax.Array,
    z: jax.Array,
    weights: jax.Array | None = None,
    count: jax.Array | None = None,
) -> jax.Array:
    """Return the mean negative cosine of predictions and constant targets.

    `L = -sum_i w_i cos(p_i, stop_gradient(z_i)) / sum_i w_i`

    No gradient reaches `z`: with one, all embeddings collapse to a point.

    Args:
        p: `[n, d]` predictions of any length; normalized here, in float32 or wider.
        z: `[n, d]` targets, likewise.
        weights: w, `[n]`, 0 or more; None weights all pairs equally. A pair without
            meaning, such as the last frame and its successor, has weight 0.
        count: Divisor of the sum, or None for the sum of the weights here. With several
            devices, the mean of the sums of weights over devices makes the mean of the
            devices' losses that of all pairs.

    Returns:
        The scalar loss, in [-1, 1] without `count`; 0 where all weights are 0.

    Raises:
        ValueError: Shapes do not fit.

    Source: Chen and He, "Exploring simple siamese representation learning", arXiv
    2011.10566, eq. 1 and 3.
    """
    if p.ndim != 2 or p.shape != z.shape or 0 in p.shape:
        raise ValueError(f"got p {p.shape} and z {z.shape}; expected [n, d] both")
    if weights is not None and weights.shape != p.shape[:1]:
        raise ValueError(f"got weights {weights.shape}; expected {p.shape[:1]}")
    dtype = jnp.promote_types(p.dtype, jnp.float32)
    p, z = unit_norm(p.astype(dtype)), unit_norm(lax.stop_gradient(z.astype(dtype)))
    cosine = jnp.sum(p * z, -1)  # [n]
    w = jnp.ones_like(cosine) if weights is None else weights.astype(cosine.dtype)
    total = jnp.sum(w) if count is None else count
    return -jnp.sum(w * cosine) / jnp.where(total > 0, total, 1)


def chance() -> float:
    """Return 0, the loss of predictions that are independent of their targets.

    Collapsed embeddings reach -1 as perfect ones do: the loss alone cannot tell them
    apart, the standard deviation of the embeddings can.
    """
    return 0.0

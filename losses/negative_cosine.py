"""SimSiam: the prediction of one view points at where another view lies."""

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
    """Computes the mean negative cosine of predictions and fixed targets.

      L = -sum_i w_i cos(p_i, sg z_i) / sum_i w_i

    No gradient reaches `z`: with one, all embeddings fall into a point.

    Args:
      p: [n, d] predictions, any length; normalized here, in float32 at least.
      z: [n, d] what they should point at, likewise.
      weights: [n], 0 or more; None weighs all alike. A pair without a meaning, such as
        a last frame and the one that would follow it, has 0.

      count: what the sum is divided by, or None for the sum of the weights here. Under
        several devices its mean over devices makes the mean of the devices' values
        that of all pairs.

    Returns:
      The scalar, in [-1, 1] without `count`; 0 where all weights are 0.

    Raises:
      ValueError: on shapes that do not fit.

    Source: Chen and He, "Exploring simple siamese representation learning", arXiv
    2011.10566, eq. 1 and 3.
    """
    if p.ndim != 2 or p.shape != z.shape or 0 in p.shape:
        raise ValueError(f"p and z must both be [n, d], got {p.shape}, {z.shape}")
    if weights is not None and weights.shape != p.shape[:1]:
        raise ValueError(f"weights must be {p.shape[:1]}, got {weights.shape}")
    dtype = jnp.promote_types(p.dtype, jnp.float32)
    p, z = unit_norm(p.astype(dtype)), unit_norm(lax.stop_gradient(z.astype(dtype)))
    cosine = jnp.sum(p * z, -1)  # [n]
    w = jnp.ones_like(cosine) if weights is None else weights.astype(dtype)
    total = jnp.sum(w) if count is None else count
    return -jnp.sum(w * cosine) / jnp.where(total > 0, total, 1)


def chance() -> float:
    """Returns 0, the loss of predictions that have nothing to do with their targets.

    Collapsed embeddings reach -1 as perfect ones do: the loss alone cannot tell them
    apart, their spread can.
    """
    return 0.0

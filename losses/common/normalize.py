"""Unit-norm vectors."""

import jax
import jax.numpy as jnp
from jax import lax


def unit_norm(x: jax.Array) -> jax.Array:
    """Return vectors divided by their Euclidean norm.

    Args:
        x: `[..., d]`, any floating type.

    Returns:
        `[..., d]` in float32 or wider. A zero vector stays zero and has a finite
        gradient.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # The maximum is inside the root, so that the gradient at 0 is finite.
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))

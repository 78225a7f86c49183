"""Batch normalization and SiLU as one operation with a short backward pass."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy, 2015, arXiv 1502.03167), perhaps with SiLU.

    y = act(γ·(x − μ)/√(σ² + ε) + β), statistics over all axes but the last. Parameters
    and statistics are those of `flax.linen.BatchNorm`, by the same names, in float32;
    σ² is the biased variance.

    Attributes:
        momentum: share of the old running value, in [0, 1].
        epsilon: ε > 0.
        axis_name: mapped axis over which statistics are shared, or None.
        silu: apply SiLU.
        zero: start γ at 0 instead of 1.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    silu: bool = False
    zero: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalizes `[n, h, w, c]`; with `train`, by its own statistics."""
        shape = (x.shape[-1],)
        start = nn.initializers.zeros if self.zero else nn.initializers.ones
        scale = self.param("scale", start, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            factor = scale * lax.rsqrt(running_var.value + self.epsilon)
            y = _affine(x, running_mean.value, factor, bias)
            return _act(y, self.silu).astype(x.dtype)
        axis_name = None if self.is_initializing() else self.axis_name
        y, mean, var = _normalize(x, scale, bias, self.epsilon, axis_name, self.silu)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * var
        return y


def _affine(
    x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array
) -> jax.Array:
    """Return (x - mean) factor + bias; the difference first, which loses no digits."""
    one = (1,) * (x.ndim - 1)
    mean, factor, bias = (a.reshape(*one, -1) for a in (mean, factor, bias))
    return (x.astype(jnp.float32) - mean) * factor + bias


def _act(x: jax.Array, silu: bool) -> jax.Array:
    return nn.silu(x) if silu else x


def _means(operands: tuple[jax.Array, ...], axis_name: str | None) -> list[jax.Array]:
    """Means over all axes but the last, in one pass over what the operands read."""
    zeros = (jnp.zeros((), jnp.float32),) * len(operands)

    def add(left, right):
        return tuple(jnp.add(x, y) for x, y in zip(left, right, strict=True))

    # Columns first: many short sums keep float32 exact enough, and XLA:CPU vectorises
    # them over channels.
    sums = lax.reduce(operands, zeros, add, (operands[0].ndim - 2,))
    count = operands[0].size // operands[0].shape[-1]
    means = [part.sum(tuple(range(part.ndim - 1))) / count for part in sums]
    return means if axis_name is None else lax.pmean(means, axis_name)


def _statistics(x: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Return mean and biased variance, in one pass about the mean of the first record.

    Without that shift the variance would be the difference of two large numbers where
    the mean is many standard deviations from 0. The record is one of n, so that its
    mean is at most sqrt(n) standard deviations off.
    """
    x = x.astype(jnp.float32)
    shift = x[:1].mean(tuple(range(x.ndim - 1)), keepdims=True)
    centered = x - shift
    mean, square = _means((centered, centered * centered), None)
    mean, var = mean + shift.ravel(), jnp.maximum(square - mean * mean, 0.0)
    if axis_name is None:
        return mean, var
    shared = lax.pmean(mean, axis_name)
    return shared, lax.pmean(var + jnp.square(mean - shared), axis_name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _normalize(x, scale, bias, epsilon, axis_name, silu):
    return _forward(x, scale, bias, epsilon, axis_name, silu)[0]


def _forward(x, scale, bias, epsilon, axis_name, silu):
    mean, var = _statistics(x, axis_name)
    factor = scale * lax.rsqrt(var + epsilon)
    y = _act(_affine(x, mean, factor, bias), silu).astype(x.dtype)
    return (y, mean, var), (x, scale, bias, mean, var)


def _backward(epsilon, axis_name, silu, residuals, cotangents):
    """The gradient by the formula of the paper; statistics themselves carry none.

    With z = γx̂ + β and δ = ∂z: ∂x = γ/√(σ²+ε) · (δ − mean(δ) − x̂·mean(δx̂)). Only x is
    kept; x̂ and SiLU's derivative are computed again, cheaper than reading them back.
    """
    x, scale, bias, mean, var = residuals
    inverse = lax.rsqrt(var + epsilon)
    delta = cotangents[0].astype(jnp.float32)
    normal = _affine(x, mean, inverse, jnp.zeros_like(mean))
    if silu:
        z = _affine(normal, jnp.zeros_like(mean), scale, bias)
        gate = nn.sigmoid(z)
        delta = delta * gate * (1 + z * (1 - gate))
    local = _means((delta, delta * normal), None)
    shared = local if axis_name is None else lax.pmean(local, axis_name)
    one = (1,) * (x.ndim - 1)
    centered = delta - shared[0].reshape(*one, -1)
    centered = centered - normal * shared[1].reshape(*one, -1)
    grad = centered * (scale * inverse).reshape(*one, -1)
    count = x.size // x.shape[-1]
    return grad.astype(x.dtype), local[1] * count, local[0] * count


_normalize.defvjp(_forward, _backward)

"""Means over devices, of rows that count on some devices and not on others."""

from typing import Any, TypeAlias

import jax
from jax import lax

Tree: TypeAlias = Any  # a pytree of arrays


def mean_over_devices(x: Tree, axis_name: str | None) -> Tree:
    """Return the mean over devices; `x` itself where there is no device axis."""
    return x if axis_name is None else lax.pmean(x, axis_name)


def ratio_of_sums(
    total: jax.Array, count: jax.Array, axis_name: str | None
) -> jax.Array:
    """Return this device's part of a mean whose mean over devices is that of all rows.

    `total / mean_over_devices(count)`: with one device the mean itself, 0 of no rows.

    Args:
        total: Sum of this device's rows.
        count: Number of these rows.
        axis_name: Device axis, or None.
    """
    count = mean_over_devices(count * 1.0, axis_name)
    # Counts of some devices only have a mean below 1.
    return total / (count + (count == 0))

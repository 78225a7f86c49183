"""Operations over devices; each is the identity where there is no device axis."""

import jax
from jax import lax

from objectives.common.objective import Tree


def gather(x: Tree, axis_name: str | None) -> Tree:
    """Return the rows of all devices, `[n, ...] -> [devices n, ...]`."""
    if axis_name is None:
        return x
    return jax.tree.map(lambda a: lax.all_gather(a, axis_name, tiled=True), x)


def first_row(n: int, axis_name: str | None) -> jax.Array | int:
    """Return the index of this device's first row among the gathered rows.

    Args:
        n: Rows of a device.
        axis_name: Device axis, or None.
    """
    return 0 if axis_name is None else lax.axis_index(axis_name) * n

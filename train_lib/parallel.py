"""Devices: the mesh, the one place that maps a per-device function over it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "data"


def make_mesh(devices: list | None = None) -> Mesh:
    """All devices on one axis; one device is a mesh of one."""
    return Mesh(np.asarray(devices or jax.devices()), (AXIS,))


def parallel_step(step: Callable, mesh: Mesh) -> Callable:
    """Compiles `step(state, batch)` for a mesh: state on every device, rows divided.

    `check_vma=False` gives the step the semantics of pmap and vmap(axis_name). With the
    default, the transposed broadcast of the parameters already adds the gradients of
    all devices; averaged afterwards, they stay too large by the device count.
    """
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped, donate_argnums=0)


def parallel_measure(measure: Callable, mesh: Mesh) -> Callable:
    """Compiles `measure(state, batch)`, which leaves the state as it is."""
    mapped = jax.shard_map(
        measure, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped)


def parallel_embed(embed: Callable, mesh: Mesh) -> Callable:
    """Compiles `embed(variables, batch) -> [n, d]` for a mesh, rows divided."""
    mapped = jax.shard_map(
        embed, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
    )
    return jax.jit(mapped)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, P())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places this process's rows on its devices; 64-bit integers become 32-bit."""
    sharding = NamedSharding(mesh, P(AXIS))

    def put(x: np.ndarray) -> jax.Array:
        x = x.astype(np.int32) if x.dtype == np.int64 else x
        return jax.make_array_from_process_local_data(sharding, x)

    return {name: put(x) for name, x in batch.items()}


def put_state(state: Any, mesh: Mesh) -> Any:
    """Copies state to every device."""
    return jax.device_put(state, replicated(mesh))

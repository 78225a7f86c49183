"""The mesh of devices, and functions mapped over it."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Function of a tree that every device has, and of a batch whose rows are divided.
OfBatch: TypeAlias = Callable[[Any, Any], Any]
# A jitted function; it can be called, lowered and compiled ahead of time.
Compiled: TypeAlias = jax.stages.Wrapped
AXIS = "data"


def make_mesh(devices: list | None = None) -> Mesh:
    """Return a mesh of all devices on one axis."""
    return Mesh(np.asarray(devices or jax.devices()), (AXIS,))


def parallel_step(step: OfBatch, mesh: Mesh) -> Compiled:
    """Compile `step(state, batch)` for a mesh: state on every device, rows divided.

    `check_vma=False` gives the step the semantics of pmap and vmap(axis_name). With the
    default, the transposed broadcast of the parameters already adds the gradients of
    all devices; averaged afterwards, they stay too large by the device count.
    """
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped, donate_argnums=0)


def parallel_measure(measure: OfBatch, mesh: Mesh) -> Compiled:
    """Compile `measure(state, batch)`, which does not change the state."""
    mapped = jax.shard_map(
        measure, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped)


def parallel_embed(embed: OfBatch, mesh: Mesh) -> Compiled:
    """Compile `embed(variables, batch) -> [n, d]` for a mesh, rows divided."""
    mapped = jax.shard_map(
        embed, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
    )
    return jax.jit(mapped)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that has the same array on every device."""
    return NamedSharding(mesh, P())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Place this process's rows on its devices; 64-bit integers become 32-bit."""
    sharding = NamedSharding(mesh, P(AXIS))

    def put(x: np.ndarray) -> jax.Array:
        x = x.astype(np.int32) if x.dtype == np.int64 else x
        return jax.make_array_from_process_local_data(sharding, x)

    return {name: put(x) for name, x in batch.items()}


def put_state(state: Any, mesh: Mesh) -> Any:
    """Copy state to every device."""
    return jax.device_put(state, replicated(mesh))

"""Our side of the step benchmark on scans: the recipe's own simulation and network."""

from collections.abc import Callable

import jax
import numpy as np

from benchmarks.akin_side.common import VERSION, forward_backward, start, whole_step
from benchmarks.common.worker import MRI
from input_pipeline.transforms import undersampling
from models import cnn
from objectives import triplet
from objectives.common.objective import Context
from train_lib import parallel

__all__ = ["VERSION", "gradient", "start", "step", "views"]


def _records(batch: int) -> dict[str, np.ndarray]:
    index = np.arange(batch)
    columns = np.stack([0 * index, index, 0 * index], 1).astype(np.uint32)
    return {"phantom": columns, "id": index.astype(np.int32)}


def _simulate(size: int) -> Callable:
    first, second = ({"acceleration": a, "center_fraction": c} for a, c in MRI["views"])
    return undersampling.Transform(
        size=size,
        coils=MRI["coils"],
        snr=MRI["snr"],
        rotate=MRI["rotate"],
        shift=MRI["shift"],
        view1=first,
        view2=second,
    ).augment


def views(size: int, batch: int) -> Callable[[], None]:
    """The simulation alone: both views of a batch of heads."""
    simulate, records = jax.jit(_simulate(size)), _records(batch)
    key = jax.random.key(0)
    return lambda: jax.block_until_ready(simulate(key, records))


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the network in training mode, one view."""
    x = jax.random.normal(jax.random.key(0), (batch, size, size, 2 * MRI["coils"]))
    return forward_backward(cnn.Model(), x)


def step(size: int, batch: int) -> Callable[[], None]:
    """One step: two simulated views, the network on both, triplets, AdamW."""
    objective = triplet.Objective(
        context=Context(cnn.Model(), axis_name=parallel.AXIS, total_steps=10_000),
        margin=MRI["margin"],
    )
    view1 = (size, size, 2 * MRI["coils"])
    return whole_step(objective, _simulate(size), _records(batch), view1, MRI)

"""Our side of the step benchmark on scans: the recipe's own simulation and network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._akin import VERSION, start
from benchmarks._worker import MRI
from input_pipeline.undersampling import make_augment
from models import cnn
from objectives import triplet
from train_lib import optimizers, parallel
from train_lib.train_step import init_state, make_train_step

__all__ = ["VERSION", "gradient", "start", "step", "views"]


def _records(batch: int) -> dict[str, np.ndarray]:
    index = np.arange(batch)
    columns = np.stack([0 * index, index, 0 * index], 1).astype(np.uint32)
    return {"phantom": columns, "id": index.astype(np.int32)}


def _simulate(size: int) -> Callable:
    first, second = ({"acceleration": a, "center_fraction": c} for a, c in MRI["views"])
    return make_augment(
        size=size,
        coils=MRI["coils"],
        snr=MRI["snr"],
        rotate=MRI["rotate"],
        shift=MRI["shift"],
        view1=first,
        view2=second,
    )


def views(size: int, batch: int) -> Callable[[], None]:
    """The simulation alone: both views of a batch of heads."""
    simulate, records = jax.jit(_simulate(size)), _records(batch)
    key = jax.random.key(0)
    return lambda: jax.block_until_ready(simulate(key, records))


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the network in training mode, one view."""
    model = cnn.Model()
    x = jax.random.normal(jax.random.key(0), (batch, size, size, 2 * MRI["coils"]))
    variables = jax.jit(lambda x: model.init(jax.random.key(1), x, train=False))(x)

    @jax.jit
    def run(variables, x):
        def loss(params):
            y, new = model.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                x,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.mean(y**2), new

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    return lambda: jax.block_until_ready(run(variables, x))


def step(size: int, batch: int) -> Callable[[], None]:
    """One step: two simulated views, the network on both, triplets, AdamW."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    objective = triplet.make(
        backbone=cnn.Model(),
        axis_name=parallel.AXIS,
        total_steps=10_000,
        margin=MRI["margin"],
    )
    tx = optimizers.make_optimizer(
        name="adamw",
        schedule=lambda _: MRI["learning_rate"],
        weight_decay=MRI["weight_decay"],
    )
    shape = {"view1": jnp.zeros((2, size, size, 2 * MRI["coils"]))}
    state = jax.jit(lambda: init_state(objective, tx, 0, shape))()
    state = parallel.put_state(state, mesh)
    run = parallel.parallel_step(
        make_train_step(objective, tx, _simulate(size), parallel.AXIS), mesh
    )
    records = _records(batch)

    def once() -> None:
        nonlocal state
        state, metrics = run(state, parallel.put_batch(records, mesh))
        jax.block_until_ready(metrics)

    return once

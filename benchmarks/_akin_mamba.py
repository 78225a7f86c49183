"""Our side of the step benchmark on sequences: mamba_s, corruption, next vector."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._akin import VERSION, start
from benchmarks._worker import MAMBA
from input_pipeline.corruption import make_augment
from models import mamba
from objectives import next_vector
from train_lib import optimizers, parallel
from train_lib.train_step import init_state, make_train_step

__all__ = ["VERSION", "gradient", "start", "step"]


def gradient(length: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the network."""
    model = mamba.Model()
    x = jax.random.normal(jax.random.key(0), (batch, length, MAMBA["width"]))
    params = jax.jit(lambda x: model.init(jax.random.key(1), x))(x)

    @jax.jit
    def run(params, x):
        return jax.value_and_grad(lambda p: jnp.mean(model.apply(p, x) ** 2))(params)

    return lambda: jax.block_until_ready(run(params, x))


def step(length: int, batch: int) -> Callable[[], None]:
    """One step: corruption, prediction, InfoNCE and cosine, AdamW."""
    width = MAMBA["width"]
    mesh = parallel.make_mesh(jax.devices()[:1])
    objective = next_vector.make(
        backbone=mamba.Model(),
        axis_name=parallel.AXIS,
        total_steps=10_000,
        temperature=MAMBA["temperature"],
        contrastive=MAMBA["contrastive"],
        autoregressive=MAMBA["autoregressive"],
    )
    tx = optimizers.make_optimizer(
        name="adamw",
        schedule=lambda _: MAMBA["learning_rate"],
        weight_decay=MAMBA["weight_decay"],
    )
    augment = make_augment(
        context=length, width=width, dropout=MAMBA["dropout"], span=MAMBA["span"]
    )
    rng = np.random.default_rng(0)
    shapes = {
        "context": (batch, length, width),
        "target": (batch, width),
        "strangers": (batch, 1, width),
    }
    records = {k: rng.standard_normal(s, np.float32) for k, s in shapes.items()}
    records["id"] = np.arange(batch, dtype=np.int32)
    example = {"view1": jnp.zeros((2, length, width))}
    state = jax.jit(lambda: init_state(objective, tx, 0, example))()
    state = parallel.put_state(state, mesh)
    run = parallel.parallel_step(
        make_train_step(objective, tx, augment, parallel.AXIS), mesh
    )

    def once() -> None:
        nonlocal state
        state, metrics = run(state, parallel.put_batch(records, mesh))
        jax.block_until_ready(metrics)

    return once

"""Our side of the step benchmark: the repository's own network, views and step."""

import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._worker import RECIPE
from input_pipeline.augment import make_augment
from models import efficientnet
from objectives import moco
from train_lib import optimizers, parallel
from train_lib.train_step import init_state, make_train_step

VERSION = f"jax {jax.__version__}"


def start(threads: int) -> None:
    """Turns on the compilation cache; XLA:CPU takes its threads from the affinity."""
    del threads
    root = os.environ.get("AKIN_CACHE", pathlib.Path.home() / ".cache" / "akin")
    cache = pathlib.Path(root) / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of EfficientNet-B0 in training mode."""
    model = efficientnet.Model()
    x = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    variables = jax.jit(lambda x: model.init(jax.random.key(1), x, train=False))(x)

    @jax.jit
    def run(variables, x, key):
        stats = variables["batch_stats"]

        def loss(params):
            y, new = model.apply(
                {"params": params, "batch_stats": stats},
                x,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return jnp.mean(y**2), new

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    key = jax.random.key(2)
    return lambda: jax.block_until_ready(run(variables, x, key))


def step(size: int, batch: int) -> Callable[[], None]:
    """One MoCo v3 step: two views, queries, target, keys, loss, gradient, AdamW."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    first, second = RECIPE["views"]
    augment = make_augment(
        size=size, mean=RECIPE["mean"], std=RECIPE["std"], view1=first, view2=second
    )
    objective = moco.make(
        backbone=efficientnet.Model(),
        axis_name=parallel.AXIS,
        total_steps=10_000,
        temperature=RECIPE["temperature"],
        momentum=RECIPE["momentum"],
        hidden=RECIPE["hidden"],
        features=RECIPE["features"],
    )
    tx = optimizers.make_optimizer(
        name="adamw",
        schedule=lambda _: RECIPE["learning_rate"],
        weight_decay=RECIPE["weight_decay"],
    )
    images = np.random.default_rng(0).integers(
        0, 256, (batch, 2 * size, 2 * size, 3), np.uint8
    )
    records = {"image": images, "id": np.arange(batch, dtype=np.int32)}
    views = {"view1": jnp.zeros((2, size, size, 3))}
    state = jax.jit(lambda: init_state(objective, tx, 0, views))()
    state = parallel.put_state(state, mesh)
    run = parallel.parallel_step(
        make_train_step(objective, tx, augment, parallel.AXIS), mesh
    )

    def once() -> None:
        nonlocal state
        state, metrics = run(state, parallel.put_batch(records, mesh))
        jax.block_until_ready(metrics)

    return once

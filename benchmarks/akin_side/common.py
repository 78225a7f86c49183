"""What our side of every step benchmark shares: the cache, a gradient, a whole step."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.cache.root import cache_root
from objectives.common.objective import Objective
from train_lib import optimizers, parallel
from train_lib.train_step import init_state, make_train_step

VERSION = f"jax {jax.__version__}"


def start(threads: int) -> None:
    """Turns on the compilation cache; XLA:CPU takes its threads from the affinity."""
    del threads
    jax.config.update("jax_compilation_cache_dir", str(cache_root() / "xla"))


def forward_backward(model: nn.Module, x: jax.Array) -> Callable[[], None]:
    """The mean square of what a network makes of `x`, and its gradient.

    Args:
        model: Run in training mode; its batch statistics, if any, are computed too.
        x: [n, ...].

    Returns:
        What runs it once and waits for it.
    """
    variables = jax.jit(lambda x: model.init(jax.random.key(1), x, train=False))(x)
    params = variables["params"]
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def value_and_gradient(params, rest, x, key):
        def loss(params):
            y, new = model.apply(
                {"params": params, **rest},
                x,
                train=True,
                rngs={"dropout": key},
                mutable=list(rest),
            )
            return jnp.mean(y**2), new

        return jax.value_and_grad(loss, has_aux=True)(params)

    key = jax.random.key(2)
    return lambda: jax.block_until_ready(value_and_gradient(params, rest, x, key))


def whole_step(
    objective: Objective,
    augment: Callable,
    records: Mapping[str, np.ndarray],
    view1: tuple[int, ...],
    recipe: Mapping[str, Any],
) -> Callable[[], None]:
    """One training step as `main.py` takes it, on one device.

    Args:
        objective: Whose step.
        augment: Its views.
        records: One batch, put on the device in every step.
        view1: Shape of one view of one record.
        recipe: With `learning_rate`, `weight_decay` and perhaps `optimizer`, AdamW
            where it names none.

    Returns:
        What takes one step and waits for it.
    """
    mesh = parallel.make_mesh(jax.devices()[:1])
    tx = optimizers.make_optimizer(
        name=recipe.get("optimizer", "adamw"),
        schedule=lambda _: recipe["learning_rate"],
        weight_decay=recipe["weight_decay"],
    )
    example = {"view1": jnp.zeros((2, *view1))}
    state = jax.jit(lambda: init_state(objective, tx, 0, example))()
    state = parallel.put_state(state, mesh)
    step = parallel.parallel_step(
        make_train_step(objective, tx, augment, parallel.AXIS), mesh
    )

    def once() -> None:
        nonlocal state
        state, metrics = step(state, parallel.put_batch(records, mesh))
        jax.block_until_ready(metrics)

    return once

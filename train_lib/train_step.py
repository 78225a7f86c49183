"""The training step, the same for every method."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from objectives.common.objective import Objective

Batch: TypeAlias = dict[str, jax.Array]
# `(rng, batch) -> batch` with views.
Augment: TypeAlias = Callable[[jax.Array, Batch], Batch]
# Folded into the run's key in place of a step, which never comes so far.
MEASURE_KEY = 2**29


@struct.dataclass
class TrainState:
    """State that a step reads and writes.

    Attributes:
        step: int32, updates made so far.
        rng: The run's key; never changes, steps fold their number into it.
        params: What the gradient trains.
        extra: All other state of the objective.
        opt_state: State of the optimizer.
        lr_scale: float32 that multiplies updates, lowered by the plateau schedule.
    """

    step: jax.Array
    rng: jax.Array
    params: Any
    extra: Any
    opt_state: Any
    lr_scale: jax.Array


# `(state, batch) -> (state, metrics)` and `(state, batch) -> metrics`.
Step: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Batch]]
Measure: TypeAlias = Callable[[TrainState, Batch], Batch]


def init_state(
    objective: Objective, tx: optax.GradientTransformation, seed: int, batch: Batch
) -> TrainState:
    """Return the state before the first step, by the seed and the shapes of `batch`."""
    rng = jax.random.PRNGKey(seed)
    params, extra = objective.init(jax.random.fold_in(rng, 2**31), batch)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        rng=rng,
        params=params,
        extra=extra,
        opt_state=tx.init(params),
        lr_scale=jnp.ones(()),
    )


def make_train_step(
    objective: Objective,
    tx: optax.GradientTransformation,
    augment: Augment,
    axis_name: str | None,
) -> Step:
    """Return the pure function of a training step, per device.

    Views depend on (seed, step, record) alone; dropout and the like also on the device.
    Runs under shard_map, pmap and vmap with an axis of that name, or without one.

    Args:
        objective: The method.
        tx: The optimizer.
        augment: `(rng, batch) -> batch` with views, and perhaps `diag`, scalars to log.
        axis_name: Device axis over which gradients and metrics are averaged, or None.
    """

    def train_step(state: TrainState, batch: Batch):
        """Update the state: views, loss, gradients, optimizer."""
        rng = jax.random.fold_in(state.rng, state.step)
        batch, seen, net_key = _views(augment, rng, batch, axis_name)

        def loss_fn(params):
            return objective.loss(params, state.extra, batch, net_key, state.step)

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (extra, metrics)), grads = grad_fn(state.params)
        metrics = {"train/loss": loss, **seen, **metrics}
        if axis_name is not None:
            grads, metrics = lax.pmean((grads, metrics), axis_name)
        metrics["train/grad_norm"] = optax.global_norm(grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u: u * state.lr_scale, updates)
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            extra=extra,
            opt_state=opt_state,
        )
        return state, metrics

    return train_step


def make_measure(
    objective: Objective,
    augment: Augment,
    axis_name: str | None,
) -> Measure:
    """Return the function that computes the loss of a step, without an update.

    The networks run as in training, so that records held out are asked the very same
    as those trained on; what they leave behind, such as batch statistics, is dropped.

    Args:
        objective: The method.
        augment: Makes the views; they are the same at every call.
        axis_name: Device axis over which metrics are averaged, or None.
    """

    def measure(state: TrainState, batch: Batch):
        """Return the metrics of a step."""
        rng = jax.random.fold_in(state.rng, MEASURE_KEY)
        batch, _, net_key = _views(augment, rng, batch, axis_name)
        loss, (_, metrics) = objective.loss(
            state.params, state.extra, batch, net_key, state.step
        )
        metrics = {"train/loss": loss, **metrics}
        return metrics if axis_name is None else lax.pmean(metrics, axis_name)

    return measure


def _views(augment: Augment, rng: jax.Array, batch: Batch, axis_name: str | None):
    """Return the batch with its views, metrics of them, and the networks' key."""
    view_key, net_key = jax.random.split(rng)
    if axis_name is not None:
        net_key = jax.random.fold_in(net_key, lax.axis_index(axis_name))
    batch = augment(view_key, batch)
    logged: dict[str, jax.Array] = dict(batch.pop("diag", {}))
    logged = {f"diag/{name}": x for name, x in logged.items()}
    return batch, logged, net_key

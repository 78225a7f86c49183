"""One step on eight devices, one device, pmap and vmap(axis_name) is the same step."""

import jax
import numpy as np
import pytest

from objectives import moco
from objectives.common.objective import Context
from tests import tiny
from train_lib import optimizers, parallel, train_step

DEVICES = 8


def build(axis_name):
    context = Context(
        tiny.TinyNet(axis_name=axis_name),
        axis_name=axis_name,
        total_steps=10,
        sync_batchnorm=True,
    )
    objective = moco.Objective(
        context=context, hidden_dim=16, proj_dim=8, ema_momentum=0.9
    )
    # SGD: Adam would turn rounding in gradients that are zero into steps of full size.
    tx = optimizers.make_optimizer(name="sgd", schedule=lambda s: 0.1)
    step = train_step.make_train_step(objective, tx, tiny.keep_views, axis_name)
    return objective, tx, step


@pytest.fixture(scope="module")
def single():
    objective, tx, step = build(None)
    batch = tiny.batch(32)
    start = train_step.init_state(objective, tx, 0, batch)
    step, state = jax.jit(step), start
    for _ in range(2):
        state, metrics = step(state, batch)
    return start, batch, state, metrics


def agree(a, b):
    # Two steps move parameters by 1e-2 and more; a gradient of another scale would
    # show at once, the order of float32 sums does not.
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=5e-5), a, b
    )


def test_two_steps_move_parameters_by_more_than_tolerance(single):
    start, _, end, _ = single
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, end.params)
    assert max(jax.tree.leaves(moved)) > 1e-2


def by_device(batch):
    return {k: v.reshape(DEVICES, -1, *v.shape[1:]) for k, v in batch.items()}


def test_shard_map_equals_one_device(single):
    start, batch, expected, metrics = single
    mesh = parallel.make_mesh()
    assert mesh.size == DEVICES
    step = parallel.parallel_step(build(parallel.AXIS)[2], mesh)
    state = parallel.put_state(jax.tree.map(np.array, start), mesh)
    for _ in range(2):
        state, found = step(state, parallel.put_batch(batch, mesh))
    agree(jax.device_get(state), jax.device_get(expected))
    agree(jax.device_get(found), jax.device_get(metrics))


def test_vmap_with_axis_name_equals_one_device(single):
    start, batch, expected, metrics = single
    step = jax.jit(
        jax.vmap(build(parallel.AXIS)[2], in_axes=(None, 0), axis_name=parallel.AXIS)
    )
    state = start
    for _ in range(2):
        states, found = step(state, by_device(batch))
        # Every device must hold the same state, which the next step relies on.
        jax.tree.map(
            lambda x: np.testing.assert_allclose(x, np.broadcast_to(x[:1], x.shape)),
            jax.device_get(states),
        )
        state = jax.tree.map(lambda x: x[0], states)
    agree(jax.device_get(state), jax.device_get(expected))
    agree(jax.tree.map(lambda x: x[0], jax.device_get(found)), jax.device_get(metrics))


def test_pmap_equals_one_device(single):
    start, batch, expected, _ = single
    step = jax.pmap(build(parallel.AXIS)[2], axis_name=parallel.AXIS, in_axes=(None, 0))
    state = start
    for _ in range(2):
        states, _ = step(state, by_device(batch))
        state = jax.tree.map(lambda x: x[0], jax.device_get(states))
    agree(state, jax.device_get(expected))


def test_scale_of_state_scales_update(single):
    start, batch, *_ = single
    step = jax.jit(build(None)[2])
    full, _ = step(start, batch)
    half, _ = step(start.replace(lr_scale=np.float32(0.5)), batch)
    jax.tree.map(
        lambda s, f, h: np.testing.assert_allclose(
            h - s, 0.5 * (f - s), rtol=1e-3, atol=1e-6
        ),
        start.params,
        full.params,
        half.params,
    )

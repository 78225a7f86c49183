"""Batch normalization with SiLU against float64 formulas and Flax's own layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from models.layers.batch_norm import BatchNorm


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(1.0, 2.0, (6, 5, 4, 8)), jnp.float32)
    grad = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    variables = {
        "params": {"scale": jnp.linspace(0.5, 2, 8), "bias": jnp.linspace(-1, 1, 8)},
        "batch_stats": {"mean": jnp.full(8, 0.5), "var": jnp.full(8, 3.0)},
    }
    return x, grad, variables


def gradients(apply, variables, x, grad):
    def loss(params, x):
        y, new = apply(variables | {"params": params}, x)
        return jnp.sum(y * grad), (y, new)

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables["params"], x)


@pytest.mark.parametrize("silu", [False, True])
def test_values_and_gradients_are_those_of_flax(inputs, silu):
    x, grad, variables = inputs
    ours, theirs = BatchNorm(silu=silu), nn.BatchNorm(False, momentum=0.9)

    def reference(variables, x):
        y, new = theirs.apply(variables, x, mutable=["batch_stats"])
        return (nn.silu(y) if silu else y), new

    def own(variables, x):
        return ours.apply(variables, x, True, mutable=["batch_stats"])

    got = gradients(own, variables, x, grad)
    expected = gradients(reference, variables, x, grad)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        got,
        expected,
    )


def test_running_statistics_move_by_one_minus_momentum(inputs):
    x, _, variables = inputs
    _, new = BatchNorm(momentum=0.7).apply(variables, x, True, mutable=["batch_stats"])
    wide = np.asarray(x, np.float64)
    mean = 0.7 * 0.5 + 0.3 * wide.mean((0, 1, 2))
    var = 0.7 * 3.0 + 0.3 * wide.var((0, 1, 2))
    np.testing.assert_allclose(new["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], var, rtol=1e-5)


def test_evaluation_uses_running_statistics(inputs):
    x, _, variables = inputs
    y = BatchNorm().apply(variables, x, False)
    normal = (np.asarray(x, np.float64) - 0.5) / np.sqrt(3.0 + 1e-5)
    expected = normal * np.linspace(0.5, 2, 8) + np.linspace(-1, 1, 8)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_statistics_shared_over_axis_are_those_of_whole_batch(inputs):
    x, grad, variables = inputs
    shared, whole = BatchNorm(axis_name="d", silu=True), BatchNorm(silu=True)

    def loss(layer, params, x, grad):
        y, _ = layer.apply(
            variables | {"params": params}, x, True, mutable=["batch_stats"]
        )
        return jnp.sum(y * grad)

    # As in the training step, each device takes the gradient of its own loss.
    def device(x, grad):
        return jax.grad(functools.partial(loss, shared), (0, 1))(
            variables["params"], x, grad
        )

    parts = (v.reshape(3, 2, *x.shape[1:]) for v in (x, grad))
    params, inputs = jax.jit(jax.vmap(device, axis_name="d"))(*parts)
    got = jax.tree.map(lambda g: g.sum(0), params), inputs.reshape(x.shape)
    expected = jax.jit(jax.grad(functools.partial(loss, whole), (0, 1)))(
        variables["params"], x, grad
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        got,
        expected,
    )


def test_constant_channel_has_finite_gradient():
    x = jnp.full((4, 2, 2, 3), 7.0)
    layer = BatchNorm(silu=True)
    variables = layer.init(jax.random.key(0), x, True)

    def loss(x):
        y, _ = layer.apply(variables, x, True, mutable=["batch_stats"])
        return jnp.sum(y**2)

    np.testing.assert_allclose(loss(x), 0.0, atol=1e-3)
    assert bool(jnp.isfinite(jax.grad(loss)(x)).all())


def test_bfloat16_keeps_its_statistics_in_float32(inputs):
    x, _, variables = inputs
    y, new = BatchNorm(silu=True).apply(
        variables, x.astype(jnp.bfloat16), True, mutable=["batch_stats"]
    )
    assert y.dtype == jnp.bfloat16
    assert new["batch_stats"]["mean"].dtype == jnp.float32


@pytest.mark.parametrize("ratio", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize("axis_name", [None, "d"])
def test_mean_far_from_zero_costs_no_digits(ratio, axis_name):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(16, 6, 5, 3)) + rng.normal(size=(16, 1, 1, 3))
    x = np.float32(ratio + noise)
    grad = np.float32(rng.normal(size=x.shape))
    layer = BatchNorm(axis_name=axis_name)
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
    }

    def run(x, grad):
        def loss(x):
            y, new = layer.apply(variables, x, True, mutable=["batch_stats"])
            return jnp.sum(y * grad), (y, new["batch_stats"]["var"])

        return jax.grad(loss, has_aux=True)(x)

    if axis_name is None:
        slope, (y, var) = jax.jit(run)(x, grad)
    else:
        parts = (a.reshape(4, 4, *a.shape[1:]) for a in (x, grad))
        slope, (y, var) = jax.jit(jax.vmap(run, axis_name=axis_name))(*parts)
        slope, y, var = slope.reshape(x.shape), y.reshape(x.shape), var[0]
    wide = np.float64(x)
    axes = (0, 1, 2)
    std = np.sqrt(wide.var(axes) + 1e-5)
    normal = (wide - wide.mean(axes)) / std
    # The input itself has 1e-7 of its mean; that is what is left.
    tolerance = 1e-5 + 2e-7 * ratio
    np.testing.assert_allclose(y, normal, atol=tolerance)
    np.testing.assert_allclose(10 * var - 9, wide.var(axes), rtol=1e-4)
    pulled = grad - grad.mean(axes) - normal * (grad * normal).mean(axes)
    np.testing.assert_allclose(slope, pulled / std, atol=10 * tolerance)

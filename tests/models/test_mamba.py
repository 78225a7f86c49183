"""Mamba against a transcription in numpy, step by step, and its published size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import mamba

SMALL = {"width": 6, "layers": 2, "states": 3, "rank": 2}


def made(**fields):
    module = mamba.Model(**SMALL | fields)
    x = jax.random.normal(jax.random.key(0), (2, 9, 5))
    return module, jax.jit(module.init)(jax.random.key(1), x), x


@pytest.fixture(scope="module")
def network():
    return made()


def silu(x):
    return x / (1 + np.exp(-x))


def norm(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale


def block(p, u):
    """The published block, one record [l, d], one step after another."""
    x, z = np.split(u @ p["in_proj"]["kernel"], 2, -1)
    length, inner = x.shape
    mixed = np.zeros_like(x)
    for t in range(length):
        mixed[t] = p["conv_bias"]
        for i in range(4):
            if t - 3 + i >= 0:
                mixed[t] += p["conv_kernel"][i] * x[t - 3 + i]
    x = silu(mixed)
    dt, b, c = np.split(x @ p["x_proj"]["kernel"], [2, 5], -1)
    delta = np.log1p(np.exp(dt @ p["dt_kernel"] + p["dt_bias"]))
    a, y = -np.exp(p["a_log"]), np.zeros_like(x)
    h = np.zeros((inner, 3))
    for t in range(length):
        h = np.exp(delta[t][:, None] * a) * h
        h = h + (delta[t] * x[t])[:, None] * b[t][None]
        y[t] = h @ c[t] + p["d"] * x[t]
    return (y * silu(z)) @ p["out_proj"]["kernel"]


@pytest.mark.parametrize("scan", ["unrolled", "chunked", "associative"])
def test_equals_transcription(network, scan):
    _, variables, x = network
    module = mamba.Model(**SMALL, scan=scan, chunk=4)
    p = jax.tree.map(np.float64, variables["params"])
    found = jax.jit(module.apply)(variables, x)
    for record, one in zip(np.float64(x), found, strict=True):
        h = record @ p["input"]["kernel"] + p["input"]["bias"]
        for i in range(2):
            h = h + block(p[f"mixers_{i}"], norm(h, p[f"norms_{i}"]["scale"]))
        np.testing.assert_allclose(one, norm(h, p["final"]["scale"]), atol=1e-4)


def test_mamba_s_has_its_published_size():
    x = jnp.zeros((1, 5, 768))
    shapes = jax.eval_shape(lambda: mamba.Model().init(jax.random.key(0), x))
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    assert count == 53_394_432
    layer = shapes["params"]["mixers_0"]
    assert sum(x.size for x in jax.tree.leaves(layer)) == 3_770_880


def test_step_by_step_matches_whole_sequence(network):
    module, variables, x = network
    whole = module.apply(variables, x)
    states = module.start(2)
    take = jax.jit(lambda states, v: module.apply(variables, states, v, method="step"))
    for t in range(x.shape[1]):
        states, y = take(states, x[:, t])
        np.testing.assert_allclose(y, whole[:, t], atol=1e-5)


def test_later_vectors_change_nothing_before_them(network):
    module, variables, x = network
    first = module.apply(variables, x)
    second = module.apply(variables, x.at[:, 5:].add(1.0))
    np.testing.assert_allclose(first[:, :5], second[:, :5], atol=1e-6)
    assert (np.abs(first[:, 5:] - second[:, 5:]).max((0, 2)) > 1e-3).all()


def test_new_network_has_step_sizes_and_decays_that_were_published(network):
    _, variables, _ = network
    p = variables["params"]["mixers_1"]
    dt = np.log1p(np.exp(np.float64(p["dt_bias"])))
    assert dt.min() >= 1e-3 * 0.99
    assert dt.max() <= 1e-1 * 1.01
    np.testing.assert_allclose(
        np.exp(p["a_log"]), np.tile([1, 2, 3], (12, 1)), rtol=1e-5
    )
    assert (p["d"] == 1).all()
    bound = math.sqrt(1 / 12) / math.sqrt(2)  # 12 inputs, 2 layers
    out = np.abs(p["out_proj"]["kernel"])
    assert 0.8 * bound < out.max() <= bound


def test_short_floats_are_close_and_parameters_stay_long(network):
    _, variables, x = network
    module = mamba.Model(**SMALL, dtype="bfloat16")
    low = module.apply(variables, x)
    assert low.dtype == jnp.float32
    high = mamba.Model(**SMALL).apply(variables, x)
    assert np.abs(low - high).max() < 0.1 * np.abs(high).max()
    made_low = jax.eval_shape(lambda: module.init(jax.random.key(0), x))
    assert {v.dtype for v in jax.tree.leaves(made_low)} == {jnp.dtype("float32")}


def test_vectors_of_another_width_need_projection(network):
    x = network[2]
    with pytest.raises(ValueError, match="vectors of 5 for a width of 6"):
        mamba.Model(**SMALL, project=False).init(jax.random.key(0), x)

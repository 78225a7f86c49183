"""The plain network against its formula in double precision, and its size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import cnn


def shapes(module, size=32, channels=16):
    x = jnp.zeros((2, size, size, channels))
    return jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))


def count(module, **options):
    return sum(x.size for x in jax.tree.leaves(shapes(module, **options)["params"]))


def test_parameters_are_those_of_report():
    # 9 (16·32 + 32·64 + 64·128 + 128·256) + 2 (32 + 64 + 128 + 256) + 257 · 256
    assert count(cnn.Model()) == 458_432
    assert count(cnn.Model(features=0)) == 458_432 - 257 * 256
    assert count(cnn.Model(depth=2)) == 458_432 + sum(
        9 * c * c + 2 * c for c in (32, 64, 128, 256)
    )
    half = shapes(cnn.Model(width=0.5))["params"]
    assert half["conv_3_0"]["kernel"].shape == (3, 3, 64, 128)


def conv(x, kernel, stride):
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    high, wide = ((n - 3) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((len(x), high, wide, kernel.shape[3]))
    for i in range(high):
        for j in range(wide):
            window = x[:, stride * i : stride * i + 3, stride * j : stride * j + 3]
            y[:, i, j] = np.tensordot(window, kernel, ([1, 2, 3], [0, 1, 2]))
    return y


def test_equals_its_formula_and_moves_its_statistics():
    module = cnn.Model(channels=(3, 4), strides=(2, 1), depth=1, features=5)
    x = np.asarray(jax.random.normal(jax.random.key(0), (4, 7, 6, 2)))
    variables = module.init(jax.random.key(1), x, train=False)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"])
    y, new = module.apply(variables, x, train=True, mutable=["batch_stats"])
    h = np.float64(x)
    for stage, stride in enumerate((2, 1)):
        h = conv(h, params[f"conv_{stage}_0"]["kernel"], stride)
        mean, var = h.mean((0, 1, 2)), h.var((0, 1, 2))
        running = new["batch_stats"][f"norm_{stage}_0"]
        np.testing.assert_allclose(running["mean"], 0.1 * mean, atol=1e-5)
        np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, atol=1e-5)
        h = np.maximum((h - mean) / np.sqrt(var + 1e-5), 0)
    head = params["projection"]
    expected = h.mean((1, 2)) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-4)


def test_bfloat16_keeps_parameters_in_float32_and_is_close():
    x = jax.random.normal(jax.random.key(0), (4, 16, 16, 2))
    plain, short = (cnn.Model(width=0.25, dtype=d) for d in ("float32", "bfloat16"))
    variables = plain.init(jax.random.key(1), x, train=False)
    y, z = (m.apply(variables, x, train=False) for m in (plain, short))
    assert z.dtype == jnp.bfloat16
    np.testing.assert_allclose(z.astype(jnp.float32), y, atol=0.05)


def test_strides_for_another_number_of_stages_are_error():
    with pytest.raises(ValueError, match="2 strides for 4 stages"):
        cnn.Model(strides=(2, 2))
    with pytest.raises(ValueError, match="0 strides for 0 stages"):
        cnn.Model(channels=(), strides=())

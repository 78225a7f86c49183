"""Convolution as products with neighborhoods, against XLA's and a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import conv


def arrays(shape=(2, 7, 6, 3), features=5, seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    x = jax.random.normal(keys[0], shape)
    return x, jax.random.normal(keys[1], (3, 3, shape[-1], features))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_patches_equal_loop(stride):
    x, kernel = arrays()
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    high, wide = -(-7 // stride), -(-6 // stride)
    expected = np.zeros((2, high, wide, 5))
    for i in range(high):
        for j in range(wide):
            part = padded[:, stride * i : stride * i + 3, stride * j : stride * j + 3]
            expected[:, i, j] = np.tensordot(
                part, np.float64(kernel), ([1, 2, 3], [0, 1, 2])
            )
    for implementation in ("lax", "patches", "winograd")[: 3 if stride == 1 else 2]:
        y = conv.conv3x3(x, kernel, stride=stride, implementation=implementation)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(2, 8, 8, 3), (3, 7, 5, 2), (1, 1, 3, 16), (2, 5, 6, 17)]
)
@pytest.mark.parametrize(
    ("stride", "implementation"), [(1, "patches"), (2, "patches"), (1, "winograd")]
)
def test_value_and_both_gradients_equal_those_of_xla(shape, stride, implementation):
    x, kernel = arrays(shape)

    def loss(x, kernel, implementation):
        y = conv.conv3x3(x, kernel, stride=stride, implementation=implementation)
        return jnp.sum(jnp.sin(y) * jnp.cos(jnp.arange(y.size).reshape(y.shape)))

    # Under a gradient the value, too, comes from the products.
    both = jax.value_and_grad(loss, (0, 1))
    expected = both(x, kernel, "lax")
    found = both(x, kernel, implementation)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_short_floats_keep_their_dtype():
    x, kernel = (a.astype(jnp.bfloat16) for a in arrays())
    grads = jax.grad(
        lambda x, w: (
            conv.conv3x3(x, w, implementation="patches").astype(jnp.float32).sum()
        ),
        (0, 1),
    )(x, kernel)
    assert [g.dtype for g in grads] == [jnp.bfloat16] * 2


def test_unknown_implementation_is_error():
    with pytest.raises(ValueError, match="choices: auto, direct, lax, patches"):
        conv.conv3x3(*arrays(), implementation="fft")

"""The depthwise convolution by shifts against XLA's grouped convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.depthwise_conv import depthwise, pads

CASES = [
    (kernel, stride, padding, shape)
    for kernel in (3, 5)
    for stride in (1, 2)
    for padding in ("torch", "tf")
    for shape in ((7, 8),)
] + [(5, 2, "torch", (1, 1)), (5, 2, "tf", (2, 3)), (3, 3, "torch", (8, 7))]


def draw(kernel, shape, dtype=jnp.float32):
    rng = np.random.default_rng(kernel)
    x = rng.normal(size=(2, *shape, 6))
    w = rng.normal(size=(kernel, kernel, 1, 6))
    return jnp.asarray(x, dtype), jnp.asarray(w, dtype)


def run(x, w, **fields):
    """Output and both gradients under a cotangent that differs everywhere."""

    @jax.jit
    def all_of_it(x, w):
        y, back = jax.vjp(lambda x, w: depthwise(x, w, **fields), x, w)
        cotangent = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return y, *back(cotangent.astype(y.dtype))

    return all_of_it(x, w)


@pytest.mark.parametrize(("kernel", "stride", "padding", "shape"), CASES)
def test_shifts_are_grouped_convolution(kernel, stride, padding, shape):
    x, w = draw(kernel, shape)
    fields = {"stride": stride, "padding": padding}
    ours = run(x, w, implementation="shifts", **fields)
    theirs = run(x, w, implementation="lax", **fields)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_bfloat16_stays_close_to_float32_and_keeps_its_type():
    x, w = draw(5, (7, 8), jnp.bfloat16)
    ours = run(x, w, stride=2, implementation="shifts")
    exact = run(
        x.astype(jnp.float32), w.astype(jnp.float32), stride=2, implementation="lax"
    )
    for a, b in zip(ours, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(a.astype(np.float32), b, atol=0.02 * scale)


def test_against_loops():
    x, w = draw(3, (4, 5))
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 2, 3, 6))
    for i in range(2):
        for j in range(3):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, i, j] = (window * np.asarray(w)[None, :, :, 0]).sum((1, 2))
    for implementation in ("lax", "shifts"):
        y = depthwise(x, w, stride=2, implementation=implementation)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_padding_of_both_libraries():
    assert pads((8, 7), 3, 2, "torch") == ((1, 1), (1, 1))
    assert pads((8, 7), 3, 2, "tf") == ((0, 1), (1, 1))


def test_unknown_choices_are_named():
    x, w = draw(3, (4, 4))
    with pytest.raises(ValueError, match=r"'winograd'.*auto, lax, shifts"):
        depthwise(x, w, implementation="winograd")
    with pytest.raises(ValueError, match=r"'same'.*torch, tf"):
        depthwise(x, w, padding="same")

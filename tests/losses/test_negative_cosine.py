"""SimSiam's loss against its formula, and where its gradient may not go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import negative_cosine as negative_cosine_lib


def draw(n=7, d=5):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((2, n, d)) * 3).astype(np.float32)


def by_loop(p, z, weights):
    total = 0.0
    for a, b, w in zip(np.float64(p), np.float64(z), weights, strict=True):
        total += w * (a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
    return -total / sum(weights)


@pytest.mark.parametrize("weights", [None, [1, 0, 1, 1, 0.5, 0, 2]])
def test_value_is_formula(weights):
    p, z = draw()
    given = None if weights is None else jnp.asarray(weights)
    found = negative_cosine_lib.negative_cosine(p, z, given)
    assert float(found) == pytest.approx(by_loop(p, z, weights or [1] * 7), rel=1e-5)


def test_gradient_is_that_of_formula_and_stops_at_target():
    p, z = draw(4, 3)
    weights = jnp.array([1.0, 0.0, 2.0, 1.0])
    by_p, by_z = jax.grad(negative_cosine_lib.negative_cosine, (0, 1))(p, z, weights)
    np.testing.assert_array_equal(by_z, 0)
    np.testing.assert_array_equal(by_p[1], 0)
    expected = np.zeros((4, 3))
    for at in np.ndindex(4, 3):
        around = []
        for sign in (1, -1):
            moved = np.float64(p)
            moved[at] += sign * 1e-6
            around.append(by_loop(moved, z, [1, 0, 2, 1]))
        expected[at] = (around[0] - around[1]) / 2e-6
    np.testing.assert_allclose(by_p, expected, atol=1e-5)


def test_limits():
    p, z = draw()
    assert float(negative_cosine_lib.negative_cosine(p, 2 * p)) == pytest.approx(-1)
    assert float(negative_cosine_lib.negative_cosine(p, -p)) == pytest.approx(1)
    assert float(negative_cosine_lib.negative_cosine(p, z, jnp.zeros(7))) == 0
    wide = np.random.default_rng(1).standard_normal((2, 512, 256)).astype(np.float32)
    assert float(negative_cosine_lib.negative_cosine(*wide)) == pytest.approx(
        negative_cosine_lib.chance(), abs=0.01
    )
    grads = jax.grad(negative_cosine_lib.negative_cosine)(
        jnp.zeros((2, 3)), jnp.ones((2, 3))
    )
    assert np.isfinite(grads).all()


def test_shapes_that_do_not_fit_are_named():
    p, z = draw()
    with pytest.raises(ValueError, match=r"got p \(7, 5\) and z \(7, 4\)"):
        negative_cosine_lib.negative_cosine(p, z[:, :4])
    with pytest.raises(ValueError, match="got weights"):
        negative_cosine_lib.negative_cosine(p, z, jnp.ones(3))

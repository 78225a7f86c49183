"""The weighted Jaccard index against Python sets."""

import jax.numpy as jnp
import numpy as np
import pytest

from losses.common.weighted_jaccard import weighted_jaccard


def draw_sets(n):
    """Codes and weights [n, 3] of n sets, the sets, and the weight of each code."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.01, 1.0, 6)
    sets = [set(rng.choice(6, rng.integers(0, 4), replace=False)) for _ in range(n)]
    codes = np.full((n, 3), -1, np.int32)
    weights = np.zeros((n, 3), np.float32)
    for i, members in enumerate(sets):
        codes[i, : len(members)] = list(members)
        weights[i, : len(members)] = weight[list(members)]
    return codes, weights, sets, weight


@pytest.mark.parametrize("namespace", [np, jnp])
def test_weighted_jaccard_equals_sets(namespace):
    codes, weights, sets, weight = draw_sets(9)
    codes, weights = namespace.asarray(codes), namespace.asarray(weights)
    index = weighted_jaccard(
        codes[:, None], weights[:, None], codes[None, :5], weights[None, :5], namespace
    )
    assert index.shape == (9, 5)
    assert index.dtype == np.float32
    for i, a in enumerate(sets):
        for j, b in enumerate(sets[:5]):
            union = sum(weight[list(a | b)]) or 1.0
            expected = sum(weight[list(a & b)]) / union
            np.testing.assert_allclose(index[i, j], expected, rtol=1e-5, atol=1e-7)

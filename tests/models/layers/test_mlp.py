"""Projection and prediction heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import mlp


def count(module, inputs):
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((2, inputs)), train=True)
    )
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("module", "inputs", "expected"),
    [
        (mlp.Projector(), 1280, 6_299_648),
        (mlp.Predictor(), 256, 2_105_344),
        # SimSiam's heads on 512 features: a frozen bias less in the projector.
        (mlp.MLP(512, 2048, layers=3, norm_last=True), 512, 1_574_912),
        (mlp.MLP(512, 2048, bias_last=True), 2048, 2_100_224),
    ],
)
def test_parameters(module, inputs, expected):
    assert count(module, inputs) == expected


def test_projector_is_its_formula():
    x = jax.random.normal(jax.random.key(0), (7, 5))
    module = mlp.Projector(hidden=6, features=4)
    variables = module.init(jax.random.key(1), x, train=True)
    z, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    kernels = [
        np.asarray(variables["params"][f"dense_{i}"]["kernel"], np.float64)
        for i in range(2)
    ]

    def normal(h):
        return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)

    hidden = np.maximum(normal(np.asarray(x, np.float64) @ kernels[0]), 0)
    np.testing.assert_allclose(z, normal(hidden @ kernels[1]), atol=1e-4)


def test_predictor_has_no_norm_on_its_output():
    variables = jax.eval_shape(
        lambda: mlp.Predictor(hidden=6, features=4).init(
            jax.random.key(0), jnp.zeros((2, 4)), train=True
        )
    )
    assert set(variables["params"]) == {"dense_0", "norm_0", "dense_1"}
    assert set(variables["params"]["dense_1"]) == {"kernel"}

"""SimSiam against its formula, with frames that have no successor left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.mlp import MLP
from objectives import simsiam
from objectives.common import networks
from objectives.common.objective import Context
from tests import tiny

N = 8


def objective(**fields):
    widths = {"hidden_dim": 10, "proj_dim": 16, "pred_hidden_dim": 6}
    return simsiam.Objective(context=Context(tiny.TinyNet()), **widths | fields)


def batch():
    given = tiny.batch(N)
    rng = np.random.default_rng(3)
    given["view3"] = given["view1"] + 0.2 * rng.normal(size=given["view1"].shape)
    given["view3"] = given["view3"].astype(np.float32)
    given["has_next"] = np.arange(N) % 4 != 3
    return given


@pytest.fixture(scope="module")
def started():
    method, given = objective(temporal_weight=0.2), batch()
    params, extra = jax.jit(method.init)(jax.random.key(0), given)
    run = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (value, (new, metrics)), grads = run(params, extra, given, jax.random.key(1), 0)
    return given, params, extra, value, new, metrics, grads


def outputs(started, view):
    given, params, extra = started[:3]
    encoder = networks.Encoder(tiny.TinyNet(), MLP(10, 16, layers=3, norm_last=True))
    predictor = MLP(6, 16, bias_last=True)

    def run(module, name, x):
        variables = {"params": params[name], "batch_stats": extra["batch_stats"][name]}
        return module.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    _, z = run(encoder, "encoder", given[view])
    return np.float64(z), np.float64(run(predictor, "predictor", z))


def cosine(a, b):
    return np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_loss_is_papers_formula_with_temporal_term(started):
    (z1, p1), (z2, p2), (z3, p3) = (
        outputs(started, view) for view in ("view1", "view2", "view3")
    )
    siamese = -(cosine(p1, z2).mean() + cosine(p2, z1).mean()) / 2
    kept = np.arange(N) % 4 != 3
    later = -(cosine(p1, z3)[kept].mean() + cosine(p3, z1)[kept].mean()) / 2
    _, _, _, value, _, metrics, _ = started
    assert float(metrics["train/simsiam"]) == pytest.approx(siamese, abs=1e-5)
    assert float(metrics["train/temporal"]) == pytest.approx(later, abs=1e-5)
    assert float(value) == pytest.approx(siamese + 0.2 * later, abs=1e-5)
    assert float(metrics["diag/has_next"]) == 0.75


def test_frame_without_successor_pulls_at_nothing(started):
    given, params, extra, value = started[:4]
    method = objective(temporal_weight=0.2)
    # Batch statistics see every frame: only what is compared may not matter.
    alone = given | {"has_next": np.zeros(N, bool)}
    found, (_, metrics) = method.loss(params, extra, alone, jax.random.key(1), 0)
    assert float(metrics["train/temporal"]) == 0
    assert float(found) == pytest.approx(float(metrics["train/simsiam"]))
    assert float(found) != pytest.approx(float(value))


def test_each_network_moves_its_statistics_once_view(started):
    _, _, extra, _, new, _, grads = started
    moved = jax.tree.map(
        lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), extra, new
    )
    assert all(jax.tree.leaves(moved))
    flat = np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)])
    assert np.isfinite(flat).all()
    assert np.abs(flat).max() > 0


def test_without_temporal_term_no_next_frame_is_needed():
    given = {k: v for k, v in batch().items() if k not in ("view3", "has_next")}
    method = objective()
    params, extra = jax.jit(method.init)(jax.random.key(0), given)
    value, (_, metrics) = method.loss(params, extra, given, jax.random.key(1), 0)
    assert float(value) == pytest.approx(float(metrics["train/simsiam"]))
    assert abs(float(value)) < 0.5
    assert method.chance(256) == 0
    z = method.embed(params, extra, {"image": jnp.asarray(given["view1"])})
    assert z.shape == (N, 12)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)

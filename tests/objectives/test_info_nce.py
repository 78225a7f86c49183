"""In-batch InfoNCE against its formula, over devices, and at chance."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import info_nce
from objectives.common.objective import Context
from tests import tiny

AXIS = "data"


def objective(axis_name=None, **fields):
    context = Context(tiny.TinyNet(axis_name=axis_name), axis_name=axis_name)
    return info_nce.Objective(context=context, **fields)


@pytest.fixture(scope="module")
def state():
    return jax.jit(objective().init)(jax.random.key(0), tiny.batch())


def embeddings(params, stats, x):
    z, _ = tiny.TinyNet().apply(
        {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
    )
    z = np.float64(z)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_loss_is_mean_of_both_directions(state):
    params, extra = state
    batch = tiny.batch()
    loss, _ = jax.jit(objective(temperature=0.3).loss)(
        params, extra, batch, jax.random.key(1), 0
    )
    q, k = (
        embeddings(params, extra["batch_stats"], batch[v]) for v in ("view1", "view2")
    )
    total = 0.0
    for a, b in ((q, k), (k, q)):
        for i in range(len(a)):
            logits = [a[i] @ b[j] / 0.3 for j in range(len(b))]
            total += math.log(sum(map(math.exp, logits))) - logits[i]
    assert float(loss) == pytest.approx(total / (2 * len(q)), rel=1e-5)


def test_gradient_reaches_anchors_and_keys(state):
    params, extra = state
    batch = tiny.batch()

    def loss(views):
        return objective().loss(params, extra, batch | views, jax.random.key(1), 0)[0]

    grads = jax.jit(jax.grad(loss))({v: batch[v] for v in ("view1", "view2")})
    for view, grad in grads.items():
        assert np.isfinite(grad).all()
        assert np.abs(grad).max() > 1e-4, view


def test_eight_devices_see_all_keys(state):
    """With statistics of all devices, the mean loss and gradient are one device's."""
    params, extra = state
    batch = {k: jnp.asarray(v) for k, v in tiny.batch().items()}
    sharded = objective(AXIS)

    def mean(params, batch):
        return jax.vmap(
            lambda part: sharded.loss(params, extra, part, jax.random.key(1), 0)[0],
            axis_name=AXIS,
        )(batch).mean()

    parts = jax.tree.map(lambda x: x.reshape(8, -1, *x.shape[1:]), batch)
    found = jax.jit(jax.value_and_grad(mean))(params, parts)
    expected = jax.jit(
        jax.value_and_grad(
            lambda p: objective().loss(p, extra, batch, jax.random.key(1), 0)[0]
        )
    )(params)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


def test_collapse_is_at_chance_with_finite_gradient(state):
    params, extra = state
    flat = jax.tree.map(jnp.zeros_like, params)
    run = jax.jit(jax.value_and_grad(objective().loss, has_aux=True))
    (loss, _), grads = run(flat, extra, tiny.batch(), jax.random.key(1), 0)
    assert float(loss) == pytest.approx(objective().chance(16), abs=1e-5)
    assert objective().chance(16) == pytest.approx(math.log(16))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_masked_labels_are_no_negatives(state):
    params, extra = state
    loss = jax.jit(objective(false_negatives="mask").loss)
    _, (_, metrics) = loss(params, extra, tiny.batch(), jax.random.key(1), 0)
    # 16 records of 4 labels: 12 of another label, and the positive.
    assert float(metrics["diag/candidates"]) == 13


def test_chance_of_masked_candidates_is_loss_of_equal_embeddings():
    rng = np.random.default_rng(0)
    batch = tiny.batch(128, size=4)
    batch["label"] = rng.integers(0, 4, 128).astype(np.int32)
    batch |= {view: np.ones_like(batch[view]) for view in ("view1", "view2")}
    masked = objective(false_negatives="mask")
    params, extra = masked.init(jax.random.key(0), batch)
    loss, (_, metrics) = masked.loss(params, extra, batch, jax.random.key(1), 0)
    same = batch["label"][:, None] == batch["label"][None, :]
    expected = np.log(1 + (~same).sum(1)).mean()  # its positive, and other labels
    assert float(loss) == pytest.approx(expected, abs=1e-4)
    assert float(metrics["train/loss_chance"]) == pytest.approx(expected, abs=1e-4)
    assert expected < masked.chance(128) - 0.2
    _, (_, plain) = objective().loss(params, extra, batch, jax.random.key(1), 0)
    assert "train/loss_chance" not in plain  # the trainer logs ln N

"""The triplet objective against its modules run by hand, and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from objectives import triplet
from objectives.common.objective import Context
from tests import tiny
from train_lib import parallel, train_step


def build(axis_name=None, norm=True, chunks=1, **fields):
    context = Context(tiny.TinyNet(norm=norm), axis_name=axis_name, chunks=chunks)
    return triplet.Objective(context=context, **fields)


def run(objective, params, extra, batch, seed=1):
    call = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    return call(params, extra, batch, jax.random.PRNGKey(seed), jnp.int32(0))


def by_hand(params, extra, batch):
    """Distances of first to second views, in double precision."""
    views = []
    for name in ("view1", "view2"):
        h, _ = tiny.TinyNet().apply(
            {"params": params, **extra},
            batch[name],
            train=True,
            mutable=["batch_stats"],
        )
        h = np.float64(h)
        views.append(h / np.linalg.norm(h, axis=1, keepdims=True))
    q, k = views
    return np.linalg.norm(q[:, None] - k[None], axis=2)


@pytest.mark.parametrize("false_negatives", ["keep", "mask"])
def test_loss_takes_nearest_other_record(false_negatives):
    objective, batch = build(margin=0.5, false_negatives=false_negatives), tiny.batch()
    params, extra = objective.init(jax.random.PRNGKey(0), batch)
    (loss, (new, metrics)), _ = run(objective, params, extra, batch)
    d = by_hand(params, extra, batch)
    other = ~np.eye(16, dtype=bool)
    if false_negatives == "mask":
        other &= batch["label"][:, None] != batch["label"][None, :]
    d_pos, d_neg = np.diag(d), np.where(other, d, np.inf).min(1)
    expected = np.maximum(d_pos - d_neg + 0.5, 0).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    np.testing.assert_allclose(metrics["train/d_pos"], d_pos.mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["train/d_neg"], d_neg.mean(), rtol=1e-3)
    violations = (d_neg - d_pos < 0.5).mean()
    assert metrics["train/violations"] == pytest.approx(violations)
    assert metrics["diag/candidates"] == other.sum(1).mean() + 1
    mean, before = (
        np.asarray(e["batch_stats"]["BatchNorm_0"]["mean"]) for e in (new, extra)
    )
    assert (mean != before).all()


def test_random_embeddings_have_chance_loss_and_finite_gradient():
    for fields in ({"margin": 0.3}, {"soft_margin": True}):
        objective, batch = build(**fields), tiny.batch()
        params, extra = objective.init(jax.random.PRNGKey(0), batch)
        params = jax.tree.map(jnp.zeros_like, params)
        (loss, _), grads = run(objective, params, extra, batch)
        assert float(loss) == pytest.approx(objective.chance(16), rel=1e-6)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_chunks_do_not_change_network_without_batch_statistics():
    batch = tiny.batch()
    whole, parts = (build(norm=False, chunks=c, margin=1.0) for c in (1, 4))
    params, extra = whole.init(jax.random.PRNGKey(0), batch)
    (a, _), grads_a = run(whole, params, extra, batch)
    (b, _), grads_b = run(parts, params, extra, batch)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for x, y in zip(jax.tree.leaves(grads_a), jax.tree.leaves(grads_b), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_eight_devices_step_like_one():
    batch, tx = tiny.batch(), optax.sgd(0.1)
    one = build(norm=False, margin=1.0)
    state = train_step.init_state(one, tx, 0, batch)
    alone = train_step.make_train_step(one, tx, tiny.keep_views, None)
    expected, told = jax.jit(alone)(state, batch)
    many = build(axis_name=parallel.AXIS, norm=False, margin=1.0)
    step = train_step.make_train_step(many, tx, tiny.keep_views, parallel.AXIS)
    mapped = jax.shard_map(
        step,
        mesh=parallel.make_mesh(jax.devices()),
        in_specs=(P(), P(parallel.AXIS)),
        out_specs=P(),
        check_vma=False,
    )
    found, metrics = jax.jit(mapped)(state, batch)
    assert metrics["diag/candidates"] == told["diag/candidates"] == 16
    np.testing.assert_allclose(metrics["train/loss"], told["train/loss"], rtol=1e-5)
    pairs = zip(
        jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True
    )
    for x, y in pairs:
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_embeddings_have_unit_norm():
    objective, batch = build(), tiny.batch()
    params, extra = objective.init(jax.random.PRNGKey(0), batch)
    z = objective.embed(params, extra, {"image": batch["view1"]})
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)

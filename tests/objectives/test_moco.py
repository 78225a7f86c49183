"""MoCo v3 against its formulas in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses.common.normalize import unit_norm
from losses.common.weighted_jaccard import weighted_jaccard
from models.layers.mlp import Predictor, Projector
from objectives import moco
from objectives.common.accumulation import in_chunks
from objectives.common.diagnostics import embedding_std
from objectives.common.networks import Encoder
from objectives.common.objective import Context
from tests import tiny

TAU, M0, STEPS = 0.2, 0.9, 100


def build(**fields):
    fields = {"hidden_dim": 16, "proj_dim": 8, **fields}
    return moco.Objective(
        context=Context(tiny.TinyNet(), total_steps=STEPS),
        temperature=TAU,
        ema_momentum=M0,
        **fields,
    )


@pytest.fixture(scope="module")
def started():
    objective, batch = build(), tiny.batch()
    params, extra = jax.jit(objective.init)(jax.random.PRNGKey(0), batch)
    # A target unlike the online network, as after some training.
    extra["target_params"] = jax.tree.map(
        lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape),
        extra["target_params"],
    )
    step, rng = jnp.int32(30), jax.random.PRNGKey(1)
    loss_fn = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (loss, (new, metrics)), grads = loss_fn(params, extra, batch, rng, step)
    return objective, batch, params, extra, loss, new, metrics, grads


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def similarities(started):
    """Cosines of both directions over tau, from the modules alone."""
    _, batch, params, extra, _, new, _, _ = started
    m = 1 - (1 - M0) * (1 + np.cos(np.pi * 30 / STEPS)) / 2
    target = jax.tree.map(
        lambda t, p: m * t + (1 - m) * p, extra["target_params"], params["encoder"]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        new["target_params"],
        target,
    )
    encoder = Encoder(tiny.TinyNet(), Projector(hidden=16, features=8))
    predictor = Predictor(hidden=16, features=8)

    def run(module, params, stats, x):
        variables = {"params": params, "batch_stats": stats}
        return module.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    stats = extra["batch_stats"]
    q, k = [], []
    for view in ("view1", "view2"):
        z = run(encoder, params["encoder"], stats["encoder"], batch[view])[1]
        q.append(unit(run(predictor, params["predictor"], stats["predictor"], z)))
        keys = run(encoder, target, extra["target_batch_stats"], batch[view])[1]
        k.append(unit(keys))
    return q[0] @ k[1].T / TAU, q[1] @ k[0].T / TAU


def formula(similarities, targets):
    """`2 tau` times the cross-entropy of both directions."""
    return sum(
        2 * TAU * (np.log(np.exp(s).sum(1)) - (targets * s).sum(1)).mean()
        for s in similarities
    )


def test_loss_is_papers_formula_with_target_updated_first(started, similarities):
    np.testing.assert_allclose(started[4], formula(similarities, np.eye(16)), rtol=1e-4)


def test_random_embeddings_have_chance_loss(started):
    objective, batch, params, extra, *_ = started
    zero = jax.tree.map(jnp.zeros_like, params)
    extra = extra | {"target_params": zero["encoder"]}
    loss, _ = jax.jit(objective.loss)(
        zero, extra, batch, jax.random.PRNGKey(0), jnp.int32(0)
    )
    np.testing.assert_allclose(loss, objective.chance(16), rtol=1e-6)
    assert objective.chance(256) == pytest.approx(4 * TAU * np.log(256))


def test_gradient_is_finite_and_reaches_every_trained_part(started):
    *_, grads = started
    norms = {
        name: float(np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(tree))))
        for name, tree in grads.items()
    }
    assert all(np.isfinite(n) and n > 1e-6 for n in norms.values()), norms


def test_target_has_batch_statistics_of_its_own(started):
    _, _, _, extra, _, new, metrics, _ = started
    online = jax.tree.leaves(new["batch_stats"]["encoder"])
    target = jax.tree.leaves(new["target_batch_stats"])
    old = jax.tree.leaves(extra["target_batch_stats"])
    moved = [not np.allclose(t, o) for t, o in zip(target, old, strict=True)]
    differ = [not np.allclose(t, o) for t, o in zip(target, online, strict=True)]
    assert any(moved)
    assert any(differ)
    assert metrics["diag/candidates"] == 16


def test_momentum_runs_from_its_first_value_to_one():
    at = [
        float(moco.ema_momentum_at(s, M0, STEPS, "cosine")) for s in (0, 50, 100, 150)
    ]
    np.testing.assert_allclose(at, [M0, 1 - (1 - M0) / 2, 1.0, 1.0], rtol=1e-6)
    assert float(moco.ema_momentum_at(70, M0, STEPS, "constant")) == pytest.approx(M0)


def test_code_positives_are_targets_of_cross_entropy(started, similarities):
    _, batch, params, extra, *_ = started
    objective = build(positives="codes")
    grad_fn = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (loss, _), grads = grad_fn(
        params, extra, batch, jax.random.PRNGKey(1), jnp.int32(30)
    )
    codes, weights = batch["codes"], batch["code_weights"]
    jaccard = weighted_jaccard(
        codes[:, None], weights[:, None], codes[None], weights[None], np
    )
    targets = jaccard / jaccard.sum(1, keepdims=True)
    np.testing.assert_allclose(loss, formula(similarities, targets), rtol=1e-4)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_masked_false_negatives_leave_fewer_candidates(started):
    _, batch, params, extra, *_ = started
    objective = build(false_negatives="mask")
    _, (_, metrics) = jax.jit(objective.loss)(
        params, extra, batch, jax.random.PRNGKey(1), jnp.int32(0)
    )
    # Four labels over 16 records: 3 others of the own label are left out.
    assert metrics["diag/candidates"] == 13


def test_chunks_of_network_without_batch_statistics_equal_full_batch():
    net = tiny.TinyNet(norm=False)
    x = tiny.batch()["view1"]
    params = net.init(jax.random.PRNGKey(0), x, train=True)

    def loss(params, chunks):
        def encode(x, rng):
            return net.apply(params, x, train=True), {}

        z, _ = in_chunks(encode, x, jax.random.PRNGKey(0), chunks)
        z = unit_norm(z)
        return jax.nn.logsumexp(z @ z.T / TAU, axis=1).mean()

    whole, parts = (
        jax.jit(jax.grad(loss), static_argnums=1)(params, c) for c in (1, 4)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        whole,
        parts,
    )


def test_chunks_move_running_statistics_once_towards_their_mean():
    net = tiny.TinyNet()
    x = tiny.batch()["view1"]
    variables = net.init(jax.random.PRNGKey(0), x, train=False)

    def encode(x, rng):
        z, new = net.apply(variables, x, train=True, mutable=["batch_stats"])
        return z, new["batch_stats"]

    _, whole = in_chunks(encode, x, jax.random.PRNGKey(0), 1)
    _, parts = in_chunks(encode, x, jax.random.PRNGKey(0), 4)
    mean = ("BatchNorm_0", "mean")
    np.testing.assert_allclose(
        parts[mean[0]][mean[1]], whole[mean[0]][mean[1]], rtol=1e-4, atol=1e-7
    )
    var = [s["BatchNorm_0"]["var"] for s in (whole, parts)]
    assert not np.allclose(var[0], var[1], rtol=1e-6)


def test_uneven_chunks_are_refused():
    with pytest.raises(ValueError, match="multiple of 3"):
        in_chunks(lambda x, r: (x, {}), jnp.ones((4, 2)), None, 3)


def test_embedding_std_tells_collapse_from_health():
    z = np.random.default_rng(0).normal(size=(512, 64)).astype(np.float32)
    healthy = embedding_std(jnp.asarray(z), None) * np.sqrt(64)
    np.testing.assert_allclose(healthy, 1.0, atol=0.02)
    collapsed = embedding_std(jnp.ones((512, 64)), None)
    np.testing.assert_allclose(collapsed, 0.0, atol=1e-3)


def test_chance_of_masked_candidates_counts_what_the_mask_leaves():
    batch = tiny.batch(32)  # four labels, eight records each
    masked = moco.Objective(
        context=Context(tiny.TinyNet()),
        false_negatives="mask",
        hidden_dim=8,
        proj_dim=8,
    )
    params, extra = jax.jit(masked.init)(jax.random.key(0), batch)
    _, (_, metrics) = jax.jit(masked.loss)(params, extra, batch, jax.random.key(1), 0)
    expected = 4 * masked.temperature * math.log(1 + 24)
    assert float(metrics["train/loss_chance"]) == pytest.approx(expected, rel=1e-5)
    assert expected < masked.chance(32)

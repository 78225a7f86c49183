"""The triplet loss against a loop over triplets in double precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from sklearn.metrics.pairwise import euclidean_distances

from losses import triplet as lib

N, M, D = 5, 9, 6
POSITIVES = np.array([3, 0, 8, 7, 7], np.int32)


def pair(seed=0):
    rng = np.random.default_rng(seed)
    return np.float32(rng.normal(size=(N, D))), np.float32(rng.normal(size=(M, D)))


def tables(seed=1):
    """A mask; anchor 2 has no negative at all."""
    mask = np.random.default_rng(seed).random((N, M)) < 0.7
    mask[2] = False
    return mask


def cost(x, margin):
    return np.log1p(np.exp(x)) if margin is None else max(x + margin, 0)


def oracle(q, k, margin, squared, mining, mask):
    """The loss, and (d_ap, d_an, violation, hit) of what it looked at, one by one."""
    d = euclidean_distances(np.float64(q), np.float64(k), squared=squared)
    total, seen, positive, hits = 0.0, [], [], []
    for i, p in enumerate(POSITIVES):
        negatives = [j for j in range(M) if j != p and (mask is None or mask[i, j])]
        if not negatives:
            continue
        hits.append(all(d[i, p] < d[i, j] for j in negatives))
        positive.append(d[i, p])
        if mining == "batch_hard":
            chosen = [min(negatives, key=lambda j: d[i, j])]
        elif mining == "semi_hard":
            beyond = [j for j in negatives if d[i, j] > d[i, p]]
            chosen = [
                min(beyond, key=lambda j: d[i, j])
                if beyond
                else max(negatives, key=lambda j: d[i, j])
            ]
        else:
            chosen = negatives
        part = [(d[i, j], d[i, j] - d[i, p] < (margin or 0)) for j in chosen]
        total += np.mean([cost(d[i, p] - d[i, j], margin) for j in chosen])
        seen.append(np.mean(part, axis=0))
    return total / N, [np.mean(positive), *np.mean(seen, axis=0), np.mean(hits)]


@pytest.mark.parametrize("mining", ["all", "semi_hard", "batch_hard"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("margin", [0.2, 1.0, None])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_loop_over_triplets(mining, squared, margin, masked):
    q, k = pair()
    mask = tables() if masked else None
    loss, metrics = lib.triplet(
        q, k, POSITIVES, margin=margin, squared=squared, mining=mining, mask=mask
    )
    expected, others = oracle(q, k, margin, squared, mining, mask)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics[:4], others, rtol=1e-5)
    width = (
        M
        if mask is None
        else np.mean(
            [
                1 + sum(mask[i, j] for j in range(M) if j != p)
                for i, p in enumerate(POSITIVES)
            ]
        )
    )
    np.testing.assert_allclose(metrics.candidates, width, rtol=1e-6)


def test_random_draws_every_allowed_negative_and_no_other():
    q, k = pair()
    mask = tables()
    d = euclidean_distances(q, k)

    @jax.jit
    def mined(key):
        return lib._mined(jnp.asarray(d), None, jnp.asarray(mask) & ~own, "random", key)

    own = POSITIVES[:, None] == np.arange(M)
    total = sum(np.asarray(mined(jax.random.key(i)), int) for i in range(300))
    np.testing.assert_array_equal(total > 0, mask & ~own)
    np.testing.assert_array_equal(total.sum(1), 300 * (mask & ~own).any(1))


@pytest.mark.parametrize("margin", [0.2, None])
@pytest.mark.parametrize("mining", ["all", "semi_hard", "batch_hard"])
def test_collapsed_embeddings_score_chance_with_finite_gradient(margin, mining):
    q, k = np.ones((N, D), np.float32), np.ones((M, D), np.float32)

    def loss(q, k):
        return lib.triplet(q, k, POSITIVES, margin=margin, mining=mining)

    (value, metrics), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(q, k)
    assert value == pytest.approx(lib.chance(margin), rel=1e-5)
    assert metrics.accuracy == 0
    assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_equals_differences(squared):
    q, k = pair(3)
    call = functools.partial(
        lib.triplet, positives=POSITIVES, margin=1.0, squared=squared, mining="all"
    )
    grad = jax.grad(lambda q: call(q, k)[0])(q)
    eps = 1e-5
    for i, j in [(0, 0), (2, 3), (4, 5)]:
        step = np.zeros((N, D))
        step[i, j] = eps
        up, down = (
            oracle(q + s * step, k, 1.0, squared, "all", None)[0] for s in (1, -1)
        )
        assert grad[i, j] == pytest.approx((up - down) / (2 * eps), rel=2e-3, abs=1e-5)


def test_sharded_anchors_against_gathered_keys_equal_one_device():
    rng = np.random.default_rng(5)
    q, k = (np.float32(rng.normal(size=(16, D))) for _ in range(2))
    whole, _ = lib.triplet(q, k, np.arange(16), margin=1.0)
    mesh = Mesh(np.array(jax.devices()[:8]), ("d",))

    def local(q, k):
        k = jax.lax.all_gather(k, "d", tiled=True)
        columns = 2 * jax.lax.axis_index("d") + jnp.arange(2)
        return jax.lax.pmean(lib.triplet(q, k, columns, margin=1.0)[0], "d")

    run = jax.shard_map(
        local, mesh=mesh, in_specs=(P("d"), P("d")), out_specs=P(), check_vma=False
    )
    np.testing.assert_allclose(run(q, k), whole, rtol=1e-6)


def test_faults_are_named():
    q, k = pair()
    with pytest.raises(ValueError, match=r"\(5, 5\)"):
        lib.triplet(q[:, :5], k, POSITIVES)
    with pytest.raises(ValueError, match="positives"):
        lib.triplet(q, k, POSITIVES[:2])
    with pytest.raises(ValueError, match="margin"):
        lib.triplet(q, k, POSITIVES, margin=0.0)
    with pytest.raises(ValueError, match="semi_hard"):
        lib.triplet(q, k, POSITIVES, mining="semihard")
    with pytest.raises(ValueError, match="mask"):
        lib.triplet(q, k, POSITIVES, mask=np.ones((N, 2), bool))
    with pytest.raises(ValueError, match="rng"):
        lib.triplet(q, k, POSITIVES, mining="random")


@pytest.mark.parametrize("squared", [False, True])
def test_chance_levels_are_those_of_even_directions(squared):
    rng, d, n, margin = np.random.default_rng(0), 128, 200, 0.2
    found = []
    for _ in range(8):
        z = rng.standard_normal((2, n, d))
        q, k = z / np.linalg.norm(z, axis=2, keepdims=True)
        distance = np.array([[np.linalg.norm(a - b) for b in k] for a in q])
        distance = distance**2 if squared else distance
        own = np.eye(n, dtype=bool)
        d_pos, d_neg = distance[own], distance[~own].reshape(n, -1)
        nearest = d_neg.min(1)
        found.append(
            {
                "d_pos": d_pos.mean(),
                "d_neg": d_neg.mean(),
                "d_nearest": nearest.mean(),
                "violations": (d_neg - d_pos[:, None] < margin).mean(),
                "hard_violations": (nearest - d_pos < margin).mean(),
            }
        )
    levels = lib.chance_levels(d, n - 1, margin, squared)
    for name in found[0]:
        mean = np.mean([one[name] for one in found])
        assert levels[name] == pytest.approx(mean, abs=0.02), name
    assert levels["triplet_loss"] == levels["hard_loss"] == margin


@pytest.mark.parametrize("mining", ["random", "all", "semi_hard", "batch_hard"])
@pytest.mark.parametrize("margin", [0.05, None])
def test_levels_of_batch_are_those_of_even_directions(mining, margin):
    d, n = 128, 64

    @jax.jit
    def of_batch(key):
        q, k = jax.random.normal(key, (2, n, d))
        q, k = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
        columns = jnp.arange(n)
        return lib.triplet(q, k, columns, margin=margin, mining=mining, rng=key)[1]

    found = [of_batch(jax.random.key(i)) for i in range(30)]
    mean = np.mean([m[:4] for m in found], axis=0)
    levels = lib.mined_levels(d, n - 1, margin, False, mining)
    names = "d_pos", "d_neg", "violations", "accuracy"
    for name, value in zip(names, mean, strict=True):
        close = 0.1 if (name, mining) == ("violations", "semi_hard") else 0.02
        assert levels[name] == pytest.approx(value, abs=close), name

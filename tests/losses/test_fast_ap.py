"""FastAP against the paper's formula in double precision, loops and limits."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from losses import fast_ap as lib


def by_loops(x, labels, bins, pulse="triangular", sigma=0.05):
    """1 - FastAP of every query with itself left out, in float64."""
    x = np.asarray(x, np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    n, width = len(x), 4 / bins
    found = []
    for i in range(n):
        near, every = np.zeros(bins + 1), np.zeros(bins + 1)
        for j in range(n):
            if i == j or labels[j] < 0:
                continue
            cosine = x[i] @ x[j]
            centers = np.arange(bins + 1) * width  # of squared distances
            if pulse == "triangular":
                share = np.maximum(0, 1 - np.abs(2 - 2 * cosine - centers) / width)
            else:
                share = np.exp(-((cosine - (1 - centers / 2)) ** 2) / 2 / sigma**2)
                share /= share.sum()
            every += share
            near += share * (labels[i] == labels[j])
        if near.sum() > 1e-9:
            h, hp = np.cumsum(every), np.cumsum(near)
            filled = h > 0
            found.append((near[filled] * hp[filled] / h[filled]).sum() / near.sum())
    return 1 - np.mean(found)


def batch(n=24, d=8, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = rng.standard_normal((classes, d))[labels] + rng.standard_normal((n, d))
    return x.astype(np.float32), labels.astype(np.int32)


@functools.partial(jax.jit, static_argnames=("bins", "pulse", "sigma"))
def value_and_grad(x, labels, bins=10, pulse="triangular", sigma=0.05):
    def loss(x):
        own = jnp.arange(x.shape[0])
        return lib.fast_ap(
            x, x, labels, labels, own, bins=bins, pulse=pulse, sigma=sigma
        )

    return jax.value_and_grad(loss, has_aux=True)(x)


CASES = [
    (10, "triangular", 0.0), (25, "triangular", 0.0), (8, "triangular", 0.0),
    (10, "gaussian", 0.15), (40, "gaussian", 0.05), (1, "triangular", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("bins", "pulse", "sigma"), CASES)
def test_value_is_papers_formula(bins, pulse, sigma):
    x, labels = batch(n=37)
    labels = labels.copy()
    labels[3] = -1  # no query, no candidate
    labels[5] = 99  # a query without a positive, and everyone's negative
    (value, aux), _ = value_and_grad(x, labels, bins, pulse, sigma)
    assert value == pytest.approx(by_loops(x, labels, bins, pulse, sigma), abs=1e-5)
    assert float(aux.valid) == pytest.approx(35 / 37)
    assert float(aux.candidates) == pytest.approx((36 * 35 + 36) / 37)


@pytest.mark.parametrize(("bins", "pulse", "sigma"), CASES[:5])
def test_gradient_is_that_of_formula(bins, pulse, sigma):
    x, labels = batch(n=16, d=5, classes=4, seed=3)
    _, grad = value_and_grad(x, labels, bins, pulse, sigma)
    expected, step = np.zeros(x.shape), 1e-6
    for at in itertools.product(*map(range, x.shape)):
        around = []
        for sign in (1, -1):
            moved = x.astype(np.float64)
            moved[at] += sign * step
            around.append(by_loops(moved, labels, bins, pulse, sigma))
        expected[at] = (around[0] - around[1]) / (2 * step)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(grad, expected, atol=1e-5)


@pytest.mark.parametrize("bins", [10, 100])
def test_limits(bins):
    labels = np.repeat(np.arange(4), 8).astype(np.int32)
    apart = np.eye(8, dtype=np.float32)[labels]
    (perfect, _), _ = value_and_grad(apart, labels, bins)
    assert float(perfect) == pytest.approx(0, abs=1e-5)
    (same, _), grad = value_and_grad(np.ones((32, 8), np.float32), labels, bins)
    assert float(same) == pytest.approx(1 - 7 / 31, abs=1e-5)
    assert np.isfinite(grad).all()
    # PositivePairSampler at opposite ends of an axis: whoever shares no class is
    # nearer.
    pairs = np.repeat(np.eye(16, dtype=np.float32), 2, 0)
    pairs[1::2] *= -1
    (reversed_, _), _ = value_and_grad(pairs, np.arange(32, dtype=np.int32) // 2, bins)
    assert float(reversed_) == pytest.approx(1 - 1 / 31, abs=1e-5)


def test_step_down_gradient_ranks_better():
    x, labels = batch(n=64, d=16, classes=8, seed=1)
    (before, _), grad = value_and_grad(x, labels, 20)
    (after, _), _ = value_and_grad(x - 20 * np.asarray(grad), labels, 20)
    assert float(after) < float(before) - 0.02


def test_batch_without_positives_is_0_with_finite_gradient():
    x, _ = batch(n=9)
    for labels in (np.arange(9), np.full(9, -1)):
        (value, aux), grad = value_and_grad(x, labels.astype(np.int32))
        assert float(value) == 0
        assert float(aux.valid) == 0
        np.testing.assert_array_equal(grad, 0)


def test_equal_and_opposite_vectors_and_zeros_have_finite_gradients():
    x = np.zeros((6, 4), np.float32)
    x[0, 0] = x[1, 0] = 1
    x[2, 0] = -1
    for pulse in ("triangular", "gaussian"):
        (value, _), grad = value_and_grad(
            x, np.arange(6, dtype=np.int32) // 2, 7, pulse
        )
        assert np.isfinite(float(value))
        assert np.isfinite(grad).all()


def test_queries_of_several_devices_share_ranking_of_all():
    x, labels = batch(n=32, classes=5)
    labels = labels.copy()
    labels[:9] = 50 + np.arange(9)  # devices with unlike numbers of valid queries

    def loss(x, labels):
        keys = jax.lax.all_gather(x, "d", tiled=True)
        key_labels = jax.lax.all_gather(labels, "d", tiled=True)
        own = jax.lax.axis_index("d") * x.shape[0] + jnp.arange(x.shape[0])
        has_positive = (labels[:, None] == key_labels[None, :]).sum(1) > 1
        count = jax.lax.pmean(jnp.sum(has_positive), "d")
        value, _ = lib.fast_ap(x, keys, labels, key_labels, own, count=count)
        return value

    def local(x, labels):
        value, grad = jax.value_and_grad(loss)(x, labels)
        return jax.lax.pmean(value, "d"), grad / 8

    mesh = Mesh(np.array(jax.devices()[:8]), ("d",))
    run = jax.shard_map(
        local, mesh=mesh, in_specs=(P("d"), P("d")), out_specs=(P(), P("d")),
        check_vma=False,
    )  # fmt: skip
    value, grad = jax.jit(run)(x, labels)
    (expected, _), expected_grad = value_and_grad(x, labels)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(grad, expected_grad, atol=1e-6)


@pytest.mark.parametrize(("candidates", "positives"), [(5, 2), (6, 1), (4, 4)])
def test_chance_is_mean_over_all_rankings(candidates, positives):
    values = []
    for places in itertools.combinations(range(1, candidates + 1), positives):
        values.append(np.mean([(i + 1) / r for i, r in enumerate(places)]))
    expected = 1 - np.mean(values)
    assert lib.chance(candidates, positives) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [1, 40])
def test_queries_and_keys_apart_equal_dense_formula(classes):
    """Labels of none, of one side only, of few keys, and of more than a step adds."""
    rng = np.random.default_rng(classes)
    x, keys = (rng.standard_normal((n, 6)).astype(np.float32) for n in (11, 45))
    labels, key_labels = (rng.integers(-1, classes, n) for n in (11, 45))
    columns, bins = rng.permutation(45)[:11], 30
    columns[0] = -1  # no key is this query

    def dense(x, keys):
        x, keys = (a / jnp.linalg.norm(a, axis=1, keepdims=True) for a in (x, keys))
        u = (1 - x @ keys.T) * bins / 2
        candidate = (columns[:, None] != np.arange(45)) & (key_labels >= 0)
        positive = candidate & (labels[:, None] == key_labels)
        at = jnp.arange(bins + 1)[None, None, :]
        pulse = jnp.maximum(0, 1 - jnp.abs(u[:, :, None] - at))  # [n, m, b + 1]
        near = jnp.sum(pulse * positive[:, :, None], 1)
        every = jnp.cumsum(jnp.sum(pulse * candidate[:, :, None], 1), 1)
        terms = near * jnp.cumsum(near, 1) / jnp.where(every > 0, every, 1)
        total = positive.sum(1)
        ap = jnp.sum(terms, 1) / np.maximum(total, 1)
        return jnp.sum((1 - ap) * (total > 0)) / np.maximum((total > 0).sum(), 1)

    def loss(x, keys):
        return lib.fast_ap(x, keys, labels, key_labels, columns, bins=bins)[0]

    found, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(x, keys)
    expected, expected_grads = jax.value_and_grad(dense, (0, 1))(x, keys)
    assert found == pytest.approx(float(expected), rel=1e-5)
    if classes > 1:  # of one class every candidate is a positive
        assert np.abs(expected_grads[1]).max() > 1e-4
    for a, b in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_chance_of_seeds_batch():
    assert lib.chance(127, 1) == pytest.approx(1 - 0.0427, abs=5e-5)
    assert lib.chance(255, 15) == pytest.approx(1 - 0.0778, abs=5e-5)


def test_bad_arguments_are_named():
    x, labels = batch(n=8)
    own = np.arange(8)
    run = functools.partial(lib.fast_ap, x, x, labels, labels, own)
    with pytest.raises(ValueError, match="got bins 0; expected 1 or more"):
        run(bins=0)
    with pytest.raises(ValueError, match="choices: triangular, gaussian"):
        run(pulse="box")
    with pytest.raises(ValueError, match="got sigma 0"):
        run(pulse="gaussian", sigma=0.0)
    with pytest.raises(ValueError, match="got labels .*expected integers"):
        lib.fast_ap(x, x, labels * 1.0, labels, own)
    with pytest.raises(ValueError, match=r"got x .* and keys .*expected \[n, d\]"):
        lib.fast_ap(x, x[:, :3], labels, labels, own)
    with pytest.raises(ValueError, match="1 or more"):
        lib.chance(5, 0)


def test_work_does_not_grow_with_pairs_times_bins():
    """All that is computed, in numbers: 990 more bins add tables, and no pairs."""
    n = 512
    x, labels = np.ones((n, 8), np.float32), np.arange(n) // 4

    def numbers(bins):
        def loss(x):
            return lib.fast_ap(x, x, labels, labels, np.arange(n), bins=bins)[0]

        def sizes(jaxpr):
            for equation in jaxpr.eqns:
                assert equation.primitive.name not in ("while", "scan")
                yield sum(out.aval.size for out in equation.outvars)
                for value in equation.params.values():
                    inner = getattr(value, "jaxpr", value)
                    if hasattr(inner, "eqns"):
                        yield from sizes(inner)

        return sum(sizes(jax.make_jaxpr(jax.value_and_grad(loss))(x).jaxpr))

    more, tables, pairs = 990, n * 990, n * n * 990
    assert numbers(10 + more) - numbers(10) < 120 * tables < pairs


@pytest.mark.parametrize(("candidates", "positives"), [(1, 1), (7, 3), (511, 1)])
def test_batch_chance_equals_chance(candidates, positives):
    value = lib.batch_chance(jnp.float32(positives), jnp.float32(candidates))
    assert float(value) == pytest.approx(lib.chance(candidates, positives), abs=2e-5)


def test_batch_chance_is_1_without_positives():
    assert float(lib.batch_chance(jnp.float32(0), jnp.float32(9))) == 1

"""InfoNCE against a loop in double precision, its chance level and its baseline."""

import math

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

from losses import info_nce as nce
from tests.losses.info_nce_loops import (
    CASES,
    MASK,
    POSITIVES,
    TAU,
    WEIGHTS,
    D,
    M,
    N,
    oracle,
    pair,
    value_and_grad,
)


@pytest.mark.parametrize("case", CASES)
def test_value_and_metrics_equal_loop_over_rows(case):
    q, k = pair()
    positives, extra = CASES[case]
    (loss, metrics), _ = value_and_grad(q, k, positives, extra)
    expected, expected_metrics = oracle(q, k, positives, **extra)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(metrics, expected_metrics, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["plain", "both"])
def test_gradient_equals_differences_of_loop(case):
    q, k = pair()
    positives, extra = CASES[case]
    _, grads = value_and_grad(q, k, positives, extra)
    step = 1e-5
    for which, grad in enumerate(grads):
        for index in [(0, 0), (2, 5), (5, 7), (3, 1)]:
            values = []
            for sign in (1, -1):
                moved = [np.float64(q), np.float64(k)]
                moved[which][index] += sign * step
                values.append(oracle(*moved, positives, **extra)[0])
            slope = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(grad[index], slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "key_block_size"),
    [(case, 4) for case in CASES] + [("both", 1), ("both", 11)],
)
def test_streaming_equals_dense(case, key_block_size):
    q, k = pair()
    positives, extra = CASES[case]
    (dense, metrics), grads = value_and_grad(q, k, positives, extra)
    (loss, seen), got = value_and_grad(q, k, positives, extra, key_block_size)
    np.testing.assert_allclose(loss, dense, rtol=1e-6)
    np.testing.assert_allclose(seen, metrics, rtol=1e-5, atol=1e-6)
    for a, b in zip(got, grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("key_block_size", [0, 4])
def test_functions_of_columns_equal_arrays(key_block_size):
    q, k = pair()
    (expected, metrics), grads = value_and_grad(q, k, POSITIVES, CASES["both"][1])

    def loss(q, k):
        return nce.info_nce(
            q,
            k,
            POSITIVES,
            temperature=TAU,
            key_block_size=key_block_size,
            weights=lambda cols: jnp.asarray(WEIGHTS)[:, cols],
            mask=lambda cols: jnp.asarray(MASK)[:, cols],
        )

    (got, seen), got_grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(q, k)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_allclose(seen, metrics, rtol=1e-5)
    for a, b in zip(got_grads, grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def sizes(jaxpr):
    """Yields the number of elements of every value, inner programs included."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval.size
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from sizes(inner)


@pytest.mark.parametrize(("key_block_size", "bounded"), [(0, False), (64, True)])
def test_streaming_never_holds_all_similarities(key_block_size, bounded):
    n, m, d = 256, 1024, 8

    def gradient(q, k, codes, key_codes):
        return jax.grad(
            lambda q, k: nce.info_nce(
                q,
                k,
                jnp.arange(n),
                temperature=TAU,
                key_block_size=key_block_size,
                weights=lambda c: codes[:, None] == key_codes[c][None, :],
                mask=lambda c: codes[:, None] != key_codes[c][None, :],
            )[0],
            (0, 1),
        )(q, k)

    arrays = (jnp.zeros((n, d)), jnp.zeros((m, d)), jnp.zeros(n), jnp.zeros(m))
    largest = max(sizes(jax.make_jaxpr(gradient)(*arrays).jaxpr))
    assert (largest < n * m / 4) == bounded
    if bounded:
        memory = jax.jit(gradient).lower(*arrays).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 4 * n * m


@pytest.mark.parametrize("n", [1, 2, 256, 1024])
def test_equal_embeddings_are_at_chance(n):
    x = jnp.ones((n, 4))
    loss, metrics = nce.info_nce(x, x, jnp.arange(n), temperature=TAU)
    np.testing.assert_allclose(loss, np.log(n), atol=1e-5)
    assert metrics.accuracy == (1 if n == 1 else 0)
    np.testing.assert_allclose(nce.chance(n), np.log(n), rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "temperature", "expected"),
    [(256, 0.07, 1.6e-4), (256, 0.2, 1.000), (1024, 0.2, 2.066), (1024, 1.0, 5.933)],
)
def test_loss_of_orthonormal_embeddings(n, temperature, expected):
    x = jnp.eye(n)
    loss, metrics = nce.info_nce(x, x, jnp.arange(n), temperature=temperature)
    formula = np.log1p((n - 1) * np.exp(-1 / temperature))
    np.testing.assert_allclose(formula, expected, rtol=2e-2)
    np.testing.assert_allclose(loss, formula, atol=1e-5)
    np.testing.assert_allclose(
        metrics, (1, 1 / n, n, 1, 0, math.log(n)), rtol=1e-6, atol=1e-6
    )


def test_random_unit_vectors_lie_where_docstring_says():
    n, d = 1024, 256
    q, k = pair(n, n, d)
    loss, _ = nce.info_nce(q, k, np.arange(n), temperature=TAU)
    # 6.975 measured elsewhere; the mean over rows has error std / sqrt(n) = 0.01.
    np.testing.assert_allclose(loss, np.log(n) + 1 / (2 * d * TAU**2), atol=0.03)


def test_lengths_do_not_matter_and_columns_may_be_permuted():
    q, k = pair()
    (loss, metrics), _ = value_and_grad(q, k, POSITIVES, {})
    rng = np.random.default_rng(2)
    scale = np.float32(np.exp(rng.normal(size=(N + M, 1))))
    (scaled, _), _ = value_and_grad(q * scale[:N], k * scale[N:], POSITIVES, {})
    np.testing.assert_allclose(scaled, loss, rtol=1e-6)
    order = rng.permutation(M)
    where = np.int32(np.argsort(order))
    (moved, seen), _ = value_and_grad(q, k[order], where[POSITIVES], {})
    np.testing.assert_allclose(moved, loss, rtol=1e-6)
    np.testing.assert_allclose(seen, metrics, rtol=1e-5)


def test_positive_that_mask_excludes_stays():
    q, k = pair()
    nothing = {"mask": np.zeros((N, M), bool)}
    (loss, metrics), grads = value_and_grad(q, k, POSITIVES, nothing)
    np.testing.assert_allclose(loss, 0, atol=1e-6)  # the only candidate wins
    assert metrics.candidates == 1
    assert metrics.accuracy == 1
    np.testing.assert_allclose(grads[0], 0, atol=1e-6)


@pytest.mark.parametrize("key_block_size", [0, 1])
@pytest.mark.parametrize("degenerate", ["zero", "equal", "opposite", "huge", "one"])
def test_degenerate_batches_stay_finite(degenerate, key_block_size):
    q, k = pair(4, 4)
    positives = np.arange(4, dtype=np.int32)
    if degenerate == "zero":
        q[1], k[1], k[2] = 0, 0, 0
    elif degenerate == "equal":
        q[:], k[:] = 1, 1
    elif degenerate == "opposite":
        k = -q
    elif degenerate == "huge":
        q, k = q * np.float32(1e15), k * np.float32(1e-15)
    else:
        q, k, positives = q[:1], k[:1], positives[:1]
    (loss, metrics), grads = value_and_grad(q, k, positives, {}, key_block_size)
    for x in jax.tree.leaves((loss, metrics, grads)):
        assert np.isfinite(x).all()


def test_batch_without_any_positive_has_loss_and_gradient_zero():
    q, k = pair()
    none = np.full(N, -1, np.int32)
    (loss, metrics), grads = value_and_grad(q, k, none, {}, 4)
    assert loss == 0
    assert metrics.accuracy == 0
    for grad in grads:
        np.testing.assert_array_equal(grad, 0)


def test_weights_are_constants_and_their_scale_is_free():
    q, k = pair()

    def loss(weights):
        return nce.info_nce(q, k, POSITIVES, temperature=TAU, weights=weights)[0]

    np.testing.assert_array_equal(jax.grad(loss)(jnp.asarray(WEIGHTS)), 0)
    np.testing.assert_allclose(loss(WEIGHTS * 37), loss(WEIGHTS), rtol=1e-6)


def test_short_floats_are_computed_in_float32():
    q, k = (jnp.asarray(x, jnp.bfloat16) for x in pair())
    (loss, _), grads = value_and_grad(q, k, POSITIVES, {})
    assert loss.dtype == jnp.float32
    assert grads[0].dtype == jnp.bfloat16
    expected, _ = oracle(
        np.asarray(q, np.float64), np.asarray(k, np.float64), POSITIVES
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "got temperature 0.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"key_block_size": -1}, "key_block_size"),
        ({"k": np.ones((M, D + 1), np.float32)}, r"expected \[n, d\] and \[m, d\]"),
        ({"k": np.ones((0, D), np.float32)}, "expected rows"),
        ({"positives": None}, "got no targets"),
        ({"positives": np.zeros(N + 1, np.int32)}, r"shape \(6,\)"),
        ({"positives": np.zeros(N, np.float32)}, "integers"),
        ({"mask": np.ones((M, N), bool)}, r"got mask \(11, 6\); expected \(6, 11\)"),
        ({"weights": np.ones(M)}, "got weights"),
    ],
)
def test_shapes_that_do_not_match_are_refused(change, message):
    q, k = pair()
    given = {"q": q, "k": k, "positives": POSITIVES, "temperature": TAU} | change
    with pytest.raises(ValueError, match=message):
        nce.info_nce(**given)


def test_chance_needs_candidate():
    with pytest.raises(ValueError, match="candidates"):
        nce.chance(0)
    assert nce.chance(1) == 0

"""The three scans against a plain loop in double precision, and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import selective_scan as scan

WAYS = ("unrolled", "chunked", "associative")


def arrays(length, n=2, e=3, s=4, seed=0):
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((n, length, e))
    delta = np.log1p(np.exp(rng.standard_normal((n, length, e)) - 1))
    a = -np.exp(rng.standard_normal((e, s)))
    b, c = rng.standard_normal((2, n, length, s))
    return tuple(np.float32(x) for x in (u, delta, a, b, c))


def loop(u, delta, a, b, c):
    u, delta, a, b, c = (np.float64(x) for x in (u, delta, a, b, c))
    y = np.zeros_like(u)
    for i in range(u.shape[0]):
        for e in range(u.shape[2]):
            h = np.zeros(a.shape[1])
            for t in range(u.shape[1]):
                h = np.exp(delta[i, t, e] * a[e]) * h
                h = h + delta[i, t, e] * b[i, t] * u[i, t, e]
                y[i, t, e] = c[i, t] @ h
    return y


@pytest.mark.parametrize("way", [*WAYS, "auto"])
@pytest.mark.parametrize("length", [1, 5, 33])
def test_each_way_equals_loop(way, length):
    x = arrays(length)
    y = scan.selective_scan(*x, implementation=way, chunk=8)
    np.testing.assert_allclose(y, loop(*x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("length", "chunk"), [(1, 64), (5, 1), (5, 7), (17, 8)])
def test_gradients_of_chunks_are_those_of_plain_scan(length, chunk):
    x = arrays(length)
    weights = np.random.default_rng(1).standard_normal(x[0].shape).astype(np.float32)

    def loss(x, way):
        y = scan.selective_scan(*x, implementation=way, chunk=chunk)
        return jnp.sum(jnp.tanh(y) * weights)

    grads = {way: jax.jit(jax.grad(loss), static_argnums=1)(x, way) for way in WAYS}
    for way in ("chunked", "associative"):
        for found, expected in zip(grads[way], grads["unrolled"], strict=True):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, atol=1e-4 * max(scale, 1))


def test_gradients_are_those_of_finite_differences():
    x = arrays(9)
    rng = np.random.default_rng(2)

    def loss(x):
        return jnp.sum(scan.selective_scan(*x, implementation="chunked", chunk=4) ** 2)

    grads = jax.grad(loss)(x)
    for i in range(5):
        way = rng.standard_normal(x[i].shape)
        way /= np.linalg.norm(way)
        ends = []
        for sign in (1, -1):
            moved = [np.float64(v) for v in x]
            moved[i] = moved[i] + sign * 1e-5 * way
            ends.append((loop(*moved) ** 2).sum())
        slope = (ends[0] - ends[1]) / 2e-5
        assert float(np.vdot(grads[i], way)) == pytest.approx(slope, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_later_inputs_change_nothing_before_them(way):
    x = arrays(20)
    later = [np.array(v) for v in x]
    for i in (0, 1, 3, 4):
        later[i][:, 12:] += 1
    first, second = (
        np.asarray(scan.selective_scan(*v, implementation=way, chunk=8))
        for v in (x, later)
    )
    np.testing.assert_allclose(first[:, :12], second[:, :12], atol=1e-6)
    assert np.abs(first[:, 12:] - second[:, 12:]).max() > 0.1


def test_step_by_step_matches_whole_sequence():
    u, delta, a, b, c = arrays(11)
    h = jnp.zeros((2, 4, 3))
    run = jax.jit(scan.step)
    for t in range(11):
        h, y = run(h, u[:, t], delta[:, t], a, b[:, t], c[:, t])
        whole = scan.selective_scan(u, delta, a, b, c, implementation="unrolled")
        np.testing.assert_allclose(y, whole[:, t], rtol=1e-5, atol=1e-6)


def test_steps_of_zero_leave_state_as_it_is():
    u, delta, a, b, c = arrays(10)
    u[:, 4:7], delta[:, 4:7] = 0, 0
    rest = [np.delete(v, np.s_[4:7], 1) for v in (u, delta, b, c)]
    short = scan.selective_scan(rest[0], rest[1], a, rest[2], rest[3])
    full = np.asarray(scan.selective_scan(u, delta, a, b, c))
    np.testing.assert_allclose(np.delete(full, np.s_[4:7], 1), short, atol=1e-5)


def test_short_floats_are_summed_in_float32():
    x = arrays(200)
    low = [jnp.asarray(v, jnp.bfloat16) for v in x]
    y = scan.selective_scan(*low, implementation="chunked")
    assert y.dtype == jnp.bfloat16
    exact = loop(*(np.float32(v) for v in low))
    np.testing.assert_allclose(np.float32(y), exact, atol=2e-2 * np.abs(exact).max())


def test_chunked_scan_keeps_no_more_than_chunk_ends():
    """Temporary memory of the gradient grows with chunks, not with steps."""
    x = [jnp.asarray(v) for v in arrays(1024, e=16, s=16)]

    def memory(way):
        def loss(x):
            return scan.selective_scan(*x, implementation=way, chunk=32).sum()

        lowered = jax.jit(jax.grad(loss)).lower(x)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert memory("chunked") < memory("associative") / 4


def test_faults_are_named():
    x = list(arrays(4))
    with pytest.raises(ValueError, match="choices: auto, unrolled"):
        scan.selective_scan(*x, implementation="fast")
    with pytest.raises(ValueError, match="chunk is 0"):
        scan.selective_scan(*x, chunk=0)
    x[3] = x[3][:, :2]
    with pytest.raises(ValueError, match=r"b must have shape \(2, 4, 4\)"):
        scan.selective_scan(*x)

"""Next-vector prediction against its formula, in chunks, and with a head apart."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import next_vector
from objectives.common.accumulation import separately
from objectives.common.objective import Context

N, L, D = 16, 4, 6


class Reader(nn.Module):
    """A causal network that is nothing but a dense layer."""

    @nn.compact
    def __call__(self, x, train):
        return nn.tanh(nn.Dense(8)(jnp.cumsum(x, 1)))


def objective(chunks=1, **fields):
    context = Context(Reader(), chunks=chunks)
    fields = {"residual_from": "none"} | fields
    return next_vector.Objective(context=context, **fields)


def batch(n=N, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, L + 1, D)).astype(np.float32)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return {
        "view1": x[:, :-1],
        "view2": x[:, -1],
        "label": (np.arange(n) // 4).astype(np.int32),
        "place": (10 * np.arange(n)).astype(np.int32),
    }


def value(method, params, given):
    return jax.jit(method.loss)(params, {}, given, jax.random.key(1), 0)


@pytest.fixture(scope="module")
def params():
    return objective().init(jax.random.key(0), batch())[0]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def prediction(params, x):
    given = jax.tree.map(np.float64, params["predictor"])
    dense, out = given["backbone"]["Dense_0"], given["out"]
    h = np.tanh(np.cumsum(x, 1) @ dense["kernel"] + dense["bias"])
    return h[:, -1] @ out["kernel"] + out["bias"]


@pytest.mark.parametrize("masked", [False, True])
def test_loss_is_formula(params, masked):
    given = batch()
    fields = {"temperature": 0.2, "infonce_weight": 0.6, "cosine_weight": 0.3}
    negatives = "mask" if masked else "keep"
    loss, (_, metrics) = value(
        objective(**fields, false_negatives=negatives), params, given
    )
    q, t = unit(prediction(params, given["view1"])), np.float64(given["view2"])
    nce = 0.0
    for i in range(N):
        logits = {
            j: q[i] @ t[j] / 0.2
            for j in range(N)
            if not masked or j == i or given["label"][i] != given["label"][j]
        }
        nce += math.log(sum(map(math.exp, logits.values()))) - logits[i]
    cosine = np.mean(np.sum(q * t, 1))
    expected = 0.6 * nce / N + 0.3 * (1 - cosine)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["train/cosine"]) == pytest.approx(cosine, rel=1e-4)
    assert float(metrics["diag/candidates"]) == (13 if masked else 16)


def test_residual_starts_as_copy_of_last_vector_there_is():
    given = batch()
    given["view1"][3, 2:] = 0
    method = objective(residual_from="last")
    params, extra = method.init(jax.random.key(0), given)
    z = method.embed(params, extra, {"image": given["view1"]})
    expected = given["view1"][:, -1].copy()
    expected[3] = given["view1"][3, 1]
    np.testing.assert_allclose(z, expected, atol=1e-6)


def test_mixture_starts_as_mean_that_fades_and_leaves_zeroed_vectors_out():
    given = batch()
    given["view1"][3, 2:] = 0
    method = objective(residual_from="mixture")
    params, extra = method.init(jax.random.key(0), given)
    z = method.embed(params, extra, {"image": given["view1"]})
    for row, x in enumerate(np.float64(given["view1"])):
        w = [math.exp(-1.2 * (L - 1 - j)) * (row != 3 or j < 2) for j in range(L)]
        mixed = sum(a * b for a, b in zip(w, x, strict=True))
        np.testing.assert_allclose(z[row], unit(mixed), atol=1e-5)
    grads = gradient(method, params, given)
    assert np.isfinite(grads).all()


def test_with_rank_network_only_weighs_context():
    given = batch()
    method = objective(residual_from="mixture", rank=2)
    params, extra = method.init(jax.random.key(0), given)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: p + 0.3 * rng.standard_normal(p.shape).astype(np.float32), params
    )
    own = jax.tree.map(np.float64, params["predictor"])
    dense, x = own["backbone"]["Dense_0"], np.float64(given["view1"])
    h = np.tanh(np.cumsum(x, 1) @ dense["kernel"] + dense["bias"])
    logits = (h @ own["weight"]["kernel"])[..., 0]
    logits -= own["fade"] * np.arange(L - 1, -1, -1)
    w = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mixed = np.einsum("nl,nld->nd", w, x)
    expected = mixed + mixed @ own["down"]["kernel"] @ own["out"]["kernel"]
    expected += own["out"]["bias"]
    z = method.embed(params, extra, {"image": given["view1"]})
    np.testing.assert_allclose(z, unit(expected), atol=1e-5)


def test_vector_is_its_own_embedding(params):
    x = 3 * batch()["view2"]
    z = objective().embed(params, {}, {"image": x})
    np.testing.assert_allclose(z, x / 3, atol=1e-6)


def gradient(method, params, given):
    def loss(params):
        return method.loss(params, {}, given, jax.random.key(1), 0)[0]

    grads = jax.jit(jax.grad(loss))(params)
    return np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)])


def test_four_chunks_of_256_have_1024_candidates(params):
    """Exact accumulation is the full batch; plain accumulation is another loss."""
    given = batch(1024)
    whole = gradient(objective(), params, given)
    exact = gradient(objective(chunks=4), params, given)
    error = np.linalg.norm(exact - whole) / np.linalg.norm(whole)
    assert error < 1e-5
    apart = separately(objective(), 4)
    separate = gradient(apart, params, given)
    off = np.linalg.norm(separate - whole) / np.linalg.norm(whole)
    assert off > 0.01
    counts = [
        float(value(method, params, given)[1][1]["diag/candidates"])
        for method in (objective(chunks=4), apart)
    ]
    assert counts == [1024, 256]
    gap = value(objective(), params, given)[0] - value(apart, params, given)[0]
    # A quarter of the candidates: InfoNCE is smaller by about ln 4.
    assert float(gap) == pytest.approx(0.85 * math.log(4), abs=0.1)


@pytest.mark.parametrize("own_context", ["keep", "mask"])
def test_same_article_negatives_exclude_own_window(params, own_context):
    given = batch()
    rng = np.random.default_rng(5)
    given["same_article_negatives"] = unit(rng.standard_normal((N, 2, D))).astype(
        np.float32
    )
    places = 1000 + np.arange(2 * N, dtype=np.int32).reshape(N, 2)
    places[4, 1] = given["place"][9]
    places[7] = given["place"][2] - np.array([L, L + 1])
    given["same_article_places"] = places
    given["place"][12] = given["place"][11] + 1
    fields = {"temperature": 0.2, "infonce_weight": 1.0, "cosine_weight": 0.0}
    method = objective(**fields, same_article_negatives=2, own_context=own_context)
    loss, (_, metrics) = value(method, params, given)
    q = unit(prediction(params, given["view1"]))
    keys = np.concatenate(
        [given["view2"], given["same_article_negatives"].reshape(-1, D)]
    )
    total, counts = 0.0, []
    for i in range(N):
        out = {9: {N + 9}}
        if own_context == "mask":
            out |= {2: {N + 14}, 12: {11}}
        logits = [
            q[i] @ key / 0.2 for j, key in enumerate(keys) if j not in out.get(i, ())
        ]
        total += math.log(sum(map(math.exp, logits))) - q[i] @ given["view2"][i] / 0.2
        counts.append(len(logits))
    assert sum(counts) == 48 * N - (3 if own_context == "mask" else 1)
    assert float(loss) == pytest.approx(total / N, rel=1e-5)
    assert float(metrics["diag/candidates"]) == pytest.approx(np.mean(counts))
    assert method.chance(N) == pytest.approx(math.log(48))


def test_head_is_another_space_and_stops_targets():
    given = batch()
    method = objective(head=(12, 5), cosine_weight=0.0, infonce_weight=1.0)
    params, _ = method.init(jax.random.key(0), given)
    dense = jax.tree.map(np.float64, params["head"])
    assert dense["Dense_1"]["kernel"].shape == (12, 5)

    def project(x):
        h = x @ dense["Dense_0"]["kernel"] + dense["Dense_0"]["bias"]
        h = np.float64(nn.gelu(jnp.asarray(h)))
        return unit(h @ dense["Dense_1"]["kernel"] + dense["Dense_1"]["bias"])

    q, k = project(prediction(params, given["view1"])), project(given["view2"])
    logits = q @ k.T / 0.07
    expected = np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits))
    assert float(value(method, params, given)[0]) == pytest.approx(expected, rel=1e-4)

    def of_targets(target):
        full = given | {"view2": target}
        return method.loss(params, {}, full, jax.random.key(1), 0)[0]

    assert not np.any(jax.grad(of_targets)(given["view2"]))


def test_predictions_that_are_all_alike_are_at_chance():
    given = batch()
    given["view1"] = np.repeat(given["view1"][:1], N, 0)
    given["view2"] = np.repeat(given["view2"][:1], N, 0)
    method = objective(infonce_weight=0.5, cosine_weight=0.0)
    params, _ = method.init(jax.random.key(0), given)
    loss, _ = value(method, params, given)
    assert float(loss) == pytest.approx(method.chance(N), rel=1e-5)
    assert objective().chance(1024) == pytest.approx(0.85 * math.log(1024) + 0.15)
    assert np.isfinite(gradient(method, params, given)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 3, "residual_from": "last"}, "got rank 3 with residual_from 'last'"),
        ({"infonce_weight": 0.0, "cosine_weight": 0.0}, "not both 0"),
    ],
)
def test_faults_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        objective(**fields)

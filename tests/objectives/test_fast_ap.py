"""FastAP on both views of a batch: what is a query, what is frozen, what is chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from losses import fast_ap as loss_lib
from models.layers.mlp import MLP
from objectives import fast_ap
from objectives.common.objective import Context
from tests import tiny

N = 16


def objective(axis_name=None, **fields):
    context = Context(tiny.TinyNet(), axis_name=axis_name)
    shape = {"hidden_dim": 10, "proj_dim": 16, "embed_dim": 6, "bins": 8}
    return fast_ap.Objective(context=context, **shape | fields)


def batch():
    given = tiny.batch(N)
    given["label"] = np.where(np.arange(N) < 12, np.arange(N) % 4, -1).astype(np.int32)
    return given


@pytest.fixture(scope="module")
def started():
    method, given = objective(), batch()
    params, extra = jax.jit(method.init)(jax.random.key(0), given)
    run = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (value, (new, metrics)), grads = run(params, extra, given, jax.random.key(1), 0)
    return given, params, extra, value, new, metrics, grads


def embedded(params, stats, x):
    """Unit embeddings of a view in training mode, module by module."""
    modules = {
        "backbone": tiny.TinyNet(),
        "projector": MLP(10, 16, layers=3, norm_last=True),
        "head": MLP(0, 6, layers=1, bias_last=True),
    }
    for name, module in modules.items():
        variables = {"params": params[name], "batch_stats": stats[name]}
        x, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    x = np.float64(x)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_loops(z, labels, bins):
    """The paper's formula, a query after another; its mean, and the positives' mean."""
    total, found, count = len(z), [], []
    for i in range(total):
        others = [j for j in range(total) if j != i and labels[j] >= 0]
        positive = [j for j in others if labels[j] == labels[i]]
        if labels[i] < 0 or not positive:
            continue
        h, hp = np.zeros(bins + 1), np.zeros(bins + 1)
        for j in others:
            place = (2 - 2 * z[i] @ z[j]) * bins / 4
            low = min(int(place), bins - 1)
            share = place - low
            for at, part in ((low, 1 - share), (low + 1, share)):
                h[at] += part
                hp[at] += part * (j in positive)
        below = np.cumsum(h)
        ratio = np.divide(np.cumsum(hp), below, out=np.zeros_like(h), where=below > 0)
        found.append(1 - (hp * ratio).sum() / len(positive))
        count.append(len(positive))
    return np.mean(found), np.mean(count)


def test_loss_is_papers_formula_over_both_views(started):
    given, params, extra, value, _, metrics, _ = started
    stats = extra["batch_stats"]
    z = [embedded(params, stats, given[view]) for view in ("view1", "view2")]
    labels = np.tile(given["label"], 2)
    expected, positives = by_loops(np.concatenate(z), labels, bins=8)
    assert float(value) == pytest.approx(expected, abs=2e-5)
    assert float(metrics["diag/positives"]) == pytest.approx(positives)
    assert float(metrics["diag/queries_with_positive"]) == pytest.approx(0.75)


def test_chance_is_that_of_random_lists_of_labels_at_hand(started):
    metrics = started[5]
    rng = np.random.default_rng(0)
    relevant = np.arange(23) < 5  # 24 labeled views, 4 labels with 6 each
    precision = []
    for _ in range(4000):
        order = rng.permutation(relevant)
        hits = np.cumsum(order) / np.arange(1, 24)
        precision.append(hits[order].mean())
    measured = 1 - np.mean(precision)
    assert float(metrics["train/loss_chance"]) == pytest.approx(measured, abs=0.005)
    exact = loss_lib.chance(23, 5)
    assert float(metrics["train/loss_chance"]) == pytest.approx(exact, abs=1e-5)


def test_views_are_positives_of_each_other_and_of_nothing_else():
    method, given = objective(relevance="views"), batch()
    params, extra = jax.jit(method.init)(jax.random.key(0), given)
    value, (_, metrics) = method.loss(params, extra, given, jax.random.key(1), 0)
    assert float(metrics["diag/positives"]) == 1
    assert float(metrics["diag/candidates"]) == 2 * N - 1
    assert float(metrics["train/loss_chance"]) == pytest.approx(
        method.chance(N), abs=1e-5
    )
    assert 0 < float(value) < 1


def test_without_positive_loss_and_gradient_are_0_and_chance_is_1():
    method = objective()
    given = batch() | {"label": np.full(N, -1, np.int32)}
    params, extra = jax.jit(method.init)(jax.random.key(0), given)
    run = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (value, (_, metrics)), grads = run(params, extra, given, jax.random.key(1), 0)
    assert float(value) == 0
    assert float(metrics["train/loss_chance"]) == 1
    assert all(not np.any(g) for g in jax.tree.leaves(grads))


def test_frozen_backbone_has_no_parameters_and_keeps_statistics():
    given = batch()
    method = objective(frozen=("backbone", "projector"))
    params, extra = jax.jit(method.init)(jax.random.key(0), given)
    assert set(params) == {"head"}
    run = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (_, (new, _)), grads = run(params, extra, given, jax.random.key(1), 0)
    jax.tree.map(np.testing.assert_array_equal, new, extra)
    assert any(np.any(g) for g in jax.tree.leaves(grads))
    z = method.embed(params, extra, {"image": jnp.asarray(given["view1"])})
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, 1, 2], []])
def test_labels_without_positive_are_refused_before_any_step(labels):
    label = np.array(labels, np.int32)
    with pytest.raises(ValueError, match=f"got {len(labels)} training records of"):
        objective(relevance="label").check_records(label)
    objective(relevance="views").check_records(label)
    objective(relevance="label").check_records(np.array([-1, 4, 4, 2]))


def test_one_label_on_every_record_is_refused_before_any_step():
    label = np.array([-1, 4, 4, 4], np.int32)
    with pytest.raises(ValueError, match="3 have a label, all of them the same"):
        objective(relevance="label").check_records(label)
    objective(relevance="views").check_records(label)


def test_projector_that_is_not_there_cannot_be_frozen():
    with pytest.raises(ValueError, match="got frozen projector; choices: backbone$"):
        objective(proj_dim=0, frozen=("projector",))


def test_four_devices_have_loss_and_gradient_of_one(started):
    given, params, extra, value, _, metrics, grads = started
    # Frozen statistics, since each device would otherwise have those of its rows.
    still = {"frozen": ("backbone", "projector")}
    single, method = objective(**still), objective(axis_name="data", **still)
    params, extra = jax.jit(single.init)(jax.random.key(0), given)
    run = jax.value_and_grad(single.loss, has_aux=True)
    (value, (_, metrics)), grads = jax.jit(run)(
        params, extra, given, jax.random.key(1), 0
    )
    # Labels lie unevenly over devices: the last one's rows have none at all.
    mesh = Mesh(np.array(jax.devices()[:4]), "data")
    rows, whole = PartitionSpec("data"), PartitionSpec()

    def part(params, extra, batch):
        run = jax.value_and_grad(method.loss, has_aux=True)
        (value, (_, metrics)), grads = run(params, extra, batch, jax.random.key(1), 0)
        return jax.lax.pmean((value, metrics["train/loss_chance"], grads), "data")

    sharded = jax.jit(
        jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(whole, whole, rows),
            out_specs=whole,
            check_vma=False,
        )
    )
    found, chance, found_grads = sharded(params, extra, given)
    assert float(found) == pytest.approx(float(value), abs=1e-6)
    assert float(chance) == pytest.approx(float(metrics["train/loss_chance"]), abs=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found_grads, grads
    )

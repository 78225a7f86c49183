"""What every objective keeps: tags with facts, and backbones of plain functions."""

import dataclasses
import importlib
import pkgutil
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import objectives
from objectives.common.objective import Context, FunctionalBackbone
from tests import tiny

NAMES = [m.name for m in pkgutil.iter_modules(objectives.__path__) if not m.ispkg]


def build(name, backbone, **fields):
    module = importlib.import_module(f"objectives.{name}")
    widths = {"hidden_dim": 8, "proj_dim": 6, "pred_hidden_dim": 4, "embed_dim": 5}
    known = {field.name for field in dataclasses.fields(module.Objective)}
    fields = {k: v for k, v in widths.items() if k in known} | fields
    return module.Objective(context=Context(backbone), **fields)


def nnx_backbone():
    """An NNX network behind `FunctionalBackbone`."""

    def build_network(rng):
        return nnx.Linear(8 * 8 * 3, 7, rngs=nnx.Rngs(rng))

    graph = nnx.graphdef(build_network(jax.random.key(0)))

    def init(rng, x):
        del x
        return nnx.to_pure_dict(nnx.state(build_network(rng))), {"calls": jnp.zeros(())}

    def apply(params, state, x, train, rng):
        del rng
        network = nnx.merge(graph, nnx.State(params))
        features = network(x.reshape(x.shape[0], -1))
        return features, {"calls": state["calls"] + train}

    return FunctionalBackbone(init, apply)


@pytest.mark.parametrize("name", ["moco", "info_nce"])
def test_backbone_of_plain_functions_trains(name):
    objective, batch = build(name, nnx_backbone()), tiny.batch()
    params, extra = objective.init(jax.random.key(0), batch)
    run = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (loss, (new, _)), grads = run(params, extra, batch, jax.random.key(1), 0)
    assert np.isfinite(loss)
    assert all(np.any(g) for g in jax.tree.leaves(grads) if g.ndim > 1)
    stats = new["batch_stats"]
    stats = stats["encoder"]["backbone"] if name == "moco" else stats
    assert float(stats["network"]["calls"]) == 2  # one pass for each view
    z = objective.embed(params, new, {"image": jnp.asarray(batch["view1"])})
    assert z.shape == (16, 7)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"next_vector"}))
def test_every_metric_of_loss_has_facts(name):
    objective, batch = build(name, tiny.TinyNet()), tiny.batch()
    params, extra = jax.eval_shape(objective.init, jax.random.key(0), batch)
    _, (_, metrics) = jax.eval_shape(
        objective.loss, params, extra, batch, jax.random.key(1), 0
    )
    tags = {tag for tag in metrics if not tag.endswith("_chance")}
    assert tags == set(objective.metric_facts())


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_range(name):
    module = importlib.import_module(f"objectives.{name}")
    hints = typing.get_type_hints(module.Objective, include_extras=True)
    assert not [field for field, hint in hints.items() if hint in (int, float)]
    assert module.Objective().context is None


def test_objective_without_context_cannot_be_trained():
    module = importlib.import_module("objectives.triplet")
    with pytest.raises(ValueError, match="got no context"):
        module.Objective().init(jax.random.key(0), tiny.batch())

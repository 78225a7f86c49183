"""Metrics of a batch are the same on one device and on eight."""

import importlib

import jax
import numpy as np
import pytest

from objectives.common.objective import Context
from tests import tiny

DEVICES, RECORDS = 8, 32
FIELDS = {
    "info_nce": {"false_negatives": "mask"},
    "moco": {"false_negatives": "mask", "hidden_dim": 8, "proj_dim": 8},
    "triplet": {"false_negatives": "mask", "mining": "all"},
    "fast_ap": {"hidden_dim": 8, "proj_dim": 0, "embed_dim": 8},
    "simsiam": {"hidden_dim": 8, "proj_dim": 8, "pred_hidden_dim": 4},
}


def objective(name, axis_name):
    module = importlib.import_module(f"objectives.{name}")
    context = Context(
        tiny.TinyNet(axis_name=axis_name), axis_name=axis_name, sync_batchnorm=True
    )
    return module.Objective(context=context, **FIELDS[name])


def uneven_batch():
    """Labels that some devices have many of and others few, or none."""
    batch = tiny.batch(RECORDS)
    label = np.arange(RECORDS) // 3 % 7
    label[:8] = 0  # two devices of one label
    label[8:13] = -1
    return batch | {"label": label.astype(np.int32)}


@pytest.mark.parametrize("name", FIELDS)
def test_metrics_of_eight_devices_equal_those_of_one(name):
    batch = uneven_batch()
    alone, shared = objective(name, None), objective(name, "data")
    params, extra = jax.jit(alone.init)(jax.random.key(0), batch)
    key = jax.random.key(1)
    loss, (_, expected) = jax.jit(alone.loss)(params, extra, batch, key, 0)

    def on_device(rows):
        value, (_, metrics) = shared.loss(params, extra, rows, key, 0)
        return jax.lax.pmean((value, metrics), "data")

    split = {k: x.reshape(DEVICES, -1, *x.shape[1:]) for k, x in batch.items()}
    values, metrics = jax.jit(jax.vmap(on_device, axis_name="data"))(split)
    np.testing.assert_allclose(values, loss, rtol=1e-4, atol=1e-6)
    assert metrics.keys() == expected.keys()
    for tag, value in metrics.items():
        np.testing.assert_allclose(
            value[0], expected[tag], rtol=1e-4, atol=1e-5, err_msg=tag
        )

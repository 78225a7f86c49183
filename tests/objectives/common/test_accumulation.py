"""Accumulation that keeps chunks apart, against a loop and against the exact one."""

import math

import jax
import numpy as np
import pytest

from objectives import info_nce
from objectives.common.accumulation import separately
from objectives.common.objective import Context
from tests import tiny

CHUNKS = 4


def objective(chunks=1):
    context = Context(tiny.TinyNet(norm=False), chunks=chunks)
    return info_nce.Objective(context=context, temperature=0.1)


@pytest.fixture(scope="module")
def found():
    """Value and gradient of each kind of loss, with its metrics."""
    batch = tiny.batch(16)
    params, extra = jax.jit(objective().init)(jax.random.key(0), batch)

    def of(method):
        def loss(params, batch):
            value, (_, metrics) = method.loss(
                params, extra, batch, jax.random.key(1), 0
            )
            return value, metrics

        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))

        def run(batch):
            (value, metrics), grads = compiled(params, batch)
            flat = np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)])
            return float(value), flat, metrics

        return run

    whole = of(objective())
    parts = [{k: v[i : i + 4] for k, v in batch.items()} for i in range(0, 16, 4)]
    return {
        "whole": whole(batch),
        "exact": of(objective(CHUNKS))(batch),
        "separate": of(separately(objective(), CHUNKS))(batch),
        "parts": [whole(part) for part in parts],
    }


def test_separate_chunks_are_mean_of_small_batches(found):
    value, grad, metrics = found["separate"]
    assert value == pytest.approx(np.mean([p[0] for p in found["parts"]]), rel=1e-6)
    mean = np.mean([p[1] for p in found["parts"]], 0)
    np.testing.assert_allclose(grad, mean, rtol=1e-5, atol=1e-7)
    assert float(metrics["diag/candidates"]) == 4


def test_exact_chunks_are_full_batch_and_separate_ones_are_not(found):
    value, grad, metrics = found["whole"]
    assert found["exact"][0] == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(found["exact"][1], grad, rtol=1e-5, atol=1e-6)
    assert float(metrics["diag/candidates"]) == 16
    apart = found["separate"][1]
    cosine = grad @ apart / np.linalg.norm(grad) / np.linalg.norm(apart)
    assert cosine < 0.95
    assert value - found["separate"][0] > 0.5


def test_chance_is_that_of_chunk():
    assert separately(objective(), CHUNKS).chance(16) == math.log(4)

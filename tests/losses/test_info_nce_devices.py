"""InfoNCE on several devices equals that of one, metrics included."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from losses import info_nce as nce
from tests.losses.info_nce_loops import TAU, pair, value_and_grad


def sharded_loss(q, k, positives, key_block_size, mask=None):
    keys = jax.lax.all_gather(k, "data", tiled=True)
    loss, metrics = nce.info_nce(
        q,
        keys,
        positives,
        temperature=TAU,
        key_block_size=key_block_size,
        axis_name="data",
        mask=mask,
    )
    return jax.lax.pmean((loss, metrics), "data")


@pytest.mark.parametrize("key_block_size", [0, 5])
def test_eight_devices_equal_one(key_block_size):
    q, k = pair(16, 16)
    positives = np.int32(np.roll(np.arange(16), 3))
    (expected, metrics), grads = value_and_grad(q, k, positives, {})
    mesh = Mesh(np.array(jax.devices()), ("data",))

    def step(q, k, positives):
        def loss(q, k):
            return sharded_loss(q, k, positives, key_block_size)

        (value, seen), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(q, k)
        # pmean's transpose hands each device the whole cotangent, hence the mean.
        return value, seen, jax.tree.map(lambda g: g / 8, grads)

    parts = P("data")
    run = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(parts,) * 3,
        out_specs=(P(), P(), parts),
        check_vma=False,
    )
    value, seen, got = jax.jit(run)(q, k, positives)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(seen, metrics, rtol=1e-5)
    for a, b in zip(got, grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("key_block_size", [0, 5])
def test_named_axis_under_vmap_equals_one_device(key_block_size):
    q, k = pair(16, 16)
    positives = np.arange(16, dtype=np.int32)
    (expected, _), grads = value_and_grad(q, k, positives, {})

    def total(q, k):
        split = [x.reshape(4, 4, -1) for x in (q, k)]
        losses, _ = jax.vmap(
            lambda q, k, p: sharded_loss(q, k, p, key_block_size), axis_name="data"
        )(*split, positives.reshape(4, 4))
        return losses.mean()

    value, got = jax.jit(jax.value_and_grad(total, (0, 1)))(q, k)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for a, b in zip(got, grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_metrics_of_rows_without_positive_or_negative_are_those_of_all_rows():
    rng = np.random.default_rng(2)
    q, k = pair(16, 16)
    positives = np.where(rng.random(16) < 0.4, -1, np.arange(16)).astype(np.int32)
    positives[:4] = -1  # a device without any
    mask = rng.random((16, 16)) < np.linspace(0.1, 0.9, 16)[:, None]
    (expected, metrics), _ = value_and_grad(q, k, positives, {"mask": mask})
    split = [x.reshape(4, 4, *x.shape[1:]) for x in (q, k, positives, mask)]
    value, seen = jax.vmap(
        lambda q, k, p, mask: sharded_loss(q, k, p, 0, mask), axis_name="data"
    )(*split)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for found, one in zip(seen, metrics, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-5)

"""Optimizers and schedules against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train_lib import optimizers, schedules
from train_lib.schedules import Horizon

PARAMS = {
    "dense": {"kernel": np.arange(6.0).reshape(2, 3) - 2, "bias": np.ones(3)},
    "norm": {"scale": np.full(3, 2.0)},
}


def gradients(step):
    rng = np.random.default_rng(step)
    return jax.tree.map(lambda p: rng.normal(size=p.shape), PARAMS)


def run(tx, steps, scale=1.0):
    params = jax.tree.map(jnp.asarray, PARAMS)
    state = tx.init(params)
    for step in range(steps):
        grads = jax.tree.map(lambda g: jnp.asarray(scale * g), gradients(step))
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def rate(step):
    return 0.1 * (step + 1.0)


def test_lars_is_moco_v3s_order_of_operations():
    decay, momentum = 0.01, 0.9
    tx = optimizers.lars(rate, weight_decay=decay, momentum=momentum)
    found = run(tx, 4)
    params = jax.tree.map(np.copy, PARAMS)
    buffers = jax.tree.map(np.zeros_like, PARAMS)
    for step in range(4):
        grads = gradients(step)
        for layer, name in (("dense", "kernel"), ("dense", "bias"), ("norm", "scale")):
            p, g = params[layer][name], grads[layer][name]
            if p.ndim > 1:
                g = g + decay * p
                g = g * 0.001 * np.linalg.norm(p) / np.linalg.norm(g)
            buffers[layer][name] = momentum * buffers[layer][name] + g
            params[layer][name] = p - rate(step) * buffers[layer][name]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, params
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_constant_parameters_keep_peak_rate(name):
    def made(schedule, **fields):
        tx = optimizers.make_optimizer(
            name=name, schedule=schedule, weight_decay=0.1, no_decay=("1d",), **fields
        )
        return run(tx, 4)

    moving, held = made(rate), made(lambda _: 0.3)
    found = made(rate, steady=0.3, constant=("^dense/",))
    same = functools.partial(jax.tree.map, np.testing.assert_array_equal)
    same(found["norm"], moving["norm"])
    same(found["dense"], held["dense"])
    assert np.abs(moving["dense"]["kernel"] - held["dense"]["kernel"]).max() > 1e-3
    with pytest.raises(ValueError, match="constant with lars"):
        optimizers.make_optimizer(name="lars", schedule=rate, constant=("dense",))


def test_adamw_is_optaxs():
    mask = {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    theirs = optax.adamw(rate, b1=0.8, b2=0.99, weight_decay=0.1, mask=mask)
    ours = optimizers.make_optimizer(
        name="adamw", schedule=rate, weight_decay=0.1, momentum=0.8, b2=0.99,
        no_decay=("1d",),
    )  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, run(ours, 4), run(theirs, 4))


def test_lars_ignores_scale_of_matrix_gradient():
    tx = optimizers.lars(lambda s: 1.0, weight_decay=0.0, momentum=0.9)
    one, thousand = run(tx, 1), run(tx, 1, scale=1e3)
    kernels = one["dense"]["kernel"], thousand["dense"]["kernel"]
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-5)
    length = np.linalg.norm(np.asarray(kernels[0]) - PARAMS["dense"]["kernel"])
    expected = 1e-3 * np.linalg.norm(PARAMS["dense"]["kernel"])
    np.testing.assert_allclose(length, expected, rtol=1e-3)
    assert not np.allclose(one["dense"]["bias"], thousand["dense"]["bias"])


def test_lars_survives_zero_parameters_and_gradients():
    tx = optimizers.lars(lambda s: 1.0, weight_decay=0.0, momentum=0.9)
    params = {"kernel": jnp.zeros((2, 2))}
    updates, _ = tx.update({"kernel": jnp.zeros((2, 2))}, tx.init(params), params)
    assert np.isfinite(updates["kernel"]).all()


@pytest.mark.parametrize(
    ("no_decay", "decays"),
    [
        ((), (1, 1, 1)),
        (("1d",), (1, 0, 0)),
        (("bias$",), (1, 0, 1)),
        (("^norm/",), (1, 1, 0)),
    ],
)
def test_decay_mask_goes_by_name(no_decay, decays):
    mask = optimizers.decay_mask(PARAMS, no_decay)
    found = (mask["dense"]["kernel"], mask["dense"]["bias"], mask["norm"]["scale"])
    assert found == tuple(bool(d) for d in decays)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_clipping_bounds_gradient(name):
    fields = {"name": name, "schedule": lambda s: 0.1}
    clipped = optimizers.make_optimizer(**fields, clip_norm=1e-3)
    free = optimizers.make_optimizer(**fields)
    small = run(free, 1, scale=1e-3 / float(optax.global_norm(gradients(0))))
    same = run(clipped, 1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), small, same
    )


def test_unknown_optimizer_lists_choices():
    with pytest.raises(ValueError, match="adamw, lars, sgd"):
        optimizers.make_optimizer(name="adam", schedule=rate)


def test_cosine_starts_at_zero_peaks_after_warmup_and_ends_at_its_final_value():
    schedule = schedules.make_schedule(
        name="cosine", peak=2.0, horizon=Horizon(0, 110), warmup_steps=10, end_lr=0.5
    )
    at = [float(schedule(s)) for s in (0, 5, 10, 60, 110, 500)]
    np.testing.assert_allclose(at, [0.0, 1.0, 2.0, 1.25, 0.5, 0.5], rtol=1e-6)


def test_cosine_may_move_once_epoch():
    fields = {"name": "cosine", "peak": 1.0, "warmup_steps": 0, "epoch_steps": 4}
    schedule = schedules.make_schedule(
        **fields, horizon=Horizon(0, 40), decay_per="epoch"
    )
    at = [float(schedule(s)) for s in range(40)]
    expected = [0.5 * (1 + np.cos(np.pi * (s // 4) / 10)) for s in range(40)]
    np.testing.assert_allclose(at, expected, rtol=1e-5)


def test_steps_drop_at_milestones():
    schedule = schedules.make_schedule(
        name="step", peak=1.0, horizon=Horizon(0, 100), warmup_steps=0,
        milestones=(0.6, 0.8), factor=0.1,
    )  # fmt: skip
    at = [float(schedule(s)) for s in (59, 60, 79, 80, 99)]
    np.testing.assert_allclose(at, [1.0, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)


def test_extended_run_has_horizon_that_was_asked_for():
    old = Horizon(0, 100)
    assert schedules.extended("rescale", old, 100, 200) == (0, 200)
    assert schedules.extended("continue", old, 100, 200) == (0, 100)
    assert schedules.extended("restart", old, 100, 200) == (100, 200)
    restart = schedules.make_schedule(
        name="cosine", peak=1.0, horizon=Horizon(100, 200), warmup_steps=10
    )
    np.testing.assert_allclose([restart(100), restart(110)], [0.0, 1.0], atol=1e-6)
    with pytest.raises(ValueError, match="rescale, continue, restart"):
        schedules.extended("more", old, 100, 200)

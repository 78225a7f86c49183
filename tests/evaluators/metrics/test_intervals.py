"""Intervals against closed forms, loops over draws and their coverage."""

import math

import jax
import numpy as np
import pytest

from evaluators import geometry
from evaluators.common.metric import SCORE
from evaluators.metrics import intervals
from tests.evaluators.small_data import unit


def test_wilson_interval_solves_its_equation():
    assert intervals.wilson(0.0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert intervals.wilson(1.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    for p, n in ((0.3, 40), (0.05, 200)):
        for end in intervals.wilson(p, n):  # both ends solve |p - x| = z sd(x)
            z = abs(p - end) / math.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(intervals.Z95)


def test_bootstrap_mean_draws_whole_groups():
    rng = np.random.default_rng(0)
    own = rng.standard_normal(50)
    values, groups = np.repeat(own, 8), np.repeat(np.arange(50), 8)
    zero = np.zeros(400, int)
    low, high = intervals.bootstrap_mean(values, groups, zero, seed=1)
    expected = 2 * intervals.Z95 * own.std() / math.sqrt(50)
    assert high - low == pytest.approx(expected, rel=0.1)
    lone = intervals.bootstrap_mean(values, np.arange(400), zero, seed=1)
    assert lone[1] - lone[0] == pytest.approx(expected / math.sqrt(8), rel=0.1)
    assert intervals.bootstrap_mean(values, groups, zero, seed=1) == (low, high)


def test_bootstrap_mean_matches_loop_over_draws(monkeypatch):
    monkeypatch.setattr(intervals, "MAX_DRAWS", 100)  # eleven at once
    rng = np.random.default_rng(4)
    values, groups = rng.random(40), rng.integers(0, 9, 40)
    strata = (groups == 8).astype(int)  # in a third of the draws there is none of it
    draws, means = np.random.default_rng(5), []
    for _ in range(intervals.RESAMPLES):
        drawn = draws.integers(9, size=9)
        rows = np.concatenate([np.flatnonzero(groups == g) for g in drawn])
        kinds = np.unique(strata[rows])
        means.append(np.mean([values[rows][strata[rows] == s].mean() for s in kinds]))
    expected = np.percentile(means, [2.5, 97.5])
    found = intervals.bootstrap_mean(values, groups, strata, seed=5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_mean_metric_weighs_strata_equally():
    values = np.array([1.0, 0.0, 0.0, 0.0])
    strata, groups = np.array([0, 1, 1, 1]), np.arange(4)
    metric = intervals.mean_metric(
        values, 0.25, groups, 0, SCORE, share=True, strata=strata
    )
    assert metric[:3] == (0.5, 4, 0.25)
    assert 0 <= metric.low < metric.value <= metric.high <= 1


def test_intervals_cover_the_true_mean():
    rng = np.random.default_rng(3)
    inside = {"wilson": 0, "groups": 0}
    for seed in range(60):
        lone = (rng.random(80) < 0.2).astype(float)
        metric = intervals.mean_metric(
            lone, 0.0, np.arange(80), seed, SCORE, share=True
        )
        inside["wilson"] += metric.low <= 0.2 <= metric.high
        p = rng.beta(1, 4, 60)  # concepts of unlike difficulty, mean .2
        values = (rng.random((60, 4)) < p[:, None]).astype(float).ravel()
        groups = np.repeat(np.arange(60), 4)
        metric = intervals.mean_metric(values, 0.0, groups, seed, SCORE, share=True)
        inside["groups"] += metric.low <= 0.2 <= metric.high
    assert min(inside.values()) >= 52  # 57 expected


def test_effective_count_of_independent_and_repeated_values():
    values = np.random.default_rng(0).random(30)
    assert intervals.effective_count(values, np.arange(30)) == pytest.approx(30)
    alike = intervals.effective_count(np.repeat(values, 4), np.repeat(np.arange(30), 4))
    assert alike == pytest.approx(30)  # four times the same says it once
    opposed = np.tile([0.0, 1.0], 15)
    assert intervals.effective_count(opposed, np.repeat(np.arange(15), 2)) == 30


def test_values_without_spread_get_wilson_interval_of_groups():
    ones = np.ones(20)
    groups = np.repeat(np.arange(5), 4)
    metric = intervals.mean_metric(ones, 1.0, groups, 0, SCORE, share=True)
    assert (metric.low, metric.high) == intervals.wilson(1.0, 5)
    assert metric.high == 1
    empty = intervals.mean_metric(ones[:0], 1.0, groups[:0], 0, SCORE, share=True)
    assert math.isnan(empty.value)
    assert empty.n == 0


def test_weighted_medians_match_medians_of_repeated_values():
    rng = np.random.default_rng(0)
    values = np.sort(rng.integers(0, 9, 7).astype(float))
    times = rng.integers(0, 4, (50, 7)) + np.eye(7, dtype=int)[rng.integers(0, 7, 50)]
    expected = [np.median(np.repeat(values, t)) for t in times]
    np.testing.assert_allclose(intervals.weighted_medians(values, times), expected)


def test_jackknife_interval_covers_the_true_value():
    inside, uniformity = 0, jax.jit(geometry.uniformity)
    for seed in range(40):
        z = unit(np.random.default_rng(seed).standard_normal((100, 8)))
        low, high = intervals.jackknife(lambda rows: float(uniformity(rows)), z, seed)
        inside += low <= geometry.uniformity_chance(8) <= high
    assert inside >= 34  # 38 expected

"""Intervals against closed forms, SciPy and loops that leave groups out."""

import math

import numpy as np
import pytest
from scipy import stats

from evaluators import geometry
from evaluators.common.metric import DISTANCE, ERROR, SCORE
from evaluators.metrics import intervals
from evaluators.metrics import left_out as left_out_lib
from evaluators.metrics.intervals import SHARE, Bounds
from tests.evaluators.small_data import unit


def test_wilson_interval_solves_its_equation():
    assert intervals.wilson(0.0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert intervals.wilson(1.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    for p, n in ((0.3, 40), (0.05, 200)):
        for end in intervals.wilson(p, n):  # both ends solve |p - x| = z sd(x)
            z = abs(p - end) / math.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(intervals.Z95)


def test_mean_of_one_value_group_has_students_interval():
    values = np.random.default_rng(0).normal(5, 2, 12)
    metric = intervals.mean_metric(values, 0.0, np.arange(12), DISTANCE)
    expected = stats.t.interval(
        0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12)
    )
    assert (metric.low, metric.high) == pytest.approx(expected)


def test_equal_groups_have_interval_of_their_means():
    rng = np.random.default_rng(1)
    values, groups = rng.normal(0, 1, (6, 4)) + rng.normal(0, 3, (6, 1)), np.arange(6)
    whole = intervals.mean_metric(values.ravel(), 0.0, groups.repeat(4), DISTANCE)
    means = intervals.mean_metric(values.mean(1), 0.0, groups, DISTANCE)
    assert (whole.low, whole.high) == pytest.approx((means.low, means.high))
    assert whole.n == 24


def test_means_without_groups_match_loops_over_strata():
    rng = np.random.default_rng(4)
    values, groups = rng.random(40), rng.integers(0, 9, 40)
    strata = np.where(groups == 8, 1, rng.integers(0, 2, 40) * 2)
    left_out = left_out_lib.leave_groups_out(values, groups, strata)
    for i, group in enumerate(np.unique(groups)):
        rest = groups != group
        kinds = np.unique(strata[rest])
        means = [values[rest & (strata == kind)].mean() for kind in kinds]
        assert left_out.without[i] == pytest.approx(np.mean(means))
        assert left_out.sizes[i] == (groups == group).sum()


def test_unequal_groups_have_fewer_degrees_of_freedom():
    even = left_out_lib.LeftOut(0.0, np.zeros(4), np.array([5, 5, 5, 5]))
    uneven = left_out_lib.LeftOut(0.0, np.zeros(4), np.array([17, 1, 1, 1]))
    assert even.quantile == pytest.approx(stats.t.ppf(0.975, 3))
    assert uneven.quantile == pytest.approx(stats.t.ppf(0.975, 1))


def test_variance_ignores_what_figure_changes_by_number_of_values():
    sizes = np.array([1, 2, 3, 4])
    n = sizes.sum()
    biased = left_out_lib.LeftOut(1 + 3 / n, 1 + 3 / (n - sizes), sizes)
    assert biased.variance == pytest.approx(0, abs=1e-20)


def test_mean_metric_weighs_strata_equally():
    values = np.array([1.0, 0.0, 0.0, 0.0])
    strata, groups = np.array([0, 1, 1, 1]), np.arange(4)
    metric = intervals.mean_metric(
        values, 0.25, groups, SCORE, bounds=SHARE, strata=strata
    )
    assert metric[:3] == (0.5, 4, 0.25)
    assert 0 <= metric.low < metric.value <= metric.high <= 1


def test_share_has_wilson_interval_of_its_effective_number():
    rng = np.random.default_rng(2)
    values = (rng.random((30, 5)) < rng.beta(1, 3, 30)[:, None]).astype(float)
    metric = intervals.mean_metric(
        values.ravel(), 0.0, np.arange(30).repeat(5), SCORE, bounds=SHARE
    )
    variance = values.mean(1).var(ddof=1) / 30
    count = metric.value * (1 - metric.value) / variance
    expected = intervals.wilson(metric.value, count, stats.t.ppf(0.975, 29))
    assert (metric.low, metric.high) == pytest.approx(expected)


def test_independent_shares_have_plain_wilson_interval():
    values = np.array([1.0, 0, 0, 1, 0, 0, 0])
    metric = intervals.mean_metric(values, 0.0, np.arange(7), SCORE, bounds=SHARE)
    assert (metric.low, metric.high) == intervals.wilson(2 / 7, 7)


def test_values_without_spread_get_wilson_interval_of_groups():
    ones = np.ones(20)
    groups = np.repeat(np.arange(5), 4)
    metric = intervals.mean_metric(ones, 1.0, groups, SCORE, bounds=SHARE)
    assert (metric.low, metric.high) == intervals.wilson(1.0, 5)
    assert metric.high == 1
    empty = intervals.mean_metric(ones[:0], 1.0, groups[:0], SCORE, bounds=SHARE)
    assert math.isnan(empty.value)
    assert empty.n == 0


def test_single_group_has_no_interval():
    values, groups = np.array([0.0, 1.0, 1.0]), np.zeros(3, int)
    mean = intervals.mean_metric(values, 0.5, groups, SCORE, bounds=SHARE)
    median = intervals.median_metric(values, 0.5, groups, ERROR)
    for metric in (mean, median):
        assert math.isfinite(metric.value)
        assert np.isnan((metric.low, metric.high)).all()


def test_groups_that_agree_by_accident_keep_interval():
    values = np.tile([0.2, 0.8], 6)
    metric = intervals.mean_metric(values, 0.0, np.arange(12) // 2, SCORE, bounds=SHARE)
    assert metric.low < metric.value < metric.high


def test_interval_with_tail_is_longer_above_and_ends_at_bounds():
    low, high = intervals.bounded_interval(3.0, 0.5, 2.0, Bounds(1, 9, True), 5)
    k = 2 * 0.5 / 2
    assert low == pytest.approx(1 + 2 * math.exp(-k))
    assert high == pytest.approx(1 + 2 * math.exp(k + k * k / 2))
    wide = intervals.bounded_interval(3.0, 5.0, 2.0, Bounds(1, 9, True), 5)
    assert wide[1] == 9
    perfect = intervals.bounded_interval(1.0, 0.0, 2.0, Bounds(1, 9, True), 5)
    assert perfect == (1, pytest.approx(1 + 8 * intervals.wilson(0, 5)[1]))


def test_median_interval_matches_order_statistics():
    values = np.random.default_rng(0).permutation(101).astype(float)
    metric = intervals.median_metric(values, 0.0, np.arange(101), ERROR)
    # The sign test's interval of the 41st to the 61st of 101 values covers 95 %.
    ranks = stats.binom.interval(0.95, 101, 0.5)
    assert metric.value == 50
    assert (metric.low, metric.high) == pytest.approx(ranks, abs=2)


def test_jackknife_leaves_whole_groups_out():
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 1, (6, 5)) + rng.normal(0, 3, (6, 1))
    groups = np.arange(6).repeat(5)
    found = intervals.jackknife(lambda x: float(x.mean()), rows.ravel(), groups, 0)
    expected = intervals.mean_metric(rows.ravel(), 0.0, groups, DISTANCE)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-6)
    lone = intervals.jackknife(lambda x: float(x.mean()), rows.ravel(), groups * 0, 0)
    assert np.isnan(lone).all()


def test_folds_keep_groups_together():
    groups = np.random.default_rng(0).integers(0, 23, 200)
    folds = left_out_lib.deal_folds(groups, 1)
    assert np.unique(folds).tolist() == list(range(left_out_lib.FOLDS))
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    few = left_out_lib.deal_folds(groups % 4, 1)
    assert sorted(np.unique(few)) == [0, 1, 2, 3]


def test_jackknife_interval_covers_true_value():
    inside = 0
    for seed in range(40):
        z = unit(np.random.default_rng(seed).standard_normal((100, 8)))
        low, high = intervals.jackknife(
            lambda rows: float(geometry.uniformity(rows)), z, np.arange(100), seed
        )
        inside += low <= geometry.uniformity_chance(8) <= high
    assert inside >= 34  # 38 expected

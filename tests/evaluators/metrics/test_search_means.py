"""Means over queries without groups that are searched, against loops."""

import numpy as np
import pytest

from evaluators.metrics.search_means import nearest_mean, searched_mean


def distances(seed=0, n=12, groups=4):
    rng = np.random.default_rng(seed)
    d = rng.random((n, n))
    d[np.arange(n), np.arange(n)] = np.inf
    return d, np.arange(n) % groups


def test_nearest_mean_matches_loops_over_groups():
    d, groups = distances()
    nearest = groups[d.argmin(1)]
    far = np.where(nearest[:, None] == groups[None, :], np.inf, d).min(1)
    left_out = nearest_mean(d.min(1), far, groups, nearest, np.bincount(groups))
    assert left_out.value == pytest.approx(d.min(1).mean())
    for group in range(4):
        kept = groups != group
        expected = d[kept][:, kept].min(1).mean()
        assert left_out.without[group] == pytest.approx(expected)


def test_searched_mean_matches_loops_and_nearest_alone():
    d, groups = distances(1)
    nearest = groups[d.argmin(1)]
    far = np.where(nearest[:, None] == groups[None, :], np.inf, d).min(1)
    one = nearest_mean(d.min(1), far, groups, nearest, np.bincount(groups))
    without = [d[:, groups != group].min(1) for group in range(4)]
    sizes = np.bincount(groups)
    left_out = searched_mean(d.min(1), groups, groups, without, sizes)
    np.testing.assert_allclose(left_out.without, one.without)
    assert left_out.noise == pytest.approx(one.noise)
    assert left_out.variance == pytest.approx(one.variance)


def test_queries_without_candidate_in_fold_are_left_out_of_it():
    values, groups = np.array([1.0, 2.0, 3.0, 4.0]), np.arange(4)
    without = [values.copy() for _ in range(4)]
    without[0][1] = np.nan
    left_out = searched_mean(values, groups, groups, without)
    np.testing.assert_allclose(left_out.without, [3.5, 8 / 3, 7 / 3, 2])


def test_groups_that_change_no_value_add_no_variance():
    values, groups = np.random.default_rng(0).random(20), np.arange(20) // 4
    left_out = searched_mean(values, groups, groups, [values] * 5)
    assert left_out.noise == 0
    means = values.reshape(5, 4).mean(1)
    assert left_out.variance == pytest.approx(means.var(ddof=1) / 5)

"""Means over pairs without a group, against loops over the pairs that are left."""

import numpy as np
import pytest

from evaluators.metrics.pair_means import PairSums


@pytest.mark.parametrize("anchors", [np.arange(9), np.array([0, 2, 3, 7])])
def test_means_without_groups_match_loops(anchors):
    rng = np.random.default_rng(0)
    groups, values = np.array([0, 0, 1, 1, 1, 2, 3, 3, 2]), rng.random((9, 9))
    sums = PairSums(anchors, groups)
    sums.add(slice(0, 2), values[anchors[:2]])
    sums.add(slice(2, None), values[anchors[2:]])
    left_out = sums.left_out()

    def mean(kept):
        pairs = [
            values[i, j]
            for i in anchors
            for j in range(9)
            if i != j and kept[i] and kept[j]
        ]
        return np.mean(pairs)

    assert left_out.value == pytest.approx(mean(np.ones(9, bool)))
    expected = [mean(groups != group) for group in range(4)]
    np.testing.assert_allclose(left_out.without, expected)


def test_influence_of_record_is_that_of_its_row_and_its_column():
    rng = np.random.default_rng(1)
    n = 400
    effect = rng.standard_normal(n)
    values = effect[:, None] + effect[None, :] + 0.1 * rng.standard_normal((n, n))
    sums = PairSums(np.arange(n), np.arange(n))
    sums.add(slice(None), values)
    rows, columns = values.mean(1), values.mean(0)
    influence = rows + columns - 2 * values.mean()
    expected = np.square(influence).sum() / n**2
    assert sums.left_out().variance == pytest.approx(expected, rel=0.02)

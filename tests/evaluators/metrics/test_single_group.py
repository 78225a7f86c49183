"""Intervals of records that are all of one group, such as the slices of one file."""

import numpy as np

from evaluators import geometry
from evaluators.metrics import intervals


def test_a_single_group_has_no_jackknife_interval():
    z = np.random.default_rng(0).standard_normal((20, 4))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    found = intervals.jackknife(geometry.uniformity, z, np.zeros(20, int), 0)
    assert np.isnan(found).all()

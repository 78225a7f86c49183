import numpy as np

from evaluators.metrics import column_error


def test_difference_wraps_at_period():
    a, b = np.array([0.05, 359.0, 10.0, np.nan]), np.array([0.95, 2.0, -350.0, 1.0])
    np.testing.assert_allclose(
        [
            column_error.difference(a[:1], b[:1], 1.0)[0],
            *column_error.difference(a, b, 360.0),
        ],
        [0.1, 0.9, 3.0, 0.0, np.nan],
    )
    assert column_error.difference(a[1], b[1], 0.0) == 357.0

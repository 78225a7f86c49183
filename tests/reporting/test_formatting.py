"""Numbers in text: three digits that read back to the same number."""

import math

import numpy as np
import pytest

from reporting import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.175, "0.175"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (0.9996, "1.00"),
        (99.96, "100"),
        (0.00099951, "0.00100"),
        (0.00099449, "9.94e-04"),
        (4.7e-5, "4.70e-05"),
        (12345.6, "12,346"),
        (538e6, "5.38e+08"),
        (-3.14159, "-3.14"),
        (7, "7.00"),
        (None, "–"),
        (math.nan, "not a number"),
        (math.inf, "infinity"),
        (-math.inf, "minus infinity"),
        (np.float32(0.5), "0.500"),
    ],
)
def test_number(value, text):
    assert formatting.number(value) == text


def test_number_reads_back_within_half_unit_of_third_digit():
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 10, 500) * 10.0 ** rng.integers(-12, 12, 500)
    for value in values * rng.choice([-1, 1], 500):
        text = formatting.number(value)
        assert float(text.replace(",", "")) == pytest.approx(value, rel=5.01e-3)
        assert "0.000" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.250 s"),
        (59.6, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3660, "1 h 01 min"),
        (90000, "1 d 1 h"),
        (-5, "minus 5.00 s"),
        (None, "–"),
        (math.nan, "not a number"),
    ],
)
def test_duration(seconds, text):
    assert formatting.duration(seconds) == text


def test_counts_and_shares():
    assert formatting.count(538000) == "538,000"
    assert formatting.plural(1, "query", "queries") == "1 query"
    assert formatting.plural(2, "query", "queries") == "2 queries"
    assert formatting.percent(0.0245) == "2.45 %"
    assert formatting.interval(0.1, None) == "–"
    whole = {"value": 0.5, "n": 1200, "low": 0.45, "high": 0.55}
    assert formatting.measured(whole) == "0.500 (0.450 … 0.550), n 1,200"
    assert formatting.measured(0.5) == "0.500"

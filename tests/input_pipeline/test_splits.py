"""Held-out groups against a plain loop, and filters of tables."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from input_pipeline import splits
from input_pipeline.dataset import DataError


def held_out_by_loop(order, val_fraction):
    wanted = round(val_fraction * len(order))
    if val_fraction > 0 and wanted == 0:
        wanted = 1
    if wanted >= len(order):
        wanted = len(order) - 1
    held_out = [False] * len(order)
    for group in list(order)[:wanted] if wanted > 0 else []:
        held_out[group] = True
    return held_out


@pytest.mark.parametrize("groups", [1, 2, 5, 24])
@pytest.mark.parametrize("val_fraction", [0.0, 0.01, 0.2, 0.5, 0.9, 1.0])
def test_held_out_groups_match_loop(groups, val_fraction):
    order = splits.random_order(groups, [3, 1])
    held_out = splits.held_out_groups(order, val_fraction)
    assert held_out.tolist() == held_out_by_loop(order, val_fraction)


def test_random_order_is_permutation_of_seed():
    order = splits.random_order(9, [4, 2])
    expected = np.random.default_rng([4, 2]).permutation(np.arange(9))
    np.testing.assert_array_equal(order, expected)
    assert order.tolist() != splits.random_order(9, [5, 2]).tolist()


def test_hashed_order_matches_sorted_digests_and_keeps_sides():
    names = [f"code {k}" for k in range(40)]
    order = splits.hashed_order(names, 7)
    digest = [hashlib.sha256(f"7 {name}".encode()).hexdigest() for name in names]
    assert [digest[k] for k in order] == sorted(digest)
    held_out = splits.held_out_groups(order, 0.2)
    more = [*names, "code 40"]
    again = splits.held_out_groups(splits.hashed_order(more, 7), 0.2)
    assert (held_out != again[:40]).sum() <= 1


def test_filtered_holds_out_rows_with_value():
    table = pd.DataFrame({"subject": [1, 1, 2, 3]})
    assert splits.filtered(table, "subject=1,3", "images").tolist() == [1, 1, 0, 1]
    with pytest.raises(DataError, match="which is 0 of 4 images; values of .* 1, 2, 3"):
        splits.filtered(table, "subject=9", "images")
    with pytest.raises(DataError, match="no column 'x'; choices: subject"):
        splits.filtered(table, "x=9", "images")

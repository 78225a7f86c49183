"""Masks against line counts worked out by hand from the published definitions."""

import numpy as np
import pytest

from input_pipeline.physics import kspace_masks


def lines(mask):
    return set(np.flatnonzero(mask).tolist())


def test_equispaced_is_comb_and_middle():
    table = kspace_masks.mask_table("equispaced", 16, 4, 0.25)
    assert table.shape == (4, 16)
    middle = {6, 7, 8, 9}
    for offset in range(4):
        assert lines(table[offset]) == middle | set(range(offset, 16, 4))


def test_fraction_stretches_comb_by_published_rule():
    # W 16, n 2, R 4: a = 4 * (2 - 16) / (2 * 4 - 16) = 7, so 0, 7, 14 and 7, 8.
    table = kspace_masks.mask_table("equispaced_fraction", 16, 4, 0.125)
    assert table.shape == (7, 16)
    assert lines(table[0]) == {0, 7, 8, 14}
    assert lines(table[1]) == {1, 7, 8}  # 1, 8; 15 lies beyond W - 1
    assert lines(table[6]) == {6, 7, 8, 13}


@pytest.mark.parametrize(
    ("kind", "width", "rate", "center", "fewest", "most"),
    [
        ("equispaced", 128, 4, 0.08, 39, 40),
        ("equispaced", 128, 8, 0.04, 20, 21),
        ("equispaced_fraction", 128, 4, 0.08, 31, 32),
        ("equispaced_fraction", 128, 8, 0.04, 15, 17),
    ],
)
def test_achieved_acceleration_is_that_of_published_masks(
    kind, width, rate, center, fewest, most
):
    table = kspace_masks.mask_table(kind, width, rate, center)
    counts = [len(lines(mask)) for mask in table]
    assert (min(counts), max(counts)) == (fewest, most)
    np.testing.assert_allclose(
        kspace_masks.achieved_acceleration(table), [width / n for n in counts]
    )


def test_masks_at_4x_and_8x_have_39_and_20_lines():
    assert kspace_masks.mask_table("equispaced", 128, 4, 0.08)[0].sum() == 39
    assert kspace_masks.mask_table("equispaced", 128, 8, 0.04)[0].sum() == 20


@pytest.mark.parametrize(
    ("width", "rate", "center", "step"),
    [
        (128, 4, 10, 5.364),
        (128, 8, 5, 11.182),
        (320, 4, 26, 5.444),
        (320, 8, 13, 11.37),
    ],
)
def test_adjusted_spacing(width, rate, center, step):
    assert kspace_masks._adjusted(width, rate, center) == pytest.approx(step, abs=2e-3)


def test_acceleration_of_one_measures_everything():
    for kind in kspace_masks.KINDS:
        assert kspace_masks.mask_table(kind, 9, 1, 0.1)[0, :-1].all()
    assert kspace_masks.mask_table("equispaced", 9, 1, 0.1).all()


def test_faults_are_named():
    for kind, width, rate, center, words in [
        ("random", 128, 4, 0.08, "choices: equispaced"),
        ("equispaced", 1, 4, 0.08, "width is 1"),
        ("equispaced", 128, 2.5, 0.08, "whole number"),
        ("equispaced", 128, 4, 0.0, "center_fraction is 0"),
        ("equispaced_fraction", 128, 0.5, 0.08, "acceleration is 0.5"),
        ("equispaced_fraction", 128, 4, 0.25, "lower center_fraction"),
    ]:
        with pytest.raises(ValueError, match=words):
            kspace_masks.mask_table(kind, width, rate, center)

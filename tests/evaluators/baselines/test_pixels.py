"""Raw pixels as embeddings."""

import dataclasses

import numpy as np
import pytest

from tests.evaluators.small_data import Split, fit_baseline, unit


def pixel_embed(images, size, **fields):
    return fit_baseline("pixels", images=images, size=size, **fields)


def random_images(n=7, side=10):
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    return Split(np.zeros((n, 1)), {}, images)


def stored_images(split, rows, view=None):
    assert view is None
    return split.images[rows]


@pytest.mark.parametrize("size", [1, 4, 5, 10])
def test_pixels_match_averages_of_equal_parts(size):
    split = random_images()
    z = pixel_embed(stored_images, size)(split, np.array([2, 5]))
    fine = np.kron(split.images[[2, 5]], np.ones((1, size, size, 1)))  # parts of 10 px
    parts = fine.reshape(2, size, 10, size, 10, 3).mean(axis=(2, 4))
    expected = unit((1 - parts / 255).reshape(2, -1))
    np.testing.assert_allclose(z, expected, atol=1e-6)


def test_pixels_of_views_and_of_blank_images():
    split = random_images()
    rows = np.arange(7)

    def flipped(split, rows, view=None):
        return split.images[rows, ::-1] / 255.0 if view else split.images[rows]

    z = pixel_embed(flipped, 5)(split, rows, "view1")
    other = dataclasses.replace(split, images=split.images[:, ::-1])
    plain = pixel_embed(stored_images, 5)
    np.testing.assert_allclose(z, plain(other, rows), atol=1e-6)
    blank = dataclasses.replace(split, images=np.full_like(split.images, 255))
    assert not plain(blank, rows).any()
    dark = dataclasses.replace(split, images=np.zeros_like(split.images))
    assert not pixel_embed(stored_images, 5, background=0.0)(dark, rows).any()

"""Coils and Fourier transform against numpy in double precision and by their laws."""

import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.physics import coils as coils_lib
from input_pipeline.physics import kspace_masks


def image(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (2, 9, 5)])
def test_transform_equals_sum_over_pixels(shape):
    x = image(*shape)
    *_, h, w = shape

    def matrix(n):
        at = np.arange(n) - n // 2
        return np.exp(-2j * np.pi * np.outer(at, at) / n) / np.sqrt(n)

    expected = matrix(h) @ x @ matrix(w).T
    k = coils_lib.fft2c(jnp.asarray(x, jnp.complex64))
    np.testing.assert_allclose(k, expected, atol=2e-5)
    np.testing.assert_allclose(coils_lib.ifft2c(k), x, atol=2e-5)
    assert np.sum(np.abs(k) ** 2) == pytest.approx(np.sum(np.abs(x) ** 2), rel=1e-5)


@pytest.mark.parametrize("kind", coils_lib.COILS)
@pytest.mark.parametrize("coils", [1, 2, 8, 32])
def test_squared_sensitivities_sum_to_one(kind, coils):
    s = coils_lib.sensitivities(kind, coils, 16, 12)
    assert s.shape == (coils, 16, 12)
    np.testing.assert_allclose(np.sum(np.abs(s) ** 2, 0), 1, atol=1e-5)


@pytest.mark.parametrize("kind", coils_lib.COILS)
def test_coil_is_strongest_where_it_lies(kind):
    s = np.abs(
        coils_lib.sensitivities(kind, 4, 33, 33)
    )  # at 0, 90, 180 and 270 degrees
    places = [np.unravel_index(line.argmax(), line.shape) for line in s]
    (_, right), (below, _), (_, left), (above, _) = places
    assert right == below == 32
    assert left == above == 0


def test_birdcage_equals_its_formula_pixel_by_pixel():
    coils, high, wide = 3, 4, 6
    expected = np.empty((coils, high, wide), complex)
    for row in range(high):
        for column in range(wide):
            for c in range(coils):
                turn = 2 * np.pi * c / coils
                x = -1 + 2 * column / wide - 1.5 * np.cos(turn)
                y = -1 + 2 * row / high - 1.5 * np.sin(turn)
                phase = np.arctan2(x, -y) - turn
                expected[c, row, column] = np.exp(1j * phase) / np.hypot(x, y)
            total = np.sqrt((np.abs(expected[:, row, column]) ** 2).sum())
            expected[:, row, column] /= total
    found = coils_lib.sensitivities("birdcage", coils, high, wide)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_gaussian_coils_all_have_one_phase():
    phase = np.angle(coils_lib.sensitivities("gaussian", 4, 8, 8))
    np.testing.assert_allclose(phase, np.pi / 4, atol=1e-6)


def test_root_of_sum_of_squares_undoes_coils():
    x = np.abs(image(16, 12))
    s = coils_lib.sensitivities("birdcage", 8, 16, 12)
    root = np.sqrt((np.abs(s * x[None]) ** 2).sum(0))
    np.testing.assert_allclose(root, x, rtol=1e-5)


def test_point_has_its_ghosts_at_width_over_rate():
    x = np.zeros((16, 32), np.complex64)
    x[5, 9] = 1
    comb = np.zeros(32, bool)
    comb[::4] = True  # without the middle
    ghosts = np.abs(coils_lib.ifft2c(coils_lib.fft2c(jnp.asarray(x)) * comb[None]))
    expected = np.zeros((16, 32))
    expected[5, [1, 9, 17, 25]] = 0.25  # 32 / 4 apart
    np.testing.assert_allclose(ghosts, expected, atol=1e-6)


def test_mask_keeps_its_share_of_white_energy():
    k = image(4, 64, 128, seed=1)
    mask = kspace_masks.mask_table("equispaced", 128, 4, 0.08)[0]
    share = np.sum(np.abs(k * mask) ** 2) / np.sum(np.abs(k) ** 2)
    assert share == pytest.approx(39 / 128, rel=0.02)


def test_faults_are_named():
    with pytest.raises(ValueError, match="choices: birdcage, gaussian"):
        coils_lib.sensitivities("ring", 4, 8, 8)
    with pytest.raises(ValueError, match="got 33 coils"):
        coils_lib.sensitivities("birdcage", 33, 8, 8)

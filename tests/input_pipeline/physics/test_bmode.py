"""Amplitudes to images, against formulas in float64 and plain loops."""

import numpy as np
import pytest

from input_pipeline.physics import bmode
from tests.input_pipeline import cine_files


def test_log_compression_is_formula():
    a = cine_files.amplitudes(3)
    a[0, 0, 0] = 0  # its logarithm is not finite, its brightness is 0
    x = bmode.log_compress(a, a.max(), 60.0)
    assert x.dtype == np.float32
    db = 20 * np.log10(np.maximum(a, 1e-9).astype(float) / a.max())
    np.testing.assert_allclose(x, 1 + np.maximum(db, -60) / 60, rtol=0, atol=1e-6)
    assert x.max() == 1
    assert x[0, 0, 0] == x.min() == 0


@pytest.mark.parametrize("db", [1, 40, 47.3, 60, 96, 200])
def test_brightness_stays_in_its_range(db):
    near = 10 ** (-db / 20) * np.linspace(0.999999, 1.000001, 201)
    a = np.float32(np.r_[0, 1e-45, 1e-38, near, np.linspace(0.5, 1, 201)])
    x = bmode.log_compress(a, 1.0, db)
    assert x.dtype == np.float32
    assert (x[:3] == 0).all()
    assert x.min() == 0
    assert x.max() == x[-1] == 1
    np.testing.assert_allclose(x[3:204], 0, atol=1e-6 + 2e-5 / db)


@pytest.mark.parametrize(
    ("decibels", "db", "brightness"),
    [(0, 60, 1), (-30, 60, 0.5), (-60, 60, 0), (-90, 60, 0), (-20, 40, 0.5)],
)
def test_decibels_of_largest_become_brightness(decibels, db, brightness):
    a = np.float32([7.0 * 10 ** (decibels / 20)])
    assert bmode.log_compress(a, 7.0, db)[0] == pytest.approx(brightness, abs=1e-6)


def test_envelope_of_echo_is_its_pulse():
    t = np.arange(331)  # a prime: the transform is padded
    pulse = np.exp(-(((t - 150) / 40.0) ** 2))
    echo = pulse * np.cos(2 * np.pi * 0.2 * t)
    rf = np.int16(np.round(8000 * echo))[:, None].repeat(9, 1)
    found = bmode.envelope(rf[None] + np.int16(50), "hilbert")
    assert found.shape == (1, 331, 9)
    np.testing.assert_allclose(found[0, :, 4], 8000 * pulse, atol=30)
    dips = np.abs(rf[140:160, 0]).min()
    assert dips < 0.4 * found[0, 140:160, 0].min()  # |A| of the echo itself


def test_pairs_of_samples_and_of_lines():
    rng = np.random.default_rng(0)
    i, q = rng.integers(-900, 900, (2, 3, 10, 8))
    pairs = np.zeros((3, 20, 8), np.int16)
    pairs[:, 0::2], pairs[:, 1::2] = i, q
    expected = np.sqrt(i.astype(float) ** 2 + q.astype(float) ** 2)
    np.testing.assert_allclose(bmode.envelope(pairs, "iq"), expected, rtol=1e-6)
    lines = np.zeros((3, 10, 17), np.int16)  # the last line is alone
    lines[..., 0:16:2], lines[..., 1:16:2] = i, q
    np.testing.assert_allclose(bmode.envelope(lines, "iq_lines"), expected, rtol=1e-6)


def test_envelope_of_least_integer_keeps_its_size():
    x = np.full((8, 8), -32768, np.int16)
    assert (bmode.envelope(x, "abs") == 32768).all()
    z = np.full((8, 8), 3 + 4j, np.complex128)
    assert (bmode.envelope(z, "abs") == 5).all()


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (np.random.default_rng(0).standard_normal((40, 8)), "hilbert"),
        (np.int16([[-3, 4, -5, 6]] * 8), "hilbert"),
        (np.float32([[1, 2, 3]] * 8), "abs"),
        (np.linspace(-0.01, 1, 400).reshape(40, 10), "abs"),  # few below zero
        (np.ones((8, 8), np.complex64) * -1j, "abs"),
        (np.ones((8, 8), np.uint16), "abs"),
        (np.zeros((8, 8)), "abs"),
        (np.full((8, 8), np.nan), "abs"),
    ],
)
def test_kind_of_envelope_tells_echoes_from_amplitudes(x, kind):
    assert bmode.kind_of_envelope(x) == kind


def test_unknown_envelope_is_named():
    with pytest.raises(ValueError, match="choices: .*hilbert"):
        bmode.envelope(np.ones((8, 8)), "square")


def test_channels_join():
    rng = np.random.default_rng(1)
    a = rng.random((5, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(
        bmode.root_sum_of_squares(a), np.sqrt((a.astype(float) ** 2).sum(0)), rtol=1e-6
    )
    np.testing.assert_array_equal(bmode.root_sum_of_squares(a[:1]), a[0])
    rgb = rng.integers(0, 256, (3, 6, 7), np.uint8)
    gray = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    np.testing.assert_allclose(bmode.luminance(rgb), gray, rtol=1e-5)
    np.testing.assert_array_equal(bmode.luminance(rgb[:1]), rgb[0])
    white = np.full((4, 6, 7), 255, np.uint8)
    np.testing.assert_allclose(bmode.luminance(white), 255, rtol=1e-6)


def triangle(n, m):
    """Rows of weights of a bilinear filter from n to m pixels, plain loops."""
    scale = n / m
    wide = max(scale, 1.0)
    weights = np.zeros((m, n))
    for i in range(m):
        for j in range(n):
            weights[i, j] = max(0, 1 - abs((j + 0.5 - (i + 0.5) * scale) / wide))
        weights[i] /= weights[i].sum()
    return weights


@pytest.mark.parametrize("size", [(40, 12), (11, 5), (64, 80), (20, 30)])
def test_resizing_is_bilinear_and_averages_where_it_shrinks(size):
    x = cine_files.amplitudes(1)[0]
    expected = triangle(40, size[0]) @ x @ triangle(12, size[1]).T
    found = bmode.resize(np.asfortranarray(x), size)
    assert found.shape == size
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_brightness_is_rounded_and_never_wraps():
    x = np.float32([-0.1, 0, 0.5 / 255 + 1e-4, 1, 1.00001])
    assert bmode.to_uint8(x).tolist() == [0, 0, 1, 255, 255]

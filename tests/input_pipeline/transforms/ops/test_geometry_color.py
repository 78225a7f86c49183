"""Each operation on images against Pillow, SciPy or the standard library."""

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy import ndimage, stats

from input_pipeline.transforms.ops import color, geometry

LEVEL = 1 / 255  # Pillow rounds to whole levels after every operation


def image(high=48, wide=48, seed=0):
    """Uint8 noise over a slope, so that every operation has something to do."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 150, wide)[None, :, None] * np.ones((high, 1, 3))
    noise = rng.uniform(0, 105, (high, wide, 3))
    noise[high // 3 : high // 2, wide // 4 : wide // 2] = (100, 0, 60)
    return (slope + noise).astype(np.uint8)


jitter = jax.jit(color.jitter)
turn_hue = jax.jit(color.turn_hue)
rotate = jax.jit(geometry.rotate)
product = jax.jit(geometry._product)
matrix = jax.jit(geometry.resampling_matrix, static_argnums=(2, 3))


@jax.jit
def blur(x, sigma):
    return geometry.blur(x, geometry.blur_kernel(sigma, 2.0))


def columns_first(pixels):
    """Uint8 [h, w, 3] to the float layout [w, 3, h] of the operations."""
    return np.float32(pixels.transpose(1, 2, 0)) / np.float32(255)


def pixels_of(x):
    return np.asarray(x).transpose(2, 0, 1)


def same_pixels(got, expected, levels):
    """Holds an image [w, 3, h] against uint8 [h, w, 3] within so many levels."""
    np.testing.assert_allclose(
        pixels_of(got), np.asarray(expected) / 255, atol=levels * LEVEL
    )


@pytest.mark.parametrize(
    ("high", "wide", "size", "box"),
    [
        (160, 160, 64, (3, 17, 120, 101)),
        (160, 160, 64, (0, 0, 160, 160)),
        (50, 41, 37, (2, 5, 48, 30)),
        (40, 40, 32, (30, 2, 7, 3)),  # enlarged
        (20, 20, 24, (19, 0, 1, 20)),  # a single row
        (90, 130, 21, (0, 40, 90, 90)),
    ],
)
def test_resample_matches_pillow_crop_and_resize(high, wide, size, box):
    pixels = image(high, wide)
    top, left, h, w = box
    crop = Image.fromarray(pixels).crop((left, top, left + w, top + h))
    expected = crop.resize((size, size), Image.Resampling.BILINEAR)
    rows = matrix(float(top), float(h), high, size)
    columns = matrix(float(left), float(w), wide, size)
    (got,) = jax.jit(lambda x: geometry.resample(x, [(rows, columns)]))(pixels)
    same_pixels(got, expected, 1.01)


def test_windows_leave_nothing_out_for_any_crop():
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(97, 5)))
    for _ in range(60):
        length = rng.integers(1, 98)
        start = rng.integers(0, 98 - length)
        rows = np.asarray(matrix(float(start), float(length), 97, 40))
        for m in (rows, rows[::-1]):
            np.testing.assert_allclose(product(m, x), m @ x, atol=1e-6)


def test_gray_matches_pillow_luma():
    pixels = image()
    got = color.gray(columns_first(pixels))[:, 0].T
    expected = np.asarray(Image.fromarray(pixels).convert("L")) / 255
    np.testing.assert_allclose(got, expected, atol=1.01 * LEVEL)


ENHANCE = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
@pytest.mark.parametrize("factors", [(1.4, 0.6, 1.2), (0.6, 1.4, 0.8)])
def test_jitter_follows_pillow_in_every_order(order, factors):
    pixels = image()
    expected = Image.fromarray(pixels)
    for op in order:
        expected = ENHANCE[op](expected).enhance(factors[op])
    got = jitter(
        columns_first(pixels), np.array(order), *map(np.float32, factors), np.float32(0)
    )
    # Brightness and contrast multiply the rounding of what came before.
    same_pixels(got, expected, 4)


def test_orders_of_jitter_differ():
    x = columns_first(image())
    factors = [np.float32(f) for f in (1.4, 0.6, 1.2, 0.0)]
    seen = [
        jitter(x, np.array(order), *factors)
        for order in itertools.permutations(range(3))
    ]
    for a, b in itertools.combinations(seen, 2):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() > 2 * LEVEL


def test_jitter_without_change_returns_image():
    x = columns_first(image())
    one = np.float32(1)
    got = jitter(x, np.arange(4), one, one, one, np.float32(0))
    np.testing.assert_allclose(got, x, atol=1e-6)


@pytest.mark.parametrize("turns", [-0.5, -0.13, 0.0, 0.1, 0.45])
def test_hue_matches_hsv(turns):
    pixels = image(9, 7)
    pixels[0, :4] = [(7, 7, 7), (0, 0, 0), (255, 255, 255), (255, 0, 0)]

    def turned(rgb):
        hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255.0))
        return colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)

    expected = np.apply_along_axis(turned, -1, pixels)
    got = turn_hue(columns_first(pixels), np.float32(turns))
    np.testing.assert_allclose(pixels_of(got), expected, atol=1e-5)


def test_hue_is_one_of_jitters_operations():
    x = columns_first(image(9, 7))
    factors = [np.float32(f) for f in (1.3, 0.7, 1.2, 0.2)]
    got = jitter(x, np.array([3, 0, 2, 1]), *factors)
    hue_first = turn_hue(x, factors[3])
    expected = jitter(hue_first, np.array([0, 2, 1]), *factors)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_solarize_matches_pillow():
    pixels = image()
    expected = ImageOps.solarize(Image.fromarray(pixels), 128)
    same_pixels(color.solarize(columns_first(pixels), 0.5), expected, 1e-3)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_blur_is_gaussian_close_to_pillows(sigma):
    pixels = image(40, 40)
    x = columns_first(pixels)
    got = blur(x, np.float32(sigma))
    exact = ndimage.gaussian_filter(
        np.float64(pixels) / 255, sigma, mode="nearest", axes=(0, 1), radius=6
    )
    np.testing.assert_allclose(pixels_of(got), exact, atol=1e-5)
    boxes = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma))
    away = np.abs(pixels_of(got) - np.asarray(boxes) / 255) / LEVEL
    assert away.mean() < 1
    # Where a box filter meets the edge it strays further in an image of noise.
    assert away[6:-6, 6:-6].max() < 3


def test_blur_that_is_off_changes_no_bit():
    x = columns_first(image())
    np.testing.assert_array_equal(blur(x, np.float32(0.0)), x)


@pytest.mark.parametrize("degrees", [0.0, 20.0, -75.0])
def test_rotation_matches_scipy(degrees):
    pixels = image(31, 31)
    got = rotate(columns_first(pixels), np.float32(degrees))
    expected = ndimage.rotate(
        np.float64(pixels) / 255, degrees, reshape=False, order=1, mode="nearest"
    )
    np.testing.assert_allclose(pixels_of(got), expected, atol=1e-4)


def test_permuting_channels_reaches_all_six_orders():
    x = columns_first(image(5, 5))
    seen = [color.permute_channels(x, (i + 0.5) / 6) for i in range(6)]
    expected = [
        np.asarray(x)[:, list(order)] for order in itertools.permutations(range(3))
    ]
    np.testing.assert_array_equal(seen, expected)


def crops(image, count, **fields):
    image = jnp.asarray(image)
    defaults = {"scale": (0.2, 1.0), "ratio": (0.75, 4 / 3), "min_content": 0.0}
    u = jax.random.uniform(jax.random.key(0), (count, 4, geometry.TRIES))
    crop = jax.jit(
        jax.vmap(lambda u: geometry.crop_box(u, image, **(defaults | fields)))
    )
    return np.float64(crop(u))


def reference_crop(rng, high, wide, scale, ratio):
    """A crop by the published procedure, one try after another."""
    for _ in range(10):
        area = high * wide * rng.uniform(*scale)
        aspect = np.exp(rng.uniform(*np.log(ratio)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= wide and 0 < h <= high:
            return rng.integers(high - h + 1), rng.integers(wide - w + 1), h, w
    raise AssertionError("not reached with this range")


def test_crops_are_distributed_as_published():
    high, wide, count = 90, 120, 4000
    boxes = crops(np.zeros((high, wide, 3), np.uint8), count)
    rng = np.random.default_rng(0)
    expected = np.array(
        [
            reference_crop(rng, high, wide, (0.2, 1.0), (0.75, 4 / 3))
            for _ in range(count)
        ]
    )
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= high).all()
    assert (boxes[:, 1] + boxes[:, 3] <= wide).all()
    np.testing.assert_array_equal(boxes, np.round(boxes))

    def facts(b):
        area, aspect = b[:, 2] * b[:, 3] / (high * wide), np.log(b[:, 3] / b[:, 2])
        return np.stack([area, aspect, b[:, 0] / high, b[:, 1] / wide])

    for got, want in zip(facts(boxes), facts(expected), strict=True):
        assert stats.ks_2samp(got, want).pvalue > 1e-3


def test_crop_that_never_fits_becomes_center():
    image = np.zeros((40, 60, 3), np.uint8)
    wide = crops(image, 3, scale=(1.0, 1.0), ratio=(3.0, 3.0))
    np.testing.assert_array_equal(wide, [[10, 0, 20, 60]] * 3)
    tall = crops(image, 3, scale=(1.0, 1.0), ratio=(0.5, 0.5))
    np.testing.assert_array_equal(tall, [[0, 20, 40, 20]] * 3)


def test_min_content_keeps_share_of_logo():
    image = np.full((64, 64, 3), 250, np.uint8)
    image[4:14, 48:60] = (200, 30, 30)

    def shares(boxes):
        top, left, h, w = boxes.T
        rows = np.clip(np.minimum(top + h, 14) - np.maximum(top, 4), 0, None)
        cols = np.clip(np.minimum(left + w, 60) - np.maximum(left, 48), 0, None)
        return rows * cols / 120

    free = shares(crops(image, 500))
    kept = shares(crops(image, 500, min_content=0.6))
    assert (free < 0.6).mean() > 0.4
    assert (kept < 0.6).mean() < 0.05  # none of ten tries held enough
    # Where none does, the try with most of the logo is taken.
    most = shares(crops(image, 500, scale=(0.02, 0.02), min_content=0.9))
    assert most.mean() > 3 * shares(crops(image, 500, scale=(0.02, 0.02))).mean()


def test_min_content_changes_nothing_on_empty_image():
    image = np.full((64, 64, 3), 250, np.uint8)
    np.testing.assert_array_equal(crops(image, 20), crops(image, 20, min_content=0.5))

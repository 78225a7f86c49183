"""Crops, resampling, blur and rotation as small matrices; traced, per record."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

TRIES = 10  # crops drawn before falling back, as torchvision does

# Share of the full range (0 to 255) by which a pixel must differ from the border
# to be part of the logo and not of its background.
_INK_THRESHOLD = 0.1
_INK_SIDE = 64  # pixels a side that are looked at, about

_BLOCK = 16  # output rows that share one window of the input


def crop_box(
    u: jax.Array,
    image: jax.Array,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    min_content: float,
) -> jax.Array:
    """Draw a crop in whole pixels: top, left, height, width, float32 [4].

    Area is uniform in `scale` times the image's, width / height log-uniform in
    `ratio`. The first of ten tries that fits is taken, else the center. With
    `min_content`, a try must also hold that share of the image's ink; if none
    does, the one with most ink is taken.

    Args:
        u: [4, TRIES] uniform numbers in [0, 1).
        image: uint8 [S, S', 3].
        scale: (low, high) share of the area.
        ratio: (low, high) width / height.
        min_content: Share of the ink in [0, 1]; 0 does not look at the image.
    """
    high, wide = image.shape[:2]
    area = high * wide * _between(u[0], *scale)
    shape = jnp.exp(_between(u[1], *(jnp.log(jnp.float32(r)) for r in ratio)))
    h = jnp.round(jnp.sqrt(area / shape))  # [TRIES]
    w = jnp.round(jnp.sqrt(area * shape))
    fits = (h >= 1) & (h <= high) & (w >= 1) & (w <= wide)
    top = jnp.floor(u[2] * (high - h + 1))
    left = jnp.floor(u[3] * (wide - w + 1))
    boxes = jnp.stack([top, left, h, w], -1)  # [TRIES, 4]
    if min_content > 0:
        share = jnp.where(fits, ink_share(image, boxes), -1.0)
        enough = share >= min_content
        pick = jnp.where(enough.any(), jnp.argmax(enough), jnp.argmax(share))
    else:
        pick = jnp.argmax(fits)
    return jnp.where(fits.any(), boxes[pick], _center_box(high, wide, ratio))


def ink_share(image: jax.Array, boxes: jax.Array) -> jax.Array:
    """Return the share of the image's ink inside each box; [t, 4] -> [t].

    Ink is whatever differs from the background, the median of eight border pixels.
    An image without ink counts as full everywhere.
    """
    high, wide = image.shape[:2]
    rows = jnp.array([0, 0, 0, high // 2, high // 2, high - 1, high - 1, high - 1])
    cols = jnp.array([0, wide // 2, wide - 1, 0, wide - 1, 0, wide // 2, wide - 1])
    border = jnp.sort(image[rows, cols].astype(jnp.float32), axis=0)  # [8, 3]
    background = (border[3] + border[4]) / 2
    every = max(1, min(high, wide) // _INK_SIDE)
    seen = image[::every, ::every].astype(jnp.float32)
    away = jnp.abs(seen - background[None, None, :]).max(-1)
    ink = (away > 255 * _INK_THRESHOLD).astype(jnp.float32)  # [rows, columns]
    top, left, h, w = (x[:, None] for x in jnp.moveaxis(boxes, -1, 0))
    y, x = jnp.arange(0, high, every)[None, :], jnp.arange(0, wide, every)[None, :]
    in_rows = ((y >= top) & (y < top + h)).astype(jnp.float32)  # [t, rows]
    in_cols = ((x >= left) & (x < left + w)).astype(jnp.float32)  # [t, columns]
    total = ink.sum()
    inside = ((in_rows @ ink) * in_cols).sum(-1)
    return jnp.where(total > 0, inside / jnp.maximum(total, 1), 1.0)


def resampling_matrix(
    start: jax.typing.ArrayLike, length: jax.typing.ArrayLike, source: int, size: int
) -> jax.Array:
    """Return [size, source]: `length` pixels from `start` resized to `size`.

    Bilinear with antialiasing as in Pillow: a triangle as wide as an output pixel,
    at least as wide as an input pixel, cut off at the crop's edges and normalized.
    """
    step = length / size
    center = (jnp.arange(size, dtype=jnp.float32)[:, None] + 0.5) * step
    pixel = jnp.arange(source, dtype=jnp.float32)[None, :] - start
    distance = jnp.abs(pixel + 0.5 - center) / jnp.maximum(step, 1.0)
    inside = (pixel >= 0) & (pixel < length)
    weight = jnp.where(inside, jnp.maximum(1 - distance, 0), 0)  # [size, source]
    return weight / weight.sum(-1, keepdims=True)


def blur_kernel(sigma: jax.typing.ArrayLike, sigma_max: float) -> jax.Array:
    """Return the taps of a Gaussian of `sigma` pixels, [2 r + 1]; sum 1.

    It is cut at r = three times `sigma_max`, which must be static. With sigma 0 the
    middle tap is 1 and the others 0, so that the image stays as it is to the bit.
    """
    radius = max(1, math.ceil(3 * sigma_max))
    away = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    kernel = jnp.exp(-0.5 * (away / jnp.maximum(sigma, 1e-3)) ** 2)
    return kernel / kernel.sum()


def resample(
    image: jax.Array, matrices: Sequence[tuple[jax.Array, jax.Array]]
) -> tuple[jax.Array, ...]:
    """Apply (rows [h, S], columns [w, S']) pairs to uint8 [S, S', 3].

    Returns one float32 [w, 3, h] in [0, 1] a pair: columns first, so that no more
    than the half-made image is ever transposed.
    """
    high, wide, _ = image.shape
    pixels = image.reshape(high, wide * 3).astype(jnp.float32) / 255
    views = []
    for rows, columns in matrices:
        h, w = len(rows), len(columns)
        tall = _product(rows, pixels).T.reshape(wide, 3 * h)
        views.append(_product(columns, tall).reshape(w, 3, h))
    return tuple(views)


def blur(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Apply a kernel [2 r + 1] along both sides of an image [s, 3, s].

    The edge is repeated outside.
    """
    return _along(_along(x, kernel, 0), kernel, 2)


def rotate(x: jax.Array, degrees: jax.typing.ArrayLike) -> jax.Array:
    """Rotate an image [s, 3, s] about its center; the edge is repeated outside."""
    s = len(x)
    angle = jnp.deg2rad(degrees)
    at = jnp.arange(s, dtype=jnp.float32) - (s - 1) / 2
    row, col = at[None, :], at[:, None]
    source_col = jnp.cos(angle) * col - jnp.sin(angle) * row + (s - 1) / 2
    source_row = jnp.sin(angle) * col + jnp.cos(angle) * row + (s - 1) / 2
    sample = lambda plane: jax.scipy.ndimage.map_coordinates(  # noqa: E731
        plane, [source_col, source_row], order=1, mode="nearest"
    )
    return jax.vmap(sample, in_axes=1, out_axes=1)(x)


def over_records(function: Callable[..., Any], *records: Any) -> Any:
    """Map over the leading axis, one record after another on a CPU.

    XLA:CPU runs a batched product of small matrices several times slower than the
    same products one by one.
    """
    return lax.platform_dependent(
        *records,
        cpu=lambda *batch: lax.map(lambda record: function(*record), batch),
        default=jax.vmap(function),
    )


def _along(x, kernel, axis):
    radius = len(kernel) // 2
    width = [(0, 0)] * x.ndim
    width[axis] = (radius, radius)
    # Without the barrier XLA:CPU computes the edge again for each tap: twice the time.
    padded = lax.optimization_barrier(jnp.pad(x, width, mode="edge"))
    taps = (
        weight * lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis)
        for i, weight in enumerate(kernel)
    )
    return sum(taps)


def _product(matrix, x):
    """Multiply a resampling matrix [size, S] with x [S, k]."""
    return lax.platform_dependent(matrix, x, cpu=_banded_product, default=jnp.matmul)


def _banded_product(matrix, x):
    """Multiply without most of the zeros, in half the time on a CPU.

    Output pixels are at most S / size apart and depend on inputs as far away (a pixel
    at least), so that a block of rows is zero outside a window of fixed width.
    """
    size, source = matrix.shape
    step = source / size
    window = math.ceil((_BLOCK - 1) * step + 2 * max(step, 1)) + 1
    if window >= source:
        return matrix @ x
    blocks = []
    for first in range(0, size, _BLOCK):
        rows = matrix[first : first + _BLOCK]
        start = jnp.argmax((rows > 0).any(0))
        rows = lax.dynamic_slice_in_dim(rows, start, window, 1)
        blocks.append(rows @ lax.dynamic_slice_in_dim(x, start, window, 0))
    return jnp.concatenate(blocks)


def _between(u, low, high):
    return low + u * (high - low)


def _center_box(high, wide, ratio):
    low, top = ratio
    w = min(wide, round(high * top)) if wide / high > top else wide
    h = min(high, round(wide / low)) if wide / high < low else high
    return jnp.array([(high - h) // 2, (wide - w) // 2, h, w], jnp.float32)

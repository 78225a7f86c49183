"""Changes of color; traced, on one image [s, 3, s] with values in [0, 1]."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's mode "L"
_PERMUTATIONS = np.array(list(itertools.permutations(range(3))), np.int32)


def gray(x: jax.Array) -> jax.Array:
    """Return the luma of an image, [s, 1, s]."""
    red, green, blue = _LUMA
    return red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]


def blend(
    x: jax.Array, keep: ArrayLike, to_gray: ArrayLike, offset: ArrayLike
) -> jax.Array:
    """Return keep * x + to_gray * gray(x) + offset, clipped to [0, 1]."""
    return jnp.clip(keep * x + to_gray * gray(x) + offset, 0, 1)


def jitter(
    x: jax.Array,
    order: jax.Array,
    brightness: jax.Array,
    contrast: jax.Array,
    saturation: jax.Array,
    hue: jax.Array,
) -> jax.Array:
    """Apply the operations in the given order, clipping after each.

    Args:
        x: [s, 3, s].
        order: int [3] or [4], the operations 0 brightness, 1 contrast, 2 saturation, 3
            hue; without the 3 the hue stays.
        brightness: Factor; 1 changes nothing.
        contrast: Weight of the image against its mean luma.
        saturation: Weight of the image against its luma.
        hue: Rotation in turns.
    """
    keep = jnp.stack([brightness, contrast, saturation, jnp.ones_like(hue)])
    to_gray = jnp.stack([*jnp.zeros(2), 1 - saturation, 0.0])
    to_mean = jnp.stack([0.0, 1 - contrast, *jnp.zeros(2)])
    for step in range(len(order)):
        op = order[step]
        offset = to_mean[op] * gray(x).mean()
        changed = blend(x, keep[op], to_gray[op], offset)
        if len(order) > 3:
            changed = jnp.where(op == 3, turn_hue(x, hue), changed)
        x = changed
    return x


def turn_hue(x: jax.Array, turns: ArrayLike) -> jax.Array:
    """Rotate the hue of HSV by a share of a turn; value and saturation stay."""
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    value = x.max(1, keepdims=True)
    chroma = value - x.min(1, keepdims=True)
    per_chroma = 1 / jnp.where(chroma > 0, chroma, 1.0)
    # Compared in order and not with `value`: XLA may compute a channel twice, with
    # other rounding, and an equality then fails for both.
    sector = 6 * turns + jnp.where(
        red >= jnp.maximum(green, blue),
        (green - blue) * per_chroma,
        jnp.where(
            green >= blue,
            2 + (blue - red) * per_chroma,
            4 + (red - green) * per_chroma,
        ),
    )
    # A channel lies below the value by chroma times a trapezoid over six sectors.
    position = jnp.array([5.0, 3.0, 1.0])[None, :, None] + sector
    # The remainder by floor: that of XLA:CPU (fmod) is not vectorized.
    position = position - 6 * jnp.floor(position / 6)
    return value - chroma * jnp.clip(jnp.minimum(position, 4 - position), 0, 1)


def solarize(x: jax.Array, threshold: float) -> jax.Array:
    """Invert what is at or above the threshold."""
    return jnp.where(x < threshold, x, 1 - x)


def permute_channels(x: jax.Array, u: jax.Array) -> jax.Array:
    """Put the color channels in one of six orders, chosen by u in [0, 1)."""
    order = jnp.asarray(_PERMUTATIONS)[jnp.floor(6 * u).astype(jnp.int32)]
    return jnp.take(x, order, axis=1)


def set_levels(x: jax.Array, black: jax.Array, white: jax.Array) -> jax.Array:
    """Give black and white other colors, [3] each: black + (white - black) x.

    White paper becomes colored, dark ink light, as in the renditions of a logo.
    """
    return black[None, :, None] + (white - black)[None, :, None] * x

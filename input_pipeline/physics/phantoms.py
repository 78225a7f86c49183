"""Random head phantoms: ellipses drawn from a key; traced, one phantom at a time.

Lengths are in half widths of the image, so that it spans [-1, 1] in both axes, and
intensities lie in [0, 1]. A later ellipse covers what it overlaps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

INNER = (4, 8)  # structures inside the brain
NEAR_DUPLICATES = 15  # most near-duplicates of a phantom
TWIN_SIZE = (
    0.06,
    0.1,
)  # of the one ellipse in which near_duplicates differ, of the head's axes

_SKULL, _BRAIN = (0.9, 1.0), (0.4, 0.6)
_GROUND, _DARK, _LIGHT = (0.0, 0.1), (0.1, 0.3), (0.7, 0.9)
_MAJOR = (0.35, 0.5)  # of the image's width, the head's half axis; half widths: twice
_ASPECT = (1.2, 1.6)
_SIZE = (0.1, 0.3)  # of the head's axes
_THICKNESS = (0.06, 0.12)  # of the skull, of the head's axes
_REACH = 0.6  # how far from the middle of the brain structures lie


class Ellipses(NamedTuple):
    """Ellipses in the order they are drawn; all float32.

    Attributes:
        ground: intensity where there is none, [].
        center: Row and column, [m, 2].
        axes: Half axes along the ellipse's own rows and columns, [m, 2]; 0 draws
            nothing.
        angle: Radians by which it is turned, [m].
        value: intensity, [m].
    """

    ground: jax.Array
    center: jax.Array
    axes: jax.Array
    angle: jax.Array
    value: jax.Array


def draw_ellipses(key: jax.Array, near_duplicate: jax.Array | int = 0) -> Ellipses:
    """Draw a head: skull, brain, 4 to 8 structures, dark or light.

    Args:
        key: Key of all draws but the near-duplicate's ellipse.
        near_duplicate: 0 for the phantom; t in 1 .. `NEAR_DUPLICATES` for a
            near-duplicate, with one more ellipse of `TWIN_SIZE`, at a place and with a
            value that depend on t.

    Returns:
        3 + 8 ellipses; those that are absent have axes of 0.
    """
    most = INNER[1]
    # One draw for all of it: each call is compiled by itself, and slowly.
    drawn = jax.random.uniform(key, (8 + 7 * (most + NEAR_DUPLICATES),))
    ground, skull, brain, major, aspect, thick, angle, count = drawn[:8]
    major = 2 * _between(major, _MAJOR)
    axes = jnp.stack([major, major / _between(aspect, _ASPECT)])  # [2]
    angle = (angle - 0.5) * jnp.pi / 6
    within = axes * (1 - _between(thick, _THICKNESS))
    u = drawn[8:].reshape(-1, 7)
    others, u = u[most:], u[:most]
    count = INNER[0] + jnp.floor(count * (INNER[1] - INNER[0] + 1))
    present = (jnp.arange(most) < count)[:, None]
    structures = _structures(u, within, angle, _SIZE)
    extra = _structures(
        others[jnp.maximum(near_duplicate - 1, 0)][None], within, angle, TWIN_SIZE
    )
    parts = [
        (jnp.zeros((1, 2)), axes[None], angle[None], _between(skull, _SKULL)[None]),
        (jnp.zeros((1, 2)), within[None], angle[None], _between(brain, _BRAIN)[None]),
        structures._replace(axes=jnp.where(present, structures.axes, 0))[1:],
        extra._replace(axes=jnp.where(near_duplicate > 0, extra.axes, 0))[1:],
    ]
    joined = map(jnp.concatenate, zip(*parts, strict=True))
    return Ellipses(_between(ground, _GROUND), *joined)


def render(
    ellipses: Ellipses,
    height: int,
    width: int,
    angle: jax.Array | float = 0.0,
    shift: jax.Array | None = None,
) -> jax.Array:
    """Return the image, float32 [height, width], edges softened over one pixel.

    Args:
        ellipses: Ellipses to draw.
        height: Rows.
        width: Columns.
        angle: Radians by which all of it is turned about the middle.
        shift: Half widths by which it is moved after that, rows and columns, [2].
    """
    row, column = (
        (2 * jnp.arange(n, dtype=jnp.float32) + 1) / n - 1 for n in (height, width)
    )
    shift = jnp.zeros(2) if shift is None else shift
    row, column = row[:, None] - shift[0], column[None, :] - shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    row, column = cos * row - sin * column, sin * row + cos * column  # [h, w]
    pixel = 2 / min(height, width)

    def paint(image, ellipse):
        center, axes, angle, value = ellipse
        y, x = row - center[0], column - center[1]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        real = axes.min() > 0
        axes = jnp.where(real, axes, 1.0)
        radius = jnp.hypot((cos * y - sin * x) / axes[0], (sin * y + cos * x) / axes[1])
        # Near the edge, (1 - radius) times an axis is about the distance to it.
        cover = jnp.clip((1 - radius) * axes.min() / pixel + 0.5, 0, 1)
        cover = jnp.where(real, cover, 0.0)
        return image + cover * (value - image), None

    ground = jnp.full((height, width), ellipses.ground)
    return jax.lax.scan(paint, ground, ellipses[1:])[0]


def _structures(u: jax.Array, within: jax.Array, turned: jax.Array, size) -> Ellipses:
    """Ellipses inside the brain from uniform numbers [m, 7]."""
    reach, around = _REACH * jnp.sqrt(u[:, 0]), 2 * jnp.pi * u[:, 1]
    own = jnp.stack([reach * jnp.cos(around), reach * jnp.sin(around)], 1)
    own = own * within[None, :]  # in the head's own axes
    cos, sin = jnp.cos(turned), jnp.sin(turned)
    center = jnp.stack(
        [cos * own[:, 0] + sin * own[:, 1], cos * own[:, 1] - sin * own[:, 0]], 1
    )
    axes = _between(u[:, 2:4], size) * within[None, :]
    dark, light = _between(u[:, 5], _DARK), _between(u[:, 5], _LIGHT)
    value = jnp.where(u[:, 6] < 0.5, dark, light)
    return Ellipses(jnp.zeros(()), center, axes, jnp.pi * u[:, 4], value)


def _between(u: jax.Array, limits: tuple[float, float]) -> jax.Array:
    low, high = limits
    return low + (high - low) * u

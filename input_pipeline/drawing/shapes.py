"""Polygons and strokes of procedural logos, and how to draw them.

Coordinates: the unit square [-1, 1]^2, y pointing down. Everything is made of straight
pieces whose corners are rounded to a fixed grid, so that no installed font and no
platform changes a pixel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

PAPER = -1  # the "ink" that cuts a hole
_OVERSAMPLING = 4


class Part(NamedTuple):
    """One polygon (`width` 0) or one stroke.

    Attributes:
        points: float [k, 2].
        ink: Index into the palette, or PAPER.
        width: Stroke width in units; 0 for a filled polygon.
        closed: Whether a stroke joins its ends.
    """

    points: np.ndarray
    ink: int = 0
    width: float = 0.0
    closed: bool = True


class Style(NamedTuple):
    """How to draw: colors uint8 triples, and outlines instead of areas."""

    paper: tuple[int, int, int]
    inks: Sequence[tuple[int, int, int]]
    outlined: bool = False
    stroke: float = 0.07


def render(parts: Sequence[Part], style: Style, size: int) -> np.ndarray:
    """Draw parts one over the other.

    Args:
        parts: In painting order, in the unit square.
        style: Colors and line style.
        size: Side of the image in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    side = size * _OVERSAMPLING
    image = Image.new("RGB", (side, side), style.paper)
    draw = ImageDraw.Draw(image)
    for part in parts:
        # Without areas there is nothing to cut from, so a hole becomes a line.
        hole = part.ink == PAPER
        ink = style.inks[0 if hole else part.ink]
        color = style.paper if hole and not style.outlined else ink
        corners = np.rint((part.points + 1.0) * (side / 2)).astype(int)
        corners = [tuple(corner) for corner in corners.tolist()]
        if part.width or style.outlined:
            width = part.width or style.stroke
            _stroke(draw, corners, color, max(1, round(width * side / 2)), part.closed)
        else:
            draw.polygon(corners, fill=color)
    return np.asarray(image.reduce(_OVERSAMPLING))


def _stroke(draw, corners, color, width: int, closed: bool) -> None:
    if closed:
        corners = [*corners, corners[0], corners[1]]
    draw.line(corners, fill=color, width=width, joint="curve")
    if not closed and width > 2:
        half = width / 2
        for x, y in (corners[0], corners[-1]):
            draw.ellipse((x - half, y - half, x + half, y + half), fill=color)


def place(
    parts: Sequence[Part],
    *,
    scale: float | tuple[float, float] = 1.0,
    turn: float = 0.0,
    at: tuple[float, float] = (0.0, 0.0),
    inks: Sequence[int] = (0, 1, 2),
) -> list[Part]:
    """Scales, turns (in full turns), shifts and recolors parts, in that order."""
    scales = np.broadcast_to(np.asarray(scale, float), (2,))
    c, s = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    matrix = np.array([[c, s], [-s, c]])  # row vectors, y down: clockwise
    placed = []
    for part in parts:
        points = part.points * scales[None] @ matrix + np.asarray(at, float)[None]
        width = part.width * float(np.abs(scales).mean())
        ink = part.ink if part.ink == PAPER else inks[part.ink]
        placed.append(Part(points, ink, width, part.closed))
    return placed


def polygon(count: int, turn: float = 0.0, radius: float = 1.0) -> np.ndarray:
    """Return a regular polygon with a corner on top, float [count, 2]."""
    angle = 2 * np.pi * (np.arange(count) / count + turn)
    return radius * np.stack([np.sin(angle), -np.cos(angle)], 1)


def circle(radius: float = 1.0, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return a circle as 48 corners, float [48, 2]."""
    return polygon(48, radius=radius) + np.asarray(at)[None]


def arc(start: float, stop: float, radius: float = 1.0, count: int = 24) -> np.ndarray:
    """Return an open arc; angles in full turns, clockwise from the top."""
    angle = 2 * np.pi * np.linspace(start, stop, count)
    return radius * np.stack([np.sin(angle), -np.cos(angle)], 1)


def star(points: int, inner: float) -> np.ndarray:
    """Return a star of so many points with the inner radius given."""
    corners = polygon(2 * points)
    corners[1::2] *= inner
    return corners


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return a rectangle, float [4, 2]."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def curve(*corners: tuple[float, float], count: int = 48) -> np.ndarray:
    """Return a closed smooth curve through corners (Catmull-Rom)."""
    p = np.asarray(corners, float)
    steps = max(2, count // len(p))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for k in range(len(p)):
        a, b, c, d = (p[(k + offset) % len(p)][None] for offset in (-1, 0, 1, 2))
        pieces.append(spline(a, b, c, d, t))
    return np.concatenate(pieces)


def spline(a, b, c, d, t: np.ndarray) -> np.ndarray:
    """Return the Catmull-Rom curve from b to c with neighbors a, d at t in [0, 1)."""
    return 0.5 * (
        2 * b
        + (c - a) * t
        + (2 * a - 5 * b + 4 * c - d) * t**2
        + (3 * b - a - 3 * c + d) * t**3
    )

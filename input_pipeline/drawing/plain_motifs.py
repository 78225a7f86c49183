"""Geometrical motifs of procedural logos (Vienna Classification, category 26)."""

import numpy as np

from input_pipeline.drawing.shapes import PAPER, Part, arc, box, circle, place, polygon


def _disc(rng):
    return [Part(circle(), 0)]


def _ring(rng):
    return [Part(circle(), 0), Part(circle(rng.choice([0.55, 0.7])), PAPER)]


def _target(rng):
    return [Part(circle(), 0), Part(circle(0.68), PAPER), Part(circle(0.38), 1)]


def _ellipse(rng):
    return place(
        [Part(circle(), 0)], scale=(1, 0.55), turn=rng.choice([0, 0.08, -0.08])
    )


def _two_circles(rng):
    return [Part(circle(0.62, (-0.38, 0)), 0), Part(circle(0.62, (0.38, 0)), 1)]


def _half_disc(rng):
    half = np.concatenate([arc(-0.25, 0.25), [[1.0, 0.0]]]) + [[0, 0.45]]
    return place([Part(half, 0)], turn=rng.choice([0, 0.25, 0.5, 0.75]))


def _sector(rng):
    pie = np.concatenate([[[0.0, 0.0]], arc(0.1, 0.9, count=40)])
    return place([Part(pie, 0)], turn=rng.choice([0.25, 0.5, 0.15]))


def _triangle(rng):
    parts = [Part(polygon(3), 0)]
    if rng.random() < 0.4:
        parts.append(Part(polygon(3, radius=0.5), PAPER))
    return place(parts, turn=rng.choice([0, 0.5]))


def _chevron(rng):
    v = np.array([[-1, 0.5], [0, -0.5], [1, 0.5], [1, 1], [0, 0.0], [-1, 1.0]])
    return place([Part(v - [[0, 0.25]], 0)], turn=rng.choice([0, 0.25, 0.5]))


def _chevrons(rng):
    v = np.array([[-1, 0.3], [0, -0.4], [1, 0.3], [1, 0.62], [0, -0.08], [-1, 0.62]])
    parts = [Part(v + [[0, dy]], ink) for dy, ink in ((-0.55, 0), (-0.05, 1), (0.4, 0))]
    return place(parts, scale=0.95, turn=rng.choice([0, 0.25]))


def _square(rng):
    parts = [Part(box(-0.85, -0.85, 0.85, 0.85), 0)]
    if rng.random() < 0.5:
        parts.append(Part(box(-0.42, -0.42, 0.42, 0.42), PAPER))
    return parts


def _diamond(rng):
    parts = [Part(polygon(4), 0)]
    if rng.random() < 0.5:
        parts.append(Part(polygon(4, radius=0.5), 1))
    return place(parts, scale=(rng.choice([0.7, 1.0]), 1))


def _checks(rng):
    count = int(rng.choice([2, 3]))
    side = 1.8 / count
    return [
        Part(box(x, y, x + side, y + side), 0)
        for i in range(count)
        for j in range(count)
        for x, y in [(-0.9 + i * side, -0.9 + j * side)]
        if (i + j) % 2 == 0
    ]


def _hexagon(rng):
    parts = [Part(polygon(6), 0)]
    if rng.random() < 0.5:
        parts.append(Part(polygon(6, radius=0.6), PAPER))
    return parts


def _pentagon(rng):
    return [Part(polygon(5), 0), Part(polygon(5, radius=0.45), 1)]


def _bars(rng):
    count = int(rng.choice([3, 4, 5]))
    pitch = 2.0 / count
    heights = [(1.0,) * count, np.linspace(0.4, 1.0, count)][rng.integers(2)]
    return [
        Part(box(-1 + k * pitch, 1 - 2 * h, -1 + (k + 0.62) * pitch, 1), k % 2)
        for k, h in enumerate(heights)
    ]


def _diagonals(rng):
    slanted = [
        Part(
            np.array([[x, 0.9], [x + 0.34, 0.9], [x + 0.94, -0.9], [x + 0.6, -0.9]]), i
        )
        for x, i in ((-1.1, 0), (-0.45, 1), (0.2, 0))
    ]
    return place(slanted, scale=(rng.choice([-1, 1]), 1))


def _waves(rng):
    count = int(rng.choice([2, 3]))
    x = np.linspace(-1, 1, 40)
    y = 0.16 * np.sin(2 * np.pi * x * rng.choice([1, 1.5]))
    return [
        Part(np.stack([x, y + dy], 1), k % 2, 0.2, closed=False)
        for k, dy in enumerate(np.linspace(-0.55, 0.55, count))
    ]


def _spiral(rng):
    t = np.linspace(0.08, 1, 90)
    angle = 2 * np.pi * 2.4 * t * rng.choice([-1, 1])
    points = 0.9 * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return [Part(points, 0, 0.17, closed=False)]


MOTIFS = (
    ("26.01.01", _disc),
    ("26.01.04", _ring),
    ("26.01.05", _target),
    ("26.01.02", _ellipse),
    ("26.01.06", _two_circles),
    ("26.02.07", _half_disc),
    ("26.02.01", _sector),
    ("26.03.01", _triangle),
    ("26.03.23", _chevron),
    ("26.03.23", _chevrons),
    ("26.04.01", _square),
    ("26.04.03", _diamond),
    ("26.04.09", _checks),
    ("26.05.01", _hexagon),
    ("26.05.01", _pentagon),
    ("26.11.03", _bars),
    ("26.11.03", _diagonals),
    ("26.11.13", _waves),
    ("26.01.05", _spiral),
)

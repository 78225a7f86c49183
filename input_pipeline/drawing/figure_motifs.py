"""Figurative motifs of procedural logos: stars, plants, animals, things."""

import numpy as np

from input_pipeline.drawing.shapes import (
    PAPER,
    Part,
    arc,
    box,
    circle,
    curve,
    place,
    polygon,
    star,
)

_FLANK = np.linspace(0, 1, 16)[:, None]
_FLANK = np.concatenate([0.8 * np.cos(_FLANK * np.pi / 2), 0.1 + 0.9 * _FLANK], 1)
SHIELD = np.concatenate(
    [[[-0.8, -0.85], [0.8, -0.85]], _FLANK, _FLANK[-2::-1] * [[-1, 1]]]
)


def _star4(rng):
    return [Part(star(4, rng.choice([0.28, 0.42])), 0)]


def _star5(rng):
    parts = [Part(star(5, rng.choice([0.4, 0.52])), 0)]
    if rng.random() < 0.3:
        parts.append(Part(star(5, 0.4) * 0.5, PAPER))
    return parts


def _three_stars(rng):
    return [
        part
        for x, y in ((-0.6, 0.3), (0, -0.45), (0.6, 0.3))
        for part in place([Part(star(5, 0.42), 0)], scale=0.42, at=(x, y))
    ]


def _sun(rng):
    count = int(rng.choice([8, 12]))
    ray = np.array([[-0.13, -0.62], [0, -1.0], [0.13, -0.62]])
    rays = [place([Part(ray, 1)], turn=k / count)[0] for k in range(count)]
    return [Part(circle(0.5), 0), *rays]


def _crescent(rng):
    parts = [Part(circle(0.95), 0), Part(circle(0.78, (0.36, -0.12)), PAPER)]
    if rng.random() < 0.5:
        parts += place([Part(star(5, 0.4), 1)], scale=0.38, at=(0.42, -0.1))
    return place(parts, scale=(rng.choice([-1, 1]), 1))


def _cross(rng):
    w = rng.choice([0.22, 0.34])
    parts = [Part(box(-w, -0.95, w, 0.95), 0), Part(box(-0.95, -w, 0.95, w), 0)]
    return place(parts, turn=rng.choice([0, 0.125]))


def _latin_cross(rng):
    return [Part(box(-0.2, -1, 0.2, 1), 0), Part(box(-0.68, -0.55, 0.68, -0.17), 0)]


def _arrow(rng):
    points = [(-1, -0.24), (0.1, -0.24), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.24)]
    arrow = np.array([*points, (-1, 0.24)])
    return place([Part(arrow, 0)], turn=rng.choice([0, -0.125, 0.25, 0.5, 0.75]))


def _arrows(rng):
    arrow = np.array(
        [(-0.9, -0.14), (0.2, -0.14), (0.2, -0.42), (0.9, 0), (0.2, 0.42), (0.2, 0.14)]
        + [(-0.9, 0.14)]
    )
    parts = [Part(arrow - [[0, 0.46]], 0), Part(-arrow + [[0, 0.46]], 1)]
    return place(parts, turn=rng.choice([0, 0.25, 0.125]))


def _heart(rng):
    t = 2 * np.pi * np.arange(60) / 60
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return [Part(np.stack([x, y - 0.05], 1), 0)]


def _drop(rng):
    bulb = arc(0.18, 0.82, 0.62, 40) + [[0, 0.35]]
    return [Part(np.concatenate([bulb, [[0.0, -1.0]]]), 0)]


def _bolt(rng):
    points = [(0.2, -1), (-0.6, 0.15), (-0.08, 0.15), (-0.25, 1), (0.6, -0.25)]
    bolt = np.array([*points, (0.08, -0.25), (0.5, -1)])
    return place([Part(bolt, 0)], scale=(rng.choice([-1, 1]), 1))


def _flame(rng):
    outer = curve((0, -1), (0.5, -0.2), (0.62, 0.4), (0, 1), (-0.62, 0.4), (-0.3, -0.1))
    inner = curve((0.05, 0.0), (0.3, 0.5), (0, 0.85), (-0.3, 0.5))
    return [Part(outer, 0), Part(inner, 1)]


def _leaf(rng):
    blade = curve(
        (0, -1), (0.5, -0.35), (0.45, 0.35), (0, 0.8), (-0.45, 0.35), (-0.5, -0.35)
    )
    vein = np.array([[0, -0.6], [0, 1.0]])
    parts = [Part(blade, 0), Part(vein, PAPER, 0.09, closed=False)]
    return place(parts, turn=rng.choice([0, 0.1, -0.1]))


def _leaves(rng):
    blade = curve(
        (0, -0.95), (0.34, -0.5), (0.22, 0.0), (0, 0.15), (-0.22, 0.0), (-0.34, -0.5)
    )
    fan = rng.choice([0.14, 0.2])
    return [
        Part(place([Part(blade, 0)], turn=turn)[0].points + [[0, 0.45]], ink)
        for turn, ink in ((-fan, 1), (fan, 1), (0.0, 0))
    ]


def _flower(rng):
    count = int(rng.choice([5, 6, 8]))
    radius = 1.6 / count + 0.08
    petals = [Part(circle(radius, tuple(at)), 0) for at in polygon(count, radius=0.62)]
    return [*petals, Part(circle(0.34), 1)]


def _tree(rng):
    tiers = [
        Part(np.array([[-w, y], [0, y - 0.75], [w, y]]), 0)
        for w, y in ((0.5, -0.25), (0.68, 0.2), (0.85, 0.65))
    ]
    return [*tiers, Part(box(-0.13, 0.65, 0.13, 1.0), 1)]


def _apple(rng):
    body = curve(
        (0, -0.4),
        (0.5, -0.55),
        (0.85, 0.0),
        (0.5, 0.85),
        (0, 0.78),
        (-0.5, 0.85),
        (-0.85, 0.0),
        (-0.5, -0.55),
    )
    leaf = curve((0.02, -0.55), (0.2, -0.9), (0.5, -0.95), (0.32, -0.62))
    return [Part(body, 0), Part(leaf, 1)]


def _fish(rng):
    body = curve(
        (-0.95, 0), (-0.4, -0.45), (0.3, -0.35), (0.6, 0), (0.3, 0.35), (-0.4, 0.45)
    )
    tail = np.array([[0.45, 0], [1.0, -0.45], [0.85, 0], [1.0, 0.45]])
    parts = [Part(body, 0), Part(tail, 0), Part(circle(0.08, (-0.55, -0.1)), PAPER)]
    return place(parts, scale=(rng.choice([-1, 1]), 1))


def _bird(rng):
    body = curve(
        (-0.75, -0.1),
        (-0.45, -0.45),
        (-0.1, -0.15),
        (0.5, 0.1),
        (1.0, -0.05),
        (0.4, 0.5),
        (-0.25, 0.5),
    )
    wing = np.array([[-0.2, 0.1], [0.35, -0.95], [0.55, 0.15]])
    beak = np.array([[-0.72, -0.22], [-1.0, -0.08], [-0.68, 0.0]])
    parts = [Part(wing, 1), Part(body, 0), Part(beak, 1)]
    parts.append(Part(circle(0.07, (-0.5, -0.2)), PAPER))
    return place(parts, scale=(rng.choice([-1, 1]), 1))


def _butterfly(rng):
    upper = curve((0.05, 0.0), (0.45, -0.85), (0.95, -0.7), (0.8, -0.1))
    lower = curve((0.05, 0.05), (0.7, 0.1), (0.7, 0.7), (0.3, 0.75))
    wings = [Part(upper, 0), Part(lower, 1)]
    body = Part(circle(1.0) * [[0.08, 0.6]], 0)
    return [*wings, *place(wings, scale=(-1, 1)), body]


def _cat(rng):
    face = Part(
        curve(
            (-0.8, 0.1), (-0.5, -0.5), (0.5, -0.5), (0.8, 0.1), (0.4, 0.8), (-0.4, 0.8)
        ),
        0,
    )
    ear = Part(np.array([[-0.78, -0.05], [-0.75, -0.98], [-0.15, -0.5]]), 0)
    eyes = [Part(circle(0.12, (x, 0.0)), PAPER) for x in (-0.33, 0.33)]
    nose = Part(np.array([[-0.12, 0.3], [0.12, 0.3], [0, 0.45]]), PAPER)
    return [ear, *place([ear], scale=(-1, 1)), face, *eyes, nose]


def _crown(rng):
    points = [(-0.9, 0.6), (-0.95, -0.5), (-0.4, 0.05), (0, -0.75), (0.4, 0.05)]
    crown = np.array([*points, (0.95, -0.5), (0.9, 0.6)])
    return [Part(crown, 0), Part(box(-0.9, 0.42, 0.9, 0.55), PAPER)]


def _shield(rng):
    parts = [Part(SHIELD, 0)]
    if rng.random() < 0.5:
        parts.append(
            Part(np.array([[0, -0.72], [0.62, -0.72], [0.62, 0], [0, 0.86]]), 1)
        )
    else:
        parts.append(Part(box(-0.72, -0.3, 0.72, 0.05), 1))
    return parts


def _house(rng):
    roof = np.array([[-1, -0.05], [0, -0.95], [1, -0.05]])
    return [
        Part(roof, 1),
        Part(box(-0.7, -0.05, 0.7, 0.9), 0),
        Part(box(-0.18, 0.3, 0.18, 0.9), PAPER),
    ]


def _mountains(rng):
    back = np.array([[-0.1, 0.7], [0.45, -0.3], [1.0, 0.7]])
    front = np.array([[-1, 0.7], [-0.25, -0.75], [0.5, 0.7]])
    snow = np.array([[-0.48, -0.3], [-0.25, -0.75], [-0.02, -0.3], [-0.25, -0.12]])
    return [Part(back, 1), Part(front, 0), Part(snow, PAPER)]


def _gear(rng):
    count = int(rng.choice([8, 10]))
    tooth = box(-0.16, -1.0, 0.16, -0.6)
    teeth = [place([Part(tooth, 0)], turn=k / count)[0] for k in range(count)]
    return [*teeth, Part(circle(0.75), 0), Part(circle(0.32), PAPER)]


MOTIFS = (
    ("01.01.09", _star4),
    ("01.01.02", _star5),
    ("01.01.04", _three_stars),
    ("01.03.17", _sun),
    ("01.07.06", _crescent),
    ("24.13.01", _cross),
    ("24.13.01", _latin_cross),
    ("24.15.02", _arrow),
    ("24.15.03", _arrows),
    ("02.09.01", _heart),
    ("01.15.15", _drop),
    ("01.15.03", _bolt),
    ("01.15.05", _flame),
    ("05.03.13", _leaf),
    ("05.03.14", _leaves),
    ("05.05.20", _flower),
    ("05.01.05", _tree),
    ("05.07.13", _apple),
    ("03.09.01", _fish),
    ("03.07.24", _bird),
    ("03.13.01", _butterfly),
    ("03.01.06", _cat),
    ("24.09.02", _crown),
    ("24.01.03", _shield),
    ("07.01.08", _house),
    ("06.01.02", _mountains),
    ("15.07.01", _gear),
)

"""Composes brands from motifs and letters, and draws their renditions."""

from typing import NamedTuple

import numpy as np

from input_pipeline.drawing import letters, motifs, shapes
from input_pipeline.drawing.shapes import PAPER, Part, box, circle, place, polygon

_LETTERS_CODE = "27.05.01"
_BARS_CODE = "26.11.02"
_FRAMES = {
    "disc": (circle(0.98), "26.01.01", 0.62),
    "square": (box(-0.92, -0.92, 0.92, 0.92), "26.04.01", 0.66),
    "hexagon": (polygon(6, radius=0.98), "26.05.01", 0.6),
    "diamond": (polygon(4), "26.04.03", 0.5),
    "shield": (motifs.SHIELD, "24.01.05", 0.56),
}
_SCALES = (0.6, 1.0)  # of a rendition in its image
_ROOM = 0.8  # share of its margin that it may be moved by
_LAYOUTS = ("single", "frame", "border", "pair", "stack", "around", "row", "beside")
_LAYOUT_SHARES = (0.12, 0.24, 0.16, 0.14, 0.1, 0.08, 0.06, 0.1)


class Brand(NamedTuple):
    """A composition: emblem parts in the unit square, a word, and its codes."""

    emblem: list[Part]
    word: str
    word_beside: bool
    stroke: float
    codes: list[str]


def compose(seed: int, brand: int) -> Brand:
    """Return brand number `brand` of a seed."""
    rng = np.random.default_rng([seed, 2, brand])
    stroke = float(rng.choice([0.16, 0.22, 0.3]))
    layout = rng.choice(_LAYOUTS, p=_LAYOUT_SHARES)
    emblem, codes = _LAYOUT_OF[layout](rng)
    word = ""
    if rng.random() < 0.75:
        word = "".join(
            str(rng.choice(list(letters.VOWELS if k % 2 else letters.CONSONANTS)))
            for k in range(rng.integers(3, 7))
        )
    return Brand(emblem, word, rng.random() < 0.2, stroke, sorted(set(codes)))


def draw(brand: Brand, rng: np.random.Generator, size: int, plain: bool) -> np.ndarray:
    """Draw one rendition.

    Args:
        brand: The composition.
        rng: Chooses colors, stroke, inversion, word and placement.
        size: Side in pixels.
        plain: The first rendition: filled, with its word, on white.

    Returns:
        uint8 [size, size, 3].
    """
    with_word = bool(brand.word) and (plain or rng.random() < 0.5)
    outlined = not plain and rng.random() < 0.35
    inverted = not plain and rng.random() < 0.45
    style = _style(rng, outlined, inverted)
    parts = place(brand.emblem, scale=0.84)
    if with_word and brand.word_beside:
        parts = place(brand.emblem, scale=0.5, at=(-0.42, 0.0))
        line = letters.word(brand.word, brand.stroke)
        parts += place(line, scale=(0.42, 0.6), at=(0.52, 0.0))
    elif with_word:
        parts = place(brand.emblem, scale=0.62, at=(0.0, -0.26))
        line = letters.word(brand.word, brand.stroke)
        parts += place(line, scale=0.86, at=(0.0, 0.7))
    # Files of one logo differ in their margins; were they all alike, raw pixels would
    # find every third rendition.
    scale = 1.0 if plain else rng.uniform(*_SCALES)
    room = _ROOM * (1.0 - scale)
    parts = place(parts, scale=scale, at=tuple(rng.uniform(-room, room, 2)))
    return shapes.render(parts, style, size)


def _element(rng: np.random.Generator, inks=(0, 1, 2)) -> tuple[list[Part], str]:
    element = motifs.ELEMENTS[rng.integers(len(motifs.ELEMENTS))]
    return place(element.build(rng), inks=inks), element.code


def _monogram(rng: np.random.Generator, ink: int = 0) -> tuple[list[Part], str]:
    name = str(rng.choice(letters.ALPHABET))
    return letters.letter(name, float(rng.choice([0.28, 0.4])), ink), _LETTERS_CODE


def _motif(rng: np.random.Generator, inks=(0, 1, 2)) -> tuple[list[Part], str]:
    return _monogram(rng, inks[0]) if rng.random() < 0.2 else _element(rng, inks)


def _single(rng):
    parts, code = _motif(rng)
    return parts, [code]


def _framed(rng):
    shape, code, room = _FRAMES[str(rng.choice(list(_FRAMES)))]
    inner, inner_code = _motif(rng, inks=(PAPER, 1, 2))
    return [Part(shape, 0), *place(inner, scale=room)], [code, inner_code]


def _bordered(rng):
    shape, code, room = _FRAMES[str(rng.choice(list(_FRAMES)))]
    inner, inner_code = _motif(rng, inks=(0, 2, 1))
    border = [Part(shape, 1), Part(shape * rng.choice([0.8, 0.87]), PAPER)]
    return [*border, *place(inner, scale=room)], [code, inner_code]


def _pair(rng):
    left, left_code = _motif(rng)
    right, right_code = _motif(rng, inks=(1, 0, 2))
    return [
        *place(left, scale=0.48, at=(-0.5, 0)),
        *place(right, scale=0.48, at=(0.5, 0)),
    ], [left_code, right_code]


def _stacked(rng):
    top, top_code = _motif(rng)
    low, low_code = _element(rng, inks=(1, 0, 2))
    return [
        *place(top, scale=0.6, at=(0, -0.38)),
        *place(low, scale=(0.85, 0.32), at=(0, 0.66)),
    ], [top_code, low_code]


def _around(rng):
    middle, middle_code = _motif(rng)
    satellite, code = _element(rng, inks=(1, 1, 1))
    count = int(rng.choice([4, 5, 6, 8]))
    parts = place(middle, scale=0.46)
    for at in polygon(count, radius=0.78):
        parts += place(satellite, scale=0.2, at=tuple(at))
    return parts, [middle_code, code]


def _row(rng):
    parts, code = _element(rng)
    turned = float(rng.choice([0, 0.5, 0.25]))
    row = []
    for k, x in enumerate((-0.66, 0.0, 0.66)):
        row += place(parts, scale=0.31, turn=turned * (k % 2), at=(x, 0))
    bar = box(-0.97, 0.45, 0.97, 0.58)
    return [*row, Part(bar, 1), Part(-bar, 1)], [code, _BARS_CODE]


def _beside(rng):
    parts, code = _element(rng)
    letter, letter_code = _monogram(rng, 1)
    side = float(rng.choice([-1, 1]))
    return [
        *place(parts, scale=0.55, at=(0.42 * side, 0)),
        *place(letter, scale=0.8, at=(-0.5 * side, 0)),
    ], [code, letter_code]


_LAYOUT_OF = {
    "single": _single,
    "frame": _framed,
    "border": _bordered,
    "pair": _pair,
    "stack": _stacked,
    "around": _around,
    "row": _row,
    "beside": _beside,
}


def _style(rng, outlined: bool, inverted: bool) -> shapes.Style:
    """Three inks that differ in hue and lightness, and white, light or dark paper."""
    hue = rng.random()
    kind = rng.random()
    if kind < 0.25:  # black, or two grays
        inks = [(20, 20, 20), (110, 110, 110), (70, 70, 70)]
    else:
        turn = float(rng.choice([0.08, 0.33, 0.5, 0.58]))
        inks = [
            _rgb(hue, rng.uniform(0.6, 1.0), rng.uniform(0.35, 0.85)),
            _rgb(hue + turn, rng.uniform(0.5, 1.0), rng.uniform(0.55, 0.95)),
            _rgb(hue + 0.5, 0.7, 0.6),
        ]
    paper = (255, 255, 255)
    if inverted:
        paper, inks = inks[0], [(255, 255, 255), *_lighter(inks[1:])]
    return shapes.Style(paper, inks, outlined, float(rng.choice([0.045, 0.07])))


def _lighter(inks):
    return [tuple(round(0.5 * value + 127) for value in ink) for ink in inks]


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    wheel = np.abs(((hue + np.array([0, 2, 1]) / 3) % 1) * 6 - 3) - 1
    rgb = value * (1 - saturation * (1 - np.clip(wheel, 0, 1)))
    return tuple(int(channel) for channel in np.rint(rgb * 255))


# Every code that a brand can have.
CODES = tuple(
    sorted(
        {element.code for element in motifs.ELEMENTS}
        | {code for _, code, _ in _FRAMES.values()}
        | {_LETTERS_CODE, _BARS_CODE}
    )
)

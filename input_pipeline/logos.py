"""Procedural marks: brands composed of shapes and letters, drawn in renditions.

Data that ships as code: seeded, without fonts or files, labelled with brands and with
sections of the Vienna Classification. A brand is a composition of elements, layout and
a word; its renditions change colours, stroke, inversion, word and placement.
"""

import functools
from typing import NamedTuple

import numpy as np

from input_pipeline import _contract, _elements, _letters, _prepare, _shapes
from input_pipeline._shapes import PAPER, Part, box, circle, place, polygon

VERSION = 1  # raised whenever a pixel changes, since prepared data is kept
_BLOCK = 64  # brands
_LETTERS_CODE = "27.05.01"
_FRAMES = {
    "disc": (circle(0.98), "26.01.01", 0.62),
    "square": (box(-0.92, -0.92, 0.92, 0.92), "26.04.01", 0.66),
    "hexagon": (polygon(6, radius=0.98), "26.05.01", 0.6),
    "diamond": (polygon(4), "26.04.03", 0.5),
    "shield": (_elements.SHIELD, "24.01.05", 0.56),
}
_LAYOUTS = ("single", "frame", "border", "pair", "stack", "around", "row", "beside")
_LAYOUT_SHARES = (0.12, 0.24, 0.16, 0.14, 0.1, 0.08, 0.06, 0.1)


class Brand(NamedTuple):
    """A composition: emblem parts in the unit square, a word, and its codes."""

    emblem: list[Part]
    word: str
    word_beside: bool
    stroke: float
    codes: list[str]


def load(
    *,
    path: str | None = None,
    size: int = 64,
    cache: str | None = None,
    seed: int = 0,
    holdout: float = 0.2,
    max_rejected: float = 0,
    rarity: float = 1.0,
    brands: int = 600,
    renditions: int = 5,
    progress: bool = True,
) -> _contract.Data:
    """Draws the marks once and returns them split by brand.

    Args:
      path: none; marks are drawn, not read.
      size: side of the pictures in pixels, 16..512.
      cache: folder for prepared data; None for $AKIN_CACHE or ~/.cache/akin.
      seed: decides every brand, every rendition and the split.
      holdout: share of brands held back for validation, in (0, 1).
      max_rejected: no use here, since nothing is rejected.
      rarity: exponent of the code weights n_c^-rarity.
      brands: number of brands.
      renditions: pictures of each brand.
      progress: show a progress bar.

    Returns:
      Train and validation splits, label = brand, and the facts.

    Raises:
      DataError: if a path is given, since it would be ignored.
    """
    del max_rejected
    if path:
        raise _contract.DataError(
            f"got data.path={path!r} with data.name='logos', which draws its own marks; "
            "expected no path, or data.name='image_folder' to read pictures"
        )
    for name, value, low, high in (
        ("size", size, 16, 512),
        ("brands", brands, 2, 10**6),
        ("renditions", renditions, 1, 1000),
        ("holdout", holdout, 0, 1),
    ):
        if not low <= value <= high:
            raise _contract.DataError(
                f"got data.{name}={value}; expected {low}..{high}"
            )
    held = held_brands(brands, holdout, seed)
    starts = range(0, brands, _BLOCK)
    plan = _prepare.Preparation(
        name="logos",
        size=size,
        spec={
            "dataset": "logos",
            "version": VERSION,
            "size": size,
            "seed": seed,
            "holdout": holdout,
            "brands": brands,
            "renditions": renditions,
        },
        blocks=[(start, min(start + _BLOCK, brands)) for start in starts],
        make=functools.partial(
            _block, size=size, seed=seed, renditions=renditions, held=held
        ),
        columns=functools.partial(_columns, seed=seed, brands=brands, per=renditions),
        facts=_facts,
    )
    return _prepare.load(plan, cache=cache, rarity=rarity, progress=progress)


def held_brands(brands: int, holdout: float, seed: int) -> np.ndarray:
    """Returns which brands are held back, bool [brands]; at least one if any."""
    count = max(round(holdout * brands), 1 if holdout else 0)
    order = np.random.default_rng([seed, 1]).permutation(brands)
    held = np.zeros(brands, bool)
    held[order[:count]] = True
    return held


def compose(seed: int, brand: int) -> Brand:
    """Returns brand number `brand` of a seed."""
    rng = np.random.default_rng([seed, 2, brand])
    stroke = float(rng.choice([0.16, 0.22, 0.3]))
    layout = rng.choice(_LAYOUTS, p=_LAYOUT_SHARES)
    emblem, codes = _LAYOUT_OF[layout](rng)
    word = ""
    if rng.random() < 0.75:
        word = "".join(
            str(rng.choice(list(_letters.VOWELS if k % 2 else _letters.CONSONANTS)))
            for k in range(rng.integers(3, 7))
        )
    return Brand(emblem, word, rng.random() < 0.2, stroke, sorted(set(codes)))


def draw(brand: Brand, rng: np.random.Generator, size: int, plain: bool) -> np.ndarray:
    """Draws one rendition.

    Args:
      brand: the composition.
      rng: chooses colours, stroke, inversion, word and placement.
      size: side in pixels.
      plain: the first rendition: filled, with its word, on white.

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
        line = _letters.word(brand.word, brand.stroke)
        parts += place(line, scale=(0.42, 0.6), at=(0.52, 0.0))
    elif with_word:
        parts = place(brand.emblem, scale=0.62, at=(0.0, -0.26))
        line = _letters.word(brand.word, brand.stroke)
        parts += place(line, scale=0.86, at=(0.0, 0.7))
    jitter = 0.0 if plain else 0.06
    scale = 1.0 if plain else rng.uniform(0.78, 1.02)
    parts = place(parts, scale=scale, at=tuple(rng.uniform(-jitter, jitter, 2)))
    return _shapes.render(parts, style, size)


def _element(rng: np.random.Generator, inks=(0, 1, 2)) -> tuple[list[Part], str]:
    element = _elements.ELEMENTS[rng.integers(len(_elements.ELEMENTS))]
    return place(element.build(rng), inks=inks), element.code


def _monogram(rng: np.random.Generator, ink: int = 0) -> tuple[list[Part], str]:
    name = str(rng.choice(_letters.ALPHABET))
    return _letters.letter(name, float(rng.choice([0.28, 0.4])), ink), _LETTERS_CODE


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
    return [*row, Part(bar, 1), Part(-bar, 1)], [code, "26.11.02"]


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


def _style(rng, outlined: bool, inverted: bool) -> _shapes.Style:
    """Three inks that differ in hue and lightness, and white, light or dark paper."""
    hue = rng.random()
    kind = rng.random()
    if kind < 0.25:  # black, or two greys
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
    return _shapes.Style(paper, inks, outlined, float(rng.choice([0.045, 0.07])))


def _lighter(inks):
    return [tuple(round(0.5 * value + 127) for value in ink) for ink in inks]


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    wheel = np.abs(((hue + np.array([0, 2, 1]) / 3) % 1) * 6 - 3) - 1
    rgb = value * (1 - saturation * (1 - np.clip(wheel, 0, 1)))
    return tuple(int(channel) for channel in np.rint(rgb * 255))


def _block(span, *, size: int, seed: int, renditions: int, held) -> _prepare.Block:
    ids = np.arange(span[0] * renditions, span[1] * renditions)
    images = np.empty((len(ids), size, size, 3), np.uint8)
    for row, id_ in enumerate(ids):
        number, rendition = divmod(int(id_), renditions)
        if rendition == 0 or row == 0:
            brand = compose(seed, number)
        rng = np.random.default_rng([seed, 3, number, rendition])
        images[row] = draw(brand, rng, size, plain=rendition == 0)
    return _prepare.Block(images, ids, held[ids // renditions], {})


def _columns(ids: np.ndarray, *, seed: int, brands: int, per: int) -> _prepare.Columns:
    number, rendition = np.divmod(ids, per)
    composed = {k: compose(seed, k) for k in np.unique(number).tolist()}
    code_names = sorted({e.code for e in _elements.ELEMENTS} | _OTHER_CODES)
    position = {code: k for k, code in enumerate(code_names)}
    codes = _prepare.pad_codes(
        [[position[code] for code in composed[k].codes] for k in number.tolist()]
    )
    names = [composed[k].word or f"figure {k}" for k in number.tolist()]
    table = {
        "id": ids,
        "label": number.astype(np.int32),
        "codes": codes,
        "name": names,
        "filename": [f"{k:06d}-{r}" for k, r in zip(number, rendition, strict=True)],
        "source": [f"rendition {r}" for r in rendition],
    }
    return _prepare.Columns(
        table, [f"brand {k:06d}" for k in range(brands)], code_names
    )


_OTHER_CODES = {_LETTERS_CODE, "26.11.02", *(code for _, code, _ in _FRAMES.values())}


def _facts(reports, train, validation) -> dict:
    del reports
    return {"records": {"train": len(train), "validation": len(validation)}}

"""Capital letters as strokes, so that logos need no font."""

import numpy as np

from input_pipeline.drawing import shapes

# Strokes on a grid 4 wide and 6 high, y down; digits are coordinates, "~" makes the
# stroke a smooth curve through its corners.
_STROKES = {
    "A": "06 20 46|14 34",
    "B": "00 06|~00 20 31 22 03|~03 23 44 26 06",
    "C": "~41 20 02 04 26 45",
    "D": "00 06|~00 10 32 34 16 06",
    "E": "40 00 06 46|03 33",
    "F": "40 00 06|03 33",
    "G": "~41 20 02 04 26 45 43|43 23",
    "H": "00 06|40 46|03 43",
    "I": "20 26",
    "J": "~40 44 26 05",
    "K": "00 06|40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "~20 02 04 26 44 42 20",
    "P": "06 00|~00 20 41 23 03",
    "Q": "~20 02 04 26 44 42 20|24 46",
    "R": "06 00|~00 20 41 23 03|23 46",
    "S": "~41 20 01 23 45 26 05",
    "T": "00 40|20 26",
    "U": "~00 04 26 44 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46|40 06",
    "Y": "00 23 40|23 26",
    "Z": "00 40 06 46",
}
ALPHABET = tuple(_STROKES)
VOWELS, CONSONANTS = "AEIOU", "BCDFGHJKLMNPRSTVWXYZ"


def letter(name: str, width: float, ink: int = 0) -> list[shapes.Part]:
    """Return the strokes of one letter in the unit square.

    Args:
        name: One of ALPHABET.
        width: Stroke width in units.
        ink: Index into the palette.
    """
    parts = []
    for stroke in _STROKES[name].split("|"):
        corners = np.array(
            [(int(x), int(y)) for x, y in stroke.lstrip("~").split()], float
        )
        if stroke.startswith("~"):
            corners = _smooth(corners)
        # 4 x 6 cells into a square of side 2, less the stroke's own width
        points = (corners - [[2.0, 3.0]]) / 3.0 * (1 - width / 2)
        parts.append(shapes.Part(points, ink, width, closed=False))
    return parts


def word(text: str, width: float, ink: int = 0) -> list[shapes.Part]:
    """Return a line of letters, 2 wide and centered; its height follows.

    Args:
        text: Letters of ALPHABET.
        width: Stroke width in units of half a letter's height.
        ink: Index into the palette.
    """
    pitch = 2.0 / len(text)
    parts = []
    for index, name in enumerate(text):
        parts += shapes.place(
            letter(name, width, ink),
            scale=0.56 * pitch,
            at=(-1 + (index + 0.5) * pitch, 0.0),
        )
    return parts


def _smooth(corners: np.ndarray, steps: int = 6) -> np.ndarray:
    """Return an open Catmull-Rom curve through corners, [(k - 1) * steps + 1, 2]."""
    ends = (2 * corners[:1] - corners[1:2], corners, 2 * corners[-1:] - corners[-2:-1])
    p = np.concatenate(ends)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        shapes.spline(p[k][None], p[k + 1][None], p[k + 2][None], p[k + 3][None], t)
        for k in range(len(p) - 3)
    ]
    return np.concatenate([*pieces, corners[-1:]])

"""Motifs of procedural logos, each under its section of the Vienna Classification.

Codes: International Classification of the Figurative Elements of Marks (WIPO), as
category.division.section. They were assigned for these drawings, not by examiners.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from input_pipeline.drawing import figure_motifs, plain_motifs
from input_pipeline.drawing.shapes import Part


class Element(NamedTuple):
    """A motif: its code, and a function of an rng that chooses the variant."""

    code: str
    build: Callable[[np.random.Generator], list[Part]]


ELEMENTS = tuple(
    Element(code, build) for code, build in plain_motifs.MOTIFS + figure_motifs.MOTIFS
)
SHIELD = figure_motifs.SHIELD

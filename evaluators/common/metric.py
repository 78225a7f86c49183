"""What an evaluator returns and what it is given."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "validation")


class Metric(NamedTuple):
    """A figure with what is needed to judge it.

    Attributes:
        value: The measured figure; nan where there was nothing to measure.
        n: Number of queries (or records) behind it.
        chance: What a ranking in random order scores; nan where that has no meaning.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    value: float
    n: int
    chance: float
    low: float
    high: float


# (split, rows int [m], view=None, **changes) -> float32 [m, d]: records as they are, or
# one of their training views by name, with fields of `transform` changed. None where
# the embeddings are not defined for views.
Embed = Callable[..., np.ndarray]


def check_choice(name: str, value: object, choices: Sequence) -> None:
    """Raise ValueError unless value is one of choices."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"got {name}={value!r}; choices: {listed}")


def check_ranks(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return the cut-offs k as a sorted tuple of distinct positive integers.

    Raises:
        ValueError: If there is none, or one that is not a positive integer.
    """
    bad = [k for k in values if isinstance(k, bool) or int(k) != k or k < 1]
    if bad or not len(values):
        raise ValueError(
            f"got {name}={tuple(values)}; expected one or more whole numbers >= 1, "
            "for example (1, 10, 100)"
        )
    return tuple(sorted({int(k) for k in values}))


def check_count(name: str, value: int, least: int = 1) -> int:
    """Return value as an int, or raise ValueError if it is below least."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"got {name}={value!r}; expected a whole number >= {least}")
    return int(value)

"""Average precision of a random ranking."""

from typing import Any, TypeAlias

Number: TypeAlias = Any  # a number, or an array of NumPy or JAX


def expected_average_precision(
    positives: Number, candidates: Number, harmonic: Number
) -> Number:
    """Return the mean average precision over all orders of the candidates.

    `E[AP] = ((R - 1) / (M - 1) (M - H_M) + H_M) / M`

    The result is linear in R, so that its mean over queries with M candidates is that
    of their mean R.

    Args:
        positives: R, 1 or more.
        candidates: M, 1 or more, positives included; an M of 1 requires an R of 1.
        harmonic: H_M = sum_{i=1..M} 1 / i.
    """
    others = (candidates - 1) + (candidates == 1)  # not 0
    share = (positives - 1) / others
    return (share * (candidates - harmonic) + harmonic) / candidates

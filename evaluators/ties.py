"""Scores that lie too close to each other to be ranked by."""

import numpy as np

WITHIN = 0.02  # cosine; closer scores than this do not tell records apart


def leading(scores: np.ndarray, within: float = WITHIN) -> np.ndarray:
    """Return how many scores lie within `within` of the best of their query, int [q].

    Args:
        scores: [q, k], largest first; -inf where a query has fewer than k.
        within: Of cosine, >= 0.
    """
    return (scores >= scores[:, :1] - within).sum(axis=1)


def nearly_tied(scores: np.ndarray, within: float = WITHIN) -> np.ndarray:
    """Return whether all scores of a query lie that close, and are several, bool [q].

    Args:
        scores: As in `leading`, at least one of a query finite.
        within: The same.
    """
    listed = np.isfinite(scores).sum(axis=1)
    return (listed > 1) & (leading(scores, within) == listed)

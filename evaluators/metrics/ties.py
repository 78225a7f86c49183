"""Scores that are too close to each other to rank records by."""

import numpy as np
from jax.scipy.stats import norm

WITHIN = 0.02  # cosine; closer scores do not tell records apart
DRAWS = 64  # draws of the best scores of each query, for chance


def leading(scores: np.ndarray, within: float = WITHIN) -> np.ndarray:
    """Return how many scores lie within `within` of the best of their query, int [q].

    Args:
        scores: [q, k], largest first; -inf where a query has fewer than k.
        within: Of cosine, >= 0.
    """
    return (scores >= scores[:, :1] - within).sum(axis=1)


def nearly_tied(scores: np.ndarray, within: float = WITHIN) -> np.ndarray:
    """Return whether a query has several scores, all that close, bool [q].

    Args:
        scores: Scores of `leading`; each query has at least one that is finite.
        within: Largest difference of scores that counts as a tie.
    """
    count = np.isfinite(scores).sum(axis=1)
    return (count > 1) & (leading(scores, within) == count)


def tied_by_chance(
    candidates: np.ndarray, k: int, d: int, seed: int, within: float = WITHIN
) -> np.ndarray:
    """Return the share of ties among the k best of directions spread evenly, [q].

    Their cosines are normal with standard deviation 1 / sqrt(d), for large d. The
    largest of n uniform numbers is U^(1/n), and each next the largest of those below.

    Args:
        candidates: int [q], candidates of each query.
        k: Scores that are compared.
        d: Width of the embeddings.
        seed: Random seed of the draws.
        within: Largest difference of scores that counts as a tie.

    Source: Devroye, Non-Uniform Random Variate Generation, 1986, section V.3.1.
    """
    n = candidates[:, None] - np.arange(k)[None, :]  # [q, k], 0 or less past the last
    drawn = np.random.default_rng(seed).uniform(size=(DRAWS, *n.shape))
    below = np.cumprod(drawn ** (1 / np.maximum(n, 1)), axis=2)  # falling quantiles
    scores = np.minimum(np.asarray(norm.ppf(below)) / np.sqrt(d), 1)
    scores = np.where(n > 0, scores, -np.inf)
    tied = nearly_tied(scores.reshape(-1, k), within)
    return tied.reshape(DRAWS, -1).mean(axis=0)

"""Expected value of each figure of `ranking` in a random order of candidates.

The functions take n candidates and r relevant ones among them, int [q] both, and return
one value a query, float64 [q].
"""

import numpy as np

from evaluators.metrics.ranking import discount
from losses.common.average_precision import expected_average_precision


def recall_at(n: np.ndarray, r: np.ndarray, k: int) -> np.ndarray:
    """Return 1 - C(n - k, r) / C(n, r): no relevant record in k draws, complemented."""
    n, r = np.asarray(n), np.asarray(r)
    pairs, back = np.unique(np.stack([n, r]), axis=1, return_inverse=True)
    chances = []
    for size, relevant in pairs.T.tolist():
        small, large = sorted((relevant, min(k, size)))
        if small + large > size:  # the k best cannot all be irrelevant
            chances.append(1.0)
            continue
        missed = np.log1p(-large / (size - np.arange(small))).sum()
        chances.append(-np.expm1(missed))
    return np.array(chances, float)[back.reshape(-1)]


def precision_at(n: np.ndarray, r: np.ndarray, k: int) -> np.ndarray:
    """Return r / n, less where there are fewer than k candidates."""
    return np.asarray(r) / n * np.minimum(n, k) / k


def average_precision(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return E[AP] of n candidates, r of them relevant."""
    n, r = np.asarray(n), np.asarray(r)
    return expected_average_precision(r, n, _harmonic(n))


def map_at_r(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return E[MAP@R] = (H_r + (r - 1) / (n - 1) (r - H_r)) / n.

    The i-th is relevant with probability r / n, and then each one before it with
    probability (r - 1) / (n - 1).
    """
    n, r = np.asarray(n), np.asarray(r)
    share = (r - 1) / np.maximum(n - 1, 1)
    return (_harmonic(r) + share * (r - _harmonic(r))) / n


def normalized_average_rank(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return (n - r) / (2 n), which is .5 where relevant records are rare."""
    n, r = np.asarray(n), np.asarray(r)
    return (n - r) / (2 * n)


def ndcg(mean_gain: np.ndarray, ideal: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return E[nDCG], [q].

    Args:
        mean_gain: [q], mean gain over all candidates.
        ideal: [q, k], the k largest gains among the candidates, in falling order.
        n: int [q], candidates.
    """
    places = np.arange(ideal.shape[1])[None, :] < np.asarray(n)[:, None]
    weights = discount(ideal)
    return mean_gain * (places @ weights) / (ideal @ weights)


def _harmonic(n: np.ndarray) -> np.ndarray:
    """Return the harmonic numbers H_n = 1 + 1/2 + ... + 1/n."""
    n = np.asarray(n)
    return np.cumsum(1 / np.arange(1, n.max(initial=1) + 1))[n - 1]

"""Weighted Jaccard index of sets of codes."""

from types import ModuleType
from typing import Any, TypeAlias

import jax.numpy as jnp

Array: TypeAlias = Any  # of `namespace`


def weighted_jaccard(
    codes: Array,
    weights: Array,
    other_codes: Array,
    other_weights: Array,
    namespace: ModuleType = jnp,
) -> Array:
    """Return the similarity of sets of codes: 1 for equal sets, 0 for disjoint ones.

    `s = sum_{c in both} v_c / sum_{c in either} v_c`, v_c the weight of code c. Leading
    axes broadcast: `[n, 1, C]` and `[1, m, D]` compare all pairs, `[n, m]`.

    Args:
        codes: int `[..., C]`, each code once a set, -1 for padding.
        weights: `[..., C]`, 0 for padding.
        other_codes: int `[..., D]`, likewise.
        other_weights: `[..., D]`, likewise.
        namespace: `jax.numpy` or `numpy`.

    Returns:
        `[...]` of the dtype of the weights.
    """
    same = codes[..., :, None] == other_codes[..., None, :]  # [..., C, D]
    same &= (codes >= 0)[..., :, None]
    shared = namespace.where(same.any(-1), weights, 0.0).sum(-1)
    return jaccard_ratio(shared, weights.sum(-1), other_weights.sum(-1), namespace)


def jaccard_ratio(
    shared: Array, total: Array, other_total: Array, namespace: ModuleType = jnp
) -> Array:
    """Return shared weight over the weight of the union, 0 where nothing is shared.

    Args:
        shared: `[...]` weight of the codes in both sets.
        total: `[...]` weight of one set.
        other_total: `[...]` weight of the other.
        namespace: `jax.numpy` or `numpy`.
    """
    union = namespace.maximum(total + other_total - shared, 1e-12)
    return namespace.where(shared > 0, shared / union, 0.0)

"""Figures of a batch beside its loss, each with what no information gives."""

import jax
import jax.numpy as jnp

from losses import info_nce as nce


def with_chance(figures: dict[str, tuple]) -> dict[str, jax.Array]:
    """`{tag: (value, chance)}` as `{tag: value, tag_chance: chance}`, to be logged."""
    logged = {}
    for tag, (value, chance) in figures.items():
        logged |= {tag: value, f"{tag}_chance": jnp.asarray(chance, jnp.float32)}
    return logged


def similarities(positive: jax.Array, negative: jax.Array) -> dict[str, jax.Array]:
    """Mean cosines of positive and negative pairs; uniform directions have 0."""
    return with_chance(
        {
            "train/positive_similarity": (positive, 0.0),
            "train/negative_similarity": (negative, 0.0),
        }
    )


def contrast(aux: nce.InfoNCEMetrics) -> dict[str, jax.Array]:
    """What InfoNCE showed beside its loss."""
    return {
        **with_chance({"train/accuracy": (aux.accuracy, aux.accuracy_chance)}),
        **similarities(aux.positive_similarity, aux.negative_similarity),
        "diag/candidates": aux.candidates,
    }

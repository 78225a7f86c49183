"""Metrics of a batch that are logged beside its loss, with their chance levels."""

import jax
import jax.numpy as jnp
from jax import lax

from losses import info_nce as info_nce_lib
from losses.common.device_means import mean_over_devices
from losses.common.normalize import unit_norm
from objectives.common.objective import MetricFacts, Metrics

ACCURACY: dict[str, MetricFacts] = {
    "train/accuracy": {"kind": "score", "better": "higher"}
}
CANDIDATES: dict[str, MetricFacts] = {
    "diag/candidates": {"kind": "diagnostic", "better": ""}
}
SIMILARITIES: dict[str, MetricFacts] = {
    "train/positive_similarity": {"kind": "score", "better": "higher"},
    "train/negative_similarity": {"kind": "diagnostic", "better": ""},
}
SPREAD: dict[str, MetricFacts] = {
    "diag/embedding_std": {"kind": "diagnostic", "better": ""}
}
CONTRAST = ACCURACY | SIMILARITIES | CANDIDATES


def with_chance(
    values: dict[str, tuple[jax.Array, jax.Array | float]],
) -> Metrics:
    """Return metrics with their chance levels as metrics of their own.

    Args:
        values: Tag -> (value, chance level).

    Returns:
        `{tag: value, tag_chance: chance}`.
    """
    metrics = {}
    for tag, (value, chance) in values.items():
        metrics |= {tag: value, f"{tag}_chance": jnp.asarray(chance, jnp.float32)}
    return metrics


def similarities(positive: jax.Array, negative: jax.Array) -> Metrics:
    """Return mean cosines of positive and negative pairs, with chance levels.

    The chance level is 0, the mean cosine of uniformly distributed directions.
    """
    return with_chance(
        {
            "train/positive_similarity": (positive, 0.0),
            "train/negative_similarity": (negative, 0.0),
        }
    )


def contrast(aux: info_nce_lib.InfoNCEMetrics) -> Metrics:
    """Return the metrics of InfoNCE by tag."""
    return {
        **with_chance({"train/accuracy": (aux.accuracy, aux.accuracy_chance)}),
        **similarities(aux.positive_similarity, aux.negative_similarity),
        "diag/candidates": aux.candidates,
    }


def embedding_std(z: jax.Array, axis_name: str | None) -> jax.Array:
    """Return the standard deviation of a channel, mean over channels.

    Uniformly distributed unit vectors have 1 / sqrt(d), collapsed embeddings 0.

    Args:
        z: `[n, d]` rows of this device, of any length.
        axis_name: Device axis over which the global batch lies, or None.
    """
    z = lax.stop_gradient(unit_norm(z))
    mean, square = mean_over_devices((z.mean(0), (z * z).mean(0)), axis_name)
    return jnp.sqrt(jnp.maximum(square - mean * mean, 0.0)).mean()


def spread(z: jax.Array, axis_name: str | None) -> Metrics:
    """Return `embedding_std` of `z`, with its chance level."""
    return {
        "diag/embedding_std": embedding_std(z, axis_name),
        "diag/embedding_std_chance": jnp.float32(z.shape[-1] ** -0.5),
    }

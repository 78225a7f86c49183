"""How embeddings lie on the sphere: collapse shows here and not in the loss.

The functions are pure, take unit-norm rows, and can be traced.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from evaluators.common import embeddings
from evaluators.common.metric import SPLITS, Embed, Metric, check_choice, check_count
from evaluators.metrics import ranking
from evaluators.search import exact as exact_search

NAMES = (
    "embedding_std",
    "embedding_std_ratio",
    "effective_rank",
    "alignment",
    "uniformity",
    "duplicates",
)
OTHER_VIEW = "view1"
SAME = 1e-6  # cosine distance below which two embeddings count as one
PARTS = 10  # of the jackknife
T95 = 2.2621571628  # two-sided 95 % of Student's t with PARTS - 1 degrees of freedom


def embedding_std(z: jax.Array) -> jax.Array:
    """Return the mean over channels of the standard deviation over rows.

    1 / sqrt(d) for directions spread evenly, 0 for a collapsed embedding (Chen & He,
    SimSiam, section 4.1).

    Args:
        z: [n, d], unit norm.
    """
    return jnp.std(z, axis=0).mean()


def effective_rank(z: jax.Array) -> jax.Array:
    """Return exp of the entropy of the normalized singular values of centered rows.

    Between 1 and min(n - 1, d); 0 if all rows are equal (Roy & Vetterli, The Effective
    Rank, 2007).

    Args:
        z: [n, d], unit norm.
    """
    # Rounding leaves a residue of equal rows; what is that small is nothing.
    s = jnp.linalg.svd(z - z.mean(axis=0, keepdims=True), compute_uv=False)
    total = s.sum()
    real = total > 1e-5 * jnp.sqrt(len(z) * 1.0)
    p = jnp.where(real, s / jnp.where(real, total, 1.0), 0.0)
    entropy = -(p * jnp.log(jnp.where(p > 0, p, 1.0))).sum()
    return jnp.where(real, jnp.exp(entropy), 0.0)


def alignment(z1: jax.Array, z2: jax.Array) -> jax.Array:
    """Return |z1 - z2|^2 of pairs that belong together, [n].

    Its mean is the alignment of Wang & Isola (2020), 0 best and 2 for
    random pairs.
    """
    return jnp.square(z1 - z2).sum(axis=1)


def uniformity(z: jax.Array) -> jax.Array:
    """Return log E exp(-2 |z - z'|^2) over pairs of different rows.

    Near -4 when spread evenly, 0 when collapsed (Wang & Isola, 2020, section 4.1.2).

    Args:
        z: [n, d], unit norm, n >= 2.
    """
    n = len(z)
    exponent = -4 * (1 - z @ z.T)  # -2 |z - z'|^2 of unit vectors
    exponent = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, exponent)
    return jax.nn.logsumexp(exponent) - math.log(n * (n - 1))


def uniformity_chance(d: int) -> float:
    """Return the uniformity of evenly spread directions: log 0F1(; d / 2; 4) - 4."""
    term, total = 1.0, 1.0
    for m in range(60):
        term *= 4 / ((m + 1) * (d / 2 + m))
        total += term
    return math.log(total) - 4


class Evaluator:
    """Spread, rank, alignment, uniformity and duplicates of the records of a split.

    Their chance levels are those of directions spread evenly.

    Alignment is measured between a record as `view` shows it and its first view.
    `embedding_std_ratio` is embedding_std times sqrt(d): 1 is healthy, 0 collapsed.

    Args:
        data: The dataset.
        prefix: What tags start with, as in "eval/geometry".
        seed: Of the choice of records and of the intervals.
        split: "train" or "validation".
        view: Name of the training view in which records are seen, "" as they are.
        max_records: More are drawn from by seed.

    Raises:
        ValueError: If a field has a value that it cannot have.
    """

    def __init__(
        self,
        data: Any,
        *,
        prefix: str,
        seed: int,
        split: Literal["train", "validation"] = "validation",
        view: str = "",
        max_records: int = 512,
    ):
        _check(split, max_records)
        self.prefix, self.seed = prefix, seed
        self.split, self.view = getattr(data, split), view or None
        self.rows = embeddings.some_rows(len(self.split), max_records, seed)

    @staticmethod
    def promises(prefix: str, **fields: Any) -> list[str]:
        """Return the tags of `run`."""
        known = {"split": "validation", "max_records": 512}
        _check(**{name: fields.get(name, value) for name, value in known.items()})
        return [f"{prefix}/{name}" for name in NAMES]

    def run(self, embed: Embed) -> dict[str, Metric]:
        """Return a Metric for each tag; no alignment if embed cannot make views."""
        parts = [(self.split, self.rows)]
        z = _unit(embeddings.embed_parts(embed, parts, self.view))
        views = embeddings.embed_parts(embed, parts, OTHER_VIEW)
        d = z.shape[1]
        span = _span(z)
        spread = _measured(embedding_std, z, self.seed, d**-0.5)
        even = _span(_unit(np.random.default_rng(0).standard_normal(z.shape)))
        found = {
            "embedding_std": spread,
            "embedding_std_ratio": Metric(
                spread.value * math.sqrt(d),
                spread.n,
                1.0,
                spread.low * math.sqrt(d),
                spread.high * math.sqrt(d),
            ),
            "effective_rank": _measured(
                effective_rank, span, self.seed, float(effective_rank(even))
            ),
            "uniformity": _measured(uniformity, span, self.seed, uniformity_chance(d)),
            "duplicates": _duplicates(z),
        }
        if views is not None:
            found["alignment"] = _alignment(z, _unit(views), self.seed)
        return {f"{self.prefix}/{name}": metric for name, metric in found.items()}

    def examples(self, count: int) -> list[dict]:
        """Return no examples: nothing is retrieved here."""
        return []


def _measured(
    statistic: Callable, z: np.ndarray, seed: int, chance: float = math.nan
) -> Metric:
    """Return a statistic of rows with its jackknife interval, a tenth left out a time.

    The bootstrap does not do here: rows drawn twice lower ranks and distances.
    """
    statistic = jax.jit(statistic)
    value = float(statistic(z))
    if len(z) < 2 * PARTS:
        return Metric(value, len(z), chance, math.nan, math.nan)
    order = np.random.default_rng(seed).permutation(len(z))
    size = len(z) // PARTS
    parts = [
        float(statistic(np.delete(z, order[i * size : (i + 1) * size], axis=0)))
        for i in range(PARTS)
    ]
    half = T95 * math.sqrt((PARTS - 1) * np.var(parts))
    return Metric(value, len(z), chance, value - half, value + half)


def _alignment(z: np.ndarray, views: np.ndarray, seed: int) -> Metric:
    values = np.asarray(alignment(z, views), float)
    random_distance = 2 - 2 * float(z.mean(axis=0) @ views.mean(axis=0))
    n = np.arange(len(z))
    chances = np.full(len(z), random_distance)
    return Metric(
        *ranking.summarize(values, chances, n, np.zeros_like(n), seed, share=False)
    )


def _duplicates(z: np.ndarray) -> Metric:
    """Return the share of records that have another at the same place."""
    ids = np.arange(len(z))
    scores, _ = exact_search.top_k(z, z, 1, query_ids=ids, gallery_ids=ids)
    share = float((scores[:, 0] >= 1 - SAME).mean())
    return Metric(share, len(z), 0.0, *ranking.wilson(share, len(z)))


def _span(z: np.ndarray) -> np.ndarray:
    """Return rows in their own span; rank and uniformity stay what they are."""
    return np.linalg.qr(z.T, mode="r").T if z.shape[1] > len(z) else z


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)


def _check(split, max_records) -> None:
    check_choice("split", split, SPLITS)
    check_count("max_records", max_records, least=2)

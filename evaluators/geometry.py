"""How embeddings lie on the sphere: collapse shows here and not in the loss.

The functions are pure, take unit-norm rows, and can be traced. Rows of NumPy are not
compiled, since intervals need them of many numbers of rows.
"""

import dataclasses
import math
from types import ModuleType
from typing import Annotated, Literal, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval

from evaluators.common import embeddings
from evaluators.common.embeddings import unit_rows
from evaluators.common.evaluator import EvaluatorBase, Examples, no_examples
from evaluators.common.groups import record_groups
from evaluators.common.metric import DIAGNOSTIC, Metric, Metrics, MetricType
from evaluators.common.protocols import Data, Embed, Split
from evaluators.metrics import intervals
from evaluators.search import exact as exact_search

TYPES = {
    "embedding_std": MetricType("diagnostic", "higher"),
    "embedding_std_ratio": MetricType("diagnostic", "higher"),
    "effective_rank": MetricType("diagnostic", "higher"),
    "alignment": MetricType("diagnostic", "lower"),
    "uniformity": MetricType("diagnostic", "lower"),
    "duplicates": MetricType("diagnostic", "lower"),
}
Array: TypeAlias = jax.Array | np.ndarray
LARGEST = intervals.Bounds(0.0, 4.0)  # of |z - z'|^2
FEW = 100  # held-out records, from which on they are enough
SAME = 1e-6  # cosine distance below which two embeddings count as one


class Statistic(Protocol):
    """A figure of embeddings."""

    def __call__(self, z: Array, /) -> Array:
        """Return the figure of rows [n, d], unit norm."""
        ...


def embedding_std(z: Array) -> Array:
    """Return the mean over channels of the standard deviation over rows.

    1 / sqrt(d) for directions spread evenly, 0 for a collapsed embedding (Chen & He,
    SimSiam, section 4.1).

    Args:
        z: [n, d], unit norm.
    """
    return _namespace(z).std(z, axis=0).mean()


def effective_rank(z: Array) -> Array:
    """Return exp of the entropy of the normalized singular values of centered rows.

    Between 1 and min(n - 1, d); 0 if all rows are equal (Roy & Vetterli, The Effective
    Rank, 2007).

    Args:
        z: [n, d], unit norm.
    """
    xp = _namespace(z)
    # Rounding leaves a residue of equal rows; what is that small is nothing.
    s = xp.linalg.svd(z - z.mean(axis=0, keepdims=True), compute_uv=False)
    total = s.sum()
    real = total > 1e-5 * len(z) ** 0.5
    p = xp.where(real, s / xp.where(real, total, 1.0), 0.0)
    entropy = -(p * xp.log(xp.where(p > 0, p, 1.0))).sum()
    return xp.where(real, xp.exp(entropy), 0.0)


def alignment(z1: Array, z2: Array) -> Array:
    """Return |z1 - z2|^2 of pairs that belong together, [n].

    Its mean is the alignment of Wang & Isola (2020), 0 best and 2 for
    random pairs.
    """
    return ((z1 - z2) ** 2).sum(axis=1)


def uniformity(z: Array) -> Array:
    """Return log E exp(-2 |z - z'|^2) over pairs of different rows.

    Near -4 when spread evenly, 0 when collapsed (Wang & Isola, 2020, section 4.1.2).

    Args:
        z: [n, d], unit norm, n >= 2.
    """
    xp, n = _namespace(z), len(z)
    exponent = -4 * (1 - z @ z.T)  # -2 |z - z'|^2 of unit vectors, at least -8
    total = xp.where(xp.eye(n, dtype=bool), 0.0, xp.exp(exponent)).sum()
    return xp.log(total) - math.log(n * (n - 1))


def uniformity_chance(d: int) -> float:
    """Return the uniformity of evenly spread directions: log 0F1(; d / 2; 4) - 4."""
    term, total = 1.0, 1.0
    for m in range(60):
        term *= 4 / ((m + 1) * (d / 2 + m))
        total += term
    return math.log(total) - 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """Spread, rank, alignment, uniformity and duplicates of the records of a split.

      embedding_std        mean over channels of the standard deviation over records
      embedding_std_ratio  embedding_std times sqrt(d): 1 is healthy, 0 collapsed
      effective_rank       exp of the entropy of normalized singular values
      alignment            mean |z - z'|^2 of a record as `view` shows it and its view1
      uniformity           log mean exp(-2 |z - z'|^2) over pairs of records
      duplicates           share of records with another at the same place

    Chance levels are those of directions spread evenly. There is no alignment where the
    embed function has no views.

    Attributes:
        split: Split of the records; "auto" for held-out records, or all where fewer
            than 100 are held out.
        view: Name of the training view in which records are seen, "" as they are.
        max_records: Most records; of more, a sample is drawn by seed.
    """

    split: Literal["train", "validation", "auto"] = "validation"
    view: str = ""
    max_records: Annotated[int, Interval(ge=2, le=16_384)] = 512

    def tags(self) -> list[str]:
        """Return the names of all figures."""
        return list(TYPES)

    def _check_data(self, data: Data) -> None:
        count = sum(len(rows) for _, rows in self._parts)
        if count < 2:
            raise ValueError(f"got {count} records in {self.split}; expected 2 or more")

    def choices(self) -> list[str]:
        """Return a sentence on the records where the data decided."""
        if self.split != "auto" or len(self._parts) == 1:
            return []
        return ["all records count, since few are held out."]

    @property
    def _parts(self) -> list[tuple[Split, np.ndarray]]:
        """Splits with the rows that are measured."""
        few = self.split == "auto" and len(self._data.validation) < FEW
        name = "validation" if self.split == "auto" else self.split
        splits = embeddings.named_splits(self._data, "all" if few else name)
        total = sum(len(split) for split in splits)
        rows = embeddings.sample_rows(total, self.max_records, self._seed)
        parts, first = [], 0
        for split in splits:
            inside = (rows >= first) & (rows < first + len(split))
            parts.append((split, rows[inside] - first))
            first += len(split)
        return parts

    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        parts, seed = self._parts, self._seed
        z = unit_rows(embeddings.embed_required(embed, parts, self.view or None))
        views = embeddings.embed_parts(embed, parts, embeddings.FIRST_VIEW)
        d = z.shape[1]
        span, groups = _span(z), record_groups(self._data, parts)
        spread = _measured(embedding_std, z, groups, seed, d**-0.5)
        even = _span(unit_rows(np.random.default_rng(0).standard_normal(z.shape)))
        metrics = {
            "embedding_std": spread,
            "embedding_std_ratio": Metric(
                spread.value * math.sqrt(d),
                spread.n,
                1.0,
                spread.low * math.sqrt(d),
                spread.high * math.sqrt(d),
            ),
            "effective_rank": _measured(
                effective_rank, span, groups, seed, float(effective_rank(even))
            ),
            "uniformity": _measured(
                uniformity, span, groups, seed, uniformity_chance(d)
            ),
            "duplicates": _duplicates(z, groups),
        }
        if views is not None:
            metrics["alignment"] = _alignment(z, unit_rows(views), groups)
        metrics = {
            name: metric._replace(**TYPES[name]._asdict())
            for name, metric in metrics.items()
        }
        return metrics, no_examples


def _measured(
    statistic: Statistic,
    z: np.ndarray,
    groups: np.ndarray,
    seed: int,
    chance: float,
) -> Metric:
    """Return a statistic of rows with its jackknife interval."""
    z = z.astype(np.float64)

    def measure(rows: np.ndarray) -> float:
        return float(statistic(rows))

    interval = intervals.jackknife(measure, z, groups, seed)
    return Metric(measure(z), len(z), chance, *interval)


def _alignment(z: np.ndarray, views: np.ndarray, groups: np.ndarray) -> Metric:
    random_distance = 2 - 2 * float(z.mean(axis=0) @ views.mean(axis=0))
    values = np.asarray(alignment(z, views), float)
    return intervals.mean_metric(
        values, random_distance, groups, DIAGNOSTIC, bounds=LARGEST
    )


def _duplicates(z: np.ndarray, groups: np.ndarray) -> Metric:
    """Return the share of records that have another at the same place."""
    ids = np.arange(len(z))
    scores, _ = exact_search.top_k(z, z, 1, query_ids=ids, gallery_ids=ids)
    same = scores[:, 0] >= 1 - SAME
    return intervals.mean_metric(same, 0.0, groups, DIAGNOSTIC, bounds=intervals.SHARE)


def _namespace(z: Array) -> ModuleType:
    """Return the library that the rows belong to."""
    return np if isinstance(z, np.ndarray) else jnp


def _span(z: np.ndarray) -> np.ndarray:
    """Return rows in the basis of their span; rank and uniformity do not change."""
    if z.shape[1] <= len(z):
        return z
    return np.asarray(np.linalg.qr(z.T, mode="r")).T

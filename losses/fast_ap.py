"""FastAP: average precision of the ranking of a batch, with ties inside soft bins."""

from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma

from losses.common import soft_histogram
from losses.common.average_precision import expected_average_precision
from losses.common.device_means import ratio_of_sums
from losses.common.normalize import unit_norm

Pulse: TypeAlias = Literal["triangular", "gaussian"]

# A sum of pairs up to here is 0: the tail of a Gaussian is no candidate.
_NO_PAIR = 1e-9


class FastAPMetrics(NamedTuple):
    """Metrics of one batch; all scalars.

    Attributes:
        valid: Share of the queries that have a positive; only these count.
        positives: Mean number of positives of a valid query.
        candidates: Mean number of candidates of a query.
        positive_similarity: Mean cosine of the pairs that share a label.
        negative_similarity: Mean cosine of the pairs that do not.
    """

    valid: jax.Array
    positives: jax.Array
    candidates: jax.Array
    positive_similarity: jax.Array
    negative_similarity: jax.Array


def fast_ap(
    x: jax.Array,
    keys: jax.Array,
    labels: jax.Array,
    key_labels: jax.Array,
    columns: jax.Array,
    *,
    bins: int = 10,
    pulse: Pulse = "triangular",
    sigma: float = 0.05,
    count: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, FastAPMetrics]:
    """Return 1 - FastAP of local queries in the ranking of all keys.

    The squared distances 2 - 2 cos of a query i fall into bins l = 0 .. b from near to
    far. With h+ and h the histograms of its positives and of all its candidates, H+
    and H their running sums, and R_i the number of its positives,

    `FastAP_i = 1 / R_i sum_l h+_l H+_l / H_l`, `L = mean_i (1 - FastAP_i)`

    over the queries with R_i > 0. With triangular bins time and memory are those of the
    matrix of cosines, whatever b is. The gradient reaches `x` and `keys`.

    Args:
        x: `[n, d]` queries of any length; normalized here, in float32 or wider.
        keys: `[m, d]` ranked keys, likewise; with several devices those of all.
        labels: int `[n]`, the class of each query; negative for none.
        key_labels: int `[m]`, likewise. A key without a class is no candidate.
        columns: int `[n]`, the key that is the query itself, which is no candidate.
        bins: b, 1 or more. Pairs in one bin tie, so that few bins rank coarsely; the
            gradients of many bins with less than a pair each are noise. 10 to 25 suit a
            batch of 256, 100 one of 1,024.
        pulse: "triangular" shares a pair between the two nearest bins, as in the paper;
            "gaussian" among all, exp(-(cos - c_l)^2 / 2 sigma^2) over its sum.
        sigma: Width of the Gaussian, in units of the cosine; one bin is 2 / b wide.
        count: Divisor of the sum over queries, or None for the number of valid queries.
            With several devices, the mean of these numbers over devices makes the mean
            of the devices' losses that of all queries.
        axis_name: Device axis over which the caller averages metrics, or None: they are
            then means over the queries, or pairs, of all devices.

    Returns:
        The scalar loss, 0 without a valid query, and its `FastAPMetrics`.

    Raises:
        ValueError: Shapes do not fit, or a field is out of range.

    Source: Cakir et al., "Deep metric learning to rank", CVPR 2019, eq. 4 to 9.
    """
    _check(x, keys, labels, key_labels, columns, bins, pulse, sigma)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x, keys = unit_norm(x.astype(dtype)), unit_norm(keys.astype(dtype))
    s = jnp.matmul(keys, x.T, precision=lax.Precision.HIGHEST)  # [m, n]
    positive, candidate = _pairs(labels, key_labels, columns)  # bool [m, n]
    place = (1 - s) * (bins / 2)  # in bins, 0 at cosine 1 and b at -1
    # Bins start with the nearest keys; the other order would reverse the ranking.
    shape = (
        soft_histogram.Triangular(bins)
        if pulse == "triangular"
        else soft_histogram.Gaussian(bins, sigma * bins / 2)
    )
    h_positive, h_all = soft_histogram.histograms(shape, place, positive, candidate)
    total = jnp.sum(positive, 0).astype(dtype)  # R, [n]
    valid = total > 0
    ap = _average_precision(h_positive, h_all) / jnp.maximum(total, 1)
    if count is None:
        count = jnp.sum(valid)
    loss = jnp.sum(jnp.where(valid, 1 - ap, 0)) / jnp.maximum(count, 1)
    return loss, _metrics(
        lax.stop_gradient(s), positive, candidate, valid, total, axis_name
    )


def chance(candidates: int, positives: int) -> float:
    """Return 1 - E[AP] of a random ranking.

    FastAP of random embeddings is lower still where many share a bin; embeddings that
    are all alike have R / M.

    Args:
        candidates: M.
        positives: R, in [1, M].

    Raises:
        ValueError: `positives` is out of range.
    """
    if not 1 <= positives <= candidates:
        raise ValueError(
            f"got {positives} positives among {candidates} candidates; expected 1 or "
            "more, and no more than candidates"
        )
    harmonic = sum(1 / i for i in range(1, candidates + 1))
    return 1 - expected_average_precision(positives, candidates, harmonic)


def batch_chance(positives: jax.Array, candidates: jax.Array) -> jax.Array:
    """Return `chance` of a batch whose labels are traced.

    Args:
        positives: R, mean over the queries that have one; 0 if none has.
        candidates: M of each query.

    Returns:
        float32 scalar; 1 where no query has a positive.
    """
    m = jnp.maximum(candidates, 1.0)
    harmonic = digamma(m + 1) + jnp.euler_gamma
    expected = expected_average_precision(positives, m, harmonic)
    return jnp.where(positives > 0, 1 - expected, 1.0)


def _pairs(
    labels: jax.Array, key_labels: jax.Array, columns: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return which keys are positives of a query, and which candidates, [m, n]."""
    other = columns[None, :] != jnp.arange(key_labels.shape[0])[:, None]
    candidate = other & (key_labels >= 0)[:, None]
    return candidate & (labels[None, :] == key_labels[:, None]), candidate


def _average_precision(h_positive: jax.Array, h_all: jax.Array) -> jax.Array:
    """Return sum_l h+_l H+_l / H_l, [n]; bins before the first candidate hold 0."""
    sum_positive, sum_all = jnp.cumsum(h_positive, 0), jnp.cumsum(h_all, 0)
    filled = sum_all > _NO_PAIR
    precision = jnp.where(filled, sum_positive / jnp.where(filled, sum_all, 1), 0)
    return jnp.sum(h_positive * precision, 0)


def _metrics(
    s: jax.Array,
    positive: jax.Array,
    candidate: jax.Array,
    valid: jax.Array,
    total: jax.Array,
    axis_name: str | None,
) -> FastAPMetrics:
    negative = candidate & ~positive

    def mean(mask):
        total = jnp.sum(jnp.where(mask, s, 0))
        return ratio_of_sums(total, jnp.sum(mask), axis_name)

    return FastAPMetrics(
        valid=jnp.mean(valid),
        positives=ratio_of_sums(jnp.sum(total), jnp.sum(valid), axis_name),
        candidates=jnp.mean(jnp.sum(candidate, 0)),
        positive_similarity=mean(positive),
        negative_similarity=mean(negative),
    )


def _check(
    x: jax.Array,
    keys: jax.Array,
    labels: jax.Array,
    key_labels: jax.Array,
    columns: jax.Array,
    bins: int,
    pulse: str,
    sigma: float,
) -> None:
    if x.ndim != 2 or keys.ndim != 2 or x.shape[1] != keys.shape[1]:
        raise ValueError(
            f"got x {x.shape} and keys {keys.shape}; expected [n, d] and [m, d]"
        )
    n, m = x.shape[0], keys.shape[0]
    if 0 in (n, m):
        raise ValueError(f"got x {x.shape} and keys {keys.shape}; expected rows")
    integers = {
        "labels": (labels, n), "key_labels": (key_labels, m), "columns": (columns, n)
    }  # fmt: skip
    for name, (array, size) in integers.items():
        if array.shape != (size,) or not jnp.issubdtype(array.dtype, jnp.integer):
            raise ValueError(
                f"got {name} {array.dtype} {array.shape}; expected integers of shape "
                f"{(size,)}"
            )
    if bins < 1:
        raise ValueError(f"got bins {bins}; expected 1 or more")
    if pulse not in get_args(Pulse):
        raise ValueError(f"got pulse {pulse!r}; choices: {', '.join(get_args(Pulse))}")
    if pulse == "gaussian" and not sigma > 0:
        raise ValueError(f"got sigma {sigma}; expected above 0")

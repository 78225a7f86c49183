"""Triplet loss: each anchor nearer to its positive than to other records."""

import math
from statistics import NormalDist
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax import lax

from losses.common.device_means import ratio_of_sums

Mining: TypeAlias = Literal["random", "all", "semi_hard", "batch_hard"]

_TINY = 1e-12  # a squared distance below is 0, with a gradient of 0


class TripletMetrics(NamedTuple):
    """Metrics of one batch; all scalars.

    Attributes:
        positive_distance: Mean distance of anchors to their positives.
        negative_distance: Mean distance to the mined negatives.
        violations: Share of the mined triplets with d_an - d_ap < margin; with the soft
            margin, with d_an < d_ap.
        accuracy: Share of anchors whose positive is nearer than every negative. A tie
            is a miss, so that collapsed embeddings score 0.
        candidates: Mean number of keys an anchor is compared with, positive included.
        compared: Share of anchors that have a negative.
    """

    positive_distance: jax.Array
    negative_distance: jax.Array
    violations: jax.Array
    accuracy: jax.Array
    candidates: jax.Array
    compared: jax.Array


def triplet(
    q: jax.Array,
    k: jax.Array,
    positives: jax.Array,
    *,
    margin: float | None = 0.2,
    squared: bool = False,
    mining: Mining = "batch_hard",
    mask: jax.Array | None = None,
    rng: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, TripletMetrics]:
    """Return the triplet loss of local anchors against all keys.

    With d_ij = |q_i - k_j| (or its square), p the positive of i and n its negative,

    `L = mean_i f(d_ip - d_in)`, f(x) = max(x + margin, 0) or softplus(x)

    Args:
        q: `[n, d]` anchors, not normalized here: normalize them before if distances are
            to lie in [0, 2] (squared: [0, 4]).
        k: `[m, d]` keys, positives and negatives of all anchors.
        positives: int `[n]`, the column of each anchor's positive.
        margin: Above 0, in units of d; None for the soft margin.
        squared: Use d_ij^2 for d_ij, as FaceNet does.
        mining: Which negatives an anchor is compared with. "batch_hard": the nearest.
            "semi_hard": the nearest that is farther than the positive, or the farthest
            if none is. "random": one drawn with `rng`. "all": every negative; the mean
            is over all triplets, so that triplets without loss reduce the gradient.
        mask: bool `[n, m]`, True where a key may be a negative. The positive never is.
        rng: Random key, required by "random" alone.
        axis_name: Device axis over which the caller averages metrics, or None: they are
            then means over the anchors of all devices.

    Returns:
        The scalar loss and its `TripletMetrics`. An anchor without negatives has loss 0
        and counts in no metric.

    Raises:
        ValueError: Shapes do not fit, the margin is out of range, the mining is
            unknown, or "random" has no `rng`.

    Source: Schroff et al., "FaceNet", arXiv 1503.03832, eq. 2 and section 3.2; Hermans
    et al., "In defense of the triplet loss", arXiv 1703.07737, eq. 5.
    """
    _check(q, k, positives, margin, mining, mask, rng)
    n, m = q.shape[0], k.shape[0]
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    d = _distances(q.astype(dtype), k.astype(dtype), squared)  # [n, m]
    is_positive = positives[:, None] == jnp.arange(m)[None, :]  # [n, m]
    allowed = ~is_positive if mask is None else ~is_positive & mask
    d_ap = jnp.take_along_axis(d, positives[:, None], 1)  # [n, 1]
    share = _mined(lax.stop_gradient(d), d_ap, allowed, mining, rng).astype(dtype)
    excess = d_ap - d  # [n, m]
    cost = jax.nn.softplus(excess) if margin is None else jax.nn.relu(excess + margin)
    rows = jnp.sum(share, 1)  # [n], 1 or 0
    loss = jnp.sum(jnp.where(share > 0, share * cost, 0)) / n
    d, excess, share = map(lax.stop_gradient, (d, excess, share))
    count = jnp.sum(rows)
    nearest = jnp.min(jnp.where(allowed, d, jnp.inf), 1)
    has_negative = allowed.any(1)

    def mean(x: jax.Array) -> jax.Array:
        return ratio_of_sums(jnp.sum(x), count, axis_name)

    return loss, TripletMetrics(
        positive_distance=mean(jnp.where(has_negative, d_ap[:, 0], 0)),
        negative_distance=mean(share * d),
        violations=mean(share * (excess > -(margin or 0.0))),
        accuracy=mean(has_negative & (d_ap[:, 0] < nearest)),
        candidates=1 + jnp.mean(jnp.sum(allowed, 1, dtype=dtype)),
        compared=jnp.mean(has_negative, dtype=dtype),
    )


def chance(margin: float | None) -> float:
    """Return the loss of equal embeddings: the margin, or ln 2 for the soft margin."""
    return math.log(2) if margin is None else margin


def chance_levels(
    d: int, others: int, margin: float | None, squared: bool
) -> dict[str, float]:
    """Return the levels of uniformly distributed directions with random positives.

    Their distances are normal with mean sqrt(2) and standard deviation 1 / sqrt(2 d),
    squared ones with 2 and 2 / sqrt(d), for large d. The level of a loss is that of
    equal embeddings instead, see `chance`.

    Args:
        d: Width of the embeddings.
        others: Number of negatives of an anchor, 1 or more.
        margin: Margin of the loss; None for the soft margin.
        squared: Whether distances are squared.

    Returns:
        Means `d_pos`, `d_neg`, `d_nearest`; shares `violations` of all negatives and
        `hard_violations` of the nearest alone; `triplet_loss` and `hard_loss`.
    """
    mean, std = (2.0, 2 / d**0.5) if squared else (2**0.5, (2 * d) ** -0.5)
    # The mean of the largest of n normal numbers, after Blom (1958).
    largest = NormalDist().inv_cdf((others - 0.375) / (others + 0.25))
    nearest = max(mean - std * largest, 0.0)
    threshold, cdf = margin or 0.0, NormalDist(sigma=std).cdf
    return {
        "d_pos": mean,
        "d_neg": mean,
        "d_nearest": nearest,
        "violations": cdf(threshold / 2**0.5),
        "hard_violations": cdf(mean - nearest + threshold),
        "triplet_loss": chance(margin),
        "hard_loss": chance(margin),
    }


def mined_levels(
    d: int, others: int, margin: float | None, squared: bool, mining: Mining
) -> dict[str, float]:
    """Return the levels of `chance_levels` for the mined negatives of a batch.

    With "semi_hard", the nearest negative that is farther than the positive is, on
    average, about as far as any negative; each such triplet counts as a violation.

    Args:
        d: Width of the embeddings.
        others: Number of negatives of an anchor, 1 or more.
        margin: Least difference of the two distances.
        squared: Whether distances are squared.
        mining: How negatives are chosen, see `triplet`.

    Returns:
        `d_pos`, `d_neg`, `violations` and `accuracy`.
    """
    levels = chance_levels(d, others, margin, squared)
    negative, violations = levels["d_neg"], levels["violations"]
    if mining == "batch_hard":
        negative, violations = levels["d_nearest"], levels["hard_violations"]
    elif mining == "semi_hard":
        # With the soft margin only where no negative is farther than the positive.
        violations = 1.0 if margin else 1 / (1 + others)
    return {
        "d_pos": levels["d_pos"],
        "d_neg": negative,
        "violations": violations,
        "accuracy": 1 / (1 + others),
    }


def _distances(q: jax.Array, k: jax.Array, squared: bool) -> jax.Array:
    """Return |q_i - k_j| or its square, [n, m], with a gradient of 0 at 0."""
    # Differences would need n * m * d numbers. The product loses digits where records
    # nearly coincide, hence the full precision.
    product = jnp.matmul(q, k.T, precision=lax.Precision.HIGHEST)
    norms = jnp.sum(q * q, 1)[:, None] + jnp.sum(k * k, 1)[None, :]
    square = jnp.maximum(norms - 2 * product, 0)
    if squared:
        return square
    positive = square > _TINY
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def _mined(
    d: jax.Array,
    d_ap: jax.Array,
    allowed: jax.Array,
    mining: str,
    rng: jax.Array | None,
) -> jax.Array:
    """Return each key's share in its anchor's loss, [n, m]; rows sum to 1 or 0."""
    if mining == "all":
        return allowed / jnp.maximum(jnp.sum(allowed, 1, keepdims=True), 1)
    if mining == "random":
        assert rng is not None
        score = jax.random.uniform(rng, d.shape)
    elif mining == "batch_hard":
        score = -d
    else:
        farther = allowed & (d > d_ap)
        # Negatives nearer than the positive rank after all that are farther.
        score = jnp.where(farther, -d, d - 2 * jnp.max(d) - 1)
    column = jnp.argmax(jnp.where(allowed, score, -jnp.inf), 1)  # [n]
    chosen = column[:, None] == jnp.arange(d.shape[1])[None, :]
    return chosen & allowed


def _check(
    q: jax.Array,
    k: jax.Array,
    positives: jax.Array,
    margin: float | None,
    mining: str,
    mask: jax.Array | None,
    rng: jax.Array | None,
) -> None:
    if q.ndim != 2 or k.ndim != 2 or q.shape[1] != k.shape[1]:
        raise ValueError(f"got q {q.shape} and k {k.shape}; expected [n, d] and [m, d]")
    n, m = q.shape[0], k.shape[0]
    if positives.shape != (n,) or not jnp.issubdtype(positives.dtype, jnp.integer):
        raise ValueError(
            f"got positives {positives.dtype} {positives.shape}; expected integers of "
            f"shape {(n,)}"
        )
    if margin is not None and not margin > 0:
        raise ValueError(f"got margin {margin}; expected above 0, or None for soft")
    if mining not in get_args(Mining):
        raise ValueError(
            f"got mining {mining!r}; choices: {', '.join(get_args(Mining))}"
        )
    if mask is not None and mask.shape != (n, m):
        raise ValueError(f"got mask {mask.shape}; expected {(n, m)}")
    if mining == "random" and rng is None:
        raise ValueError("got no rng; expected a random key for mining 'random'")

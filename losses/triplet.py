"""Triplet loss: each anchor nearer to its positive than to other records."""

import math
from statistics import NormalDist
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax

Mining = Literal["random", "all", "semi_hard", "batch_hard"]

_TINY = 1e-12  # below this a squared distance is 0, and so is its root's gradient


class TripletMetrics(NamedTuple):
    """What one batch showed beside the loss; all scalars.

    Attributes:
      positive_distance: mean distance of anchors to their positives.
      negative_distance: mean distance to the negatives that were mined.
      violations: share of the mined triplets with d_an - d_ap < margin; with the soft
        margin, of those with d_an < d_ap.
      accuracy: share of anchors whose positive is nearer than every negative. A tie
        is a miss, so collapsed embeddings score 0.
      candidates: mean number of keys an anchor was compared with, positive included.
    """

    positive_distance: jax.Array
    negative_distance: jax.Array
    violations: jax.Array
    accuracy: jax.Array
    candidates: jax.Array


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
) -> tuple[jax.Array, TripletMetrics]:
    """Computes the triplet loss of local anchors against all keys.

    With d_ij = |q_i - k_j| (or its square), p the positive of i and n its negative,

      L = mean_i f(d_ip - d_in),   f(x) = max(x + margin, 0), or softplus(x)

    Args:
      q: [n, d] anchors, as they are: normalize before if distances are to lie in
        [0, 2] (squared: [0, 4]).
      k: [m, d] keys, positives and negatives of all anchors.
      positives: int [n], the column of each anchor's positive.
      margin: above 0, in units of d; None is the soft margin.
      squared: take d_ij^2 for d_ij, as FaceNet does.
      mining: which negatives an anchor meets. "batch_hard": the nearest.
        "semi_hard": the nearest that is farther than the positive, or the farthest
        where none is. "random": one drawn with `rng`. "all": every one, and the mean
        is over all triplets, so that solved ones shrink the gradient.
      mask: bool [n, m], True where a key may be a negative. The positive never is.
      rng: key, needed by "random" alone.

    Returns:
      The scalar loss, and its `TripletMetrics`. An anchor without any negative counts
      as loss 0 and in no metric.

    Raises:
      ValueError: on shapes that do not fit, a margin out of range, an unknown way of
        mining, or "random" without `rng`.

    Source: Schroff et al., "FaceNet", arXiv 1503.03832, eq. 2 and section 3.2; Hermans
    et al., "In defense of the triplet loss", arXiv 1703.07737, eq. 5.
    """
    _check(q, k, positives, margin, mining, mask, rng)
    n, m = q.shape[0], k.shape[0]
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    d = _distances(q.astype(dtype), k.astype(dtype), squared)  # [n, m]
    own = positives[:, None] == jnp.arange(m)[None, :]  # [n, m]
    allowed = ~own if mask is None else ~own & mask
    d_ap = jnp.take_along_axis(d, positives[:, None], 1)  # [n, 1]
    share = _mined(lax.stop_gradient(d), d_ap, allowed, mining, rng).astype(dtype)
    over = d_ap - d  # [n, m]
    cost = jax.nn.softplus(over) if margin is None else jax.nn.relu(over + margin)
    rows = jnp.sum(share, 1)  # [n], 1 or 0
    loss = jnp.sum(jnp.where(share > 0, share * cost, 0)) / n
    d, over, share = map(lax.stop_gradient, (d, over, share))
    real = jnp.maximum(jnp.sum(rows), 1)
    nearest = jnp.min(jnp.where(allowed, d, jnp.inf), 1)
    some = allowed.any(1)
    return loss, TripletMetrics(
        positive_distance=jnp.sum(jnp.where(some, d_ap[:, 0], 0)) / real,
        negative_distance=jnp.sum(share * d) / real,
        violations=jnp.sum(share * (over > -(margin or 0.0))) / real,
        accuracy=jnp.sum(some & (d_ap[:, 0] < nearest)) / real,
        candidates=1 + jnp.mean(jnp.sum(allowed, 1, dtype=dtype)),
    )


def chance(margin: float | None) -> float:
    """Returns the loss of embeddings that are all the same: the margin, or ln 2."""
    return math.log(2) if margin is None else margin


def chance_levels(
    d: int, others: int, margin: float | None, squared: bool
) -> dict[str, float]:
    """Returns what directions spread evenly have, where a positive is a random record.

    Distances of such are normal with mean sqrt(2) and standard deviation 1 / sqrt(2 d),
    squared ones with 2 and 2 / sqrt(d), for large d. Losses have the margin instead,
    that of embeddings that are all alike.

    Args:
      d: width of the embeddings.
      others: negatives of an anchor, 1 or more.
      margin: of the loss; None is the soft margin.
      squared: whether distances are squared.

    Returns:
      Means `d_pos`, `d_neg`, `d_nearest`; shares `violations` of all negatives and
      `hard_violations` of the nearest alone; `triplet_loss` and `hard_loss`.
    """
    mean, std = (2.0, 2 / d**0.5) if squared else (2**0.5, (2 * d) ** -0.5)
    # The mean of the largest of n normal numbers, after Blom (1958).
    most = NormalDist().inv_cdf((others - 0.375) / (others + 0.25))
    nearest = max(mean - std * most, 0.0)
    wanted, below = margin or 0.0, NormalDist(sigma=std).cdf
    return {
        "d_pos": mean,
        "d_neg": mean,
        "d_nearest": nearest,
        "violations": below(wanted / 2**0.5),
        "hard_violations": below(mean - nearest + wanted),
        "triplet_loss": chance(margin),
        "hard_loss": chance(margin),
    }


def mined_levels(
    d: int, others: int, margin: float | None, squared: bool, mining: Mining
) -> dict[str, float]:
    """Returns `chance_levels` of the metrics of a batch, by how negatives are mined.

    The nearest negative that is farther than the positive is, on average, about as far
    as any: it is taken for one, and each such triplet for a violation.

    Args:
      d: width of the embeddings.
      others: negatives of an anchor, 1 or more.
      margin: as in `triplet`.
      squared: as in `triplet`.
      mining: as in `triplet`.

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
    """Returns |q_i - k_j| or its square, [n, m], with a gradient of 0 at 0."""
    # By differences would be n * m * d numbers; the product loses digits only where
    # records nearly coincide, hence the full precision.
    product = jnp.matmul(q, k.T, precision=lax.Precision.HIGHEST)
    norms = jnp.sum(q * q, 1)[:, None] + jnp.sum(k * k, 1)[None, :]
    square = jnp.maximum(norms - 2 * product, 0)
    if squared:
        return square
    apart = square > _TINY
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)


def _mined(d, d_ap, allowed, mining: str, rng) -> jax.Array:
    """Returns each key's share in its anchor's loss, [n, m]; rows sum to 1 or 0."""
    if mining == "all":
        return allowed / jnp.maximum(jnp.sum(allowed, 1, keepdims=True), 1)
    if mining == "random":
        score = jax.random.uniform(rng, d.shape)
    elif mining == "batch_hard":
        score = -d
    else:
        farther = allowed & (d > d_ap)
        # Those nearer than the positive come after all that are farther.
        score = jnp.where(farther, -d, d - 2 * jnp.max(d) - 1)
    column = jnp.argmax(jnp.where(allowed, score, -jnp.inf), 1)  # [n]
    chosen = column[:, None] == jnp.arange(d.shape[1])[None, :]
    return chosen & allowed


def _check(q, k, positives, margin, mining, mask, rng) -> None:
    if q.ndim != 2 or k.ndim != 2 or q.shape[1] != k.shape[1]:
        raise ValueError(f"q [n, d] and k [m, d] expected, got {q.shape}, {k.shape}")
    n, m = q.shape[0], k.shape[0]
    if positives.shape != (n,) or not jnp.issubdtype(positives.dtype, jnp.integer):
        raise ValueError(
            f"positives must be integers of shape {(n,)}, got "
            f"{positives.dtype} {positives.shape}"
        )
    if margin is not None and not margin > 0:
        raise ValueError(f"margin must be above 0, or None for soft, got {margin}")
    if mining not in get_args(Mining):
        raise ValueError(
            f"got mining {mining!r}; choices: {', '.join(get_args(Mining))}"
        )
    if mask is not None and mask.shape != (n, m):
        raise ValueError(f"mask must have shape {(n, m)}, got {mask.shape}")
    if mining == "random" and rng is None:
        raise ValueError("mining 'random' needs rng, a key")

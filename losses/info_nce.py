"""InfoNCE: recognize each anchor's positive among many candidate keys."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from losses.common.normalize import unit_norm

# Logit of a column that is no candidate. Finite, so that a key_block_size without a
# single candidate still has a gradient (zero) and not a NaN.
_EXCLUDED = -1e30

Columns = Callable[[jax.Array], jax.Array]  # columns int32 [t] -> [n, t]


class InfoNCEMetrics(NamedTuple):
    """What one batch showed beside the loss; all scalars.

    Attributes:
      accuracy: share of rows whose best target beats every other candidate. A tie
        is a miss, so collapsed embeddings score 0 and not 1/N.
      accuracy_chance: the same of candidates in random order, mean share of targets
        among a row's candidates.
      candidates: mean number of candidates of a row, its targets included.
      positive_similarity: mean cosine with the targets, weighted as the loss is.
      negative_similarity: mean cosine over all candidates that are no targets.
    """

    accuracy: jax.Array
    accuracy_chance: jax.Array
    candidates: jax.Array
    positive_similarity: jax.Array
    negative_similarity: jax.Array


class _Sums(NamedTuple):
    """What a row has to remember of the tiles seen so far; every field is [n]."""

    lse: jax.Array  # log of the summed exponentials of all candidates
    positive: jax.Array  # sum of target * similarity
    mass: jax.Array  # sum of target: 1, or 0 for a row without target
    best_target: jax.Array
    best_other: jax.Array
    candidates: jax.Array
    negative: jax.Array  # sum of the similarities with candidates that are no target
    negatives: jax.Array


def info_nce(
    q: jax.Array,
    k: jax.Array,
    positives: jax.Array | None = None,
    *,
    temperature: float,
    weights: jax.Array | Columns | None = None,
    mask: jax.Array | Columns | None = None,
    key_block_size: int = 0,
) -> tuple[jax.Array, InfoNCEMetrics]:
    """Computes the InfoNCE loss of local anchors against all keys.

    With cosines s_ij = q_i.k_j / (|q_i| |k_j|), candidates C_i and targets t_i that
    sum to one (a single 1 at `positives[i]` unless there are `weights`),

      L = mean_i ( log sum_{j in C_i} exp(s_ij / tau) - sum_j t_ij s_ij / tau )

    The gradient reaches `q` and `k`; stop it at the caller where keys are constants.
    Under several devices gather `k` first (`lax.all_gather(k, axis, tiled=True)`),
    give global columns in `positives` and average the loss over devices.

    Args:
      q: [n, d] anchors, any length; normalized here, in float32 at least.
      k: [m, d] keys, likewise.
      positives: int [n], the column of each row's positive; negative for none.
      temperature: tau, above 0.
      weights: [n, m] or a function of columns int32 [t] giving [n, t]: soft targets,
        >= 0, divided by their row sum here and taken as constants. A row that sums
        to 0 falls back on `positives`, and counts as loss 0 if it has none.
      mask: bool [n, m] or a function of columns giving [n, t]: True where a column
        may be a candidate. Use it to take false negatives out. Targets always stay.
      key_block_size: number of keys taken at a time; 0 takes all at once. Value and
        gradient are the same; memory falls from n * m to n * key_block_size, for one
        more forward pass in the backward pass. With functions for `weights` and `mask`
        nothing of size n * m ever exists.

    Returns:
      The scalar loss, the mean over the n rows, and its `InfoNCEMetrics`.

    Raises:
      ValueError: on shapes that do not fit, or a temperature or key_block_size out of
          range.

    Source: van den Oord et al., "Representation learning with contrastive predictive
    coding", arXiv 1807.03748, eq. 4.
    """
    _check(q, k, positives, temperature, weights, mask, key_block_size)
    n, m = q.shape[0], k.shape[0]
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    q, k = unit_norm(q.astype(dtype)), unit_norm(k.astype(dtype))
    columns = _tiles(m, key_block_size)  # [tiles, t]
    k = jnp.pad(k, ((0, columns.size - m), (0, 0)))
    k = k.reshape(*columns.shape, -1)  # [tiles, t, d]
    targets = _targets(positives, weights, columns, (n, m), dtype)
    allowed = _by_columns(mask)

    def absorb(sums: _Sums, part: tuple[jax.Array, jax.Array]) -> _Sums:
        keys, cols = part
        exists = (cols < m)[None, :]  # padding has no key
        cols = jnp.minimum(cols, m - 1)
        target = jnp.where(exists, targets(cols), 0)  # [n, t]
        wanted = target > 0
        kept = wanted | exists if mask is None else wanted | (exists & allowed(cols))
        # Rounding of the cosine is multiplied by 1 / tau: no short floats here.
        s = jnp.matmul(q, keys.T, precision=lax.Precision.HIGHEST)  # [n, t]
        return _absorb(sums, s, target, jnp.broadcast_to(kept, s.shape), temperature)

    sums = _fold(absorb, _start(n, dtype), (k, columns))
    has_target = sums.mass > 0
    loss = jnp.where(has_target, sums.lse - sums.positive / temperature, 0)
    return jnp.mean(loss), _metrics(sums, has_target)


def chance(candidates: int) -> float:
    """Returns ln N, the loss when all N candidates look alike.

    Exact for identical or orthogonal embeddings. Random unit vectors of dimension d
    score about ln N + 1 / (2 d tau^2), since cosines then have variance 1 / d.
    """
    return math.log(_at_least_one(candidates))


def _tiles(m: int, key_block_size: int) -> jax.Array:
    """Returns column numbers [tiles, t]; those from m on are padding."""
    width = key_block_size if 0 < key_block_size < m else m
    return jnp.arange(-(-m // width) * width, dtype=jnp.int32).reshape(-1, width)


def _by_columns(table: jax.Array | Columns | None) -> Columns:
    return table if callable(table) else lambda cols: jnp.take(table, cols, axis=1)


def _targets(positives, weights, columns, shape, dtype) -> Columns:
    """Returns a function of columns [t] that gives targets [n, t]; a row sums to 1."""
    n, m = shape

    def hard(cols):
        if positives is None:
            return jnp.zeros((n, cols.size), dtype)
        return (positives[:, None] == cols[None, :]).astype(dtype)

    if weights is None:
        return hard

    def soft(cols):
        given = _by_columns(weights)(cols).astype(dtype)
        return lax.stop_gradient(jnp.maximum(given, 0))

    def add(total, cols):
        given = soft(jnp.minimum(cols, m - 1))
        return total + jnp.sum(jnp.where((cols < m)[None, :], given, 0), 1)

    total = _fold(add, jnp.zeros(n, dtype), columns)[:, None]  # [n, 1]
    tiny = jnp.finfo(dtype).tiny

    def normalized(cols):
        share = soft(cols) / jnp.maximum(total, tiny)
        return jnp.where(total > 0, share, hard(cols))

    return normalized


def _fold(function: Callable, start, parts):
    """Folds `function` over the leading axis; recomputes in the backward pass."""
    first = jax.tree.map(lambda x: x[0], parts)
    if len(jax.tree.leaves(parts)[0]) == 1:
        return function(start, first)
    body = jax.checkpoint(lambda state, part: (function(state, part), None))
    return lax.scan(body, start, parts)[0]


def _start(n: int, dtype) -> _Sums:
    zero, low = jnp.zeros(n, dtype), jnp.full(n, _EXCLUDED, dtype)
    return _Sums(
        lse=low,
        positive=zero,
        mass=zero,
        best_target=low,
        best_other=low,
        candidates=zero,
        negative=zero,
        negatives=zero,
    )


def _absorb(sums: _Sums, s, target, kept, temperature) -> _Sums:
    """Adds one key_block_size of similarities s [n, t] to the sums."""
    wanted = target > 0
    other = kept & ~wanted
    logits = jnp.where(kept, s / temperature, _EXCLUDED)
    seen = lax.stop_gradient(s)
    best_target = jnp.max(jnp.where(wanted, seen, _EXCLUDED), 1)
    best_other = jnp.max(jnp.where(other, seen, _EXCLUDED), 1)
    return _Sums(
        lse=jnp.logaddexp(sums.lse, jax.nn.logsumexp(logits, 1)),
        positive=sums.positive + jnp.sum(target * s, 1),
        mass=sums.mass + jnp.sum(target, 1),
        best_target=jnp.maximum(sums.best_target, best_target),
        best_other=jnp.maximum(sums.best_other, best_other),
        candidates=sums.candidates + jnp.sum(kept, 1),
        negative=sums.negative + jnp.sum(jnp.where(other, seen, 0), 1),
        negatives=sums.negatives + jnp.sum(other, 1),
    )


def _metrics(sums: _Sums, has_target: jax.Array) -> InfoNCEMetrics:
    sums = jax.tree.map(lax.stop_gradient, sums)
    rows = jnp.maximum(jnp.sum(has_target), 1)
    right = has_target & (sums.best_target > sums.best_other)
    share = 1 - sums.negatives / jnp.maximum(sums.candidates, 1)  # of targets, [n]
    return InfoNCEMetrics(
        accuracy=jnp.sum(right) / rows,
        accuracy_chance=jnp.sum(jnp.where(has_target, share, 0)) / rows,
        candidates=jnp.mean(sums.candidates),
        positive_similarity=jnp.sum(sums.positive) / rows,
        negative_similarity=jnp.sum(sums.negative)
        / jnp.maximum(jnp.sum(sums.negatives), 1),
    )


def _check(q, k, positives, temperature, weights, mask, key_block_size) -> None:
    if q.ndim != 2 or k.ndim != 2 or q.shape[1] != k.shape[1]:
        raise ValueError(f"q [n, d] and k [m, d] expected, got {q.shape}, {k.shape}")
    if 0 in q.shape + k.shape:
        raise ValueError(f"q and k must not be empty, got {q.shape}, {k.shape}")
    n, m = q.shape[0], k.shape[0]
    if positives is None and weights is None:
        raise ValueError("give positives, weights or both: there is no target")
    if positives is not None and (
        positives.shape != (n,) or not jnp.issubdtype(positives.dtype, jnp.integer)
    ):
        raise ValueError(
            f"positives must be integers of shape {(n,)}, got "
            f"{positives.dtype} {positives.shape}"
        )
    for name, table in (("weights", weights), ("mask", mask)):
        if table is not None and not callable(table) and table.shape != (n, m):
            raise ValueError(f"{name} must have shape {(n, m)}, got {table.shape}")
    if key_block_size < 0:
        raise ValueError(
            f"key_block_size must be 0 (all keys at once) or more, got {key_block_size}"
        )
    _check_temperature(temperature)


def _check_temperature(temperature: float) -> None:
    # A learned temperature is traced and cannot be looked at.
    if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def _at_least_one(candidates: int) -> int:
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    return candidates

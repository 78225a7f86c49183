"""InfoNCE: cross-entropy of each anchor's positive among many candidate keys."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from losses.common.device_means import ratio_of_sums
from losses.common.normalize import unit_norm

# Logit of a column that is no candidate. Finite, so that a block of keys without a
# candidate has a gradient of zero and not NaN.
_EXCLUDED = -1e30

State = TypeVar("State")
# A table over anchors and keys, by columns: int32 [t] -> [n, t].
Columns: TypeAlias = Callable[[jax.Array], jax.Array]
Table: TypeAlias = jax.Array | Columns
Blocks: TypeAlias = Any  # a pytree of arrays with one leading axis
# (state, one block) -> state with that block added.
Absorb: TypeAlias = Callable[[State, Any], State]


class InfoNCEMetrics(NamedTuple):
    """Metrics of one batch; all scalars.

    Attributes:
        accuracy: Share of rows whose best target beats every other candidate. A tie is
            a miss, so that collapsed embeddings score 0 and not 1/N.
        accuracy_chance: Expected accuracy of candidates in random order, the mean share
            of targets among a row's candidates.
        candidates: Mean number of candidates of a row, its targets included.
        positive_similarity: Mean cosine with the targets, weighted as in the loss.
        negative_similarity: Mean cosine over all candidates that are no targets.
        chance: Loss of candidates that all look alike, the mean of ln N_i over rows,
            N_i the candidates of a row; a row without a target counts as 0.
    """

    accuracy: jax.Array
    accuracy_chance: jax.Array
    candidates: jax.Array
    positive_similarity: jax.Array
    negative_similarity: jax.Array
    chance: jax.Array


class _Sums(NamedTuple):
    """Running sums of a row over blocks of keys; every field is [n]."""

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
    weights: Table | None = None,
    mask: Table | None = None,
    key_block_size: int = 0,
    axis_name: str | None = None,
) -> tuple[jax.Array, InfoNCEMetrics]:
    """Return the InfoNCE loss of local anchors against all keys.

    With cosines s_ij = q_i.k_j / (|q_i| |k_j|), candidates C_i and targets t_i that
    sum to one (a single 1 at `positives[i]` unless there are `weights`),

    `L = mean_i ( log sum_{j in C_i} exp(s_ij / tau) - sum_j t_ij s_ij / tau )`

    The gradient reaches `q` and `k`; stop it at the caller where keys are constants.
    With several devices gather `k` first (`lax.all_gather(k, axis, tiled=True)`), give
    global columns in `positives` and average the loss over devices.

    Args:
        q: `[n, d]` anchors of any length; normalized here, in float32 or wider.
        k: `[m, d]` keys, likewise.
        positives: int `[n]`, the column of each row's positive; negative for none.
        temperature: tau, above 0.
        weights: `[n, m]`, or a function from columns int32 `[t]` to `[n, t]`: soft
            targets, 0 or more, divided by their row sum here and taken as constants. A
            row that sums to 0 falls back on `positives`, and has loss 0 if it has none.
        mask: bool `[n, m]`, or a function from columns to `[n, t]`: True where a column
            may be a candidate, to remove false negatives. Targets are always
            candidates.
        key_block_size: Number of keys processed at a time; 0 processes all at once.
            Value and gradient are the same; memory falls from n m to n key_block_size,
            for one more forward pass in the backward pass. With functions for `weights`
            and `mask` no array of size n m exists.
        axis_name: Device axis over which the caller averages metrics, or None: they are
            then means over the rows of all devices.

    Returns:
        The scalar loss, the mean over the n rows, and its `InfoNCEMetrics`.

    Raises:
        ValueError: Shapes do not fit, or a temperature or block size is out of range.

    Source: van den Oord et al., "Representation learning with contrastive predictive
    coding", arXiv 1807.03748, eq. 4.
    """
    _check(q, k, positives, temperature, weights, mask, key_block_size)
    n, m = q.shape[0], k.shape[0]
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    q, k = unit_norm(q.astype(dtype)), unit_norm(k.astype(dtype))
    columns = _blocks(m, key_block_size)  # [blocks, t]
    k = jnp.pad(k, ((0, columns.size - m), (0, 0)))
    k = k.reshape(*columns.shape, -1)  # [blocks, t, d]
    targets = _targets(positives, weights, columns, (n, m), dtype)
    allowed = None if mask is None else _by_columns(mask)

    def absorb(sums: _Sums, block: tuple[jax.Array, jax.Array]) -> _Sums:
        keys, cols = block
        exists = (cols < m)[None, :]  # padding has no key
        cols = jnp.minimum(cols, m - 1)
        target = jnp.where(exists, targets(cols), 0)  # [n, t]
        is_target = target > 0
        candidate = exists if allowed is None else exists & allowed(cols)
        candidate = is_target | candidate
        # Rounding of the cosine is multiplied by 1 / tau, hence the full precision.
        s = jnp.matmul(q, keys.T, precision=lax.Precision.HIGHEST)  # [n, t]
        candidate = jnp.broadcast_to(candidate, s.shape)
        return _absorb(sums, s, target, candidate, temperature)

    sums = _fold(absorb, _start(n, dtype), (k, columns))
    has_target = sums.mass > 0
    loss = jnp.where(has_target, sums.lse - sums.positive / temperature, 0)
    return jnp.mean(loss), _metrics(sums, has_target, axis_name)


def chance(candidates: int) -> float:
    """Return ln N, the loss when all N candidates look alike.

    Exact for identical or orthogonal embeddings. Random unit vectors of dimension d
    score about ln N + 1 / (2 d tau^2), since cosines then have variance 1 / d.

    Raises:
        ValueError: There is no candidate.
    """
    if candidates < 1:
        raise ValueError(f"got {candidates} candidates; expected 1 or more")
    return math.log(candidates)


def _blocks(m: int, key_block_size: int) -> jax.Array:
    """Return column numbers [blocks, t]; those from m on are padding."""
    width = key_block_size if 0 < key_block_size < m else m
    return jnp.arange(-(-m // width) * width, dtype=jnp.int32).reshape(-1, width)


def _by_columns(table: Table) -> Columns:
    if callable(table):
        return table
    return lambda cols: jnp.take(table, cols, axis=1)


def _targets(
    positives: jax.Array | None,
    weights: Table | None,
    columns: jax.Array,
    shape: tuple[int, int],
    dtype: jnp.dtype,
) -> Columns:
    """Return a function from columns [t] to targets [n, t], whose rows sum to 1."""
    n, m = shape

    def hard(cols):
        if positives is None:
            return jnp.zeros((n, cols.size), dtype)
        return (positives[:, None] == cols[None, :]).astype(dtype)

    if weights is None:
        return hard
    weights_at = _by_columns(weights)

    def soft(cols):
        w = weights_at(cols).astype(dtype)
        return lax.stop_gradient(jnp.maximum(w, 0))

    def add(total, cols):
        w = soft(jnp.minimum(cols, m - 1))
        return total + jnp.sum(jnp.where((cols < m)[None, :], w, 0), 1)

    total = _fold(add, jnp.zeros(n, dtype), columns)[:, None]  # [n, 1]
    tiny = jnp.finfo(dtype).tiny

    def normalized(cols):
        share = soft(cols) / jnp.maximum(total, tiny)
        return jnp.where(total > 0, share, hard(cols))

    return normalized


def _fold(function: Absorb[State], start: State, blocks: Blocks) -> State:
    """Fold `function` over the leading axis; recompute in the backward pass."""
    if len(jax.tree.leaves(blocks)[0]) == 1:
        return function(start, jax.tree.map(lambda x: x[0], blocks))
    body = jax.checkpoint(lambda state, block: (function(state, block), None))
    return lax.scan(body, start, blocks)[0]


def _start(n: int, dtype: jnp.dtype) -> _Sums:
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


def _absorb(
    sums: _Sums,
    s: jax.Array,
    target: jax.Array,
    candidate: jax.Array,
    temperature: float,
) -> _Sums:
    """Return the sums with a block of similarities s [n, t]."""
    is_target = target > 0
    other = candidate & ~is_target
    logits = jnp.where(candidate, s / temperature, _EXCLUDED)
    constant = lax.stop_gradient(s)
    best_target = jnp.max(jnp.where(is_target, constant, _EXCLUDED), 1)
    best_other = jnp.max(jnp.where(other, constant, _EXCLUDED), 1)
    return _Sums(
        lse=jnp.logaddexp(sums.lse, jax.nn.logsumexp(logits, 1)),
        positive=sums.positive + jnp.sum(target * s, 1),
        mass=sums.mass + jnp.sum(target, 1),
        best_target=jnp.maximum(sums.best_target, best_target),
        best_other=jnp.maximum(sums.best_other, best_other),
        candidates=sums.candidates + jnp.sum(candidate, 1),
        negative=sums.negative + jnp.sum(jnp.where(other, constant, 0), 1),
        negatives=sums.negatives + jnp.sum(other, 1),
    )


def _metrics(
    sums: _Sums, has_target: jax.Array, axis_name: str | None
) -> InfoNCEMetrics:
    sums = jax.tree.map(lax.stop_gradient, sums)
    rows = jnp.sum(has_target)
    levels = jnp.log(jnp.maximum(sums.candidates, 1))

    def mean(total: jax.Array, count: jax.Array) -> jax.Array:
        return ratio_of_sums(total, count, axis_name)

    correct = has_target & (sums.best_target > sums.best_other)
    share = 1 - sums.negatives / jnp.maximum(sums.candidates, 1)  # of targets, [n]
    return InfoNCEMetrics(
        accuracy=mean(jnp.sum(correct), rows),
        accuracy_chance=mean(jnp.sum(jnp.where(has_target, share, 0)), rows),
        candidates=jnp.mean(sums.candidates),
        positive_similarity=mean(jnp.sum(sums.positive), rows),
        negative_similarity=mean(jnp.sum(sums.negative), jnp.sum(sums.negatives)),
        chance=jnp.mean(jnp.where(has_target, levels, 0)),
    )


def _check(
    q: jax.Array,
    k: jax.Array,
    positives: jax.Array | None,
    temperature: float,
    weights: Table | None,
    mask: Table | None,
    key_block_size: int,
) -> None:
    if q.ndim != 2 or k.ndim != 2 or q.shape[1] != k.shape[1]:
        raise ValueError(f"got q {q.shape} and k {k.shape}; expected [n, d] and [m, d]")
    if 0 in q.shape + k.shape:
        raise ValueError(f"got q {q.shape} and k {k.shape}; expected rows and columns")
    n, m = q.shape[0], k.shape[0]
    if positives is None and weights is None:
        raise ValueError("got no targets; expected positives, weights or both")
    if positives is not None and (
        positives.shape != (n,) or not jnp.issubdtype(positives.dtype, jnp.integer)
    ):
        raise ValueError(
            f"got positives {positives.dtype} {positives.shape}; expected integers of "
            f"shape {(n,)}"
        )
    for name, table in (("weights", weights), ("mask", mask)):
        if table is not None and not callable(table) and table.shape != (n, m):
            raise ValueError(f"got {name} {table.shape}; expected {(n, m)}")
    if key_block_size < 0:
        raise ValueError(
            f"got key_block_size {key_block_size}; expected 0, for all keys at once, "
            "or more"
        )
    # A learned temperature is traced and has no value here.
    if not isinstance(temperature, Tracer) and not temperature > 0:
        raise ValueError(f"got temperature {temperature}; expected above 0")

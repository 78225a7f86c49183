"""FastAP: average precision of the ranking of a batch, with soft ties inside bins."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax

Pulse = Literal["triangular", "gaussian"]

_NOTHING = 1e-9  # pairs in all bins so far; the tail of a Gaussian is no candidate
_BLOCK = 8  # bins that share a coarse place; a pair then costs b / 8 + 9 and not b


class FastAPMetrics(NamedTuple):
    """What one batch showed beside the loss; all scalars.

    Attributes:
      valid: share of the queries that have a positive; the others count in nothing.
      positives: mean number of positives of a valid query.
      candidates: mean number of candidates of a query.
      positive_similarity: mean cosine of the pairs that share a label.
      negative_similarity: mean cosine of the pairs that do not.
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
) -> tuple[jax.Array, FastAPMetrics]:
    """Computes 1 - FastAP of local queries in the ranking of all keys.

    The squared distances 2 - 2 cos of a query i fall into bins l = 0 .. b from near to
    far. With h+ and h the histograms of its positives and of all its candidates, H+
    and H their running sums, and R_i its positives,

      FastAP_i = 1 / R_i sum_l h+_l H+_l / H_l,   L = mean_i (1 - FastAP_i)

    over the queries with R_i > 0. Time and memory are those of the matrix of cosines:
    neither has b as a factor. The gradient reaches `x` and `keys`.

    Args:
      x: [n, d] queries, any length; normalised here, in float32 at least.
      keys: [m, d] what is ranked, likewise; under several devices those of all.
      labels: int [n], the class of each query; negative for none.
      key_labels: int [m], likewise. A key without a class is no candidate.
      columns: int [n], the key that is the query itself, which is no candidate.
      bins: b, 1 or more. Pairs in one bin tie, so that few bins rank coarsely; many
        bins that hold less than a pair have gradients that point nowhere. 10 to 25
        suit a batch of 256, 100 one of 1,024.
      pulse: "triangular" shares a pair between the two nearest bins, as the paper has
        it; "gaussian" among all, exp(-(cos - c_l)^2 / 2 sigma^2) over its sum.
      sigma: of the Gaussian, in units of the cosine; one bin is 2 / b wide.
      count: what the sum over queries is divided by, or None for the valid queries
        here. Under several devices the mean of `valid_queries` over devices makes the
        mean of the devices' losses that of all queries.

    Returns:
      The scalar loss, 0 without a valid query, and its `FastAPMetrics`.

    Raises:
      ValueError: on shapes that do not fit, or a field out of range.

    Source: Cakir et al., "Deep metric learning to rank", CVPR 2019, eq. 4 to 9.
    """
    _check(x, keys, labels, key_labels, columns, bins, pulse, sigma)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x, keys = _unit(x.astype(dtype)), _unit(keys.astype(dtype))
    s = jnp.matmul(x, keys.T, precision=lax.Precision.HIGHEST)  # [n, m]
    positive, candidate = _pairs(labels, key_labels, columns)  # bool [n, m]
    place = (1 - s) * (bins / 2)  # in bins, 0 at cosine 1 and b at -1
    # The nearest first: walked the other way, the ranking would be optimised reversed.
    shape = (
        _Triangular(bins)
        if pulse == "triangular"
        else _Gaussian(bins, sigma * bins / 2)
    )
    near, every = _histograms(shape, place, positive, candidate)
    total = jnp.sum(positive, 1).astype(dtype)  # R, [n]
    valid = total > 0
    ap = _precision(near, every) / jnp.maximum(total, 1)
    if count is None:
        count = jnp.sum(valid)
    loss = jnp.sum(jnp.where(valid, 1 - ap, 0)) / jnp.maximum(count, 1)
    return loss, _metrics(lax.stop_gradient(s), positive, candidate, valid, total)


def valid_queries(
    labels: jax.Array, key_labels: jax.Array, columns: jax.Array
) -> jax.Array:
    """Returns how many queries have a positive, int; arguments as in `fast_ap`."""
    positive, _ = _pairs(labels, key_labels, columns)
    return jnp.sum(jnp.any(positive, 1))


def chance(candidates: int, positives: int) -> float:
    """Returns 1 - E[AP] of a random ranking of M candidates with R positives.

    E[AP] = ((R - 1) / (M - 1) (M - H_M) + H_M) / M, H_M the harmonic number. FastAP of
    random embeddings is lower still where many share a bin, and embeddings that are
    all alike have R / M.

    Raises:
      ValueError: if there are no positives, or more than candidates.
    """
    if not 1 <= positives <= candidates:
        raise ValueError(
            f"got {positives} positives among {candidates} candidates; expected 1 or "
            "more, and no more than candidates"
        )
    harmonic = sum(1 / i for i in range(1, candidates + 1))
    rest = (positives - 1) / max(candidates - 1, 1) * (candidates - harmonic)
    return 1 - (rest + harmonic) / candidates


def _unit(x: jax.Array) -> jax.Array:
    # The maximum is inside the root: a zero vector stays zero, its gradient finite.
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))


def _pairs(labels, key_labels, columns) -> tuple[jax.Array, jax.Array]:
    """Returns which keys are positives of a query, and which candidates."""
    other = columns[:, None] != jnp.arange(key_labels.shape[0])[None, :]
    candidate = other & (key_labels >= 0)[None, :]
    return candidate & (labels[:, None] == key_labels[None, :]), candidate


def _precision(near: jax.Array, every: jax.Array) -> jax.Array:
    """Returns sum_l h+_l H+_l / H_l, [n]; bins before the first candidate hold 0."""
    above, below = jnp.cumsum(near, 1), jnp.cumsum(every, 1)
    filled = below > _NOTHING
    share = jnp.where(filled, above / jnp.where(filled, below, 1), 0)
    return jnp.sum(near * share, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _histograms(pulse, place, positive, candidate):
    """Returns soft histograms of positives and of candidates, [n, b + 1] each."""
    return _over_rows(pulse.histograms, pulse.rows, place, positive, candidate)


def _forward(pulse, place, positive, candidate):
    return _histograms(pulse, place, positive, candidate), (place, positive, candidate)


def _backward(pulse, seen, grads):
    return _over_rows(pulse.slopes, pulse.rows, *seen, *grads), None, None


_histograms.defvjp(_forward, _backward)


def _over_rows(function: Callable, rows: int, *arrays: jax.Array):
    """Returns `function` of arrays [n, ...], a few rows at a time."""
    n = arrays[0].shape[0]
    rows = min(rows, n)
    more = -n % rows

    def split(x):
        x = jnp.pad(x, ((0, more),) + ((0, 0),) * (x.ndim - 1))
        return x.reshape(-1, rows, *x.shape[1:])

    out = lax.map(lambda part: function(*part), tuple(map(split, arrays)))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], out)


class _Triangular(NamedTuple):
    """A pair is shared by the two bins that its place lies between."""

    bins: int
    rows: int = 32

    def histograms(self, place, positive, candidate):
        """[r, m] -> [r, b + 1] twice: outer products of a coarse and a fine place."""
        u = jnp.clip(place, 0, self.bins)
        blocks = -(-self.bins // _BLOCK)
        block = jnp.minimum(jnp.floor(u / _BLOCK), blocks - 1)  # [r, m]
        at = jnp.arange(blocks, dtype=u.dtype)[None, :, None]
        coarse = block[:, None, :] == at  # [r, blocks, m]
        both = jnp.concatenate(
            [coarse & positive[:, None, :], coarse & candidate[:, None, :]], 1
        )
        inner = jnp.arange(_BLOCK + 1, dtype=u.dtype)[None, :, None]
        rest = (u - _BLOCK * block)[:, None, :]  # in [0, 8]
        fine = jnp.maximum(1 - jnp.abs(rest - inner), 0)  # [r, 9, m]
        h = jnp.einsum(
            "rcm,rfm->rcf",
            both.astype(u.dtype),
            fine,
            precision=lax.Precision.HIGHEST,
        ).reshape(-1, 2, blocks, _BLOCK + 1)
        # The last fine place of a block is the first of the next.
        own = h[..., :_BLOCK].reshape(*h.shape[:2], -1)
        next_first = jnp.pad(h[..., _BLOCK:], ((0, 0),) * 3 + ((_BLOCK - 1, 0),))
        next_first = next_first.reshape(own.shape)
        end = ((0, 0),) * 2
        h = jnp.pad(own, (*end, (0, 1))) + jnp.pad(next_first, (*end, (1, 0)))
        return h[:, 0, : self.bins + 1], h[:, 1, : self.bins + 1]

    def slopes(self, place, positive, candidate, near, every):
        """The gradient by place [r, m], from those by both histograms [r, b + 1]."""
        u = jnp.clip(place, 0, self.bins)
        k = jnp.minimum(u.astype(jnp.int32), self.bins - 1)
        other = jnp.diff(every, axis=1)  # [r, b]
        table = jnp.concatenate([other, other + jnp.diff(near, axis=1)], 1)
        slope = jnp.take_along_axis(table, k + self.bins * positive, 1)
        return jnp.where(candidate & (place == u), slope, 0)


class _Gaussian(NamedTuple):
    """A pair is shared by all bins, and counts as one wherever it lies."""

    bins: int
    width: float
    rows: int = 4

    def _shares(self, place) -> tuple[jax.Array, jax.Array]:
        centers = jnp.arange(self.bins + 1, dtype=place.dtype)[None, :, None]
        away = (centers - place[:, None, :]) / self.width  # [r, b + 1, m]
        return jax.nn.softmax(-(away**2) / 2, 1), away / self.width

    def histograms(self, place, positive, candidate):
        """[r, m] -> [r, b + 1] twice."""
        share, _ = self._shares(place)
        masks = positive, candidate
        near, every = (jnp.sum(jnp.where(x[:, None], share, 0), -1) for x in masks)
        return near, every

    def slopes(self, place, positive, candidate, near, every):
        """The gradient by place [r, m], from those by both histograms [r, b + 1]."""
        share, pull = self._shares(place)
        change = share * (pull - jnp.sum(share * pull, 1, keepdims=True))
        by_near = jnp.sum(near[..., None] * change, 1)
        by_every = jnp.sum(every[..., None] * change, 1)
        return jnp.where(positive, by_near, 0) + jnp.where(candidate, by_every, 0)


def _metrics(s, positive, candidate, valid, total) -> FastAPMetrics:
    negative = candidate & ~positive

    def mean(mask):
        return jnp.sum(jnp.where(mask, s, 0)) / jnp.maximum(jnp.sum(mask), 1)

    return FastAPMetrics(
        valid=jnp.mean(valid),
        positives=jnp.sum(total) / jnp.maximum(jnp.sum(valid), 1),
        candidates=jnp.mean(jnp.sum(candidate, 1)),
        positive_similarity=mean(positive),
        negative_similarity=mean(negative),
    )


def _check(x, keys, labels, key_labels, columns, bins, pulse, sigma) -> None:
    if x.ndim != 2 or keys.ndim != 2 or x.shape[1] != keys.shape[1]:
        raise ValueError(
            f"x [n, d] and keys [m, d] expected, got {x.shape}, {keys.shape}"
        )
    n, m = x.shape[0], keys.shape[0]
    if 0 in (n, m):
        raise ValueError(f"x and keys must not be empty, got {x.shape}, {keys.shape}")
    expected = {"labels": (labels, n), "key_labels": (key_labels, m)}
    for name, (array, size) in (expected | {"columns": (columns, n)}).items():
        if array.shape != (size,) or not jnp.issubdtype(array.dtype, jnp.integer):
            raise ValueError(
                f"{name} must be integers of shape {(size,)}, got "
                f"{array.dtype} {array.shape}"
            )
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    if pulse not in get_args(Pulse):
        raise ValueError(f"got pulse {pulse!r}; choices: {', '.join(get_args(Pulse))}")
    if pulse == "gaussian" and not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")

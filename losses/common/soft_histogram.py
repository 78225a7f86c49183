"""Soft histograms over bins, one for every query.

Arrays are [m, n] with the queries last, so that sums over keys are vectorized over
queries. A place is a position in bins, 0 to b.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

# A few queries [n, ...] of several arrays -> arrays of those queries.
ByQueries: TypeAlias = Callable[..., Any]
Histograms: TypeAlias = tuple[jax.Array, jax.Array]  # positives', all candidates'


class Triangular(NamedTuple):
    """Bins that share a pair between the two bins nearest to its place.

    A pair adds to one row of a table, whatever the number of bins.

    Attributes:
        bins: b.
    """

    bins: int

    def histograms(
        self, place: jax.Array, positive: jax.Array, candidate: jax.Array
    ) -> Histograms:
        """Return both histograms, [m, n] -> [b + 1, n]."""
        n = place.shape[1]
        k, f = self._split(place)
        near, every = (x.astype(f.dtype) for x in (positive, candidate))
        # Pairs and their shares of bin k + 1, by bin k; one scattered sum for all four.
        added = jnp.stack([near, near * f, every, every * f], -1)  # [m, n, 4]
        at = k * n + jnp.arange(n)[None, :]
        table = jnp.zeros((self.bins * n, 4), f.dtype)
        table = table.at[at.ravel()].add(added.reshape(-1, 4), mode="promise_in_bounds")
        pairs, shares, all_pairs, all_shares = table.reshape(self.bins, n, 4).T
        return _shared(pairs.T, shares.T), _shared(all_pairs.T, all_shares.T)

    def gradient(
        self,
        place: jax.Array,
        positive: jax.Array,
        candidate: jax.Array,
        grad_positive: jax.Array,
        grad_all: jax.Array,
    ) -> jax.Array:
        """Return the gradient by place [m, n], from those by histograms [b + 1, n]."""
        k, _ = self._split(place)
        other = jnp.diff(grad_all, axis=0)  # [b, n]
        table = jnp.concatenate([other, other + jnp.diff(grad_positive, axis=0)])
        slope = jnp.take_along_axis(table, k + self.bins * positive, 0)
        inside = (place >= 0) & (place <= self.bins)
        return jnp.where(candidate & inside, slope, 0)

    def _split(self, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the bin below each place, and the distance from it."""
        u = jnp.clip(place, 0, self.bins)
        # The integers are clipped too: a place that is NaN has no bin.
        k = jnp.clip(u.astype(jnp.int32), 0, self.bins - 1)
        return k, u - k


class Gaussian(NamedTuple):
    """Bins that share a pair among all bins; every pair counts as one.

    Attributes:
        bins: b.
        width: Standard deviation, in bins.
        queries: Number of queries processed at a time.
    """

    bins: int
    width: float
    queries: int = 4

    def histograms(
        self, place: jax.Array, positive: jax.Array, candidate: jax.Array
    ) -> Histograms:
        """Return both histograms, [m, n] -> [b + 1, n]."""

        def sums(place, *masks):
            share, _ = self._shares(place)
            return [jnp.sum(jnp.where(x[:, None], share, 0), -1) for x in masks]

        near, every = self._over_queries(sums, place.T, positive.T, candidate.T)
        return near.T, every.T

    def gradient(
        self,
        place: jax.Array,
        positive: jax.Array,
        candidate: jax.Array,
        grad_positive: jax.Array,
        grad_all: jax.Array,
    ) -> jax.Array:
        """Return the gradient by place [m, n], from those by histograms [b + 1, n]."""

        def slope(place, positive, candidate, grad_positive, grad_all):
            share, pull = self._shares(place)
            change = share * (pull - jnp.sum(share * pull, 1, keepdims=True))
            by_positive = jnp.sum(grad_positive[..., None] * change, 1)
            by_all = jnp.sum(grad_all[..., None] * change, 1)
            return jnp.where(positive, by_positive, 0) + jnp.where(candidate, by_all, 0)

        arrays = (place, positive, candidate, grad_positive, grad_all)
        return self._over_queries(slope, *(x.T for x in arrays)).T

    def _shares(self, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return shares and the slopes of their logits, [queries, b + 1, m]."""
        centers = jnp.arange(self.bins + 1, dtype=place.dtype)[None, :, None]
        offset = (centers - place[:, None, :]) / self.width  # [queries, b + 1, m]
        return jax.nn.softmax(-(offset**2) / 2, 1), offset / self.width

    def _over_queries(self, function: ByQueries, *arrays: jax.Array) -> Any:
        """Return `function` of arrays [n, ...], a few rows at a time."""
        n = arrays[0].shape[0]
        rows = min(self.queries, n)

        def split(x):
            x = jnp.pad(x, ((0, -n % rows),) + ((0, 0),) * (x.ndim - 1))
            return x.reshape(-1, rows, *x.shape[1:])

        blocks = lax.map(lambda block: function(*block), tuple(map(split, arrays)))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], blocks)


def _histograms(
    pulse: Triangular | Gaussian,
    place: jax.Array,
    positive: jax.Array,
    candidate: jax.Array,
) -> Histograms:
    """Return the histograms of the positives and of the candidates of each query.

    Args:
        pulse: How bins share a pair.
        place: `[m, n]`; its gradient is that of `pulse.gradient`.
        positive: bool `[m, n]`.
        candidate: bool `[m, n]`.

    Returns:
        Both histograms, `[b + 1, n]`.
    """
    return pulse.histograms(place, positive, candidate)


def _forward(pulse, place, positive, candidate):
    outputs = pulse.histograms(place, positive, candidate)
    return outputs, (place, positive, candidate)


def _backward(pulse, residuals, grads):
    return pulse.gradient(*residuals, *grads), None, None


histograms = jax.custom_vjp(_histograms, nondiff_argnums=(0,))
histograms.defvjp(_forward, _backward)


def _shared(pairs: jax.Array, shares: jax.Array) -> jax.Array:
    """Return a histogram [b + 1, n] of pairs [b, n] with shares of the next bin."""
    edge = ((0, 1), (0, 0)), ((1, 0), (0, 0))
    return jnp.pad(pairs - shares, edge[0]) + jnp.pad(shares, edge[1])

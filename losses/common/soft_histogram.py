"""Soft histograms of the places of many keys, one for every query.

Arrays are [m, n] with the queries last: what is summed over keys is then vectorised
over queries.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def histograms(
    pulse: "Triangular | Gaussian",
    place: jax.Array,
    positive: jax.Array,
    candidate: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Counts the positives and the candidates of a query in every bin.

    Args:
      pulse: how the bins share a pair.
      place: [m, n], in bins, 0 to b; where the gradient goes.
      positive: bool [m, n].
      candidate: bool [m, n].

    Returns:
      Both histograms, [b + 1, n].
    """
    return pulse.histograms(place, positive, candidate)


def _forward(pulse, place, positive, candidate):
    found = pulse.histograms(place, positive, candidate)
    return found, (place, positive, candidate)


def _backward(pulse, seen, grads):
    return pulse.slopes(*seen, *grads), None, None


histograms.defvjp(_forward, _backward)


class Triangular(NamedTuple):
    """A pair is shared by the two bins that its place lies between.

    A pair adds to one place of a table, however many bins there are.
    """

    bins: int

    def histograms(self, place, positive, candidate):
        """[m, n] -> [b + 1, n] twice."""
        n = place.shape[1]
        k, f = self._split(place)
        near, every = (x.astype(f.dtype) for x in (positive, candidate))
        # Pairs and their shares of bin k + 1, by bin k; one scattered sum for all four.
        added = jnp.stack([near, near * f, every, every * f], -1)  # [m, n, 4]
        at = k * n + jnp.arange(n)[None, :]
        table = jnp.zeros((self.bins * n, 4), f.dtype)
        table = table.at[at.ravel()].add(
            added.reshape(-1, 4), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS
        )
        pairs, shares, all_pairs, all_shares = table.reshape(self.bins, n, 4).T
        return _spread(pairs.T, shares.T), _spread(all_pairs.T, all_shares.T)

    def slopes(self, place, positive, candidate, near, every):
        """The gradient by place [m, n], from those by both histograms [b + 1, n]."""
        k, _ = self._split(place)
        other = jnp.diff(every, axis=0)  # [b, n]
        table = jnp.concatenate([other, other + jnp.diff(near, axis=0)])
        slope = jnp.take_along_axis(table, k + self.bins * positive, 0)
        inside = (place >= 0) & (place <= self.bins)
        return jnp.where(candidate & inside, slope, 0)

    def _split(self, place) -> tuple[jax.Array, jax.Array]:
        """Returns the bin below each place, and how far above it that lies."""
        u = jnp.clip(place, 0, self.bins)
        # The integers are clipped too: a place that is not a number has no bin.
        k = jnp.clip(u.astype(jnp.int32), 0, self.bins - 1)
        return k, u - k


def _spread(pairs: jax.Array, shares: jax.Array) -> jax.Array:
    """Histogram [b + 1, n] of pairs [b, n] that give a share to the next bin."""
    edge = ((0, 1), (0, 0)), ((1, 0), (0, 0))
    return jnp.pad(pairs - shares, edge[0]) + jnp.pad(shares, edge[1])


class Gaussian(NamedTuple):
    """A pair is shared by all bins, and counts as one wherever it lies."""

    bins: int
    width: float
    queries: int = 4  # at a time

    def histograms(self, place, positive, candidate):
        """[m, n] -> [b + 1, n] twice."""

        def sums(place, *masks):
            share, _ = self._shares(place)
            return [jnp.sum(jnp.where(x[:, None], share, 0), -1) for x in masks]

        near, every = self._over_queries(sums, place.T, positive.T, candidate.T)
        return near.T, every.T

    def slopes(self, place, positive, candidate, near, every):
        """The gradient by place [m, n], from those by both histograms [b + 1, n]."""

        def slope(place, positive, candidate, near, every):
            share, pull = self._shares(place)
            change = share * (pull - jnp.sum(share * pull, 1, keepdims=True))
            by_near = jnp.sum(near[..., None] * change, 1)
            by_every = jnp.sum(every[..., None] * change, 1)
            return jnp.where(positive, by_near, 0) + jnp.where(candidate, by_every, 0)

        each = (x.T for x in (place, positive, candidate, near, every))
        return self._over_queries(slope, *each).T

    def _shares(self, place) -> tuple[jax.Array, jax.Array]:
        centers = jnp.arange(self.bins + 1, dtype=place.dtype)[None, :, None]
        away = (centers - place[:, None, :]) / self.width  # [queries, b + 1, m]
        return jax.nn.softmax(-(away**2) / 2, 1), away / self.width

    def _over_queries(self, function: Callable, *arrays: jax.Array):
        """Returns `function` of arrays [n, ...], a few rows at a time."""
        n = arrays[0].shape[0]
        rows = min(self.queries, n)

        def split(x):
            x = jnp.pad(x, ((0, -n % rows),) + ((0, 0),) * (x.ndim - 1))
            return x.reshape(-1, rows, *x.shape[1:])

        out = lax.map(lambda part: function(*part), tuple(map(split, arrays)))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], out)

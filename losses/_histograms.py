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

# Keys that a histogram grows by at a time. With fewer than 16, XLA:CPU looks the keys
# up inside the innermost loop, which is then not vectorised: 4 times the time.
_KEYS = 16
_RANKS = 4  # the same, of the keys that share a query's label


class Partners(NamedTuple):
    """Keys by their labels.

    Attributes:
      order: [m], keys in order of their labels.
      first: [n], where in that order the keys with a query's label begin.
      count: [n], how many there are; 0 for a query without a label.
    """

    order: jax.Array
    first: jax.Array
    count: jax.Array


def partners(labels: jax.Array, key_labels: jax.Array) -> Partners:
    """Returns which keys share the label of a query; int [n] and [m]."""
    order = jnp.argsort(key_labels)
    ordered = jnp.asarray(key_labels)[order]
    first, last = (jnp.searchsorted(ordered, labels, side=x) for x in ("left", "right"))
    return Partners(order, first, jnp.where(labels < 0, 0, last - first))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def histograms(
    pulse: "Triangular | Gaussian",
    place: jax.Array,
    positive: jax.Array,
    candidate: jax.Array,
    listed: Partners,
) -> tuple[jax.Array, jax.Array]:
    """Counts the positives and the candidates of a query in every bin.

    Args:
      pulse: how the bins share a pair.
      place: [m, n], in bins, 0 to b; where the gradient goes.
      positive: bool [m, n], among the keys that `listed` has for the query.
      candidate: bool [m, n].
      listed: the keys that can be positives.

    Returns:
      Both histograms, [b + 1, n].
    """
    return pulse.histograms(place, positive, candidate, listed)


def _forward(pulse, place, positive, candidate, listed):
    found = pulse.histograms(place, positive, candidate, listed)
    return found, (place, positive, candidate)


def _backward(pulse, seen, grads):
    return pulse.slopes(*seen, *grads), None, None, None


histograms.defvjp(_forward, _backward)


class Triangular(NamedTuple):
    """A pair is shared by the two bins that its place lies between.

    A place is compared with every bin, one after another: the sums of all queries that
    this takes are vectorised, which scattered ones are not.
    """

    bins: int

    def histograms(self, place, positive, candidate, listed):
        """[m, n] -> [b + 1, n] twice."""
        u = jnp.clip(place, 0, self.bins)
        far = self.bins + 1  # at least a bin from all of them
        near = self._of_listed(jnp.where(positive, u, far), listed)
        return near, self._of_all(jnp.where(candidate, u, far))

    def slopes(self, place, positive, candidate, near, every):
        """The gradient by place [m, n], from those by both histograms [b + 1, n]."""
        u = jnp.clip(place, 0, self.bins)
        k = jnp.minimum(u.astype(jnp.int32), self.bins - 1)
        other = jnp.diff(every, axis=0)  # [b, n]
        table = jnp.concatenate([other, other + jnp.diff(near, axis=0)])
        slope = jnp.take_along_axis(table, k + self.bins * positive, 0)
        return jnp.where(candidate & (place == u), slope, 0)

    def _of_all(self, u):
        more = -u.shape[0] % _KEYS
        u = jnp.pad(u, ((0, more), (0, 0)), constant_values=self.bins + 1)

        def add(h, part):
            return h + self._pulses(part), None

        parts = u.reshape(-1, _KEYS, u.shape[1])
        return lax.scan(add, self._empty(u), parts)[0]

    def _of_listed(self, u, listed):
        """As `_of_all`, over as many keys as the most that share a query's label."""
        m, n = u.shape
        column = jnp.arange(n)[None, :]

        def add(step, h):
            rank = _RANKS * step + jnp.arange(_RANKS)[:, None]
            at = jnp.minimum(listed.first[None, :] + rank, m - 1)  # [ranks, n]
            part = u[listed.order[at], column]
            own = rank < listed.count[None, :]
            return h + self._pulses(jnp.where(own, part, self.bins + 1))

        steps = -(-jnp.max(listed.count) // _RANKS)
        return lax.fori_loop(0, steps, add, self._empty(u))

    def _pulses(self, u):
        """Sums max(0, 1 - |u - l|) over a few keys, [keys, n] -> [b + 1, n]."""
        keys = u.shape[0]
        centers = jnp.arange(self.bins + 1, dtype=u.dtype)[:, None]
        # As 1 - min(1, |u - l|): XLA guards a maximum with 0 against NaN.
        away = (jnp.minimum(jnp.abs(centers - u[i][None]), 1) for i in range(keys))
        return keys - functools.reduce(jnp.add, away)

    def _empty(self, u):
        return jnp.zeros((self.bins + 1, u.shape[1]), u.dtype)


class Gaussian(NamedTuple):
    """A pair is shared by all bins, and counts as one wherever it lies."""

    bins: int
    width: float
    queries: int = 4  # at a time

    def histograms(self, place, positive, candidate, listed):
        """[m, n] -> [b + 1, n] twice."""
        del listed

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

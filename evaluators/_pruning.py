"""The fast part of an exact search: float32 scores, pruned by a proven bound.

A float32 inner product is off by at most gamma_d |q| |g|, gamma_d = d u / (1 - d u),
u = 2^-24, in whatever order it is summed (Higham, Accuracy and Stability of Numerical
Algorithms, section 3.1). So a record whose float32 score lies more than twice that
below the k-th best so far cannot be among the k best. Those that remain, hardly more
than k a query, are scored again in double precision.

A tile's scores are looked at through the maxima of groups of columns: only groups that
reach the bar are opened, and the k-th largest maximum is itself a bar.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

GROUP = 32  # columns under one maximum


def worthwhile(search, k: int) -> bool:
    """Say whether a tile has enough groups for their maxima to bound the k-th best."""
    return search.tile >= 2 * GROUP * (k + _most_skipped(search))


def top_k(search, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores [q, k], places [q, k], and the queries that were not settled.

    A query is given up when more records stand within rounding of its k-th best than
    its pool holds, as in a collapsed embedding.
    """
    pool = _Pool(search, k)
    blocks = list(search.blocks())
    width = -(-search.tile // GROUP) * GROUP
    largest_norm = 0.0
    for start, rows in search.tiles():
        count = len(rows)
        if count < width:
            rows = np.pad(rows, ((0, width - count), (0, 0)))
        rows = jnp.asarray(rows)
        largest_norm = max(largest_norm, float(_largest_norm(rows)))
        calls = (
            functools.partial(_score, search.queries[block], rows, count)
            for block in blocks
        )
        for block, (scores, maxima) in zip(blocks, _one_ahead(calls), strict=True):
            pool.add(block, start, count, scores, np.asarray(maxima), largest_norm)
    return pool.settle(largest_norm)


@jax.jit
def _score(queries: jax.Array, rows: jax.Array, count: int) -> tuple:
    """Return scores by group [b, t / GROUP, GROUP] and each group's maximum."""
    scores = jax.lax.dot_general(
        queries,
        rows,
        (((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )  # [b, t]
    real = jnp.arange(scores.shape[1])[None, :] < count
    maxima = jnp.where(real, scores, -jnp.inf).reshape(len(scores), -1, GROUP).max(2)
    return scores.reshape(len(scores), -1, GROUP), maxima


@jax.jit
def _largest_norm(rows: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(rows).sum(axis=1).max())


def _one_ahead(calls: Iterable[Callable]) -> Iterator:
    """Start each call before the result of the one before it is used."""
    waiting = None
    for call in calls:
        started = call()
        if waiting is not None:
            yield waiting
        waiting = started
    if waiting is not None:
        yield waiting


def _open_groups(scores: jax.Array, line: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the scores of the chosen groups, [h, GROUP]."""
    if next(iter(scores.devices())).platform == "cpu":
        return np.asarray(scores)[line, group]  # no copy of the whole on a CPU
    # Few sizes, few compilations.
    room = 1 << max(len(line) - 1, 0).bit_length()
    index = np.zeros((2, room), np.int32)
    index[:, : len(line)] = line, group
    return np.asarray(_gather(scores, *index))[: len(line)]


@jax.jit
def _gather(scores: jax.Array, line: jax.Array, group: jax.Array) -> jax.Array:
    return scores[line, group]


def _most_skipped(search) -> int:
    first, last = search.skip
    return int((last - first).max(initial=0))


class _Pool:
    """The best float32 scores so far: k a query, and some room for near ties."""

    def __init__(self, search, k: int):
        self.search, self.k = search, k
        self.size = k + max(32, k // 2)
        self.enough = k + _most_skipped(search)  # so many maxima cover k candidates
        d = search.queries.shape[1]
        gamma = (d + 4) * 2.0**-24 / (1 - (d + 4) * 2.0**-24)
        # Off by gamma on both sides; the + 4 covers norms and the rounding to float32.
        self.slack = 2 * gamma * np.linalg.norm(search.queries, axis=1)
        shape = (len(search.queries), self.size)
        self.scores = np.full(shape, -np.inf, np.float32)
        self.places = np.full(shape, -1)
        self.given_up = np.zeros(shape[0], bool)
        self.kth = np.full(shape[0], -np.inf, np.float32)

    def add(self, block, start, count, scores, maxima, largest_norm) -> None:
        """Take in the scores [b, t / GROUP, GROUP] of one tile."""
        slack = self.slack[block] * largest_norm
        bar = (self.kth[block] - slack).astype(np.float32)
        bar[self.given_up[block]] = np.inf
        line, group = np.nonzero(maxima >= bar[:, None])
        limit = self.enough + self.size
        if np.bincount(line, minlength=1).max() > limit:
            edge = maxima.shape[1] - self.enough
            own = np.partition(maxima, edge, axis=1)[:, edge]
            bar = np.maximum(bar, (own - slack).astype(np.float32))
            hits = maxima >= bar[:, None]
            crowded = hits.sum(axis=1) > limit
            self.given_up[block] |= crowded
            line, group = np.nonzero(hits & ~crowded[:, None])
        opened = _open_groups(scores, line, group)
        hit, offset = np.nonzero(opened >= bar[line, None])
        line, column = line[hit], group[hit] * GROUP + offset
        first, last = (s[block][line] - start for s in self.search.skip)
        keep = (column < count) & ((column < first) | (column >= last))
        self._merge(
            block, slack, line[keep], start + column[keep], opened[hit, offset][keep]
        )

    def _merge(self, block, slack, line, places, scores) -> None:
        """Keep the best of the pool and of new candidates, sorted by line."""
        counts = np.bincount(line, minlength=len(block))
        width = int(counts.max(initial=0))
        if not width:
            return
        slot = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        both = np.full((len(block), width + self.size), -np.inf, np.float32)
        both[:, width:] = self.scores[block]
        both[line, slot] = scores
        both_places = np.full(both.shape, -1)
        both_places[:, width:] = self.places[block]
        both_places[line, slot] = places
        edges = (width - 1, width, both.shape[1] - self.k)
        order = np.argpartition(both, edges, axis=1)
        both = np.take_along_axis(both, order, axis=1)
        self.kth[block] = both[:, edges[2]]
        dropped = both[:, width - 1]
        self.given_up[block] |= (dropped >= self.kth[block] - slack) & (
            dropped > -np.inf
        )
        self.scores[block] = both[:, width:]
        self.places[block] = np.take_along_axis(both_places, order[:, width:], axis=1)

    def settle(self, largest_norm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score the pool in double precision and put it in order."""
        search = self.search
        scores = np.full(self.scores.shape, -np.inf, np.float32)
        bar = self.kth - self.slack * largest_norm
        for i in np.flatnonzero(~self.given_up):
            keep = np.flatnonzero((self.scores[i] >= bar[i]) & (self.places[i] >= 0))
            rows = search.gallery[search.rows_at(self.places[i, keep])]
            scores[i, keep] = rows.astype(np.float64) @ search.queries[i].astype(float)
        order = np.lexsort((self.places, -scores), axis=1)[:, : self.k]
        scores = np.take_along_axis(scores, order, axis=1)
        places = np.take_along_axis(self.places, order, axis=1)
        return (
            scores,
            np.where(np.isneginf(scores), -1, places),
            np.flatnonzero(self.given_up),
        )

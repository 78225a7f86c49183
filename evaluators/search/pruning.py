"""The fast part of an exact search: approximate scores, pruned by a proven bound.

With queries and gallery rounded to q' and g' (to bfloat16, or left in float32), a score
summed in float32 is off by at most |q - q'| |g'| + |q| |g - g'| + gamma |q'| |g'|,
gamma = d u / (1 - d u), u = 2^-24, in whatever order it is summed (Cauchy-Schwarz;
Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). So a record whose
approximate score lies more than twice that below the k-th best so far cannot be among
the k best. Those that remain, hardly more than k a query, are scored in double
precision.

Scores of a gallery block are inspected through the maxima of groups of columns: only
groups whose maximum reaches the threshold are opened, and the k-th largest maximum is
itself a threshold.
"""

import functools
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evaluators.search.scores import Search

GROUP = 32  # columns under one maximum
LANES = 8  # float32 numbers in a vector register
Dtype = type[jnp.float32] | type[jnp.bfloat16]


class Candidates(NamedTuple):
    """Records that may be among the k best of their query, one a row.

    Attributes:
        line: int [m], row of the query in its block.
        place: int [m], place of the record in the gallery.
        score: float32 [m], approximate score.
    """

    line: np.ndarray
    place: np.ndarray
    score: np.ndarray


class BlockScores(NamedTuple):
    """Approximate scores of a block of queries with a block of the gallery.

    Attributes:
        start: First place of the gallery block.
        count: Its rows; what is padded beyond counts for nothing.
        norms: [2], the largest |g'| and |g - g'| of the block.
        groups: float32 [b * t / GROUP, GROUP], scores.
        maxima: float32 [b, t / GROUP], of each group.
    """

    start: int
    count: int
    norms: np.ndarray | jax.Array
    groups: jax.Array
    maxima: jax.Array


def is_worthwhile(search: Search, k: int) -> bool:
    """Return whether the group maxima of a gallery block bound the k-th best score."""
    enough = search.gallery_block >= GROUP * (k + search.most_skipped)
    return enough and k > 0 and len(search.queries) > 0


def top_k(search: Search, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the k best of every query, where that can be settled.

    A query is given up when too many records stand within rounding of its k-th best,
    as in a collapsed embedding. What bfloat16 gives up is tried again in float32.

    Args:
        search: For which `is_worthwhile` holds.
        k: At most the size of the gallery.

    Returns:
        scores float32 [q, k], places int64 [q, k], and the queries that were given up.
    """
    scores = np.empty((len(search.queries), k), np.float32)
    places = np.empty(scores.shape, np.int64)
    unsettled = np.arange(len(scores))
    for dtype in dtypes():
        blocks = search.query_blocks(unsettled)
        pools = [CandidatePool(search, block, k, dtype) for block in blocks]
        norms = np.zeros(2)  # the largest |g'| and |g - g'| so far
        given_up = []
        for pool, scored in _one_ahead(_scored_blocks(search, pools)):
            norms = np.maximum(norms, scored.norms)
            pool.add(scored, norms)
            # Settled while the next blocks are scored.
            if scored.start + scored.count == search.size:
                scores[pool.block], places[pool.block], left = pool.settle(norms)
                given_up.append(left)
        unsettled = np.concatenate(given_up)
        if not len(unsettled):
            break
    return scores, places, unsettled


@functools.cache
def dtypes() -> tuple[Dtype, ...]:
    """Return what to score in, in turn: bfloat16 only where hardware multiplies it."""
    fast = jax.default_backend() != "cpu" or "amx_bf16" in _cpu_flags()
    return (jnp.bfloat16, jnp.float32) if fast else (jnp.float32,)


def _cpu_flags() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


def _scored_blocks(
    search: Search, pools: list["CandidatePool"]
) -> Iterator[tuple["CandidatePool", BlockScores]]:
    """Yield scores block by block; JAX computes them asynchronously."""
    width = -(-search.gallery_block // GROUP) * GROUP
    for start, rows in search.gallery_blocks():
        count = len(rows)
        if count < width:  # with the last row, so that no maximum is of a made-up one
            rows = np.pad(rows, ((0, width - count), (0, 0)), mode="edge")
        rounded, norms = _rounded(rows, pools[0].queries.dtype)
        for pool in pools:
            groups, maxima = _score(pool.queries, rounded, count)
            yield pool, BlockScores(start, count, norms, groups, maxima)


def _one_ahead(started: Iterable) -> Iterator:
    """Start each computation before the previous one is used."""
    waiting = []
    for computation in started:
        waiting.append(computation)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def _rounded(
    rows: np.ndarray, dtype: jnp.dtype
) -> tuple[jax.Array, np.ndarray | jax.Array]:
    """Return rows in another precision and the largest |g'| and |g - g'| of them."""
    if dtype == jnp.float32:
        longest = np.sqrt(np.einsum("ij,ij->i", rows, rows).max())
        return jnp.asarray(rows), np.array([longest, 0.0])
    return _narrowed(rows, dtype)


@functools.partial(jax.jit, static_argnums=1)
def _narrowed(rows: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    rounded = rows.astype(dtype)
    back = rounded.astype(jnp.float32)
    squares = jnp.stack([jnp.square(x).sum(axis=1).max() for x in (back, rows - back)])
    return rounded, jnp.sqrt(squares)


@jax.jit
def _score(
    queries: jax.Array, rows: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Return scores by group [b * t / GROUP, GROUP] and maxima [b, t / GROUP]."""
    scores = jax.lax.dot_general(
        queries,
        rows,
        (((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )  # [b, t]
    # In two steps: the first is over whole vectors of LANES and costs nothing compared
    # with the product. One step over GROUP, or a mask, would cost a third more.
    maxima = scores.reshape(len(scores), -1, GROUP // LANES, LANES).max(2).max(2)
    real = jnp.arange(maxima.shape[1]) * GROUP < count
    return (
        scores.reshape(-1, GROUP),
        jnp.where(real[None, :], maxima, -jnp.inf),
    )


def _open_groups(scores: jax.Array, hits: np.ndarray) -> np.ndarray:
    """Return the chosen lines of scores [b * t / GROUP, GROUP]."""
    if next(iter(scores.devices())).platform == "cpu":
        return np.asarray(scores).take(hits, axis=0)  # no copy of the whole on a CPU
    return _gathered(scores, hits)


def _gathered(scores: jax.Array, hits: np.ndarray) -> np.ndarray:
    # Padded to a power of two: few sizes, few compilations.
    padded = 1 << max(len(hits) - 1, 0).bit_length()
    return np.asarray(_gather(scores, np.resize(hits, padded)))[: len(hits)]


@jax.jit
def _gather(scores: jax.Array, hits: jax.Array) -> jax.Array:
    return scores[hits]


class CandidatePool:
    """Candidates of a block of queries: all that may still be among the k best.

    Args:
        search: Search over all queries.
        block: int [b], queries.
        k: Neighbors a query.
        dtype: Precision of the approximate scores.
    """

    def __init__(self, search: Search, block: np.ndarray, k: int, dtype: Dtype):
        self.search, self.block, self.k = search, block, k
        self.exact = search.queries[block]
        self.queries = jnp.asarray(self.exact).astype(dtype)
        self.skip = [side[block] for side in search.skip]
        self.enough = k + search.most_skipped  # so many maxima cover k candidates
        self.most = 4 * self.enough + 32  # candidates a query before it is given up
        rounded = np.asarray(self.queries, np.float32)
        d = rounded.shape[1] + 4  # + 4: rounding of scores and norms to float32
        gamma = d * 2.0**-24 / (1 - d * 2.0**-24)
        norm = np.linalg.norm(rounded, axis=1)
        rounding = np.linalg.norm(self.exact - rounded, axis=1)
        # Times the largest |g'| and |g - g'|: twice the largest error of a score.
        self.error = 2 * np.stack(
            [rounding + gamma * norm, np.linalg.norm(self.exact, axis=1)]
        )
        # Scores below it are out of the k best; inf: the query is given up.
        self.threshold = np.full(len(block), -np.inf, np.float32)
        self.peaks = np.full((len(block), self.enough), -np.inf, np.float32)  # maxima
        empty = np.empty(0, np.int64)
        self.candidates = Candidates(empty, empty, self.threshold[:0])  # by line
        self.unmerged: list[Candidates] = []

    def add(self, scored: BlockScores, norms: np.ndarray) -> None:
        """Add the candidates of a gallery block.

        Args:
            scored: Scores of this pool's queries.
            norms: [2], the largest |g'| and |g - g'| so far.
        """
        margin, maxima = norms @ self.error, np.asarray(scored.maxima)
        peaks = np.concatenate([self.peaks, maxima], axis=1)
        edge = peaks.shape[1] - self.enough
        self.peaks = np.partition(peaks, edge, axis=1)[:, edge:]
        lowest = (self.peaks[:, 0] - margin).astype(np.float32)
        threshold = np.maximum(self.threshold, lowest)
        groups = maxima.shape[1]
        hits = np.flatnonzero(maxima >= threshold[:, None])
        dense = np.bincount(hits // groups, minlength=len(threshold)) > self.most
        if dense.any():
            threshold[dense] = np.inf
            hits = np.flatnonzero(maxima >= threshold[:, None])
        self.threshold = threshold
        line, group = np.divmod(hits, groups)
        opened = _open_groups(scored.groups, hits)
        above = np.flatnonzero(opened >= threshold[line, None])
        hit, offset = np.divmod(above, GROUP)
        line, column = line[hit], group[hit] * GROUP + offset
        first, last = (side[line] - scored.start for side in self.skip)
        keep = (column < scored.count) & ((column < first) | (column >= last))
        place = scored.start + column[keep]
        self.unmerged.append(Candidates(line[keep], place, opened[hit, offset][keep]))
        # One group can hold several candidates; merging raises the threshold.
        count = sum(len(candidates.line) for candidates in self.unmerged)
        if count >= 2 * self.k * len(self.threshold):
            self.merge(margin)

    def merge(self, margin: np.ndarray) -> None:
        """Raise the threshold to the k-th best so far, and drop candidates below.

        Args:
            margin: [b], twice the largest error of a score.
        """
        parts = zip(self.candidates, *self.unmerged, strict=True)
        line, place, score = map(np.concatenate, parts)
        order = np.argsort(line, kind="stable")
        line, place, score = line[order], place[order], score[order]
        counts = np.bincount(line, minlength=len(self.threshold))
        slot = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        table = np.full((len(counts), max(counts.max(), self.k)), -np.inf, np.float32)
        table[line, slot] = score
        edge = table.shape[1] - self.k
        kth = np.partition(table, edge, axis=1)[:, edge]
        lowest = (kth - margin).astype(np.float32)
        self.threshold = np.maximum(self.threshold, lowest)
        keep = score >= self.threshold[line]
        kept = np.bincount(line[keep], minlength=len(counts))
        self.threshold[kept > self.most] = np.inf
        keep &= self.threshold[line] < np.inf
        self.candidates = Candidates(line[keep], place[keep], score[keep])
        self.unmerged = []

    def settle(self, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score the candidates in double precision and put them in order.

        Args:
            norms: [2], the largest |g'| and |g - g'| of the gallery.

        Returns:
            scores [b, k], places [b, k], and the queries that were given up.
        """
        self.merge(norms @ self.error)
        line, place, _ = self.candidates  # a line's places ascend
        ends = np.searchsorted(line, np.arange(len(self.threshold) + 1))
        scores = np.full((len(self.threshold), self.k), -np.inf, np.float32)
        places = np.full(scores.shape, -1)
        # Buffers for all queries: fresh pages for each would cost as much as the sums.
        gallery, rows = self.search.gallery, self.search.rows_at(place)
        shape = (np.diff(ends).max(initial=0), self.exact.shape[1])
        stored, near = np.empty(shape, gallery.dtype), np.empty(shape)
        for i, query in enumerate(self.exact.astype(np.float64)):
            part, count = slice(ends[i], ends[i + 1]), ends[i + 1] - ends[i]
            gallery.take(rows[part], axis=0, out=stored[:count], mode="clip")
            near[:count] = stored[:count]
            exact = (near[:count] @ query).astype(np.float32)
            order = np.argsort(-exact, kind="stable")[: self.k]
            scores[i, : len(order)] = exact[order]
            places[i, : len(order)] = place[part][order]
        return scores, places, self.block[self.threshold == np.inf]

"""The fast part of an exact search: rough scores, pruned by a proven bound.

With queries and gallery rounded to q' and g' (to bfloat16, or left in float32), a score
summed in float32 is off by at most |q - q'| |g'| + |q| |g - g'| + gamma |q'| |g'|,
gamma = d u / (1 - d u), u = 2^-24, in whatever order it is summed (Cauchy-Schwarz;
Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). So a record whose
rough score lies more than twice that below the k-th best so far cannot be among the k
best. Those that remain, hardly more than k a query, are scored in double precision.

A gallery_block's scores are looked at through the maxima of groups of columns: only
groups that reach the bar are opened, and the k-th largest maximum is itself a bar.
"""

import functools
import pathlib
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

GROUP = 32  # columns under one maximum
LANES = 8  # float32 numbers in a vector register


def worthwhile(search, k: int) -> bool:
    """Return whether the group maxima of a gallery block bound the k-th best score."""
    enough = search.gallery_block >= GROUP * (k + _most_skipped(search))
    return enough and k > 0 and len(search.queries) > 0


def top_k(search, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores [q, k], places [q, k], and the queries that were not settled.

    A query is given up when too many records stand within rounding of its k-th best,
    as in a collapsed embedding. What bfloat16 gives up is tried again in float32.
    """
    scores = np.empty((len(search.queries), k), np.float32)
    places = np.empty(scores.shape, np.int64)
    left = np.arange(len(scores))
    for dtype in dtypes():
        pools = [_Pool(search, block, k, dtype) for block in search.blocks(left)]
        norms = np.zeros(2)  # the largest |g'| and |g - g'| so far
        left = []
        for pool, start, count, here, rough in _one_ahead(_calls(search, pools)):
            norms = np.maximum(norms, here)
            pool.add(start, count, *rough, norms)
            if start + count == search.size:  # settled while the next are scored
                scores[pool.block], places[pool.block], given_up = pool.settle(norms)
                left.append(given_up)
        left = np.concatenate(left)
        if not len(left):
            break
    return scores, places, left


@functools.cache
def dtypes() -> tuple:
    """Return what to score in, in turn: bfloat16 only where there are units for it."""
    fast = jax.default_backend() != "cpu" or "amx_bf16" in _cpu_flags()
    return (jnp.bfloat16, jnp.float32) if fast else (jnp.float32,)


def _cpu_flags() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


def _calls(search, pools: list["_Pool"]) -> Iterator[tuple]:
    """Yield the work in order; what jax computes is only started here."""
    width = -(-search.gallery_block // GROUP) * GROUP
    for start, rows in search.tiles():
        count = len(rows)
        if count < width:  # with the last row, so that no maximum is of a made-up one
            rows = np.pad(rows, ((0, width - count), (0, 0)), mode="edge")
        rows, norms = _rounded(rows, pools[0].queries.dtype)
        for pool in pools:
            yield pool, start, count, norms, _score(pool.queries, rows, count)


def _one_ahead(started: Iterable) -> Iterator:
    """Start each piece of work before the one in front of it is used."""
    waiting = []
    for work in started:
        waiting.append(work)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def _rounded(rows: np.ndarray, dtype) -> tuple[jax.Array, np.ndarray | jax.Array]:
    """Return rows in another precision and the largest |g'| and |g - g'| of them."""
    if dtype == jnp.float32:
        longest = np.sqrt(np.einsum("ij,ij->i", rows, rows).max())
        return jnp.asarray(rows), np.array([longest, 0.0])
    return _narrowed(rows, dtype)


@functools.partial(jax.jit, static_argnums=1)
def _narrowed(rows: jax.Array, dtype) -> tuple[jax.Array, jax.Array]:
    rough = rows.astype(dtype)
    back = rough.astype(jnp.float32)
    squares = jnp.stack([jnp.square(x).sum(axis=1).max() for x in (back, rows - back)])
    return rough, jnp.sqrt(squares)


@jax.jit
def _score(queries: jax.Array, rows: jax.Array, count: int) -> tuple:
    """Return scores by group [b * t / GROUP, GROUP] and maxima [b, t / GROUP]."""
    scores = jax.lax.dot_general(
        queries,
        rows,
        (((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )  # [b, t]
    # In two steps: the first is over whole vectors of LANES, which costs nothing
    # beside the product; over GROUP at once, or with a mask, it costs a third more.
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
    # Few sizes, few compilations.
    room = 1 << max(len(hits) - 1, 0).bit_length()
    return np.asarray(_gather(scores, np.resize(hits, room)))[: len(hits)]


@jax.jit
def _gather(scores: jax.Array, hits: jax.Array) -> jax.Array:
    return scores[hits]


def _most_skipped(search) -> int:
    first, last = search.skip
    return int((last - first).max(initial=0))


class _Pool:
    """Candidates of a block of queries: all that may still be among the k best."""

    def __init__(self, search, block: np.ndarray, k: int, dtype):
        self.search, self.block, self.k = search, block, k
        self.exact = search.queries[block]
        self.queries = jnp.asarray(self.exact).astype(dtype)
        self.skip = [side[block] for side in search.skip]
        self.enough = k + _most_skipped(search)  # so many maxima cover k candidates
        self.most = 4 * self.enough + 32  # candidates a query before it is given up
        rough = np.asarray(self.queries, np.float32)
        d = rough.shape[1] + 4  # + 4: rounding of scores and norms to float32
        gamma = d * 2.0**-24 / (1 - d * 2.0**-24)
        own, off = (np.linalg.norm(x, axis=1) for x in (rough, self.exact - rough))
        # Times the largest |g'| and |g - g'|: twice how far off a score can be.
        self.doubt = 2 * np.stack(
            [off + gamma * own, np.linalg.norm(self.exact, axis=1)]
        )
        self.bar = np.full(len(block), -np.inf, np.float32)  # inf: given up
        self.peaks = np.full((len(block), self.enough), -np.inf, np.float32)  # maxima
        nothing = (np.empty(0, np.int64), np.empty(0, np.int64), self.bar[:0])
        self.candidates = nothing  # line, place and rough score, sorted by line
        self.waiting = []  # more of them, not yet merged

    def add(self, start, count, scores, maxima, norms) -> None:
        """Take in the scores [b * t / GROUP, GROUP] of one gallery_block."""
        slack, maxima = norms @ self.doubt, np.asarray(maxima)
        peaks = np.concatenate([self.peaks, maxima], axis=1)
        edge = peaks.shape[1] - self.enough
        self.peaks = np.partition(peaks, edge, axis=1)[:, edge:]
        bar = np.maximum(self.bar, (self.peaks[:, 0] - slack).astype(np.float32))
        groups = maxima.shape[1]
        hits = np.flatnonzero(maxima >= bar[:, None])
        low_uniformity = np.bincount(hits // groups, minlength=len(bar)) > self.most
        if low_uniformity.any():
            bar[low_uniformity] = np.inf
            hits = np.flatnonzero(maxima >= bar[:, None])
        self.bar = bar
        line, group = np.divmod(hits, groups)
        opened = _open_groups(scores, hits)
        hit, offset = np.divmod(np.flatnonzero(opened >= bar[line, None]), GROUP)
        line, column = line[hit], group[hit] * GROUP + offset
        first, last = (side[line] - start for side in self.skip)
        keep = (column < count) & ((column < first) | (column >= last))
        more = line[keep], start + column[keep], opened[hit, offset][keep]
        self.waiting.append(more)
        # Neighbors in one group hide behind its maximum; merging raises the bar.
        if sum(len(line) for line, *_ in self.waiting) >= 2 * self.k * len(self.bar):
            self.merge(slack)

    def merge(self, slack: np.ndarray) -> None:
        """Raise the bar to the k-th best so far, and drop what lies below."""
        parts = zip(self.candidates, *self.waiting, strict=True)
        line, place, score = map(np.concatenate, parts)
        order = np.argsort(line, kind="stable")
        line, place, score = line[order], place[order], score[order]
        counts = np.bincount(line, minlength=len(self.bar))
        slot = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        table = np.full((len(counts), max(counts.max(), self.k)), -np.inf, np.float32)
        table[line, slot] = score
        edge = table.shape[1] - self.k
        kth = np.partition(table, edge, axis=1)[:, edge]
        self.bar = np.maximum(self.bar, (kth - slack).astype(np.float32))
        keep = score >= self.bar[line]
        kept = np.bincount(line[keep], minlength=len(counts))
        self.bar[kept > self.most] = np.inf
        keep &= self.bar[line] < np.inf
        self.candidates, self.waiting = (line[keep], place[keep], score[keep]), []

    def settle(self, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score the candidates in double precision and put them in order.

        Returns:
            scores [b, k], places [b, k], and the queries that were given up.
        """
        self.merge(norms @ self.doubt)
        line, place, _ = self.candidates  # a line's places ascend
        ends = np.searchsorted(line, np.arange(len(self.bar) + 1))
        scores = np.full((len(self.bar), self.k), -np.inf, np.float32)
        places = np.full(scores.shape, -1)
        # Buffers of its own: fresh pages for each query would cost as much as the sums.
        gallery, rows = self.search.gallery, self.search.rows_at(place)
        shape = (np.diff(ends).max(initial=0), self.exact.shape[1])
        read, near = np.empty(shape, gallery.dtype), np.empty(shape)
        for i, query in enumerate(self.exact.astype(np.float64)):
            part, count = slice(ends[i], ends[i + 1]), ends[i + 1] - ends[i]
            gallery.take(rows[part], axis=0, out=read[:count], mode="clip")
            near[:count] = read[:count]
            exact = (near[:count] @ query).astype(np.float32)
            order = np.argsort(-exact, kind="stable")[: self.k]
            scores[i, : len(order)] = exact[order]
            places[i, : len(order)] = place[part][order]
        return scores, places, self.block[self.bar == np.inf]

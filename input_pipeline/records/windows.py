"""Windows over sequences of vectors: a context, and the vector that follows it.

Vectors are sorted by article and position; a window is `context` of them and the next.
Articles are held out as a whole: neighboring windows share all but one vector, so that
a split by window would leak most vectors of validation into training.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from input_pipeline import dataset, splits
from input_pipeline.records.stored_array import StoredArray, unit_rows


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Vectors in the order of their articles.

    Attributes:
        vectors: All vectors, [v, d].
        order: int64 [v], row of `vectors` for each place of that order.
        article: int64 [v], number of each place's article, never falling.
        position: int64 [v], place within the article.
        good: bool [v], whether the vector may be used.
        names: Name of each article.
        more: Further fields of a window: name -> array [v, ...] by place of the target.
    """

    vectors: StoredArray
    order: np.ndarray
    article: np.ndarray
    position: np.ndarray
    good: np.ndarray
    names: list[str]
    more: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def split(
    sequences: Sequences,
    *,
    context: int,
    val_fraction: float,
    cross_article_negatives: int,
    same_article_negatives: int,
    seed: int,
) -> dataset.Data:
    """Return windows of the articles in training, and of those held out.

    Args:
        sequences: Vectors of all articles.
        context: L, vectors of a context, 1 or more.
        val_fraction: Share of the articles held out, in (0, 1).
        cross_article_negatives: S, vectors of other articles of the same split that
            come with a window.
        same_article_negatives: B, vectors of the window's own article but not of the
            window; where the article has none, cross_article_negatives.
        seed: Random seed of the split and of the negatives.

    Returns:
        Records `context` float32 [l, d], `target` [d], `cross_article_negatives` [s,
        d], `same_article_negatives` [b, d], and `place` and `same_article_places` int32
        [b], where target and same_article_negatives stand among all vectors; column
        `vector` is `place` again. `extra["pool"]` holds every good vector of the
        articles held out, as records `target` [d] with their place.

    Raises:
        DataError: If a field is out of range, or a side has no window.
    """
    _check(context, val_fraction, cross_article_negatives, same_article_negatives)
    held = _held_out(sequences, context, val_fraction, seed)
    places = np.arange(len(sequences.order))
    first = _windows(sequences, context)
    rng = np.random.default_rng([seed, 1])
    sides, next_id = [], 0
    for side, name in ((~held, "in training"), (held, "held out")):
        side_windows = first[side[sequences.article[first]]]
        side_vectors = places[side[sequences.article] & sequences.good]
        if not len(side_windows):
            raise dataset.DataError(
                f"data: none of the articles {name} has {context + 1} vectors, a "
                f"context of {context} and the next; got {len(sequences.names)} "
                "articles: set data.context or data.val_fraction"
            )
        others = {
            "cross_article_negatives": _cross_article_negatives(
                sequences, side_windows, side_vectors, cross_article_negatives, rng
            ),
            "same_article_negatives": _same_article_negatives(
                sequences,
                side_windows,
                side_vectors,
                same_article_negatives,
                context,
                rng,
            ),
        }
        source = _Windows(sequences, side_windows, context, others)
        sides.append(_split(sequences, source, side_windows + context, next_id))
        next_id += len(side_windows)
    pool = _split(sequences, _Targets(sequences, side_vectors), side_vectors, next_id)
    shortest = np.bincount(sequences.article, minlength=len(sequences.names))
    facts = {
        "vectors": len(places),
        "width": int(sequences.vectors.array.shape[1]),
        "articles": len(sequences.names),
        "context": context,
        "windows": f"{len(sides[0])} in training, {len(sides[1])} held out",
        "split": f"by article: {int(held.sum())} of {len(held)} held out",
        "pool": f"{len(pool)} vectors of the articles held out",
        "articles_too_short": int((shortest <= context).sum()),
        "articles_too_short_first": [
            sequences.names[i] for i in np.flatnonzero(shortest <= context)[:10]
        ],
    }
    return dataset.Data(*sides, facts, {"pool": pool})


def contexts(x: np.ndarray, name: str, path: str) -> dataset.Split:
    """Return one record: a context [l, d] without a target.

    Raises:
        DataError: If x is not a context.
    """
    if x.ndim != 2 or not x.size or x.dtype.kind != "f" or not np.isfinite(x).all():
        raise dataset.DataError(
            f"{path}: got {x.dtype} {list(x.shape)}; expected finite vectors [l, d], "
            "the last one last"
        )
    x = unit_rows(np.asarray(x), np.arange(len(x)))
    return dataset.single({"context": x}, name, path)


class _Windows:
    """Random access to windows."""

    def __init__(
        self,
        sequences: Sequences,
        first: np.ndarray,
        context: int,
        others: dict[str, np.ndarray],
    ):
        self._sequences, self._first = sequences, first
        self._context, self._others = context, others

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {k: v[0] for k, v in self.read(np.array([row])).items()}

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return many windows at once."""
        s = self._sequences
        first = self._first[np.asarray(rows, np.int64)]
        at = first[:, None] + np.arange(self._context + 1)[None, :]  # [m, l + 1]
        x = unit_rows(s.vectors.array, s.order[at])  # [m, l + 1, d]
        others = {
            name: unit_rows(s.vectors.array, s.order[places[rows]])
            for name, places in self._others.items()
        }
        others["place"] = at[:, -1].astype(np.int32)
        others["same_article_places"] = self._others["same_article_negatives"][
            rows
        ].astype(np.int32)
        more = {name: values[at[:, -1]] for name, values in s.more.items()}
        return {"context": x[:, :-1], "target": x[:, -1], **others, **more}


class _Targets:
    """Random access to vectors by themselves."""

    def __init__(self, sequences: Sequences, places: np.ndarray):
        self._sequences, self._places = sequences, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {k: v[0] for k, v in self.read(np.array([row])).items()}

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return many vectors at once."""
        s = self._sequences
        places = self._places[np.asarray(rows, np.int64)]
        return {"target": unit_rows(s.vectors.array, s.order[places])}


def _windows(s: Sequences, context: int) -> np.ndarray:
    """Place where a window of good vectors of one article begins."""
    n = len(s.order) - context
    if n < 1:
        return np.zeros(0, np.int64)
    bad = np.concatenate([[0], np.cumsum(~s.good)])
    whole = bad[context + 1 :] == bad[:n]
    same = s.article[:n] == s.article[context:]
    return np.flatnonzero(whole & same)


def _held_out(s: Sequences, context: int, val_fraction: float, seed: int) -> np.ndarray:
    """Bool of each article: articles with a window are drawn, short ones stay."""
    able = np.unique(s.article[_windows(s, context)])
    order = splits.random_order(len(able), [seed, 0])
    held = np.zeros(len(s.names), bool)
    held[able] = splits.held_out_groups(order, val_fraction)
    return held


def _cross_article_negatives(
    s: Sequences, first: np.ndarray, vectors: np.ndarray, count: int, rng
) -> np.ndarray:
    """Place of vectors of other articles, int64 [w, count]."""
    article = s.article[first]
    low = np.searchsorted(s.article[vectors], article)
    high = np.searchsorted(s.article[vectors], article, "right")
    others = len(vectors) - (high - low)
    if count and not others.all():
        raise dataset.DataError(
            "data.cross_article_negatives: one article alone has no other to take "
            "vectors from; "
            "expected two articles or more on each side, or "
            "data.cross_article_negatives=0"
        )
    draw = np.floor(rng.random((len(first), count)) * others[:, None]).astype(np.int64)
    return vectors[draw + np.where(draw >= low[:, None], (high - low)[:, None], 0)]


def _same_article_negatives(
    s: Sequences, first: np.ndarray, vectors: np.ndarray, count: int, context: int, rng
) -> np.ndarray:
    """Place of vectors of the same article outside the window, int64 [w, count]."""
    article = s.article[first]
    low = np.searchsorted(s.article[vectors], article)
    high = np.searchsorted(s.article[vectors], article, "right")
    window = np.searchsorted(vectors, first)  # its vectors stand one after another
    others = high - low - (context + 1)
    draw = np.floor(rng.random((len(first), count)) * others[:, None]).astype(np.int64)
    at = low[:, None] + draw
    at += np.where(at >= window[:, None], context + 1, 0)
    if (alone := others == 0).any():
        other_vectors = _cross_article_negatives(s, first[alone], vectors, count, rng)
        at[alone] = np.searchsorted(vectors, other_vectors)
    return vectors[at]


def _split(
    s: Sequences, source: Sequence, places: np.ndarray, first_id: int
) -> dataset.Split:
    """Records that stand for the vectors at `places`."""
    ids = first_id + np.arange(len(places))
    titles = [s.names[i] for i in s.article[places].tolist()]
    table: dict[str, Any] = {
        **dataset.columns_without_codes(ids, s.article[places]),
        "vector": places.astype(np.int64),
        "position": s.position[places].astype(np.int64),
        "title": titles,
        "name": [
            f"{title}, {position}"
            for title, position in zip(titles, s.position[places].tolist(), strict=True)
        ],
    }
    return dataset.Split(source, table, s.names, [])


def _check(
    context: int,
    val_fraction: float,
    cross_article_negatives: int,
    same_article_negatives: int,
) -> None:
    if context < 1:
        raise dataset.DataError(f"data.context: got {context}; expected 1 or more")
    if not 0 < val_fraction < 1:
        raise dataset.DataError(
            f"data.val_fraction: got {val_fraction}; expected a share in (0, 1)"
        )
    for name, value in (
        ("cross_article_negatives", cross_article_negatives),
        ("same_article_negatives", same_article_negatives),
    ):
        if value < 0:
            raise dataset.DataError(f"data.{name}: got {value}; expected 0 or more")

"""Articles that are drawn, not read: a dataset whose best possible score is known.

An article has one of K topics. A topic is a direction P_k and a motion Q_k, a rotation:

    x_0 ~ e,   x_{t+1} = m + b e over its norm,   m = p P_k + c x_t + a Q_k x_t

e is Gaussian with E|e|^2 = 1. The mean of a context predicts P_k, a copy of the last
vector predicts c x_t; Q_k x_t needs the topic, since no linear map of a context follows
several rotations. b e cannot be predicted: the direction of m is the best prediction
and is the field `best` of each record.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

import field_types
from input_pipeline import dataset, field_checks
from input_pipeline.datasets import articles
from input_pipeline.records import windows
from input_pipeline.records.stored_array import StoredArray

BURN_IN = 8  # vectors of an article that are thrown away


def load(
    *,
    train: Annotated[int, Interval(ge=2, le=10**7)] = 3000,
    validation: Annotated[int, Interval(ge=2, le=10**7)] = 300,
    length: Annotated[int, Interval(ge=2, le=65_536)] = 24,
    context: Annotated[int, Interval(ge=1, le=65_535)] = 5,
    width: Annotated[int, Interval(ge=2, le=65_536)] = 64,
    topics: Annotated[int, Interval(ge=1, le=10**5)] = 4,
    topic: Annotated[float, Interval(ge=-1e6, le=1e6)] = 0.25,
    stay: Annotated[float, Interval(ge=-1e6, le=1e6)] = 0.35,
    move: Annotated[float, Interval(ge=-1e6, le=1e6)] = 0.7,
    noise: Annotated[float, Interval(gt=0, le=1e6)] = 0.9,
    cross_article_negatives: Annotated[int, Interval(ge=0, le=65_536)] = 4,
    same_article_negatives: Annotated[int, Interval(ge=0, le=65_536)] = 0,
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Return windows of drawn articles as records.

    Args:
        train: Articles to train on.
        validation: Articles held out.
        length: Vectors of an article, more than `context`.
        context: Vectors that are seen before the one that is asked for.
        width: D, numbers of a vector.
        topics: K.
        topic: P, weight of the topic's direction.
        stay: C, weight of the last vector.
        move: A, weight of the last vector moved.
        noise: B, weight of what cannot be predicted.
        cross_article_negatives: Vectors of other articles that come with a window, for
            corruption.
        same_article_negatives: Vectors of the same article that do, as further
            candidates.
        seed: Random seed of topics and articles.
        progress: Not used.

    Returns:
        As `windows.split` says, with a further field `best` [d], unit norm.

    Raises:
        DataError: If a field is out of range.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(length=length, context=context)
    del progress
    n = train + validation
    x, best, topic_of = draw(
        n, length, width, topics, (topic, stay, move, noise), seed=seed
    )
    sequences = windows.Sequences(
        vectors=StoredArray(x.reshape(n * length, width)),
        order=np.arange(n * length),
        article=np.repeat(np.arange(n), length),
        position=np.tile(np.arange(length), n),
        good=np.ones(n * length, bool),
        names=[f"article {i} on topic {k}" for i, k in enumerate(topic_of.tolist())],
        more={"best": best.reshape(n * length, width)},
    )
    data = windows.split(
        sequences,
        context=context,
        val_fraction=validation / n,
        cross_article_negatives=cross_article_negatives,
        same_article_negatives=same_article_negatives,
        seed=seed,
    )
    facts = {
        "dataset": "topics",
        "topics": topics,
        "weights": f"topic {topic:g}, stay {stay:g}, move {move:g}, noise {noise:g}",
        **data.facts,
    }
    return data._replace(facts=facts)


def check(**fields: Any) -> None:
    """Check constraints between the fields of `load`.

    Raises:
        DataError: Articles are too short for a context and the vector after it.
    """
    given = field_checks.with_defaults(load, fields)
    length, context = given["length"], given["context"]
    if length <= context:
        raise dataset.DataError(
            f"data.length: got {length}; expected more than data.context = {context}"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any
) -> tuple[dataset.Split, dict]:
    """Return the windows or the context of a file; see `articles.read_records`."""
    return articles.read_records(path, data=data, transform=transform)


def draw(
    articles: int,
    length: int,
    width: int,
    topics: int,
    weights: tuple[float, float, float, float],
    *,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw articles.

    Args:
        articles: N.
        length: L.
        width: D.
        topics: K.
        weights: P, c, a, b.
        seed: Random seed of all draws.

    Returns:
        Vectors float32 [n, l, d] of unit norm; the best prediction of each from the one
        before it, [n, l, d] of unit norm; the topic of each article, int [n].
    """
    rng = np.random.default_rng([seed, 2])
    p, c, a, b = weights
    directions = _unit(rng.standard_normal((topics, width)))  # [K, d]
    motions = np.stack(
        [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(topics)]
    )  # [K, d, d]
    topic_of = rng.integers(topics, size=articles)
    x = _unit(rng.standard_normal((articles, width)))
    vectors = np.empty((articles, length, width), np.float32)
    best = np.empty_like(vectors)
    for t in range(-BURN_IN, length):
        m = p * directions[topic_of] + c * x
        for k in range(topics):
            of_topic = topic_of == k
            m[of_topic] += a * x[of_topic] @ motions[k].T
        e = rng.standard_normal((articles, width)) / np.sqrt(width)
        x = _unit(m + b * e)
        if t >= 0:
            vectors[:, t], best[:, t] = x, _unit(m)
    return vectors, best, topic_of


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

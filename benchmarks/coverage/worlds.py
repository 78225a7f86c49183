"""Simulated data with groups that differ, for every evaluator.

A world draws a data set of G groups and returns the metrics of a real evaluator on it.
Groups differ in where they lie and in how noisy they are, so that records of one group
are alike; everything is drawn anew each time, galleries included.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from evaluators import frames, geometry, instance, next_vector, pairs, retrieval
from evaluators.common import label_information
from evaluators.common.evaluator import Context, EvaluatorBase
from evaluators.common.metric import Metric, Metrics
from train_lib import generalization_gap

WIDTH = 16  # of embeddings
DIFFERENCE = 0.4  # standard deviation of the log of a group's noise
CLIP_FRAMES, ARTICLE_VECTORS, CONTEXT = 4, 6, 2
MANY = 100  # groups, from which on each is small


class World(Protocol):
    """A simulation of one evaluator."""

    def __call__(self, rng: np.random.Generator, groups: int, /) -> Metrics:
        """Draw data of some groups and return its metrics."""
        ...


@dataclasses.dataclass(frozen=True)
class Split:
    """Records whose embeddings are drawn.

    Attributes:
        views: Embeddings by name of the view, [n, d]; "" for records as they are.
        table: Columns.
        fields: Stored fields.
    """

    views: Mapping[str, np.ndarray]
    table: Mapping[str, Any]
    fields: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table["id"])

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return stored fields of chosen records."""
        return {name: field[rows] for name, field in self.fields.items()}


class Data(NamedTuple):
    """A dataset of drawn records."""

    train: Split
    validation: Split
    extra: Mapping[str, Split] = {}
    grouped_by: str = "label"


def embed(
    split: Split, rows: np.ndarray, view: str | None = None, /, **changes: Any
) -> np.ndarray:
    """Return the drawn embeddings; a change names a view of its own."""
    del changes
    return split.views[view or ""][rows]


def unit(x: np.ndarray) -> np.ndarray:
    """Return rows scaled to unit norm, float32."""
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def drawn_split(
    rng: np.random.Generator, groups: int, size: int, noise: float, first_id: int = 0
) -> Split:
    """Return records around centers of groups, with views of unlike noise.

    Args:
        rng: Random numbers.
        groups: G.
        size: Records of a group, on average; at least 2, and 3 of many groups.
        noise: Standard deviation of a record and its views around a center.
        first_id: Id of the first record.
    """
    size = size if groups < MANY else 3
    sizes = 2 + rng.binomial(2 * (size - 2), 0.5, groups)
    label = np.repeat(np.arange(groups), sizes)
    n, scale = len(label), noise * np.exp(DIFFERENCE * rng.standard_normal(groups))
    own = scale[label][:, None] / np.sqrt(WIDTH)
    # Directions of a cone, as of trained networks, some groups further from its axis.
    center = rng.standard_normal((groups, WIDTH)) + np.eye(WIDTH)[0] * np.sqrt(WIDTH)
    center = unit(center)[label]
    z = center + 2 * own * rng.standard_normal((n, WIDTH))
    views = {
        name: unit(z + own * strength * rng.standard_normal((n, WIDTH)))
        for name, strength in (("", 0.0), ("view1", 2.0), ("view2", 1.0))
    }
    codes = np.stack([label, groups + rng.integers(0, 4, n)], axis=1)
    table = {
        "id": rng.permutation(n).astype(np.int64) + first_id,
        "label": label,
        "codes": codes.astype(np.int32),
        "code_weights": np.tile(np.float32([1.0, 0.5]), (n, 1)),
        "source": np.array(["a", "b"])[np.arange(n) % 2],
    }
    return Split(views, table)


def measured(evaluator: type[EvaluatorBase], data: Data, **fields: Any) -> Metrics:
    """Return the metrics of an evaluator by relative tag."""
    context = Context(data=data, prefix="", seed=0)
    metrics = evaluator(context=context, **fields).run(embed).metrics
    return {tag.removeprefix("/"): metric for tag, metric in metrics.items()}


def retrieval_by_label(rng: np.random.Generator, groups: int) -> Metrics:
    """Search for records of the same label."""
    split = drawn_split(rng, groups, 4, 0.9)
    return measured(retrieval.Evaluator, Data(split, split), k=(1, 3))


def retrieval_by_codes(rng: np.random.Generator, groups: int) -> Metrics:
    """Search for records that share codes, from one source in the other."""
    split = drawn_split(rng, groups, 8, 0.9)
    fields = {"relevance": "codes", "cross": "source", "k": (1, 3)}
    return measured(retrieval.Evaluator, Data(split, split), **fields)


def instances(rng: np.random.Generator, groups: int) -> Metrics:
    """Search for the record that a view was made from."""
    split = drawn_split(rng, groups, 4, 2.2)
    return measured(instance.Evaluator, Data(split, split), k=(1, 3))


def pairs_of_views(rng: np.random.Generator, groups: int) -> Metrics:
    """Distances of views, and search among distractors and near-duplicates."""
    split = drawn_split(rng, groups, 4, 1.2)
    n = len(split)
    split.table["phantom"] = np.arange(n)
    owner = np.repeat(np.arange(n), 2)
    near = split.views[""][owner] + 0.5 * rng.standard_normal((2 * n, WIDTH)) / 4
    near_duplicates = Split(
        {"view2": unit(near)}, {"id": np.arange(2 * n) + 10**6, "phantom": owner}
    )
    distractors = drawn_split(rng, groups, 4, 1.2, first_id=10**5)
    extra = {"distractors": distractors, "near_duplicates": near_duplicates}
    fields = {"galleries": (-1,), "near_duplicates": True, "margin": 0.4}
    fields["conditions"] = {"snr": (5.0,)}
    return measured(pairs.Evaluator, Data(split, split, extra), **fields)


def frames_of_clips(rng: np.random.Generator, groups: int) -> Metrics:
    """Search for frames of other clips with the same angle."""
    size = CLIP_FRAMES if groups < MANY else 2
    n = groups * size
    clip = np.repeat(np.arange(groups), size)
    angle = rng.uniform(-20, 20, n)
    noise = 0.5 * np.exp(DIFFERENCE * rng.standard_normal(groups))[clip][:, None]
    offset = rng.normal(0, 4, groups)[clip]  # a clip looks like another angle
    axis = np.linspace(-20, 20, WIDTH)[None, :]
    curve = np.exp(-np.square((angle + offset)[:, None] - axis) / 200)
    image = np.repeat(curve[:, None, :], 7, axis=1) * 200
    image = image + 20 * rng.standard_normal(image.shape)
    table = {
        "id": rng.permutation(n).astype(np.int64),
        "label": ((angle + 20) // 10).astype(np.int32),
        "codes": np.full((n, 1), -1, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
        "clip": clip,
        "time": np.tile(np.arange(size) / 25, groups),
        "angle": angle,
    }
    views = {"": unit(curve + noise * rng.standard_normal((n, WIDTH)))}
    stored = np.clip(image, 0, 255).astype(np.uint8)[..., None]
    split = Split(views, table, {"image": stored})
    fields = {"window": -1.0, "column": "angle", "labels": True, "k": (1, 2)}
    return measured(
        frames.Evaluator,
        Data(split, split),
        ssim=10,
        ties=0.05,
        max_queries=400,
        **fields,
    )


def next_vectors(rng: np.random.Generator, groups: int) -> Metrics:
    """Predict the next vector of articles, held out and in training."""
    validation, pool = article_split(rng, groups, 0.35)
    train, _ = article_split(rng, groups, 0.3)
    data = Data(train, validation, {"pool": pool})
    return measured(next_vector.Evaluator, data, k=(1, 5))


def article_split(
    rng: np.random.Generator, groups: int, noise: float
) -> tuple[Split, Split]:
    """Return windows of articles and the pool of all vectors."""
    n = groups * ARTICLE_VECTORS
    article = np.repeat(np.arange(groups), ARTICLE_VECTORS)
    center = unit(rng.standard_normal((groups, WIDTH)))[article]
    vectors = unit(center + 0.2 * rng.standard_normal((n, WIDTH)))
    scale = noise * np.exp(DIFFERENCE * rng.standard_normal(groups))[article][:, None]
    prediction = unit(vectors + scale * rng.standard_normal((n, WIDTH)))
    number = np.arange(n)
    pool = Split({"view2": vectors}, {"id": number, "vector": number})
    rows = number[number % ARTICLE_VECTORS >= CONTEXT]
    table = {"id": rows, "label": article[rows], "vector": rows}
    fields = {"context": np.zeros((len(rows), CONTEXT, 1))}
    views = {"": prediction[rows], "view2": vectors[rows]}
    return Split(views, table, fields), pool


def spread(rng: np.random.Generator, groups: int) -> Metrics:
    """Geometry of embeddings, some of them at the same place."""
    split = drawn_split(rng, groups, 4, 0.8)
    z, label = split.views[""], split.table["label"]
    copied = np.flatnonzero((label[1:] == label[:-1]) & (rng.random(len(z) - 1) < 0.2))
    z[copied + 1] = z[copied]
    return measured(geometry.Evaluator, Data(split, split))


def label_nearness(rng: np.random.Generator, groups: int) -> Metrics:
    """How often a partner is nearer than another record."""
    split = drawn_split(rng, groups, 4, 2.0)
    label, z = split.table["label"], split.views[""]
    first = np.searchsorted(label, label)
    size = np.bincount(label)[label]
    step = 1 + rng.integers(0, size - 1)
    partner = first + (np.arange(len(z)) - first + step) % size
    other = (np.arange(len(z)) + rng.integers(1, len(z), len(z))) % len(z)
    found = label_information.nearness(z, z[partner], z[other], label)
    names = ("value", "n", "chance", "low", "high")
    return {"nearness": Metric(*(found[name] for name in names))}


def losses(rng: np.random.Generator, groups: int) -> Metrics:
    """Losses of batches of independent records, one a group, at most 8."""
    batches = min(groups, 8)
    sides = [
        (rng.gamma(4, level, (batches, 16)).mean(1), np.full(batches, 2.0))
        for level in (0.2, 0.25)
    ]
    return generalization_gap.summarize(sides[0], sides[1], 16 * batches)


WORLDS: dict[str, World] = {
    "retrieval, label": retrieval_by_label,
    "retrieval, codes": retrieval_by_codes,
    "instance": instances,
    "pairs": pairs_of_views,
    "frames": frames_of_clips,
    "next_vector": next_vectors,
    "geometry": spread,
    "label_audit": label_nearness,
    "loss": losses,
}

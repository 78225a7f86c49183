"""Pairs against plain loops over every pair."""

import dataclasses
import math

import numpy as np
import pytest

from evaluators import pairs
from tests.evaluators.small_data import Data, Split, build, full_tags, unit

N, MORE, NEAR_DUPLICATES, D = 12, 30, 3, 6


def split(rng, heads, first_id, near_duplicate=0, base=None):
    n = len(heads)
    z = unit(rng.standard_normal((n, D)))
    if base is not None:
        z = unit(base + 0.3 * rng.standard_normal((n, D)))
    table = {
        "id": first_id + rng.permutation(n).astype(np.int64),
        "label": np.full(n, -1, np.int32),
        "codes": np.full((n, 1), -1, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
        "phantom": np.asarray(heads),
        "near_duplicate": np.full(n, near_duplicate),
    }
    return Split(z, table)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    held = split(rng, np.arange(N), 0)
    order = rng.permutation(N * NEAR_DUPLICATES)  # near_duplicates lie in no order
    heads = np.repeat(np.arange(N), NEAR_DUPLICATES)[order]
    extra = {
        "distractors": split(rng, np.arange(N, N + MORE), 1000),
        "near_duplicates": split(rng, heads, 2000, base=held.z[heads]),
    }
    return Data(split(rng, np.arange(N), 5000), held, {}, extra)


def embed(split, rows, view=None, snr=4.0):
    """View 1 is a noisy view 2, the more so the lower `snr`."""
    z = split.z[rows]
    if view == "view2":
        return z
    noise = np.random.default_rng(1).standard_normal(split.z.shape)[rows]
    return unit(z + noise / snr)


FIELDS = {"prefix": "p", "seed": 0, "margin": 0.4}


@pytest.mark.parametrize("squared", [False, True])
def test_metrics_match_loops_over_all_pairs(data, squared):
    evaluator = build(pairs, data, squared=squared, **FIELDS)
    found = evaluator.run(embed).metrics
    q = embed(data.validation, np.arange(N), "view1").astype(float)
    k = data.validation.z.astype(float)

    def distance(i, j):
        square = sum((a - b) ** 2 for a, b in zip(q[i], k[j], strict=True))
        return square if squared else math.sqrt(square)

    d_pos = [distance(i, i) for i in range(N)]
    others = [[distance(i, j) for j in range(N) if j != i] for i in range(N)]
    near = [min(row) for row in others]
    over = [[d_pos[i] - d + 0.4 for d in others[i]] for i in range(N)]
    expected = {
        "d_pos": np.mean(d_pos),
        "d_neg": np.mean(others),
        "d_nearest": np.mean(near),
        "violations": np.mean(np.array(over) > 0),
        "hard_violations": np.mean([max(row) > 0 for row in over]),
        "triplet_loss": np.mean(np.maximum(over, 0)),
        "hard_loss": np.mean([max(max(row), 0) for row in over]),
        "recall@1": np.mean([d_pos[i] < near[i] for i in range(N)]),
    }
    assert 0 < expected["violations"] < 1
    assert 0 < expected["recall@1"] < 1
    for name, value in expected.items():
        metric = found[f"p/{name}"]
        assert metric.value == pytest.approx(value, abs=1e-6), name
        assert metric.n == N
        assert metric.low <= metric.value <= metric.high
    assert found["p/recall@1"].chance == pytest.approx(1 / N)
    assert found["p/triplet_loss"].chance == pytest.approx(0.4)


def test_recall_in_larger_galleries_matches_loops(data):
    evaluator = build(pairs, data, galleries=(20, N + MORE), **FIELDS)
    found = evaluator.run(embed).metrics
    q = embed(data.validation, np.arange(N), "view1").astype(float)
    everything = np.concatenate([data.validation.z, data.extra["distractors"].z])
    for size in (20, N + MORE):
        scores = q @ everything[:size].T.astype(float)
        metric = found[f"p/in_{size}/recall@1"]
        assert metric.value == np.mean(scores.argmax(1) == np.arange(N))
        assert metric.chance == pytest.approx(1 / size)
    assert found["p/in_42/recall@1"].value < found["p/recall@1"].value
    every = build(pairs, data, galleries=(-1, 20), **FIELDS).run(embed).metrics
    assert every["p/in_all/recall@1"] == found["p/in_42/recall@1"]
    # What is shown comes from the largest gallery.
    ids = {n["id"] for e in evaluator.run(embed).examples(12) for n in e["neighbors"]}
    assert ids & set(data.extra["distractors"].table["id"].tolist())


def test_recall_among_near_duplicates_matches_loops(data):
    found = build(pairs, data, near_duplicates=True, **FIELDS).run(embed).metrics
    q = embed(data.validation, np.arange(N), "view1").astype(float)
    near_duplicates = data.extra["near_duplicates"]
    right = [
        all(
            q[i] @ data.validation.z[i] > q[i] @ near_duplicates.z[row]
            for row in np.flatnonzero(near_duplicates.table["phantom"] == i)
        )
        for i in range(N)
    ]
    assert 0 < np.mean(right) < 1
    metric = found["p/near_duplicates/recall@1"]
    assert metric.value == np.mean(right)
    assert metric.chance == 1 / (1 + NEAR_DUPLICATES)


def test_recall_under_each_condition(data):
    evaluator = build(pairs, data, conditions={"snr": (0.3, 4.0, 50.0)}, **FIELDS)
    found = evaluator.run(embed).metrics
    curve = [found[f"p/snr_{s}/recall@1"].value for s in ("0.3", "4", "50")]
    assert curve[0] < curve[1] < curve[2] == 1
    assert curve[1] == found["p/recall@1"].value


def test_tags_match_metrics_of_run(data):
    fields = {
        "galleries": (20,), "near_duplicates": True, "conditions": {"snr": (2.5, 4.0)},
        "margin": 0.3,
    }  # fmt: skip
    evaluator = build(pairs, data, prefix="p", seed=0, **fields)
    assert set(evaluator.run(embed).metrics) == full_tags(evaluator)


def test_collapsed_embeddings_have_zero_recall(data):
    same = unit(np.ones(D))
    found = (
        build(pairs, data, galleries=(20,), near_duplicates=True, **FIELDS)
        .run(lambda split, rows, view=None: np.tile(same, (len(rows), 1)))
        .metrics
    )
    for name in ("recall@1", "in_20/recall@1", "near_duplicates/recall@1"):
        assert found[f"p/{name}"].value == 0, name
    assert found["p/violations"].value == 1
    assert found["p/triplet_loss"].value == pytest.approx(0.4)


def test_perfect_embeddings_have_full_recall(data):
    found = (
        build(pairs, data, **FIELDS)
        .run(lambda split, rows, view=None: np.eye(N, dtype=np.float32)[rows])
        .metrics
    )
    assert found["p/d_pos"].value == 0
    assert found["p/d_neg"].value == pytest.approx(math.sqrt(2))
    assert found["p/recall@1"].value == 1
    assert found["p/triplet_loss"].value == found["p/violations"].value == 0


def test_max_queries_samples_anchors(data):
    found = build(pairs, data, max_queries=5, **FIELDS).run(embed).metrics
    assert found["p/recall@1"].n == 5
    assert found["p/recall@1"].chance == pytest.approx(1 / N)


def test_wrong_fields_and_data_are_named(data):
    with pytest.raises(ValueError, match="margin: got 0"):
        build(pairs, data, margin=0)
    with pytest.raises(ValueError, match="gallery of 99 with 12 validation records"):
        build(pairs, data, galleries=(99,), **FIELDS)
    bare = dataclasses.replace(data.validation)
    with pytest.raises(ValueError, match=r"set data\.near_duplicates"):
        build(pairs, Data(bare, bare, {}), near_duplicates=True, **FIELDS)

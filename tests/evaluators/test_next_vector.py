"""The next vector among a pool, and simple predictions, against plain loops."""

import numpy as np
import pytest

from evaluators import next_vector
from input_pipeline.datasets import topics
from tests.evaluators.small_data import build, fit_baseline

CONTEXT = 3


@pytest.fixture(scope="module")
def data():
    return topics.load(
        train=20, validation=8, length=9, context=CONTEXT, width=8, topics=2, seed=0
    )


def evaluator(data, **fields):
    return build(next_vector, data, prefix="eval/next", seed=0, **fields)


def figures(data, embed, **fields):
    return {
        tag.removeprefix("eval/next/"): metric
        for tag, metric in evaluator(data, **fields).run(embed).metrics.items()
    }


def test_metrics_match_loops(data):
    embed = fit_baseline("persistence")
    found = figures(data, embed, k=(1, 5))
    pool, windows = data.extra["pool"], data.validation
    z = embed(pool, np.arange(len(pool)), "view2")
    ranks, cosines = [], []
    for row in range(len(windows)):
        q = embed(windows, np.array([row]))[0].astype(float)
        place = windows.table["vector"][row]
        own = set(range(place - CONTEXT, place))
        candidates = [
            i for i, v in enumerate(pool.table["vector"].tolist()) if v not in own
        ]
        target = pool.table["vector"].tolist().index(place)
        score = {i: np.float32(q @ z[i]) for i in candidates}
        ranks.append(sum(s >= score[target] for s in score.values()))
        cosines.append(q @ z[target])
    ranks = np.array(ranks)
    assert found["cosine"].value == pytest.approx(np.mean(cosines), abs=1e-6)
    assert found["recall@1"].value == np.mean(ranks <= 1)
    assert found["recall@5"].value == np.mean(ranks <= 5)
    assert found["mean_rank"].value == np.mean(ranks)
    n = len(pool) - CONTEXT
    assert found["recall@5"].chance == pytest.approx(5 / n)
    assert found["mean_rank"].chance == pytest.approx((n + 1) / 2)
    assert found["recall@5"].low < found["recall@5"].value < found["recall@5"].high


def test_random_predictions_are_at_chance(data):
    def embed(split, rows, view=None, **_):
        if view == "view2":
            return fit_baseline("persistence")(split, rows, view)
        z = np.random.default_rng(0).standard_normal((len(split), 8))[rows]
        return np.float32(z / np.linalg.norm(z, axis=1, keepdims=True))

    found = figures(data, embed)
    for name in ("recall@5", "recall@10", "recall@50", "mean_rank"):
        metric = found[name]
        assert metric.low <= metric.chance <= metric.high, name
    assert found["cosine"].value == pytest.approx(found["cosine"].chance, abs=0.15)


def test_collapsed_embeddings_have_zero_recall(data):
    def embed(split, rows, view=None, **_):
        del split, view
        return np.full((len(rows), 8), 8**-0.5, np.float32)

    found = figures(data, embed)
    assert found["recall@1"].value == 0
    assert found["recall@50"].value == 0


def test_gap_is_difference_to_training_windows(data):
    def embed(split, rows, view=None, **_):
        fields = split.read(rows)
        if view == "view2" or split is data.train:
            return fields["target"]
        return fields["context"][:, -1]

    found = figures(data, embed)
    assert found["train_cosine"].value == pytest.approx(1, abs=1e-6)
    assert found["gap"].value == pytest.approx(1 - found["cosine"].value, abs=1e-6)
    assert found["gap"].low < found["gap"].value < found["gap"].high


def test_recall_is_higher_in_smaller_pool(data):
    embed = fit_baseline("persistence")
    small, whole = figures(data, embed, pool=20), figures(data, embed)
    assert small["recall@5"].chance > whole["recall@5"].chance
    assert small["recall@5"].n < whole["recall@5"].n
    assert small["recall@5"].value > whole["recall@5"].value


def test_examples_exclude_context_of_query(data):
    one = evaluator(data)
    examples = one.run(fit_baseline("persistence")).examples(12)
    assert len(examples) == 12
    places = dict(
        zip(
            data.extra["pool"].table["id"].tolist(),
            data.extra["pool"].table["vector"].tolist(),
            strict=True,
        )
    )
    asked = dict(
        zip(
            data.validation.table["id"].tolist(),
            data.validation.table["vector"].tolist(),
            strict=True,
        )
    )
    for example in examples:
        place = asked[example["query"]]
        near = [places[n["id"]] for n in example["neighbors"]]
        assert not set(near) & set(range(place - CONTEXT, place))
        assert len(near) == 10
        for neighbor, at in zip(example["neighbors"], near, strict=True):
            assert neighbor["relevant"] == (at == place)


def test_wrong_fields_and_data_are_named(data):
    with pytest.raises(ValueError, match="without a pool"):
        evaluator(data._replace(extra={}))
    with pytest.raises(ValueError, match="pool"):
        evaluator(data, pool=-1)

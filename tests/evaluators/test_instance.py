"""Instance retrieval against loops over all records."""

import numpy as np
import pytest

from evaluators import instance
from evaluators.common.evaluator import LackingData
from tests.evaluators.small_data import Data, build, embed, full_tags, split


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return Data(split(rng, 50), split(rng, 40, first_id=50), {})


def test_metrics_match_loops(data):
    evaluator = build(instance, data, prefix="i", seed=0, split="train")
    found = evaluator.run(embed).metrics
    z, g = embed(data.train, np.arange(50), "view1"), data.train.z
    scores = z.astype(float) @ g.astype(float).T
    ranks = [1 + sum(line > line[i]) for i, line in enumerate(scores)]
    assert 1 < np.mean(ranks) < 5
    for k in (1, 10):
        metric = found[f"i/recall@{k}"]
        assert metric.value == np.mean([r <= k for r in ranks])
        assert metric.chance == pytest.approx(k / 50)
    assert found["i/mean_rank"].value == np.mean(ranks)
    assert found["i/mean_rank"].chance == 25.5
    assert found["i/nar"].value == pytest.approx((np.mean(ranks) - 1) / 50)
    assert set(found) == full_tags(evaluator)


@pytest.mark.parametrize("gallery", ["all", "auto"])
def test_few_queries_search_all_records(data, gallery):
    evaluator = build(instance, data, gallery_split=gallery, k=(1, 2))
    count = len(data.train) + len(data.validation)
    z = embed(data.validation, np.arange(len(data.validation)), "view1").astype(float)
    g = np.concatenate([data.train.z, data.validation.z]).astype(float)
    scores = z @ g.T
    ranks = [1 + sum(s > s[len(data.train) + i]) for i, s in enumerate(scores)]
    found = evaluator.run(embed)
    assert found.metrics["e/recall@1"].value == np.mean([r == 1 for r in ranks])
    assert found.metrics["e/recall@1"].chance == pytest.approx(1 / count)
    assert found.metrics["e/mean_rank"].value == np.mean(ranks)
    assert bool(evaluator.choices()) == (gallery == "auto")
    ids = set(data.validation.table["id"].tolist())
    assert all(example["query"] in ids for example in found.examples(6))


def test_auto_searches_split_where_it_is_large(data, monkeypatch):
    monkeypatch.setattr(instance, "FEW", len(data.validation))
    evaluator = build(instance, data, gallery_split="auto")
    assert evaluator.choices() == []
    same = build(instance, data)
    assert str(evaluator.run(embed).metrics) == str(same.run(embed).metrics)


def test_nothing_to_search_is_refused(data):
    one, none = (
        Data(data.train, split(np.random.default_rng(0), n), {}) for n in (1, 0)
    )
    with pytest.raises(LackingData, match="one record to search"):
        build(instance, one)
    assert build(instance, one, gallery_split="auto").choices()
    with pytest.raises(LackingData, match="no record in the validation"):
        build(instance, none, gallery_split="all")


def test_perfect_embedding_finds_every_source(data):
    evaluator = build(instance, data, prefix="i", seed=0, max_queries=12)
    found = evaluator.run(lambda split, rows, view: split.z[rows])
    assert found.metrics["i/recall@1"].value == 1
    assert found.metrics["i/recall@1"].n == 12
    mean_rank = found.metrics["i/mean_rank"]
    assert tuple(mean_rank[:4]) == (1, 12, 20.5, 1)
    assert tuple(mean_rank[5:]) == ("error", "lower", False)
    assert 1 < mean_rank.high < 20  # a miss can be anywhere
    for example in found.examples(5):
        assert example["right"]
        near = example["neighbors"]
        assert near[0]["id"] == example["query"]
        assert [n["relevant"] for n in near] == [True] + [False] * 9


def test_embedding_without_views_gives_no_metric(data):
    evaluation = build(instance, data).run(
        lambda split, rows, view=None: None if view else embed(split, rows)
    )
    assert evaluation.metrics == {}
    assert evaluation.examples(3) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "all"}, "expected a choice of 'train', 'validation'"),
        ({"k": (1.5,)}, "an int"),
        ({"max_queries": 0}, "from 1 to"),
    ],
)
def test_wrong_field_is_named_with_its_range(data, fields, message):
    with pytest.raises(ValueError, match=message):
        build(instance, data, **fields)
    with pytest.raises(ValueError, match=message):
        instance.Evaluator(**fields)

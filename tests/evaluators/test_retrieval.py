import dataclasses
import json

import numpy as np
import pytest

from evaluators import retrieval
from evaluators.common import embeddings
from evaluators.common import relevance as relevance_lib
from evaluators.metrics import intervals
from tests.evaluators.small_data import (
    Data,
    Split,
    build,
    embed,
    full_tags,
    split,
    unit,
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return Data(split(rng, 60), split(rng, 40, first_id=60), {})


def flat(data, names):
    splits = [getattr(data, name) for name in names]
    table = {
        k: np.concatenate([np.asarray(s.table[k]) for s in splits])
        for k in splits[0].table
    }
    return np.concatenate([s.z for s in splits]), table


def jaccard(a, i, b, j):
    """Weighted Jaccard similarity by sets."""
    left = {
        c: w for c, w in zip(a["codes"][i], a["code_weights"][i], strict=True) if c >= 0
    }
    right = {
        c: w for c, w in zip(b["codes"][j], b["code_weights"][j], strict=True) if c >= 0
    }
    shared = sum(left[c] for c in left if c in right)
    union = sum((left | right).values())
    return shared / union if union else 0.0


def metrics_by_loops(data, queries, gallery, k, relevance, threshold=0.5, pair=None):
    """The evaluator as a loop over queries and sorted lists."""
    q, asked = flat(data, [queries])
    g, held = flat(data, gallery)
    out = {name: [] for name in ("recall", "precision", "map", "map_at_r", "ndcg")}
    left_out = 0
    for i in range(len(q)):
        if pair and asked["source"][i] != pair[0]:
            continue
        rows = [
            j
            for j in range(len(g))
            if held["id"][j] != asked["id"][i]
            and (not pair or held["source"][j] == pair[1])
        ]
        rows.sort(key=lambda j: (-np.float32(g[j].astype(float) @ q[i]), held["id"][j]))
        gains = [jaccard(asked, i, held, j) for j in rows]
        if relevance == "label":
            right = [asked["label"][i] == held["label"][j] >= 0 for j in rows]
        else:
            right = [gain >= threshold - 1e-9 for gain in gains]
        if not any(right):
            left_out += 1
            continue
        hits = np.cumsum(right)
        precise = [hits[p] / (p + 1) for p in range(len(rows)) if right[p]]
        first = [hits[p] / (p + 1) for p in range(hits[-1]) if right[p]]
        out["recall"].append(hits[k - 1] > 0)
        out["precision"].append(hits[k - 1] / k)
        out["map"].append(np.mean(precise))
        out["map_at_r"].append(sum(first) / hits[-1])
        discount = 1 / np.log2(np.arange(k) + 2)
        ideal = sorted(gains, reverse=True)[:k]
        out["ndcg"].append(np.dot(gains[:k], discount) / np.dot(ideal, discount))
    return {name: np.mean(values) for name, values in out.items()}, left_out


@pytest.mark.parametrize("relevance", ["label", "codes"])
@pytest.mark.parametrize("gallery", ["validation", "all"])
def test_metrics_match_loops(data, relevance, gallery):
    fields = {"relevance": relevance, "gallery_split": gallery, "k": (1, 3)}
    evaluator = build(retrieval, data, prefix="eval/x", seed=0, **fields)
    found = evaluator.run(embed).metrics
    names = ["train", "validation"] if gallery == "all" else [gallery]
    for k in (1, 3):
        expected, left_out = metrics_by_loops(data, "validation", names, k, relevance)
        for name in ("recall", "precision", *(["ndcg"] * (relevance == "codes"))):
            metric = found[f"eval/x/{name}@{k}"]
            assert metric.value == pytest.approx(expected[name]), name
    for name in ("map", "map_at_r"):
        assert found[f"eval/x/{name}"].value == pytest.approx(expected[name])
    assert found["eval/x/left_out"].value == left_out
    assert found["eval/x/map"].n == 40 - left_out
    assert set(found) == set(full_tags(evaluator))


def test_every_metric_has_chance_and_interval(data):
    fields = {"relevance": "codes", "threshold": 0.3}
    found = build(retrieval, data, **fields).run(embed).metrics
    for tag, metric in found.items():
        if tag != "e/left_out":
            assert 0 < metric.chance <= 1, tag
            assert metric.low <= metric.value <= metric.high, tag


def test_random_embeddings_score_at_chance(data):
    rng = np.random.default_rng(5)
    evaluator = build(
        retrieval,
        data,
        prefix="e",
        seed=0,
        query_split="train",
        k=(1, 5),
        relevance="codes",
    )
    sums, runs = {}, 50
    for _ in range(runs):
        z = {id(s): unit(rng.standard_normal((len(s), 6))) for s in data[:2]}
        found = evaluator.run(lambda s, rows, view=None, z=z: z[id(s)][rows]).metrics
        for tag, metric in found.items():
            sums.setdefault(tag, []).append(metric.value - metric.chance)
    for tag in ("recall@1", "recall@5", "precision@5", "map", "map_at_r", "ndcg@5"):
        off = np.array(sums[f"e/{tag}"])
        assert abs(off.mean()) < 4 * off.std() / runs**0.5, tag


def test_cross_source_metrics_match_loops(data):
    fields = {"cross": "source", "gallery_split": "all", "k": (1, 2)}
    evaluator = build(retrieval, data, **fields)
    found = evaluator.run(embed).metrics
    values, left_out = [], 0
    for pair in ((a, b) for a in "abc" for b in "abc" if a != b):
        expected, out = metrics_by_loops(
            data, "validation", ["train", "validation"], 1, "label", pair=pair
        )
        name = "e/{}_to_{}/recall@1".format(*pair)
        assert found[name].value == pytest.approx(expected["recall"])
        assert not found[name].headline
        values.append(expected["recall"])
        left_out += out
    assert found["e/recall@1"].value == pytest.approx(np.mean(values))
    assert found["e/left_out"].value == left_out
    assert set(full_tags(evaluator)) < set(found)


def test_label_embedding_is_perfect_and_no_query_finds_itself():
    rng = np.random.default_rng(0)
    z = unit(np.eye(5)[rng.permutation(np.repeat(np.arange(5), 4))])
    table = {
        "id": np.arange(20),
        "label": z.argmax(axis=1).astype(np.int32),
        "codes": np.full((20, 1), -1, np.int32),
        "code_weights": np.zeros((20, 1), np.float32),
    }
    one = Split(z, table)
    evaluator = build(retrieval, Data(one, one, {}), k=(3,))
    found = evaluator.run(embed).metrics
    for name in ("recall@3", "precision@3", "map", "map_at_r"):
        assert found[f"e/{name}"].value == 1
    assert found["e/nar"].value == 0
    for example in evaluator.run(embed).examples(20):
        assert example["query"] not in [n["id"] for n in example["neighbors"]]


def test_collapsed_embedding_has_nar_above_chance():
    rng = np.random.default_rng(0)
    one = split(rng, 30, labels=5)
    one = dataclasses.replace(one, z=np.ones_like(one.z) / 8**0.5)
    evaluator = build(retrieval, Data(one, one, {}))
    found = evaluator.run(embed).metrics
    assert found["e/nar"].value > 0.75
    assert found["e/nar"].value > 1.5 * found["e/nar"].chance


def test_runs_are_reproducible_by_seed(data):
    fields = {"relevance": "codes", "max_queries": 15}
    first, second = (
        build(retrieval, data, prefix="e", seed=4, **fields) for _ in range(2)
    )
    assert str(first.run(embed).metrics) == str(second.run(embed).metrics)
    assert first.run(embed).examples(6) == second.run(embed).examples(6)
    other = build(retrieval, data, prefix="e", seed=5, **fields)
    assert str(other.run(embed).metrics) != str(first.run(embed).metrics)


def test_examples_alternate_right_and_wrong(data):
    evaluator = build(retrieval, data, gallery_split="all")
    examples = evaluator.run(embed).examples(6)
    assert [e["right"] for e in examples].count(True) == 3
    _, table = flat(data, ["train", "validation"])
    label = dict(zip(table["id"].tolist(), table["label"], strict=True))
    for example in examples:
        assert len(example["neighbors"]) == 10
        assert example["right"] == example["neighbors"][0]["relevant"]
        for near in example["neighbors"]:
            assert near["relevant"] == (label[near["id"]] == label[example["query"]])
    json.dumps(examples)


def test_shared_codes_do_not_depend_on_block_sizes(data, monkeypatch):
    tables = [embeddings.columns([s]) for s in (data.validation, data.train)]
    whole = relevance_lib.shared_codes(*tables, 0.2, 3)
    monkeypatch.setattr(relevance_lib, "GALLERY_BLOCK", 7)
    monkeypatch.setattr(relevance_lib, "QUERY_BLOCK", 3)
    tiled = relevance_lib.shared_codes(*tables, 0.2, 3)
    pairs = [
        set(zip(r.query.tolist(), r.row.tolist(), strict=True)) for r in (whole, tiled)
    ]
    assert pairs[0] == pairs[1]
    np.testing.assert_allclose(whole.ideal, tiled.ideal)
    np.testing.assert_allclose(whole.mean_gain, tiled.mean_gain)


def test_embeddings_on_disk_give_same_metrics(data, monkeypatch):
    evaluator = build(retrieval, data, gallery_split="all")
    expected = evaluator.run(embed).metrics
    monkeypatch.setattr(embeddings, "MAX_IN_MEMORY", 100)
    monkeypatch.setattr(embeddings, "CHUNK", 9)
    assert isinstance(
        embeddings.embed_parts(embed, [(data.train, np.arange(60))]), np.memmap
    )
    assert str(evaluator.run(embed).metrics) == str(expected)


def test_queries_outside_gallery(data):
    evaluator = build(retrieval, data, gallery_split="train", k=(1,))
    expected, _ = metrics_by_loops(data, "validation", ["train"], 1, "label")
    assert evaluator.run(embed).metrics["e/recall@1"].value == pytest.approx(
        expected["recall"]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"relevance": "brand"}, "'label', 'codes'"),
        ({"query_split": "test"}, "'train', 'validation'"),
        ({"gallery_split": "none"}, "'all'"),
        ({"k": ()}, "one or more integers"),
        ({"k": (0, 1)}, "an int"),
        ({"threshold": 0.0}, "above 0"),
        ({"max_queries": 0}, "from 1 to"),
        ({"cross": "artist"}, "source"),
    ],
)
def test_wrong_field_is_named_with_its_range(data, fields, message):
    with pytest.raises(ValueError, match=message):
        build(retrieval, data, **fields)


def test_cross_needs_two_sources():
    one = split(np.random.default_rng(0), 9, artists=("a",))
    with pytest.raises(ValueError, match="one value"):
        build(retrieval, Data(one, one, {}), cross="source")


def test_recall_of_independent_queries_has_wilson_interval():
    one = split(np.random.default_rng(0), 30)
    table = one.table | {"label": np.repeat(np.arange(15), 2).astype(np.int32)}
    one = dataclasses.replace(one, table=table)
    query = dataclasses.replace(
        one, z=one.z[::2], table={k: v[::2] for k, v in one.table.items()}
    )
    evaluator = build(retrieval, Data(one, query, {}), gallery_split="train", k=(5,))
    found = evaluator.run(embed).metrics["e/recall@5"]
    assert (found.low, found.high) == intervals.wilson(found.value, 15)


def test_queries_and_gallery_in_different_views(data):
    """Embeddings that know a record in one view alone find nothing across views."""
    rng = np.random.default_rng(3)
    z = {
        view: {id(s): unit(rng.standard_normal((len(s), 6))) for s in data[:2]}
        for view in (None, "view1", "view2")
    }
    seen = set()

    def embed(split, rows, view=None):
        seen.add(view)
        return z[view][id(split)][rows]

    fields = {"prefix": "e", "seed": 0, "k": (1,)}
    plain = build(retrieval, data, **fields).run(embed).metrics
    assert seen == {None}
    evaluator = build(
        retrieval, data, query_view="view1", gallery_view="view2", **fields
    )
    across = evaluator.run(embed).metrics
    assert seen == {None, "view1", "view2"}
    q, k = (z[view][id(data.validation)].astype(float) for view in ("view1", "view2"))
    label, hits = data.validation.table["label"], []
    for i in range(len(q)):
        others = [j for j in range(len(k)) if j != i]
        if label[i] < 0 or not any(label[j] == label[i] for j in others):
            continue
        best = max(others, key=lambda j: q[i] @ k[j])
        hits.append(label[best] == label[i])
    assert across["e/recall@1"].value == pytest.approx(np.mean(hits))
    assert across["e/recall@1"].value != plain["e/recall@1"].value

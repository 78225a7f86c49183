"""What retrieval needs of the data: relevant records, sources, bounded memory."""

import dataclasses

import numpy as np
import pytest

from evaluators import retrieval
from evaluators.common.evaluator import LackingData
from tests.evaluators.small_data import Data, build, embed, full_tags, split


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return Data(split(rng, 60), split(rng, 40, first_id=60), {})


@pytest.mark.parametrize("fields", [{}, {"relevance": "codes"}, {"cross": "source"}])
def test_data_without_relevant_record_is_refused(data, fields):
    alone = {"label": np.arange(40), "codes": np.arange(160).reshape(40, 4) + 9}
    none = {"label": np.full(40, -1), "codes": np.full((40, 4), -1)}
    for columns in (alone, none):
        table = data.validation.table | columns
        bare = Data(data.train, dataclasses.replace(data.validation, table=table), {})
        with pytest.raises(LackingData, match="got no query that shares"):
            build(retrieval, bare, **fields)
    empty = Data(data.train, split(np.random.default_rng(0), 0), {})
    with pytest.raises(LackingData, match="got no record in the validation split"):
        build(retrieval, empty, gallery_split="train", **fields)


@pytest.mark.parametrize("relevance", ["label", "codes"])
def test_one_label_on_all_records_is_refused(data, relevance):
    same = {
        "label": lambda n: np.zeros(n, np.int32),
        "codes": lambda n: np.full((n, 2), [3, -1]),
        "code_weights": lambda n: np.full((n, 2), [1.0, 0.0]),
    }
    one = with_columns(data, **same)
    with pytest.raises(LackingData, match=f"got the same {relevance} on all records"):
        build(retrieval, one, relevance=relevance)
    other = with_columns(data, **same | {"label": lambda n: np.arange(n) % 2})
    assert build(retrieval, other).tags()


def test_queries_without_relevant_record_are_left_out(data):
    label = np.full(40, -1)
    label[:2] = 3
    table = data.validation.table | {"label": label}
    bare = Data(data.train, dataclasses.replace(data.validation, table=table), {})
    found = build(retrieval, bare).run(embed).metrics
    assert found["e/recall@1"].n == 2
    assert found["e/left_out"].value == 38


def with_columns(data, **columns):
    """The same data with other columns in both splits; a column is a function of n."""
    splits = [
        dataclasses.replace(
            s, table=s.table | {k: f(len(s)) for k, f in columns.items()}
        )
        for s in data[:2]
    ]
    return Data(*splits, {})


AUTO = {"cross": "auto", "gallery_split": "all", "k": (1,)}


def test_auto_searches_across_several_sources(data):
    evaluator = build(retrieval, data, **AUTO)
    assert evaluator.choices() == [
        "queries of each source search in the others (a, b, c)."
    ]
    across = build(retrieval, data, **AUTO | {"cross": "source"})
    assert across.choices() == []
    assert str(evaluator.run(embed).metrics) == str(across.run(embed).metrics)


@pytest.mark.parametrize(
    "columns",
    [
        {"source": lambda n: ["a"] * n},
        {"source": lambda n: [""] * n},
        {"source": lambda n: ["a", ""] * (n // 2)},
        {"source": lambda n: [f"s{k % 9}" for k in range(n)]},
        # Labels of their own in each source.
        {
            "source": lambda n: ["a", "b"] * (n // 2),
            "label": lambda n: np.arange(n) % 2,
        },
    ],
)
def test_auto_is_one_gallery_otherwise(data, columns):
    changed = with_columns(data, **columns)
    evaluator = build(retrieval, changed, **AUTO)
    assert evaluator.choices() == [
        "all records are one gallery, whatever their source."
    ]
    single = build(retrieval, changed, **AUTO | {"cross": ""})
    assert str(evaluator.run(embed).metrics) == str(single.run(embed).metrics)


def test_auto_without_column_of_sources(data):
    splits = []
    for part in data[:2]:
        table = {k: v for k, v in part.table.items() if k != "source"}
        splits.append(dataclasses.replace(part, table=table))
    evaluator = build(retrieval, Data(*splits, {}), **AUTO)
    assert set(evaluator.run(embed).metrics) == full_tags(evaluator)


def test_records_without_source_are_in_no_search(data):
    changed = with_columns(data, source=lambda n: ["a", "b", "", "a"] * (n // 4))
    found = build(retrieval, changed, **AUTO).run(embed).metrics
    assert {tag.split("/")[1] for tag in found if "_to_" in tag} == {"a_to_b", "b_to_a"}
    assert found["e/recall@1"].n + found["e/left_out"].value == 30


def test_fewer_queries_where_label_has_many_records(data, monkeypatch):
    monkeypatch.setattr(retrieval, "MOST_PAIRS", 500)
    changed = with_columns(data, label=lambda n: np.arange(n) % 2)
    evaluator = build(retrieval, changed, gallery_split="all")
    assert evaluator.choices() == [
        "10 queries of 40, since a label has so many records."
    ]
    assert evaluator.run(embed).metrics["e/recall@1"].n == 10


def test_queries_are_independent_where_files_are_held_out(data):
    plain = build(retrieval, data, k=(1,)).run(embed).metrics["e/map"]
    by_file = data._replace(grouped_by="filename")
    found = build(retrieval, by_file, k=(1,)).run(embed).metrics["e/map"]
    labels = data.validation.table["label"]
    assert found.value == plain.value
    assert found.n == plain.n == (labels >= 0).sum()
    assert (found.low, found.high) != (plain.low, plain.high)

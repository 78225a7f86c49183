"""What is said of a dataset: leaks, repeats, labels, and a hash of the content."""

import dataclasses
import json

import numpy as np
import pytest

from input_pipeline import data_checks, dataset
from input_pipeline.datasets import phantoms, speckle, topics
from input_pipeline.records import windows
from input_pipeline.records.stored_array import StoredArray


def images(n, seed=0, first_id=0, label=None):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 4, 4, 3), np.uint8)
    table = {
        "id": np.arange(first_id, first_id + n),
        "label": np.full(n, -1, np.int32) if label is None else np.int32(label),
        "codes": np.full((n, 1), -1, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
    }
    names = [f"brand {k}" for k in range(20)]
    return dataset.Split([{"image": image} for image in images], table, names, [])


def data_of(train, validation, **fields):
    return dataset.Data(train, validation, {}, **fields)


def clean(leaks):
    return (
        leaks["groups"] == leaks["ids"] == 0
        and not leaks["records"]
        and not leaks["windows"]
        and not leaks["content"]
    )


def test_datasets_that_ship_as_code_do_not_leak():
    made = {
        "phantom": phantoms.load(train=30, validation=10, distractors=0),
        "label": topics.load(
            train=20, validation=5, length=8, width=8, cross_article_negatives=2
        ),
        "clip": speckle.load(clips=4, frames=6, size=(16, 16)),
    }
    for grouped_by, data in made.items():
        found = data_checks.describe(data)
        assert data.grouped_by == grouped_by
        assert found["leaks"]["grouped_by"] == grouped_by
        assert clean(found["leaks"]), found["leaks"]
        assert found["repeats"]["share"] == 0
        json.dumps(found, allow_nan=False)
    assert found["fields"]["image"] == {"shape": [16, 16, 1], "dtype": "uint8"}


def test_groups_and_ids_on_both_sides():
    train = images(6, label=[0, 0, 1, 1, 2, -1])
    validation = images(4, seed=1, first_id=5, label=[2, 2, 3, -1])
    leaks = data_checks.describe(data_of(train, validation))["leaks"]
    assert leaks["groups"] == 1  # -1 is no group
    assert leaks["groups_named"] == ["brand 2"]
    assert leaks["records"] == 0.5
    assert leaks["ids"] == 1
    assert leaks["content"] == 0


def test_same_image_on_both_sides_and_twice_in_training():
    train = images(10)
    again = train.take([0, 1, 2, 3, 3, 3])
    validation = dataset.concatenate(train.take([1]), images(3, seed=5, first_id=50))
    found = data_checks.describe(data_of(again, validation))
    assert found["leaks"]["content"] == 0.25
    assert found["leaks"]["content_looked_at"] == [6, 4]
    assert found["repeats"] == {"share": pytest.approx(2 / 6), "looked_at": 6}


def test_counts_over_all_files_take_precedence():
    data = data_of(images(6), images(4, seed=1, first_id=10))
    data = data._replace(facts={"duplicates": 5, "duplicates_across_splits": 2})
    found = data_checks.describe(data)
    assert found["leaks"]["content"] == 0.5
    assert found["repeats"] == {"share": 0.5, "looked_at": 10}


def test_windows_of_one_article_on_both_sides():
    data = topics.load(train=6, validation=2, length=12, context=3, width=8)
    every = dataset.concatenate(data.train, data.validation)
    rows = np.random.default_rng(0).permutation(len(every))
    broken = data_of(
        every.take(rows[: len(rows) // 2]), every.take(rows[len(rows) // 2 :])
    )
    # As methods that split by window do it: the loops say how much they share.
    used = [
        [set(range(v - 3, v + 1)) for v in split.table["vector"].tolist()]
        for split in (broken.train, broken.validation)
    ]
    known = set().union(*used[0])
    expected = np.mean([bool(window & known) for window in used[1]])
    leaks = data_checks.describe(broken)["leaks"]
    assert leaks["windows"] == pytest.approx(expected)
    assert leaks["windows"] > 0.8
    assert leaks["groups"] == 8
    whole = data_checks.describe(data)["leaks"]
    assert whole["windows"] == 0


def test_windows_that_only_touch():
    # One article of 10 vectors: windows that end at 3 and 7 share nothing, 3 and 6 do.
    vectors = np.eye(10, dtype=np.float32)
    sequences = windows.Sequences(
        StoredArray(vectors),
        np.arange(10),
        np.zeros(10, np.int64),
        np.arange(10),
        np.ones(10, bool),
        ["one"],
    )
    places = np.arange(3, 10)
    others = {
        "same_article_negatives": np.zeros((7, 0), int),
        "cross_article_negatives": np.zeros((7, 0), int),
    }
    source = windows._Windows(sequences, places - 3, 3, others)
    split = windows._split(sequences, source, places, 0)
    for row, share in ((4, 0.0), (3, 1.0), (0, 1.0)):
        data = data_of(split.take([0]), split.take([row]))
        assert data_checks.describe(data)["leaks"]["windows"] == share


def test_ungrouped_splits_are_not_checked_for_leaks():
    one = images(5, label=[0, 0, 1, 1, 2])
    leaks = data_checks.describe(data_of(one, one, grouped_by=""))["leaks"]
    assert leaks == {"grouped_by": "", "groups": 0, "ids": 0, "records": 0.0}
    in_time = speckle.load(clips=2, frames=20, size=(16, 16), split="time")
    assert in_time.grouped_by == ""


def test_content_hash_changes_with_data():
    data = data_of(images(6, label=[0] * 6), images(4, seed=1, first_id=10))
    known = data_checks.describe(data)["content_hash"]
    assert data_checks.describe(data)["content_hash"] == known
    assert len(known) == 16
    relabeled = dataclasses.replace(
        data.train, table=data.train.table | {"label": np.int32([0, 0, 0, 0, 0, 1])}
    )
    repainted = images(6, seed=9, label=[0] * 6)
    for train in (relabeled, repainted, data.train.take([1, 0, 2, 3, 4, 5])):
        assert data_checks.describe(data._replace(train=train))["content_hash"] != known


def test_labeling_counts_records_with_another_of_their_label():
    train = images(5, label=[0, 0, 1, -1, -1])
    train.table["codes"] = np.int32([[0, 1], [1, -1], [2, -1], [-1, -1], [-1, -1]])
    found = data_checks.describe(data_of(train, images(2, seed=1, first_id=9)))
    assert found["labeling"]["train"] == {
        "records": 5,
        "classes": 2,
        "labeled": 0.6,
        "with_another_of_the_label": 0.4,
        "codes": 3,
        "coded": 0.6,
        "with_another_of_a_code": 0.4,
    }
    assert found["labeling"]["validation"]["labeled"] == 0


def test_number_of_records_read_is_limited(monkeypatch):
    monkeypatch.setattr(data_checks, "BYTES", 48 * 7)
    data = data_of(images(50), images(3, seed=1, first_id=60))
    found = data_checks.describe(data)
    assert found["leaks"]["content_looked_at"] == [7, 3]
    assert found["content_hash_of"] == 10

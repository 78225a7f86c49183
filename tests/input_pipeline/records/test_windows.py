"""Windows against a loop over articles: what follows what, and who is held out."""

import pickle

import numpy as np
import pytest

from input_pipeline import dataset, loader
from input_pipeline.records import windows as windows_lib
from input_pipeline.records.stored_array import StoredArray, unit_rows
from tests.input_pipeline import sequences as given

CONTEXT = 3


def made(bad=()):
    x, table = given.articles()
    order = np.lexsort((table["position"], table["article"]))
    good = np.ones(len(x), bool)
    good[list(bad)] = False
    return windows_lib.Sequences(
        vectors=StoredArray(x),
        order=order,
        article=table["article"].to_numpy()[order] - 100,
        position=table["position"].to_numpy()[order],
        good=good,
        names=[f"title {i}" for i in range(6)],
    )


def load(sequences, **fields):
    known = {
        "context": CONTEXT,
        "val_fraction": 0.4,
        "cross_article_negatives": 2,
        "same_article_negatives": 2,
    }
    known["seed"] = 0
    return windows_lib.split(sequences, **known | fields)


@pytest.fixture(scope="module")
def data():
    return load(made())


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_hand(bad=()):
    """(article, position of the target) -> (context, target), by a loop."""
    x, table = given.articles()
    order = np.lexsort((table["position"], table["article"]))
    x, table = x[order], table.iloc[order].reset_index(drop=True)
    windows = {}
    for article, rows in table.groupby("article").groups.items():
        rows = list(rows)
        for end in range(CONTEXT, len(rows)):
            part = rows[end - CONTEXT : end + 1]
            if not set(part) & set(bad):
                vectors = unit(x[part])
                windows[article - 100, end] = vectors[:-1], vectors[-1]
    return windows


@pytest.mark.parametrize("bad", [(), (5, 30)])
def test_windows_are_those_of_loop(bad):
    data, expected = load(made(bad)), by_hand(bad)
    found = {}
    for split in (data.train, data.validation):
        fields = split.read(np.arange(len(split)))
        for row in range(len(split)):
            key = int(split.table["label"][row]), int(split.table["position"][row])
            found[key] = fields["context"][row], fields["target"][row]
    assert found.keys() == expected.keys()
    for key, (context, target) in expected.items():
        np.testing.assert_allclose(found[key][0], context, atol=1e-6)
        np.testing.assert_allclose(found[key][1], target, atol=1e-6)


def test_no_article_is_on_both_sides(data):
    sides = [set(split.table["label"].tolist()) for split in data[:2]]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]
    assert set(data.extra["pool"].table["label"].tolist()) == sides[1]


def test_pool_holds_every_vector_of_articles_held_out(data):
    held = set(data.validation.table["label"].tolist())
    lengths = (9, 4, 12, 7, 10, 8)
    pool = data.extra["pool"]
    assert len(pool) == sum(lengths[i] for i in held)
    row = {int(v): i for i, v in enumerate(pool.table["vector"])}
    window = data.validation.read(np.array([0]))
    place = int(data.validation.table["vector"][0])
    there = pool.read(np.array([row[place - 1], row[place]]))["target"]
    np.testing.assert_array_equal(there[0], window["context"][0, -1])
    np.testing.assert_array_equal(there[1], window["target"][0])


def test_cross_article_negatives_are_of_same_side(data):
    x, table = given.articles()
    for split in data[:2]:
        labels = split.table["label"]
        fields = split.read(np.arange(len(split)))
        for row in range(len(split)):
            for cross_article_negative in fields["cross_article_negatives"][row]:
                match = np.argmin(
                    np.abs(unit(x) - cross_article_negative[None, :]).sum(1)
                )
                article = table["article"][match] - 100
                assert article != labels[row]
                assert article in labels


def test_same_article_negatives_are_outside_window(data):
    x, table = given.articles()
    for split in data[:2]:
        labels, fields = split.table["label"], split.read(np.arange(len(split)))
        for row in range(len(split)):
            place = int(split.table["position"][row])
            for same_article_negative in fields["same_article_negatives"][row]:
                match = np.argmin(
                    np.abs(unit(x) - same_article_negative[None, :]).sum(1)
                )
                same = table["article"][match] - 100 == labels[row]
                # An article of four has nothing beside its window of four.
                assert same == (labels[row] != 1)
                if same:
                    assert not place - CONTEXT <= table["position"][match] <= place


def test_ids_are_unique_over_splits_and_pool(data):
    ids = [s.table["id"] for s in (*data[:2], data.extra["pool"])]
    ids = np.concatenate(ids)
    assert len(np.unique(ids)) == len(ids)


def test_batches_have_fields_of_windows(data):
    batch = next(loader.train_batches(data.train, batch_size=4, seed=0, threads=0))
    assert batch["context"].shape == (4, CONTEXT, given.WIDTH)
    assert batch["target"].shape == (4, given.WIDTH)
    assert batch["cross_article_negatives"].shape == (4, 2, given.WIDTH)
    np.testing.assert_allclose(np.linalg.norm(batch["context"], axis=-1), 1, rtol=1e-6)


def test_splits_can_be_sent_to_another_process(data):
    again = pickle.loads(pickle.dumps(data.validation))
    np.testing.assert_array_equal(
        again.read(np.arange(3))["context"], data.validation.read([0, 1, 2])["context"]
    )


def test_vectors_in_file_are_mapped(tmp_path):
    x, _ = given.articles()
    np.save(tmp_path / "x.npy", x)
    vectors = StoredArray(tmp_path / "x.npy")
    assert isinstance(vectors.array, np.memmap)
    np.testing.assert_allclose(
        unit_rows(vectors.array, np.array([[3, 1]]))[0], unit(x[[3, 1]])
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": 0}, r"data\.context: got 0"),
        ({"context": 12}, "none of the articles in training has 13 vectors"),
        ({"val_fraction": 1.0}, r"data\.val_fraction: got 1\.0"),
        ({"cross_article_negatives": -1}, r"data\.cross_article_negatives: got -1"),
    ],
)
def test_faults_are_named(fields, message):
    with pytest.raises(dataset.DataError, match=message):
        load(made(), **fields)


def test_short_articles_are_counted_and_named():
    data = load(made(), context=8, cross_article_negatives=0)
    assert data.facts["articles_too_short"] == 3
    assert data.facts["articles_too_short_first"] == ["title 1", "title 3", "title 5"]

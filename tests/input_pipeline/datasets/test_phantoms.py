"""Phantoms are numbers: their columns, their splits, and what they draw."""

import jax
import numpy as np
import pytest

from input_pipeline import dataset, loader
from input_pipeline.datasets import phantoms
from input_pipeline.transforms.undersampling import Transform

SMALL = {"train": 6, "validation": 4, "distractors": 5, "near_duplicates": 3}


def drawn(split, rows, size=24):
    scanner = Transform(size=size, coils=1)._scanner
    columns = split.read(rows)["phantom"]
    zero = np.zeros(len(rows), np.float32)
    draw = jax.jit(jax.vmap(scanner._phantom))
    return draw(columns, zero, np.zeros((len(rows), 2), np.float32))


def test_no_phantom_is_in_two_splits():
    data = phantoms.load(**SMALL)
    indices = [
        set(split.table["phantom"].tolist())
        for split in (data.train, data.validation, data.extra["distractors"])
    ]
    assert indices == [set(range(6)), set(range(6, 10)), set(range(10, 15))]
    splits = (data.train, data.validation, *data.extra.values())
    ids = np.concatenate([split.table["id"] for split in splits])
    assert len(np.unique(ids)) == len(ids) == 6 + 4 + 5 + 12


def test_validation_begins_at_given_index():
    data = phantoms.load(**SMALL | {"offset": 100})
    assert data.validation.table["phantom"].tolist() == [100, 101, 102, 103]
    assert data.facts["validation"] == "phantoms 100 to 103"
    with pytest.raises(dataset.DataError, match="phantoms 5 to 5 would be trained on"):
        phantoms.load(**SMALL | {"offset": 5})


def test_phantom_depends_on_seed_and_index_alone():
    one = drawn(phantoms.load(**SMALL).validation, np.arange(4))
    other_sizes = SMALL | {"train": 2, "offset": 6, "near_duplicates": 0}
    again = drawn(phantoms.load(**other_sizes).validation, np.arange(4))
    np.testing.assert_array_equal(one, again)
    other = drawn(phantoms.load(**SMALL, seed=1).validation, np.arange(4))
    assert min(np.abs(one - other).max((1, 2))) > 0.1
    assert min(np.abs(one[1:] - one[:-1]).max((1, 2))) > 0.1


def test_near_duplicates_differ_by_one_ellipse():
    data = phantoms.load(**SMALL)
    near_duplicates = data.extra["near_duplicates"]
    assert (
        near_duplicates.table["phantom"].tolist() == np.repeat([6, 7, 8, 9], 3).tolist()
    )
    expected = np.repeat(drawn(data.validation, np.arange(4), size=64), 3, axis=0)
    changed = (
        np.abs(drawn(near_duplicates, np.arange(12), size=64) - expected) > 0.02
    ).mean((1, 2))
    assert (changed < 0.05).all()
    assert (changed > 0).mean() > 0.9


def test_batches_hold_three_numbers_and_no_image():
    data = phantoms.load(**SMALL)
    batches = loader.train_batches(data.train, batch_size=3, seed=0, threads=0)
    batch = next(batches)
    assert set(batch) == {"phantom", "id", "label", "codes", "code_weights"}
    assert batch["phantom"].dtype == np.uint32
    assert (batch["phantom"][:, 1] * 16 == batch["id"]).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"train": 0}, "data.train: got 0"),
        (
            {"near_duplicates": 16},
            "near_duplicates: got 16; expected an int from 0",
        ),
        ({"distractors": -1}, "data.distractors: got -1"),
        ({"distractors": 2**28}, "data.distractors"),
    ],
)
def test_faults_are_named(more, message):
    with pytest.raises(dataset.DataError, match=message):
        phantoms.load(**SMALL | more)

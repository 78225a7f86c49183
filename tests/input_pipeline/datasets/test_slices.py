"""Magnitude slices with a table: who belongs together, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from input_pipeline import dataset
from input_pipeline.datasets import slices


@pytest.fixture
def file(tmp_path):
    """Two subjects, three slices, two contrasts."""
    rows = [(s, c, i) for s in ("a", "b") for c in ("off", "on") for i in range(3)]
    frame = pd.DataFrame(rows, columns=["subject", "contrast", "slice"])
    frame.to_csv(tmp_path / "pairs.csv", index_label="index")
    rng = np.random.default_rng(0)
    images = rng.random((len(rows), 20, 16)).astype(np.float16) * 3
    np.savez(tmp_path / "pairs_16.npz", images=images)
    return tmp_path / "pairs_16.npz"


def test_images_of_one_place_are_one_label(file):
    data = slices.load(path=str(file), phantom_records=5, distractors=4)
    table = data.validation.table
    assert len(data.validation) == 12
    assert len(data.validation.label_names) == 6
    for label in range(6):
        same = np.flatnonzero(table["label"] == label)
        assert [table["source"][row] for row in same] == ["off", "on"]
        names = {table["name"][row].rsplit(",", 1)[0] for row in same}
        assert names == {data.validation.label_names[label]}
    assert data.facts["contrasts"] == ["off", "on"]
    assert set(data.train.read([0])) == {"phantom"}
    splits = (data.train, data.validation, data.extra["distractors"])
    ids = np.concatenate([split.table["id"] for split in splits])
    assert len(np.unique(ids)) == len(ids) == 21


def test_images_are_gray_and_divided_by_their_largest_value(file):
    image = slices.load(path=str(file)).validation.read([3])["image"]
    x = np.load(file)["images"][3].astype(np.float32)
    assert image.dtype == np.uint8
    assert image.shape == (1, 20, 16, 3)
    np.testing.assert_array_equal(image[0, ..., 0], np.round(255 * x / x.max()))
    assert (image[..., 0] == image[..., 2]).all()


def test_subject_may_be_held_out(file):
    data = slices.load(path=str(file), val_filter="subject=b", train_on="rest")
    assert len(data.train) == len(data.validation) == 6
    assert all(name.startswith("b") for name in data.validation.table["name"])
    assert not set(data.train.table["label"]) & set(data.validation.table["label"])


def test_train_on_all_uses_every_image(file):
    data = slices.load(path=str(file), val_filter="subject=b", train_on="all")
    assert len(data.train) == 12
    assert len(data.validation) == 6
    assert data.facts["training"] == "all 12 images, unpaired"
    with pytest.raises(dataset.DataError, match="all images held out"):
        slices.load(path=str(file), train_on="rest")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "nowhere.npz"}, "which is no file"),
        ({"key": "kspace"}, "has no 'kspace'; choices: images"),
        ({"pair": ("patient",)}, "no column 'patient'; choices: .*subject"),
        (
            {"val_filter": "subject=c"},
            "which is 0 of 12 images; values of subject: a, b",
        ),
    ],
)
def test_faults_are_named(file, fields, message):
    with pytest.raises(dataset.DataError, match=message):
        slices.load(**{"path": str(file)} | fields)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), complex), "expected real magnitudes"),
        (np.zeros((3, 8)), "expected real magnitudes"),
        (np.zeros((12, 8, 8)), "only zero values"),
        (np.full((12, 8, 8), np.nan), "NaN"),
        (np.ones((3, 8, 8)), "12 rows for 3 images"),
    ],
)
def test_arrays_that_are_no_slices_are_refused(file, array, message):
    np.save(file.parent / "other.npy", array)
    with pytest.raises(dataset.DataError, match=message):
        slices.load(path=str(file.parent / "other.npy"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("subject,slice,contrast\n\xe9,1,on\n".encode("latin-1"), "line 2, .*UTF-8"),
        (b"subject,slice,contrast\na,1,on,\nb\n", "2 rows have .*in lines 2, 3"),
        (b"subject,slice,contrast\n" + b"a,1,\n" * 12, "'contrast', line 2 .12 such"),
        (b"subject,slice\n", "data.contrast: .*no column 'contrast'; choices: subj"),
    ],
)
def test_faulty_tables_are_named(file, content, message):
    (file.parent / "pairs.csv").write_bytes(content)
    with pytest.raises(dataset.DataError, match=message):
        slices.load(path=str(file))


def test_names_stay_text_and_separators_are_seen(file):
    frame = pd.read_csv(file.parent / "pairs.csv")
    frame["subject"] = frame["subject"].map({"a": "001", "b": "1"})
    frame.to_csv(file.parent / "pairs.csv", sep=";", index=False)
    data = slices.load(path=str(file), val_filter="subject=001", train_on="rest")
    assert len(data.validation) == 6
    assert len(data.train.label_names) == 6
    assert all(name.startswith("001 ") for name in data.validation.table["name"])


def test_arrays_of_objects_are_named(file):
    images = np.load(file)["images"]
    objects = np.empty(12, object)
    objects[:] = list(images)
    np.savez(file, images=objects, other=objects)
    with pytest.raises(dataset.DataError, match=r"Python objects.*np\.stack") as error:
        slices.load(path=str(file))
    assert "copy it again" not in str(error.value)
    np.savez(file, images=np.stack(list(objects)), other=objects)
    assert len(slices.load(path=str(file)).validation) == 12


def test_missing_table_is_refused(file):
    (file.parent / "pairs.csv").rename(file.parent / "first.csv")
    assert len(slices.load(path=str(file)).validation) == 12
    (file.parent / "second.csv").write_text("index\n")
    with pytest.raises(dataset.DataError, match="2 CSV files next to"):
        slices.load(path=str(file))
    table = str(file.parent / "first.csv")
    assert len(slices.load(path=str(file), table=table).validation) == 12
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(dataset.DataError, match="cannot be read"):
        slices.load(path=str(file), table=table)


def test_columns_in_archive_are_read_as_table_beside_it(file):
    frame = pd.read_csv(file.parent / "pairs.csv")
    beside = slices.load(path=str(file)).validation.table
    inside = file.parent / "inside" / "pairs.npz"
    inside.parent.mkdir()
    arrays = {name: frame[name].to_numpy().astype(str) for name in frame}
    notes = np.array(["x"] * len(frame), object)
    np.savez(inside, scan=np.load(file)["images"], **arrays, notes=notes)
    table = slices.load(path=str(inside)).validation.table
    for name in ("label", "source", "name"):
        np.testing.assert_array_equal(table[name], beside[name])


def test_several_stacks_are_listed_as_choices_and_one_can_be_named(file):
    images = np.load(file)["images"]
    np.savez(file, before=images, after=images[:, ::-1])
    with pytest.raises(dataset.DataError, match="choices: before, after"):
        slices.load(path=str(file))
    data = slices.load(path=str(file), key="after")
    assert len(data.validation) == 12

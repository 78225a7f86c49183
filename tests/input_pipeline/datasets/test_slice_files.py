"""Slices from folders of images and stacks, with a table and without."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from input_pipeline import dataset
from input_pipeline.datasets import slices
from tests.input_pipeline import movie_files
from tests.input_pipeline.movie_files import moving

SIZE = (40, 48)


@pytest.fixture
def images(tmp_path):
    """Two contrasts of four slices, 12 bits in PNG of 16: folder and pixels."""
    root, pixels = tmp_path / "in", np.uint16(moving(8)) * 16
    for k, image in enumerate(pixels):
        contrast = root / ("t1" if k < 4 else "t2")
        contrast.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(contrast / f"{k % 4}.png")
    return root, pixels


def load(path, **fields):
    fields = {"train_on": "all", "size": SIZE} | fields
    return slices.load(path=str(path), cache=str(path.parent / "cache"), **fields)


def expected(pixels):
    """Each over its largest, by way of 8 bits of 12."""
    eight = np.rint(pixels * (255 / 4095))
    return np.round(255 * eight / eight.max((1, 2), keepdims=True))


def test_a_folder_without_a_table_has_no_pairs(images):
    root, pixels = images
    data = load(root)
    assert len(data.train) == len(data.validation) == 8
    assert set(data.train.table["source"]) == {""}
    assert len(data.train.label_names) == 8
    assert "no two images are known to show one place" in data.facts["choices"][0]
    found = data.train.read(np.arange(8))["image"]
    assert found.shape == (8, *SIZE, 3)
    np.testing.assert_array_equal(found[..., 1], expected(pixels))


def test_a_table_names_images_by_their_files_in_any_order(images):
    root, pixels = images
    rows = [(f"{c}/{k}.png", "a", k, c) for c in ("t1", "t2") for k in range(4)]
    table = pd.DataFrame(rows, columns=["filename", "subject", "slice", "contrast"])
    table[:7].sample(frac=1, random_state=0).to_csv(root / "t.csv", index=False)
    data = load(root)
    assert len(data.train) == 7
    assert data.facts["choices"] == ["1 images have no row in t.csv and are left out."]
    for row in range(7):
        place, contrast = data.train.table["name"][row].split(", ")
        k = int(place.split()[1]) + 4 * (contrast == "t2")
        image = data.train.read([row])["image"][0, ..., 0]
        np.testing.assert_array_equal(image, expected(pixels)[k])
    assert sorted(np.bincount(data.train.table["label"])) == [1, 2, 2, 2]


def test_pages_of_a_stack_are_slices(tmp_path):
    pixels = moving(6)
    movie_files.write_stack(tmp_path / "a.tif", pixels)
    data = load(tmp_path / "a.tif")
    found = data.train.read(np.arange(6))["image"][..., 0]
    largest = pixels.max((1, 2), keepdims=True)
    np.testing.assert_array_equal(found, np.round(255.0 * pixels / largest))


def test_a_table_of_something_else_leaves_no_pairs(images, caplog):
    root, _ = images
    (root / "notes.csv").write_text("name,value\nfield,3T\n")
    assert len(load(root).train) == 8
    assert "notes.csv is not taken as the table" in caplog.text
    columns = "filename,weight\n" + "".join(f"x{k},1\n" for k in range(8))
    (root / "notes.csv").write_text(columns)
    data = load(root)
    assert (
        "data.pair and data.contrast name others of filename, weight"
        in (data.facts["choices"][0])
    )


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (["t1/0.png,a,0,x", "t1/9.png,a,0,x"], {}, "has 't1/9.png' in column 'filen"),
        (["t1/0.png,a,0,x", "t1/0.png,a,0,x"], {}, "two rows for 't1/0.png'"),
        (["t1/0.png,a,,x"], {}, "nothing in column 'slice', line 2"),
        (["t1/0.png,a,0,x"], {"pair": ("patient",)}, "no column 'patient'; choices"),
    ],
)
def test_tables_that_do_not_fit_are_named(images, rows, fields, message):
    root, _ = images
    header = "filename,subject,slice,contrast"
    (root / "t.csv").write_text("\n".join([header, *rows]))
    with pytest.raises(dataset.DataError, match=message):
        load(root, **fields)


def test_a_black_slice_may_be_left_out(images):
    root, _ = images
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(root / "t1" / "4.png")
    with pytest.raises(dataset.DataError, match="4.png: nothing but zeros"):
        load(root)
    data = load(root, max_rejected=0.2)
    assert len(data.train) == 8
    assert data.facts["rejected_total"] == 1

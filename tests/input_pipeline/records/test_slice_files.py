"""Folders of gray images are read as slices, with their table."""

import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset
from input_pipeline.datasets import slices
from input_pipeline.records import slice_files


def ramp(high, wide, most=4095):
    """Return values 0 .. most, 12 bits by default, uint16 [high, wide]."""
    return np.linspace(0, most, high * wide).reshape(high, wide).astype(np.uint16)


@pytest.fixture
def folder(tmp_path):
    """Two subjects, two slices, two contrasts, in 12-bit TIFFs; and a note."""
    lines = ["filename,subject,slice,contrast"]
    for subject in "ab":
        for number in range(2):
            for contrast in ("off", "on"):
                name = f"{subject}{number}{contrast}.tif"
                values = np.roll(ramp(20, 16), 3 * number, axis=1)
                Image.fromarray(values).save(tmp_path / name)
                lines.append(f"{name},{subject},{number},{contrast}")
    (tmp_path / "README.txt").write_text("scanner notes")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    return tmp_path


def test_twelve_bits_span_range(folder):
    data = slices.load(path=str(folder))
    image = data.validation.read([0])["image"][0, ..., 0]
    expected = np.round(255.0 * ramp(20, 16) / 4095)
    np.testing.assert_allclose(image, expected, atol=1)
    assert data.facts["ignored_total"] == 2  # the note and the table


def test_table_joins_by_file_name_whatever_its_order(folder):
    lines = (folder / "pairs.csv").read_text().splitlines()
    (folder / "pairs.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    table = slices.load(path=str(folder)).validation.table
    assert list(table["name"]) == [
        "a 0, off", "a 0, on", "a 1, off", "a 1, on",
        "b 0, off", "b 0, on", "b 1, off", "b 1, on",
    ]  # fmt: skip
    assert list(table["source"]) == ["off", "on"] * 4


def test_without_table_each_image_is_its_own_place(folder):
    (folder / "pairs.csv").unlink()
    data = slices.load(path=str(folder))
    assert len(data.validation.label_names) == len(data.validation) == 8
    assert data.facts["table"] == "none: each image is a place of its own"
    assert data.validation.table["name"][0] == "a0off.tif"


def test_pages_are_slices_and_smaller_images_are_padded_with_zeros(tmp_path):
    pages = [Image.fromarray(ramp(10, 8)), Image.fromarray(ramp(10, 8) // 2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(tmp_path / "small.png")
    folder = slice_files.read_folder(tmp_path)
    assert folder.names == ["small.png", "stack.tif#0", "stack.tif#1"]
    assert folder.facts == {"ignored_total": 0, "padded": 1}
    np.testing.assert_array_equal(folder.images[1], ramp(10, 8))
    assert folder.images[0].sum() == 9 * 16
    np.testing.assert_array_equal(folder.images[0][3:7, 2:6], 9)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("filename,subject,slice,contrast\na0off.tif,a,0,off", "a0on.tif: in no row"),
        ("subject,slice,contrast\na,0,off", "expected filename"),
        ("filename,subject\na0off.tif,a", "a0on.tif: in no row"),
    ],
)
def test_table_that_does_not_cover_images_is_refused(folder, table, message):
    (folder / "pairs.csv").write_text(table)
    with pytest.raises(dataset.DataError, match=message):
        slices.load(path=str(folder))


def test_missing_column_lists_choices(folder):
    text = (folder / "pairs.csv").read_text().replace("contrast", "echo")
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(dataset.DataError, match=r"data\.contrast.*choices: .*echo"):
        slices.load(path=str(folder))
    data = slices.load(path=str(folder), contrast="echo")
    assert data.facts["contrasts"] == ["off", "on"]

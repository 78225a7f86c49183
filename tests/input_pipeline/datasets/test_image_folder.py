"""Folders of images: pixels, splits, and what is left out and why."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset
from input_pipeline.datasets import image_folder
from input_pipeline.formats import image as image_format
from tests.input_pipeline.image_files import both, load, write_image


def test_pixels_names_and_ids_belong_together(folder):
    data = load(folder)
    split = both(data)
    assert len(data.train) == 10
    assert len(split) == 12
    assert len(set(split.table["id"])) == 12
    for row in range(12):
        name = split.table["filename"][row]
        value = 20 * int(pathlib.Path(name).stem)
        np.testing.assert_array_equal(
            split[row]["image"][3, 3], [value, 255 - value, 7]
        )
        assert pathlib.Path(split.table["path"][row]) == folder / name
    assert (split.table["label"] == -1).all()
    assert (split.table["codes"] == -1).all()
    assert data.facts["without_codes"] == 12


def test_images_kept_in_memory_equal_those_on_disk(folder):
    disk, memory = both(load(folder)), both(load(folder, memory_mb=1))
    rows = [3, 11, 3, 0]
    for _ in range(2):
        np.testing.assert_array_equal(
            memory.read(rows)["image"], disk.read(rows)["image"]
        )


def test_tfds_reads_prepared_data(folder):
    import tensorflow_datasets as tfds

    data = load(folder)
    (place,) = pathlib.Path(data.facts["prepared_in"]).glob("images/*/*")
    source = tfds.builder_from_directory(place).as_data_source("train")
    assert len(source) == len(data.train)
    np.testing.assert_array_equal(source[4]["image"], data.train[4]["image"])
    assert source[4]["id"] == data.train[4]["id"]


@pytest.mark.parametrize("val_fraction", [0.0, 0.25, 0.99])
def test_share_held_out(folder, val_fraction):
    data = load(folder, val_fraction=val_fraction)
    assert len(data.validation) == {0.0: 0, 0.25: 3, 0.99: 11}[val_fraction]
    again = load(folder, val_fraction=val_fraction, size=17)
    assert again.validation.table["filename"] == data.validation.table["filename"]


def test_seed_decides_split(folder):
    splits = {
        tuple(load(folder, seed=s).validation.table["filename"]) for s in range(6)
    }
    assert len(splits) > 1


def test_duplicates_are_counted(folder):
    for k in (1, 3):
        write_image(folder / f"copy{k}.png", 20 * k)
    write_image(folder / "again.png", 20)
    data = load(folder, val_fraction=0.5)
    seen = {
        split: [
            image.tobytes() for image in getattr(data, split).read(range(n))["image"]
        ]
        for split, n in data.facts["records"].items()
    }
    across = sum(image in seen["train"] for image in seen["validation"])
    assert data.facts["duplicates"] == 3
    assert data.facts["duplicates_across_splits"] == across


def spoil(root, outside):
    """Adds every kind of bad file; returns name -> a word of the reason."""
    good = (root / "00.png").read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(root / "whole.jpg")
    whole = (root / "whole.jpg").read_bytes()
    (root / "whole.jpg").unlink()
    (root / "empty.png").write_bytes(b"")
    (root / "cut.png").write_bytes(good[: len(good) // 2])
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "header.png").write_bytes(good[:20])
    (root / "text.png").write_text("not an image at all")
    (root / "notes.txt").write_text("read me")
    (root / "page.jpg").write_text("<html>404</html>")
    Image.new("1", (3000, 3000)).save(root / "huge.png")
    os.mkfifo(root / "pipe.png")
    write_image(outside / "secret.png")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "broken.png").symlink_to(root / "nowhere.png")
    (root / "folder").symlink_to(outside)
    return {
        "empty.png": "empty",
        "cut.png": "damaged",
        "cut.jpg": "damaged",
        "header.png": "",
        "text.png": "not an image",
        "page.jpg": "not an image",
        "huge.png": "more than 1,000,000 pixels",
        "pipe.png": "not a regular file",
        "link.png": "leaves the folder",
        "broken.png": "link to nothing",
        "folder": "leaves the folder",
    }


def test_bad_files_are_counted_named_and_left_out(folder, tmp_path):
    bad = spoil(folder, tmp_path / "outside")
    data = load(folder, max_rejected=0.6, max_pixels=10**6)
    assert len(both(data)) == 12
    rejected = dict(data.facts["rejected"])
    assert rejected.keys() == bad.keys()
    assert data.facts["ignored"] == ["notes.txt"]
    for name, word in bad.items():
        assert word in rejected[name], name
    assert data.facts["rejected_total"] == len(bad)
    assert sum(data.facts["rejected_by_reason"].values()) == len(bad)


@pytest.mark.parametrize(("limit", "passes"), [(11, True), (10, False), (0.4, False)])
def test_too_many_bad_files_are_refused(folder, tmp_path, limit, passes):
    bad = spoil(folder, tmp_path / "outside")
    fields = {"max_rejected": limit, "max_pixels": 10**6}
    for _ in range(2):  # while preparing, and again when that was done
        if passes:
            assert len(both(load(folder, **fields))) == 12
            continue
        with pytest.raises(dataset.DataError) as error:
            load(folder, **fields)
        assert sum(f"\n  {name}: " in str(error.value) for name in bad) == 10
        assert "data.max_rejected" in str(error.value)
        load(folder, **fields | {"max_rejected": 11})


def test_files_that_are_no_images_are_ignored_and_counted(folder):
    stray = ("README.txt", "LICENSE", "metadata.csv", "deep/a.pdf", "a.h5", "b.mpg")
    for name in stray:
        (folder / name).write_bytes(b"%PDF-1.4 or whatever" * 9)
    (folder / "deep/er/01.png").rename(folder / "deep/er/no extension")
    (folder / "00.png").rename(folder / "v1.2024")
    data = load(folder, max_rejected=0.0)
    assert sorted(data.facts["ignored"]) == sorted(stray)
    assert data.facts["ignored_total"] == len(stray)
    assert data.facts["rejected_total"] == 0
    names = both(data).table["filename"]
    assert len(names) == 12
    assert {"deep/er/no extension", "v1.2024"} <= set(names)


def test_one_bad_file_of_few_is_left_out(folder):
    (folder / "bad.png").write_bytes(b"")
    assert load(folder, max_rejected=0.01).facts["rejected_total"] == 1
    (folder / "worse.png").write_bytes(b"")
    with pytest.raises(dataset.DataError, match="more than the 1 that"):
        load(folder, max_rejected=0.01)


def test_prepared_folder_is_not_decoded_again(folder, monkeypatch):
    load(folder)

    def refuse(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(image_format, "decode", refuse)
    load(folder)
    write_image(folder / "new.png")
    with pytest.raises(AssertionError):
        load(folder)


@pytest.mark.parametrize("content", [None, "file", "empty", "texts", "bad"])
def test_folder_without_records_is_refused(tmp_path, content):
    root = tmp_path / "logos"
    expected = {
        None: "nothing",
        "file": "a file",
        "empty": "0 files",
        "texts": "'.txt': 1}. and no image",
        "bad": "empty file",
    }
    if content == "file":
        root.write_text("x")
    elif content:
        root.mkdir()
    if content == "texts":
        (root / "a.txt").write_text("x")
    if content == "bad":
        (root / "a.png").write_bytes(b"")
    with pytest.raises(dataset.DataError, match=expected[content]):
        load(root, max_rejected=1.0)


def test_faulty_fields_are_named_together():
    with pytest.raises(dataset.DataError) as error:
        image_folder.load(
            path="x", size=1, val_fraction=1.0, max_rejected=-1, max_pixels=0
        )
    for field in ("size", "val_fraction", "max_rejected", "max_pixels"):
        assert f"data.{field}" in str(error.value)
    with pytest.raises(dataset.DataError, match="data.path: got none"):
        image_folder.check(size=16)

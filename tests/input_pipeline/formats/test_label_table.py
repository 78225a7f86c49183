"""Labels of a folder's images, and the listing of many."""

import os
import pathlib
import time

import numpy as np
import pytest

from input_pipeline import dataset
from input_pipeline.formats import label_table
from tests.input_pipeline.image_files import both, load, write_image, write_labels


def test_labels_give_codes_names_and_whole_groups(folder):
    rows = [f"{'deep/er/' if k % 2 else ''}{k:02d}.png" for k in range(12)]
    write_labels(
        folder, [f"{r},animal;animal.{k % 4},logo {k},me" for k, r in enumerate(rows)]
    )
    data = load(folder, val_fraction=0.5)
    assert data.train.label_names == [f"animal.{k}" for k in range(4)]
    assert data.train.code_names == ["animal", *data.train.label_names]
    split = both(data)
    for row in range(12):
        number = int(pathlib.Path(split.table["filename"][row]).stem)
        record = split[row]
        assert split.label_names[record["label"]] == f"animal.{number % 4}"
        assert [split.code_names[c] for c in record["codes"]] == [
            "animal",
            f"animal.{number % 4}",
        ]
        assert split.table["name"][row] == f"logo {number}"
        assert split.table["source"][row] == "me"
    train, validation = (set(s.table["label"].tolist()) for s in data[:2])
    assert not train & validation
    assert len(train) == len(validation) == 2
    # 6 training records carry "animal", 3 each finer code; others count as 1.
    np.testing.assert_allclose(data.train.table["code_weights"][0], [1 / 6, 1 / 3])
    np.testing.assert_allclose(data.validation.table["code_weights"][0], [1 / 6, 1])
    assert data.facts["per_source"] == {"me": 12}
    assert data.facts["groups"] == {"train": 2, "validation": 2}


def test_labels_csv_above_the_images_and_unlisted_files(tmp_path):
    root = tmp_path / "set"
    for k in range(4):
        write_image(root / "images" / f"{k}.png", k)
    write_image(root / "images" / "unlisted.png")
    (root / "LICENSE").write_text("free")
    write_labels(
        root, ["0.png,a", "1.PNG,a", "images/2.png,b", "./3.png,b;"], "filename,codes"
    )
    data = load(root, val_fraction=0.0)
    names = [
        data.train.label_names[k] if k >= 0 else "" for k in data.train.table["label"]
    ]
    assert dict(zip(data.train.table["filename"], names, strict=True)) == {
        "images/0.png": "a",
        "images/1.png": "a",
        "images/2.png": "b",
        "images/3.png": "b",
        "images/unlisted.png": "",
    }
    assert data.facts["not_listed"] == 1
    assert data.facts["ignored"] == ["LICENSE"]
    assert data.facts["rejected_total"] == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../secret.png,a,,", "leaves the folder"),
        ("/etc/passwd,a,,", "leaves the folder"),
        ("deep/../../secret.png,a,,", "leaves the folder"),
        ("C:\\secret.png,a,,", "leaves the folder"),
        ("missing.png,a,,", "not there"),
        ("00.png,b,,", "named twice in labels.csv, lines 2, 3"),
        ("./00.png,b,,", "named twice"),
        (",a,,", "no filename"),
        ("same.png,a,,", "more than one file"),
    ],
)
def test_rows_without_a_file_of_their_own(folder, row, reason):
    write_image(folder.parent / "secret.png")
    write_image(folder / "x" / "same.png")
    write_image(folder / "y" / "same.png")
    write_labels(folder, ["00.png,a,,", row])
    data = load(folder, max_rejected=1.0)
    ((_, found),) = data.facts["rejected"]
    assert reason in found
    assert len(both(data)) == 14
    with pytest.raises(dataset.DataError, match=reason):
        load(folder, max_rejected=0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"filename,name\n00.png,x\n", "expected filename, codes"),
        (b"file,codes\n00.png,x\n", "expected filename, codes"),
        (b"filename;codes;name\n00.png;x;y\n", "separated by commas"),
        (b"", "expected filename, codes"),
        (b"filename,codes,codes\n00.png,x,y\n", "twice"),
        (b"filename,codes\n00.png,x,y\n", "more or fewer than 2 fields, in lines 2"),
        (b"filename,codes\n00.png\n", "more or fewer than 2 fields, in lines 2"),
        (b"filename,codes\n00.png,caf\xe9\n", "line 2, which is not UTF-8"),
        ("filename,codes\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_faults_of_labels_csv(folder, content, message):
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(dataset.DataError, match=message):
        load(folder)


def test_spreadsheets_save_a_byte_order_mark_and_quotes(folder):
    text = '\ufefffilename,codes,name\r\n00.png,a; b ;b,"Smith, ""Sons""\r\n& Co"\r\n'
    (folder / "labels.csv").write_text(text, encoding="utf-8", newline="")
    split = both(load(folder))
    row = split.table["filename"].index("00.png")
    assert split.table["name"][row] == 'Smith, "Sons"\r\n& Co'
    codes = split.table["codes"][row]
    assert [split.code_names[c] for c in codes if c >= 0] == ["a", "b"]


def test_names_that_are_no_text(folder):
    os.rename(folder / "00.png", os.fsencode(folder) + b"/\xff\xfe.png")
    split = both(load(folder))
    assert "\\udcff\\udcfe.png" in split.table["filename"]
    "".join(split.table["filename"]).encode("utf-8")


def test_changed_labels_are_prepared_anew(folder):
    write_labels(folder, ["00.png,a,,"])
    first = load(folder).facts["fingerprint"]
    write_labels(folder, ["00.png,b,,"])
    second = load(folder)
    assert second.facts["fingerprint"] != first
    assert second.train.label_names == ["b"]


def test_listing_many_files_is_quick(tmp_path):
    files = label_table.Files(
        [f"images/{k:07d}.png" for k in range(20_000)], [], [], []
    )
    rows = [label_table.Label(k, f"{k:07d}.png", ("a",), {}) for k in range(20_000)]
    start = time.process_time()
    labels, rejected = label_table.match(files, rows)
    assert len(labels) == 20_000
    assert not rejected
    assert time.process_time() - start < 3

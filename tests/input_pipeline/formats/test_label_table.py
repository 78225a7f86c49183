"""Labels of a folder's images, and the listing of many."""

import os
import pathlib
import time

import numpy as np
import pytest

from input_pipeline import data_checks, dataset
from input_pipeline.formats import label_table
from tests.input_pipeline.image_files import both, load, write_image, write_labels


def test_labels_give_codes_names_and_whole_groups(folder):
    rows = [f"{'deep/er/' if k % 2 else ''}{k:02d}.png" for k in range(12)]
    write_labels(
        folder, [f"{r},animal;animal.{k % 4},logo {k},me" for k, r in enumerate(rows)]
    )
    data = load(folder, val_fraction=0.5, split_by="code")
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


def test_labels_csv_above_images_and_unlisted_files(tmp_path):
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
def test_rows_without_file_of_their_own(folder, row, reason):
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
        (b"logo,codes\n00.png,x\n", r"\['logo', 'codes'\]; expected filename and"),
        (b"00.png,x\n01.png,y\n", r"\['00.png', 'x'\]; expected filename and"),
        (b"", "is empty; expected a line of column names"),
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


def test_spreadsheets_save_byte_order_mark_and_quotes(folder):
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "filename,label\n00.png,001\n02.png,1\n"),
        ("labels.csv", "File_Name;Class\n00.png;001\n02.png;1\n"),
        ("labels.csv", "image,category,codes\n00.png,x,001\n02.png,y,1\n"),
        ("labels.tsv", "file\tlabel\n00.png\t001\n02.png\t1\n"),
        ("labels.jsonl", '{"path": "00.png", "label": "001"}\n'
         '{"path": "02.png", "label": 1}\n'),
    ],
)  # fmt: skip
def test_tables_and_columns_that_hold_labels(folder, name, content):
    (folder / name).write_text(content)
    split = both(load(folder))
    labels = dict(zip(split.table["filename"], split.table["label"], strict=True))
    assert split.label_names == ["001", "1"]
    assert labels["00.png"] == 0
    assert labels["02.png"] == 1
    assert sum(label >= 0 for label in labels.values()) == 2


def test_two_tables_are_refused(folder):
    write_labels(folder, ["00.png,a,,"])
    (folder / "labels.tsv").write_text("filename\tlabel\n00.png\ta\n")
    with pytest.raises(dataset.DataError, match=r"labels.csv, labels.tsv; expected on"):
        load(folder)
    (folder / "labels.tsv").unlink()
    assert load(folder).train.label_names == ["a"]


def test_empty_cells_are_no_values(folder):
    write_labels(folder, ["00.png,a,,me", "02.png,,,", "04.png, ,x,", ",,,", ",,,"])
    data = load(folder, max_rejected=0.0)
    split = both(data)
    rows = {name: k for k, name in enumerate(split.table["filename"])}
    assert split.label_names == ["a"]
    assert [split.table["label"][rows[f"0{k}.png"]] for k in (0, 2, 4)] == [0, -1, -1]
    assert [split.table["source"][rows[f"0{k}.png"]] for k in (0, 2)] == ["me", ""]
    assert split.table["name"][rows["02.png"]] == "02.png"


@pytest.mark.parametrize(
    "name",
    [
        "logos/00.png", "{parent}/logos/00.png", "{root}/00.png", "00", "logos/00",
        "{root}/./x/../00", ".\\00.png", "00.PNG", "{link}/00.png",
    ],
)  # fmt: skip
def test_ways_to_name_one_file(folder, name):
    link = folder.parent / "link"
    link.symlink_to(folder)
    row = name.format(root=folder, parent=folder.parent.name, link=link)
    write_labels(folder, [f"{row},a"], "filename,label")
    split = both(load(folder, max_rejected=0.0))
    labels = dict(zip(split.table["filename"], split.table["label"], strict=True))
    assert labels["00.png"] == 0
    assert sum(label >= 0 for label in labels.values()) == 1


def test_file_of_another_extension_is_hinted_at(folder):
    write_image(folder / "00.webp")
    for row, reason in (("01.jpg", "there is deep/er/01.png"), ("00", "more than one")):
        write_labels(folder, [f"{row},a,,"])
        data = load(folder, max_rejected=1.0)
        ((_, found),) = data.facts["rejected"]
        assert reason in found


def test_sub_folders_are_classes(tmp_path):
    root = tmp_path / "animals"
    for k in range(8):
        write_image(
            root / f"{('cat', 'dog')[k % 2]}/{'more/' * (k > 5)}{k}.png", 20 * k
        )
    data = load(root)
    split = both(data)
    assert split.label_names == ["cat", "dog"]
    for name, label in zip(split.table["filename"], split.table["label"], strict=True):
        assert name.startswith(split.label_names[label] + "/")
    assert data.facts["labels_from"] == "sub-folders"
    assert data.facts["labels"] == 2
    none = load(root, labels="none")
    assert (both(none).table["label"] == -1).all()
    assert none.facts["labels_from"] == "none"
    with pytest.raises(dataset.DataError, match="'table' for .* without labels.csv"):
        load(root, labels="table")
    write_labels(root, ["0.png,lion"], "filename,label")
    assert load(root).train.label_names == ["lion"]
    assert load(root, labels="folder").train.label_names == ["cat", "dog"]


def test_folders_of_sides_are_no_classes(tmp_path):
    for side in ("train", "val"):
        for k in range(4):
            write_image(tmp_path / "set" / side / "ab"[k % 2] / f"{side}{k}.png", 9 * k)
    assert load(tmp_path / "set").train.label_names == ["a", "b"]
    for k in range(4):
        write_image(tmp_path / "flat" / ("train", "test")[k % 2] / f"{k}.png", 9 * k)
    assert load(tmp_path / "flat").facts["labels_from"] == "none"


def test_images_at_root_mean_that_folders_are_no_classes(folder):
    assert load(folder).facts["labels_from"] == "none"
    split = both(load(folder, labels="folder"))
    assert split.label_names == ["deep"]
    assert (split.table["label"] == 0).sum() == 6


@pytest.mark.parametrize(("codes", "split_by"), [(19, "file"), (20, "code")])
def test_few_codes_are_on_both_sides(tmp_path, codes, split_by):
    root = tmp_path / "set"
    for k in range(60):
        write_image(root / f"{k % codes:02d}" / f"{k}.png", k)
    data = load(root, val_fraction=0.3)
    sides = [set(s.table["label"].tolist()) for s in data[:2]]
    assert data.facts["split_by"] == split_by
    assert bool(sides[0] & sides[1]) == (split_by == "file")
    leaks = data_checks.describe(data)["leaks"]
    assert leaks["groups"] == 0
    assert leaks["content"] == 0
    other = load(
        root, val_fraction=0.3, split_by={"file": "code", "code": "file"}[split_by]
    )
    sides = [set(s.table["label"].tolist()) for s in other[:2]]
    assert bool(sides[0] & sides[1]) == (split_by == "code")


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
    labels, rejected = label_table.match(tmp_path, files, rows)
    assert len(labels) == 20_000
    assert not rejected
    assert time.process_time() - start < 3

"""Folders of pictures: what is left out and why, labels, splits, interruptions."""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from input_pipeline import (
    _builder,
    _contract,
    _decode,
    _folder,
    _prepare,
    _table,
    image_folder,
)

ROOT = pathlib.Path(__file__).parents[2]


def picture(path, value=0, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 255 - value, 7)).save(path)


def load(root, **fields):
    fields = {"cache": root.parent / "cache", "size": 16, "workers": 1} | fields
    return image_folder.load(
        path=str(root), progress=False, **{"memory_mb": 0} | fields
    )


def both(data):
    return _contract.concatenate(data.train, data.validation)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "marks"
    for k in range(12):
        picture(root / f"{'deep/er/' if k % 2 else ''}{k:02d}.png", 20 * k)
    return root


def write_labels(root, rows, header="filename,codes,name,source"):
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


# Without labels.


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


def test_tfds_reads_what_was_prepared(folder):
    import tensorflow_datasets as tfds

    data = load(folder)
    (place,) = pathlib.Path(data.facts["prepared_in"]).glob("images/*/*")
    source = tfds.builder_from_directory(place).as_data_source("train")
    assert len(source) == len(data.train)
    np.testing.assert_array_equal(source[4]["image"], data.train[4]["image"])
    assert source[4]["id"] == data.train[4]["id"]


@pytest.mark.parametrize("holdout", [0.0, 0.25, 0.99])
def test_the_share_held_back(folder, holdout):
    data = load(folder, holdout=holdout)
    assert len(data.validation) == {0.0: 0, 0.25: 3, 0.99: 11}[holdout]
    again = load(folder, holdout=holdout, size=17)
    assert again.validation.table["filename"] == data.validation.table["filename"]


def test_a_seed_decides_the_split(folder):
    splits = {
        tuple(load(folder, seed=s).validation.table["filename"]) for s in range(6)
    }
    assert len(splits) > 1


def test_duplicates_are_counted(folder):
    for k in (1, 3):
        picture(folder / f"copy{k}.png", 20 * k)
    picture(folder / "again.png", 20)
    data = load(folder, holdout=0.5)
    seen = {
        split: [
            image.tobytes() for image in getattr(data, split).read(range(n))["image"]
        ]
        for split, n in data.facts["records"].items()
    }
    across = sum(image in seen["train"] for image in seen["validation"])
    assert data.facts["duplicates"] == 3
    assert data.facts["duplicates_across_splits"] == across


# What is left out.


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
    (root / "text.png").write_text("not a picture at all")
    (root / "notes.txt").write_text("read me")
    (root / "page.jpg").write_text("<html>404</html>")
    Image.new("1", (3000, 3000)).save(root / "huge.png")
    os.mkfifo(root / "pipe.png")
    picture(outside / "secret.png")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "broken.png").symlink_to(root / "nowhere.png")
    (root / "folder").symlink_to(outside)
    return {
        "empty.png": "empty",
        "cut.png": "damaged",
        "cut.jpg": "damaged",
        "header.png": "",
        "text.png": "not a picture",
        "notes.txt": "not a picture",
        "page.jpg": "not a picture",
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
    for name, word in bad.items():
        assert word in rejected[name], name
    assert data.facts["rejected_total"] == len(bad)
    assert sum(data.facts["rejected_by_reason"].values()) == len(bad)


@pytest.mark.parametrize(("limit", "passes"), [(12, True), (11, False), (0.4, False)])
def test_too_many_bad_files_are_refused(folder, tmp_path, limit, passes):
    bad = spoil(folder, tmp_path / "outside")
    fields = {"max_rejected": limit, "max_pixels": 10**6}
    for _ in range(2):  # while preparing, and again when that was done
        if passes:
            assert len(both(load(folder, **fields))) == 12
            continue
        with pytest.raises(_contract.DataError) as error:
            load(folder, **fields)
        assert sum(f"\n  {name}: " in str(error.value) for name in bad) == 10
        assert "data.max_rejected" in str(error.value)
        load(folder, **fields | {"max_rejected": 12})


def test_a_prepared_folder_is_not_decoded_again(folder, monkeypatch):
    load(folder)

    def refuse(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(_decode, "decode", refuse)
    load(folder)
    picture(folder / "new.png")
    with pytest.raises(AssertionError):
        load(folder)


@pytest.mark.parametrize("content", [None, "file", "empty", "texts", "bad"])
def test_nothing_to_read_is_said(tmp_path, content):
    root = tmp_path / "marks"
    expected = {
        None: "nothing",
        "file": "a file",
        "empty": "0 files",
        "texts": "not a picture",
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
    with pytest.raises(_contract.DataError, match=expected[content]):
        load(root, max_rejected=1.0)


def test_faulty_fields_are_named_together():
    with pytest.raises(_contract.DataError) as error:
        image_folder.load(path="", size=1, holdout=1.0, max_rejected=-1, max_pixels=0)
    for field in ("path", "size", "holdout", "max_rejected", "max_pixels"):
        assert f"data.{field}" in str(error.value)


# Labels.


def test_labels_give_codes_names_and_whole_groups(folder):
    rows = [f"{'deep/er/' if k % 2 else ''}{k:02d}.png" for k in range(12)]
    write_labels(
        folder, [f"{r},animal;animal.{k % 4},mark {k},me" for k, r in enumerate(rows)]
    )
    data = load(folder, holdout=0.5)
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
        assert split.table["name"][row] == f"mark {number}"
        assert split.table["source"][row] == "me"
    train, validation = (set(s.table["label"].tolist()) for s in data[:2])
    assert not train & validation
    assert len(train) == len(validation) == 2
    # 6 training records carry "animal", 3 each finer code; others count as 1.
    np.testing.assert_allclose(data.train.table["code_weights"][0], [1 / 6, 1 / 3])
    np.testing.assert_allclose(data.validation.table["code_weights"][0], [1 / 6, 1])
    assert data.facts["per_source"] == {"me": 12}
    assert data.facts["groups"] == {"train": 2, "validation": 2}


def test_labels_above_the_pictures_and_papers_beside_them(tmp_path):
    root = tmp_path / "set"
    for k in range(4):
        picture(root / "images" / f"{k}.png", k)
    picture(root / "images" / "unlisted.png")
    (root / "LICENSE").write_text("free")
    write_labels(
        root, ["0.png,a", "1.PNG,a", "images/2.png,b", "./3.png,b;"], "filename,codes"
    )
    data = load(root, holdout=0.0)
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
    picture(folder.parent / "secret.png")
    picture(folder / "x" / "same.png")
    picture(folder / "y" / "same.png")
    write_labels(folder, ["00.png,a,,", row])
    data = load(folder, max_rejected=1.0)
    ((_, found),) = data.facts["rejected"]
    assert reason in found
    assert len(both(data)) == 14
    with pytest.raises(_contract.DataError, match=reason):
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
    with pytest.raises(_contract.DataError, match=message):
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


# Interruptions and company.

KILLED = """
import os, signal, sys
from input_pipeline import _decode, image_folder
image_folder._BLOCK_FILES = 4
decode, calls = _decode.decode, []
def deadly(*args):
    calls.append(args)
    if len(calls) > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*args)
_decode.decode = deadly
path, cache = sys.argv[1:]
image_folder.load(path=path, cache=cache, size=16, workers=1, progress=False)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(folder, monkeypatch):
    cache = folder.parent / "cache"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(cache)], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr(image_folder, "_BLOCK_FILES", 4)
    seen, decode = [], _decode.decode
    monkeypatch.setattr(
        _decode, "decode", lambda *args: (seen.append(args[0]), decode(*args))[1]
    )
    resumed = both(load(folder))
    assert len(seen) == 8  # the first of three blocks was finished
    fresh = both(load(folder, cache=folder.parent / "other"))
    assert resumed.table["filename"] == fresh.table["filename"]
    np.testing.assert_array_equal(
        resumed.read(range(12))["image"], fresh.read(range(12))["image"]
    )
    assert not list(cache.glob("*/*.work"))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "function"),
    [(_builder, "_gather"), (_table, "write"), (_prepare, "_table_facts")],
)
def test_interrupted_while_putting_together(folder, monkeypatch, module, function):
    def interrupt(*args, **kwargs):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(module, function, interrupt)
        with pytest.raises(Interrupted):
            load(folder)
    monkeypatch.setattr(_decode, "decode", interrupt)  # nothing is decoded again
    assert len(both(load(folder))) == 12


def test_what_a_finished_preparation_left_behind_is_removed(folder):
    place = pathlib.Path(load(folder).facts["prepared_in"])
    left = place.with_suffix(".work") / "blocks" / "000000"
    left.mkdir(parents=True)
    load(folder)
    assert not place.with_suffix(".work").exists()


def test_several_processes_make_the_same(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "_BLOCK_FILES", 4)
    many = both(load(folder, workers=2))
    monkeypatch.undo()
    one = both(load(folder, cache=folder.parent / "other"))
    assert many.table["filename"] == one.table["filename"]
    np.testing.assert_array_equal(
        many.read(range(12))["image"], one.read(range(12))["image"]
    )


def test_a_second_process_waits_and_then_opens(folder, monkeypatch, caplog):
    first = load(folder)
    place = pathlib.Path(first.facts["prepared_in"])
    hidden = place.with_name("hidden")
    os.rename(place, hidden)
    monkeypatch.setattr(_decode, "decode", None)  # it would fail to decode itself
    with open(place.with_suffix(".lock"), "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = []
        waiting = threading.Thread(target=lambda: found.append(load(folder)))
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
        os.rename(hidden, place)
    waiting.join(10)
    assert len(found[0].train) == len(first.train)


def test_a_cache_that_cannot_be_written_is_said(folder):
    (folder.parent / "cache").write_text("in the way")
    with pytest.raises(_contract.DataError, match="data.cache"):
        load(folder)


def test_listing_many_files_is_quick(tmp_path):
    files = _folder.Files([f"images/{k:07d}.png" for k in range(20_000)], [], [], [])
    rows = [_folder.Label(k, f"{k:07d}.png", ("a",), {}) for k in range(20_000)]
    start = time.process_time()
    labels, rejected = _folder.match(files, rows)
    assert len(labels) == 20_000
    assert not rejected
    assert time.process_time() - start < 3

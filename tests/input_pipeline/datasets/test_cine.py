"""Cine with its table: clips, times, labels, and records to be embedded."""

import numpy as np
import pandas as pd
import pytest

from input_pipeline import dataset
from input_pipeline.datasets import cine
from input_pipeline.formats.cine import images as cine_images
from input_pipeline.formats.cine import table as cine_table
from input_pipeline.records import frames as frames_lib
from tests.input_pipeline import cine_files

SIZE = (cine_files.DEPTH, cine_files.LINES)


@pytest.fixture
def file(tmp_path):
    """Four clips of five frames, every second frame of a recording, with a table."""
    pixels = np.random.default_rng(0).integers(1, 256, (20, *SIZE), np.uint8)
    np.savez(tmp_path / "muscle_40x12.npz", frames=pixels)
    table = pd.DataFrame(
        {
            "index": np.arange(20),
            "clip": np.repeat(["a", "b", "c", "d"], 5),
            "frame": np.tile(np.arange(0, 10, 2), 4),
            "time_s": np.tile(np.arange(5) / 10, 4),
            "angle": np.arange(20) % 7,
            "subject": np.repeat(["x", "y"], 10),
        }
    )
    table.to_csv(tmp_path / "muscle.csv", index=False)
    return tmp_path / "muscle_40x12.npz"


def load(file, **fields):
    fields = {"size": SIZE, "cache": str(file.parent / "cache"), "time": "time_s"} | (
        fields
    )
    return cine.load(path=str(file), **fields)


def pixels_of(file):
    return np.load(file)["frames"]


def test_columns_of_table_join_frames(file):
    data = load(file, label="angle", val_fraction=0.5)
    pixels = pixels_of(file)
    assert len(data.train) == len(data.validation) == 10
    assert not set(data.train.table["clip"]) & set(data.validation.table["clip"])
    for split in (data.train, data.validation):
        table, fields = split.table, split.read(np.arange(10))
        rows = table["index"].astype(int)
        np.testing.assert_array_equal(fields["image"][..., 0], pixels[rows])
        has_next = table["frame"] < 8
        np.testing.assert_array_equal(fields["has_next"], has_next)
        np.testing.assert_array_equal(
            fields["next_image"][..., 0], pixels[rows + has_next]
        )
        np.testing.assert_array_equal(table["time"], rows % 5 / 10)
        assert [data.train.label_names[k] for k in table["label"]] == [
            f"angle {row % 7}" for row in rows
        ]
    assert data.facts["table"].endswith("muscle.csv")
    assert data.facts["time"] == "column time_s"
    assert data.facts["clips"] == 4


def test_clips_may_be_held_out_by_column(file):
    data = load(file, val_filter="subject=y")
    assert set(data.train.table["clip"]) == {"a", "b"}
    assert set(data.validation.table["clip"]) == {"c", "d"}


def test_without_table_file_is_clip_and_frames_count_time(file):
    (file.parent / "muscle.csv").unlink()
    data = load(file, split="time", val_fraction=0.25, time="time")
    assert set(data.train.table["clip"]) == {"muscle_40x12"}
    assert data.train.table["frame"].tolist() == list(range(15))
    assert data.validation.table["time"].tolist() == [15, 16, 17, 18, 19]
    assert data.train.table["name"][3] == "muscle_40x12, frame 3"
    assert data.facts["time"] == "frame numbers"
    assert (data.train.table["label"] == -1).all()


def test_frames_left_out_leave_their_rows_out(file):
    pixels = pixels_of(file)
    pixels[[2, 11]] = 0
    np.savez(file, frames=pixels)
    with pytest.raises(dataset.DataError, match="2 of 20 frames"):
        load(file)
    data = load(file, max_rejected=0.1, val_filter="subject=y")
    assert data.train.table["index"].tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    rows = data.validation.table["index"].astype(int)
    images = data.validation.read(np.arange(len(rows)))["image"][..., 0]
    np.testing.assert_array_equal(images, pixels[rows])
    assert data.facts["rejected"] == [
        ("muscle_40x12, frame 2", "nothing but zeros"),
        ("muscle_40x12, frame 11", "nothing but zeros"),
    ]


def test_few_labels_are_joined_on_frame(file):
    (file.parent / "muscle.csv").unlink()
    labels = pd.DataFrame(
        {"frame": [7, 2, 19], "phase": ["rest", "rest", "pull"], "force": [1, 2, 3]}
    )
    labels["good"] = [True, False, True]
    labels.to_csv(file.with_suffix(".csv"), index=False)
    data = load(file, split="time", time="time", val_fraction=0.5)
    table = data.train.table
    assert table["phase"] == ["", "", "rest", "", "", "", "", "rest", "", ""]
    np.testing.assert_array_equal(table["force"][[2, 7, 8]], [2, 1, np.nan])
    assert [table["good"][k] for k in (2, 7, 8)] == ["False", "True", ""]


def test_clips_of_folder_are_joined_by_name(tmp_path):
    root = tmp_path / "in"
    pixels = {n: cine_files.write_images(root / f"c{n}", n) for n in (3, 4)}
    rows = [(f"c{n}", k, 10 * n + k) for n in (4, 3) for k in range(n)]
    table = pd.DataFrame(rows, columns=["clip", "number", "code"])
    table.sample(frac=1, random_state=0).to_csv(root / "labels.csv", index=False)
    data = cine.load(
        path=str(root), size=SIZE, frame="number", val_filter="clip=c4",
        cache=str(tmp_path / "cache"),
    )  # fmt: skip
    assert data.train.table["code"].tolist() == [30, 31, 32]
    assert data.validation.table["code"].tolist() == [40, 41, 42, 43]
    images = data.validation.read(np.arange(4))["image"][..., 0]
    np.testing.assert_array_equal(images, pixels[4])


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        (lambda t: t[:-1].drop(columns=["clip", "frame"]), {}, "19 rows for 20 frames"),
        (lambda t: t[:-1], {}, "two rows for frame 0"),
        (lambda t: t, {"time": "seconds"}, "data.time: .* no column 'seconds'; choice"),
        (lambda t: t, {"clip": "video"}, "data.clip: .* choices: index, clip"),
        (lambda t: t.assign(frame=0.5), {}, "'0.5' in column 'frame', line 2 .*whole"),
        (lambda t: t.assign(frame=3), {}, "frame 3 of clip 'a' twice"),
        (lambda t: t.assign(time_s="soon"), {}, "'soon' in column 'time_s', line 2"),
        (lambda t: t[:3].assign(frame=[3, 20, 4]), {}, "1 rows for .* frame 20; there"),
        (lambda t: t[:0], {}, "muscle.csv has no rows"),
    ],
)
def test_tables_that_do_not_fit_are_named(file, change, fields, message):
    path = file.parent / "muscle.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(dataset.DataError, match=message):
        load(file, **fields)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00clip", b'clip,frame\n"a,1\n'])
def test_table_that_is_no_csv_is_named(file, content):
    (file.parent / "muscle.csv").write_bytes(content)
    with pytest.raises(dataset.DataError, match="data.table: .*muscle.csv"):
        load(file)


def test_missing_table_is_refused(file):
    folder = file.parent
    assert cine_table.find(file, "") == folder / "muscle.csv"
    (folder / "other.csv").write_text("index\n")
    assert cine_table.find(file, "") == folder / "muscle.csv"
    (folder / "muscle_40.csv").write_text("index\n")
    with pytest.raises(dataset.DataError, match="2 tables could belong to"):
        cine_table.find(file, "")
    (folder / "muscle_40x12.csv").write_text("index\n")
    assert cine_table.find(file, "") == folder / "muscle_40x12.csv"
    assert cine_table.find(file, str(folder / "other.csv")).name == "other.csv"
    with pytest.raises(dataset.DataError, match="which is no file"):
        cine_table.find(file, "nowhere.csv")


def test_missing_times_become_frame_numbers(file):
    path = file.parent / "muscle.csv"
    table = pd.read_csv(path)
    table.loc[3, "time_s"] = np.nan
    table.to_csv(path, index=False)
    data = load(file)
    assert data.facts["time"] == "frame numbers"
    np.testing.assert_array_equal(data.train.table["time"], data.train.table["frame"])


def test_named_frame_column_replaces_column_called_frame(file):
    data = load(file, frame="index")
    np.testing.assert_array_equal(
        data.train.table["frame"] % 5 * 2, data.train.table["frame in table"]
    )


def test_reference_must_be_gray_and_of_same_size(file, monkeypatch):
    cine_files.write_images(file.parent / "other", 1, ["still.png"], (80, 24))
    image = file.parent / "other" / "still.png"
    given = {}

    def split(_, *, pseudo, **fields):
        given.update(pseudo)

    with monkeypatch.context() as patch:
        patch.setattr(frames_lib, "split", split)
        load(file, label="pseudo", reference=str(image), pseudo={"window": 3})
    assert given["window"] == 3
    expected = cine_images.gray_image(image, SIZE)
    np.testing.assert_array_equal(given["reference"], expected)
    assert given["reference"].shape == SIZE
    with pytest.raises(dataset.DataError, match="data.reference: .*label=pseudo"):
        load(file, reference=str(image))
    with pytest.raises(dataset.DataError, match="nowhere.png: no such file"):
        load(file, label="pseudo", reference="nowhere.png")


def test_pseudo_labels_with_reference(file):
    still = np.repeat(pixels_of(file)[:4], 5, 0)
    np.savez(file, frames=still)
    cine_files.write_images(file.parent / "other", 1, ["still.png"])
    data = load(
        file, label="pseudo", reference=str(file.parent / "other" / "still.png"),
        pseudo={"least": 2}, val_filter="subject=y",
    )  # fmt: skip
    assert data.facts["label"] == "pseudo"
    assert (data.train.table["label"] >= 0).any()


def test_records_of_file_are_all_of_its_frames(file):
    fields = {"path": str(file), "time": "time_s", "label": "angle", "seed": 3}
    fields["cache"] = str(file.parent / "cache")
    split, facts = cine.read_records(str(file), data={"size": SIZE, **fields})
    assert len(split) == 20
    images = split.read(np.arange(20))["image"]
    np.testing.assert_array_equal(images[..., 0], pixels_of(file))
    assert split.table["name"][6] == "b, frame 2"
    assert split.table["path"] == [str(file)] * 20
    assert split.table["time"][6] == 0.1
    assert facts["rejected_total"] == 0
    assert set(split.table["label"].tolist()) == {-1}


def test_table_of_training_is_not_used_for_other_files(file, tmp_path):
    np.save(tmp_path / "new.npy", cine_files.amplitudes(6))
    split, _ = cine.read_records(
        str(tmp_path / "new.npy"),
        data={
            "size": SIZE,
            "path": str(file),
            "time": "time_s",
            "table": str(file.parent / "muscle.csv"),
            "cache": str(tmp_path / "cache"),
        },
    )
    assert split.table["name"][5] == "new, frame 5"


def test_frame_at_fault_is_left_out_of_records_and_counted(tmp_path):
    a = cine_files.amplitudes(6)
    a[1] = np.nan
    np.save(tmp_path / "a.npy", a)
    split, facts = cine.read_records(
        str(tmp_path / "a.npy"), data={"size": SIZE, "cache": str(tmp_path / "cache")}
    )
    assert split.table["frame"].tolist() == [0, 2, 3, 4, 5]
    assert facts["rejected_total"] == 1


def test_image_is_one_record(tmp_path):
    pixels = cine_files.write_images(tmp_path, 1, ["query.png"])
    path = str(tmp_path / "query.png")
    split, facts = cine.read_records(
        path, data={"size": SIZE, "time": "time_s", "key": "a"}
    )
    assert len(split) == 1
    np.testing.assert_array_equal(split.read([0])["image"], pixels[..., None])
    assert split.table["name"] == ["query.png"]
    assert split.table["path"] == [path]
    assert facts == {}
    with pytest.raises(dataset.DataError, match="no such file"):
        cine.read_records(str(tmp_path / "nowhere.png"), data={"size": SIZE})
    with pytest.raises(dataset.DataError, match="data.path: got none"):
        cine.load()

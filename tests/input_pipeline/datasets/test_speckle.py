"""Procedural cine: the same everywhere, known phases, no task for raw pixels."""

import h5py
import numpy as np
import pytest
import scipy.io
from scipy import ndimage

from benchmarks import write_cine
from input_pipeline import dataset
from input_pipeline.datasets import cine, speckle
from input_pipeline.physics import scatterers

SMALL = {"clips": 4, "frames": 8, "size": (24, 30), "val_fraction": 0.5}


def images(split):
    return split.read(np.arange(len(split)))["image"]


@pytest.fixture(scope="module")
def data():
    return speckle.load(**SMALL)


def test_seed_decides_every_pixel(data):
    again, other = speckle.load(**SMALL), speckle.load(**SMALL, seed=1)
    np.testing.assert_array_equal(images(again.train), images(data.train))
    np.testing.assert_array_equal(again.train.table["phase"], data.train.table["phase"])
    assert (images(other.train) != images(data.train)).mean() > 0.5


def test_held_out_clips_do_not_depend_on_number_of_clips(data):
    more = speckle.load(**SMALL | {"clips": 8, "val_fraction": 0.25})
    assert data.facts["clips_held_out"] == more.facts["clips_held_out"]
    assert data.facts["clips_held_out"] == ["clip 0", "clip 1"]
    np.testing.assert_array_equal(images(more.validation), images(data.validation))
    for column in ("id", "phase", "label"):
        np.testing.assert_array_equal(
            more.validation.table[column], data.validation.table[column]
        )
    assert not set(data.train.table["clip"]) & set(data.validation.table["clip"])
    assert (len(more.train), len(more.validation)) == (48, 16)


def test_clips_differ_in_their_tissue(data):
    first = images(data.train)[::8].astype(float)
    assert np.abs(first[0] - first[1]).mean() > 10


def test_record_holds_frame_and_next_frame(data):
    record = data.train[3]
    assert record["image"].shape == (24, 30, 1)
    assert record["image"].dtype == np.uint8
    np.testing.assert_array_equal(record["next_image"], data.train[4]["image"])
    assert data.train.read([6, 7])["has_next"].tolist() == [True, False]


def test_images_are_envelope_in_decibels(data):
    probe = scatterers.Probe(24, 30)
    for clip in (0, 1):
        _, drawn = speckle.draw_clip(0, clip, 8, 1.5, probe)
        a = np.stack(list(drawn)).astype(np.float64)
        db = np.maximum(20 * np.log10(a / a.max()), -60)
        found = images(data.validation)[8 * clip : 8 * clip + 8, ..., 0]
        np.testing.assert_allclose(found, 255 * (db + 60) / 60, atol=0.51)


def test_phase_is_that_of_deformation(data):
    table = data.validation.table
    assert table["phase"].dtype == np.float64
    for clip in (0, 1):
        rows = np.flatnonzero(np.array(table["clip"]) == f"clip {clip}")
        rng = np.random.default_rng([0, 3, clip, 1])
        course = scatterers.draw_course(rng, 8, 1.5)
        np.testing.assert_array_equal(table["phase"][rows], course % 1)
    np.testing.assert_array_equal(table["label"], np.floor(12 * table["phase"]))
    assert table["time"][1] == pytest.approx(0.04)


def test_other_labels_and_splits_of_speckle():
    data = speckle.load(**SMALL | {"label": "clip", "split": "time"})
    assert data.train.label_names == [f"clip clip {k}" for k in range(4)]
    assert (len(data.train), len(data.validation)) == (16, 16)
    data = speckle.load(**SMALL, val_filter="clip=clip 3", label="")
    assert data.facts["clips_held_out"] == ["clip 3"]
    assert (data.train.table["label"] == -1).all()


def test_pixels_find_phase_badly_and_worse_once_probe_has_moved():
    """Median error in cycles of the nearest image of another clip; by chance, 1/4."""
    split = speckle.load(clips=9, size=(32, 40), val_fraction=0.9).validation
    x = images(split)[..., 0] / 255
    clip, phase = np.array(split.table["clip"]), split.table["phase"]
    rng = np.random.default_rng(0)
    shifts = rng.uniform(-0.09, 0.09, (len(x), 2)) * x.shape[1:]
    moved = np.stack(
        [
            ndimage.shift(a, shift, order=1, mode="nearest") ** rng.uniform(0.5, 1.5)
            for a, shift in zip(x, shifts, strict=True)
        ]
    )
    clean, worse = (np.median(errors(a, x, clip, phase)) for a in (x, moved))
    assert 0.04 < clean < 0.12
    assert clean + 0.02 < worse < 0.2


def errors(queries, gallery, clip, phase):
    queries, gallery = (a.reshape(len(a), -1) for a in (queries, gallery))
    scores = queries @ gallery.T
    scores /= np.linalg.norm(gallery, axis=1)
    scores[clip[:, None] == clip[None, :]] = -np.inf
    found = phase[scores.argmax(1)]
    return np.abs((phase - found + 0.5) % 1 - 0.5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"clips": 0}, "data.clips: got 0; expected an int from 1 to 100000"),
        ({"frames": 1}, "data.frames: got 1"),
        ({"size": (8, 80)}, "data.size: got"),
        ({"cycles": 0.0}, "data.cycles: got 0.0"),
        ({"cycles": 5.0}, "data.cycles: got 5.0 in 8 frames"),
        ({"val_fraction": 1.0}, "data.val_fraction: got 1.0"),
        ({"clips": 1}, "cannot be held out"),
        ({"val_filter": "clip=clip 9"}, "data.val_filter: got 'clip=clip 9'"),
    ],
)
def test_faults_are_named(more, message):
    with pytest.raises(dataset.DataError, match=message):
        speckle.load(**SMALL | more)


def test_file_is_matlab_7_3_and_holds_clip(tmp_path):
    path = tmp_path / "cine.mat"
    table = speckle.write_mat(path, frames=3, depth=70, lines=20, progress=False)
    assert scipy.io.matlab.matfile_version(path) == (2, 0)
    with pytest.raises(NotImplementedError, match="v7.3"):  # it says to use h5py
        scipy.io.loadmat(path)
    with h5py.File(path) as file:
        assert file.userblock_size == 512
        stored = file["Acq/Amp"]
        assert (stored.shape, stored.dtype) == ((3, 1, 70, 20), np.float32)
        assert stored.attrs["MATLAB_class"] == b"single"
        assert file["Acq"].attrs["MATLAB_class"] == b"struct"
        found = stored[:]
    course, drawn = speckle.draw_clip(0, 0, 3, 3 / 32, scatterers.Probe(70, 20))
    np.testing.assert_array_equal(found[:, 0], np.stack(list(drawn)))
    np.testing.assert_array_equal(table["phase"], course % 1)
    assert [p.name for p in tmp_path.iterdir()] == ["cine.mat"]


def test_file_is_read_as_cine(tmp_path):
    path = tmp_path / "cine.mat"
    table = speckle.write_mat(path, frames=20, depth=64, lines=80, progress=False)
    table.to_csv(path.with_suffix(".csv"), index=False)
    read = cine.load(
        path=str(path),
        axes="frame,channel,depth,line",
        label="phase",
        bins=12,
        period=1.0,
        split="time",
        cache=str(tmp_path / "cache"),
    )
    rows = np.arange(len(read.train))
    np.testing.assert_allclose(read.train.table["phase"], table["phase"][rows])
    np.testing.assert_allclose(read.train.table["time"], table["time"][rows])
    with h5py.File(path) as file:
        a = file["Acq/Amp"][:, 0].astype(np.float64)
    db = np.maximum(20 * np.log10(a / a.max()), -60)[rows]
    found = images(read.train)[..., 0]
    np.testing.assert_allclose(found, 255 * (db + 60) / 60, atol=0.51)


def test_file_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "nowhere" / "cine.mat"
    with pytest.raises(dataset.DataError, match=r"cine.mat: got .*; expected a folder"):
        speckle.write_mat(path, frames=2, depth=8, lines=8, progress=False)
    with pytest.raises(dataset.DataError, match="lines: got 0; expected 1 or more"):
        speckle.write_mat(tmp_path / "cine.mat", lines=0)


def test_command_writes_table_of_phases(tmp_path, monkeypatch, capsys):
    path = tmp_path / "cine.mat"
    fields = ["--frames=2", "--depth=40", "--lines=10", f"--output={path}"]
    monkeypatch.setattr("sys.argv", ["write_cine", *fields])
    assert write_cine.main() == 0
    assert "(2, 1, 40, 10)" in capsys.readouterr().out
    header = (tmp_path / "cine.csv").read_text().splitlines()[0]
    assert header == "clip,frame,time,phase"
    monkeypatch.setattr("sys.argv", ["write_cine", "--output=/proc/none/cine.mat"])
    assert write_cine.main() == 2

"""README's commands on the cine that people have."""

import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

import main
from input_pipeline.dataset import DataError
from reporting.figures import run_figures
from tests.input_pipeline import movie_files
from tests.input_pipeline.movie_files import moving
from tests.own_data import fitted
from tests.train_lib import tiny_run
from train_lib.errors import InputError

SIMSIAM = "configs/simsiam_resnet.py:real"
FASTAP = "configs/fastap_resnet.py:real"


@pytest.fixture(autouse=True)
def _at_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_run.ROOT)
    monkeypatch.setenv("AKIN_CACHE", str(tmp_path / "cache"))


def run(source, path, workdir, **fields):
    """Run the command line with a network that compiles in seconds."""
    arguments = [f"--config={source}", f"--config.data.path={path}"]
    arguments += [f"--config.{k.replace('__', '.')}={v}" for k, v in fields.items()]
    return main.main([*arguments, f"--workdir={workdir}"], build=tiny_run.build)


@pytest.fixture
def quick(monkeypatch):
    """No figures and no settings of the process."""
    monkeypatch.setattr(main, "_prepare_jax", lambda: None)
    monkeypatch.setattr(run_figures, "write", lambda folder, events: {})


def write_folders(root, clips, depth=8):
    """A folder of PNG a clip; 12 bits in images of 16 where depth is 12."""
    for name, pixels in clips.items():
        (root / name).mkdir(parents=True)
        for k, frame in enumerate(pixels):
            image = frame if depth == 8 else np.uint16(frame) * 16
            Image.fromarray(image).save(root / name / f"{k:03d}.png")


def write_matlab(path, pixels):
    scipy.io.savemat(path, {"frames": pixels.transpose(1, 2, 0)})


def write_cells(path, pixels):
    """A cell array with a frame in each cell."""
    cells = np.empty((1, len(pixels)), object)
    for k, frame in enumerate(pixels):
        cells[0, k] = frame
    scipy.io.savemat(path, {"frames": cells})


def write_struct(path, pixels):
    """A struct array with a frame in each element."""
    elements = np.empty((1, len(pixels)), [("img", object), ("t", object)])
    for k, frame in enumerate(pixels):
        elements[0, k] = frame, k / 25
    scipy.io.savemat(path, {"S": elements})


def write_cells_73(path, pixels):
    """A cell array as version 7.3 has it: references, axes last to first."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = np.empty((len(pixels), 1), h5py.ref_dtype)
        for k, frame in enumerate(pixels):
            file[f"#refs#/{k}"] = frame.T
            references[k, 0] = file[f"#refs#/{k}"].ref
        file.create_dataset("frames", data=references, dtype=h5py.ref_dtype)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


ONE_CLIP = {
    "array.mat": write_matlab,
    "cells.mat": write_cells,
    "struct.mat": write_struct,
    "cells_73.mat": write_cells_73,
    "stack.tif": movie_files.write_stack,
    "clip.gif": movie_files.write_gif,
    "clip.avi": movie_files.write_video,
    "clip.dcm": movie_files.write_dicom,
}


@pytest.mark.parametrize("name", ONE_CLIP)
def test_one_clip_of_any_format_is_split_in_time_and_searched_in_itself(name, tmp_path):
    # No two frames that follow are alike, which a GIF would join.
    pixels = moving(48)[:, ::-1] ^ np.arange(48, dtype=np.uint8)[:, None, None] % 2
    ONE_CLIP[name](tmp_path / name, pixels)
    data, fit = fitted(SIMSIAM, tmp_path / name)
    assert len(data.validation) == 12
    assert len(data.train) == 35  # a frame lies between the sides
    assert list(fit.evaluators) == ["clean", "geometry", "moved"]
    told = "\n".join([*data.facts["choices"], *fit.changes])
    assert "The last 25% of each clip is held out (data.split=time): one clip" in told
    assert "Neighbors are frames more than" in told
    assert "eval/labeled is not measured" in told
    assert fit.experiment.config.train.monitor == "eval/clean/ssim@1"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 8])
def test_clips_are_held_out_where_two_can_be(tmp_path, count):
    for k in range(count):
        np.save(tmp_path / f"{k}.npy", moving(24, seed=k))
    data, fit = fitted(SIMSIAM, tmp_path)
    held = set(data.validation.table["clip"])
    if count < 6:
        assert held == set(data.train.table["clip"])
        assert len(held) == count
    else:
        assert held.isdisjoint(data.train.table["clip"])
        assert len(held) == 2
        assert "eval/clean: Neighbors are frames of other clips (window=-1)." in (
            fit.changes
        )
    assert {"clean", "moved"} <= set(fit.evaluators)


def test_clips_called_001_are_joined_with_their_labels(tmp_path):
    write_folders(tmp_path, {name: moving(26) for name in ("001", "002", "003")}, 12)
    rows = [(clip, k, "right" if k % 2 else "left")
            for clip in ("001", "002", "003") for k in range(26)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["clip", "frame", "view"])
    table.to_csv(tmp_path / "t.csv", index=False)
    data, fit = fitted(FASTAP, tmp_path, data__val_fraction=0.5, data__size=(32, 40))
    assert data.facts["label"] == "view"
    assert data.train.label_names == ["view left", "view right"]
    for split in (data.train, data.validation):
        sides = np.array(["left", "right"])[split.table["frame"] % 2]
        assert (split.table["label"] == split.table["frame"] % 2).all()
        assert sides.tolist() == split.table["view"]
        assert set(split.table["clip"]) == {"001", "002", "003"}
    assert data.train.read([0])["image"].max() > 200  # 12 bits are not black


def test_frames_without_label_have_none(tmp_path):
    write_folders(tmp_path, {f"c{k}": moving(18, seed=k) for k in range(4)})
    rows = [(f"c{c}", k, "left" if k < 2 else "right")
            for c in range(4) for k in range(0, 18, 4)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["clip", "frame", "view"])
    table.loc[0, "view"] = None
    table.to_csv(tmp_path / "t.csv", index=False)
    data, _ = fitted(SIMSIAM, tmp_path, data__label="view")
    assert data.train.label_names == ["view left", "view right"]
    labels = np.concatenate([s.table["label"] for s in (data.train, data.validation)])
    views = data.train.table["view"] + data.validation.table["view"]
    assert {"": -1, "left": 0, "right": 1} == dict(zip(views, labels, strict=True))
    assert data.facts["labeled_in_training"] == (data.train.table["label"] >= 0).sum()


def frame_table(**columns):
    """A row for each of 24 frames of clips a, b and c."""
    rows = {"clip": np.repeat(["a", "b", "c"], 24), "frame": np.tile(range(24), 3)}
    rows["time"] = rows["frame"] / 25
    rows["view"] = np.where(rows["frame"] < 12, "left", "right")
    return pd.DataFrame(rows | columns)


@pytest.fixture
def stacks(tmp_path):
    """Three TIFF stacks of 24 pages."""
    for k, name in enumerate("abc"):
        movie_files.write_stack(tmp_path / f"{name}.tif", moving(24, seed=k))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda t: t, {"sep": ";"}),
        (lambda t: t, {"sep": ";", "decimal": ","}),
        (lambda t: t, {"sep": "\t"}),
        (lambda t: t.sample(frac=1, random_state=0), {}),
        (lambda t: t.assign(frame=t["frame"] + 1), {}),
        (lambda t: t.assign(clip=t["clip"] + ".tif"), {}),
        (lambda t: t.drop(columns="frame"), {}),
        (lambda t: t.sort_values("clip", ascending=False).drop(columns="frame"), {}),
        (lambda t: t.rename(columns={"time": "time_s", "clip": "Clip"}), {}),
        (lambda t: t.assign(time_ms=1000 * t["time"]).drop(columns="time"), {}),
    ],
)
def test_tables_are_joined_by_what_they_say(stacks, change, fields):
    table = frame_table()
    change(table).to_csv(stacks / "t.csv", index=False, **fields)
    data, _ = fitted(SIMSIAM, stacks, data__label="view", data__split="time")
    for split in (data.train, data.validation):
        columns = {name: np.array(split.table[name]) for name in ("frame", "time")}
        np.testing.assert_allclose(columns["time"], columns["frame"] / 25)
        views = np.where(columns["frame"] < 12, "left", "right")
        assert split.table["view"] == views.tolist()


def test_row_clip_labels_its_frames(stacks):
    (stacks / "t.csv").write_text("clip;side\nb;right\na;left\n")
    data, _ = fitted(SIMSIAM, stacks, data__label="side", data__split="time")
    side = dict(zip(data.train.table["clip"], data.train.table["side"], strict=True))
    assert side == {"a": "left", "b": "right", "c": ""}
    assert "t.csv has one row a clip." in data.facts["choices"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame_table().drop(columns="clip").sample(frac=1, random_state=0), "another"),
        (frame_table(clip=["x"] * 72), "72 rows for frames that do not exist"),
        (frame_table(clip=["a"] * 72).drop(columns="frame"), "72 rows for clip a"),
        (frame_table()[:50].drop(columns=["clip", "frame"]), "50 rows for 72 frames"),
        (frame_table(clip=[None, *["a"] * 71]), "no clip in line 2"),
    ],
)
def test_tables_that_do_not_fit_are_refused(stacks, table, message):
    table.to_csv(stacks / "t.csv", index=False)
    with pytest.raises(DataError, match=message):
        fitted(SIMSIAM, stacks)


def test_table_of_something_else_is_passed_over(stacks, caplog):
    (stacks / "metadata.csv").write_text("name,value\nprobe,L12\ndepth,4\n")
    data, _ = fitted(SIMSIAM, stacks)
    assert data.facts["table"] == ""
    assert "metadata.csv is not taken as the table" in caplog.text


def test_three_stacks_of_24_pages_have_72_frames(stacks):
    data, _ = fitted(SIMSIAM, stacks)
    assert data.facts["frames"] == 72
    assert data.facts["clips"] == 3


def choices_of(error):
    return re.search(r"one of: (.*)$", str(error.value))[1].split(", ")


def test_column_of_joint_is_found_or_asked_for_by_name(stacks):
    angle, force = np.tile(np.sin(np.arange(24) / 4), 3), np.tile(np.arange(24) % 5, 3)
    table = frame_table(angle=angle, force=force, index=range(72))
    table.to_csv(stacks / "t.csv", index=False)
    with pytest.raises(DataError, match="2 columns of the table can be") as error:
        fitted(f"{SIMSIAM},joint", stacks)
    assert choices_of(error) == ["angle", "force"]
    for name in choices_of(error):
        data, fit = fitted(f"{SIMSIAM},joint", stacks, data__label=name)
        assert set(fit.evaluators) == {"clean", "geometry", "moved"}
        values = table[name].iloc[data.train.table["index"].astype(int)]
        np.testing.assert_allclose(data.train.table["label_value"], values)
        assert "error" in fit.evaluators["moved"].tags()
    table.drop(columns="force").to_csv(stacks / "t.csv", index=False)
    data, _ = fitted(f"{SIMSIAM},joint", stacks)
    assert data.facts["label"] == "angle"


def test_label_of_second_stage_is_found_or_asked_for_by_name(stacks):
    side = np.repeat(["l", "r"], 36)
    table = frame_table(side=side, angle=np.random.default_rng(0).random(72))
    table.to_csv(stacks / "t.csv", index=False)
    with pytest.raises(DataError, match="2 columns of the table can be") as error:
        fitted(FASTAP, stacks)
    assert choices_of(error) == ["view", "side"]
    for name in choices_of(error):
        data, fit = fitted(FASTAP, stacks, data__label=name)
        assert data.facts["label"] == name
    table.drop(columns=["view", "side"]).to_csv(stacks / "t.csv", index=False)
    with pytest.raises(DataError, match="set data.label=angle data.bins=24"):
        fitted(FASTAP, stacks)
    data, _ = fitted(FASTAP, stacks, data__label="angle", data__bins=24)
    assert data.facts["labels"] > 10


def test_without_table_advice_names_variants_that_work(stacks):
    with pytest.raises(DataError, match="variant pseudo .* and variant views"):
        fitted(FASTAP, stacks)
    # The tests have eight devices, each of which takes so many records.
    fitted(f"{FASTAP},pseudo", stacks, train__samples_per_class=1)
    fitted(f"{FASTAP},views", stacks)


def test_one_label_on_every_frame_is_refused(stacks):
    frame_table(view=["left"] * 72).to_csv(stacks / "t.csv", index=False)
    with pytest.raises(InputError, match="all of them the same"):
        fitted(FASTAP, stacks, data__label="view")


def test_one_clip_runs_from_file_to_report(tmp_path, quick):
    pixels = np.concatenate([moving(40), moving(40)[::-1]])
    write_cells(tmp_path / "clip.mat", pixels)
    workdir = tmp_path / "run"
    assert run(f"{SIMSIAM},smoke", tmp_path / "clip.mat", workdir) == 0
    report = json.loads((workdir / "report.json").read_text("utf-8"))
    assert report["finished"]
    assert report["metrics"]["eval/clean/ssim@1"]["n"] == 8  # the smoke variant's
    told = json.loads((workdir / "data.json").read_text("utf-8"))["changes"]
    assert any("Neighbors are frames more than" in line for line in told)
    text = (workdir / "report.md").read_text("utf-8")
    assert "held out (data.split=time)" in text


def test_sets_and_gates_follow_from_labels(stacks):
    frame_table(view=list("lr") * 36).to_csv(stacks / "t.csv", index=False)
    _, fit = fitted(FASTAP, stacks)
    assert set(fit.evaluators) == {"clean", "geometry", "labeled", "moved"}
    assert set(fit.experiment.config.gates) == {
        "learned",
        "not_collapsed",
        "above_start",
    }
    (stacks / "t.csv").unlink()
    _, fit = fitted(f"{FASTAP},views", stacks)
    assert set(fit.evaluators) == {"clean", "geometry", "moved"}
    assert set(fit.experiment.config.gates) == {"learned", "not_collapsed"}

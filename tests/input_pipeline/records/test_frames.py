"""Frames of clips: what follows what, how they are split, what their labels are."""

import pickle

import numpy as np
import pandas as pd
import pytest

from input_pipeline import dataset
from input_pipeline.records import frames as frames_lib


def cine(clips=5, frames=8, shuffled=False, **columns):
    n = clips * frames
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "clip": np.repeat([f"c{i}" for i in range(clips)], frames),
            "frame": np.tile(np.arange(frames), clips),
            "time": np.tile(np.arange(frames) * 0.5, clips),
            "angle": np.linspace(-10, 10, n),
            "side": np.where(np.repeat(np.arange(clips), frames) % 2, "left", "right"),
        }
        | columns
    )
    images = rng.integers(0, 256, (n, 4, 6), np.uint8)
    images[:, 0, 0] = np.arange(n)
    if shuffled:
        order = rng.permutation(n)
        table, images = table.iloc[order].reset_index(drop=True), images[order]
    return frames_lib.Cine(images, table, {"dataset": "made"})


def numbers(split):
    """The frames of a split by the number in their corner."""
    return split.read(np.arange(len(split)))["image"][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("shuffled", [False, True])
def test_next_frame_is_of_same_clip_and_time_goes_on(shuffled):
    data = frames_lib.split(cine(shuffled=shuffled), delta=2)
    for split in (data.train, data.validation):
        fields = split.read(np.arange(len(split)))
        own = fields["image"][:, 0, 0, 0].astype(int)
        later = fields["next_image"][:, 0, 0, 0].astype(int)
        expected = [n + 2 if n % 8 < 6 else n for n in own]
        assert later.tolist() == expected
        assert fields["has_next"].tolist() == [n % 8 < 6 for n in own]
        assert split.table["frame"].tolist() == [n % 8 for n in own]
        assert split.table["clip"] == [f"c{n // 8}" for n in own]
        assert fields["image"].shape == (len(split), 4, 6, 1)
    assert set(data.train.table["clip"]).isdisjoint(data.validation.table["clip"])
    assert data.facts["clips_held_out"] == sorted(set(data.validation.table["clip"]))
    ids = np.concatenate([s.table["id"] for s in (data.train, data.validation)])
    assert sorted(ids) == list(range(40))


def test_without_delta_record_is_its_frame_alone():
    data = frames_lib.split(cine(), delta=0)
    assert set(data.train.source[0]) == {"image"}
    assert set(data.train.take([3, 1]).read([0])) == {"image"}


def test_file_is_mapped_in_whichever_process_reads_it(tmp_path):
    made = cine()
    np.save(tmp_path / "frames.npy", made.frames)
    data = frames_lib.split(made._replace(frames=tmp_path / "frames.npy"))
    again = pickle.loads(pickle.dumps(data.train))
    assert len(pickle.dumps(data.train.source)) < 3000
    assert numbers(again) == numbers(data.train)


def test_time_holds_back_end_of_each_clip_and_leaves_gap():
    data = frames_lib.split(cine(clips=2), split="time", val_fraction=0.25, gap=1.0)
    assert [n % 8 for n in numbers(data.validation)] == [6, 7, 6, 7]
    # Held back from 3.0 s on; what is later than 2.0 s is neither.
    assert [n % 8 for n in numbers(data.train)] == [0, 1, 2, 3, 4] * 2
    assert data.facts["frames_between_the_sides"] == 2
    fields = data.train.read(np.arange(5))
    assert fields["has_next"].tolist() == [True] * 4 + [False]


def test_clips_are_held_out_by_column():
    data = frames_lib.split(cine(), val_filter="side=left")
    assert set(data.validation.table["side"]) == {"left"}
    assert set(data.train.table["side"]) == {"right"}


def test_seeds_draw_other_clips():
    held = {
        tuple(frames_lib.split(cine(), seed=s).facts["clips_held_out"])
        for s in range(9)
    }
    assert len(held) > 1
    assert all(len(clips) == 1 for clips in held)


def test_column_of_numbers_is_cut_into_equal_parts_of_training_range():
    angle = np.linspace(0, 10, 40)
    angle[7] = np.nan
    data = frames_lib.split(
        cine(angle=angle), label="angle", bins=4, val_filter="clip=c4"
    )
    low, high = 0.0, angle[31]
    for split in (data.train, data.validation):
        for value, label in zip(
            split.table["angle"], split.table["label"], strict=True
        ):
            place = int((value - low) / (high - low) * 4) if value == value else -1
            assert label == min(place, 3)
    assert data.train.label_names[0] == "angle 0 to 1.99"
    assert data.facts["labels"] == 4
    assert data.facts["labeled_in_training"] == 31
    assert data.facts["with_a_positive"] == 31


def test_circular_column_wraps_around():
    phase = np.tile([0.0, 0.24, 0.26, 0.99, 1.01, -0.01, 0.5, 0.75], 5)
    data = frames_lib.split(cine(phase=phase), label="phase", bins=4, period=1.0)
    labels = data.train.table["label"][:8]
    assert labels.tolist() == [0, 0, 1, 3, 0, 3, 2, 3]


def test_values_are_labels_without_bins_and_nothing_is_minus_1():
    data = frames_lib.split(cine(), label="side")
    assert data.train.label_names == ["side left", "side right"]
    assert frames_lib.split(cine()).train.table["label"].tolist() == [-1] * 32


def test_all_frames_are_read_without_split():
    made = frames_lib.whole(cine(clips=1), "x.mat")
    assert numbers(made) == list(range(8))
    assert made.table["path"] == ["x.mat"] * 8
    assert set(made.source[0]) == {"image"}


@pytest.mark.parametrize(
    ("given", "fields", "message"),
    [
        ({"clips": 1}, {}, "got one clip.*data.split=time"),
        ({}, {"val_filter": "side=up"}, "'side=up', which is 0 of 40.*left, right"),
        ({}, {"val_filter": "frame=3"}, "a part of clip 'c0'"),
        ({}, {"val_filter": "size=3"}, "no column 'size'; choices: clip, frame"),
        ({}, {"label": "sides"}, "data.label.*no column 'sides'"),
        ({}, {"label": "side", "bins": 4}, "holds 'right'; expected numbers"),
        ({"angle": np.nan}, {"label": "angle", "bins": 2}, "no training frame"),
        ({}, {"split": "frame"}, "got 'frame'; choices: auto, clip, time"),
        ({}, {"val_fraction": 1.0}, "data.val_fraction: got 1.0"),
        ({}, {"delta": -1}, "data.delta: got -1"),
        ({"frames": 1}, {"split": "time", "val_fraction": 0.4}, "no frame is held out"),
        ({"clips": 1, "frames": 1}, {"split": "auto"}, "expected 8 frames or more"),
    ],
)
def test_faulty_fields_are_named(given, fields, message):
    with pytest.raises(dataset.DataError, match=message):
        frames_lib.split(cine(**given), **fields)


@pytest.mark.parametrize(
    ("clips", "frames", "split"),
    [
        (1, 20, "time"),
        (5, 20, "time"),
        (6, 20, "clip"),
        (5, 1, "clip"),
        (40, 1, "clip"),
    ],
)
def test_few_clips_are_split_in_time_unless_they_are_single_frames(
    clips, frames, split
):
    made = cine(clips=clips, frames=frames)
    data = frames_lib.split(made, split="auto", val_fraction=0.25)
    assert data.facts["split"] == split
    both = set(data.train.table["clip"]) & set(data.validation.table["clip"])
    assert len(both) == (clips if split == "time" else 0)
    between = data.facts["frames_between_the_sides"]
    assert between == (clips if split == "time" else 0)
    assert bool(data.facts["choices"]) == (split == "time")


def test_frames_without_pseudo_label_are_not_trained_on():
    made = cine(clips=4, frames=12)
    still = made.frames.copy()
    for clip in range(4):  # the first half of each clip does not move
        still[12 * clip : 12 * clip + 6] = still[12 * clip]
    data = frames_lib.split(
        made._replace(frames=still),
        label="pseudo",
        pseudo={"window": 1, "percentile": 45.0},
    )
    assert len(data.train) == 3 * 6
    assert data.train.table["frame"].tolist() == [*range(6)] * 3
    assert (data.train.table["label"] >= 0).all()
    assert len(data.validation) == 12
    fields = data.train.read([4, 5])
    assert fields["has_next"].all()  # what follows is still the clip's next frame

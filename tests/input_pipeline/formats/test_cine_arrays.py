"""Cine arrays of all formats and orders of axes."""

import h5py
import numpy as np
import pytest

from input_pipeline.formats import arrays as array_format
from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.cine import arrays as cine_arrays
from input_pipeline.formats.cine import axes as cine_axes
from tests.input_pipeline import cine_files
from tests.input_pipeline.cine_files import SIZE, assert_same, frames, prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cine")


@pytest.fixture(scope="module")
def good(folder):
    return cine_files.write_good(folder)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


GOOD = [
    "seven.mat", "as_read.mat", "usual.mat", "complex.mat", "five.mat",
    "five_usual.mat", "plain.h5", "forced.h5", "beside_others.npz", "doubles.npy",
    "fortran.npy", "middle.npy", "backwards.npy",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_each_format_gives_frames_that_were_written(folder, good, cache, name):
    fields, a = good[name]
    found = prepare(folder / name, cache, **fields)
    assert_same(np.load(found.frames), cine_files.expected(a))
    assert found.table["frame"].tolist() == list(range(cine_files.FRAMES))
    assert set(found.table["clip"]) == {name.split(".")[0]}
    assert set(GOOD) == set(good)


@pytest.mark.parametrize("name", GOOD)
def test_blocks_of_any_size_give_same(folder, good, cache, name, monkeypatch):
    fields, a = good[name]
    whole = frames(folder / name, cache, **fields)
    most, opened = [], stored_lib.Stored

    def spied(name, shape, dtype, read, *rest, **more):
        def reading(index):
            x = read(index)
            most.append(x.nbytes)
            return x

        return opened(name, shape, dtype, reading, *rest, **more)

    for module in (stored_lib, array_format):
        monkeypatch.setattr(module, "Stored", spied)
    frame = a[0].nbytes * (2 if name == "doubles.npy" else 1)
    monkeypatch.setattr(cine_arrays, "BLOCK", 3 * frame)
    np.testing.assert_array_equal(
        frames(folder / name, cache.with_name("second"), **fields), whole
    )
    assert max(most) <= 3 * frame
    assert len(most) > 12  # 20 frames, read twice
    left = [file.suffix for file in cache.with_name("second").rglob("*.*")]
    assert sorted(left) == [".json", ".npy"]


def test_tiles_cover_array_once():
    rng = np.random.default_rng(0)
    for _ in range(40):
        shape = tuple(rng.integers(1, 7, rng.integers(1, 5)).tolist())
        chunks = tuple(rng.integers(1, n + 1) for n in shape)
        x = np.zeros(shape, np.float32)
        stored = stored_lib.Stored(
            "x", shape, x.dtype, None, chunks if rng.random() < 0.5 else None
        )
        limit = int(rng.integers(4, 200))
        for prefix, part in stored_lib.tiles(stored, limit):
            x[(*prefix, part)] += 1
            assert stored.chunks or x[(*prefix, part)].nbytes <= limit
        assert (x == 1).all()


def test_tiles_end_where_pieces_of_file_do():
    def parts(chunk, limit):
        stored = stored_lib.Stored("x", (20, 5), np.dtype("u1"), None, (chunk, 5))
        return [part.stop for _, part in stored_lib.tiles(stored, limit)]

    assert parts(3, 40) == [6, 12, 18, 20]
    assert parts(6, 20) == [6, 12, 18, 20]  # a little more than asked for
    assert parts(20, 20) == [4, 8, 12, 16, 20]  # too much


def test_facts_name_guessed_axes(folder, good, cache):
    def said(name):
        return prepare(folder / name, cache, **good[name][0]).facts["axes"][0]

    only = "the only order that fits"
    assert "taken as line 12, depth 40, channel 1, frame 20: reversed" in said(
        "seven.mat"
    )
    assert only in said("seven.mat")
    assert "Acq/Amp (20, 1, 40, 12) as stored, taken as frame 20" in said("as_read.mat")
    assert only in said("as_read.mat")
    assert "guessed by the lengths" in said("usual.mat")
    assert "as named, the rule of the format; both orders fit" in said("plain.h5")
    assert "the order that Python reads" in said("forced.h5")


@pytest.mark.parametrize(
    ("shape", "dtype", "matlab", "axes"),
    [
        ((445, 1, 3319, 256), "f4", True, "frame channel depth line"),
        ((445, 1, 3319, 256), "f4", False, "frame channel depth line"),
        ((256, 3319, 1, 445), "f4", True, "line depth channel frame"),
        ((256, 3319, 1, 445), "f4", False, "line depth channel frame"),
        ((100, 128, 160), "u1", False, "frame depth line"),
        ((100, 160, 128), "u1", True, "frame line depth"),
        ((2, 358, 3480), "i2", False, "frame line depth"),
        ((30, 100, 400), "u1", False, "frame depth line"),
        ((30, 60, 80, 3), "u1", False, "frame depth line channel"),
        ((30, 3, 60, 80), "u1", False, "frame channel depth line"),
        ((3319, 256), "f4", False, "depth line"),
        ((3319, 256), "f4", True, "depth line"),
    ],
)
def test_axes_are_guessed_from_lengths(shape, dtype, matlab, axes):
    stored = stored_lib.Stored(
        "x", shape, np.dtype(dtype), None, flipped=matlab, certain=False, matlab=matlab
    )
    assert " ".join(cine_axes.name_axes(stored, "").names) == axes
    if "frame" in axes:
        names = ",".join(axes.split())
        assert " ".join(cine_axes.name_axes(stored, "=" + names).names) == axes


def test_named_axes_are_not_reversed_without_need():
    stored = stored_lib.Stored(
        "x", (30, 3, 60, 80), np.dtype("u1"), None, flipped=True, certain=False
    )
    named = cine_axes.name_axes(stored, "frame,channel,depth,line")
    assert named.names == ("frame", "channel", "depth", "line")
    assert "the only order that fits" in named.description


def test_maximum_is_of_clip_or_of_frame(cache, tmp_path):
    a = cine_files.amplitudes(6) * np.float32([1, 1, 1, 9, 9, 9])[:, None, None]
    np.save(tmp_path / "a.npy", a.reshape(2, 3, *SIZE))
    axes = "clip,frame,depth,line"
    found = prepare(tmp_path / "a.npy", cache, axes=axes)
    clips = [cine_files.expected(clip) for clip in a.reshape(2, 3, *SIZE)]
    assert_same(np.load(found.frames), np.concatenate(clips))
    assert found.table["clip"].tolist() == ["a 0"] * 3 + ["a 1"] * 3
    assert found.table["frame"].tolist() == [0, 1, 2] * 2
    each = frames(tmp_path / "a.npy", cache, axes=axes, bmode="frame")
    assert_same(each, cine_files.expected(a, per_frame=True))
    assert (each.max((1, 2)) == 255).all()
    np.save(tmp_path / "b.npy", a.reshape(2, 3, *SIZE).transpose(1, 0, 2, 3))
    swapped = prepare(tmp_path / "b.npy", cache, axes="frame,clip,depth,line")
    np.testing.assert_array_equal(np.load(swapped.frames), np.load(found.frames))


def test_single_frame_is_read_whole_from_small_blocks(cache, tmp_path, monkeypatch):
    a = cine_files.amplitudes(1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=a[0], chunks=(16, 5))
    monkeypatch.setattr(cine_arrays, "BLOCK", 100)
    found = prepare(tmp_path / "a.h5", cache, axes="depth,line")
    assert_same(np.load(found.frames), cine_files.expected(a))


def test_dynamic_range_is_field_db(cache, tmp_path):
    a = cine_files.amplitudes(3)
    np.save(tmp_path / "a.npy", a)
    assert_same(
        frames(tmp_path / "a.npy", cache, db=40.0), cine_files.expected(a, db=40.0)
    )


def test_channels_of_amplitudes_join_before_logarithm(cache, tmp_path):
    a = np.stack([cine_files.amplitudes(4, seed=seed) for seed in range(5)], 1)
    np.save(tmp_path / "a.npy", a)
    found = frames(tmp_path / "a.npy", cache, axes="frame,channel,depth,line")
    joined = np.sqrt((a.astype(np.float64) ** 2).sum(1))
    assert_same(found, cine_files.expected(joined))


def test_echoes_become_their_envelope(cache, tmp_path):
    t = np.arange(400)
    pulse = np.exp(-(((t - 200) / 50.0) ** 2))
    echo = np.int16(30000 * pulse * np.cos(0.9 * t))
    rf = np.tile(echo[None, None], (2, 12, 1))
    np.savez(tmp_path / "rf.npz", data=rf, pose=np.zeros((2, 4, 4)))
    found = prepare(tmp_path / "rf.npz", cache, size=(400, 12))
    assert found.facts["envelope"] == ["hilbert"]
    assert "taken as frame 2, line 12, depth 400" in found.facts["axes"][0]
    expected = np.clip(1 + np.log10(pulse[100:300]) / 3, 0, 1) * 255
    image = np.load(found.frames)[1]
    np.testing.assert_allclose(image[100:300], expected[:, None].repeat(12, 1), atol=2)
    raw = prepare(tmp_path / "rf.npz", cache, size=(400, 12), envelope="abs")
    assert np.load(raw.frames)[1, 100:300].min() < image[100:300].min() - 50


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("uint8", 1), ("float32", 1 / 255), ("float64", 1), ("uint16", 257), ("bool", 0)],
)
def test_images_keep_their_brightness(cache, tmp_path, dtype, scale):
    pixels = np.random.default_rng(0).integers(1, 256, (5, *SIZE), np.uint8)
    pixels[0, 0, 0] = 255
    array = (
        (pixels > 99)
        if dtype == "bool"
        else np.multiply(pixels, scale, dtype="float64").astype(dtype)
    )
    np.save(tmp_path / "a.npy", array)
    found = frames(tmp_path / "a.npy", cache, bmode="none")
    wanted = 255 * (pixels > 99) if dtype == "bool" else pixels
    np.testing.assert_array_equal(found, wanted)
    auto = prepare(tmp_path / "a.npy", cache).facts["bmode"][0]
    assert auto.startswith("none" if dtype in ("uint8", "bool") else "sequence")


def test_color_becomes_its_luminance(cache, tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), np.uint8)
    np.save(tmp_path / "a.npy", rgb)
    found = frames(tmp_path / "a.npy", cache)
    # Weights of three decimals make exact halves, which may be rounded either way.
    exact = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found, exact, rtol=0, atol=0.501)

"""Cine of all formats and orders of axes, and a clear word on each bad file."""

import functools
import os

import h5py
import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset
from input_pipeline.formats import arrays as array_format
from input_pipeline.formats.cine import arrays as cine_arrays
from input_pipeline.formats.cine import axes as cine_axes
from input_pipeline.formats.cine import files as cine_reader
from input_pipeline.formats.cine import images as cine_images
from input_pipeline.physics import bmode
from tests.input_pipeline import cine_files

SIZE = (cine_files.DEPTH, cine_files.LINES)  # nothing to resize


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cine")


@pytest.fixture(scope="module")
def good(folder):
    return cine_files.write_good(folder)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def prepare(path, cache, *, size=SIZE, max_rejected=0.0, key="", axes="", **recipe):
    recipe = {"bmode": "auto", "db": 60.0, "envelope": "auto"} | recipe
    recipe = bmode.Recipe(size, **recipe)
    convert = functools.partial(
        cine_arrays.convert,
        key=key,
        name_axes=functools.partial(cine_axes.name_axes, axes=axes),
        recipe=recipe,
        progress=False,
    )
    return cine_reader.prepare(
        path,
        convert=convert,
        spec=[key, axes],
        recipe=recipe,
        max_rejected=max_rejected,
        cache=str(cache),
        progress=False,
    )


def frames(*args, **fields):
    return np.load(prepare(*args, **fields).frames)


def assert_same(found, expected):
    """Equal but for values that lie on the edge between two levels."""
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.mean(found != expected) < 1e-3


GOOD = [
    "seven.mat", "as_read.mat", "usual.mat", "complex.mat", "five.mat",
    "five_usual.mat", "plain.h5", "forced.h5", "beside_others.npz", "doubles.npy",
    "fortran.npy", "middle.npy", "backwards.npy",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_each_format_gives_the_frames_that_were_written(folder, good, cache, name):
    fields, a = good[name]
    found = prepare(folder / name, cache, **fields)
    assert_same(np.load(found.frames), cine_files.expected(a))
    assert found.table["frame"].tolist() == list(range(cine_files.FRAMES))
    assert set(found.table["clip"]) == {name.split(".")[0]}
    assert set(GOOD) == set(good)


@pytest.mark.parametrize("name", GOOD)
def test_blocks_of_any_size_give_the_same(folder, good, cache, name, monkeypatch):
    fields, a = good[name]
    whole = frames(folder / name, cache, **fields)
    most, opened = [], array_format.Stored

    def spied(name, shape, dtype, read, *rest, **more):
        def reading(index):
            x = read(index)
            most.append(x.nbytes)
            return x

        return opened(name, shape, dtype, reading, *rest, **more)

    monkeypatch.setattr(array_format, "Stored", spied)
    frame = a[0].nbytes * (2 if name == "doubles.npy" else 1)
    monkeypatch.setattr(cine_arrays, "BLOCK", 3 * frame)
    np.testing.assert_array_equal(
        frames(folder / name, cache.with_name("second"), **fields), whole
    )
    assert max(most) <= 3 * frame
    assert len(most) > 12  # 20 frames, read twice
    left = [file.suffix for file in cache.with_name("second").rglob("*.*")]
    assert sorted(left) == [".json", ".npy"]


def test_tiles_cover_an_array_once():
    rng = np.random.default_rng(0)
    for _ in range(40):
        shape = tuple(rng.integers(1, 7, rng.integers(1, 5)).tolist())
        chunks = tuple(rng.integers(1, n + 1) for n in shape)
        x = np.zeros(shape, np.float32)
        stored = array_format.Stored(
            "x", shape, x.dtype, None, chunks if rng.random() < 0.5 else None
        )
        limit = int(rng.integers(4, 200))
        for prefix, part in array_format.tiles(stored, limit):
            x[(*prefix, part)] += 1
            assert stored.chunks or x[(*prefix, part)].nbytes <= limit
        assert (x == 1).all()


def test_tiles_end_where_pieces_of_the_file_do():
    def parts(chunk, limit):
        stored = array_format.Stored("x", (20, 5), np.dtype("u1"), None, (chunk, 5))
        return [part.stop for _, part in array_format.tiles(stored, limit)]

    assert parts(3, 40) == [6, 12, 18, 20]
    assert parts(6, 20) == [6, 12, 18, 20]  # a little more than asked for
    assert parts(20, 20) == [4, 8, 12, 16, 20]  # too much


def test_what_was_guessed_is_said(folder, good, cache):
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
def test_axes_are_guessed_as_people_store_them(shape, dtype, matlab, axes):
    stored = array_format.Stored(
        "x", shape, np.dtype(dtype), None, flipped=matlab, certain=False, matlab=matlab
    )
    assert " ".join(cine_axes.name_axes(stored, "").names) == axes
    if "frame" in axes:
        names = ",".join(axes.split())
        assert " ".join(cine_axes.name_axes(stored, "=" + names).names) == axes


def test_named_axes_of_color_are_not_reversed_where_that_cannot_be():
    stored = array_format.Stored(
        "x", (30, 3, 60, 80), np.dtype("u1"), None, flipped=True, certain=False
    )
    named = cine_axes.name_axes(stored, "frame,channel,depth,line")
    assert named.names == ("frame", "channel", "depth", "line")
    assert "the only order that fits" in named.description


def test_the_maximum_is_of_the_clip_or_of_the_frame(cache, tmp_path):
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


def test_a_single_frame_is_whole_whatever_its_pieces(cache, tmp_path, monkeypatch):
    a = cine_files.amplitudes(1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=a[0], chunks=(16, 5))
    monkeypatch.setattr(cine_arrays, "BLOCK", 100)
    found = prepare(tmp_path / "a.h5", cache, axes="depth,line")
    assert_same(np.load(found.frames), cine_files.expected(a))


def test_a_dynamic_range_of_its_own(cache, tmp_path):
    a = cine_files.amplitudes(3)
    np.save(tmp_path / "a.npy", a)
    assert_same(
        frames(tmp_path / "a.npy", cache, db=40.0), cine_files.expected(a, db=40.0)
    )


def test_channels_of_amplitudes_join_before_the_logarithm(cache, tmp_path):
    a = np.stack([cine_files.amplitudes(4, seed=seed) for seed in range(5)], 1)
    np.save(tmp_path / "a.npy", a)
    found = frames(tmp_path / "a.npy", cache, axes="frame,channel,depth,line")
    joined = np.sqrt((a.astype(np.float64) ** 2).sum(1))
    assert_same(found, cine_files.expected(joined))


def test_echoes_get_an_envelope(cache, tmp_path):
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


def test_every_kind_of_bad_file_has_a_message_of_its_own(tmp_path, cache):
    said = cine_files.write_bad(tmp_path)
    assert len(said) >= 30
    for name, (fields, expected) in said.items():
        with pytest.raises(dataset.DataError, match=expected) as caught:
            prepare(tmp_path / name, cache, **fields)
        assert name in str(caught.value)
    assert not list(cache.rglob("*.npy"))
    with pytest.raises(dataset.DataError, match="there is no|does not exist"):
        prepare(tmp_path / "nowhere.mat", cache)
    (tmp_path / "a.txt").touch()
    with pytest.raises(dataset.DataError, match="ends in '.txt'; expected"):
        prepare(tmp_path / "a.txt", cache)


def test_frames_at_fault_are_named_and_left_out_up_to_a_share(cache, tmp_path):
    a = cine_files.amplitudes(10)
    a[3] = 0
    a[7, 5, 5] = np.nan
    np.save(tmp_path / "a.npy", a)
    path = tmp_path / "a.npy"
    with pytest.raises(dataset.DataError, match="2 of 10 frames") as caught:
        prepare(path, cache, max_rejected=0.1)
    assert "a, frame 3: nothing but zeros" in str(caught.value)
    assert "a, frame 7: 1 of 480 values are NaN" in str(caught.value)
    found = prepare(path, cache, max_rejected=0.2)
    kept = [0, 1, 2, 4, 5, 6, 8, 9]
    assert found.kept.tolist() == kept
    assert len(found.table) == 10
    assert found.facts["rejected_total"] == 2
    assert_same(np.load(found.frames), cine_files.expected(a[kept]))


def test_frames_are_not_prepared_twice(cache, tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", cine_files.amplitudes(3))
    first = prepare(tmp_path / "a.npy", cache)

    def never(*_, **__):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(cine_arrays, "convert", never)
        second = prepare(tmp_path / "a.npy", cache)
    assert first.frames == second.frames
    assert first.facts == second.facts


def test_a_file_that_changed_is_prepared_again(cache, tmp_path):
    path = tmp_path / "a.npy"
    for frames_, seed, time in ((3, 0, 10**9), (3, 1, 2 * 10**9), (4, 1, 2 * 10**9)):
        a = cine_files.amplitudes(frames_, seed=seed)
        np.save(path, a)
        os.utime(path, ns=(time, time))
        assert_same(frames(path, cache), cine_files.expected(a))


def test_files_of_a_folder_are_clips_and_a_bad_one_may_be_left_out(cache, tmp_path):
    clips = {name: cine_files.amplitudes(n) for name, n in (("b", 3), ("a/10", 4))}
    clips["a/9"] = cine_files.amplitudes(2, seed=5)
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name, a in clips.items():
        np.save(tmp_path / "in" / f"{name}.npy", a)
    found = prepare(tmp_path / "in", cache)
    names = found.table["clip"].drop_duplicates().tolist()
    assert names == ["b", "a/9", "a/10"]
    wanted = [cine_files.expected(clips[name]) for name in names]
    assert_same(np.load(found.frames), np.concatenate(wanted))
    (tmp_path / "in" / "text.mat").write_text("no")
    with pytest.raises(dataset.DataError, match="1 of 4 files .*\n  text.mat: the MA"):
        prepare(tmp_path / "in", cache, max_rejected=0.2)
    left = prepare(tmp_path / "in", cache, max_rejected=0.3)
    assert left.frames == found.frames
    assert left.facts["rejected_total"] == 1


def test_folders_of_images_are_clips_in_natural_order(cache, tmp_path):
    root = tmp_path / "in"
    names = [f"f{number}.png" for number in (10, 9, 100, 1)]
    deep = cine_files.write_images(root / "patient 10" / "rest", 4, names)
    early = cine_files.write_images(root / "patient 9", 3)
    top = cine_files.write_images(root, 2)
    (root / "Thumbs.db").touch()
    (root / "notes.txt").write_text("none")
    found = prepare(root, cache)
    wanted = [*top, *early, *deep[[3, 1, 0, 2]]]
    np.testing.assert_array_equal(np.load(found.frames), wanted)
    assert found.table["clip"].drop_duplicates().tolist() == [
        "in", "patient 9", "patient 10/rest",
    ]  # fmt: skip
    assert found.facts["bmode"] == ["none: images already"]


def test_color_and_sixteen_bits_become_gray(cache, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(rgb).save(root / "1.png")
    Image.fromarray(np.uint16(257) * rgb[..., 0]).save(root / "2.tif")
    found = frames(root, cache).astype(int)
    assert np.abs(found[0] - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 0.51
    np.testing.assert_array_equal(found[1], rgb[..., 0])


def test_bad_images_are_named(cache, tmp_path):
    root = tmp_path / "in"
    cine_files.write_images(root, 12)
    cine_files.write_images(root, 1, ["other.png"], (30, 30))
    cine_files.write_bomb(root / "bomb.png")
    cine_files.write_bomb(root / "small bomb.png", 8000)
    (root / "text.jpg").write_text("no")
    (root / "empty.png").touch()
    content = (root / "frame 1.png").read_bytes()
    (root / "cut.png").write_bytes(content[:300])
    Image.new("L", SIZE[::-1]).save(root / "black.png")
    outside = tmp_path / "secret.png"
    outside.write_bytes(content)
    (root / "link.png").symlink_to(outside)
    faults = {
        "other.png": "30 x 30 in a clip of 12 x 40",
        "bomb.png": "more than 50,000,000 pixels",
        "small bomb.png": "more than 50,000,000 pixels",
        "text.jpg": "not an image that can be read",
        "empty.png": "not an image that can be read",
        "cut.png": "damaged or cut short",
        "black.png": "nothing but zeros",
        "link.png": "link that leaves the folder",
    }
    with pytest.raises(dataset.DataError, match="1 of 20 files and 7 of 19") as caught:
        prepare(root, cache, max_rejected=0.3)
    for name, why in faults.items():
        assert f"\n  {name}: {why}" in str(caught.value)
    assert len(frames(root, cache, max_rejected=0.5)) == 12


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["notes.txt"], "0 array files and 0 images .there: .txt"),
        (["a.npy", "b.mat", "c.png"], "2 array files and 1 images"),
    ],
)
def test_a_folder_holds_arrays_or_images(cache, tmp_path, names, message):
    root = tmp_path / "in"
    root.mkdir()
    for name in names:
        (root / name).touch()
    with pytest.raises(dataset.DataError, match=message):
        prepare(root, cache)


def test_a_cache_inside_the_folder_is_no_cine(tmp_path):
    np.save(tmp_path / "a.npy", cine_files.amplitudes(3))
    for _ in range(2):
        found = prepare(tmp_path, tmp_path / "cache")
        assert found.table["clip"].unique().tolist() == ["a"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    np.save(tmp_path / "a.npy", cine_files.amplitudes(3))
    (tmp_path / "full").write_text("a file")
    with pytest.raises(dataset.DataError, match="data.cache: .*folder that can be"):
        prepare(tmp_path / "a.npy", tmp_path / "full")


@pytest.mark.parametrize(
    ("name", "axes", "free", "wanted"),
    [
        ("a.npz", "frame,depth,line", 2000, "5,888"),  # to be unpacked
        ("a.npy", "frame,depth,line", 1000, "1,440"),  # images
        ("a.npy", "depth,frame,line", 2000, "5,760"),  # to be ordered
    ],
)
def test_a_full_disk_is_noticed_before_it_is_mapped(
    tmp_path, cache, monkeypatch, name, axes, free, wanted
):
    a = cine_files.amplitudes(3)
    np.savez(tmp_path / "a.npz", a=a)
    np.save(tmp_path / "a.npy", a.transpose(1, 0, 2) if axes[0] == "d" else a)
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(array_format.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(dataset.DataError, match=f"{wanted} bytes .* {free:,} are fr"):
        prepare(tmp_path / name, cache, axes=axes)
    assert not list(cache.rglob("*.*"))


def test_a_frame_that_is_too_large_names_the_axes(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(cine_arrays, "MOST_BYTES", 1000)
    np.save(tmp_path / "a.npy", cine_files.amplitudes(3))
    with pytest.raises(dataset.DataError, match="a frame would have 1,920 bytes"):
        prepare(tmp_path / "a.npy", cache)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bmode": "log"}, "data.bmode: got 'log'; choices: auto, sequence"),
        ({"envelope": "peak"}, "data.envelope: got 'peak'; choices"),
        ({"db": 0.0}, "data.db: got 0.0"),
        ({"size": (0, 8)}, "data.size: got"),
        ({"size": (8, 8, 3)}, "data.size: got"),
        ({"max_rejected": 2.0}, "data.max_rejected: got 2.0"),
    ],
)
def test_fields_out_of_range_are_named(tmp_path, cache, fields, message):
    with pytest.raises(dataset.DataError, match=message):
        prepare(tmp_path / "a.npy", cache, **fields)


def test_one_image(tmp_path):
    pixels = cine_files.write_images(tmp_path, 1, ["a.png"])
    found = cine_images.gray_image(tmp_path / "a.png", SIZE)
    np.testing.assert_array_equal(found, pixels[0])
    assert cine_images.gray_image(tmp_path / "a.png", (9, 7)).shape == (9, 7)
    with pytest.raises(dataset.DataError, match="b.png: no such file"):
        cine_images.gray_image(tmp_path / "b.png", SIZE)


def test_values_that_cannot_be_read_are_an_error_of_the_file(tmp_path, cache):
    a = cine_files.amplitudes(9)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=a, chunks=(1, *SIZE), fletcher32=True)
        offset = stored.id.get_chunk_info(4).byte_offset
    with open(tmp_path / "a.h5", "r+b") as file:
        file.seek(offset + 40)
        file.write(b"\x00" * 64)
    with pytest.raises(dataset.DataError, match="values of 'a' cannot be read"):
        prepare(tmp_path / "a.h5", cache)

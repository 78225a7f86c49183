"""Folders of cine files and images, bad files, and the cache."""

import os

import h5py
import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset
from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.cine import arrays as cine_arrays
from input_pipeline.formats.cine import images as cine_images
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


def test_each_kind_of_bad_file_has_its_own_message(tmp_path, cache):
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


def test_frames_at_fault_are_named_and_left_out_up_to_share(cache, tmp_path):
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


def test_file_that_changed_is_prepared_again(cache, tmp_path):
    path = tmp_path / "a.npy"
    for frames_, seed, time in ((3, 0, 10**9), (3, 1, 2 * 10**9), (4, 1, 2 * 10**9)):
        a = cine_files.amplitudes(frames_, seed=seed)
        np.save(path, a)
        os.utime(path, ns=(time, time))
        assert_same(frames(path, cache), cine_files.expected(a))


def test_files_of_folder_are_clips_and_bad_one_may_be_left_out(cache, tmp_path):
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


def test_folder_without_frames_names_what_is_there(cache, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    for name in ("notes.doc", "other.doc", "README"):
        (root / name).touch()
    with pytest.raises(dataset.DataError, match="there: 2 .doc, 1 README.; expected"):
        prepare(root, cache)


def test_files_that_are_no_clip_are_ignored_and_counted(cache, tmp_path):
    root = tmp_path / "in"
    np.savez(tmp_path / "a.npz", a=cine_files.amplitudes(3))
    cine_files.write_images(root, 1, ["thumbnail.png"])
    (tmp_path / "a.npz").rename(root / "a.npz")
    for name in ("notes.md", "table.csv"):
        (root / name).touch()
    clip = cine_files.write_images(root / "b", 2)
    found = prepare(root, cache)
    assert found.table["clip"].tolist() == ["a"] * 3 + ["b"] * 2
    np.testing.assert_array_equal(np.load(found.frames)[3:], clip)
    assert found.facts["passed_over"] == [
        "1 single images beside arrays or movies: thumbnail.png",
        "1 files that are no frames: notes.md",
    ]


def test_cache_inside_folder_is_not_read(tmp_path):
    np.save(tmp_path / "a.npy", cine_files.amplitudes(3))
    for _ in range(2):
        found = prepare(tmp_path, tmp_path / "cache")
        assert found.table["clip"].unique().tolist() == ["a"]


def test_cache_that_cannot_be_written_is_named(tmp_path):
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
def test_full_disk_is_noticed_before_it_is_mapped(
    tmp_path, cache, monkeypatch, name, axes, free, wanted
):
    a = cine_files.amplitudes(3)
    np.savez(tmp_path / "a.npz", a=a)
    np.save(tmp_path / "a.npy", a.transpose(1, 0, 2) if axes[0] == "d" else a)
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(stored_lib.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(dataset.DataError, match=f"{wanted} bytes .* {free:,} are fr"):
        prepare(tmp_path / name, cache, axes=axes)
    assert not list(cache.rglob("*.*"))


def test_frame_that_is_too_large_names_axes(tmp_path, cache, monkeypatch):
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


def test_gray_image_is_stretched_to_size(tmp_path):
    pixels = cine_files.write_images(tmp_path, 1, ["a.png"])
    found = cine_images.gray_image(tmp_path / "a.png", SIZE)
    np.testing.assert_array_equal(found, pixels[0])
    assert cine_images.gray_image(tmp_path / "a.png", (9, 7)).shape == (9, 7)
    with pytest.raises(dataset.DataError, match="b.png: no such file"):
        cine_images.gray_image(tmp_path / "b.png", SIZE)


def test_values_that_cannot_be_read_are_error_of_file(tmp_path, cache):
    a = cine_files.amplitudes(9)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=a, chunks=(1, *SIZE), fletcher32=True)
        offset = stored.id.get_chunk_info(4).byte_offset
    with open(tmp_path / "a.h5", "r+b") as file:
        file.seek(offset + 40)
        file.write(b"\x00" * 64)
    with pytest.raises(dataset.DataError, match="values of 'a' cannot be read"):
        prepare(tmp_path / "a.h5", cache)

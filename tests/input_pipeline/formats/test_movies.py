"""Frames of TIFF stacks, animations, videos and DICOM cines."""

import builtins
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from input_pipeline import dataset
from tests.input_pipeline import cine_files, movie_files
from tests.input_pipeline.movie_files import PRIVATE, calibrated_region, moving

SIZE = (40, 48)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def prepare(path, cache, **fields):
    return cine_files.prepare(path, cache, size=SIZE, **fields)


def frames(path, cache, **fields):
    return np.load(prepare(path, cache, **fields).frames)


@pytest.mark.parametrize(
    "fields",
    [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"bigtiff": True}],
    ids=str,
)
def test_pages_of_stack_are_frames(tmp_path, cache, fields):
    pixels = moving()
    if fields.get("compression") == "lzw":  # which tifffile alone cannot unpack
        images = [Image.fromarray(frame) for frame in pixels]
        images[0].save(
            tmp_path / "a.tif", save_all=True, append_images=images[1:],
            compression="tiff_lzw",
        )  # fmt: skip
    else:
        movie_files.write_stack(tmp_path / "a.tif", pixels, **fields)
    found = prepare(tmp_path / "a.tif", cache)
    assert found.table["clip"].tolist() == ["a"] * 24
    np.testing.assert_array_equal(np.load(found.frames), pixels)


def test_three_stacks_of_24_pages_are_three_clips_of_24_frames(tmp_path, cache):
    clips = {name: moving(seed=k) for k, name in enumerate(("a", "b", "c"))}
    (tmp_path / "in").mkdir()
    for name, pixels in clips.items():
        movie_files.write_stack(tmp_path / "in" / f"{name}.tif", pixels)
    found = prepare(tmp_path / "in", cache)
    assert found.table.groupby("clip").size().to_dict() == dict.fromkeys("abc", 24)
    wanted = np.concatenate(list(clips.values()))
    np.testing.assert_array_equal(np.load(found.frames), wanted)


def test_thumbnails_of_stack_are_passed_over_and_counted(tmp_path, cache):
    pixels = moving()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for k, frame in enumerate(pixels):
            file.write(frame, photometric="minisblack")
            if not k:
                file.write(frame[::4, ::4], photometric="minisblack")
    found = prepare(tmp_path / "a.tif", cache)
    np.testing.assert_array_equal(np.load(found.frames), pixels)
    assert found.facts["passed_over"] == ["1 pages of another size than the first"]


def test_stack_of_imagej_has_its_interval_as_time(tmp_path, cache):
    movie_files.write_stack(
        tmp_path / "a.tif", moving(5), imagej=True, metadata={"finterval": 0.04}
    )
    found = prepare(tmp_path / "a.tif", cache)
    np.testing.assert_allclose(found.table["seconds"], 0.04 * np.arange(5))


@pytest.mark.parametrize("top", [1023, 4095, 16383, 65535])
def test_stack_of_deep_values_is_scaled_by_its_own_depth(tmp_path, cache, top):
    ramp = np.linspace(0, top, 40 * 48).reshape(1, 40, 48)
    deep = np.uint16(np.rint(np.concatenate([ramp, ramp[:, ::-1]])))
    movie_files.write_stack(tmp_path / "a.tif", deep)
    found = prepare(tmp_path / "a.tif", cache)
    images = np.load(found.frames)
    np.testing.assert_array_equal(images, np.rint(deep * (255 / top)))
    assert bool(found.facts["white"]) == (top < 65535)


def test_twelve_bits_in_images_of_sixteen_keep_their_levels(tmp_path, cache):
    ramp = np.rint(np.linspace(0, 4095, 40 * 48)).reshape(40, 48).astype(np.uint16)
    for clip, part in (("a", ramp), ("b", ramp // 8)):
        (tmp_path / "in" / clip).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(part).save(tmp_path / "in" / clip / f"{k}.png")
    found = prepare(tmp_path / "in", cache)
    images = np.load(found.frames)
    assert len(np.unique(images[0])) == 256
    assert images[0].max() == 255
    # Clips of one folder have one range: what was darker stays darker.
    np.testing.assert_array_equal(images[2], np.rint((ramp // 8) * (255 / 4095)))
    assert "4,095 is taken as white" in found.facts["white"][0]


def test_images_of_sixteen_bits_in_full_stay_as_they_are(tmp_path, cache):
    pixels = moving(1)[0]
    (tmp_path / "in").mkdir()
    Image.fromarray(np.uint16(257) * pixels).save(tmp_path / "in" / "0.png")
    found = prepare(tmp_path / "in", cache)
    np.testing.assert_array_equal(np.load(found.frames)[0], pixels)
    assert not found.facts["white"]


def test_images_of_gif_are_frames_with_times(tmp_path, cache):
    pixels = moving(5)
    movie_files.write_gif(tmp_path / "a.gif", pixels)
    found = prepare(tmp_path / "a.gif", cache)
    np.testing.assert_array_equal(np.load(found.frames), pixels)
    np.testing.assert_allclose(found.table["seconds"], 0.04 * np.arange(5))


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_frames_of_video_have_times(tmp_path, cache, suffix):
    pixels = moving(10)
    movie_files.write_video(tmp_path / f"a{suffix}", pixels)
    found = prepare(tmp_path / f"a{suffix}", cache)
    assert np.abs(np.load(found.frames).astype(int) - pixels).max() <= 1
    np.testing.assert_allclose(found.table["seconds"], np.arange(10) / 25, atol=1e-3)


def test_dicom_cine_has_times_and_spacing_and_nothing_private(tmp_path, cache):
    pixels = moving(7)
    movie_files.write_dicom(
        tmp_path / "scan.dcm", pixels, FrameTime=20.0,
        SequenceOfUltrasoundRegions=calibrated_region(),
    )  # fmt: skip
    found = prepare(tmp_path / "scan.dcm", cache)
    np.testing.assert_array_equal(np.load(found.frames), pixels)
    np.testing.assert_allclose(found.table["seconds"], 0.02 * np.arange(7))
    assert found.facts["spacing_mm"] == [[0.2, 0.1]]
    assert found.facts["calibrated_regions"][0][0]["columns"] == [4, 40]
    kept = json.dumps(found.facts) + found.table.to_csv()
    kept += "".join(file.read_text("utf-8") for file in cache.rglob("*.json"))
    assert not [value for value in PRIVATE.values() if value in kept]


def colors(pixels):
    """RGB of gray values, not gray."""
    return np.stack([pixels, pixels // 2, pixels // 4], -1)


def gray(rgb):
    return np.rint(rgb @ np.array([0.299, 0.587, 0.114]))


def to_ybr(rgb):
    """Full-range YCbCr by the matrix of JPEG."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    ybr = np.stack([y, 128 + (b - y) / 1.772, 128 + (r - y) / 1.402], -1)
    return np.uint8(np.clip(np.rint(ybr), 0, 255))


def test_photometric_interpretations_give_same_brightness(tmp_path, cache):
    pixels = moving(3)
    inverted, deep = 255 - pixels, np.uint16(pixels) * 16
    movie_files.write_dicom(tmp_path / "inverted.dcm", inverted, "MONOCHROME1")
    movie_files.write_dicom(tmp_path / "deep.dcm", deep, bits=12)
    movie_files.write_dicom(tmp_path / "rgb.dcm", colors(pixels), "RGB")
    movie_files.write_dicom(tmp_path / "ybr.dcm", to_ybr(colors(pixels)), "YBR_FULL")
    np.testing.assert_array_equal(frames(tmp_path / "inverted.dcm", cache), pixels)
    found = frames(tmp_path / "deep.dcm", cache)
    np.testing.assert_array_equal(found, np.rint(deep * (255 / 4095)))
    for name in ("rgb", "ybr"):
        found = frames(tmp_path / f"{name}.dcm", cache).astype(int)
        assert np.abs(found - gray(colors(pixels))).max() <= 2, name


def test_ybr_with_half_colors_and_palettes_are_read(tmp_path, cache):
    pixels = moving(3)
    ybr = to_ybr(colors(pixels)).astype(int)
    ybr[:, :, 1::2, 1:] = ybr[:, :, 0::2, 1:]
    pairs = ybr.reshape(3, 40, 24, 2, 3)
    packed = np.concatenate([pairs[..., 0], pairs[..., :1, 1:].squeeze(-2)], -1)
    packed = np.uint8(packed)  # Y Y Cb Cr of two pixels
    movie_files.write_dicom(
        tmp_path / "half.dcm", colors(pixels), "YBR_FULL_422",
        PixelData=packed.tobytes(),
    )  # fmt: skip
    found = frames(tmp_path / "half.dcm", cache).astype(int)
    assert np.abs(found - gray(colors(pixels))).mean() < 3
    table = np.uint16(257) * np.arange(256, dtype=np.uint16)[::-1]
    palette = {}
    for color in ("Red", "Green", "Blue"):
        name = f"{color}PaletteColorLookupTable"
        palette[f"{name}Descriptor"] = [256, 0, 16]
        palette[f"{name}Data"] = table.tobytes()
    movie_files.write_dicom(
        tmp_path / "palette.dcm", 255 - pixels, "PALETTE COLOR", **palette
    )
    np.testing.assert_array_equal(frames(tmp_path / "palette.dcm", cache), pixels)


def test_dicom_is_known_without_its_ending_and_single_images_are_frames(
    tmp_path, cache
):
    pixels = moving(3)
    (tmp_path / "in").mkdir()
    movie_files.write_dicom(tmp_path / "1.2.840.10008", pixels)
    np.testing.assert_array_equal(frames(tmp_path / "1.2.840.10008", cache), pixels)
    for k, frame in enumerate(pixels):
        movie_files.write_dicom(tmp_path / "in" / f"IM{k}", frame[None])
    found = prepare(tmp_path / "in", cache)
    assert found.table["clip"].tolist() == ["in"] * 3
    np.testing.assert_array_equal(np.load(found.frames), pixels)


@pytest.mark.parametrize(
    ("package", "name", "command"),
    [("av", "a.mp4", "pip install av"), ("pydicom", "a.dcm", "pip install pydicom")],
)
def test_missing_package_gives_command(
    tmp_path, cache, monkeypatch, package, name, command
):
    (tmp_path / name).write_bytes(bytes(200))
    genuine = builtins.__import__

    def without(module, *rest):
        if module.split(".")[0] == package:
            raise ImportError(module)
        return genuine(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(dataset.DataError, match=f"{name}: .*run: {command}"):
        prepare(tmp_path / name, cache)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.tif", "not an image that can be read"),
        ("a.gif", "not an image that can be read"),
        ("a.mp4", "the video is cut off, damaged or none"),
        ("a.dcm", "no DICOM image|cut off or damaged"),
    ],
)
def test_files_that_are_not_what_they_are_called_are_named(
    tmp_path, cache, name, message
):
    (tmp_path / name).write_text("frame,label\n1,2\n" * 20)
    with pytest.raises(dataset.DataError, match=message) as caught:
        prepare(tmp_path / name, cache)
    assert name in str(caught.value)


@pytest.mark.parametrize("suffix", [".tif", ".avi", ".dcm", ".gif"])
def test_file_cut_off_is_error_of_that_file(tmp_path, cache, suffix):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write = {
        ".tif": movie_files.write_stack,
        ".avi": movie_files.write_video,
        ".dcm": movie_files.write_dicom,
        ".gif": movie_files.write_gif,
    }[suffix]
    write(whole, moving(12))
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    if suffix == ".avi":  # what can be decoded is used, and the rest told
        found = prepare(path, cache)
        assert 1 < len(found.table) < 12
        return
    with pytest.raises(dataset.DataError, match=path.name):
        prepare(path, cache)

"""Every kind of image file comes out upright, over white, whole, 8-bit RGB."""

import os

import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset
from input_pipeline.datasets import image_folder
from input_pipeline.formats import image as image_format

LIMIT = 10**6


def halves(left, right, size=(16, 16)):
    """An image of two colors, left and right."""
    image = Image.new("RGB", size, left)
    image.paste(Image.new("RGB", (size[0] // 2, size[1]), right), (size[0] // 2, 0))
    return image


def decoded(image, path, size=16, **save):
    image.save(path, **save)
    return image_format.decode(path, size, LIMIT)


@pytest.mark.parametrize(
    "ending", ["png", "bmp", "gif", "tiff", "webp", "ppm", "tga", "jp2", "ico", "jpg"]
)
def test_decode_reads_all_formats(tmp_path, ending):
    save = {"lossless": True} if ending == "webp" else {}
    image = decoded(halves("red", "blue"), tmp_path / f"a.{ending}", **save)
    assert image.pixels.shape == (16, 16, 3)
    assert image.pixels.dtype == np.uint8
    tolerance = 60 if ending == "jpg" else 2
    expected = np.asarray(halves("red", "blue"), int)
    assert np.abs(image.pixels[:, [0, 15]] - expected[:, [0, 15]]).max() <= tolerance


def test_file_names_do_not_matter(tmp_path):
    halves("red", "blue").save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / "image")
    assert image_format.decode(tmp_path / "image", 16, LIMIT).pixels[0, 0, 0] == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(tmp_path, mode):
    image = Image.new("RGBA", (16, 16), (200, 200, 200, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 16))
    image.paste((0, 0, 0, 128), (8, 0, 12, 16))
    save = {}
    if mode == "P":
        image = image.convert("RGBA").quantize(8)
    else:
        image = image.convert(mode)
    pixels = decoded(image, tmp_path / "a.png", **save).pixels
    assert (pixels[:, :8] == 0).all()
    assert np.abs(pixels[:, 8:12].astype(int) - 127).max() <= 1
    assert (pixels[:, 12:] == 255).all()


def test_palette_with_one_transparent_color(tmp_path):
    image = halves("red", "blue").quantize(2)
    blue = image.getpixel((15, 0))
    pixels = decoded(image, tmp_path / "a.gif", transparency=blue).pixels
    np.testing.assert_array_equal(pixels[0, 0], [255, 0, 0])
    np.testing.assert_array_equal(pixels[0, 15], [255, 255, 255])


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, ending):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = decoded(Image.fromarray(ramp), tmp_path / f"a.{ending}")
    expected = np.rint(ramp / 257.0)
    np.testing.assert_array_equal(image.pixels[..., 0], expected)
    assert image.gray


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 1.0], [0, 64, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1000.0, 0.0, 3000.0], [0, 64, 255]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([7.0, 7.0, 7.0], [7, 7, 7]),
    ],
)
def test_floats_are_scaled(tmp_path, values, expected):
    grid = np.tile(np.array(values, np.float32), (3, 1))
    image = Image.fromarray(grid)
    image.save(tmp_path / "a.tiff")
    pixels = image_format.decode(tmp_path / "a.tiff", 3, LIMIT).pixels
    np.testing.assert_array_equal(pixels[1, :, 0], expected)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_and_bilevel_images_become_rgb(tmp_path, mode):
    image = decoded(halves("black", "white").convert(mode), tmp_path / "a.png")
    assert image.gray
    np.testing.assert_array_equal(image.pixels[3, [0, 15]], [[0] * 3, [255] * 3])


def test_color_is_not_gray(tmp_path):
    assert not decoded(halves("red", "blue"), tmp_path / "a.png").gray


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = decoded(image, tmp_path / "a.tiff").pixels
    np.testing.assert_array_equal(pixels[0, 0], [255, 0, 0])


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter clockwise to see it upright
    image = halves("red", "blue", (16, 8))
    result = decoded(image, tmp_path / "a.png", exif=exif)
    upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert (result.width, result.height) == (8, 16)
    np.testing.assert_array_equal(result.pixels[:, 4:12], upright)
    assert (result.pixels[:, :4] == 255).all()


def test_first_frame_of_animation(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue")]
    pixels = decoded(
        frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:]
    ).pixels
    np.testing.assert_array_equal(pixels[8, 8], [255, 0, 0])


@pytest.mark.parametrize(
    ("shape", "inked"), [((64, 16), (8, 32)), ((16, 64), (32, 8)), ((3000, 1), (1, 32))]
)
def test_nothing_is_cropped(tmp_path, shape, inked):
    pixels = decoded(Image.new("RGB", shape, "black"), tmp_path / "a.png", 32).pixels
    ink = (pixels == 0).all(-1)
    assert (ink.any(1).sum(), ink.any(0).sum()) == inked
    assert (pixels[~ink] == 255).all()
    rows, columns = np.nonzero(ink)
    assert abs(rows.mean() - 15.5) <= 0.5  # in the middle
    assert abs(columns.mean() - 15.5) <= 0.5


def test_small_images_grow(tmp_path):
    pixels = decoded(Image.new("RGB", (1, 1), "red"), tmp_path / "a.png").pixels
    assert (pixels == [255, 0, 0]).all()


def test_reduction_averages(tmp_path):
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = decoded(Image.fromarray(board), tmp_path / "a.png").pixels
    assert np.abs(pixels.astype(int) - 127).max() <= 3


def test_too_many_pixels_are_refused_before_unpacking(tmp_path):
    Image.new("1", (2000, 1000)).save(tmp_path / "a.png")
    with pytest.raises(image_format.Rejected, match="more than 1,000,000 pixels"):
        image_format.decode(tmp_path / "a.png", 16, LIMIT)
    assert image_format.decode(tmp_path / "a.png", 16, 2 * LIMIT).width == 2000


def test_postscript_is_refused(tmp_path):
    halves("red", "blue").save(tmp_path / "a.eps")
    with pytest.raises(image_format.Rejected, match="not an image"):
        image_format.decode(tmp_path / "a.eps", 16, LIMIT)


def test_decode_of_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(image_format.Rejected, match="not a regular file"):
        image_format.decode(tmp_path / "a.png", 16, LIMIT)


def test_decode_prepares_one_image(tmp_path):
    halves("red", "blue").save(tmp_path / "a.png")
    image = image_folder.decode(tmp_path / "a.png", 16)
    np.testing.assert_array_equal(image, np.asarray(halves("red", "blue")))
    with pytest.raises(dataset.DataError, match="no such file"):
        image_folder.decode(tmp_path / "b.png", 16)

"""Images of 16 bits a channel come out bright, whatever share of the bits is used."""

import struct

import numpy as np
import pytest
from PIL import Image

from input_pipeline.datasets import image_folder
from input_pipeline.formats import image as image_format
from tests.input_pipeline.image_files import both, load
from tests.input_pipeline.png_files import chunk, write_png


def ramp(bits, channels=0):
    """Every level from 0 to 2^bits - 1, evenly, uint16 [16, 16(, c)]."""
    values = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    if not channels:
        return values
    return np.stack([np.roll(values, 5 * c, 1) for c in range(channels)], -1)


def pixels(path, **fields):
    return image_format.decode(path, 16, 10**6, **fields)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_gray_is_scaled_by_bits_in_use(tmp_path, bits, ending):
    Image.fromarray(ramp(bits)).save(tmp_path / f"a.{ending}")
    image = pixels(tmp_path / f"a.{ending}")
    expected = np.rint(ramp(bits) * 255.0 / (2**bits - 1))
    np.testing.assert_array_equal(image.pixels[..., 0], expected)
    assert len(np.unique(image.pixels)) == 256
    assert image.bits == bits


@pytest.mark.parametrize("bits", [12, 16])
def test_colors_of_16_bits_keep_both_bytes(tmp_path, bits):
    values = ramp(bits, 3)
    image = pixels(write_png(tmp_path / "a.png", values))
    np.testing.assert_array_equal(image.pixels, np.rint(values * 255.0 / (2**bits - 1)))
    assert image.bits == bits


def test_colors_of_16_bits_in_tiff(tmp_path):
    values = ramp(12, 3).astype("<u2")
    tags = [
        (256, 3, 16), (257, 3, 16), (258, 3, (16, 16, 16)), (259, 3, 1), (262, 3, 2),
        (273, 4, None), (277, 3, 3), (278, 3, 16), (279, 4, values.nbytes),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, kind, value in tags:
        count = 3 if isinstance(value, tuple) else 1
        field = {258: start, 273: start + 6}.get(tag, value)
        entries += struct.pack("<HHI", tag, kind, count) + struct.pack("<I", field)
    content = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    content += struct.pack("<HHH", 16, 16, 16) + values.tobytes()
    (tmp_path / "a.tif").write_bytes(content)
    image = pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, np.rint(values * 255.0 / 4095))


def test_opacity_has_range_of_its_own(tmp_path):
    values = np.dstack([ramp(12, 3), np.full((16, 16), 65535, np.uint16)])
    values[:4, :, 3] = 0
    image = pixels(write_png(tmp_path / "a.png", values))
    assert (image.pixels[:4] == 255).all()
    np.testing.assert_array_equal(
        image.pixels[4:], np.rint(values[4:, :, :3] * 255.0 / 4095)
    )
    gray = np.dstack([ramp(12), np.full((16, 16), 65535, np.uint16)])
    image = pixels(write_png(tmp_path / "b.png", gray))
    assert image.pixels.min() == 0
    assert image.pixels.max() > 230  # Pillow hands over 4 of the 12 bits


def test_bits_of_file_header_hold_where_values_fit(tmp_path):
    dark = ramp(12) // 8
    said = [chunk(b"sBIT", b"\x0c")]
    image = pixels(write_png(tmp_path / "a.png", dark, said))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(dark * 255.0 / 4095))
    assert pixels(write_png(tmp_path / "b.png", dark)).bits == 10
    # Values scaled up to 16 bits, as the standard has it.
    scaled = ramp(16) & 0xFFF0
    assert pixels(write_png(tmp_path / "c.png", scaled, said)).bits == 16


def test_images_of_folder_have_one_scale(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        image_folder.logging,
        "warning",
        lambda text, *values: told.append(text % values),
    )
    root = tmp_path / "set"
    root.mkdir()
    for k in range(6):
        write_png(root / f"{k}.png", ramp(12) // 2**k)
    data = load(root, val_fraction=0.0)
    assert data.facts["deep"] == {"images": 6, "bits": 12}
    assert len(told) == 1
    assert "6 images have 16 bits a channel, of which 12 are used" in told[0]
    split = both(data)
    for row, name in enumerate(split.table["filename"]):
        values = ramp(12) // 2 ** int(name[0])
        image = split[row]["image"]
        np.testing.assert_array_equal(image[..., 0], np.rint(values * 255.0 / 4095))
        query, _ = image_folder.read_records(
            str(root / name), data={"path": str(root), "size": 16}
        )
        np.testing.assert_array_equal(query[0]["image"], image)


def test_folders_without_deep_images(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    assert image_format.folder_bits(tmp_path, ["a.png", "b.png", "c.png"]) == 0
    assert image_format.folder_bits(tmp_path, []) == 0

"""Damaged metadata decides on nothing; damaged pixels do."""

import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline.formats import image as image_format
from tests.input_pipeline.png_files import chunk, write_png

VALUES = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)


def decoded(path):
    return image_format.decode(path, 16, 10**6).pixels


@pytest.mark.parametrize("damage", [False, True])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"eXIf", b"no EXIF at all"),
        (b"eXIf", b""),
        (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\xff"),
        (b"iCCP", b"name\0\0no deflate"),
        (b"iTXt", b"key\0\1\0\0\0zz"),
        (b"zTXt", b"key\0\0zz"),
        (b"pHYs", b"1"),
        (b"gAMA", b""),
        (b"acTL", b""),
        (b"tIME", b"1"),
    ],
)
def test_png_with_broken_chunk(tmp_path, kind, data, damage):
    path = write_png(tmp_path / "a.png", VALUES, [chunk(kind, data, damage)])
    np.testing.assert_array_equal(decoded(path), VALUES)


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe1\x00\x10Exif\0\0rubbish!",
        b"\xff\xe1\x00\x16Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff",
        b"\xff\xe2\x00\x0cMPF\0rubbish",
        b"\xff\xed\x00\x1aPhotoshop 3.0\x008BIM\x04\x04\x00\xff",
        b"\xff\xfe\x00\x04\xff\xff",
    ],
)
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_jpeg_and_webp_with_broken_metadata(tmp_path, segment, ending):
    file = io.BytesIO()
    if ending == "jpg":
        Image.fromarray(VALUES).save(file, "JPEG")
        whole = file.getvalue()
        broken = whole[:2] + segment + whole[2:]
    else:
        exif = segment[4:]
        Image.fromarray(VALUES).save(file, "WEBP", lossless=True, exif=b"Exif\0\0" * 9)
        whole = file.getvalue()
        start = whole.index(b"EXIF") + 8
        broken = whole[:start] + exif + whole[start + len(exif) :]
    (tmp_path / f"whole.{ending}").write_bytes(whole)
    (tmp_path / f"broken.{ending}").write_bytes(broken)
    np.testing.assert_array_equal(
        decoded(tmp_path / f"broken.{ending}"), decoded(tmp_path / f"whole.{ending}")
    )


@pytest.mark.parametrize("cut", [20, 40, 200, -60])
def test_damaged_pixels_are_still_named(tmp_path, cut):
    path = write_png(tmp_path / "a.png", VALUES, [chunk(b"eXIf", b"no EXIF at all")])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(image_format.Rejected):
        decoded(path)


def test_broken_checksum_of_pixels_is_named(tmp_path):
    path = write_png(tmp_path / "a.png", VALUES, [chunk(b"eXIf", b"no EXIF at all")])
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(image_format.Rejected, match="damaged|not an image"):
        decoded(path)

"""Contact sheets: where pictures, frames and captions come to lie."""

import numpy as np
import pytest
from PIL import Image

from reporting.figures.contact_sheet import contact_sheet, save_png

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 160, 0)
LAYOUT = {"cell": 20, "gap": 4, "border": 2}  # a cell every 28 pixels, from 4


def plain(color, high=20, wide=20):
    return np.full((high, wide, 3), color, np.uint8)


def test_images_lie_in_their_cells():
    sheet = contact_sheet([[plain(RED), plain(BLUE)], [plain(GREEN)]], **LAYOUT)
    assert sheet.mode == "RGB"
    pixels = np.asarray(sheet)
    assert pixels.shape == (60, 60, 3)
    for (i, j), color in {(0, 0): RED, (0, 1): BLUE, (1, 0): GREEN}.items():
        y, x = 4 + 28 * i + 2, 4 + 28 * j + 2
        assert (pixels[y : y + 20, x : x + 20] == color).all()
    assert (pixels[32:, 32:] == 255).all()  # no fourth picture, no frame either


def test_image_keeps_aspect_ratio_and_is_centered():
    pixels = np.asarray(contact_sheet([[plain(RED, 10, 40)]], **LAYOUT))
    inside = pixels[6:26, 6:26]
    red = (inside == RED).all(-1)
    assert red.all(1).sum() == 5
    np.testing.assert_array_equal(np.flatnonzero(red[:, 0]), range(7, 12))


def test_small_images_are_enlarged_without_smoothing():
    picture = np.stack([plain(RED, 4, 2), plain(BLUE, 4, 2)], 1).reshape(4, 4, 3)
    pixels = np.asarray(contact_sheet([[picture]], **LAYOUT))[6:26, 6:26]
    assert set(map(tuple, pixels.reshape(-1, 3))) == {RED, BLUE}


def test_frames_have_colors_given():
    rows = [[plain(RED), plain(RED), None]]
    pixels = np.asarray(contact_sheet(rows, colors=[[GREEN, None, RED]], **LAYOUT))
    assert (pixels[4:6, 4:28] == GREEN).all()
    assert (pixels[4:28, 26:28] == GREEN).all()
    neutral = pixels[4, 32]
    assert np.ptp(neutral.astype(int)) == 0
    assert neutral[0] < 255
    assert (pixels[:, 60:] == 255).all()  # an empty cell has no frame


def test_captions_and_titles_are_written_and_stay_in_their_cell():
    rows, texts = [[plain(RED), plain(BLUE)]], [["a\nb" * 200, ""]]
    bare = contact_sheet(rows, **LAYOUT)
    sheet = contact_sheet(rows, captions=texts, titles=["t", ""], **LAYOUT)
    assert sheet.height > bare.height
    assert sheet.width == bare.width
    dark = (np.asarray(sheet) < 128).all(-1)
    below = sheet.height - 14
    assert dark[below:, :32].any()
    assert not dark[below:, 32:].any()
    assert dark[:14, :32].any()
    assert not dark[:14, 32:].any()


def test_saving_makes_folder_and_reads_back(tmp_path):
    sheet = contact_sheet([[plain(RED)]], **LAYOUT)
    path = save_png(sheet, tmp_path / "new" / "sheet.png")
    with Image.open(path) as again:
        assert again.format == "PNG"
        np.testing.assert_array_equal(again, sheet)


@pytest.mark.parametrize(
    ("rows", "extra", "message"),
    [
        ([], {}, "at least one image"),
        ([[]], {}, "at least one image"),
        ([[plain(RED)]], {"captions": [["a", "b"]]}, "captions"),
        ([[plain(RED)]], {"colors": []}, "colors"),
        ([[plain(RED)]], {"titles": ["a", "b"]}, "titles: 1 expected, got 2"),
        ([[np.zeros((4, 4, 3))]], {}, "uint8"),
        ([[np.zeros((4, 4), np.uint8)]], {}, r"\[h, w, 3\]"),
    ],
)
def test_shapes_that_do_not_match_are_refused(rows, extra, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, **LAYOUT, **extra)

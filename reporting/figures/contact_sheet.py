"""Sheets of small images: previews of views, galleries of neighbors."""

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PAPER = (255, 255, 255)
_INK = (40, 40, 40)
_FRAME = (214, 214, 214)  # where no color is given
_FONT_SIZE = 11
_LINE = 14  # height of a line of text in pixels


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    cell: int = 96,
    captions: Sequence[Sequence[str]] | None = None,
    colors: Sequence[Sequence[tuple[int, int, int] | None]] | None = None,
    titles: Sequence[str] | None = None,
    gap: int = 6,
    border: int = 2,
) -> Image.Image:
    """Return images laid out in rows and columns.

    Args:
        rows: Uint8 [h, w, 3] images of any size, row by row; rows may differ in
            length, and None leaves a cell empty.
        cell: Side of a cell in pixels. An image is scaled to fit, its shape kept.
        captions: A line of text below each cell, shortened to the cell's width.
        colors: RGB of the frame around each cell, None for a neutral one.
        titles: A line of text above each column.
        gap: Pixels between cells.
        border: Width of the frame in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is no image, one is not uint8 [h, w, 3], or captions or
            colors do not go with the rows.
    """
    widest = _check(rows, captions, colors, titles)
    step_x = cell + 2 * border + gap
    step_y = step_x + (_LINE if captions is not None else 0)
    head = gap + (_LINE if titles is not None else 0)
    size = (gap + widest * step_x, head + len(rows) * step_y)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for j, title in enumerate(titles or ()):
        text = _shortened(title, font, cell)
        draw.text((gap + j * step_x, gap // 2), text, fill=_INK, font=font)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            if image is None:
                continue
            x, y = gap + j * step_x, head + i * step_y
            color = colors[i][j] if colors is not None else None
            corner = (x + cell + 2 * border - 1, y + cell + 2 * border - 1)
            draw.rectangle((x, y, *corner), outline=color or _FRAME, width=border)
            _paste(sheet, image, x + border, y + border, cell)
            if captions is not None:
                text = _shortened(captions[i][j], font, cell + 2 * border)
                draw.text((x, corner[1] + 1), text, fill=_INK, font=font)
    return sheet


def save_png(image: Image.Image, path: str | pathlib.Path) -> pathlib.Path:
    """Write an image as PNG, creating its folder, and return the path."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG", optimize=True)
    return path


def _check(rows, captions, colors, titles) -> int:
    """Return the number of columns."""
    lengths = [len(row) for row in rows]
    if not any(lengths):
        raise ValueError("a contact sheet needs at least one image, got none")
    for name, table in (("captions", captions), ("colors", colors)):
        if table is not None and [len(row) for row in table] != lengths:
            raise ValueError(f"{name} must have one entry a cell: rows of {lengths}")
    if titles is not None and len(titles) != max(lengths):
        raise ValueError(f"titles: {max(lengths)} expected, got {len(titles)}")
    return max(lengths)


def _paste(sheet, image, x, y, cell):
    """Scale an image into the square at (x, y), centered."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"an image must be uint8 [h, w, 3], got {image.dtype} {image.shape}"
        )
    high, wide = image.shape[:2]
    scale = cell / max(high, wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    # Small views are shown by their pixels, large originals are averaged down.
    way = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    scaled = Image.fromarray(image).resize(size, way)
    sheet.paste(scaled, (x + (cell - size[0]) // 2, y + (cell - size[1]) // 2))


def _shortened(text, font, width):
    text = " ".join(text.split())  # a name from a file may have line breaks
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"

"""The gallery: queries with their neighbours, right framed green and wrong red."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reporting import workdir
from reporting.formatting import number, plural

QUERY, RIGHT, WRONG = (75, 85, 99), (46, 125, 80), (190, 50, 40)
COLUMNS = 10
CELL, FRAME, TEXT = 96, 4, 15  # pixels


def write(folder: Path | str) -> Path | None:
    """Draws `figures/gallery.png` from `gallery.json` and `thumbnails.npz`.

    Returns:
      The picture's path, or None where the run has left no gallery.
    """
    queries, pictures = workdir.read_gallery(folder)
    queries = [q for q in queries if q.get("neighbours")]
    if not queries or not pictures:
        return None
    path = Path(folder) / workdir.FIGURES / "gallery.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(queries, pictures).save(path)
    return path


def draw(queries: Sequence[dict], pictures: dict[int, np.ndarray]) -> Image.Image:
    """A row a query: the query, then its neighbours by rank.

    Args:
      queries: `{query: id, name, neighbours: [{id, name, score, relevant}]}` each;
        a neighbour without `relevant` is neither right nor wrong.
      pictures: uint8 [s, s, 3] by record id; ids without one are drawn blank.
    """
    blank = np.full_like(next(iter(pictures.values())), 235)
    rows, captions, colors = [], [], []
    for query in queries:
        near = query["neighbours"][:COLUMNS]
        ids = [query["query"], *(n["id"] for n in near)]
        rows.append([pictures.get(int(i), blank) for i in ids])
        captions.append(
            [query.get("name") or str(query["query"]), *map(_caption, near)]
        )
        colors.append([QUERY, *map(_color, near)])
    return _sheet(rows, captions, colors)


def summary(folder: Path | str) -> str:
    """How many of the shown queries have a right first neighbour, as a sentence."""
    queries, _ = workdir.read_gallery(folder)
    firsts = [
        q["neighbours"][0].get("relevant") for q in queries if q.get("neighbours")
    ]
    judged = [first for first in firsts if first is not None]
    if not judged:
        return ""
    return (
        f"{sum(judged)} of the {plural(len(judged), 'query', 'queries')} shown have a "
        "right first neighbour."
    )


def _caption(neighbour: dict) -> str:
    score = neighbour.get("score")
    name = neighbour.get("name") or str(neighbour["id"])
    return name if score is None else f"{number(score)} {name}"


def _color(neighbour: dict) -> tuple[int, int, int]:
    relevant = neighbour.get("relevant")
    return QUERY if relevant is None else RIGHT if relevant else WRONG


def _sheet(rows: list, captions: list, colors: list) -> Image.Image:
    wide, high = CELL + 2 * FRAME + 6, CELL + 2 * FRAME + TEXT + 4
    size = (wide * max(map(len, rows)), high * len(rows))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            x, y = c * wide, r * high
            edge = CELL + 2 * FRAME - 1
            pen.rectangle((x, y, x + edge, y + edge), fill=colors[r][c])
            tile = Image.fromarray(image).resize((CELL, CELL), Image.Resampling.BICUBIC)
            sheet.paste(tile, (x + FRAME, y + FRAME))
            text = captions[r][c]
            while len(text) > 1 and font.getlength(text) > edge:
                text = text[:-1]
            pen.text((x, y + edge + 2), text, fill="black", font=font)
    return sheet

"""The sheet of results: queries with neighbors, right ones blue, wrong ones orange."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from reporting import examples, run_dir
from reporting.figures import contact_sheet
from reporting.formatting import number, plural

# Okabe and Ito: told apart by eyes that do not see red and green apart.
QUERY, RIGHT, WRONG = (75, 85, 99), (0, 114, 178), (213, 94, 0)
COLUMNS = 5  # neighbors a line, so that images can be seen on a phone
FRAME = 4  # pixels


def write(folder: Path | str) -> Path | None:
    """Draw `figures/examples.png` from `examples.json` and `thumbnails.npz`.

    Returns:
        The image's path, or None if the run has left no examples.
    """
    queries, images = examples.read(folder)
    queries = [q for q in queries if q.get("neighbors")]
    if not queries or not images:
        return None
    path = Path(folder) / run_dir.FIGURES / "examples.png"
    return contact_sheet.save_png(draw(queries, images), path)


def draw(
    queries: Sequence[dict],
    images: dict[int, np.ndarray],
    columns: int = COLUMNS,
) -> Image.Image:
    """Return an image of queries, each followed by its neighbors by rank.

    Args:
        queries: `{query: id, name, neighbors: [{id, name, score, relevant}]}` each; a
            neighbor without `relevant` is neither right nor wrong.
        images: Uint8 [s, s, 3] by record id; ids without one are drawn blank.
        columns: Neighbors a line.
    """
    blank = np.full((8, 8, 3), 235, np.uint8)
    rows, captions, colors = [], [], []
    for query in queries:
        near = query["neighbors"]
        for start in range(0, len(near), columns):
            line = near[start : start + columns]
            first = start == 0
            query_image = images.get(int(query["query"]), blank) if first else None
            rows.append([query_image, *(images.get(int(n["id"]), blank) for n in line)])
            name = query.get("name") or str(query["query"])
            captions.append([name if first else "", *map(_caption, line)])
            colors.append([QUERY, *map(_color, line)])
    return contact_sheet.contact_sheet(
        rows, captions=captions, colors=colors, border=FRAME
    )


def summary(folder: Path | str) -> str:
    """Return a sentence on how many shown queries have a right first neighbor."""
    queries, _ = examples.read(folder)
    firsts = [q["neighbors"][0].get("relevant") for q in queries if q.get("neighbors")]
    judged = [first for first in firsts if first is not None]
    if not judged:
        return ""
    return (
        f"{sum(judged)} of the {plural(len(judged), 'query', 'queries')} shown have a "
        "right first neighbor."
    )


def _caption(neighbor: dict) -> str:
    score = neighbor.get("score")
    name = neighbor.get("name") or str(neighbor["id"])
    return name if score is None else f"{number(score)} {name}"


def _color(neighbor: dict) -> tuple[int, int, int]:
    relevant = neighbor.get("relevant")
    return QUERY if relevant is None else RIGHT if relevant else WRONG

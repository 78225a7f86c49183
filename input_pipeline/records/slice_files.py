"""Folders of gray images as slices: files and pages, with the rows of a table."""

import pathlib
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageSequence

from input_pipeline import dataset
from input_pipeline.formats import deep_images, label_table, tables
from input_pipeline.formats import image as image_format

_TABLES = (".csv", ".tsv")


class SliceFolder(NamedTuple):
    """Images of a folder.

    Attributes:
        images: float32 [n, h, w], zeros around what is smaller than the largest.
        names: Path of each, below the folder; "#3" behind it names a page.
        paths: The same without pages.
        facts: Numbers of files that were ignored, and of images that were padded.
    """

    images: np.ndarray
    names: list[str]
    paths: list[str]
    facts: dict[str, int]


def is_stack(file: pathlib.Path) -> bool:
    """Return whether a file is an image, of which pages are slices."""
    return file.is_file() and image_format.is_image_file(file)


def read_folder(root: pathlib.Path) -> SliceFolder:
    """Read all images of a folder with the values that their files hold.

    Args:
        root: The folder; sub-folders belong to it. Pages of a file are slices. Or such
            a file alone.

    Raises:
        DataError: An image cannot be read, or there is none.
    """
    found = [root.name] if root.is_file() else label_table.scan(root).paths
    root = root.parent if root.is_file() else root
    paths = [path for path in found if image_format.is_image_file(root / path)]
    slices, names, owners = [], [], []
    for path in paths:
        pages = _pages(root / path)
        slices += pages
        names += [path if len(pages) == 1 else f"{path}#{k}" for k in range(len(pages))]
        owners += [path] * len(pages)
    if not slices:
        raise dataset.DataError(
            f"data.path: got {root} without one image; expected magnitude images, or "
            "an .npz or .npy file"
        )
    high, wide = np.max([page.shape for page in slices], axis=0)
    padded = sum(page.shape != (high, wide) for page in slices)
    images = np.stack([_pad(page, high, wide) for page in slices])
    facts = {"ignored_total": len(found) - len(paths), "padded": padded}
    return SliceFolder(images, names, owners, facts)


def find_table(root: pathlib.Path) -> pathlib.Path | None:
    """Return the only CSV or TSV file of a folder, or None.

    Raises:
        DataError: There are several.
    """
    existing = sorted(p for p in root.iterdir() if p.suffix.lower() in _TABLES)
    if len(existing) > 1:
        names = ", ".join(path.name for path in existing)
        raise dataset.DataError(
            f"data.table: {names} lie in {root}; expected one, or data.table to name it"
        )
    return existing[0] if existing else None


def join(root: pathlib.Path, folder: SliceFolder, path: pathlib.Path) -> pd.DataFrame:
    """Return the rows of a table in the order of the images.

    Args:
        root: The folder.
        folder: Its images.
        path: Table with a column of file names; pages of a file share its row.

    Raises:
        DataError: The table has no column of file names, or lacks an image.
    """
    table = tables.read_table(path, field="data.table")
    rows, columns = label_table.read_labels(path, table, tables.row_numbers(table))
    files = label_table.scan(root)._replace(paths=sorted(set(folder.paths)))
    matched, rejected = label_table.match(root, files, rows, path.name)
    missing = [name for name in folder.paths if name not in matched]
    if missing or rejected:
        first = [f"{name}: {reason}" for name, reason in rejected[:3]]
        first += [f"{name}: in no row" for name in missing[:3]]
        raise dataset.DataError(
            f"data.table: {path} has not one row for each image of {root}: "
            f"{'; '.join(first)}"
        )
    return pd.DataFrame(
        [{c: matched[p].extra[c] or None for c in columns} for p in folder.paths],
        columns=columns,
        dtype=object,
    )


def _pages(path: pathlib.Path) -> list[np.ndarray]:
    """Return the pages of an image file, float32 [h, w] each."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            if getattr(image, "n_frames", 1) == 1:
                return [_gray(path, image)]
            return [_gray(None, page) for page in ImageSequence.Iterator(image)]
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise dataset.DataError(
            f"data.path: {path} cannot be read ({error}); copy it again, or take it out"
        ) from None


def _gray(path: pathlib.Path | None, image: Image.Image) -> np.ndarray:
    """Return the values of an image; of colors, their mean."""
    if path is not None and deep_images.is_deep(image):
        values = deep_images.read_deep(path, image, 0).values
    else:
        plain = image.mode in ("L", "F") or image.mode.startswith("I")
        values = np.asarray(image if plain else image.convert("RGB"))
    values = values.astype(np.float32)
    return values if values.ndim == 2 else values.mean(axis=2)


def _pad(page: np.ndarray, high: int, wide: int) -> np.ndarray:
    top, left = (high - page.shape[0]) // 2, (wide - page.shape[1]) // 2
    out = np.zeros((high, wide), np.float32)
    out[top : top + page.shape[0], left : left + page.shape[1]] = page
    return out

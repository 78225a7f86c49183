"""A folder of images, with labels from labels.csv, from sub-folders, or without.

`docs/images.md` says how to arrange one.
"""

import functools
import hashlib
import os
import pathlib
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from absl import logging
from annotated_types import Interval

import field_types
from input_pipeline import dataset
from input_pipeline.cache import blocks as blocks_lib
from input_pipeline.cache import prepared
from input_pipeline.formats import image as image_format
from input_pipeline.formats import label_table, tables
from input_pipeline.records import image_files, tally

VERSION = 2  # raised whenever a pixel or a column changes, since data is kept
_BLOCK_BYTES = 32 * 2**20
_BLOCK_FILES = 1024


def load(
    *,
    path: str = "",
    size: Annotated[int, Interval(ge=16, le=1024)] = 64,
    cache: str | None = None,
    seed: int = 0,
    labels: image_files.LabelSource = "auto",
    val_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.2,
    split_by: image_files.SplitBy = "auto",
    max_rejected: Annotated[float, Interval(ge=0, le=10**7)] = 0.05,
    max_pixels: Annotated[int, Interval(ge=1, le=10**9)] = 64_000_000,
    rarity: Annotated[float, Interval(ge=0, le=10)] = 1.0,
    memory_mb: Annotated[int, Interval(ge=0, le=10**7)] = 512,
    workers: Annotated[int, Interval(ge=1, le=1024)] | None = None,
    progress: bool = True,
) -> dataset.Data:
    """Prepare a folder of images once and return it split.

    Args:
        path: The folder; sub-folders belong to it.
        size: Side of the prepared images in pixels, 16..1024.
        cache: Folder for prepared data; None for $AKIN_CACHE or ~/.cache/akin.
        seed: Random seed of the split.
        labels: Where labels come from. "table": labels.csv (or .tsv, .jsonl, .parquet)
            in the folder. "folder": the sub-folder that holds an image. "none": there
            are none. "auto": the table if there is one; else sub-folders if there are
            at least two and almost all images lie in them.
        val_fraction: Share of groups held out for validation, 0 <= val_fraction < 1.
        split_by: What a group is. "code": the files with the same finest code; a file
            without codes is its own group. "file": each file. "auto": "code" if there
            are at least 20 finest codes, since of fewer too few would be held out.
        max_rejected: Files that may be left out: a share if at most 1, and at least one
            file if above 0; else a number.
        max_pixels: Larger images are left out.
        rarity: Exponent of the code weights n_c^-rarity.
        memory_mb: Decoded images are kept in memory if they all fit into this.
        workers: Processes that decode; 1 for this one, None for one a CPU core where
            there is enough work.
        progress: Whether to show a progress bar.

    Returns:
        Train and validation splits, label = finest code, and the facts.

    Raises:
        DataError: If there is nothing to read, too much is rejected, or labels.csv is
            at fault.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(path=path)
    root = pathlib.Path(path).expanduser().resolve()
    files = label_table.scan(root)
    table = label_table.find_table(root) if labels in ("auto", "table") else None
    if labels == "table" and table is None:
        raise dataset.DataError(
            f"data.labels: got 'table' for {root} without {label_table.LABELS}; "
            "choices: auto, folder, none"
        )
    content = table.read_bytes() if table else b""
    spec = {
        "dataset": "image_folder",
        "version": VERSION,
        "size": size,
        "seed": seed,
        "val_fraction": val_fraction,
        "max_pixels": max_pixels,
        "labels": labels,
        "split_by": split_by,
        "content": label_table.digest(files, content if table else None),
    }

    plan = functools.partial(_plan, root, files, table, content, spec, max_rejected)
    data = prepared.load(
        spec,
        plan,
        cache=cache,
        rarity=rarity,
        memory_mb=memory_mb,
        progress=progress,
        workers=workers,
    )
    # The limit may be stricter now than when the data was prepared.
    tally.Tally(data.facts["files"], max_rejected).add(
        data.facts["rejected"], data.facts["rejected_total"]
    )
    for split in (data.train, data.validation):
        split.table["path"] = [str(root / name) for name in split.table["filename"]]
    _tell(data.facts, labels)
    # Files of one code are on both sides where files are held out.
    grouped_by = "label" if data.facts["split_by"] == "code" else "filename"
    facts = {**data.facts, "path": str(root)}
    return data._replace(facts=facts, grouped_by=grouped_by)


def _plan(
    root: pathlib.Path,
    files: label_table.Files,
    table: pathlib.Path | None,
    content: bytes,
    spec: dict,
    max_rejected: float,
) -> prepared.Work:
    """Return how to prepare a folder, in blocks."""
    rows = None
    if table is not None:
        text = tables.read_table(table, optional=label_table.COLUMNS, content=content)
        rows = image_files.Table(table, text, tables.row_numbers(text))
    index = image_files.build(
        root, files, rows, spec["labels"], spec["split_by"], image_format.is_image_file
    )
    count = tally.Tally(index.total, max_rejected)
    count.add(index.rejected)
    held = image_files.held_out_files(index.groups, spec["val_fraction"], spec["seed"])
    return prepared.Work(
        blocks=_cut(index.paths, held, spec["size"]),
        make=functools.partial(
            _block,
            root=str(root),
            size=spec["size"],
            max_pixels=spec["max_pixels"],
            bits=image_format.folder_bits(root, index.paths),
        ),
        columns=index.columns,
        facts=functools.partial(image_files.describe, index=index, root=root),
        watch=lambda report: count.add(report["rejected"]),
    )


def decode(
    path: str, size: int, max_pixels: int = 64_000_000, bits: int = 0
) -> np.ndarray:
    """Return one image prepared as `load` does it, uint8 [size, size, 3].

    Raises:
        DataError: If the file cannot be used.
    """
    try:
        return image_format.decode(path, size, max_pixels, bits).pixels
    except image_format.Rejected as reason:
        raise dataset.DataError(
            f"got {path}, which cannot be used: {reason}; expected an image"
        ) from None


def check(**fields: Any) -> None:
    """Check constraints on the fields of `load`, without touching data.

    Raises:
        DataError: There is no path.
    """
    if not fields.get("path"):
        raise dataset.DataError(
            "data.path: got none; expected the folder with the images"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any = None
) -> tuple[dataset.Split, dict]:
    """Return the images of a folder, or the one of a file, and facts on them.

    Args:
        path: File or folder.
        data: Fields of the dataset in training: images are prepared to its `size` and
            kept in its `cache`.
        transform: Not used.

    Raises:
        DataError: There is nothing that can be read.
    """
    del transform
    size = data.get("size", load.__kwdefaults__["size"])
    if not pathlib.Path(path).is_dir():
        bits = _bits_of_folder(data.get("path"))
        image = decode(path, size, bits=bits)
        return dataset.single({"image": image}, pathlib.Path(path).name, path), {}
    folder = load(
        path=path,
        size=size,
        cache=data.get("cache"),
        seed=0,
        labels=data.get("labels", "auto"),
        val_fraction=0.0,
        max_rejected=1.0,
    )
    return folder.train, folder.facts


def _bits_of_folder(path: str | None) -> int:
    """Return the bits that a folder's deep images use; 0 if there is no folder now."""
    root = pathlib.Path(path or "").expanduser()
    if not path or not root.is_dir():
        return 0
    return image_format.folder_bits(root, label_table.scan(root).paths)


def _cut(paths: list[str], held: np.ndarray, size: int) -> list[tuple]:
    """Cut the files into blocks whose images fit into some 32 MiB."""
    length = min(max(_BLOCK_BYTES // (3 * size * size), 16), _BLOCK_FILES)
    return [
        (start, paths[start : start + length], held[start : start + length])
        for start in range(0, len(paths), length)
    ]


def _block(
    item: tuple, *, root: str, size: int, max_pixels: int, bits: int
) -> blocks_lib.Block:
    start, paths, held = item
    pixels, ids, rejected, sizes, hashes, gray, deep = [], [], [], [], [], 0, []
    for offset, path in enumerate(paths):
        try:
            image = image_format.decode(
                os.path.join(root, path), size, max_pixels, bits
            )
        except image_format.Rejected as reason:
            rejected.append((label_table.shown(path), str(reason)))
            continue
        pixels.append(image.pixels)
        ids.append(start + offset)
        sizes.append((image.width, image.height))
        content = hashlib.blake2b(image.pixels.tobytes(), digest_size=8)
        hashes.append(content.hexdigest())
        gray += image.gray
        if image.bits:
            deep.append(image.bits)
    images = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), np.uint8)
    ids = np.array(ids, np.int64)
    held = held[ids - start]
    report = {"rejected": rejected, "sizes": sizes, "gray": gray, "deep": deep}
    for split, rows in (("train", ~held), ("validation", held)):
        report[split] = [hashes[row] for row in np.flatnonzero(rows)]
    return blocks_lib.Block(images, ids, held, report)


def _tell(facts: Mapping[str, Any], labels: str) -> None:
    """Log what a folder holds: where labels come from, and what was passed over.

    Args:
        facts: Facts of `load`.
        labels: The field `labels`.
    """
    text = f"{sum(facts['records'].values())} images, "
    if facts["labels_from"] == "none":
        text += "no labels"
    else:
        text += f"{facts['labels']} labels from {facts['labels_from']}"
    if labels == "auto" and facts["labels_from"] == "sub-folders":
        text += " (data.labels=none for none)"
    logging.info("%s; held out by %s", text, facts["split_by"])
    if facts["ignored_total"]:
        kinds = Counter(os.path.splitext(p)[1] or p for p in facts["ignored"])
        logging.info(
            "%d files that are no images are passed over (%s)",
            facts["ignored_total"],
            ", ".join(f"{kind} {n}" for kind, n in kinds.most_common(5)),
        )
    deep = facts["deep"]
    if deep["images"] and deep["bits"] < 16:
        logging.warning(
            "%d images have 16 bits a channel, of which %d are used; they are scaled "
            "by these %d bits",
            deep["images"], deep["bits"], deep["bits"],
        )  # fmt: skip

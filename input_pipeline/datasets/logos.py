"""Procedural logos: brands composed of shapes and letters, drawn in renditions.

Data that ships as code: seeded, without fonts or files, labeled with brands and with
sections of the Vienna Classification. A brand is a composition of elements, layout and
a word; its renditions change colors, stroke, inversion, word and placement.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

import field_types
from input_pipeline import dataset, splits
from input_pipeline.cache import blocks as blocks_lib
from input_pipeline.cache import prepared
from input_pipeline.datasets import image_folder
from input_pipeline.drawing import brands as brands_lib
from input_pipeline.records import columns as columns_lib

VERSION = 2  # raised whenever a pixel changes, since prepared data is kept
_BLOCK = 1280  # images


def load(
    *,
    path: str | None = None,
    size: Annotated[int, Interval(ge=16, le=512)] = 64,
    cache: str | None = None,
    seed: int = 0,
    val_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.2,
    max_rejected: Annotated[float, Interval(ge=0, le=10**7)] = 0,
    rarity: Annotated[float, Interval(ge=0, le=10)] = 1.0,
    memory_mb: Annotated[int, Interval(ge=0, le=10**7)] = 512,
    brands: Annotated[int, Interval(ge=2, le=10**6)] = 600,
    renditions: Annotated[int, Interval(ge=1, le=1000)] = 5,
    progress: bool = True,
) -> dataset.Data:
    """Draw the logos once and return them, split by brand.

    Args:
        path: None; logos are drawn, not read.
        size: Side of the images in pixels, 16..512.
        cache: Folder for prepared data; None for $AKIN_CACHE or ~/.cache/akin.
        seed: Random seed of brands, renditions and split.
        val_fraction: Share of brands held out for validation, in (0, 1).
        max_rejected: Not used; nothing is rejected.
        rarity: Exponent of the code weights n_c^-rarity.
        memory_mb: Decoded images are kept in memory if they all fit into this.
        brands: Number of brands.
        renditions: Images of each brand.
        progress: Whether to show a progress bar.

    Returns:
        Train and validation splits, label = brand, and the facts.

    Raises:
        DataError: If a field is out of range, or a path is given and would be ignored.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(path=path)
    del max_rejected
    spec = {
        "dataset": "logos",
        "version": VERSION,
        "size": size,
        "seed": seed,
        "val_fraction": val_fraction,
        "brands": brands,
        "renditions": renditions,
    }
    return prepared.load(
        spec,
        functools.partial(_plan, size, seed, brands, renditions, val_fraction),
        cache=cache,
        rarity=rarity,
        memory_mb=memory_mb,
        progress=progress,
        workers=None,
    )


def _plan(size, seed, brands, renditions, val_fraction) -> prepared.Work:
    order = splits.random_order(brands, [seed, 1])
    held = splits.held_out_groups(order, val_fraction)
    step = max(1, _BLOCK // renditions)
    return prepared.Work(
        blocks=[(k, min(k + step, brands)) for k in range(0, brands, step)],
        make=functools.partial(
            _block, size=size, seed=seed, renditions=renditions, held=held
        ),
        columns=functools.partial(_columns, seed=seed, brands=brands, per=renditions),
        facts=functools.partial(_facts, renditions=renditions),
    )


def check(**fields: Any) -> None:
    """Check constraints on the fields of `load`, without touching data.

    Raises:
        DataError: There is a path, which would be ignored.
    """
    if path := fields.get("path"):
        raise dataset.DataError(
            f"data.path: got {path!r} with data.name='logos', which draws its logos; "
            "expected no path, or data.name='image_folder' to read images"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any = None
) -> tuple[dataset.Split, dict]:
    """Return the images of a folder or a file; see `image_folder.read_records`."""
    return image_folder.read_records(path, data=data, transform=transform)


def _block(span, *, size: int, seed: int, renditions: int, held) -> blocks_lib.Block:
    ids = np.arange(span[0] * renditions, span[1] * renditions)
    images = np.empty((len(ids), size, size, 3), np.uint8)
    for row, id_ in enumerate(ids):
        number, rendition = divmod(int(id_), renditions)
        if rendition == 0 or row == 0:
            brand = brands_lib.compose(seed, number)
        rng = np.random.default_rng([seed, 3, number, rendition])
        images[row] = brands_lib.draw(brand, rng, size, plain=rendition == 0)
    return blocks_lib.Block(images, ids, held[ids // renditions], {})


def _columns(
    ids: np.ndarray, *, seed: int, brands: int, per: int
) -> columns_lib.Columns:
    number, rendition = np.divmod(ids, per)
    composed = {k: brands_lib.compose(seed, k) for k in np.unique(number).tolist()}
    position = {code: k for k, code in enumerate(brands_lib.CODES)}
    codes = columns_lib.pad_codes(
        [[position[code] for code in composed[k].codes] for k in number.tolist()]
    )
    names = [composed[k].word or f"figure {k}" for k in number.tolist()]
    table = {
        "id": ids,
        "label": number.astype(np.int32),
        "codes": codes,
        "name": names,
        "filename": [f"{k:06d}-{r}" for k, r in zip(number, rendition, strict=True)],
        "source": [f"rendition {r}" for r in rendition],
    }
    return columns_lib.Columns(
        table, [f"brand {k:06d}" for k in range(brands)], list(brands_lib.CODES)
    )


def _facts(reports, train, validation, *, renditions: int) -> dict:
    del reports
    per = {"train": train, "validation": validation}
    return {
        "groups": {
            split: len(np.unique(ids // renditions)) for split, ids in per.items()
        },
        "renditions": renditions,
        "rejected_total": 0,
        "rejected": [],
    }

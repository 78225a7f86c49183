"""Striped images: the label is the direction of the stripes."""

from typing import Annotated

import numpy as np
from annotated_types import Interval

from input_pipeline.dataset import Data, Split


def load(
    *,
    records: Annotated[int, Interval(ge=8, le=10**6)] = 96,
    size: Annotated[int, Interval(ge=8, le=512)] = 16,
    seed: int,
    progress: bool,
) -> Data:
    """Return striped images, half of them held out.

    Args:
        records: Number of images.
        size: Side of an image in pixels.
        seed: Random seed of the phases.
        progress: Not used; nothing takes long.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(records) % 4
    phase = rng.uniform(0, 6, records)
    y, x = np.mgrid[:size, :size]
    angle = np.pi * label / 4
    wave = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    gray = 127 * (1 + np.sin(wave + phase[:, None, None]))
    images = np.repeat(gray[..., None].astype(np.uint8), 3, -1)
    table = {
        "id": np.arange(records),
        "label": label.astype(np.int32),
        "codes": np.full((records, 1), -1, np.int32),
        "code_weights": np.zeros((records, 1), np.float32),
        "name": [f"stripes {i}" for i in range(records)],
    }
    names = ["0", "45", "90", "135"]
    split = Split([{"image": image} for image in images], table, names, [])
    half = np.arange(records) < records // 2
    facts = {"dataset": "stripes", "records": records}
    return Data(split.take(half), split.take(~half), facts, grouped_by="")

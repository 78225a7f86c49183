"""A contact sheet of originals beside the views that the network will see."""

import pathlib

import jax
import numpy as np

from reporting import contact_sheet
from train_lib import builders, validation
from train_lib.config import Recipe


def write(recipe: Recipe, output: pathlib.Path, count: int) -> str:
    """Writes `preview.png`; returns a sentence on it.

    Args:
        recipe: Config; checked here.
        output: Directory.
        count: Records, spread over the training split.
    """
    validation.check(recipe, jax.device_count())
    config = recipe.config
    split = builders.load_data(config).train
    rows = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
    images = split.read(rows)
    batch = {"image": images, "id": split.table["id"][rows].astype(np.int32)}
    rng = jax.random.fold_in(jax.random.PRNGKey(config.seed), 0)
    views = jax.jit(builders.make_augment(config))(rng, batch)
    mean, std = np.asarray(config.augment.mean), np.asarray(config.augment.std)

    def pictures(view: jax.Array) -> np.ndarray:
        shown = np.asarray(view) * std + mean
        return np.uint8(np.clip(shown * 255.0 + 0.5, 0, 255))

    columns = (images, pictures(views["view1"]), pictures(views["view2"]))
    names = [split.table["name"][row] for row in rows]
    sheet = contact_sheet.contact_sheet(
        list(zip(*columns, strict=True)),
        captions=[[name, "", ""] for name in names],
        titles=["record", "view 1", "view 2"],
    )
    path = contact_sheet.save_png(sheet, output / "preview.png")
    return f"{len(rows)} of {len(split)} training records and their views: {path}"

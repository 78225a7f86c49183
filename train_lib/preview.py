"""Show records and their views: one PNG each, and a contact sheet."""

import pathlib

import jax
import numpy as np

from input_pipeline import loader
from input_pipeline.dataset import Split
from reporting.figures import contact_sheet
from train_lib import evaluation, validation
from train_lib.config import Recipe
from train_lib.experiment import Experiment

CELL = 192  # side of an image in the PNG of one record


def write(recipe: Recipe, output: pathlib.Path, count: int) -> str:
    """Write `preview.png` and a PNG a record; return a sentence on them.

    Args:
        recipe: Config; checked here.
        output: Directory.
        count: Records, spread over the training split.
    """
    validation.check(recipe, jax.device_count())
    experiment = Experiment.from_config(recipe.config)
    return write_sheets(experiment, experiment.load_data().train, output, count)


def write_sheets(
    experiment: Experiment, split: Split, output: pathlib.Path, count: int
) -> str:
    """Write the sheets of some records; return a sentence on them.

    Args:
        experiment: Parts whose transform makes the views.
        split: Records.
        output: Directory.
        count: Records to show, spread over the split.
    """
    rows = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
    batch = loader.read(split, rows)
    rng = jax.random.fold_in(jax.random.PRNGKey(experiment.config.seed), 0)
    transform = experiment.transform
    titles = transform.preview_titles
    drawn = jax.jit(transform.preview)(rng, batch)
    columns = [evaluation.as_rgb(np.asarray(images)) for images in drawn]
    table = list(zip(*columns, strict=True))
    names = [split.table["name"][row] for row in rows]
    blank = [""] * (len(titles) - 1)
    for i, (name, images) in enumerate(zip(names, table, strict=True)):
        sheet = contact_sheet.contact_sheet(
            [images], cell=CELL, captions=[[name, *blank]], titles=titles
        )
        contact_sheet.save_png(sheet, output / f"sample_{i:03}.png")
    sheet = contact_sheet.contact_sheet(
        table, captions=[[name, *blank] for name in names], titles=titles
    )
    path = contact_sheet.save_png(sheet, output / "preview.png")
    return (
        f"{len(rows)} of {len(split)} training records and what the network sees of "
        f"them: {path}, and sample_000.png to sample_{len(rows) - 1:03}.png beside it"
    )

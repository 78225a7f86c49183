"""Recipes on data of one's own, without training."""

from train_lib import adaptation
from train_lib.config import load_recipe
from train_lib.experiment import Experiment


def fitted(source, path, **fields):
    """Load own data by a recipe and fit the recipe to it; returns data and both."""
    fields = {"data.path": str(path)} | {
        name.replace("__", "."): str(value) for name, value in fields.items()
    }
    recipe = load_recipe(source, fields)
    assert recipe.faults == []
    experiment = Experiment.from_config(recipe.config)
    data = experiment.load_data(progress=False)
    return data, adaptation.fit(experiment, data)

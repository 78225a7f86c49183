"""Finding parts and building them from a config."""

import pathlib

import numpy as np
import pytest

from train_lib import parts, validation
from train_lib.config import ConfigError, load_recipe
from train_lib.experiment import Experiment

ROOT = pathlib.Path(__file__).parents[2]


def test_choices_are_files_that_export_part():
    transforms = ["corruption", "image", "ultrasound", "undersampling"]
    assert parts.choices("transform") == transforms
    assert set(parts.choices("data")) == {
        "articles", "cine", "image_folder", "kspace", "logos", "phantoms", "slices",
        "speckle", "topics",
    }  # fmt: skip
    with pytest.raises(ValueError, match="did you mean .*phantoms|choices: .*phantoms"):
        parts.find("data", "phantom")


@pytest.mark.parametrize("recipe", ["moco_effnet", "triplet_mri", "simsiam_resnet"])
def test_example_batch_has_shape_of_transform(recipe):
    config = load_recipe(str(ROOT / f"configs/{recipe}.py:smoke"), {}).config
    shape = Experiment.from_config(config).example_batch()["view1"].shape
    assert shape[1:3] == tuple(np.broadcast_to(config.transform.size, 2))


def test_fault_found_by_network_is_config_fault():
    recipe = load_recipe(
        str(ROOT / "configs/triplet_mri.py") + ":smoke", {"model.strides": "(2, 2)"}
    )
    with pytest.raises(ConfigError, match="config.model: got 2 strides for 4 stages"):
        validation.check(recipe, devices=1)

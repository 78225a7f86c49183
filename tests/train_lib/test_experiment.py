"""What only builders do with a config: find parts, change views to measure by."""

import pathlib

import numpy as np
import pytest

from train_lib import experiment, validation
from train_lib.config import ConfigError, load_recipe

ROOT = pathlib.Path(__file__).parents[2]
OWN = {
    "snr": 20.0,
    "size": 8,
    "view1": {"acceleration": 4.0},
    "view2": {"acceleration": 8.0},
}


def test_choices_are_the_files_that_export_a_part():
    views = ["corruption", "image", "ultrasound", "undersampling"]
    assert experiment.choices("views") == views
    assert set(experiment.choices("datasets")) == {
        "articles", "cine", "image_folder", "kspace", "logos", "phantoms", "slices",
        "speckle", "topics",
    }  # fmt: skip
    with pytest.raises(ValueError, match="did you mean .*phantoms|choices: .*phantoms"):
        experiment.find("datasets", "phantom")


def test_a_field_of_views_is_changed_in_the_view_that_is_asked_for():
    changed = experiment.changed_views(OWN, "view1", {"acceleration": 6.0, "snr": 5.0})
    assert changed["view1"] == {"acceleration": 6.0}
    assert changed["view2"] == {"acceleration": 8.0}
    assert changed["snr"] == 5.0
    assert OWN["view1"] == {"acceleration": 4.0}  # the config stays as it is


def test_an_unknown_change_is_named():
    with pytest.raises(ValueError, match="'noise'; choices: .*acceleration.*snr"):
        experiment.changed_views(OWN, "view1", {"noise": 1.0})


@pytest.mark.parametrize("recipe", ["moco_effnet", "triplet_mri", "simsiam_resnet"])
def test_views_files_have_all_that_views_are_asked_for(recipe):
    config = load_recipe(str(ROOT / f"configs/{recipe}.py:smoke"), {}).config
    views = experiment.views_of(config)
    names = (
        "make_augment", "make_center", "make_view", "make_pictures", "make_preview",
        "input_shape", "facts", "read_records", "BASELINES",
        "GALLERY_VIEW",
    )  # fmt: skip
    assert [name for name in names if not hasattr(views, name)] == []
    shape = experiment.example_batch(config)["view1"].shape
    assert shape[1:3] == tuple(np.broadcast_to(config.transform.size, 2))


def test_what_only_the_network_can_refuse_is_a_fault_of_the_config():
    recipe = load_recipe(
        str(ROOT / "configs/triplet_mri.py") + ":smoke", {"model.strides": "(2, 2)"}
    )
    with pytest.raises(ConfigError, match="config.model: got 2 strides for 4 stages"):
        validation.check(recipe, devices=1)

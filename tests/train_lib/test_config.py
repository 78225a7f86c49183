"""Recipes: overrides, variants, and every fault at once."""

import pathlib
import textwrap

import pytest

from train_lib import validation
from train_lib.config import ConfigError, difference, load_recipe, parse

RECIPE = "configs/moco_effnet.py"


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])


def test_overrides_take_the_type_of_the_field():
    recipe = load_recipe(
        RECIPE,
        {
            "train.epochs": "7",
            "train.batch_size": "64",
            "model.zero_gamma": "false",
            "data.path": "/some/where",
            "transform.view1.crop_scale": "(0.5, 1.0)",
        },
    )
    config = recipe.config
    assert not recipe.faults
    assert (config.train.epochs, type(config.train.epochs)) == (7.0, float)
    assert config.schedule.epochs == 7.0  # the horizon follows the run
    assert config.train.batch_size == 64
    assert config.model.zero_gamma is False
    assert config.data.path == "/some/where"
    assert tuple(config.transform.view1.crop_scale) == (0.5, 1.0)
    changed = difference(config, recipe.default)
    assert changed["train.batch_size"][1] == 64
    assert "seed" not in changed


def test_config_is_locked():
    config = load_recipe(RECIPE, {}).config
    with pytest.raises(AttributeError):
        config.train.epoch = 3


@pytest.mark.parametrize(
    ("text", "old", "value"),
    [("3", 1, 3), ("3", 1.0, 3.0), ("1e-3", 1.0, 1e-3), ("2.0", 1, 2), ("x", "", "x"),
     ("5", "", "5"), ("True", False, True), ("[1, 2]", (0,), (1, 2))],
)  # fmt: skip
def test_parse(text, old, value):
    found, fault = parse(text, old)
    assert fault is None
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "old"), [("a", 1), ("1.5", 1), ("1", True), ("3", ())]
)
def test_parse_names_what_it_got(text, old):
    assert f"got {text!r}" in parse(text, old)[1]


def test_unknown_files_and_variants_list_the_choices():
    with pytest.raises(ConfigError, match=r"configs/moco_effnet\.py"):
        load_recipe("configs/moco_efnet.py", {})
    with pytest.raises(ConfigError, match="full, marks"):
        load_recipe(f"{RECIPE}:ful", {})


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module", "line 1: the recipe stops with ModuleNotFoundError"),
        ("def get_config(arg=''):\n    return {}['x']", "line 2: .* with KeyError"),
        ("def get_config(arg='')\n    pass", "SyntaxError"),
        ("def other():\n    pass", "has no get_config"),
    ],
)
def test_a_recipe_that_fails_is_a_fault_of_the_configuration(tmp_path, code, told):
    path = tmp_path / "wrong.py"
    path.write_text(code)
    with pytest.raises(ConfigError, match=told):
        load_recipe(str(path), {})


def test_five_faults_are_all_named():
    recipe = load_recipe(
        RECIPE,
        {
            "train.batchsize": "8",
            "train.epochs": "many",
            "train.batch_size": "100",
            "schedule.epochs": "100",
            "train.monitor": "eval/brand/recall@2",
            "model.name": "efficientnett",
            "gates.learned.metric": "train/los",
        },
    )
    with pytest.raises(ConfigError) as caught:
        validation.check(recipe, devices=8)
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) >= 7
    for part in (
        "config.train.batchsize; did you mean 'batch_size'?",
        "config.train.epochs: got 'many'; expected a float",
        "config.train.batch_size: got 100; expected a multiple of 8",
        "config.schedule.epochs: got a horizon of 100",
        "eval/brand/recall@2",
        "did you mean 'efficientnet'?",
        "train/los",
    ):
        assert part in told


def test_faults_inside_a_recipe_file_are_found_too(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(
        textwrap.dedent(
            """
            import importlib.util

            def get_config(arg=""):
                spec = importlib.util.spec_from_file_location(
                    "base", "configs/moco_effnet.py")
                base = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(base)
                config = base.get_config(arg).copy_and_resolve_references()
                with config.unlocked(), config.ignore_type():
                    config.model.widht = 2.0
                    config.objective.temperature = "warm"
                    config.transform.view1.flipp = 0.5
                    config.optimzer = config.optimizer
                    config.evaluate.sets.brand.relevance = "lable"
                return config
            """
        )
    )
    with pytest.raises(ConfigError) as caught:
        validation.check(load_recipe(str(path), {}), devices=8)
    told = "\n".join(caught.value.faults)
    for part in ("widht", "'warm'", "flipp", "config.optimzer", "lable"):
        assert part in told, told

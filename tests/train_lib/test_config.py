"""Recipes: overrides, variants, and every fault at once."""

import pathlib
import textwrap
from typing import Annotated, Literal

import pytest
from annotated_types import Gt, Interval

from field_types import parse
from train_lib import validation
from train_lib.config import ConfigError, difference, load_recipe

RECIPE = "configs/moco_effnet.py"


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])


def test_overrides_take_type_of_field():
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
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("1e-3", float, 1e-3),
        ("2.0", int, 2),
        ("x", str, "x"),
        ("5", str, "5"),
        ("True", bool, True),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ("pixels,untrained", tuple[str, ...], ("pixels", "untrained")),
        ("3", Annotated[int, Interval(ge=3)], 3),
        ("none", float | None, None),
        ("codes", Literal["label", "codes"], "codes"),
    ],
)
def test_text_is_read_as_type_of_field(text, annotation, value):
    parsed, fault = parse(text, annotation, None)
    assert fault is None
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("a", int, "an int"),
        ("1.5", int, "an int"),
        ("1", bool, "a bool"),
        ("nan", float, "a float"),
        ("1e999", float, "a float"),
        ("(1, 'a')", tuple[int, ...], "each item an int"),
        ("2", Annotated[int, Interval(ge=3, le=5)], "an int from 3 to 5"),
        ("0", Annotated[float, Gt(0)], "a float above 0"),
        ("cosin", Literal["cosine", "step"], "'cosine', 'step'"),
    ],
)
def test_text_of_another_type_is_named_with_what_is_expected(
    text, annotation, expected
):
    parsed, fault = parse(text, annotation, None)
    assert parsed is None
    assert f"got {text!r}" in fault
    assert expected in fault


def test_unknown_files_and_variants_list_choices():
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
def test_recipe_that_fails_is_fault_of_configuration(tmp_path, code, told):
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


def test_faults_inside_recipe_file_are_found_too(tmp_path):
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


@pytest.mark.parametrize("field", ["no_decay", "constant"])
def test_pattern_that_no_parameter_matches_is_refused(field):
    overrides = {"optimizer.name": "sgd", f"optimizer.{field}": "('no_such_layer',)"}
    recipe = load_recipe("configs/moco_effnet.py:smoke", overrides)
    (fault,) = validation.find_faults(recipe, 1)
    assert fault.startswith(f"config.optimizer.{field}: got 'no_such_layer'")
    name = fault.split("parameters are ")[1].split(",")[0]
    recipe = load_recipe(
        "configs/moco_effnet.py:smoke", overrides | {f"optimizer.{field}": name}
    )
    assert validation.find_faults(recipe, 1) == []

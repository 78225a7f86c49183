"""Every field of every recipe is checked before any data is touched.

Fields are enumerated, not listed: for each leaf of each recipe a value of another type,
a value out of range and an unknown choice must be answered with a fault that names the
field.
"""

import collections
import dataclasses
import json
import pathlib
import types
import typing

import annotated_types as at
import pytest

import field_types
import main
from train_lib import config as config_lib
from train_lib import parts, validation

ROOT = pathlib.Path(__file__).parents[1]
RECIPES = sorted(
    path for path in (ROOT / "configs").glob("*.py") if path.stem != "base"
)
# Gates are checked by reporting.gates.validation, which has tests of its own; here only
# that each is refused with a wrong value.
WORD = "no_such_value"


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def leaves(recipe):
    """Yield name and declared field of every leaf of a recipe."""
    config = config_lib.load_recipe(str(recipe), {}).config
    for name in config_lib.flatten(config):
        yield name, config_lib.field_of(config, name)


def faults_of(recipe, name, text):
    """Return the faults of a recipe with one field set from text."""
    loaded = config_lib.load_recipe(str(recipe), {name: text})
    return validation.find_faults(loaded, 1, without_network)


def without_network(config):
    """Stand in for `Experiment.from_config` where the network has nothing to say."""
    method = types.SimpleNamespace(init=lambda rng, batch: ({}, {}))
    patterns = {"no_decay": (), "constant": ()}
    return types.SimpleNamespace(
        config=types.SimpleNamespace(optimizer=patterns),
        objective=lambda *_, **__: method,
        example_batch=dict,
    )


def rules_of(annotation):
    """Yield the ranges of a field, also of the items of a tuple or a union."""
    if hasattr(annotation, "__metadata__"):
        for rule in annotation.__metadata__:
            yield from rule if isinstance(rule, at.GroupedMetadata) else [rule]
        annotation = annotation.__origin__
    for argument in typing.get_args(annotation):
        if argument is not Ellipsis:
            yield from rules_of(argument)


def is_number(annotation):
    """Return whether a field holds numbers, alone or in a tuple."""
    if hasattr(annotation, "__metadata__"):
        return is_number(annotation.__origin__)
    if typing.get_origin(annotation) is typing.Literal:
        return False
    arguments = [a for a in typing.get_args(annotation) if a is not Ellipsis]
    return annotation in (int, float) or any(map(is_number, arguments))


def is_tuple(annotation):
    if hasattr(annotation, "__metadata__"):
        return is_tuple(annotation.__origin__)
    if typing.get_origin(annotation) is tuple:
        return True
    return any(map(is_tuple, typing.get_args(annotation)))


def outside(rule):
    """Return a value that a range excludes, or None."""
    return {
        at.Gt: lambda: rule.gt,
        at.Ge: lambda: rule.ge - 1,
        at.Lt: lambda: rule.lt,
        at.Le: lambda: rule.le * 2 + 1,
    }.get(type(rule), lambda: None)()


def wrong_texts(annotation):
    """Yield kind and text of values that a field must refuse."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        yield "choice", WORD
        return
    if is_number(annotation):
        yield "type", "None-such"
        yield "not finite", "(nan,)" if is_tuple(annotation) else "nan"
        for rule in rules_of(annotation):
            if (value := outside(rule)) is not None:
                yield "range", f"({value},)" if is_tuple(annotation) else str(value)
    elif field_types.fits(True, annotation) and not field_types.fits("x", annotation):
        yield "type", WORD


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_leaf_refuses_wrong_values_by_name(recipe):
    counts, missed = collections.Counter(), []
    for name, field in leaves(recipe):
        if name.startswith("gates."):
            continue
        assert field.annotation is not typing.Any, f"{name} has no declared type"
        counts["leaves"] += 1
        for kind, text in wrong_texts(field.annotation):
            counts[kind] += 1
            faults = faults_of(recipe, name, text)
            if not any(f"config.{name}" in fault for fault in faults):
                missed.append(f"{name} = {text} ({kind}): {faults}")
    assert not missed, "\n".join(missed)
    assert counts["leaves"] > 90
    assert counts["range"] > counts["leaves"] / 2
    print(recipe.stem, dict(counts))


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_all_numbers_not_finite_are_named_in_one_list(recipe, value):
    texts = {
        name: f"({value},)" if is_tuple(field.annotation) else value
        for name, field in leaves(recipe)
        if is_number(field.annotation) and not name.startswith("gates.")
    }
    loaded = config_lib.load_recipe(str(recipe), texts)
    faults = validation.find_faults(loaded, 1, without_network)
    assert len(texts) > 40
    assert [
        name
        for name in texts
        if not any(f"config.{name}:" in fault for fault in faults)
    ] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_number_is_bounded_below_and_above(recipe):
    bounds = [(at.Ge, at.Gt), (at.Le, at.Lt)]
    unbounded = [
        name
        for name, field in leaves(recipe)
        if not name.startswith("gates.")
        and is_number(field.annotation)
        and not all(
            any(isinstance(rule, bound) for rule in rules_of(field.annotation))
            for bound in bounds
        )
    ]
    assert unbounded == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_gate_refuses_unknown_metric_and_operator(recipe):
    config = config_lib.load_recipe(str(recipe), {}).config
    for gate in config.gates:
        for field, text in (("metric", "eval/none"), ("op", "=="), ("at", "0.0")):
            faults = faults_of(recipe, f"gates.{gate}.{field}", text)
            assert any(f"config.gates.{gate}" in fault for fault in faults), (
                gate,
                field,
            )


@pytest.mark.parametrize("section", ["model", "objective", "data", "transform"])
def test_unknown_part_is_answered_with_files_of_its_folder(section):
    faults = faults_of(RECIPES[0], f"{section}.name", "no_such_part")
    package = parts.KINDS[section].package.replace(".", "/")
    files = sorted(path.stem for path in (ROOT / package).glob("*.py"))
    files = [name for name in files if name != "__init__"]
    (fault,) = [fault for fault in faults if f"config.{section}.name" in fault]
    assert f"choices: {', '.join(files)}" in fault


def test_names_of_optimizer_and_schedule_are_checked_with_all_other_faults():
    recipe = config_lib.load_recipe(
        str(RECIPES[0]),
        {"optimizer.name": "adamz", "schedule.name": "cosin", "train.epochs": "0"},
    )
    faults = "\n".join(validation.find_faults(recipe, devices=1))
    for part in ("config.optimizer.name", "config.schedule.name", "train.epochs"):
        assert part in faults


def test_every_field_of_part_can_be_set_and_is_in_config_json():
    for recipe in RECIPES:
        config = config_lib.load_recipe(str(recipe), {}).config
        names = set(config_lib.flatten(config))
        for section, fields in config_lib.declared(config):
            for name, field in fields.items():
                if parts.nested_section(field.annotation) or name == "sets":
                    continue
                assert any(
                    n == f"{section}.{name}" or n.startswith(f"{section}.{name}.")
                    for n in names
                ), f"{recipe.stem}: {section}.{name}"


def test_faults_end_with_exit_code_2_and_touch_no_data(tmp_path, capsys):
    from tests.train_lib import tiny_run

    def build(config):
        experiment = tiny_run.build(config)

        def load(**fields):
            raise AssertionError("data was touched")

        return dataclasses.replace(experiment, load=load)

    arguments = [
        f"--config={ROOT / 'configs/moco_effnet.py'}",
        f"--workdir={tmp_path / 'run'}",
        "--config.optimizer.name=adamz",
        "--config.objective.temperature=0",
        "--config.data.brands=-1",
        "--config.seed=-1",
    ]
    assert main.main(arguments, build=build) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for name in ("optimizer.name", "objective.temperature", "data.brands", "seed"):
        assert f"config.{name}" in error
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert len(report["refusals"][0]["faults"]) == 4

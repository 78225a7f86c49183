"""Configs are fitted to their data."""

import dataclasses

import jax
import numpy as np
import pytest

from input_pipeline.dataset import Data
from tests.train_lib import tiny_run
from train_lib import adaptation
from train_lib.config import load_recipe
from train_lib.errors import InputError
from train_lib.experiment import Experiment

CROSS = {
    "name": "retrieval",
    "optional": False,
    "cross": "source",
    "gallery_split": "all",
}
TAG = "eval/across/recall@1"


@pytest.fixture(scope="module")
def logos() -> tuple[Experiment, Data]:
    """Return the experiment of procedural logos, all by one source, and its data."""
    recipe = load_recipe("configs/moco_effnet.py:smoke", tiny_run.OVERRIDES)
    experiment = Experiment.from_config(recipe.config)
    data = experiment.load_data(progress=False)
    for split in (data.train, data.validation):
        split.table["source"] = np.array(["a"] * len(split))
    return experiment, data


def change(experiment: Experiment, **fields) -> Experiment:
    """Return an experiment with other fields in its config."""
    config = experiment.config.copy_and_resolve_references().unlock()
    with config.ignore_type():
        config.update_from_flattened_dict(fields)
    return dataclasses.replace(experiment, config=config.lock())


def with_lacking_set(experiment: Experiment, **fields) -> Experiment:
    """Return an experiment that also asks for retrieval across sources."""
    config = experiment.config.copy_and_resolve_references().unlock()
    config.evaluate.sets.across = CROSS | fields
    config.evaluate.examples = "across"
    config.evaluate.final_sets = ("across",)
    config.train.monitor = TAG
    config.gates.across = {**config.gates.instance, "metric": TAG}
    config.gates.against = {
        **config.gates.instance, "metric": "eval/brand/recall@1", "value": TAG,
    }  # fmt: skip
    return dataclasses.replace(experiment, config=config.lock())


def test_fit_returns_config_unchanged_where_data_suffices(logos):
    experiment, data = logos
    fitted = adaptation.fit(experiment, data)
    assert fitted.experiment is experiment
    assert not fitted.changes
    assert list(fitted.evaluators) == list(experiment.config.evaluate.sets)


def test_fit_leaves_out_optional_set_with_its_gates_monitor_and_examples(logos):
    experiment, data = logos
    asking = with_lacking_set(experiment, optional=True)
    fitted = adaptation.fit(asking, data)
    config = fitted.experiment.config
    assert "across" not in config.evaluate.sets
    assert "across" not in fitted.evaluators
    assert set(config.gates) == set(experiment.config.gates)
    assert config.train.monitor == "eval/brand/recall@1"
    assert config.evaluate.examples == "brand"
    assert config.evaluate.final_sets == ()
    assert fitted.changes[0].startswith(
        "eval/across is not measured, nor gate across, against: got cross='source'"
    )
    assert fitted.changes[1] == "train.monitor is eval/brand/recall@1."
    # The recipe's own config stays as it was.
    assert "across" in asking.config.evaluate.sets


def test_fit_refuses_lacking_set_and_its_advice_works(logos):
    experiment, data = logos
    asking = with_lacking_set(experiment)
    with pytest.raises(InputError, match=r"sets\.across\.optional=True") as refusal:
        adaptation.fit(asking, data)
    field, value = str(refusal.value).rsplit("set config.", 1)[1].split("=")
    assert value.startswith("True")
    fitted = adaptation.fit(change(asking, **{field: True}), data)
    assert fitted.changes


def test_fit_names_choices_where_nothing_is_left_to_monitor(logos):
    experiment, data = logos
    config = with_lacking_set(experiment, optional=True).config
    config = config.copy_and_resolve_references().unlock()
    for name in ("brand", "codes", "instance"):
        del config.evaluate.sets[name]
    with pytest.raises(InputError, match="choices: eval/geometry/"):
        adaptation.fit(dataclasses.replace(experiment, config=config), data)


@pytest.mark.parametrize(("records", "chunks"), [(9, 1), (19, 2)])
def test_fit_bounds_batch_by_training_records(logos, records, chunks):
    experiment, data = logos
    small = data._replace(train=data.train.take(np.arange(records)))
    asking = change(
        experiment, **{"train.batch_size": 64, "train.grad_cache_chunks": chunks}
    )
    fitted = adaptation.fit(asking, small)
    unit = chunks * jax.device_count()
    expected = max(n for n in range(records + 1) if n % unit == 0)
    assert fitted.experiment.config.train.batch_size == expected
    assert f"train.batch_size is {expected} instead of 64" in fitted.changes[0]


def test_fit_sets_fields_that_data_implies(logos):
    experiment, data = logos
    implied = {"transform.size": 24, "transform.view1.blur": 0.25}
    fitted = adaptation.fit(experiment, data._replace(facts={"implies": implied}))
    assert fitted.experiment.config.transform.size == 24
    assert fitted.experiment.transform.input_shape == (24, 24, 3)
    assert fitted.experiment.transform.view1.blur == 0.25
    assert fitted.changes[0] == (
        "transform.size is 24 instead of 16, as the data has it."
    )
    assert experiment.config.transform.size == 16


def test_fit_refuses_fewer_records_than_pair_needs(logos):
    experiment, data = logos
    small = data._replace(train=data.train.take(np.arange(1)))
    with pytest.raises(InputError, match="got 1 training records; expected at least"):
        adaptation.fit(experiment, small)


def test_fit_lengthens_short_runs_and_all_that_is_counted_in_epochs(logos):
    experiment, data = logos
    steps = len(data.train) // experiment.config.train.batch_size
    asking = change(experiment, **{"train.least_steps": 40 * steps - 1})
    with asking.config.unlock().ignore_type():
        asking.config.gates.learned.at = 1.0
    before, fitted = asking.config, adaptation.fit(asking, data)
    config = fitted.experiment.config
    assert config.train.epochs == 40
    assert (
        "train.epochs is 40 instead of 2, since train.least_steps"
        in (fitted.changes[0])
    )
    assert config.gates.learned.at == 20
    assert config.gates.instance.at == "end"
    for section, field in adaptation.IN_EPOCHS:
        assert config[section][field] == pytest.approx(20 * before[section][field])
    enough = change(experiment, **{"train.least_steps": 2 * steps})
    assert not adaptation.fit(enough, data).changes


def test_epochs_on_command_line_are_meant():
    source = "configs/moco_effnet.py:marks"
    plain = load_recipe(source, {"data.path": "x"}).config
    assert plain.train.least_steps == 300
    epochs = {"train.epochs": "2"}
    assert load_recipe(source, epochs).config.train.least_steps == 0
    both = epochs | {"train.least_steps": "9"}
    assert load_recipe(source, both).config.train.least_steps == 9

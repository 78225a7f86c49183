"""Every recipe is valid in every variant, and runs from data to verdict when shrunk."""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

import main
from train_lib import builders, schedules, train_step, validation
from train_lib.config import load_recipe

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.py"))
VARIANTS = {
    "moco_effnet": ["", "marks", "marks,codes", "full", "full,codes", "smoke"],
    "triplet_mri": ["", "margin05", "info_nce", "scans", "smoke", "info_nce,smoke"],
}
SMALLER = {"moco_effnet": ["--config.data.brands=25"], "triplet_mri": []}
TOP_LEVEL = {
    "seed", "model", "objective", "data", "augment", "optimizer", "schedule", "train",
    "evaluate", "gates",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def cases():
    return [(path, v) for path in RECIPES for v in VARIANTS[path.stem]]


@pytest.mark.parametrize(("path", "variant"), cases())
def test_recipe_is_valid_and_its_state_can_be_built(path, variant):
    recipe = load_recipe(f"{path}:{variant}", {})
    validation.check(recipe, devices=1)
    config = recipe.config
    assert set(config) == TOP_LEVEL
    objective = builders.make_objective(config, 100, axis_name=None)
    horizon = schedules.Horizon(0, 100)
    tx = builders.make_optimizer(config, builders.make_schedule(config, 10, horizon))
    batch = builders.example_batch(config)
    state = jax.eval_shape(
        lambda: train_step.init_state(objective, tx, config.seed, batch)
    )
    assert sum(x.size for x in jax.tree.leaves(state.params)) > 1e4


def test_full_is_efficientnet_b0_with_the_heads_of_moco_v3():
    config = load_recipe("configs/moco_effnet.py:full", {}).config
    objective = builders.make_objective(config, 100, axis_name=None)
    batch = {"view1": jnp.zeros((2, 64, 64, 3))}
    params, _ = jax.eval_shape(objective.init, jax.random.PRNGKey(0), batch)

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    assert count(params["encoder"]["backbone"]) == 4_007_548
    assert count(params["encoder"]["projector"]) == 6_299_648
    assert count(params["predictor"]) == 2_105_344


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_says_what_it_is(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "python main.py --config=" in module.__doc__
    with pytest.raises(ValueError, match="choices"):
        module.get_config("no such variant")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_smoke_variant_runs_from_data_to_verdict(path, tmp_path, monkeypatch):
    monkeypatch.setenv("AKIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(main, "_prepare_jax", lambda: None)
    arguments = [
        f"--config={path}:smoke",
        f"--workdir={tmp_path / 'run'}",
        "--config.train.chunks=2",
        *SMALLER[path.stem],
    ]
    assert main.main(arguments) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["finished"]
    batch = load_recipe(f"{path}:smoke", {}).config.train.batch_size
    # With chunks, each anchor still sees the keys of the whole batch.
    assert report["metrics"]["diag/candidates"]["value"] == batch
    chance = report["metrics"]["train/loss"]["chance"]
    assert 0.1 * chance < report["metrics"]["train/loss"]["value"] < 3 * chance

"""Every recipe is valid in every variant, and runs from data to verdict when shrunk."""

import ast
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
from reporting.figures import run_figures
from tests.input_pipeline import scan_files
from tests.train_lib import tiny_run
from train_lib import schedules, train_step, validation
from train_lib.config import load_recipe
from train_lib.experiment import Experiment

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted(
    path for path in (ROOT / "configs").glob("*.py") if path.stem != "base"
)
VARIANTS = {
    "moco_effnet": ["", "marks", "marks,codes", "full", "full,codes", "smoke"],
    "triplet_mri": ["", "margin05", "info_nce", "scans", "slices", "resnet", "smoke"],
    "infonce_mamba": ["", "real", "full", "v1", "tree", "tree,smoke", "smoke"],
    "simsiam_resnet": ["", "real", "real,joint", "real,imagenet", "full", "smoke"],
    "fastap_resnet": [
        "", "real,joint", "real,pseudo", "real,views", "full", "smoke"
    ],
}  # fmt: skip
# Variants that read files of a user; the path is checked before anything else.
FROM_FILES = {
    variant
    for variants in VARIANTS.values()
    for variant in variants
    if {"marks", "full", "scans", "slices", "real"} & set(variant.split(","))
}
SMALLER = {
    "moco_effnet": ["--config.data.brands=25", "--config.data.val_fraction=0.2"],
    # What every recipe has need not be compiled for every one of them.
    "triplet_mri": ["--config.evaluate.loss_batches=0"],
    "infonce_mamba": [],
}
# The two stages of ultrasound run one after the other, in test_stages.py.
ALONE = [path for path in RECIPES if path.stem in SMALLER]
# On eight virtual devices XLA takes a minute to compile EfficientNet; `.ci/run` runs
# its smoke variant as it is.
STAND_INS = {"moco_effnet"}
TOP_LEVEL = {
    "seed", "model", "objective", "data", "transform", "optimizer", "schedule", "train",
    "evaluate", "gates", "alarms",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def cases():
    return [(path, v) for path in RECIPES for v in VARIANTS[path.stem]]


@pytest.mark.parametrize(("path", "variant"), cases())
def test_recipe_is_valid_and_its_state_can_be_built(path, variant):
    here = {"data.path": str(ROOT)} if variant in FROM_FILES else {}
    recipe = load_recipe(f"{path}:{variant}", here)
    validation.check(recipe, devices=1)
    config = recipe.config
    assert set(config) == TOP_LEVEL
    experiment = Experiment.from_config(config)
    objective = experiment.objective(100, axis_name=None)
    tx = experiment.optimizer(experiment.schedule(10, schedules.Horizon(0, 100)))
    batch = experiment.example_batch()
    state = jax.eval_shape(
        lambda: train_step.init_state(objective, tx, config.seed, batch)
    )
    assert sum(x.size for x in jax.tree.leaves(state.params)) > 1e3


def test_full_is_efficientnet_b0_with_heads_of_moco_v3():
    config = load_recipe("configs/moco_effnet.py:full", {}).config
    objective = Experiment.from_config(config).objective(100, axis_name=None)
    batch = {"view1": jnp.zeros((2, 64, 64, 3))}
    params, _ = jax.eval_shape(objective.init, jax.random.PRNGKey(0), batch)

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    assert count(params["encoder"]["backbone"]) == 4_007_548
    assert count(params["encoder"]["projector"]) == 6_299_648
    assert count(params["predictor"]) == 2_105_344


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_docstring_has_command(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "python main.py --config=" in module.__doc__
    with pytest.raises(ValueError, match="choices"):
        module.get_config("no such variant")


@pytest.fixture(scope="module", params=ALONE, ids=lambda p: p.stem)
def smoke(request, tmp_path_factory):
    """A run of the smoke variant, from data to verdict: recipe and workdir."""
    path, folder = request.param, tmp_path_factory.mktemp(request.param.stem)
    arguments = [
        f"--config={path}:smoke",
        f"--workdir={folder / 'run'}",
        "--config.train.grad_cache_chunks=2",
        *SMALLER[path.stem],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("AKIN_CACHE", str(folder / "cache"))
        patch.setattr(main, "_prepare_jax", lambda: None)
        patch.setattr(run_figures, "write", lambda folder, events: {})
        build = tiny_run.build if path.stem in STAND_INS else None
        assert main.main(arguments, build=build) == 0
        yield path, folder / "run"


def events(run):
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_smoke_variant_runs_from_data_to_verdict(smoke):
    path, run = smoke
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert report["finished"]
    batch = load_recipe(f"{path}:smoke", {}).config.train.batch_size
    # With chunks, each anchor still sees the keys of the whole batch.
    candidates = report["metrics"]["diag/candidates"]["value"]
    if path.stem == "infonce_mamba":  # less the vectors of the anchor's own context
        assert batch - 5 < candidates < batch
    else:
        assert candidates == batch
    measured = "eval/loss/gap" in report["metrics"]
    assert measured == ("--config.evaluate.loss_batches=0" not in SMALLER[path.stem])
    chance = report["metrics"]["train/loss"]["chance"]
    assert 0.1 * chance < report["metrics"]["train/loss"]["value"] < 3 * chance


def test_final_sets_are_measured_for_baselines_and_at_end_only(smoke):
    path, run = smoke
    late = load_recipe(f"{path}:smoke", {}).config.evaluate.final_sets
    measured = {
        (e["kind"], e["step"], e.get("baseline")): {
            t.split("/")[1] for t in e["metrics"]
        }
        for e in events(run)
        if e["kind"] in ("eval", "baseline")
    }
    last = max(step for _, step, _ in measured)
    for (kind, step, _), sets in measured.items():
        expected = set(late) if kind == "baseline" or step == last else set()
        assert sets & set(late) == expected, (kind, step)


def test_scans_are_embedded_searched_and_previewed(smoke, tmp_path, capsys):
    path, run = smoke
    if path.stem != "triplet_mri":
        pytest.skip("marks: tests/train_lib/test_trainer.py")
    scans = tmp_path / "scans"
    scans.mkdir()
    good = scan_files.write_good(scans)
    command = [f"--workdir={run}", f"--input={scans}"]
    for view in ("view1", "view2"):
        out = f"--output={tmp_path / view}"
        assert main.main(["embed", *command, out, f"--view={view}"]) == 0
    z = [np.load(tmp_path / view / "embeddings.npy") for view in ("view1", "view2")]
    assert len(z[0]) == sum(len(k) for k in good.values())
    assert np.abs(z[0] - z[1]).max() > 1e-3
    assert main.main(["embed", *command, f"--output={tmp_path / 'whole'}"]) == 0
    query = [f"--workdir={run}", f"--query={scans / 'coils.npy'}", "--top=2"]
    capsys.readouterr()
    gallery = f"--gallery={tmp_path / 'whole'}"
    assert main.main(["search", *query, gallery, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert found[0]["filename"] == "coils.npy"
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)
    assert main.main(["search", *query]) == 0
    assert "phantom" in capsys.readouterr().out
    shown = [f"--config={path}:smoke", f"--output={tmp_path / 'p'}", "--count=3"]
    assert main.main(["preview", *shown]) == 0
    files = sorted(file.name for file in (tmp_path / "p").iterdir())
    assert files == ["preview.png", *(f"sample_00{i}.png" for i in range(3))]


def test_context_finds_vectors_by_their_titles(smoke, tmp_path, capsys):
    path, run = smoke
    if path.stem != "infonce_mamba":
        pytest.skip("vectors only")
    recipe = load_recipe(f"{path}:smoke", {})
    config = recipe.config
    data = Experiment.from_config(config).load_data(progress=False)
    context = tmp_path / "context.npy"
    np.save(context, data.validation.read([3])["context"][0])
    query = [f"--workdir={run}", f"--query={context}", "--top=4"]
    capsys.readouterr()
    assert main.main(["search", *query, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert [record["rank"] for record in found] == [1, 2, 3, 4]
    assert all("on topic" in record["name"] for record in found)
    # An untrained prediction is near the last vector of the context, if anything.
    assert found[0]["score"] > 0.3
    assert main.main(["search", *query]) == 0
    assert "on topic" in capsys.readouterr().out
    shown = [f"--config={path}:smoke", f"--output={tmp_path / 'p'}", "--count=2"]
    assert main.main(["preview", *shown]) == 0
    assert (tmp_path / "p" / "sample_001.png").is_file()
    baselines = {e["baseline"] for e in events(run) if e["kind"] == "baseline"}
    assert baselines == {*recipe.config.evaluate.baselines}
    assert baselines > {
        "persistence",
        "mean",
        "fitted_average",
        "exponential_average",
        "ridge",
        "untrained",
    }


def test_gallery_that_data_cannot_fill_ends_with_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(main, "_prepare_jax", lambda: None)
    command = ["--config=configs/triplet_mri.py:smoke", f"--workdir={tmp_path}"]
    assert main.main([*command, "--config.data.distractors=4"]) == 2
    error = capsys.readouterr().err
    assert "config.evaluate.sets.hard: got a gallery of 32" in error
    assert "Traceback" not in error


def count_fields(function):
    """Return how many fields a function sets to a value, names of parts aside."""
    count = 0
    for node in ast.walk(function):
        pairs = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Call):
            pairs = [(k.arg and ast.Constant(k.arg), k.value) for k in node.keywords]
        count += sum(
            isinstance(key, ast.Constant)
            and key.value != "name"
            and not isinstance(value, ast.Dict | ast.Call)
            for key, value in pairs
        )
    return count


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_main_body_of_recipe_has_at_most_40_fields(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (body,) = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "get_config"
    ]
    assert count_fields(body) <= 40

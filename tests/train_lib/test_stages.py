"""Stages: which fields are whose, where each begins, and one report on all."""

import json

import pytest

import main
from reporting import run_dir as files
from reporting.figures import run_figures
from reporting.page import stages as reporting
from tests.train_lib import tiny_run
from train_lib import stages
from train_lib.config import ConfigError

SOURCES = ["configs/simsiam_resnet.py:smoke", "configs/fastap_resnet.py:smoke"]


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(tiny_run.ROOT)


@pytest.fixture
def begun(monkeypatch):
    """Recipes of the stages that were begun, none of which is trained."""
    seen = []
    monkeypatch.setattr(reporting, "write", lambda *given: {"verdict": "PASS"})
    return seen


def train_all(begun, overrides, workdir, *more):
    def train_run(*given):
        begun.append(given)
        return 0

    return stages.train(SOURCES, overrides, workdir, train_run, *more)


def test_each_stage_goes_on_from_one_before(begun, tmp_path):
    fields = {
        "seed": "7",
        "2.train.epochs": "3",
        "train.epochs": "5",
        "objective.bins": "4",
    }
    assert train_all(begun, fields, tmp_path, "rescale") == 0
    (first, one, extend, _), (second, two, _, _) = begun
    assert (one, two) == (tmp_path / "1-simsiam_resnet", tmp_path / "2-fastap_resnet")
    assert extend == "rescale"
    assert first.config.model.init_from == ""
    assert second.config.model.init_from == str(one)
    assert (first.config.seed, second.config.seed) == (7, 7)
    assert (first.config.train.epochs, second.config.train.epochs) == (5.0, 3.0)
    assert second.config.objective.bins == 4
    assert not first.faults + second.faults


def test_field_of_no_stage_is_fault_of_first(begun, tmp_path):
    with pytest.raises(ConfigError, match="stage 1, .*; did you mean 'epochs'"):
        train_all(begun, {"train.epoch": "5"}, tmp_path)
    assert not begun
    with pytest.raises(ConfigError, match="got stage 3; expected 1 to 2"):
        train_all(begun, {"3.seed": "5"}, tmp_path)


def test_faults_of_all_stages_are_found_before_first_begins(begun, tmp_path):
    with pytest.raises(ConfigError, match=r"stage 2, .*train\.bogus"):
        train_all(begun, {"2.train.bogus": "1"}, tmp_path)
    assert not begun


def test_stage_whose_folder_is_another_run_s_is_found_before_first_begins(
    begun, tmp_path
):
    assert train_all(begun, {"2.seed": "1"}, tmp_path) == 0
    (_, folder, *_), (second, two, *_) = begun
    begun.clear()
    described = {"config": files.plain(second.config)}
    files.write_config(two, described)
    files.append_event(two, "eval", step=1, epoch=1.0)  # something was trained
    assert train_all(begun, {"2.seed": "1"}, tmp_path) == 0
    begun.clear()
    with pytest.raises(ConfigError, match=r"stage 2, .*config\.seed: got 2"):
        train_all(begun, {"2.seed": "2"}, tmp_path)
    assert not begun


def test_faults_of_recipe_that_gate_leads_to_are_found_before_training(begun, tmp_path):
    recipe = tmp_path / "first.py"
    recipe.write_text(
        "from configs import moco_effnet\n"
        "def get_config(arg=''):\n"
        "    config = moco_effnet.get_config('smoke').unlock()\n"
        "    config.gates = {'end': {'metric': 'train/loss', 'value': 0.0,\n"
        "        'op': '<=', 'otherwise': 'switch:configs/simsiam_resnet.py:bogus'}}\n"
        "    return config.lock()\n"
    )

    def train_run(*given):
        begun.append(given)
        return 0

    with pytest.raises(ConfigError, match="gate end leads to .*:bogus: .*bogus"):
        stages.train_recipe([str(recipe)], {}, tmp_path / "run", train_run)
    assert not begun
    text = recipe.read_text().replace(":bogus", ":smoke")
    recipe.write_text(text)
    fields = {"evaluate.batch_size": "-3"}
    with pytest.raises(ConfigError) as refused:
        stages.train_recipe([str(recipe)], fields, tmp_path / "run", train_run)
    own, later = refused.value.faults
    assert own.startswith("config.evaluate.batch_size")
    assert later.startswith("gate end leads to configs/simsiam_resnet.py:smoke: config")


def test_stage_that_does_not_pass_ends_it(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(reporting, "write", lambda *given: {"verdict": "FAIL"})
    with caplog.at_level("INFO"):
        assert stages.train(SOURCES, {}, tmp_path, lambda *given: 3) == 3
    assert "Not begun" in caplog.text
    assert "failed: configs/fastap_resnet.py:smoke" in caplog.text


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two smoke stages as one command, with the stand-in network: the workdir."""
    folder = tmp_path_factory.mktemp("stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_run.ROOT)
        patch.setenv("AKIN_CACHE", str(folder / "cache"))
        patch.setattr(main, "_prepare_jax", lambda: None)
        patch.setattr(run_figures, "write", lambda folder, events: {})
        command = [f"--config={source}" for source in SOURCES]
        command += [f"--workdir={folder}"]
        command += ["--config.train.epochs=1", "--config.evaluate.every_epochs=1"]
        command += ["--config.1.evaluate.loss_batches=0"]
        assert main.main(command, build=tiny_run.build) == 0
    return folder


def test_two_stages_have_one_report(both):
    report = json.loads((both / "report.json").read_text("utf-8"))
    assert list(report["stages"]) == ["1-simsiam_resnet", "2-fastap_resnet"]
    assert report["verdict"].startswith("PASS: 2 stages finished")
    text = (both / "report.md").read_text("utf-8")
    for title in (
        "Stages",
        "Config",
        "1-simsiam_resnet: training history",
        "2-fastap_resnet: training history",
        "2-fastap_resnet: metrics",
        "Retrieval examples",
        "Data",
        "Preprocessing and views",
    ):
        assert f"\n## {title}\n" in text, title
    history = text.split("training history")[1].split("##")[0]
    assert "| epoch | loss | chance | learning rate | time (s) |" in history
    assert (both / "figures" / "2-fastap_resnet-examples.png").is_file()
    assert "data:image/png;base64" in (both / "report.html").read_text("utf-8")


def test_each_stage_begins_at_chance_loss(both):
    one, two = (
        json.loads((both / name / "report.json").read_text("utf-8"))["metrics"]
        for name in ("1-simsiam_resnet", "2-fastap_resnet")
    )
    assert one["train/loss"]["chance"] == 0
    assert abs(one["train/loss"]["value"]) < 0.5
    assert two["train/loss"]["value"] == pytest.approx(
        two["train/loss"]["chance"], rel=0.4
    )
    # Both views of 16 frames are queries, each in the list of all others.
    assert two["diag/candidates"]["value"] == 31


def test_second_stage_is_held_against_first(both):
    one, two = (both / name for name in ("1-simsiam_resnet", "2-fastap_resnet"))
    before = json.loads((one / "report.json").read_text("utf-8"))["metrics"]
    after = json.loads((two / "report.json").read_text("utf-8"))["metrics"]
    for tag in ("eval/moved/error", "eval/moved/map", "eval/clean/recall@5"):
        assert after[tag]["baselines"]["start"]["value"] == before[tag]["value"], tag
        assert after[tag]["baselines"]["untrained"] is not None

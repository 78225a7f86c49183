"""What gates lead to is carried out: stop, more epochs, another recipe, the next."""

import json

import pytest

import main
from reporting import run_dir as files
from reporting.figures import run_figures
from tests.train_lib import tiny_run
from tests.train_lib.test_trainer import tiny  # noqa: F401

RECIPE = """
from configs import moco_effnet


def get_config(arg=""):
    config = moco_effnet.get_config("smoke").unlock()
    config.gates = {gates}
    config.train.log_every_steps = 1
    return config.lock()
"""


@pytest.fixture(scope="module", autouse=True)
def _no_figures(tiny):  # noqa: F811
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_figures, "write", lambda folder, events: {})
        yield


def write_recipe(folder, name, **gates):
    path = folder / f"{name}.py"
    path.write_text(RECIPE.replace("{gates}", repr(gates)))
    return path


def run(recipe, workdir, *more, **fields):
    arguments = tiny_run.arguments(workdir, **fields)[1:]
    return main.main([f"--config={recipe}", *arguments, *more], build=tiny_run.build)


def read(folder):
    return json.loads((folder / "report.json").read_text("utf-8"))


def test_missed_gate_stops_run_for_good(tmp_path):
    gate = {"metric": "eval/brand/recall@1", "value": 1.1, "at": 1.0}
    recipe = write_recipe(tmp_path, "early", early=gate | {"otherwise": "stop"})
    folder = tmp_path / "run"
    assert run(recipe, folder, train__epochs=3) == 3
    found = read(folder)
    assert (found["step"], found["epoch"]) == (6, 1.0)
    assert found["gates"]["early"]["action"] == "stop"
    assert "Gate early decided at epoch 1.00: the run ended there." in found["verdict"]
    assert files.read_heartbeat(folder)["state"] == "stopped"
    # The same command does not go on, since nothing was decided anew ...
    assert run(recipe, folder, train__epochs=3) == 3
    assert read(folder)["step"] == 6
    # ... and another bound is a new question, and said to be one.
    write_recipe(tmp_path, "early", early=gate | {"value": 0.0, "otherwise": "stop"})
    assert run(recipe, folder, train__epochs=3) == 0
    found = read(folder)
    assert found["step"] == 18
    assert "gate_changed" in [alarm["name"] for alarm in found["alarms"]]


def test_run_is_extended_while_near_then_switches_recipe(tmp_path):
    # Training loss falls at every measurement, and is never what is asked for.
    other = write_recipe(tmp_path, "other")
    gate = {"metric": "train/lr", "op": "<=", "value": -1.0, "near": 9.0}
    after = f"extend:1; switch:{other}"
    recipe = write_recipe(tmp_path, "first", end=gate | {"otherwise": after})
    folder = tmp_path / "run"
    assert run(recipe, folder, train__epochs=1, schedule__warmup_epochs=0) == 0
    found = read(folder)
    judged = found["gates"]["end"]["history"]
    assert [one["action"] for one in judged] == ["extend", "switch"]
    assert [one["epoch"] for one in judged] == [1.0, 2.0]
    assert (found["outcome"], found["step"], found["next"]) == ("FAIL", 12, str(other))
    starts = files.read_resumes(folder)
    assert [s["total_steps"] for s in starts] == [6, 12]
    assert starts[1]["horizon"] == [0, 12]
    after = read(folder / "then-other")
    assert (after["outcome"], after["step"]) == ("PASS", 6)
    # What the command line sets holds there too.
    fields = files.read_config(folder / "then-other")["config"]
    assert fields["data"]["brands"] == 25


def test_passed_gate_leads_on_with_trained_network(tmp_path):
    after = write_recipe(tmp_path, "after")
    gate = {"metric": "eval/brand/recall@1", "value": 0.0, "then": f"switch:{after}"}
    recipe = write_recipe(tmp_path, "before", end=gate)
    folder = tmp_path / "run"
    assert run(recipe, folder, train__epochs=0.5) == 0
    config = files.read_config(folder / "then-after")["config"]
    assert config["model"]["init_from"] == str(folder)
    assert "What follows is" in read(folder)["verdict"]

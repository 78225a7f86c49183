"""Runs are set up from their config and data."""

import re

import pytest

import main
from objectives import moco
from reporting import run_dir as files
from tests.train_lib import tiny_run
from train_lib import run_setup
from train_lib.config import load_recipe


def test_run_of_no_step_is_refused_with_least_number_of_epochs(tmp_path, capsys):
    words = tiny_run.arguments(
        tmp_path / "run", train__epochs=0.001, schedule__warmup_epochs=0
    )
    assert main.main(words, tiny_run.build) == main.EXIT_INPUT
    error = capsys.readouterr().err
    epochs, steps, least = re.search(
        r"config\.train\.epochs: got (\S+) epochs of (\d+) steps, which is no step; "
        r"expected at least (\S+)",
        error,
    ).groups()
    assert float(epochs) == 0.001
    assert round(float(least) * int(steps)) == 1


@pytest.mark.parametrize(
    ("extend", "end"), [("rescale", 24), ("continue", 12), ("restart", 24)]
)
def test_target_momentum_ends_where_learning_rate_does(
    tmp_path, monkeypatch, extend, end
):
    monkeypatch.setattr(run_setup.claim, "check_data", lambda *_: None)
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)
    segment = {"total_steps": 12, "horizon": [0, 12], "granted": 0.0}
    files.append_resume(tmp_path, segment)
    fields = tiny_run.OVERRIDES | {"train.epochs": "4"}
    recipe = load_recipe("configs/moco_effnet.py:smoke", fields)
    run = run_setup.open_run(tiny_run.build(recipe.config), tmp_path, extend)
    assert run.total_steps == 24
    assert run.objective.bound.total_steps == end
    momentum = [
        float(moco.ema_momentum_at(step, 0.9, end, "cosine")) for step in (0, 18)
    ]
    assert momentum[0] == pytest.approx(0.9)
    # Beyond the old curve the target rests; on the stretched one it still moves.
    assert (momentum[1] == 1) == (extend == "continue")

"""`main.py check` tells what a run would be, and trains nothing."""

import math

import jax
import numpy as np
import pytest

import main
from input_pipeline import data_checks
from tests.train_lib import tiny_run
from train_lib import check
from train_lib.config import load_recipe


def run_check(output, capsys, **more) -> tuple[int, str, str]:
    """Run the command; return exit code, output and errors."""
    fields = [w for w in tiny_run.arguments("unused", **more) if "--workdir" not in w]
    code = main.main(
        ["check", *fields, f"--output={output}", "--count=2"], tiny_run.build
    )
    return code, *capsys.readouterr()


def test_check_tells_data_measurements_gates_values_and_costs(tmp_path, capsys):
    output = tmp_path / "sheets"
    code, text, _ = run_check(output, capsys)
    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith("Data (logos): 100 records to train on, 25 held out; ")
    assert any(line.startswith("Measured: brand (recall@1 …)") for line in lines)
    assert any(line.startswith("Gates: ") for line in lines)
    values = [line for line in lines if line.startswith("Values of image: ")]
    assert values[0].endswith(" to 255 in 100 training records.")
    assert "A step of 16 records: " in lines[-1]
    assert "12 steps take " in lines[-1]
    assert sorted(p.name for p in output.iterdir()) == [
        "preview.png", "sample_000.png", "sample_001.png",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sheets"]


def test_check_lists_all_faults_and_exits_with_2(tmp_path, capsys):
    code, _, errors = run_check(
        tmp_path / "sheets", capsys, optimizer__name="adamz", train__batch_size=-1
    )
    assert code == main.EXIT_INPUT
    assert "2 faults" in errors
    assert "config.optimizer.name" in errors
    assert "config.train.batch_size" in errors
    assert not (tmp_path / "sheets").exists()


def test_forecast_memory_holds_state_and_batch():
    recipe = load_recipe("configs/moco_effnet.py:smoke", tiny_run.OVERRIDES)
    experiment = tiny_run.build(recipe.config)
    data = experiment.load_data(progress=False)
    forecast = check.forecast_step(experiment, data)
    objective = experiment.objective(1, axis_name=None)
    params, _ = jax.eval_shape(
        objective.init, jax.random.PRNGKey(0), experiment.example_batch()
    )
    state_bytes = sum(math.prod(p.shape) * 4 for p in jax.tree.leaves(params))
    assert forecast.memory > 3 * state_bytes  # AdamW keeps two more of each
    assert forecast.memory < 2**30
    assert forecast.flops > 0
    assert forecast.seconds > 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((4, 3), 7, np.uint8), "100 % have one value only"),
        (np.arange(12, dtype=np.uint8).reshape(4, 3), "no more than 11 of 255 is used"),
        (np.array([[0, np.nan], [1, 2]]), "50.0 % have values not finite"),
    ],
)
def test_suspicious_values_are_told(values, words):
    seen = data_checks.ValueRange(str(values.dtype))
    seen.add(values)
    (line,) = check.tell_ranges({"image": seen.describe()})
    assert words in line


def test_usual_values_are_not_suspicious():
    seen = data_checks.ValueRange("uint8")
    for chunk in (np.array([[3, 9]], np.uint8), np.array([[0, 255]], np.uint8)):
        seen.add(chunk)
    assert check.tell_ranges({"image": seen.describe()}) == [
        "Values of image: 0 to 255 in 2 training records."
    ]

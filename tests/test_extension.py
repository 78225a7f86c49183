"""One file a part and one recipe are all that a new method needs.

A copy of the repository gets one file each for a method, a network, a dataset, an
evaluator and an alarm, and a recipe of at most 25 lines; nothing else is edited.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = {
    "vicreg.py": "objectives",
    "linear_patches.py": "models",
    "stripes.py": "input_pipeline/datasets",
    "knn.py": "evaluators",
    "always.py": "reporting/alarms",
    "recipe.py": "configs",
}
TAG = "eval/knn/votes_right"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository with one more file of each kind."""
    folder = tmp_path_factory.mktemp("copy") / "akin"
    skipped = shutil.ignore_patterns(".git", "__pycache__", "runs", "tests", "images")
    shutil.copytree(ROOT, folder, ignore=skipped)
    for name, part in FILES.items():
        shutil.copy(ROOT / "tests" / "extension" / name, folder / part / name)
    return folder


def run(checkout, *words):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env=os.environ | {"AKIN_CACHE": str(checkout.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def workdir(checkout):
    """The workdir of a run of the new recipe."""
    folder = checkout.parent / "run"
    run(checkout, "main.py", "--config=configs/recipe.py", f"--workdir={folder}")
    return folder


def test_recipe_has_at_most_25_lines():
    text = (ROOT / "tests" / "extension" / "recipe.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 25


def test_new_metric_has_baselines_chance_interval_and_direction(workdir):
    report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
    metric = report["metrics"][TAG]
    assert metric["chance"] == 0.25
    assert metric["low"] <= metric["value"] <= metric["high"]
    assert metric["better"] == "higher"
    assert set(metric["baselines"]) == {"pixels", "untrained"}


def test_new_metric_has_table_row_and_curve(workdir):
    text = (workdir / "report.md").read_text(encoding="utf-8")
    (row,) = [
        line
        for line in text.splitlines()
        if line.startswith("|") and "knn/votes_right" in line and "0.25" in line
    ]
    assert "pixels" in text
    assert row.count("|") > 5
    drawn = "".join(path.name for path in (workdir / "figures").iterdir())
    assert "knn" in drawn
    history = json.loads((workdir / "history.json").read_text(encoding="utf-8"))
    assert len(history[TAG]["value"]) >= 3


def test_new_alarm_is_raised(workdir):
    report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
    assert "hinge_logged" in {alarm["name"] for alarm in report["alarms"]}


def test_generated_docs_list_all_new_parts(checkout):
    run(checkout, "-m", "docs.generate")
    text = (checkout / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in ("vicreg", "linear_patches", "stripes", "knn"):
        assert f"### `{name}`" in text
    alarms = (checkout / "docs" / "alarms.md").read_text(encoding="utf-8")
    assert "hinge_logged" in alarms


def test_unknown_names_are_answered_with_new_choices(checkout, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "main.py",
            "--config=configs/recipe.py",
            f"--workdir={tmp_path}",
            "--config.objective.name=vicregg",
            "--config.data.name=stripe",
        ],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "did you mean 'vicreg'" in done.stderr
    assert "did you mean 'stripes'" in done.stderr

"""Folders of images as people have them, by the command of README.md."""

import json
import math
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import main
from reporting.figures import run_figures
from tests.train_lib import tiny_run
from train_lib import adaptation
from train_lib.config import load_recipe
from train_lib.experiment import Experiment

ROOT = pathlib.Path(__file__).parents[1]
RETRIEVAL = {"concept", "codes"}
ALWAYS = {"geometry", "instance"}
ACROSS = "queries of each source search in the others (x, y)."
SINGLE = "all records are one gallery, whatever their source."


def write_images(root, count=24, place="{k:02d}.png"):
    """Images of noise; `place` names file k, of class k % 3."""
    rng = np.random.default_rng(count)
    for k in range(count):
        path = root / place.format(k=k, label="abc"[k % 3])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(path)


def write_table(root, header, row):
    """A labels.csv; `row` is a text with {k}, {label} and {source}."""
    lines = [
        row.format(k=f"{k:02d}", label="abc"[k % 3], source="xy"[k // 3 % 2])
        for k in range(24)
    ]
    (root / "labels.csv").write_text("\n".join([header, *lines]) + "\n")


def plain(root):
    write_images(root)


def stray(root):
    write_images(root)
    for name in ("README.txt", "LICENSE", "metadata.csv"):
        (root / name).write_text("file_name,text\n00.png,something\n")


def folders(root):
    write_images(root, place="{label}/{k:02d}.png")


def labels(root):
    write_images(root)
    write_table(root, "filename,label", "{k}.png,{label}")


def one_label(root):
    write_images(root)
    write_table(root, "filename,label", "{k}.png,cell")


def codes(root):
    write_images(root)
    write_table(root, "filename,codes,name", "{k}.png,z;z.{label},logo {k}")


def names(root):
    write_images(root)
    write_table(root, "filename,name", "{k}.png,logo {k}")


def one_source(root):
    write_images(root)
    write_table(root, "filename,codes,name,source", "{k}.png,{label},logo {k},x")


def sources(root):
    write_images(root)
    write_table(root, "filename,codes,name,source", "{k}.png,{label},{k},{source}")


LAYOUTS = {
    plain: (ALWAYS, ""),
    stray: (ALWAYS, ""),
    names: (ALWAYS, ""),
    one_label: (ALWAYS, ""),
    folders: (ALWAYS | RETRIEVAL, SINGLE),
    labels: (ALWAYS | RETRIEVAL, SINGLE),
    codes: (ALWAYS | RETRIEVAL, SINGLE),
    one_source: (ALWAYS | RETRIEVAL, SINGLE),
    sources: (ALWAYS | RETRIEVAL, ACROSS),
}


@pytest.mark.parametrize("variant", ["marks", "marks,codes", "full"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_sets_follow_from_contents_of_folder(tmp_path, layout, variant):
    layout(tmp_path / "images")
    overrides = {
        "data.path": str(tmp_path / "images"),
        "data.size": "16",
        "data.cache": str(tmp_path / "cache"),
    }
    recipe = load_recipe(f"{ROOT}/configs/moco_effnet.py:{variant}", overrides)
    assert not recipe.faults
    experiment = Experiment.from_config(recipe.config)
    fitted = adaptation.fit(experiment, experiment.load_data(progress=False))
    config, (sets, choice) = fitted.experiment.config, LAYOUTS[layout]
    assert set(fitted.evaluators) == set(config.evaluate.sets) == sets
    said = [line for line in fitted.changes if "eval/concept" in line]
    if choice:
        assert said == [f"eval/concept: {choice}"]
    else:
        assert said[0].startswith("eval/concept is not measured")
    tags = {
        f"eval/{name}/{tag}"
        for name, e in fitted.evaluators.items()
        for tag in e.tags()
    }
    assert config.train.monitor in tags
    assert config.evaluate.examples in sets
    for gate in config.gates.values():
        assert gate.metric in tags | {"train/loss"}
        assert gate.times <= 1
    unit = jax.device_count()
    assert config.train.batch_size == 19 // unit * unit
    assert config.train.epochs * (19 // config.train.batch_size) >= 300
    paired = config.objective.positives == "codes"
    assert paired == (variant == "marks,codes" and sets != ALWAYS)


def test_command_of_readme_runs_on_plain_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(main, "_prepare_jax", lambda: None)
    monkeypatch.setattr(run_figures, "write", lambda folder, history: {})
    monkeypatch.setenv("AKIN_CACHE", str(tmp_path / "cache"))
    stray(tmp_path / "images")
    arguments = [
        "--config=configs/moco_effnet.py:marks,codes,smoke",
        f"--config.data.path={tmp_path / 'images'}",
        f"--workdir={tmp_path / 'run'}",
        "--config.data.size=16",
        "--config.transform.size=16",
    ]
    assert main.main(arguments, build=tiny_run.build) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report["gates"]) == {
        "learned", "not_collapsed", "instance_above_untrained",
    }  # fmt: skip
    for gate in report["gates"].values():
        assert math.isfinite(gate["value"])
        assert math.isfinite(gate["bound"])

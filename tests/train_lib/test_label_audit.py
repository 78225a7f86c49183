"""A run on weak codes and a leaking split says so itself, before its first step."""

import dataclasses
import json
import math

import numpy as np
import pytest

import main
from input_pipeline import dataset
from reporting import run_dir as files
from reporting.figures import run_figures
from tests.train_lib import tiny_run
from tests.train_lib.test_trainer import tiny  # noqa: F401
from train_lib.config import load_recipe
from train_lib.experiment import Experiment


def weaken(data):
    """Two codes drawn at random, and a brand of training among those held out."""
    train = data.train
    codes = np.random.default_rng(0).integers(2, size=(len(train), 1)).astype(np.int32)
    weights = np.ones(codes.shape, np.float32)
    own = {"codes": codes, "code_weights": weights}
    known = train.take(train.table["label"] == train.table["label"][0])
    return data._replace(
        train=dataclasses.replace(train, table=train.table | own),
        validation=dataset.concatenate(data.validation, known),
    )


@pytest.fixture(scope="module")
def weak(tiny, tmp_path_factory):  # noqa: F811
    """The workdir of such a run, which was stopped by nothing."""
    workdir = tmp_path_factory.mktemp("weak")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_figures, "write", lambda folder, events: {})
        fields = {"objective__positives": "codes", "train__epochs": 0.5}
        arguments = tiny_run.arguments(workdir, **fields)
        assert main.main(arguments, build=tiny_run.build_with_data(weaken)) == 0
    return workdir


def test_audit_is_written_and_loss_lower_bound_logged(weak):
    found = files.read_audit(weak)
    lowest = found["lowest"]
    assert (found["positives"], found["alone"]) == ("codes", 0)
    assert lowest["candidates"] == 16
    # Two classes, N 16: half of the keys, less what a few draws differ by.
    assert lowest["density_ratio"] == pytest.approx(math.log(8), abs=0.1)
    assert lowest["soft"] == pytest.approx(math.log(8), abs=0.1)
    assert set(found["nearer"]) == {"pixels", "untrained"}
    for one in found["nearer"].values():
        assert one["low"] < 0.5 < one["high"]
    train = [e for e in files.read_events(weak) if e["kind"] == "train"]
    expected = train[0]["metrics"]["train/loss_chance"] * lowest["share"]
    for event in train:
        assert event["metrics"]["train/loss_lower_bound"] == pytest.approx(expected)
        assert event["metrics"]["train/loss"] > expected


def test_alarms_come_first_and_are_in_report(weak):
    events = files.read_events(weak)
    steps = {e["name"]: i for i, e in enumerate(events) if e["kind"] == "alarm"}
    first = next(i for i, e in enumerate(events) if e["kind"] == "train")
    assert steps["weak_labels"] < first
    assert steps["leaking_split"] < first
    report = json.loads((weak / "report.json").read_text(encoding="utf-8"))
    said = {alarm["name"]: alarm for alarm in report["alarms"]}
    assert "nats open" in said["weak_labels"]["seen"]
    assert "1 group by label" in said["leaking_split"]["seen"]
    assert "5 ids" in said["leaking_split"]["seen"]
    page = (weak / "report.md").read_text(encoding="utf-8")
    assert "Lowest loss" in page
    assert "On both sides of the split: 1 group by label" in page


def test_facts_on_data_are_kept(weak):
    data = files.read_data(weak)
    assert data["fields"]["image"] == {"shape": [16, 16, 3], "dtype": "uint8"}
    assert len(data["content_hash"]) == 16
    assert data["labeling"]["train"]["codes"] == 2
    assert data["leaks"]["records"] == pytest.approx(5 / 30)


@pytest.mark.parametrize(
    ("source", "positives"),
    [
        ("configs/moco_effnet.py", "instance"),
        ("configs/moco_effnet.py:codes", "codes"),
        ("configs/fastap_resnet.py", "label"),
    ],
)
def test_positives_are_those_of_objective(source, positives):
    config = load_recipe(source, {}).config
    assert Experiment.from_config(config).positives == positives

"""Values and curves read out of events."""

import math

import pandas as pd
import pytest

from reporting import exports, run_dir
from reporting.history import History
from tests.reporting import fake


def event(kind, step, metrics, **fields):
    base = {"kind": kind, "step": step, "epoch": step / 10, "time": float(step)}
    return base | fields | {"metrics": metrics}


def test_measure_takes_latest_value_with_its_chance_and_baselines():
    events = [
        event("baseline", 0, {"eval/a/recall@1": fake.metric(0.3)}, baseline="pixels"),
        event("train", 10, {"train/loss": 5.0, "train/loss_chance": 5.5}),
        event("eval", 10, {"eval/a/recall@1": fake.metric(0.4)}),
        event("train", 20, {"train/loss": 4.0, "train/loss_chance": 5.5}),
        event("eval", 20, {"eval/a/recall@1": fake.metric(0.6)}),
    ]
    now = History(events).metrics()
    assert now["train/loss"]["value"] == 4.0
    assert now["train/loss"]["chance"] == 5.5
    assert now["eval/a/recall@1"]["value"] == 0.6
    assert now["eval/a/recall@1"]["baselines"]["pixels"]["value"] == 0.3
    assert History(events).until("eval/a/recall@1", 1.0, 1)[0].value == 0.4


def test_run_is_finished_by_final_evaluation_until_resumed():
    final = event("eval", 20, {}, final=True)
    assert not History([]).finished
    assert not History([event("eval", 20, {})]).finished
    assert History([event("train", 20, {}), final]).finished
    assert History([final, event("resume", 20, {})]).finished
    assert not History([final, event("train", 30, {})]).finished
    assert not History([final, event("eval", 30, {})]).finished


def test_series_takes_chance_from_tag_beside():
    events = [
        event("train", 1, {"x": 2.0, "x_chance": 4.0}),
        event("train", 2, {"x": math.nan}),
        event("baseline", 0, {"x": 9.0}),
        event("eval", 3, {"x": {"value": 1.0, "chance": 3.0}}),
    ]
    frame = History(events).series("x")
    assert frame["step"].tolist() == [1, 2, 3]
    assert frame["chance"].tolist() == [4.0, 4.0, 3.0]
    assert math.isnan(frame["value"][1])
    assert History().series("x").empty


def test_files_hold_every_measurement(tmp_path):
    fake.make(tmp_path)
    events = run_dir.read_events(tmp_path)
    exports.write(tmp_path, History(events))
    curves = pd.read_csv(tmp_path / run_dir.CURVES)
    assert len(curves) == len(events)
    evals = curves[curves["kind"] == "eval"]
    assert evals["eval/brand/recall@1"].iloc[-1] == pytest.approx(0.9)
    assert evals["eval/brand/recall@1.n"].iloc[-1] == 400
    assert curves[curves["baseline"] == "pixels"]["eval/brand/recall@1"].item() == 0.3
    read = fake.strict_json(tmp_path / run_dir.HISTORY)
    assert read["train/loss"]["step"] == list(range(1, 101))
    assert read["eval/brand/recall@1"]["high"][-1] == pytest.approx(0.94)


def test_empty_history_writes_empty_files(tmp_path):
    exports.write(tmp_path, History())
    assert fake.strict_json(tmp_path / run_dir.HISTORY) == {}
    assert pd.read_csv(tmp_path / run_dir.CURVES).empty

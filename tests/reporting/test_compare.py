"""Runs side by side, from the files that they left."""

import json

import numpy as np
import pytest

import main
from reporting import compare, run_dir
from reporting.page import comparison as comparison_page
from tests.reporting import fake


@pytest.fixture
def runs(tmp_path):
    """A run, and the same with another field and a better figure."""
    first, second = fake.make(tmp_path / "a"), fake.make(tmp_path / "b")
    config = json.loads((second / run_dir.CONFIG).read_text("utf-8"))
    config["config"].setdefault("train", {})["epochs"] = 77
    (second / run_dir.CONFIG).write_text(json.dumps(config))
    lines = (second / "metrics.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    for event in events:
        for tag, metric in event["metrics"].items():
            if event["kind"] == "eval" and tag == "eval/brand/recall@1":
                metric |= {"value": 0.99, "low": 0.98, "high": 1.0}
    text = "".join(json.dumps(event) + "\n" for event in events)
    (second / "metrics.jsonl").write_text(text)
    return first, second


def test_only_fields_that_differ_are_listed(runs):
    found = compare.compare(runs)
    assert list(found["config"]) == ["train.epochs"]
    assert found["config"]["train.epochs"][1] == 77
    assert compare.compare([runs[0], runs[0]])["config"] == {}


def test_figure_whose_interval_does_not_touch_is_marked(runs):
    found = compare.compare(runs)
    brand = found["metrics"]["eval/brand/recall@1"]
    assert [metric["apart"] for metric in brand] == [False, True]
    assert brand[1]["value"] == 0.99
    text = compare.table(found)
    row = next(line for line in text.splitlines() if "brand/recall@1" in line)
    assert row.count("*") == 1
    assert "0.990 (0.980 … 1.00) *" in row
    assert text.index("verdict") < text.index("train.epochs") < text.index("| gate")


def test_baselines_of_first_run_are_columns(runs):
    text = (runs[0] / "metrics.jsonl").read_text("utf-8")
    text = text.replace('"pixels"', '"persistence"').replace("raw pixels", "copy")
    (runs[0] / "metrics.jsonl").write_text(text)
    shown = compare.table(compare.compare(runs))
    header = next(line for line in shown.splitlines() if line.startswith("| metric"))
    cells = [cell.strip() for cell in header.split("|")]
    assert cells[-3:-1] == ["copy", "untrained network"]
    row = next(x for x in shown.splitlines() if x.startswith("| brand/recall@1"))
    assert [cell.strip() for cell in row.split("|")][-3:-1] == ["0.300", "0.100"]


def test_missing_metric_of_a_run_is_blank(runs):
    lines = (runs[1] / "metrics.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    for event in events:
        event["metrics"].pop("eval/brand/recall@1", None)
    text = "".join(json.dumps(event) + "\n" for event in events)
    (runs[1] / "metrics.jsonl").write_text(text)
    found = compare.compare(runs)
    assert found["metrics"]["eval/brand/recall@1"][1] is None
    row = next(x for x in compare.table(found).splitlines() if "brand/recall@1" in x)
    assert "–" in row or "—" in row


def test_command_prints_tables_or_json(runs, capsys):
    command = ["compare", f"--workdir={runs[0]}", f"--with={runs[1]}"]
    assert main.main(command) == 0
    assert "train.epochs" in capsys.readouterr().out
    assert main.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["train.epochs"][1] == 77


def test_folder_without_run_is_named(runs, tmp_path, capsys):
    assert main.main(["compare", f"--workdir={runs[0]}", f"--with={tmp_path}"]) == 2
    assert "holds no run" in capsys.readouterr().err
    with pytest.raises(ValueError, match="two or more"):
        compare.compare(runs[:1])


def gate_of(folder, **fields):
    """Writes other fields into the gate `viol` of a run's config."""
    config = run_dir.read_config(folder)
    gate = {"metric": "train/loss", "op": "<=", "value": 0.01}
    config["config"]["gates"]["viol"] = gate | fields
    run_dir.write_json(folder / run_dir.CONFIG, config)


def test_compare_reports_gates_with_two_thresholds(runs):
    gate_of(runs[0])
    gate_of(runs[1], value=0.015)
    found = compare.compare(runs)
    assert found["thresholds"] == {"viol": ["<= 0.0100", "<= 0.0150"]}
    said = "different thresholds: viol is <= 0.0100 in a, <= 0.0150 in b."
    assert said in compare.table(found)


@pytest.mark.parametrize("fields", [{"times": 2.0}, {"op": "<"}, {"value": "chance"}])
def test_gate_needs_only_a_threshold(runs, fields):
    gate_of(runs[0])
    gate_of(runs[1], **fields)
    assert list(compare.compare(runs)["thresholds"]) == ["viol"]


def test_levels_that_were_measured_apart_are_same_criterion(runs):
    text = (runs[1] / "metrics.jsonl").read_text("utf-8")
    (runs[1] / "metrics.jsonl").write_text(text.replace("4.436", "5.545"))
    found = compare.compare(runs)
    bounds = [gate["bound"] for gate in found["gates"]["learned"]]
    assert bounds[0] != bounds[1]
    assert found["thresholds"] == {}


def test_all_runs_are_drawn_on_one_axis_each_with_its_chance(runs):
    text = (runs[1] / "metrics.jsonl").read_text("utf-8")
    (runs[1] / "metrics.jsonl").write_text(text.replace("4.436", "5.545"))
    events = {folder.name: run_dir.RunDir(folder).history for folder in runs}
    (axis,) = comparison_page.loss(events)[0].axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    frame = events["b"].series("train/loss", "train")
    np.testing.assert_allclose(lines["b"].get_ydata(), frame["value"])
    levels = {x.get_ydata()[0]: x for x in axis.get_lines() if x.get_linestyle() == ":"}
    assert set(levels) == {4.436, 5.545}
    assert levels[5.545].get_color() == lines["b"].get_color()
    assert lines["a"].get_linestyle() != lines["b"].get_linestyle()
    ((axis,),) = (figure.axes for figure in comparison_page.scores(events))
    assert axis.get_title() == "brand/recall@1"
    assert len(axis.collections) == 2  # an interval a run
    low, high = axis.collections[1].get_paths()[0].get_extents().intervaly
    assert (low, high) == (0.98, 1.0)


def test_page_has_table_of_terminal_and_curves(runs, tmp_path, capsys):
    gate_of(runs[0])
    gate_of(runs[1], value=0.015)
    command = ["compare", f"--workdir={runs[0]}", f"--with={runs[1]}"]
    assert main.main([*command, f"--output={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    text = (tmp_path / "out" / "compare.md").read_text("utf-8")
    page = (tmp_path / "out" / "compare.html").read_text("utf-8")
    for words in ("train.epochs", "0.990 (0.980 … 1.00) *", "different thresholds"):
        assert words in printed
        assert words in text
        assert words in page
    assert page.count("data:image/svg+xml") == 2
    for name in ("loss", "metrics"):
        assert f"](figures/{name}.svg)" in text
        assert (tmp_path / "out" / "figures" / f"{name}.svg").is_file()


def test_runs_that_have_logged_nothing_have_no_curves(tmp_path):
    folders = [fake.make(tmp_path / name, epochs=0, final=False) for name in "ab"]
    found = compare.compare(folders)
    page = comparison_page.write(folders, found, tmp_path / "out")
    assert "Nothing has been logged yet" in page.read_text("utf-8")

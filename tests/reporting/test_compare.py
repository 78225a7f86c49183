"""Runs side by side, from the files that they left."""

import json

import pytest

import main
from reporting import compare, workdir
from tests.reporting import fake


@pytest.fixture
def runs(tmp_path):
    """A run, and the same with another field and a better figure."""
    first, second = fake.make(tmp_path / "a"), fake.make(tmp_path / "b")
    config = json.loads((second / workdir.CONFIG).read_text("utf-8"))
    config["config"].setdefault("train", {})["epochs"] = 77
    (second / workdir.CONFIG).write_text(json.dumps(config))
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


def test_a_figure_whose_interval_does_not_touch_is_marked(runs):
    found = compare.compare(runs)
    brand = found["metrics"]["eval/brand/recall@1"]
    assert [metric["apart"] for metric in brand] == [False, True]
    assert brand[1]["value"] == 0.99
    text = compare.table(found)
    row = next(line for line in text.splitlines() if "brand/recall@1" in line)
    assert row.count("*") == 1
    assert "0.990 (0.980 … 1.00) *" in row
    assert text.index("verdict") < text.index("train.epochs") < text.index("| gate")


def test_the_floors_of_the_first_run_are_columns(runs):
    text = (runs[0] / "metrics.jsonl").read_text("utf-8")
    text = text.replace('"pixels"', '"copy_last"')
    (runs[0] / "metrics.jsonl").write_text(text)
    shown = compare.table(compare.compare(runs))
    header = next(line for line in shown.splitlines() if line.startswith("| metric"))
    cells = [cell.strip() for cell in header.split("|")]
    assert cells[-3:-1] == ["copy of the last", "untrained network"]
    row = next(x for x in shown.splitlines() if x.startswith("| brand/recall@1"))
    assert [cell.strip() for cell in row.split("|")][-3:-1] == ["0.300", "0.100"]


def test_what_one_run_lacks_is_left_blank(runs):
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


def test_the_command_prints_tables_or_json(runs, capsys):
    command = ["compare", f"--workdir={runs[0]}", f"--with={runs[1]}"]
    assert main.main(command) == 0
    assert "train.epochs" in capsys.readouterr().out
    assert main.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["train.epochs"][1] == 77


def test_a_folder_without_a_run_is_named(runs, tmp_path, capsys):
    assert main.main(["compare", f"--workdir={runs[0]}", f"--with={tmp_path}"]) == 2
    assert "holds no run" in capsys.readouterr().err
    with pytest.raises(ValueError, match="two or more"):
        compare.compare(runs[:1])

"""Files that survive a kill, and a history that forgets what was lost."""

import json
import math
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from reporting import content, examples, files, run_dir
from tests.reporting import fake


class Metric(NamedTuple):
    value: float
    n: int
    chance: float
    low: float
    high: float


def append(folder, kind, step, **fields):
    return run_dir.append_event(folder, kind, step=step, epoch=step / 10, **fields)


def test_events_read_back_as_they_were_appended(tmp_path):
    metrics = {
        "train/loss": jnp.float32(1.5),
        "eval/brand/recall@1": Metric(np.float64(0.5), 10, math.nan, 0.2, 0.8),
        "train/grad_norm": math.inf,
    }
    event = append(tmp_path, "train", 3, metrics=metrics)
    (read,) = run_dir.read_events(tmp_path)
    assert read["metrics"]["train/loss"] == 1.5
    assert read["metrics"]["train/grad_norm"] == math.inf
    brand = read["metrics"]["eval/brand/recall@1"]
    assert math.isnan(brand.pop("chance"))
    assert brand == {"value": 0.5, "n": 10, "low": 0.2, "high": 0.8}
    assert event["step"] == read["step"] == 3
    assert event["metrics"]["train/loss"] == 1.5
    for line in (tmp_path / run_dir.METRICS).read_text("utf-8").splitlines():
        assert "NaN" not in line
        assert "Infinity" not in line


def test_unknown_kinds_and_states_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one of train, eval"):
        append(tmp_path, "trian", 1)
    with pytest.raises(ValueError, match="expected one of starting"):
        run_dir.write_heartbeat(tmp_path, "asleep")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_line_cut_short_is_left_out_and_does_not_swallow_next(tmp_path, cut):
    append(tmp_path, "train", 1, metrics={"train/loss": 1.0}, note="größer")
    append(tmp_path, "train", 2, metrics={"train/loss": 2.0}, note="größer")
    path = tmp_path / run_dir.METRICS
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 2 if cut == 1 else 1  # without its newline a line is still whole
    assert [e["step"] for e in run_dir.read_events(tmp_path)] == [1, 2][:whole]
    append(tmp_path, "train", 3)
    expected = [1, 2, 3] if whole == 2 else [1, 3]
    assert [e["step"] for e in run_dir.read_events(tmp_path)] == expected


def test_cut_within_character_is_survived(tmp_path):
    append(tmp_path, "train", 1)
    with open(tmp_path / run_dir.METRICS, "ab") as file:
        file.write('{"kind": "train", "step": 2, "note": "ö'.encode()[:-1])
    assert [e["step"] for e in run_dir.read_events(tmp_path)] == [1]


def test_resume_makes_later_lines_void_and_keeps_its_own_step(tmp_path):
    for step in (10, 20, 30):
        append(tmp_path, "train", step, metrics={"train/loss": 1.0})
    append(tmp_path, "eval", 30, metrics={})
    append(tmp_path, "resume", 20)
    append(tmp_path, "train", 30, metrics={"train/loss": 2.0})
    append(tmp_path, "resume", 10)
    append(tmp_path, "train", 20, metrics={"train/loss": 3.0})
    got = [(e["kind"], e["step"]) for e in run_dir.read_events(tmp_path)]
    assert got == [("train", 10), ("resume", 10), ("train", 20)]


def test_workdir_without_files_reads_as_empty(tmp_path):
    assert run_dir.read_events(tmp_path) == []
    assert run_dir.read_resumes(tmp_path) == []
    assert run_dir.read_heartbeat(tmp_path) is None
    assert run_dir.read_config(tmp_path) == {}
    assert examples.read(tmp_path) == ([], {})
    assert run_dir.checkpoint_steps(tmp_path) == []


def test_broken_files_read_as_absent(tmp_path):
    (tmp_path / run_dir.HEARTBEAT).write_text('{"pid": 1', "utf-8")
    (tmp_path / run_dir.CONFIG).write_bytes(b"\xff\xfe")
    (tmp_path / run_dir.EXAMPLES).write_text("[]", "utf-8")
    (tmp_path / run_dir.THUMBNAILS).write_bytes(b"PK\x03\x04 not a zip")
    assert run_dir.read_heartbeat(tmp_path) is None
    assert run_dir.read_config(tmp_path) == {}
    assert examples.read(tmp_path) == ([], {})


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": (1, np.int64(2)), "b": np.arange(2)})
    assert fake.strict_json(path) == {"a": [1, 2], "b": [0, 1]}
    with pytest.raises(TypeError, match="object has no place"):
        files.write_json(path, {"a": object()})
    assert fake.strict_json(path) == {"a": [1, 2], "b": [0, 1]}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_files_are_utf8_whatever_locale(tmp_path):
    name, path = "größe – 標章", tmp_path / "x.json"
    code = (
        "import sys; from reporting import files;"
        f"value = {{'name': {ascii(name)}}};"
        "files.write_json(sys.argv[1], value);"
        "assert files.read_json(sys.argv[1]) == value"
    )
    subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code, path],
        check=True,
        cwd=pathlib.Path(files.__file__).parents[1],
        env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    )
    assert json.loads(path.read_text("utf-8"))["name"] == name


def test_examples_read_back(tmp_path):
    fake.add_gallery(tmp_path)
    queries, pictures = examples.read(tmp_path)
    assert [q["query"] for q in queries] == [0, 1, 2]
    assert sorted(pictures) == list(range(12))
    assert pictures[3].shape == (32, 32, 3)


def test_workdir_of_another_format_is_refused(tmp_path):
    run_dir.write_config(tmp_path, {"config": {"seed": 3}})
    assert run_dir.read_config(tmp_path)["config"] == {"seed": 3}
    for other, named in (({"config": {}}, 1), ({"config": {}, "format": 9}, 9)):
        run_dir.write_json(tmp_path / run_dir.CONFIG, other)
        with pytest.raises(run_dir.FormatError, match=f"of format {named}; expected"):
            run_dir.read_config(tmp_path)


def test_run_dir_reads_file_again_only_where_it_has_changed(tmp_path, monkeypatch):
    run_dir.write_json(tmp_path / run_dir.DATA, {"name": "a"})
    reads = []
    read = run_dir.read_data
    monkeypatch.setattr(run_dir, "read_data", lambda p: reads.append(p) or read(p))
    run = run_dir.RunDir(tmp_path)
    assert [run.data["name"] for _ in range(3)] == ["a"] * 3
    assert len(reads) == 1
    run_dir.write_json(tmp_path / run_dir.DATA, {"name": "b"})
    assert run.data["name"] == "b"


def test_metric_facts_come_from_event_or_list_of_run(tmp_path):
    loss = {"kind": "loss", "better": "lower"}
    run_dir.write_metric_facts(tmp_path, {"train/loss": loss})
    append(tmp_path, "train", 1, metrics={"train/loss": 1.0, "train/x": 2.0})
    score = {"value": 0.5, "kind": "score", "better": "higher", "headline": True}
    append(tmp_path, "eval", 1, metrics={"eval/a/anything": score})
    run = run_dir.RunDir(tmp_path)
    assert run.facts("train/loss") == ("loss", "lower", False)
    assert run.facts("train/x") == ("diagnostic", "", False)
    assert run.facts("eval/a/anything") == ("score", "higher", True)


def test_appended_events_are_those_of_file(tmp_path):
    append(tmp_path, "train", 1, metrics={"train/loss": 1.0})
    run = run_dir.RunDir(tmp_path)
    run.append_event("train", step=2, epoch=0.2, metrics={"train/loss": float("nan")})
    run.append_event("resume", step=1, epoch=0.1)
    again = run_dir.RunDir(tmp_path).history
    assert [e["step"] for e in run.history.events] == [1, 1]
    assert run.history.events == again.events


def test_refusals_before_start_do_not_stand(tmp_path):
    run_dir.append_refusal(tmp_path, ["config.train.epochs: got 0"])
    assert len(run_dir.RunDir(tmp_path).standing_refusals) == 1
    line = {"segment": 0, "why": "start", "time": time.time() + 1, "granted": 0.0}
    run_dir.append_line(tmp_path / run_dir.RESUMES, line)
    run = run_dir.RunDir(tmp_path)
    assert run.standing_refusals == []
    assert len(run.refusals) == 1
    assert content.assemble(run)["outcome"] != "REFUSED"


def test_line_that_is_not_as_it_was_written_is_told_and_left_out_by_start(
    tmp_path, caplog
):
    for step in (1, 2, 3):
        append(tmp_path, "train", step, metrics={"train/loss": 1.5})
    path = tmp_path / run_dir.METRICS
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"1.5", b"7.5")
    damaged = b"".join(lines) + b'{"kind": "tra'
    path.write_bytes(damaged)
    steps = [event["step"] for event in run_dir.read_events(tmp_path)]
    assert steps == [1, 2, 3]  # a reader shows it, and says so
    assert "line 2 is not as it was written" in caplog.text
    assert run_dir.drop_damaged_lines(path) == 1
    assert [event["step"] for event in run_dir.read_events(tmp_path)] == [1, 3]
    (aside,) = (tmp_path / "broken").iterdir()
    assert aside.read_bytes() == damaged
    assert run_dir.drop_damaged_lines(path) == 0
    append(tmp_path, "train", 4)
    assert [event["step"] for event in run_dir.read_events(tmp_path)] == [1, 3, 4]


def test_start_from_step_0_voids_all_but_baselines_that_still_hold(tmp_path):
    for name, where in (("old", "x"), ("same", "y")):
        append(tmp_path, "baseline", 0, metrics={}, baseline=name, measured_on=where)
    append(tmp_path, "alarm", 0, name="leak")
    append(tmp_path, "train", 5, metrics={"train/loss": 1.0})
    append(tmp_path, "gate", 5, name="learned", action="stop")
    append(tmp_path, "resume", 0, why="start", measured_on="y")
    events = run_dir.read_events(tmp_path)
    kinds = [event["kind"] for event in events]
    assert kinds == ["baseline", "resume"]
    assert events[0]["baseline"] == "same"


def test_audit_whose_numbers_changed_is_made_again(tmp_path):
    run_dir.write_audit(tmp_path, {"positives": "codes", "loss_lower_bound": 0.25})
    assert run_dir.read_audit(tmp_path)["loss_lower_bound"] == 0.25
    path = tmp_path / run_dir.AUDIT
    path.write_text(path.read_text().replace("0.25", "9.25"))
    assert run_dir.read_audit(tmp_path) == {}


def test_folder_of_something_else_is_no_run(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "1-simsiam").mkdir()
    run_dir.write_config(tmp_path / "1-simsiam", {"config": {"seed": 0}})
    with pytest.raises(run_dir.FormatError, match="runs inside it: 1-simsiam"):
        run_dir.check_run(tmp_path)
    run_dir.check_run(tmp_path / "1-simsiam")

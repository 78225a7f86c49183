"""Reports tell how a run ended: passed, failed, unfinished or diverged."""

import math

import pytest

from reporting import content as content_lib
from reporting import report, run_dir
from reporting.alarms.common import check as alarm_check
from tests.reporting import fake
from tests.reporting.page_parser import Page


def assemble(folder):
    """Return the report's content without its images, which take seconds."""
    return content_lib.assemble(run_dir.RunDir(folder))


def test_failed_gate(tmp_path):
    result = assemble(fake.make(tmp_path, brand=0.33))
    assert result["outcome"] == "FAIL"
    assert report.exit_code(result) == 3
    # .33 is above the baseline of .30, but .29 … .37 overlaps with .26 … .34.
    assert "overlaps with 0.260 … 0.340" in result["verdict"]
    assert [a["name"] for a in result["alarms"]] == ["not_above_baseline"]


def test_advisory_gate_does_not_fail_run(tmp_path):
    folder = fake.make(tmp_path)
    config = run_dir.read_config(folder)
    config["config"]["gates"] = {
        "hope": {"metric": "train/loss", "op": "<", "value": 0.1, "required": False}
    }
    run_dir.write_json(folder / run_dir.CONFIG, config)
    result = assemble(folder)
    assert (result["outcome"], result["exit_code"]) == ("PASS", 0)
    assert result["gates"]["hope"]["passed"] is False


def test_killed_run(tmp_path):
    folder = fake.make(tmp_path, epochs=5, final=False, state="training")
    path = folder / run_dir.METRICS
    path.write_bytes(path.read_bytes()[:-20])
    fake.train_event(folder, 49, 2.0, **{"train/x": math.nan})
    result = report.write(folder)
    fake.strict_json(folder / "report.json")
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", 75)
    assert "at step 49 of 100" in result["verdict"]
    assert result["gates"]["learned"]["passed"] is None
    assert "waits" in Page((folder / "report.html").read_text("utf-8")).text


@pytest.mark.parametrize(("state", "code"), [("preempted", 75), ("failed", 1)])
def test_ends_without_evaluation(tmp_path, state, code):
    result = assemble(fake.make(tmp_path, epochs=2, final=False, state=state))
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", code)


def test_preempted_run_was_saved_only_if_it_was(tmp_path):
    folder = fake.make(tmp_path, epochs=2, final=False, state="preempted")
    for saved, words in ((20, "preempted and saved"), (None, "before its first check")):
        run_dir.write_heartbeat(folder, "preempted", saved=saved, step=20)
        result = assemble(folder)
        assert words in result["verdict"]
        assert result["exit_code"] == 75
    assert "saved" not in result["verdict"]


def test_run_that_full_disk_has_ended_is_fault_of_input(tmp_path):
    folder = fake.make(tmp_path, epochs=2, final=False, state="failed")
    assert assemble(folder)["exit_code"] == 1
    run_dir.append_refusal(folder, ["got no space left on device for /x"])
    result = assemble(folder)
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", 2)
    assert "no space left on device for /x" in result["verdict"]


def test_diverged_run(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="diverged")
    fake.train_event(folder, 31, math.nan)
    result = assemble(folder)
    assert (result["outcome"], result["exit_code"]) == ("DIVERGED", 4)
    assert "train/loss is not a number at step 31" in result["verdict"]
    # After a resume from before it, the fault is no longer part of the history.
    run_dir.append_event(folder, "resume", step=30, epoch=3.0)
    run_dir.write_heartbeat(folder, "training", step=30, total_steps=100)
    assert assemble(folder)["outcome"] == "UNFINISHED"


def test_alarm_of_loop_that_ended_run_is_in_report(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="collapsed")
    said = {"name": "odd", "severity": "stop", "tag": "x", "message": "Odd."}
    run_dir.append_event(folder, "alarm", step=30, epoch=3.0, **said)
    result = assemble(folder)
    assert result["verdict"] == "DIVERGED: Odd."
    fake.train_event(folder, 31, 2.0)
    run_dir.write_heartbeat(folder, "training", step=31)
    result = assemble(folder)
    assert result["outcome"] == "UNFINISHED"
    assert [a["name"] for a in result["alarms_cleared"]] == ["odd"]


def test_verdict_names_collapse(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="collapsed")
    for step in (31, 32, 33):
        fake.train_event(folder, step, 2.0, **{"diag/embedding_std": 1e-4})
    (alarm,) = alarm_check.check(run_dir.read_events(folder), total_steps=100)
    result = assemble(folder)
    assert result["exit_code"] == 4
    assert result["reason"] == alarm["message"]


def test_empty_workdir_and_none(tmp_path):
    result = report.write(tmp_path)
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", 75)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "Nothing has been logged yet" in page.text
    assert "left no examples" in page.text
    with pytest.raises(FileNotFoundError, match="expected a run's workdir"):
        report.write(tmp_path / "nowhere")

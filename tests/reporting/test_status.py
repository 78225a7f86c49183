"""Alive, silent, stale or ended, and what is next."""

import os
import socket
import subprocess
import sys
import time

import pytest

from reporting import run_dir, status
from tests.reporting import fake


def beat(**fields):
    base = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "time": 1000.0,
        "state": "training",
    }
    return base | fields


@pytest.fixture(scope="module")
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_liveness(dead_pid):
    assert status.liveness(None) == "absent"
    assert status.liveness(beat(state="finished"), 1e9) == "ended"
    assert status.liveness(beat(), 1010.0) == "alive"
    assert status.liveness(beat(), 1400.0) == "silent"
    assert status.liveness(beat(pid=dead_pid), 1010.0) == "stale"
    assert status.liveness(beat(host="elsewhere", pid=dead_pid), 1010.0) == "alive"
    assert status.liveness(beat(host="elsewhere"), 1400.0) == "stale"


def test_running_run(tmp_path):
    folder = fake.make(tmp_path, epochs=5, final=False, state="training")
    (folder / run_dir.CHECKPOINTS / "40").mkdir(parents=True)
    (folder / run_dir.CHECKPOINTS / "tmp-50").mkdir()
    now = run_dir.read_heartbeat(folder)["time"] + 2
    said = status.describe(folder, now)
    assert said["liveness"] == "alive"
    assert (said["step"], said["total_steps"], said["checkpoint"]) == (50, 100, 40)
    assert said["total_epochs"] == pytest.approx(10.0)
    # 50 steps of 256 records at the median speed, and an evaluation of half a second,
    # less the age of the heartbeat.
    left = 50 * 256 / 1526 + 0.5 - 2
    assert said["eta_seconds"] == pytest.approx(left)
    assert said["loss"]["chance"] == fake.CHANCE
    text = status.status(folder, now)
    for words in (
        "alive: training",
        "step 50 of 100, epoch 5.00 of 10.0",
        "6.89 s left",
        "chance 4.44",
        "0.780 (0.740 … 0.820), n 400; chance 0.0200; pixels 0.300; untrained 0.100",
        "step 40",
        "brand: waits until the end",
        "(in 6.89 s)",
        "compute-bound",
    ):
        assert words in text
    assert run_dir.plain(said)  # fit for --json


def test_next_gate_comes_with_its_time_its_cost_and_guess(tmp_path):
    folder = fake.make(tmp_path, epochs=7, final=False, state="training")
    config = run_dir.read_config(folder)
    gate = {"metric": "eval/brand/recall@1", "value": 0.99, "at": 9}
    config["config"]["gates"]["late"] = gate
    config["config"]["train"]["price_per_hour"] = 3600.0
    config["config"]["evaluate"] = {"every_epochs": 2.0}
    run_dir.write_json(folder / run_dir.CONFIG, config)
    now = run_dir.read_heartbeat(folder)["time"]
    text = status.status(folder, now)
    (line,) = (line for line in text.splitlines() if line.startswith("next gate"))
    # The gate at epoch 9 is judged by the evaluation at epoch 10, with `brand`'s.
    seconds = 30 * 256 / 1536 + 2 * 0.5
    assert f"(in {seconds:.2f} s, at a cost of {70 + seconds:.1f})" in line
    # The metric rises along a line: .3 + .6 t / 70 at t = 20, 40, 60.
    assert "now 0.814" in line
    assert "the last 3 would be at 1.00 (a guess)" in line
    assert "which costs" in text
    assert run_dir.plain(status.describe(folder, now))


def test_two_measurements_are_no_trend(tmp_path):
    folder = fake.make(tmp_path, epochs=5, final=False, state="training")
    assert "guess" not in status.status(folder)


def test_stale_and_empty(tmp_path, dead_pid):
    folder = fake.make(tmp_path / "run", epochs=5, final=False, state="training")
    run_dir.write_heartbeat(folder, "training", pid=dead_pid, step=50)
    assert "STALE" in status.status(folder)
    assert status.describe(folder, time.time())["eta_seconds"] is None
    (tmp_path / "empty").mkdir()
    assert "nothing has been started" in status.status(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="workdir"):
        status.status(tmp_path / "nowhere")


def test_status_tells_refused_start(tmp_path):
    folder = fake.make(tmp_path)  # begun in 1970
    run_dir.append_refusal(folder, ["config.train.epochs: got 'x'"])
    text = status.status(folder)
    assert "refused" in text
    assert "config.train.epochs: got 'x'" in text
    run_dir.append_line(folder / run_dir.RESUMES, {"time": time.time() + 1})
    assert "refused" not in status.status(folder)


def test_clock_that_is_ahead_is_said_and_not_believed(tmp_path):
    folder = fake.make(tmp_path / "run", epochs=5, final=False, state="training")
    beat = {"host": "elsewhere", "state": "training", "pid": 1}
    for ahead, expected in ((86400, "stale"), (20, "alive")):
        value = beat | {"time": time.time() + ahead}
        run_dir.write_json(folder / run_dir.HEARTBEAT, value)
        assert status.describe(folder)["liveness"] == expected
        assert "ahead of this machine's clock" in status.status(folder)

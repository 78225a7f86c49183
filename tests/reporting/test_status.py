"""Alive, silent, stale or ended, and what is next."""

import os
import socket
import subprocess
import sys
import time

import pytest

from reporting import status, workdir
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


def test_a_running_run(tmp_path):
    folder = fake.make(tmp_path, epochs=5, final=False, state="training")
    (folder / workdir.CHECKPOINTS / "40").mkdir(parents=True)
    (folder / workdir.CHECKPOINTS / "tmp-50").mkdir()
    now = workdir.read_heartbeat(folder)["time"] + 20
    said = status.describe(folder, now)
    assert said["liveness"] == "alive"
    assert (said["step"], said["total_steps"], said["checkpoint"]) == (50, 100, 40)
    assert said["total_epochs"] == pytest.approx(10.0)
    assert said["eta_seconds"] == pytest.approx(40.0)
    assert said["loss"]["chance"] == fake.CHANCE
    text = status.status(folder, now)
    for words in (
        "alive: training",
        "step 50 of 100, epoch 5.00 of 10.0",
        "40.0 s left",
        "chance 4.44",
        "0.780 (0.740 … 0.820), n 400; chance 0.0200; pixels 0.300; untrained 0.100",
        "step 40",
        "brand: waits until the end",
        "(in 40.0 s)",
    ):
        assert words in text
    assert workdir.plain(said)  # fit for --json


def test_forecast_of_a_gate_on_the_way(tmp_path):
    folder = fake.make(tmp_path, epochs=1, final=False, state="training")
    now = workdir.read_heartbeat(folder)["time"]
    # 60 s to epoch 10 from epoch 1: the gate at epoch 2 is 60/9 s away.
    assert "early: waits until epoch 2.00" in status.status(folder, now)
    assert "(in 6.67 s)" in status.status(folder, now)


def test_stale_and_empty(tmp_path, dead_pid):
    folder = fake.make(tmp_path / "run", epochs=5, final=False, state="training")
    workdir.write_heartbeat(folder, "training", pid=dead_pid, step=50)
    assert "STALE" in status.status(folder)
    assert status.describe(folder, time.time())["eta_seconds"] is None
    (tmp_path / "empty").mkdir()
    assert "nothing has been started" in status.status(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="workdir"):
        status.status(tmp_path / "nowhere")

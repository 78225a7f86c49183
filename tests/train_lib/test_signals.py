"""Signals in processes of their own: what is answered, when, and the exit code."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]

COMPUTING = """
import hashlib, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
from train_lib.signals import Preempted, StopSignal
with StopSignal() as stop:
    stop.at_exit = lambda: print("at exit", flush=True)
    stop.patience = float(sys.argv[2])
    if sys.argv[1] == "deferred":
        with stop.deferred("saving, then stopping"):
            print("ready", flush=True)
            # As a compilation: no Python code runs until it is done.
            hashlib.pbkdf2_hmac("sha256", b"x", b"x", int(sys.argv[3]))
            print("received", stop.received, flush=True)
        sys.exit(75)
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"x", int(sys.argv[3]))
    try:
        stop.check()
    except Preempted as end:
        print("ended itself by", end, flush=True)
        sys.exit(75)
"""

PREPARING = """
import sys, time, pathlib
import numpy as np

def slow(item):
    pathlib.Path(sys.argv[1], f"begun-{item}").touch()
    time.sleep(60)

if __name__ == "__main__":
    from input_pipeline.cache import blocks
    from train_lib.signals import StopSignal
    with StopSignal():
        paths = [pathlib.Path(sys.argv[1], f"block-{i}") for i in range(4)]
        list(blocks.make(range(4), paths, slow, 2))
"""


def start(*words):
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signal_is_answered_at_once_and_obeyed_when_it_may_be(number):
    process = start("-c", COMPUTING, "deferred", "0", "2000000")
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, getattr(signal, number))
    assert f"{number}: saving, then stopping" in process.stdout.readline()
    assert process.poll() is None  # it computes on
    rest, _ = process.communicate(timeout=60)
    assert rest == f"received {number}\n"
    assert process.returncode == 75


def test_process_ends_by_itself_or_is_ended():
    process = start("-c", COMPUTING, "free", "60", "1000000")
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert "ended itself by SIGTERM" in rest
    process = start("-c", COMPUTING, "free", "0.1", "2000000000")
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert "at exit" in rest
    assert process.returncode == 75


def test_second_signal_ends_at_once():
    process = start("-c", COMPUTING, "deferred", "0", "2000000000")
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(1.2)  # one that follows sooner is the same
    os.kill(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert "stopping at once" in rest
    assert process.returncode == 75


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_is_stopped_in_its_first_second(tmp_path, number):
    recipe = "--config=configs/moco_effnet.py:smoke"
    process = start("main.py", recipe, f"--workdir={tmp_path / 'run'}")
    deadline = time.monotonic() + 30
    caught = 0
    while not caught and time.monotonic() < deadline:  # until the handler is in place
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        mask = int(status.partition("SigCgt:")[2].split()[0], 16)
        caught = mask >> (number - 1) & 1 and mask >> (signal.SIGUSR1 - 1) & 1
    os.killpg(process.pid, number)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert "there is nothing to save" in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_all_processes_that_prepare_ends_them(tmp_path, number):
    script = tmp_path / "prepare.py"
    script.write_text(PREPARING)
    process = start(str(script), str(tmp_path))
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("begun-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    told, _ = process.communicate(timeout=60)  # also until no child holds the pipe
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert "died" not in told

"""Which exceptions are input, and what is said of a disk that is full."""

import errno
import os
import threading

import numpy as np
import pytest

import main
from input_pipeline.dataset import DataError
from reporting import run_dir as files
from train_lib import errors
from train_lib.checkpoints import Checkpoints
from train_lib.errors import InputError, describe_fault
from train_lib.writers import Writer


def full(path=None):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    return error if path else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "number",
    [errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.EIO,
     errno.EROFS, errno.ENOTDIR, errno.EACCES, errno.EMFILE],
)  # fmt: skip
def test_every_system_error_of_path_names_path(number):
    told = describe_fault(OSError(number, os.strerror(number), "/data/x"), [])
    assert told.startswith(f"got /data/x: {os.strerror(number)}; expected")


def test_errors_of_program_are_not_input():
    code = os.path.abspath(errors.__file__)
    assert describe_fault(FileNotFoundError(2, "gone", code), []) is None
    assert describe_fault(KeyError("config"), []) is None
    assert describe_fault(OSError(errno.ECHILD, "no child"), []) is None
    assert describe_fault(InputError("a"), []) == "a"
    assert describe_fault(DataError("b"), []) == "b"


@pytest.mark.parametrize("kind", ["with a path", "without", "a library's", "a cause"])
def test_full_disk_is_told_with_its_folder_and_what_is_needed(tmp_path, kind):
    error = {
        "with a path": full(str(tmp_path / "x")),
        "without": full(),
        "a library's": ValueError("RESOURCE_EXHAUSTED: [OS error 28: No space left on "
                                  "device]"),
        "a cause": RuntimeError("save failed"),
    }[kind]  # fmt: skip
    if kind == "a cause":
        error.__cause__ = full()
    told = describe_fault(error, [str(tmp_path / "run")])
    assert f"got no space left on device for {tmp_path}" in told
    assert "MB free; expected 67.1 MB" in told


def test_checkpoint_is_not_begun_without_room_for_it(tmp_path, monkeypatch):
    state = {"a": np.zeros(10**6, np.float32)}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.check_room(state)
    monkeypatch.setattr("train_lib.checkpoints.free_bytes", lambda _: 4 * 10**6)
    with pytest.raises(InputError, match=r"expected 5\.0 MB.*No checkpoint was saved"):
        checkpoints.save(1, state, {}, {}, None)


def test_last_state_is_told_on_full_disk(tmp_path, monkeypatch):
    files.write_heartbeat(tmp_path, "training", step=5, note="long" * 50)

    def no_room(path, value):
        raise full(str(path))

    monkeypatch.setattr(files, "write_json", no_room)
    files.write_heartbeat(tmp_path, "failed", step=5)
    assert files.read_heartbeat(tmp_path)["state"] == "failed"


def test_heartbeat_outlives_write_that_fails(tmp_path, monkeypatch):
    beats, enough = [], threading.Event()

    def fail(*given, **fields):
        beats.append(given)
        if len(beats) > 3:
            enough.set()
        if len(beats) > 1:
            raise full()

    monkeypatch.setattr("train_lib.writers.HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(files, "write_heartbeat", fail)

    def write():
        with Writer(tmp_path, 10, 0):
            assert enough.wait(10)
            raise RuntimeError("the first")

    with pytest.raises(RuntimeError, match="the first"):
        write()


@pytest.mark.parametrize("command", ["train", "report", "embed", "preview", "compare"])
@pytest.mark.parametrize("kind", ["file", "long"])
def test_path_that_cannot_be_used_is_input(tmp_path, capsys, command, kind):
    path = tmp_path / ("x" * 300 if kind == "long" else "file")
    if kind == "file":
        path.write_text("in the way")
    recipe = "--config=configs/moco_effnet.py:smoke"
    folder = tmp_path / "run"
    files.append_event(folder, "train", step=1, epoch=0.1)
    files.write_config(folder, {"config": {"seed": 0}})
    words = {
        "train": [recipe, f"--workdir={path}"],
        "report": [f"--workdir={path}"],
        "embed": [f"--workdir={path}", "--input=x", "--output=y"],
        "preview": [recipe, f"--output={path}"],
        "compare": [f"--workdir={folder}", f"--with={folder}", f"--output={path}"],
    }[command]
    assert main.main([command, *words]) == 2
    told = capsys.readouterr().err
    assert str(path) in told
    assert "Traceback" not in told

"""TensorBoard reads the same from event files made with TensorFlow and without."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
# In a process of its own: what this one has imported cannot be taken back.
WRITE = """
import pathlib, sys
if sys.argv[1] == "without":
    sys.modules["tensorflow"] = None  # an import of it now fails
from train_lib.writers import Writer
with Writer(pathlib.Path(sys.argv[2]), total_steps=2, step=0) as writer:
    for step in (1, 2):
        metrics = {"train/loss": step / 8, "train/grad_norm": float("nan")}
        writer.event("train", step, step / 2, metrics)
    recall = {"value": 0.25, "n": 8, "chance": 0.125}
    writer.event("eval", 2, 1.0, {"eval/brand/recall@1": recall, "eval/time": 3})
    writer.event("alarm", 2, 1.0, {})
print(type(writer._boards["train"]).__name__)
"""


def written(mode, folder):
    done = subprocess.run(
        [sys.executable, "-c", WRITE, mode, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()[-1]


def read(folder):
    """Tag -> plugin, [(step, dtype, value)], as TensorBoard reads them."""
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    events = event_accumulator.EventAccumulator(
        str(folder), size_guidance={event_accumulator.TENSORS: 0}
    )
    events.Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        points = []
        for event in events.Tensors(tag):
            value = tensor_util.make_ndarray(event.tensor_proto)
            points.append((event.step, value.dtype, value.shape, str(value)))
        found[tag] = plugin, points
    return found


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    assert written("without", folder) == "EventFile"
    return folder


def test_without_tensorflow_every_metric_is_there(without):
    train, evals = read(without / "train"), read(without / "eval")
    scalar = (np.dtype("float32"), ())
    assert train == {
        "train/loss": ("scalars", [(1, *scalar, "0.125"), (2, *scalar, "0.25")]),
        "train/grad_norm": ("scalars", [(1, *scalar, "nan"), (2, *scalar, "nan")]),
    }
    assert evals == {
        "eval/brand/recall@1": ("scalars", [(2, *scalar, "0.25")]),
        "eval/time": ("scalars", [(2, *scalar, "3.0")]),
    }


def test_with_tensorflow_same_is_read(without, tmp_path):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("no TensorFlow on this machine")
    assert written("with", tmp_path) == "SummaryWriter"
    for kind in ("train", "eval"):
        assert read(tmp_path / kind) == read(without / kind)

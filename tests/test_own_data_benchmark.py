"""README's commands and the inputs that the benchmark makes for them."""

import pathlib

import numpy as np

from benchmarks import own_data
from input_pipeline.datasets import cine, kspace

ROOT = pathlib.Path(__file__).parents[1]


def test_each_command_of_readme_has_input():
    text = (ROOT / "README.md").read_text("utf-8")
    recipes = own_data.read_commands(text)
    assert len(recipes) == 5
    assert set(recipes) == set(own_data.INPUTS)


def test_cine_and_scan_are_what_benchmark_says(tmp_path):
    cache = str(tmp_path / "cache")
    inputs = own_data.INPUTS["configs/simsiam_resnet.py:real"]
    frames = {}
    for name, write in inputs.items():
        data = cine.load(path=str(write(tmp_path / name)), cache=cache)
        frames[name] = data.facts["frames"], data.facts["clips"]
        assert np.ptp(data.train.read([0])["image"]) > 150
    assert frames == {"clip.mat": (64, 1), "stacks": (72, 3)}
    ((name, write),) = own_data.INPUTS["configs/triplet_mri.py:scans"].items()
    path = str(write(tmp_path / name))
    data = kspace.load(
        path=path, cache=cache, train_on="all", size=16, coils=1, progress=False
    )
    assert data.facts["coils"] == [1]
    assert len(data.train) == 20

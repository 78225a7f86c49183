"""Best, patience, plateau, and when things are due."""

import math

import numpy as np
import pytest

from train_lib.cadence import due
from train_lib.progress import Progress


def test_best_and_patience():
    progress = Progress(0, 100)
    seen = [progress.observe(v, s, "max") for s, v in enumerate([0.1, 0.3, 0.2, 0.3])]
    assert seen == [True, True, False, False]
    assert (progress.best_value, progress.best_step, progress.waited) == (0.3, 1, 2)
    assert progress.observe(0.2, 9, "min")
    assert not progress.observe(math.nan, 10, "min")


def test_plateau_lowers_rate_once_patience_is_used_up():
    progress = Progress(0, 100)
    lowered = []
    for step, value in enumerate([1.0, 2.0, 2.0, 2.0, 2.0, 0.5]):
        progress.observe(value, step, "min")
        lowered.append(progress.lower_rate(patience=2, factor=0.1))
    assert lowered == [False, False, False, True, False, False]
    assert math.isclose(progress.lr_scale, 0.1)


class ReduceLROnPlateau:
    """What torch.optim.lr_scheduler.ReduceLROnPlateau does by its documentation.

    Mode "min" or "max", threshold 1e-4 in threshold_mode "rel", no cooldown, min_lr 0.
    """

    def __init__(self, mode, patience, factor):
        self.mode, self.patience, self.factor = mode, patience, factor
        self.best = math.inf if mode == "min" else -math.inf
        self.bad, self.scale = 0, 1.0

    def step(self, value):
        if self.mode == "min":
            better = value < self.best * (1 - 1e-4)
        else:
            better = value > self.best * (1 + 1e-4)
        if better:
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.scale, self.bad = self.scale * self.factor, 0
        return self.scale


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("patience", [0, 1, 2, 5])
def test_plateau_lowers_rate_as_pytorch_does(mode, patience):
    rng = np.random.default_rng(patience)
    values = 2 + np.cumsum(rng.normal(0, 0.1, 200)).clip(-1, 9)
    values[30:34] = values[29] * (1 - 5e-5)  # within the threshold
    values[77] = math.nan
    progress, torch = Progress(0, 100), ReduceLROnPlateau(mode, patience, 0.5)
    scales, expected = [], []
    for step, value in enumerate(values.tolist()):
        progress.observe(value, step, mode)
        progress.lower_rate(patience, 0.5)
        scales.append(progress.lr_scale)
        expected.append(torch.step(value))
    assert scales == expected
    assert scales[-1] < 1


def test_plateau_matches_sequence_worked_out_by_hand():
    # By the documentation of ReduceLROnPlateau with factor=.5, patience=2: .89995 is
    # within 1e-4 of .9, so that it is the third bad evaluation.
    losses = [1.0, 0.9, 0.9, 0.95, 0.89995, 0.92, 0.8, 0.81, 0.81, 0.81, 0.81, 0.7]
    rates = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    progress, found = Progress(0, 100), []
    for step, loss in enumerate(losses):
        progress.observe(loss, step, "min")
        progress.lower_rate(2, 0.5)
        found.append(progress.lr_scale)
    assert found == rates


def test_progress_of_earlier_version_keeps_its_best_value():
    values = Progress(3, 100, 0.25, 7).to_json()
    del values["plateau_best"]
    assert Progress.from_json(values).plateau_best == 0.25


def test_progress_survives_json():
    progress = Progress(3, 100, 0.25, 7, 1, 2, 0.5)
    assert Progress.from_json(progress.to_json()) == progress


def test_due_is_every_so_many_steps_and_at_end():
    assert [s for s in range(1, 11) if due(s, 4, 10)] == [4, 8, 10]
    assert [s for s in range(1, 11) if due(s, 4, 10, last=False)] == [4, 8]
    assert [s for s in range(1, 11) if due(s, 0, 10)] == [10]

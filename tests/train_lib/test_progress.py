"""Best, patience, plateau, and when things are due."""

import math

from train_lib.cadence import due
from train_lib.progress import Progress


def test_best_and_patience():
    progress = Progress(0, 100)
    seen = [progress.observe(v, s, "max") for s, v in enumerate([0.1, 0.3, 0.2, 0.3])]
    assert seen == [True, True, False, False]
    assert (progress.best_value, progress.best_step, progress.waited) == (0.3, 1, 2)
    assert progress.observe(0.2, 9, "min")
    assert not progress.observe(math.nan, 10, "min")


def test_plateau_lowers_the_rate_once_patience_is_used_up():
    progress = Progress(0, 100)
    lowered = []
    for step, value in enumerate([1.0, 2.0, 2.0, 2.0, 2.0, 0.5]):
        progress.observe(value, step, "min")
        lowered.append(progress.lower_rate(patience=2, factor=0.1))
    assert lowered == [False, False, True, False, True, False]
    assert math.isclose(progress.lr_scale, 0.01)


def test_progress_survives_json():
    progress = Progress(3, 100, 0.25, 7, 1, 2, 0.5)
    assert Progress.from_json(progress.to_json()) == progress


def test_due_is_every_so_many_steps_and_at_the_end():
    assert [s for s in range(1, 11) if due(s, 4, 10)] == [4, 8, 10]
    assert [s for s in range(1, 11) if due(s, 4, 10, last=False)] == [4, 8]
    assert [s for s in range(1, 11) if due(s, 0, 10)] == [10]

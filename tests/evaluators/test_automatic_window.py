"""The window of time that follows from the clips."""

import numpy as np
import pytest

from evaluators import frames
from input_pipeline.dataset import Data
from tests.evaluators.clips import clips
from tests.evaluators.small_data import build, unit


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    train = clips(rng, (9, 14), first_id=60, prefix="t")
    return Data(train, clips(rng, (20, 15, 7, 12)), {})


def embed(split, rows, view=None):
    z = unit(np.random.default_rng(1).standard_normal((83, 6)))
    return None if view else z[split.table["id"][rows]]


def test_automatic_window_is_clip_where_others_are_left(data):
    window = build(frames, data, window="auto")
    assert window.choices() == ["Neighbors are frames of other clips (window=-1)."]
    found, wanted = (
        build(frames, data, prefix="e", window=w).run(embed).metrics
        for w in ("auto", -1)
    )
    assert found == wanted


@pytest.mark.parametrize("lengths", [(40,), (3,), (2,)])
def test_automatic_window_of_one_clip_leaves_candidates(lengths):
    rng = np.random.default_rng(0)
    one = clips(rng, lengths)
    evaluator = build(frames, Data(one, one, {}), window="auto", ssim=0)
    time = one.table["time"]
    span, step = np.ptp(time), np.diff(time).min()
    window = max(span / 10, step)
    far = np.abs(time[:, None] - time) > window + 1e-9
    if not far.any():  # of two frames, each is the neighbor of the other
        far = ~np.eye(len(time), dtype=bool)
    counts = evaluator._sample.candidates.counts()
    np.testing.assert_array_equal(np.sort(counts), np.sort(far.sum(1)[far.any(1)]))
    assert "Neighbors are frames more than" in evaluator.choices()[0]

import numpy as np

from evaluators.search import temporal
from tests.evaluators.clips import RATE, clips


def test_window_excludes_frames_up_to_its_edge():
    rng = np.random.default_rng(0)
    one = clips(rng, (12,))
    queries = temporal.Frames.of([one], "", "frame")
    found = {}
    for window in (0.0, 1 / RATE, 0.2, 0.2 - 1e-6):
        mask = temporal.Candidates(queries.table, queries.table, window, "").mask(
            np.arange(12)
        )
        frame = queries.table["frame"]
        apart = np.abs(frame[:, None] - frame[None, :])
        found[window] = apart[mask].min(), (apart[~mask]).max()
    assert found == {0.0: (1, 0), 1 / RATE: (2, 1), 0.2: (6, 5), 0.2 - 1e-6: (5, 4)}


def test_frames_without_time_are_no_candidates_in_their_clip():
    time = np.array([0.0, np.nan, 2.0, 0.0, np.nan])
    one = clips(np.random.default_rng(0), (3, 2), time=time)
    table = {name: np.asarray(values) for name, values in one.table.items()}
    mask = temporal.Candidates(table, table, 0.5, "").mask(np.arange(5))
    assert mask.astype(int).tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1],
        [1, 0, 0, 1, 1],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
    ]


def test_missing_values_count_as_one_value():
    trial = np.array([0.0, np.nan, np.nan, 1.0])
    one = clips(np.random.default_rng(0), (1, 1, 1, 1), trial=trial)
    table = {name: np.asarray(values) for name, values in one.table.items()}
    mask = temporal.Candidates(table, table, 0.0, "trial").mask(np.arange(4))
    different = np.array([[0, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]])
    np.testing.assert_array_equal(mask, different.astype(bool))

import numpy as np
import pytest

from evaluators.metrics import ties


def test_nearly_tied_counts_scores_within_limit():
    nan = -np.inf
    scores = np.array(
        [[0.9, 0.89, 0.885], [0.9, 0.89, 0.5], [0.9, 0.88, nan], [1, nan, nan]]
    )
    assert ties.leading(scores).tolist() == [3, 2, 2, 1]
    assert ties.nearly_tied(scores).tolist() == [True, False, True, False]
    assert ties.nearly_tied(scores, 0.001).tolist() == [False] * 4


@pytest.mark.parametrize(("d", "n", "k"), [(2048, 300, 10), (256, 60, 2), (64, 7, 10)])
def test_tied_by_chance_matches_random_directions(d, n, k):
    rng, tied = np.random.default_rng(0), []
    for _ in range(8):
        gallery, queries = (rng.standard_normal((m, d)) for m in (n, 100))
        for x in (gallery, queries):
            x /= np.linalg.norm(x, axis=1, keepdims=True)
        best = -np.sort(-(queries @ gallery.T), axis=1)[:, :k]
        tied.append([row[0] - row[-1] <= ties.WITHIN for row in best])
    expected = ties.tied_by_chance(np.full(100, n), k, d, seed=0)
    assert expected.shape == (100,)
    assert expected.mean() == pytest.approx(np.mean(tied), abs=0.03)


def test_single_candidate_is_not_tied():
    assert ties.tied_by_chance(np.array([1, 2]), 5, 4096, seed=0)[0] == 0

"""Figures from ranks against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluators.metrics import ranking


def relevance_lists(seed=0, q=12, n=30):
    """Random relevance lists: flat ranks and queries, and the lists themselves."""
    rng = np.random.default_rng(seed)
    relevant = [
        np.sort(rng.choice(n, rng.integers(1, 9), replace=False)) + 1 for _ in range(q)
    ]
    query = np.repeat(np.arange(q), [len(r) for r in relevant])
    shuffled = rng.permutation(len(query))
    return np.concatenate(relevant)[shuffled], query[shuffled], relevant


def test_figures_of_six_items_by_hand():
    # Relevant at ranks 1, 3 and 6 of 6.
    ranks, query, n = np.array([6, 1, 3]), np.zeros(3, int), np.array([6])
    assert ranking.recall_at(ranks, query, 1, 1) == 1
    assert ranking.precision_at(ranks, query, 1, 4) == 2 / 4
    assert ranking.precision_at(ranks, query, 1, 10) == 3 / 10
    ap = ranking.average_precision(ranks, query, 1)
    assert ap == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3)
    assert ranking.map_at_r(ranks, query, 1) == pytest.approx((1 / 1 + 2 / 3) / 3)
    nar = ranking.normalized_average_rank(ranks, query, 1, n)
    assert nar == pytest.approx((10 - 6) / 18)


def test_average_precision_matches_scikit_learn():
    ranks, query, relevant = relevance_lists()
    expected = []
    for r in relevant:
        truth = np.isin(np.arange(1, 31), r)
        expected.append(average_precision_score(truth, -np.arange(30.0)))
    found = ranking.average_precision(ranks, query, len(relevant))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_figures_match_loops():
    ranks, query, relevant = relevance_lists(1)
    q = len(relevant)
    for k in (1, 3, 10, 50):
        hits = [sum(rank <= k for rank in r) for r in relevant]
        np.testing.assert_array_equal(
            ranking.recall_at(ranks, query, q, k), [float(h > 0) for h in hits]
        )
        np.testing.assert_allclose(
            ranking.precision_at(ranks, query, q, k), [h / k for h in hits]
        )
    expected = []
    for r in relevant:
        inside = [rank for rank in r if rank <= len(r)]
        expected.append(sum((i + 1) / rank for i, rank in enumerate(inside)) / len(r))
    np.testing.assert_allclose(ranking.map_at_r(ranks, query, q), expected)


def test_normalized_average_rank_from_perfect_to_worst():
    query, n = np.zeros(4, int), np.array([20])
    best = ranking.normalized_average_rank(np.arange(1, 5), query, 1, n)
    worst = ranking.normalized_average_rank(np.arange(17, 21), query, 1, n)
    assert (best, worst) == (0, 16 / 20)


def test_ties_are_ranked_worst():
    # Scores: .9 .5* .5 .5* .5 .1*, where * is relevant.
    above, tied = np.array([1, 5, 1]), np.array([4, 1, 4])
    ranks = ranking.worst_ranks(above, tied, np.zeros(3, int))
    np.testing.assert_array_equal(np.sort(ranks), [4, 5, 6])
    assert ranks[1] == 6
    # The same tie in another query is another tie.
    ranks = ranking.worst_ranks(np.array([1, 1]), np.array([4, 4]), np.array([0, 1]))
    np.testing.assert_array_equal(ranks, [5, 5])

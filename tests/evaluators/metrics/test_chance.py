"""Chance levels against means over all orders."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from evaluators.metrics import chance, ranking


def all_orders(n, r, figure):
    """Mean of a figure over all places that r relevant ones of n can take."""
    values = [
        float(figure(np.array(places) + 1, np.zeros(r, int))[0])
        for places in itertools.combinations(range(n), r)
    ]
    return sum(values) / len(values)


@pytest.mark.parametrize(("n", "r"), [(1, 1), (6, 1), (7, 2), (8, 3), (5, 5)])
def test_chance_matches_mean_over_all_orders(n, r):
    sizes = np.array([n]), np.array([r])
    for k in (1, 2, 4, 9):
        expected = all_orders(n, r, lambda x, i, k=k: ranking.recall_at(x, i, 1, k))
        assert chance.recall_at(*sizes, k)[0] == pytest.approx(expected)
        expected = all_orders(n, r, lambda x, i, k=k: ranking.precision_at(x, i, 1, k))
        assert chance.precision_at(*sizes, k)[0] == pytest.approx(expected)
    expected = all_orders(n, r, lambda x, i: ranking.average_precision(x, i, 1))
    assert chance.average_precision(*sizes)[0] == pytest.approx(expected)
    expected = all_orders(n, r, lambda x, i: ranking.map_at_r(x, i, 1))
    assert chance.map_at_r(*sizes)[0] == pytest.approx(expected)
    nar = ranking.normalized_average_rank
    expected = all_orders(n, r, lambda x, i: nar(x, i, 1, np.array([n])))
    assert chance.normalized_average_rank(*sizes)[0] == pytest.approx(expected)


def test_chance_matches_published_levels():
    def ap(n, r):
        return chance.average_precision(np.array([n]), np.array([r]))[0]

    assert ap(127, 1) == pytest.approx(0.0427, abs=5e-5)
    assert ap(255, 15) == pytest.approx(0.0778, abs=5e-5)
    assert ap(255, 127) == pytest.approx(0.508, abs=5e-4)
    top = chance.recall_at(np.array([115_000]), np.array([1]), 100)[0]
    assert top == pytest.approx(100 / 115_000, rel=1e-9)
    assert chance.normalized_average_rank(10**6, 1) == pytest.approx(0.5, 1e-5)


def test_ndcg_matches_scikit_learn_and_its_chance_mean_over_orders():
    gains = np.random.default_rng(0).random((5, 6))
    scores = np.random.default_rng(1).random((5, 6))
    order = np.argsort(-scores, axis=1)
    ideal = -np.sort(-gains, axis=1)
    for k in (1, 3, 6):
        found = ranking.ndcg(np.take_along_axis(gains, order, 1)[:, :k], ideal[:, :k])
        expected = [ndcg_score(gains[[i]], scores[[i]], k=k) for i in range(5)]
        np.testing.assert_allclose(found, expected)
    n = np.array([6])
    for k, best in ((3, ideal[:1, :3]), (9, np.pad(ideal[:1], ((0, 0), (0, 3))))):
        every = [
            ranking.ndcg(np.pad(gains[0, list(p)], (0, 3))[None, :k], best)[0]
            for p in itertools.permutations(range(6))
        ]
        level = chance.ndcg(gains[:1].mean(axis=1), best, n)[0]
        assert level == pytest.approx(np.mean(every))

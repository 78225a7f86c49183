import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from evaluators.metrics import ranking


def lists(seed=0, q=12, n=30):
    """Random relevance lists: flat ranks and queries, and the lists themselves."""
    rng = np.random.default_rng(seed)
    relevant = [
        np.sort(rng.choice(n, rng.integers(1, 9), replace=False)) + 1 for _ in range(q)
    ]
    query = np.repeat(np.arange(q), [len(r) for r in relevant])
    shuffled = rng.permutation(len(query))
    return np.concatenate(relevant)[shuffled], query[shuffled], relevant


def test_six_items_by_hand():
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


def test_average_precision_equals_scikit_learn():
    ranks, query, relevant = lists()
    expected = []
    for r in relevant:
        truth = np.isin(np.arange(1, 31), r)
        expected.append(average_precision_score(truth, -np.arange(30.0)))
    found = ranking.average_precision(ranks, query, len(relevant))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_figures_equal_loops():
    ranks, query, relevant = lists(1)
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


def all_orders(n, r, figure):
    """Mean of a figure over all places that r relevant ones of n can take."""
    values = [
        float(figure(np.array(places) + 1, np.zeros(r, int))[0])
        for places in itertools.combinations(range(n), r)
    ]
    return sum(values) / len(values)


@pytest.mark.parametrize(("n", "r"), [(1, 1), (6, 1), (7, 2), (8, 3), (5, 5)])
def test_chance_equals_the_mean_over_all_orders(n, r):
    sizes = np.array([n]), np.array([r])
    for k in (1, 2, 4, 9):
        expected = all_orders(n, r, lambda x, i, k=k: ranking.recall_at(x, i, 1, k))
        assert ranking.recall_at_chance(*sizes, k)[0] == pytest.approx(expected)
        expected = all_orders(n, r, lambda x, i, k=k: ranking.precision_at(x, i, 1, k))
        assert ranking.precision_at_chance(*sizes, k)[0] == pytest.approx(expected)
    expected = all_orders(n, r, lambda x, i: ranking.average_precision(x, i, 1))
    assert ranking.average_precision_chance(*sizes)[0] == pytest.approx(expected)
    expected = all_orders(n, r, lambda x, i: ranking.map_at_r(x, i, 1))
    assert ranking.map_at_r_chance(*sizes)[0] == pytest.approx(expected)
    nar = ranking.normalized_average_rank
    expected = all_orders(n, r, lambda x, i: nar(x, i, 1, np.array([n])))
    chance = ranking.normalized_average_rank_chance(*sizes)[0]
    assert chance == pytest.approx(expected)


def test_published_chance_levels():
    def ap(n, r):
        return ranking.average_precision_chance(np.array([n]), np.array([r]))[0]

    assert ap(127, 1) == pytest.approx(0.0427, abs=5e-5)
    assert ap(255, 15) == pytest.approx(0.0778, abs=5e-5)
    assert ap(255, 127) == pytest.approx(0.508, abs=5e-4)
    top = ranking.recall_at_chance(np.array([115_000]), np.array([1]), 100)[0]
    assert top == pytest.approx(100 / 115_000, rel=1e-9)
    assert ranking.normalized_average_rank_chance(10**6, 1) == pytest.approx(0.5, 1e-5)


def test_ndcg_equals_scikit_learn_and_its_chance_the_mean_over_orders():
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
        chance = ranking.ndcg_chance(gains[:1].mean(axis=1), best, n)[0]
        assert chance == pytest.approx(np.mean(every))


def test_wilson():
    assert ranking.wilson(0.0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert ranking.wilson(1.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    for p, n in ((0.3, 40), (0.05, 200)):
        for end in ranking.wilson(p, n):  # both ends solve |p - x| = z sd(x)
            z = abs(p - end) / math.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(ranking.Z95)


def test_bootstrap_draws_groups_whole():
    rng = np.random.default_rng(0)
    own = rng.standard_normal(50)
    values, groups = np.repeat(own, 8), np.repeat(np.arange(50), 8)
    zero = np.zeros(400, int)
    low, high = ranking.bootstrap(values, groups, zero, seed=1)
    expected = 2 * ranking.Z95 * own.std() / math.sqrt(50)
    assert high - low == pytest.approx(expected, rel=0.1)
    lone = ranking.bootstrap(values, np.arange(400), zero, seed=1)
    assert lone[1] - lone[0] == pytest.approx(expected / math.sqrt(8), rel=0.1)
    assert ranking.bootstrap(values, groups, zero, seed=1) == (low, high)


def test_bootstrap_is_a_loop_over_draws(monkeypatch):
    monkeypatch.setattr(ranking, "_DRAWN", 100)  # blocks of eleven, the last smaller
    rng = np.random.default_rng(4)
    values, groups = rng.random(40), rng.integers(0, 9, 40)
    strata = (groups == 8).astype(int)  # in a third of the draws there is none of it
    draws, means = np.random.default_rng(5), []
    for _ in range(ranking.RESAMPLES):
        drawn = draws.integers(9, size=9)
        rows = np.concatenate([np.flatnonzero(groups == g) for g in drawn])
        kinds = np.unique(strata[rows])
        means.append(np.mean([values[rows][strata[rows] == s].mean() for s in kinds]))
    expected = np.percentile(means, [2.5, 97.5])
    found = ranking.bootstrap(values, groups, strata, seed=5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_mean_over_strata_weighs_them_alike():
    values = np.array([1.0, 0.0, 0.0, 0.0])
    strata, groups = np.array([0, 1, 1, 1]), np.arange(4)
    value, n, chance, low, high = ranking.summarize(
        values, np.full(4, 0.25), groups, strata, seed=0
    )
    assert (value, n, chance) == (0.5, 4, 0.25)
    assert 0 <= low < value <= high <= 1


def test_intervals_hold_what_they_promise():
    rng = np.random.default_rng(3)
    inside = {"wilson": 0, "groups": 0}
    for seed in range(60):
        lone = (rng.random(80) < 0.2).astype(float)
        *_, low, high = ranking.summarize(lone, lone, np.arange(80), lone * 0, seed)
        inside["wilson"] += low <= 0.2 <= high
        p = rng.beta(1, 4, 60)  # concepts of unlike difficulty, mean .2
        values = (rng.random((60, 4)) < p[:, None]).astype(float).ravel()
        groups = np.repeat(np.arange(60), 4)
        *_, low, high = ranking.summarize(values, values, groups, values * 0, seed)
        inside["groups"] += low <= 0.2 <= high
    assert min(inside.values()) >= 52  # 57 expected


def test_effective_count():
    values = np.random.default_rng(0).random(30)
    assert ranking.effective_count(values, np.arange(30)) == pytest.approx(30)
    alike = ranking.effective_count(np.repeat(values, 4), np.repeat(np.arange(30), 4))
    assert alike == pytest.approx(30)  # four times the same says it once
    opposed = np.tile([0.0, 1.0], 15)
    assert ranking.effective_count(opposed, np.repeat(np.arange(15), 2)) == 30


def test_no_spread_is_no_proof():
    ones = np.ones(20)
    *_, low, high = ranking.summarize(
        ones, ones, np.repeat(np.arange(5), 4), np.zeros(20), seed=0
    )
    assert (low, high) == ranking.wilson(1.0, 5)
    assert high == 1
    value, n, *_ = ranking.summarize(ones[:0], ones[:0], ones[:0], ones[:0], 0)
    assert math.isnan(value)
    assert n == 0

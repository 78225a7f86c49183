"""Predictions without a network against plain loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from evaluators import next_vector
from evaluators.baselines import exponential_average, fitted_average, ridge
from input_pipeline.datasets import topics
from tests.evaluators.small_data import build, fit_baseline

CONTEXT = 3


@pytest.fixture(scope="module")
def data():
    return topics.load(
        train=20, validation=8, length=9, context=CONTEXT, width=8, topics=2, seed=0
    )


def windows(data):
    fields = data.train.read(np.arange(len(data.train)))
    return np.float64(fields["context"]), np.float64(fields["target"])


def test_fitted_average_solves_least_squares(data):
    x, t = windows(data)
    columns = np.moveaxis(x, 1, -1).reshape(-1, CONTEXT)  # a row for each number
    expected, *_ = np.linalg.lstsq(columns, t.reshape(-1), rcond=None)
    np.testing.assert_allclose(
        fitted_average.fit_weights(data.train), expected, rtol=1e-6
    )


def test_exponential_average_has_best_mean_reciprocal_rank(data):
    x, t = windows(data)
    place = data.train.table["vector"]
    scores = {}
    for r in exponential_average.DECAYS:
        p = sum(r ** (CONTEXT - 1 - j) * x[:, j] for j in range(CONTEXT))
        found = []
        for i in range(len(x)):
            candidates = [
                j for j in range(len(x)) if not 1 <= place[i] - place[j] <= CONTEXT
            ]
            ahead = sum(p[i] @ t[j] >= p[i] @ t[i] for j in candidates)
            found.append(1 / ahead)
        scores[r] = np.mean(found)
    assert len(set(scores.values())) > 3
    assert exponential_average.fit_decay(data.train) == max(scores, key=scores.get)


def test_ridge_matches_scikit_learn(data, monkeypatch):
    monkeypatch.setattr(ridge, "PENALTIES", (0.01,))
    x, t = windows(data)
    flat = x.reshape(len(x), -1)
    level = 0.01 * np.mean(np.sum(flat * flat, 0))
    model = Ridge(alpha=level).fit(flat, t)
    found = ridge.fit_ridge(data.train)
    np.testing.assert_allclose(found[:-1], model.coef_.T, atol=2e-3)
    np.testing.assert_allclose(found[-1], model.intercept_, atol=2e-3)


def test_best_possible_prediction_has_highest_cosine(data):
    evaluator = build(next_vector, data)
    scores = {
        name: evaluator.run(fit_baseline(name, data)).metrics["e/cosine"].value
        for name in (
            "persistence",
            "mean",
            "fitted_average",
            "exponential_average",
            "ridge",
            "best",
        )  # fmt: skip
    }
    assert max(scores, key=scores.get) == "best"
    assert scores["fitted_average"] >= max(scores["persistence"], scores["mean"]) - 0.01

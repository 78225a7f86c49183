"""Drawn articles: the best prediction is the best, and linear maps do not reach it."""

import numpy as np
import pytest

from input_pipeline import dataset
from input_pipeline.datasets import topics

WEIGHTS = (0.25, 0.35, 0.7, 0.9)


@pytest.fixture(scope="module")
def drawn():
    return topics.draw(400, 12, 16, 4, WEIGHTS, seed=3)


def cosine(a, b):
    return np.mean(np.sum(a * b, -1))


def test_topic_mean_reaches_documented_cosine(drawn):
    """Within a topic the next vector is linear in the last: fit it there."""
    vectors, best, topic = drawn
    for k in range(4):
        x, b = vectors[topic == k], best[topic == k]
        known = np.concatenate([x[:, :-1], np.ones_like(x[:, :-1, :1])], -1)
        half = len(x) // 2
        w, *_ = np.linalg.lstsq(
            known[:half].reshape(-1, 17), x[:half, 1:].reshape(-1, 16), rcond=None
        )
        fitted = known[half:] @ w
        fitted /= np.linalg.norm(fitted, axis=-1, keepdims=True)
        bound = cosine(x[half:, 1:], b[half:, 1:])
        assert bound - 0.05 < cosine(x[half:, 1:], fitted) < bound


def test_noise_is_orthogonal_to_best_prediction(drawn):
    vectors, best, topic = drawn
    rest = vectors[:, 1:] - best[:, 1:] * np.sum(
        vectors[:, 1:] * best[:, 1:], -1, keepdims=True
    )
    for k in range(4):
        mean = rest[topic == k].mean((0, 1))
        assert np.linalg.norm(mean) < 0.05


def test_linear_map_of_context_is_worse_than_best(drawn):
    vectors, best, _ = drawn
    x = np.concatenate([vectors[:, i : 8 + i] for i in range(3)], -1)[:, :8]
    x, t = x.reshape(-1, 48), vectors[:, 3:11].reshape(-1, 16)
    w, *_ = np.linalg.lstsq(x, t, rcond=None)
    linear = x @ w
    linear /= np.linalg.norm(linear, axis=1, keepdims=True)
    assert cosine(linear, t) < cosine(best[:, 3:11].reshape(-1, 16), t) - 0.1


def test_records_hold_their_best_prediction():
    fields = {"train": 6, "validation": 4, "length": 9, "context": 3, "width": 8}
    data = topics.load(**fields, seed=1)
    same, other = topics.load(**fields, seed=1), topics.load(**fields, seed=2)
    first = data.train.read([0, 1])
    assert first["best"].shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(first["best"], axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(first["target"], same.train.read([0, 1])["target"])
    assert np.abs(first["target"] - other.train.read([0, 1])["target"]).max() > 0.1
    assert len(data.train) == 6 * (9 - 3)
    assert len(data.extra["pool"]) == 4 * 9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 5}, "data.length: got 5; expected more than data.context"),
        ({"train": 1}, "data.train: got 1"),
        ({"noise": 0.0}, "data.noise: got 0.0"),
    ],
)
def test_faults_are_named(fields, message):
    with pytest.raises(dataset.DataError, match=message):
        topics.load(**fields)

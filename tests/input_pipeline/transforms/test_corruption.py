"""Corrupted contexts: what is zeroed, what is replaced, how often, and by what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.transforms.corruption import Transform

L, D, S = 5, 6, 3
N = 4000


def batch(n=N, length=L):
    rng = np.random.default_rng(0)
    return {
        "context": rng.standard_normal((n, length, D)).astype(np.float32),
        "target": rng.standard_normal((n, D)).astype(np.float32),
        "cross_article_negatives": rng.standard_normal((n, S, D)).astype(np.float32),
        "id": np.arange(n, dtype=np.int32),
    }


def corrupted(given, **fields):
    known = {"context": given["context"].shape[1], "width": D}
    augment = Transform(**known | fields).augment
    return jax.jit(augment)(jax.random.key(1), given)


@pytest.fixture(scope="module")
def both():
    given = batch()
    return given, corrupted(given, dropout=0.3, span=0.2)


def test_last_vectors_are_zeroed_and_at_least_one_stays(both):
    given, out = both
    zero = ~np.any(np.asarray(out["view1"]), -1)  # [n, l]
    count = zero.sum(1)
    assert count.max() == L - 1
    assert (np.sort(zero, 1) == zero).all()  # zeros last
    share = (count > 0).mean()
    assert share == pytest.approx(0.3, abs=0.03)
    assert float(out["diag"]["dropped"]) == pytest.approx(share)
    assert float(out["diag"]["zeroed"]) == pytest.approx(count.mean())
    # Each length of the tail comes as often as the others.
    lengths = np.bincount(count[count > 0], minlength=L)[1:] / (count > 0).sum()
    np.testing.assert_allclose(lengths, 1 / (L - 1), atol=0.05)


def test_one_vector_is_replaced_by_one_of_another_article(both):
    given, out = both
    seen = np.asarray(out["view1"])
    changed = np.any(seen != given["context"], -1) & np.any(seen, -1)
    assert changed.sum(1).max() == 1
    share = changed.any(1).mean()
    assert share == pytest.approx(0.2, abs=0.03)
    assert float(out["diag"]["replaced"]) == pytest.approx(share)
    for row in np.flatnonzero(changed.any(1))[:50]:
        vector = seen[row][changed[row]][0]
        assert (vector == given["cross_article_negatives"][row]).all(1).any()
    # Any place may be hit.
    whole = np.any(seen, -1).all(1) & changed.any(1)
    assert changed[whole].any(0).all()


def test_target_is_not_changed(both):
    given, out = both
    np.testing.assert_array_equal(out["view2"], given["target"])


def test_view_depends_on_key_and_record_alone():
    given = batch(64)
    whole = corrupted(given, dropout=0.5, span=0.5)["view1"]
    rows = np.array([40, 3, 17])
    few = corrupted({k: v[rows] for k, v in given.items()}, dropout=0.5, span=0.5)
    np.testing.assert_array_equal(few["view1"], np.asarray(whole)[rows])


def test_switched_off_nothing_changes():
    given = batch(32)
    out = corrupted(given, dropout=0.0, span=0.0)
    np.testing.assert_array_equal(out["view1"], given["context"])


def test_context_of_one_vector_is_not_zeroed():
    given = batch(64, length=1)
    out = corrupted(given, dropout=1.0, span=0.0)
    np.testing.assert_array_equal(out["view1"], given["context"])


def test_without_cross_article_negatives_nothing_is_replaced():
    given = batch(32) | {"cross_article_negatives": np.zeros((32, 0, D), np.float32)}
    out = corrupted(given, dropout=0.0, span=1.0)
    np.testing.assert_array_equal(out["view1"], given["context"])
    assert float(out["diag"]["replaced"]) == 0


def test_view_returns_named_view():
    given, transform = batch(8), Transform(context=L, width=D, dropout=1.0)
    whole = transform.center(given)["image"]
    np.testing.assert_array_equal(whole, given["context"])
    key = jax.random.key(0)
    target = transform.view("view2", key, given)["image"]
    np.testing.assert_array_equal(target, given["target"])
    first = transform.view("view1", key, given)["image"]
    assert not np.any(np.asarray(first)[:, -1])
    with pytest.raises(ValueError, match="choices: view1, view2"):
        transform.view("view3", key, given)


def test_images_are_between_black_and_white():
    given = {k: jnp.asarray(v) for k, v in batch(4).items()}
    transform = Transform(context=L, width=D)
    for seen, rows in ((None, L), (given["target"], 1)):
        shown = np.asarray(transform.images(given, seen))
        assert shown.shape == (4, 8 * rows, D, 1)
        assert shown.min() >= 0
        assert shown.max() <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dropout": 1.5}, "dropout: got 1.5"),
        ({"span": -0.1}, "span: got -0.1"),
        ({"context": 0}, "context: got 0"),
    ],
)
def test_faults_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Transform(**{"context": L, "width": D} | fields)

"""Approximate scores, their error bound, and what pruning gives up."""

import jax.numpy as jnp
import numpy as np
import pytest

from evaluators.search import pruning
from evaluators.search.scores import Search
from tests.evaluators.search.random_search import random_search

BF16, F32 = jnp.bfloat16, jnp.float32


@pytest.mark.parametrize("kind", ["random", "sorted", "near_duplicates"])
def test_pruning_settles_every_query_of_ordinary_galleries(kind):
    q, g, query_ids, ids = random_search(kind, 2000, 9, 8)
    search = Search.of(q, g, query_ids, ids, 512)
    assert pruning.is_worthwhile(search, 10)
    *_, left = pruning.top_k(search, 10)
    assert not len(left)


def test_pruning_gives_up_collapsed_embeddings():
    q, g, query_ids, ids = random_search("collapsed", 9000, 4, 8)
    search = Search.of(q, g, query_ids, ids, 8192)
    *_, left = pruning.top_k(search, 1)
    np.testing.assert_array_equal(left, np.arange(4))


def test_approximate_scores_stay_within_error_bound():
    q, g, query_ids, ids = random_search("scaled", 512, 16, 64)
    exact = q.astype(float) @ g.astype(float).T
    search = Search.of(q, g, None, None, 512)
    for dtype in (BF16, F32):
        pool = pruning.CandidatePool(search, np.arange(16), 1, dtype)
        rows, norms = pruning._rounded(g, pool.queries.dtype)
        rough, _ = pruning._score(pool.queries, rows, 512)
        error = np.abs(np.asarray(rough).reshape(16, 512) - exact).max(axis=1)
        bound = np.asarray(norms, float) @ pool.error / 2
        assert (error <= bound).all()
        assert (error > bound / 1000).all()  # and the bound is not idle


def test_groups_are_opened_equally_on_any_backend():
    scores, hits = jnp.arange(6 * 4.0).reshape(6, 4), np.array([2, 3, 5])
    opened = np.asarray(pruning._open_groups(scores, hits))
    np.testing.assert_array_equal(opened, np.asarray(scores)[hits])
    np.testing.assert_array_equal(pruning._gathered(scores, hits), opened)


def test_padded_gallery_block_has_maxima_of_real_records_only():
    q = -np.ones((2, 4), np.float32)
    g = np.ones((80, 4), np.float32)  # every score is -4: a made-up zero would win
    search = Search.of(q, g, None, None, 80)
    pool = pruning.CandidatePool(search, np.arange(2), 1, F32)
    _, scored = next(pruning._scored_blocks(search, [pool]))
    assert scored.count == 80
    np.testing.assert_array_equal(scored.maxima, [[-4, -4, -4]] * 2)
    _, maxima = pruning._score(pool.queries, np.ones((96, 4), np.float32), 64)
    np.testing.assert_array_equal(maxima, [[-4, -4, -np.inf]] * 2)

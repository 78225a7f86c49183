"""Exact search against sorting and counting everything."""

import jax.numpy as jnp
import numpy as np
import pytest

from evaluators.search import exact as exact_search
from evaluators.search import pruning
from evaluators.search import scores as scores_lib
from tests.evaluators.search.random_search import random_search

BF16, F32 = jnp.bfloat16, jnp.float32


def brute(q, g, k, query_ids, gallery_ids):
    """Sort everything, one query at a time, in double precision."""
    scores, rows = np.full((len(q), k), -np.inf, np.float32), np.full((len(q), k), -1)
    for i in range(len(q)):
        line = [np.float32(np.dot(q[i].astype(float), x.astype(float))) for x in g]
        own = {j for j in range(len(g)) if gallery_ids[j] == query_ids[i]}
        order = sorted(
            set(range(len(g))) - own, key=lambda j: (-line[j], gallery_ids[j])
        )[:k]
        rows[i, : len(order)] = order
        scores[i, : len(order)] = [line[j] for j in order]
    return scores, rows


KINDS = (
    "random",
    "near_duplicates",
    "whole",
    "collapsed",
    "narrow",
    "sorted",
    "scaled",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtypes", [(F32,), (BF16, F32)], ids=["float32", "bfloat16"])
def test_top_k_matches_sorting_everything(kind, dtypes, monkeypatch):
    monkeypatch.setattr(pruning, "dtypes", lambda: dtypes)
    q, g, query_ids, ids = random_search(kind, 1100, 7, 8)
    expected = brute(q, g, 6, query_ids, ids)
    for gallery_block in (100, 256, 512, 5000):  # dense, then three times pruned
        found = exact_search.top_k(
            q, g, 6, query_ids=query_ids, gallery_ids=ids, gallery_block=gallery_block
        )
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


def test_query_block_size_changes_nothing(monkeypatch):
    q, g, query_ids, ids = random_search("near_duplicates", 700, 11, 8)
    whole = exact_search.top_k(
        q, g, 5, query_ids=query_ids, gallery_ids=ids, gallery_block=256
    )
    for module in (exact_search, scores_lib):
        monkeypatch.setattr(module, "QUERY_BLOCK", 4)
    parts = exact_search.top_k(
        q, g, 5, query_ids=query_ids, gallery_ids=ids, gallery_block=256
    )
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_ties_across_gallery_blocks_go_to_smaller_id_or_row():
    g = np.ones((600, 4), np.float32)
    _, rows = exact_search.top_k(g[:2], g, 3, gallery_block=200)
    np.testing.assert_array_equal(rows, [[0, 1, 2]] * 2)
    ids = np.arange(600)[::-1].copy()
    _, rows = exact_search.top_k(g[:2], g, 3, gallery_ids=ids, gallery_block=200)
    np.testing.assert_array_equal(rows, [[599, 598, 597]] * 2)


def test_fewer_candidates_than_k():
    g = np.eye(3, dtype=np.float32)
    ids = np.array([5, 6, 7])
    scores, rows = exact_search.top_k(g, g, 4, query_ids=ids, gallery_ids=ids)
    np.testing.assert_array_equal(
        rows, [[1, 2, -1, -1], [0, 2, -1, -1], [0, 1, -1, -1]]
    )
    assert np.isneginf(scores[:, 2:]).all()
    many = np.ones((99, 3), np.float32)
    assert exact_search.top_k(g[:0], many, 2)[1].shape == (0, 2)
    _, rows = exact_search.top_k(g[:1], g[:0], 2)
    np.testing.assert_array_equal(rows, [[-1, -1]])


def test_gallery_on_disk(tmp_path):
    q, g, _, ids = random_search("random", 1500, 5, 8)
    np.save(tmp_path / "g.npy", g)
    disk = np.load(tmp_path / "g.npy", mmap_mode="r")
    for gallery_block in (64, 512):
        found = exact_search.top_k(
            q, disk, 4, gallery_ids=ids, gallery_block=gallery_block
        )
        for a, b in zip(
            found, exact_search.top_k(q, g, 4, gallery_ids=ids), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["random", "near_duplicates", "whole", "collapsed"])
@pytest.mark.parametrize("each", [2, 40])  # counted one by one, and sorted
def test_ranks_match_counting_everything(kind, each):
    q, g, query_ids, ids = random_search(kind, 300, 6, 8)
    rng = np.random.default_rng(1)
    query, row = (rng.integers(0, n, 6 * each) for n in (6, 300))
    other = query_ids[query] != ids[row]
    query, row = query[other], row[other]
    scores = (q.astype(float) @ g.astype(float).T).astype(np.float32)
    for gallery_block in (70, 1000):
        found = exact_search.ranks_of(
            q,
            g,
            query,
            row,
            query_ids=query_ids,
            gallery_ids=ids,
            gallery_block=gallery_block,
        )
        for i, (a, b) in enumerate(zip(query, row, strict=True)):
            rest = [j for j in range(300) if ids[j] != query_ids[a]]
            above = sum(scores[a, j] > scores[a, b] for j in rest)
            tied = [ids[j] for j in rest if scores[a, j] == scores[a, b]]
            assert found.above[i] == above
            assert found.tied[i] == len(tied)
            assert found.rank[i] == above + 1 + sum(t < ids[b] for t in tied)


def test_ranks_agree_with_top_k():
    q, g, query_ids, ids = random_search("near_duplicates", 500, 5, 8)
    _, rows = exact_search.top_k(q, g, 500, query_ids=query_ids, gallery_ids=ids)
    query, place = np.nonzero(rows >= 0)
    found = exact_search.ranks_of(
        q, g, query, rows[query, place], query_ids=query_ids, gallery_ids=ids
    )
    np.testing.assert_array_equal(found.rank, place + 1)


def test_wrong_arguments_are_named():
    g, ids = np.ones((4, 2), np.float32), np.arange(4)
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        exact_search.top_k(np.ones((4, 3)), g, 1)
    with pytest.raises(ValueError, match="k=0"):
        exact_search.top_k(g, g, 0)
    with pytest.raises(ValueError, match="gallery_block=0"):
        exact_search.top_k(g, g, 1, gallery_block=0)
    with pytest.raises(ValueError, match="query_ids without"):
        exact_search.top_k(g, g, 1, query_ids=ids)
    with pytest.raises(ValueError, match="gallery_ids"):
        exact_search.top_k(g, g, 1, gallery_ids=ids[:2])
    bad = g.copy()
    bad[1, 1] = np.nan
    with pytest.raises(ValueError, match="got queries"):
        exact_search.top_k(bad, g, 1)
    with pytest.raises(ValueError, match="gallery rows"):
        exact_search.top_k(g, bad, 1)
    with pytest.raises(ValueError, match="its own id"):
        exact_search.ranks_of(g, g, ids, ids, query_ids=ids, gallery_ids=ids)
    with pytest.raises(ValueError, match=r"expected 0\.\.3"):
        exact_search.ranks_of(g, g, [0], [4])

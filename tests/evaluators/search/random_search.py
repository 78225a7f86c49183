"""Random queries and galleries of several kinds."""

import numpy as np


def random_search(kind, n, q, d, seed=0):
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((n, d)).astype(np.float32)
    if kind == "near_duplicates":  # each record twice, far apart
        g[n // 2 :] = g[: n - n // 2]
    elif kind == "whole":  # few different scores
        g = rng.integers(-2, 3, (n, d)).astype(np.float32)
    elif kind == "collapsed":
        g[:] = g[0]
    elif kind == "narrow":  # bfloat16 cannot tell them apart, float32 can
        g = (1 + 1e-4 * g).astype(np.float32)
    elif kind == "sorted":  # near ones side by side, better ones later
        g = g[np.argsort(g[:, 0])]
        g[:, 1:] *= 0.01
    elif kind == "scaled":  # norms of all sizes
        g *= np.exp(3 * rng.standard_normal((n, 1))).astype(np.float32)
    ids = rng.permutation(n) + 1000
    rows = rng.choice(n, q, replace=False)
    return g[rows], g, ids[rows], ids

"""InfoNCE by loops in double precision, and the cases it is compared on."""

import functools

import jax
import numpy as np

from losses import info_nce as nce

N, M, D = 6, 11, 8
TAU = 0.2


def pair(n=N, m=M, d=D, seed=0):
    rng = np.random.default_rng(seed)
    return np.float32(rng.normal(size=(n, d))), np.float32(rng.normal(size=(m, d)))


def tables(n=N, m=M, seed=1):
    """A mask and soft targets; row 0 has no weight, row 1 only one."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, m)) < 0.6
    weights = np.where(rng.random((n, m)) < 0.3, rng.random((n, m)), 0)
    weights[0] = 0
    weights[1] = np.eye(m)[4] * 0.01
    return mask, np.float32(weights)


def oracle(q, k, positives=None, *, temperature=TAU, weights=None, mask=None):
    """The loss and its metrics, one row and one column at a time."""
    q, k = np.float64(q), np.float64(k)
    losses, right, share, counts, positive, negative = [], [], [], [], [], []
    levels = []
    for i in range(len(q)):
        s = [a @ q[i] / np.sqrt((a @ a) * (q[i] @ q[i])) for a in k]
        target = np.zeros(len(k))
        if positives is not None and positives[i] >= 0:
            target[positives[i]] = 1
        if weights is not None and weights[i].sum() > 0:
            target = np.float64(weights[i]) / np.float64(weights[i]).sum()
        kept = [j for j in range(len(k)) if mask is None or mask[i][j] or target[j] > 0]
        counts.append(len(kept))
        negative += [s[j] for j in kept if target[j] == 0]
        if target.sum() == 0:
            losses.append(0.0)
            levels.append(0.0)
            continue
        total = sum(np.exp(s[j] / temperature) for j in kept)
        levels.append(np.log(len(kept)))
        losses.append(np.log(total) - sum(target * s) / temperature)
        right.append(target[max(kept, key=lambda j: s[j])] > 0)
        share.append(sum(target[j] > 0 for j in kept) / len(kept))
        positive.append(sum(target * s))
    values = (right, share, counts, positive, negative, levels)
    return np.mean(losses), [np.mean(x) if x else 0.0 for x in values]


POSITIVES = np.array([3, 0, 10, 7, 7, 2], np.int32)
SOME = np.array([3, -1, 10, -1, 7, 2], np.int32)
MASK, WEIGHTS = tables()
CASES = {
    "plain": (POSITIVES, {}),
    "mask": (POSITIVES, {"mask": MASK}),
    "weights": (POSITIVES, {"weights": WEIGHTS}),
    "weights only": (None, {"weights": WEIGHTS}),
    "both": (POSITIVES, {"weights": WEIGHTS, "mask": MASK}),
    "rows without positive": (SOME, {"mask": MASK}),
}


@functools.partial(jax.jit, static_argnames="key_block_size")
def value_and_grad(q, k, positives, tables, key_block_size=0):
    def loss(q, k):
        return nce.info_nce(
            q, k, positives, temperature=TAU, key_block_size=key_block_size, **tables
        )

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(q, k)

"""What positives made from codes can teach at most, known before anything is trained.

Pure functions of columns and drawn pairs: how near positives are to a network that
learned nothing of them, the lowest loss that labels allow, and how much pairs share.
"""

from collections.abc import Mapping

import numpy as np

from evaluators.common import relevance
from evaluators.metrics.intervals import wilson

COMMON = 0.05  # share of the records from which on a code is common
LISTED = 5  # common codes that are named


def nearness(
    anchor: np.ndarray, positive: np.ndarray, other: np.ndarray
) -> dict[str, float]:
    """Return how often an anchor's positive is nearer to it than another record.

    Args:
        anchor: Unit-norm embeddings [m, d].
        positive: Of the partner that was drawn for each, [m, d].
        other: Of a record that was drawn at random for each, [m, d].

    Returns:
        `value` in [0, 1] with ties as one half, `n`, `chance` .5, Wilson's 95 %
        interval `low` and `high`, and the mean cosines `positive` and `random`.
    """
    if not len(anchor):
        raise ValueError("got no pair; expected one or more")
    near = np.einsum("md,md->m", anchor, positive, dtype=np.float64)
    far = np.einsum("md,md->m", anchor, other, dtype=np.float64)
    value = float((np.sign(near - far) + 1).mean() / 2)
    low, high = wilson(value, len(near))
    return {
        "value": value,
        "n": len(near),
        "chance": 0.5,
        "low": low,
        "high": high,
        "positive": float(near.mean()),
        "random": float(far.mean()),
    }


class Odds:
    """How likely each partner is, when it is drawn through the codes of an anchor.

    The code is drawn among those that another record carries, in proportion to its
    weight, the partner uniformly among the other carriers; who shares none is its own.

    Args:
        codes: Int [n, C], each code once a record, -1 where padded.
        weights: Float [n, C], 0 where padded.
    """

    def __init__(self, codes: np.ndarray, weights: np.ndarray):
        codes = np.asarray(codes)
        counts = np.bincount(codes[codes >= 0], minlength=1)
        shared = (codes >= 0) & (counts[codes] > 1)
        weights = np.where(shared, weights, 0.0).astype(np.float64)
        total = weights.sum(1, keepdims=True)
        self.alone = total[:, 0] <= 0  # bool [n]
        self._codes, n = np.where(weights > 0, codes, -1), len(codes)
        # Of each single other carrier of a code, [n, C].
        others = np.maximum(counts[codes] - 1, 1)
        self._each = weights / np.where(total > 0, total, 1.0) / others
        # A record is drawn by all that carry one of its codes, but by itself.
        drawn = np.bincount(codes[shared], self._each[shared], minlength=len(counts))
        by_others = np.where(shared, drawn[codes] - self._each, 0.0).sum(1)
        self._any = (by_others + self.alone) / n

    def given(self, anchors: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """Return P(partner | anchor) of pairs of rows, float64 [m]."""
        own, theirs = self._codes[anchors], self._codes[partners]
        same = (own[:, :, None] == theirs[:, None, :]) & (own >= 0)[:, :, None]
        odds = (self._each[anchors] * same.any(2)).sum(1)
        return np.where(anchors == partners, self.alone[anchors], odds)

    def ratio(self, anchors: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """Return P(partner | anchor) / P(partner), [m]; anchors are equally likely."""
        return self.given(anchors, partners) / self._any[partners]


def hard_lower_bound(
    odds: Odds, anchors: np.ndarray, partners: np.ndarray, candidates: int
) -> float:
    """Return the lowest InfoNCE of one positive that shares codes and nothing else.

    L = E ln(1 + (N - 1) / r(a, k)), r = P(k | a) / P(k): a critic that knows r, among
    N - 1 keys of other anchors, whose mean r is 1. C equal classes give
    ln(1 + (N - 1) / C), and ln N - L is what the codes tell.

    Args:
        odds: Of the records.
        anchors: Rows [m].
        partners: Rows [m] that were drawn for them.
        candidates: N.

    Returns:
        Nats, 0 to ln N and a little.
    """
    return float(np.log1p((candidates - 1) / odds.ratio(anchors, partners)).mean())


def soft_lower_bound(table: Mapping, anchors: np.ndarray, keys: np.ndarray) -> float:
    """Return the lowest cross-entropy with targets in proportion to shared codes.

    It is the mean entropy of the targets: each anchor's weighted Jaccard similarities
    to all keys of its batch, over their sum. No network comes below.

    Args:
        table: Columns "codes" and "code_weights", [n, C].
        anchors: Rows [b, m], m of each of b batches.
        keys: Rows [b, N], all keys of those batches.

    Returns:
        Nats, 0 to ln N; an anchor that shares nothing with any key counts as 0.
    """
    columns = {name: np.asarray(table[name]) for name in ("codes", "code_weights")}
    entropies = []
    for mine, theirs in zip(anchors, keys, strict=True):
        sides = [{k: v[rows] for k, v in columns.items()} for rows in (mine, theirs)]
        share = relevance.similarity(*sides)  # [m, N]
        total = share.sum(1, keepdims=True)
        share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
        logs = np.log(share, out=np.zeros_like(share), where=share > 0)
        entropies.append(-(share * logs).sum(1))
    return float(np.mean(entropies))


def common_only(
    codes: np.ndarray,
    names: list[str],
    anchors: np.ndarray,
    partners: np.ndarray,
    *,
    common: float = COMMON,
) -> dict:
    """Return how many pairs share common codes and no other.

    Args:
        codes: Int [n, C] of all records, -1 where padded.
        names: Of the codes.
        anchors: Rows [m].
        partners: Rows [m], each another record than its anchor.
        common: Share of the records above which a code is common.

    Returns:
        `value`, the share of such pairs; `n`; `above`, what counts as common; `codes`,
        the common codes that most pairs share, `{name, pairs, records}` with shares.
    """
    codes = np.asarray(codes)
    carried = np.bincount(codes[codes >= 0], minlength=len(names)) / len(codes)
    own, theirs = codes[anchors], codes[partners]
    shared = (own[:, :, None] == theirs[:, None, :]).any(2) & (own >= 0)  # [m, C]
    usual = carried[own] > common
    only = shared.any(1) & ~(shared & ~usual).any(1)
    seen = np.bincount(own[shared & usual], minlength=len(names)) / max(len(own), 1)
    first = np.argsort(-seen, kind="stable")[:LISTED]
    return {
        "value": float(only.mean()) if len(only) else 0.0,
        "n": len(only),
        "above": common,
        "codes": [
            {"name": names[c], "pairs": float(seen[c]), "records": float(carried[c])}
            for c in first.tolist()
            if seen[c]
        ],
    }

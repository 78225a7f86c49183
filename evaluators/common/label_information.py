"""Information in labels and codes, measured before training.

Pure functions of columns and drawn pairs: how near positives are in an untrained
embedding, the losses that codes allow, and how many pairs share common codes only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluators.common import relevance
from evaluators.common.metric import DIAGNOSTIC
from evaluators.metrics.intervals import SHARE, mean_metric

COMMON = 0.05  # share of the records above which a code is common
LISTED = 5  # common codes that are listed
ANCHORS = 256  # of a batch, asked for their partners


def nearness(
    anchor: np.ndarray, positive: np.ndarray, other: np.ndarray, groups: np.ndarray
) -> dict[str, float]:
    """Return how often an anchor's positive is nearer to it than another record.

    Args:
        anchor: [m, d], unit-norm embeddings.
        positive: [m, d], of the partner that was drawn for each.
        other: [m, d], of a record that was drawn at random for each.
        groups: int [m]; anchors of one group are not independent.

    Returns:
        `value` in [0, 1] with ties as one half, `n`, `chance` .5, the 95 % interval
        `low` and `high`, and the mean cosines `positive` and `random`.

    Raises:
        ValueError: If there is no pair.
    """
    if not len(anchor):
        raise ValueError("got no pair; expected one or more")
    near = np.einsum("md,md->m", anchor, positive, dtype=np.float64)
    far = np.einsum("md,md->m", anchor, other, dtype=np.float64)
    nearer = (np.sign(near - far) + 1) / 2
    metric = mean_metric(nearer, 0.5, groups, DIAGNOSTIC, bounds=SHARE)
    return {
        "value": metric.value,
        "n": metric.n,
        "chance": metric.chance,
        "low": metric.low,
        "high": metric.high,
        "positive": float(near.mean()),
        "random": float(far.mean()),
    }


class PartnerDistribution:
    """Probability of each partner that is drawn through the codes of an anchor.

    The code is drawn among those that another record has, in proportion to its weight,
    the partner uniformly among the other records with that code. An anchor that shares
    no code with any record is its own partner.

    Args:
        codes: int [n, C], each code once a record, -1 where padded.
        weights: float [n, C], 0 where padded.

    Attributes:
        is_single: bool [n], whether a record shares no code with any other.
    """

    def __init__(self, codes: np.ndarray, weights: np.ndarray):
        codes = np.asarray(codes)
        counts = np.bincount(codes[codes >= 0], minlength=1)
        shared = (codes >= 0) & (counts[codes] > 1)
        weights = np.where(shared, weights, 0.0).astype(np.float64)
        total = weights.sum(1, keepdims=True)
        self.is_single = total[:, 0] <= 0
        self._codes, n = np.where(weights > 0, codes, -1), len(codes)
        # Probability of each single other record with a code, [n, C].
        others = np.maximum(counts[codes] - 1, 1)
        self._by_code = weights / np.where(total > 0, total, 1.0) / others
        # A record is drawn by all that have one of its codes, except by itself.
        by_code = self._by_code
        drawn = np.bincount(codes[shared], by_code[shared], minlength=len(counts))
        by_others = np.where(shared, drawn[codes] - by_code, 0.0).sum(1)
        self._marginal = (by_others + self.is_single) / n

    def conditional(self, anchors: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """Return P(partner | anchor) of pairs of rows, float64 [m]."""
        codes, partner_codes = self._codes[anchors], self._codes[partners]
        same = codes[:, :, None] == partner_codes[:, None, :]  # [m, C, C]
        same &= (codes >= 0)[:, :, None]
        probability = (self._by_code[anchors] * same.any(2)).sum(1)
        return np.where(anchors == partners, self.is_single[anchors], probability)

    def ratio(self, anchors: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """Return P(partner | anchor) / P(partner), [m]; anchors are equally likely."""
        return self.conditional(anchors, partners) / self._marginal[partners]

    def table(self, anchors: np.ndarray, partners: np.ndarray) -> np.ndarray:
        """Return `ratio` of all pairs of anchors [m] and partners [N], [m, N]."""
        rows = [self.ratio(np.full(len(partners), a), partners) for a in anchors]
        return np.stack(rows)


def density_ratio_loss(
    distribution: PartnerDistribution, anchors: np.ndarray, keys: np.ndarray
) -> float:
    """Return the InfoNCE of a critic that knows how codes make partners.

    L = mean_i ln(sum_j r(a_i, k_j) / r(a_i, k_i)), r(a, k) = P(k | a) / P(k), over the
    keys of a batch, among which one is the partner of each anchor. This ratio is the
    critic with the lowest expected loss, so that L estimates the loss of whoever knows
    the codes of the records and nothing else; ln N - L is the information in the codes
    that a batch of N can show. The loss of a training run can be lower where records of
    one code differ otherwise.

    Args:
        distribution: Distribution of partners of the records.
        anchors: int [b, N], rows of b drawn batches.
        keys: int [b, N], the partners that were drawn for them.

    Returns:
        Nats, 0 to ln N, the mean of both directions: partners of `ANCHORS` anchors
        among all keys, and anchors of as many keys among all anchors.

    Source: van den Oord et al., arXiv 1807.03748, section 2.3.
    """
    losses = []
    for rows, partners in zip(anchors, keys, strict=True):
        asked = np.arange(min(len(rows), ANCHORS))
        ratio = distribution.table(rows[asked], partners)  # [m, N]
        losses.append(np.log(ratio.sum(1) / ratio[asked, asked]))
        ratio = distribution.table(rows, partners[asked])  # [N, m]
        losses.append(np.log(ratio.sum(0) / ratio[asked, asked]))
    return float(np.mean(losses))


def soft_lower_bound(
    table: Mapping[str, Any], anchors: np.ndarray, keys: np.ndarray
) -> float:
    """Return the lowest cross-entropy with targets in proportion to shared codes.

    It is the mean entropy of the targets: each anchor's weighted Jaccard similarities
    to all keys of its batch, divided by their sum.

    Args:
        table: Columns "codes" and "code_weights", [n, C].
        anchors: int [b, m], rows, m of each of b batches.
        keys: int [b, N], rows, all keys of those batches.

    Returns:
        Nats, 0 to ln N; an anchor that shares nothing with any key counts as 0.
    """
    columns = {name: np.asarray(table[name]) for name in ("codes", "code_weights")}
    entropies = []
    for anchor_rows, key_rows in zip(anchors, keys, strict=True):
        anchor_table, key_table = (
            {name: column[rows] for name, column in columns.items()}
            for rows in (anchor_rows, key_rows)
        )
        p = relevance.similarity(anchor_table, key_table)  # [m, N]
        total = p.sum(1, keepdims=True)
        p = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
        log_p = np.log(p, out=np.zeros_like(p), where=p > 0)
        entropies.append(-(p * log_p).sum(1))
    return float(np.mean(entropies))


def common_codes_only(
    codes: np.ndarray,
    names: list[str],
    anchors: np.ndarray,
    partners: np.ndarray,
    *,
    common: float = COMMON,
) -> dict[str, Any]:
    """Return how many pairs share common codes and no other.

    Args:
        codes: int [n, C] of all records, -1 where padded.
        names: Names of the codes.
        anchors: int [m], rows.
        partners: int [m], rows, each another record than its anchor.
        common: Share of the records above which a code is common.

    Returns:
        `value`, the share of such pairs; `n`; `above`, the share above which a code is
        common; `codes`, the common codes that most pairs share, with their shares as
        `{name, pairs, records}`.
    """
    codes = np.asarray(codes)
    frequency = np.bincount(codes[codes >= 0], minlength=len(names)) / len(codes)
    anchor_codes, partner_codes = codes[anchors], codes[partners]
    same = (anchor_codes[:, :, None] == partner_codes[:, None, :]).any(2)
    shared = same & (anchor_codes >= 0)  # [m, C]
    is_common = frequency[anchor_codes] > common
    only_common = shared.any(1) & ~(shared & ~is_common).any(1)
    count = np.bincount(anchor_codes[shared & is_common], minlength=len(names))
    share = count / max(len(anchor_codes), 1)
    most_shared = np.argsort(-share, kind="stable")[:LISTED]
    return {
        "value": float(only_common.mean()) if len(only_common) else 0.0,
        "n": len(only_common),
        "above": common,
        "codes": [
            {
                "name": names[c],
                "pairs": float(share[c]),
                "records": float(frequency[c]),
            }
            for c in most_shared.tolist()
            if share[c]
        ],
    }

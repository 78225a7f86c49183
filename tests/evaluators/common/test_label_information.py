"""Information in labels and codes against plain loops and closed forms."""

import math

import numpy as np
import pytest

from evaluators.common import label_information
from input_pipeline import loader
from input_pipeline.dataset import Split


def split_of(codes, weights=None):
    codes = np.asarray(codes, np.int32)
    counts = np.bincount(codes[codes >= 0])
    if weights is None:
        weights = np.where(codes >= 0, 1 / np.maximum(counts[codes], 1), 0)
    n = len(codes)
    table = {
        "id": np.arange(n),
        "label": np.full(n, -1, np.int32),
        "codes": codes,
        "code_weights": np.float32(weights),
    }
    return Split([{}] * n, table, [], [str(c) for c in range(codes.max() + 1)])


def random_split(n=40, kinds=9, width=4, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.full((n, width), -1)
    for row in codes[:-1]:  # the last record has no code
        several = rng.choice(kinds, rng.integers(1, width + 1), replace=False)
        row[: len(several)] = several
    codes[0, 0] = kinds  # a code that nobody else has
    return split_of(codes)


def distribution_of(split):
    return label_information.PartnerDistribution(
        split.table["codes"], split.table["code_weights"]
    )


def conditional_by_loops(split):
    """P(partner | anchor), [n, n], as the loader's docstring says."""
    codes, weights = split.table["codes"], split.table["code_weights"]
    carriers = {
        c: [i for i, row in enumerate(codes) if c in row]
        for c in set(codes[codes >= 0].tolist())
    }
    table = np.zeros((len(codes), len(codes)))
    for a, row in enumerate(codes):
        usable = {
            c: float(weights[a, slot])
            for slot, c in enumerate(row.tolist())
            if c >= 0 and len(carriers[c]) > 1
        }
        if not usable:
            table[a, a] = 1.0
        for c, weight in usable.items():
            others = [k for k in carriers[c] if k != a]
            for k in others:
                table[a, k] += weight / sum(usable.values()) / len(others)
    return table


def test_partner_distribution_matches_sampler():
    split = random_split()
    expected = conditional_by_loops(split)
    n = len(split)
    anchors, partners = np.divmod(np.arange(n * n), n)
    found = distribution_of(split).conditional(anchors, partners).reshape(n, n)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1.0)
    ratio = distribution_of(split).ratio(anchors, partners).reshape(n, n)
    np.testing.assert_allclose(ratio, expected / expected.mean(0), atol=1e-9)
    # And the loader draws with them.
    draws = loader.PositivePairSampler(split, 0)
    counts = np.zeros((n, n))
    for epoch in range(4000):
        counts[np.arange(n), draws.draw(np.arange(n), epoch)] += 1
    assert np.abs(counts / 4000 - expected).max() < 0.04
    assert (counts[expected == 0] == 0).all()


def batches_of(split, candidates, count):
    """Anchors and keys of drawn batches, as the label audit draws them."""
    rng, sampler = np.random.default_rng(0), loader.PositivePairSampler(split, 0)
    rows = np.stack([rng.permutation(len(split))[:candidates] for _ in range(count)])
    return rows, np.stack([sampler.draw(r, i) for i, r in enumerate(rows)])


def critic_loss_by_loops(conditional, rows, keys):
    """Mean loss of the ratio P(k | a) / P(k) in both directions, one pair at a time."""
    marginal = conditional.mean(0)
    losses = []
    for anchors, partners in zip(rows.tolist(), keys.tolist(), strict=True):
        ratio = {
            (a, k): conditional[a, k] / marginal[k] for a in anchors for k in partners
        }
        for a, k in zip(anchors, partners, strict=True):
            losses.append(math.log(sum(ratio[a, j] for j in partners) / ratio[a, k]))
            losses.append(math.log(sum(ratio[i, k] for i in anchors) / ratio[a, k]))
    return np.mean(losses)


def test_density_ratio_loss_matches_loops_with_several_codes():
    split = random_split(60)
    rows, keys = batches_of(split, 16, 5)
    found = label_information.density_ratio_loss(distribution_of(split), rows, keys)
    expected = critic_loss_by_loops(conditional_by_loops(split), rows, keys)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("classes", "size", "candidates", "expected"),
    [(16, 100, 64, 1.493), (100, 20, 256, 1.096)],
)
def test_density_ratio_loss_of_equal_classes(classes, size, candidates, expected):
    # What a trained critic reaches; with the mean ratio of the others in place of the
    # sum, ln(1 + (N - 1) / r) is 1.589 and 1.230.
    split = split_of(np.repeat(np.arange(classes), size)[:, None])
    rows, keys = batches_of(split, candidates, 60)
    found = label_information.density_ratio_loss(distribution_of(split), rows, keys)
    assert found == pytest.approx(expected, abs=0.02)
    # Among equal classes the critic counts the keys of the anchor's class.
    label = split.table["codes"][:, 0]
    same = [
        label[a][:, None] == label[k][None, :] for a, k in zip(rows, keys, strict=True)
    ]
    itself = [a[:, None] == k[None, :] for a, k in zip(rows, keys, strict=True)]
    counts = [(s & ~i).sum(1) for s, i in zip(same, itself, strict=True)]
    assert found == pytest.approx(np.mean(np.log(counts)), abs=0.02)


def test_density_ratio_loss_of_zipf_codes_is_below_that_of_mean_ratio():
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 801)
    codes = rng.choice(800, 3000, p=share / share.sum())
    split = split_of(codes[:, None])
    rows, keys = batches_of(split, 64, 40)
    distribution = distribution_of(split)
    found = label_information.density_ratio_loss(distribution, rows, keys)
    mean_ratio = np.log1p(63 / distribution.ratio(rows.ravel(), keys.ravel())).mean()
    others = [
        math.log(sum(codes[j] == codes[a] and j != a for j in k))
        for a_rows, k in zip(rows.tolist(), keys.tolist(), strict=True)
        for a, partner in zip(a_rows, k, strict=True)
        if partner != a
    ]
    alone = (rows == keys).mean()
    assert found == pytest.approx((1 - alone) * np.mean(others), abs=0.02)
    assert found < mean_ratio - 0.03


def test_soft_lower_bound_matches_simulated_batches():
    # Positives that share a class alone: the best critic knows the class and no more.
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(300):
        classes = rng.integers(16, size=256)
        same = classes[:, None] == classes[None, :]
        losses.append(np.log(same.sum(1)).mean())
    split = split_of(np.repeat(np.arange(16), 100)[:, None])
    rows = np.stack([rng.permutation(len(split))[:256] for _ in range(20)])
    soft = label_information.soft_lower_bound(split.table, rows, rows)
    assert soft == pytest.approx(np.mean(losses), abs=0.03)
    assert soft == pytest.approx(math.log(1 + 255 / 16), abs=0.05)


def test_soft_lower_bound_is_mean_entropy_of_targets():
    split = random_split(seed=1)
    codes = [set(row[row >= 0].tolist()) for row in split.table["codes"]]
    weight = {}
    for row, weights in zip(
        split.table["codes"], split.table["code_weights"], strict=True
    ):
        weight |= dict(zip(row.tolist(), weights.tolist(), strict=True))

    def total(some):
        return sum(weight[c] for c in some)

    anchors, keys = np.arange(40)[None], np.random.default_rng(2).permutation(40)[None]
    entropies = []
    for a in anchors[0]:
        similar = [
            total(codes[a] & codes[k]) / (total(codes[a] | codes[k]) or 1.0)
            for k in keys[0]
        ]
        shares = [s / sum(similar) for s in similar if s] if sum(similar) else [1.0]
        entropies.append(-sum(s * math.log(s) for s in shares))
    found = label_information.soft_lower_bound(split.table, anchors, keys)
    assert found == pytest.approx(np.mean(entropies), abs=1e-6)


def test_lower_bounds_of_unique_codes():
    split = split_of(np.arange(30)[:, None])
    rows = np.arange(30)
    distribution = distribution_of(split)
    assert distribution.is_single.all()
    assert label_information.soft_lower_bound(split.table, rows[None], rows[None]) == 0
    loss = label_information.density_ratio_loss(distribution, rows[None], rows[None])
    assert loss == 0


def test_lower_bounds_of_single_code_are_chance():
    split = split_of(np.zeros((200, 1)))
    rows = np.arange(200)
    partners = loader.PositivePairSampler(split, 0).draw(rows, 0)
    distribution = distribution_of(split)
    loss = label_information.density_ratio_loss(
        distribution, rows[None, :64], partners[None, :64]
    )
    assert loss == pytest.approx(math.log(64), abs=0.02)
    soft = label_information.soft_lower_bound(
        split.table, rows[None, :64], partners[None, :64]
    )
    assert soft == pytest.approx(math.log(64))


def test_nearness_counts_ties_half_and_random_pairs_at_chance():
    one, two = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    anchor = np.tile(one, (4, 1))
    positive, other = np.stack([one, one, two, two]), np.stack([two, one, one, two])
    found = label_information.nearness(anchor, positive, other, np.arange(4))
    assert found["value"] == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert (found["n"], found["chance"]) == (4, 0.5)
    assert (found["positive"], found["random"]) == (0.5, 0.5)
    z = np.random.default_rng(0).standard_normal((3, 4000, 32))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    alone = np.arange(4000)
    found = label_information.nearness(*z, alone)
    assert found["low"] < 0.5 < found["high"]
    few = label_information.nearness(*z, alone % 5)
    assert few["high"] - few["low"] > found["high"] - found["low"]
    assert label_information.nearness(z[0], z[0], z[1], alone)["value"] == 1.0
    with pytest.raises(ValueError, match="got no pair"):
        label_information.nearness(z[0][:0], z[1][:0], z[2][:0], alone[:0])


def test_common_codes_only_counts_pairs_without_rare_codes():
    # Code 0 is carried by all, 1 and 2 by two records of 40 each.
    codes = np.full((40, 2), -1)
    codes[:, 0] = 0
    codes[:2, 1], codes[2:4, 1] = 1, 2
    anchors, partners = np.array([0, 0, 2, 10]), np.array([1, 9, 3, 11])
    found = label_information.common_codes_only(
        codes, ["a", "b", "c"], anchors, partners, common=0.1
    )
    assert found["value"] == 0.5
    assert found["n"] == 4
    assert found["codes"] == [{"name": "a", "pairs": 1.0, "records": 1.0}]
    rare = label_information.common_codes_only(
        codes, ["a", "b", "c"], anchors, partners, common=1.0
    )
    assert (rare["value"], rare["codes"]) == (0.0, [])

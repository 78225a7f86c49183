"""Intervals of all figures cover their true values: the benchmark, in few draws."""

import numpy as np
import pytest

from benchmarks.coverage.worlds import WORLDS
from benchmarks.interval_coverage import COUNTS, coverage, simulate
from evaluators.common.metric import SCORE, Metric
from evaluators.metrics.intervals import (
    POSITIVE_TAIL,
    SHARE,
    mean_metric,
    median_metric,
)

# Of so many draws, 93 % to 98 % less and more than three standard errors.
RUNS = {5: 60, 12: 40}


@pytest.mark.parametrize("world", WORLDS)
def test_intervals_of_every_figure_cover(world):
    for groups, runs in RUNS.items():
        if world == "frames":
            runs //= 2
        shares = coverage(simulate(world, groups, range(runs)))
        assert shares
        error = (0.07 * 0.93 / runs) ** 0.5
        assert min(shares.values()) > 0.93 - 3 * error, (groups, shares)


def test_worlds_have_every_figure_of_every_evaluator():
    figures = {}
    for name, world in WORLDS.items():
        metrics = world(np.random.default_rng(0), 5)
        figures[name] = {tag.split("/")[-1] for tag in metrics} - set(COUNTS)
    assert figures["pairs"] == {
        "d_pos", "d_neg", "d_nearest", "violations", "hard_violations",
        "triplet_loss", "hard_loss", "recall@1",
    }  # fmt: skip
    assert {"ssim@1", "error", "error_mean", "map", "near_ties"} <= figures["frames"]
    assert {"ndcg@3", "map_at_r", "nar"} <= figures["retrieval, codes"]
    assert {"cosine", "mean_rank", "train_cosine", "gap"} <= figures["next_vector"]
    assert figures["loss"] == {"train", "held_out", "gap"}


def grouped_values(rng, groups, kind):
    """Values of some groups of unequal sizes, and their groups; the mean is .25."""
    sizes = 2 + rng.poisson(4, groups)
    group = np.repeat(np.arange(groups), sizes)
    level = rng.beta(1.5, 4.5, groups)[group]
    if kind == "shares":
        return (rng.random(len(group)) < level) * 1.0, group
    return rng.gamma(3, level / 3), group


@pytest.mark.parametrize("groups", [5, 12, 40, 200])
@pytest.mark.parametrize(("kind", "bounds"), [("shares", SHARE), ("errors", None)])
def test_means_of_unlike_groups_are_covered(kind, bounds, groups):
    bounds = bounds or POSITIVE_TAIL
    rng, runs, hits = np.random.default_rng(groups), 500, 0
    for _ in range(runs):
        values, group = grouped_values(rng, groups, kind)
        metric = mean_metric(values, 0.0, group, SCORE, bounds=bounds)
        hits += metric.low <= 0.25 <= metric.high
    assert 0.92 <= hits / runs <= 0.99


@pytest.mark.parametrize("groups", [5, 12, 40, 200])
def test_medians_of_unlike_groups_are_covered(groups):
    rng, runs, hits = np.random.default_rng(groups), 400, 0
    for _ in range(runs):
        sizes = 2 + rng.poisson(4, groups)
        group = np.repeat(np.arange(groups), sizes)
        values = np.exp(rng.normal(size=groups)[group] + rng.normal(size=len(group)))
        metric = median_metric(values, 0.0, group, SCORE)
        hits += metric.low <= 1 <= metric.high
    assert 0.92 <= hits / runs <= 0.99


def test_coverage_finds_intervals_that_are_too_short():
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(400):
        values = rng.normal(size=20)
        mean, half = values.mean(), values.std(ddof=1) / 20**0.5  # one error, not two
        draws.append({"x": Metric(mean, 20, 0.0, mean - half, mean + half)})
    assert coverage(draws)["x"] < 0.75

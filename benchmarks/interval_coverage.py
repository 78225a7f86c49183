"""Share of simulations in which the interval of a figure covers its true value.

    python -m benchmarks.interval_coverage

Every figure of every evaluator, on simulated data with 5, 12, 40 and 200 groups that
differ. The true value of a figure is its mean over all simulations (of medians, their
median). Exit code 1 if a share is below 93 % or above 98 % by more than two standard
errors of the simulation; for ranks of instances, whose few groups often have no miss
at all, above 99 %.
"""

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor

import numpy as np

from benchmarks.coverage.worlds import WORLDS
from evaluators.common.metric import Metrics

GROUPS = (5, 12, 40, 200)
RUNS = 600
BLOCK = 25  # simulations a task
LEAST, MOST = 0.93, 0.98
LONG = 0.99
# Of a few groups that are nearly all found first, these are longer than they need be.
TAILS = {("instance", "nar"), ("instance", "mean_rank")}
ERRORS = 2  # standard errors of a share by which it may be outside
COUNTS = ("left_out", "error_left_out")  # facts on the data, not estimates
MEDIANS = ("error",)


def simulate(name: str, groups: int, seeds: Iterable[int]) -> list[Metrics]:
    """Return the metrics of some draws of a world."""
    world = WORLDS[name]
    return [world(np.random.default_rng([groups, seed]), groups) for seed in seeds]


def simulate_in(pool: Executor, name: str, groups: int, runs: int) -> list[Metrics]:
    """Return `simulate` of seeds 0..runs-1, in several processes."""
    blocks = [range(i, min(i + BLOCK, runs)) for i in range(0, runs, BLOCK)]
    count = len(blocks)
    parts = pool.map(simulate, [name] * count, [groups] * count, blocks)
    return [metrics for part in parts for metrics in part]


def coverage(draws: list[Metrics]) -> dict[str, float]:
    """Return the share of draws whose interval covers the true value, by figure."""
    shares = {}
    for name in draws[0]:
        if name in COUNTS:
            continue
        metrics = [draw[name] for draw in draws]
        values = np.array([metric.value for metric in metrics])
        true = np.median(values) if name in MEDIANS else values.mean()
        hits = [m.low - 1e-9 <= true <= m.high + 1e-9 for m in metrics]
        shares[name] = float(np.mean(hits))
    return shares


def is_inside(share: float, runs: int, most: float = MOST) -> bool:
    """Return whether a share may be of an interval that covers 93 % to `most`."""
    low, high = (
        ERRORS * math.sqrt(limit * (1 - limit) / runs) for limit in (LEAST, most)
    )
    return LEAST - low <= share <= most + high


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the table; return 1 if a share is outside its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args(None if arguments is None else list(arguments))
    outside: list[str] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        _print_table(pool, options, outside)
    error = math.sqrt(0.05 * 0.95 / options.runs)
    print(f"\n{options.runs} simulations a share; standard error {error:.3f}")
    limits = f"{LEAST:.0%} to {MOST:.0%} by more than {ERRORS} standard errors"
    print(f"outside {limits}:", ", ".join(outside) or "none")
    return 1 if outside else 0


def _print_table(
    pool: Executor, options: argparse.Namespace, outside: list[str]
) -> None:
    """Print a row a figure; add the names of those outside the limits."""
    print("| figure |", " | ".join(f"{g} groups" for g in GROUPS), "|")
    print("|---" * (1 + len(GROUPS)) + "|")
    for world in options.worlds:
        began = time.perf_counter()
        rows: dict[str, list[float]] = {}
        for groups in GROUPS:
            draws = simulate_in(pool, world, groups, options.runs)
            for name, share in coverage(draws).items():
                rows.setdefault(name, []).append(share)
        for name, shares in rows.items():
            most = LONG if (world, name) in TAILS else MOST
            marks = ["" if is_inside(s, options.runs, most) else " (!)" for s in shares]
            cells = [f"{s:.3f}{m}" for s, m in zip(shares, marks, strict=True)]
            print(f"| {world}: {name} |", " | ".join(cells), "|", flush=True)
            outside += [f"{world}: {name}"] if any(marks) else []
        print(f"{world}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

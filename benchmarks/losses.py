"""Losses against PyTorch: `python -m benchmarks.losses`.

Value and gradient of each loss for a batch of embeddings: FastAP against
pytorch-metric-learning, the others against PyTorch. Both run by turns with the same
threads; the ratio is their time over ours, the median over rounds. Memory is the most
that one run has beside what the process had before it.
"""

import argparse
import datetime
import os
import statistics
import sys
from typing import NamedTuple

from benchmarks.common.machine import machine
from benchmarks.common.worker import Worker, by_turns


class Bar(NamedTuple):
    """What a loss has to reach.

    Attributes:
        ratio: Their time over ours.
        memory: Their memory over ours; 0 for any.
    """

    ratio: float
    memory: float = 0.0


BARS = {
    "fast_ap": Bar(50.0, 10.0),
    "triplet": Bar(1.0),
    "info_nce": Bar(1.0),
    "simsiam": Bar(1.0),
}
MODULES = {
    "akin": "benchmarks.akin_side.losses",
    "torch": "benchmarks.torch_side.losses",
}


def main() -> int:
    """Measure, print, and return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", choices=BARS, default=list(BARS))
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    lines, met = [], True
    for name in args.losses:
        row = _measure(name, args)
        bar = BARS[name]
        met &= row["ratio"] >= bar.ratio and row["less"] >= bar.memory
        lines.append(
            f"| {name} | {row['akin_ms']:.3g} | {row['torch_ms']:.3g} "
            f"| {row['ratio']:.3g} ({row['low']:.3g}–{row['high']:.3g}) "
            f"| {bar.ratio:g} "
            f"| {row['akin_mib']:.3g} : {row['torch_mib']:.4g} | {bar.memory:g} |"
        )
        print(f"  {name}: {row['ratio']:.3g}", file=sys.stderr)
    print(
        f"{args.batch} x {args.size} · {machine()} · {args.threads} threads · "
        f"{row['versions']} · {datetime.date.today().isoformat()}\n\n"
        "| loss | Akin, ms | PyTorch, ms | ratio (quartiles) | required "
        "| MiB, Akin : PyTorch | required |\n|---|---|---|---|---|---|---|"
    )
    print("\n".join(lines))
    return 0 if met else 1


def _measure(name: str, args: argparse.Namespace) -> dict:
    sides = {side: Worker(m, args.threads, "default") for side, m in MODULES.items()}
    question = {"work": name, "size": args.size, "batch": args.batch, "warmup": 0}
    versions = [side.ask(**question)["version"] for side in sides.values()]
    # The first run, before any of its memory is kept for the next.
    memory = {side: worker.ask(memory=1)["bytes"] for side, worker in sides.items()}
    repeat, spent = by_turns(sides, args.rounds, args.seconds)
    for worker in sides.values():
        worker.close()
    wall = {s: [t["wall"] / repeat[s] for t in turns] for s, turns in spent.items()}
    ratios = [b / a for a, b in zip(wall["akin"], wall["torch"], strict=True)]
    low, ratio, high = (
        statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    )
    row = {"ratio": ratio, "low": low, "high": high, "versions": " · ".join(versions)}
    row["less"] = memory["torch"] / max(memory["akin"], 1)
    for side in sides:
        row[f"{side}_ms"] = 1e3 * statistics.median(wall[side])
        row[f"{side}_mib"] = memory[side] / 2**20
    return row


if __name__ == "__main__":
    sys.exit(main())

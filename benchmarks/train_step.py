"""Training steps against PyTorch: `python -m benchmarks.train_step`.

Two works are timed: forward and backward of the network, and the whole MoCo v3 step
(two views, queries, target network, keys, loss, gradient, AdamW). Both frameworks run
on this machine with the same threads and allocator, by turns. The ratio is our images
a second over PyTorch's, the median over rounds of the ratio within a round; above 1 we
are the faster.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import sys

from benchmarks._worker import Worker

SHAPES = {"64x64": (64, 64, 1.0), "128x32": (128, 32, 0.8)}  # px, batch, required ratio
WORKS = ("gradient", "step")
MODELS = ("efficientnet_b0",)


def main() -> int:
    """Measure, print, and return 0 if every ratio is at least what is required."""
    args = _arguments()
    sides = {
        name: Worker(module, args.threads, args.allocator)
        for name, module in (
            ("akin", "benchmarks._akin"),
            ("torch", "benchmarks.peer_torch"),
        )
    }
    rows = []
    for shape in args.shapes:
        for work in args.works:
            rows.append(_compare(sides, work, shape, args.rounds, args.seconds))
            print(f"  {shape} {work}: {rows[-1]['ratio']:.2f}", file=sys.stderr)
    for side in sides.values():
        side.close()
    result = {
        "model": args.model,
        "date": datetime.date.today().isoformat(),
        "machine": _machine(),
        "threads": args.threads,
        "allocator": args.allocator,
        "rows": rows,
    }
    print(json.dumps(result, indent=2) if args.json else _table(result))
    return 0 if all(row["ratio"] >= row["required"] for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="that one side runs in a round"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--allocator",
        choices=("keep", "default", "hugepages"),
        default="keep",
        help="of both: train_lib.allocator, none, or glibc.malloc.hugetlb=1",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _compare(
    sides: dict[str, Worker], work: str, shape: str, rounds: int, seconds: float
) -> dict:
    """Times one work at one shape on both sides, by turns."""
    size, batch, required = SHAPES[shape]
    row = {"work": work, "size": size, "batch": batch, "required": required}
    rates = {name: [] for name in sides}
    cpu = {name: [] for name in sides}
    repeat = {}
    for name, side in sides.items():
        prepared = side.ask(work=work, size=size, batch=batch, warmup=2)
        row[f"{name}_version"] = prepared["version"]
        repeat[name] = max(1, round(seconds / side.ask(repeat=1)["wall"]))
    for turn in range(rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            spent = sides[name].ask(repeat=repeat[name])
            rates[name].append(batch * repeat[name] / spent["wall"])
            cpu[name].append(spent["cpu"] / (batch * repeat[name]))
    ratios = [a / b for a, b in zip(rates["akin"], rates["torch"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    for name in sides:
        row[f"{name}_images_per_sec"] = statistics.median(rates[name])
        row[f"{name}_cpu_ms_per_image"] = 1e3 * statistics.median(cpu[name])
    return row | {"ratio": quartiles[1], "low": quartiles[0], "high": quartiles[2]}


def _machine() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line for line in lines if line.startswith("model name")), "unknown")
    return f"{name.split(':')[-1].strip()}, {os.cpu_count()} cores"


def _table(result: dict) -> str:
    names = {"gradient": "forward + backward", "step": "whole MoCo v3 step"}
    lines = [
        f"{result['model']} · {result['machine']} · {result['threads']} threads · "
        f"allocator {result['allocator']} · {result['rows'][0]['akin_version']} · "
        f"{result['rows'][0]['torch_version']} · {result['date']}",
        "",
        "| work | size, batch | Akin, images/s | PyTorch, images/s | ratio (quartiles) "
        "| required | CPU ms/image, Akin : PyTorch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {names[row['work']]} | {row['size']} px, {row['batch']} "
            f"| {row['akin_images_per_sec']:.3g} | {row['torch_images_per_sec']:.3g} "
            f"| {row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f}) "
            f"| {row['required']} "
            f"| {row['akin_cpu_ms_per_image']:.3g} : "
            f"{row['torch_cpu_ms_per_image']:.3g} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Training steps against PyTorch: `python -m benchmarks.train_step`.

Works are timed by themselves: forward and backward of the network, and the whole step.
For `efficientnet_b0` that is MoCo v3's (two views, queries, target network, keys, loss,
gradient, AdamW); for `resnet18` SimSiam's (two views, encoder and predictor on each,
gradient, SGD); for `cnn_mri` the triplets' on scans, whose simulation is a third work
(heads, coils, noise, masks; the share of our own step that it takes is printed); for
`mamba` that of next-vector prediction with mamba_s, against Hugging Face's MambaModel.
Both frameworks run on this machine with the same threads and allocator, by turns. The
ratio is our images (or contexts) a second over PyTorch's, the median over rounds of the
ratio within a round; above 1 we are the faster.
"""

import argparse
import datetime
import json
import os
import statistics
import sys
from typing import NamedTuple

from benchmarks.common.machine import machine
from benchmarks.common.worker import Worker, by_turns


class Model(NamedTuple):
    """What is compared: our module, the peer's, and at which shapes.

    Attributes:
        ours: Module.
        peer: Module.
        shapes: By name: pixels (or length), batch, required ratio.
        works: Functions that both modules have; those in `required` have a bar.
        required: Works whose ratio has to reach the bar.
        unit: Unit of the first number of a shape.
        counted: What a record is.
    """

    ours: str
    peer: str
    shapes: dict[str, tuple[int, int, float]]
    works: tuple[str, ...]
    required: tuple[str, ...]
    unit: str = "px"
    counted: str = "images"


MODELS = {
    "efficientnet_b0": Model(
        "benchmarks.akin_side.moco",
        "benchmarks.torch_side.moco",
        {"64x64": (64, 64, 1.0), "128x32": (128, 32, 0.8)},
        ("gradient", "step"),
        ("gradient", "step"),
    ),
    "resnet18": Model(
        "benchmarks.akin_side.simsiam",
        "benchmarks.torch_side.simsiam",
        {"112x32": (112, 32, 0.8), "224x8": (224, 8, 0.8)},
        ("gradient", "step"),
        ("step",),
    ),
    "cnn_mri": Model(
        "benchmarks.akin_side.mri",
        "benchmarks.torch_side.mri",
        {"128x16": (128, 16, 1.0)},
        ("gradient", "views", "step"),
        ("step",),
    ),
    "mamba": Model(
        "benchmarks.akin_side.mamba",
        "benchmarks.torch_side.mamba",
        {"5x64": (5, 64, 1.0), "512x1": (512, 1, 1.0)},
        ("gradient", "step"),
        ("step",),
        "vectors",
        "contexts",
    ),
}
SIMULATION = 0.25  # most of our step that it may take


def main() -> int:
    """Measure, print, and return 0 if every ratio is at least what is required."""
    args = _arguments()
    model = MODELS[args.model]
    sides = {
        name: Worker(module, args.threads, args.allocator)
        for name, module in (("akin", model.ours), ("torch", model.peer))
    }
    rows = []
    for shape in args.shapes or model.shapes:
        for work in args.works or model.works:
            rows.append(_compare(sides, model, work, shape, args.rounds, args.seconds))
            print(f"  {shape} {work}: {rows[-1]['ratio']:.2f}", file=sys.stderr)
    for side in sides.values():
        side.close()
    result = {
        "model": args.model,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "threads": args.threads,
        "allocator": args.allocator,
        "rows": rows,
    }
    result["simulation"] = _simulation(rows)
    print(json.dumps(result, indent=2) if args.json else _table(result))
    met = all(row["ratio"] >= (row["required"] or 0) for row in rows)
    return 0 if met and (result["simulation"] or 0) < SIMULATION else 1


def _simulation(rows: list[dict]) -> float | None:
    """Time of our views over time of our step, where both were measured."""
    rates = {row["work"]: row["akin_images_per_sec"] for row in rows}
    return rates["step"] / rates["views"] if {"step", "views"} <= set(rates) else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="efficientnet_b0")
    parser.add_argument("--shapes", nargs="+", help="such as 64x64; default: all")
    parser.add_argument("--works", nargs="+", help="such as step; default: all")
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
    args = parser.parse_args()
    model = MODELS[args.model]
    for name in ("shapes", "works"):
        known = tuple(getattr(model, name))
        if wrong := set(getattr(args, name) or ()) - set(known):
            parser.error(f"{name} {', '.join(wrong)}; choices: {', '.join(known)}")
    return args


def _compare(
    sides: dict[str, Worker],
    model: Model,
    work: str,
    shape: str,
    rounds: int,
    seconds: float,
) -> dict:
    """Times one work at one shape on both sides, by turns."""
    size, batch, required = model.shapes[shape]
    required = required if work in model.required else None
    row = {"work": work, "size": size, "batch": batch, "required": required}
    for name, side in sides.items():
        prepared = side.ask(work=work, size=size, batch=batch, warmup=2)
        row[f"{name}_version"] = prepared["version"]
    repeat, spent = by_turns(sides, rounds, seconds)
    counts = {name: batch * repeat[name] for name in sides}
    rates = {name: [counts[name] / t["wall"] for t in spent[name]] for name in sides}
    cpu = {name: [t["cpu"] / counts[name] for t in spent[name]] for name in sides}
    ratios = [a / b for a, b in zip(rates["akin"], rates["torch"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    for name in sides:
        row[f"{name}_images_per_sec"] = statistics.median(rates[name])
        row[f"{name}_cpu_ms_per_image"] = 1e3 * statistics.median(cpu[name])
    return row | {"ratio": quartiles[1], "low": quartiles[0], "high": quartiles[2]}


def _table(result: dict) -> str:
    names = {
        "gradient": "forward + backward",
        "views": "simulation of both views",
        "step": "whole step",
    }
    unit, counted = MODELS[result["model"]][-2:]
    lines = [
        f"{result['model']} · {result['machine']} · {result['threads']} threads · "
        f"allocator {result['allocator']} · {result['rows'][0]['akin_version']} · "
        f"{result['rows'][0]['torch_version']} · {result['date']}",
        "",
        f"| work | size, batch | Akin, {counted}/s | PyTorch, {counted}/s "
        f"| ratio (quartiles) | required | CPU ms/{counted[:-1]}, Akin : PyTorch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {names[row['work']]} | {row['size']} {unit}, {row['batch']} "
            f"| {row['akin_images_per_sec']:.3g} | {row['torch_images_per_sec']:.3g} "
            f"| {row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f}) "
            f"| {row['required'] or '–'} "
            f"| {row['akin_cpu_ms_per_image']:.3g} : "
            f"{row['torch_cpu_ms_per_image']:.3g} |"
        )
    if result["simulation"]:
        share = result["simulation"]
        lines += ["", f"Our simulation is {share:.1%} of our step; at most "
                  f"{SIMULATION:.0%} is asked for."]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

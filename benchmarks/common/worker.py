"""A process that holds one framework and times its steps when asked.

The two frameworks live in two processes, which are asked by turns, so that neither's
threads, heap or caches disturb the other and both meet the same weather on the machine.
"""

import argparse
import gc
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Mapping

# What both sides do in the whole step: MoCo v3's recipe with views for marks.
VIEW = {
    "crop_scale": (0.4, 1.0),
    "crop_ratio": (0.75, 4 / 3),
    "color_jitter": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "grayscale": 0.2,
    "blur_sigma": (0.1, 1.0),
}
RECIPE = {
    "views": (VIEW | {"blur": 1.0}, VIEW | {"blur": 0.1, "solarize": 0.2}),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "temperature": 0.2,
    "momentum": 0.99,
    "hidden": 4096,
    "features": 256,
    "learning_rate": 1e-4,
    "weight_decay": 0.1,
}

# SimSiam's recipe: both views alike.
SIAMESE_VIEW = {
    "crop_scale": (0.2, 1.0),
    "crop_ratio": (0.75, 4 / 3),
    "flip": 0.5,
    "color_jitter": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "grayscale": 0.2,
    "blur": 0.5,
    "blur_sigma": (0.1, 2.0),
}
SIMSIAM = {
    "views": (SIAMESE_VIEW, SIAMESE_VIEW),
    "mean": RECIPE["mean"],
    "std": RECIPE["std"],
    "hidden": 512,
    "features": 2048,
    "bottleneck": 512,
    "optimizer": "sgd",
    "momentum": 0.9,
    "learning_rate": 0.05,
    "weight_decay": 1e-4,
}

# The triplet recipe on scans: acceleration and center fraction of each view, ...
MRI = {
    "views": ((4.0, 0.08), (8.0, 0.04)),
    "coils": 8,
    "snr": 20.0,
    "rotate": 10.0,
    "shift": 2.0,
    "margin": 1.0,
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
}

# ... and the next-vector recipe at the size of mamba_s.
MAMBA = {
    "width": 768,
    "layers": 14,
    "states": 16,
    "temperature": 0.07,
    "infonce_weight": 0.85,
    "cosine_weight": 0.15,
    "dropout": 0.2,
    "span": 0.1,
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
}


# Losses alone: embeddings of 256 numbers, ...
LOSSES = {
    "bins": 100,
    "samples_per_class": 4,
    "margin": 0.2,
    "temperature": 0.1,
}


SLOW = 10.0  # seconds of one run
LONGEST = 120.0  # seconds of all turns together


class Worker:
    """The other end of `serve`: starts it and asks."""

    def __init__(self, module: str, threads: int, allocator: str):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        if allocator == "hugepages":
            environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        command = [sys.executable, "-m", "benchmarks.common.worker", module]
        command += ["--threads", str(threads), "--allocator", allocator]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, **question) -> dict:
        """Sends one question and waits for its answer.

        Raises:
            RuntimeError: the process has ended.
        """
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended with {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()


def by_turns(
    sides: Mapping[str, Worker], rounds: int, seconds: float
) -> tuple[dict[str, int], dict[str, list[dict]]]:
    """Runs what each side has prepared, by turns, each round in another order.

    Args:
        sides: Workers by name.
        rounds: How often each has its turn; fewer where all of them would last longer
            than `LONGEST`, and where even 2 would, each has run once and that is it.
        seconds: About how long a turn is.

    Returns:
        Runs of a turn and, for each turn, its seconds of wall and CPU time; by name.
    """
    once = {name: side.ask(repeat=1) for name, side in sides.items()}
    repeat = {name: max(1, round(seconds / t["wall"])) for name, t in once.items()}
    rounds = min(rounds, int(LONGEST / sum(repeat[n] * once[n]["wall"] for n in sides)))
    if rounds < 2:
        return dict.fromkeys(sides, 1), {name: [t] for name, t in once.items()}
    spent = {name: [] for name in sides}
    for turn in range(rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            spent[name].append(sides[name].ask(repeat=repeat[name]))
    return repeat, spent


def serve(module: str, threads: int, allocator: str) -> None:
    """Answers questions from stdin: first what to prepare, then how often to run it."""
    if allocator == "keep":
        from train_lib.allocator import keep_large_buffers

        keep_large_buffers()
    peer = importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes beside the answers
    peer.start(threads)
    run = None
    for line in sys.stdin:
        question = json.loads(line)
        if "memory" in question:
            answer = {"bytes": _peak_of(run)}
        elif "repeat" in question:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(question["repeat"]):
                run()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            answer = {"wall": wall, "cpu": cpu}
        else:
            make = getattr(peer, question["work"])
            run = None  # frees the last one's memory before the next is made
            run = make(question["size"], question["batch"])
            for _ in range(question["warmup"]):
                began = time.perf_counter()
                run()
                if time.perf_counter() - began > SLOW:
                    break  # its caches are warm before it ends
            answer = {"version": peer.VERSION}
        print(json.dumps(answer), file=answers, flush=True)


def _peak_of(run) -> int:
    """Most memory that one run has beside what was there before, in bytes (Linux)."""

    def kilobytes(field: str) -> int:
        status = pathlib.Path("/proc/self/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status).group(1))

    gc.collect()
    before = kilobytes("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the last peak
    run()
    return 1024 * max(0, kilobytes("VmHWM") - before)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--allocator", required=True)
    arguments = parser.parse_args()
    serve(arguments.module, arguments.threads, arguments.allocator)
